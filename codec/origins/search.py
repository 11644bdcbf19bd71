"""Finds what a picture was rendered from. The encoder's side: nothing here decides bits, rendering proves it.

1. Colours. Of all colours a conversion makes only some (JPEG: one in 4.2), each from one (Y, C1, C2): 60 pixels of
   another origin never pass. Clipped colours leave a choice.
2. Enlargements. The chroma of a small window is searched for a small plane under each enlargement, phase and turn.
3. The whole picture, plane by plane, then both planes together where clipped pixels bind them (origins.c).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lgcodec import colour
from lgcodec.boxes import Box
from lgcodec.image import Picture
from lgcodec.models.machines.native import origins as native
from lgcodec.origins.conversions import CONVERSIONS, FOUR_FOUR_FOUR
from lgcodec.origins.form import AHEAD, BEHIND, Axis, Conversion, Enlargement, Plane, Rendering, Samples, size_of

_SPOTS, _LONG = 128, 8  # what is looked at first: pieces of rows, pixels of each
_LEAST = 60  # colours of those that can tell
_SHARE = 0.45  # of them that a conversion makes, where chance gives 0.24 at most
_CELL = 16  # side of the squares that come from elsewhere, or do not
_OWN = 0.25  # of the pixels that are not clipped: so many must be such as a conversion makes, outside patches
_ALONE = 16  # side of squares of chroma samples that tell nothing to each other
_WINDOW = 96  # side of the windows that enlargements are tried on
_EDGE = 8  # rows or columns by which it is seen whether the picture ends where its planes do
_HOPELESS = 0.008  # of the pixels: where more stay wrong, and another pass has hardly begun to mend them, it will not
_CUT = 0.72  # of misses at an edge, if planes go on there: where they do not, a row of free samples gives 0.75 to 1
_MISSES = 0.12  # of a window's pixels that a right enlargement leaves wrong at most


@dataclass(frozen=True)
class Found:
    """planes: Y, C1, C2. patches: where pixels come from elsewhere, and planes are only filled."""

    rendering: Rendering
    planes: tuple[Plane, Plane, Plane]
    patches: tuple[Box, ...]


def find(samples: Samples, enlargement: Enlargement | None = None) -> Found | None:
    """The planes that most of a picture uint8 [H, W, 3] is rendered from, None where no conversion is recognised.

    enlargement: of chroma; None for the one that fits best.
    """
    box = (0, 0, samples.shape[1], samples.shape[0])
    place = _conversion(_distinct([samples[y0:y1, x0:x1] for x0, y0, x1, y1 in _spots(*box[2:])]))
    return None if place is None else _invert(samples, place, CONVERSIONS[place].make(), enlargement)


def is_likely(picture: Picture) -> bool:
    """Whether a few pixels of a picture speak for a conversion, so that it is worth while to look at all of them.

    Grey ones do, if they are of many levels.
    """
    if not native.is_available():
        return False
    spots = [picture.samples(box) for box in _spots(picture.width, picture.height)]
    if all(map(colour.is_grey, spots)):
        return len(np.unique(np.concatenate([spot[..., 0].ravel() for spot in spots]))) >= _LEAST
    return _conversion(_distinct(spots)) is not None


def _conversion(colours: Samples) -> int | None:
    """The conversion that makes most of these colours [n, 3]."""
    if len(colours) < _LEAST:
        return None
    forms = [known.make() for known in CONVERSIONS]
    shares = [float((native.colours(of.native(), inverse(of), colours)[3] == 1).mean()) for of in forms]
    best = int(np.argmax(shares))
    return best if shares[best] >= _SHARE else None


def _spots(width: int, height: int) -> list[Box]:
    """Short pieces of rows, spread over a picture."""
    random, long = np.random.Generator(np.random.PCG64(0)), min(_LONG, width)
    xs, ys = random.integers(0, width - long + 1, _SPOTS), random.integers(0, height, _SPOTS)
    return [(int(x), int(y), int(x) + long, int(y) + 1) for x, y in zip(xs, ys, strict=True)]


def inverse(of: Conversion) -> NDArray[np.float32]:
    """Planes as affine functions of R, G, B, float32 [3, 4]: near the true ones."""
    tables = (np.broadcast_to(of.light, (3, 256)), of.first, of.second)
    slopes = np.stack([(t[:, 255] - t[:, 0]) / 255 for t in tables], 1) / 2**of.shift
    zero = sum(t[:, 0] for t in tables) / 2**of.shift
    back = np.linalg.inv(slopes)
    return np.ascontiguousarray(np.concatenate([back, (back @ (0.5 - zero))[:, None]], 1), np.float32)


def colours(of: Conversion, rgb: Samples) -> tuple[Plane, Plane, Plane, Plane]:
    """Y, C1, C2 of pixels [H, W, 3], and what is known of each: 1 the only preimage, 0 none, 2 clipped."""
    return native.colours(of.native(), inverse(of), rgb)


def luma_bounds(of: Conversion, rgb: Samples, c1: Plane, c2: Plane) -> tuple[Plane, Plane]:
    """The least and the most luma [H, W] that renders pixels with chroma of their size; 1 and 0 where none does."""
    return native.luma_bounds(of.native(), rgb, c1, c2)


def _distinct(spots: Sequence[Samples]) -> Samples:
    """The colours of pixels that are neither clipped nor grey, each once: uint8 [n, 3]."""
    seen = np.concatenate([spot[..., :3].reshape(-1, 3) for spot in spots])
    telling = ((seen > 0) & (seen < 255)).all(1) & (seen != seen[:, :1]).any(1)
    return np.ascontiguousarray(np.unique(seen[telling], axis=0))


def _invert(rgb: Samples, place: int, of: Conversion, enlargement: Enlargement | None) -> Found | None:
    y, c1, c2, known = colours(of, rgb)
    patches, telling = _foreign(known), (known != 2).sum()
    for x0, y0, x1, y1 in patches:
        known[y0:y1, x0:x1] = 0
    if (known == 1).sum() < _OWN * telling:  # what is left is an empty canvas
        return None
    best = (enlargement, 0, 0) if enlargement else _enlargement_of(place, (c1, c2), known)
    form, top, left = best
    rendering = _placed(place, form, top, left, (c1, c2), known)
    search = _Search(rendering, of, rgb, known, (c1, c2))
    chroma = search.chroma()
    for x0, y0, x1, y1 in patches:
        y[y0:y1, x0:x1] = 0
    if patches:
        inside = np.ones(known.shape, bool)
        for x0, y0, x1, y1 in patches:
            inside[y0:y1, x0:x1] = False
        y = _filled(y, inside)
    full = [search.enlarged(plane) for plane in chroma]
    luma = native.luma(of.native(), rgb, full[0], full[1], y)
    for x0, y0, x1, y1 in patches:
        luma[y0:y1, x0:x1] = y[y0:y1, x0:x1]
    return Found(rendering, (luma, *chroma), patches)


class _Search:
    """The chroma of one picture under one rendering."""

    def __init__(
        self, rendering: Rendering, of: Conversion, rgb: Samples, known: Plane, exact: tuple[Plane, Plane]
    ) -> None:
        self.rendering, self.rgb, self.known, self.exact = rendering, rgb, known, exact
        self.colour, self.form = of.native(), rendering.enlargement.native()

    def enlarged(self, plane: Plane) -> Plane:
        of = self.rendering
        return native.enlarge(self.form, plane, of.top, of.left, of.height, of.width)

    def chroma(self, passes: int = 2) -> tuple[Plane, Plane]:
        guesses = [guess(self.rendering, plane, self.known == 1, self.known == 2) for plane in self.exact]
        found: list[Plane | None] = [None, None]
        full = [self.enlarged(plane) for plane in guesses]
        best, fewest = guesses, self.known.size
        for turn in range(passes):
            for k in (0, 1):
                low, high = native.intervals(self.colour, self.rgb, self.known, self.exact[k], full[k], full[1 - k], k)
                start = found[k]
                bounds = embedded(self.rendering, low, 0), embedded(self.rendering, high, 255)
                near = guesses[k] if start is None else start
                plane, _ = native.solve(self.form, *bounds, near, start, 2 if turn == 0 else 4)
                found[k], full[k] = plane, self.enlarged(plane)
            planes = [plane for plane in found if plane is not None]
            last = fewest
            for rounds in (0, 4):  # the search may also make a good solution worse
                wrong = self._repair(planes, rounds, fewest + fewest // 4)
                if wrong <= fewest:
                    best, fewest = [plane.copy() for plane in planes], wrong
                if fewest > max(0.9 * last, _HOPELESS * self.known.size):
                    break
            full = [self.enlarged(plane) for plane in planes]
            if not fewest or fewest > 0.9 * last:
                break
        return best[0], best[1]

    def _repair(self, planes: Sequence[Plane], rounds: int, limit: int) -> int:
        offset = (self.rendering.top, self.rendering.left)
        return native.repair(self.colour, self.form, self.rgb, self.known, self.exact, offset, planes, rounds, limit)


def embedded(of: Rendering, plane: Plane, value: int) -> Plane:
    """The picture's plane in the whole of what its small planes enlarge to, `value` around it."""
    rows, columns = of.enlargement.rows.by, of.enlargement.columns.by
    out = np.full((of.chroma_height * rows, of.chroma_width * columns), value, np.uint8)
    out[of.top : of.top + of.height, of.left : of.left + of.width] = plane
    return out


