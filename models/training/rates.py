"""Rates of latent models by their integer tables."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy.program import shape_of
from lgcodec.models.errors import ModelError
from lgcodec.models.interface import TOTAL, Distribution, ImageModel, IntArray, LatentCoding


def net_bits(model: ImageModel, tiles: list[NDArray[np.int16]], random: np.random.Generator) -> float:
    """What bits-back adds for tiles [C, H, W] of one shape, by the integer tables, for latents drawn at random."""

    def read(cdf: NDArray[np.uint32]) -> NDArray[np.int64]:
        symbols: NDArray[np.int64] = (cdf <= random.integers(0, TOTAL, (len(cdf), 1))).sum(axis=1) - 1
        return symbols

    def bits(known: Iterable[tuple[Distribution, IntArray]]) -> float:
        return math.fsum(part.ideal_bits() for table, symbols in known for part in table.intervals(symbols))

    def net(program: Any, value: Any) -> float:
        if not hasattr(program, "posterior"):
            return bits(program.symbols(value))
        steps = program.posterior(value).steps()
        try:
            distribution = next(steps)
            while True:
                distribution = steps.send(distribution.pop(read))
        except StopIteration as stop:
            z = stop.value
        spent = bits(program.likelihood(z).symbols(value)) - bits(program.posterior(value).symbols(z))
        return spent + net(program.prior(), z)

    if not isinstance(model.coding, LatentCoding):
        raise ModelError("net bits are those of latent models")
    return net(model.coding.program([shape_of(tile) for tile in tiles]), tiles)


HELD_OUT = 1000  # of the images in an array
