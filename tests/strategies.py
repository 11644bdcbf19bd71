"""What tests draw from: arrays of every kind and small size, flat to noise; and a model that needs no weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from hypothesis import strategies as st
from numpy.typing import NDArray

from lgcodec.colour import STANDARD, inverse
from lgcodec.errors import FormatError, ModelError
from lgcodec.models import registry
from lgcodec.models.entropy.mixture import Mixture, Tables
from lgcodec.models.interface import (
    TOTAL,
    Coding,
    Coefficients,
    ComponentShape,
    Distribution,
    Explicit,
    ExplicitCoding,
    ImageModel,
    IntArray,
    LatentCoding,
    LayeredCoding,
    Stream,
    Table,
)
from lgcodec.models.machines.choose import MACHINES, choose, missing
from lgcodec.models.machines.numpy.stack import Stack as AnsStack
from lgcodec.models.weights import Weights


def band_for() -> tuple[list[ComponentShape], list[Coefficients]]:
    """The components of a small JPEG file with halved chroma, as a model of coefficients gets them."""
    random = np.random.default_rng(5)
    shapes, band = [], []
    for rows, columns, factor in ((6, 8, 2), (3, 4, 1), (3, 4, 1)):
        sizes = 60 / (1 + np.add.outer(np.arange(8), np.arange(8)).reshape(64)) ** 2
        values = np.rint(random.laplace(0, sizes, (rows, columns, 64))).astype(np.int16)
        steps = 2 + np.arange(64, dtype=np.int64) // 3
        energy = registry.load("jpeg", machine="numpy", threads=1).coding.energy(values)  # type: ignore[union-attr]
        shapes.append(ComponentShape(rows, columns, factor, factor, steps, energy))
        band.append(values)
    return shapes, band


TABLES = Tables.make()
Step = tuple[Distribution, NDArray[np.int64]]


def mixture(random: np.random.Generator, n: int) -> Step:
    """Components from needles to plains, in and far outside the alphabet; values likely and not."""
    K, size = int(random.integers(1, 5)), 16 * int(random.integers(3, 300))
    origin = -int(random.integers(0, size))
    logit, log_scale = random.integers(-200, 200, (K, n)), random.integers(0, 161, (K, n))
    mean = random.integers(64 * (origin - 300), 64 * (origin + size + 300), (K, n))
    if random.random() < 0.1:
        mean *= 1 << 20
    near = np.clip(np.rint(mean[0] / 64), origin, origin + size - 1)
    values = np.where(random.random(n) < 0.5, near, random.integers(origin, origin + size, n)).astype(np.int64)
    return Mixture.of(TABLES, logit, mean, log_scale, size, origin), values


def table(random: np.random.Generator, n: int) -> Step:
    A = int(random.integers(3, 40))
    share = random.random((n, A)) ** 8 + 1e-9
    frequency = 1 + np.floor(share / share.sum(axis=1, keepdims=True) * (TOTAL - A)).astype(np.int64)
    cdf = np.pad(np.cumsum(frequency, axis=1), ((0, 0), (1, 0))).astype(np.uint32)
    cdf[:, -1] = TOTAL
    return Table(cdf, np.array([n])), random.integers(0, A, n)


def steps(seed: int, sizes: Sequence[int]) -> list[Step]:
    """Distributions of both kinds, of so many symbols each, and symbols for them."""
    random = np.random.default_rng(seed)
    return [(mixture if random.random() < 0.6 else table)(random, n) for n in sizes]


Cli = Callable[..., Result]
CPU = [name for name, row in MACHINES.items() if row.device == "cpu" and missing(name) is None]
each_machine = pytest.mark.parametrize("machine", [
    pytest.param(name, marks=[
        *[pytest.mark.gpu][: row.device == "cuda"],
        pytest.mark.skipif(missing(name) is not None, reason=str(missing(name))),
    ])
    for name, row in MACHINES.items()
])  # fmt: skip
TAILS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("bool", ()),
    ("uint8", ()),
    ("uint8", (1,)),
    ("uint8", (2,)),
    ("uint8", (3,)),
    ("uint8", (4,)),
    ("uint16", ()),
    ("uint16", (2,)),
    ("uint16", (3,)),
    ("uint16", (4,)),
)
sizes = st.one_of(
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.tuples(st.just(1), st.integers(1, 70)),
    st.tuples(st.integers(1, 70), st.just(1)),
)


@st.composite
def arrays(draw: st.DrawFn, tails: tuple[tuple[str, tuple[int, ...]], ...] = TAILS) -> NDArray[Any]:
    """An array [H, W, ...] of one of the kinds that are kept: flat, smooth, of few values, grey, or noise."""
    dtype, tail = draw(st.sampled_from(tails))
    shape = (*draw(sizes), *tail)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    top = {"bool": 1, "uint8": 255, "uint16": 65535}[dtype]
    kind = draw(st.sampled_from(["flat", "smooth", "few", "grey", "noise"]))
    if kind == "flat":
        values = np.full(shape, random.integers(0, top + 1))
    elif kind == "smooth":
        ramp = np.add.outer(np.arange(shape[0]) * random.integers(0, 9), np.arange(shape[1]) * random.integers(0, 9))
        values = np.broadcast_to(ramp.reshape(*ramp.shape, *[1] * len(tail)), shape) + random.integers(0, 3, shape)
    elif kind == "few":
        values = random.integers(0, top + 1, 3)[random.integers(0, 3, shape)]
    elif kind == "grey":
        values = np.broadcast_to(random.integers(0, top + 1, (*shape[:2], *[1] * len(tail))), shape)
    else:
        values = random.integers(0, top + 1, shape)
    return (values % (top + 1)).astype(dtype)


@st.composite
def tiles(draw: st.DrawFn) -> NDArray[np.uint8]:
    """A plain tile, uint8 [H, W, 1 to 4, 6 or 8], its values sometimes below 2, 4 or 16."""
    array: NDArray[np.uint8] = draw(arrays(tuple(("uint8", (c,)) for c in (1, 2, 3, 4, 6, 8))))
    return array % np.uint8(draw(st.sampled_from([2, 4, 16, 255])))


Shape = tuple[int, int, int]
CYCLE = np.random.default_rng(0).permutation(128)
PLACE = np.argsort(CYCLE)
STEP = np.random.default_rng(1).integers(0, 128, 8)


def following(above: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[np.integer]:
    """What the model expects under a sample: a bijection of 64..191 for each column modulo 8."""
    return 64 + CYCLE[(PLACE[(above.astype(int) - 64) % 128] + STEP[columns % 8]) % 128]


def texture(height: int, width: int, channels: int | None = None, shift: int = 0) -> NDArray[np.uint8]:
    """An image [H, W] or [H, W, channels] that the model codes in a few bits, with an adaptation to `shift`; its alpha
    is 200.
    """
    rows = [np.random.default_rng(5).integers(64, 192, width)]
    for _ in range(height - 1):
        rows.append(following(rows[-1], np.arange(width)) + shift)
    luma = np.array(rows, np.int16)
    if channels is None:
        return luma.astype(np.uint8)
    planes = np.stack([luma, np.ones_like(luma), np.zeros_like(luma)])
    alpha = np.full((height, width, channels - 3), 200, np.uint8)
    return np.concatenate([inverse(planes, STANDARD), alpha], axis=2)


def bank(low: int, high: int) -> NDArray[np.uint32]:
    """A table around each of low..high, in integers: uint32 [A, A + 1]."""
    symbols = np.arange(low, high + 1)
    weights = 1 + (1 << 12) // (1 + 8 * np.subtract.outer(symbols, symbols) ** 4)
    frequency = 1 + weights * (TOTAL - len(symbols)) // weights.sum(axis=1, keepdims=True)
    frequency[:, 0] += TOTAL - frequency.sum(axis=1)
    return np.pad(np.cumsum(frequency, axis=1), ((0, 0), (1, 0))).astype(np.uint32)


LUMA, CHROMA = bank(0, 255), bank(-255, 255)


@dataclass
class Rows:
    """The program: one table for each row of each plane, over all tiles, chosen by the sample above."""

    shapes: Sequence[Shape]
    shift: int

    def _parts(self) -> list[tuple[int, int]]:
        return [(c, y) for c in range(self.shapes[0][0]) for y in range(max(shape[1] for shape in self.shapes))]

    def _table(self, tiles: Sequence[NDArray[np.int16]], plane: int, y: int) -> Table:
        counts = [tile.shape[2] if y < tile.shape[1] else 0 for tile in tiles]
        current = [tile for tile, n in zip(tiles, counts, strict=True) if n]
        above = [tile[plane, y - 1] if y else np.zeros(tile.shape[2], np.int16) for tile in current]
        index = np.concatenate(above).astype(int)
        columns = np.concatenate([np.arange(tile.shape[2]) for tile in current])
        rows = CHROMA[index + 255] if plane else LUMA[(following(index, columns) + self.shift) % 256]
        return Table(rows, np.array(counts))

    def symbols(self, value: list[NDArray[np.int16]]) -> list[tuple[Table, IntArray]]:
        steps = []
        for plane, y in self._parts():
            rows = np.concatenate([tile[plane, y] for tile in value if y < tile.shape[1]]).astype(int)
            steps.append((self._table(value, plane, y), rows + (255 if plane else 0)))
        return steps

    def steps(self) -> Generator[Table, IntArray, list[NDArray[np.int16]]]:
        value = [np.zeros(shape, np.int16) for shape in self.shapes]
        for plane, y in self._parts():
            row = yield self._table(value, plane, y)
            ends = np.cumsum([tile.shape[2] if y < tile.shape[1] else 0 for tile in value])
            for tile, part in zip(value, np.split(row, ends[:-1]), strict=True):
                if y < tile.shape[1]:
                    tile[plane, y] = part - (255 if plane else 0)
        return value


def shifted(tiles: Sequence[NDArray[np.int16]], effort: int, choice: bytes = b"") -> bytes:
    """The adaptation that fits a texture of shift 1."""
    return b"\x01"


class FakeModel(ImageModel):
    """A model that needs no weights. calls: how many tiles each of its programs had."""

    def __init__(self, name: str = "fake", wire_id: int = 250, coding: Coding | None = None, **fields: Any) -> None:
        self.calls: list[int]
        object.__setattr__(self, "calls", [])
        super().__init__(
            digest=hashlib.sha256(name.encode()).digest(),
            coding=coding or ExplicitCoding(self._program),
            stack=AnsStack,
            planes=3,
            name=name,
            wire_id=wire_id,
            **{"batch": 3, "tile": (1024, 256), "adapt": shifted, **fields},
        )

    def _program(self, shapes: Sequence[Shape], adaptation: bytes) -> Explicit[list[NDArray[np.int16]]]:
        if len(adaptation) > 1:
            raise FormatError(f"adaptation takes at most 1 byte, not {len(adaptation)}")
        self.calls.append(len(shapes))
        return Rows(shapes, sum(adaptation))


class Layers(LayeredCoding):
    """Streams whose base is the mean of each 4 x 4 block of each plane, as bytes in words."""

    def encode(self, tiles: Sequence[NDArray[np.int16]]) -> list[Stream]:
        return [Stream(self._words(tile), 32.0 * len(self._words(tile)), self._base(tile)) for tile in tiles]

    def decode(
        self, shapes: Sequence[Shape], words: Sequence[NDArray[np.uint32]], bases: Sequence[NDArray[np.uint32]]
    ) -> list[NDArray[np.int16]]:
        tiles = []
        for shape, stream, base in zip(shapes, words, bases, strict=True):
            if len(stream) != -(-2 * np.prod(shape) // 4) or len(base) != self._blocks(shape):
                raise ModelError("a stream of another size than its tile")
            tiles.append(stream.view(np.int16)[: np.prod(shape)].reshape(shape))
            if not np.array_equal(self._base(tiles[-1]), base):
                raise ModelError("a base of another tile")
        return tiles

    def preview(self, shapes: Sequence[Shape], bases: Sequence[NDArray[np.uint32]]) -> list[NDArray[np.int16]]:
        pictures = []
        for (C, H, W), base in zip(shapes, bases, strict=True):
            if len(base) != self._blocks((C, H, W)):
                raise ModelError("a base of another size than its tile")
            blocks = base.view(np.int32).reshape(C, -(-H // 4), -(-W // 4))
            pictures.append(blocks.repeat(4, axis=1).repeat(4, axis=2)[:, :H, :W].clip(-300, 300).astype(np.int16))
        return pictures

    def draw(self, shape: Shape, pop: Callable[[Any], Any]) -> NDArray[np.int16]:
        tile: NDArray[np.int16] = pop(Rows([shape], 0))[0]
        return tile

    @staticmethod
    def _blocks(shape: Shape) -> int:
        return shape[0] * -(-shape[1] // 4) * -(-shape[2] // 4)

    @staticmethod
    def _words(tile: NDArray[np.int16]) -> NDArray[np.uint32]:
        flat = tile.reshape(-1)
        return np.append(flat, np.zeros(len(flat) % 2, np.int16)).view(np.uint32)

    @staticmethod
    def _base(tile: NDArray[np.int16]) -> NDArray[np.uint32]:
        C, H, W = tile.shape
        wide = np.pad(tile, ((0, 0), (0, -H % 4), (0, -W % 4)), mode="edge")
        mean = wide.reshape(C, -(-H // 4), 4, -(-W // 4), 4).mean(axis=(2, 4))
        return np.rint(mean).astype(np.int32).view(np.uint32).reshape(-1)


def FakeLayered(**fields: Any) -> FakeModel:  # noqa: N802
    """A model whose streams have a base."""
    return FakeModel(coding=Layers(), **fields)


@dataclass(frozen=True)
class Known:
    """A program of one table: n symbols, int [n]."""

    table: Table

    def symbols(self, value: IntArray) -> list[tuple[Table, IntArray]]:
        return [(self.table, value)]

    def steps(self) -> Generator[Table, IntArray, IntArray]:
        return (yield self.table)


@dataclass(frozen=True)
class Offsets:
    """bits_back.Latent of tiles: for each tile an offset 0..255, uniform beforehand and near its mean afterwards."""

    shapes: Sequence[Shape]

    def prior(self) -> Known:
        edges = np.linspace(0, TOTAL, 257).astype(np.uint32)
        return Known(Table(np.tile(edges, (len(self.shapes), 1)), np.array([len(self.shapes)])))

    def posterior(self, value: list[NDArray[np.int16]]) -> Known:
        means = [int(tile[0].mean()) for tile in value]
        return Known(Table(LUMA[means], np.array([len(means)])))

    def likelihood(self, latent: IntArray) -> OneStream:
        return OneStream(Rows(self.shapes, int(latent.sum()) % 2))


@dataclass(frozen=True)
class OneStream:
    """All streams of a program as one, for a stack that many programs share."""

    program: Rows

    def symbols(self, value: list[NDArray[np.int16]]) -> list[tuple[Table, IntArray]]:
        return [(Table(t.cdf, np.array([len(t.cdf)])), symbols) for t, symbols in self.program.symbols(value)]

    def steps(self) -> Generator[Table, IntArray, list[NDArray[np.int16]]]:
        return (yield from self.program.steps())


def FakeLatent(**fields: Any) -> FakeModel:  # noqa: N802
    """A model whose tiles are coded by bits-back."""
    return FakeModel("latent", 252, LatentCoding(Offsets), **fields)


def on_machine(weights: Weights, machine: str = "numpy", threads: int = 1) -> ImageModel:
    """The model that weights are, on a machine."""
    return registry.build(weights, choose(machine=machine, threads=threads), name="test")
