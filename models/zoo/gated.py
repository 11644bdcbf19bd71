"""Gated PixelCNN: two stacks without a blind spot (van den Oord et al. 2016, "Conditional image generation ...").

The vertical stack knows the rows above: its units' degree is when their row begins. The horizontal one knows its row
up to the pixel, and the vertical stack. The gate is tanh x sigmoid.
"""

from __future__ import annotations

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, GIVEN, HERE, SAMPLES, Build, above, left, raster, rows, square


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, width: int = 20, depth: int = 3, classes: int = 0) -> Graph:
    """classes: how many there are, where the net is told a picture's."""
    g = Build(shape, raster(shape), classes, {"rows": rows(shape), "zero": 0 * rows(shape)})
    said = [g.add("dense", [GIVEN], 2, "zero")] if classes else []
    v = g.gate(g.window(SAMPLES, 2 * width, above(3), "rows"), width, "rows")
    h = g.gate(g.window(SAMPLES, 2 * width, left(3)), width)
    up = tuple(o for o in square(1) if o[0] <= 0)
    for _ in range(depth):
        v = g.gate(g.window(v, 2 * width, up, "rows"), width, "rows")
        inner = g.gate(g.window([h, v, *said], 2 * width, ((0, -1), *HERE)), width)
        h = g.sum(h, g.window(inner, width))
    h = g.window([h, v, *said], 2 * width, relu=True)
    g.window(h, 1)
    return g.bits()


SYSTEM = System("Gated PixelCNN", graph, "bits", batch=16, rate=0.4, minutes=12)
