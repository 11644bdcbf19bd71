"""Deep latent Gaussian model (Rezende et al. 2014): two layers of latents, z2 -> z1 -> x.

    z1 = T(z2) + G noise      each normal given the layer above, T a net and G a matrix

What is coded is the noise of both layers, standard normal; z2 is the upper one's. The posterior of both is a net of x,
as in the paper, and bits-back pops and pushes them as it does one layer.
"""

from __future__ import annotations

import math

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System, vae
from lgcodec.models.zoo.build import DIGIT, GIVEN, HERE, Build


def posterior(shape: tuple[int, int] = DIGIT, hidden: int = 200, latents: int = 50) -> Graph:
    return vae.posterior(shape, hidden, 2 * latents, depth=2)


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, hidden: int = 200, latents: int = 50) -> Graph:
    units = {"rows": 2 * latents, "row": latents, "hidden": hidden}
    others = {name: np.zeros(n, np.int32) for name, n in units.items()}
    g = Build(shape, np.zeros(math.prod(shape), np.int32), 2 * latents, others)
    rows = g.window(GIVEN, 1, HERE, "rows", grid=(2, latents))
    upper, lower = (g.window(rows, 1, ((row, 0),), "row", grid=(1, latents)) for row in (0, 1))
    h = g.add("dense", [upper], 1, "hidden", low=0)
    h = g.add("dense", [h, lower], 1, "row")  # z1
    h = g.add("dense", [h], 1, "hidden", low=0)
    g.add("dense", [h], 1)
    return g.bits()


SYSTEM = System(
    "DLGM, two layers of 50 latents", graph, "bits", posterior=posterior, objective={"warm_up": 2000},
    published="86.60 nats (Rezende et al. 2014)", batch=100, rate=0.4, decay=0.0, minutes=12,
)  # fmt: skip
