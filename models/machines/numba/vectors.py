"""Vectors of integers in LLVM, for products of 16-bit integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

LANES = 16  # numbers in a vector; LLVM splits it where registers are narrower
BLOCK = 48  # rows of a product, a multiple of every kernel's
_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)


class Vector:
    """A vector being computed: operators append LLVM instructions; integers beside it stand for all lanes."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    @classmethod
    def load(cls, builder: Any, pointer: Any, element: Any, lanes: int) -> Vector:
        vector = ir.VectorType(element, lanes)
        align = element.width // 8
        return cls(builder, builder.load(builder.bitcast(pointer, vector.as_pointer()), align=align))

    @classmethod
    def spread(cls, builder: Any, scalar: Any, lanes: int) -> Vector:
        undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
        lone = builder.insert_element(undefined, scalar, _I32(0))
        return cls(builder, builder.shuffle_vector(lone, undefined, ir.Constant(ir.VectorType(_I32, lanes), None)))

    def store(self, pointer: Any) -> None:
        element = self.value.type.element
        target = self.builder.bitcast(pointer, self.value.type.as_pointer())
        self.builder.store(self.value, target, align=element.width // 8)

    def other(self, other: Any) -> Any:
        if isinstance(other, Vector):
            return other.value
        return ir.Constant(self.value.type, [other] * self.value.type.count)

    def _with(self, operator: str, other: Any) -> Vector:
        return Vector(self.builder, getattr(self.builder, operator)(self.value, self.other(other)))

    def __add__(self, other: Any) -> Vector:
        return self._with("add", other)

    def __sub__(self, other: Any) -> Vector:
        return self._with("sub", other)

    def __mul__(self, other: Any) -> Vector:
        return self._with("mul", other)

    def times(self, other: Any) -> Vector:
        """The product of int64 that fit in int32, which processors multiply faster."""
        both = self, Vector(self.builder, self.other(other))
        a, b = (v.to(_I32).to(_I64) for v in both)
        return a * b

    def __and__(self, other: Any) -> Vector:
        return self._with("and_", other)

    def __rshift__(self, other: Any) -> Vector:
        return self._with("ashr", other)

    def clip(self, low: Any, high: Any) -> Vector:
        value = self.value
        for operator, end in ((">", low), ("<", high)):
            bound = self.other(end)
            value = self.builder.select(self.builder.icmp_signed(operator, value, bound), value, bound)
        return Vector(self.builder, value)

    def to(self, element: Any) -> Vector:
        """Of another width."""
        kind = ir.VectorType(element, self.value.type.count)
        if element.width == self.value.type.element.width:
            return self
        cast = self.builder.sext if element.width > self.value.type.element.width else self.builder.trunc
        return Vector(self.builder, cast(self.value, kind))

    def pick(self, lanes: list[int]) -> Vector:
        places = ir.Constant(ir.VectorType(_I32, len(lanes)), [_I32(i) for i in lanes])
        undefined = ir.Constant(self.value.type, ir.Undefined)
        return Vector(self.builder, self.builder.shuffle_vector(self.value, undefined, places))


def lowered(emit: Callable[..., Any], *kinds: Any) -> tuple[Any, Any]:
    """What an intrinsic returns that runs emit(builder, argument, ...) and returns its int64, 0 for none: arrays come
    as (pointer, shape), numbers as int64.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        given = []
        for kind, value in zip(signature.args, values, strict=True):
            if isinstance(kind, types.Array):
                array = context.make_array(kind)(context, builder, value)
                given.append((array.data, cgutils.unpack_tuple(builder, array.shape, kind.ndim)))
            else:
                given.append(context.cast(builder, value, kind, types.int64))
        result = emit(builder, *given)
        return _I64(0) if result is None else result

    return types.int64(*kinds), generate


def at(builder: Any, array: Any, *indices: Any) -> Any:
    """The pointer to an element of a C-contiguous array; the last index may go beyond its row."""
    data, shape = array
    place = indices[0]
    for index, length in zip(indices[1:], shape[1:], strict=True):
        place = builder.add(builder.mul(place, length), index)
    return builder.gep(data, [place])


def steps(builder: Any, end: Any, step: int) -> Any:
    """A loop of i = 0, step, 2 step .. below `end`, as a context manager that gives i."""
    return cgutils.for_range_slice(builder, _I64(0), end, _I64(step), inc=True)
