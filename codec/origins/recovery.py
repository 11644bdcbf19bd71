"""From an image, or its planes, back to the JPEG that shows it. The encoder's side, whose end is to render and compare.

Chroma first: where clipped pixels leave its planes open, whole blocks of coefficients do not. Then luma, within what
this chroma leaves to it. Where coefficients do not decode to what is needed, planes get corrections.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lgcodec.deflate import deflate
from lgcodec.fields import varint
from lgcodec.image import Picture, Samples
from lgcodec.jpeg import baseline, idct
from lgcodec.jpeg.file import Plane as Component
from lgcodec.jpeg.scans import Blocks
from lgcodec.origins import exceptions, lattice, rendered, search
from lgcodec.origins.coefficients import GREY, Coefficients
from lgcodec.origins.conversions import CONVERSIONS
from lgcodec.origins.form import Conversion, Plane
from lgcodec.origins.lattice import Fitted, Grid
from lgcodec.origins.origin import Inverted
from lgcodec.origins.rendered import MOST, Rendered

_WRONG = 0.7  # of luma's blocks that may not come back: with more, planes are the better origin
_DOUBTFUL, _LOST, _NONE = 0.25, 0.75, 0.95  # of chroma's: with more, its planes are parts as well, or nothing else
_SLACKS = 0, 1  # how far from the plane that was found another may be: roundings hide what one was
_LARGE = 1 << 21  # pixels, from which on one of these is tried alone
_LISTED, _OWN = 2000, 50  # corrections, from which on a list is longer than pictures; bytes of a picture's own header
Mask = NDArray[np.bool_]


def invert(picture: Picture, planes: Inverted | None) -> list[Inverted]:
    """JPEGs that show an image (L, LA, RGB or RGBA), if any do. planes: what it is rendered from."""
    if picture.area > MOST:
        return []
    box = (0, 0, picture.width, picture.height)
    if picture.mode.pillow in ("L", "LA"):
        grey = _of_grey(picture, picture.samples(box))
        return [] if grey is None else [grey]
    if planes is None or not isinstance(planes.origin, Rendered):
        planes = rendered.of_greys(picture)
    if planes is None or not isinstance(planes.origin, Rendered):
        return []
    found = [part[..., 0] for part in planes.parts[:3] if not isinstance(part, bytes)]
    return _of_colours(picture, picture.samples(box), planes.origin, found)


def _of_grey(picture: Picture, samples: Samples) -> Inverted | None:
    plane = np.ascontiguousarray(samples[..., 0])
    grid = lattice.grid_of([(plane, np.ones(plane.shape, bool))])
    if grid is None:
        return None
    fitted = _fitted(grid, plane, plane, plane)
    if fitted is None:
        return None
    listed, pictures = _corrections([plane], [fitted.plane])
    origin = Coefficients(
        picture.mode.pillow, picture.width, picture.height, grid.kind, ((grid.top, grid.left),), None,
        listed, bool(pictures),
    )  # fmt: skip
    others = [*pictures, samples[..., 1:]] if picture.mode.has_alpha else pictures
    return _inverted(origin, samples, [grid], [fitted], others)


def _fitted(grid: Grid, plane: Plane, low: Plane, high: Plane) -> Fitted | None:
    """Coefficients of a plane, None where too few blocks decode to low..high; of a rough grid the nearest ones."""
    if grid.is_rough:
        return lattice.rounded(grid, plane)
    fitted = lattice.fit(grid, plane, low, high, 1 - _WRONG)
    return fitted if lattice.inside(grid, fitted.plane, low, high).mean() >= 1 - _WRONG else None


def _of_colours(picture: Picture, samples: Samples, form: Rendered, found: Sequence[Plane]) -> list[Inverted]:
    of = form.rendering
    conversion = CONVERSIONS[of.conversion].make()
    rgb = np.ascontiguousarray(samples[..., :3])
    *exact, known = search.colours(conversion, rgb)
    outside = np.ones(known.shape, bool)
    for x0, y0, x1, y1 in form.patches:
        outside[y0:y1, x0:x1] = False
    sure = (known == 1) & outside
    grid = lattice.grid_of([(found[0], sure)])
    if grid is None:
        return []
    places = [
        (row, column)
        for row in _places(grid.top, of.top, of.enlargement.rows.by)
        for column in _places(grid.left, of.left, of.enlargement.columns.by)
    ]
    shown = _shown(form, sure)
    hint = lattice.of_chroma(grid.steps)
    own = lattice.grid_of([(plane, shown) for plane in found[1:]], places, hint, (grid.kind,))
    case = _Case(picture, samples, form, found, grid, own, _Chroma(form, conversion, rgb, sure, exact[1:], outside))
    inverted = [case.inverted(fitted) for fitted in case.chroma_fits(shown)]
    return [one for one in inverted if one is not None]


@dataclass(frozen=True)
class _Case:
    """An image of samples [H, W, 3 or 4], the planes found, and the grids of luma and chroma, if this has one."""

    picture: Picture
    samples: Samples
    form: Rendered
    found: Sequence[Plane]
    grid: Grid
    own: Grid | None
    chroma: _Chroma

    def chroma_fits(self, shown: Mask) -> list[list[Fitted]]:
        """What may be tried for both chroma planes, an empty list standing for none: they are parts themselves."""
        if self.own is None:
            return [[]]
        if self.grid.is_rough:
            return [[] if self.own.is_rough else [lattice.rounded(self.own, plane) for plane in self.found[1:]]]
        fitted, wrong = self.chroma.fitted(self.own, self.found[1:], shown)
        if wrong < _DOUBTFUL:
            return [fitted]
        if self.picture.area > _LARGE:
            return [fitted if wrong < 0.5 else []]
        return [fitted, []] if wrong < _LOST else [[]]

    def inverted(self, fitted: Sequence[Fitted]) -> Inverted | None:
        form, grid, own = self.form, self.grid, self.own
        shaped = [one.plane for one in fitted] if fitted and not grid.is_rough else self.found[1:]
        wanted, low, high = self.chroma.settled(shaped, self.found[1:])
        near = np.clip(self.found[0], low, np.maximum(low, high))
        luma = _fitted(grid, near, low, high)
        if luma is None:
            return None
        planes = [np.clip(luma.plane, low, high), *wanted][: 1 + len(fitted)]
        listed, pictures = _corrections(planes, [luma.plane, *(one.plane for one in fitted)])
        at, grids, parts = [(grid.top, grid.left)], [grid], [plane[..., None] for plane in wanted]
        if own is not None and fitted:
            at, grids, parts = [_aligned(grid, own, form), (own.top, own.left)], [grid, own, own], []
        mode, size = self.picture.mode.pillow, (self.picture.width, self.picture.height)
        origin = Coefficients(mode, *size, grid.kind, tuple(at), form, listed, bool(pictures))
        others = [*pictures, *parts, *([self.samples[..., 3:]] if form.alpha else [])]
        others += [np.ascontiguousarray(self.samples[y0:y1, x0:x1, :3]) for x0, y0, x1, y1 in form.patches]
        return _inverted(origin, self.samples, grids, [luma, *fitted], others)


class _Chroma:
    """What both chroma planes must be, for pixels rgb of which some are sure: these have one preimage each."""

    def __init__(
        self, form: Rendered, conversion: Conversion, rgb: Samples, sure: Mask, exact: Sequence[Plane], outside: Mask
    ) -> None:
        self.of, self.conversion, self.rgb = form.rendering, conversion, rgb
        self.sure, self.exact, self.outside = sure, exact, outside

    def fitted(self, grid: Grid, found: Sequence[Plane], shown: Mask) -> tuple[list[Fitted], float]:
        """Coefficients of both, and the share of blocks that do not come back. shown: samples that are found, or nearly
        so.
        """
        out = [lattice.rounded(grid, plane) for plane in found]
        wrong = self._wrong([one.plane for one in out])
        for slack in _SLACKS:
            tried = []
            for plane, one, mask in zip(found, out, wrong, strict=True):
                low = np.where(shown, np.maximum(plane, slack) - slack, 0).astype(np.uint8)
                high = np.where(shown, np.minimum(plane, 255 - slack) + slack, 255).astype(np.uint8)
                tried.append(lattice.searched(grid, one, plane, low, high, lattice.counted(grid, mask) > 0))
            masks = zip(wrong, self._wrong([one.plane for one in tried]), strict=True)
            better = [lattice.counted(grid, after) < lattice.counted(grid, before) for before, after in masks]
            blocks = [
                np.where(chosen[..., None], new.coefficients, old.coefficients)
                for chosen, new, old in zip(better, tried, out, strict=True)
            ]
            out = [lattice.decoded(grid, part, one.plane.shape) for part, one in zip(blocks, out, strict=True)]
            wrong = self._wrong([one.plane for one in out])
            share = max(float((lattice.counted(grid, mask) > 0).mean()) for mask in wrong)
            if share > _NONE:
                break
        return out, share

    def _wrong(self, planes: Sequence[Plane]) -> list[Mask]:
        """The samples of either plane by pixels that do not come out."""
        box = (0, 0, self.of.width, self.of.height)
        full = [self.of.enlarge(plane, box) for plane in planes]
        low, high = search.luma_bounds(self.conversion, self.rgb, full[0], full[1])
        bad = (low > high) & self.outside
        return [
            _grown(self._cells(np.where(self.sure, plane != exact, bad)))
            for plane, exact in zip(full, self.exact, strict=True)
        ]

    def settled(self, decoded: Sequence[Plane], found: Sequence[Plane]) -> tuple[list[Plane], Plane, Plane]:
        """Planes as decoded where these render, as found elsewhere; and the least and the most of luma with these.

        Luma is 0 to 255 where nothing renders the pixel, or a patch does.
        """
        wanted = list(decoded)
        for _ in range(3):
            low, high, bad = self._luma(wanted)
            if not bad.any():
                break
            near = _grown(self._cells(bad))
            wanted = [np.where(near, b, a) for a, b in zip(wanted, found, strict=True)]
        low, high, bad = self._luma(wanted)
        open_ = bad | ~self.outside
        low[open_], high[open_] = 0, 255
        return wanted, low, high

    def _luma(self, planes: Sequence[Plane]) -> tuple[Plane, Plane, Mask]:
        """The least and the most of luma at each pixel, and where nothing renders it."""
        box = (0, 0, self.of.width, self.of.height)
        c1, c2 = (self.of.enlarge(plane, box) for plane in planes)
        low, high = search.luma_bounds(self.conversion, self.rgb, c1, c2)
        bad = (low > high) & self.outside
        return low, high, bad

    def _cells(self, pixels: Mask) -> Mask:
        """The chroma samples that are nearest to any of these pixels."""
        of = self.of
        whole = search.embedded(of, pixels.astype(np.uint8), 0)
        cells: Mask = _by_cells(whole, of.enlargement.rows.by, of.enlargement.columns.by).max((1, 3)) > 0
        return cells


def _places(grid: int, offset: int, by: int) -> list[int]:
    """What chroma's grid may miss at its beginning, if luma's misses `grid`, and the image begins at `offset`."""
    if by == 1:
        return [grid]
    if (grid - offset) % 2:
        return list(range(8))
    first = (grid - offset) // 2 % 4
    return [first, first + 4]


def _aligned(luma: Grid, chroma: Grid, form: Rendered) -> tuple[int, int]:
    """Where luma begins in a JPEG whose blocks of chroma lie on those of luma, if they do."""
    of = form.rendering
    top = of.enlargement.rows.by * chroma.top + of.top
    left = of.enlargement.columns.by * chroma.left + of.left
    return top if (top - luma.top) % 8 == 0 else luma.top, left if (left - luma.left) % 8 == 0 else luma.left


def _by_cells(plane: Plane, rows: int, columns: int) -> NDArray[np.uint8]:
    return plane.reshape(plane.shape[0] // rows, rows, plane.shape[1] // columns, columns)


def _grown(mask: Mask) -> Mask:
    """The mask and all samples next to it."""
    wide = np.pad(mask, 1)
    wide = wide[:-2] | wide[1:-1] | wide[2:]
    return wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]


def _shown(form: Rendered, sure: Mask) -> Mask:
    """Chroma samples of which sure pixels show what they are."""
    of = form.rendering
    rows, columns = of.enlargement.rows.by, of.enlargement.columns.by
    hidden, seen = (
        _by_cells(search.embedded(of, m.astype(np.uint8), 0), rows, columns).max((1, 3)) for m in (~sure, sure)
    )
    shown: Mask = (seen > 0) & (hidden == 0)
    return shown


def _corrections(wanted: Sequence[Plane], decoded: Sequence[Plane]) -> tuple[bytes, list[Samples]]:
    """What makes decoded planes those that are wanted: a list, or a picture of each plane, if these are shorter."""
    if all(np.array_equal(a, b) for a, b in zip(wanted, decoded, strict=True)):
        return b"", []
    changed = [a - b for a, b in zip(wanted, decoded, strict=True)]  # modulo 256
    drawn = sum(_OWN + _entropy(change) for change in changed)
    if sum(map(np.count_nonzero, changed)) < _LISTED:
        packed = [exceptions.pack(a[..., None], b[..., None])[0] for a, b in zip(wanted, decoded, strict=True)]
        listed = b"".join(varint(len(data)) + data for data in packed)
        if len(deflate(listed)) < drawn:
            return listed, []
    return b"", [(change + np.uint8(GREY))[..., None] for change in changed]


def _entropy(plane: Plane) -> float:
    """Bytes that samples take if each is told by how often its value occurs: what contexts make of sparse ones."""
    counts = np.bincount(plane.reshape(-1), minlength=256)
    counts = counts[counts > 0]
    return float((counts * np.log2(plane.size / counts)).sum() / 8)


def _inverted(
    origin: Coefficients, samples: Samples, grids: Sequence[Grid], fitted: Sequence[Fitted], others: Sequence[Samples]
) -> Inverted | None:
    width, height = origin.extent()
    by = [(1, 1)] * len(grids)
    if origin.form is not None and len(grids) > 1:
        form = origin.form.rendering.enlargement
        by = [(1, 1), *[(form.rows.by, form.columns.by)] * 2]
    components = []
    for grid, one, (rows, columns), place in zip(grids, fitted, by, (*origin.places, origin.places[-1]), strict=False):
        size = math.ceil(math.ceil(height / rows) / 8), math.ceil(math.ceil(width / columns) / 8)
        blocks = _padded(one.coefficients, (place[0] - grid.top) // 8, (place[1] - grid.left) // 8, *size)
        vertical, horizontal = by[-1][0] // rows, by[-1][1] // columns
        components.append(Component(horizontal, vertical, grid.steps, blocks))
    if max(width, height) > baseline.MOST_SIDE or any(_is_beyond(one.coefficients) for one in components):
        return None
    if origin.kind == idct.TURNED:
        width, height, components = height, width, [component.turned() for component in components]
    data = baseline.write(width, height, components)
    rendered = origin.render([components, *others], (0, 0, origin.width, origin.height))
    excepted, count = exceptions.pack(samples, rendered)
    return Inverted(origin, [data, *others], excepted, count)


def _padded(blocks: Blocks, above: int, before: int, rows: int, columns: int) -> Blocks:
    """Blocks [rows, columns, 64]: more around, which nobody sees, as flat as those next to them are light."""
    height, width, _ = blocks.shape
    pad = ((above, rows - above - height), (before, columns - before - width))
    out = np.zeros((rows, columns, 64), np.int16)
    out[..., 0] = np.pad(blocks[..., 0], pad, "edge")
    out[above : above + height, before : before + width] = blocks
    return out


def _is_beyond(blocks: Blocks) -> bool:
    least = blocks.min(axis=(0, 1), initial=0) + (np.arange(64) == 0)
    return bool(least.min() < -baseline.LARGEST or blocks.max(initial=0) > baseline.LARGEST)
