"""MADE: an autoencoder whose masks make it autoregressive (Germain et al. 2015).

Hidden units get degrees, the masks follow: a hidden unit of degree t sees the pixels before t, the pixel of degree t
sees hidden units up to t. Several orders are trained with the same weights ("order-agnostic training", section 4.2).
"""

from __future__ import annotations

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, SAMPLES, Build, raster


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, hidden: int = 1000, depth: int = 1) -> Graph:
    """number 0: raster order; others: an order drawn by this seed."""
    rng, order = np.random.default_rng(number), raster(shape)
    if number:
        order = rng.permutation(order)
    drawn = {f"hidden{d}": rng.integers(1, len(order), hidden).astype(np.int32) for d in range(depth)}
    g = Build(shape, order, others=drawn)
    h = SAMPLES
    for name in drawn:
        h = g.add("dense", [h], 1, name, low=0)
    g.add("dense", [h, SAMPLES], 1)  # the paper's direct connections
    return g.bits()


SYSTEM = System(
    "MADE, 1 hidden layer", graph, "bits",
    published="86.64 nats (2 layers, 32 masks; Germain et al. 2015)", batch=100, minutes=7,
)  # fmt: skip
