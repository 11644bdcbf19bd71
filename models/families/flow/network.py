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

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.adaptation import deltas
from lgcodec.models.entropy.mixture import MEAN_UNIT, Tables
from lgcodec.models.errors import ModelError
from lgcodec.models.interface import IntArray
from lgcodec.models.layers.integer import Layer
from lgcodec.models.layers.kinds import check_bounds
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
        check_bounds("flow", self, bounds)
        if self.channels == 2 or len(self.reach) != 3:
            raise ModelError("flow model: expected 1 or 3 channels and the reach of 3 phases")
        if any(type(reach) is not int or not 2 <= reach <= 50 for reach in self.reach):
            raise ModelError(f"flow model: reach is {self.reach!r}, expected 2 to 50")

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
