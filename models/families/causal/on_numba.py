"""The default model's program compiled by numba: the same integers, one tile per core, no Python per front.

Everything here repeats `online.py`, `causal.py` and `mixture.py` number for number; tests hold the two against each
other. Inner loops run along the rows of a front, so they compile to vector instructions.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.errors import ModelError
from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.causal import online
from lgcodec.models.families.causal.network import Network, Side
from lgcodec.models.interface import Intervals, Stream
from lgcodec.models.layers.integer import Layer, check_exact
from lgcodec.models.machines.choose import Machine
from lgcodec.models.machines.numba.convolution import Products
from lgcodec.models.machines.numba.jit import jit
from lgcodec.models.machines.numba.lanes import SLOTS, lanes_kernel
from lgcodec.models.machines.numba.learning import add, fresh, learn_front, mixture_errors, workspace
from lgcodec.models.machines.numba.mixtures import packed_sigmoids, shares
from lgcodec.models.machines.numba.products import activate, activate_onto, multiply, packed
from lgcodec.models.machines.numba.stack import CompiledStack, pop_mixtures, refill
from lgcodec.models.machines.numba.vectors import BLOCK, LANES
from lgcodec.models.parallel import each

_UP, _LEFT, _RIGHT = online.UP, online.LEFT, online.RIGHT
_RIDGE, _W_SCALE, _W_LIMIT, _G_SCALE = online.RIDGE, online.W_SCALE, online.W_LIMIT, online.G_SCALE
_COUPLING_DECAY = online.COUPLING_DECAY
_PULL = np.array(online.PULL)
_DY = np.array([dy for dy, _ in online.TAPS])
_DX = np.array([dx for _, dx in online.TAPS])
_TAPS = np.array([window.taps for window in online.WINDOWS])
_NO_SIDE = (np.zeros((0, 0, 3), np.int16), np.zeros((0, 2), np.int64), np.zeros((0, 0, 0), np.int16))
_ONE = np.uint64(1)
_LIMIT = float(causal.DIFFERENCE_LIMIT)
_log = logging.getLogger("lgcodec")


@jit
def _merge(state, begin, end, decay):
    """What a pixel inherits: state [coefficients, slots]; the slot after a row's is the row above's, not merged yet."""
    for k in range(state.shape[0]):
        for s in range(begin, end):
            state[k, s] = np.floor((state[k, s] + state[k, s + 1]) * decay)


def _packed(i: int, k: int) -> int:
    """Index of G[i, k] in the packed lower triangle."""
    i, k = max(i, k), min(i, k)
    return i * (i + 1) // 2 + k


def _window_kernels(window: online.Window) -> tuple[Any, Any]:
    """Solver.predict for SLOTS rows at once: what they inherit, then one Gauss-Seidel sweep and the prediction."""
    taps, decay = window.taps, window.decay / 512
    pulls = [online.PULL[i] * _W_SCALE if i < 3 else 0.0 for i in range(taps)]

    def inherit(gram: Any, moment: Any, weights: Any, v: Any, error: Any) -> None:
        """v, error: what the last front taught; it is added here, and not before, which saves a pass over the
        states.
        """
        own, above = [v.read(i) for i in range(taps)], [v.read(i, ahead=1) for i in range(taps)]
        e, e_above = error.read(), error.read(ahead=1)
        for i in range(taps):
            for k in range(i + 1):
                t = _packed(i, k)
                lesson = (own[i] * own[k] + above[i] * above[k]) * _G_SCALE
                gram.write(t, ((gram.read(t) + gram.read(t, ahead=1) + lesson) * decay).floor())
            lesson = (own[i] * e + above[i] * e_above) * _G_SCALE
            moment.write(i, ((moment.read(i) + moment.read(i, ahead=1) + lesson) * decay).floor())
            weights.write(i, ((weights.read(i) + weights.read(i, ahead=1)) * 0.5).floor())

    def solve(gram: Any, moment: Any, weights: Any, v: Any, reference: Any, p: Any) -> None:
        w = [weights.read(i) for i in range(taps)]
        for i in range(taps):
            rest = moment.read(i) * _W_SCALE + (w[i] * -1.0 + pulls[i]) * _RIDGE
            for k in range(taps):
                rest = rest - gram.read(_packed(i, k)) * w[k]
            w[i] = (w[i] + (rest / (gram.read(_packed(i, i)) + _RIDGE)).floor()).clip(-_W_LIMIT, _W_LIMIT)
            weights.write(i, w[i])
        total = reference.read() * _W_SCALE
        for i in range(taps):
            total = total + w[i] * v.read(i)
        p.write(0, (total * (8.0 / _W_SCALE)).floor())

    return lanes_kernel(5, inherit), lanes_kernel(6, solve)


_inherit0, _solve0 = _window_kernels(online.WINDOWS[0])
_inherit1, _solve1 = _window_kernels(online.WINDOWS[1])


@jit
def _pad_start(P):
    """P: float64 [3, H + UP, LEFT + W + RIGHT]; what stands around a tile before its first pixel."""
    for c in range(P.shape[0]):
        P[c] = 128.0 if c == 0 else 0.0


@jit
def _place(P, c, y, x, value):
    """Writes a decoded value, and the cells outside the tile that repeat it (`pad` in online.py)."""
    W = P.shape[2] - _LEFT - _RIGHT
    P[c, y + _UP, x + _LEFT] = value
    if x == 0 and y + _UP + 1 < P.shape[1]:
        P[c, y + _UP + 1, :_LEFT] = value
    if x == W - 1:
        P[c, y + _UP, W + _LEFT :] = value
    if y == 0:
        for r in range(1, _UP + 1):
            at = x + _LEFT + 2 * r
            if at < P.shape[2]:
                P[c, _UP - r, at] = value
                if x == W - 1:
                    P[c, _UP - r, at:] = value


@jit
def _neighbours(plane, stride, t, begin, end, rows, v, reference):
    """v [taps, slots]: the taps around each slot's pixel less their local mean `reference`; plane: one channel of
    P, flat.
    """
    for s in range(begin, end):
        y = rows - 1 - s
        at = np.uint64((y + _UP) * stride + t - 2 * y + _LEFT)
        north = at - np.uint64(stride)
        near = 3.0 * plane[at - _ONE] + 3.0 * plane[north] + plane[north - _ONE] + plane[north + _ONE]
        reference[s] = np.floor(near * 0.125)
    for i in range(v.shape[0]):
        back = np.uint64(-_DY[i] * stride - _DX[i])
        for s in range(begin, end):
            y = rows - 1 - s
            v[i, s] = plane[np.uint64((y + _UP) * stride + t - 2 * y + _LEFT) - back] - reference[s]


@jit
def _slope(product, square):
    return min(max(np.floor(product * 4096.0 / (square + 256.0)), -16384.0), 16384.0)


@jit
def _couple(s, c, e):
    """s: [5] one pixel's Coupling state; e: [3] errors in Q3, those below c known. -> expected error of channel c."""
    if c == 0:
        return 0.0
    co_part = np.floor(_slope(s[1], s[0]) * e[0] / 4096.0)
    if c == 1:
        return co_part
    return np.floor(_slope(s[3], s[0]) * e[0] / 4096.0) + np.floor(_slope(s[4], s[2]) * (e[1] - co_part) / 4096.0)


