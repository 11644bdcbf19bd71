"""Finds the quantised DCT coefficients that a plane was decoded from. The encoder's side: decoding proves them.

1. Grid. At the right place most transformed blocks have many values near zero, and the others near multiples of steps.
2. Steps. Samples were rounded, which leaves noise of 0.29 on each coefficient: of each frequency the step that makes
   its values likeliest, and of all libjpeg's tables, turned or not, the likeliest one, if it is nearly as likely.
3. Coefficients. Rounded to the steps, and decoded; where that is not the plane, a search among the nearest others.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lgcodec.jpeg import dictionary, idct
from lgcodec.jpeg.idct import basis
from lgcodec.jpeg.markers import Steps
from lgcodec.jpeg.scans import ZIGZAG, Blocks
from lgcodec.models.machines.native import origins as native
from lgcodec.origins.form import Plane

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Place = tuple[int, int]  # top and left, as Grid has them

_PATCHES = 256  # that the grid is looked for in
_RANKED = 96  # patches
_CLEARLY = 0.02  # share that the right place is ahead of others: 0.14, at quality 98 still 0.03; elsewhere 0.005
_SOME = list(ZIGZAG[1:64:3])  # frequencies that places are ranked by
_ALL = [(y, x) for y in range(8) for x in range(8)]
_NOISE = 0.33  # of coefficients, a little more than rounding leaves
_STRANGE = 0.03  # share of values that are no multiples, or noise of blocks so flat that all samples round one way
_NONZERO = 1.3  # values from here on are no noise
_VALUES = 256  # of a frequency that its step is looked for in
_GAIN = 0.3  # in nats a value: what steps must explain; two explain 0.5, by chance it is 0
_CLEAR = 0.3  # of frequencies that must have such a step
_ONES = 40  # steps of 1 at most: among more of them nothing is left that coefficients could save
_DOUBT = 10.0  # nats that must speak for a step that is in no table
_SAMPLE = 1024  # blocks
_HARDLY = 0.03  # of a sample: where a search finds no more, the other blocks are not worth it
_SHARE = 0.25  # of these that must come back at once, if no step is 1,
_SAME = 0.85  # or of their samples: planes are the better origin where even more are other ones
_KEPT = 0.917  # and so much of it for each that is: noise stays below half a step
_FLIPS, _DEEP, _ROUNDS = 14, 3, 5  # of the search
_CHUNK, _BATCH = 1024, 256  # blocks that are searched at once, and of which the likeliest are
_RARE = 0.1  # spreads, in steps, that are as good as 0


@dataclass(frozen=True)
class Grid:
    """top, left: how many rows and columns of the first blocks are missing. kind: of the inverse transform.

    is_rough: blocks do not come back, only most of their samples do, as of a JPEG that was saved once more.
    """

    top: int
    left: int
    steps: Steps
    kind: int
    is_rough: bool = False


@dataclass(frozen=True)
class Fitted:
    """coefficients: int16 [R, C, 64]. plane: what they decode to, cut."""

    coefficients: Blocks
    plane: Plane


def grid_of(
    planes: Sequence[tuple[Plane, Mask]],
    places: Sequence[Place] | None = None,
    hint: Steps | None = None,
    kinds: Sequence[int] = (idct.ACCURATE, idct.TURNED, idct.REAL),
) -> Grid | None:
    """The grid and the steps that planes share, by their known samples; None where they show none.

    places: the only ones to look at. hint: the planes are known to have a grid; steps where they do not show them.
    kinds: of inverse transforms, by which blocks may come back.
    """
    patches = np.concatenate([_patches(*plane) for plane in planes])
    if len(patches) < 8 and hint is None:
        return None
    place = _place(patches) if places is None else _ranked(patches, places)[0]
    if place is None or (hint is None and not _has_steps(_transformed(patches, *place))):
        return None
    top, left = place
    clean = np.concatenate([_clean(*plane, top, left) for plane in planes])
    if len(clean) < 8:
        return None if hint is None else Grid(top, left, hint, kinds[0])
    values = _forward(clean)
    order = np.argsort(-(values[:, 1:] ** 2).sum(1), kind="stable")
    busy = order[: max(8, len(order) // 2)]
    tried, some = _steps(values[busy], hint), busy[:: max(1, len(busy) // _SAMPLE)]
    ranked = []
    for (i, steps), (n, kind) in itertools.product(enumerate(tried), enumerate(kinds)):
        same = idct.samples(_rounded(values[some], steps), steps, kind) == clean[some]
        ranked.append((float(same.all(1).mean()), float(same.mean()), -i, -n))
    share, most, i, n = max(ranked)
    is_rough = share < _SHARE * _KEPT ** _ones(tried[-i])
    if is_rough and most < _SAME and hint is None:
        return None
    return Grid(top, left, tried[-i], kinds[-n], is_rough)


def of_chroma(steps: Steps) -> Steps:
    """Steps of chroma that most likely go with those of luma."""
    tables = _tables()
    distance = np.abs(np.log(tables / np.maximum(steps, 1))).sum(2)[:, :2].min(1)
    steps = tables[int(np.argmin(distance)), 2].astype(np.uint16)
    return steps


def fit(of: Grid, plane: Plane, low: Plane, high: Plane, least: float = 0.0) -> Fitted:
    """Coefficients that decode to low..high, from those on that are nearest to the plane. least: as of `searched`."""
    nearest = rounded(of, plane)
    return searched(of, nearest, plane, low, high, ~inside(of, nearest.plane, low, high), least)


def rounded(of: Grid, plane: Plane) -> Fitted:
    """The coefficients that are nearest to a plane."""
    coefficients = _rounded(_forward(cut(plane, of.top, of.left)), of.steps)
    return decoded(of, coefficients, plane.shape)


def searched(
    of: Grid, start: Fitted, plane: Plane, low: Plane, high: Plane, blocks: Mask, least: float = 0.0
) -> Fitted:
    """Coefficients that are changed in some blocks [R, C], so that these decode to low..high; near the plane.

    least: share of all blocks that is to come back; where a sample says that fewer will, or that a search finds hardly
    any, nothing more is searched for.
    """
    coefficients = start.coefficients.reshape(-1, 64).copy()
    guess = cut(plane, of.top, of.left).astype(np.float32)
    bounds = cut(low, of.top, of.left, 0), cut(high, of.top, of.left, 255)
    exact = ~blocks.reshape(-1)
    example = coefficients[exact] if exact.any() else coefficients
    spread = (example * of.steps.astype(np.float32)).std(0)
    wrong = np.flatnonzero(~exact)
    some = wrong[:: max(1, len(wrong) // _SAMPLE)]
    for part in (some, np.setdiff1d(wrong, some)):
        open_ = part[(bounds[1][part] > bounds[0][part]).any(1)]
        for at in _batches(open_, _BATCH):
            low_, high_ = bounds[0][at], bounds[1][at]
            likely = _likely(of, guess[at], low_, high_, spread)
            samples = idct.samples(likely, of.steps, of.kind)
            coefficients[at], exact[at] = likely, _within(samples, low_, high_)
            guess[at] = np.clip(samples, low_, high_)
        left = part[~exact[part]]
        for at in _batches(left, _CHUNK):
            coefficients[at] = _searched(of, guess[at], bounds[0][at], bounds[1][at], coefficients[at])
            exact[at] = _within(idct.samples(coefficients[at], of.steps, of.kind), bounds[0][at], bounds[1][at])
        needed = 1 - (1 - least) * len(exact) / max(1, len(wrong))
        if part is some and len(some) and exact[some].mean() < max(_HARDLY, needed):
            break
    return decoded(of, coefficients, plane.shape)


def inside(of: Grid, plane: Plane, low: Plane, high: Plane) -> Mask:
    """Which blocks [R, C] of a plane are within low..high."""
    wrong: Mask = counted(of, (plane < low) | (plane > high)) == 0
    return wrong


def counted(of: Grid, mask: Mask) -> NDArray[np.int64]:
    """How many samples of each block are in a mask."""
    counts: NDArray[np.int64] = cut(mask.astype(np.uint8), of.top, of.left, 0).sum(1, dtype=np.int64)
    return counts.reshape(-(-(of.top + len(mask)) // 8), -1)


def decoded(of: Grid, coefficients: NDArray[np.int16], shape: tuple[int, ...]) -> Fitted:
    """Coefficients of all blocks, and a plane of this shape."""
    height, width = shape
    blocks = coefficients.reshape(-(-(of.top + height) // 8), -1, 64)
    whole = idct.plane(blocks, of.steps, of.kind)
    return Fitted(blocks, np.ascontiguousarray(whole[of.top : of.top + height, of.left : of.left + width]))


def _batches(places: NDArray[np.intp], size: int) -> list[NDArray[np.intp]]:
    return [places[start : start + size] for start in range(0, len(places), size)]


def cut(plane: NDArray[np.uint8], top: int, left: int, value: int | None = None) -> NDArray[np.uint8]:
    """The blocks [n, 64] of a plane of which the first `top` rows and `left` columns are missing.

    value: of samples that are missing; None repeats the edge.
    """
    height, width = plane.shape
    pad = ((top, -(top + height) % 8), (left, -(left + width) % 8))
    full = np.pad(plane, pad, "edge") if value is None else np.pad(plane, pad, constant_values=value)
    rows, columns = full.shape[0] // 8, full.shape[1] // 8
    return np.ascontiguousarray(full.reshape(rows, 8, columns, 8).swapaxes(1, 2)).reshape(-1, 64)


def _within(samples: Plane, low: Plane, high: Plane) -> Mask:
    return np.asarray(((samples >= low) & (samples <= high)).all(1), np.bool_)


def _forward(blocks: NDArray[np.generic]) -> Floats:
    """Coefficients, not quantised, of samples [n, 64]."""
    return np.asarray((blocks.astype(np.float32) - 128) @ _float_basis().T)


@functools.cache
def _float_basis() -> Floats:
    return basis().astype(np.float32)


def _rounded(values: Floats, steps: Steps) -> NDArray[np.int16]:
    return np.rint(values / steps.astype(np.float32)).astype(np.int16)


def _patches(plane: Plane, known: Mask) -> NDArray[np.uint8]:
    """Patches [n, 15, 15] from rows and columns that are multiples of 8 on, those with the most texture of many."""
    height, width = plane.shape
    rows, columns = (height - 15) // 8 + 1, (width - 15) // 8 + 1
    if rows < 1 or columns < 1:
        return np.zeros((0, 15, 15), np.uint8)
    random = np.random.Generator(np.random.PCG64(0))
    places = random.permutation(rows * columns)[: 4 * _PATCHES]
    y, x = 8 * (places // columns), 8 * (places % columns)
    index = y[:, None, None] + np.arange(15)[:, None], x[:, None, None] + np.arange(15)
    patches = plane[index]
    patches = patches[
        np.flatnonzero(known[index].all((1, 2)) & (patches.min((1, 2)) > 0) & (patches.max((1, 2)) < 255))
    ]
    texture = np.abs(np.diff(patches.astype(np.int16), axis=2)).sum((1, 2))
    busy: NDArray[np.uint8] = patches[np.argsort(-texture, kind="stable")[:_PATCHES]]
    return busy


def _transformed(patches: NDArray[np.uint8], top: int, left: int) -> Floats:
    """The coefficients of a block of each patch, if `top` rows and `left` columns of the first one are missing."""
    y, x = -top % 8, -left % 8
    return _forward(patches[:, y : y + 8, x : x + 8].reshape(-1, 64))


def _clean(plane: Plane, known: Mask, top: int, left: int) -> Plane:
    """Blocks [n, 64] that are known and not clipped."""
    blocks, inside = cut(plane, top, left), cut(known.astype(np.uint8), top, left, 0).all(1)
    clean: Plane = blocks[inside & (blocks.min(1) > 0) & (blocks.max(1) < 255)]
    return clean


def _place(patches: NDArray[np.uint8]) -> Place | None:
    """Where blocks begin, if there are clearly more coefficients near zero than if they began elsewhere."""
    shares = _near_zero(patches[:_RANKED], _ALL)
    best, second = np.argsort(shares)[:-3:-1]
    return _ALL[int(best)] if shares[best] > shares[second] + _CLEARLY else None


def _ranked(patches: NDArray[np.uint8], places: Sequence[Place]) -> list[Place]:
    order = np.argsort(-np.array(_near_zero(patches, places)), kind="stable")
    return [places[i] for i in order]


def _near_zero(patches: NDArray[np.uint8], places: Sequence[Place]) -> list[float]:
    """Which share of some coefficients is near zero, if blocks begin at each place."""
    some, centred = _float_basis()[_SOME].T, patches.astype(np.float32) - 128
    blocks = (centred[:, -top % 8 :, -left % 8 :][:, :8, :8].reshape(-1, 64) for top, left in places)
    return [float((np.abs(block @ some) < 0.8).mean()) if len(block) else 0.0 for block in blocks]


def _has_steps(values: Floats) -> bool:
    """Whether enough frequencies have values that are multiples of a step from 2 on."""
    seen = clear = 0
    for k in ZIGZAG[1:50]:
        gains, n = _gains(values[:, k], 48, 48)
        gain = float(gains[2:].max())
        seen, clear = seen + (n >= 8), clear + (gain >= max(10, _GAIN * n))
    return clear >= max(3, _CLEAR * seen)


def _gains(values: Floats, most: int, count: int = _VALUES) -> tuple[Floats, int]:
    """How much likelier each step 0..most makes some values than none, in nats; and how many of these can tell."""
    x = np.abs(values)
    x = x[x > _NONZERO][:count]
    steps = np.arange(1, most + 1, dtype=np.float32)[:, None]
    rest = x - steps * np.rint(x / steps)
    density = (1 - _STRANGE) / (_NOISE * np.sqrt(2 * np.pi)) * steps * np.exp(rest * rest / (-2 * _NOISE**2))
    gains = np.log(density + _STRANGE).sum(1)
    return np.concatenate([[-np.inf], gains]).astype(np.float32), len(x)


def _steps(values: Floats, hint: Steps | None) -> list[Steps]:
    """Steps of all frequencies, in natural order: the likeliest of libjpeg's tables, the hint, any that are likely.

    Of encoders with tables of their own (Photoshop), frequencies that are always 0 have the largest step that is seen.
    """
    gains = np.stack([_gains(values[:, k], 255)[0] for k in range(64)])  # [64, 256]
    known = _tables().reshape(-1, 64)
    total = gains[np.arange(64), known].sum(1)
    tables = [known[i] for i in np.argsort(-total)[:3]]
    if hint is not None:
        tables.append(hint.astype(np.int64))
    own = gains.argmax(1)
    doubtful = gains.max(1) - gains[np.arange(64), tables[0]] < _DOUBT
    seen = gains.max(1) >= _DOUBT
    strange = np.where(seen, own, own[seen].max(initial=1))
    tried = [table.astype(np.uint16) for table in (*tables, np.where(doubtful, tables[0], own), strange)]
    return [steps for steps in tried if _ones(steps) <= _ONES] or tried[:1]


def _ones(steps: Steps) -> int:
    return int((steps == 1).sum())


@functools.cache
def _tables() -> NDArray[np.int64]:
    """libjpeg's tables [100, 3, 64] of all qualities: luma, luma turned, chroma (turned the same); in natural order."""
    out = np.zeros((100, 3, 64), np.int64)
    for quality, (place, of) in itertools.product(range(1, 101), ((0, dictionary.LUMA), (2, dictionary.CHROMA))):
        out[quality - 1, place, list(ZIGZAG)] = np.frombuffer(dictionary.steps(quality, of), np.uint8)
    out[:, 1] = out[:, 0].reshape(100, 8, 8).swapaxes(1, 2).reshape(100, 64)
    return out


