"""A mixture of products of Bernoullis: one latent that says which of 256 typical pictures it is.

p(x) = sum of p(x | k) / 256: exact, as is p(k | x), so that bits-back codes x in -log p(x) bits and no more.
"""

from __future__ import annotations

import math

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, GIVEN, Build


def posterior(shape: tuple[int, int] = DIGIT, components: int = 256) -> Graph:
    g = Build((1, 1), np.zeros(1, np.int32), math.prod(shape))
    g.add("dense", [GIVEN], components)
    return g.categories(components)


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, components: int = 256) -> Graph:
    g = Build(shape, np.zeros(math.prod(shape), np.int32), components)
    g.add("dense", [GIVEN], 1)
    return g.bits()


SYSTEM = System("Mixture of 256 Bernoullis", graph, "bits", posterior=posterior, batch=200, rate=10, minutes=2)
