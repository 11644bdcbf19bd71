"""Any order: one net trained on many orders of the pixels, several pixels a step (Uria et al. 2014, Jain et al. 2020,
Hoogeboom et al. 2022: with ever more pixels a step, an absorbing diffusion).

The order is a permutation drawn by its number, cut into steps of equal length; pixels of one step are independent given
those before. What is unknown is zero, which neither black nor white is, so the net knows what it does not know.
"""

from __future__ import annotations

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, PLACES, SAMPLES, Build, raster, square

TOGETHER = 4  # pixels a step


def graph(
    number: int = 0, shape: tuple[int, int] = DIGIT, width: int = 24, depth: int = 3, together: int = TOGETHER
) -> Graph:
    order = (np.random.default_rng(number).permutation(raster(shape)) // together).astype(np.int32)
    g = Build(shape, order)
    h = g.window([g.window(SAMPLES, width, square(4)), PLACES], width)
    for _ in range(depth):
        h = g.sum(h, g.window(g.window(h, width // 2, square(1), relu=True), width))
    g.window(g.window(h, 2 * width, relu=True), 1)
    return g.bits()


SYSTEM = System("Any order, 4 pixels a step", graph, "bits", orders=16, batch=16, rate=0.4, minutes=7)