@jit
def _couple_learn(s, e):
    rest = e[1] - np.floor(_slope(s[1], s[0]) * e[0] / 4096.0)
    cg_part = np.floor(_slope(s[3], s[0]) * e[0] / 4096.0)
    s[0] += e[0] * e[0]
    s[1] += e[0] * e[1]
    s[2] += rest * rest
    s[3] += e[0] * e[2]
    s[4] += rest * (e[2] - cg_part)


@jit
def _new_solver(taps, channels, rows):
    """States by slot: row y is slot rows - 1 - y, so that the row above is the next one; slot `rows` is never
    written.
    """
    gram = np.zeros((channels, taps * (taps + 1) // 2, rows + 1 + SLOTS))
    moment = np.zeros((channels, taps, rows + 1 + SLOTS))
    weights = np.zeros((channels, taps, rows + 1 + SLOTS))
    for i in range(3):
        weights[:, i] = _PULL[i] * _W_SCALE
    return gram, moment, weights


@jit
def _predict(plane, stride, solvers, c, t, begin, end, v, reference, error, p):
    """Both windows' predictions p [windows, slots] of channel c, Q3. Blocks of rows keep their states in the L1
    cache.
    """
    gram0, moment0, weights0 = solvers[0]
    gram1, moment1, weights1 = solvers[1]
    rows = gram0.shape[2] - 1 - SLOTS
    g0, m0, w0, g1, m1, w1 = gram0[c], moment0[c], weights0[c], gram1[c], moment1[c], weights1[c]
    for s in range(begin, end, SLOTS):
        _inherit0((g0, m0, w0, v, error), s, end)
        _inherit1((g1, m1, w1, v, error), s, end)
        _neighbours(plane, stride, t, s, min(s + SLOTS, end), rows, v, reference)
        _solve0((g0, m0, w0, v, reference, p[0]), s, end)
        _solve1((g1, m1, w1, v, reference, p[1]), s, end)
    low, high = 0.0 if c == 0 else -2040.0, 2040.0
    for i in range(2):
        for s in range(begin, end):
            p[i, s] = min(max(p[i, s], low), high)


@jit
def _features(x, taps):
    C, H, W = x.shape
    P = np.zeros((C, H + _UP, _LEFT + W + _RIGHT))
    _pad_start(P)
    predictions = np.zeros((2, C, H, W), np.int16)
    coupled = np.zeros((C, H, W), np.int16)
    solvers = (_new_solver(taps[0], C, H), _new_solver(taps[1], C, H))
    coupling = np.zeros((5, H + 1))
    v, reference, error = (
        np.zeros((C, taps[1], H + 1 + SLOTS)),
        np.zeros((C, H + 1 + SLOTS)),
        np.zeros((C, H + 1 + SLOTS)),
    )
    p, e = np.zeros((2, H + SLOTS)), np.zeros((H, 3))
    for t in range(W + 2 * (H - 1)):
        low, high = max(0, (t - W + 2) // 2), min(H, t // 2 + 1)
        for c in range(C):
            plane = P[c].reshape(-1)
            _predict(plane, P.shape[2], solvers, c, t, H - high, H - low, v[c], reference[c], error[c], p)
            for y in range(low, high):
                s, at = H - 1 - y, t - 2 * y
                predictions[0, c, y, at], predictions[1, c, y, at] = p[0, s], p[1, s]
                e[s, c] = 8.0 * x[c, y, at] - np.floor((p[0, s] + p[1, s]) * 0.5)
                error[c, s] = x[c, y, at] - reference[c, s]
        if C == 3:
            _merge(coupling, H - high, H - low, _COUPLING_DECAY)
            for y in range(low, high):
                s = H - 1 - y
                for c in range(1, 3):
                    coupled[c, y, t - 2 * y] = min(max(_couple(coupling[:, s], c, e[s]), -32768.0), 32767.0)
                _couple_learn(coupling[:, s], e[s])
        for y in range(low, high):
            for c in range(C):
                _place(P, c, y, t - 2 * y, x[c, y, t - 2 * y])
    return predictions, coupled


def features(x: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """What the online predictors say of a known tile x, int16 [C, H, W].

    Returns predictions [windows, C, H, W] and expected errors by coupling [C, H, W], int16 in Q3.
    """
    result: tuple[NDArray[np.int16], NDArray[np.int16]] = _features(x, _TAPS)
    return result


@jit
def _set_mixture(j, q, centre, shift, inverses, exponential, mean, inverse, weight):
    """Mixture.of: writes mixture j of mean, inverse, weight int32 [K, n].

    q: int32, the head's outputs; centre: mean of the first component, shift: what the others add, 1/64.
    """
    K, last = len(mean), np.int64(len(exponential) - 1)
    top = q[0]
    for k in range(1, K):
        top = max(top, q[k])
    total, rest = np.int64(0), np.int64(65536)
    for k in range(K):
        share = exponential[np.uint64(min(np.int64(top - q[k]), last))]
        weight[k, j] = share
        total += share
        mean[k, j] = np.int64(q[K + k]) + centre + (shift if k else np.int64(0))
        inverse[k, j] = inverses[np.uint64(q[2 * K + k])]
    for k in range(K):
        # Exact: a quotient of integers below 2**34 is further than 2**-18 from an integer that it is not.
        share = np.int64((np.int64(weight[k, j]) << 16) / total)
        rest -= share
        weight[k, j] = share
    weight[0, j] += rest


@jit
def _compand(table, e):
    value = table[min(np.uint64(abs(e)), np.uint64(len(table) - 1))]
    return value if e >= 0 else -value


@jit
def _pass(fronts, h, seen, t, low, n, W):
    """Program._pass: seen [rows, width + 4 context] = h [rows, width] and what W, NW, N, NE pass on; fronts [3, 1 + H,
    context].
    """
    width, context = np.uint64(h.shape[1]), np.uint64(fronts.shape[2])
    for j in range(n):
        y, x = low + j, t - 2 * (low + j)
        around = (fronts[(t + 2) % 3, y + 1], fronts[t % 3, y], fronts[(t + 1) % 3, y], fronts[(t + 2) % 3, y])
        row = seen[j]
        for o in range(width):
            row[o] = h[j, o]
        for place in range(4):
            start, source = width + np.uint64(place) * context, around[place]
            for k in range(context):
                row[start + k] = source[k]
        if x + 1 == W:  # what is there came from another column
            row[width + np.uint64(3) * context :] = 0
    for j in range(n):
        fronts[t % 3, low + j + 1] = h[j, :context]


@jit
def _code(tile, words, encoding, taps, around, places, side, network, backward, sizes, tables, K):
    """Program._run over one tile, int16 [C, H, W]: read when encoding, written when decoding.

    words: the stream when decoding. side: what a Side knows, the picture padded, SIDE_PLACES from its corner, and the
    features; all empty without a Side. backward, sizes: as in `learn_front`, how many fronts from one that teaches to
    the next, and whether there is a grid. Returns start, frequency uint32 of the symbols in order (when encoding), and
    whether the stream held exactly the tile (when decoding).
    """
    picture, looks, features = side
    C, H, W = tile.shape
    (first, first_ends), (middle, middle_ends), (linear, linear_ends) = network[:3]
    (heads, extras, head_ends), (outs, out_ends) = network[3:]
    fine, coarse, sigmoid, exponential, inverses = tables
    P = np.zeros((3, H + _UP, _LEFT + W + _RIGHT))
    _pad_start(P)
    errors = np.zeros((2, 3, H + _UP, _LEFT + W + _RIGHT), np.int16)  # companded
    solvers = (_new_solver(taps[0], C, H), _new_solver(taps[1], C, H))
    coupling = np.zeros((5, H + 1))
    rows = (min(H, (W + 1) // 2) + BLOCK - 1) // BLOCK * BLOCK
    v, reference, error = (
        np.zeros((3, taps[1], H + 1 + SLOTS)),
        np.zeros((3, H + 1 + SLOTS)),
        np.zeros((3, H + 1 + SLOTS)),
    )
    p = np.zeros((3, 2, H + SLOTS))
    anchor, spread, known = np.zeros((3, rows)), np.zeros((3, rows)), np.zeros((rows, 3))
    width, hidden = first_ends.shape[2], head_ends.shape[2]
    flat_p, flat_e = P.reshape(-1), errors.reshape(-1)
    stride, plane = np.uint64(P.shape[2]), np.uint64(P.shape[1] * P.shape[2])
    inputs = np.zeros((rows, (2 * first.shape[1] + LANES - 1) // LANES * LANES), np.int16)
    seen = np.zeros((rows, 2 * linear.shape[1]), np.int16)
    moved = np.zeros((rows, linear_ends.shape[2]), np.int32)
    rate = sizes[3]
    deep, learning_rows = (len(middle), rows) if rate else (0, 0)
    if rate:
        states = (
            fresh(first, sizes[1], sizes[0]),
            fresh(middle, sizes[1], sizes[1]),
            fresh(heads, sizes[2], sizes[1]),
            fresh(outs, 3 * K + 1, sizes[2]),
        )
        first, middle, heads, outs = states[0][0], states[1][0], states[2][0], states[3][0]
        work = workspace(states, rows)
    hs, sums = np.zeros((1 + deep, rows, width), np.int16), np.zeros((rows, width), np.int32)
    added = np.zeros((deep, rows, width), np.int16)
    lessons = np.zeros((C, learning_rows, out_ends.shape[2]), np.int16)
    spreads = np.zeros(rows + LANES, np.int32)
    context = np.uint64((2 * middle.shape[1] - width) // 4)
    seen_too = np.zeros((rows, 2 * middle.shape[1]), np.int16)
    passed = np.zeros((len(middle), 3, H + 1, context), np.int16)  # by front, modulo 3
    shared, zs = np.zeros((C, rows, hidden), np.int32), np.zeros((C, rows, hidden), np.int16)
    q = np.zeros((rows, out_ends.shape[2]), np.int32)
    mean, inverse, weight = np.zeros((3, K, rows + LANES), np.int32)
    bases, spans, values = np.zeros((3, rows + LANES), np.int32)
    edges, shift = np.zeros(LANES, np.int64), np.zeros(rows, np.int64)
    extra = np.zeros(3, np.int32)
    starts = np.zeros(2 * C * H * W if encoding else 0, np.uint32)
    frequencies = np.zeros(len(starts), np.uint32)
    coded = 0
    state, left = np.uint64(0), len(words)
    if not encoding:
        state, left = refill(state, words, left)
        state, left = refill(state, words, left)
    for t in range(W + 2 * (H - 1)):
        low, high = max(0, (t - W + 2) // 2), min(H, t // 2 + 1)
        n = high - low
        teaches = rate > 0 and n > 0 and t % sizes[4] == 0  # tiles one pixel wide have empty fronts
        for c in range(C):
            part = flat_p[c * P.shape[1] * P.shape[2] : (c + 1) * P.shape[1] * P.shape[2]]
            _predict(part, P.shape[2], solvers, c, t, H - high, H - low, v[c], reference[c], error[c], p[c])
            for j in range(n):
                s = H - 1 - low - j
                anchor[c, j] = np.floor((p[c, 0, s] + p[c, 1, s]) * 0.5)
                spread[c, j] = np.floor((p[c, 0, s] - p[c, 1, s]) * 0.5)
        for j in range(n):
            here = np.uint64(low + j + _UP) * stride + np.uint64(t - 2 * (low + j) + _LEFT)
            for c in range(3):
                at = np.uint64(c)
                start = here + np.uint64(c) * plane
                for i in range(len(around)):
                    d = np.int16(min(max(8.0 * flat_p[start - around[i]] - anchor[c, j], -_LIMIT), _LIMIT))
                    seen[j, at] = d
                    inputs[j, at] = d
                    at += np.uint64(3)
            at = np.uint64(3 * len(around))
            for i in range(len(places)):
                for m in range(6):
                    inputs[j, at] = flat_e[here + np.uint64(m) * plane - places[i]]
                    at += _ONE
            for c in range(3):
                inputs[j, at] = _compand(fine, spread[c, j])
                at += _ONE
            y, x = low + j, t - 2 * (low + j)
            for i in range(len(looks)):
                for c in range(3):
                    d = picture[y + looks[i, 0], x + looks[i, 1], c] - anchor[c, j]
                    inputs[j, at] = np.int16(min(max(d, -_LIMIT), _LIMIT))
                    at += _ONE
            for i in range(features.shape[2]):
                inputs[j, at] = features[y, x, i]
                at += _ONE
            if sizes[5]:
                inputs[j, at : at + np.uint64(causal.GRID)] = 0
                for i in (2 * (y % 2) + x % 2, 4 + x % 8, 12 + y % 8):
                    inputs[j, at + np.uint64(i)] = causal.COMPAND_UNIT
        multiply(seen, linear, 0, moved, n)
        activate(moved, linear_ends, 0, moved, n)
        multiply(inputs, first, 0, sums, n)
        h = hs[0]
        activate(sums, first_ends, 0, h, n)
        for i in range(len(middle)):
            if context:
                _pass(passed[i], h, seen_too, t, low, n, W)
                multiply(seen_too, middle, i, sums, n)
            else:
                multiply(h, middle, i, sums, n)
            if rate:
                activate(sums, middle_ends, i, added[i], n)
                add(h, added[i], middle_ends[i, 3, 0], n, hs[i + 1])
                h = hs[i + 1]
            else:
                activate_onto(sums, middle_ends, i, h, n)
        for c in range(C):
            multiply(h, heads, c, shared[c], n)
        if C == 3:
            _merge(coupling, H - high, H - low, _COUPLING_DECAY)
        for c in range(C):
            size, origin = (256, 0) if c == 0 else (512, -256)
            for j in range(n):
                expected = _couple(coupling[:, H - 1 - low - j], c, known[j])
                extra[0] = _compand(coarse, known[j, 0])
                extra[1] = _compand(coarse, known[j, 1])
                if c:
                    extra[c] = _compand(fine, expected)
                own = shared[c, j]
                for i in range(c + 1 if c else 0):
                    for o in range(hidden):
                        own[o] += extras[c, i, o] * extra[i]
                shift[j] = 8 * np.int64(expected)
            activate(shared[c], head_ends, c, zs[c], n)
            multiply(zs[c], outs, c, q, n)
            activate(q, out_ends, c, q, n)
            for j in range(n):
                gate = (np.int64(q[j, 3 * K]) * np.int64(spread[c, j])) >> 5
                centre = np.int64(anchor[c, j]) * 8 + np.int64(moved[j, c]) + gate
                _set_mixture(j, q[j], centre, shift[j], inverses, exponential, mean, inverse, weight)
            if encoding:
                for j in range(n):
                    values[j] = tile[c, low + j, t - 2 * (low + j)] - origin
                shares(values, mean, inverse, weight, n, size, origin, sigmoid, starts, frequencies, coded)
                coded += 2 * n
            else:
                mixtures = (mean, inverse, weight, size, origin, sigmoid)
                state, left = pop_mixtures(state, words, left, n, mixtures, values, bases, spans, edges)
            if teaches:
                for j in range(n):
                    spreads[j] = spread[c, j]
                parts = (mean, inverse, weight)
                mixture_errors(values, parts, n, size, origin, sigmoid, q, spreads, work, lessons[c])
            for j in range(n):
                y, x = low + j, t - 2 * (low + j)
                value = np.int64(values[j]) + origin
                tile[c, y, x] = value
                known[j, c] = 8.0 * value - anchor[c, j]
                s = H - 1 - y
                error[c, s] = value - reference[c, s]
                for m in range(2):
                    errors[m, c, y + _UP, x + _LEFT] = _compand(fine, 8.0 * value - p[c, m, s])
                _place(P, c, y, x, value)
        if teaches:
            learn_front(states, sizes, backward, work, inputs, hs, added, zs, lessons, n)
        if C == 3:
            for j in range(n):
                _couple_learn(coupling[:, H - 1 - low - j], known[j])
    return starts, frequencies, state == 0 and left == 0


def _columns(layer: Layer, columns: Any) -> dict[str, Any]:
    return {"weight": layer.weight[:, columns], "limit": layer.limit[columns]}


def _placed(layer: Layer, own: int, width: int) -> Layer:
    """The layer with room between its `own` inputs and those passed on, which begin at `width`."""
    room = [own] * (width - own)
    return replace(layer, weight=np.insert(layer.weight, room, 0, axis=1), limit=np.insert(layer.limit, room, 0))


def _rows(weight: NDArray[np.int16], rows: int) -> NDArray[np.int16]:
    """With zero rows below, `rows` in all."""
    return np.pad(weight, ((0, rows - len(weight)), (0, 0)))


def _transposed(weights: list[NDArray[np.int16]], rows: int) -> NDArray[np.int16]:
    """Weights [O, I] packed as layers of O (`rows` with what is added) inputs and I outputs."""
    columns = LANES * -(-weights[0].shape[1] // LANES)
    beside = np.stack([np.pad(_rows(w, rows), ((0, 0), (0, columns - w.shape[1]))) for w in weights])
    pairs = beside.reshape(len(weights), rows // 2, 2, columns).swapaxes(2, 3)
    return np.ascontiguousarray(pairs.reshape(len(weights), rows // 2, 2 * columns))


def load(network: Network, machine: Machine) -> CompiledCausal:
    """What `families.tile_coder` gives."""
    return CompiledCausal(network, machine.threads)


class CompiledCausal:
    """interface.TileCoder for the causal family; tiles run on as many threads as asked for."""

    def __init__(self, network: Network, threads: int) -> None:
        self.network, self.threads, self.batch = network, threads, 2 * threads
        if not any(Path(_code.stats.cache_path or "").glob(f"{Path(__file__).stem}._code-*.nbc")):
            _log.warning("compiling for this machine, once: about 15 seconds")
        check_exact(Products())
        config = network.config
        self.around = np.array(config.neighbours())
        self.places = np.array(causal.ERRORS)
        self.prepared = functools.lru_cache(maxsize=8)(self._prepare)

    def _prepare(self, adaptation: bytes) -> tuple[Any, ...]:
        layers = self.network.adapted(adaptation).layers
        config = self.network.config
        width, hidden = (-(-n // LANES) * LANES for n in (config.width, config.hidden))
        middle = [_placed(layers[f"middle.{i}"], config.width, width) for i in range(config.depth)]
        own = [replace(layers[f"head.{c}"], **_columns(layers[f"head.{c}"], slice(config.width))) for c in range(3)]
        extras = np.zeros((3, 3, hidden), np.int32)
        for c in range(3):
            extras[c, : causal.EXTRAS[c], : config.hidden] = layers[f"head.{c}"].weight[:, config.width :].T
        heads, head_ends = packed(own, width)
        networks = (
            packed([layers["first"]], layers["first"].weight.shape[1]),
            packed(middle, middle[0].weight.shape[1]),
            packed([layers["linear"]], layers["linear"].weight.shape[1]),
            (heads, extras, head_ends),
            packed([layers[f"out.{c}"] for c in range(3)], hidden),
        )
        sizes = (
            layers["first"].weight.shape[1],
            config.width,
            config.hidden,
            config.learning,
            1 + config.rest,
            config.grid,
        )
        outputs = LANES * -(-(3 * config.components + 1) // LANES)
        backward = (
            _transposed([layers[f"out.{c}"].weight for c in range(3)], outputs),
            _transposed([np.vstack([_rows(layer.weight, hidden) for layer in own])], 3 * hidden),
            _transposed([layer.weight[:, : config.width] for layer in middle], width),
        )
        tables = self.network.tables
        fine, coarse = (np.ascontiguousarray(t, np.int16) for t in (self.network.fine, self.network.coarse))
        inverse, exponential = (np.ascontiguousarray(t, np.int64) for t in (tables.inverse, tables.exponential))
        return networks, backward, sizes, (fine, coarse, packed_sigmoids(tables), exponential, inverse)

    def _run(
        self, tile: NDArray[np.int16], words: NDArray[np.uint32], encoding: bool, adaptation: bytes, side: Side | None
    ) -> Any:
        network, backward, sizes, tables = self.prepared(adaptation)
        stride = _LEFT + tile.shape[2] + _RIGHT
        places = ((-dy * stride - dx).astype(np.uint64) for dy, dx in (self.around.T, self.places.T))
        known: tuple[NDArray[Any], ...] = _NO_SIDE
        if side is not None:
            known = (
                side.padded(),
                causal.SIDE_REACH + np.array(causal.SIDE_PLACES),
                np.ascontiguousarray(side.features),
            )
        code: Callable[..., Any] = _code
        components = self.network.config.components
        return code(tile, words, encoding, _TAPS, *places, known, network, backward, sizes, tables, components)

    def encode(
        self, tiles: Sequence[NDArray[np.int16]], adaptation: bytes, sides: Sequence[Side | None] = ()
    ) -> list[Stream]:
        """sides: what is known of each tile, where the network wants that."""

        def one(tile: NDArray[np.int16], side: Side | None) -> Stream:
            none = np.zeros(0, np.uint32)
            starts, frequencies, _ = self._run(np.ascontiguousarray(tile), none, True, adaptation, side)
            intervals = Intervals(starts, frequencies, np.array([len(starts)]))
            stack = CompiledStack()
            stack.push(intervals)
            return Stream(stack.words(), intervals.ideal_bits())

        return each(self.threads, one, tiles, sides or [None] * len(tiles))

    def decode(
        self,
        shapes: Sequence[tuple[int, int, int]],
        words: Sequence[NDArray[np.uint32]],
        adaptation: bytes,
        sides: Sequence[Side | None] = (),
    ) -> list[NDArray[np.int16]]:
        """Raises ModelError where a stream is not exactly one tile."""

        def one(shape: tuple[int, int, int], stream: NDArray[np.uint32], side: Side | None) -> NDArray[np.int16]:
            tile = np.zeros(shape, np.int16)
            stream = np.ascontiguousarray(stream, np.uint32)
            if (len(stream) and stream[-1] == 0) or not self._run(tile, stream, False, adaptation, side)[2]:
                raise ModelError("a stream does not hold exactly its tile")
            return tile

        return each(self.threads, one, shapes, words, sides or [None] * len(shapes))
