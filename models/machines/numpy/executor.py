"""Integer layers on numpy: float32 BLAS, exact within the bound of `layers.integer`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.layers.integer import Layer, check_exact, check_single


class OnHost:
    """What executors share whose arrays are numpy's."""

    def array(self, a: NDArray[np.float32]) -> NDArray[np.float32]:
        return a

    def zeros(self, *shape: int) -> NDArray[np.float32]:
        return np.zeros(shape, np.float32)

    def numpy(self, a: NDArray[np.float32]) -> NDArray[np.float32]:
        return a

    def join(self, parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.concatenate(parts, axis=-1)


class NumpyExecutor(OnHost):
    """The executor of the base install: float32 BLAS."""

    name = "numpy"

    def __init__(self) -> None:
        check_exact(self)

    def load(self, layer: Layer) -> tuple[NDArray[np.float32], ...]:
        check_single(layer)
        scale = np.exp2(-layer.shift.astype(np.float32))
        parts = (layer.weight.T, layer.bias, scale, layer.low, layer.high)
        return tuple(np.ascontiguousarray(p, np.float32) for p in parts)

    def apply(self, layer: Any, a: NDArray[np.float32]) -> NDArray[np.float32]:
        weight, bias, scale, low, high = layer
        acc: NDArray[np.float32] = a @ weight
        acc += bias
        acc *= scale
        return np.clip(np.floor(acc, out=acc), low, high, out=acc)
