"""Integer convolutions compiled by numba: windows are laid out block by block in the cache, and multiplied there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.compiled_stack import jit
from lgcodec.models.convolution import Convolution
from lgcodec.models.integer import Layer, check_exact
from lgcodec.models.kernels import LANES, ROWS, multiply, multiply_float, pairs

_BLOCK = 16 * ROWS  # positions whose windows are laid out at a time


Packed = tuple[NDArray[Any], ...]


def packed(layer: Layer) -> Packed:
    """weight int16 of `kernels.pairs`; bias, shift, low, high int32 [O'] with O' a multiple of LANES; the added outputs
    are zero.
    """
    more = -len(layer.weight) % LANES
    weight = pairs(np.pad(layer.weight, ((0, more), (0, 0))).T)
    return (weight, *(np.pad(a, (0, more)) for a in (layer.bias, layer.shift, layer.low, layer.high)))


@jit
def requantise(sums, layer, out, n):
    """out[:n] = clip((sums + bias) >> shift, low, high), any integers."""
    _, bias, shift, low, high = layer
    for j in range(n):
        row, result = sums[j], out[j]
        for o in range(len(bias)):
            result[o] = min(max((row[o] + bias[o]) >> shift[o], low[o]), high[o])


@jit
def run(a, layer, sums, out, n):
    """out[:n] = the layer of a[:n]; a int16 [N, I'], out [N, O'] any integers, sums int32 [N, O'], may be `out`.

    layer: as `packed` gives it; N >= n rounded up to ROWS; I' even, and where I is odd the last input is multiplied by
    zero.
    """
    multiply(a, layer[0], sums, n)
    requantise(sums, layer, out, n)


# TEMPORARY (lead): `padded` and `apply` are the float32 forms, until compiled_flow.py uses `packed` and `run` (int16, twice as fast).
def padded(layer: Layer, inputs: int) -> tuple[NDArray[np.float32], ...]:
    """weight [inputs, O'], bias, scale, low, high [O'] with O' a multiple of LANES; the added outputs are zero."""
    O, I = layer.weight.shape
    wide = -(-O // LANES) * LANES
    weight = np.zeros((inputs, wide), np.float32)
    weight[:I, :O] = layer.weight.T
    vectors = []
    for a in (layer.bias, np.exp2(-layer.shift.astype(np.float64)), layer.low, layer.high):
        vectors.append(np.pad(np.asarray(a, np.float32), (0, wide - O)))
    return (weight, *vectors)


@jit
def apply(a, layer, out, n):
    """out[:n] = the layer of a[:n]; a [N, I], out [N, O'], N >= n rounded up to ROWS. layer: as `padded` gives it."""
    weight, bias, scale, low, high = layer
    multiply_float(a, weight, out, n)
    for j in range(n):
        for o in range(out.shape[1]):
            out[j, o] = min(max(np.floor((out[j, o] + bias[o]) * scale[o]), low[o]), high[o])


@jit
def _convolve(a, layer, size, out):
    """a [N, H, W, I], out [N, H, W, O], O <= O'."""
    N, H, W, I = a.shape
    r, width = size // 2, size * I
    window = np.zeros((_BLOCK, 2 * layer[0].shape[0]), np.int16)
    result = np.zeros((_BLOCK, len(layer[1])), np.int32)
    positions = N * H * W
    for start in range(0, positions, _BLOCK):
        n = min(_BLOCK, positions - start)
        for j in range(n):
            place = start + j
            x, y, image = place % W, place // W % H, place // (W * H)
            left, right = max(0, r - x), min(size, W + r - x)
            for dy in range(size):
                row = window[j, dy * width : (dy + 1) * width]
                if 0 <= y + dy - r < H:
                    row[: left * I] = 0
                    row[right * I :] = 0
                    for dx in range(left, right):
                        source, target = a[image, y + dy - r, x + dx - r], row[dx * I : (dx + 1) * I]
                        for i in range(I):
                            target[i] = np.int16(source[i])
                else:
                    row[:] = 0
        run(window, layer, result, result, n)
        for j in range(n):
            place = start + j
            out[place // (W * H), place // W % H, place % W] = result[j, : out.shape[3]]


class Products:
    """The compiled matrix products as an integer.Executor, so that they are checked like any other."""

    name = "numba"

    def load(self, layer: Layer) -> Packed:
        return packed(layer)

    def array(self, a: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.pad(a, ((0, -len(a) % ROWS), (0, 0)))

    def numpy(self, a: NDArray[np.float32]) -> NDArray[np.float32]:
        return a

    def join(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([a, b], axis=1)

    def apply(self, layer: Packed, a: NDArray[np.float32]) -> NDArray[np.float32]:
        sums = np.zeros((len(a), len(layer[1])), np.int32)
        inputs = np.pad(a, ((0, 0), (0, a.shape[1] % 2))).astype(np.int16)
        run(inputs, layer, sums, sums, len(a))
        return sums.astype(np.float32)


class CompiledMachine:
    """convolution.Machine by numba; releases the GIL, so tiles may run on threads."""

    name = "numba"

    def __init__(self) -> None:
        check_exact(Products())

    def load(self, convolution: Convolution) -> tuple[Packed, int, int]:
        layer = convolution.layer
        return packed(layer), convolution.size, len(layer.weight)

    def convolve(self, loaded: Any, a: NDArray[np.float32]) -> NDArray[np.float32]:
        layer, size, outputs = loaded
        out = np.empty((*a.shape[:3], outputs), np.float32)
        _convolve(np.ascontiguousarray(a, np.float32), layer, size, out)
        return out
