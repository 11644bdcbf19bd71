"""The VQ-VAE family as a program: what it codes, in which order, in numpy."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy import program
from lgcodec.models.entropy.program import pop_stream, push_value
from lgcodec.models.families.causal.network import Shape, Side, Tile
from lgcodec.models.families.causal.program import Program
from lgcodec.models.families.vqvae.network import PAD, PHASES, Codes, Network, phases
from lgcodec.models.interface import Distribution, IntArray, LayeredCoding, Stack, Stream, Table
from lgcodec.models.layers.integer import Executor
from lgcodec.models.parallel import each

Array = NDArray[np.float32]


class BaseProgram:
    """The codes of a tile [C, H, W], in one stream (interface.Explicit)."""

    def __init__(self, network: Network, shape: Shape) -> None:
        self.network = network
        self.grid = network.config.grid(*shape[1:])

    def symbols(self, value: Codes) -> Iterator[tuple[Distribution, IntArray]]:
        return program.symbols(self._run(value))

    def steps(self) -> Generator[Distribution, IntArray, Codes]:
        return program.steps(self._run(None))

    def _run(self, truth: Codes | None) -> Generator[tuple[Table, IntArray], IntArray, Codes]:
        n, h, w = self.grid
        top = yield from self._level("top", truth and truth.top, None, (n, h, w))
        t = self.network.run.numpy(self.network.condition(top))
        return Codes(top, (yield from self._level("bottom", truth and truth.bottom, t, (n, 2 * h, 2 * w))))

    def _level(
        self, level: str, truth: NDArray[np.int64] | None, t: Array | None, grid: tuple[int, int, int]
    ) -> Generator[tuple[Table, IntArray], IntArray, NDArray[np.int64]]:
        vectors = self.network.vectors[level]
        codes = np.zeros(grid, np.int64)
        known = np.zeros((grid[0], grid[1] + 2 * PAD, grid[2] + 2 * PAD, vectors.shape[1]), np.float32)
        for phase, reach, y, x in phases(level):
            rows, cols = np.arange(y, grid[1], 2 * reach)[:, None], np.arange(x, grid[2], 2 * reach)
            if rows.size * cols.size == 0:
                continue
            places = PHASES[phase - 1][1] if phase else ()
            parts = [known[:, PAD + rows + dy * reach, PAD + cols + dx * reach] for dy, dx in places]
            parts += [] if t is None else [t[:, rows, cols]]
            cdf = self.network.cdf(level, phase, parts, (grid[0], rows.size, cols.size))
            true = np.zeros(0, np.int64) if truth is None else truth[:, rows, cols].reshape(-1)
            symbols = yield Table(cdf, np.array([len(cdf)])), true
            chosen = np.asarray(symbols, np.int64).reshape(grid[0], rows.size, cols.size)
            codes[:, rows, cols] = chosen
            known[:, PAD + rows, PAD + cols] = vectors[chosen]
        return codes


class Layers(LayeredCoding):
    """The codes of a tile are its base, its pixels given these are its words.

    new: makes a stack. pixels: codes whole tiles given sides, or None; executor: of their programs.
    """

    def __init__(
        self, network: Network, new: Callable[..., Stack], pixels: Any, executor: Executor, threads: int
    ) -> None:
        self.network, self.new, self.pixels, self.executor, self.threads = network, new, pixels, executor, threads

    def encode(self, tiles: Sequence[Tile]) -> list[Stream]:
        def base(tile: Tile) -> tuple[float, NDArray[np.uint32], Side]:
            shape, codes, stack = _shape(tile), self.network.quantise(tile), self.new()
            bits = push_value(stack, BaseProgram(self.network, shape), codes)
            return bits, stack.words(), self.network.side(codes, shape)

        def one(tile: Tile, side: Side) -> Stream:
            stack = self.new()
            bits = push_value(stack, self._program(_shape(tile), side), [tile])
            return Stream(stack.words(), bits)

        bases = each(self.threads, base, tiles)
        sides = [side for _, _, side in bases]
        pixels = self.pixels.encode(tiles, b"", sides) if self.pixels else each(self.threads, one, tiles, sides)
        return [
            replace(stream, ideal_bits=stream.ideal_bits + bits, base=words)
            for stream, (bits, words, _) in zip(pixels, bases, strict=True)
        ]

    def decode(
        self, shapes: Sequence[Shape], words: Sequence[NDArray[np.uint32]], bases: Sequence[NDArray[np.uint32]]
    ) -> list[Tile]:
        """Raises ModelError where a stream is not exactly one tile."""

        def one(shape: Shape, stream: NDArray[np.uint32], side: Side) -> Tile:
            return pop_stream(self.new(stream), self._program(shape, side))[0]

        sides = each(self.threads, self._side, shapes, bases)
        if self.pixels:
            tiles: list[Tile] = self.pixels.decode(shapes, words, b"", sides)
            return tiles
        return each(self.threads, one, shapes, words, sides)

    def preview(self, shapes: Sequence[Shape], bases: Sequence[NDArray[np.uint32]]) -> list[Tile]:
        """What the bases show. Raises ModelError as `decode`."""

        def one(shape: Shape, base: NDArray[np.uint32]) -> Tile:
            picture = self._side(shape, base).picture[..., : shape[0]]
            return np.ascontiguousarray(((picture + 4) >> 3).transpose(2, 0, 1))

        return each(self.threads, one, shapes, bases)

    def draw(self, shape: Shape, pop: Callable[[Any], Any]) -> Tile:
        side = self.network.side(pop(BaseProgram(self.network, shape)), shape)
        tile: Tile = pop(self._program(shape, side))[0]
        return tile

    def _side(self, shape: Shape, base: NDArray[np.uint32]) -> Side:
        return self.network.side(pop_stream(self.new(base), BaseProgram(self.network, shape)), shape)

    def _program(self, shape: Shape, side: Side) -> Program:
        return Program(self.network.pixels, self.executor, [shape], [side])


def _shape(tile: Tile) -> Shape:
    C, H, W = tile.shape
    return C, H, W
