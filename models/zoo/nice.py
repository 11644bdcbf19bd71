"""NICE: additive couplings and a factorised prior (Dinh et al. 2015), in integers, modulo 256.

Each step shifts every second pixel as a net of the others says; steps take turns. There are no scales, so the flow is
a bijection of integers as it stands, without noise to make pixels continuous. A latent has a mixture of logistics of
its own.
"""

from __future__ import annotations

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, PLACES, SAMPLES, Build, raster


def prior(number: int = 0, shape: tuple[int, int] = DIGIT, mixed: int = 5) -> Graph:
    """Nothing is known of a latent but which one it is."""
    g = Build(shape, 0 * raster(shape), others={"constant": np.zeros(16, np.int32)})
    constant = g.add("dense", [PLACES], 1, "constant")
    g.add("dense", [constant], 3 * mixed)
    return g.mixture(mixed)


def flow(shape: tuple[int, int] = DIGIT, hidden: int = 200, depth: int = 2, steps: int = 4) -> list[Graph]:
    return [_step((raster(shape) + i) % 2, shape, hidden, depth) for i in range(steps)]


def _step(order: np.ndarray, shape: tuple[int, int], hidden: int, depth: int) -> Graph:
    g, h = Build(shape, order, others={"hidden": np.ones(hidden, np.int32)}), SAMPLES
    for _ in range(depth):
        h = g.add("dense", [h], 1, "hidden", low=0)
    g.add("dense", [h], 1)
    return g.shift()


SYSTEM = System(
    "NICE, modulo 256", prior, "grey", flow=flow, published="4.36 bits/dim (Dinh et al. 2015)", batch=100, rate=0.4,
    minutes=5,
)  # fmt: skip
