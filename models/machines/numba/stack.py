"""The ANS stack and the mixtures' shares compiled by numba: the words of `stack.Stack`, without dense tables.

The functions repeat `mixture.py` number for number, one value at a time: a decoder searches the cumulative function
instead of evaluating it everywhere. They take indices as unsigned integers, which spares numba's check for negative
ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy import mixture
from lgcodec.models.entropy.mixture import Mixture
from lgcodec.models.errors import ModelError
from lgcodec.models.interface import TOTAL, Distribution, IntArray, Intervals
from lgcodec.models.machines.numba.jit import jit
from lgcodec.models.machines.numba.mixtures import EDGES, high_edges, low_edges

_TOTAL = TOTAL
_MEAN_UNIT, _WEIGHT_BITS = mixture.MEAN_UNIT, mixture.WEIGHT_BITS
_BIN_BITS = (16 * _MEAN_UNIT).bit_length() - 1
_FRACTION_BITS = mixture.FRACTION_BITS
_FRACTION_MASK = (1 << mixture.FRACTION_BITS) - 1
_SIGMOID_MIDDLE = mixture.SIGMOID_RANGE << (6 + mixture.INVERSE_BITS)
_MASS_BITS = mixture.WEIGHT_BITS + mixture.SIGMOID_BITS
MASK, _WORD, _LOW_WORD = np.uint64(TOTAL - 1), np.uint64(1 << 32), np.uint64(0xFFFFFFFF)
_U24, _U32, _U40 = np.uint64(24), np.uint64(32), np.uint64(40)
_ONE, _TWO, _THREE, _EIGHT, _NINE = (np.uint64(n) for n in (1, 2, 3, 8, 9))


@jit
def cumulative(v, mixture, sigmoid):
    """Mixture.cumulative of one symbol.

    mixture: int64, flat: size, origin, then mean, inverse, weight of each component. sigmoid: int64, flat pairs of a
    table entry and the step to the next. Unsigned indices spare numba's check for negative ones, a third of the time
    here.
    """
    size = mixture[0]
    if v == 0:
        return np.int64(0)
    if v == size:
        return np.int64(_TOTAL)
    edge = (v + mixture[1]) * 64 - 32
    total = np.int64(0)
    b = _TWO
    while b < np.uint64(len(mixture)):
        t = min(max((edge - mixture[b]) * mixture[b + _ONE] + _SIGMOID_MIDDLE, 0), 2 * _SIGMOID_MIDDLE - 1)
        i = (np.uint64(t) >> np.uint64(_FRACTION_BITS)) << _ONE
        total += mixture[b + _TWO] * (sigmoid[i] + ((sigmoid[i + _ONE] * (t & _FRACTION_MASK)) >> _FRACTION_BITS))
        b += _THREE
    return v + ((total * (_TOTAL - size)) >> _MASS_BITS)


@jit
def refill(state, words, at):
    """at: how many words are left. Without a branch, which a processor would often guess wrongly."""
    if len(words) == 0:
        return state, at
    wanted = (state < _WORD) & (at > 0)
    word = np.uint64(words[np.uint64(max(at - 1, 0))])
    state = ((state << _U32) | word) if wanted else state
    return state, at - np.int64(wanted)


@jit
def find_high(point, mixture, sigmoid):
    """The high symbol whose share holds `point`, with its ends: (symbol, C(16 symbol), C(16 symbol + 16))."""
    low, high = np.int64(0), mixture[0] >> 4
    start, end = np.int64(0), np.int64(_TOTAL)
    while high - low > 1:
        middle = (low + high) >> 1
        c = cumulative(middle << 4, mixture, sigmoid)
        if c <= point:
            low, start = middle, c
        else:
            high, end = middle, c
    return low, start, end


@jit
def low_cumulative(j, first, base, span, mixture, sigmoid):
    """Mixture.low_table's entry j, 0 < j < 16; first: the high symbol's first value, base, span: its share."""
    return (cumulative(first + j, mixture, sigmoid) - base) * (_TOTAL - 16) // span + j


@jit
def find_low(point, first, base, span, mixture, sigmoid):
    """The low symbol whose share holds `point`, with its ends."""
    low, high = np.int64(0), np.int64(16)
    start, end = np.int64(0), np.int64(_TOTAL)
    while high - low > 1:
        middle = (low + high) >> 1
        c = low_cumulative(middle, first, base, span, mixture, sigmoid)
        if c <= point:
            low, start = middle, c
        else:
            high, end = middle, c
    return low, start, end


@jit
def advance(state, start, end, words, left):
    """Pops the symbol whose share start..end holds state mod 2**24. left: how many words there are."""
    state = np.uint64(end - start) * (state >> _U24) + (state & MASK) - np.uint64(start)
    return refill(state, words, left)


@jit
def pop_mixtures(state, words, left, n, mixtures, values, bases, spans, edges):
    """Pops n values, less the origin: as find_high and find_low, several edges at a time.

    mixtures: mean, inverse and weight int32 [K, n + 8], size (at least 144), origin, and the table of
    `mixture_kernels.packed_sigmoids`; values, bases, spans: int32 [n], the last two for its own use, as edges, int64
    [16].
    """
    mean, inverse, weight, size, origin, table = mixtures
    bins = size >> 4
    edges[0], edges[EDGES + 1] = 0, _TOTAL  # below the first bin, and above the last one
    for j in range(n):
        point, average = np.int64(state & MASK), np.int64(0)
        for k in range(len(mean)):
            average += np.int64(weight[k, j]) * mean[k, j]
        guess = ((average >> _WEIGHT_BITS) - origin * _MEAN_UNIT + _MEAN_UNIT // 2) >> _BIN_BITS
        first = min(max(guess - EDGES // 2 + 1, 1), bins - EDGES)
        while True:
            count = high_edges(point, mean, inverse, weight, j, first, size, origin, table, edges)
            if count == 0 and first > 1:
                first = max(first - EDGES + 1, 1)
            elif count == EDGES and first < bins - EDGES:
                first = min(first + EDGES - 1, bins - EDGES)
            else:
                break
        start, end = edges[np.uint64(count)], edges[np.uint64(count + 1)]
        state, left = advance(state, start, end, words, left)
        values[j], bases[j], spans[j] = (first + count - 1) << 4, start, end - start
    for j in range(n):
        point, base, span = np.int64(state & MASK), np.int64(bases[j]), np.int64(spans[j])
        count = low_edges(point, mean, inverse, weight, j, values[j], base, span, size, origin, table, edges)
        pair, odd = np.uint64(count) >> _ONE, np.uint64(count) & _ONE
        below, above = edges[pair + odd * (_NINE - pair)], edges[_NINE - odd * (_EIGHT - pair)]
        start = np.int64(below / span) + count  # exact, as in mixture_kernels.shares
        end = np.int64(above / span) + count + 1 if count < 15 else np.int64(_TOTAL)
        state, left = advance(state, start, end, words, left)
        values[j] += count
    return state, left


@jit
def _push(state, words, left, starts, frequencies):
    """Pushes symbols, the last one first (coder.Stack.push); words: room for one more each."""
    for i in range(len(starts) - 1, -1, -1):
        frequency = np.uint64(frequencies[i])
        if (state >> _U40) >= frequency:
            words[left] = np.uint32(state & _LOW_WORD)
            left += 1
            state >>= _U32
        state = ((state // frequency) << _U24) + state % frequency + np.uint64(starts[i])
    return state, left


@jit
def _open(words):
    state, left = refill(np.uint64(0), words, len(words))
    return refill(state, words, left)


@jit
def _pop_rows(state, words, left, cdf, symbols):
    for i in range(len(cdf)):
        point = np.uint32(state & MASK)
        low, high = 0, cdf.shape[1] - 1
        while high - low > 1:
            middle = (low + high) >> 1
            if cdf[i, middle] <= point:
                low = middle
            else:
                high = middle
        symbols[i] = low
        state, left = advance(state, cdf[i, low], cdf[i, high], words, left)
    return state, left


@jit
def _gather(mixture, weight, mean, inverse, i):
    """Writes mixture i of weight, mean, inverse [K, n] in the order that `cumulative` reads."""
    for k in range(len(weight)):
        mixture[2 + 3 * k], mixture[3 + 3 * k], mixture[4 + 3 * k] = mean[k, i], inverse[k, i], weight[k, i]


@jit
def _pop_values(state, words, left, weight, mean, inverse, size, origin, sigmoid, values):
    n = len(values)
    mixture = np.zeros(2 + 3 * len(weight), np.int64)
    mixture[0], mixture[1] = size, origin
    bases, spans = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for i in range(n):
        _gather(mixture, weight, mean, inverse, i)
        symbol, start, end = find_high(np.int64(state & MASK), mixture, sigmoid)
        state, left = advance(state, start, end, words, left)
        values[i], bases[i], spans[i] = symbol << 4, start, end - start
    for i in range(n):
        _gather(mixture, weight, mean, inverse, i)
        symbol, start, end = find_low(np.int64(state & MASK), values[i], bases[i], spans[i], mixture, sigmoid)
        state, left = advance(state, start, end, words, left)
        values[i] += symbol + origin
    return state, left


@jit
def share_high(first, mixture, sigmoid):
    """The ends of the high symbol's share; first: its first value less the origin."""
    return cumulative(first, mixture, sigmoid), cumulative(first + 16, mixture, sigmoid)


