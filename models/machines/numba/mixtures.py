"""Mixtures of logistics for numba, as vector instructions for LLVM: eight values of the cumulative function at a time.

The numbers are those of `mixture.py`. Components come as int32 [K, S]: mean, inverse and weight of S mixtures; the
sigmoid table comes as `packed_sigmoids` gives it. S is at least SLOTS more than there are mixtures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from lgcodec.models.entropy import mixture
from lgcodec.models.interface import TOTAL
from lgcodec.models.machines.numba.vectors import Vector, at, lowered, steps

SLOTS = 8
EDGES = 4  # between high symbols that are looked at at once
SLOPE_BITS = 8  # of what a sample's error moves the means of the channels after it by
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_SLOTS32, _SLOTS64 = ir.VectorType(_I32, SLOTS), ir.VectorType(_I64, SLOTS)
_MIDDLE = mixture.SIGMOID_RANGE << (6 + mixture.INVERSE_BITS)
_MASS_BITS = mixture.WEIGHT_BITS + mixture.SIGMOID_BITS


def packed_sigmoids(tables: mixture.Tables) -> NDArray[np.int64]:
    """Each entry of the sigmoid table, and above its 32 bits how far it is to the next: int64 [2049]."""
    sigmoid = tables.sigmoid.astype(np.int64)
    return sigmoid + (np.diff(sigmoid, append=sigmoid[-1:]) << 32)


def _gather(b: Any, table: Any, places: Vector) -> Vector:
    """table[places]: int32 or int64, as the places are."""
    kind = places.value.type
    size, lanes = kind.element.width // 8, kind.count
    pointers = ir.VectorType(kind.element.as_pointer(), lanes)
    start = Vector.spread(b, b.ptrtoint(table[0], _I64), lanes)
    targets = b.inttoptr((places.to(_I64) * size + start).value, pointers)
    mask = ir.Constant(ir.VectorType(ir.IntType(1), lanes), [True] * lanes)
    function = ir.FunctionType(kind, [pointers, _I32, mask.type, kind])
    gather = cgutils.get_or_insert_function(b.module, function, f"llvm.masked.gather.v{lanes}i{8 * size}.v{lanes}p0")
    return Vector(b, b.call(gather, [targets, _I32(size), mask, ir.Constant(kind, None)]))


def sigmoids(b: Any, t: Vector, table: Any) -> Vector:
    """The table at t (2**-20 from -16 on), with linear interpolation."""
    bits = mixture.FRACTION_BITS
    clipped = t.clip(0, 2 * _MIDDLE - 1)
    entry = _gather(b, table, clipped >> bits)
    return (entry & 0xFFFFFFFF) + ((entry >> 32).times(clipped & ((1 << bits) - 1)) >> bits)


def _cumulative(
    b: Any, edges: list[Vector], load: Any, parts: tuple[Any, Any, Any], size: Any, origin: Any, table: Any
) -> list[Vector]:
    """Mixture.cumulative of inner symbols `edges`. load: a Vector of a component's mean, inverse or weight."""
    kind = edges[0].value.type
    totals = [cgutils.alloca_once(b, kind) for _ in edges]
    for total in totals:
        b.store(ir.Constant(kind, None), total)

    def spread(scalar: Any) -> Vector:
        return Vector.spread(b, scalar, kind.count)

    low = spread(b.sub(b.mul(origin, _I64(mixture.MEAN_UNIT)), _I64(mixture.MEAN_UNIT // 2)))
    with cgutils.for_range(b, parts[0][1][0]) as loop:
        mean, inverse, weight = (load(at(b, part, loop.index, _I64(0))) for part in parts)
        for edge, total in zip(edges, totals, strict=True):
            t = (edge * mixture.MEAN_UNIT + (low - mean)).times(inverse) + _MIDDLE
            b.store(b.add(b.load(total), weight.times(sigmoids(b, t, table)).value), total)
    share = spread(b.sub(_I64(TOTAL), size))
    return [
        edge + ((Vector(b, b.load(total)) * share) >> _MASS_BITS) for edge, total in zip(edges, totals, strict=True)
    ]


def _lanes(lanes: int, first: int = 0) -> Any:
    return ir.Constant(ir.VectorType(_I64, lanes), list(range(first, first + lanes)))


def _count(b: Any, flags: Any) -> Any:
    """How many lanes are set, i64. flags: <n x i1>."""
    return b.zext(b.ctpop(b.zext(b.bitcast(flags, ir.IntType(flags.type.count)), ir.IntType(16))), _I64)


def _one(b: Any, i: Any, lanes: int) -> Any:
    """Loads mixture i for all lanes."""
    return lambda pointer: Vector.spread(b, b.sext(b.load(b.gep(pointer, [i])), _I64), lanes)


def _high(
    b: Any, point: Any, mean: Any, inverse: Any, weight: Any, i: Any, first: Any, size: Any, origin: Any, table: Any,
    out: Any,
) -> Any:  # fmt: skip
    edges = (Vector(b, _lanes(EDGES)) + Vector.spread(b, first, EDGES)) * mixture.LOW_SYMBOLS
    (c,) = _cumulative(b, [edges], _one(b, i, EDGES), (mean, inverse, weight), size, origin, table)
    c.store(b.gep(out[0], [_I64(1)]))
    return _count(b, b.icmp_signed("<=", c.value, Vector.spread(b, point, EDGES).value))


@intrinsic
def high_edges(typingctx, point, mean, inverse, weight, i, first, size, origin, table, out):
    """out[j + 1] = C(16 (first + j)) of mixture i for j < EDGES, all between 0 and the size; returns how many of these
    are at most `point`. out: int64.
    """
    return lowered(_high, point, mean, inverse, weight, i, first, size, origin, table, out)


def _low(
    b: Any, point: Any, mean: Any, inverse: Any, weight: Any, i: Any, first: Any, base: Any, span: Any, size: Any,
    origin: Any, table: Any, out: Any,
) -> Any:  # fmt: skip
    def inside(edges: Vector) -> tuple[Vector, Any]:
        """The places' shares before the division, and where they begin at most at `point`."""
        lanes = edges.value.type.count
        whole = edges + Vector.spread(b, first, lanes)
        (c,) = _cumulative(b, [whole], _one(b, i, lanes), (mean, inverse, weight), size, origin, table)
        above = (c - Vector.spread(b, base, lanes)).times(TOTAL - mixture.LOW_SYMBOLS)
        # quotient + j <= point, without the division: above < (point - j + 1) span
        reach = (Vector.spread(b, b.add(point, _I64(1)), lanes) - edges).times(Vector.spread(b, span, lanes))
        return above, b.icmp_signed("<", above.value, reach.value)

    even = Vector(b, ir.Constant(_SLOTS64, [2 * j + 2 for j in range(SLOTS)]))
    above, flags = inside(even)
    above.store(b.gep(out[0], [_I64(1)]))
    inner = ir.Constant(flags.type, [True] * 7 + [False])
    pair = _count(b, b.and_(flags, inner))
    middle = b.add(b.mul(pair, _I64(2)), _I64(1))
    one, flag = inside(Vector.spread(b, middle, 1))
    one.store(b.gep(out[0], [_I64(SLOTS + 1)]))
    is_odd = b.extract_element(flag, _I32(0))
    return b.add(b.mul(pair, _I64(2)), b.zext(is_odd, _I64))


@intrinsic
def low_edges(typingctx, point, mean, inverse, weight, i, first, base, span, size, origin, table, out):
    """How many entries 1..15 of Mixture.low_table are at most `point`; entry j is out[j'] // span + j, where j' = j / 2
    for even j, and SLOTS + 1 for the odd one beside the answer: (C(first + j) - base) (TOTAL - 16). out: int64 [16].
    """
    return lowered(_low, point, mean, inverse, weight, i, first, base, span, size, origin, table, out)


def _store(b: Any, values: Vector, pointer: Any, flags: Any) -> None:
    target = b.bitcast(pointer, values.value.type.as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [values.value.type, target.type, _I32, flags.type])
    store = cgutils.get_or_insert_function(b.module, kind, f"llvm.masked.store.v{SLOTS}i32.p0")
    b.call(store, [values.value, target, _I32(4), flags])


def _shares(
    b: Any, values: Any, mean: Any, inverse: Any, weight: Any, n: Any, size: Any, origin: Any, table: Any,
    starts: Any, frequencies: Any, first: Any,
) -> None:  # fmt: skip
    def real(v: Vector) -> Any:
        return b.sitofp(v.value, ir.VectorType(ir.DoubleType(), SLOTS))

    with cgutils.for_range_slice(b, _I64(0), n, _I64(SLOTS), inc=True) as (i, _):
        v = Vector.load(b, b.gep(values[0], [i]), _I32, SLOTS).to(_I64)
        high = v & ~15
        edges = [high, high + 16, v, v + 1]

        def load(pointer: Any, i: Any = i) -> Vector:
            return Vector.load(b, b.gep(pointer, [i]), _I32, SLOTS).to(_I64)

        ends = []
        all_inner = _cumulative(b, edges, load, (mean, inverse, weight), size, origin, table)
        top = Vector.spread(b, size, SLOTS)
        for edge, inner in zip(edges, all_inner, strict=True):
            zero, whole = ir.Constant(_SLOTS64, None), ir.Constant(_SLOTS64, [TOTAL] * SLOTS)
            below = b.select(b.icmp_signed("==", edge.value, zero), zero, inner.value)
            ends.append(Vector(b, b.select(b.icmp_signed("==", edge.value, top.value), whole, below)))
        base, end, low, above = ends
        span = end - base

        def within(c: Vector, base: Vector = base, span: Vector = span) -> Vector:
            # Exact: below 2**24, and 2**-24 away from the next integer where it is none.
            quotient = b.fdiv(real((c - base).times(TOTAL - mixture.LOW_SYMBOLS)), real(span))
            return Vector(b, b.fptosi(quotient, _SLOTS64))

        start = within(low) + (v - high)
        stop = within(above) + (v - high) + 1
        at_high, at_low = b.add(first, i), b.add(b.add(first, n), i)
        real_lanes = b.icmp_signed("<", _lanes(SLOTS), Vector.spread(b, b.sub(n, i), SLOTS).value)
        for place, begin, frequency in ((at_high, base, span), (at_low, start, stop - start)):
            for part, target in ((begin, starts), (frequency, frequencies)):
                _store(b, part.to(_I32), b.gep(target[0], [place]), real_lanes)


@intrinsic
def shares(typingctx, values, mean, inverse, weight, n, size, origin, table, starts, frequencies, first):
    """The shares of n symbols: of the high ones from `first` on, and of the low ones behind them.

    values: int32 [n + SLOTS], less the origin; starts, frequencies: uint32.
    """
    return lowered(_shares, values, mean, inverse, weight, n, size, origin, table, starts, frequencies, first)


def _transposed(b: Any, rows: list[Vector]) -> list[Vector]:
    """The columns of SLOTS vectors of SLOTS lanes: blocks that are exchanged across the diagonal, ever smaller."""
    size = SLOTS
    while size > 1:
        half = size // 2
        upper = [lane if lane % size < half else SLOTS + lane - half for lane in range(SLOTS)]
        lower = [lane + half if lane % size < half else SLOTS + lane for lane in range(SLOTS)]
        places = [ir.Constant(_SLOTS32, [_I32(lane) for lane in lanes]) for lanes in (upper, lower)]
        turned = list(rows)
        for i in range(SLOTS):
            if i % size < half:
                for k, lanes in enumerate(places):
                    exchanged = b.shuffle_vector(rows[i].value, rows[i + half].value, lanes)
                    turned[i + k * half] = Vector(b, exchanged)
        rows, size = turned, half
    return rows


def _mixtures(
    b: Any, q: Any, n: Any, first: Any, c: Any, exponential: Any, inverses: Any, centre: Any, error: Any, turned: Any,
    mean: Any, inverse: Any, weight: Any,
) -> None:  # fmt: skip
    K = mean[1][0]

    def load(array: Any, *indices: Any) -> Vector:
        return Vector.load(b, at(b, array, *indices), _I32, SLOTS)

    def double(v: Vector) -> Any:
        return b.sitofp(v.value, ir.VectorType(ir.DoubleType(), SLOTS))

    def output(kind: int, k: Any) -> Vector:
        return load(turned, b.add(b.mul(K, _I64(kind)), k), _I64(0))

    names = ("top", "total", "middle", "rest")
    top, total, middle, rest = (cgutils.alloca_once(b, _SLOTS32, name=name) for name in names)
    with steps(b, n, SLOTS) as (j, _):
        place = b.add(first, j)
        with steps(b, q[1][1], SLOTS) as (column, _):
            rows = [load(q, b.add(j, _I64(r)), column) for r in range(SLOTS)]
            for i, values in enumerate(_transposed(b, rows)):
                values.store(at(b, turned, b.add(column, _I64(i)), _I64(0)))
        b.store(output(0, _I64(0)).value, top)
        with cgutils.for_range(b, K) as loop:
            before, logit = b.load(top), output(0, loop.index).value
            b.store(b.select(b.icmp_signed(">", logit, before), logit, before), top)
        b.store(ir.Constant(_SLOTS32, None), total)
        last = Vector.spread(b, b.trunc(b.sub(exponential[1][0], _I64(1)), _I32), SLOTS)
        with cgutils.for_range(b, K) as loop:
            below = (Vector(b, b.load(top)) - output(0, loop.index)).clip(0, last)
            share = _gather(b, exponential, below)
            share.store(at(b, turned, loop.index, _I64(0)))
            b.store(b.add(b.load(total), share.value), total)
        b.store(load(centre, c, place).value, middle)
        with cgutils.for_range(b, c) as loop:
            slope = (output(3, loop.index) * load(error, loop.index, place)) >> SLOPE_BITS
            b.store(b.add(b.load(middle), slope.value), middle)
        b.store(ir.Constant(_SLOTS32, [1 << mixture.WEIGHT_BITS] * SLOTS), rest)
        with cgutils.for_range(b, K) as loop:
            k = loop.index
            # Exact: a quotient of integers below 2**34 is further than 2**-18 from an integer that it is not.
            whole = b.fmul(double(output(0, k)), ir.Constant(ir.VectorType(ir.DoubleType(), SLOTS), [65536.0] * SLOTS))
            share = Vector(b, b.fptosi(b.fdiv(whole, double(Vector(b, b.load(total)))), _SLOTS32))
            b.store(b.sub(b.load(rest), share.value), rest)
            share.store(at(b, weight, k, place))
            (Vector(b, b.load(middle)) + output(1, k)).store(at(b, mean, k, place))
            _gather(b, inverses, output(2, k)).store(at(b, inverse, k, place))
        (load(weight, _I64(0), place) + Vector(b, b.load(rest))).store(at(b, weight, _I64(0), place))


@intrinsic
def mixtures(typingctx, q, n, first, c, exponential, inverses, centre, error, turned, mean, inverse, weight):
    """Mixture.of for rows 0 .. n - 1 of q, into mean, inverse, weight [K, S] from `first` on; n is rounded up to SLOTS.

    q: int32 [N, O], a row the logits, means, log scales and c slopes of a position, O a multiple of SLOTS; centre,
    error: int32 [C, S], what means and slopes are relative to; turned: int32 [O, SLOTS], scratch.
    """
    return lowered(
        _mixtures, q, n, first, c, exponential, inverses, centre, error, turned, mean, inverse, weight
    )  # fmt: skip
