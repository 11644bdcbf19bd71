"""PixelCNN of grey values by a softmax over all 256 of them (van den Oord et al. 2016, section 3.3)."""

from __future__ import annotations

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, PLACES, SAMPLES, Build, before, raster


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, width: int = 32, depth: int = 3, levels: int = 256) -> Graph:
    g = Build(shape, raster(shape))
    h = g.window([g.window(SAMPLES, width, before(3, own=False)), PLACES], width)
    for _ in range(depth):
        h = g.sum(h, g.window(g.window(h, width // 2, before(1), relu=True), width))
    g.window(g.window(h, width, relu=True), levels)
    return g.categories(levels)


SYSTEM = System(
    "PixelCNN, softmax of 256", graph, "grey",
    published="1.06 (RealNVP, Dinh et al. 2016), 1.05 (Glow, Kingma & Dhariwal 2018) bits/dim",
    batch=16, rate=0.4, minutes=7,
)  # fmt: skip
