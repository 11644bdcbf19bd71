"""The entropy coder: one ANS stack, and the two loops that join a model's program to it.

The stack is range ANS with 24-bit precision, 32-bit words and a 64-bit state, run by constriction. A table reaches it
as integers, so that the words below are fixed by FORMAT.md and not by a library:

    0            start      start + frequency                2**24
    |------------|xxxxxxxxxxxx|---------------------------------|      push: state -> start + a point inside x,
                                                                       pop:  the quantile tells which symbol x is
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import constriction
import numpy as np
from numpy.typing import NDArray

from lgcodec.errors import FormatError, ModelError
from lgcodec.models import interface
from lgcodec.models.interface import TOTAL, Distribution, Explicit, ImageModel, IntArray, Intervals, Stream

T = TypeVar("T")
Words = NDArray[np.uint32]
Shape = tuple[int, int, int]
NewStack = Callable[..., interface.Stack]

# constriction adds one unit to each probability it is given, so `frequency - 1` (as float, exact below 2**53) makes its
# integer table equal to ours; without perfect=False it would optimise the table away from these integers.
_categorical = constriction.stream.model.Categorical(perfect=False)


def _weights(frequency: IntArray) -> NDArray[np.float64]:
    # C order matters: constriction 0.5 reads the rows of a Fortran-ordered array wrongly, without a word.
    return np.ascontiguousarray(np.subtract(frequency, 1, dtype=np.float64))


class Stack:
    """The ANS stack of one stream.

    words: uint32 [m], a stream's content as `words()` returned it; empty for a new stack.
    Raises FormatError where `words` cannot be a stack's content.
    """

    def __init__(self, words: Words | None = None) -> None:
        if words is None or len(words) == 0:
            self._coder = constriction.stream.stack.AnsCoder()
            return
        if words[-1] == 0:
            raise FormatError("a stream ends in a zero word, which no encoder writes")
        self._coder = constriction.stream.stack.AnsCoder(np.ascontiguousarray(words, dtype=np.uint32))

    def intervals(self, distribution: Distribution, symbols: IntArray) -> list[Intervals]:
        return distribution.intervals(symbols)

    def push(self, intervals: Intervals) -> None:
        """Pushes symbols so that they pop in the order given. Only shares of the line are needed, not whole tables."""
        if len(intervals.start) == 0:
            return
        start = intervals.start.astype(np.int64)
        frequency = intervals.frequency.astype(np.int64)
        after = TOTAL - start - frequency
        # The symbol among two neighbours that stand for all below and all above it. constriction has no zero
        # frequencies: where one side is empty, the other is cut in two (a Table has at least three symbols).
        first, last = start == 0, after == 0
        triple = np.stack([start, frequency, after], axis=1)
        triple[first] = np.stack([frequency, after - 1, np.ones_like(after)], axis=1)[first]
        triple[last] = np.stack([np.ones_like(start), start - 1, frequency], axis=1)[last]
        symbols = np.where(first, 0, np.where(last, 2, 1)).astype(np.int32)
        self._coder.encode_reverse(symbols, _categorical, _weights(triple))

    def pop(self, distribution: Distribution) -> IntArray:
        """Pops its symbols, int [n]."""
        return distribution.pop(self._read)

    def _read(self, cdf: NDArray[np.uint32]) -> NDArray[np.int32]:
        """One symbol for each row of cdf [n, A+1]; int32 [n]."""
        if len(cdf) == 0:
            return np.zeros(0, np.int32)
        frequency = cdf[:, 1:].astype(np.int64) - cdf[:, :-1]
        symbols: NDArray[np.int32] = self._coder.decode(_categorical, _weights(frequency))
        return symbols

    def words(self) -> Words:
        """The content, uint32 [m], last pushed last."""
        words: Words = self._coder.get_compressed()
        return words

    def is_empty(self) -> bool:
        return bool(self._coder.is_empty())


def encode(model: ImageModel, tiles: Sequence[NDArray[np.int16]], adaptation: bytes = b"") -> list[Stream]:
    """Codes each tile (int16 [C, H, W]) into a stream of its own; the same words whichever machine computes them."""
    if model.layered is not None:
        return model.layered.encode(tiles)
    if model.compiled is not None:
        return model.compiled.encode(tiles, adaptation)

    def push(shapes: list[Shape], batch: list[NDArray[np.int16]]) -> list[Stream]:
        return push_program(model.program(shapes, adaptation), batch, model.stack or Stack)

    return _by_shape(push, [_shape(tile) for tile in tiles], tiles)


def decode(
    model: ImageModel,
    shapes: Sequence[Shape],
    words: Sequence[Words],
    adaptation: bytes = b"",
    bases: Sequence[Words | None] | None = None,
) -> list[NDArray[np.int16]]:
    """The inverse of `encode`. Raises FormatError where the streams or the adaptation are none that `encode` makes.

    bases: of the streams, where the model is layered.
    """
    known = [base for base in bases or () if base is not None]
    if len(known) != (len(words) if model.layered is not None else 0) or (model.layered is not None and adaptation):
        raise FormatError(f"streams of model {model.name} with what belongs to another model")

    def pop(same: list[Shape], batch: list[Words]) -> list[NDArray[np.int16]]:
        return pop_program(model.program(same, adaptation), batch, model.stack or Stack)

    try:
        if model.layered is not None:
            return model.layered.decode(shapes, words, known)
        if model.compiled is not None:
            return model.compiled.decode(shapes, words, adaptation)
        return _by_shape(pop, list(shapes), words)
    except ModelError as e:
        raise FormatError(str(e)) from e


def preview(model: ImageModel, shapes: Sequence[Shape], bases: Sequence[Words]) -> list[NDArray[np.int16]]:
    """What the bases alone tell of the tiles, int16 [C, H, W]. Raises FormatError as `decode`."""
    if model.layered is None:
        raise FormatError(f"streams of model {model.name} with what belongs to another model")
    try:
        return model.layered.preview(shapes, bases)
    except ModelError as e:
        raise FormatError(str(e)) from e


def _shape(tile: NDArray[np.int16]) -> Shape:
    C, H, W = tile.shape
    return C, H, W


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
