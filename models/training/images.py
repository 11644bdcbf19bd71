"""Training images: reading, augmentation, and what cameras and JPEG do to pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lgcodec.models.ycocg import ycocg

Pixels = NDArray[np.uint8]
REGION = 384  # pixels; the most of an image's side that is held ready at a time
LOSSLESS, JPEG = {".png", ".webp", ".ppm", ".bmp", ".tif", ".tiff"}, {".jpg", ".jpeg"}


def planes(rgb: Pixels) -> NDArray[np.int16]:
    """[H, W, 3] -> a model's tile, YCoCg-R [3, H, W]."""
    return ycocg(np.ascontiguousarray(rgb.transpose(2, 0, 1), np.int16))


def read_images(folders: Sequence[Path], smallest: int) -> list[Pixels]:
    """The images below the folders, RGB, at least `smallest` pixels a side; JPEG is halved to lose its artefacts."""
    images = []
    for path in sorted(p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in LOSSLESS | JPEG):
        image = Image.open(path).convert("RGB")
        if path.suffix.lower() in JPEG:
            image = image.reduce(2)
        if min(image.size) >= smallest:
            images.append(np.asarray(image))
    if not images:
        where = ", ".join(map(str, folders))
        raise click.ClickException(f"{where}: no image (png, webp, ppm, bmp, tif, jpg) of {smallest} pixels a side")
    return images


def augment(rgb: Pixels, rng: np.random.Generator, processed: float = 0) -> Pixels:
    """A random region, flip, transposition and channel order, sometimes grey, sometimes grain, as of sensors.
    processed: the share that goes through `process`.
    """
    y, x = (rng.integers(max(side - REGION, 0) + 1) for side in rgb.shape[:2])
    rgb = rgb[y : y + REGION, x : x + REGION]
    if rng.random() < 0.5:
        rgb = rgb[:, ::-1]
    if rng.random() < 0.5:
        rgb = rgb.transpose(1, 0, 2)
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
