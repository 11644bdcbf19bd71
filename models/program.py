"""Programs with one loop for both directions: it yields each distribution with its true symbols where it knows them,
and is sent the symbols. So encoder and decoder see equal distributions by construction.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TypeVar

from lgcodec.models.interface import Distribution, IntArray

T = TypeVar("T")
Loop = Generator[tuple[Distribution, IntArray], IntArray, T]


def symbols(loop: Loop[T]) -> Iterator[tuple[Distribution, IntArray]]:
    """Explicit.symbols of a loop that knows its symbols."""
    known = None
    while True:
        try:
            distribution, known = loop.send(known)  # type: ignore[arg-type]
        except StopIteration:
            return
        yield distribution, known


def steps(loop: Loop[T]) -> Generator[Distribution, IntArray, T]:
    """Explicit.steps of a loop that does not."""
    sent = None
    while True:
        try:
            distribution, _ = loop.send(sent)  # type: ignore[arg-type]
        except StopIteration as stop:
            value: T = stop.value
            return value
        sent = yield distribution