def guess(of: Rendering, plane: Plane, known: NDArray[np.bool_], clipped: NDArray[np.bool_] | None = None) -> Plane:
    """A small plane near the true one: means of the known pixels at each sample, and smooth where there are none."""
    rows, columns = of.enlargement.rows, of.enlargement.columns
    shape = (of.chroma_height, rows.by, of.chroma_width, columns.by)
    weight = embedded(of, known.astype(np.uint8), 0).reshape(shape).astype(np.float32)
    value = embedded(of, plane, 0).reshape(shape) * weight
    n, total = weight.sum((1, 3)), value.sum((1, 3))
    if columns in (BEHIND, AHEAD):  # samples are pixels, or told by a known one beside them and the mean of both
        i, j = int(rows is AHEAD), int(columns is AHEAD)
        own, sample = weight[:, i, :, j] > 0, value[:, i, :, j]
        means = ((weight[:, 1 - i, :, j], value[:, 1 - i, :, j]), (weight[:, i, :, 1 - j], value[:, i, :, 1 - j]))
        for axis, (seen, mean) in enumerate(means):
            step = 1 if (i, j)[axis] else -1  # to the other sample of a mean
            tells = ~own & (seen > 0) & np.roll(own, step, axis)
            tells[(slice(None),) * axis + (0 if step > 0 else -1,)] = False
            n = np.where(tells, 1, n)
            total = np.where(tells, np.clip(2 * mean - np.roll(sample, step, axis), 0, 255), total)
        n, total = np.where(own, 1, n), np.where(own, sample, total)
    if clipped is not None:  # far from all that is known, what clipped colours themselves say is the better start
        weight = embedded(of, clipped.astype(np.uint8), 0).reshape(shape).astype(np.float32)
        far = _far(n > 0)
        n = np.where(far, weight.sum((1, 3)), n)
        total = np.where(far, (embedded(of, plane, 0).reshape(shape) * weight).sum((1, 3)), total)
    return _filled(total / np.maximum(n, 1), n > 0)


