"""Deep autoregressive network (Gregor et al. 2014): bits as latents, each of which depends on those before it, and
pixels that depend on the bits and on the pixels before them.

Trained by the score function, as `bits`. The encoder's bits are independent given the picture, as in the paper.
"""

from __future__ import annotations

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System, bits
from lgcodec.models.zoo.build import DIGIT, GIVEN, SAMPLES, Build, raster


def prior(latents: int = 100) -> Graph:
    """Each bit's logit is linear in the bits before it."""
    g = Build((1, latents), raster((1, latents)))
    g.add("dense", [SAMPLES], 1)
    return g.bits()


def posterior(shape: tuple[int, int] = DIGIT, hidden: int = 200, latents: int = 100) -> Graph:
    return bits.posterior(shape, hidden, latents)


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, hidden: int = 200, latents: int = 100) -> Graph:
    g = Build(shape, raster(shape), 2 * latents, {"hidden": np.zeros(hidden, np.int32)})
    said = g.add("dense", [GIVEN], 1, "hidden", low=0)
    g.add("dense", [said, SAMPLES], 1)
    return g.bits()


SYSTEM = System(
    "DARN, 100 bits", graph, "bits", posterior=posterior, prior=prior,
    published="84.13 nats (500 bits; Gregor et al. 2014)", batch=50, rate=0.4, minutes=8,
)  # fmt: skip
