"""Mixtures of discretised logistics as integer tables (PixelCNN++, section 2.1, without a float in sight).

A mixture has K weights (integers, sum 2**16), means (1/64 pixel) and inverse scales (2**-14 per pixel). The cumulative
probability at the lower edge of value v is a weighted sum of K sigmoids read from a table of 2**22 sigmoid(t), t in
steps of 1/64 from -16 to 16, with linear interpolation; a value's frequency is the difference of two such sums,
scaled to 2**24 - A and one more, so that none is zero.

A value is coded as two symbols, its high part v >> 4 and its low part v & 15 given the high one: tables of 16 or 32
entries instead of 256 or 512.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.errors import ModelError
from lgcodec.models.interface import TOTAL, Intervals, Read

Int = NDArray[np.int64]
LOW_SYMBOLS = 16
WEIGHT_BITS = 16
SIGMOID_BITS = 22
SIGMOID_RANGE = 16  # sigmoid(+-16) is 2**-23 from its limit: less than the table's unit
SIGMOID_STEPS = 64  # per unit of t
SIGMOID_STEP_BITS = 17  # no entry is further from the next than 2**17, so that a step times FRACTION_BITS fits 32 bits
MEAN_UNIT = 64  # per pixel
INVERSE_BITS = 14
INVERSE_LIMIT_BITS = 20  # inverse scales are below 2**20
LOGIT_UNIT = 32  # logits in 1/32
LOG_SCALE_UNIT = 16  # log scales in 1/16
FINE_BITS = 6 + INVERSE_BITS  # of t: those of a mean's unit and of an inverse scale
FRACTION_BITS = INVERSE_BITS  # of t, which comes in 2**-20, below one step of 1/64


@dataclass(frozen=True)
class Tables:
    """The look-up tables, shipped with the weights: they decide bits, so no platform's libm makes them.

    sigmoid: int32 [2049]; exponential: int32 [384], 2**16 exp(-i / 32); inverse: int32 [161], 2**14 exp(4 - i / 16).
    Raises ModelError where they would not make shares.
    """

    sigmoid: NDArray[np.int32]
    exponential: NDArray[np.int32]
    inverse: NDArray[np.int32]

    def __post_init__(self) -> None:
        tables = (self.sigmoid, self.exponential, self.inverse)
        sizes = (2 * SIGMOID_RANGE * SIGMOID_STEPS + 1, 12 * LOGIT_UNIT, 10 * LOG_SCALE_UNIT + 1)
        if (
            any(t.dtype != np.int32 or t.shape != (n,) for t, n in zip(tables, sizes, strict=True))
            or min(t.min() for t in tables) < 0
            or (np.diff(self.sigmoid) < 0).any()
            or np.diff(self.sigmoid).max() > 1 << SIGMOID_STEP_BITS
            or self.sigmoid[-1] > 1 << SIGMOID_BITS
            or self.exponential[0] < 1
            or self.exponential.max() > 1 << WEIGHT_BITS
            or self.inverse.max() >= 1 << INVERSE_LIMIT_BITS
        ):
            raise ModelError("malformed tables of mixtures")

    @functools.cached_property
    def steps(self) -> Int:
        """Each entry of `sigmoid` and how far it is to the next, int64 [2 x 2049]."""
        sigmoid = self.sigmoid.astype(np.int64)
        return np.stack([sigmoid, np.diff(sigmoid, append=0)], axis=1).reshape(-1)

    def weights(self, logit: Int) -> Int:
        """A softmax. logit: int64 [K, n] in 1/32 -> int64 [K, n], sums to 2**16."""
        share = self.exponential[np.minimum(logit.max(axis=0) - logit, len(self.exponential) - 1)].astype(np.int64)
        weight: Int = (share << WEIGHT_BITS) // share.sum(axis=0)
        weight[0] += (1 << WEIGHT_BITS) - weight.sum(axis=0)
        return weight

    @classmethod
    def make(cls) -> Tables:
        """For training's export alone."""
        steps = 2 * SIGMOID_RANGE * SIGMOID_STEPS + 1
        t = [i / SIGMOID_STEPS - SIGMOID_RANGE for i in range(steps)]
        sigmoid = [round((1 << SIGMOID_BITS) / (1 + math.exp(-v))) for v in t]
        exponential = [round((1 << WEIGHT_BITS) * math.exp(-i / LOGIT_UNIT)) for i in range(12 * LOGIT_UNIT)]
        inverse = [
            round((1 << INVERSE_BITS) * math.exp(4 - i / LOG_SCALE_UNIT)) for i in range(10 * LOG_SCALE_UNIT + 1)
        ]
        return cls(*(np.array(a, np.int32) for a in (sigmoid, exponential, inverse)))


