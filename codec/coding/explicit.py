"""Explicit programs and stacks, one stack for each stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from lgcodec.errors import FormatError
from lgcodec.models.entropy.program import shape_of
from lgcodec.models.interface import Explicit, ExplicitCoding, Intervals, NewStack, Shape, Stream, Tile, Words
from lgcodec.models.machines.numpy.stack import Stack

T = TypeVar("T")


def encode(coding: ExplicitCoding, new: NewStack, tiles: Sequence[Tile], adaptation: bytes) -> list[Stream]:
    """Codes each tile into a stream, by the machine's own coder of tiles or by programs and stacks that `new` makes."""
    if coding.fast is not None:
        return coding.fast.encode(tiles, adaptation)

    def push(shapes: list[Shape], batch: list[Tile]) -> list[Stream]:
        return push_program(coding.program(shapes, adaptation), batch, new)

    return _by_shape(push, [shape_of(tile) for tile in tiles], tiles)


def decode(
    coding: ExplicitCoding, new: NewStack, shapes: Sequence[Shape], words: Sequence[Words], adaptation: bytes
) -> list[Tile]:
    """The inverse of `encode`. Raises FormatError or ModelError where a stream is none that it makes."""
    if coding.fast is not None:
        return coding.fast.decode(shapes, words, adaptation)

    def pop(same: list[Shape], batch: list[Words]) -> list[Tile]:
        return pop_program(coding.program(same, adaptation), batch, new)

    return _by_shape(pop, list(shapes), words)


def _by_shape(
    function: Callable[[list[Shape], list[Any]], list[Any]], shapes: list[Shape], items: Sequence[Any]
) -> list[Any]:
    """Calls `function` once for each shape, as a program runs tiles of one shape; results in the items' order."""
    results: dict[int, Any] = {}
    for shape in dict.fromkeys(shapes):
        places = [i for i, other in enumerate(shapes) if other == shape]
        answers = function([shape] * len(places), [items[i] for i in places])
        results.update(zip(places, answers, strict=True))
    return [results[i] for i in range(len(shapes))]


def push_program(program: Explicit[T], value: T, new: NewStack = Stack) -> list[Stream]:
    """Codes `value` under an explicit model, one stream for each entry of its distributions' `counts`."""
    stacks: list[Any] = []
    parts: list[list[Intervals]] = []
    for distribution, symbols in program.symbols(value):
        ends = np.cumsum(distribution.counts)
        stacks = stacks or [new() for _ in ends]
        parts = parts or [[] for _ in ends]
        for intervals in stacks[0].intervals(distribution, symbols):
            for part, end, count in zip(parts, ends, distribution.counts, strict=True):
                rows = slice(end - count, end)
                part.append(Intervals(intervals.start[rows], intervals.frequency[rows], np.array([count])))
    for stack, part in zip(stacks, parts, strict=True):
        for intervals in reversed(part):
            stack.push(intervals)
    ideal = (sum(intervals.ideal_bits() for intervals in part) for part in parts)
    return [Stream(stack.words(), bits) for stack, bits in zip(stacks, ideal, strict=True)]


def pop_program(program: Explicit[T], words: Sequence[Words], new: NewStack = Stack) -> T:
    """Decodes the value of an explicit model. Raises FormatError where a stream holds more or less than the value."""
    stacks = [new(w) for w in words]
    steps = program.steps()
    try:
        step = next(steps)
        while True:
            ends = np.cumsum(step.counts)
            rows = zip(stacks, map(slice, ends - step.counts, ends), strict=True)
            step = steps.send(np.concatenate([stack.pop(step.part(part)) for stack, part in rows]))
    except StopIteration as stop:
        value: T = stop.value
    if not all(stack.is_empty() for stack in stacks):
        raise FormatError("a stream holds more than its tile")
    return value
