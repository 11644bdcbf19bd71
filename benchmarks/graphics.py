"""Whether anything grows: each image of a folder, of any mode, beside optimised PNG and lossless WebP of its pixels.

Usage: python benchmarks/graphics.py FOLDER [--csv results/graphics.csv]

Ends with exit code 1 where a file has more than 64 bytes above the smaller of the two, or all of them more than WebP's.
WebP keeps no palettes: where an image has one, its bytes are counted there.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from lgcodec import Codec
from lgcodec.cli import files
from lgcodec.cli.bench import measure as bench

HERE = Path(__file__).parent
SLACK = 64  # bytes


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default="default", show_default=True)
@click.option("--effort", type=click.IntRange(1, 9), default=3, show_default=True)
@click.option("--csv", "out", type=click.Path(path_type=Path), default=HERE / "results" / "graphics.csv")
def main(folder: Path, model: str, effort: int, out: Path) -> None:
    codec, where = Codec(model=model, effort=effort, verify=False), bench.environment(None, "auto")
    rows: list[tuple[str, str, int, int, int, int]] = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in files.IMAGES):
        try:
            image = bare(path)
        except OSError as error:
            click.echo(f"{path.name}: passed over: {error}", err=True)
            continue
        ours = len(compressed(codec, image))
        rows.append((str(path.relative_to(folder)), image.mode, image.width * image.height, *others(image), ours))
        shown = "  GREW" if has_grown(rows[-1]) else ""
        click.echo(f"{path.name:50.50} {image.mode:5} png {rows[-1][3]:9,} webp {rows[-1][4]:9,} ours {ours:9,}{shown}")
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "mode", "pixels", "png", "webp", "lgcodec", "model", "effort", *vars(where)])
        writer.writerows([*row, model, effort, *vars(where).values()] for row in rows)
    png, webp, ours = (sum(sizes) for sizes in zip(*(row[3:] for row in rows), strict=True))
    grown = sum(has_grown(row) for row in rows)
    click.echo(f"{len(rows)} images: png {png:,}, webp {webp:,}, lgcodec {ours:,} ({100 * (ours / webp - 1):+.1f} %)")
    click.echo(f"{grown} of them above the smaller one and {SLACK} bytes")
    raise SystemExit(int(bool(grown) or ours > webp))


def has_grown(row: tuple[str, str, int, int, int, int]) -> bool:
    return row[5] > min(row[3:5]) + SLACK


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
