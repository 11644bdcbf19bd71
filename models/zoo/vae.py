"""The textbook's variational autoencoder: 784 - 400 - 20 - 400 - 784, Bernoulli pixels (Kingma & Welling 2014), coded
by bits-back (Townsend et al. 2019, BB-ANS).
"""

from __future__ import annotations

import math

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, GIVEN, Build

BITS = 12  # of a latent's cell


def posterior(
    shape: tuple[int, int] = DIGIT, hidden: int = 400, latents: int = 20, depth: int = 1, mixed: int = 1
) -> Graph:
    """Each latent given the picture alone: one step. mixed: so many normals."""
    g = Build((1, latents), np.zeros(latents, np.int32), math.prod(shape), {"hidden": np.zeros(hidden, np.int32)})
    g.add("dense", [_hidden(g, depth)], 3 * mixed - 1)
    return g.normal(BITS, mixed)


def graph(
    number: int = 0, shape: tuple[int, int] = DIGIT, hidden: int = 400, latents: int = 20, depth: int = 1
) -> Graph:
    """Each pixel given the latents alone: one step."""
    g = Build(shape, np.zeros(math.prod(shape), np.int32), latents, {"hidden": np.zeros(hidden, np.int32)})
    g.add("dense", [_hidden(g, depth)], 1)
    return g.bits()


def _hidden(g: Build, depth: int) -> int:
    h = GIVEN
    for _ in range(depth):
        h = g.add("dense", [h], 1, "hidden", low=0)
    return h


SYSTEM = System(
    "VAE, 400 hidden, 20 latents", graph, "bits", posterior=posterior,
    published="coded: 0.19 bits/dim (100 hidden, 40 latents; Townsend et al. 2019)", batch=100, rate=0.4, minutes=8,
)  # fmt: skip
