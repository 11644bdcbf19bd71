"""The coefficients family as a program: what it codes, in which order, in numpy."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy import mixture, program
from lgcodec.models.errors import ModelError
from lgcodec.models.families.coefficients import earlier
from lgcodec.models.families.coefficients.companion import FACTORS, meant, reduced
from lgcodec.models.families.coefficients.network import (
    AC_SIZE,
    AROUND,
    BAND,
    BANDS,
    BEFORE,
    COUNT,
    DC,
    DIAGONAL,
    FOUR,
    LIMIT,
    LINEAR,
    LOOKS,
    MAGNITUDES,
    MOST_BLOCKS,
    MOST_COMPONENTS,
    PAD,
    PHASES,
    PREDICTIONS,
    SIZES,
    ZIGZAG,
    Network,
)
from lgcodec.models.interface import Coefficients, ComponentShape, Distribution, IntArray
from lgcodec.models.layers.integer import Executor

Int = NDArray[np.int64]
NOT_AS_COUNTED = "a stream's blocks do not have as many coefficients as it says"
Edges = Mapping[int, NDArray[np.int32]]
Found = Generator[tuple[mixture.Mixture, IntArray], IntArray, Any]


def energy_of(values: Coefficients) -> NDArray[np.uint8]:
    """The mean magnitude in each band, and the mean count of what is not zero, as logarithms; for the encoder alone."""
    sizes = np.abs(values.astype(np.float64)).mean(axis=(0, 1))
    places = [[ZIGZAG[z] for z in range(1, 64) if BAND[z] == b] for b in range(len(BANDS))]
    means = [sizes[p].mean() for p in places] + [np.count_nonzero(values[..., 1:]) / values[..., 0].size]
    energy: NDArray[np.uint8] = np.clip(np.floor(8 * np.log2(1 + 64 * np.array(means))), 0, 127).astype(np.uint8)
    return energy


def check(shapes: Sequence[ComponentShape], band: Sequence[Coefficients] | None = None) -> None:
    """Raises ModelError where shapes are none that a JPEG file has, or coefficients none of these shapes and alphabets.
    """
    if not 1 <= len(shapes) <= MOST_COMPONENTS:
        raise ModelError(f"a JPEG file of {len(shapes)} components: expected 1 to {MOST_COMPONENTS}")
    for shape in shapes:
        sizes = ((shape.rows, MOST_BLOCKS), (shape.columns, MOST_BLOCKS), (shape.vertical, 4), (shape.horizontal, 4))
        steps, energy = np.asarray(shape.steps), np.asarray(shape.energy)
        if (
            not all(1 <= n <= most for n, most in sizes)
            or (steps.shape, energy.shape) != ((64,), (len(BANDS) + 1,))
            or not (steps.min() >= 1 and steps.max() <= 65535 and energy.min() >= 0 and energy.max() <= 127)
            or not earlier.is_sound(shape)
        ):
            raise ModelError("a component of a shape that no JPEG file has")
    if band is None:
        return
    wanted = [(of.rows, of.columns, 64) for of in shapes]
    if [x.shape for x in band] != wanted or any(x.dtype != np.int16 for x in band):
        raise ModelError("coefficients that are not of their components' shapes")
    for x in band:
        parts = ((x[..., :1], SIZES[DC]), (x[..., 1:], AC_SIZE))
        if any(part.min() < low or part.max() >= low + size for part, (size, low) in parts):
            raise ModelError("coefficients beyond those that a JPEG file has")


class Known:
    """A component as far as it is coded.

    values: dequantised, int16 [64, S], S = (R + 2 PAD)(C + 2 PAD) cells row by row, zeros around; LIMIT at most.
    counts, left: int16 [S]: how many AC coefficients are not zero, and how many of them are still to come.
    quantised: int16 [64, S].
    """

    def __init__(self, shape: ComponentShape) -> None:
        self.shape, self.stride = shape, shape.columns + 2 * PAD
        cells = (shape.rows + 2 * PAD) * self.stride
        self.values, self.quantised = np.zeros((64, cells), np.int16), np.zeros((64, cells), np.int16)
        self.counts, self.left = np.zeros(cells, np.int16), np.zeros(cells, np.int16)
        rows, columns = np.arange(shape.rows)[:, None] + PAD, np.arange(shape.columns) + PAD
        self.inside = rows * self.stride + columns  # [R, C]
        phases = [self.inside[y::2, x::2].reshape(-1) for y, x in PHASES]
        self.phases = np.concatenate(phases), np.repeat(np.arange(len(PHASES)), [len(p) for p in phases])

    def put(self, k: int, at: IntArray, x: IntArray) -> None:
        self.quantised[k, at] = x
        self.values[k, at] = np.clip(x * int(self.shape.steps[k]), -LIMIT, LIMIT)


@dataclass(frozen=True)
class Beside:
    """Another component as this one sees it: int16 [64, S] dequantised, and sixteenths of counts [S]."""

    values: NDArray[np.int16]
    counts: NDArray[np.int16]


def beside(other: Known | None, this: Known) -> Beside:
    """Zeros where the components do not fit on each other."""
    values, counts = np.zeros_like(this.values), np.zeros_like(this.counts)
    if other is None:
        return Beside(values, counts)
    factors = []
    for larger, smaller in (
        (other.shape.vertical, this.shape.vertical),
        (other.shape.horizontal, this.shape.horizontal),
    ):
        if larger % smaller or larger // smaller not in FACTORS:
            return Beside(values, counts)
        factors.append(larger // smaller)
    rows, columns = (
        np.minimum(np.arange(n * factor), m - 1)  # the edge goes on where chroma's blocks do
        for n, factor, m in zip(this.inside.shape, factors, other.inside.shape, strict=True)
    )
    cells = other.inside[rows[:, None], columns]
    blocks = other.values[:, cells].transpose(1, 2, 0).astype(np.int64)
    values[:, this.inside] = np.clip(reduced(blocks, *factors), -LIMIT, LIMIT).transpose(2, 0, 1)
    counts[this.inside] = meant(other.counts[cells].astype(np.int64), *factors)
    return Beside(values, counts)


@dataclass(frozen=True)
class Seen:
    """Inputs of one head for n coefficients, before its linear prediction is known.

    linear: int16 [inputs, n]. phase: which of the layer's outputs count. features: integers [n] each, all but those of
    the linear predictions, which come before them. predictions: int64 [2, n] in 1/64 of a step, by luma and by the
    first chroma component. step: what dequantised values are divided by.
    """

    head: int
    linear: NDArray[Any]
    phase: int
    features: list[NDArray[Any]]
    predictions: Int
    step: int


class Program:
    """The model of the components of one JPEG (one band of it): one stream."""

    def __init__(self, network: Network, executor: Executor, shapes: Sequence[ComponentShape]) -> None:
        self.network, self.executor, self.shapes = network, executor, shapes
        self.compand, self.tables = network.compand, network.tables
        self.loaded: dict[str, Any] = {}

    def symbols(self, value: Sequence[Coefficients]) -> Iterator[tuple[Distribution, IntArray]]:
        check(self.shapes, value)
        return program.symbols(self._run(value))

    def steps(self) -> Generator[Distribution, IntArray, list[Coefficients]]:
        check(self.shapes)
        return program.steps(self._run(None))

    def preview(self) -> Generator[Distribution, IntArray, list[Coefficients]]:
        """As `steps`, but ends with DC coefficients; all others are 0."""
        check(self.shapes)
        return program.steps(self._run(None, [(i, "dc") for i in range(len(self.shapes))]))

    def _order(self) -> list[tuple[int, str]]:
        """Components and what is coded of them."""
        components = range(len(self.shapes))
        if self.shapes[0].is_dc_first:
            return [(i, part) for part in ("dc", "ac") for i in components]
        return [(i, part) for i in components for part in ("dc", "ac")]

    def _run(self, truth: Sequence[Coefficients] | None, order: Sequence[tuple[int, str]] | None = None) -> Found:
        known = [Known(shape) for shape in self.shapes]
        for i, part in self._order() if order is None else order:
            this, kind = known[i], "chroma" if i else "luma"
            luma, first = beside(known[0] if i else None, this), beside(known[1] if i == 2 else None, this)
            looks = Looking(self.compand, kind, this, luma, first, i)
            edges = earlier.edges(this.shape, self.tables)
            flat = np.zeros_like(this.quantised)
            if truth is not None:
                flat[:, this.inside] = truth[i].transpose(2, 0, 1)
            yield from (self._fronts if part == "dc" else self._frequencies)(kind, this, looks, flat, edges)
        return [part.quantised[:, part.inside].transpose(1, 2, 0) for part in known]

    def _fronts(self, kind: str, this: Known, looks: Looking, truth: NDArray[np.int16], edges: Edges) -> Found:
        """Counts and DC coefficients."""
        counts = np.count_nonzero(truth[1:], axis=0)
        for at, near in looks.fronts():
            x = yield from self._code(kind, looks.count(at, near), counts[at])
            this.counts[at] = this.left[at] = x
            x = yield from self._code(kind, looks.dc(at, near), truth[0, at], edges.get(0))
            this.put(0, at, x)

    def _frequencies(self, kind: str, this: Known, looks: Looking, truth: NDArray[np.int16], edges: Edges) -> Found:
        for z in range(1, 64):
            k = ZIGZAG[z]
            cells, phases = this.phases
            active = this.left[cells] > 0
            cells, phases = cells[active], phases[active]
            if len(cells) == 0:
                break
            looks.prepare(z)
            for phase in range(len(PHASES)):
                at = cells[phases == phase]
                if len(at) == 0:
                    continue
                x = yield from self._code(kind, looks.frequency(z, phase, at), truth[k, at], edges.get(k))
                this.put(k, at, x)
                this.left[at] -= x != 0
                if (this.left[at] > 63 - z).any():
                    raise ModelError(NOT_AS_COUNTED)

    def _code(
        self, kind: str, seen: Seen, truth: IntArray, edges: NDArray[np.int32] | None = None
    ) -> Generator[tuple[mixture.Mixture, IntArray], IntArray, Int]:
        name, K = f"{kind}.{seen.head}", self.network.config.components
        linear = self._apply(f"{name}.linear", seen.linear.T.astype(np.float32)).astype(np.int64).T
        linear = linear[LINEAR * seen.phase : LINEAR * (seen.phase + 1)] * 4 // seen.step
        base, predictions = np.zeros_like(linear[0]), np.concatenate([linear, seen.predictions])
        if seen.head in (COUNT, DC):
            base, predictions = linear[0], predictions - linear[0]
        size = self.compand[np.minimum(np.abs(linear) >> 2, MAGNITUDES - 1)]
        features = np.stack([*(np.sign(linear) * size), *size, *seen.features], axis=1)
        h = self._apply(f"{name}.first", features.astype(np.float32))
        q = self._apply(f"{name}.out", self._apply(f"{name}.second", h)).astype(np.int64).T
        gates = q[3 * K :].reshape(2, PREDICTIONS, -1)
        moved = (gates * predictions).sum(axis=1) >> 8
        mean = q[K : 2 * K] + base
        mean[0] += moved[0]
        mean[1:] += moved[1]
        size, origin = SIZES.get(seen.head, AC_SIZE)
        scale = q[2 * K : 3 * K]
        mixed = mixture.Mixture.of(self.tables, q[:K], mean, scale, size, origin, edges=edges)
        x: Int = np.asarray((yield mixed, truth.astype(np.int64)), np.int64)
        return x

    def _apply(self, name: str, a: NDArray[np.float32]) -> NDArray[np.float32]:
        if name not in self.loaded:
            self.loaded[name] = self.executor.load(self.network.layers[name])
        out: NDArray[np.float32] = self.executor.numpy(
            self.executor.apply(self.loaded[name], self.executor.array(np.ascontiguousarray(a)))
        )
        return out


class Looking:
    """What the networks see of one component."""

    def __init__(
        self, table: NDArray[np.int32], kind: str, this: Known, luma: Beside, first: Beside, place: int
    ) -> None:
        """table: Network.compand."""
        self.table, self.kind, self.this = table.astype(np.int64), kind, this
        self.luma, self.first, self.place = luma, first, place
        steps, energy = this.shape.steps.astype(np.int64), this.shape.energy
        self.steps = steps
        self.log_steps = np.array(
            [int(8 * int(s).bit_length() + ((int(s) << 8 >> int(s).bit_length()) >> 4)) for s in steps]
        )
        self.energy = 2 * energy.astype(np.int64)
        self.chroma = kind == "chroma"
        if self.chroma:
            cells = len(this.counts)
            # of products with luma, its squares, and with the first chroma's
            self.sums = np.zeros((4, cells), np.int64)

    def sizes(self, values: NDArray[Any], step: int) -> NDArray[Any]:
        """Companded magnitudes in sixteenths of a step."""
        steps = np.minimum((np.abs(values.astype(np.int32)) * ((1 << 16) // step)) >> 12, MAGNITUDES - 1)
        companded: NDArray[Any] = self.table[steps]
        return companded

    def common(self, n: int, z: int) -> list[NDArray[Any]]:
        k, before = ZIGZAG[z % 64], ZIGZAG[max(0, z % 64 - 1)]
        known = (self.energy[BAND[z % 64]], self.log_steps[k], self.log_steps[before], self.energy[-1])
        return [np.full(n, value) for value in known]

    def fronts(self) -> Iterator[tuple[IntArray, IntArray]]:
        """Cells [n] of each front, and those before them [len(BEFORE), n]; where there is none, the nearest one."""
        R, C = self.this.inside.shape
        for t in range(C + 2 * (R - 1)):
            rows = np.arange(max(0, (t - C + 2) // 2), min(R, t // 2 + 1))
            if len(rows) == 0:
                continue
            columns = t - 2 * rows
            near = np.zeros((len(BEFORE), len(rows)), np.int64)
            for i, (dy, dx) in enumerate(BEFORE):
                y, x = rows + dy, np.minimum(columns + dx, C - 1)
                y, x = np.where(x < 0, rows - 1, y), np.where(x < 0, columns, x)  # N of what is left of the edge
                x = np.where((y < 0) & (rows == 0), columns - 1, x)  # W of what is above it
                y = np.maximum(y, 0)
                near[i] = np.where((y < 0) | (x < 0), 0, (y + PAD) * self.this.stride + x + PAD)
            yield self.this.inside[rows, columns], near

    def around(self, at: IntArray) -> IntArray:
        return np.stack([at + dy * self.this.stride + dx for dy, dx in AROUND])

    def count(self, at: IntArray, near: IntArray) -> Seen:
        n, seen = len(at), [self.this.counts[near] * 16]
        if self.chroma:
            around = self.around(at)
            seen += [self.luma.counts[around], self.first.counts[around]]
        linear = np.concatenate(seen)
        features = [*self.table[linear.astype(np.int64)], *self.common(n, 1)]
        features += [np.full(n, self.energy[b]) for b in range(len(BANDS))]
        return Seen(COUNT, linear, 0, features, np.zeros((2, n), np.int64), 16)

    def dc(self, at: IntArray, near: IntArray) -> Seen:
        step, n = int(self.steps[0]), len(at)
        values = self.this.values[0]
        w, n_, nw, ne, ww, nn = before = values[near].astype(np.int32)
        seen, predictions = [before], np.zeros((2, n), np.int64)
        features: list[NDArray[Any]] = []
        differences = [w - nw, n_ - nw, n_ - ne, w - n_, ww - w, nn - n_]
        if self.chroma:
            around, ours = self.around(at), before[:4]
            for i, other in enumerate((self.luma, self.first)):
                known, here = other.values[0][around].astype(np.int32), other.values[0][at].astype(np.int32)
                seen.append(known)
                differences += [here - known[1], here - known[2]]
                theirs = other.values[0][near[:4]].astype(np.int64)
                ours_mean, theirs_mean = ours.sum(axis=0, dtype=np.int64), theirs.sum(axis=0)
                product = ((4 * ours - ours_mean) * (4 * theirs - theirs_mean)).sum(axis=0)
                square = ((4 * theirs - theirs_mean) ** 2).sum(axis=0) + 4096
                slope = np.clip((product << 8) // square, -1023, 1023)
                expected = 4 * 256 * ours_mean + 4 * slope * (4 * here - theirs_mean)  # in 2**-12
                predictions[i] = (expected * 4) // (256 * step)
        features += [self.sizes(d, step) for d in differences]
        features += [self.table[16 * self.this.counts[c].astype(np.int64)] for c in (at, near[0], near[1], near[3])]
        features += self.common(n, 64)
        if self.chroma:
            features += [self.table[self.luma.counts[at].astype(np.int64)]]
            features += [self.table[self.first.counts[at].astype(np.int64)], np.full(n, 64 * (self.place == 2))]
        return Seen(DC, np.concatenate(seen), 0, features, predictions, step)

    def prepare(self, z: int) -> None:
        """Local slopes of this component against the others, by the frequencies before."""
        if not self.chroma:
            return
        if z > 1:
            k = ZIGZAG[z - 1]
            ours = self.this.values[k].astype(np.int64)
            for i, other in enumerate((self.luma, self.first)):
                theirs = other.values[k].astype(np.int64)
                self.sums[2 * i] += ours * theirs
                self.sums[2 * i + 1] += theirs * theirs
        stride, total = self.this.stride, self.sums.copy()
        total[:, 1:-1] += self.sums[:, :-2] + self.sums[:, 2:]
        rows = total.copy()
        total[:, stride:-stride] += rows[:, : -2 * stride] + rows[:, 2 * stride :]
        self.slopes = np.clip((total[::2] << 8) // (total[1::2] + 1024), -1023, 1023)

    def frequency(self, z: int, phase: int, at: IntArray) -> Seen:
        this, looks, k, n = self.this, LOOKS[self.kind][z], ZIGZAG[z], len(at)
        step, cells, stride = int(self.steps[k]), len(this.counts), this.stride

        def taken(places: Sequence[tuple[int, int, int]]) -> NDArray[np.int16]:
            offsets = np.array([j * cells + dy * stride + dx for dy, dx, j in places])
            out: NDArray[np.int16] = this.values.reshape(-1)[offsets[:, None] + at]
            return out

        left = np.stack([this.left[at + dy * stride + dx] for dy, dx in ((0, 0), *FOUR, *DIAGONAL)]).astype(np.int64)
        features = [*self.sizes(taken(looks.magnitudes), step), *self.table[16 * left]]
        features.append(self.table[1024 * left[0] // (64 - z)])
        dc = this.values[0].astype(np.int32)
        features += [self.sizes(dc[at - d] - dc[at + d], step) for d in (1, stride)]
        features += self.common(n, z)
        features += [np.full(n, 64 * (phase == p)) for p in range(len(PHASES))]
        predictions = np.zeros((2, n), np.int64)
        if self.chroma:
            for i, other in enumerate((self.luma, self.first)):
                plane = other.values[k].astype(np.int64)
                predictions[i] = (self.slopes[i, at] * plane[at]) // (4 * step)
                sizes = [np.abs(plane[at + dy * stride + dx]) for dy, dx in FOUR]
                features += [self.sizes(plane[at], step), self.sizes(sum(sizes) >> 2, step)]
                features += [self.table[other.counts[at].astype(np.int64)]]
                features += [self.table[np.minimum(np.abs(predictions[i]) >> 2, MAGNITUDES - 1)]]
            features += [np.full(n, 64 * (self.place == 2)), np.full(n, 64 * (self.this.shape.vertical == 1))]
        return Seen(z, taken(looks.mates), phase, features, predictions, step)