def _likely(of: Grid, guess: Floats, low: Plane, high: Plane, spread: Floats) -> NDArray[np.int16]:
    """Coefficients [n, 64] of blocks whose samples are known in part: the likeliest, rounded one after the other.

    They are normal, of standard deviations `spread` [64], and so are samples within their bounds. The one that is known
    best is rounded first, and what all others are expected to be follows from it.
    """
    steps = of.steps.astype(np.float32)
    keys = np.union1d(0, np.flatnonzero(spread > _RARE * steps))
    base, q = _float_basis()[keys], steps[keys]
    width = high.astype(np.float32) - low
    weight = 12 / (1 + width * width)
    middle = np.where(width > 250, guess, (low.astype(np.float32) + high) / 2)
    first = (guess - 128) @ base[0]
    rest = middle - 128 - first[:, None] * base[0]
    prior = 1 / np.square(np.maximum(spread[keys], q / 4))
    prior[0] = 1 / (40 * 40)
    precision = np.einsum("ks,ns,ls->nkl", base, weight, base, optimize=True) + np.diag(prior)
    covariance = np.linalg.inv(precision).astype(np.float32)
    mean = np.einsum("nkl,nl->nk", covariance, (weight * rest) @ base.T)
    mean[:, 0] += first
    variance = np.einsum("nkk->nk", covariance) / (q * q)
    fixed, each = np.zeros(mean.shape, bool), np.arange(len(mean))
    least = 1e-4 * np.einsum("nkk->nk", covariance)  # below it a variance is but the rounding of these floats
    for _ in keys:
        k = np.where(fixed, np.inf, variance).argmin(1)
        column = covariance[each, k]
        own = np.maximum(column[each, k], least[each, k])
        wanted = q[k] * np.rint(mean[each, k] / q[k])
        gain = column / own[:, None]
        mean += gain * (wanted - mean[each, k])[:, None]
        covariance -= gain[:, :, None] * column[:, None]
        variance = np.einsum("nkk->nk", covariance) / (q * q)
        fixed[each, k], mean[each, k] = True, wanted
    out = np.zeros(guess.shape, np.int16)
    out[:, keys] = np.clip(np.rint(mean / q), -1024, 1023)
    return out