@jit
def share_low(within, first, base, span, mixture, sigmoid):
    """The ends of the low symbol's share; within: 0..15."""
    start, end = np.int64(0), np.int64(_TOTAL)
    if within > 0:
        start = low_cumulative(within, first, base, span, mixture, sigmoid)
    if within < 15:
        end = low_cumulative(within + 1, first, base, span, mixture, sigmoid)
    return start, end


@jit
def _shares(weight, mean, inverse, size, origin, sigmoid, values, starts, frequencies):
    """starts, frequencies: uint32 [2, n], of the high and the low symbols."""
    mixture = np.zeros(2 + 3 * len(weight), np.int64)
    mixture[0], mixture[1] = size, origin
    for i in range(len(values)):
        _gather(mixture, weight, mean, inverse, i)
        v = values[i] - origin
        first = v >> 4 << 4
        base, end = share_high(first, mixture, sigmoid)
        starts[0, i], frequencies[0, i] = base, end - base
        start, stop = share_low(v - first, first, base, end - base, mixture, sigmoid)
        starts[1, i], frequencies[1, i] = start, stop - start


class CompiledStack:
    """As `stack.Stack`: the same words, faster. Raises ModelError where `words` cannot be a stack's content."""

    def __init__(self, words: NDArray[np.uint32] | None = None) -> None:
        self._words = np.array([] if words is None else words, np.uint32)
        if len(self._words) and self._words[-1] == 0:
            raise ModelError("a stream ends in a zero word, which no encoder writes")
        self._state, self._left = _open(self._words)

    def intervals(self, distribution: Distribution, symbols: IntArray) -> list[Intervals]:
        """As `distribution.intervals`."""
        if not isinstance(distribution, Mixture):
            return distribution.intervals(symbols)
        m, values = distribution, np.ascontiguousarray(symbols, np.int64)
        starts, frequencies = np.zeros((2, len(values)), np.uint32), np.zeros((2, len(values)), np.uint32)
        _shares(m.weight, m.mean, m.inverse, m.size, m.origin, m.tables.steps, values, starts, frequencies)
        return [Intervals(start, n, m.counts) for start, n in zip(starts, frequencies, strict=True)]

    def push(self, intervals: Intervals) -> None:
        """Pushes symbols so that they pop in the order given."""
        room = self._left + len(intervals.start) + 2
        if room > len(self._words):
            self._words = np.concatenate([self._words[: self._left], np.zeros(room, np.uint32)])
        start, frequency = (np.ascontiguousarray(a, np.uint32) for a in (intervals.start, intervals.frequency))
        self._state, self._left = _push(np.uint64(self._state), self._words, self._left, start, frequency)

    def pop(self, distribution: Distribution) -> IntArray:
        """Pops its symbols, int [n]."""
        if not isinstance(distribution, Mixture):
            return distribution.pop(self._read)
        m, values = distribution, np.zeros(distribution.mean.shape[1], np.int64)
        place = (np.uint64(self._state), self._words, self._left)
        parameters = (m.weight, m.mean, m.inverse, m.size, m.origin, m.tables.steps)
        self._state, self._left = _pop_values(*place, *parameters, values)
        return values

    def _read(self, cdf: NDArray[np.uint32]) -> NDArray[np.int64]:
        symbols = np.zeros(len(cdf), np.int64)
        place = (np.uint64(self._state), self._words, self._left)
        self._state, self._left = _pop_rows(*place, np.ascontiguousarray(cdf), symbols)
        return symbols

    def run(self, function: Any, *arguments: Any) -> None:
        """Pops by a compiled function(state, words, left, *arguments) that returns state and left, which is -1 where
        no encoder wrote what it found.
        """
        self._state, self._left = function(np.uint64(self._state), self._words, self._left, *arguments)
        if self._left < 0:
            raise ModelError("a stream holds samples beyond 16 bits")

    def words(self) -> NDArray[np.uint32]:
        """The content, uint32 [m], last pushed last."""
        state = int(self._state)
        rest = [word for word in (state & 0xFFFFFFFF, state >> 32) if state]
        if len(rest) == 2 and rest[1] == 0:
            rest.pop()
        return np.concatenate([self._words[: self._left], np.array(rest, np.uint32)])

    def is_empty(self) -> bool:
        return int(self._state) == 0 and self._left == 0
