"""The causal family as a program: what it codes, in which order, in numpy."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy import mixture, program
from lgcodec.models.families.causal import online
from lgcodec.models.families.causal.network import (
    DIFFERENCE_LIMIT,
    ERRORS,
    GRID,
    LOWEST,
    ORIGINS,
    PASSED,
    SIDE_PLACES,
    SIDE_REACH,
    SIZES,
    WINDOWS,
    Network,
    Side,
    fronts,
    grid,
)
from lgcodec.models.interface import Distribution, IntArray
from lgcodec.models.layers import learning
from lgcodec.models.layers.integer import Executor
from lgcodec.models.machines.numpy.learning import Learner, LearningExecutor, mixture_errors

Tile = NDArray[np.int16]
Shape = tuple[int, int, int]


class Program:
    """The model of a batch of tiles of one shape [C, H, W], C = 1 or 3; one stream per tile.

    sides: what is known of each tile, where the network wants that.
    """

    def __init__(
        self, network: Network, executor: Executor, shapes: Sequence[Shape], sides: Sequence[Side] = ()
    ) -> None:
        self.network, self.executor, self.sides = network, executor, sides
        if len(set(shapes)) != 1:
            raise ValueError("a batch holds tiles of one shape")
        self.tiles, config = len(shapes), network.config
        layers: dict[str, Any] = dict(network.layers)
        if config.learning:
            self.executor = LearningExecutor()
            for name in filter(config.learners, layers):
                layers[name] = Learner(layers[name], self.tiles, config.learners(name), config.learning)
        self.loaded = {name: self.executor.load(layer) for name, layer in layers.items()}
        self.channels, self.height, self.width = shapes[0]

    def symbols(self, value: list[Tile]) -> Iterator[tuple[Distribution, IntArray]]:
        truth = np.stack(value).astype(np.int64)
        return program.symbols(self._run(lambda rows, cols, c: truth[:, c, rows, cols]))

    def steps(self) -> Generator[Distribution, IntArray, list[Tile]]:
        return program.steps(self._run(None))

    def _run(
        self, truth: Callable[[IntArray, IntArray, int], IntArray] | None
    ) -> Generator[tuple[mixture.Mixture, IntArray], IntArray, list[Tile]]:
        """Yields (distribution, its true values if `truth` knows them), by front and channel."""
        T, C, H, W = self.tiles, self.channels, self.height, self.width
        net, size = self.network, (online.UP + H, online.LEFT + W + online.RIGHT)
        P = np.zeros((3, T, *size))
        P[0] = online.START[0]
        errors = np.zeros((WINDOWS, 3, T, *size), np.int64)
        solvers = [online.Solver(w, (C, T), H) for w in online.WINDOWS]
        coupling = online.Coupling(T, H)
        passed = np.zeros((net.config.depth, 3, T, H + 1, net.config.context), np.float32)  # by front, modulo 3
        stride = size[1]
        around = np.array([dy * stride + dx for dy, dx in net.config.neighbours()])
        error_places = np.array([dy * stride + dx for dy, dx in ERRORS])
        taps = np.array([dy * stride + dx for dy, dx in online.TAPS])
        flat_p, flat_e = P.reshape(3, T, -1), errors.reshape(WINDOWS, 3, T, -1)
        pictures = np.array([side.padded() for side in self.sides])
        features = np.array([side.features for side in self.sides])
        places = SIDE_REACH + np.array(SIDE_PLACES)[:, :, None]
        for rows, cols, low, high in fronts(H, W):
            n, learns = len(rows), net.config.learns(int(cols[0] + 2 * rows[0]))
            at = (rows + online.UP) * stride + cols + online.LEFT
            near = flat_p[:C, :, taps[:, None] + at]  # [C, T, taps, n]
            reference = np.floor((3 * near[:, :, 0] + 3 * near[:, :, 1] + near[:, :, 2] + near[:, :, 3]) * 0.125)
            v = np.moveaxis(near - reference[:, :, None], 2, 0)
            predictions = np.zeros((WINDOWS, 3, T, n))
            for s, solver in enumerate(solvers):
                predictions[s, :C] = solver.predict(v[: solver.taps], reference, low, high)
            predictions = np.clip(predictions, 8 * LOWEST, 8 * 255)
            anchor = np.floor((predictions[0] + predictions[1]) * 0.5)  # [3, T, n]
            spread = np.floor((predictions[0] - predictions[1]) * 0.5)
            side_features: list[NDArray[Any]] = []
            if self.sides:
                picture = pictures[:, places[:, 0] + rows, places[:, 1] + cols]  # [T, places, n, 3]
                relative = np.clip(picture - anchor.transpose(1, 2, 0)[:, None], -DIFFERENCE_LIMIT, DIFFERENCE_LIMIT)
                side_features = [relative.swapaxes(1, 2), features[:, rows, cols]]
            if net.config.grid:
                side_features.append(np.broadcast_to(grid(rows, cols), (T, n, GRID)))
            around_at, errors_at = flat_p[:, :, around[:, None] + at], flat_e[..., error_places[:, None] + at]
            h, linear = self._trunk(around_at, errors_at, anchor, spread, side_features, passed, rows, cols)
            coupling.merge(low, high)
            known = np.zeros((3, T, n))
            lessons: list[IntArray] = []
            for c in range(C):
                expected = self._expect(coupling, c, known)
                mixed = self._mixture(c, h, linear[:, c], anchor[c], spread[c], known, expected)
                true = truth(rows, cols, c).reshape(-1) if truth else np.zeros(0, np.int64)
                x = np.asarray((yield mixed, true), np.int64).reshape(T, n)
                known[c] = 8 * x - anchor[c]
                self._place(P[c], rows, cols, x)
                if learns:
                    lessons.append(self._lesson(c, mixed, x, spread[c]))
            if lessons:
                self._learn(lessons)
            for c in range(C):
                flat_e[:, c, :, at] = np.moveaxis(8 * flat_p[c][:, at] - predictions[:, c], -1, 0)
            error = flat_p[:C, :, at] - reference
            for solver in solvers:
                solver.learn(v[: solver.taps], error, low, high)
            if C == 3:
                coupling.learn(known[2])
        return list(P[:C, :, online.UP :, online.LEFT : online.LEFT + W].swapaxes(0, 1).astype(np.int16))

    def _expect(self, coupling: online.Coupling, c: int, known: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the errors of the channels before make of this one's, Q3 [T, n]."""
        if c == 0:
            return np.zeros_like(known[0])
        return coupling.chroma_orange(known[0]) if c == 1 else coupling.chroma_green(known[1])

    def _trunk(
        self,
        around: NDArray[Any],
        errors: NDArray[Any],
        anchor: NDArray[Any],
        spread: NDArray[Any],
        side_features: list[NDArray[Any]],
        passed: NDArray[np.float32],
        rows: IntArray,
        cols: IntArray,
    ) -> tuple[Any, NDArray[np.int64]]:
        """around [3, T, neighbours, n], errors [2, 3, T, places, n] Q3, side_features [T, n, ...] -> hidden
        [T n, width], linear [T n, 3] in 1/64. passed [depth, fronts, T, 1 + H, context]: read, and this front's
        written.
        """
        T, n = anchor.shape[1:]
        seen = np.clip(8 * around - anchor[:, :, None], -DIFFERENCE_LIMIT, DIFFERENCE_LIMIT)
        seen = seen.transpose(1, 3, 2, 0).reshape(T * n, -1)  # [T n, neighbours x 3]
        other = compand(self.network.fine, errors).transpose(2, 4, 3, 0, 1).reshape(T * n, -1)
        apart = compand(self.network.fine, spread).transpose(1, 2, 0).reshape(T * n, 3)
        run = self.executor
        a = run.array(seen.astype(np.float32))
        linear = run.numpy(run.apply(self.loaded["linear"], a)).astype(np.int64)
        parts = [other, apart, *(part.reshape(T * n, -1) for part in side_features)]
        inputs = run.array(np.concatenate(parts, axis=1).astype(np.float32))
        h = run.apply(self.loaded["first"], run.join([a, inputs]))
        for i, recent in enumerate(passed):
            seen_too = run.join([h, run.array(self._pass(recent, run.numpy(h), rows, cols))]) if recent.size else h
            h = (h + run.apply(self.loaded[f"middle.{i}"], seen_too)).clip(0, self.network.config.limit)
        return h, linear

    def _pass(
        self, fronts: NDArray[np.float32], h: NDArray[np.float32], rows: IntArray, cols: IntArray
    ) -> NDArray[np.float32]:
        """What PASSED pixels pass on to this front, [T n, 4 context], zero outside the tile. fronts [3, T, 1 + H,
        context] holds what the last three passed on, by row; the oldest makes room for h [T n, width].
        """
        now = int(cols[0] + 2 * rows[0])
        # A neighbour (dy, dx) was decoded with front t + dx + 2 dy.
        around = [fronts[(now + dx + 2 * dy) % 3][:, rows + 1 + dy] for dy, dx in PASSED]
        around[3] = around[3] * (cols + 1 < self.width)[:, None]  # what is there came from another column
        fronts[now % 3][:, rows + 1] = h[:, : fronts.shape[-1]].reshape(self.tiles, len(rows), -1)
        return np.concatenate(around, axis=-1).reshape(len(h), -1)

    def _mixture(
        self,
        c: int,
        h: Any,
        linear: NDArray[np.int64],
        anchor: NDArray[Any],
        spread: NDArray[Any],
        known: NDArray[Any],
        expected: NDArray[Any],
    ) -> mixture.Mixture:
        run, K = self.executor, self.network.config.components
        if c:
            extras = [*compand(self.network.coarse, known[:c]), compand(self.network.fine, expected)]
            h = run.join([h, run.array(np.stack(extras, axis=-1).reshape(-1, c + 1).astype(np.float32))])
        q = run.numpy(run.apply(self.loaded[f"out.{c}"], run.apply(self.loaded[f"head.{c}"], h))).astype(np.int64).T
        gate = (q[3 * K] * spread.reshape(-1).astype(np.int64)) >> 5  # 2**-8 of Q3 -> 1/64
        mean = q[K : 2 * K] + anchor.reshape(-1).astype(np.int64) * 8 + linear + gate
        mean[1:] += 8 * expected.reshape(-1).astype(np.int64)
        counts = np.full(self.tiles, len(h) // self.tiles)
        return mixture.Mixture.of(self.network.tables, q[:K], mean, q[2 * K : 3 * K], SIZES[c], ORIGINS[c], counts)

    def _lesson(self, c: int, mixed: mixture.Mixture, x: IntArray, spread: NDArray[Any]) -> IntArray:
        """Errors of channel c's outputs [T, n, outputs]; x, spread (Q3): [T, n]."""
        K, said = self.network.config.components, self.loaded[f"out.{c}"].outputs
        log_scale, highest = said[..., 2 * K : 3 * K].reshape(-1, K).T, int(self.network.layers[f"out.{c}"].high[2 * K])
        values, apart = (a.reshape(-1).astype(np.int64) for a in (x, spread))
        return mixture_errors(mixed, values, log_scale, highest, apart).reshape(said.shape)

    def _learn(self, errors: list[IntArray]) -> None:
        """Backpropagation: errors of each channel's outputs [T, n, outputs] move all weights that learn."""
        run, sums = self.loaded, np.zeros(1, np.int64)
        for c, e in enumerate(errors):
            hidden = learning.limited(learning.back(run[f"out.{c}"].backward(e))) * (run[f"head.{c}"].outputs > 0)
            sums = sums + run[f"head.{c}"].backward(hidden)
        below = learning.limited(learning.back(sums))
        for i in reversed(range(self.network.config.depth)):
            layer = run[f"middle.{i}"]
            below = learning.limited(below + learning.back(layer.backward(below * (layer.outputs > 0))))
        run["first"].backward(below * (run["first"].outputs > 0))

    def _place(self, P: NDArray[np.float64], rows: IntArray, cols: IntArray, x: IntArray) -> None:
        """Writes a front's values x [T, n] into P [T, H', W'], and the cells around the tile that repeat them
        (`pad`).
        """
        W = self.width
        P[:, rows + online.UP, cols + online.LEFT] = x
        for j in np.flatnonzero((cols == 0) | (cols == W - 1) | (rows == 0)):
            y, column, value = rows[j] + online.UP, cols[j], x[:, j : j + 1]
            if column == 0 and y + 1 < P.shape[1]:
                P[:, y + 1, : online.LEFT] = value
            if column == W - 1:
                P[:, y, online.LEFT + W :] = value
            if rows[j] == 0:
                for r in range(1, online.UP + 1):
                    start = column + online.LEFT + 2 * r
                    P[:, y - r, start : None if column == W - 1 else start + 1] = value


def compand(table: NDArray[np.int32], e: NDArray[Any]) -> NDArray[np.int64]:
    """sign(e) table[|e|], |e| clipped to the table."""
    index = np.minimum(np.abs(e), len(table) - 1).astype(np.int64)
    value: NDArray[np.int64] = np.sign(e).astype(np.int64) * table[index]
    return value
