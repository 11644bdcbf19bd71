"""The causal family (PixelCNN line): a small network of 1x1 layers over a causal neighbourhood, in integers.

References: van den Oord et al. 2016 (PixelRNN, PixelCNN), Salimans et al. 2017 (PixelCNN++: mixtures of discretised
logistics, channels in turn). What is new here is the input: the network sees the neighbourhood relative to
predictions that learn online (`online.py`) and where those went wrong, so it adapts to the image without being
retrained.

    neighbours - anchor ---+                          +-- out(Y)  -> mixture of Y
    errors of the online   |  first, relu             |
    predictors around      +----> h + relu(W h) x D --+-- out(Co) -> mixture of Co, seeing Y's error
    how far apart they are |                          |
    ------------------------                          +-- out(Cg) -> mixture of Cg, seeing Y's and Co's error

A mixture's means are the anchor (the mean of both online predictions) plus a linear function of the neighbourhood,
plus a gated share of the predictions' difference, plus (but for the first component) what the other channels' errors
make expected (`Coupling`), plus what the head adds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models import deltas, learning, mixture, online, program
from lgcodec.models.errors import ModelError
from lgcodec.models.integer import Executor, Layer, LearningLayer, executor
from lgcodec.models.interface import Compiled, Distribution, IntArray, Stack
from lgcodec.models.weights import Weights

Shape = tuple[int, int, int]
Tile = NDArray[np.int16]

# Where the online predictors' own errors are looked at.
ERRORS = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-2, -1), (-2, 1))

TILE = (1024, 256)
CHANNELS, WINDOWS = 3, len(online.WINDOWS)
LOWEST = np.array(online.LOW)[:, None, None]
DIFFERENCE_LIMIT = 2047  # neighbours less anchor, Q3
OFFSET = 8.0  # pixels per unit of the network's mean output
LOG_SCALE_BIAS, LOG_SCALE_LOW, LOG_SCALE_HIGH = 1.0, -4.0, 6.0
GATE_UNIT = 256
COMPAND_UNIT, COMPAND_LIMIT = 128, 511
# Where a picture known beforehand is looked at (`Side`), up to SIDE_REACH away.
SIDE_PLACES = ((0, 0), (0, 4), (4, 0), (0, -4), (-4, 0), (4, 4), (4, -4), (-4, 4))
SIDE_REACH = 4
# Where a pixel stands: its row and column modulo 2 together, its column and its row modulo 8. Colour filters, halved
# chroma and blocks of JPEG leave such grids in photographs.
GRID = 4 + 8 + 8
# Where the features are that earlier pixels pass on to a middle layer: W, NW, N, NE.
PASSED = ((0, -1), (-1, -1), (-1, 0), (-1, 1))
SIZES = (256, 512, 512)  # alphabets of Y, Co, Cg
ORIGINS = (0, -256, -256)  # the value of their symbol 0
EXTRAS = (0, 2, 3)  # what the heads see besides h: errors of the channels before, the expected error of this one


# Parts of a Config that may be zero, and then are not in weights files.
OPTIONAL = ("context", "side", "classes", "grid", "learning", "rest")
NO_CLASS = 255  # where a class stands in an adaptation


@dataclass(frozen=True)
class Config:
    """Sizes of one network. `left`, `rows`, `reach` bound the neighbourhood (slope 2: up to 2 r - 1 right in row -r).

    Hidden activations are integers 0..limit in units of 2**-fraction. context: how many features of the layer before
    each middle layer sees of the pixels at PASSED, besides its own pixel's. side: how many features of a `Side` the
    network sees besides its picture. classes: how many kinds of images the network tells apart. grid: 1 where it
    sees GRID. learning: fronts move weights by about 2**-learning while decoding (`learning.py`); rest: how many fronts
    after such a one do not, an even number, so that all columns and rows teach. 0 for none of these.
    """

    width: int = 128
    depth: int = 3
    hidden: int = 48
    components: int = 3
    rows: int = 3
    left: int = 4
    reach: int = 4
    fraction: int = 7
    limit: int = 4095
    context: int = 0
    side: int = 0
    classes: int = 0
    grid: int = 0
    learning: int = 0
    rest: int = 0

    def __post_init__(self) -> None:
        bounds = {
            "width": 1024, "depth": 32, "hidden": 512, "components": 16, "rows": online.UP, "left": online.LEFT,
            "reach": online.RIGHT, "fraction": 12, "limit": 8191, "context": self.width, "side": 64,
            "classes": NO_CLASS, "grid": 1, "learning": 20, "rest": 14 * bool(self.learning),
        }  # fmt: skip
        if self.learning:  # so that products of bytes have exact sums in float32
            bounds["hidden"] = 256
        for name, high in bounds.items():
            value, least = getattr(self, name), int(name not in OPTIONAL)
            if type(value) is not int or not least <= value <= high:
                raise ModelError(f"causal model: {name} is {value!r}, expected {least} to {high}")
        if self.rest % 2:
            raise ModelError(f"causal model: rest is {self.rest}, expected an even number")
        if self.learning and self.fraction != learning.ACTIVATION:
            raise ModelError(f"causal model: what learns has activations of {learning.ACTIVATION} bits")

    @classmethod
    def of(cls, given: Any) -> Config:
        """From a weights file's config. Raises ModelError."""
        names = {field.name for field in fields(cls)}  # no other defaults: the digest covers what is there
        if not isinstance(given, dict) or set(given) != names - {n for n in OPTIONAL if not given.get(n)}:
            raise ModelError(f"causal model: config {given} is not one of this release")
        return cls(**given)

    def written(self) -> dict[str, int]:
        """As weights files have it, the inverse of `of`."""
        return {name: value for name, value in asdict(self).items() if value or name not in OPTIONAL}

    def looks(self) -> int:
        """How many inputs of the first layer a `Side` gives."""
        return 3 * len(SIDE_PLACES) + self.side if self.side else 0

    def neighbours(self) -> list[tuple[int, int]]:
        """Offsets (dy, dx) of the pixels the first layer sees."""
        above = [(-r, dx) for r in range(1, self.rows + 1) for dx in range(-self.left, min(2 * r - 1, self.reach) + 1)]
        return [(0, -i) for i in range(1, self.left + 1)] + above

    def learns(self, front: int) -> bool:
        """Whether weights move after this front, x + 2 y of its pixels."""
        return self.learning > 0 and front % (1 + self.rest) == 0

    def learners(self, name: str) -> int:
        """How many of a layer's inputs, from the first on, have weights that learn: not those of other pixels' features
        or channels.
        """
        if not self.learning or name == "linear":
            return 0
        return self.width if name.startswith(("middle", "head")) else len(self.layers()[name][0])

    def layers(self) -> dict[str, tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]]:
        """Each layer's input limits, and its outputs' lowest and highest value."""
        seen = np.full(3 * len(self.neighbours()), DIFFERENCE_LIMIT)
        other = np.full(6 * len(ERRORS) + 3, COMPAND_LIMIT)
        looks = np.full(self.looks(), COMPAND_LIMIT)
        looks[: self.looks() - self.side] = DIFFERENCE_LIMIT
        grid = np.full(GRID * self.grid, COMPAND_UNIT)
        h, passed = (np.full(n, self.limit) for n in (self.width, self.width + len(PASSED) * self.context))
        ends = {"logit": (-4095, 4095), "offset": (-32768, 32767), "log_scale": (0, 160), "gate": (-1023, 1023)}
        kinds = [k for k in ("logit", "offset", "log_scale") for _ in range(self.components)] + ["gate"]
        outputs = np.array([ends[k] for k in kinds])

        def hidden(limits: IntArray, n: int) -> tuple[IntArray, IntArray, IntArray]:
            return limits, np.zeros(n, np.int32), np.full(n, self.limit)

        layers = {"first": hidden(np.concatenate([seen, other, looks, grid]), self.width)}
        layers |= {f"middle.{i}": hidden(passed, self.width) for i in range(self.depth)}
        layers |= {"linear": (seen, np.full(3, -65536), np.full(3, 65535))}
        for c in range(3):
            extra = np.full(EXTRAS[c], COMPAND_LIMIT)
            layers[f"head.{c}"] = hidden(np.concatenate([h, extra]), self.hidden)
            layers[f"out.{c}"] = (np.full(self.hidden, self.limit), outputs[:, 0], outputs[:, 1])
        return {name: tuple(a.astype(np.int32) for a in ends) for name, ends in layers.items()}  # type: ignore[misc]

    def classed(self) -> dict[str, int]:
        """The layers to whose biases a class adds its own (van den Oord et al. 2016, Conditional PixelCNN, eq. 5), and
        their rows.
        """
        layers = self.layers() if self.classes else {}
        return {name: len(low) for name, (_, low, _) in layers.items() if not name.startswith(("linear", "out"))}


