"""The ANS stack in C: the words of `machines/numpy/stack.py`, without dense tables for mixtures."""

from __future__ import annotations

import ctypes
import math

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy.mixture import Mixture
from lgcodec.models.errors import ModelError
from lgcodec.models.interface import PRECISION, Distribution, IntArray, Intervals
from lgcodec.models.machines.native import library
from lgcodec.models.machines.native.library import SLACK, check, pointer
from lgcodec.models.machines.native.mixtures import mixtures


class NativeStack:
    """An interface.Stack. Raises ModelError where `words` cannot be a stack's content."""

    def __init__(self, words: NDArray[np.uint32] | None = None) -> None:
        self._library = library.library()
        words = np.zeros(0, np.uint32) if words is None else words
        if len(words) and words[-1] == 0:
            raise ModelError("a stream ends in a zero word, which no encoder writes")
        self.struct = library.Stack(left=len(words))
        self._hold(words, SLACK)
        self._library.lgcodec_open(ctypes.byref(self.struct))

    def _hold(self, words: NDArray[np.uint32], more: int) -> None:
        """Keeps a copy of `words` with room for more."""
        self._words = np.zeros(len(words) + more, np.uint32)
        self._words[: len(words)] = words
        self.struct.words, self.struct.room = pointer(self._words, np.uint32), len(self._words)

    def intervals(self, distribution: Distribution, symbols: IntArray) -> list[Intervals]:
        """As `distribution.intervals`."""
        m = mixtures(distribution) if isinstance(distribution, Mixture) else None
        if m is None or not isinstance(distribution, Mixture):
            return distribution.intervals(symbols)
        n = len(symbols)
        values, shares = np.zeros(n + SLACK, np.int32), np.zeros((2, 2 * n), np.uint32)
        values[:n] = symbols - distribution.origin
        self._library.lgcodec_shares(
            ctypes.byref(m),
            pointer(values, np.int32),
            ctypes.c_int64(n),
            *(pointer(part, np.uint32) for part in shares),
        )
        starts, frequencies = shares.reshape(2, 2, n)
        return [Intervals(*part, distribution.counts) for part in zip(starts, frequencies, strict=True)]

    def push(self, intervals: Intervals) -> None:
        """Pushes symbols so that they pop in the order given."""
        n = len(intervals.start)
        if self.struct.room < self.struct.left + n + 2:
            self._hold(self._words[: self.struct.left], n + len(self._words))
        parts = [np.ascontiguousarray(part, np.uint32) for part in (intervals.start, intervals.frequency)]
        pointers = (pointer(part, np.uint32) for part in parts)
        check(self._library.lgcodec_push(ctypes.byref(self.struct), *pointers, ctypes.c_int64(n)))

    def pop(self, distribution: Distribution) -> IntArray:
        """Pops its symbols, int64 [n]."""
        m = mixtures(distribution) if isinstance(distribution, Mixture) else None
        if m is None or not isinstance(distribution, Mixture):
            return distribution.pop(self._read)
        n = distribution.mean.shape[1]
        values, scratch = np.zeros(n + SLACK, np.int32), np.zeros(2 * (n + SLACK), np.int32)
        self._library.lgcodec_pop_mixtures(
            ctypes.byref(m),
            ctypes.byref(self.struct),
            ctypes.c_int64(n),
            pointer(values, np.int32),
            pointer(scratch, np.int32),
        )
        return values[:n].astype(np.int64) + distribution.origin

    def _read(self, cdf: NDArray[np.uint32]) -> NDArray[np.int64]:
        cdf, symbols = np.ascontiguousarray(cdf, np.uint32), np.zeros(len(cdf), np.int64)
        sizes = (ctypes.c_int64(n) for n in cdf.shape)
        stack, table = ctypes.byref(self.struct), pointer(cdf, np.uint32)
        check(self._library.lgcodec_pop_rows(stack, table, *sizes, pointer(symbols, np.int64)))
        return symbols

    def words(self) -> NDArray[np.uint32]:
        """The content, uint32 [m], last pushed last."""
        state = int(self.struct.state)
        rest = [word for word in (state & 0xFFFFFFFF, state >> 32) if state]
        if len(rest) == 2 and rest[1] == 0:
            rest.pop()
        return np.concatenate([self._words[: self.struct.left], np.array(rest, np.uint32)])

    def is_empty(self) -> bool:
        return int(self.struct.state) == 0 and int(self.struct.left) == 0


def ideal_bits(frequencies: NDArray[np.uint32]) -> float:
    """As Intervals.ideal_bits."""
    n, exponent = len(frequencies), ctypes.c_int64()
    product = library.library().lgcodec_product(
        pointer(frequencies, np.uint32), ctypes.c_int64(n), ctypes.byref(exponent)
    )
    return PRECISION * n - exponent.value - math.log2(product)
