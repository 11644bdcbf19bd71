"""Graphics, and whether anything grows: each image of a folder, of any mode, beside optimised PNG and lossless WebP.

Usage: python benchmarks/graphics.py FOLDER [--csv results/graphics.csv]

All are of an image's pixels alone. CSV into results/graphics.csv, the table into docs/results.md.
Ends with exit code 1 where a file has more than 64 bytes above the smaller of the two, or all of them more than WebP's.
WebP keeps no palettes: where an image has one, its bytes are counted there.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from PIL import Image

from lgcodec import Codec
from lgcodec.cli import files
from lgcodec.cli.bench import measure as bench
from lgcodec.cli.bench.tables import replaced

HERE = Path(__file__).parent
SLACK = 64  # bytes


class Row(NamedTuple):
    """An image and the bytes it takes."""

    image: str
    mode: str
    pixels: int
    png: int
    webp: int
    lgcodec: int


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default="default", show_default=True)
@click.option("--effort", type=click.IntRange(1, 9), default=3, show_default=True)
@click.option("--csv", "out", type=click.Path(path_type=Path), default=HERE / "results" / "graphics.csv")
@click.option("--page", type=click.Path(path_type=Path), default=HERE.parent / "docs" / "results.md")
def main(folder: Path, model: str, effort: int, out: Path, page: Path) -> None:
    codec, where = Codec(model=model, effort=effort, verify=False), bench.environment(None, "auto")
    rows: list[Row] = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in files.IMAGES):
        try:
            image = bare(path)
        except OSError as error:
            click.echo(f"{path.name}: passed over: {error}", err=True)
            continue
        ours = len(compressed(codec, image))
        row = Row(str(path.relative_to(folder)), image.mode, image.width * image.height, *others(image), ours)
        rows.append(row)
        shown = "  GREW" if has_grown(row) else ""
        click.echo(f"{path.name:50.50} {row.mode:5} png {row.png:9,} webp {row.webp:9,} ours {ours:9,}{shown}")
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*Row._fields, "model", "effort", *vars(where)])
        writer.writerows([*row, model, effort, *vars(where).values()] for row in rows)
    png, webp, ours = sum(row.png for row in rows), sum(row.webp for row in rows), sum(row.lgcodec for row in rows)
    page.write_text(replaced(page.read_text(), "graphics", table(rows)))
    grown = sum(map(has_grown, rows))
    click.echo(f"{len(rows)} images: png {png:,}, webp {webp:,}, lgcodec {ours:,} ({100 * (ours / webp - 1):+.1f} %)")
    click.echo(f"{grown} of them above the smaller one and {SLACK} bytes")
    raise SystemExit(int(bool(grown) or ours > webp))


def table(rows: list[Row]) -> str:
    """The images as a table of Markdown, all of them last."""
    columns = [[getattr(row, name) for row in rows] for name in ("pixels", "png", "webp", "lgcodec")]
    all_of_them = Row(f"all {len(rows)}", "", *(sum(column) for column in columns))
    lines = [["image", "pixels", "PNG", "WebP", "ours", "of WebP"], ["---"] * 6]
    for row in (*rows, all_of_them):
        sizes = (f"{size:,}" for size in (row.pixels, row.png, row.webp, row.lgcodec))
        lines.append([Path(row.image).stem[:56], *sizes, f"{row.lgcodec / row.webp:.2f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def has_grown(row: Row) -> bool:
    return row.lgcodec > min(row.png, row.webp) + SLACK


def bare(path: Path) -> Image.Image:
    """The image in a file without its metadata. Raises OSError."""
    with Image.open(path) as image:
        found = Image.frombytes(image.mode, image.size, image.tobytes())
        if image.mode == "P":
            found.putpalette(image.getpalette("RGB") or [])
    return found


def compressed(codec: Codec, image: Image.Image) -> bytes:
    """The file, decoded and compared."""
    data = codec.compress(image)
    if not np.array_equal(codec.decompress(data), np.asarray(image)):
        raise click.ClickException("the pixels did not come back")
    return data


def others(image: Image.Image) -> tuple[int, int]:
    """The bytes of optimised PNG and of lossless WebP."""
    shown, palette = image, 0
    if image.mode in ("1", "P", "LA"):
        shown = image.convert("RGBA" if image.mode == "LA" else "RGB")
        palette = len(image.getpalette() or ()) if image.mode == "P" else 0
    png = _size(image, "PNG", optimize=True)
    if image.mode.startswith("I"):  # WebP has 8 bits
        return png, png
    return png, palette + _size(shown, "WEBP", lossless=True, exact=True, method=6)


def _size(image: Image.Image, form: str, **options: Any) -> int:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.tell()


if __name__ == "__main__":
    main()
