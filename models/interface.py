"""The seam between models and coding: arrays of integers, nothing else.

A model is a program that yields integer tables and is sent symbols. Decoding runs it with symbols popped from the
coder, encoding with the true ones. Nothing here, and nothing in `codec/`, knows how a network computes.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

PRECISION = 24
TOTAL = 1 << PRECISION

T = TypeVar("T")
Z = TypeVar("Z")
IntArray = NDArray[np.integer]


@dataclass(frozen=True)
class Table:
    """n independent symbols of one alphabet 0..A-1, for one or more streams.

    cdf: uint32 [n, A+1], A >= 3, rows strictly increasing from 0 to TOTAL (so no symbol has frequency zero).
    counts: int [streams], how many consecutive rows belong to each stream; sums to n.
    """

    cdf: NDArray[np.uint32]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Intervals:
    """The encoder's view of a Table: the coded symbols' own shares of TOTAL, in decode order.

    start, frequency: uint32 [n], 0 <= start, 1 <= frequency <= TOTAL - 2, start + frequency <= TOTAL.
    counts: int [streams], as in Table.
    """

    start: NDArray[np.uint32]
    frequency: NDArray[np.uint32]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, table: Table, symbols: IntArray) -> Intervals:
        """The shares that `table` gives to `symbols` [n]."""
        rows = np.arange(len(symbols))
        start = table.cdf[rows, symbols]
        return cls(start, table.cdf[rows, np.asarray(symbols) + 1] - start, table.counts)

    def ideal_bits(self) -> float:
        """The code length, in bits: the sum of log2(TOTAL / frequency)."""
        return float(PRECISION * len(self.frequency) - np.log2(self.frequency.astype(np.float64)).sum())


class Explicit(Protocol[T]):
    """An exact likelihood: autoregressive, flow, VQ-VAE and factorised models."""

    def symbols(self, value: T) -> Sequence[Intervals]:
        """All intervals of `value` in decode order; may compute every table in one parallel pass."""
        ...

    def steps(self) -> Generator[Table, IntArray, T]:
        """Yields each Table, is sent its symbols [n], returns the value."""
        ...


@dataclass(frozen=True)
class Stream:
    """One coded tile. words: uint32 [m], the ANS stack's content, last pushed last; ideal_bits: its exact code
    length.
    """

    words: NDArray[np.uint32]
    ideal_bits: float


class Compiled(Protocol):
    """A faster machine for the same tables and the same words; may be absent."""

    def encode(self, tiles: Sequence[NDArray[np.int16]], adaptation: bytes) -> list[Stream]: ...

    def decode(
        self, shapes: Sequence[tuple[int, int, int]], words: Sequence[NDArray[np.uint32]], adaptation: bytes
    ) -> list[NDArray[np.int16]]: ...


def ycocg(rgb: NDArray[np.int16]) -> NDArray[np.int16]:
    """RGB [3, ...] -> YCoCg-R [3, ...] by lifting, exactly reversible (Malvar & Sullivan 2003). int16."""
    red, green, blue = rgb
    co = red - blue
    middle = blue + (co >> 1)
    cg = green - middle
    return np.stack([middle + (cg >> 1), co, cg])


def rgb_of(ycocg: NDArray[np.int16]) -> NDArray[np.int16]:
    """The inverse of `ycocg`; outside 0..255 for planes that no image gives."""
    y, co, cg = ycocg
    middle = y - (cg >> 1)
    blue = middle - (co >> 1)
    return np.stack([blue + co, cg + middle, blue])


class ImageModel(Protocol):
    """What `codec/` asks of a model of images.

    A tile is int16 [C, H, W]: C = 1 (one plane, 0..255) or C = 3 (Y 0..255, Co and Cg -255..255, YCoCg-R).
    """

    name: str
    wire_id: int
    digest: bytes  # 32 bytes, SHA-256 of the integers that decide bits
    batch: int  # how many tiles one call should be given
    compiled: Compiled | None

    def program(self, shapes: Sequence[tuple[int, int, int]], adaptation: bytes) -> Explicit[list[NDArray[np.int16]]]:
        """The program of a batch of tiles, one stream per tile."""
        ...

    def adapt(self, tiles: Sequence[NDArray[np.int16]], effort: int) -> bytes:
        """Side information that fits the model to these tiles; empty where it would not pay for itself."""
        ...
