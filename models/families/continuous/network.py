"""The continuous family: a volume-preserving flow of dequantised samples, exact in integers, coded by bits-back.

References: Zhang et al. 2021 (iVPF: the modular affine transform), Ho et al. 2019 (variational dequantisation), Dinh et
al. 2017 (affine couplings), Salimans et al. 2017 (mixtures of logistics).

    x --posterior--> y = 2**bits x + u, r --couplings--> z, r'      coded: z under the prior, r' uniform
    x <--likelihood- y, r <-------------------------------- z, r'   then u and r go back on the stack

Samples stand in cells of 4 x 4, one channel per place, in an order from coarse to fine. A coupling scales and shifts
half of the channels as a network of the other half says. Its scales are ratios of integers, m[0] / m[1], m[1] / m[2],
.. m[7] / m[8], with m[0] = m[8] = 2**16: their product is one, the map preserves volume, and what one division leaves
over is what the next multiplication adds, so that nothing is lost:

    v = z m[i] + r      z' = floor(v / m[i+1])      r' = v mod m[i+1]           inverse: the same with m reversed

The remainder r of each cell starts as a random number of the stack and ends as one, at no cost. The prior codes
groups of channels in order, each a mixture of logistics given the groups before, with an escape beyond its window.
The posterior of u is a normal distribution squeezed into 0..1: the uniform one, where that is best. Everything is
integers.

Range: |y| < 2**18 as samples give it, |z| < 2**33 as any stack may give it. m is between 2**14 and 2**18, and a channel
changes in at most three couplings: it grows by less than 2**4 in each, by less than 2**20 for the shift, and |v| stays
below 2**60.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy import mixture
from lgcodec.models.entropy.cells import LATENT_UNIT, RATIO_UNIT, Cells
from lgcodec.models.entropy.mixture import SIGMOID_BITS, Tables
from lgcodec.models.errors import ModelError
from lgcodec.models.layers.convolution import Convolution
from lgcodec.models.layers.integer import Layer
from lgcodec.models.layers.kinds import Kind, Spec, check_bounds
from lgcodec.models.weights import Weights

T = TypeVar("T")
Shape = tuple[int, int, int]
Tile = NDArray[np.int16]
Int = NDArray[np.int64]
Latents = tuple[Int, Int]  # y [N, h, w, 16] and r [N, h, w], of h x w cells
CELL = 4
PLACES = (
    (0, 0), (2, 2), (0, 2), (2, 0), (1, 1), (1, 3), (3, 1), (3, 3),
    (0, 1), (0, 3), (2, 1), (2, 3), (1, 0), (1, 2), (3, 0), (3, 2),
)  # fmt: skip
GROUPS = (0, 1, 2, 4, 8, 12, 16)  # where each group of the prior begins in PLACES
CHANNELS, HALF = 16, 8
SCALE_BITS, SCALE_UNIT = 16, 4096  # of m; of log m
DIGITS, DIGIT = 5, 16  # of a latent's code
SIZE, ORIGIN = DIGIT**DIGITS, -(DIGIT**DIGITS) // 2  # the prior's window
FLOOR_BITS = 18  # each value's least share is 2**-34
SEEN = 1023  # the most that networks see, in quarters of a sample's step
UNKNOWN = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Config:
    """Sizes of one model. bits: of u. couplings: in turn of the finer half and of the coarser. width: of networks.
    components: of a mixture. variational: 0 where u is uniform. Activations are in units of 2**-fraction, up to limit.
    """

    bits: int = 8
    couplings: int = 2
    width: int = 64
    components: int = 5
    variational: int = 1
    fraction: int = 6
    limit: int = 1023
    scales: ClassVar[int] = HALF - 1  # that a coupling's network says

    def __post_init__(self) -> None:
        bounds = {
            "bits": (6, 10), "couplings": (0, 6), "width": (1, 512), "components": (2, 16), "variational": (0, 1),
            "fraction": (0, 12), "limit": (1, 8191),
        }  # fmt: skip
        check_bounds("continuous", self, bounds)
        if self.bits % 2:
            raise ModelError(f"continuous model: bits is {self.bits}, expected an even number")

    def kinds(self) -> dict[str, Kind]:
        one = 1 << self.bits  # a step of the samples
        return {
            "sample": Kind(256, -SEEN, SEEN),  # in 1/4
            "hidden": Kind(1 << self.fraction, 0, self.limit),
            "mean": Kind(LATENT_UNIT, -1023, 1023),
            "ratio": Kind(RATIO_UNIT, 0, 95),
            "scale": Kind(SCALE_UNIT, -SCALE_UNIT, SCALE_UNIT),
            "shift": Kind(one, -512 * one, 512 * one),
            "logit": Kind(mixture.LOGIT_UNIT, -4095, 4095),
            "fine": Kind(one, -512 * one, 512 * one),
            "level": Kind(8 * one, -512 * one, 512 * one),
            "log_scale": Kind(mixture.LOG_SCALE_UNIT, 0, 160, 4 * mixture.LOG_SCALE_UNIT),
        }

    def networks(self) -> dict[str, tuple[int, tuple[tuple[str, int], ...]]]:
        """Of each network: how many channels it sees, and what it says, each for all channels in turn."""
        result: dict[str, tuple[int, tuple[tuple[str, int], ...]]] = {}
        if self.variational:
            result["posterior"] = CHANNELS, (("mean", CHANNELS), ("ratio", CHANNELS))
        for i in range(self.couplings):
            result[f"coupling.{i}"] = HALF, (("scale", self.scales), ("shift", HALF))
        K = self.components
        for g, (start, end) in enumerate(itertools.pairwise(GROUPS)):
            n = end - start  # one of the means is for what stands exactly: black
            result[f"prior.{g}"] = start, (("logit", K * n), ("fine", n), ("level", (K - 1) * n), ("log_scale", K * n))
        return result

    def layers(self) -> dict[str, Spec]:
        hidden, result = (("hidden", self.width),), {}
        for name, (n, outputs) in self.networks().items():
            result[f"first.{name}"] = Spec((("sample", n + 1),), hidden, 3)
            result[f"middle.{name}"] = Spec(hidden, hidden, 3)
            result[f"out.{name}"] = Spec(hidden, outputs)
        return result

    def ends(self, spec: Spec) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """A layer's input limits, and its outputs' lowest and highest value."""
        kinds = self.kinds()
        seen = np.array([kinds[k].high for k, n in spec.inputs for _ in range(n)], np.int32)
        low, high = np.array([(kinds[k].low, kinds[k].high) for k, n in spec.outputs for _ in range(n)], np.int32).T
        return np.tile(seen, spec.size**2), low.copy(), high.copy()


@dataclass(frozen=True)
class Network:
    """The integers of one model, checked. powers: int64 [2 SCALE_UNIT + 1], 2**16 exp(i / SCALE_UNIT), from -1 on."""

    config: Config
    layers: dict[str, Convolution]
    tables: Tables
    cells: Cells
    powers: Int

    @classmethod
    def of(cls, weights: Weights, kind: type[Config] = Config) -> Network:
        """Raises ModelError where tensors are missing, misshapen or out of the exact range."""
        if set(weights.config) != {field.name for field in fields(kind)}:
            raise ModelError(f"{weights.family} model: config {weights.config} is not one of this release")
        config, layers = kind(**weights.config), {}
        try:
            for name, spec in config.layers().items():
                weight, bias, shift = (weights.tensors[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
                layers[name] = Convolution(Layer(weight, bias, shift, *config.ends(spec)), spec.size)
            tables = Tables(*(weights.tensors[name] for name in ("sigmoid", "exponential", "inverse")))
            cells = Cells(*(weights.tensors[name] for name in ("edges", "values", "normal", "precision")))
            powers = weights.tensors["powers"]
        except KeyError as e:
            raise ModelError(f"continuous model: tensor {e} is missing") from e
        all_tables = (tables.sigmoid, tables.exponential, tables.inverse, powers)
        sizes = (2049, 12 * mixture.LOGIT_UNIT, 161, 2 * SCALE_UNIT + 1)
        if (
            [(t.dtype, t.shape) for t in all_tables] != [(np.dtype(np.int32), (n,)) for n in sizes]
            or (np.diff(tables.sigmoid.astype(np.int64)) < 0).any()
            or min(tables.sigmoid[0], tables.exponential.min(), tables.inverse.min()) < 0
            or tables.sigmoid[-1] > 1 << SIGMOID_BITS
            or tables.exponential[0] < 1
            or max(tables.exponential.max(), tables.inverse.max()) > 1 << 20
            or powers.min() < 1 << 14
            or powers.max() > 1 << 18
        ):
            raise ModelError("continuous model: malformed tables")
        cells.check(config.bits)
        return cls(config, layers, tables, cells, powers.astype(np.int64))
