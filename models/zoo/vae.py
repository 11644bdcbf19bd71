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


def posterior(shape: tuple[int, int] = DIGIT, hidden: int = 400, latents: int = 20) -> Graph:
    """Each latent given the picture alone: one step."""
    zero = np.zeros(latents, np.int32)
    g = Build((1, latents), zero, given=math.prod(shape), others={"hidden": np.zeros(hidden, np.int32)})
    h = g.add("dense", [GIVEN], 1, "hidden", low=0)
    g.add("dense", [h], 2)
    return g.normal(BITS)


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, hidden: int = 400, latents: int = 20) -> Graph:
    """Each pixel given the latents alone: one step."""
    zero = np.zeros(math.prod(shape), np.int32)
    g = Build(shape, zero, given=latents, others={"hidden": np.zeros(hidden, np.int32)})
    h = g.add("dense", [GIVEN], 1, "hidden", low=0)
    g.add("dense", [h], 1)
    return g.bits()


SYSTEM = System(
    "VAE, 400 hidden, 20 latents", graph, "bits", posterior=posterior,
    published="86.76 nats (50 latents; Burda et al. 2016); coded: 0.19 bits/dim (Townsend et al. 2019)",
    batch=100, rate=0.4, minutes=5,
)  # fmt: skip
