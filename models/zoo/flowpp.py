"""Flow++'s couplings (Ho et al. 2019): half of the pixels goes through the CDF of a mixture of logistics, whose
parameters a net with gates and attention says of the other half; what is left is split again.

In whole numbers such a coupling is exact as it stands. The CDF takes a pixel to an interval of 0 .. 1, whose position
is uniform, so that nothing later could be said of it: it is factored out, which is what a coder writes. Pixels are
whole numbers already, so there is no noise to make them continuous, and no bound. The halves are checkerboards, coarser
each time; of the coarsest, one pixel in 64, the place alone is known.
"""

from __future__ import annotations

import numpy as np

from lgcodec.models.families.masked.network import Graph
from lgcodec.models.zoo import System
from lgcodec.models.zoo.build import DIGIT, PLACES, SAMPLES, Build, Degrees, square

SPLITS = 6
REACH = (1, 5, 4, 3, 2, 2, 2)  # of the window over what is known, coarse to fine


def order(shape: tuple[int, int]) -> Degrees:
    """SPLITS less the number of the coarsest checkerboard that has the pixel."""
    y, x = np.divmod(np.arange(shape[0] * shape[1], dtype=np.int32), shape[1])
    result = np.full(len(y), SPLITS, np.int32)
    for split in range(SPLITS):
        side = 1 << split // 2
        is_in = (y % side == 0) & (x % side == 0) & ((y + x) // side % 2 == 0)
        if split % 2:
            is_in = (y % (2 * side) == 0) & (x % (2 * side) == 0)
        result[is_in] = SPLITS - split - 1
    return result


def graph(number: int = 0, shape: tuple[int, int] = DIGIT, width: int = 16, depth: int = 1, mixed: int = 5) -> Graph:
    known = order(shape)
    g = Build(shape, known, others={f"at{t}": np.full_like(known, t) for t in range(SPLITS + 1)})
    said = [_coupling(g, f"at{t}", REACH[t], width, depth, attends=t == 1) for t in range(SPLITS + 1)]
    g.window(g.window(said, 2 * width, relu=True), 3 * mixed)
    return g.mixture(mixed)


def _coupling(g: Build, at: str, reach: int, width: int, depth: int, attends: bool) -> int:
    h = g.window([g.window(SAMPLES, width, square(reach), at), PLACES], width, degrees=at, relu=True)
    for _ in range(depth):
        h = g.sum(h, g.gate(g.window(h, 2 * width, square(1), at), width, at), at)
    if attends:
        q, k, v = (g.window(h, width, degrees=at) for _ in range(3))
        h = g.sum(h, g.add("attend", [q, k, v], width, at), at)
    return h


SYSTEM = System(
    "Flow++'s couplings, factored out", graph, "grey", batch=16, rate=0.4, minutes=6,
    published="CIFAR-10 3.08 bits/dim (Ho et al. 2019)",
)  # fmt: skip
