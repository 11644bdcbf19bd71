"""Models as likelihoods: what an image costs under a model, and what a model imagines.

Sampling is decompression of noise: a stack of random bits decodes to a value with the probability that the model gives
it. Scores are in bits per dim, of the integers that decide files.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lgcodec.coding import coder
from lgcodec.coding.bits_back import Latent, Meter, Program, pop, push
from lgcodec.errors import InputError
from lgcodec.models.entropy.program import shape_of
from lgcodec.models.interface import ExplicitCoding, ImageModel, LatentCoding, LayeredCoding, Stack, Tile, Words
from lgcodec.models.ycocg import rgb_of

T = TypeVar("T")
_PLENTY = float(1 << 40)


def choice_of(model: ImageModel, label: int | None) -> bytes:
    """The adaptation that is class `label`, from 0 on. Raises InputError for classes that the model does not know."""
    if label is None:
        return b""
    if not 0 <= label < len(model.choices):
        raise InputError(f"class {label}: model {model.name} knows {len(model.choices)} classes, from 0 on")
    return model.choices[label]


def score(model: ImageModel, tiles: Sequence[NDArray[np.int16]], choice: bytes = b"") -> list[float]:
    """Bits per dim of each tile [C, H, W] under one of the model's choices: ideal bits; of latent models net bits,
    -ELBO for one draw of the latents.
    """
    if not isinstance(model.coding, LatentCoding):
        streams = coder.encode(model, tiles, choice)
        return [stream.ideal_bits / tile.size for stream, tile in zip(streams, tiles, strict=True)]
    rates = []
    for tile in tiles:
        random = model.stack(noise(tile.size // 2 + 64, 0))
        rates.append(code_length(model.coding.program([shape_of(tile)]), [tile], random) / tile.size)
    return rates


def sample(
    model: ImageModel, shape: tuple[int, int, int], n: int, seed: int, choice: bytes = b""
) -> list[NDArray[Any]]:
    """n pictures that the model imagines under one of its choices, [H, W] or RGB [H, W, 3] of the tile shape (C, H, W);
    bool of models of bits.

    Raises InputError for models that have no program to sample from.
    """
    # 32 bits a sample are more than any model takes
    random = model.stack(noise(n * int(np.prod(shape)) + 64, seed))
    if isinstance(model.coding, LayeredCoding):
        return _pictures(model, [model.coding.draw(shape, lambda program: pop(random, program)) for _ in range(n)])
    return _pictures(model, draw(random, _program(model, [shape] * n, choice)))


def complete(model: ImageModel, tile: Tile, known: Tile, n: int, seed: int, choice: bytes = b"") -> list[NDArray[Any]]:
    """n pictures as of `sample` that have the tile's [C, H, W] samples where `known` [C, H, W] is not 0.

    Raises InputError for models that cannot.
    """
    program = _program(model, [shape_of(tile)] * n, choice)
    return _pictures(model, _asked(model, "complete", program)(_drawing(model, n, tile, seed), [tile] * n, [known] * n))


def between(model: ImageModel, first: Tile, last: Tile, n: int, seed: int) -> list[NDArray[Any]]:
    """n pictures as of `sample` on the way from one tile [C, H, W] to another, through latents.

    Raises InputError for models that have none that are numbers.
    """
    program = _program(model, [shape_of(first)] * n, b"")
    return _pictures(model, _asked(model, "between", program)(_drawing(model, n, first, seed), first, last))


def along(model: ImageModel, tile: Tile, latent: int, n: int, seed: int) -> list[NDArray[Any]]:
    """n pictures as of `sample` at the latents of a tile [C, H, W], one of which goes through all its values.

    Raises InputError for models that have none.
    """
    program = _program(model, [shape_of(tile)] * n, b"")
    return _pictures(model, _asked(model, "along", program)(_drawing(model, n, tile, seed), tile, latent))


def _asked(model: ImageModel, name: str, program: Any) -> Any:
    if not hasattr(program, name):
        raise InputError(f"model {model.name} has no way to draw pictures that are known in part, or between two")
    return getattr(program, name)


def _drawing(model: ImageModel, n: int, tile: Tile, seed: int) -> Callable[[Any], Any]:
    """What draws values of programs, each of new random bits."""
    seeds = itertools.count(seed)
    return lambda program: draw(model.stack(noise(n * tile.size + 4096, next(seeds))), program)


def _program(model: ImageModel, shapes: Sequence[tuple[int, int, int]], choice: bytes) -> Program[Any]:
    """Raises InputError for models that have none."""
    match model.coding:
        case ExplicitCoding() as coding:
            return coding.program(shapes, choice)
        case LatentCoding() as latent:
            program: Program[Any] = latent.program(shapes)
            return program
    raise InputError(f"model {model.name} cannot be sampled")


def _pictures(model: ImageModel, tiles: Sequence[Tile]) -> list[NDArray[Any]]:
    if model.levels == 2:
        return [tile[0].astype(bool) for tile in tiles]
    planes = [rgb_of(tile).transpose(1, 2, 0) if len(tile) == 3 else tile[0] for tile in tiles]
    return [np.clip(a, 0, 255).astype(np.uint8) for a in planes]


def draw(random: Stack, program: Program[T]) -> T:
    """A value as the model imagines it: decodes what is on the stack."""
    if isinstance(program, Latent):
        value: T = draw(random, program.likelihood(draw(random, program.prior())))
        return value
    return pop(random, program)


def code_length(program: Program[T], value: T, random: Stack) -> float:
    """Bits of `value`: exact for explicit programs; for latent ones what it adds to a stack of random bits."""
    meter = Meter(random, _PLENTY)
    push(meter, program, value)
    return meter.bits - _PLENTY


def noise(words: int, seed: int) -> Words:
    """Random words, none of them 0."""
    return np.random.Generator(np.random.PCG64(seed)).integers(1, 1 << 32, words, np.uint32)
