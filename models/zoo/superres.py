"""Super-resolution: a small picture first, then the rest given it (Dahl et al. 2017, Reed et al. 2017).

Every second pixel of every second row comes first, in raster order: decoding may stop there, for a preview. Then come
the others, which also see a stack of units that know the whole small picture: their degree is when it ends.
"""

from __future__ import annotations

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, SAMPLES, Build, square


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, width: int = 24, depth: int = 3) -> Graph:
    y, x = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    small = (y % 2 == 0) & (x % 2 == 0)
    order = np.argsort(np.argsort(~small, kind="stable")).astype(np.int32)  # small first, in raster order
    g = Build(shape, order, others={"small": np.full(len(y), small.sum(), np.int32)})
    c = g.window(SAMPLES, width, square(3), "small", relu=True)
    c = g.window(c, width, square(1), "small", relu=True)
    h = g.window([g.window(SAMPLES, width, square(4)), c], width)
    for _ in range(depth):
        h = g.sum(h, g.window(g.window(h, width // 2, square(1), relu=True), width))
    g.window(g.window([h, c], 2 * width, relu=True), 1)
    return g.bits()


SYSTEM = System("Super-resolution PixelCNN", graph, "bits", batch=16, rate=0.4, minutes=7)
