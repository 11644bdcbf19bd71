"""Text scans: pages of bits, by two layers of masked windows along fronts.

A first window sees 47 samples, of up to five rows above and as far to the right as fronts let it; a second one, with
holes, sees its units, for the width of strokes and the noise of edges. A front's pixels are coded at once: their degree
is 4 y + x. Trained on crops, applied to squares of a page (`tile`), each for itself.
"""

from __future__ import annotations

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import HERE, SAMPLES, Build

SLOPE = 4
REACH = {0: (-6, -1), -1: (-6, 3), -2: (-5, 5), -3: (-4, 4), -4: (-3, 3), -5: (-1, 1)}  # of each row, left and right
NEAR = tuple((dy, dx) for dy, (left, right) in REACH.items() for dx in range(left, right + 1))
FAR = (*HERE, (0, -2), (0, -4), (-1, -3), (-1, -1), (-1, 1), (-1, 3), (-3, -4), (-3, -2), (-3, 0), (-3, 3))
SQUARE = (256, 256)


def graph(number: int = 0, shape: tuple[int, int] = SQUARE, width: int = 24) -> Graph:
    y, x = np.divmod(np.arange(shape[0] * shape[1], dtype=np.int32), shape[1])
    g = Build(shape, SLOPE * y + x)
    h = g.window(SAMPLES, width, NEAR, relu=True)
    h = g.sum(h, g.window(h, width, FAR, relu=True))
    g.window(g.window(h, width, relu=True), 1)
    return g.bits()


SYSTEM = System("Text scans", graph, "bits", batch=16, rate=0.6, minutes=20, tile=SQUARE)
