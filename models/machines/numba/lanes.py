"""Vector instructions for LLVM that numba's loops become: eight doubles at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

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
