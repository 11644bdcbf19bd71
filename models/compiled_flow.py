"""The flow's networks compiled by numba: windows are gathered block by block in the cache, and multiplied there.

Everything here repeats `flow.Layers` and `mixture.Mixture.of` number for number; tests hold the two against each
other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models import flow
from lgcodec.models.compiled_convolution import apply, padded
from lgcodec.models.compiled_stack import jit
from lgcodec.models.flow import Int, Network, Parameters, View
from lgcodec.models.integer import Layer
from lgcodec.models.kernels import LANES, ROWS
from lgcodec.models.kernels import multiply_float as multiply

_BLOCK = 16 * ROWS  # positions at a time
_LIMIT = float(flow.DIFFERENCE_LIMIT)
_SLOPE_BITS = flow.SLOPE_BITS
_ONE = np.uint64(1)


@jit
def _trunk(planes, base, windows, nearest, place, absolute, layers, limit, centre, shared):
    """centre: int64 [n, C]; shared: float32 [n rounded up to ROWS, C H'], the heads' sums over h."""
    first, linear_layer, middle, heads = layers
    C, inputs = planes.shape[1], first[0].shape[0]
    flat = planes.reshape(-1)
    seen = np.zeros((_BLOCK, inputs), np.float32)
    four = np.zeros((_BLOCK, C), np.float32)
    linear = np.zeros((_BLOCK, linear_layer[0].shape[1]), np.float32)
    h = np.zeros((_BLOCK, first[0].shape[1]), np.float32)
    more = np.zeros((_BLOCK, first[0].shape[1]), np.float32)
    around, step = (windows * C).astype(np.uint64), np.uint64(C)
    for start in range(0, len(base), _BLOCK):
        n = min(_BLOCK, len(base) - start)
        for j in range(n):
            here = np.uint64(base[start + j]) * step
            if not absolute:
                for c in range(C):
                    four[j, c] = 0.0
                    for i in range(len(nearest)):
                        four[j, c] += planes[base[start + j] + nearest[i], c]
            row = seen[j]
            at = np.uint64(0)
            for i in range(len(around)):
                cell = here + around[i]
                for c in range(C):
                    d = np.float32(4.0) * flat[cell + np.uint64(c)] - four[j, c]
                    row[at] = min(max(d, np.float32(-_LIMIT)), np.float32(_LIMIT))
                    at += _ONE
            for i in range(place.shape[1]):
                row[at] = place[start + j, i]
                at += _ONE
        apply(seen, linear_layer, linear, n)
        for j in range(n):
            for c in range(C):
                centre[start + j, c] = np.int64(16.0 * four[j, c]) + np.int64(linear[j, c])
        apply(seen, first, h, n)
        for i in range(len(middle)):
            apply(h, middle[i], more, n)
            for j in range(n):
                for o in range(h.shape[1]):
                    h[j, o] = min(h[j, o] + more[j, o], limit)
        multiply(h, heads, shared[start:], n)


@jit
def _head(shared, first, c, layer, known, out, error, centre, coarse, exponential, inverses, K, weight, mean, inverse):
    """One channel's mixtures from the heads' sums. first: where its sums begin in `shared`; known: [c, H']."""
    bias, scale, low, high = layer
    hidden = len(bias)
    z = np.zeros((_BLOCK, out[0].shape[0]), np.float32)
    q = np.zeros((_BLOCK, out[0].shape[1]), np.float32)
    shares, last = np.zeros(K, np.int64), np.int64(len(exponential) - 1)
    for start in range(0, len(centre), _BLOCK):
        n = min(_BLOCK, len(centre) - start)
        for j in range(n):
            row, sums = z[j], shared[start + j, first : first + hidden]
            for o in range(hidden):
                row[o] = sums[o] + bias[o]
            for i in range(c):
                e, more = error[start + j, i] >> 3, known[i]
                value = np.float32(coarse[min(np.uint64(abs(e)), np.uint64(len(coarse) - 1))])
                value = value if e >= 0 else -value
                for o in range(hidden):
                    row[o] += more[o] * value
            for o in range(hidden):
                row[o] = min(max(np.floor(row[o] * scale[o]), low[o]), high[o])
        apply(z, out, q, n)
        for j in range(n):
            row, values = start + j, q[j]
            top = values[0]
            for k in range(1, K):
                top = max(top, values[k])
            total, rest = np.int64(0), np.int64(65536)
            for k in range(K):
                shares[k] = exponential[np.uint64(min(np.int64(top - values[k]), last))]
                total += shares[k]
            middle = centre[row, c]
            for i in range(c):
                middle += (np.int64(values[3 * K + i]) * error[row, i]) >> _SLOPE_BITS
            for k in range(K):
                # Exact: a quotient of integers below 2**34 is further than 2**-18 from an integer that it is not.
                share = np.int64((shares[k] << 16) / total)
                rest -= share
                weight[k, row] = share
                mean[k, row] = middle + np.int64(values[K + k])
                inverse[k, row] = inverses[np.uint64(values[2 * K + k])]
            weight[0, row] += rest


class CompiledLayers:
    """A flow.Machine."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.loaded = [[_load(network, phase) for phase in phases] for phases in network.layers]

    def __call__(self, number: int, phase: int, view: View) -> CompiledTrunk:
        return CompiledTrunk(self.network, self.loaded[number][phase], view)


def _load(network: Network, layers: dict[str, Layer]) -> tuple[Any, list[Any], int]:
    """The trunk's layers, the heads', and the columns that each head has in the trunk's last product."""
    config = network.config
    width = -(-config.width // LANES) * LANES
    hidden = -(-config.hidden // LANES) * LANES
    inputs = layers["first"].weight.shape[1]
    sums, heads = np.zeros((width, config.channels * hidden), np.float32), []
    for c in range(config.channels):
        layer = layers[f"head.{c}"]
        weight, *vectors = padded(layer, layer.weight.shape[1])
        sums[: config.width, c * hidden : (c + 1) * hidden] = weight[: config.width]
        known = np.ascontiguousarray(weight[config.width :])
        heads.append((tuple(vectors), known, padded(layers[f"out.{c}"], hidden)))
    middle = tuple(padded(layers[f"middle.{i}"], width) for i in range(config.depth))
    trunk = (padded(layers["first"], inputs), padded(layers["linear"], inputs), middle, sums)
    return trunk, heads, hidden


class CompiledTrunk:
    """A flow.Trunk."""

    def __init__(self, network: Network, loaded: tuple[Any, list[Any], int], view: View) -> None:
        self.network, (trunk, self.heads, self.hidden) = network, loaded
        config, n = network.config, len(view.base)
        self.centre: Int = np.zeros((n, config.channels), np.int64)
        self.shared: NDArray[np.float32] = np.zeros((-(-n // ROWS) * ROWS, trunk[3].shape[1]), np.float32)
        around = (view.planes, view.base, view.windows, view.nearest, view.place, bool(config.absolute))
        _trunk(*around, trunk, np.float32(config.limit), self.centre, self.shared)

    def prior(self, c: int, error: Int) -> Parameters:
        K, n = self.network.config.components, len(self.centre)
        exponential, inverses = self.network.tables.exponential, self.network.tables.inverse
        vectors, known, out = self.heads[c]
        sums = (self.shared, c * self.hidden, c)
        parts = (error, self.centre, self.network.coarse, exponential, inverses, K)
        result = (np.zeros((K, n), np.int64), np.zeros((K, n), np.int64), np.zeros((K, n), np.int64))
        head: Any = _head
        head(*sums, vectors, known, out, *parts, *result)
        return result
