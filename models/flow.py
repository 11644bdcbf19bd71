"""The flow family: an integer discrete flow that splits an image into 2x2 phases, level by level (integers only).

References: Hoogeboom et al. 2019 (integer discrete flows), Sweldens 1996 (lifting), Salimans et al. 2017 (mixtures of
discretised logistics), Kamisli 2023 (lossless coding by learned interpolation of phases). One level, of the samples
x that the level before left (a, b, c, d are its phases 00, 01, 10, 11):

    forward                          inverse, and the order of decoding
    z_c = c - round(t(a, b, d))      a         the next level, down to one sample
    z_b = b - round(t(a, d))         d = z_d + round(t(a))          z_d ~ p(z | a)
    z_d = d - round(t(a))            b = z_b + round(t(a, d))       z_b ~ p(z | a, d)
    a   -> the next level            c = z_c + round(t(a, b, d))    z_c ~ p(z | a, b, d)

Each coupling adds integers, so the flow is a bijection of whatever integers there are, and its volume is one. A
latent's prior is a mixture of logistics, conditioned on all that is coarser and, between channels, on the channels
before, cut to the window of samples that a plane of 8 bits can hold; what lies outside escapes at some cost in bits. t
and the prior's parameters come from one network per phase, over a window of known samples relative to their mean:

    samples - anchor --+--- linear ----------------- t ----+
                       |  first, relu                      |  + out(Y)  -> prior of Y
                       +--> h + relu(W h) x D -- heads ----+  + out(Co) -> prior of Co, seeing Y's error
                                                           |  + out(Cg) -> prior of Cg, seeing Y's and Co's error

Networks are called a fixed number of times, whatever the size of the image, and alike in both directions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lgcodec.models import deltas, interface, program, stack
from lgcodec.models.errors import ModelError
from lgcodec.models.integer import Executor, Layer, executor
from lgcodec.models.interface import TOTAL, Compiled, Distribution, IntArray, Table
from lgcodec.models.mixture import MEAN_UNIT, Mixture, Tables
from lgcodec.models.weights import Weights

Shape = tuple[int, int, int]
Tile = NDArray[np.int16]
Int = NDArray[np.int64]

PHASES = ((1, 1), (0, 1), (1, 0))  # in decode order: parity of row and column; (0, 0) is the next level
_DIAGONAL, _CROSS = ((-1, -1), (-1, 1), (1, -1), (1, 1)), ((-1, 0), (1, 0), (0, -1), (0, 1))
NEAREST = (_DIAGONAL, _CROSS, _CROSS)  # whose mean is a phase's anchor
STRIP = 4096  # positions of a tile whose channels are coded in turn
SAMPLE_LIMIT = 4095  # of the samples as networks see them
DIFFERENCE_LIMIT = 1023  # samples less anchor, Q2
PLACE_LIMIT = 1023
OFFSET = 8.0  # pixels per unit of the network's mean output
LOG_SCALE_BIAS, LOG_SCALE_LOW, LOG_SCALE_HIGH = 1.0, -4.0, 6.0
SLOPE_UNIT, SLOPE_BITS = 256, 8
ERROR_LIMIT = 256 * MEAN_UNIT
COMPAND_UNIT, COMPAND_LIMIT, COMPAND_SIZE = 128, 511, 4096
SIZES = (256, 512, 512)  # windows of Y, Co, Cg
ORIGINS = (0, -256, -256)  # their lowest sample
OUTPUT_ENDS = ((-4095, 4095), (-65535, 65535), (0, 160), (-1023, 1023))  # logit, mean, log scale, slope

# What lies beyond an end of the window: how many bytes the excess has, and these bytes, the lowest first.
LENGTHS = np.array([0, TOTAL - 4, TOTAL - 3, TOTAL - 2, TOTAL - 1, TOTAL], np.uint32)
BYTES = np.arange(257, dtype=np.uint32) << np.uint32(16)
UNKNOWN = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Config:
    """Sizes of one flow.

    channels: 3, or 1 for a flow of single planes. sets: levels 0 .. sets - 2 have networks of their own, all coarser
    ones share the last set. reach: squared radius of each phase's window. absolute: 1 where networks see samples as
    they are, and where they stand, instead of relative to an anchor. block: where a tile is `block` wide and a
    multiple of it high, it is a stack of images that know nothing of each other; 0 for none. Hidden activations are
    integers 0..limit in units of 2**-fraction.
    """

    channels: int = 3
    sets: int = 3
    width: int = 80
    depth: int = 2
    hidden: int = 32
    components: int = 3
    reach: tuple[int, int, int] = (18, 13, 13)
    absolute: int = 0
    block: int = 0
    fraction: int = 7
    limit: int = 4095

    def __post_init__(self) -> None:
        bounds = {
            "channels": (1, 3), "sets": (1, 16), "width": (1, 1024), "depth": (0, 32), "hidden": (1, 512),
            "components": (1, 16), "absolute": (0, 1), "block": (0, 1024), "fraction": (1, 12), "limit": (1, 8191),
        }  # fmt: skip
        values = {name: getattr(self, name) for name in bounds} | {f"reach {i}": r for i, r in enumerate(self.reach)}
        for name, value in values.items():
            low, high = bounds.get(name, (2, 50))
            if type(value) is not int or not low <= value <= high:
                raise ModelError(f"flow model: {name} is {value!r}, expected {low} to {high}")
        if self.channels == 2 or len(self.reach) != 3:
            raise ModelError("flow model: expected 1 or 3 channels and the reach of 3 phases")

    def window(self, phase: int) -> list[tuple[int, int]]:
        """Offsets (dy, dx) of the known samples that a phase's network sees."""
        (py, px), far = PHASES[phase], range(-7, 8)
        known = [(0, 0), *PHASES[:phase]]
        near = [(dy, dx) for dy in far for dx in far if dy * dy + dx * dx <= self.reach[phase]]
        return [(dy, dx) for dy, dx in near if ((py + dy) % 2, (px + dx) % 2) in known]

    @property
    def margin(self) -> int:
        """How far the windows reach beyond a phase's plane, in its samples."""
        places = [locate(p, o)[1:] for p in range(3) for o in self.window(p)]
        return max(abs(d) for place in places for d in place)

    def layers(self, phase: int) -> dict[str, tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]]:
        """Each layer's input limits, and its outputs' lowest and highest value."""
        seen = np.full(self.channels * len(self.window(phase)), DIFFERENCE_LIMIT)
        place = np.full(2 * self.absolute, PLACE_LIMIT)
        h = np.full(self.width, self.limit)

        def hidden(limits: IntArray, n: int) -> tuple[IntArray, IntArray, IntArray]:
            return limits, np.zeros(n, np.int32), np.full(n, self.limit)

        layers = {"first": hidden(np.concatenate([seen, place]), self.width)}
        layers |= {f"middle.{i}": hidden(h, self.width) for i in range(self.depth)}
        layers |= {"linear": (seen, np.full(self.channels, -65536), np.full(self.channels, 65535))}
        for c in range(self.channels):
            kinds = np.repeat([0, 1, 2, 3], [self.components] * 3 + [c])
            low, high = np.array(OUTPUT_ENDS)[kinds].T
            layers[f"head.{c}"] = hidden(np.concatenate([h, np.full(c, COMPAND_LIMIT)]), self.hidden)
            layers[f"out.{c}"] = (np.full(self.hidden, self.limit), low, high)
        return {name: tuple(a.astype(np.int32) for a in ends) for name, ends in layers.items()}  # type: ignore[misc]


