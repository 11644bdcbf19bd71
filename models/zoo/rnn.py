"""A recurrent net along the raster scan (LSTM: Hochreiter & Schmidhuber 1997): its state is all that it knows of the
past.

Its state comes from the pixel before, 784 steps in a row; `rnn_place` is told where a pixel stands, too.
"""

from __future__ import annotations

import math

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, PLACES, SAMPLES, Build, raster


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, width: int = 64, place: bool = False) -> Graph:
    line, previous = (1, math.prod(shape)), ((0, -1),)
    g = Build(shape, raster(shape))
    seen = g.window([SAMPLES, PLACES] if place else SAMPLES, width, previous, grid=line)
    h = g.add("cell", [seen], 2 * width, offsets=previous, grid=line)
    h = g.window(h, width, relu=True)
    g.window(h, 1)
    return g.bits()


SYSTEM = System("LSTM along the raster", graph, "bits", batch=100, rate=0.4, minutes=4)
