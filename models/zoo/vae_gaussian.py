"""A variational autoencoder with a Gaussian decoder: p(x | z) = N(mean(z), scale(z)^2) of each grey pixel (Kingma &
Welling 2014, appendix C.2).

A pixel's share is the normal distribution between x - 1/2 and x + 1/2; black and white have all that is beyond.
"""

from __future__ import annotations

import math

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System, vae
from lgcodec.models.zoo.build import DIGIT, GIVEN, Build


def posterior(shape: tuple[int, int] = DIGIT, hidden: int = 400, latents: int = 40) -> Graph:
    return vae.posterior(shape, hidden, latents)


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, hidden: int = 400, latents: int = 40) -> Graph:
    g = Build(shape, np.zeros(math.prod(shape), np.int32), latents, {"hidden": np.zeros(hidden, np.int32)})
    h = g.add("dense", [GIVEN], 1, "hidden", low=0)
    g.add("dense", [h], 2)
    return g.normal(8)


SYSTEM = System(
    "VAE, Gaussian decoder", graph, "grey", posterior=posterior, objective={"warm_up": 1000}, batch=100, rate=0.3,
    decay=0.0, minutes=10,
)  # fmt: skip