def locate(phase: int, offset: tuple[int, int]) -> tuple[int, int, int]:
    """Which phase (2 row parity + column parity) an offset from `phase` meets, and where in its plane, (dy, dx)."""
    y, x = (p + o for p, o in zip(PHASES[phase], offset, strict=True))
    return 2 * (y % 2) + x % 2, y // 2, x // 2


@dataclass(frozen=True)
class Network:
    """The integers of one model, checked. layers: by set and phase, then by name; last: int32 [C, 3, K], logits,
    means and log scales of the prior of the one sample that is left.
    """

    config: Config
    layers: list[list[dict[str, Layer]]]
    last: NDArray[np.int32]
    coarse: NDArray[np.int32]
    tables: Tables

    @classmethod
    def of(cls, weights: Weights) -> Network:
        """Raises ModelError where tensors are missing, misshapen or out of the exact range."""
        if set(weights.config) != {field.name for field in fields(Config)}:
            raise ModelError(f"flow model: config {weights.config} is not one of this release")
        try:
            config = Config(**{**weights.config, "reach": tuple(weights.config["reach"])})
            layers = [[_layers(config, weights, f"{s}.{p}", p) for p in range(3)] for s in range(config.sets)]
            last, *tables = (weights.tensors[n] for n in ("last", "sigmoid", "exponential", "inverse", "coarse"))
        except KeyError as e:
            raise ModelError(f"flow model: tensor {e} is missing") from e
        except TypeError as e:
            raise ModelError(f"flow model: config {weights.config} is not one of this release") from e
        *mixtures, coarse = tables
        low, high = np.array(OUTPUT_ENDS)[:3, :, None].transpose(1, 0, 2)
        if (
            any(t.dtype != np.int32 for t in (last, coarse))
            or coarse.shape != (COMPAND_SIZE,)
            or last.shape != (config.channels, 3, config.components)
            or (last < low).any()
            or (last > high).any()
            or coarse.min() < 0
            or coarse.max() > COMPAND_LIMIT
        ):
            raise ModelError("flow model: malformed tables")
        return cls(config, layers, last, coarse, Tables(*mixtures))

    def named(self) -> dict[str, Layer]:
        """All layers, as weights files name and deltas order them."""
        return {
            f"{s}.{p}.{name}": layer
            for s, phases in enumerate(self.layers)
            for p, layers in enumerate(phases)
            for name, layer in layers.items()
        }

    def adapted(self, adaptation: bytes) -> Network:
        """Fitted to one image by side information in its file, deltas or nothing. Raises ModelError where that is
        malformed.
        """
        if not adaptation:
            return self
        moved = iter(deltas.moved(self.named(), adaptation).values())
        return replace(self, layers=[[{name: next(moved) for name in phase} for phase in s] for s in self.layers])


