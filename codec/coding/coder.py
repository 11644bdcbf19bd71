"""The entropy coder: tiles to streams and back, however a model codes them."""

from __future__ import annotations

from collections.abc import Sequence

from lgcodec.coding import explicit
from lgcodec.errors import FormatError, ModelError
from lgcodec.models.interface import ExplicitCoding, ImageModel, LatentCoding, LayeredCoding, Shape, Stream, Tile, Words


def encode(model: ImageModel, tiles: Sequence[Tile], adaptation: bytes = b"") -> list[Stream]:
    """Codes each tile (int16 [C, H, W]) into a stream of its own; the same words whichever machine computes them."""
    match model.coding:
        case LayeredCoding() as layers:
            return layers.encode(tiles)
        case ExplicitCoding() as coding:
            return explicit.encode(coding, model.stack, tiles, adaptation)
        case LatentCoding():
            raise FormatError(f"model {model.name} codes chains, not streams")


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
