"""The online predictors against the same recursion in Python's own integers, one pixel at a time."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lgcodec.models.families.causal import online
from lgcodec.models.families.causal.on_native import features as native_features
from lgcodec.models.families.causal.online import HIGH, LEFT, LOW, PULL, RIDGE, RIGHT, START, TAPS, UP, W_SCALE, WINDOWS
from lgcodec.models.machines.native import library

if not library.available():
    pytest.skip("no native library: there was no C compiler", allow_module_level=True)
EXACT = 2**53
Tile = NDArray[np.int16]
Plane = list[list[int]]


def whole(x: float) -> int:
    assert x == int(x)
    return int(x)


UNIT = whole(W_SCALE)
FIRST = [*(whole(p * UNIT) for p in PULL), *[0] * (len(TAPS) - len(PULL))]


class Bounded:
    """Remembers the largest sum of magnitudes: what any order of operations could meet on its way."""

    largest = 0

    def __call__(self, *terms: int) -> int:
        self.largest = max(self.largest, sum(map(abs, terms)))
        return sum(terms)


def around(plane: Plane, y: int, x: int, start: int) -> int:
    """The value at row y, column x of a tile, or what stands there outside of it (online.pad's text, cell by cell)."""
    width = len(plane[0])
    if y < 0:  # row -r continues row 0, shifted right by 2 r; START where nothing is decoded yet
        y, x = 0, x + 2 * y
        return start if x < 0 else plane[0][min(x, width - 1)]
    if x < 0:  # left of row y stands the first pixel of row y - 1
        return start if y == 0 else plane[y - 1][0]
    return plane[y][min(x, width - 1)]


def clip(x: int, low: int, high: int) -> int:
    return min(max(x, low), high)


class Solver:
    """One window and channel. A pixel's state is [G (lower triangle), g, w]; see the head of online.py."""

    def __init__(self, window: online.Window, size: tuple[int, int], seen: Bounded) -> None:
        self.taps, self.decay, self.seen = window.taps, window.decay, seen
        H, W = size
        n = self.taps
        self.start = ([[0] * n for _ in range(n)], [0] * n, FIRST[:n])
        self.states = [[self.start] * W for _ in range(H)]

    def inherit(self, y: int, x: int) -> None:
        """decay (left + upper right) for G and g, the mean of both for w; at the last column, what is above."""
        left = self.states[y][x - 1] if x else self.start
        above = self.states[y - 1][min(x + 1, len(self.states[0]) - 1)] if y else self.start
        fade = lambda a, b: self.seen(a * self.decay, b * self.decay) >> 9  # noqa: E731
        gram = [[fade(a, b) for a, b in zip(p, q, strict=True)] for p, q in zip(left[0], above[0], strict=True)]
        moment = [fade(a, b) for a, b in zip(left[1], above[1], strict=True)]
        weights = [(a + b) >> 1 for a, b in zip(left[2], above[2], strict=True)]
        self.states[y][x] = (gram, moment, weights)

    def predict(self, y: int, x: int, v: list[int], reference: int) -> int:
        gram, moment, weights = self.states[y][x]
        ridge, limit = whole(RIDGE), 4 * UNIT
        for i in range(self.taps):
            products = [-gram[i][k] * weights[k] for k in range(self.taps)]
            residual = self.seen(moment[i] * UNIT, ridge * FIRST[i], -ridge * weights[i], *products)
            step = self.seen(residual) // self.seen(gram[i][i], ridge)
            weights[i] = clip(self.seen(weights[i], step), -limit, limit)
        terms = [w * a for w, a in zip(weights, v, strict=True)]
        return 8 * self.seen(8 * reference * UNIT, *(8 * t for t in terms)) // (8 * UNIT)

    def learn(self, y: int, x: int, v: list[int], error: int) -> None:
        gram, moment, _ = self.states[y][x]
        for i in range(self.taps):
            moment[i] = self.seen(moment[i], 16 * v[i] * error)
            for k in range(self.taps):
                gram[i][k] = self.seen(gram[i][k], 16 * v[i] * v[k])


class Coupling:
    """Co's error from Y's, Cg's from Y's and from what Y leaves of Co's. State: YY, Y.Co, Co'Co', Y.Cg, Co'.Cg'."""

    def __init__(self, size: tuple[int, int], seen: Bounded) -> None:
        self.states, self.seen = [[[0] * 5 for _ in range(size[1])] for _ in range(size[0])], seen

    def slope(self, product: int, square: int) -> int:
        return clip(self.seen(product * 4096) // self.seen(square, 256), -16384, 16384)

    def visit(self, y: int, x: int, e: list[int]) -> list[int]:
        left = self.states[y][x - 1] if x else [0] * 5
        above = self.states[y - 1][min(x + 1, len(self.states[0]) - 1)] if y else [0] * 5
        s = [self.seen(246 * a, 246 * b) >> 9 for a, b in zip(left, above, strict=True)]
        co = self.seen(self.slope(s[1], s[0]) * e[0]) >> 12
        cg = self.seen(self.slope(s[3], s[0]) * e[0]) >> 12
        rest = e[1] - co
        expected = [0, co, cg + (self.seen(self.slope(s[4], s[2]) * rest) >> 12)]
        news = (e[0] * e[0], e[0] * e[1], rest * rest, e[0] * e[2], rest * (e[2] - cg))
        self.states[y][x] = [self.seen(a, b) for a, b in zip(s, news, strict=True)]
        return expected


def features(tile: Tile) -> tuple[list[list[Plane]], list[Plane], int]:
    """on_native.features without a float, in raster order: predictions, expected errors, largest magnitude met."""
    C, H, W = tile.shape
    planes: list[Plane] = tile.tolist()
    seen = Bounded()
    solvers = [[Solver(window, (H, W), seen) for window in WINDOWS] for _ in range(C)]
    coupling = Coupling((H, W), seen)
    predictions = [[[[0] * W for _ in range(H)] for _ in range(C)] for _ in WINDOWS]
    coupled = [[[0] * W for _ in range(H)] for _ in range(C)]
    for y in range(H):
        for x in range(W):
            errors = []
            for c, plane in enumerate(planes):
                near = [around(plane, y + dy, x + dx, START[c]) for dy, dx in TAPS]
                reference = (3 * near[0] + 3 * near[1] + near[2] + near[3]) // 8
                v = [a - reference for a in near]
                for s, solver in enumerate(solvers[c]):
                    solver.inherit(y, x)
                    p = solver.predict(y, x, v[: solver.taps], reference)
                    predictions[s][c][y][x] = clip(p, 8 * LOW[c], 8 * HIGH[c])
                    solver.learn(y, x, v[: solver.taps], plane[y][x] - reference)
                anchor = (predictions[0][c][y][x] + predictions[1][c][y][x]) >> 1
                errors.append(8 * plane[y][x] - anchor)
            if C == 3:
                for c, expected in enumerate(coupling.visit(y, x, errors)):
                    coupled[c][y][x] = expected
    return predictions, coupled, seen.largest


@st.composite
def tiles(draw: st.DrawFn, side: int = 9) -> Tile:
    C = draw(st.sampled_from([1, 3]))
    H, W = draw(st.sampled_from([(1, 1), (1, side), (side, 1), (2, 3), (side, side), (side // 2, side)]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["noise", "extremes", "checkerboard", "smooth", "flat", "lines"]))
    return np.stack([plane_of(kind, random, c, H, W) for c in range(C)]).astype(np.int16)


def plane_of(kind: str, random: np.random.Generator, c: int, H: int, W: int) -> NDArray[np.integer]:
    y, x = np.indices((H, W))
    if kind == "noise":
        return random.integers(LOW[c], HIGH[c] + 1, (H, W))
    if kind == "smooth":
        ramp = random.integers(-9, 10) + 5 * x + random.integers(0, 4) * y
        return np.clip(ramp + random.integers(0, 3, (H, W)), LOW[c], HIGH[c])
    if kind == "flat":
        return np.full((H, W), random.integers(LOW[c], HIGH[c] + 1))
    coins = random.random((H, W)) < 0.5
    on = {"extremes": coins, "checkerboard": (x + y) % 2 == 1, "lines": coins[:1] & (y >= 0)}[kind]
    return np.where(on, LOW[c], HIGH[c])


def check(tile: Tile) -> int:
    got_predictions, got_coupled = native_features(tile)
    predictions, coupled, largest = features(tile)
    assert np.array_equal(got_predictions, np.array(predictions))
    assert np.array_equal(got_coupled, np.array(coupled))
    return largest


@settings(deadline=None, max_examples=30)
@given(tiles())
def test_features_are_those_of_big_integers(tile: Tile) -> None:
    assert check(tile) < EXACT


def worst(kind: str) -> Tile:
    """Tiles whose neighbours, errors and correlations are as large as pixels allow, long enough to fill the windows."""
    H, W = 20, 28
    y, x = np.indices((H, W))
    random = np.random.default_rng(9)
    on = {
        "checkerboard": (x + y) % 2,
        "columns": x % 2,
        "rows": y % 2,
        "pairs": x // 2 % 2,
        "coins": random.integers(0, 2, (H, W)),
        "late step": (x + 2 * y > 40).astype(int),
    }[kind]
    return np.stack([np.where(on, HIGH[c], LOW[c]) for c in range(3)]).astype(np.int16)


@pytest.mark.parametrize("kind", ["checkerboard", "columns", "coins", "late step"])
def test_worst_tiles_stay_exact(kind: str) -> None:
    assert check(worst(kind)) < EXACT


def test_no_tile_can_leave_the_exact_range() -> None:
    """The same from the definitions: states are geometric series, so their limits are known."""
    reach = max(h - low for low, h in zip(LOW, HIGH, strict=True))
    taught = 16 * reach * reach
    for window in WINDOWS:
        assert 2 * window.decay < 512
        state = Fraction(taught, 1) / (1 - Fraction(2 * window.decay, 512))
        weight = 4 * UNIT
        # g - G w with every product at its largest, and the fading sums before their shift by 9 bits
        assert state * UNIT + window.taps * state * weight + 2 * whole(RIDGE) * weight < EXACT
        assert 2 * state * window.decay < EXACT
        assert 8 * reach * (UNIT + window.taps * weight) < EXACT
    error = 8 * reach + 2 * 4 * 8 * reach  # Q3, less two regressions with slopes up to 4
    state = Fraction(error * error) / (1 - Fraction(2 * 246, 512))
    assert state * 4096 < EXACT


@settings(deadline=None)
@given(tiles(side=13))
def test_pad_is_what_its_text_says(tile: Tile) -> None:
    C, H, W = tile.shape
    padded = online.pad(tile)
    assert padded.shape == (C, UP + H, LEFT + W + RIGHT)
    assert padded.dtype == tile.dtype
    for c, plane in enumerate(tile.tolist()):
        cells = [[around(plane, y, x, START[c]) for x in range(-LEFT, W + RIGHT)] for y in range(-UP, H)]
        assert padded[c].tolist() == cells


def test_pad_by_hand() -> None:
    got = online.pad(np.array([[[1, 2, 3], [4, 5, 6]]], np.int16))[0]
    s = START[0]
    assert got.tolist() == [
        [s, s, s, s, s, s, s, s, s, s, 1],  # row -3: six to the right
        [s, s, s, s, s, s, s, s, 1, 2, 3],
        [s, s, s, s, s, s, 1, 2, 3, 3, 3],
        [s, s, s, s, 1, 2, 3, 3, 3, 3, 3],
        [1, 1, 1, 1, 4, 5, 6, 6, 6, 6, 6],
    ]


@settings(deadline=None, max_examples=25)
@given(tiles(), st.data())
def test_features_are_causal(tile: Tile, data: st.DataObject) -> None:
    """What a pixel sees does not change with it or with what is decoded after it (later fronts: x + 2 y)."""
    C, H, W = tile.shape
    y, x = data.draw(st.integers(0, H - 1)), data.draw(st.integers(0, W - 1))
    rows, cols = np.indices((H, W))
    later = cols + 2 * rows >= x + 2 * y
    other = tile.copy()
    for c in range(C):
        other[c][later] = HIGH[c] + LOW[c] - other[c][later]
    for before, after in zip(native_features(tile)[:1], native_features(other)[:1], strict=True):
        now = cols + 2 * rows <= x + 2 * y
        assert np.array_equal(before[..., now], after[..., now])


def test_expected_errors_saturate_where_int16_ends() -> None:
    """Co and Cg follow Y steeply, then one pixel breaks every rule: the regression expects more than 4095 pixels."""
    random = np.random.default_rng(173)
    n, m = random.integers(-15, 16, (8, 24)), random.integers(-6, 7, (8, 24))
    co = random.choice([3, 4, 5]) * n + m
    cg = random.choice([-4, -2, 0, 2, 4]) * n + random.choice([4, 5, 6]) * m * random.choice([-1, 1])
    tile = np.stack([20 + n, np.clip(co, -255, 255), np.clip(cg, -255, 255)]).astype(np.int16)
    tile[:2, -1, -1] = 255, -255
    expected = features(tile)[1]
    assert np.abs(expected).max() > 32767
    assert np.array_equal(native_features(tile)[1], np.clip(expected, -32768, 32767))