def _layers(config: Config, weights: Weights, key: str, phase: int) -> dict[str, Layer]:
    layers = {}
    for name, ends in config.layers(phase).items():
        weight, bias, shift = (weights.tensors[f"{key}.{name}.{part}"] for part in ("weight", "bias", "shift"))
        layers[name] = Layer(weight, bias, shift, *ends)
    return layers


@dataclass(frozen=True)
class View:
    """What a network sees of n positions. planes: float32 [S, C], samples within SAMPLE_LIMIT; base: int64 [n];
    windows, nearest: int64, what to add to `base` for the samples around; place: float32 [n, 2] or [n, 0].
    """

    planes: NDArray[np.float32]
    base: Int
    windows: Int
    nearest: Int
    place: NDArray[np.float32]


Parameters = tuple[Int, Int, Int]  # weight, mean, inverse of a Mixture, [K, n]


class Trunk(Protocol):
    """One network's work on n positions. centre: int64 [n, C], the couplings' t before rounding, 1/64."""

    centre: Int

    def prior(self, c: int, error: Int) -> Parameters:
        """Channel c's mixtures; error: int64 [n, C], samples less centre of the channels before, 1/64."""
        ...


Machine = Callable[[int, int, View], Trunk]  # set, phase


class Layers:
    """A Machine from an integer.Executor."""

    def __init__(self, network: Network, executor: Executor) -> None:
        self.network, self.executor = network, executor
        self.loaded = [
            [{name: executor.load(layer) for name, layer in phase.items()} for phase in phases]
            for phases in network.layers
        ]

    def __call__(self, number: int, phase: int, view: View) -> Trunk:
        return _ExecutedTrunk(self.network, self.executor, self.loaded[number][phase], view)