def _searched(of: Grid, guess: Floats, low: Plane, high: Plane, start: NDArray[np.int16]) -> NDArray[np.int16]:
    """Better coefficients [n, 64] of blocks: within the bounds where possible, otherwise as far as was come.

    Each round takes the _FLIPS moves that rounding was least sure of, tries all sets of a few of them, and takes the
    best.
    """
    steps, base = of.steps.astype(np.float32), _float_basis()
    free = np.float32(1e4)
    least = np.where(low == 0, -free, low - np.float32(0.5))
    most = np.where(high == 255, free, high + np.float32(0.5))
    out, done = start.copy(), np.zeros(len(start), bool)
    target = guess
    for turn in range(_ROUNDS + 1):
        at = np.flatnonzero(~done)
        if not len(at):
            break
        wanted = _forward(target[at]) / steps
        c = np.rint(wanted) if turn == 0 else out[at].astype(np.float32)
        rest = wanted - c
        doubt = steps * (np.float32(0.5) - np.abs(rest))  # in coefficients: small where the next one is as near
        moves = np.argpartition(doubt, _FLIPS, axis=1)[:, :_FLIPS].astype(np.int32)
        sign = np.where(np.take_along_axis(rest, moves, 1) < 0, -1, 1).astype(np.float32)
        samples = np.asarray((c * steps) @ base + 128, np.float32)
        best = native.moves(samples, least[at], most[at], base, moves, sign * steps[moves], _DEEP)
        for place in (2, 1, 0):  # the best last: it stays where none fits
            chosen = best[:, place, None] >> np.arange(_FLIPS) & 1
            moved = c.copy()
            np.put_along_axis(moved, moves, np.take_along_axis(c, moves, 1) + sign * chosen, 1)
            values = np.clip(moved, -1024, 1023).astype(np.int16)
            fits = _within(idct.samples(values, of.steps, of.kind), low[at], high[at])
            write = ~done[at]
            out[at[write]] = values[write]
            done[at[fits & write]] = True
        near = (out.astype(np.float32) * steps) @ base + 128
        target = np.clip(near, least, most)
    return out
