"""The ANS stack by constriction: the words of FORMAT.md, on every machine.

Range ANS with 24-bit precision, 32-bit words and a 64-bit state. A table reaches it as integers, so that the words are
fixed by FORMAT.md and not by a library:

    0            start      start + frequency                2**24
    |------------|xxxxxxxxxxxx|---------------------------------|      push: state -> start + a point inside x,
                                                                       pop:  the quantile tells which symbol x is
"""

from __future__ import annotations

from typing import TypeVar

import constriction
import numpy as np
from numpy.typing import NDArray

from lgcodec.models.errors import ModelError
from lgcodec.models.interface import TOTAL, Distribution, IntArray, Intervals, Words

T = TypeVar("T")
# constriction adds one unit to each probability it is given, so `frequency - 1` (as float, exact below 2**53) makes its
# integer table equal to ours; without perfect=False it would optimise the table away from these integers.
_categorical = constriction.stream.model.Categorical(perfect=False)


def _weights(frequency: IntArray) -> NDArray[np.float64]:
    # C order matters: constriction 0.5 reads the rows of a Fortran-ordered array wrongly, without a word.
    return np.ascontiguousarray(np.subtract(frequency, 1, dtype=np.float64))


class Stack:
    """The ANS stack of one stream.

    words: uint32 [m], a stream's content as `words()` returned it; empty for a new stack.
    Raises ModelError where `words` cannot be a stack's content.
    """

    def __init__(self, words: Words | None = None) -> None:
        if words is None or len(words) == 0:
            self._coder = constriction.stream.stack.AnsCoder()
            return
        if words[-1] == 0:
            raise ModelError("a stream ends in a zero word, which no encoder writes")
        self._coder = constriction.stream.stack.AnsCoder(np.ascontiguousarray(words, dtype=np.uint32))

    def intervals(self, distribution: Distribution, symbols: IntArray) -> list[Intervals]:
        return distribution.intervals(symbols)

    def push(self, intervals: Intervals) -> None:
        """Pushes symbols so that they pop in the order given. Only shares of the line are needed, not whole tables."""
        if len(intervals.start) == 0:
            return
        start = intervals.start.astype(np.int64)
        frequency = intervals.frequency.astype(np.int64)
        after = TOTAL - start - frequency
        # The symbol among two neighbours that stand for all below and all above it. constriction has no zero
        # frequencies: where one side is empty, the other is cut in two (a Table has at least three symbols).
        first, last = start == 0, after == 0
        triple = np.stack([start, frequency, after], axis=1)
        triple[first] = np.stack([frequency, after - 1, np.ones_like(after)], axis=1)[first]
        triple[last] = np.stack([np.ones_like(start), start - 1, frequency], axis=1)[last]
        symbols = np.where(first, 0, np.where(last, 2, 1)).astype(np.int32)
        self._coder.encode_reverse(symbols, _categorical, _weights(triple))

    def pop(self, distribution: Distribution) -> IntArray:
        """Pops its symbols, int [n]."""
        return distribution.pop(self._read)

    def _read(self, cdf: NDArray[np.uint32]) -> NDArray[np.int32]:
        """One symbol for each row of cdf [n, A+1]; int32 [n]."""
        if len(cdf) == 0:
            return np.zeros(0, np.int32)
        frequency = cdf[:, 1:].astype(np.int64) - cdf[:, :-1]
        symbols: NDArray[np.int32] = self._coder.decode(_categorical, _weights(frequency))
        return symbols

    def words(self) -> Words:
        """The content, uint32 [m], last pushed last."""
        words: Words = self._coder.get_compressed()
        return words

    def is_empty(self) -> bool:
        return bool(self._coder.is_empty())
