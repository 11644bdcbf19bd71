"""The autoencoder of `vae` with a richer posterior: each latent's is a mixture of four normals.

A latent is coded by shares of cells, so that a mixture's are a weighted sum. Gradients reach what is drawn from a
mixture by its distribution function (Figurnov et al. 2018).
"""

from __future__ import annotations

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System, vae
from lgcodec.models.zoo.build import DIGIT


def posterior(shape: tuple[int, int] = DIGIT, hidden: int = 400, latents: int = 20, mixed: int = 4) -> Graph:
    return vae.posterior(shape, hidden, latents, mixed=mixed)


SYSTEM = System(
    "VAE, posterior a mixture of 4 normals", vae.graph, "bits", posterior=posterior, batch=100, rate=0.4, minutes=8
)
