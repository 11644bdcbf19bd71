"""The one general form of a rendering: planes of their own sizes, enlarged and converted to colours, in exact integers.

    Y [H, W], C1 and C2 [h, w]  --enlarge-->  [H, W] each  --convert-->  RGB [H, W, 3]

A conversion is seven tables: channel k is clip((light[Y] + first[k][C1] + second[k][C2]) >> shift, 0, 255). An
enlargement mixes two neighbouring samples along each axis. This file is the meaning of both (FORMAT.md, Origins); the
native library, where there is one, runs the same loops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lgcodec.boxes import Box

if TYPE_CHECKING:
    from lgcodec.models.machines.native import origins as loops

Plane = NDArray[np.uint8]
Samples = NDArray[np.uint8]
Table = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Conversion:
    """Planes to colours. light: int32 [256], ascending. first, second: int32 [3, 256], the terms of C1 and C2."""

    light: Table
    first: Table
    second: Table
    shift: int

    def convert(self, y: Plane, c1: Plane, c2: Plane) -> Samples:
        """RGB [H, W, 3] of planes [H, W]."""
        from lgcodec.models.machines.native import origins as loops  # most files have no origin

        if loops.is_available():
            return loops.convert(self.native(), y, c1, c2)
        rgb = np.empty((*y.shape, 3), np.uint8)
        light = self.light[y]
        for k in range(3):
            value = light + self.first[k][c1]
            value += self.second[k][c2]
            value >>= self.shift
            rgb[..., k] = np.clip(value, 0, 255, out=value)
        return rgb

    def native(self) -> loops.Conversion:
        from lgcodec.models.machines.native import origins as loops

        return loops.conversion((self.light, self.first, self.second), self.shift)


@dataclass(frozen=True)
class Axis:
    """Enlarging along one axis, `by` 1 or 2.

    Even outputs are (unit - even) x[i] + even x[i - 1], odd ones (unit - odd) x[i] + odd x[i + 1]; the edges repeat.
    """

    by: int
    unit: int
    even: int
    odd: int

    def sums(self, x: NDArray[np.int32]) -> NDArray[np.int32]:
        """The outputs along the first axis, in 1 / unit: int32 [n, ...] to [by * n, ...]."""
        if self.by == 1:
            return x * self.unit
        before, after = np.concatenate([x[:1], x[:-1]]), np.concatenate([x[1:], x[-1:]])
        out = np.empty((2 * len(x), *x.shape[1:]), np.int32)
        out[0::2] = (self.unit - self.even) * x + self.even * before
        out[1::2] = (self.unit - self.odd) * x + self.odd * after
        return out


FULL = Axis(1, 1, 0, 0)  # the samples are the pixels
COPIES = Axis(2, 1, 0, 0)
TRIANGLE = Axis(2, 4, 1, 1)  # samples lie between two pixels
BEHIND = Axis(2, 2, 0, 1)  # samples lie on even pixels
AHEAD = Axis(2, 2, 1, 0)  # samples lie on odd pixels
AXES = (FULL, COPIES, TRIANGLE, BEHIND, AHEAD)  # by their wire ids


@dataclass(frozen=True)
class Enlargement:
    """Both axes, and what is added before the shift by the parities of the output's row and column."""

    rows: Axis
    columns: Axis
    bias: tuple[tuple[int, int], tuple[int, int]]

    @property
    def shift(self) -> int:
        return (self.rows.unit * self.columns.unit).bit_length() - 1

    def enlarge(self, x: Plane) -> Plane:
        """uint8 [h, w] to [h * rows.by, w * columns.by]."""
        return self.part(x, 0, 0, len(x) * self.rows.by, x.shape[1] * self.columns.by)

    def part(self, x: Plane, top: int, left: int, height: int, width: int) -> Plane:
        """Rows top.. and columns left.. of the enlarged plane: uint8 [height, width]."""
        from lgcodec.models.machines.native import origins as loops

        if loops.is_available():
            return loops.enlarge(self.native(), x, top, left, height, width)
        out = self.columns.sums(self.rows.sums(x.astype(np.int32)).T).T
        rows, columns = out.shape
        bias = np.array(self.bias, np.int32)
        out = out + np.tile(bias, ((rows + 1) // 2, (columns + 1) // 2))[:rows, :columns]
        return (out >> self.shift).astype(np.uint8)[top : top + height, left : left + width]

    def native(self) -> loops.Enlargement:
        from lgcodec.models.machines.native import origins as loops

        rows, columns = ((axis.by, axis.unit, axis.even, axis.odd) for axis in (self.rows, self.columns))
        return loops.enlargement(rows, columns, [*self.bias[0], *self.bias[1]], self.shift)

    def turned(self) -> Enlargement:
        """The same with rows for columns."""
        (a, b), (c, d) = self.bias
        return Enlargement(self.columns, self.rows, ((a, c), (b, d)))

    def mirrored(self) -> Enlargement:
        """The same of a picture mirrored left to right."""
        columns = {BEHIND: AHEAD, AHEAD: BEHIND}.get(self.columns, self.columns)
        (a, b), (c, d) = self.bias
        bias = self.bias if self.columns.by == 1 else ((b, a), (d, c))
        return Enlargement(self.rows, columns, bias)


def size_of(axis: Axis, offset: int, length: int, edge: bool) -> int:
    """Samples along an axis of which outputs offset .. offset + length - 1 are the picture.

    edge: whether the last sample is the plane's last; where the picture was cut there, outputs need one more.
    """
    if axis.by == 1:
        return length
    end = offset + length
    return (end + 1) // 2 + (not edge and end % 2 == 0)


@dataclass(frozen=True)
class Rendering:
    """What planes become: RGB [height, width], of which C1 and C2 are rows top.. and columns left.. when enlarged."""

    conversion: int  # its place in CONVERSIONS
    enlargement: Enlargement
    top: int
    left: int
    height: int
    width: int
    chroma_height: int
    chroma_width: int

    def chroma_box(self, box: Box) -> Box:
        """The samples of C1 and C2 that the pixels of a box need."""
        x0, y0, x1, y1 = box
        rows = _needed(self.enlargement.rows, self.top, y0, y1, self.chroma_height)
        columns = _needed(self.enlargement.columns, self.left, x0, x1, self.chroma_width)
        return columns[0], rows[0], columns[1], rows[1]

    def enlarge(self, plane: Plane, box: Box) -> Plane:
        """C1 or C2 at the pixels of a box, from its samples in `chroma_box`."""
        left, top, _, _ = self.chroma_box(box)
        x0, y0, x1, y1 = box
        y, x = self.top + y0 - top * self.enlargement.rows.by, self.left + x0 - left * self.enlargement.columns.by
        return self.enlargement.part(plane, y, x, y1 - y0, x1 - x0)


def _needed(axis: Axis, offset: int, start: int, stop: int, size: int) -> tuple[int, int]:
    if axis.by == 1:
        return start - start % 2, stop  # from an even one on, because biases go by parity
    return max(0, (offset + start) // 2 - 1), min(size, (offset + stop - 1) // 2 + 2)
