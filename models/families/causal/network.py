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

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.adaptation import deltas
from lgcodec.models.entropy import mixture
from lgcodec.models.errors import ModelError
from lgcodec.models.families.causal import online
from lgcodec.models.interface import IntArray
from lgcodec.models.layers import learning
from lgcodec.models.layers.integer import Layer, LearningLayer
from lgcodec.models.layers.kinds import check_bounds
from lgcodec.models.weights import Weights

Shape = tuple[int, int, int]
Tile = NDArray[np.int16]
# Where the online predictors' own errors are looked at.
ERRORS = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-2, -1), (-2, 1))
# The most that tiles have, width and height. What a tile's weights learned is lost at its end: those that learn have
# larger tiles, in very large images and where every front teaches as large as a file may have them.
TILE, LEARNING_TILE, LARGEST_TILE = (1024, 256), (2048, 512), (2048, 1024)
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
        check_bounds("causal", self, {name: (int(name not in OPTIONAL), high) for name, high in bounds.items()})
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

    def without_learning(self) -> Network:
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
