"""Integer convolutions and products on the native library."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.layers.convolution import Array, Convolution
from lgcodec.models.layers.integer import Layer, check_exact
from lgcodec.models.machines.native import library
from lgcodec.models.machines.native.library import SLACK, Layers, check, pointer
from lgcodec.models.machines.native.products import packed
from lgcodec.models.machines.numpy.executor import OnHost

_BLOCK = 96  # convolution.c's
Loaded = tuple[Layers, int, int]


def _load(convolution: Convolution) -> Loaded:
    size, weight = convolution.size, convolution.layer.weight
    rows = weight.reshape(len(weight), size, -1)  # of a window, each in pairs
    wide = np.pad(rows, ((0, 0), (0, 0), (0, rows.shape[2] % 2)))
    return packed([wide.reshape(len(weight), -1)], [convolution.layer]), size, len(weight)


def _convolve(loaded: Loaded, a: Array) -> Array:
    (layer, size, outputs), (N, H, W, I) = loaded, a.shape
    a, shape = np.ascontiguousarray(a, np.float32), np.array(a.shape, np.int64)
    out = np.empty((N, H, W, outputs), np.float32)
    padded = np.empty((H + size - 1) * (W + size - 1) * I + SLACK, np.int16)
    sums = np.empty((_BLOCK, layer.outputs), np.int32)
    sizes = (ctypes.c_int64(size), ctypes.c_int64(outputs))
    given, made = (
        (pointer(a, np.float32), pointer(shape, np.int64)),
        (pointer(out, np.float32), pointer(padded, np.int16)),
    )
    convolve = library.library().lgcodec_convolve
    check(convolve(*given, ctypes.byref(layer), *sizes, *made, pointer(sums, np.int32)))
    return out


class NativeExecutor(OnHost):
    """An integer.Executor: products of layers are convolutions of size 1 over one row."""

    name = "native"

    def load(self, layer: Layer) -> Loaded:
        return _load(Convolution(layer, 1))

    def apply(self, layer: Loaded, a: NDArray[np.float32]) -> NDArray[np.float32]:
        products: NDArray[np.float32] = _convolve(layer, a[None, None])[0, 0]
        return products


class NativeConvolutions(OnHost):
    """The machine's Convolutions; releases the GIL, so tiles may run on threads."""

    name = "native"

    def __init__(self) -> None:
        check_exact(NativeExecutor())

    def load(self, convolution: Convolution) -> Loaded:
        return _load(convolution)

    def convolve(self, loaded: Loaded, a: Array) -> Array:
        return _convolve(loaded, a)
