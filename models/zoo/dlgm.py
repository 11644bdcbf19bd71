"""Deep latent Gaussian model (Rezende et al. 2014): latents in two layers, z2 -> z1 -> x, each normal given that above.

    row 0 of latents    z2, standard normal            posterior   z1 given x, then z2 given z1
    row 1               z1, given z2                   prior       z2, then z1 given z2

Latents are one picture of two rows, and their degrees say which comes first. The likelihood's windows look one row
down, so that it sees z1 alone. Bits-back pops and pushes both rows as it does one.
"""

from __future__ import annotations

import math

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System, vae
from lgcodec.models.zoo.build import DIGIT, GIVEN, HERE, SAMPLES, Build, Degrees


def _rows(latents: int, first: int, second: int) -> Degrees:
    return np.repeat(np.array([first, second], np.int32), latents)


def prior(latents: int = 50, hidden: int = 200) -> Graph:
    """z1 given z2, by a hidden layer; what nothing is known of is standard normal, or nearly, as it is trained."""
    g = Build((2, latents), _rows(latents, 0, 1), others={"hidden": np.ones(hidden, np.int32)})
    h = g.add("dense", [SAMPLES], 1, "hidden", low=0)
    g.add("dense", [h], 2)
    return g.normal(vae.BITS)


def posterior(shape: tuple[int, int] = DIGIT, hidden: int = 200, latents: int = 50) -> Graph:
    """z1 given x, by two hidden layers; z2 given z1, by one."""
    others = {"low": np.zeros(hidden, np.int32), "high": np.ones(hidden, np.int32)}
    g = Build((2, latents), _rows(latents, 1, 0), math.prod(shape), others)
    h = g.add("dense", [GIVEN], 1, "low", low=0)
    low = g.add("dense", [h], 1, "low", low=0)
    high = g.add("dense", [SAMPLES], 1, "high", low=0)
    g.add("dense", [low, high], 2)
    return g.normal(vae.BITS)


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, hidden: int = 200, latents: int = 50) -> Graph:
    zero = {"rows": 2 * latents, "row": latents, "hidden": hidden}
    others = {name: np.zeros(n, np.int32) for name, n in zero.items()}
    g = Build(shape, np.zeros(math.prod(shape), np.int32), 2 * latents, others)
    both = g.window(GIVEN, 1, HERE, "rows", grid=(2, latents))
    h = g.window(both, 1, ((1, 0),), "row", grid=(1, latents))
    for _ in range(2):
        h = g.add("dense", [h], 1, "hidden", low=0)
    g.add("dense", [h], 1)
    return g.bits()


SYSTEM = System(
    "DLGM, two layers of 50 latents", graph, "bits", posterior=posterior, prior=prior, objective={"warm_up": 2000},
    published="86.60 nats (Rezende et al. 2014)", batch=100, rate=0.4, decay=0.0, minutes=15,
)  # fmt: skip
