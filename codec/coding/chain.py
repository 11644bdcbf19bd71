"""Tiles of a latent-variable model as one chain: bits-back on a stack that begins with tiles of an explicit model.

    seed, seed, .. || tile, tile tile, tile tile tile tile, ..          one stack, last pushed last

The seeds are streams like any other, one after the other, so the stack's first bits are not wasted: once the last
latent is pushed back, what is left is exactly the seeds. Tiles of one shape are coded several at a time, the more the
stack holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lgcodec.coding import bits_back, coder
from lgcodec.coding.bits_back import DryError, Latent, Meter
from lgcodec.errors import FormatError, ModelError
from lgcodec.models.entropy.program import shape_of
from lgcodec.models.interface import ImageModel, LatentCoding, Shape, Tile, Words

LINK_AREA = 1 << 19  # pixels of a link, but for one of a single tile
SHARE = 16  # a link holds at most this part of the tiles before it: its latents are popped before it is pushed


@dataclass(frozen=True)
class Chain:
    """words: the stack's content. seeds: how many words each of the first tiles takes.

    seed_bits, net_bits: ideal code length of the seeds, and of the tiles after them (about their -ELBO).
    initial_bits: how much of the seeds was popped for latents.
    """

    words: Words
    seeds: tuple[int, ...]
    seed_bits: float
    net_bits: float
    initial_bits: float


def encode(model: ImageModel, seed: ImageModel, tiles: Sequence[Tile]) -> Chain:
    """Codes tiles, int16 [C, H, W], with as few seeds as give the latents enough to be popped from."""
    shapes = [shape_of(tile) for tile in tiles]
    count = min(1, len(tiles))
    while True:
        streams = coder.encode(seed, tiles[:count])
        start = np.concatenate([np.zeros(0, np.uint32), *(stream.words for stream in streams)])
        meter = Meter(model.stack(start), 32.0 * len(start))
        try:
            for link in _links(shapes, count):
                bits_back.push(meter, _latent(model, shapes[link]), list(tiles[link]))
        except DryError:
            count = min(2 * count, len(tiles))
            continue
        seeds = tuple(len(stream.words) for stream in streams)
        begin = 32.0 * len(start)
        initial = max(0.0, begin - meter.lowest)
        return Chain(meter.words(), seeds, sum(s.ideal_bits for s in streams), meter.bits - begin, initial)


def decode(
    model: ImageModel, seed: ImageModel, shapes: Sequence[Shape], seeds: Sequence[int], words: Words
) -> list[Tile]:
    """The inverse of `encode`. Raises FormatError where the words are none that it makes."""
    return list(popped(model, seed, shapes, seeds, words))[::-1]


def popped(
    model: ImageModel, seed: ImageModel, shapes: Sequence[Shape], seeds: Sequence[int], words: Words
) -> Iterator[Tile]:
    """The tiles as they come off the stack, the last one first. Raises as `decode`, when it gets there."""
    if len(seeds) > len(shapes):
        raise FormatError("a chain begins with more tiles than there are")
    try:
        stack = model.stack(words)
        for link in reversed(list(_links(shapes, len(seeds)))):
            tiles = bits_back.pop(stack, _latent(model, shapes[link]))
            yield from reversed(tiles)
        start = stack.words()
    except ModelError as e:
        raise FormatError(str(e)) from e
    if len(start) != sum(seeds):
        raise FormatError("a chain does not end in its seeds")
    ends = np.cumsum(seeds, dtype=np.int64)
    parts = [start[end - size : end] for end, size in zip(ends, seeds, strict=True)]
    yield from reversed(coder.decode(seed, shapes[: len(seeds)], parts))


def _latent(model: ImageModel, shapes: Sequence[Shape]) -> Latent[list[Tile], Any]:
    if not isinstance(model.coding, LatentCoding):
        raise FormatError(f"a chain of model {model.name}, which codes none")
    latent: Latent[list[Tile], Any] = model.coding.program(shapes)
    return latent


def _links(shapes: Sequence[Shape], first: int) -> Iterator[slice]:
    """Which tiles are coded together, after the first ones."""
    while first < len(shapes):
        most = min(first // SHARE, LINK_AREA // (shapes[first][1] * shapes[first][2]))
        end = first + 1
        while end < min(len(shapes), first + most) and shapes[end] == shapes[first]:
            end += 1
        yield slice(first, end)
        first = end
