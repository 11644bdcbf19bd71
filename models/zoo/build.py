"""What the systems' files are written with: nodes one after the other, degrees, and sets of offsets."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.families.masked.network import FIRST, GIVEN, LIMIT, PLACES, SAMPLES, Graph, Node

Degrees = NDArray[np.int32]
Offsets = tuple[tuple[int, int], ...]

DIGIT = (28, 28)
HERE: Offsets = ((0, 0),)
__all__ = [
    "DIGIT", "GIVEN", "HERE", "PLACES", "SAMPLES", "Build", "above", "before", "left", "raster", "rows", "square",
]  # fmt: skip


class Build:
    """A graph in the making: each method adds a node and returns its number.

    shape: of a picture; degrees: by name, "order" is that of the samples; given: how many numbers are known beforehand.
    """

    def __init__(
        self, shape: tuple[int, int], order: Degrees, given: int = 0, others: dict[str, Degrees] | None = None
    ) -> None:
        self.shape, self.given, self.nodes = shape, given, list[Node]()
        self.degrees = {"order": order, **(others or {})}

    def add(self, kind: str, inputs: Iterable[int], channels: int, degrees: str = "order", **rest: object) -> int:
        self.nodes.append(Node(kind, tuple(inputs), degrees, channels, **rest))  # type: ignore[arg-type]
        return len(self.nodes) + FIRST - 1

    def window(
        self, inputs: int | Iterable[int], channels: int, offsets: Offsets = HERE, degrees: str = "order", *,
        relu: bool = False, grid: tuple[int, int] | None = None,
    ) -> int:  # fmt: skip
        many = (inputs,) if isinstance(inputs, int) else inputs
        low = 0 if relu else -LIMIT
        return self.add("window", many, channels, degrees, low=low, offsets=offsets, grid=grid or self.shape)

    def gate(self, i: int, channels: int, degrees: str = "order") -> int:
        return self.add("gate", [i], channels, degrees)

    def sum(self, i: int, j: int, degrees: str = "order") -> int:
        return self.add("add", [i, j], self.nodes[i - FIRST].channels, degrees)

    def bits(self) -> Graph:
        """The last node is a sample's logit."""
        return self._graph(2, "bernoulli", 1)

    def mixture(self, components: int) -> Graph:
        """The last node has the parameters of so many logistics: 3 channels each."""
        return self._graph(256, "mixture", components)

    def categories(self, levels: int) -> Graph:
        """The last node has a logit for each level."""
        return self._graph(levels, "categorical", 1)

    def normal(self, bits: int, components: int = 1) -> Graph:
        """The last node has the parameters of so many normals, of a sample that is one of 2**bits cells: a latent, or a
        grey pixel of 8 bits. These are a logit for each but the first, then means, then precisions.
        """
        return self._graph(1 << bits, "normal", components)

    def shift(self) -> Graph:
        """The last node has a shift of each grey sample: a step of a flow."""
        return self._graph(256, "shift", 1)

    def _graph(self, levels: int, head: str, components: int) -> Graph:
        return Graph(self.shape, levels, self.given, head, components, "order", tuple(self.nodes), self.degrees)


def _places(shape: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    y, x = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    return y, x


def raster(shape: tuple[int, int]) -> Degrees:
    return np.arange(shape[0] * shape[1], dtype=np.int32)


def rows(shape: tuple[int, int]) -> Degrees:
    """When a row begins: the vertical stack."""
    return (_places(shape)[0] * shape[1]).astype(np.int32)


def square(reach: int) -> Offsets:
    """All offsets at most so far away, (0, 0) too."""
    return tuple((dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1))


def before(reach: int, own: bool = True) -> Offsets:
    """Of a square, those before the pixel in raster order, and its own."""
    return tuple(o for o in square(reach) if o < (0, 0) or (own and o == (0, 0)))


def above(reach: int) -> Offsets:
    """Of a square, the rows above."""
    return tuple(o for o in square(reach) if o[0] < 0)


def left(reach: int) -> Offsets:
    return tuple((0, dx) for dx in range(-reach, 0))
