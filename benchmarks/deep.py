"""Images of 16 bits a sample: lgcodec as it comes and without origins, beside PNG and JPEG XL.

Usage: python benchmarks/deep.py FOLDER [--model default]

Files that lgcodec reads (16-bit PNG, PNM, TIFF); others are passed over. Every lgcodec file is decoded and compared.
CSV into results/deep.csv, the table into docs/results.md.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import click
import imagecodecs
import numpy as np

from lgcodec import Codec
from lgcodec.cli import files
from lgcodec.cli.bench import measure as bench
from lgcodec.cli.bench.tables import replaced
from lgcodec.readers import read

HERE = Path(__file__).parent


class Row(NamedTuple):
    """An image and the bytes it takes; plain: lgcodec without origins."""

    image: str
    megasamples: float
    png: int
    jxl_e7: int
    jxl_e9: int
    plain: int
    lgcodec: int

    @property
    def cells(self) -> list[str]:
        sizes = [f"{size:,}" for size in self[2:]]
        return [self.image, f"{self.megasamples:.1f}", *sizes, f"{self.lgcodec / self.jxl_e9:.3f}"]


HEAD = ["image", "M samples", "PNG", "JPEG XL e7", "JPEG XL e9", "lgcodec, no origin", "lgcodec", "of JPEG XL e9"]


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default="default", show_default=True)
@click.option("--csv", "out", type=click.Path(path_type=Path), default=HERE / "results" / "deep.csv")
@click.option("--page", type=click.Path(path_type=Path), default=HERE.parent / "docs" / "results.md")
def main(folder: Path, model: str, out: Path, page: Path) -> None:
    where, rows = bench.environment(None, "cpu"), list[Row]()
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in files.IMAGES):
        picture = read(path)
        if picture.mode.levels == 1 << 16:
            rows.append(measure(path.stem, picture.array(), model))
            click.echo("  ".join(rows[-1].cells))
    if not rows:
        raise click.ClickException(f"{folder}: no image of 16 bits a sample")
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*Row._fields, *vars(where)])
        writer.writerows([*row, *vars(where).values()] for row in rows)
    total = Row(f"all {len(rows)}", *(sum(column) for column in list(zip(*rows, strict=True))[1:]))
    lines = [HEAD, ["---"] * len(HEAD), *(row.cells for row in [*rows, total])]
    page.write_text(replaced(page.read_text(), "deep", "\n".join(f"| {' | '.join(line)} |" for line in lines)))


def measure(name: str, array: np.ndarray, model: str) -> Row:
    sizes = [len(imagecodecs.png_encode(array, 9))]
    sizes += [len(imagecodecs.jpegxl_encode(array, lossless=True, effort=effort)) for effort in (7, 9)]
    for origin in ("none", "auto"):
        codec = Codec(model=model, origin=origin, verify=False)
        data = codec.compress(array)
        if not np.array_equal(codec.decompress(data), array):
            raise click.ClickException(f"{name}: the pixels did not come back")
        sizes.append(len(data))
    return Row(name, array.size / 1e6, *sizes)


if __name__ == "__main__":
    main()
