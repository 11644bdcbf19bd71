"""Image files that keep every pixel, to write a decoded picture into."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lgcodec.errors import InputError
from lgcodec.image import Picture

PNG = ".png"
_ROWS = 256  # that are compared at a time
_TIFF = ("TIFF", {"compression": "tiff_adobe_deflate"})
_PPM: tuple[str, dict[str, Any]] = ("PPM", {})
# Pillow's name and options by suffix; PNG has a writer of our own, which keeps depth and chunks
_OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".webp": ("WEBP", {"lossless": True, "exact": True, "method": 4}),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": ("BMP", {}),
    ".ppm": _PPM,
    ".pgm": _PPM,
    ".pbm": _PPM,
    ".pnm": _PPM,
    ".tga": ("TGA", {}),
}


def suffix_of(target: Path | None) -> str:
    """The format that a target's name asks for: PNG where it does not say. Raises InputError for a lossy one."""
    suffix = PNG if target is None else target.suffix.lower() or PNG
    if suffix != PNG and suffix not in _OTHERS:
        kept = ", ".join(name[1:] for name in (PNG, *_OTHERS))
        raise InputError(f"{suffix} files would not keep every pixel, or are unknown (there are: {kept})")
    return suffix


def named(name: str) -> str:
    """The name that a picture called `name` is restored under: PNG where its own format would not keep every pixel."""
    return name if Path(name).suffix.lower() in (PNG, *_OTHERS) else name + PNG


def write(picture: Picture, file: BinaryIO, suffix: str, *, check: bool) -> None:
    """Writes the picture. Raises InputError where the format would change its pixels.

    check: read PNG back as well, although its writer is our own and always keeps them.
    """
    image = picture.image() if check or suffix != PNG else None
    if suffix == PNG:
        picture.write_png(file)
    elif image is not None:
        name, options = _OTHERS[suffix]
        try:
            _save(image, file, name, options)
        except (OSError, ValueError) as error:
            raise InputError(f"{suffix} cannot hold this image: {error}") from error
    if image is not None:
        file.seek(0)
        with Image.open(file) as back:
            if not _is_same(back, image):
                raise InputError(f"{suffix} does not keep every pixel of mode {picture.mode.pillow} (use .png)")


def grid_of(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures of one size side by side on white, in about as many rows as columns."""
    columns = math.ceil(math.sqrt(len(pictures)))
    height, width = (side + 2 for side in pictures[0].shape[:2])
    rows = -(-len(pictures) // columns)
    grid = np.full((rows * height + 2, columns * width + 2, *pictures[0].shape[2:]), 255, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * height + 2, i % columns * width + 2
        grid[y : y + height - 2, x : x + width - 2] = picture
    return grid


def _save(image: Image.Image, file: BinaryIO, name: str, options: dict[str, Any]) -> None:
    """Saves in the image's own mode, or where the format has none such, in colours."""
    try:
        image.save(file, name, **options)
    except OSError:
        file.seek(0)
        file.truncate()
        image.convert("RGBA" if image.has_transparency_data else "RGB").save(file, name, **options)


def _is_same(a: Image.Image, b: Image.Image) -> bool:
    """Whether two images show the same pixels: of 16 bits as they are, others by their colours and alpha."""
    if a.size != b.size or a.mode.startswith("I") != b.mode.startswith("I"):
        return False
    return all(_shown(a, y) == _shown(b, y) for y in range(0, a.height, _ROWS))


def _shown(image: Image.Image, y: int) -> bytes:
    """What some rows from y on show."""
    strip = image.crop((0, y, image.width, min(y + _ROWS, image.height)))
    if strip.mode.startswith("I"):
        return np.asarray(strip).astype(np.uint16).tobytes()
    return strip.convert("RGBA").tobytes()
