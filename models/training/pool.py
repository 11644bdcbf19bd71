"""Training photographs as a stream: a folder of any size, in bounded memory.

Of a photograph only the place and size are known until a region of it is wanted. A thread of its own reads, cuts,
augments and prepares regions ahead of the training step that asks for them; a `Pool` holds the last few hundred, and
crops are cut from these.

    files --choose by area--> read --region--> make (augment, features) --queue--> pool of regions --crops--> batches
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np

from lgcodec.models.training.images import Photograph, Pixels

T = TypeVar("T")
REGIONS = 192  # in a pool; of 384x384 pixels, with the features of the causal family (36 bytes a pixel), 1 GB
FIRST = 48  # of them that a run waits for; each step adds one until the pool is full
AHEAD = 4  # regions that are ready before they are asked for


def ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """The same items, up to `count` of them made beforehand by a thread of their own."""
    ready: queue.Queue[tuple[T | None, BaseException | None] | None] = queue.Queue(count)
    stopped = threading.Event()

    def put(item: tuple[T | None, BaseException | None] | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=1)
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put((item, None))
                if stopped.is_set():
                    return
            put(None)
        except BaseException as e:  # noqa: BLE001 - raised again where items are asked for
            put((None, e))

    threading.Thread(target=make, daemon=True).start()
    try:
        while (got := ready.get()) is not None:
            item, error = got
            if error:
                raise error
            yield item  # type: ignore[misc]
    finally:
        stopped.set()


def _regions(
    photographs: Sequence[Photograph], rng: np.random.Generator, make: Callable[[Pixels, np.random.Generator], T]
) -> Iterator[tuple[T, int]]:
    """Of photographs chosen by their area, with the photograph's kind. What needs no pool is not kept alive by it."""
    area = np.array([photograph.height * photograph.width for photograph in photographs], float)
    area /= area.sum()
    while True:
        photograph = photographs[rng.choice(len(photographs), p=area)]
        yield make(photograph.read(), rng), photograph.kind


class Pool(Generic[T]):
    """The regions that crops are cut from. make: photograph and random numbers to a region as a family wants it.

    Every pixel is as likely as any other: photographs are chosen by area, and regions of the pool evenly.
    """

    def __init__(
        self, photographs: Sequence[Photograph], rng: np.random.Generator,
        make: Callable[[Pixels, np.random.Generator], T], size: int = REGIONS,
    ) -> None:  # fmt: skip
        self.rng, self.size, self.oldest = rng, size, 0
        self.fresh = ahead(_regions(photographs, np.random.default_rng(rng.integers(1 << 62)), make), AHEAD)
        self.regions = [next(self.fresh) for _ in range(min(FIRST, size))]

    def renew(self) -> None:
        """Adds a region; a full pool loses its oldest."""
        if len(self.regions) < self.size:
            self.regions.append(next(self.fresh))
        else:
            self.regions[self.oldest] = next(self.fresh)
            self.oldest = (self.oldest + 1) % self.size

    def step(self, number: int) -> None:
        """Before a family's batch of this number: one region in every other step, so that each is used for about as
        many pixels as it has, and in each step until the pool is full.
        """
        if number % 2 or len(self.regions) < self.size:
            self.renew()

    def draw(self) -> tuple[T, int]:
        return self.regions[self.rng.integers(len(self.regions))]
