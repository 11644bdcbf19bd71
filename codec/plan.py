"""Plans: the ways to code an image that are worth trying."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lgcodec import boxes, colour, plain
from lgcodec.colour import Component
from lgcodec.errors import ModelError
from lgcodec.image import Picture, Samples
from lgcodec.models.interface import CoefficientCoding
from lgcodec.options import Options

# Pixels of a tile where nothing needs a model: all of a screen, which often repeats itself from end to end. Context
# mixing takes one thread for a tile, whose tables are full by then: of many pictures it takes as much in four tiles.
_PLAIN_AREA = 1 << 23
_PLAIN_WIDTH = (1 << 14) - 1  # the most that WebP takes
_ANYWAY = 1 << 14  # pixels that take less time than thinking
_PARALLEL = 12  # tiles that an image keeps where larger ones would be fewer: work for as many cores
# Of photographs, 0.11 to 0.9 of the pixels of some rows have colours of their own; of graphics below 0.1.
_FEW_COLOURS = 0.12
# Squares of an image that WebP is tried on before it gets the whole, their side, and what of their rate a model's file
# must be below: WebP takes as much of a photograph as of its squares, and 0.25 to 1 of that where something repeats.
_REPEATING, _UNREPEATING = (8, 128, 0.6), (4, 64, 0.95)
# Four squares of a large photograph are cheap by chance, and the whole takes seconds: as many more as take a sixteenth
# of its pixels have to be, too.
_MOST_SQUARES, _AREA_OF_A_SQUARE = 64, 1 << 16


@dataclass(frozen=True)
class Plan:
    """One way to code an image: its transform, components, and the size of their tiles."""

    transform: int
    components: tuple[Component, ...]
    tiles: tuple[tuple[int, int], ...]
    uses_model: bool


def plans(picture: Picture, options: Options) -> list[Plan]:
    """The ways worth trying: without any model, with one, or both where neither is sure to win."""
    without = without_model(picture)
    if _is_solid(picture) or not is_modelled(picture, options):
        return [without]
    palette = picture.palette()
    if palette is not None and not colour.is_reversible(_used(picture), palette):
        return [without]
    # packed bits say nothing, and contexts read them ten times as fast as a model
    promising = picture.mode.levels == 2 or plain.is_promising(_sample(picture))
    if palette is not None:
        tries = [without, without_model(picture, in_colours=True)]
        return tries if promising else [*tries, modelled(picture, options)]
    with_model = modelled(picture, options)
    return [without, with_model] if promising else [with_model]


def is_modelled(picture: Picture, options: Options) -> bool:
    """Whether the model codes images of such samples; most code 8 bits, some single bits."""
    levels = picture.mode.levels
    return levels == 256 or (levels == 2 and options.model != "default" and options.load().levels == 2)


def without_model(picture: Picture, *, in_colours: bool = False) -> Plan:
    """The plan by plain methods alone, in large tiles. in_colours: for palettes, by colours instead of indices."""
    if in_colours:
        palette = picture.palette()
        return _plan(picture, _transform(picture, palette), palette, _plain_tile(picture), uses_model=False)
    return _plan(picture, colour.PLAIN, None, _plain_tile(picture), uses_model=False)


def may_be_smaller(picture: Picture, size: int, *, is_part: bool = False) -> bool:
    """Whether plain methods may take less than `size` bytes for an image that did not look so: by squares of it.

    is_part: of another image, where that must not be tried for the sake of a few bytes.
    """
    if picture.area <= _ANYWAY:
        return True
    if is_part:
        return False
    few = plain.share_of_colours(_sample(picture)) < _FEW_COLOURS
    count, side, share = _REPEATING if few else _UNREPEATING
    more = 0 if few else min(_MOST_SQUARES, picture.area // _AREA_OF_A_SQUARE)
    counts = [count, more] if more > count else [count]
    return all(size / picture.area > share * _webp_rate(picture, side, n) for n in counts)


def webp_size(picture: Picture) -> float:
    """What WebP takes of an image, in bytes; infinitely many where it cannot."""
    code = plain.METHODS[plain.WEBP].encode(picture.samples((0, 0, picture.width, picture.height)), 1)
    return math.inf if code is None else len(code)


def _webp_rate(picture: Picture, side: int, count: int) -> float:
    """What WebP takes of about `count` squares of an image, in bytes a pixel: infinitely many where it cannot."""
    places = boxes.squares(picture.width, picture.height, side, count)
    joined = np.concatenate([picture.samples(box) for box in places], axis=1)
    code = plain.METHODS[plain.WEBP].encode(np.ascontiguousarray(joined), 1)
    return math.inf if code is None else len(code) / (joined.shape[0] * joined.shape[1])


def modelled(picture: Picture, options: Options) -> Plan:
    """The plan by the model of the options."""
    palette, model = picture.palette(), options.load()
    if isinstance(model.coding, CoefficientCoding):
        raise ModelError(f"model {model.name} codes JPEG files, not pixels")
    if (model.levels == 2) != (picture.mode.levels == 2):
        raise ModelError(f"model {model.name} codes images of bits (mode 1) alone")
    tile = model_tile(picture, options)
    return _plan(picture, _transform(picture, palette), palette, tile, uses_model=True)


def model_tile(picture: Picture, options: Options) -> tuple[int, int]:
    """Width and height of the tiles that the model gets."""
    if options.tile is not None:
        return options.tile
    model, size = options.load(), (picture.width, picture.height)
    for most in (*model.larger, model.tile):
        width, height = (boxes.even(side, limit, model.unit) for side, limit in zip(size, most, strict=True))
        if -(-size[0] // width) * -(-size[1] // height) >= _PARALLEL:
            break
    return width, height


def _plan(
    picture: Picture, transform: int, palette: Samples | None, tile: tuple[int, int], *, uses_model: bool
) -> Plan:
    parts = colour.components(picture.mode, transform, palette)
    size = (min(tile[0], picture.width), min(tile[1], picture.height))
    sizes = [size] * len(parts)
    if len(parts) > 1 and plain.is_promising(parts[-1].take(_sample(picture, alpha=True))):
        sizes[-1] = _plain_tile(picture)  # a flat alpha plane is cheapest in one piece
    return Plan(transform, parts, tuple(sizes), uses_model)


def _plain_tile(picture: Picture) -> tuple[int, int]:
    width = min(picture.width, _PLAIN_WIDTH)
    return width, boxes.even(picture.height, max(1, _PLAIN_AREA // width), 1)


def _transform(picture: Picture, palette: Samples | None) -> int:
    if picture.mode.levels == 2:
        return colour.BITS
    if palette is not None:
        shown = palette[_used(picture)][None]
        return colour.GREY if colour.is_grey(shown) else colour.STANDARD
    if picture.mode.is_grey or all(map(colour.is_grey, picture.strips())):
        return colour.GREY
    return colour.STANDARD


def _sample(picture: Picture, alpha: bool = False) -> Samples:
    """Six bands of up to 16 rows, spread over the image, [h, W, channels]; alpha only if asked for."""
    rows, starts = 16, range(0, picture.height - 15, max(16, (picture.height - 16) // 5))
    if picture.height <= 96:
        rows, starts = picture.height, range(1)
    sample = np.concatenate([picture.samples((0, y, picture.width, y + rows)) for y in starts])
    return sample[..., :-1] if picture.mode.has_alpha and not alpha else sample


def _is_solid(picture: Picture) -> bool:
    corner = picture.samples((0, 0, 1, 1))
    return all(bool((strip == corner).all()) for strip in picture.strips())


def _used(picture: Picture) -> NDArray[np.intp]:
    """The values that occur in a one-channel image, in order."""
    counts = np.zeros(256, np.int64)
    for strip in picture.strips():
        counts += np.bincount(strip.ravel(), minlength=256)
    return np.flatnonzero(counts)
