"""The entropy coder: tiles to streams and back, however a model codes them."""

from __future__ import annotations

from collections.abc import Sequence

from lgcodec.coding import explicit
from lgcodec.errors import FormatError, ModelError
from lgcodec.models.entropy.program import popped
from lgcodec.models.interface import (
    CoefficientCoding,
    Coefficients,
    ComponentShape,
    ExplicitCoding,
    ImageModel,
    LatentCoding,
    LayeredCoding,
    Shape,
    Stream,
    Tile,
    Words,
)


def encode(model: ImageModel, tiles: Sequence[Tile], adaptation: bytes = b"") -> list[Stream]:
    """Codes each tile (int16 [C, H, W]) into a stream of its own; the same words whichever machine computes them."""
    match model.coding:
        case LayeredCoding() as layers:
            return layers.encode(tiles)
        case ExplicitCoding() as coding:
            return explicit.encode(coding, model.stack, tiles, adaptation)
        case LatentCoding():
            raise FormatError(f"model {model.name} codes chains, not streams")
        case CoefficientCoding():
            raise FormatError(f"model {model.name} codes JPEG files, not pixels")


def decode(
    model: ImageModel,
    shapes: Sequence[Shape],
    words: Sequence[Words],
    adaptation: bytes = b"",
    bases: Sequence[Words | None] | None = None,
) -> list[Tile]:
    """The inverse of `encode`. Raises FormatError where the streams or the adaptation are none that `encode` makes.

    bases: of the streams, where the model is layered.
    """
    known = [base for base in bases or () if base is not None]
    try:
        match model.coding:
            case LayeredCoding() as layers if len(known) == len(words) and not adaptation:
                return layers.decode(shapes, words, known)
            case ExplicitCoding() as coding if not known:
                return explicit.decode(coding, model.stack, shapes, words, adaptation)
            case LatentCoding():
                raise FormatError(f"streams of model {model.name}, which codes chains")
            case CoefficientCoding():
                raise FormatError(f"tiles of model {model.name}, which codes JPEG files")
    except ModelError as e:
        raise FormatError(str(e)) from e
    raise FormatError(f"streams of model {model.name} with what belongs to another model")


def preview(model: ImageModel, shapes: Sequence[Shape], bases: Sequence[Words]) -> list[Tile]:
    """What the bases alone tell of the tiles, int16 [C, H, W]. Raises FormatError as `decode`."""
    if not isinstance(model.coding, LayeredCoding):
        raise FormatError(f"streams of model {model.name} with what belongs to another model")
    try:
        return model.coding.preview(shapes, bases)
    except ModelError as e:
        raise FormatError(str(e)) from e


def encode_band(model: ImageModel, shapes: Sequence[ComponentShape], band: Sequence[Coefficients]) -> Stream | None:
    """Codes a band of a JPEG file; None where its coefficients are beyond what the model codes."""
    coding = coefficients(model)
    try:
        if coding.fast is not None:
            return coding.fast.encode(shapes, band)
        (stream,) = explicit.push_program(coding.program(shapes), list(band), model.stack)
    except ModelError:
        return None
    return stream


def decode_band(model: ImageModel, shapes: Sequence[ComponentShape], words: Words) -> list[Coefficients]:
    """The inverse of `encode_band`. Raises FormatError where the stream is none that it makes."""
    coding = coefficients(model)
    try:
        if coding.fast is not None:
            return coding.fast.decode(shapes, words)
        return explicit.pop_program(coding.program(shapes), [words], model.stack)
    except ModelError as e:
        raise FormatError(str(e)) from e


def preview_band(model: ImageModel, shapes: Sequence[ComponentShape], words: Words) -> list[Coefficients]:
    """The DC coefficients of a band, all others 0. Raises FormatError for shapes that no JPEG has."""
    coding = coefficients(model)
    try:
        if coding.fast is not None:
            return coding.fast.preview(shapes, words)
        return popped(model.stack(words), coding.program(shapes).preview())
    except ModelError as e:
        raise FormatError(str(e)) from e


def coefficients(model: ImageModel) -> CoefficientCoding:
    """How a model codes JPEG files. Raises FormatError where it does not."""
    if not isinstance(model.coding, CoefficientCoding):
        raise FormatError(f"model {model.name} does not code JPEG files")
    return model.coding
