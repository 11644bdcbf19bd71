"""WaveNet on the raster scan: dilated convolutions in one dimension, with place (van den Oord et al. 2016, "WaveNet").

Each layer sees twice as far as the one before: 9 of them reach 513 pixels, 18 rows.
"""

from __future__ import annotations

import math

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, PLACES, SAMPLES, Build, raster


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, width: int = 16, depth: int = 9) -> Graph:
    line = (1, math.prod(shape))
    g = Build(shape, raster(shape))
    h = g.window([SAMPLES, PLACES], width, ((0, -2), (0, -1), (0, 0)), grid=line)
    skips = []
    for i in range(depth):
        y = g.gate(g.window(h, 2 * width, ((0, -(1 << i)), (0, 0)), grid=line), width)
        skips.append(y)
        h = g.sum(h, g.window(y, width))
    a, b = g.window(skips[::2], 2 * width), g.window(skips[1::2], 2 * width)
    g.window(g.window(g.sum(a, b), 2 * width, relu=True), 1)
    return g.bits()


SYSTEM = System("WaveNet with place", graph, "bits", batch=16, rate=0.4, minutes=7)
