"""Luma as chroma sees it: the coefficients that luma would have at chroma's resolution, exact integers."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]
_BITS = 10
FACTORS = (1, 2, 4)


@functools.cache
def matrix(factor: int) -> Int:
    """[8, 8 factor]: coefficients of `factor` blocks side by side -> those of the lowest eighth of frequencies of the
    transform of all, as large as those of a block of their mean; in 2**-_BITS.

    All entries are decided by ratios far from ties, so that any libm gives the same.
    """
    n = 8 * factor

    def basis(size: int, k: int, x: int) -> float:
        return math.sqrt((1 if k == 0 else 2) / size) * math.cos((2 * x + 1) * k * math.pi / (2 * size))

    rows = [
        [
            sum(basis(n, k, 8 * b + x) * basis(8, j, x) for x in range(8)) / math.sqrt(factor)
            for b in range(factor)
            for j in range(8)
        ]
        for k in range(8)
    ]
    return np.array([[round(entry * (1 << _BITS)) for entry in row] for row in rows], np.int64)


def reduced(values: Int, vertical: int, horizontal: int) -> Int:
    """values [R, C, 64] -> [R // vertical, C // horizontal, 64], factors of FACTORS; rows and columns are whole."""
    R, C = values.shape[0] // vertical, values.shape[1] // horizontal
    if (vertical, horizontal) == (1, 1):
        return values
    blocks = values[: R * vertical, : C * horizontal].reshape(R, vertical, C, horizontal, 8, 8)
    blocks = blocks.transpose(0, 2, 1, 4, 3, 5).reshape(R, C, 8 * vertical, 8 * horizontal).astype(np.float64)
    # whole numbers below 2**53, so exact in any order
    half = 1 << (_BITS - 1)
    down = np.floor((matrix(vertical).astype(np.float64) @ blocks + half) / (1 << _BITS))
    across = np.floor((down @ matrix(horizontal).T.astype(np.float64) + half) / (1 << _BITS))
    small: Int = across.reshape(R, C, 64).astype(np.int64)
    return small


def meant(counts: Int, vertical: int, horizontal: int) -> Int:
    """counts [R, C] -> sixteenths of their means, [R // vertical, C // horizontal]."""
    R, C = counts.shape[0] // vertical, counts.shape[1] // horizontal
    blocks = counts[: R * vertical, : C * horizontal].reshape(R, vertical, C, horizontal)
    means: Int = 16 * blocks.sum(axis=(1, 3)) // (vertical * horizontal)
    return means
