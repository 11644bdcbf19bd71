"""How many JPEG files below folders come back as coefficients and the rest, how fast, and how large rests are.

    python benchmarks/jpeg_files.py FOLDER .. [--every 1]

Speeds are of processor time, MB of JPEG a second: taking a file apart without the check, and putting it together.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

from lgcodec.jpeg.errors import JpegError
from lgcodec.jpeg.file import parse, write

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".thm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--every", type=int, default=1, help="look at one file in so many")
    arguments = parser.parse_args()
    everything = (path for folder in arguments.folders for path in folder.rglob("*"))
    paths = sorted(path for path in everything if path.suffix.lower() in SUFFIXES)
    refused, wrong, sizes, rests = Counter[str](), list[Path](), list[int](), list[int]()
    apart = together = 0.0
    for path in paths[:: arguments.every]:
        data = path.read_bytes()
        start = time.process_time()
        try:
            found = parse(data, check=False)
        except JpegError as error:
            refused[str(error)] += 1
            continue
        middle = time.process_time()
        same = write(found.rest, [plane.coefficients for plane in found.planes]) == data
        together += time.process_time() - middle
        apart += middle - start
        sizes.append(len(data))
        rests.append(len(found.rest))
        if not same:
            wrong.append(path)
    total = sum(sizes)
    print(f"{len(sizes) - len(wrong)} files come back, {len(wrong)} do not and would be kept as they are")
    print(f"{sum(refused.values())} are refused:", *(f"  {n:4} {why}" for why, n in refused.most_common()), sep="\n")
    if sizes:
        print(f"{total / apart / 1e6:.1f} MB/s apart, {total / together / 1e6:.1f} MB/s together")
        middle_rest = sorted(rests)[len(rests) // 2]
        print(f"rests: {sum(rests) / len(rests):.0f} bytes on average, half of them up to {middle_rest}, "
              f"{sum(rests) / total:.2%} of all files")  # fmt: skip


if __name__ == "__main__":
    main()
