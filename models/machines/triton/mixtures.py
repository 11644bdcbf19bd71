"""Mixtures of logistics on a GPU: integer tables from parameters."""

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl

from lgcodec.models.entropy import mixture
from lgcodec.models.machines.triton.stack import (
    _FRACTION_BITS,
    _FRACTION_MASK,
    _MASS_BITS,
    _MIDDLE,
    _ROWS,
    _TOTAL,
    LOW_SYMBOLS,
    to_device,
)


@triton.jit
def component(parameters, k, valid, K: tl.constexpr):
    """Mean, inverse scale and weight of component k, int64. parameters: pointers to 3 K integers, see `Tables`."""
    mean = tl.load(parameters + k, mask=valid, other=0).to(tl.int64)
    inverse = tl.load(parameters + K + k, mask=valid, other=0).to(tl.int64)
    return mean, inverse, tl.load(parameters + 2 * K + k, mask=valid, other=0).to(tl.int64)


@triton.jit
def sigmoids(edge, mean, inverse, sigmoid):
    """Mixture.sigmoids: t, and sigmoid(t); int64."""
    t = tl.minimum(tl.maximum((edge - mean) * inverse + _MIDDLE, 0), 2 * _MIDDLE - 1)
    i = t >> _FRACTION_BITS
    below = tl.load(sigmoid + i).to(tl.int64)
    step = tl.load(sigmoid + i + 1).to(tl.int64) - below
    return t, below + ((step * (t & _FRACTION_MASK)) >> _FRACTION_BITS)


@triton.jit
def _cumulative(v, parameters, valid, sigmoid, size, origin, K: tl.constexpr):
    """Mixture.cumulative of v, int64 [B, A or 1]. parameters: pointers [B, 1] to 3 K integers, see `Tables`."""
    edge = (v + origin) * 64 - 32
    total = tl.zeros_like(v)
    for k in tl.static_range(K):
        mean, inverse, weight = component(parameters, k, valid, K)
        _, s = sigmoids(edge, mean, inverse, sigmoid)
        total += weight * s
    c = v + ((total * (_TOTAL - size)) >> _MASS_BITS)
    return tl.where(v == 0, 0, tl.where(v == size, _TOTAL, c))


@triton.jit(do_not_specialize=["lanes"])
def _tables(
    parameters, high, table, rows, sigmoid, lanes, size, origin,
    K: tl.constexpr, A: tl.constexpr, LOW: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """table: int32 [lanes rows, A], of the high symbols, or if LOW of the low ones given these."""
    n = tl.load(rows)
    if tl.program_id(0) * BLOCK >= lanes * n:
        return
    row = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)[:, None]
    valid = row < lanes * n
    entry = tl.arange(0, A)[None, :]
    parameters += row * (3 * K)
    if LOW:
        first = tl.load(high + row, mask=valid, other=0).to(tl.int64) * A
        base = _cumulative(first, parameters, valid, sigmoid, size, origin, K)
        span = _cumulative(first + A, parameters, valid, sigmoid, size, origin, K) - base
        c = _cumulative(first + entry, parameters, valid, sigmoid, size, origin, K)
        c = (c - base) * (_TOTAL - A) // tl.maximum(span, 1) + entry
    else:
        c = _cumulative((tl.zeros_like(row) + entry) * 16, parameters, valid, sigmoid, size, origin, K)
    tl.store(table + row * A + entry, c.to(tl.int32), mask=valid)


@triton.jit
def column(q, p, i):
    """q [B, P], p = 0 .. P - 1 -> q's column i, [B]."""
    return tl.sum(tl.where(p == i, q, 0), 1)


@triton.jit
def store_mixtures(q, p, centre, shift, to, exponential, inverses, last, valid, K: tl.constexpr):
    """mixture.Mixture.of n outputs q, int64 [B, P]: parameters (see `Tables`) to the pointers `to` [B].

    centre: int64 [B], what is added to all means; shift: to those but the first. last: of `exponential`.
    """
    top = tl.max(tl.where(p < K, q, -(1 << 20)), 1)
    distance = tl.minimum(top[:, None] - q, last)
    shares = tl.load(exponential + distance, mask=valid[:, None] & (p < K), other=0).to(tl.int64)
    total = tl.maximum(tl.sum(shares, 1), 1)
    rest = tl.zeros_like(centre) + 65536
    for i in tl.static_range(K - 1, -1, -1):
        weight = (column(shares, p, i) << 16) // total
        rest -= weight
        if i == 0:
            weight += rest
        mean = centre + column(q, p, K + i) + (shift if i > 0 else 0)
        tl.store(to + i, mean.to(tl.int32), mask=valid)
        tl.store(to + K + i, tl.load(inverses + column(q, p, 2 * K + i), mask=valid, other=0), mask=valid)
        tl.store(to + 2 * K + i, weight.to(tl.int32), mask=valid)


class Tables:
    """The tables of mixtures, on a device.

    Parameters of mixtures are int32 [n, 3 K]: K means, K inverse scales, K weights, as `mixture.Mixture` has them.
    """

    def __init__(self, tables: mixture.Tables, components: int, device: torch.device) -> None:
        self.components = components
        # Read up to one entry beyond the last one's.
        self.sigmoid = to_device(np.append(tables.sigmoid, tables.sigmoid[-1:]), device)

    def high(
        self, parameters: torch.Tensor, rows: torch.Tensor, lanes: int, size: int, origin: int, table: torch.Tensor
    ) -> int:
        """Tables of the high symbols of `lanes` times `rows` mixtures; returns their alphabet."""
        return self._make(parameters, parameters, rows, lanes, size, origin, table, False)

    def low(
        self, parameters: torch.Tensor, high: torch.Tensor, rows: torch.Tensor, lanes: int, size: int, origin: int,
        table: torch.Tensor,
    ) -> int:  # fmt: skip
        """Tables of the low symbols given the high ones, int32 [n]; returns their alphabet."""
        return self._make(parameters, high, rows, lanes, size, origin, table, True)

    def _make(
        self, parameters: torch.Tensor, high: torch.Tensor, rows: torch.Tensor, lanes: int, size: int, origin: int,
        table: torch.Tensor, low: bool,
    ) -> int:  # fmt: skip
        alphabet = LOW_SYMBOLS if low else size // LOW_SYMBOLS
        grid = (triton.cdiv(len(parameters), _ROWS),)
        _tables[grid](
            parameters, high, table, rows, self.sigmoid, lanes, size, origin,
            K=self.components, A=alphabet, LOW=low, BLOCK=_ROWS, num_warps=4,
        )  # fmt: skip
        return alphabet
