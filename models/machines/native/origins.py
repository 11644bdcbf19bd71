"""The native loops of codec/origins, as origins.c and lattice.c have them: un-rendering, enlarging, converting."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.errors import ModelError
from lgcodec.models.machines.native import library
from lgcodec.models.machines.native.library import pointer

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


class Conversion(ctypes.Structure):
    _fields_ = (
        ("light", ctypes.c_int32 * 256),
        ("first", ctypes.c_int32 * 768),
        ("second", ctypes.c_int32 * 768),
        ("shift", ctypes.c_int32),
    )


class Axis(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int32) for name in ("by", "unit", "even", "odd"))


class Enlargement(ctypes.Structure):
    _fields_ = (("rows", Axis), ("columns", Axis), ("bias", ctypes.c_int32 * 4), ("shift", ctypes.c_int32))


def conversion(tables: Sequence[NDArray[np.int32]], shift: int) -> Conversion:
    """light [256], first [3, 256], second [3, 256]."""
    return Conversion(*((ctypes.c_int32 * table.size)(*table.ravel().tolist()) for table in tables), shift)


def enlargement(rows: Sequence[int], columns: Sequence[int], bias: Sequence[int], shift: int) -> Enlargement:
    """rows, columns: by, unit, even, odd. bias: of even rows' even and odd columns, then of odd rows'."""
    return Enlargement(Axis(*rows), Axis(*columns), (ctypes.c_int32 * 4)(*bias), shift)


def is_available() -> bool:
    """Whether there is a native library; without one the searches cannot run."""
    return bool(library.available())


def colours(of: Conversion, inverse: NDArray[np.float32], rgb: Bytes) -> tuple[Bytes, Bytes, Bytes, Bytes]:
    """Y, C1, C2 and what is known (1 the only preimage, 0 none, 2 clipped) of pixels [..., 3], each [...]."""
    y, c1, c2, known = (np.empty(rgb.shape[:-1], np.uint8) for _ in range(4))
    _call("colours", of, inverse, rgb, y.size, y, c1, c2, known)
    return y, c1, c2, known


def intervals(
    of: Conversion, rgb: Bytes, known: Bytes, exact: Bytes, own: Bytes, other: Bytes, which: int
) -> tuple[Bytes, Bytes]:
    """The least and the most that one chroma plane may be at each pixel, given the other one's values."""
    low, high = np.empty_like(own), np.empty_like(own)
    _call("intervals", of, rgb, own.size, known, exact, own, other, ctypes.c_int(which), ctypes.c_int(0), low, high)
    return low, high


def luma(of: Conversion, rgb: Bytes, c1: Bytes, c2: Bytes, y: Bytes) -> Bytes:
    """Y that renders the pixels [h, w, 3] with this chroma; where none does, what is smooth, from y on."""
    y, wrong = y.copy(), np.empty_like(y)
    _call("luma", of, rgb, *y.shape, c1, c2, y, wrong)
    return y


def luma_bounds(of: Conversion, rgb: Bytes, c1: Bytes, c2: Bytes) -> tuple[Bytes, Bytes]:
    """The least and the most Y that renders each pixel with this chroma; 1 and 0 where none does."""
    low, high = np.empty_like(c1), np.empty_like(c1)
    _call("lumas", of, rgb, c1.size, c1, c2, low, high)
    return low, high


def enlarge(of: Enlargement, x: Bytes, top: int, left: int, height: int, width: int) -> Bytes:
    """Rows top.. and columns left.. of the enlarged plane: uint8 [height, width]. Raises ModelError beyond its end."""
    out = np.empty((height, width), np.uint8)
    _call("enlarge", of, np.ascontiguousarray(x), *x.shape, top, left, height, width, out)
    return out


def convert(of: Conversion, y: Bytes, c1: Bytes, c2: Bytes) -> Bytes:
    """RGB [..., 3] of planes of one shape. Raises ModelError where they have others."""
    if not y.shape == c1.shape == c2.shape:
        raise ModelError(f"planes of shapes {y.shape}, {c1.shape} and {c2.shape} where one shape is expected")
    rgb = np.empty((*y.shape, 3), np.uint8)
    _call("render", of, *map(np.ascontiguousarray, (y, c1, c2)), y.size, rgb)
    return rgb


def solve(
    of: Enlargement, low: Bytes, high: Bytes, guess: Bytes, x: Bytes | None, rounds: int, limit: int = 1 << 62
) -> tuple[Bytes, int]:
    """The small plane whose enlargement is within low..high, from x on if it is given; and how many pixels are not."""
    found = np.zeros_like(guess) if x is None else x.copy()
    wrong = _call("solve", of, *guess.shape, low, high, guess, found, rounds, limit, int(x is not None))
    return found, wrong


def repair(
    colour: Conversion,
    of: Enlargement,
    rgb: Bytes,
    known: Bytes,
    exact: Sequence[Bytes],
    offset: tuple[int, int],
    chroma: Sequence[Bytes],
    rounds: int,
    limit: int = 1 << 62,
) -> int:
    """Changes both chroma planes where clipped pixels do not come out; returns how many do not.

    rounds: of the search, 0 to count only. limit: gives up once more do not after a round.
    """
    shape = *known.shape, *offset, *chroma, *chroma[0].shape
    return _call("repair", colour, of, rgb, known, *exact, *shape, rounds, limit)


def moves(
    samples: Floats, least: Floats, most: Floats, base: Floats, keys: NDArray[np.int32], amounts: Floats, together: int
) -> NDArray[np.int32]:
    """Of blocks [n, 64] the three sets of moves, as bits, that bring samples nearest to least..most: [n, 3].

    keys, amounts [n, moves]: so much is added to one coefficient; base [64, 64]: what one of 1 adds to samples.
    together: how many moves a set may hold.
    """
    best = np.empty((len(samples), 3), np.int32)
    floats = [np.ascontiguousarray(a, np.float32) for a in (samples, least, most, base)]
    library.library().lgcodec_lattice_moves(
        *(pointer(a, np.float32) for a in floats), pointer(keys, np.int32), pointer(amounts, np.float32),
        *map(ctypes.c_int64, (*keys.shape, together)), pointer(best, np.int32),
    )  # fmt: skip
    return best


def _call(name: str, *arguments: Any) -> int:
    function = getattr(library.library(), f"lgcodec_origin_{name}")
    function.restype = ctypes.c_int64
    passed: list[Any] = []
    for value in arguments:
        if isinstance(value, np.ndarray):
            passed.append(pointer(value, np.float32 if value.dtype == np.float32 else np.uint8))
        elif isinstance(value, ctypes.Structure):
            passed.append(ctypes.byref(value))
        else:
            passed.append(ctypes.c_int64(value) if isinstance(value, int) else value)
    result = int(function(*passed))
    if result < 0:
        raise ModelError("not enough memory for the image's origin, or planes too small for it")
    return result
