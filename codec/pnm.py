"""PBM, PGM and PPM files, exactly: any maxval, plain or binary, 8 and 16 bits.

Samples are scaled to 8 or 16 bits, so that they look as they should everywhere; the file's own maxval is remembered,
and brings its numbers back, because no two of them are scaled to the same one. Samples above their maxval, which some
programs write, stay as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from lgcodec.errors import InputError, too_large

_SPACE = b" \t\r\n\v\f"
_CHANNELS = {1: 1, 2: 1, 3: 3}


@dataclass(frozen=True)
class Anymap:
    """samples: bool [H, W], uint8 or uint16 [H, W] or [H, W, 3]. maxval, is_scaled: of the file.

    rest: the bytes after the image.
    """

    samples: NDArray[np.generic]
    maxval: int
    is_scaled: bool
    comments: tuple[str, ...]
    rest: bytes


def is_anymap(data: bytes) -> bool:
    return len(data) > 2 and data[:1] == b"P" and data[1:2] in b"123456" and data[2:3] in _SPACE + b"#"


def read(data: bytes, max_pixels: int | None) -> Anymap:
    """The first image in a file. Raises InputError where it is damaged, and LimitError.

    max_pixels: the largest image that is read.
    """
    kind = data[1] - ord("0")
    fields, comments, place = _header(data, 2 if kind in (1, 4) else 3)
    width, height = fields[:2]
    maxval = 1 if kind in (1, 4) else fields[2]
    if not 0 < maxval < 1 << 16 or not width or not height:
        raise InputError("damaged PNM file: width, height and maxval are at least 1, and maxval at most 65535")
    if max_pixels is not None and width * height > max_pixels:
        raise too_large(f"an image of {width} x {height}", max_pixels)
    shape = (height, width, 3) if kind in (3, 6) else (height, width)
    count = int(np.prod(shape, dtype=np.int64))
    if kind < 4:
        values, rest = _plain(data[place:], count, digits=kind == 1)
    else:
        size = height * -(-width // 8) if kind == 4 else count * (1 if maxval < 256 else 2)
        raw, rest = data[place : place + size], data[place + size :]
        if len(raw) < size:
            raise InputError(f"truncated PNM file: {len(raw)} of {size} bytes of pixels")
        values = np.frombuffer(raw, np.uint8 if maxval < 256 else ">u2").astype(np.int64)
        if kind == 4:
            values = np.unpackbits(values.astype(np.uint8).reshape(height, -1), axis=1)[:, :width].astype(np.int64)
    values = values.reshape(shape)
    if kind in (1, 4):
        return Anymap(values == 0, 1, True, comments, rest)
    is_scaled = int(values.max()) <= maxval
    samples = scaled(values, maxval) if is_scaled else values.astype(np.uint8 if maxval < 256 else np.uint16)
    return Anymap(samples, maxval, is_scaled, comments, rest)


def scaled(values: NDArray[np.int64], maxval: int) -> NDArray[np.generic]:
    """Values 0 .. maxval as uint8 or, above 255, uint16 of the full range."""
    top = 255 if maxval < 256 else 65535
    return ((2 * values * top + maxval) // (2 * maxval)).astype(np.uint8 if top == 255 else np.uint16)


def unscaled(samples: NDArray[np.generic], maxval: int) -> NDArray[np.int64]:
    """The inverse of `scaled`."""
    top = 255 if samples.dtype == np.uint8 else 65535
    return (2 * samples.astype(np.int64) * maxval + top) // (2 * top)


def write(samples: NDArray[np.generic], file: IO[bytes], maxval: int | None = None, *, is_scaled: bool = True) -> None:
    """Writes a binary file: bool [H, W] as PBM, uint8 or uint16 as PGM [H, W] or PPM [H, W, 3].

    maxval, is_scaled: what `read` found. Where `samples` are no values scaled from it, they get the full range.
    """
    height, width = samples.shape[:2]
    if samples.dtype == np.bool_:
        file.write(b"P4\n%d %d\n" % (width, height) + np.packbits(~samples.astype(bool), axis=1).tobytes())
        return
    top = 255 if samples.dtype == np.uint8 else 65535
    values = samples.astype(np.int64)
    if maxval is None or not 0 < maxval <= top or (maxval > 255) != (top > 255):
        maxval = top
    elif is_scaled and maxval != top:
        values = unscaled(samples, maxval)
        if not np.array_equal(scaled(values, maxval), samples):
            maxval, values = top, samples.astype(np.int64)
    kind = 6 if samples.ndim == 3 else 5
    file.write(b"P%d\n%d %d\n%d\n" % (kind, width, height, maxval))
    file.write(values.astype(np.uint8 if maxval < 256 else ">u2").tobytes())


def _header(data: bytes, count: int) -> tuple[list[int], tuple[str, ...], int]:
    """`count` numbers behind the magic, the comments among them, and where the pixels begin."""
    fields: list[int] = []
    comments: list[str] = []
    place = 2
    while len(fields) < count:
        token = re.compile(rb"[ \t\r\n\v\f]*(?:#([^\r\n]*)|([0-9]{1,10}))").match(data, place)
        if token is None:
            raise InputError("damaged PNM file: its header holds no whole numbers")
        place = token.end()
        if token[2] is None:
            comments.append(token[1].strip().decode("utf-8", "replace"))
        else:
            fields.append(int(token[2]))
    comment = re.compile(rb"#([^\r\n]*)").match(data, place)
    if comment is not None:  # directly behind the last number
        comments.append(comment[1].strip().decode("utf-8", "replace"))
        place = comment.end()
    if data[place : place + 1] not in (*map(bytes, zip(_SPACE, strict=True)), b""):
        raise InputError("damaged PNM file: its header does not end in white space")
    return fields, tuple(filter(None, comments)), place + 1


def _plain(text: bytes, count: int, *, digits: bool) -> tuple[NDArray[np.int64], bytes]:
    """`count` numbers in ASCII; with `digits`, each digit is one."""
    text = re.sub(rb"#[^\r\n]*", b" ", text)
    if re.search(rb"[^0-9 \t\r\n\v\f]", text):
        raise InputError("damaged PNM file: its pixels are no whole numbers")
    if digits:
        values = np.frombuffer(text.translate(None, _SPACE), np.uint8).astype(np.int64) - ord("0")
    else:
        words = text.split()
        if any(len(word) > 5 for word in words):
            raise InputError("damaged PNM file: a sample is above its maxval")
        values = np.array(list(map(int, words)), np.int64)
    if len(values) and int(values.max()) >= 1 << 16:
        raise InputError("damaged PNM file: a sample is above 65535")
    if len(values) < count:
        raise InputError(f"truncated PNM file: {len(values)} of {count} samples")
    return values[:count], b"x" * (len(values) - count)
