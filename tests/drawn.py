"""Drawn images, most of them rendered from something: the same pixels, in no larger a file than without origins.

`python tests/drawn.py --count 10000` is for the night; a failure prints the seed that repeats it.
"""

from __future__ import annotations

import io
import time
from collections import Counter

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from test_origins import scene

import lgcodec
from lgcodec import Codec
from lgcodec.origins.conversions import CONVERSIONS, FOUR_FOUR_FOUR

Samples = NDArray[np.uint8]
NOISE = 0.1  # of the images are no more than that


def rendered(random: np.random.Generator, size: tuple[int, int]) -> Samples:
    """Planes by one of our own conversions and enlargements."""
    conversion = int(random.integers(len(CONVERSIONS)))
    known = (*CONVERSIONS[conversion].enlargements, FOUR_FOUR_FOUR)
    return scene(random, conversion, known[int(random.integers(len(known)))], size, int(random.integers(10, 90)))


def decoded(random: np.random.Generator, size: tuple[int, int]) -> Samples:
    """What a JPEG or a lossy WebP shows, by Pillow."""
    shown, file = Image.fromarray(rendered(random, size)), io.BytesIO()
    shown = shown.convert("L") if random.random() < 0.2 else shown
    quality = int(random.integers(30, 98))
    if random.random() < 0.8:
        shown.save(file, "JPEG", quality=quality, subsampling=int(random.integers(3)))
    else:
        shown.save(file, "WEBP", quality=quality)
    return np.asarray(Image.open(io.BytesIO(file.getvalue())))


def stretched(random: np.random.Generator, size: tuple[int, int]) -> Samples:
    """Levels with gaps."""
    used = np.sort(random.choice(256, int(random.integers(2, 200)), replace=False)).astype(np.uint8)
    return used[rendered(random, size).astype(int) * len(used) // 256]


def edited(random: np.random.Generator, image: Samples) -> Samples:
    """Cropped, turned, mirrored, with a box pasted in, with pixels changed: each of these or not."""
    y, x, bottom, right = (int(n) for n in random.integers(0, 9, 4))
    image = image[y : image.shape[0] - bottom, x : image.shape[1] - right]
    image = np.rot90(image[:, ::-1] if random.random() < 0.3 else image, int(random.integers(4))).copy()
    if random.random() < 0.3:
        top, left = (int(random.integers(0, n)) for n in image.shape[:2])
        image[top : top + 20, left : left + 25] = random.integers(0, 256, image.shape[2:])
    if random.random() < 0.3:
        some = random.random(image.shape[:2]) < random.random() ** 4
        image[some] = random.integers(0, 256, (int(some.sum()), *image.shape[2:]))
    return image


def image_of(seed: int) -> Samples:
    random = np.random.default_rng(seed)
    size = tuple(int(n) for n in random.integers(24, 80, 2))
    if random.random() < NOISE:
        return random.integers(0, 256, (*size, 3)).astype(np.uint8)
    make = (rendered, decoded, decoded, stretched)[int(random.integers(4))]
    return edited(random, make(random, (size[0], size[1])))


def outcome(seed: int) -> str:
    """The origin that was found. Raises AssertionError where pixels are others, or the file is larger for it."""
    image = image_of(seed)
    data = Codec(model="fast", threads=1).compress(image)
    if not np.array_equal(lgcodec.decompress(data, threads=1), image):
        raise AssertionError(f"seed {seed}: other pixels")
    without = len(Codec(model="fast", threads=1, origin="none", verify=False).compress(image))
    if len(data) > without:
        raise AssertionError(f"seed {seed}: {len(data):,} bytes, and {without:,} without an origin")
    name = lgcodec.inspect(data).origin or "none"
    return "levels" if name.startswith("levels") else name


@click.command()
@click.option("--count", default=10_000, show_default=True, help="How many images.")
@click.option("--seed", default=0, show_default=True, help="Of the first one; the others follow.")
def main(count: int, seed: int) -> None:
    """Compress drawn images; ends at the first whose pixels are others, or whose file grew."""
    start, counts = time.perf_counter(), Counter[str]()
    for number in range(1, count + 1):
        counts[outcome(seed + number - 1)] += 1
        if number % 500 == 0 or number == count:
            shown = ", ".join(f"{n} {name}" for name, n in counts.most_common())
            click.echo(f"seeds {seed} to {seed + number - 1}: {shown}; {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
