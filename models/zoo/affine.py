"""An affine flow z = A^-1 (x - b) of a whole picture, in integers, modulo 256.

A is a lower times an upper triangular matrix whose diagonals are 1, so that its volume is one. Each is a step: a pixel
is shifted, rounded, by what is linear in the pixels before it, then by what is linear in those after it.
"""

from __future__ import annotations

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, SAMPLES, Build, Degrees, raster
from lgcodec.models.zoo.nice import prior


def flow(shape: tuple[int, int] = DIGIT) -> list[Graph]:
    return [_triangular(raster(shape), shape), _triangular(raster(shape)[::-1].copy(), shape)]


def _triangular(order: Degrees, shape: tuple[int, int]) -> Graph:
    g = Build(shape, order)
    g.add("dense", [SAMPLES], 1)
    return g.shift()


SYSTEM = System("Affine flow, lower and upper, modulo 256", prior, "grey", flow=flow, batch=50, rate=0.4, minutes=3)
