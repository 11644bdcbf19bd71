"""Latents of one bit, and nets to and from them, trained by the score function (Mnih & Gregor 2014).

A bit has no path for gradients: they are of the score function, d log q(z|x) times what the draw cost, less what other
draws cost. Bits-back codes bits as it codes normal latents; their prior is a number for each bit.
"""

from __future__ import annotations

import math

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, GIVEN, PLACES, Build


def prior(latents: int = 200) -> Graph:
    g = Build((1, latents), np.zeros(latents, np.int32), others={"constant": np.zeros(1, np.int32)})
    constant = g.add("dense", [PLACES], 1, "constant")
    g.add("dense", [constant], 1)
    return g.bits()


def posterior(shape: tuple[int, int] = DIGIT, hidden: int = 200, latents: int = 200) -> Graph:
    return _net((1, latents), math.prod(shape), hidden)


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, hidden: int = 200, latents: int = 200) -> Graph:
    return _net(shape, 2 * latents, hidden)


def _net(shape: tuple[int, int], given: int, hidden: int) -> Graph:
    g = Build(shape, np.zeros(math.prod(shape), np.int32), given, {"hidden": np.zeros(hidden, np.int32)})
    g.add("dense", [g.add("dense", [GIVEN], 1, "hidden", low=0)], 1)
    return g.bits()


SYSTEM = System(
    "VAE, 200 bits as latents", graph, "bits", posterior=posterior, prior=prior,
    published="84.13 nats (DARN, whose bits depend on each other; Gregor et al. 2014)", batch=50, rate=0.4, minutes=6,
)  # fmt: skip
