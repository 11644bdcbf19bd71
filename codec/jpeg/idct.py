"""Coefficients to samples: the two inverse DCTs that JPEG decoders have, in exact integers (FORMAT.md, Origins).

ACCURATE is libjpeg's default ("islow", jidctint.c): columns, then rows, by one integer matrix, rounded after each. REAL
is the transform itself, rounded once, which decoders that compute in floating point come to. TURNED is ACCURATE of a
picture whose rows and columns were exchanged afterwards: rows, then columns. (Mirrored ones need nothing: the matrix
is symmetric.) All are computed as products of doubles that hold integers below 2^53, which is exact.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from lgcodec.jpeg.markers import Steps
from lgcodec.jpeg.scans import Blocks

ACCURATE, REAL, TURNED = 0, 1, 2
_LIMIT = 32767  # of dequantised coefficients
_CHUNK = 4096  # blocks
_BITS = 24  # of fraction in REAL's factors
# 8192 times sums of the cosines that the factored transform of jidctint.c rounds: row x for sample x, column u
_EVEN = (
    (8192, 10703, 8192, 4433),
    (8192, 4433, -8192, -10704),
    (8192, -4433, -8192, 10704),
    (8192, -10703, 8192, -4433),
)
_ODD = (
    (11363, 9633, 6437, 2260),
    (9633, -2259, -11362, -6436),
    (6437, -11362, 2261, 9633),
    (2260, -6436, 9633, -11363),
)

Doubles = NDArray[np.float64]


def plane(coefficients: Blocks, steps: Steps, kind: int) -> NDArray[np.uint8]:
    """Samples [8 R, 8 C] of quantised coefficients [R, C, 64]."""
    rows, columns, _ = coefficients.shape
    blocks = samples(coefficients.reshape(-1, 64), steps, kind)
    whole: NDArray[np.uint8] = blocks.reshape(rows, columns, 8, 8).swapaxes(1, 2).reshape(8 * rows, 8 * columns)
    return whole


def samples(coefficients: NDArray[np.int16], steps: Steps, kind: int) -> NDArray[np.uint8]:
    """Samples [n, 64] of blocks of quantised coefficients [n, 64], both row by row."""
    out = np.empty(coefficients.shape, np.uint8)
    factors = steps.astype(np.float64)
    for start in range(0, len(out), _CHUNK):
        values = coefficients[start : start + _CHUNK] * factors
        np.clip(values, -_LIMIT, _LIMIT, out=values)
        if kind == REAL:
            values = values @ _real() * 2.0**-_BITS
        else:
            first, second = _accurate()[:: 1 if kind == ACCURATE else -1]
            values = np.floor(values @ first * 2.0**-11 + 0.5)
            values = values @ second * 2.0**-18
        values += 128.5
        np.floor(values, out=values)
        out[start : start + _CHUNK] = np.clip(values, 0, 255, out=values)
    return out


@functools.cache
def matrix() -> NDArray[np.int64]:
    """Of one pass of ACCURATE: [sample, frequency]."""
    whole = np.zeros((8, 8), np.int64)
    whole[:4, 0::2], whole[:4, 1::2] = _EVEN, _ODD
    whole[4:] = whole[3::-1] * np.array([1, -1] * 4)
    return whole


@functools.cache
def basis() -> Doubles:
    """The real transform of a block: [frequency, sample], 64 each; its rows are orthonormal."""
    u, x = np.arange(8)[:, None], np.arange(8)
    line = np.cos((2 * x + 1) * u * np.pi / 16) * np.where(u, 0.5, np.sqrt(0.125))
    return np.kron(line, line)


@functools.cache
def _accurate() -> tuple[Doubles, Doubles]:
    one, line = np.eye(8), matrix().T.astype(np.float64)
    down: Doubles = np.kron(line, one).astype(np.float64)
    across: Doubles = np.kron(one, line).astype(np.float64)
    return down, across


@functools.cache
def _real() -> Doubles:
    return np.rint(basis() * (1 << _BITS))
