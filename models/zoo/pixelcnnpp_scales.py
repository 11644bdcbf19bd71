"""PixelCNN++'s down- and up-sampling with short-cuts across it (Salimans et al. 2017, section 2.3), over two stacks.

The stack that knows the rows above goes down to a quarter of the units, and again, and comes back up, where it is added
to what it was at that size. A coarse unit's degree is the beginning of the first of its rows: the rule of degrees does
what the paper does by shifting rows. The stack that knows its row stays fine, and sees the other one at each step up.
"""

from __future__ import annotations

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, HERE, PLACES, SAMPLES, Build, above, left, raster, rows, square

UP = tuple(o for o in square(1) if o[0] <= 0)


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, width: int = 24, depth: int = 2, mixed: int = 5) -> Graph:
    """depth: how often it goes down."""
    grids = [(-(-shape[0] >> i), -(-shape[1] >> i)) for i in range(depth + 1)]
    beginnings = {f"rows{i}": _beginnings(grid, shape) for i, grid in enumerate(grids)}
    g = Build(shape, raster(shape), others=beginnings)

    def gated(inputs: list[int], offsets: tuple[tuple[int, int], ...], i: int) -> int:
        name = f"rows{i}"
        return g.gate(g.window(inputs, 2 * width, offsets, name, grid=grids[i]), width, name)

    down = [gated([SAMPLES], above(3), 0)]
    for i in range(1, depth + 1):
        down.append(gated([gated([down[-1]], UP, i - 1)], square(1), i))
    v = g.sum(down[-1], gated([down[-1]], UP, depth), f"rows{depth}")
    h = g.gate(g.window([SAMPLES, PLACES], 2 * width, (*left(3), *HERE)), width)
    for i in reversed(range(depth)):
        h = g.sum(h, g.window(g.gate(g.window([h, v], 2 * width, ((0, -1), *HERE)), width), width))
        v = g.sum(down[i], gated([gated([v], HERE, i), down[i]], UP, i), f"rows{i}")
    h = g.window([h, v], 2 * width, relu=True)
    g.window(h, 3 * mixed)
    return g.mixture(mixed)


def _beginnings(grid: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """When the first of a coarse row's rows begins."""
    y = np.arange(grid[0] * grid[1]) // grid[1]
    return np.unique(rows(shape))[y * shape[0] // grid[0]]


SYSTEM = System(
    "PixelCNN++, down- and up-sampled", graph, "grey", batch=16, rate=0.4, minutes=12,
    published="CIFAR-10 2.92 bits/dim (Salimans et al. 2017)",
)  # fmt: skip
