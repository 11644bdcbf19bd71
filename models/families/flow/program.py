"""The flow family as a program: what it codes, in which order, in numpy."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy import program
from lgcodec.models.entropy.escapes import Step, _excess
from lgcodec.models.entropy.mixture import MEAN_UNIT, Mixture
from lgcodec.models.errors import ModelError
from lgcodec.models.families.flow.network import (
    DIFFERENCE_LIMIT,
    ERROR_LIMIT,
    NEAREST,
    ORIGINS,
    PHASES,
    PLACE_LIMIT,
    SAMPLE_LIMIT,
    SIZES,
    SLOPE_BITS,
    STRIP,
    UNKNOWN,
    Config,
    Network,
    locate,
)
from lgcodec.models.interface import Distribution, IntArray
from lgcodec.models.layers.integer import Executor

Tile = NDArray[np.int16]
Shape = tuple[int, int, int]
Int = NDArray[np.int64]


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


Trunks = Callable[[int, int, View], Trunk]  # set, phase


class ExecutedTrunks:
    """Trunks by an integer.Executor."""

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

    def __init__(self, network: Network, trunks: Trunks, tiles: int, shape: tuple[int, int, int, int]) -> None:
        self.network, self.trunks, self.tiles, self.shape = network, trunks, tiles, shape

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
                found = yield from self._couple(self.trunks(chosen, p, view), C, known)
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

    def __init__(self, network: Network, trunks: Trunks, shapes: Sequence[Shape]) -> None:
        self.network, self.images, self.tiles = network, Images(network.config, shapes), len(shapes)
        self.flow = Flow(network, trunks, self.tiles, self.images.shape)

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
