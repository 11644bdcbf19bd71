"""The conversions that are known: one row each, of published integers, with the enlargements that their decoders use.

A new one is a row at the end of CONVERSIONS (its place is its id in files) and a line in FORMAT.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lgcodec.origins.form import AHEAD, BEHIND, COPIES, FULL, TRIANGLE, Axis, Conversion, Enlargement

_Values = NDArray[np.int64]
_X: _Values = np.arange(256, dtype=np.int64)
_NONE: _Values = np.zeros(256, np.int64)


@dataclass(frozen=True)
class Known:
    """A conversion, and the enlargements worth trying with it, most likely first, as pictures were stored."""

    name: str
    make: Callable[[], Conversion]
    enlargements: tuple[Enlargement, ...]


def _conversion(light: _Values, red: _Values, green: tuple[_Values, _Values], blue: _Values, shift: int) -> Conversion:
    first, second = np.stack([_NONE, green[0], blue]), np.stack([red, green[1], _NONE])
    return Conversion(light.astype(np.int32), first.astype(np.int32), second.astype(np.int32), shift)


def _jpeg() -> Conversion:
    """libjpeg and libjpeg-turbo, jdcolor.c: ITU-R BT.601 at full range."""
    x = _X - 128
    green = -22554 * x + 32768, -46802 * x
    return _conversion(_X << 16, 91881 * x + 32768, green, 116130 * x + 32768, 16)


def _photo_cd() -> Conversion:
    """Kodak Photo CD YCC: 1.3584 Y, 2.2179 (C1 - 156), 1.8215 (C2 - 137), in 16 bits of fraction."""
    blue, red = 145352 * (_X - 156), 119374 * (_X - 137)
    return _conversion(89024 * _X, red, (-12714 * (blue >> 16), -33358 * (red >> 16)), blue, 16)


def _webp() -> Conversion:
    """libwebp, dsp/yuv.h: ITU-R BT.601 at limited range, in 14 bits of which 8 are cut first."""
    green = 8708 - (6419 * _X >> 8), -(13320 * _X >> 8)
    return _conversion(19077 * _X >> 8, (26149 * _X >> 8) - 14234, green, (33050 * _X >> 8) - 17685, 6)


def _limited(luma: float, red: float, green: tuple[float, float], blue: float) -> Callable[[], Conversion]:
    """Video at limited range, factors rounded to 16 bits of fraction, results to the nearest integer."""

    def make() -> Conversion:
        def part(factor: float) -> _Values:
            return round(factor * 65536) * (_X - 128)

        light = round(luma * 65536) * (_X - 16) + 32768
        return _conversion(light, part(red), (part(green[0]), part(green[1])), part(blue), 16)

    return make


def _both(axis: Axis, bias: Sequence[int]) -> Enlargement:
    return Enlargement(axis, axis, ((bias[0], bias[1]), (bias[0], bias[1])))


_PLAIN = (
    Enlargement(COPIES, COPIES, ((0, 0), (0, 0))),
    Enlargement(FULL, COPIES, ((0, 0), (0, 0))),
)
_LIBJPEG = (_both(TRIANGLE, (8, 7)), Enlargement(FULL, TRIANGLE, ((1, 2), (1, 2))), *_PLAIN)
_ROUNDED = (_both(TRIANGLE, (8, 8)), *_PLAIN)
FOUR_FOUR_FOUR = Enlargement(FULL, FULL, ((0, 0), (0, 0)))

CONVERSIONS = (
    Known("JPEG", _jpeg, _LIBJPEG),
    Known("Photo CD", _photo_cd, (_both(BEHIND, (2, 2)), _both(AHEAD, (2, 2)))),
    Known("WebP", _webp, _ROUNDED),
    Known("BT.601 video", _limited(1.164383, 1.596027, (-0.391762, -0.812968), 2.017232), _ROUNDED),
    Known("BT.709 video", _limited(1.164384, 1.792741, (-0.213249, -0.532909), 2.112402), _ROUNDED),
)
