"""The entropy coder: the two loops that join a model's program to stacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lgcodec.coding.explicit import _by_shape, _shape, pop_program, push_program
from lgcodec.errors import FormatError, ModelError
from lgcodec.models.interface import ImageModel, Stream, Words
from lgcodec.models.machines.numpy.stack import Stack

T = TypeVar("T")
Shape = tuple[int, int, int]


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
    if model.latent is not None:
        raise FormatError(f"streams of model {model.name}, which codes chains")
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
