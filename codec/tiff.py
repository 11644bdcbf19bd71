"""TIFF directories read byte for byte: what a file says it holds, to compare with what a reader made of it.

The same structure carries EXIF, so tags that describe an image, GeoTIFF's among them, are kept as an EXIF block.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.errors import InputError

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_LONG8 = (16, 17, 18)  # types of BigTIFF alone
_MAX_DIRECTORIES = 64
_MAX_TAGS = 4096

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
FILL_ORDER, OFFSETS, ROWS, COUNTS, PREDICTOR = 266, 273, 278, 279, 317
SAMPLES, X_RESOLUTION, Y_RESOLUTION, PLANAR, UNIT = 277, 282, 283, 284, 296
ORIENTATION, PALETTE, EXTRA, FORMAT, SUBDIRECTORIES = 274, 320, 338, 339, 330
XMP, PROFILE, EXIF, GPS, INTEROPERABILITY = 700, 34675, 34665, 34853, 40965
# What says how the pixels are stored; and what has a chunk of its own.
_LAYOUT = {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284, 288, 289, 290, 291}
_LAYOUT |= {292, 293, 317, 318, 319, 320, 322, 323, 324, 325, 326, 327, 328, 330, 336, 338, 339, 340, 341, 347, 512}
_LAYOUT |= {513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 297, ORIENTATION}
_ELSEWHERE = {XMP, PROFILE}
_RESOLUTION = {X_RESOLUTION, Y_RESOLUTION, UNIT}
_STRIP = 1 << 20  # bytes
_DEFLATED = (8, 32946)  # compressions
POINTERS = (EXIF, GPS, INTEROPERABILITY)


@dataclass(frozen=True)
class Tag:
    """A field as it is stored. order: "<" or ">". type: TIFF's number of it."""

    order: str
    type: int
    count: int
    data: bytes

    @property
    def numbers(self) -> tuple[int, ...]:
        """Its values, where they are unsigned integers; none otherwise."""
        code = _NUMBERS.get(self.type)
        return () if code is None else struct.unpack(f"{self.order}{self.count}{code}", self.data)

    @property
    def swapped(self) -> bytes:
        """Its bytes in the other order."""
        size = {5: 4, 10: 4}.get(self.type, _SIZES[self.type])
        return np.frombuffer(self.data, f"u{size}").byteswap().tobytes()

    @property
    def ratio(self) -> float | None:
        """Its value, where it is one fraction."""
        if self.type != 5 or self.count != 1:
            return None
        above, below = struct.unpack(f"{self.order}2I", self.data)
        return above / below if below else None


