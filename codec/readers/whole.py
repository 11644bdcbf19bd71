"""What is known to be read whole by Pillow, and how; what readers of formats share."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from lgcodec import metadata
from lgcodec.errors import InputError, LgcodecError, too_large
from lgcodec.image import BY_PILLOW, Picture, Samples
from lgcodec.metadata import Chunk

# Image mode and raw mode of each format of Pillow's whose pixels are all read; the formats in _CAREFUL say more.
WHOLE: dict[str, set[tuple[str, str]]] = {
    "BMP": {("1", "1"), ("P", "P;1"), ("P", "P;4"), ("P", "P"), ("L", "L"), ("L", "L;1"), ("L", "L;4")}
    | {("RGB", "BGR"), ("RGB", "BGR;15"), ("RGB", "BGR;16"), ("RGB", "BGRX"), ("RGBA", "BGRA")},
    "TGA": {("1", "1"), ("L", "L"), ("LA", "LA"), ("P", "P"), ("RGB", "BGR"), ("RGBA", "BGRA")},
    "QOI": {("RGB", "RGB"), ("RGBA", "RGBA")},
    "JPEG": {("L", "L"), ("RGB", "RGB")},
    "GIF": {("L", "L"), ("P", "P")},
    "WEBP": {("RGB", "RGB"), ("RGBA", "RGBA")},
    "AVIF": {("RGB", "RGB"), ("RGBA", "RGBA")},
    "JPEG2000": {("L", "L"), ("LA", "LA"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("I;16", "I;16")},
    "TIFF": {("1", ""), ("L", ""), ("LA", ""), ("P", ""), ("RGB", ""), ("RGBA", ""), ("I;16", ""), ("I;16B", "")},
}
# The two halves of each sample, where Pillow reads only one: raw modes of the first and of the second byte
HALVES = {"RGB": ("RGB;16B", "RGB;16L"), "RGBA": ("RGBA;16B", "RGBA;16L")}


@contextmanager
def decoding() -> Iterator[None]:
    """What decoders raise for files they cannot read, as our errors: Pillow's raise anything at all."""
    try:
        yield
    except (LgcodecError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        area, limit = re.findall(r"\d+", str(error))[:2]
        raise too_large(f"an image of {area}", int(limit)) from error
    except UnidentifiedImageError as error:
        raise InputError("damaged image file: its first bytes say nothing of what it shows") from error
    except OSError as error:
        if error.errno is not None:  # of the path, not of the pixels
            raise
        raise InputError(f"damaged image file: {error}") from error
    except Exception as error:
        raise InputError(f"damaged image file: {str(error) or type(error).__name__}") from error


def refuse_several(count: int, what: str) -> None:
    if count > 1:
        raise InputError(f"a file of {count} {what}: only single images are kept, and the others would be lost")


def refuse_large(width: int, height: int) -> None:
    """Pillow's limit, for what it does not read. Raises LimitError."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > 2 * limit:
        raise too_large(f"an image of {width} x {height}", 2 * limit)


def raw_mode(image: Image.Image) -> str:
    """How Pillow is about to read the pixels."""
    for tile in getattr(image, "tile", []):
        arguments = tile[3] if isinstance(tile[3], tuple) and tile[0] != "jpeg2k" else (tile[3],)
        return next((argument for argument in arguments if isinstance(argument, str)), image.mode)
    return image.mode


def whole(
    image: Image.Image,
    lost: tuple[str, ...] = (),
    extra: tuple[Chunk, ...] = (),
    info: dict[Any, Any] | None = None,
) -> Picture:
    """The picture of an image that Pillow reads whole, with what its `info` says, or another one."""
    image.load()
    mode = BY_PILLOW.get("I;16" if image.mode.startswith("I;16") else image.mode)
    if mode is None:
        raise InputError(f"mode {image.mode} cannot be kept exactly: convert to one of {', '.join(BY_PILLOW)}")
    if 0 in image.size:
        raise InputError("an image without pixels")
    chunks = metadata.of_image(image, image.info if info is None else info)
    return Picture(mode, *image.size, mode.depths[-1], (*chunks, *extra), image, lost)


def reread(data: bytes, name: str, raw: str) -> Samples:
    """The pixels of a file as Pillow reads them under another raw mode, uint8 [H, W, C]."""
    with Image.open(io.BytesIO(data), formats=["PNG", "TIFF", "BMP"]) as opened:
        image: Any = opened
        arguments = [(raw, *tile[3][1:]) if isinstance(tile[3], tuple) else raw for tile in image.tile]
        image.tile = [tile._replace(args=args) for tile, args in zip(image.tile, arguments, strict=True)]
        image._mode = name
        return np.asarray(image)


def optional(package: str, what: str) -> Any:
    """A package that reads what Pillow does not. Raises InputError where it is not installed."""
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError as error:
        raise InputError(f"{what} needs the package {package} (pip install {package})") from error
