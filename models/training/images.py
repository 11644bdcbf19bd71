"""Training images: reading, augmentation, what cameras and JPEG do to pictures, and the planes these come from."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lgcodec.models.ycocg import ycocg

Pixels = NDArray[np.uint8]
REGION = 384  # pixels; the most of an image's side that is held ready at a time
LOSSLESS, JPEG = {".png", ".webp", ".ppm", ".bmp", ".tif", ".tiff"}, {".jpg", ".jpeg"}
# Luma's offset and gain, then those of blue and red less luma, in conversions that images are rendered from: JFIF,
# BT.601 in video range, Photo CD.
CONVERSIONS = (
    ((0, 1), (128, 0.564), (128, 0.713)),
    ((16, 0.859), (128, 0.496), (128, 0.627)),
    ((0, 0.736), (156, 0.451), (137, 0.549)),
)


def planes(rgb: Pixels) -> NDArray[np.int16]:
    """[H, W, 3] -> a model's tile, YCoCg-R [3, H, W]."""
    return ycocg(np.ascontiguousarray(rgb.transpose(2, 0, 1), np.int16))


@dataclass(frozen=True)
class Photograph:
    """An image file. height, width: of what `read` returns. kind: the index of the folder it was found in."""

    path: Path
    height: int
    width: int
    kind: int = 0

    def read(self) -> Pixels:
        """RGB; JPEG is halved to lose its artefacts. Raises ClickException."""
        try:
            with Image.open(self.path) as file:
                image = file.convert("RGB")
        except (OSError, SyntaxError, ValueError) as e:
            raise click.ClickException(f"{self.path}: cannot be read: {e}") from e
        return np.asarray(image.reduce(2) if self.path.suffix.lower() in JPEG else image)


