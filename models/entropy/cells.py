"""Normal distributions, and mixtures of them, over cells: latents' are of equal mass under the prior, pixels' even."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy.mixture import WEIGHT_BITS
from lgcodec.models.errors import ModelError
from lgcodec.models.interface import TOTAL, IntArray, Intervals, Read

Int = NDArray[np.int64]
LATENT_UNIT = 256  # of a latent's value and a posterior's mean
NORMAL_RANGE, NORMAL_STEPS = 8, 64  # of the table of the normal distribution: -8 to 8, steps of 1/64
RATIO_UNIT = 16  # of the logarithm of a posterior's scale


@dataclass(frozen=True)
class Cells:
    """The cells of latents or of pixels, and the normal distribution. Tables of int32 that ship with the weights.

    edges [2**bits - 1]: between the cells, in 2**-16. values [2**bits]: what layers read; of latents, in 1/256, the
    mean of a cell. normal [1025]: 2**24 times the share below t, t in steps of 1/64 from -8 to 8. precision [96]: 2**14
    exp(i / 16), one over a posterior's scale.
    """

    edges: NDArray[np.int32]
    values: NDArray[np.int32]
    normal: NDArray[np.int32]
    precision: NDArray[np.int32]

    @classmethod
    def make(cls, bits: int) -> Cells:
        """Of latents, of equal mass; for training's export alone."""
        normal, n = NormalDist(), 1 << bits
        edges = [normal.inv_cdf(i / n) for i in range(1, n)]
        density = [0.0, *(normal.pdf(e) for e in edges), 0.0]
        values = [n * (low - high) * LATENT_UNIT for low, high in itertools.pairwise(density)]
        return cls._of(edges, values)

    @classmethod
    def even(cls, levels: int, one: int) -> Cells:
        """Of pixels, between -1/2 and 1/2; layers read 0 as -one and the last level as one. For training's export."""
        top = levels - 1
        values = [(2 * v - top) * one // top for v in range(levels)]
        return cls._of([v / levels - 0.5 for v in range(1, levels)], values)

    @classmethod
    def _of(cls, edges: Sequence[float], values: Sequence[float]) -> Cells:
        normal = NormalDist()
        t = [i / NORMAL_STEPS - NORMAL_RANGE for i in range(2 * NORMAL_RANGE * NORMAL_STEPS + 1)]
        steps = [round(TOTAL * normal.cdf(v)) for v in t]
        precision = [round((1 << 14) * math.exp(i / RATIO_UNIT)) for i in range(96)]
        scaled = [round(e * (1 << 16)) for e in edges]
        return cls(*(np.array(a, np.int32) for a in (scaled, [round(v) for v in values], steps, precision)))

    def check(self, bits: int) -> None:
        """Raises ModelError unless these are what `make` makes, or could be."""
        tables = (self.edges, self.values, self.normal, self.precision)
        sizes = ((1 << bits) - 1, 1 << bits, 2 * NORMAL_RANGE * NORMAL_STEPS + 1, 96)
        if (
            [(t.dtype, t.shape) for t in tables] != [(np.dtype(np.int32), (n,)) for n in sizes]
            or any((np.diff(t.astype(np.int64)) < 0).any() for t in tables)
            or np.abs(self.edges.astype(np.int64)).max() > 1 << 20
            or self.normal.min() < 0
            or self.normal.max() > TOTAL
            or self.precision.min() < 0
        ):
            raise ModelError("vae model: malformed tables of latents")

    def cumulative(self, v: Int, size: int, t: Int) -> Int:
        """The share of TOTAL below v of `size` values, which begin where the normal distribution is at t, int64 in
        2**-16 of its standard deviation.
        """
        return self.shares(v, size, self.below(t))

    def below(self, t: Int) -> Int:
        """2**24 times the normal distribution at t."""
        t = np.clip(t + (NORMAL_RANGE << 16), 0, (2 * NORMAL_RANGE << 16) - 1)
        i, fraction = t >> 10, t & 1023
        below: Int = self.normal[i].astype(np.int64)
        below += (self.normal[i + 1] - below) * fraction >> 10
        return below

    @staticmethod
    def shares(v: Int, size: int, below: Int) -> Int:
        """The share of TOTAL below v of `size` values, of a distribution that has `below` of 2**24 there."""
        c = v + (below * (TOTAL - size) >> 24)
        return np.where(v == 0, 0, np.where(v == size, TOTAL, c))


@dataclass(frozen=True)
class Posterior:
    """n latents' posteriors, an interface.Distribution of the indices of cells, coded as a high and a low half.

    mean: int64 [n] in 1/256; ratio: int64 [n], see Cells.precision. counts: int64 [streams].
    """

    cells: Cells
    mean: Int
    ratio: Int
    counts: Int

    @property
    def side(self) -> int:
        """How many high and how many low symbols."""
        return math.isqrt(len(self.cells.values))

    def part(self, rows: slice) -> Posterior:
        mean, ratio = self.mean[rows], self.ratio[rows]
        return Posterior(self.cells, mean, ratio, np.array([len(mean)]))

    def cumulative(self, v: Int) -> Int:
        """The share of TOTAL below cell v. v: int64 [m, n] or [m, 1] in 0..2**bits -> int64 [m, n]."""
        size = len(self.cells.values)
        return self.cells.cumulative(v, size, self.distance(v, self.mean, self.ratio))

    def distance(self, v: Int, mean: Int, ratio: Int) -> Int:
        """Of the lower edge of cell v from the mean, in 2**-16 of a scale."""
        edge = self.cells.edges[np.clip(v - 1, 0, len(self.cells.values) - 2)].astype(np.int64)
        return (edge - (mean << 8)) * self.cells.precision[ratio].astype(np.int64) >> 14

    def intervals(self, symbols: IntArray) -> list[Intervals]:
        v, side = np.asarray(symbols, np.int64), self.side
        first = v // side * side
        base, end, below, above = self.cumulative(np.stack([first, first + side, v, v + 1]))
        start, stop = ((c - base) * (TOTAL - side) // (end - base) for c in (below, above))
        start, stop = start + v - first, stop + v + 1 - first
        parts = ((base, end - base), (start, stop - start))
        return [Intervals(a.astype(np.uint32), n.astype(np.uint32), self.counts) for a, n in parts]

    def pop(self, read: Read) -> IntArray:
        side = self.side
        edges = self.cumulative(np.arange(0, side * side + 1, side)[:, None])
        high = np.asarray(read(edges.T.astype(np.uint32)), np.int64)
        j = np.arange(side + 1)[:, None]
        c = self.cumulative(high * side + j)
        low = (c - c[0]) * (TOTAL - side) // (c[-1] - c[0]) + j
        return high * side + read(low.T.astype(np.uint32))


@dataclass(frozen=True)
class Normals(Posterior):
    """The same of mixtures of K normals: mean, ratio [K, n]. weight: int64 [K, n], sums to 2**16."""

    weight: Int

    def part(self, rows: slice) -> Normals:
        weight, mean, ratio = self.weight[:, rows], self.mean[:, rows], self.ratio[:, rows]
        return Normals(self.cells, mean, ratio, np.array([weight.shape[1]]), weight)

    def cumulative(self, v: Int) -> Int:
        parts = zip(self.weight, self.mean, self.ratio, strict=True)
        below = sum(weight * self.cells.below(self.distance(v, *normal)) for weight, *normal in parts)
        return self.cells.shares(v, len(self.cells.values), below >> WEIGHT_BITS)
