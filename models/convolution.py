"""Integer convolutions over `integer.Layer`, and the machines that run them.

A convolution of size k (odd) is one layer over the k x k window around each position, channels last:

    y[n, h, w, o] = clip(floor((b[o] + sum over dy, dx, i of W[o, (dy k + dx) I + i] a[n, h + dy - r, w + dx - r, i])
                               / 2**shift[o]), low[o], high[o]),   r = k // 2, a = 0 outside

so the bound of `Layer` covers it, and any machine that is exact for products is exact for convolutions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.errors import ModelError
from lgcodec.models.integer import Executor, Layer, NumpyExecutor

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

    @property
    def inputs(self) -> int:
        """I."""
        return int(self.layer.weight.shape[1]) // self.size**2


class Machine(Protocol):
    """Runs convolutions over float32 arrays that hold integers, [N, H, W, I] -> [N, H, W, O]."""

    name: str

    def load(self, convolution: Convolution) -> Any: ...

    def convolve(self, loaded: Any, a: Array) -> Array: ...


class ExecutorMachine:
    """Convolutions by an integer.Executor: windows laid out as rows, some at a time, and one product."""

    def __init__(self, executor: Executor) -> None:
        self.executor, self.name = executor, executor.name

    def load(self, convolution: Convolution) -> tuple[Any, int]:
        return self.executor.load(convolution.layer), convolution.size

    def convolve(self, loaded: Any, a: Array) -> Array:
        layer, size = loaded
        parts = [self.executor.numpy(self.executor.apply(layer, self.executor.array(w))) for w in windows(a, size)]
        return np.concatenate(parts).reshape(*a.shape[:3], -1)


def windows(a: Array, size: int) -> Iterator[Array]:
    """[N, H, W, I] -> the windows of all positions in order, some rows at a time, [n, size * size * I]."""
    N, H, W, I = a.shape
    rows = max(1, _WINDOWS // W)
    if size == 1:
        flat = np.ascontiguousarray(a, np.float32).reshape(N * H * W, I)
        yield from (flat[start : start + rows * W] for start in range(0, len(flat), rows * W))
        return
    r = size // 2
    padded = np.pad(a, ((0, 0), (r, r), (r, r), (0, 0))).astype(np.float32)
    # [N, H, W, I, size, size]; writeable, because torch warns of arrays that are not
    views = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2), writeable=True)
    if rows >= H:
        step = max(1, rows // H)
        for n in range(0, N, step):
            yield views[n : n + step].transpose(0, 1, 2, 4, 5, 3).reshape(-1, size * size * I)
        return
    for n in range(N):
        for y in range(0, H, rows):
            yield views[n, y : y + rows].transpose(0, 1, 3, 4, 2).reshape(-1, size * size * I)


def machine(name: str) -> Machine:
    """name: "numpy", "numba", "torch" or "cuda". Raises ModelError, ExactnessError where the device is not exact."""
    if name == "numpy":
        return ExecutorMachine(NumpyExecutor())
    if name == "numba":
        from lgcodec.models.compiled_convolution import CompiledMachine

        return CompiledMachine()
    if name in ("torch", "cuda"):
        from lgcodec.models.torch_executor import TorchExecutor

        return ExecutorMachine(TorchExecutor("cpu" if name == "torch" else "cuda"))
    raise ModelError(f"no machine {name!r}: expected numpy, numba, torch or cuda")
