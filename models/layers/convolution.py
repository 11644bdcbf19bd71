"""Integer convolutions over `integer.Layer`, and the machines that run them.

A convolution of size k (odd) is one layer over the k x k window around each position, channels last:

    y[n, h, w, o] = clip(floor((b[o] + sum over dy, dx, i of W[o, (dy k + dx) I + i] a[n, h + dy - r, w + dx - r, i])
                               / 2**shift[o]), low[o], high[o]),   r = k // 2, a = 0 outside

so the bound of `Layer` covers it, and any machine that is exact for products is exact for convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.errors import ModelError
from lgcodec.models.layers.integer import Executor, Layer

Array = NDArray[np.float32]
_WINDOWS = 1 << 16  # positions whose windows are laid out at a time


@dataclass(frozen=True)
class Convolution:
    """layer: weight int16 [O, size * size * I], see above; its `limit` holds for every position. size: odd."""

    layer: Layer
    size: int

    def __post_init__(self) -> None:
        if self.size < 1 or self.size % 2 == 0 or self.layer.weight.shape[1] % self.size**2:
            raise ModelError("malformed convolution")


class Convolutions(Protocol):
    """Runs convolutions over float32 arrays that hold integers, [N, H, W, I] -> [N, H, W, O]. The arrays are its
    own, numpy's or torch's on any device: both know reshape, swapaxes, clip, slices and arithmetic.
    """

    name: str

    def array(self, a: Array) -> Any:
        """An array of its own from a numpy one."""
        ...

    def zeros(self, *shape: int) -> Any: ...

    def numpy(self, a: Any) -> Array: ...

    def join(self, parts: Sequence[Any]) -> Any:
        """Channels side by side."""
        ...

    def load(self, convolution: Convolution) -> Any: ...

    def convolve(self, loaded: Any, a: Any) -> Any: ...


class ExecutorConvolutions:
    """Convolutions by an integer.Executor: windows laid out as rows, some at a time, and one product."""

    def __init__(self, executor: Executor) -> None:
        self.executor, self.name = executor, executor.name
        self.array, self.zeros, self.numpy, self.join = executor.array, executor.zeros, executor.numpy, executor.join

    def load(self, convolution: Convolution) -> tuple[Any, int, int]:
        return self.executor.load(convolution.layer), convolution.size, len(convolution.layer.weight)

    def convolve(self, loaded: Any, a: Any) -> Any:
        (layer, size, outputs), (N, H, W, I) = loaded, a.shape
        if size == 1:
            return self.executor.apply(layer, a.reshape(N * H * W, I)).reshape(N, H, W, outputs)
        r = size // 2
        padded = self.zeros(N, H + 2 * r, W + 2 * r, I)
        padded[:, r : r + H, r : r + W] = a
        out, rows = self.zeros(N, H, W, outputs), max(1, _WINDOWS // (N * W))
        for y in range(0, H, rows):
            n = min(rows, H - y)
            around = [padded[:, y + dy : y + dy + n, dx : dx + W] for dy in range(size) for dx in range(size)]
            windows = self.join(around).reshape(N * n * W, size * size * I)
            out[:, y : y + n] = self.executor.apply(layer, windows).reshape(N, n, W, outputs)
        return out
