"""The seam between models and coding: arrays of integers, nothing else.

A model is a program that yields integer tables and is sent symbols. Decoding runs it with symbols popped from the
coder, encoding with the true ones. Nothing here, and nothing in `codec/`, knows how a network computes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

PRECISION = 24
TOTAL = 1 << PRECISION
T = TypeVar("T")
Z = TypeVar("Z")
IntArray = NDArray[np.integer]


@dataclass(frozen=True)
class Intervals:
    """The encoder's view of coded symbols: their own shares of TOTAL, in decode order.

    start, frequency: uint32 [n], 0 <= start, 1 <= frequency <= TOTAL - 2, start + frequency <= TOTAL.
    counts: int [streams], how many consecutive rows belong to each stream; sums to n.
    """

    start: NDArray[np.uint32]
    frequency: NDArray[np.uint32]
    counts: NDArray[np.int64]

    def ideal_bits(self) -> float:
        """The code length, in bits: the sum of log2(TOTAL / frequency)."""
        return float(PRECISION * len(self.frequency) - np.log2(self.frequency.astype(np.float64)).sum())


Read = Callable[[NDArray[np.uint32]], IntArray]  # pops a symbol for each row of a cdf [n, A+1]


class Distribution(Protocol):
    """What a program yields: n independent symbols, for one or more streams. counts: as in Intervals."""

    @property
    def counts(self) -> NDArray[np.int64]: ...

    def part(self, rows: slice) -> Distribution:
        """The distribution of these rows alone, for one stream."""
        ...

    def intervals(self, symbols: IntArray) -> list[Intervals]:
        """The shares of `symbols` [n], in decode order."""
        ...

    def pop(self, read: Read) -> IntArray:
        """The symbols [n], by `read`ing dense tables, as many times and in the order of `intervals`."""
        ...


@dataclass(frozen=True)
class Table:
    """A Distribution of symbols of one alphabet 0..A-1.

    cdf: uint32 [n, A+1], A >= 3, rows strictly increasing from 0 to TOTAL (so no symbol has frequency zero).
    """

    cdf: NDArray[np.uint32]
    counts: NDArray[np.int64]

    def part(self, rows: slice) -> Table:
        cdf = self.cdf[rows]
        return Table(cdf, np.array([len(cdf)]))

    def intervals(self, symbols: IntArray) -> list[Intervals]:
        rows = np.arange(len(symbols))
        start = self.cdf[rows, symbols]
        return [Intervals(start, self.cdf[rows, np.asarray(symbols) + 1] - start, self.counts)]

    def pop(self, read: Read) -> IntArray:
        return read(self.cdf)


class Explicit(Protocol[T]):
    """An exact likelihood: autoregressive, flow, VQ-VAE and factorised models."""

    def symbols(self, value: T) -> Iterable[tuple[Distribution, IntArray]]:
        """What `steps` yields and is sent for `value`, in this order; may compute all in one parallel pass."""
        ...

    def steps(self) -> Generator[Distribution, IntArray, T]:
        """Yields each Distribution, is sent its symbols [n], returns the value."""
        ...


class Stack(Protocol):
    """An ANS stack; `stack.Stack` is one, `compiled_stack.CompiledStack` another with the same words."""

    def intervals(self, distribution: Distribution, symbols: IntArray) -> list[Intervals]:
        """As `distribution.intervals`."""
        ...

    def push(self, intervals: Intervals) -> None:
        """Pushes symbols so that they pop in the order given."""
        ...

    def pop(self, distribution: Distribution) -> IntArray:
        """Pops its symbols, int [n]."""
        ...

    def words(self) -> NDArray[np.uint32]:
        """The content, uint32 [m], last pushed last."""
        ...

    def is_empty(self) -> bool: ...


@dataclass(frozen=True)
class Stream:
    """One coded tile. words: uint32 [m], the ANS stack's content, last pushed last; ideal_bits: its exact code
    length. base: another stack's words, decoded before and without these, of models that have a base.
    """

    words: NDArray[np.uint32]
    ideal_bits: float
    base: NDArray[np.uint32] | None = None


class Compiled(Protocol):
    """A faster machine for the same tables and the same words; may be absent."""

    batch: int  # how many tiles one call should be given

    def encode(self, tiles: Sequence[NDArray[np.int16]], adaptation: bytes) -> list[Stream]: ...

    def decode(
        self, shapes: Sequence[tuple[int, int, int]], words: Sequence[NDArray[np.uint32]], adaptation: bytes
    ) -> list[NDArray[np.int16]]: ...


class Layered(Protocol):
    """Of models whose streams come in two parts: the base tells a preview, and with the words the tile."""

    def encode(self, tiles: Sequence[NDArray[np.int16]]) -> list[Stream]: ...

    def decode(
        self,
        shapes: Sequence[tuple[int, int, int]],
        words: Sequence[NDArray[np.uint32]],
        bases: Sequence[NDArray[np.uint32]],
    ) -> list[NDArray[np.int16]]: ...

    def preview(
        self, shapes: Sequence[tuple[int, int, int]], bases: Sequence[NDArray[np.uint32]]
    ) -> list[NDArray[np.int16]]:
        """What the bases tell of the tiles; may lie outside their ranges."""
        ...


class ImageModel(Protocol):
    """What `codec/` asks of a model of images.

    A tile is int16 [C, H, W]: C = 1 (one plane, 0..255) or C = 3 (Y 0..255, Co and Cg -255..255, YCoCg-R).
    """

    name: str
    wire_id: int
    digest: bytes  # 32 bytes, SHA-256 of the integers that decide bits
    batch: int  # how many tiles one call should be given
    planes: int  # C of the tiles it was trained on
    tile: tuple[int, int]  # width and height of the largest tile it should be given
    unit: int  # a tile's sides are multiples of this where the image allows
    choices: Sequence[bytes]  # adaptations that an encoder may try besides none: the classes of images it knows
    stack: Callable[..., Stack] | None  # makes a faster stack for its programs, from words or none; may be absent
    compiled: Compiled | None
    layered: Layered | None  # instead of `program` and `compiled`
    latent: Callable[[Sequence[tuple[int, int, int]]], Any] | None  # likewise: the bits_back.Latent of a batch of tiles

    def program(self, shapes: Sequence[tuple[int, int, int]], adaptation: bytes) -> Explicit[list[NDArray[np.int16]]]:
        """The program of a batch of tiles, one stream per tile."""
        ...

    def adapt(self, tiles: Sequence[NDArray[np.int16]], effort: int, choice: bytes = b"") -> bytes:
        """Side information that fits the model to these tiles, from one of `choices` or none on; this `choice` where
        more would not pay for itself.
        """
        ...


Words = NDArray[np.uint32]
