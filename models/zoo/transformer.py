"""Masked self-attention over pixels, after a masked window and with place (Vaswani et al. 2017, Parmar et al. 2018).

The mask is the degrees' rule: a pixel's query sees the keys of pixels up to its own, whose windows see the pixels
before.
"""

from __future__ import annotations

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, PLACES, SAMPLES, Build, before, raster


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, width: int = 24, depth: int = 2, heads: int = 4) -> Graph:
    g = Build(shape, raster(shape))
    near = before(3, own=False)
    h = g.window([g.window(SAMPLES, width, near), PLACES], width)
    for _ in range(depth):
        q, k, v = (g.window(h, width) for _ in range(3))
        y = g.add("attend", [q, k, v], width, heads=heads)
        h = g.sum(h, g.window(y, width))
        h = g.sum(h, g.window(g.window(h, 2 * width, relu=True), width))
    g.window(g.window(h, 2 * width, relu=True), 1)
    return g.bits()


SYSTEM = System("Masked self-attention", graph, "bits", batch=8, rate=0.4, minutes=7)