@dataclass(frozen=True)
class Directory:
    """One image's fields by number, and the directories that EXIF, GPS and interoperability point to."""

    order: str
    tags: Mapping[int, Tag]
    inner: Mapping[int, Directory]

    def numbers(self, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        return self.tags[tag].numbers if tag in self.tags else default

    def number(self, tag: int, default: int) -> int:
        values = self.numbers(tag)
        return values[0] if values else default


def read(data: bytes) -> list[Directory]:
    """The directories of all images in a TIFF file. Raises InputError where one is damaged."""
    return list(_directories(data))


def exif_of(directory: Directory) -> bytes | None:
    """All that describes the image but its colour profile and XMP, as an EXIF block; None for a resolution alone."""
    tags = {number: tag for number, tag in directory.tags.items() if number not in _LAYOUT | _ELSEWHERE}
    tags = {number: tag for number, tag in tags.items() if number not in POINTERS or number in directory.inner}
    if not tags.keys() - _RESOLUTION:
        return None
    head = (b"II*\0" if directory.order == "<" else b"MM\0*") + struct.pack(f"{directory.order}I", 8)
    return head + _pack(Directory(directory.order, tags, directory.inner), 8)


def described(directory: Directory) -> dict[int, Any]:
    """What a directory says beside layout and orientation: type, count and little-endian bytes by tag, or another."""
    own = {number: (tag.type, tag.count, tag.data if tag.order == "<" else tag.swapped)
           for number, tag in directory.tags.items() if number not in (*_LAYOUT, *POINTERS)}  # fmt: skip
    return own | {number: described(inner) for number, inner in directory.inner.items()}


def beyond_pixels(tags: Iterable[int]) -> list[int]:
    """Which of these tags describe an image, and have no place of their own in Pillow's `info`."""
    return sorted(set(tags) - _LAYOUT - _ELSEWHERE - _RESOLUTION)


def turned(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """[H, W, ...] as it is to be shown, by the number in its tag 274."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    down, across = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return array[:: -1 if down else 1, :: -1 if across else 1]


def samples(data: bytes, found: Directory) -> NDArray[np.uint16] | None:
    """A file's samples of 16 bits, [H, W] or [H, W, C], where they are stored as they are or deflated, in strips of all
    channels; None for other layouts.

    Raises InputError where strips lie outside the file, or are shorter than their rows.
    """
    width, height, channels = (found.number(tag, 1) for tag in (WIDTH, HEIGHT, SAMPLES))
    compression, predictor = found.number(COMPRESSION, 1), found.number(PREDICTOR, 1)
    places, sizes = found.numbers(OFFSETS), found.numbers(COUNTS)
    rows = min(found.number(ROWS, height), height)
    plain = found.number(PLANAR, 1) == 1 and found.number(FILL_ORDER, 1) == 1 and predictor in (1, 2)
    whole = rows > 0 and len(places) == len(sizes) == -(-height // rows)
    if not plain or not whole or compression not in (1, *_DEFLATED):
        return None
    array = np.empty((height, width, channels), np.uint16)
    for y, place, size in zip(range(0, height, rows), places, sizes, strict=True):
        part = array[y : y + rows]
        stored = data[place : place + size]
        stored = stored if compression == 1 else zlib.decompressobj().decompress(stored, part.nbytes)
        if len(stored) < part.nbytes:
            raise InputError(f"damaged TIFF file: the strip of row {y} is too short")
        part[:] = np.frombuffer(stored, f"{found.order}u2", part.size).reshape(part.shape)
        if predictor == 2:
            np.cumsum(part, axis=1, dtype=np.uint16, out=part)
    return array[..., 0] if channels == 1 else array


def write(
    array: NDArray[Any],
    file: IO[bytes],
    *,
    palette: NDArray[np.uint8] | None = None,
    exif: bytes | None = None,
    profile: bytes | None = None,
    xmp: bytes | None = None,
    density: tuple[float, float] | None = None,
) -> None:
    """Writes a TIFF file, deflated: bool or uint8 or uint16 [H, W] or [H, W, 2 to 4], the last of 2 or 4 being alpha.

    palette: uint8 [n, 3] of an array of indices. exif: a block whose fields become tags. density: dots per inch.
    Raises InputError for a damaged EXIF block.
    """
    known = read(exif)[0] if exif else Directory("<", {}, {})
    order = known.order
    height, width = array.shape[:2]
    channels = array.shape[2] if array.ndim == 3 else 1
    bits = 1 if array.dtype == np.bool_ else 8 * array.dtype.itemsize
    predicted = bits > 1 and palette is None
    rows = max(1, _STRIP // max(1, width * channels * bits // 8))
    strips = [_strip(array[y : y + rows], order, predicted) for y in range(0, height, rows)]
    offsets = np.cumsum([8, *map(len, strips)])

    def numbers(kind: int, *values: int) -> Tag:
        return Tag(order, kind, len(values), struct.pack(f"{order}{len(values)}{_NUMBERS[kind]}", *values))

    def fraction(value: float) -> Tag:
        return Tag(order, 5, 1, struct.pack(f"{order}2I", round(value * 1000), 1000))

    tags = {number: tag for number, tag in known.tags.items() if number not in _LAYOUT or number == ORIENTATION}
    if density is not None and X_RESOLUTION not in tags:
        tags |= {X_RESOLUTION: fraction(density[0]), Y_RESOLUTION: fraction(density[1]), UNIT: numbers(3, 2)}
    tags |= {number: Tag(order, kind, len(data), data) for number, kind, data in
             ((PROFILE, 7, profile), (XMP, 1, xmp)) if data is not None}  # fmt: skip
    tags |= {
        WIDTH: numbers(4, width),
        HEIGHT: numbers(4, height),
        BITS: numbers(3, *[bits] * channels),
        COMPRESSION: numbers(3, 8),
        PHOTOMETRIC: numbers(3, 3 if palette is not None else 2 if channels > 2 else 1),
        OFFSETS: numbers(4, *map(int, offsets[:-1])),
        SAMPLES: numbers(3, channels),
        ROWS: numbers(4, rows),
        COUNTS: numbers(4, *map(len, strips)),
        PLANAR: numbers(3, 1),
    }
    if predicted:
        tags[PREDICTOR] = numbers(3, 2)
    if channels in (2, 4):
        tags[EXTRA] = numbers(3, 2)
    if palette is not None:
        full = np.zeros((256, 3), np.int64)
        full[: len(palette)] = palette
        tags[PALETTE] = numbers(3, *(int(v) * 257 for v in full.T.ravel()))
    pad = int(offsets[-1]) % 2
    start = int(offsets[-1]) + pad
    file.write((b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start))
    file.write(b"".join(strips) + bytes(pad) + _pack(Directory(order, tags, _used(known, tags)), start))


def _used(known: Directory, tags: Mapping[int, Tag]) -> Mapping[int, Directory]:
    return {number: inner for number, inner in known.inner.items() if number in tags}


def _strip(rows: NDArray[Any], order: str, predicted: bool) -> bytes:
    if rows.dtype == np.bool_:
        return zlib.compress(np.packbits(rows, axis=1).tobytes())
    if predicted:
        rows = np.diff(rows, axis=1, prepend=np.zeros_like(rows[:, :1]))
    return zlib.compress(rows.astype(f"{order}u{rows.dtype.itemsize}").tobytes())


def _pack(directory: Directory, start: int) -> bytes:
    """A directory's bytes where it begins at `start`, and behind it all that it points to."""
    order = directory.order
    place = start + 2 + 12 * len(directory.tags) + 4
    entries, behind = [], []
    for number, tag in sorted(directory.tags.items()):
        kind, count, data = tag.type, tag.count, tag.data
        if number in directory.inner:
            kind, count, data = 4, 1, struct.pack(f"{order}I", place)
            behind.append(_pack(directory.inner[number], place))
        elif len(data) > 4:
            behind.append(data + bytes(len(data) % 2))
            data = struct.pack(f"{order}I", place)
        place = start + 2 + 12 * len(directory.tags) + 4 + sum(map(len, behind))
        entries.append(struct.pack(f"{order}HHI", number, kind, count) + data.ljust(4, b"\0"))
    return struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4) + b"".join(behind)


def _directories(data: bytes) -> Iterator[Directory]:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        raise InputError("damaged TIFF file: it has no header")
    version = struct.unpack_from(f"{order}H", data, 2)[0]
    big = version == 43
    if version not in (42, 43) or (big and len(data) < 16):
        raise InputError("damaged TIFF file: its version is unknown")
    place = struct.unpack_from(f"{order}Q", data, 8)[0] if big else struct.unpack_from(f"{order}I", data, 4)[0]
    seen: set[int] = set()
    while place:
        if place in seen or len(seen) >= _MAX_DIRECTORIES:
            raise InputError("damaged TIFF file: its directories form a circle, or are too many")
        seen.add(place)
        directory, place = _directory(data, place, order, big, depth=0)
        yield directory


def _directory(data: bytes, place: int, order: str, big: bool, depth: int) -> tuple[Directory, int]:
    """The directory at `place`, and where the next one is."""
    head, entry, word = (8, 20, "Q") if big else (2, 12, "I")
    if place + head > len(data):
        raise InputError("damaged TIFF file: a directory lies outside it")
    count = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, place)[0]
    end = place + head + entry * count
    if count > _MAX_TAGS or end > len(data):
        raise InputError("damaged TIFF file: a directory lies outside it")
    tags: dict[int, Tag] = {}
    inner: dict[int, Directory] = {}
    for at in range(place + head, end, entry):
        number, kind, n = struct.unpack_from(f"{order}HH{word}", data, at)
        size = n * _SIZES.get(kind, 0)
        if kind not in _SIZES or (kind in _LONG8 and not big):
            continue  # readers pass over types that they do not know
        value, room = at + 4 + struct.calcsize(word), struct.calcsize(word)
        if size > room:
            value = struct.unpack_from(f"{order}{word}", data, value)[0]
        if value + size > len(data):
            raise InputError(f"damaged TIFF file: tag {number} lies outside it")
        tags[number] = Tag(order, kind, n, data[value : value + size])
        if number in POINTERS and depth < 2 and tags[number].numbers:
            inner[number] = _directory(data, tags[number].numbers[0], order, big, depth + 1)[0]
    word_end = end + struct.calcsize(word)
    following = struct.unpack_from(f"{order}{word}", data, end)[0] if word_end <= len(data) else 0
    return Directory(order, tags, inner), following
