"""Images that are what a JPEG shows, or a part of that: coefficients, decoded to planes, and these rendered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lgcodec.boxes import Box
from lgcodec.errors import FormatError
from lgcodec.fields import Reader, varint
from lgcodec.image import Samples
from lgcodec.origins import exceptions, previews, rendered
from lgcodec.origins.form import Plane
from lgcodec.origins.origin import Given, JpegPlane, Part
from lgcodec.plain import deflate, inflate

KIND = 2
_MOST_SIDE = 0xFFFF  # of a JPEG
MODES = ("L", "LA", "RGB", "RGBA")
Place = tuple[int, int]


@dataclass(frozen=True)
class Coefficients:
    """Parts: a kept JPEG of Y, or of all three planes; C1 and C2 where it is of Y; alpha if there is one; the patches.

    kind: of the inverse transform. places: the row and column of the JPEG's planes that the image's begin with: of Y,
    and, if the JPEG has them, of C1 and C2. form: of colours, None for grey. corrections: to what the planes decode to,
    as `corrected` takes.
    """

    mode: str
    width: int
    height: int
    kind: int
    places: tuple[Place, ...]
    form: rendered.Rendered | None
    corrections: bytes

    @property
    def name(self) -> str:
        if self.form is None:
            return "JPEG grey coefficients"
        return f"{self.form.name} {'coefficients' if self.components == 3 else 'luma coefficients'}"

    @property
    def components(self) -> int:
        """Of the JPEG: 1 or 3."""
        return 2 * len(self.places) - 1

    def jpeg_size(self) -> tuple[int, int]:
        """Width and height of the JPEG: the least that hold the image's planes."""
        (top, left), *others = self.places
        width, height = left + self.width, top + self.height
        if self.form is not None and others:
            of, (first, start) = self.form.rendering, others[0]
            rows, columns = of.enlargement.rows.by, of.enlargement.columns.by
            height = max(height, rows * (first + of.chroma_height - 1) + 1)
            width = max(width, columns * (start + of.chroma_width - 1) + 1)
        return width, height

    def parts(self) -> list[Part]:
        jpeg = Part("RGB" if len(self.places) > 1 else "L", *self.jpeg_size(), is_jpeg=True)
        if self.form is not None:
            return [jpeg, *self.form.parts()[self.components :]]
        return [jpeg, *([Part("L", self.width, self.height)] if self.mode == "LA" else [])]

    def needs(self, box: Box) -> list[Box | None]:
        jpeg = (0, 0, *self.jpeg_size())
        if self.form is not None:
            return [jpeg, *self.form.needs(box)[self.components :]]
        return [jpeg, *([box] if self.mode == "LA" else [])]

    def shapes(self) -> list[tuple[int, int]]:
        """Height and width of the planes that the JPEG has."""
        own = (self.height, self.width)
        if self.form is None or self.components == 1:
            return [own]
        of = self.form.rendering
        return [own, *[(of.chroma_height, of.chroma_width)] * 2]

    def planes(self, components: Sequence[JpegPlane]) -> list[Plane]:
        """The planes that the JPEG has, without corrections. Raises FormatError where the JPEG does not have them."""
        from lgcodec.jpeg import idct

        self._check(components)
        shapes, places = self.shapes(), (*self.places, self.places[-1])
        planes = []
        for component, (height, width), (top, left) in zip(components, shapes, places, strict=False):
            rows, columns, _ = component.coefficients.shape
            if 8 * rows < top + height or 8 * columns < left + width:
                raise FormatError("a JPEG whose planes are smaller than an origin's")
            plane = idct.plane(component.coefficients, component.steps, self.kind)
            planes.append(np.ascontiguousarray(plane[top : top + height, left : left + width]))
        return planes

    def _check(self, components: Sequence[JpegPlane]) -> None:
        if len(components) != self.components:
            raise FormatError(f"a JPEG of {len(components)} components where an origin wants {self.components}")

    def small(self, parts: Sequence[Given]) -> Samples:
        """The picture an eighth as wide and high, uint8 [ceil(H / 8), ceil(W / 8), 1 or 3], near the image.

        Of the JPEG it needs DC coefficients alone.
        """
        components, *others = parts
        if components is None or isinstance(components, np.ndarray):
            raise FormatError("a part is missing")
        self._check(components)
        (top, left), *chroma_places = self.places
        y = previews.of_blocks(components[0], (1, top, self.height), (1, left, self.width))
        if self.form is None:
            return y[..., None]
        rows, columns = self.form.axes()
        if chroma_places:
            rows, columns = (
                (by, offset + by * place, length)
                for (by, offset, length), place in zip((rows, columns), chroma_places[0], strict=True)
            )
            chroma = [previews.of_blocks(component, rows, columns) for component in components[1:]]
        else:
            planes = (part[..., 0] for part in others[:2] if isinstance(part, np.ndarray))
            chroma = [previews.of_plane(plane, rows, columns) for plane in planes]
        return self.form.coloured([y, *chroma], parts)

    def corrected(self, planes: Sequence[Plane]) -> list[Plane]:
        """The planes as they were. Raises FormatError."""
        if not self.corrections:
            return list(planes)
        reader, out = Reader(memoryview(self.corrections), 0), []
        for plane in planes:
            places, residuals = exceptions.unpack(reader.take(reader.varint()), plane.size, 1)
            right = plane[..., None].copy()
            exceptions.apply(right, places, residuals, plane.shape[1], 0, 0)
            out.append(right[..., 0])
        if reader.left():
            raise FormatError("corrections that go on after their end")
        return out

    def render(self, parts: Sequence[Given], box: Box) -> Samples:
        components, *others = parts
        if components is None or isinstance(components, np.ndarray):
            raise FormatError("a part is missing")
        y, *chroma = (plane[..., None] for plane in self.corrected(self.planes(components)))
        x0, y0, x1, y1 = box
        y = y[y0:y1, x0:x1]
        if self.form is None:
            alpha = [part for part in others if isinstance(part, np.ndarray)]
            return np.concatenate([y, *alpha], -1)
        left, top, right, bottom = self.form.rendering.chroma_box(box)
        return self.form.render([y, *(plane[top:bottom, left:right] for plane in chroma), *others], box)

    def write(self) -> bytes:
        stored = min(self.corrections, deflate(self.corrections), key=len)
        data = [bytes([KIND, self.kind, self.components]), *(varint(v) for place in self.places for v in place)]
        data += [varint(len(self.corrections)), varint(len(stored)), stored]
        return b"".join([*data, b"" if self.form is None else self.form.write()[1:]])


def read(reader: Reader, mode: str, width: int, height: int) -> Coefficients:
    """The inverse of `write`, after the kind. Raises FormatError."""
    if mode not in MODES:
        raise FormatError(f"mode {mode} is not what a JPEG shows")
    kind = reader.varint(0, 1)
    colours = mode in ("RGB", "RGBA")
    count = reader.varint(1, 3 if colours else 1)
    if count == 2:
        raise FormatError("a JPEG of two components")
    places = [(reader.varint(0, _MOST_SIDE), reader.varint(0, _MOST_SIDE)) for _ in range((count + 1) // 2)]
    size = reader.varint(0, 16 * width * height + 16)
    stored = reader.take(reader.varint(0, size))
    corrections = stored if len(stored) == size else inflate(stored, size)
    form = rendered.read(reader, mode, width, height) if colours else None
    origin = Coefficients(mode, width, height, kind, tuple(places), form, corrections)
    if max(origin.jpeg_size()) > _MOST_SIDE:
        raise FormatError("a JPEG larger than these may be")
    return origin
