"""Pictures that were JPEGs: photographs that Pillow saved as such and decoded, with and without a look for origins.

Usage: python benchmarks/decoded_jpegs.py FOLDER [--count 4] [--side 384] [--csv results/decoded_jpegs.csv]
       python benchmarks/decoded_jpegs.py FOLDER --found [--model best --model default] [--csv results/found_jpegs.csv]

With --found the pictures are taken as they are: they may have been JPEGs. Each file is decoded and compared. `jpeg` and
`transcode` are the JPEG's bytes, and those of JPEG XL's way to keep it; of found ones, the JPEG of all planes that an
origin holds, if it does.
"""

from __future__ import annotations

import csv
import io
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import imagecodecs
import numpy as np
from PIL import Image, ImageDraw

import lgcodec
from lgcodec import Codec, container
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
    model: str

    @property
    def kind(self) -> str:
        """What was found."""
        if " coefficients" in self.origin:
            return "luma coefficients" if "luma" in self.origin else "coefficients"
        return "levels" if "levels" in self.origin else self.origin if self.origin == "none" else "planes"


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


def measure(codec: Codec, image: Image.Image) -> tuple[bytes, float, str]:
    """The file, which came back, seconds of processor time, and the origin."""
    start = time.process_time()
    data = codec.compress(image)
    seconds = time.process_time() - start
    if not np.array_equal(codec.decompress(data), np.asarray(image)):
        raise click.ClickException("the pixels did not come back")
    return data, seconds, lgcodec.inspect(data).origin or "none"


def held(data: bytes, area: int) -> bytes:
    """The JPEG that an origin of coefficients holds."""
    return lgcodec.restore(container.read(data, max_pixels=area).pieces[1])


def drawn(paths: Sequence[Path], side: int) -> Iterator[tuple[str, int, str, str, bytes, Image.Image]]:
    """Name, and `cases`, of squares from the middle of pictures."""
    for path in paths:
        photo = Image.open(path).convert("RGB")
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        for case in cases(photo.crop((left, top, left + side, top + side))):
            yield path.stem, *case


def found(paths: Sequence[Path]) -> Iterator[tuple[str, int, str, str, bytes, Image.Image]]:
    """The same of pictures as they are, of which no JPEG is known."""
    for path in paths:
        yield path.stem, 0, "", "found", b"", Image.open(path)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--count", default=4, show_default=True, help="How many photographs, evenly spread by name.")
@click.option("--side", default=384, show_default=True, help="Of the square from the middle of each.")
@click.option("--found", "as_found", is_flag=True, help="Take the pictures as they are.")
@click.option("--model", "models", multiple=True, default=("best",), show_default=True)
@click.option("--csv", "out", type=click.Path(path_type=Path), default=HERE / "results" / "decoded_jpegs.csv")
def main(folder: Path, count: int, side: int, as_found: bool, models: tuple[str, ...], out: Path) -> None:
    where = bench.environment(None, "auto")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".webp"))
    rows: list[Row] = []
    some = paths[:: max(1, len(paths) // count)][:count]
    for name, quality, sampling, edit, jpeg, image in found(paths) if as_found else drawn(some, side):
        for model in models:
            none, _, _ = measure(Codec(model=model, origin="none", verify=False), image)
            auto, seconds, origin = measure(Codec(model=model, verify=False), image)
            area = image.width * image.height
            row = Row(name, quality, sampling, edit, area, 0, 0, len(none), len(auto), seconds, origin, model)
            known = held(auto, area) if as_found and row.kind == "coefficients" else jpeg
            transcode = len(imagecodecs.jpegxl_encode_jpeg(known)) if known and edit in ("whole", "found") else 0
            rows.append(row := row._replace(jpeg=len(known), transcode=transcode))
            click.echo(
                f"{name:30.30} {model} q {quality} {sampling} {edit:8} jpeg {len(known):7,} xl {transcode:7,} "
                f"none {row.none:7,} auto {row.auto:7,} ({row.auto / row.none:.3f}) {seconds:5.1f} s  {origin}"
            )
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*Row._fields, *vars(where)])
        writer.writerows([*row, *vars(where).values()] for row in rows)
    for model in models:
        own = [row for row in rows if row.model == model]
        for field in ("kind",) if as_found else ("quality", "sampling", "edit"):
            groups = defaultdict(list)
            for row in own:
                groups[getattr(row, field)].append(row)
            for value, group in groups.items():
                click.echo(f"{model}, {field} {value}: {summary(group)}")
        click.echo(f"{model}, all: {summary(own)}")


def summary(rows: Sequence[Row]) -> str:
    """Sizes of some pictures together."""
    none, auto = sum(row.none for row in rows), sum(row.auto for row in rows)
    samples = 3 * sum(row.pixels for row in rows)
    shown = (
        f"{len(rows)} pictures, {8 * none / samples:.3f} to {8 * auto / samples:.3f} bits a sample ({auto / none:.3f})"
    )
    whole = [row for row in rows if row.transcode]
    beside = sum(row.auto for row in whole) / max(1, sum(row.transcode for row in whole))
    return shown + (f"; {beside:.3f} of JPEG XL's transcode of {len(whole)}" if whole else "")


if __name__ == "__main__":
    main()
