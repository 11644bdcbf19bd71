"""Matrix products for numba: one register-blocked kernel, written as vector instructions for LLVM.

Operands are int16 and sums int32: processors multiply and add pairs of int16 in one instruction (pmaddwd, vpdpwssd), at
twice the rate of float32. Sums stay below 2**24 (`integer.Layer`), so nothing overflows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

LANES = 16  # sums in a vector; LLVM splits it where registers are narrower
ROWS = 6  # rows of a block: ROWS * 4 accumulators fit in 32 registers
_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_PAIRS, _SUMS = ir.VectorType(_I16, 2 * LANES), ir.VectorType(_I32, LANES)


def pairs(weight: NDArray[np.int16]) -> NDArray[np.int16]:
    """weight [I, O] -> [I / 2 rounded up, 2 O], the weights of two inputs side by side, as `multiply` reads them."""
    I, O = weight.shape
    even = np.pad(weight, ((0, I % 2), (0, 0)))
    return np.ascontiguousarray(even.reshape(-1, 2, O).swapaxes(1, 2).reshape(-1, 2 * O))


def _shuffled(builder: Any, v: Any, start: int, stop: int, step: int = 1) -> Any:
    mask = ir.Constant(ir.VectorType(_I32, len(range(start, stop, step))), list(range(start, stop, step)))
    return builder.shuffle_vector(v, ir.Constant(v.type, ir.Undefined), mask)


def _pair_products(context: Any, builder: Any, a: Any, b: Any) -> Any:
    """a, b [2 LANES] int16 -> a[2 i] b[2 i] + a[2 i + 1] b[2 i + 1], [LANES] int32."""
    features = context.codegen().magic_tuple()[2].split(",")

    def call(name: str, kind: Any, operand: Any, *vectors: Any) -> Any:
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [operand] * 2), name)
        return builder.call(function, vectors)

    if "+avx512bw" in features:
        return call("llvm.x86.avx512.pmaddw.d.512", _SUMS, _PAIRS, a, b)
    if "+avx2" in features:
        half = ir.VectorType(_I32, LANES // 2), ir.VectorType(_I16, LANES)
        parts = [[_shuffled(builder, v, start, start + LANES) for v in (a, b)] for start in (0, LANES)]
        low, high = (call("llvm.x86.avx2.pmadd.wd", *half, *part) for part in parts)
        return builder.shuffle_vector(low, high, ir.Constant(ir.VectorType(_I32, LANES), list(range(LANES))))
    even, odd = ([builder.sext(_shuffled(builder, v, i, 2 * LANES, 2), _SUMS) for v in (a, b)] for i in (0, 1))
    return builder.add(builder.mul(*even), builder.mul(*odd))


def _make_block(vectors: int) -> Any:
    """c[row : row + ROWS, col : col + LANES vectors] = a[row : row + ROWS] @ the same columns of w."""

    @intrinsic
    def block(typingctx, a, row, w, col, c):
        signature = types.void(a, row, w, col, c)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            arrays = (context.make_array(t)(context, builder, v) for t, v in zip(sig.args[::2], args[::2], strict=True))
            left, right, out = arrays
            first_row, first_col = args[1], args[3]
            stride_a, stride_w, stride_c = (builder.extract_value(m.shape, 1) for m in (left, right, out))
            zero = ir.Constant(_SUMS, None)
            sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(vectors)] for _ in range(ROWS)]
            rows = [builder.add(first_row, _I64(r)) for r in range(ROWS)]
            starts = [builder.gep(left.data, [builder.mul(r, stride_a)]) for r in rows]
            starts = [builder.bitcast(start, _I32.as_pointer()) for start in starts]

            def at(pointer: Any, offset: int, kind: Any) -> Any:
                return builder.bitcast(builder.gep(pointer, [_I64(offset)]), kind.as_pointer())

            with cgutils.for_range(builder, builder.extract_value(right.shape, 0)) as loop:
                start = builder.add(builder.mul(loop.index, stride_w), builder.mul(first_col, _I64(2)))
                w_row = builder.gep(right.data, [start])
                weights = [builder.load(at(w_row, 2 * v * LANES, _PAIRS), align=2) for v in range(vectors)]
                for r in range(ROWS):
                    pair = builder.load(builder.gep(starts[r], [loop.index]), align=2)
                    lone = builder.insert_element(ir.Constant(_SUMS, ir.Undefined), pair, _I32(0))
                    spread = builder.shuffle_vector(lone, ir.Constant(_SUMS, ir.Undefined), zero)
                    inputs = builder.bitcast(spread, _PAIRS)
                    for v in range(vectors):
                        product = _pair_products(context, builder, inputs, weights[v])
                        builder.store(builder.add(builder.load(sums[r][v]), product), sums[r][v])
            for r in range(ROWS):
                target = builder.gep(out.data, [builder.add(builder.mul(rows[r], stride_c), first_col)])
                for v in range(vectors):
                    builder.store(builder.load(sums[r][v]), at(target, v * LANES, _SUMS), align=4)
            return context.get_dummy_value()

        return signature, generate

    return block


_wide, _narrow = _make_block(4), _make_block(1)


@nb.njit(cache=True, nogil=True)
def multiply(a, w, c, n):
    """c[:n] = a[:n] @ w. a int16 [N, I'], I' at least 2 I; w int16 [I, 2 O], of `pairs`; c int32 [N, O].

    C-contiguous; N >= n rounded up to ROWS, O = LANES m.
    """
    wide = c.shape[1] // 64 * 64
    for row in range(0, n, ROWS):
        for col in range(0, wide, 64):
            _wide(a, row, w, col, c)
        for col in range(wide, c.shape[1], 16):
            _narrow(a, row, w, col, c)


# TEMPORARY (lead): float32 kernel, until compiled_flow.py uses the int16 one (twice as fast): use `multiply` in new code.
def _make_float_block(vectors: int) -> Any:
    """c[row : row + ROWS, col : col + 16 vectors] = a[row : row + ROWS] @ w[:, col : col + 16 vectors], all float32."""

    @intrinsic
    def block(typingctx, a, row, w, col, c):
        signature = types.void(a, row, w, col, c)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            arrays = (context.make_array(t)(context, builder, v) for t, v in zip(sig.args[::2], args[::2], strict=True))
            left, right, out = arrays
            i64, i32 = ir.IntType(64), ir.IntType(32)
            vector = ir.VectorType(ir.FloatType(), LANES)
            first_row, first_col = args[1], args[3]
            depth, stride_w, stride_c = (builder.extract_value(m.shape, 1) for m in (left, right, out))
            zero = ir.Constant(vector, None)
            sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(vectors)] for _ in range(ROWS)]
            rows = [builder.add(first_row, i64(r)) for r in range(ROWS)]
            starts = [builder.gep(left.data, [builder.mul(r, depth)]) for r in rows]

            def at(pointer: Any, v: int) -> Any:
                return builder.bitcast(builder.gep(pointer, [i64(v * LANES)]), vector.as_pointer())

            with cgutils.for_range(builder, depth) as loop:
                w_row = builder.gep(right.data, [builder.add(builder.mul(loop.index, stride_w), first_col)])
                weights = [builder.load(at(w_row, v), align=4) for v in range(vectors)]
                for r in range(ROWS):
                    scalar = builder.load(builder.gep(starts[r], [loop.index]))
                    lone = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, i32(0))
                    spread = builder.shuffle_vector(
                        lone, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(i32, LANES), None)
                    )
                    for v in range(vectors):
                        product = builder.fmul(spread, weights[v], flags=["contract"])
                        total = builder.fadd(builder.load(sums[r][v]), product, flags=["contract"])
                        builder.store(total, sums[r][v])
            for r in range(ROWS):
                target = builder.gep(out.data, [builder.add(builder.mul(rows[r], stride_c), first_col)])
                for v in range(vectors):
                    builder.store(builder.load(sums[r][v]), at(target, v), align=4)
            return context.get_dummy_value()

        return signature, generate

    return block


_float_wide, _float_narrow = _make_float_block(4), _make_float_block(1)


@nb.njit(cache=True, nogil=True)
def multiply_float(a, w, c, n):
    """c[:n] = a[:n] @ w. a [N, I], w [I, O], c [N, O], float32 and C-contiguous; N >= n rounded up to ROWS, O = 16
    m.
    """
    wide = w.shape[1] // 64 * 64
    for row in range(0, n, ROWS):
        for col in range(0, wide, 64):
            _float_wide(a, row, w, col, c)
        for col in range(wide, w.shape[1], 16):
            _float_narrow(a, row, w, col, c)


SLOTS = 8  # doubles in a vector


class _Lanes:
    """A vector of SLOTS doubles being computed; operators append LLVM instructions. All values are exact integers."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def _with(self, other: Any) -> Any:
        if isinstance(other, _Lanes):
            return other.value
        return ir.Constant(self.value.type, [float(other)] * SLOTS)

    def __add__(self, other: Any) -> _Lanes:
        return _Lanes(self.builder, self.builder.fadd(self.value, self._with(other), flags=["contract"]))

    def __sub__(self, other: Any) -> _Lanes:
        return _Lanes(self.builder, self.builder.fsub(self.value, self._with(other), flags=["contract"]))

    def __mul__(self, other: Any) -> _Lanes:
        return _Lanes(self.builder, self.builder.fmul(self.value, self._with(other), flags=["contract"]))

    def __truediv__(self, other: Any) -> _Lanes:
        return _Lanes(self.builder, self.builder.fdiv(self.value, self._with(other)))

    def floor(self) -> _Lanes:
        kind = ir.FunctionType(self.value.type, [self.value.type])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.floor.v{SLOTS}f64")
        return _Lanes(self.builder, self.builder.call(function, [self.value]))

    def clip(self, low: float, high: float) -> _Lanes:
        value = self.value
        for operator, end in (("<", low), (">", high)):
            bound = self._with(end)
            value = self.builder.select(self.builder.fcmp_ordered(operator, value, bound), bound, value)
        return _Lanes(self.builder, value)


class _Rows:
    """A float64 array [coefficients, slots] of which SLOTS columns from `slot` on are read and, below `end`,
    written.
    """

    def __init__(self, context: Any, builder: Any, kind: Any, array: Any, slot: Any, keep: Any) -> None:
        view = context.make_array(kind)(context, builder, array)
        self.builder, self.data, self.slot, self.keep = builder, view.data, slot, keep
        self.stride = builder.extract_value(view.shape, kind.ndim - 1)
        self.vector = ir.VectorType(ir.DoubleType(), SLOTS)

    def _pointer(self, row: int, ahead: int) -> Any:
        i64 = ir.IntType(64)
        at = self.builder.add(self.builder.mul(self.stride, i64(row)), self.builder.add(self.slot, i64(ahead)))
        return self.builder.bitcast(self.builder.gep(self.data, [at]), self.vector.as_pointer())

    def read(self, row: int = 0, ahead: int = 0) -> _Lanes:
        return _Lanes(self.builder, self.builder.load(self._pointer(row, ahead), align=8))

    def write(self, row: int, lanes: _Lanes) -> None:
        pointer = self._pointer(row, 0)
        old = self.builder.load(pointer, align=8)
        self.builder.store(self.builder.select(self.keep, lanes.value, old), pointer, align=8)


def lanes_kernel(arrays: int, emit: Callable[..., None]) -> Any:
    """An intrinsic f(array, ..., slot, end) that runs `emit(rows, ...)` over the SLOTS slots from `slot`, those below
    `end`.

    Arrays are float64, C-contiguous, of SLOTS more columns than are used; the instructions are those that `emit`,
    which reads like numpy, leaves behind: straight vector code, whatever LLVM's vectoriser thinks of the loop.
    """

    @intrinsic
    def kernel(typingctx, parts, slot, end):
        signature = types.void(parts, slot, end)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            i64 = ir.IntType(64)
            lane = ir.Constant(ir.VectorType(i64, SLOTS), [i64(i) for i in range(SLOTS)])
            left = builder.sub(args[2], args[1])
            first = builder.insert_element(ir.Constant(lane.type, ir.Undefined), left, ir.IntType(32)(0))
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), SLOTS), None)
            spread = builder.shuffle_vector(first, ir.Constant(lane.type, ir.Undefined), zeros)
            keep = builder.icmp_signed("<", lane, spread)
            unpacked = [builder.extract_value(args[0], i) for i in range(arrays)]
            rows = [_Rows(context, builder, k, a, args[1], keep) for k, a in zip(sig.args[0], unpacked, strict=True)]
            emit(*rows)
            return context.get_dummy_value()

        return signature, generate

    return kernel
