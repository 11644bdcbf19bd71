"""Writes and reads a stack of photographs with zarr, under this codec and others: FOLDER [--side 256] [--count 8]."""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from imagecodecs import numcodecs as image_codecs
from numcodecs import Blosc, register_codec
from PIL import Image
from zarr.storage import MemoryStore

from lgcodec.numcodecs import Lgcodec
from lgcodec.zarr import LgcodecCodec

START, END = "<!-- zarr:start -->", "<!-- zarr:end -->"


def stack_of(folder: Path, count: int, side: int) -> Any:
    """uint8 [N, side, side, 3] from the middle of the first pictures."""
    pictures = []
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".png", ".webp"))[:count]:
        with Image.open(path) as image:
            x, y = (image.width - side) // 2, (image.height - side) // 2
            pictures.append(np.asarray(image.convert("RGB").crop((x, y, x + side, y + side))))
    return np.stack(pictures)


def measure(stack: Any, options: dict[str, Any]) -> tuple[int, float, float]:
    """Bytes, and seconds to write and to read, the best of two."""
    seconds = [[], []]  # type: list[list[float]]
    for _ in range(2):
        store = MemoryStore()
        array = zarr.create_array(store, shape=stack.shape, chunks=(1, *stack.shape[1:]), dtype="uint8", **options)
        start = time.perf_counter()
        array[...] = stack
        seconds[0].append(time.perf_counter() - start)
        start = time.perf_counter()
        back = array[...]
        seconds[1].append(time.perf_counter() - start)
        if not np.array_equal(back, stack):
            raise SystemExit("the stack did not come back")
        size = sum(len(value) for key, value in store._store_dict.items() if not key.endswith(".json"))
    return size, min(seconds[0]), min(seconds[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--models", default="fast,default")
    parser.add_argument("--docs", type=Path, help="Put the table into this page.")
    options = parser.parse_args()
    for codec in (image_codecs.Jpegxl, Lgcodec):
        register_codec(codec)
    stack = stack_of(options.folder, options.count, options.side)
    contenders: dict[str, dict[str, Any]] = {
        f"lgcodec, {name}": {
            "serializer": LgcodecCodec(channels="last", model=name), "compressors": None,
        } for name in options.models.split(",")
    }  # fmt: skip
    contenders["imagecodecs JPEG XL, effort 7"] = {
        "zarr_format": 2,
        "compressors": image_codecs.Jpegxl(effort=7, lossless=True, numthreads=1, squeeze=None),
    }
    contenders["numcodecs Blosc, zstd 9, shuffle"] = {
        "zarr_format": 2,
        "compressors": Blosc("zstd", 9, Blosc.SHUFFLE),
    }
    out = io.StringIO()
    out.write("| codec | bytes | of raw | write MB/s | read MB/s |\n| --- | --- | --- | --- | --- |\n")
    for name, how in contenders.items():
        size, write, read = measure(stack, how)
        megabytes = stack.nbytes / 1e6
        out.write(
            f"| {name} | {size:,} | {size / stack.nbytes:.1%} | {megabytes / write:.2f} | {megabytes / read:.2f} |\n"
        )
    out.write(
        f"\n{len(stack)} photographs of {options.side} x {options.side} RGB in chunks of one, in memory, compared "
        f"after reading; best of two; zarr {zarr.__version__}, all on the machine's cores as zarr uses them.\n"
    )
    print(out.getvalue())
    if options.docs is not None:
        page = options.docs.read_text()
        head, tail = page.split(START)[0], page.split(END)[1]
        options.docs.write_text(f"{head}{START}\n{out.getvalue()}{END}{tail}")


if __name__ == "__main__":
    main()
