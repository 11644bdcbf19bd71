"""Integer layers laid out for the native library's products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.layers.integer import Layer
from lgcodec.models.machines.native.library import Layers, pointer, rounded


def packed(weights: Sequence[NDArray[np.int16]], layers: Sequence[Layer] = ()) -> Layers:
    """Weights [O, I] of layers of one shape, in pairs of inputs, and their ends: bias, shift, low and high of `layers`,
    or zeros. What is added to fill rows up gives 0.
    """
    most, pairs = (
        rounded(max((len(w) for w in weights), default=1)),
        -(-max((w.shape[1] for w in weights), default=1) // 2),
    )
    weight = np.zeros((len(weights), 2 * pairs, most), np.int16)
    ends = np.zeros((len(weights), 4, most), np.int32)
    for i, w in enumerate(weights):
        weight[i, : w.shape[1], : len(w)] = w.T
    for i, layer in enumerate(layers):
        ends[i, :, : len(layer.bias)] = layer.bias, layer.shift, layer.low, layer.high
    beside = np.ascontiguousarray(weight.reshape(-1, pairs, 2, most).swapaxes(2, 3))
    result = Layers(pointer(beside, np.int16), pointer(ends, np.int32), len(weights), pairs, most)
    result.kept = (beside, ends)
    return result
