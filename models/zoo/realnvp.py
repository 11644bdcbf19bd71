"""RealNVP's masks and convolutional couplings (Dinh et al. 2017), additive: checkerboards, then places of 2 x 2 cells.

Free scales are no bijections of integers; with a product of one they are, see the `continuous` family, and by local
bits-back they can be coded, see benchmarks/local_bits_back.py. Here a step shifts, modulo 256.
"""

from __future__ import annotations

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, SAMPLES, Build, Degrees, raster, square
from lgcodec.models.zoo.nice import prior


def flow(shape: tuple[int, int] = DIGIT, width: int = 24, depth: int = 2) -> list[Graph]:
    y, x = np.divmod(raster(shape), shape[1])
    masks = [(y + x) % 2, (y + x + 1) % 2, y % 2, (y + 1) % 2, x % 2, (x + 1) % 2]
    return [coupling(mask, shape, width, depth) for mask in masks]


def coupling(mask: Degrees, shape: tuple[int, int], width: int, depth: int) -> Graph:
    """Shifts the pixels of degree 1 by a residual net of windows over the others."""
    g = Build(shape, mask, others={"hidden": np.ones_like(mask)})
    h = g.window(SAMPLES, width, square(2), "hidden", relu=True)
    for _ in range(depth):
        h = g.sum(h, g.window(h, width, square(1), "hidden", relu=True), "hidden")
    g.window(h, 1)
    return g.shift()


SYSTEM = System(
    "RealNVP's couplings, additive, modulo 256", prior, "grey", flow=flow,
    published="1.06 bits/dim, with scales (Dinh et al. 2017)", batch=16, rate=0.4, minutes=5,
)  # fmt: skip
