"""PixelRNN: a diagonal, two-dimensional LSTM (van den Oord et al. 2016, "Pixel recurrent neural networks", section
3.1).

One cell walks with the pixels, its state from the left and from above; the other one comes back from the right before
a row begins, so that together they know all that is above and to the left. The degrees say so: a row is first W units
from right to left, then W from left to right with the pixels.

    degree of a pixel and of the first cell = (2 y + 1) W + x       of the second cell = 2 y W + W - 1 - x
"""

from __future__ import annotations

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, SAMPLES, Build, above, before


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, width: int = 24) -> Graph:
    y, x = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    forth = ((2 * y + 1) * shape[1] + x).astype(np.int32)
    back = (2 * y * shape[1] + shape[1] - 1 - x).astype(np.int32)
    g = Build(shape, forth, others={"back": back})
    a = g.window(SAMPLES, width, before(3, own=False))
    b = g.window(SAMPLES, width, above(3), "back")
    a = g.add("cell", [a], 2 * width, offsets=((0, -1), (-1, 0)), grid=shape)
    b = g.add("cell", [b], 2 * width, "back", offsets=((0, 1), (-1, 0)), grid=shape)
    h = g.window([a, b], 2 * width, relu=True)
    g.window(h, 1)
    return g.bits()


SYSTEM = System(
    "PixelRNN (diagonal LSTM)", graph, "bits",
    published="79.20 nats (7 layers; van den Oord et al. 2016)", batch=16, rate=0.4, minutes=9,
)  # fmt: skip
