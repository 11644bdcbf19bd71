"""Integer layers, and the machines that run them.

A layer is y = clip(floor((W a + b) / 2**shift), low, high) over integers. float32 holds every integer below 2**24, so
plain float32 products and sums over integer values are exact, in any order, on any hardware, blocking and thread
count, if

    sum_j |W[o, j]| * limit[j] + |b[o]| < 2**24        for every output o, with |a[j]| <= limit[j].

`quantise` proves that bound for each output channel when a network is exported; `Layer` proves it again when weights
are loaded. An executor multiplies a known product before it is trusted (TF32, bf16 or a Winograd transform would show).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.errors import ExactnessError, ModelError

EXACT = 1 << 24
WEIGHT_LIMIT = INPUT_LIMIT = 32767  # so that machines may also multiply as int16, and add as int32


@dataclass(frozen=True)
class Layer:
    """weight: int16 [O, I]; bias: int32 [O], rounding included; shift: int32 [O]; limit: int32 [I], low, high: int32
    [O].

    Raises ModelError where the bound above does not hold.
    """

    weight: NDArray[np.int16]
    bias: NDArray[np.int32]
    shift: NDArray[np.int32]
    limit: NDArray[np.int32]
    low: NDArray[np.int32]
    high: NDArray[np.int32]
    exact: ClassVar[int] = EXACT  # the bound, of whichever machines run such a layer

    def __post_init__(self) -> None:
        kinds = [a.dtype for a in (self.weight, self.bias, self.shift)]
        if self.weight.ndim != 2 or kinds != [np.int16, np.int32, np.int32]:
            raise ModelError("malformed integer layer")  # wider integers could wrap the bound itself
        O, I = self.weight.shape
        shapes = [(a.shape == (n,)) for a, n in ((self.bias, O), (self.shift, O), (self.limit, I), (self.high, O))]
        if not all(shapes) or self.low.shape != (O,) or self.shift.min() < 0 or self.shift.max() > 23:
            raise ModelError("malformed integer layer")
        if self.limit.min() < 0 or self.limit.max() > INPUT_LIMIT:
            raise ModelError("an integer layer's inputs exceed 16 bits")
        if self.bound().max() >= self.exact:
            raise ModelError(f"an integer layer exceeds its exact range (2**{self.exact.bit_length() - 1})")

    def bound(self) -> NDArray[np.int64]:
        """The largest partial sum that any input within `limit` can cause, int64 [O]."""
        reach = np.abs(self.weight.astype(np.int64)) @ self.limit.astype(np.int64)
        return reach + np.abs(self.bias.astype(np.int64))


class LearningLayer(Layer):
    """A layer whose weights move: sums are of int32, modulo 2**32. Only as trained it is known not to wrap."""

    exact = 1 << 31


def quantise(
    weight: NDArray[np.float64],
    bias: NDArray[np.float64],
    limit: NDArray[np.int32],
    low: NDArray[np.int32],
    high: NDArray[np.int32],
    shift: NDArray[np.int32] | None = None,
    *,
    typical: NDArray[np.float64] | None = None,
) -> Layer:
    """The finest layer within the bound, or the one of that shift [O], which learns. weight [O, I], bias [O] in output
    units per input unit; limit [I]; ends [O]. typical: inputs [I] for which biases make up for what weights lose.
    """
    if shift is not None:
        w = np.rint(weight * 2.0 ** shift[:, None])
        if np.abs(w).max() > WEIGHT_LIMIT:
            raise ModelError("weights too large for an integer layer")
        b = np.rint(bias * 2.0**shift + 2.0 ** (shift - 1.0))
        return LearningLayer(w.astype(np.int16), b.astype(np.int32), shift, limit, low, high)
    O = len(weight)
    shift = np.zeros(O, np.int32)
    best_weight, best_bias = np.zeros(weight.shape, np.int64), np.zeros(O, np.int64)
    for s in range(0, 24):
        w = np.rint(weight * 2.0**s).astype(np.int64)
        lost = 0 if typical is None else (weight * 2.0**s - w) @ typical
        b = np.rint(bias * 2.0**s + lost + (2.0 ** (s - 1) if s else 0)).astype(np.int64)
        fits = (np.abs(w) @ limit.astype(np.int64) + np.abs(b) < EXACT) & (np.abs(w).max(axis=1) <= WEIGHT_LIMIT)
        best_weight[fits], best_bias[fits], shift[fits] = w[fits], b[fits], s
        if s == 0 and not fits.all():
            raise ModelError("weights too large for an integer layer")
    return Layer(best_weight.astype(np.int16), best_bias.astype(np.int32), shift, limit, low, high)


class Executor(Protocol):
    """A machine for integer layers. Arrays are float32 holding integers, [n, I] -> [n, O]."""

    name: str

    def load(self, layer: Layer) -> Any: ...

    def array(self, a: NDArray[np.float32]) -> Any:
        """An array of this machine from a numpy one."""
        ...

    def zeros(self, *shape: int) -> Any: ...

    def numpy(self, a: Any) -> NDArray[np.float32]: ...

    def join(self, parts: Sequence[Any]) -> Any:
        """Side by side: [.., I], [.., J] -> [.., I + J]."""
        ...

    def apply(self, layer: Any, a: Any) -> Any:
        """clip(floor((W a + b) / 2**shift), low, high)."""
        ...


def check_single(layer: Layer) -> None:
    """Raises ExactnessError where float32 cannot hold a layer's sums."""
    if layer.exact > EXACT:
        raise ExactnessError("a layer that learns needs more bits than float32 has")


def check_exact(executor: Executor) -> None:
    """Raises ExactnessError unless a product that fills all 24 bits comes out right."""
    for inputs, outputs in ((96, 64), (171, 16)):
        weight = _scattered((outputs, inputs), 120).astype(np.int16)
        limit = np.full(inputs, (EXACT - 1) // np.abs(weight.astype(np.int64)).sum(axis=1).max(), np.int32)
        ends = np.full(outputs, -EXACT, np.int32), np.full(outputs, EXACT, np.int32)
        layer = Layer(weight, np.zeros(outputs, np.int32), np.zeros(outputs, np.int32), limit, *ends)
        a = _scattered((36, inputs), int(limit[0]))
        a[0] = np.sign(weight[0]) * limit
        got = executor.numpy(executor.apply(executor.load(layer), executor.array(a.astype(np.float32))))
        if not np.array_equal(got, a @ weight.T.astype(np.int64)):
            raise ExactnessError(f"{executor.name}: products of integers are not exact here; use another device")


def _scattered(shape: tuple[int, int], reach: int) -> NDArray[np.int64]:
    """Numbers from -reach to reach, below 2**26, without a pattern (Knuth's multiplicative hash): numpy.random takes
    longer to import than all there is to check.
    """
    hashed = np.arange(shape[0] * shape[1], dtype=np.int64) * 2654435761 % (1 << 32)
    return (hashed * (2 * reach + 1) >> 32).reshape(shape) - reach
