"""Variational lossy autoencoder (Chen et al. 2017): pixels see a small window of pixels, latents say the rest.

The prior of latents is autoregressive, which is an inverse autoregressive flow in the posterior (section 3.2): each
latent given those before it, by a masked net as in `made`. A window so small that it cannot say what a latent can
keeps latents in use.
"""

from __future__ import annotations

import math

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System, vae
from lgcodec.models.zoo.build import DIGIT, GIVEN, SAMPLES, Build, before, raster


def prior(latents: int = 20, hidden: int = 100) -> Graph:
    drawn = (np.arange(hidden) % max(latents - 1, 1) + 1).astype(np.int32)
    g = Build((1, latents), raster((1, latents)), others={"hidden": drawn})
    h = g.add("dense", [SAMPLES], 1, "hidden", low=0)
    g.add("dense", [h], 2)
    return g.normal(vae.BITS)


def graph(
    number: int = 0, shape: tuple[int, int] = DIGIT, hidden: int = 400, latents: int = 20, width: int = 16
) -> Graph:
    zero = np.zeros(math.prod(shape), np.int32)
    g = Build(shape, raster(shape), given=latents, others={"hidden": np.zeros(hidden, np.int32), "zero": zero})
    h = g.add("dense", [GIVEN], 1, "hidden", low=0)
    picture = g.add("dense", [h], 2, "zero")
    a = g.window(SAMPLES, width, before(2, own=False))
    a = g.window([a, picture], width, relu=True)
    g.window([g.window(a, width, relu=True), picture], 1)
    return g.bits()


SYSTEM = System(
    "VLAE, autoregressive prior", graph, "bits", posterior=vae.posterior, prior=prior,
    published="78.53 nats (Chen et al. 2017)", batch=32, rate=0.4, minutes=7,
)  # fmt: skip
