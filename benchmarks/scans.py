"""Pages of bits (mode 1): lgcodec as it comes beside CCITT G4, JBIG2 (generic region, lossless), PNG and WebP.

Usage: python benchmarks/scans.py FOLDER [--jbig2 PROGRAM]

G4 is libtiff's, the bytes of its one strip. JBIG2 is what the program `jbig2` makes (github.com/agl/jbig2enc; without
options it writes one generic region), if there is one. Each lgcodec file is decoded and compared.
CSV into results/scans.csv, whose pages are not measured again; the table into docs/results.md.
"""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import tempfile
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
HEAD = ["page", "MP", "black", "PNG", "WebP", "G4", "JBIG2", "ours", "of JBIG2"]


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--jbig2", "program", default="jbig2", show_default=True)
@click.option("--csv", "out", type=click.Path(path_type=Path), default=HERE / "results" / "scans.csv")
@click.option("--page", type=click.Path(path_type=Path), default=HERE.parent / "docs" / "results.md")
def main(folder: Path, program: str, out: Path, page: Path) -> None:
    where, rows = vars(bench.environment(None, "cpu")), []
    if out.is_file():
        with out.open(newline="") as file:
            rows = [[row[key] for key in HEAD] for row in csv.DictReader(file)]
    paths = [path for path in folder.iterdir() if path.suffix.lower() in files.IMAGES]
    for path in sorted(paths, key=lambda path: path.stat().st_size):
        with Image.open(path) as image:
            if image.mode != "1" or path.stem in [row[0] for row in rows]:
                continue
            rows.append(measure(path.stem, Image.fromarray(np.asarray(image)), program))
        click.echo("  ".join(rows[-1]))
        with out.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*HEAD, *where])
            writer.writerows([*row, *map(str, where.values())] for row in rows)
        lines = [HEAD, ["---"] * len(HEAD), *map(shown, sorted(rows)), shown(total(rows))]
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        page.write_text(replaced(page.read_text(), "scans", text))


def measure(name: str, image: Image.Image, program: str) -> list[str]:
    pixels, codec = np.asarray(image), Codec(verify=False, threads=1)
    data = codec.compress(pixels)
    if not np.array_equal(codec.decompress(data), pixels):
        raise click.ClickException(f"{name}: the pixels did not come back")
    sizes = [size(image, "PNG", optimize=True), size(image.convert("L"), "WEBP", lossless=True), g4(image)]
    sizes += [jbig2(image, program) or 0, len(data)]
    area = image.width * image.height / 1e6
    return [name, f"{area:.1f}", f"{1 - pixels.mean():.3f}", *map(str, sizes), ratios(sizes)]


def ratios(sizes: list[int]) -> str:
    return f"{sizes[-1] / sizes[-2]:.3f}" if sizes[-2] else ""


def total(rows: list[list[str]]) -> list[str]:
    sums = [sum(int(row[i]) for row in rows) for i in range(3, 8)]
    return [f"all {len(rows)}", f"{sum(float(row[1]) for row in rows):.1f}", "", *map(str, sums), ratios(sums)]


def shown(row: list[str]) -> list[str]:
    return [f"{int(cell):,}" if 3 <= i < 8 else cell for i, cell in enumerate(row)]


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


if __name__ == "__main__":
    main()