def _far(known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where the whole square of _ALONE samples a side holds nothing known."""
    height, width = known.shape
    full = np.pad(known, ((0, -height % _ALONE), (0, -width % _ALONE)))
    some = full.reshape(full.shape[0] // _ALONE, _ALONE, -1, _ALONE).any((1, 3))
    far: NDArray[np.bool_] = ~some.repeat(_ALONE, 0).repeat(_ALONE, 1)[:height, :width]
    return far


def _filled(plane: NDArray[np.generic], known: NDArray[np.bool_]) -> Plane:
    filled: Plane = np.clip(np.rint(_fill(plane.astype(np.float32), known)), 0, 255).astype(np.uint8)
    return filled


def _fill(plane: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The plane, smooth where it is not known: means of ever larger squares."""
    if known.all():
        return plane
    if not known.any():
        return np.full_like(plane, 128)
    height, width = plane.shape
    even = ((0, height % 2), (0, width % 2))
    weight = np.pad(known.astype(np.float32), even).reshape((height + 1) // 2, 2, -1, 2).sum((1, 3))
    total = np.pad(np.where(known, plane, 0), even).reshape((height + 1) // 2, 2, -1, 2).sum((1, 3))
    wide = _fill((total / np.maximum(weight, 1)).astype(np.float32), weight > 0)
    wide = wide.repeat(2, 0).repeat(2, 1)[:height, :width]
    around = np.pad(wide, 1, "edge")
    smooth = 2 * wide + around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]
    return np.where(known, plane, smooth / 6)


def _foreign(known: Plane) -> tuple[Box, ...]:
    """Boxes of squares in which too many pixels have a colour that the conversion does not make."""
    height, width = known.shape
    rows, columns = -(-height // _CELL), -(-width // _CELL)
    pad = ((0, rows * _CELL - height), (0, columns * _CELL - width))

    def count(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        counts: NDArray[np.int64] = np.pad(mask, pad).reshape(rows, _CELL, columns, _CELL).sum((1, 3))
        return counts

    none = count(known == 0)
    if not none.any():
        return ()
    bad = none > np.maximum(8, 0.2 * count(known != 2))
    return tuple(
        (x0 * _CELL, y0 * _CELL, min(x1 * _CELL, width), min(y1 * _CELL, height)) for x0, y0, x1, y1 in _boxes(bad)
    )


def _boxes(mask: NDArray[np.bool_], most: int = 32) -> list[Box]:
    """Boxes that do not overlap and hold all of the mask: those around its connected parts, merged."""
    boxes: list[Box] = []
    for y, x in np.argwhere(mask):
        box = (int(x), int(y), int(x) + 1, int(y) + 1)
        boxes = _merged(boxes, box, 1)
    gap = 2
    while len(boxes) > most:
        joined: list[Box] = []
        for box in boxes:
            joined = _merged(joined, box, gap)
        boxes, gap = joined, 2 * gap
    return boxes


def _merged(boxes: list[Box], box: Box, gap: int) -> list[Box]:
    """The boxes and one more, joined with those that are less than `gap` away until none is."""
    while True:
        x0, y0, x1, y1 = box
        near = [b for b in boxes if b[0] < x1 + gap and x0 < b[2] + gap and b[1] < y1 + gap and y0 < b[3] + gap]
        if not near:
            return [*boxes, box]
        boxes = [b for b in boxes if b not in near]
        near.append(box)
        box = (min(b[0] for b in near), min(b[1] for b in near), max(b[2] for b in near), max(b[3] for b in near))


def _turns(of: Enlargement) -> Iterator[Enlargement]:
    """The enlargement of a picture that was turned or mirrored afterwards, all eight ways, each once."""
    seen = set()
    for first in (of, of.turned()):
        for second in (first, first.mirrored()):
            for third in (second, second.turned().mirrored().turned()):
                if third not in seen:
                    seen.add(third)
                    yield third


def _enlargement_of(place: int, chroma: tuple[Plane, Plane], known: Plane) -> tuple[Enlargement, int, int]:
    """The enlargement, and the parities of the picture's first row and column, that fit the chroma of a window best."""
    box = _window(chroma, known)
    seen = known[box]
    planes = [np.ascontiguousarray(plane[box]) for plane in chroma]
    busy = sorted(planes, key=lambda plane: -int(np.abs(np.diff(plane.astype(int)))[:, :].sum()))
    limit = int(_MISSES * (seen == 1).sum())
    best, fewest = (FOUR_FOUR_FOUR, 0, 0), limit + 1
    for of in CONVERSIONS[place].enlargements:
        for turned in _turns(of):
            for top in range(turned.rows.by):
                for left in range(turned.columns.by):
                    wrong = 0
                    for plane in busy:
                        if wrong < fewest:
                            wrong += _misses(_cut(turned, top, left, seen.shape), plane, seen, fewest)
                    if wrong < fewest:
                        best, fewest = (turned, top, left), wrong
        if fewest <= limit // 8:
            break
    return best


def _window(chroma: tuple[Plane, Plane], known: Plane) -> tuple[slice, slice]:
    """The window with the most chroma detail among those that are nearly all known; it begins at even places."""
    height, width = known.shape
    best, most = (slice(0, _WINDOW), slice(0, _WINDOW)), -1.0
    for y in range(0, max(1, height - _WINDOW + 1), _WINDOW):
        for x in range(0, max(1, width - _WINDOW + 1), _WINDOW):
            box = (slice(y, y + _WINDOW), slice(x, x + _WINDOW))
            seen = known[box] == 1
            detail = sum(np.minimum(np.abs(np.diff(plane[box].astype(np.int16), axis=1)), 8).sum() for plane in chroma)
            score = float(detail) * float(seen.mean()) ** 8
            if score > most:
                best, most = box, score
    return best


def _cut(of: Enlargement, top: int, left: int, shape: tuple[int, ...]) -> Rendering:
    """The rendering of a window within a picture, whose planes go on at all sides."""
    top, left = top or of.rows.by * (of.rows.even > 0), left or of.columns.by * (of.columns.even > 0)
    height, width = shape
    sizes = (size_of(of.rows, top, height, False), size_of(of.columns, left, width, False))
    return Rendering(0, of, top, left, height, width, *sizes)


def _misses(of: Rendering, plane: Plane, known: Plane, limit: int) -> int:
    low, high = np.where(known == 1, plane, 0).astype(np.uint8), np.where(known == 1, plane, 255).astype(np.uint8)
    start = guess(of, plane, known == 1)
    bounds = embedded(of, low, 0), embedded(of, high, 255)
    return native.solve(of.enlargement.native(), *bounds, start, None, 1, limit)[1]


def _placed(place: int, of: Enlargement, top: int, left: int, chroma: tuple[Plane, Plane], known: Plane) -> Rendering:
    """The rendering of the whole picture: whether it ends where its planes do, at each side, by what fits there."""
    height, width = known.shape
    band = (chroma[0][:_EDGE], chroma[1][:_EDGE], known[:_EDGE])
    rows, top, bottom = _ends(of, top, left, band, (chroma[0][-_EDGE:], chroma[1][-_EDGE:], known[-_EDGE:]), height)
    turned = replace(of, rows=rows).turned()
    band = (chroma[0][:, :_EDGE].T, chroma[1][:, :_EDGE].T, known[:, :_EDGE].T)
    other = (chroma[0][:, -_EDGE:].T, chroma[1][:, -_EDGE:].T, known[:, -_EDGE:].T)
    columns, left, right = _ends(turned, left, top, band, other, width)
    form = Enlargement(rows, columns, of.bias)
    sizes = size_of(rows, top, height, bottom), size_of(columns, left, width, right)
    return Rendering(place, form, top, left, height, width, *sizes)


def _ends(
    of: Enlargement, top: int, left: int, first: Sequence[Plane], last: Sequence[Plane], length: int
) -> tuple[Axis, int, bool]:
    """The axis of the rows, the first row's place, and whether the last one is the end, as fits the bands best."""
    if of.rows.by == 1:
        return of.rows, 0, True
    twins = {BEHIND: AHEAD, AHEAD: BEHIND}  # the same one pixel further, but at their ends
    choices = [(of.rows, top)] + ([(twins[of.rows], 1 - top)] if of.rows in twins else [])
    found = []
    for rows, start in choices:
        form = replace(of, rows=rows)
        starts = [start, start + 2] if start == 0 and rows.even else [start]
        opened = min(starts, key=lambda at: _band(form, at, left, first, False))
        skipped = max(0, length - len(last[2]))
        inner = (start + skipped) % 2 or 2 * bool(rows.even)
        ends = [True, False] if rows.odd and (opened + length) % 2 == 0 else [True]
        misses = [_band(form, inner, left, last, edge) for edge in ends]
        cut = misses[-1] < _CUT * misses[0]
        wrong = _band(form, opened, left, first, False) + misses[-1 if cut else 0]
        closed = not cut
        found.append((wrong, (rows, opened, closed)))
    return min(found, key=lambda item: item[0])[1]


def _band(of: Enlargement, top: int, left: int, band: Sequence[Plane], edge: bool) -> int:
    """Misses of both chroma planes in a band of rows; top: its place in the enlarged planes."""
    height, width = band[2].shape
    left = left or of.columns.by * (of.columns.even > 0)
    sizes = (size_of(of.rows, top, height, edge), size_of(of.columns, left, width, False))
    cut = Rendering(0, of, top, left, height, width, *sizes)
    known = np.ascontiguousarray(band[2])
    return sum(_misses(cut, np.ascontiguousarray(plane), known, 1 << 62) for plane in band[:2])
