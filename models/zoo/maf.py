"""A masked autoregressive flow of volume one (Papamakarios et al. 2017), in integers, modulo 256.

A step shifts each pixel by what a MADE says of those before it; the next step goes the other way through the picture.
With the directions of coding exchanged it is an inverse autoregressive flow (Kingma et al. 2016).
"""

from __future__ import annotations

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, SAMPLES, Build, raster
from lgcodec.models.zoo.nice import prior


def flow(shape: tuple[int, int] = DIGIT, hidden: int = 200, steps: int = 2) -> list[Graph]:
    order, rng, graphs = raster(shape), np.random.default_rng(0), []
    for _ in range(steps):
        drawn = rng.integers(1, max(2, len(order)), hidden).astype(np.int32)
        g = Build(shape, order, others={"hidden": drawn})
        g.add("dense", [g.add("dense", [SAMPLES], 1, "hidden", low=0), SAMPLES], 1)
        graphs.append(g.shift())
        order = order[::-1].copy()
    return graphs


SYSTEM = System("MAF, additive, modulo 256", prior, "grey", flow=flow, batch=100, rate=0.4, minutes=5)
