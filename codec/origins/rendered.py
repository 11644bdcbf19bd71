"""Images that are rendered from luma and chroma planes of their own sizes (`form`), with patches from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lgcodec import colour
from lgcodec.boxes import Box, area_of, intersection
from lgcodec.errors import FormatError
from lgcodec.fields import Reader, varint
from lgcodec.image import Picture, Samples
from lgcodec.origins import exceptions, previews
from lgcodec.origins.conversions import CONVERSIONS, FOUR_FOUR_FOUR
from lgcodec.origins.form import AXES, Enlargement, Plane, Rendering
from lgcodec.origins.origin import Given, Inverted, Part

if TYPE_CHECKING:
    from lgcodec.origins.search import Found

KIND = 0
MOST = 1 << 26  # pixels of an image that is looked at as a whole
_MANY = 0.03  # exceptions a pixel, where chroma may be of another size than it seems


@dataclass(frozen=True)
class Rendered:
    """Parts: Y, C1, C2, alpha if there is one, then the patches, which replace what is rendered there."""

    rendering: Rendering
    alpha: bool
    patches: tuple[Box, ...]

    @property
    def name(self) -> str:
        of = self.rendering
        rows, columns = of.enlargement.rows.by, of.enlargement.columns.by
        chroma = {(1, 1): "4:4:4", (1, 2): "4:2:2", (2, 1): "4:4:0", (2, 2): "4:2:0"}[rows, columns]
        return f"{CONVERSIONS[of.conversion].name} {chroma}"

    def parts(self) -> list[Part]:
        of = self.rendering
        whole, chroma = Part("L", of.width, of.height), Part("L", of.chroma_width, of.chroma_height)
        cut = [Part("RGB", x1 - x0, y1 - y0) for x0, y0, x1, y1 in self.patches]
        return [whole, chroma, chroma, *([whole] if self.alpha else []), *cut]

    def needs(self, box: Box) -> list[Box | None]:
        chroma = self.rendering.chroma_box(box)
        whole: list[Box | None] = [box, chroma, chroma, *([box] if self.alpha else [])]
        for patch in self.patches:
            x0, y0, x1, y1 = common = intersection(patch, box)
            inside = (x0 - patch[0], y0 - patch[1], x1 - patch[0], y1 - patch[1])
            whole.append(inside if area_of(common) else None)
        return whole

    def render(self, parts: Sequence[Given], box: Box) -> Samples:
        of, (left, top, _, _) = self.rendering, box
        given = [part for part in parts[: 4 if self.alpha else 3] if isinstance(part, np.ndarray)]
        y, c1, c2 = (part[..., 0] for part in given[:3])
        out = CONVERSIONS[of.conversion].make().convert(y, of.enlarge(c1, box), of.enlarge(c2, box))
        for patch, part in zip(self.patches, parts[len(given) :], strict=True):
            if isinstance(part, np.ndarray):
                x0, y0, x1, y1 = intersection(patch, box)
                out[y0 - top : y1 - top, x0 - left : x1 - left] = part
        return np.concatenate([out, given[3]], -1) if self.alpha else out

    def small(self, parts: Sequence[Given]) -> Samples:
        """The picture an eighth as wide and high, uint8 [ceil(H / 8), ceil(W / 8), 3], near the image."""
        y, c1, c2 = (part[..., 0] for part in parts[:3] if isinstance(part, np.ndarray))
        rows, columns = self.axes()
        chroma = (previews.of_plane(plane, rows, columns) for plane in (c1, c2))
        return self.coloured([previews.of_plane(y, *self.axes(False)), *chroma], parts)

    def axes(self, chroma: bool = True) -> tuple[previews.Axis, previews.Axis]:
        """Of rows and of columns: where the pixels are in the planes of chroma, or in that of luma."""
        of, form = self.rendering, self.rendering.enlargement
        if not chroma:
            return (1, 0, of.height), (1, 0, of.width)
        return (form.rows.by, of.top, of.height), (form.columns.by, of.left, of.width)

    def coloured(self, planes: Sequence[Plane], parts: Sequence[Given]) -> Samples:
        """The small picture of small planes, with the patches, which are the last parts."""
        out = CONVERSIONS[self.rendering.conversion].make().convert(*planes)
        for (left, top, _, _), part in zip(self.patches, parts[len(parts) - len(self.patches) :], strict=True):
            if isinstance(part, np.ndarray):
                height, width, _ = part.shape
                for k in range(3):
                    small = previews.of_plane(part[..., k], (1, 0, height), (1, 0, width))
                    at = out[top // previews.BY :, left // previews.BY :, k]
                    at = at[: len(small), : small.shape[1]]
                    at[:] = small[: at.shape[0], : at.shape[1]]
        return out

    def write(self) -> bytes:
        of = self.rendering
        form = of.enlargement
        axes = [AXES.index(form.rows), AXES.index(form.columns)]
        data = [bytes([KIND, of.conversion, *axes, *form.bias[0], *form.bias[1], of.top, of.left])]
        data += [varint(of.chroma_height), varint(of.chroma_width), varint(len(self.patches))]
        data += [varint(v) for x0, y0, x1, y1 in self.patches for v in (x0, y0, x1 - x0, y1 - y0)]
        return b"".join(data)


def read(reader: Reader, mode: str, width: int, height: int) -> Rendered:
    """The inverse of `write`, after the kind. Raises FormatError."""
    if mode not in ("RGB", "RGBA"):
        raise FormatError(f"mode {mode} has no conversion from luma and chroma")
    conversion = reader.varint(0, len(CONVERSIONS) - 1)
    rows, columns = (AXES[reader.varint(0, len(AXES) - 1)] for _ in range(2))
    unit = rows.unit * columns.unit
    a, b, c, d = (reader.varint(0, unit - 1) for _ in range(4))
    top, left = reader.varint(0, 2 * rows.by - 2), reader.varint(0, 2 * columns.by - 2)
    sizes = []
    for axis, offset, length in ((rows, top, height), (columns, left, width)):
        least = -(-(offset + length) // axis.by)
        sizes.append(reader.varint(least, least + axis.by - 1))
    patches: list[Box] = []
    for _ in range(reader.varint(0, 64)):
        x0, y0 = reader.varint(0, width - 1), reader.varint(0, height - 1)
        patches.append((x0, y0, x0 + reader.varint(1, width - x0), y0 + reader.varint(1, height - y0)))
    form = Enlargement(rows, columns, ((a, b), (c, d)))
    rendering = Rendering(conversion, form, top, left, height, width, sizes[0], sizes[1])
    return Rendered(rendering, mode == "RGBA", tuple(patches))


def invert(picture: Picture) -> list[Inverted]:
    """The planes of an image that most of is rendered from; where many pixels are not, of full size as well."""
    if picture.mode.pillow not in ("RGB", "RGBA") or picture.area > MOST:
        return []
    from lgcodec.origins import search

    if not search.is_likely(picture):
        return []
    samples = picture.samples((0, 0, picture.width, picture.height))
    rgb = np.ascontiguousarray(samples[..., :3])
    found = search.find(rgb)
    if found is None:
        return []
    inverted = [_inverted(picture, samples, found)]
    if inverted[0].count > picture.area * _MANY and found.rendering.enlargement != FOUR_FOUR_FOUR:
        finer = search.find(rgb, FOUR_FOUR_FOUR)
        inverted += [] if finer is None else [_inverted(picture, samples, finer)]
    return inverted


def of_greys(picture: Picture) -> Inverted | None:
    """The planes of an image of colours that are all grey: chroma says nothing. None of other images."""
    if picture.mode.pillow not in ("RGB", "RGBA") or not all(map(colour.is_grey, picture.strips())):
        return None
    from lgcodec.origins import search

    samples = picture.samples((0, 0, picture.width, picture.height))
    height, width = -(-picture.height // 2), -(-picture.width // 2)
    of = Rendering(0, CONVERSIONS[0].enlargements[0], 0, 0, picture.height, picture.width, height, width)
    none = np.full((height, width), 128, np.uint8)
    return _inverted(picture, samples, search.Found(of, (np.ascontiguousarray(samples[..., 0]), none, none), ()))


def _inverted(picture: Picture, samples: Samples, found: Found) -> Inverted:
    origin = Rendered(found.rendering, picture.mode.has_alpha, found.patches)
    parts: list[Samples | bytes] = [plane[..., None] for plane in found.planes]
    if origin.alpha:
        parts.append(samples[..., 3:])
    parts += [np.ascontiguousarray(samples[y0:y1, x0:x1, :3]) for x0, y0, x1, y1 in found.patches]
    box = (0, 0, picture.width, picture.height)
    data, count = exceptions.pack(samples, origin.render([part for part in parts if not isinstance(part, bytes)], box))
    return Inverted(origin, parts, data, count)