@dataclass(frozen=True)
class Mixture:
    """n mixtures of K logistics over A = size values from `origin` on; an interface.Distribution of these values.

    weight, mean, inverse: int64 [K, n], see above. size: a multiple of 16. counts: int64 [streams]. edges: the lower
    ones of all values and the last one's end in 1/64, int32 [A + 1], never decreasing; none: halfway between values.
    """

    tables: Tables
    weight: Int
    mean: Int
    inverse: Int
    size: int
    origin: int
    counts: Int
    edges: NDArray[np.int32] | None = None

    @classmethod
    def of(
        cls,
        tables: Tables,
        logit: Int,
        mean: Int,
        log_scale: Int,
        size: int,
        origin: int,
        counts: Int | None = None,
        edges: NDArray[np.int32] | None = None,
    ) -> Mixture:
        """logit [K, n] in 1/32; mean [K, n] in 1/64; log_scale [K, n] in 1/16 from -4, 0..160. counts: None for one
        stream.
        """
        counts = np.array([logit.shape[1]]) if counts is None else counts
        inverse = tables.inverse[log_scale].astype(np.int64)
        return cls(tables, tables.weights(logit), mean, inverse, size, origin, counts, edges)

    def part(self, rows: slice) -> Mixture:
        weight, mean, inverse = self.weight[:, rows], self.mean[:, rows], self.inverse[:, rows]
        counts = np.array([weight.shape[1]])
        return Mixture(self.tables, weight, mean, inverse, self.size, self.origin, counts, self.edges)

    def intervals(self, values: NDArray[np.integer]) -> list[Intervals]:
        """The shares of the values' high symbols, and of their low ones; of each table two entries are evaluated."""
        v = np.asarray(values, np.int64) - self.origin
        first = v // LOW_SYMBOLS * LOW_SYMBOLS
        base, end, below, above = self.cumulative(np.stack([first, first + LOW_SYMBOLS, v, v + 1]))
        span = end - base
        start, stop = ((c - base) * (TOTAL - LOW_SYMBOLS) // span for c in (below, above))
        start, stop = start + v - first, stop + v + 1 - first
        parts = ((base, span), (start, stop - start))
        return [Intervals(a.astype(np.uint32), n.astype(np.uint32), self.counts) for a, n in parts]

    def pop(self, read: Read) -> Int:
        high = np.asarray(read(self.high_table()), np.int64)
        return high * LOW_SYMBOLS + read(self.low_table(high)) + self.origin

    def cumulative(self, v: Int) -> Int:
        """C(v): the share of TOTAL below symbol v. v: int64 [m, n] or [m, 1] in 0..A -> int64 [m, n]."""
        edge = self.edge(v)
        total = np.zeros(np.broadcast_shapes(v.shape, self.mean[0].shape), np.int64)
        for k, weight in enumerate(self.weight):
            total += weight * self.sigmoids(edge, k)[1]
        c = v + ((total * (TOTAL - self.size)) >> (WEIGHT_BITS + SIGMOID_BITS))
        return np.where(v == 0, 0, np.where(v == self.size, TOTAL, c))

    def edge(self, v: Int) -> Int:
        """The lower edge of symbols v, in 1/64."""
        if self.edges is not None:
            return self.edges[v].astype(np.int64)
        return (v + self.origin) * MEAN_UNIT - MEAN_UNIT // 2

    def sigmoids(self, edge: Int, components: int | slice = slice(None)) -> tuple[Int, Int]:
        """t in 2**-20 from -16 on, and sigmoid(t) in 2**-22, of components at these edges; shapes as broadcast."""
        top = 2 * SIGMOID_RANGE << FINE_BITS
        t = np.clip((edge - self.mean[components]) * self.inverse[components] + top // 2, 0, top - 1)
        i, fraction = t >> FRACTION_BITS, t & ((1 << FRACTION_BITS) - 1)
        below = self.tables.sigmoid[i].astype(np.int64)
        return t, below + (((self.tables.sigmoid[i + 1] - below) * fraction) >> FRACTION_BITS)

    def high_table(self) -> NDArray[np.uint32]:
        """-> cdf [n, A / 16 + 1] of v >> 4."""
        edges = np.arange(0, self.size + 1, LOW_SYMBOLS)[:, None]
        return self.cumulative(edges).T.astype(np.uint32)

    def low_table(self, high: NDArray[np.integer]) -> NDArray[np.uint32]:
        """high: [n] -> cdf [n, 17] of v & 15 given v >> 4."""
        j = np.arange(LOW_SYMBOLS + 1)[:, None]
        c = self.cumulative(high * LOW_SYMBOLS + j)
        low = (c - c[0]) * (TOTAL - LOW_SYMBOLS) // (c[-1] - c[0]) + j
        table: NDArray[np.uint32] = low.T.astype(np.uint32)
        return table
