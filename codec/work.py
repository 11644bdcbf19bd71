"""Work for models, and the loop that runs it.

Compressing and decompressing are generators that yield a `Request` for model work and are sent its results, so that
one loop (`run`) serves a single image, tile batch by tile batch, and many small images whose tiles share the batches.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from lgcodec.errors import FormatError
from lgcodec.models.interface import ImageModel, Shape, Tile, Words

_WINDOW_AREA = 1 << 24  # pixels of a batch of images that are in work together
_WINDOW_IMAGES = 1024

S = TypeVar("S")
T = TypeVar("T")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Coded:
    """A model stream. shape: C, H, W of its tile."""

    shape: Shape
    data: bytes
    base: bytes | None


@dataclass(frozen=True)
class Encode:
    """A request: tiles of one C; answered by a Stream for each."""

    model: ImageModel
    adaptation: bytes
    items: list[Tile]

    def planes(self) -> int:
        return int(self.items[0].shape[0])

    def answer(self, items: Sequence[Tile]) -> list[Any]:
        from lgcodec.coding import coder

        return coder.encode(self.model, items, self.adaptation)


@dataclass(frozen=True)
class Decode:
    """A request: streams of one C; answered by a tile for each."""

    model: ImageModel
    adaptation: bytes
    items: list[Coded]

    def planes(self) -> int:
        return self.items[0].shape[0]

    def answer(self, items: Sequence[Coded]) -> list[Any]:
        from lgcodec.coding import coder

        words = [words_of(item.data) for item in items]
        bases = [None if item.base is None else words_of(item.base) for item in items]
        return coder.decode(self.model, [item.shape for item in items], words, self.adaptation, bases)


@dataclass(frozen=True)
class EncodeChain:
    """A request: all tiles that a latent model codes of an image; answered by their Chain."""

    model: ImageModel
    seed: ImageModel
    tiles: list[Tile]

    @staticmethod
    def answer(requests: Sequence[EncodeChain]) -> list[Any]:
        """One chain of all tiles, which the first one gets."""
        from lgcodec.coding import chain

        first, tiles = requests[0], [tile for request in requests for tile in request.tiles]
        rest = chain.Chain(np.zeros(0, np.uint32), (), 0.0, 0.0, 0.0)
        return [chain.encode(first.model, first.seed, tiles)] + [rest] * (len(requests) - 1)


@dataclass(frozen=True)
class DecodeChain:
    """A request: the shapes of the tiles that a latent model codes of an image, and their chain; answered by these."""

    model: ImageModel
    seed: ImageModel
    shapes: list[Shape]
    seeds: tuple[int, ...]
    words: Words

    @staticmethod
    def answer(requests: Sequence[DecodeChain]) -> list[Any]:
        """The tiles of all, from the chain of the first one."""
        from lgcodec.coding import chain

        first, *others = requests
        if not first.seeds or any(request.seeds for request in others):
            raise FormatError("the file goes on in the chain of another file, which comes before it in their set")
        shapes = [shape for request in requests for shape in request.shapes]
        tiles = iter(chain.decode(first.model, first.seed, shapes, first.seeds, first.words))
        return [[next(tiles) for _ in request.shapes] for request in requests]


Request = Encode | Decode | EncodeChain | DecodeChain


class Meter:
    """Turns work done in several passes over an image into its pixels, for a progress callback."""

    def __init__(self, progress: Progress | None, pixels: int, passes: int) -> None:
        self.progress = progress
        self.pixels = pixels
        self.passes = passes
        self.done = 0.0

    def add(self, pixels: float) -> None:
        self.done += pixels
        if self.progress is not None:
            self.progress(min(self.pixels, round(self.done / self.passes)), self.pixels)


def run(work: Sequence[Generator[Request, Any, T]], *, chain: bool = False) -> list[T]:
    """Runs generators side by side; requests that one model call can answer share its batches.

    chain: the chains of all are one, which begins in the first work that has one.
    """
    results: dict[int, T] = {}
    answers: dict[int, Any] = dict.fromkeys(range(len(work)))
    waiting: dict[int, Request] = {}  # for a chain, until all others wait as well or are done
    while answers or waiting:
        requests: dict[int, Request] = {}
        for place, answer in answers.items():
            try:
                request = next(work[place]) if answer is None else work[place].send(answer)
            except StopIteration as stop:
                results[place] = stop.value
                continue
            is_chain = isinstance(request, (EncodeChain, DecodeChain))
            (waiting if chain and is_chain else requests)[place] = request
        if not requests:
            requests, waiting = dict(sorted(waiting.items())), {}
        answers = dict(_answers(requests, chain))
    return [results[place] for place in range(len(work))]


def _answers(requests: dict[int, Request], chain: bool) -> Iterator[tuple[int, Any]]:
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, request in requests.items():
        key: tuple[object, ...] = (type(request), id(request.model))
        if isinstance(request, (Encode, Decode)):
            key += (request.adaptation, request.planes())
        elif not chain:
            key += (place,)
        groups.setdefault(key, []).append(place)
    for places in groups.values():
        first: Any = requests[places[0]]
        same: list[Any] = [requests[place] for place in places]
        if isinstance(first, (EncodeChain, DecodeChain)):
            yield from zip(places, first.answer(same), strict=True)
            continue
        items = [item for request in same for item in request.items]
        size = _at_once(first.model, items)
        results = iter([result for batch in batches(items, size) for result in first.answer(batch)])
        for place, request in zip(places, same, strict=True):
            yield place, [next(results) for _ in request.items]


def _at_once(model: ImageModel, items: Sequence[Any]) -> int:
    """How many items, tiles or their streams, one call is given: of small ones as many as `batch` large ones have
    rows."""
    rows, columns = (max(int(item.shape[axis]) for item in items) for axis in (1, 2))
    width, height = model.tile
    area = max(columns, width) * -(-rows // model.unit) * model.unit
    return model.batch * max(1, width * height // area)


def run_in_windows(
    inputs: Iterable[S], area: Callable[[S], int], work: Callable[[S], Generator[Request, Any, T]]
) -> list[T]:
    """Runs `work` over all inputs, so many at a time that their pixels stay within a bound."""
    results: list[T] = []
    window: list[S] = []
    pixels = 0
    for item in inputs:
        window.append(item)
        pixels += area(item)
        if pixels >= _WINDOW_AREA or len(window) >= _WINDOW_IMAGES:
            results += run([work(x) for x in window])
            window, pixels = [], 0
    return results + run([work(x) for x in window])


def batches(items: Sequence[S], size: int) -> Iterator[Sequence[S]]:
    """The items, up to `size` at a time."""
    return (items[start : start + size] for start in range(0, len(items), max(1, size)))


def bytes_of_words(words: Words) -> bytes:
    """The words of a stack as a file has them: little-endian."""
    return words.astype("<u4").tobytes()


def words_of(data: bytes) -> Words:
    """The inverse of `bytes_of_words`."""
    return np.frombuffer(data, "<u4").astype(np.uint32)
