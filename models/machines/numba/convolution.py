"""Integer convolutions compiled by numba: windows are laid out block by block in the cache, and multiplied there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.layers.convolution import Convolution
from lgcodec.models.layers.integer import Layer, check_exact
from lgcodec.models.machines.numba.jit import jit
from lgcodec.models.machines.numba.products import activate, multiply, packed
from lgcodec.models.machines.numba.vectors import BLOCK
from lgcodec.models.machines.numpy.executor import OnHost

_BLOCK = 2 * BLOCK  # positions whose windows are laid out at a time
Packed = tuple[NDArray[np.int16], NDArray[np.int32]]


@jit
def _apply(a, weight, ends, sums):
    multiply(a, weight, 0, sums, len(a))
    activate(sums, ends, 0, sums, len(a))


@jit
def _convolve(a, weight, ends, size, out):
    """a [N, H, W, I], out [N, H, W, O], O <= O'; weight, ends: of one layer, as `packed` gives them."""
    N, H, W, I = a.shape
    r, width = size // 2, size * I
    window = np.zeros((_BLOCK, 2 * weight.shape[1]), np.int16)
    result = np.zeros((_BLOCK, ends.shape[2]), np.int32)
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
        multiply(window, weight, 0, result, n)
        activate(result, ends, 0, result, n)
        for j in range(n):
            place = start + j
            out[place // (W * H), place // W % H, place % W] = result[j, : out.shape[3]]


class Products(OnHost):
    """The compiled matrix products as an integer.Executor, so that they are checked like any other."""

    name = "numba"

    def load(self, layer: Layer) -> Packed:
        return packed([layer], layer.weight.shape[1])

    def apply(self, layer: Packed, a: NDArray[np.float32]) -> NDArray[np.float32]:
        weight, ends = layer
        inputs = np.pad(a, ((0, -len(a) % BLOCK), (0, a.shape[1] % 2))).astype(np.int16)
        sums = np.zeros((len(inputs), ends.shape[2]), np.int32)
        _apply(inputs, weight, ends, sums)
        return sums[: len(a)].astype(np.float32)


class CompiledConvolutions(OnHost):
    """convolution.Convolutions by numba; releases the GIL, so tiles may run on threads."""

    name = "numba"

    def __init__(self) -> None:
        check_exact(Products())

    def load(self, convolution: Convolution) -> tuple[Packed, int, int]:
        layer = convolution.layer
        return packed([layer], layer.weight.shape[1]), convolution.size, len(layer.weight)

    def convolve(self, loaded: Any, a: NDArray[np.float32]) -> NDArray[np.float32]:
        (weight, ends), size, outputs = loaded
        out = np.empty((*a.shape[:3], outputs), np.float32)
        _convolve(np.ascontiguousarray(a, np.float32), weight, ends, size, out)
        return out
