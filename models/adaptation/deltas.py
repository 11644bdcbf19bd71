"""Deltas: side information of one image that moves the layers of a network (low rank: Hu et al. 2022, LoRA).

    weight + left right / 2**9        bias + delta / 2**2        in units of the layer's outputs and inputs

An encoder fits them (`fit.py`); a decoder reads them and adds integers.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.errors import ModelError
from lgcodec.models.layers.integer import WEIGHT_LIMIT, Layer

Deltas = tuple[NDArray[np.int8], NDArray[np.int8], NDArray[np.int8]]  # bias [O], left [rank, O], right [rank, I]
Shapes = Mapping[str, tuple[int, int]]  # of weights, [O, I]
MAX_RANK = 8
BIAS_BITS = 2  # a bias moves in quarters of an output unit
PRODUCT_BITS = 9  # a weight moves by left times right in 2**-9 of an output unit per input unit


def move(layer: Layer, bias: NDArray[np.int8], left: NDArray[np.int8], right: NDArray[np.int8]) -> Layer:
    """The layer with its bias moved and a matrix of low rank added, in its own precision.

    Where a row then exceeds the exact range, it is halved until it does not: weights and bias rounded down, shift
    less one. Raises ModelError where that does not help.
    """
    shift = layer.shift.astype(np.int64)
    product = left.T.astype(np.int64) @ right.astype(np.int64)
    weights = layer.weight + ((product << shift[:, None]) >> PRODUCT_BITS)
    biases = layer.bias + ((bias.astype(np.int64) << shift) >> BIAS_BITS)
    while True:
        bound = np.abs(weights) @ layer.limit.astype(np.int64) + np.abs(biases)
        over = (bound >= layer.exact) | (np.abs(weights).max(axis=1) > WEIGHT_LIMIT)
        if not over.any():
            break
        if (shift[over] == 0).any():
            raise ModelError("the file's adaptation leaves the exact range")
        weights[over] >>= 1
        biases[over] >>= 1
        shift[over] -= 1
    parts = (weights.astype(np.int16), biases.astype(np.int32), shift.astype(np.int32))
    return replace(layer, weight=parts[0], bias=parts[1], shift=parts[2])


def moved(layers: Mapping[str, Layer], adaptation: bytes) -> dict[str, Layer]:
    """All layers, moved by what `write` wrote. Raises ModelError where that is malformed."""
    deltas = read(adaptation, {name: layer.weight.shape for name, layer in layers.items()})
    return {name: move(layer, *deltas[name]) for name, layer in layers.items()}


def write(deltas: Mapping[str, Deltas]) -> bytes:
    """rank (one byte) || deflate of int8: for each layer in order its bias, then left and right of each rank."""
    rank = len(next(iter(deltas.values()))[1])
    body = b"".join(part.tobytes() for parts in deltas.values() for part in parts)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY)
    return bytes([rank]) + deflate.compress(body) + deflate.flush()


def read(adaptation: bytes, shapes: Shapes) -> dict[str, Deltas]:
    """The inverse of `write`. Raises ModelError where the bytes are not what it writes for layers of these shapes."""
    rank = adaptation[0]
    size = sum(O + rank * (O + I) for O, I in shapes.values())
    inflate = zlib.decompressobj(-15)
    try:
        body = inflate.decompress(adaptation[1:], size + 1) if rank <= MAX_RANK else b""
    except zlib.error:
        body = b""
    if len(body) != size or not inflate.eof or inflate.unused_data:
        raise ModelError("the file's adaptation does not fit this model")
    values, at, deltas = np.frombuffer(body, np.int8), 0, {}
    for name, (O, I) in shapes.items():
        bias, left, right = np.split(values[at : at + O + rank * (O + I)], [O, O + rank * O])
        deltas[name] = (bias, left.reshape(rank, O), right.reshape(rank, I))
        at += O + rank * (O + I)
    return deltas
