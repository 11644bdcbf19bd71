"""Plans: the ways to code an image that are worth trying."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lgcodec import boxes, colour, plain
from lgcodec.colour import Component
from lgcodec.image import Picture, Samples
from lgcodec.options import Options

_PLAIN_AREA = 1 << 23  # pixels of a tile where nothing needs a model


@dataclass(frozen=True)
class Plan:
    """One way to code an image: its transform, components, and the size of their tiles."""

    transform: int
    components: tuple[Component, ...]
    tiles: tuple[tuple[int, int], ...]

    @property
    def uses_model(self) -> bool:
        return self.transform != colour.PLAIN


def plans(picture: Picture, options: Options) -> list[Plan]:
    """The ways worth trying: without any model, with one, or both where neither is sure to win."""
    without = without_model(picture)
    if not picture.mode.modelled or _is_solid(picture):
        return [without]
    palette = picture.palette()
    if palette is not None and not colour.is_reversible(_used(picture), palette):
        return [without]
    promising = plain.is_promising(_sample(picture))
    if palette is not None and promising:
        return [without]
    with_model = modelled(picture, options)
    return [without, with_model] if promising or palette is not None else [with_model]


def without_model(picture: Picture) -> Plan:
    """The plan by plain methods alone, in large tiles."""
    return _plan(picture, colour.PLAIN, None, _plain_tile(picture))


def modelled(picture: Picture, options: Options) -> Plan:
    """The plan by the model of the options."""
    palette = picture.palette()
    tile = model_tile(picture, options)
    return _plan(picture, _transform(picture, palette), palette, tile)


def model_tile(picture: Picture, options: Options) -> tuple[int, int]:
    """Width and height of the tiles that the model gets."""
    if options.tile is not None:
        return options.tile
    model = options.load()
    sides = zip((picture.width, picture.height), model.tile, strict=True)
    width, height = (boxes.even(side, most, model.unit) for side, most in sides)
    return width, height


def _plan(picture: Picture, transform: int, palette: Samples | None, tile: tuple[int, int]) -> Plan:
    parts = colour.components(picture.mode.pillow, picture.mode.channels, transform, palette)
    size = (min(tile[0], picture.width), min(tile[1], picture.height))
    sizes = [size] * len(parts)
    if len(parts) > 1 and plain.is_promising(parts[-1].take(_sample(picture, alpha=True))):
        sizes[-1] = _plain_tile(picture)  # a flat alpha plane is cheapest in one piece
    return Plan(transform, parts, tuple(sizes))


def _plain_tile(picture: Picture) -> tuple[int, int]:
    width = min(picture.width, 1 << 13)
    return width, min(picture.height, max(1, _PLAIN_AREA // width))


def _transform(picture: Picture, palette: Samples | None) -> int:
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
