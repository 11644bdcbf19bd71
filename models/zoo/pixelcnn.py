"""PixelCNN: masked convolutions (van den Oord et al. 2016, "Pixel recurrent neural networks", section 3.2 and table 1).

A first window that leaves the pixel itself out (mask A: it reads samples), then residual blocks of 1x1, 3x3, 1x1 with
it (mask B), ReLU. Its receptive field has the blind spot at the right above that `gated` does away with.
"""

from __future__ import annotations

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, SAMPLES, Build, before, raster


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, width: int = 32, depth: int = 7) -> Graph:
    g = Build(shape, raster(shape))
    h = g.window(SAMPLES, width, before(3, own=False))
    for _ in range(depth):
        inner = g.window(h, width // 2, before(1), relu=True)
        h = g.sum(h, g.window(inner, width))
    h = g.window(h, 2 * width, relu=True)
    g.window(h, 1)
    return g.bits()


SYSTEM = System(
    "PixelCNN", graph, "bits", published="81.30 nats (van den Oord et al. 2016)", batch=8, rate=0.4, minutes=9,
)  # fmt: skip