def output_units(config: Config) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Integer units per float unit of each output of a head, and what is added to it."""
    kinds = ["logit", "offset", "log_scale"]
    unit = {"logit": mixture.LOGIT_UNIT, "offset": OFFSET * mixture.MEAN_UNIT, "log_scale": mixture.LOG_SCALE_UNIT}
    add = {"logit": 0, "offset": 0, "log_scale": (LOG_SCALE_BIAS - LOG_SCALE_LOW) * mixture.LOG_SCALE_UNIT}
    repeat = config.components
    return (
        np.array([unit[k] for k in kinds for _ in range(repeat)] + [GATE_UNIT], float),
        np.array([add[k] for k in kinds for _ in range(repeat)] + [0], float),
    )


@dataclass(frozen=True)
class Side:
    """What is known of a tile before its pixels: an approximate picture and other features.

    picture: int16 [H, W, 3] in Q3, -2040..2040; features: int16 [H, W, side], 0..511.
    """

    picture: NDArray[np.int16]
    features: NDArray[np.int16]

    def padded(self) -> NDArray[np.int16]:
        """The picture with its edge repeated SIDE_REACH times."""
        return np.pad(self.picture, ((SIDE_REACH, SIDE_REACH), (SIDE_REACH, SIDE_REACH), (0, 0)), "edge")


@dataclass(frozen=True)
class Network:
    """The integers of one model, checked. classes: int32 [classes, O], what each class adds to a layer's bias."""

    config: Config
    layers: dict[str, Layer]
    classes: dict[str, NDArray[np.int32]]
    fine: NDArray[np.int32]
    coarse: NDArray[np.int32]
    tables: mixture.Tables

    @classmethod
    def of(cls, weights: Weights) -> Network:
        """Raises ModelError where tensors are missing, misshapen or out of the exact range."""
        config = Config.of(weights.config)
        if config.side:
            raise ModelError("causal model: only one that is part of a larger model sees a picture beforehand")
        return cls.build(config, weights.tensors)

    @classmethod
    def build(cls, config: Config, tensors: dict[str, NDArray[Any]]) -> Network:
        """As `of`, from its parts."""
        layers, classed = {}, config.classed()
        try:
            for name, ends in config.layers().items():
                weight, bias, shift = (tensors[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
                layers[name] = (LearningLayer if config.learners(name) else Layer)(weight, bias, shift, *ends)
            classes = {name: tensors[f"{name}.class"] for name in classed}
            tables = [tensors[name] for name in ("sigmoid", "exponential", "inverse", "fine", "coarse")]
        except KeyError as e:
            raise ModelError(f"causal model: tensor {e} is missing") from e
        *mixtures, fine, coarse = tables
        if (
            any(t.dtype != np.int32 or t.shape != (4096,) for t in (fine, coarse))
            or min(fine.min(), coarse.min()) < 0
            or max(fine.max(), coarse.max()) > COMPAND_LIMIT
        ):
            raise ModelError("causal model: malformed tables")
        if any(a.dtype != np.int32 or a.shape != (config.classes, classed[name]) for name, a in classes.items()):
            raise ModelError("causal model: malformed classes")
        network = cls(config, layers, classes, fine, coarse, mixture.Tables(*mixtures))
        for choice in network.choices():  # a layer is checked when it is made
            network.adapted(choice)
        return network

    def choices(self) -> list[bytes]:
        """The adaptations that are a class and no more."""
        return [bytes([i]) for i in range(self.config.classes)]

    def still(self) -> Network:
        """The same integers, which do not learn, for the compiled machine: what learning gains is measured so."""
        return replace(self, config=replace(self.config, learning=0, rest=0))

    def adapted(self, adaptation: bytes) -> Network:
        """Fitted to one image by side information in its file: its class, where the network has classes, and deltas
        or nothing. Raises ModelError where that is malformed.
        """
        if not adaptation:
            return self
        layers = self.layers
        if self.config.classes:
            known, adaptation = adaptation[0], adaptation[1:]
            if known != NO_CLASS and known >= self.config.classes:
                raise ModelError(f"causal model: the file's adaptation has class {known} of {self.config.classes}")
            if known != NO_CLASS:
                added = {name: layers[name].bias + table[known] for name, table in self.classes.items()}
                layers = layers | {name: replace(layers[name], bias=bias) for name, bias in added.items()}
        return replace(self, layers=deltas.moved(layers, adaptation) if adaptation else layers)


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
            self.executor = learning.LearningExecutor()
            for name in filter(config.learners, layers):
                layers[name] = learning.Learner(layers[name], self.tiles, config.learners(name), config.learning)
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
            looks: list[NDArray[Any]] = []
            if self.sides:
                picture = pictures[:, places[:, 0] + rows, places[:, 1] + cols]  # [T, places, n, 3]
                relative = np.clip(picture - anchor.transpose(1, 2, 0)[:, None], -DIFFERENCE_LIMIT, DIFFERENCE_LIMIT)
                looks = [relative.swapaxes(1, 2), features[:, rows, cols]]
            if net.config.grid:
                looks.append(np.broadcast_to(grid(rows, cols), (T, n, GRID)))
            around_at, errors_at = flat_p[:, :, around[:, None] + at], flat_e[..., error_places[:, None] + at]
            h, linear = self._trunk(around_at, errors_at, anchor, spread, looks, passed, rows, cols)
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
        looks: list[NDArray[Any]],
        passed: NDArray[np.float32],
        rows: IntArray,
        cols: IntArray,
    ) -> tuple[Any, NDArray[np.int64]]:
        """around [3, T, neighbours, n], errors [2, 3, T, places, n] Q3, looks [T, n, ...] -> hidden [T n, width],
        linear [T n, 3] in 1/64. passed [depth, fronts, T, 1 + H, context]: read, and this front's written.
        """
        T, n = anchor.shape[1:]
        seen = np.clip(8 * around - anchor[:, :, None], -DIFFERENCE_LIMIT, DIFFERENCE_LIMIT)
        seen = seen.transpose(1, 3, 2, 0).reshape(T * n, -1)  # [T n, neighbours x 3]
        other = compand(self.network.fine, errors).transpose(2, 4, 3, 0, 1).reshape(T * n, -1)
        apart = compand(self.network.fine, spread).transpose(1, 2, 0).reshape(T * n, 3)
        run = self.executor
        a = run.array(seen.astype(np.float32))
        linear = run.numpy(run.apply(self.loaded["linear"], a)).astype(np.int64)
        parts = [other, apart, *(part.reshape(T * n, -1) for part in looks)]
        inputs = run.array(np.concatenate(parts, axis=1).astype(np.float32))
        h = run.apply(self.loaded["first"], run.join([a, inputs]))
        for i, fronts in enumerate(passed):
            seen_too = run.join([h, run.array(self._pass(fronts, run.numpy(h), rows, cols))]) if fronts.size else h
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
        return learning.mixture_errors(mixed, values, log_scale, highest, apart).reshape(said.shape)

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


def grid(rows: IntArray, cols: IntArray) -> NDArray[np.int64]:
    """GRID of the pixels at rows, cols [n]: [n, GRID], three of them COMPAND_UNIT and the others 0."""
    places = np.stack([2 * (rows % 2) + cols % 2, 4 + cols % 8, 12 + rows % 8], axis=1)
    seen: NDArray[np.int64] = COMPAND_UNIT * (places[:, :, None] == np.arange(GRID)).sum(axis=1)
    return seen


def fronts(height: int, width: int) -> Iterator[tuple[IntArray, IntArray, int, int]]:
    """Wavefronts of slope 2: rows, columns (of t = x + 2 y), first row, one past the last."""
    for t in range(width + 2 * (height - 1)):
        low, high = max(0, (t - width + 2) // 2), min(height, t // 2 + 1)
        rows = np.arange(low, high)
        if low < high:  # one-pixel-wide tiles have empty fronts
            yield rows, t - 2 * rows, low, high


def machines(network: Network, machine: str, threads: int) -> tuple[Any, Executor]:
    """What runs all fronts of a tile in one go, CompiledCausal or GpuCausal, or None where there is neither; and the
    executor of a Program.
    """
    compiled: Any = None
    if machine == "cuda" and find_spec("triton") is not None:
        from lgcodec.models.gpu_causal import GpuCausal

        compiled = GpuCausal(network, "cuda")
    elif (
        machine == "cuda" and network.config.learning
    ):  # what learns has no layers that the device's executor could keep
        machine = "numpy" if find_spec("numba") is None else "numba"
    if machine == "numba":
        from lgcodec.models.compiled import CompiledCausal

        compiled = CompiledCausal(network, threads)
    return compiled, executor(machine)


class Model:
    """interface.ImageModel of this family. machine: "numpy", "numba", "torch" or "cuda"."""

    def __init__(self, weights: Weights, name: str, wire_id: int, machine: str, threads: int | None) -> None:
        self.name, self.wire_id, self.weights = name, wire_id, weights
        # Before torch may be loaded: its threads otherwise spin while they wait, ten times slower beside other work.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        self.digest = weights.digest()
        self.network = Network.of(weights)
        self.threads = threads or os.cpu_count() or 1
        self.stack: Callable[..., Stack] | None = None
        self.layered = self.latent = None
        self.planes, self.tile, self.unit = CHANNELS, TILE, 8 if self.network.config.grid else 1
        self.choices: Sequence[bytes] = self.network.choices()
        self.compiled: Compiled | None
        self.compiled, self.executor = machines(self.network, machine, self.threads)
        self.batch = self.compiled.batch if self.compiled else 16

    def program(self, shapes: Sequence[Shape], adaptation: bytes) -> Program:
        return Program(self.network.adapted(adaptation), self.executor, shapes)

    def adapt(self, tiles: Sequence[Tile], effort: int, choice: bytes = b"") -> bytes:
        """`choice`, and deltas fitted to these tiles by gradient descent (needs torch and numba) where they pay."""
        return deltas.fitted("causal", self.network, tiles, effort, self.threads, choice)
