"""What is coded: plane by plane, all samples of all tiles."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import numpy as np

from lgcodec.models.families.histogram.network import ORIGIN, Network
from lgcodec.models.interface import IntArray, Shape, Table, Tile


class Program:
    """interface.Explicit of tiles [C, H, W] of one C."""

    def __init__(self, network: Network, shapes: Sequence[Shape]) -> None:
        self.network, self.shapes = network, shapes
        self.counts = np.array([H * W for _, H, W in shapes])

    def _table(self, plane: int) -> Table:
        return Table(np.tile(self.network.cdf[min(plane, 1)], (self.counts.sum(), 1)), self.counts)

    def symbols(self, value: list[Tile]) -> Iterator[tuple[Table, IntArray]]:
        for plane in range(self.shapes[0][0]):
            yield self._table(plane), np.concatenate([tile[plane].ravel() for tile in value]).astype(int) - ORIGIN

    def steps(self) -> Generator[Table, IntArray, list[Tile]]:
        value = [np.zeros(shape, np.int16) for shape in self.shapes]
        for plane in range(self.shapes[0][0]):
            symbols = yield self._table(plane)
            for tile, part in zip(value, np.split(symbols, np.cumsum(self.counts)[:-1]), strict=True):
                tile[plane] = part.reshape(tile[plane].shape) + ORIGIN
        return value