class _ExecutedTrunk:
    def __init__(self, network: Network, executor: Executor, loaded: dict[str, Any], view: View) -> None:
        self.network, self.executor, self.loaded = network, executor, loaded
        run, config = executor, network.config
        four = view.planes[view.base[:, None] + view.nearest].sum(axis=1) * (1 - config.absolute)  # [n, C]
        around = 4 * view.planes[view.base[:, None] + view.windows] - four[:, None]  # [n, windows, C]
        seen = np.clip(around, -DIFFERENCE_LIMIT, DIFFERENCE_LIMIT).reshape(len(view.base), -1)
        linear = run.numpy(run.apply(loaded["linear"], run.array(seen)))
        self.centre: Int = (MEAN_UNIT // 4 * four + linear).astype(np.int64)
        h = run.apply(loaded["first"], run.array(np.concatenate([seen, view.place], axis=1)))
        for i in range(config.depth):
            h = (h + run.apply(loaded[f"middle.{i}"], h)).clip(0, config.limit)
        self.h = h

    def prior(self, c: int, error: Int) -> Parameters:
        run, K, a = self.executor, self.network.config.components, self.h
        if c:
            a = run.join([a, run.array(compand(self.network.coarse, error[:, :c] >> 3).astype(np.float32))])
        q = run.numpy(run.apply(self.loaded[f"out.{c}"], run.apply(self.loaded[f"head.{c}"], a))).astype(np.int64).T
        mean = q[K : 2 * K] + self.centre[:, c]
        for j in range(c):
            mean = mean + ((q[3 * K + j] * error[:, j]) >> SLOPE_BITS)
        m = Mixture.of(self.network.tables, q[:K], mean, q[2 * K : 3 * K], SIZES[c], ORIGINS[c])
        return m.weight, m.mean, m.inverse


def compand(table: NDArray[np.int32], e: Int) -> Int:
    """sign(e) table[|e|], |e| clipped to the table. e: Q3."""
    value: Int = np.sign(e) * table[np.minimum(np.abs(e), len(table) - 1)].astype(np.int64)
    return value


@dataclass(frozen=True)
class Latent:
    """n latents that are coded together. t: int64 [n], what their coupling adds; z: int64 [n], or [0] where it is to
    be found.
    """

    t: Int
    z: Int
    channel: int
    prior: Callable[[], Parameters]


class Flow:
    """The flow of images of one shape: x int64 [N, H, W, C] <-> latents, in decode order. tiles: N is a multiple of
    it, and the positions of each tile are kept together.
    """

    def __init__(self, network: Network, machine: Machine, tiles: int, shape: tuple[int, int, int, int]) -> None:
        self.network, self.machine, self.tiles, self.shape = network, machine, tiles, shape

    def forward(self, x: Int) -> list[Int]:
        run, latents = self.run(x), []
        try:
            latent = next(run)
            while True:
                latents.append(latent.z)
                latent = run.send(latent.z)
        except StopIteration:
            return latents

    def inverse(self, latents: Sequence[Int]) -> Int:
        run, items = self.run(None), iter(latents)
        try:
            next(run)
            while True:
                run.send(next(items))
        except StopIteration as stop:
            x: Int = stop.value
            return x

    def run(self, x: Int | None) -> Generator[Latent, Int, Int]:
        """Yields the latents of x, or those to be found, is sent their z, and returns x."""
        H, W = self.shape[1:3]
        depth = max(H - 1, W - 1).bit_length()
        known = yield from self._last(None if x is None else x[:, :: 1 << depth, :: 1 << depth])
        for level in reversed(range(depth)):
            step, side = 1 << level, (1 << level) - 1
            part = None if x is None else x[:, ::step, ::step]
            known = yield from self._level(level, known, ((H + side) // step, (W + side) // step), part)
        return known

    def _last(self, x: Int | None) -> Generator[Latent, Int, Int]:
        """The one sample that is left, [N, 1, 1, C]."""
        N, C = self.shape[0], self.shape[3]
        result = np.zeros((N, 1, 1, C), np.int64)

        def parameters(c: int) -> Callable[[], Parameters]:
            def prior() -> Parameters:
                logit, mean, log_scale = np.repeat(self.network.last[c].astype(np.int64)[..., None], N, axis=2)
                m = Mixture.of(self.network.tables, logit, mean, log_scale, SIZES[c], ORIGINS[c])
                return m.weight, m.mean, m.inverse

            return prior

        for c in range(C):
            z = UNKNOWN if x is None else x[:, 0, 0, c]
            result[:, 0, 0, c] = yield Latent(np.zeros(N, np.int64), z, c, parameters(c))
        return result

    def _level(self, level: int, a: Int, size: tuple[int, int], truth: Int | None) -> Generator[Latent, Int, Int]:
        """The plane of this `size` from its phase a [N, h, w, C]."""
        config, (H, W) = self.network.config, size
        N, h, w, C = a.shape
        m, T = config.margin, self.tiles
        x = np.zeros((N, H, W, C), np.int64)
        x[:, ::2, ::2] = a
        planes = np.zeros((4, N, h + 2 * m, w + 2 * m, config.channels), np.float32)
        planes[0, ..., :C] = _extend(a, h, w, m)
        stride, size_of_plane = w + 2 * m, N * (h + 2 * m) * (w + 2 * m)

        def away(phase: int, offset: tuple[int, int]) -> int:
            parity, dy, dx = locate(phase, offset)
            return int(parity * size_of_plane + dy * stride + dx)

        chosen = min(level, config.sets - 1)
        for p, (py, px) in enumerate(PHASES):
            rows, cols = (H + 1 - py) // 2, (W + 1 - px) // 2
            if rows == 0 or cols == 0:
                planes[2 * py + px] = planes[0]
                continue
            n, y, v = np.ogrid[:N, :rows, :cols]
            base = ((n * (h + 2 * m) + y + m) * stride + v + m).reshape(T, -1)
            places = np.zeros((*base.shape, 2 * config.absolute), np.float32)
            if config.absolute:
                at = np.broadcast_arrays(0 * n + ((2 * y + py) << level), 0 * n + ((2 * v + px) << level))
                full = np.stack([np.broadcast_to(i, (N, rows, cols)) for i in at], axis=-1)
                places[:] = np.minimum(full, PLACE_LIMIT).reshape(*base.shape, 2)
            windows = np.array([away(p, o) for o in config.window(p)])
            nearest = np.array([away(p, o) for o in NEAREST[p]])
            value = np.zeros((*base.shape, C), np.int64)  # [T, positions, C]
            true = None if truth is None else truth[:, py::2, px::2].reshape(value.shape)
            for start in range(0, base.shape[1], STRIP):
                strip = np.s_[:, start : start + STRIP]
                flat = base[strip].reshape(-1)
                place = places[strip].reshape(len(flat), 2 * config.absolute)
                view = View(planes.reshape(-1, config.channels), flat, windows, nearest, place)
                known = None if true is None else true[strip].reshape(-1, C)
                found = yield from self._couple(self.machine(chosen, p, view), C, known)
                value[strip] = found.reshape(T, -1, C)
            x[:, py::2, px::2] = value.reshape(N, rows, cols, C)
            planes[2 * py + px, ..., :C] = _extend(x[:, py::2, px::2], h, w, m)
        return x

    def _couple(self, trunk: Trunk, C: int, true: Int | None) -> Generator[Latent, Int, Int]:
        """One coupling of n positions: their samples [n, C]."""
        x = np.zeros((len(trunk.centre), C), np.int64)
        error = np.zeros_like(trunk.centre)
        for c in range(C):
            t = (trunk.centre[:, c] + MEAN_UNIT // 2) // MEAN_UNIT
            z = UNKNOWN if true is None else true[:, c] - t

            def prior(c: int = c) -> Parameters:
                return trunk.prior(c, error)

            x[:, c] = (yield Latent(t, z, c, prior)) + t
            error[:, c] = np.clip(MEAN_UNIT * x[:, c] - trunk.centre[:, c], -ERROR_LIMIT, ERROR_LIMIT)
        return x


def _extend(x: Int, h: int, w: int, m: int) -> NDArray[np.float32]:
    """A phase's plane [N, rows, cols, C] as networks see it, its last row and column repeated beyond the edges,
    [N, h + 2 m, w + 2 m, C].
    """
    seen = np.clip(x, -SAMPLE_LIMIT, SAMPLE_LIMIT).astype(np.float32)
    return np.pad(seen, ((0, 0), (m, m + h - x.shape[1]), (m, m + w - x.shape[2]), (0, 0)), mode="edge")


Step = tuple[Distribution, IntArray]


class Images:
    """How a batch of tiles of one shape [C, H, W], C = 1 or 3, lies in the images that a flow sees.

    shape: of these, [N, block, W, channels].
    """

    def __init__(self, config: Config, shapes: Sequence[Shape]) -> None:
        if len(set(shapes)) != 1:
            raise ValueError("a batch holds tiles of one shape")
        self.tiles, self.tile = len(shapes), shapes[0]
        C, H, W = self.tile
        block = config.block
        self.block = block if block and block == W and H % block == 0 else H
        self.channels = min(C, config.channels)
        N = self.tiles * (C // self.channels) * (H // self.block)
        self.shape = (N, self.block, W, self.channels)

    def arrange(self, tiles: Sequence[Tile]) -> NDArray[np.int16]:
        """Tiles [C, H, W] -> images."""
        _, H, W = self.tile
        x = np.stack(tiles).reshape(self.tiles, -1, self.channels, H // self.block, self.block, W)
        return np.ascontiguousarray(x.transpose(0, 1, 3, 4, 5, 2), np.int16).reshape(self.shape)

    def restore(self, x: NDArray[np.integer]) -> list[Tile]:
        """The inverse of `arrange`. Raises ModelError where samples are beyond 16 bits."""
        if max(int(x.max()), -int(x.min())) > 32767:
            raise ModelError("a stream holds samples beyond 16 bits")
        C, H, W = self.tile
        parts = x.reshape(self.tiles, -1, H // self.block, self.block, W, self.channels).astype(np.int16)
        return list(parts.transpose(0, 1, 5, 2, 3, 4).reshape(self.tiles, C, H, W))


class Program:
    """The model of a batch of tiles of one shape [C, H, W]; one stream per tile."""

    def __init__(self, network: Network, machine: Machine, shapes: Sequence[Shape]) -> None:
        self.network, self.images, self.tiles = network, Images(network.config, shapes), len(shapes)
        self.flow = Flow(network, machine, self.tiles, self.images.shape)

    def symbols(self, value: list[Tile]) -> Iterator[tuple[Distribution, IntArray]]:
        return program.symbols(self._steps(self.images.arrange(value).astype(np.int64)))

    def steps(self) -> Generator[Distribution, IntArray, list[Tile]]:
        return self.images.restore((yield from program.steps(self._steps(None))))

    def _steps(self, x: Int | None) -> Generator[Step, IntArray, Int]:
        """Yields (distribution, its true symbols, where x is known)."""
        run = self.flow.run(x)
        latent = next(run)
        try:
            while True:
                c, positions = latent.channel, len(latent.t) // self.tiles
                low, high = ORIGINS[c], ORIGINS[c] + SIZES[c] - 1
                counts = np.full(self.tiles, positions)
                true = latent.z + latent.t if len(latent.z) else latent.z
                window = Mixture(self.network.tables, *latent.prior(), SIZES[c], low, counts)
                sample = np.array((yield window, np.clip(true, low, high)), np.int64)
                ends = np.flatnonzero((sample == low) | (sample == high))
                if len(ends):
                    beyond = np.abs(true[ends] - sample[ends]) if len(true) else true
                    excess = yield from _excess(ends // positions, self.tiles, beyond)
                    sample[ends] += np.where(sample[ends] == low, -excess, excess)
                latent = run.send(sample - latent.t)
        except StopIteration as stop:
            result: Int = stop.value
            return result


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


class Model:
    """interface.ImageModel of this family. machine: "numpy", "numba", "torch" or "cuda"."""

    choices: Sequence[bytes] = ()
    layered: None = None
    latent: None = None

    def __init__(self, weights: Weights, name: str, wire_id: int, machine: str, threads: int | None) -> None:
        self.name, self.wire_id, self.weights = name, wire_id, weights
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # see causal.Model
        self.digest = weights.digest()
        self.network = Network.of(weights)
        self.threads = threads or os.cpu_count() or 1
        block = self.network.config.block
        self.tile, self.unit = ((block, block * 512), block) if block else ((1024, 256), 1)
        self.planes = self.network.config.channels
        self.stack: Callable[..., interface.Stack] | None = stack.suited(machine)
        self.executor = executor(machine)
        self.compiled: Compiled | None = None
        if machine == "cuda" and find_spec("triton") is not None:
            from lgcodec.models.gpu_flow import GpuFlow

            self.compiled = GpuFlow(self.network, "cuda")
        elif machine == "numba":
            from lgcodec.models.compiled_flow import CompiledFlow

            self.compiled = CompiledFlow(self.network, self.threads)
        self.batch = self.compiled.batch if self.compiled else 8

    def program(self, shapes: Sequence[Shape], adaptation: bytes) -> Program:
        network = self.network.adapted(adaptation)
        return Program(network, Layers(network, self.executor), shapes)

    def adapt(self, tiles: Sequence[Tile], effort: int, choice: bytes = b"") -> bytes:
        """Deltas fitted to these tiles by gradient descent (needs torch and numba) where they pay; none of networks of
        small images.
        """
        if self.network.config.block or self.network.config.channels == 1:
            return b""
        return deltas.fitted("flow", self.network, tiles, effort, self.threads)
