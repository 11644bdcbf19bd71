"""PixelCNN++ in small: grey values by a mixture of discretised logistics (Salimans et al. 2017), over gated stacks.

Its down-sampling, and short-cuts across it, are in `pixelcnnpp_scales`.
"""

from __future__ import annotations

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, HERE, PLACES, SAMPLES, Build, above, left, raster, rows, square


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, width: int = 24, depth: int = 2, mixed: int = 5) -> Graph:
    g = Build(shape, raster(shape), others={"rows": rows(shape)})
    v = g.gate(g.window(SAMPLES, 2 * width, above(3), "rows"), width, "rows")
    h = g.gate(g.window([SAMPLES, PLACES], 2 * width, (*left(3), *HERE)), width)
    up = tuple(o for o in square(1) if o[0] <= 0)
    for _ in range(depth):
        v = g.gate(g.window(v, 2 * width, up, "rows"), width, "rows")
        h = g.sum(h, g.window(g.gate(g.window([h, v], 2 * width, ((0, -1), *HERE)), width), width))
    h = g.window([h, v], 2 * width, relu=True)
    g.window(h, 3 * mixed)
    return g.mixture(mixed)


SYSTEM = System(
    "PixelCNN++ (mixture)", graph, "grey",
    published="1.06 (RealNVP, Dinh et al. 2016), 1.05 (Glow, Kingma & Dhariwal 2018) bits/dim",
    batch=16, rate=0.4, minutes=12,
)  # fmt: skip
