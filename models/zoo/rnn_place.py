"""The recurrent net along the raster scan that also knows where it is: row and column are two more inputs."""

from __future__ import annotations

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System, rnn
from lgcodec.models.zoo.build import DIGIT


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, width: int = 64) -> Graph:
    return rnn.graph(number, shape, width, place=True)


SYSTEM = System("LSTM along the raster, with place", graph, "bits", batch=100, rate=0.4, minutes=4)
