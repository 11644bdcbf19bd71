"""Programs with one loop for both directions: it yields each distribution with its true symbols where it knows them,
and is sent the symbols. So encoder and decoder see equal distributions by construction.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TypeVar

from lgcodec.models import interface
from lgcodec.models.errors import ModelError
from lgcodec.models.interface import Distribution, Explicit, ExplicitCoding, IntArray, Shape, Tile

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


def push_value(stack: interface.Stack, program: Explicit[T], value: T) -> float:
    """Codes `value` on top of the stack; returns its ideal bits."""
    parts = [part for known in program.symbols(value) for part in stack.intervals(*known)]
    for part in reversed(parts):
        stack.push(part)
    return sum(part.ideal_bits() for part in parts)


def pop_value(stack: interface.Stack, program: Explicit[T]) -> T:
    """The inverse of `push_value`; any stack gives some value."""
    return popped(stack, program.steps())


def popped(stack: interface.Stack, steps: Generator[Distribution, IntArray, T]) -> T:
    """What a program's steps return, of symbols popped."""
    try:
        distribution = next(steps)
        while True:
            distribution = steps.send(stack.pop(distribution))
    except StopIteration as stop:
        value: T = stop.value
        return value


def pop_stream(stack: interface.Stack, program: Explicit[T]) -> T:
    """As `pop_value` of a stack that holds nothing else. Raises ModelError where it does."""
    value = pop_value(stack, program)
    if not stack.is_empty():
        raise ModelError("a stream holds more than its tile")
    return value


def ideal_bits(coding: ExplicitCoding, tiles: Sequence[Tile], adaptation: bytes) -> float:
    """What tiles (int16 [C, H, W]) take under an adaptation, in bits, by the integer tables."""
    if coding.fast is not None:
        return sum(stream.ideal_bits for stream in coding.fast.encode(tiles, adaptation))
    programs = ((coding.program([shape_of(tile)], adaptation), [tile]) for tile in tiles)
    known = (part for program, value in programs for part in program.symbols(value))
    return sum(part.ideal_bits() for distribution, values in known for part in distribution.intervals(values))


def shape_of(tile: Tile) -> Shape:
    """C, H, W."""
    C, H, W = tile.shape
    return C, H, W
