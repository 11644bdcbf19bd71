"""Glow's linear maps of channels between couplings (Kingma & Dhariwal 2018), lifted: modulo 256, of volume one.

The channels are the 2 x 2 places of a cell. An invertible matrix is a lower times an upper triangular one; each is a
step whose shift is linear in the places before, or after, of its cell. (Windows share weights between places, so that
some coefficients are equal, and a place also reads its neighbours in other cells.)
"""

from __future__ import annotations

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, SAMPLES, Build, Degrees, raster, square
from lgcodec.models.zoo.nice import prior
from lgcodec.models.zoo.realnvp import coupling


def flow(shape: tuple[int, int] = DIGIT, width: int = 24, depth: int = 1, levels: int = 2) -> list[Graph]:
    y, x = np.divmod(raster(shape), shape[1])
    place = 2 * (y % 2) + x % 2
    steps = []
    for _ in range(levels):
        steps += [_linear(place, shape), _linear(3 - place, shape)]
        steps += [coupling(y % 2, shape, width, depth), coupling((y + 1) % 2, shape, width, depth)]
    return steps


def _linear(order: Degrees, shape: tuple[int, int]) -> Graph:
    g = Build(shape, order)
    g.window(SAMPLES, 1, tuple(o for o in square(1) if o != (0, 0)))
    return g.shift()


SYSTEM = System(
    "Glow's lifted linear maps, modulo 256", prior, "grey", flow=flow,
    published="1.05 bits/dim, with scales (Kingma & Dhariwal 2018)", batch=16, rate=0.4, minutes=5,
)  # fmt: skip
