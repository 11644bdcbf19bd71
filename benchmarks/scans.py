"""Pages of bits (mode 1): lgcodec as it comes beside CCITT G4, JBIG2 (generic region, lossless), PNG and WebP.

Usage: python benchmarks/scans.py FOLDER [--jbig2 PROGRAM]

G4 is libtiff's, the bytes of its one strip. JBIG2 is what the program `jbig2` makes (github.com/agl/jbig2enc; without
options it writes one generic region), if there is one. Each lgcodec file is decoded and compared; speeds are of
CPU time, in one thread. CSV into results/scans.csv, the table into docs/results.md.
"""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image, TiffImagePlugin

from lgcodec import Codec
from lgcodec.cli import files
from lgcodec.cli.bench import measure as bench
from lgcodec.cli.bench.tables import replaced

HERE = Path(__file__).parent
HEAD = ["page", "MP", "black", "PNG", "WebP", "G4", "JBIG2", "lgcodec", "of JBIG2", "MP/s in", "MP/s out"]


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--jbig2", "program", default="jbig2", show_default=True)
@click.option("--csv", "out", type=click.Path(path_type=Path), default=HERE / "results" / "scans.csv")
@click.option("--page", type=click.Path(path_type=Path), default=HERE.parent / "docs" / "results.md")
def main(folder: Path, program: str, out: Path, page: Path) -> None:
    where, rows = vars(bench.environment(None, "cpu")), []
    for path in sorted(path for path in folder.iterdir() if path.suffix.lower() in files.IMAGES):
        with Image.open(path) as image:
            if image.mode != "1":
                continue
            rows.append(measure(path.stem, Image.fromarray(np.asarray(image)), program))
        click.echo("  ".join(map(str, rows[-1])))
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*HEAD, *where])
        writer.writerows([*row, *where.values()] for row in rows)
    lines = [HEAD, ["---"] * len(HEAD), *map(shown, rows), shown(total(rows))]
    page.write_text(replaced(page.read_text(), "scans", "\n".join(f"| {' | '.join(line)} |" for line in lines)))


def measure(name: str, image: Image.Image, program: str) -> list[Any]:
    pixels, codec = np.asarray(image), Codec(verify=False, threads=1)
    start = time.process_time()
    data = codec.compress(pixels)
    middle = time.process_time()
    again = codec.decompress(data)
    end = time.process_time()
    if not np.array_equal(again, pixels):
        raise click.ClickException(f"{name}: the pixels did not come back")
    area = image.width * image.height / 1e6
    speeds = [f"{area / seconds:.2f}" for seconds in (middle - start, end - middle)]
    sizes = [size(image, "PNG", optimize=True), size(image.convert("L"), "WEBP", lossless=True, method=6), g4(image)]
    other = jbig2(image, program)
    ratio = "" if other is None else f"{len(data) / other:.3f}"
    return [name, f"{area:.1f}", f"{1 - pixels.mean():.3f}", *sizes, other, len(data), ratio, *speeds]


def size(image: Image.Image, form: str, **options: Any) -> int:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.tell()


def g4(image: Image.Image) -> int:
    file = io.BytesIO()
    image.save(file, "TIFF", compression="group4", strip_size=1 << 30)
    file.seek(0)
    with TiffImagePlugin.TiffImageFile(file) as again:
        return sum(again.tag_v2[279])  # StripByteCounts


def jbig2(image: Image.Image, program: str) -> int | None:
    found = shutil.which(program)
    if found is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        image.save(path := Path(folder) / "page.png")
        done = subprocess.run([found, path], capture_output=True, check=True)
    return len(done.stdout)


def total(rows: list[list[Any]]) -> list[Any]:
    sums = [sum(row[i] or 0 for row in rows) for i in range(3, 8)]
    ratio = f"{sums[4] / sums[3]:.3f}" if sums[3] else ""
    return [f"all {len(rows)}", f"{sum(float(row[1]) for row in rows):.1f}", "", *sums, ratio, "", ""]


def shown(row: list[Any]) -> list[str]:
    return [f"{cell:,}" if isinstance(cell, int) else str(cell if cell is not None else "") for cell in row]


if __name__ == "__main__":
    main()
