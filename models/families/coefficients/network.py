"""The coefficients family: the quantised DCT coefficients of a JPEG, by small networks of their own for each frequency.

A component's blocks are coded frequency by frequency, in zigzag order, so a network sees the lower frequencies of all
blocks around, not only of those before (T.81, section K.8 predicts from both sides, too). First come, front by front,
how many AC coefficients of each block are not zero, and the DC coefficients; then each frequency in four phases of
2 x 2 blocks, those blocks alone that have anything left:

    0 2     the later phases see what the earlier ones found at their own frequency
    3 1

Chroma sees luma as it were at its own resolution (`companion.py`), and the second chroma component the first.

What is coded is a mixture of discretised logistics (Salimans et al. 2017) over quantised values. Its means are a linear
prediction from the neighbours' coefficients in units of this frequency's step: that a picture goes on smoothly over a
block's edge is linear in them. So one network serves all quantisation tables.

    lower frequencies here and around, in this one's steps --+
    how many coefficients are left, here and around          |
    steps, the image's energy by bands                       +--> first --> second --> out: logits, offsets, log scales,
    linear prediction <-- row and column mates here, around --+                             gates of the predictions
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy import mixture
from lgcodec.models.errors import ModelError
from lgcodec.models.layers.integer import Layer
from lgcodec.models.layers.kinds import Kind, Spec, check_bounds
from lgcodec.models.weights import Weights

Int = NDArray[np.int64]
ZIGZAG = sorted(range(64), key=lambda k: (k // 8 + k % 8, (k % 8, k // 8)[(k // 8 + k % 8) % 2]))
PLACE = [ZIGZAG.index(k) for k in range(64)]  # of a frequency 8 v + u in that order
PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))  # row and column modulo 2
PAD = 2  # blocks of zeros around a component
FOUR = ((0, -1), (0, 1), (-1, 0), (1, 0))  # W, E, N, S
FAR = ((0, -2), (0, 2), (-2, 0), (2, 0))
DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
BEFORE = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))  # W, N, NW, NE, WW, NN: of fronts x + 2 y
AROUND = ((0, 0), (0, -1), (-1, 0), (0, 1), (1, 0))  # of a component that is known
COUNT, DC = 0, 64  # heads: how many are not zero; 1 to 63 the frequencies in zigzag order; the DC coefficients
HEADS = 65
OWN, BESIDE, ACROSS = 8, 4, 1  # how many lower frequencies are looked at: here, in W E N S, in the diagonal blocks
MOST_COMPONENTS, MOST_BLOCKS = 4, 1 << 13  # of a file; in a row or column of one: 65535 samples
LIMIT = 2047  # of dequantised coefficients
SIZES = {COUNT: (64, 0), DC: (4096, -2048)}  # alphabet and its lowest value
AC_SIZE = (2064, -1032)
BANDS = (1, 2, 3, 4, 5, 6, 7, 9, 14)  # the last v + u of each band of frequencies
LINEAR_UNIT = 16  # of linear predictions of dequantised values
FEATURE_UNIT, FEATURE_LIMIT = 64, 511
MAGNITUDES = 1 << 15  # entries of `compand`: sixteenths of a step
GATE_UNIT = 256
LINEAR = 2  # linear predictions
PREDICTIONS = LINEAR + 2  # and those by luma, by the first chroma component


@dataclass(frozen=True)
class Config:
    """Sizes of one network: of its two hidden layers, and of the mixtures. Activations are in units of 2**-fraction, up
    to limit.
    """

    first: int = 32
    second: int = 24
    components: int = 3
    fraction: int = 7
    limit: int = 4095

    def __post_init__(self) -> None:
        bounds = {"first": (1, 256), "second": (1, 256), "components": (2, 8), "fraction": (0, 12), "limit": (1, 8191)}
        check_bounds("coefficients", self, bounds)

    @classmethod
    def of(cls, given: Any) -> Config:
        """From a weights file's config. Raises ModelError."""
        if not isinstance(given, dict) or set(given) != {field.name for field in fields(cls)}:
            raise ModelError(f"coefficients model: config {given} is not one of this release")
        return cls(**given)

    def written(self) -> dict[str, int]:
        return asdict(self)

    def kinds(self) -> dict[str, Kind]:
        return {
            "coefficient": Kind(1, -LIMIT, LIMIT),
            "count": Kind(1, 0, 1023),  # sixteenths
            "prediction": Kind(LINEAR_UNIT, -LIMIT * LINEAR_UNIT, LIMIT * LINEAR_UNIT),
            "feature": Kind(FEATURE_UNIT, -FEATURE_LIMIT, FEATURE_LIMIT),
            "hidden": Kind(1 << self.fraction, 0, self.limit),
            "logit": Kind(mixture.LOGIT_UNIT, -4095, 4095),
            "offset": Kind(mixture.MEAN_UNIT, -32768, 32767),
            "log_scale": Kind(mixture.LOG_SCALE_UNIT, 0, 160, 4 * mixture.LOG_SCALE_UNIT),
            "gate": Kind(GATE_UNIT, -1023, 1023),
        }

    def layers(self) -> dict[str, Spec]:
        K, hidden = self.components, (("hidden", self.first), ("hidden", self.second))
        out = (("logit", K), ("offset", K), ("log_scale", K), ("gate", 2 * PREDICTIONS))
        result = {}
        for kind in KINDS:
            for head in range(HEADS):
                name, looks = f"{kind}.{head}", LOOKS[kind][head]
                seen = "count" if head == COUNT else "coefficient"
                result[f"{name}.linear"] = Spec(
                    ((seen, looks.linear_inputs()),), (("prediction", LINEAR * len(PHASES)),)
                )
                result[f"{name}.first"] = Spec((("feature", looks.features()),), hidden[:1])
                result[f"{name}.second"] = Spec(hidden[:1], hidden[1:])
                result[f"{name}.out"] = Spec(hidden[1:], out)
        return result


