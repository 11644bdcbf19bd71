"""Semi-supervised: most pictures' class is not known, so that it is a latent (Kingma et al. 2014, M2 without z).

    a picture with a class costs     -log p(x | y)
    a picture without                -log sum over y of p(x | y) / 10

A MADE is told the class; training's pictures whose label is -1 have none. p(y | x), by Bayes, classifies. The sum is
exact; a file names its class, the likeliest one, in a byte.
"""

from __future__ import annotations

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, GIVEN, SAMPLES, Build, raster


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, hidden: int = 100, classes: int = 10) -> Graph:
    order = raster(shape)
    drawn = np.random.default_rng(number).integers(1, max(2, len(order)), hidden).astype(np.int32)
    g = Build(shape, order, classes, {"hidden": drawn})
    h = g.add("dense", [SAMPLES, GIVEN], 1, "hidden", low=0)
    g.add("dense", [h, SAMPLES, GIVEN], 1)
    return g.bits()


SYSTEM = System("MADE, class as a latent", graph, "bits", batch=100, rate=3, marginal=True, minutes=3)
