"""The seam between models and coding: arrays of integers, nothing else.

A model is a program that yields integer tables and is sent symbols. Decoding runs it with symbols popped from the
coder, encoding with the true ones. Nothing here, and nothing in `codec/`, knows how a network computes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

PRECISION = 24
TOTAL = 1 << PRECISION
OWN = 255  # wire id of weights that do not ship: the digest alone names them
T = TypeVar("T")
IntArray = NDArray[np.integer]
Words = NDArray[np.uint32]
Shape = tuple[int, int, int]  # of a tile: C, H, W
# int16 [C, H, W], C = 1 (one plane, 0..255) or C = 3 (Y 0..255, Co and Cg -255..255, YCoCg-R)
Tile = NDArray[np.int16]


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

    cdf: uint32 [n, A+1], A >= 2, rows strictly increasing from 0 to TOTAL (so no symbol has frequency zero; of
    two symbols, each has 2 or more).
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


NewStack = Callable[..., Stack]  # from words, or none


@dataclass(frozen=True)
class Stream:
    """One coded tile. words: uint32 [m], the ANS stack's content, last pushed last; ideal_bits: its exact code
    length. base: another stack's words, decoded before and without these, of models that have a base.
    """

    words: NDArray[np.uint32]
    ideal_bits: float
    base: NDArray[np.uint32] | None = None


class TileCoder(Protocol):
    """Codes whole tiles at a time, to the words that the program gives."""

    batch: int  # how many tiles one call should be given

    def encode(self, tiles: Sequence[Tile], adaptation: bytes) -> list[Stream]: ...

    def decode(self, shapes: Sequence[Shape], words: Sequence[NDArray[np.uint32]], adaptation: bytes) -> list[Tile]: ...


@dataclass(frozen=True)
class ExplicitCoding:
    """Each tile is a stream of its own. program: of a batch of tiles of one shape, under an adaptation; fast: a
    machine's own coder of tiles, None where it has none.
    """

    program: Callable[[Sequence[Shape], bytes], Explicit[list[Tile]]]
    fast: TileCoder | None = None


@dataclass(frozen=True)
class LatentCoding:
    """All tiles are one chain, by bits-back. program: the `bits_back.Latent` of a batch of tiles of one shape."""

    program: Callable[[Sequence[Shape]], Any]


class LayeredCoding(ABC):
    """Streams come in two parts: the base tells a preview, and with the words the tile."""

    @abstractmethod
    def encode(self, tiles: Sequence[Tile]) -> list[Stream]: ...

    @abstractmethod
    def decode(
        self, shapes: Sequence[Shape], words: Sequence[NDArray[np.uint32]], bases: Sequence[NDArray[np.uint32]]
    ) -> list[Tile]: ...

    @abstractmethod
    def preview(self, shapes: Sequence[Shape], bases: Sequence[NDArray[np.uint32]]) -> list[Tile]:
        """What the bases tell of the tiles; may lie outside their ranges."""

    @abstractmethod
    def draw(self, shape: Shape, pop: Callable[[Any], Any]) -> Tile:
        """A tile that the model imagines. pop: an interface.Explicit to a value of it, of random bits."""


# of one component of a JPEG: int16 [R, C, 64], quantised, blocks row by row, frequencies 8 v + u
Coefficients = NDArray[np.int16]


@dataclass(frozen=True)
class ComponentShape:
    """What is known of a component of a JPEG before its coefficients.

    rows, columns: of blocks. vertical, horizontal: sampling factors, which the image has per sample of the component.
    steps: int [64], 1 .. 65535, by frequency 8 v + u. energy: what the encoder says about it, int [energies], 0..127.
    earlier: what it says about an earlier quantisation, if there was one. is_dc_first: whether the DC coefficients of
    all components come before all others; the same of all components of a band.
    """

    rows: int
    columns: int
    vertical: int
    horizontal: int
    steps: IntArray
    energy: IntArray
    earlier: bytes = b""
    is_dc_first: bool = True


class BandCoder(Protocol):
    """Codes bands of JPEG files, to the words that the program gives. A band: its components' coefficients."""

    def encode(self, shapes: Sequence[ComponentShape], band: Sequence[Coefficients]) -> Stream: ...

    def decode(self, shapes: Sequence[ComponentShape], words: Words) -> list[Coefficients]: ...

    def preview(self, shapes: Sequence[ComponentShape], words: Words) -> list[Coefficients]:
        """The band's DC coefficients, which come first, and zeros for all others."""
        ...


class BandProgram(Explicit[list[Coefficients]], Protocol):
    """The program of one band."""

    def preview(self) -> Generator[Distribution, IntArray, list[Coefficients]]:
        """As `steps`, of DC coefficients alone: what a decoder is asked to read first."""
        ...


@dataclass(frozen=True)
class CoefficientCoding:
    """Each band of a JPEG file is a stream of its own. program: of a band's components; fast: a machine's own coder.

    energy: of a component's coefficients, for ComponentShape, uint8 [energies]. earlier: likewise of coefficients and
    their steps, `earliers` bytes or none.
    """

    energies: int
    energy: Callable[[Coefficients], NDArray[np.uint8]]
    earliers: int
    earlier: Callable[[Coefficients, IntArray], bytes]
    program: Callable[[Sequence[ComponentShape]], BandProgram]
    fast: BandCoder | None = None


Coding = ExplicitCoding | LatentCoding | LayeredCoding | CoefficientCoding


def unfitted(tiles: Sequence[Tile], effort: int, choice: bytes = b"") -> bytes:
    """ImageModel.adapt of models that are not fitted to images: no side information."""
    return b""


@dataclass(frozen=True, eq=False)
class ImageModel:
    """What `codec/` asks of a model of images.

    digest: 32 bytes, SHA-256 of the integers that decide bits. coding: how tiles become streams. stack: makes the
    stacks of its programs, from words or none. batch: how many of the largest tiles one call should be given.
    planes: C of the tiles it was trained on. tile: width and height of the largest tile it should be given; larger:
    likewise, in images that have many of these, largest first; unit: a tile's sides are multiples of this where the
    image allows.
    choices: adaptations that an encoder may try besides none, the classes of images it knows. adapt: side information
    that fits the model to tiles at an effort, from one of `choices` or none on; this choice where more would not pay.
    levels: how many a sample has: 256, or 2 of models of bits. patience: the share of what the model takes that a slow
    code must be below, where this one is for speed.
    network: what the family loaded, for whoever wants to look inside. name, wire_id: as the registry has it.
    """

    digest: bytes
    coding: Coding
    stack: NewStack
    batch: int
    planes: int
    tile: tuple[int, int]
    larger: Sequence[tuple[int, int]] = ()
    unit: int = 1
    levels: int = 256
    patience: float = 1.0
    choices: Sequence[bytes] = ()
    adapt: Callable[[Sequence[Tile], int, bytes], bytes] = unfitted
    network: Any = None
    name: str = "weights that do not ship"
    wire_id: int = OWN
