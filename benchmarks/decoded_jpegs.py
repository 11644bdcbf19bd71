"""Pictures that were JPEGs: photographs that Pillow saved as such and decoded, with and without a look for origins.

Usage: python benchmarks/decoded_jpegs.py FOLDER [--count 4] [--side 384] [--csv results/decoded_jpegs.csv]

Each file is decoded and compared. `jpeg` and `transcode` are the JPEG's bytes, and those of JPEG XL's way to keep it.
"""

from __future__ import annotations

import csv
import io
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import imagecodecs
import numpy as np
from PIL import Image, ImageDraw

from lgcodec import Codec
from lgcodec.cli.bench import measure as bench

HERE = Path(__file__).parent
QUALITIES, SAMPLINGS = (75, 85, 92, 95), {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}


class Row(NamedTuple):
    """What a picture takes, in bytes. origin: what `--origin auto` found. seconds: of processor time to compress so."""

    image: str
    quality: int
    sampling: str
    edit: str
    pixels: int
    jpeg: int
    transcode: int
    none: int
    auto: int
    seconds: float
    origin: str


def edited(image: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    """The picture as it is, cropped at odd places, turned, and with a logo pasted in."""
    width, height = image.size
    yield "whole", image
    yield "cropped", image.crop((13, 7, width - 6, height - 11))
    yield "turned", image.transpose(Image.Transpose.ROTATE_90)
    marked = image.copy()
    draw = ImageDraw.Draw(marked)
    draw.rectangle((width // 2, height - 50, width - 20, height - 15), fill=(200, 30, 40))
    draw.text((width // 2 + 8, height - 42), "lgcodec", fill="white", font_size=24)
    yield "logo", marked


def cases(photo: Image.Image) -> Iterator[tuple[int, str, str, bytes, Image.Image]]:
    """Quality, sampling, edit, the JPEG file and what is made of it."""
    for quality in QUALITIES:
        for name, number in SAMPLINGS.items():
            file = io.BytesIO()
            photo.save(file, "JPEG", quality=quality, subsampling=number)
            shown = Image.open(io.BytesIO(file.getvalue()))
            shown.load()
            bare = Image.frombytes(shown.mode, shown.size, shown.tobytes())
            for edit, image in edited(bare):
                if edit == "whole" or quality == 85:
                    yield quality, name, edit, file.getvalue(), image


def measure(codec: Codec, image: Image.Image) -> tuple[int, float, str]:
    """Bytes, seconds of processor time and origin of a file that came back."""
    from lgcodec import inspect

    start = time.process_time()
    data = codec.compress(image)
    seconds = time.process_time() - start
    if not np.array_equal(codec.decompress(data), np.asarray(image)):
        raise click.ClickException("the pixels did not come back")
    return len(data), seconds, inspect(data).origin or "none"


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--count", default=4, show_default=True, help="How many photographs, evenly spread by name.")
@click.option("--side", default=384, show_default=True, help="Of the square from the middle of each.")
@click.option("--model", default="best", show_default=True)
@click.option("--csv", "out", type=click.Path(path_type=Path), default=HERE / "results" / "decoded_jpegs.csv")
def main(folder: Path, count: int, side: int, model: str, out: Path) -> None:
    where = bench.environment(None, "auto")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".webp"))
    rows: list[Row] = []
    for path in paths[:: max(1, len(paths) // count)][:count]:
        photo = Image.open(path).convert("RGB")
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        for quality, sampling, edit, jpeg, image in cases(photo.crop((left, top, left + side, top + side))):
            none, _, _ = measure(Codec(model=model, origin="none", verify=False), image)
            auto, seconds, origin = measure(Codec(model=model, verify=False), image)
            transcode = len(imagecodecs.jpegxl_encode_jpeg(jpeg)) if edit == "whole" else 0
            what = (path.stem, quality, sampling, edit, image.width * image.height)
            rows.append(Row(*what, len(jpeg), transcode, none, auto, seconds, origin))
            click.echo(
                f"{path.stem:24.24} q {quality} {sampling} {edit:8} jpeg {len(jpeg):7,} none {none:7,} "
                f"auto {auto:7,} ({auto / none:.3f}) {seconds:5.1f} s  {origin}"
            )
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*Row._fields, "model", *vars(where)])
        writer.writerows([*row, model, *vars(where).values()] for row in rows)
    for field in ("quality", "sampling", "edit"):
        groups = defaultdict(list)
        for row in rows:
            groups[getattr(row, field)].append(row)
        for name, some in groups.items():
            none, auto = sum(row.none for row in some), sum(row.auto for row in some)
            whole = [row for row in some if row.transcode]
            beside = sum(row.auto for row in whole) / max(1, sum(row.transcode for row in whole))
            shown = f", {beside:.3f} of JPEG XL's transcode where whole" if whole else ""
            click.echo(f"{field} {name}: {auto / none:.3f} of --origin none{shown}")
    none, auto = sum(row.none for row in rows), sum(row.auto for row in rows)
    click.echo(f"{len(rows)} pictures: {auto:,} of {none:,} bytes, {auto / none:.3f}")


if __name__ == "__main__":
    main()
