"""Integer convolutions compiled by numba: windows are laid out block by block in the cache, and multiplied there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.compiled_stack import jit
from lgcodec.models.convolution import Convolution
from lgcodec.models.integer import Layer, check_exact
from lgcodec.models.kernels import LANES, ROWS, multiply

_BLOCK = 16 * ROWS  # positions whose windows are laid out at a time


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
    multiply(a, weight, out, n)
    for j in range(n):
        for o in range(out.shape[1]):
            out[j, o] = min(max(np.floor((out[j, o] + bias[o]) * scale[o]), low[o]), high[o])


@jit
def _convolve(a, layer, size, out):
    """a [N, H, W, I], out [N, H, W, O], O <= O'."""
    N, H, W, I = a.shape
    r, width = size // 2, size * I
    window = np.zeros((_BLOCK, size * width), np.float32)
    result = np.zeros((_BLOCK, layer[0].shape[1]), np.float32)
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
                    row[: left * I] = 0.0
                    row[right * I :] = 0.0
                    for dx in range(left, right):
                        row[dx * I : (dx + 1) * I] = a[image, y + dy - r, x + dx - r]
                else:
                    row[:] = 0.0
        apply(window, layer, result, n)
        for j in range(n):
            place = start + j
            out[place // (W * H), place // W % H, place % W] = result[j, : out.shape[3]]


class Products:
    """The compiled matrix products as an integer.Executor, so that they are checked like any other."""

    name = "numba"

    def load(self, layer: Layer) -> tuple[NDArray[np.float32], ...]:
        return padded(layer, layer.weight.shape[1])

    def array(self, a: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.pad(a, ((0, -len(a) % ROWS), (0, 0)))

    def numpy(self, a: NDArray[np.float32]) -> NDArray[np.float32]:
        return a

    def join(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([a, b], axis=1)

    def apply(self, layer: Any, a: NDArray[np.float32]) -> NDArray[np.float32]:
        out = np.zeros((len(a), layer[0].shape[1]), np.float32)
        apply(a, layer, out, len(a))
        return out


class CompiledMachine:
    """convolution.Machine by numba; releases the GIL, so tiles may run on threads."""

    name = "numba"

    def __init__(self) -> None:
        check_exact(Products())

    def load(self, convolution: Convolution) -> tuple[Any, int, int]:
        layer = convolution.layer
        return padded(layer, layer.weight.shape[1]), convolution.size, len(layer.weight)

    def convolve(self, loaded: Any, a: NDArray[np.float32]) -> NDArray[np.float32]:
        layer, size, outputs = loaded
        out = np.empty((*a.shape[:3], outputs), np.float32)
        _convolve(np.ascontiguousarray(a, np.float32), layer, size, out)
        return out
