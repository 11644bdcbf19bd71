"""Networks of int16 for numba: products, activations and windows, written as vector instructions for LLVM.

A layer's inputs and weights are integers of 16 bits, and `integer.Layer` proves that its sums stay below 2**24: sums of
int32 over pairs of int16 are the same numbers as float32 gives, at twice the speed. LLVM finds the instruction that
multiplies and adds pairs (vpdpwssd, vpmaddwd, smlal), whatever the processor calls it.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

from lgcodec.models.layers.integer import Layer
from lgcodec.models.machines.numba.vectors import _I16, _I32, _I64, LANES, Vector, at, lowered, steps


def _make_product(vectors: int, rows: int, across: bool = False) -> Any:
    """sums[:n, column : column + 16 vectors] = a[:n] @ w, `rows` at a time; n is rounded up to a multiple of `rows`.

    a: int16 [N, I], or across: [P, 2 N], its transpose laid out as w is; w: int16 [layers, P, 2 O], pairs of inputs
    side by side, 2 P <= I; sums: int32 [N, S].
    """

    def emit(b: Any, a: Any, w: Any, layer: Any, column: Any, sums: Any, n: Any) -> None:
        kind = ir.VectorType(_I32, LANES)
        wide = ir.VectorType(_I32, 2 * LANES)
        evens, odds = [2 * i for i in range(LANES)], [2 * i + 1 for i in range(LANES)]
        totals = [[cgutils.alloca_once(b, kind) for _ in range(vectors)] for _ in range(rows)]
        pair = b.mul(column, _I64(2))
        with steps(b, n, rows) as (row, _):
            places = [b.add(row, _I64(r)) for r in range(rows)]
            firsts = [at(b, a, *((_I64(0), b.mul(place, _I64(2))) if across else (place, _I64(0)))) for place in places]
            starts = [b.bitcast(first, _I32.as_pointer()) for first in firsts]
            apart = b.sdiv(a[1][1], _I64(2)) if across else _I64(1)  # of a row's pairs of inputs
            for line in totals:
                for total in line:
                    b.store(ir.Constant(kind, None), total)
            with cgutils.for_range(b, w[1][1]) as loop:
                start = at(b, w, layer, loop.index, pair)
                weights = [Vector.load(b, b.gep(start, [_I64(2 * LANES * v)]), _I16, 2 * LANES) for v in range(vectors)]
                pairs = b.mul(loop.index, apart)
                for r in range(rows):
                    two = Vector.spread(b, b.load(b.gep(starts[r], [pairs])), LANES)
                    inputs = Vector(b, b.bitcast(two.value, ir.VectorType(_I16, 2 * LANES)))
                    for v in range(vectors):
                        products = Vector(b, b.mul(b.sext(inputs.value, wide), b.sext(weights[v].value, wide)))
                        both = products.pick(evens) + products.pick(odds)
                        b.store(b.add(b.load(totals[r][v]), both.value), totals[r][v])
            for r in range(rows):
                for v in range(vectors):
                    place = at(b, sums, places[r], b.add(column, _I64(LANES * v)))
                    Vector(b, b.load(totals[r][v])).store(place)

    @intrinsic
    def product(typingctx, a, w, layer, column, sums, n):
        return lowered(emit, a, w, layer, column, sums, n)

    return product


def _rows() -> int:
    """How many vectors of sums registers hold beside weights and inputs: 24 in 32 of 512 bits, 6 in 16 of 256 (or 32 of
    128, on Arm), 2 in 16 of 128. With more, a product is half as fast.
    """
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    if "+avx512f" in features:
        return 24
    return 2 if triple.startswith("x86_64") and "+avx2" not in features else 6


def _make_multiply(across: bool) -> Any:
    rows = _rows()
    is_wide = rows == 24
    product4, product2, product1 = (_make_product(v, n, across) for v, n in ((4, 6), (2, 12), (1, rows)))

    @nb.njit(nogil=True)
    def multiply(a, w, layer, sums, n):
        """sums[:n] = a[:n] @ w[layer]; arrays as in `_make_product`, of BLOCK rows."""
        column, left = 0, w.shape[2] // 32
        while is_wide and left >= 4:
            product4(a, w, layer, column, sums, n)
            column, left = column + 64, left - 4
        if is_wide and left >= 2:
            product2(a, w, layer, column, sums, n)
            column, left = column + 32, left - 2
        while left:
            product1(a, w, layer, column, sums, n)
            column, left = column + 16, left - 1

    return multiply


multiply, multiply_across = _make_multiply(False), _make_multiply(True)


def _make_activate(adds: bool) -> Any:
    """out[:n, :O] = clip((sums + bias) >> shift, low, high), or this and `out`, clipped again.

    sums: int32 [N, S]; ends: int32 [layers, 4, O], bias, shift, low, high; out: int16 or int32 [N, O or more].
    """

    def emit(b: Any, sums: Any, ends: Any, layer: Any, out: Any, n: Any) -> None:
        with steps(b, ends[1][2], LANES) as (column, _):
            bias, shift, low, high = (
                Vector.load(b, at(b, ends, layer, _I64(i), column), _I32, LANES) for i in range(4)
            )
            with cgutils.for_range(b, n) as loop:
                total = Vector.load(b, at(b, sums, loop.index, column), _I32, LANES)
                value = ((total + bias) >> shift).clip(low, high)
                target = at(b, out, loop.index, column)
                element = target.type.pointee
                if adds:
                    value = (Vector.load(b, target, element, LANES).to(_I32) + value).clip(low, high)
                value.to(element).store(target)

    @intrinsic
    def activate(typingctx, sums, ends, layer, out, n):
        return lowered(emit, sums, ends, layer, out, n)

    return activate


activate, activate_onto = _make_activate(False), _make_activate(True)


def _make_look(channels: int) -> Any:
    """What a network sees of n positions: seen[j, columns[r] : columns[r] + LANES] = clip(4 v - four, -limit, limit)
    of the samples v from here[j] + runs[r] on, and four[j], by channel, the sum of those at here[j] + nearest[i].

    planes: int16, flat; here, nearest, runs, columns: int64; seen: int16 [N, I]; four: int16 [N, LANES];
    relative: 0 where four is 0 instead.
    """

    def emit(
        b: Any, planes: Any, here: Any, nearest: Any, runs: Any, columns: Any, relative: Any, limit: Any, seen: Any,
        four: Any, n: Any,
    ) -> None:  # fmt: skip
        def load(place: Any) -> Vector:
            return Vector.load(b, b.gep(planes[0], [place]), _I16, LANES)

        factor = Vector.spread(b, b.trunc(relative, _I16), LANES)
        end = Vector.spread(b, b.trunc(limit, _I16), LANES)
        begin = Vector.spread(b, b.trunc(b.neg(limit), _I16), LANES)
        with cgutils.for_range(b, n) as loop:
            place = b.load(b.gep(here[0], [loop.index]))
            around = [load(b.add(place, b.load(b.gep(nearest[0], [_I64(i)])))) for i in range(4)]
            anchor = (around[0] + around[1] + around[2] + around[3]) * factor
            anchor = anchor.pick([i % channels for i in range(LANES)])
            anchor.store(at(b, four, loop.index, _I64(0)))
            with cgutils.for_range(b, runs[1][0]) as run:
                values = load(b.add(place, b.load(b.gep(runs[0], [run.index])))) * 4 - anchor
                column = b.load(b.gep(columns[0], [run.index]))
                values.clip(begin, end).store(at(b, seen, loop.index, column))

    @intrinsic
    def look(typingctx, planes, here, nearest, runs, columns, relative, limit, seen, four, n):
        return lowered(emit, planes, here, nearest, runs, columns, relative, limit, seen, four, n)

    return look


look1, look3 = _make_look(1), _make_look(3)


def packed(layers: list[Layer], inputs: int) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
    """Layers of one shape, their inputs padded to at least `inputs`, as the functions here read them: weights int16
    [layers, P, 2 O'], bias, shift, low and high int32 [layers, 4, O'], O' a multiple of LANES; what is added gives 0.
    """
    most = -(-max((len(layer.weight) for layer in layers), default=1) // LANES) * LANES
    count, pairs = len(layers), -(-inputs // 2)
    weight = np.zeros((count, 2 * pairs, most), np.int16)
    ends = np.zeros((count, 4, most), np.int32)
    for i, layer in enumerate(layers):
        O, I = layer.weight.shape
        weight[i, :I, :O] = layer.weight.T
        ends[i, :, :O] = layer.bias, layer.shift, layer.low, layer.high
    beside = weight.reshape(count, pairs, 2, most).swapaxes(2, 3).reshape(count, pairs, 2 * most)
    return np.ascontiguousarray(beside), ends
