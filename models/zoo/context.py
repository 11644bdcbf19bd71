"""Context tables: a Bayes net of sparse conditionals, one table for all pixels (the template of JBIG, ISO 11544).

. . 2 1 0 . .          p(pixel | the 10 pixels of its template): 1024 probabilities, no net.
. 7 6 5 4 3 .
. 9 8 *
"""

from __future__ import annotations

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, SAMPLES, Build, raster

TEMPLATE = ((-2, 1), (-2, 0), (-2, -1), (-1, 2), (-1, 1), (-1, 0), (-1, -1), (-1, -2), (0, -1), (0, -2))


def graph(number: int = 0, shape: tuple[int, int] = DIGIT) -> Graph:
    g = Build(shape, raster(shape))
    g.add("table", [SAMPLES], 1, offsets=TEMPLATE, grid=shape)
    return g.bits()


SYSTEM = System("Context tables (JBIG's template)", graph, "bits", batch=200, rate=10, minutes=1)
