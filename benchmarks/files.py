"""PNG and JPEG files as they come: what their copies take, metadata and all, beside lossless WebP and JPEG XL.

Usage: python benchmarks/files.py FOLDER [--model default] [--csv results/files.csv]

Each file is compressed, restored and compared: pixels and metadata of PNGs, bytes of JPEGs. WebP (method 6) and JPEG XL
(effort 7) hold the pixels of PNGs alone; JPEG XL holds JPEG files by its way to keep them, and where it refuses one, or
makes it larger, and WebP of a JPEG, the file itself counts. Pixels that WebP or JPEG XL cannot hold count as PNG.
"""

from __future__ import annotations

import csv
import io
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import click
import imagecodecs
import numpy as np
from PIL import Image

import lgcodec
from lgcodec import Codec, readers
from lgcodec.cli.bench import measure as bench

HERE = Path(__file__).parent


class Row(NamedTuple):
    """One file: bytes of it and of its copies, and seconds of processor time, both ways."""

    file: str
    kind: str
    pixels: int
    bytes: int
    webp: int
    jxl: int
    ours: int
    compress: float
    decompress: float
    origin: str
    model: str


def webp(image: Image.Image) -> int:
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=True, quality=100, method=6, exact=True)
    return len(file.getvalue())


def peers(data: bytes, kind: str) -> tuple[int, int]:
    """Bytes by WebP and by JPEG XL."""
    if kind == "JPEG":
        try:
            return len(data), min(len(data), len(imagecodecs.jpegxl_encode_jpeg(data)))
        except imagecodecs.JpegxlError:
            return len(data), len(data)
    image: Image.Image = Image.open(io.BytesIO(data))
    if image.mode in ("P", "1"):
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    try:
        small = webp(image if image.mode in ("RGB", "RGBA") else image.convert("RGBA" if "A" in image.mode else "RGB"))
    except (OSError, ValueError):
        small = len(data)
    if image.mode.startswith("I"):
        small = len(data)
    samples = np.asarray(image).astype(np.uint16) if image.mode.startswith("I") else np.asarray(image)
    return small, len(imagecodecs.jpegxl_encode(np.ascontiguousarray(samples), lossless=True, effort=7))


def measure(path: Path, codec: Codec, model: str) -> Row:
    """Raises ClickException where a file does not come back."""
    data = path.read_bytes()
    kind = "JPEG" if data[:2] == b"\xff\xd8" else "PNG"
    start = time.process_time()
    picture = readers.read(data, keep=True)
    packed = codec.compress(picture)
    middle = time.process_time()
    back = codec.decode(packed)
    end = time.process_time()
    if kind == "JPEG":
        same = back.file == data
    else:
        same = back.chunks == picture.chunks and np.array_equal(back.array(), picture.array())
    if not same:
        raise click.ClickException(f"{path} did not come back")
    sizes = len(data), *peers(data, kind), len(packed)
    origin = lgcodec.inspect(packed).origin or ""
    return Row(path.name, kind, picture.area, *sizes, middle - start, end - middle, origin, model)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", "models", multiple=True, default=("default",), show_default=True)
@click.option("--csv", "out", type=click.Path(path_type=Path), default=HERE / "results" / "files.csv")
def main(folder: Path, models: tuple[str, ...], out: Path) -> None:
    where, rows = bench.environment(1, "cpu"), list[Row]()
    for model in models:
        codec = Codec(model, threads=1, verify=False)
        for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg")):
            try:
                row = measure(path, codec, model)
            except lgcodec.LgcodecError as error:
                click.echo(f"{path.name}: {error}")
                continue
            rows.append(row)
            sizes = f"{row.bytes:9,} webp {row.webp:9,} jxl {row.jxl:9,} lgcodec {row.ours:9,}"
            click.echo(f"{row.file:32.32} {row.kind:4} {sizes}  {row.origin}")
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*Row._fields, *vars(where)])
        writer.writerows([*row, *vars(where).values()] for row in rows)
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.model, row.kind].append(row)
    for (model, kind), some in groups.items():
        total, pixels = sum(row.bytes for row in some), sum(row.pixels for row in some) / 1e6
        shares = {name: sum(getattr(row, name) for row in some) / total for name in ("webp", "jxl", "ours")}
        larger = {name: sum(row.ours > getattr(row, name) for row in some) for name in ("bytes", "webp", "jxl")}
        speeds = [pixels / sum(getattr(row, way) for row in some) for way in ("compress", "decompress")]
        click.echo(
            f"{model}, {len(some)} {kind}: {total:,} bytes; of them "
            f"{', '.join(f'{name} {share:.3f}' for name, share in shares.items())}; "
            f"{speeds[0]:.2f} / {speeds[1]:.2f} MP/s of one core; larger than {larger}"
        )


if __name__ == "__main__":
    main()