@dataclass(frozen=True)
class Looks:
    """Where the network of one frequency looks.

    magnitudes, mates: (row, column, frequency) of coefficients that features and the linear prediction see; those of
    blocks around at this frequency itself are zero until their phase. others: how many features and inputs there are
    besides.
    """

    magnitudes: tuple[tuple[int, int, int], ...]
    mates: tuple[tuple[int, int, int], ...]
    other_features: int
    other_inputs: int

    def features(self) -> int:
        return len(self.magnitudes) + self.other_features

    def linear_inputs(self) -> int:
        return len(self.mates) + self.other_inputs


def _looks(head: int, chroma: bool) -> Looks:
    if head == COUNT:  # counts before; of the known components
        n = len(BEFORE) + 2 * chroma * len(AROUND)
        return Looks((), (), n + COMMON + len(BANDS), n)
    if head == DC:
        n = len(BEFORE) + 2 * chroma * len(AROUND)
        return Looks((), (), 6 + 4 + COMMON + chroma * (4 + 2 + 1), n)
    k = ZIGZAG[head]
    v, u = divmod(k, 8)
    lower = sorted(
        ZIGZAG[1:head], key=lambda j: ((j // 8 - v) ** 2 + (j % 8 - u) ** 2, head - PLACE[j])
    )  # the nearest first
    magnitudes = [(0, 0, j) for j in lower[:OWN]]
    magnitudes += [(y, x, j) for y, x in FOUR for j in (k, *lower[:BESIDE])]
    magnitudes += [(y, x, j) for y, x in DIAGONAL for j in (k, *lower[:ACROSS])]
    magnitudes += [(y, x, k) for y, x in FAR]
    rows, columns = [8 * v + i for i in range(u)], [8 * i + u for i in range(v)]
    mates = [(0, 0, j) for j in rows + columns]
    mates += [(y, x, j) for y, x in FOUR for j in (*(rows if y == 0 else columns), k)]
    # left here and around, the share of places that this is; differences of DC; the prediction; phase; chroma's
    return Looks(tuple(magnitudes), tuple(mates), 9 + 1 + 2 + COMMON + len(PHASES) + chroma * 10, 0)


COMMON = 2 * LINEAR + 1 + 2 + 1  # of the predictions; the band's energy; this step and the one before; the mean count
KINDS = ("luma", "chroma")
LOOKS = {kind: [_looks(head, kind == "chroma") for head in range(HEADS)] for kind in KINDS}
BAND = [next(b for b, last in enumerate(BANDS) if ZIGZAG[z] // 8 + ZIGZAG[z] % 8 <= last) for z in range(64)]


def compand_table() -> NDArray[np.int32]:
    """For training's export alone: how large sixteenths of a step are, int32 [MAGNITUDES], 0..FEATURE_LIMIT."""
    return np.array([min(FEATURE_LIMIT, round(compand(i) * FEATURE_UNIT)) for i in range(MAGNITUDES)], np.int32)


def compand(sixteenths: float) -> float:
    return math.log1p(sixteenths / 4) * 0.88


@dataclass(frozen=True)
class Network:
    """The integers of one model, checked. layers: as in Config.layers. compand: int32 [MAGNITUDES]."""

    config: Config
    layers: dict[str, Layer]
    compand: NDArray[np.int32]
    tables: mixture.Tables

    @classmethod
    def of(cls, weights: Weights) -> Network:
        """Raises ModelError where tensors are missing, misshapen or out of the exact range."""
        config, tensors = Config.of(weights.config), weights.tensors
        layers = {}
        try:
            for name, (limit, low, high) in ends(config).items():
                kind, head, layer = name.split(".")
                parts = (tensors[f"{kind}.{layer}.{part}"] for part in ("weight", "bias", "shift"))
                weight, bias, shift = (np.ascontiguousarray(part[int(head)]) for part in parts)
                layers[name] = Layer(np.ascontiguousarray(weight[:, : len(limit)]), bias, shift, limit, low, high)
            table = tensors["compand"]
            tables = mixture.Tables(*(tensors[name] for name in ("sigmoid", "exponential", "inverse")))
        except KeyError as e:
            raise ModelError(f"coefficients model: tensor {e} is missing") from e
        except IndexError as e:
            raise ModelError("coefficients model: malformed layers") from e
        if table.dtype != np.int32 or table.shape != (MAGNITUDES,) or table.min() < 0 or table.max() > FEATURE_LIMIT:
            raise ModelError("coefficients model: malformed table")
        return cls(config, layers, table, tables)


def ends(config: Config) -> dict[str, Any]:
    """Each layer's input limits, and its outputs' lowest and highest value, int32."""
    kinds, result = config.kinds(), {}

    def spread(parts: Sequence[tuple[str, int]], what: str) -> NDArray[np.int32]:
        return np.concatenate([np.full(n, getattr(kinds[kind], what), np.int32) for kind, n in parts])

    for name, spec in config.layers().items():
        limit = np.maximum(spread(spec.inputs, "high"), -spread(spec.inputs, "low"))
        result[name] = (limit, spread(spec.outputs, "low"), spread(spec.outputs, "high"))
    return result
