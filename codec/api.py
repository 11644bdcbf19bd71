"""One call each: the functions of the package. `options` are the fields of `Codec`, by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lgcodec.boxes import Box
from lgcodec.codec import Codec
from lgcodec.files import Data, is_url, opened, write_atomically
from lgcodec.image import Source
from lgcodec.options import Model
from lgcodec.work import Progress

if TYPE_CHECKING:
    from typing_extensions import Unpack


class CodecOptions(TypedDict, total=False):
    """See `Codec`."""

    model: Model
    device: str
    threads: int | None
    effort: int
    verify: bool
    tile: tuple[int, int] | None
    max_pixels: int | None
    origin: str
    pixels: bool


def compress(image: Source, *, progress: Progress | None = None, **options: Unpack[CodecOptions]) -> bytes:
    """The compressed file of an image. Arguments and errors as in `Codec.compress`."""
    return Codec(**options).compress(image, progress=progress)


def decompress(
    data: Data, *, region: Box | None = None, progress: Progress | None = None, **options: Unpack[CodecOptions]
) -> NDArray[Any]:
    """The identical pixels. Arguments, result and errors as in `Codec.decompress`."""
    return Codec(**options).decompress(data, region=region, progress=progress)


def restore(data: Data, *, progress: Progress | None = None, **options: Unpack[CodecOptions]) -> bytes:
    """The identical image file, of files that keep one (JPEG). As `Codec.restore`."""
    return Codec(**options).restore(data, progress=progress)


def open(file: Data, *, progress: Progress | None = None, **options: Unpack[CodecOptions]) -> Image.Image:
    """The Pillow image in an lgcodec file (path, file object or bytes), with its mode, palette and `info`.

    Raises OSError where the file cannot be read, and as `Codec.decompress` does.
    """
    return Codec(**options).decode(file, progress=progress).image()


def save(
    file: str | os.PathLike[str] | IO[bytes],
    image: Source,
    *,
    progress: Progress | None = None,
    **options: Unpack[CodecOptions],
) -> int:
    """Compresses an image into a file, which appears whole or not at all; returns its bytes' number.

    file: a path or a URL for fsspec, which is replaced if it exists, or a writable file object.
    Raises OSError, and as `Codec.compress` does.
    """
    data = compress(image, progress=progress, **options)
    if is_url(file):
        with opened(str(file), "wb") as remote:
            remote.write(data)
    elif isinstance(file, (str, os.PathLike)):
        write_atomically(Path(file), data)
    else:
        file.write(data)
    return len(data)


def verify(data: Data, *, progress: Progress | None = None, **options: Unpack[CodecOptions]) -> None:
    """Decodes a file and checks every checksum and the pixels' digest. Raises as `Codec.decompress` does."""
    Codec(**options).decode(data, progress=progress)


def preview(data: Data, **options: Unpack[CodecOptions]) -> NDArray[np.uint8]:
    """A picture near the image, from the first few bytes of its file. As `Codec.preview`."""
    return Codec(**options).preview(data)


def score(image: Source, **options: Unpack[CodecOptions]) -> float:
    """Bits per dim of an image under a model. As `Codec.score`."""
    return Codec(**options).score(image)
