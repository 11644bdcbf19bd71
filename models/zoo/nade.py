"""NADE: hidden units that go on from those of the pixel before, with the same weights (Larochelle & Murray 2011).

    h_d = relu(c + W[:, <d] x_<d),   logit of x_d = b_d + V_d h_d

Each column of W serves all pixels after its own, so that W x_<d is a running sum: a picture costs as much as one pass
through an autoencoder. The paper's sigmoid is rectified here, as in Uria et al. 2016.
"""

from __future__ import annotations

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, HERE, SAMPLES, Build, raster


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, hidden: int = 500) -> Graph:
    """number 0: raster order; others: an order drawn by this seed, of several that are trained at once (EoNADE)."""
    order = raster(shape)
    g = Build(shape, np.random.default_rng(number).permutation(order) if number else order)
    h = g.add("tied", [SAMPLES], hidden, low=0)
    g.add("local", [h], 1, offsets=HERE, grid=shape)
    return g.bits()


SYSTEM = System(
    "NADE, 500 hidden", graph, "bits", published="88.33 nats (Larochelle & Murray 2011)", batch=25, minutes=40,
)  # fmt: skip