def find(folders: Sequence[Path], smallest: int) -> list[Photograph]:
    """The images below the folders of at least `smallest` pixels a side, by their headers. Raises ClickException."""
    found = []
    for kind, folder in enumerate(folders):
        for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in LOSSLESS | JPEG):
            try:
                with Image.open(path) as file:
                    width, height = file.size
            except (OSError, SyntaxError, ValueError) as e:
                raise click.ClickException(f"{path}: cannot be read: {e}") from e
            if path.suffix.lower() in JPEG:
                height, width = -(-height // 2), -(-width // 2)
            if min(height, width) >= smallest:
                found.append(Photograph(path, height, width, kind))
    if not found:
        where = ", ".join(map(str, folders))
        raise click.ClickException(f"{where}: no image (png, webp, ppm, bmp, tif, jpg) of {smallest} pixels a side")
    return found


def area(photographs: Sequence[Photograph]) -> int:
    """All their pixels."""
    return sum(photograph.height * photograph.width for photograph in photographs)


def read_images(folders: Sequence[Path], smallest: int) -> list[Pixels]:
    """The images below the folders, RGB, at least `smallest` pixels a side, all at once: for held-out ones."""
    return [photograph.read() for photograph in find(folders, smallest)]


def cut(rgb: Pixels, rng: np.random.Generator) -> Pixels:
    """A random region, flip and transposition."""
    y, x = (rng.integers(max(side - REGION, 0) + 1) for side in rgb.shape[:2])
    rgb = rgb[y : y + REGION, x : x + REGION]
    if rng.random() < 0.5:
        rgb = rgb[:, ::-1]
    return rgb.transpose(1, 0, 2) if rng.random() < 0.5 else rgb


def augment(rgb: Pixels, rng: np.random.Generator, processed: float = 0) -> Pixels:
    """`cut`, a random channel order, sometimes grey, sometimes grain, as of sensors. processed: the share that goes
    through `process`.
    """
    rgb = cut(rgb, rng)
    if rng.random() < 0.03:
        rgb = np.repeat(rgb[..., 1:2], 3, axis=2)
    if rng.random() < 0.05:
        rgb = rgb[..., ::-1]
    if rng.random() < 0.25:
        sigma = rng.uniform(0.5, 4)
        grain = rng.normal(0, sigma * 0.7, (*rgb.shape[:2], 1)) + rng.normal(0, sigma * 0.7, rgb.shape)
        rgb = np.clip(np.rint(rgb + grain), 0, 255).astype(np.uint8)
    if rng.random() < processed:
        rgb = process(np.ascontiguousarray(rgb), rng)
    return np.ascontiguousarray(rgb)


def process(rgb: Pixels, rng: np.random.Generator) -> Pixels:
    """What cameras and JPEG do: interpolation of a colour filter array, chroma of half the resolution, blocks."""
    H, W = rgb.shape[:2]
    kind = rng.integers(3)
    if kind == 0:
        y, x = (np.arange(n) + rng.integers(2) for n in (H, W))
        even, other = (y % 2 == 0)[:, None], (x % 2 == 0)[None]
        masks = np.stack([even & other, even ^ other, ~even & ~other], axis=2)  # red, green, blue (Bayer 1976)
        around = np.pad(rgb * masks, ((1, 1), (1, 1), (0, 0)), "reflect").astype(np.int32)
        rows = around[:-2] + 2 * around[1:-1] + around[2:]
        filled = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) // 4
        cross = (around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]) // 4
        filled[..., 1] = cross[..., 1] + around[1:-1, 1:-1, 1]
        result: Pixels = filled.astype(np.uint8)
        return result
    image = Image.fromarray(rgb)
    if kind == 1:
        luma, *chroma = image.convert("YCbCr").split()
        half = [c.resize(((W + 1) // 2, (H + 1) // 2), Image.Resampling.BOX) for c in chroma]
        whole = [c.resize((W, H), Image.Resampling.BILINEAR) for c in half]
        return np.asarray(Image.merge("YCbCr", (luma, *whole)).convert("RGB"))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(75, 99)), subsampling=int(rng.integers(3)))
    return np.asarray(Image.open(file).convert("RGB"))


def half(plane: NDArray[np.float32], triangle: bool = False) -> NDArray[np.float32]:
    """A plane of half the size: means of two by two, or weights 1, 2, 1 of each row and column around even places."""
    H, W = (n // 2 * 2 for n in plane.shape)
    if not triangle:
        means: NDArray[np.float32] = plane[:H, :W].reshape(H // 2, 2, W // 2, 2).mean(axis=(1, 3))
        return means
    around = np.pad(plane[:H, :W], ((1, 0), (1, 0)), "edge")
    rows = around[:-1:2] + 2 * around[1::2] + around[2::2]
    weighed: NDArray[np.float32] = (rows[:, :-1:2] + 2 * rows[:, 1::2] + rows[:, 2::2]) / 16
    return weighed


def converted(rgb: Pixels, conversion: int, triangle: bool = False) -> list[Pixels]:
    """Luma [H, W] and two planes of chroma [H // 2, W // 2] of one of CONVERSIONS."""
    red, green, blue = (rgb[..., c].astype(np.float32) for c in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    made = (luma, half(blue - luma, triangle), half(red - luma, triangle))
    scaled = (offset + gain * plane for plane, (offset, gain) in zip(made, CONVERSIONS[conversion], strict=True))
    return [np.clip(np.rint(plane), 0, 255).astype(np.uint8) for plane in scaled]


def single(rgb: Pixels, rng: np.random.Generator, smallest: int, processed: float = 0) -> Pixels:
    """One plane of a random conversion, luma as often as chroma, of at least `smallest` pixels a side where rgb is.
    processed: the share that is coded as JPEG.
    """
    luma, *chroma = converted(rgb, int(rng.integers(len(CONVERSIONS))), bool(rng.integers(2)))
    plane = chroma[rng.integers(2)]
    if rng.random() < 0.5 or min(plane.shape) < smallest:
        plane = luma
    if rng.random() < processed:
        file = io.BytesIO()
        Image.fromarray(plane).save(file, "JPEG", quality=int(rng.integers(75, 99)))
        plane = np.asarray(Image.open(file))
    return plane
