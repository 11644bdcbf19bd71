"""Images that are what a JPEG shows, or a part of that: coefficients, decoded to planes, and these rendered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lgcodec.boxes import Box
from lgcodec.deflate import deflate, inflate
from lgcodec.errors import FormatError
from lgcodec.fields import Reader, varint
from lgcodec.image import Samples
from lgcodec.jpeg import idct
from lgcodec.origins import exceptions, previews, rendered
from lgcodec.origins.form import Plane
from lgcodec.origins.origin import Given, JpegPlane, Part

KIND = 2
GREY = 128  # of a picture of corrections: none
_NOISY = 4  # beside the kind
_MOST_SIDE = 0xFFFF  # of a JPEG
MODES = ("L", "LA", "RGB", "RGBA")
Place = tuple[int, int]


@dataclass(frozen=True)
class Coefficients:
    """Parts: a kept JPEG of Y, or of all three planes; if is_noisy, a picture for each of these; C1 and C2 where it is
    of Y; alpha if there is one; the patches.

    kind: of the inverse transform; if TURNED, the JPEG is that of the image whose rows and columns are exchanged.
    places: the row and column of the JPEG's planes, turned back, that the image's begin with: of Y, and, if the JPEG
    has them, of C1 and C2. form: of colours, None for grey. corrections: to what the planes decode to, as `corrected`
    takes. is_noisy: corrections are pictures, GREY where there is nothing to correct.
    """

    mode: str
    width: int
    height: int
    kind: int
    places: tuple[Place, ...]
    form: rendered.Rendered | None
    corrections: bytes = b""
    is_noisy: bool = False

    @property
    def name(self) -> str:
        of = "JPEG grey" if self.form is None else self.form.name
        luma = " luma" if self.form is not None and self.components == 1 else ""
        return f"{of}{luma} coefficients{', turned' if self.kind == idct.TURNED else ''}"

    @property
    def components(self) -> int:
        """Of the JPEG: 1 or 3."""
        return 2 * len(self.places) - 1

    def extent(self) -> tuple[int, int]:
        """Width and height of the JPEG, turned back: the least that hold the image's planes."""
        (top, left), *others = self.places
        width, height = left + self.width, top + self.height
        if self.form is not None and others:
            of, (first, start) = self.form.rendering, others[0]
            rows, columns = of.enlargement.rows.by, of.enlargement.columns.by
            height = max(height, rows * (first + of.chroma_height - 1) + 1)
            width = max(width, columns * (start + of.chroma_width - 1) + 1)
        return width, height

    def parts(self) -> list[Part]:
        width, height = self.extent()[:: -1 if self.kind == idct.TURNED else 1]
        own = [Part("RGB" if len(self.places) > 1 else "L", width, height, is_jpeg=True)]
        if self.is_noisy:
            own += [Part("L", across, down, is_bits=True) for down, across in self.shapes()]
        if self.form is not None:
            return [*own, *self.form.parts()[self.components :]]
        return [*own, *([Part("L", self.width, self.height)] if self.mode == "LA" else [])]

    def needs(self, box: Box) -> list[Box | None]:
        jpeg = self.parts()[0]
        own: list[Box | None] = [(0, 0, jpeg.width, jpeg.height)]
        if self.is_noisy:
            own += self._boxes(box)
        if self.form is not None:
            return [*own, *self.form.needs(box)[self.components :]]
        return [*own, *([box] if self.mode == "LA" else [])]

    def _boxes(self, box: Box) -> list[Box]:
        """What the pixels of a box need of each plane that the JPEG has."""
        if self.form is None or self.components == 1:
            return [box]
        left, top, right, bottom = self.form.rendering.chroma_box(box)
        return [box, *[(left, top, right, bottom)] * 2]

    def shapes(self) -> list[tuple[int, int]]:
        """Height and width of the planes that the JPEG has."""
        own = (self.height, self.width)
        if self.form is None or self.components == 1:
            return [own]
        of = self.form.rendering
        return [own, *[(of.chroma_height, of.chroma_width)] * 2]

    def planes(self, components: Sequence[JpegPlane]) -> list[Plane]:
        """The planes of components, turned back, without corrections. Raises FormatError where they are too small."""
        shapes, places = self.shapes(), (*self.places, self.places[-1])
        planes = []
        for component, (height, width), (top, left) in zip(components, shapes, places, strict=False):
            rows, columns, _ = component.coefficients.shape
            if 8 * rows < top + height or 8 * columns < left + width:
                raise FormatError("a JPEG whose planes are smaller than an origin's")
            plane = idct.plane(component.coefficients, component.steps, self.kind)
            planes.append(np.ascontiguousarray(plane[top : top + height, left : left + width]))
        return planes

    def _turned_back(self, part: Given) -> list[JpegPlane]:
        """The JPEG's components, as the image's planes lie."""
        if part is None or isinstance(part, np.ndarray):
            raise FormatError("a part is missing")
        if len(part) != self.components:
            raise FormatError(f"a JPEG of {len(part)} components where an origin wants {self.components}")
        return [component.turned() for component in part] if self.kind == idct.TURNED else list(part)

    def small(self, parts: Sequence[Given]) -> Samples:
        """The picture an eighth as wide and high, uint8 [ceil(H / 8), ceil(W / 8), 1 or 3], near the image.

        Of the JPEG it needs DC coefficients alone.
        """
        components, others = self._turned_back(parts[0]), parts[1 + self.is_noisy * self.components :]
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
        components, others = self._turned_back(parts[0]), parts[1:]
        planes, boxes = self.corrected(self.planes(components)), self._boxes(box)
        shown = [plane[y0:y1, x0:x1, None] for plane, (x0, y0, x1, y1) in zip(planes, boxes, strict=True)]
        if self.is_noisy:
            pictures = [part for part in others[: self.components] if isinstance(part, np.ndarray)]
            if len(pictures) < self.components:
                raise FormatError("a part is missing")
            shown = [a + (b - np.uint8(GREY)) for a, b in zip(shown, pictures, strict=True)]
            others = others[self.components :]
        if self.form is None:
            alpha = [part for part in others if isinstance(part, np.ndarray)]
            return np.concatenate([*shown, *alpha], -1)
        return self.form.render([*shown, *others], box)

    def write(self) -> bytes:
        stored = min(self.corrections, deflate(self.corrections), key=len)
        how = self.kind | _NOISY * self.is_noisy
        data = [bytes([KIND, how, self.components]), *(varint(v) for place in self.places for v in place)]
        data += [varint(len(self.corrections)), varint(len(stored)), stored]
        return b"".join([*data, b"" if self.form is None else self.form.write()[1:]])


def read(reader: Reader, mode: str, width: int, height: int) -> Coefficients:
    """The inverse of `write`, after the kind. Raises FormatError."""
    if mode not in MODES:
        raise FormatError(f"mode {mode} is not what a JPEG shows")
    how = reader.byte()
    kind, is_noisy = how & ~_NOISY, how >= _NOISY
    if kind > idct.TURNED:
        raise FormatError(f"inverse transform {kind}, where 0 to {idct.TURNED} are known")
    colours = mode in ("RGB", "RGBA")
    count = reader.varint(1, 3 if colours else 1)
    if count == 2:
        raise FormatError("a JPEG of two components")
    places = [(reader.varint(0, _MOST_SIDE), reader.varint(0, _MOST_SIDE)) for _ in range((count + 1) // 2)]
    size = reader.varint(0, 0 if is_noisy else 16 * width * height + 16)
    stored = reader.take(reader.varint(0, size))
    corrections = stored if len(stored) == size else inflate(stored, size)
    form = rendered.read(reader, mode, width, height) if colours else None
    origin = Coefficients(mode, width, height, kind, tuple(places), form, corrections, is_noisy)
    if max(origin.extent()) > _MOST_SIDE:
        raise FormatError("a JPEG larger than these may be")
    return origin
