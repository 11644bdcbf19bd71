"""Escape codes: integers beyond the range of a table."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.interface import TOTAL, Distribution, IntArray, Table

Int = NDArray[np.int64]
# What lies beyond an end of the window: how many bytes the excess has, and these bytes, the lowest first.
LENGTHS = np.array([0, TOTAL - 4, TOTAL - 3, TOTAL - 2, TOTAL - 1, TOTAL], np.uint32)
BYTES = np.arange(257, dtype=np.uint32) << np.uint32(16)
Step = tuple[Distribution, IntArray]


def _excess(stream: Int, streams: int, true: Int) -> Generator[Step, IntArray, Int]:
    """How far n samples lie beyond an end of the window, int64 [n], below 2**32. stream: of each, ascending."""

    def table(cdf: NDArray[np.uint32], stream: Int) -> Table:
        return Table(np.broadcast_to(cdf, (len(stream), len(cdf))), np.bincount(stream, minlength=streams))

    length = (true[:, None] >> np.arange(0, 32, 8) > 0).sum(axis=1)
    length = np.array((yield table(LENGTHS, stream), length), np.int64)
    excess = np.zeros(len(stream), np.int64)
    for i in range(int(length.max())):
        rows = np.flatnonzero(length > i)
        byte = yield table(BYTES, stream[rows]), (true[rows] >> 8 * i & 255 if len(true) else true)
        excess[rows] += np.asarray(byte, np.int64) << 8 * i
    return excess
