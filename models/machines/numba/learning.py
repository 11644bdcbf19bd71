"""Layers that learn, compiled by numba: the integers of `learning.py`, one tile at a time, as vector instructions.

A learning layer's weights come packed as `short_kernels` reads them and are changed in place. Its inputs and the errors
of its outputs are laid out in pairs of pixels, so that the gradient is one more product of int16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from lgcodec.models.entropy import mixture
from lgcodec.models.layers import learning
from lgcodec.models.machines.numba.jit import jit
from lgcodec.models.machines.numba.mixtures import SLOTS, sigmoids
from lgcodec.models.machines.numba.products import multiply, multiply_across
from lgcodec.models.machines.numba.vectors import BLOCK, LANES, Vector, at, lowered, steps

_I16, _I32, _I64, _F64 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.DoubleType()
_DOUBLES = ir.VectorType(_F64, LANES)
_BESIDE = [lane // 2 + lane % 2 * LANES for lane in range(2 * LANES)]  # of two vectors, lane by lane
_HALF, _FRACTION, _LIMIT = 1 << (learning.FRACTION - 1), learning.FRACTION, learning.ERROR_LIMIT
_FADING, _SMALL, _FACTOR = 2.0**-learning.FADING, float(learning.SMALL), float(learning.FACTOR)
_ROW, _COLUMN, _FIRST = 2.0**learning.ROW, 2.0**learning.COLUMN, float(learning.FIRST_MOMENT)
_MASTER, _ENDS = learning.MASTER, 32767 << learning.MASTER
_BITS = learning.ROW + learning.COLUMN - learning.FRACTION - learning.MASTER  # and the rate
_ERROR = learning.ERROR
_MIDDLE, _FRACTION_BITS = mixture.SIGMOID_RANGE << (6 + mixture.INVERSE_BITS), mixture.FRACTION_BITS
_SIGMOID_BITS, _WHOLE = mixture.SIGMOID_BITS, 1 << mixture.SIGMOID_BITS
_WEIGHT_BITS, _HIGHEST = mixture.WEIGHT_BITS, 10 * mixture.LOG_SCALE_UNIT


def _doubles(b: Any, v: Vector) -> Any:
    return b.sitofp(v.value, _DOUBLES)


def _spread(b: Any, scalar: Any) -> Any:
    return Vector.spread(b, scalar, LANES).value


def _small(b: Any, gradient: Any, i: Any, column: Any) -> Any:
    """LANES gradients as they are squared, doubles."""
    g = Vector.load(b, at(b, gradient, i, column), _I32, LANES)
    return _doubles(b, (g >> learning.LESS).clip(-learning.MOST, learning.MOST))


def _squares(b: Any, gradient: Any, own: Any, rows: Any, columns: Any) -> None:
    add = ir.FunctionType(_F64, [_F64, _DOUBLES])
    total = cgutils.get_or_insert_function(b.module, add, f"llvm.vector.reduce.fadd.v{LANES}f64")
    with cgutils.for_range(b, own) as loop:
        across = cgutils.alloca_once(b, _DOUBLES)
        b.store(ir.Constant(_DOUBLES, None), across)
        with steps(b, rows[1][0], LANES) as (column, _):
            small = _small(b, gradient, loop.index, column)
            square = b.fmul(small, small)
            b.store(b.fadd(b.load(across), square), across)
            place = b.bitcast(b.gep(rows[0], [column]), _DOUBLES.as_pointer())
            b.store(b.fadd(b.load(place, align=8), square), place, align=8)
        # Any order of additions: all sums are integers below 2**53.
        summed = b.call(total, [ir.Constant(_F64, 0.0), b.load(across)], fastmath=("reassoc",))
        b.store(summed, b.gep(columns[0], [loop.index]))


@intrinsic
def _square_sums(typingctx, gradient, own, rows, columns):
    """rows [O'] += and columns [own] = the sums of squares of gradient int32 [own, O']; float64."""
    return lowered(_squares, gradient, own, rows, columns)


def _moves(b: Any, gradient: Any, own: Any, rows: Any, columns: Any, master: Any, weight: Any, layer: Any) -> None:
    floor = ir.FunctionType(_DOUBLES, [_DOUBLES])
    down = cgutils.get_or_insert_function(b.module, floor, f"llvm.floor.v{LANES}f64")
    lanes = ir.Constant(ir.VectorType(_I32, 2 * LANES), [_I32(lane) for lane in _BESIDE])
    with steps(b, own, 2) as (i, _), steps(b, rows[1][0], LANES) as (column, _):
        factors = b.load(b.bitcast(b.gep(rows[0], [column]), _DOUBLES.as_pointer()), align=8)
        both = []
        for k in range(2):
            place = b.add(i, _I64(k))
            factor = b.load(b.gep(columns[0], [place]))
            small = _small(b, gradient, place, column)
            step = b.call(down, [b.fmul(b.fmul(small, factors), _spread(b, factor))])
            for operator, end in (("<", -learning.STEP), (">", learning.STEP)):
                bound = ir.Constant(_DOUBLES, [float(end)] * LANES)
                step = b.select(b.fcmp_ordered(operator, step, bound), bound, step)
            taken = Vector(b, b.fptosi(step, ir.VectorType(_I32, LANES)))
            target = at(b, master, layer, place, column)
            moved = (Vector.load(b, target, _I32, LANES) - taken).clip(-_ENDS, _ENDS)
            moved.store(target)
            both.append(((moved + (1 << (_MASTER - 1))) >> _MASTER).to(_I16).value)
        pair = b.sdiv(i, _I64(2))
        beside = Vector(b, b.shuffle_vector(both[0], both[1], lanes))
        beside.store(at(b, weight, layer, pair, b.mul(column, _I64(2))))


@intrinsic
def _move(typingctx, gradient, own, rows, columns, master, weight, layer):
    """Takes a step: master int32 [layers, own', O'] and weight int16 [layers, P, 2 O'] of that layer. rows, columns:
    float64, what a gradient is multiplied with.
    """
    return lowered(_moves, gradient, own, rows, columns, master, weight, layer)


@jit
def fresh(weight, outputs, own):
    """What one tile learns of layers packed int16 [layers, P, 2 O']: (weights, masters int32 [layers, own', O'],
    moments of rows [layers, O'] and columns [layers, own'], a gradient's room int32 [own', O'], factors of rows and
    columns); own' a multiple of BLOCK. outputs: how many of O' are real.
    """
    layers, width = len(weight), weight.shape[2] // 2
    room = (own + BLOCK - 1) // BLOCK * BLOCK
    master = np.zeros((layers, room, width), np.int32)
    for m in range(layers):
        for i in range(min(own, 2 * weight.shape[1])):
            for o in range(width):
                master[m, i, o] = np.int32(weight[m, i >> 1, 2 * o + (i & 1)]) << _MASTER
    rows, columns = np.zeros((layers, width)), np.zeros((layers, room))
    rows[:, :outputs] = own * _FIRST
    columns[:, :own] = outputs * _FIRST
    return weight.copy(), master, rows, columns, np.zeros((room, width), np.int32), np.zeros(width), np.zeros(room)


def _pairs(b: Any, a: Any, n: Any, out: Any) -> None:
    lanes = ir.Constant(ir.VectorType(_I32, 2 * LANES), [_I32(lane) for lane in _BESIDE])
    with steps(b, n, 2) as (j, _):
        is_lone = b.icmp_signed("==", b.add(j, _I64(1)), n)
        with steps(b, a[1][1], LANES) as (column, _):
            upper, lower = (Vector.load(b, at(b, a, b.add(j, _I64(k)), column), _I16, LANES) for k in range(2))
            second = b.select(is_lone, ir.Constant(lower.value.type, None), lower.value)
            target = at(b, out, b.sdiv(j, _I64(2)), b.mul(column, _I64(2)))
            Vector(b, b.shuffle_vector(upper.value, second, lanes)).store(target)


@intrinsic
def paired(typingctx, a, n, out):
    """The first n rows of int16 a [N, X] laid out two by two: out [P, 2 X'], zero where there is no row; N even, X a
    multiple of LANES.
    """
    return lowered(_pairs, a, n, out)


@jit
def learn(state, layer, own, rate, inputs, errors, n):
    """Learner._step of one layer. inputs int16 [P, 2 own'], errors int16 [1, P, 2 O']: of n pixels, `paired`."""
    weight, master, all_rows, all_columns, gradient, row, column = state
    unit = 0.5 ** (_BITS + rate)
    pairs = (n + 1) // 2
    multiply_across(inputs, errors[:, :pairs], 0, gradient, own)
    rows, columns = all_rows[layer], all_columns[layer]
    row[:] = 0.0
    _square_sums(gradient, own, row, column)
    total = 0.0
    for o in range(len(row)):
        rows[o] += np.floor((row[o] - rows[o]) * _FADING)
        total += rows[o]
    whole = np.floor(np.sqrt(total)) * _ROW
    for o in range(len(row)):
        row[o] = min(np.floor(whole / (np.floor(np.sqrt(rows[o])) + _SMALL)), _FACTOR)
    for i in range(own):
        columns[i] += np.floor((column[i] - columns[i]) * _FADING)
        column[i] = min(np.floor(_COLUMN / (np.floor(np.sqrt(columns[i])) + _SMALL)), _FACTOR) * unit
    _move(gradient, own, row, column, master, weight, layer)


def _each(compute: Callable[..., Vector]) -> Any:
    """out[:n] = compute(x, y, limit) of each number; x, y int16 or int32, out int16 [N, X], X a multiple of LANES."""

    def emit(b: Any, x: Any, y: Any, limit: Any, n: Any, out: Any) -> None:
        with cgutils.for_range(b, n) as loop, steps(b, out[1][1], LANES) as (column, _):
            x_at, y_at, out_at = (at(b, a, loop.index, column) for a in (x, y, out))
            both = (Vector.load(b, place, place.type.pointee, LANES).to(_I32) for place in (x_at, y_at))
            compute(b, *both, limit).to(_I16).store(out_at)

    @intrinsic
    def each(typingctx, x, y, limit, n, out):
        return lowered(emit, x, y, limit, n, out)

    return each


def _rounded(sums: Vector) -> Vector:
    return (sums + _HALF) >> _FRACTION


def _where_positive(b: Any, e: Vector, outputs: Vector) -> Vector:
    zero = ir.Constant(e.value.type, None)
    return Vector(b, b.select(b.icmp_signed(">", outputs.value, zero), e.value, zero))


# errors int16 = sums int32, rounded and limited, where outputs are positive; errors = errors and these; errors where
# outputs are positive; and the least of a sum and `limit`.
back = _each(lambda b, sums, outputs, _: _where_positive(b, _rounded(sums).clip(-_LIMIT, _LIMIT), outputs))
back_onto = _each(lambda b, sums, errors, _: (errors + _rounded(sums)).clip(-_LIMIT, _LIMIT))
masked = _each(lambda b, errors, outputs, _: _where_positive(b, errors, outputs))
add = _each(lambda b, x, y, limit: (x + y).clip(0, Vector.spread(b, b.trunc(limit, _I32), LANES)))


def _errors(
    b: Any, values: Any, mean: Any, inverse: Any, weight: Any, first: Any, size: Any, origin: Any, table: Any,
    spread: Any, scratch: Any, turned: Any,
) -> None:  # fmt: skip
    K = mean[1][0]
    slots = ir.VectorType(_I64, SLOTS)
    zero = Vector(b, ir.Constant(slots, None))

    def load(array: Any, *row: Any) -> Vector:
        return Vector.load(b, at(b, array, *row, first), _I32, SLOTS).to(_I64)

    def choose(flag: Any, value: int, other: Vector) -> Vector:
        return Vector(b, b.select(flag, ir.Constant(slots, [value] * SLOTS), other.value))

    def kept(i: int, k: Any) -> Any:
        return at(b, scratch, _I64(i), k, _I64(0))

    v = load(values)
    low = Vector.spread(b, b.sub(b.mul(origin, _I64(64)), _I64(32)), SLOTS)
    top = Vector.spread(b, b.sub(size, _I64(1)), SLOTS)
    is_end = (b.icmp_signed("==", v.value, zero.value), b.icmp_signed("==", v.value, top.value))
    total, means = (cgutils.alloca_once(b, slots, name=name) for name in ("total", "means"))
    b.store(ir.Constant(slots, [learning.FLOOR] * SLOTS), total)
    b.store(zero.value, means)
    with cgutils.for_range(b, K) as loop:
        k = loop.index
        m, inv, w = (load(part, k) for part in (mean, inverse, weight))
        s, slope, turn = [], [], []
        for side in range(2):
            t = (((v + side) * 64 + (low - m)).times(inv) + _MIDDLE).clip(0, 2 * _MIDDLE - 1)
            inner = sigmoids(b, t, table)
            value = choose(is_end[side], side * _WHOLE, inner)
            whole = Vector(b, ir.Constant(slots, [_WHOLE] * SLOTS))
            slope.append(choose(is_end[side], 0, inner.times(whole - inner) >> _SIGMOID_BITS))
            turn.append((t - _MIDDLE).times(slope[-1]) >> (6 + _FRACTION_BITS))
            s.append(value)
        share = w.times(s[1] - s[0])
        b.store(b.add(b.load(total), share.value), total)
        for i, kind in enumerate((share, w.times(slope[1] - slope[0]), w.times(turn[1] - turn[0]))):
            kind.store(kept(i, k))
    floor = ir.FunctionType(ir.VectorType(_F64, SLOTS), [ir.VectorType(_F64, SLOTS)])
    down = cgutils.get_or_insert_function(b.module, floor, f"llvm.floor.v{SLOTS}f64")
    divisor = b.sitofp(b.load(total), ir.VectorType(_F64, SLOTS))

    def ratio(i: int, k: Any, bits: int) -> Vector:
        shifted = Vector.load(b, kept(i, k), _I64, SLOTS) * (1 << bits)
        quotient = b.fdiv(b.sitofp(shifted.value, ir.VectorType(_F64, SLOTS)), divisor)
        return Vector(b, b.fptosi(b.call(down, [quotient]), slots))

    def limited(v: Vector) -> Vector:
        return v.clip(-_LIMIT, _LIMIT)

    with cgutils.for_range(b, K) as loop:
        k = loop.index
        logit = (load(weight, k) >> (_WEIGHT_BITS - _ERROR)) - ratio(0, k, _ERROR)
        move = limited(ratio(1, k, 14).times(load(inverse, k)) >> 13)
        b.store(b.add(b.load(means), move.value), means)
        for i, error in enumerate((logit, move, ratio(2, k, _ERROR))):
            limited(error).to(_I32).store(at(b, turned, b.add(b.mul(K, _I64(i)), k), _I64(0)))
    gate = Vector(b, b.load(means)).times(load(spread)) >> 6
    limited(gate).to(_I32).store(at(b, turned, b.mul(K, _I64(3)), _I64(0)))


@intrinsic
def _mixture_errors(typingctx, values, mean, inverse, weight, first, size, origin, table, spread, scratch, turned):
    """SLOTS pixels from `first` on, into turned int32 [O', SLOTS]. scratch: int64 [3, O', SLOTS]."""
    return lowered(_errors, values, mean, inverse, weight, first, size, origin, table, spread, scratch, turned)


@jit
def mixture_errors(values, parts, n, size, origin, table, q, spread, work, errors):
    """As `learning.mixture_errors`. values: less the origin, and spread, Q3: int32 [N]; parts: mean, inverse, weight,
    int32 [K, N]; q: int32 [N, O'], what the head said; work: a workspace; errors: int16 [N, O'].
    """
    mean, inverse, weight = parts
    scratch, turned = work[4]
    K = len(mean)
    for first in range(0, n, SLOTS):
        _mixture_errors(values, mean, inverse, weight, first, size, origin, table, spread, scratch, turned)
        for j in range(first, min(first + SLOTS, n)):
            for o in range(3 * K + 1):
                e = turned[o, j - first]
                if 2 * K <= o < 3 * K and ((q[j, o] == 0 and e > 0) or (q[j, o] == _HIGHEST and e < 0)):
                    e = 0
                errors[j, o] = e


@jit
def workspace(states, rows):
    """Room for one front: inputs and errors in pairs of pixels, errors, and sums, for `learn_front`, and what
    `mixture_errors` needs. states: of first, middle, heads and outs.
    """
    first, middle, heads, outs = states
    pairs = (rows + 1) // 2
    width, hidden, outputs = first[0].shape[2] // 2, heads[0].shape[2] // 2, outs[0].shape[2] // 2
    inputs = (
        np.zeros((pairs, 2 * first[1].shape[1]), np.int16),
        np.zeros((pairs, 2 * max(heads[1].shape[1], middle[1].shape[1])), np.int16),
        np.zeros((pairs, 2 * outs[1].shape[1]), np.int16),
    )
    errors = (
        np.zeros((1, pairs, 2 * width), np.int16),
        np.zeros((1, pairs, 2 * hidden), np.int16),
        np.zeros((1, pairs, 2 * outputs), np.int16),
    )
    below = (
        np.zeros((rows, width), np.int16),
        np.zeros((rows, width), np.int16),
        np.zeros((rows, hidden), np.int16),
        np.zeros((rows, 3 * hidden), np.int16),
    )
    sums = np.zeros((rows, width), np.int32), np.zeros((rows, hidden), np.int32)
    return inputs, errors, below, sums, (np.zeros((3, outputs, SLOTS), np.int64), np.zeros((outputs, SLOTS), np.int32))


@jit
def learn_front(states, sizes, backward, work, inputs, hs, added, zs, errors, n):
    """Program._learn for one front of n pixels. sizes: the inputs that learn of first, of middle and heads, and of
    outs, and the rate. backward: weights as trained, from errors of outputs to those of inputs, of outs, heads (all in
    one) and middle. inputs: what `first` saw; hs [depth + 1, rows, width]: h before each middle layer and at the end;
    added [depth, rows, width]: what these layers gave; zs [C, rows, hidden]; errors [C, rows, outputs].
    """
    first, middle, heads, outs = states
    seen, width, hidden, rate = sizes[:4]
    back_outs, back_heads, back_middle = backward
    (in_first, in_wide, in_hidden), (of_wide, of_hidden, of_outputs), rooms, (sums, sums_hidden), _ = work
    below, own, dz, all_dz = rooms
    depth, H = len(added), dz.shape[1]
    paired(hs[depth], n, in_wide)
    for c in range(len(zs)):
        multiply(errors[c], back_outs, c, sums_hidden, n)
        back(sums_hidden, zs[c], 0, n, dz)
        paired(zs[c], n, in_hidden)
        paired(errors[c], n, of_outputs[0])
        learn(outs, c, hidden, rate, in_hidden, of_outputs, n)
        paired(dz, n, of_hidden[0])
        learn(heads, c, width, rate, in_wide, of_hidden, n)
        for j in range(n):
            for o in range(H):
                all_dz[j, c * H + o] = dz[j, o]
    multiply(all_dz, back_heads, 0, sums, n)
    below[:n] = 0
    back_onto(sums, below, 0, n, below)
    for i in range(depth - 1, -1, -1):
        masked(below, added[i], 0, n, own)
        paired(own, n, of_wide[0])
        paired(hs[i], n, in_wide)
        multiply(own, back_middle, i, sums, n)
        back_onto(sums, below, 0, n, below)
        learn(middle, i, width, rate, in_wide, of_wide, n)
    masked(below, hs[0], 0, n, own)
    paired(own, n, of_wide[0])
    paired(inputs, n, in_first)
    learn(first, 0, seen, rate, in_first, of_wide, n)
