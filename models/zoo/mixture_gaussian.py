"""A mixture of Gaussians: 64 typical pictures, and a normal distribution of each grey pixel around them.

p(x) = sum of p(x | k) / 64. What it draws is a typical picture and noise of each pixel by itself. p(k | x) is no linear
function of the pixels, as it is of bits; a net learns it, so that a file takes little more than -log p(x).
"""

from __future__ import annotations

import math

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, GIVEN, Build


def posterior(shape: tuple[int, int] = DIGIT, hidden: int = 400, components: int = 64) -> Graph:
    g = Build((1, 1), np.zeros(1, np.int32), math.prod(shape), {"hidden": np.zeros(hidden, np.int32)})
    g.add("dense", [g.add("dense", [GIVEN], 1, "hidden", low=0)], components)
    return g.categories(components)


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, components: int = 64) -> Graph:
    g = Build(shape, np.zeros(math.prod(shape), np.int32), components)
    g.add("dense", [GIVEN], 2)
    return g.normal(8)


SYSTEM = System("Mixture of 64 Gaussians", graph, "grey", posterior=posterior, batch=64, rate=1.5, minutes=7)
