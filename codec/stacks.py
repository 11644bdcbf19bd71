"""Arrays of images as bytes, for stores of chunks: one image is an .lgc file, several are a set.

A chunk is [..., H, W], or with channels [..., C, H, W] ("first") or [..., H, W, C] ("last"); what is left of the shape
counts images. Up to four channels of uint8 are one image, others are an image each. In a set, an image's name is its
number in C order, and `NUMBER/CHANNEL` where channels are images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec import sets
from lgcodec.codec import Codec
from lgcodec.errors import FormatError, InputError

LAYOUTS = (None, "first", "last")  # where an array has its channels
JOINED = 4  # channels of uint8 that one image can have


def check(shape: tuple[int, ...], dtype: np.dtype[Any], channels: str | None) -> None:
    """Raises InputError for arrays, or chunks of these, that are no images."""
    if channels not in LAYOUTS:
        raise InputError(f"channels are None, 'first' or 'last', not {channels!r}")
    if dtype.kind not in "u" or dtype.itemsize > 2:
        raise InputError(f"images are of uint8 or uint16, not {dtype}")
    sides = 2 if channels is None else 3
    if len(shape) < sides or 0 in shape:
        raise InputError(f"an array {list(shape)} does not have the {sides} sides of an image, none of them 0")


def is_joined(count: int, itemsize: int) -> bool:
    """Whether so many channels of samples of that many bytes are one image."""
    return itemsize == 1 and 1 <= count <= JOINED


def images(array: NDArray[Any], channels: str | None) -> dict[str, NDArray[Any]]:
    """The images of an array [..., H, W] or with channels, by name. Raises InputError."""
    check(array.shape, array.dtype, channels)
    if channels == "first":
        array = np.moveaxis(array, -3, -1)
    sides = 2 if channels is None else 3
    stack = array.reshape(-1, *array.shape[-sides:])
    if channels is None or is_joined(stack.shape[-1], array.itemsize):
        return {str(i): image for i, image in enumerate(stack)}
    return {f"{i}/{c}": image[..., c] for i, image in enumerate(stack) for c in range(stack.shape[-1])}


def joined(parts: Mapping[str, NDArray[Any]], channels: str | None) -> NDArray[Any]:
    """The inverse of `images` but for the shape: [N, H, W], or with channels. Raises FormatError."""
    if len({part.shape for part in parts.values()}) != 1:
        raise FormatError("the images of a chunk are not all of one size")
    stack = np.stack(list(parts.values()))
    count = len({name.partition("/")[2] for name in parts})
    if any("/" in name for name in parts):
        stack = np.moveaxis(stack.reshape(-1, count, *stack.shape[1:]), 1, -1)
    return np.moveaxis(stack, -1, 1) if channels == "first" and stack.ndim == 4 else stack


def encode(array: NDArray[Any], channels: str | None, codec: Codec) -> bytes:
    """A chunk's bytes. Raises InputError for what `check` refuses, and as `Codec.compress`.

    Without origins: a region of an image that is rendered would cost all of it, and looking for one most of the time.
    """
    parts = images(array, channels)
    files = replace(codec, origin="none").compress_batch(parts.values())
    return files[0] if len(files) == 1 else sets.write(dict(zip(parts, files, strict=True)))


def decode(data: bytes | memoryview, channels: str | None, codec: Codec) -> NDArray[Any]:
    """A chunk's images, [N, H, W] or with channels. Raises as `Codec.decompress`."""
    files: Mapping[str, Any] = sets.read(data) if bytes(data[:8]) == sets.MAGIC else {"0": data}
    return joined(dict(zip(files, codec.decompress_batch(files.values()), strict=True)), channels)
