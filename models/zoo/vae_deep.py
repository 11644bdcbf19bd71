"""The autoencoder of two hidden layers that importance weighting was measured on: 784 - 200 - 200 - 50 and back (Burda
et al. 2016, one stochastic layer), trained by the ELBO.
"""

from __future__ import annotations

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System, vae
from lgcodec.models.zoo.build import DIGIT


def posterior(shape: tuple[int, int] = DIGIT, hidden: int = 200, latents: int = 50) -> Graph:
    return vae.posterior(shape, hidden, latents, depth=2)


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, hidden: int = 200, latents: int = 50) -> Graph:
    return vae.graph(number, shape, hidden, latents, depth=2)


SYSTEM = System(
    "VAE, 2 x 200 hidden, 50 latents", graph, "bits", posterior=posterior, objective={"warm_up": 2000},
    published="86.76 nats by 5000 samples (Burda et al. 2016)", batch=100, rate=0.4, decay=0.0,
    minutes=60,
)  # fmt: skip
