"""The causal family on a GPU: all tiles of a batch go along the wavefronts together; nothing returns before the end.

A front is a fixed row of launches, captured once in a CUDA graph (once more with the step of weights that learn, where
not every front teaches) and replayed for every front; what front it is, and how many pixels it has, stands in `front`
on the device. All numbers are those of `causal.py` and `online.py`:

    _predict   both windows' normal equations move one front on, and are solved        float64, one program some rows
    _inputs    what the network sees                                                   float32
    products   linear, first, middle .., the heads' sums over h                        gpu_layers, gpu_learning
    _pass      before each middle layer: what it sees of other pixels                  if the network does
    for each channel:
        _head  errors of the channels before, head, out, the mixture's parameters
        tables of the high symbols, pop; of the low symbols, pop                       gpu_stack, one lane a tile
    the step of weights that learn, each tile's own                                    gpu_learning, if the network does
    _finish    values into the planes and what stands around the tile; what was learnt
    _advance   the next front

The pixels of a front are rows g = tile * n + j: j-th of n rows of the tile, from row `low` on. An encoder does the same
with its own symbols instead of pops, keeps their shares, and pushes these at the end.

A state that a pixel leaves is inherited by the one to its right and by the one below (`online.py`), both in the next
front, so that states are kept twice, for even and odd fronts; at the right end they are read one front later.

Checked against the CPU machines under Triton's interpreter (TRITON_INTERPRET=1), where tensors live on the CPU.
"""

from __future__ import annotations

import numpy as np
import triton
import triton.language as tl
from numpy.typing import NDArray

from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.causal import online
from lgcodec.models.machines.triton import learning as gpu_learning
from lgcodec.models.machines.triton.layers import outputs
from lgcodec.models.machines.triton.mixtures import column, store_mixtures

Shape = tuple[int, int, int]
Tile = NDArray[np.int16]
_UP, _LEFT, _RIGHT = tl.constexpr(online.UP), tl.constexpr(online.LEFT), tl.constexpr(online.RIGHT)
_START = tl.constexpr(online.START[0])
_RIDGE, _W_SCALE, _W_LIMIT = tl.constexpr(online.RIDGE), tl.constexpr(online.W_SCALE), tl.constexpr(online.W_LIMIT)
_G_SCALE, _COUPLING_DECAY = tl.constexpr(online.G_SCALE), tl.constexpr(online.COUPLING_DECAY)
_DIFFERENCE = tl.constexpr(causal.DIFFERENCE_LIMIT)
_PULL_NEAR, _PULL_CORNER = tl.constexpr(online.PULL[0]), tl.constexpr(online.PULL[2])
_LAST = tl.constexpr(4095)  # of the companding tables
# Kinds of inputs from these on, see _inputs.
_SPREAD, _PICTURE, _FEATURE, _GRID, _NONE = (tl.constexpr(kind) for kind in (9, 12, 15, 16, 17))
_REACH = tl.constexpr(causal.SIDE_REACH)
_PLACE = tl.constexpr(float(causal.COMPAND_UNIT))
_TAPS0, _TAPS1 = (tl.constexpr(window.taps) for window in online.WINDOWS)
_DECAY0, _DECAY1 = (tl.constexpr(window.decay / 512) for window in online.WINDOWS)
# A state, float64, in rows of COLUMNS: the equations of both windows, their moments, their weights, v, and the error.
_COLUMNS = tl.constexpr(16)
_GRAM1, _MOMENT0 = tl.constexpr(6 * 16), tl.constexpr(18 * 16)
_MOMENT1, _WEIGHTS0, _WEIGHTS1 = tl.constexpr(19 * 16), tl.constexpr(20 * 16), tl.constexpr(21 * 16)
_V, _ERROR, _STATE = tl.constexpr(22 * 16), tl.constexpr(23 * 16), tl.constexpr(24 * 16)
_COUPLING = tl.constexpr(8)  # floats of a Coupling's state, 5 of them used
_SOLVED, _ROWS = 4, 32  # rows of a program of _predict, of others


@triton.jit
def _solve(state, own, above, v, k, valid, reference, GRAM, MOMENT, WEIGHTS, decay, TAPS: tl.constexpr):
    """online.Solver.predict of one window, what was learnt since included. state, own, above: pointers to the states
    to write and to inherit [B]; v: [B, COLUMNS]; returns Q3 [B].
    """
    use = valid[:, None] & (k < TAPS)
    pull = tl.where(k < 2, _PULL_NEAR, tl.where(k == 2, _PULL_CORNER, 0.0)) * _W_SCALE
    v_own = tl.load(own[:, None] + _V + k, mask=use, other=0.0)
    v_above = tl.load(above[:, None] + _V + k, mask=use, other=0.0)
    e_own = tl.load(own + _ERROR, mask=valid, other=0.0)
    e_above = tl.load(above + _ERROR, mask=valid, other=0.0)
    m = tl.load(own[:, None] + MOMENT + k, mask=use, other=0.0)
    m += tl.load(above[:, None] + MOMENT + k, mask=use, other=0.0)
    m = tl.floor((m + (v_own * e_own[:, None] + v_above * e_above[:, None]) * _G_SCALE) * decay)
    tl.store(state[:, None] + MOMENT + k, m, mask=use)
    w = tl.load(own[:, None] + WEIGHTS + k, mask=use, other=0.0)
    w = tl.floor((w + tl.load(above[:, None] + WEIGHTS + k, mask=use, other=0.0)) * 0.5)
    rest = m * _W_SCALE
    for i in tl.static_range(TAPS):
        one = k == i
        lesson = tl.load(own + (_V + i), mask=valid, other=0.0)[:, None] * v_own
        lesson += tl.load(above + (_V + i), mask=valid, other=0.0)[:, None] * v_above
        at = k + (GRAM + i * _COLUMNS)
        g = tl.load(own[:, None] + at, mask=use, other=0.0) + tl.load(above[:, None] + at, mask=use, other=0.0)
        g = tl.floor((g + lesson * _G_SCALE) * decay)
        tl.store(state[:, None] + at, g, mask=use)
        terms = tl.where(one, rest + (pull - w) * _RIDGE, 0.0) - g * w
        step = tl.floor(tl.sum(terms, 1) / (tl.sum(tl.where(one, g, 0.0), 1) + _RIDGE))
        moved = tl.minimum(tl.maximum(w + step[:, None], -_W_LIMIT), _W_LIMIT)
        w = tl.where(one, moved, w)
    tl.store(state[:, None] + WEIGHTS + k, w, mask=use)
    return tl.floor((reference * _W_SCALE + tl.sum(w * v, 1)) * (8.0 / _W_SCALE))


@triton.jit
def _inherit(t, x, y, W, H, tile, tiles, c, C, size):
    """Offsets of the states that a pixel writes, and inherits from the left and from above."""
    row = ((c * tiles + tile).to(tl.int64) * (H + 1) + y) * size
    other = C * tiles.to(tl.int64) * (H + 1) * size
    now, before = (t & 1) * other, ((t + 1) & 1) * other
    return now + row + size, before + row + size, tl.where(x == W - 1, now, before) + row


@triton.jit(do_not_specialize=["H", "W", "tiles", "room"])
def _predict(
    front, planes, states, taps, predictions, references, anchors, spreads, H, W, tiles, room,
    C: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """planes: see _inputs; taps: int32 [COLUMNS], offsets in a plane. predictions: float32 [2, 3, room], Q3;
    references, anchors, spreads: float32 [3, room].
    """
    t, low, n = tl.load(front), tl.load(front + 1), tl.load(front + 2)
    if tl.program_id(0) * B >= n:
        return
    tile, c = tl.program_id(1), tl.program_id(2)
    j = tl.program_id(0) * B + tl.arange(0, B)
    valid = j < n
    y = low + j
    x = t - 2 * y
    k = tl.arange(0, _COLUMNS)[None, :]
    stride = W + (_LEFT + _RIGHT)
    at = (c * tiles + tile).to(tl.int64) * (H + _UP) * stride + (y + _UP) * stride + x + _LEFT
    near = tl.load(planes + at[:, None] + tl.load(taps + k), mask=valid[:, None] & (k < _TAPS1), other=0.0)
    near = near.to(tl.float64)
    part = tl.where(k < 2, 3.0, tl.where(k < 4, 1.0, 0.0))
    reference = tl.floor(tl.sum(near * part, 1) * 0.125)
    v = tl.where(k < _TAPS1, near - reference[:, None], 0.0)
    now, left, above = _inherit(t, x, y, W, H, tile, tiles, c, C, _STATE)
    now, left, above = states + now, states + left, states + above
    tl.store(now[:, None] + _V + k, v, mask=valid[:, None])
    p0 = _solve(now, left, above, v, k, valid, reference, 0, _MOMENT0, _WEIGHTS0, _DECAY0, _TAPS0)
    p1 = _solve(now, left, above, v, k, valid, reference, _GRAM1, _MOMENT1, _WEIGHTS1, _DECAY1, _TAPS1)
    least = tl.where(c == 0, 0.0, -2040.0).to(tl.float64)
    p0 = tl.minimum(tl.maximum(p0, least), 2040.0)
    p1 = tl.minimum(tl.maximum(p1, least), 2040.0)
    g = tile * n + j
    to = c * room + g
    tl.store(predictions + to, p0.to(tl.float32), mask=valid)
    tl.store(predictions + 3 * room + to, p1.to(tl.float32), mask=valid)
    tl.store(references + to, reference.to(tl.float32), mask=valid)
    tl.store(anchors + to, tl.floor((p0 + p1) * 0.5).to(tl.float32), mask=valid)
    tl.store(spreads + to, tl.floor((p0 - p1) * 0.5).to(tl.float32), mask=valid)


@triton.jit
def _compand(table, e, valid):
    """causal.compand of e, float."""
    magnitude = tl.minimum(tl.abs(e), _LAST).to(tl.int32)
    value = tl.load(table + magnitude, mask=valid, other=0).to(tl.float32)
    return tl.where(e < 0, -value, value)


@triton.jit
def _place_of(front, row, tiles):
    """Of rows g: tile, x, y, and whether there is such a pixel."""
    low, n = tl.load(front + 1), tl.load(front + 2)
    tile, y = row // n, low + row % n
    return tile, tl.load(front) - 2 * y, y, row < tiles * n


@triton.jit(do_not_specialize=["H", "W", "tiles", "room", "columns", "side"])
def _inputs(
    front, planes, picture, features, kinds, offsets, anchors, spreads, fine, out, H, W, tiles, room, columns, side,
    B: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """out: float32 [room, columns]. planes: float32 [9, tiles, UP + H, LEFT + W + RIGHT], three of values and six of
    companded errors. picture, features: int16 [tiles, REACH + H + REACH, REACH + W + REACH, 3] and [tiles, H, W, side],
    of causal.Side. kinds: int32 [columns], the plane that a column looks at, `offsets` away; from _SPREAD on the
    spreads of the channels, from _PICTURE on the picture's; _FEATURE: the feature of that number; _GRID: whether the
    pixel stands at that place of causal.grid.
    """
    if tl.program_id(0) * B >= tl.load(front + 3):
        return
    row = (tl.program_id(0) * B + tl.arange(0, B))[:, None]
    column = (tl.program_id(1) * D + tl.arange(0, D))[None, :]
    tile, x, y, valid = _place_of(front, row, tiles)
    use = valid & (column < columns)
    kind = tl.load(kinds + column, mask=column < columns, other=_NONE)
    offset = tl.load(offsets + column, mask=column < columns, other=0)
    stride = W + (_LEFT + _RIGHT)
    at = (kind * tiles + tile).to(tl.int64) * (H + _UP) * stride + (y + _UP) * stride + x + _LEFT + offset
    value = tl.load(planes + at, mask=use & (kind < _SPREAD), other=0.0)
    is_picture = (kind >= _PICTURE) & (kind < _FEATURE)
    at = (tile.to(tl.int64) * (H + 2 * _REACH) + y + _REACH) * (W + 2 * _REACH) + x + _REACH + offset
    seen = tl.load(picture + 3 * at + kind - _PICTURE, mask=use & is_picture, other=0).to(tl.float32)
    is_difference = is_picture | (kind < 3)
    channel = tl.where(is_picture, kind - _PICTURE, kind)
    anchor = tl.load(anchors + channel * room + row, mask=use & is_difference, other=0.0)
    difference = tl.where(is_picture, seen, 8.0 * value) - anchor
    difference = tl.minimum(tl.maximum(difference, -_DIFFERENCE), _DIFFERENCE)
    is_spread = (kind >= _SPREAD) & (kind < _PICTURE)
    spread = tl.load(spreads + (kind - _SPREAD) * room + row, mask=use & is_spread, other=0.0)
    value = tl.where(is_difference, difference, tl.where(is_spread, _compand(fine, spread, use & is_spread), value))
    at = ((tile.to(tl.int64) * H + y) * W + x) * side + offset
    feature = tl.load(features + at, mask=use & (kind == _FEATURE), other=0).to(tl.float32)
    value = tl.where(kind == _FEATURE, feature, value)
    place = tl.where(offset < 4, 2 * (y % 2) + x % 2, tl.where(offset < 12, 4 + x % 8, 12 + y % 8))
    value = tl.where(kind == _GRID, tl.where(place == offset, _PLACE, 0.0), value)
    tl.store(out + row.to(tl.int64) * columns + column, value, mask=use)


@triton.jit(do_not_specialize=["H", "W", "tiles"])
def _pass(front, h, passed, H, W, tiles, stride, width, context, B: tl.constexpr, D: tl.constexpr):
    """Program._pass: of h, float32 [room, stride], columns `width` on from what PASSED pixels passed on, one of them a
    program; and what this front passes on. passed: float32 [4, tiles, 1 + H, context], by front, modulo 4.
    """
    if tl.program_id(0) * B >= tl.load(front + 3):
        return
    row = (tl.program_id(0) * B + tl.arange(0, B))[:, None]
    place, k = tl.program_id(1), tl.arange(0, D)[None, :]
    tile, x, y, valid = _place_of(front, row, tiles)
    t, valid = tl.load(front), valid & (k < context)
    dy, dx = tl.where(place == 0, 0, -1), tl.where(place == 0, -1, place - 2)
    source = (((t + 4 + dx + 2 * dy) & 3) * tiles + tile).to(tl.int64) * (H + 1) + y + 1 + dy
    value = tl.load(passed + source * context + k, mask=valid & (x + dx < W), other=0.0)
    h += row.to(tl.int64) * stride
    tl.store(h + width + place * context + k, value, mask=valid)
    if place == 0:
        to = ((t & 3) * tiles + tile).to(tl.int64) * (H + 1) + y + 1
        tl.store(passed + to * context + k, tl.load(h + k, mask=valid, other=0.0), mask=valid)


@triton.jit
def _slope(product, square):
    return tl.minimum(tl.maximum(tl.floor(product * 4096.0 / (square + 256.0)), -16384.0), 16384.0)


@triton.jit
def _merged(couplings, left, above, valid, i: tl.constexpr):
    """Coefficient i of online.Coupling.merge."""
    own = tl.load(couplings + left + i, mask=valid, other=0.0)
    return tl.floor((own + tl.load(couplings + above + i, mask=valid, other=0.0)) * _COUPLING_DECAY)


@triton.jit
def _value(high, low, row, c: tl.constexpr, room, valid):
    symbol = tl.load(high + c * room + row, mask=valid, other=0) * 16
    symbol += tl.load(low + c * room + row, mask=valid, other=0)
    return symbol if c == 0 else symbol - 256


@triton.jit
def _error(high, low, anchors, row, c: tl.constexpr, room, valid):
    """8 value - anchor of channel c, float64."""
    value = _value(high, low, row, c, room, valid)
    anchor = tl.load(anchors + c * room + row, mask=valid, other=0.0)
    return (8 * value).to(tl.float64) - anchor.to(tl.float64)


@triton.jit
def _seen(weights, use, table, e, valid):
    """What an error e [B] adds to sums, by its weights (pointers [1, HP])."""
    return tl.load(weights, mask=use, other=0.0) * _compand(table, e, valid)[:, None]


@triton.jit(do_not_specialize=["H", "W", "tiles", "room", "hidden", "out_tile"])
def _head(
    front, sums, linears, extra, scale, low_end, high_end, out_weight, out_bias, out_scale, out_low, out_high,
    high, low, anchors, spreads, couplings, fine, coarse, exponential, inverses, parameters, hiddens, scales,
    H, W, tiles, room, hidden, last, out_tile,
    c: tl.constexpr, K: tl.constexpr, HP: tl.constexpr, OP: tl.constexpr, B: tl.constexpr, LEARNS: tl.constexpr,
):  # fmt: skip
    """Program._mixture of channel c: parameters int32 [room, 3 K], see gpu_stack.Tables.

    sums: [room, 3 hidden], of the heads over h; linears: float32 [room, 3]; extra: float32 [c + 1, hidden], the
    head's weights of what else it sees. If LEARNS, sums and ends are int32, scales are shifts, and out_weight is that
    of the first tile, out_tile numbers from the next; and hidden units and log scales are kept as gpu_learning.Learning
    has them. Axis 1: the tiles.
    """
    n, tile = tl.load(front + 2), tl.program_id(1)
    if tl.program_id(0) * B >= n:
        return
    j = tl.program_id(0) * B + tl.arange(0, B)
    row, y, valid = tile * n + j, tl.load(front + 1) + j, j < n
    x = tl.load(front) - 2 * y
    o = tl.arange(0, HP)[None, :]
    is_hidden = o < hidden
    sums += row.to(tl.int64)[:, None] * (3 * hidden) + c * hidden
    z = tl.load(sums + o, mask=valid[:, None] & is_hidden, other=0)
    expected = tl.zeros((B,), tl.float64)
    if c > 0:
        _, left, above = _inherit(tl.load(front), x, y, W, H, tile, tiles, 0, 1, _COUPLING)
        e0 = _error(high, low, anchors, row, 0, room, valid)
        q0 = _merged(couplings, left, above, valid, 0)
        co_part = tl.floor(_slope(_merged(couplings, left, above, valid, 1), q0) * e0 / 4096.0)
        expected = co_part
        z += _seen(extra + o, is_hidden, coarse, e0, valid).to(z.dtype)
        if c > 1:
            e1 = _error(high, low, anchors, row, 1, room, valid)
            slope = _slope(_merged(couplings, left, above, valid, 4), _merged(couplings, left, above, valid, 2))
            expected = tl.floor(_slope(_merged(couplings, left, above, valid, 3), q0) * e0 / 4096.0)
            expected += tl.floor(slope * (e1 - co_part) / 4096.0)
            z += _seen(extra + hidden + o, is_hidden, coarse, e1, valid).to(z.dtype)
        z += _seen(extra + c * hidden + o, is_hidden, fine, expected, valid).to(z.dtype)
    if LEARNS:
        out_weight += tile.to(tl.int64) * out_tile
        p = tl.arange(0, OP)[None, :]
        z, q = gpu_learning.outputs(
            z, o, p, scale, low_end, high_end, out_weight, out_bias, out_scale, out_low, out_high, hidden, 3 * K + 1,
            HP,
        )  # fmt: skip
        tl.store(hiddens + row.to(tl.int64)[:, None] * hidden + o, z.to(tl.float32), mask=valid[:, None] & is_hidden)
        said = valid[:, None] & (p >= 2 * K) & (p < 3 * K)
        tl.store(scales + row[:, None] * K + p - 2 * K, q, mask=said)
        q = q.to(tl.int64)
    else:
        q, p = outputs(
            z, o, scale, low_end, high_end, out_weight, out_bias, out_scale, out_low, out_high, hidden, 3 * K + 1,
            HP, OP,
        )  # fmt: skip
    anchor = tl.load(anchors + c * room + row, mask=valid, other=0.0).to(tl.int64)
    spread = tl.load(spreads + c * room + row, mask=valid, other=0.0).to(tl.int64)
    linear = tl.load(linears + row * 3 + c, mask=valid, other=0.0).to(tl.int64)
    gate = (column(q, p, 3 * K) * spread) >> 5
    centre, shift = anchor * 8 + linear + gate, 8 * expected.to(tl.int64)
    to = parameters + row.to(tl.int64) * (3 * K)
    store_mixtures(q, p, centre, shift, to, exponential, inverses, last, valid, K)


@triton.jit(do_not_specialize=["H", "W", "tiles", "room"])
def _truth(front, values, high, low, H, W, tiles, room, C: tl.constexpr, B: tl.constexpr):
    """The symbols of a front's pixels. values: int16 [tiles, C, H, W]; high, low: int32 [3, room]."""
    if tl.program_id(0) * B >= tl.load(front + 3):
        return
    row = tl.program_id(0) * B + tl.arange(0, B)
    tile, x, y, valid = _place_of(front, row, tiles)
    for c in tl.static_range(C):
        at = ((tile * C + c).to(tl.int64) * H + y) * W + x
        symbol = tl.load(values + at, mask=valid, other=0).to(tl.int32) + (0 if c == 0 else 256)
        tl.store(high + c * room + row, symbol >> 4, mask=valid)
        tl.store(low + c * room + row, symbol & 15, mask=valid)


@triton.jit(do_not_specialize=["H", "W", "tiles", "room"])
def _finish(
    front, planes, states, couplings, values, high, low, predictions, references, anchors, fine, H, W, tiles, room,
    C: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """Program._place, and what the predictors and Coupling learn."""
    if tl.program_id(0) * B >= tl.load(front + 3):
        return
    row = tl.program_id(0) * B + tl.arange(0, B)
    tile, x, y, valid = _place_of(front, row, tiles)
    t, stride = tl.load(front), W + (_LEFT + _RIGHT)
    for c in tl.static_range(C):
        value = _value(high, low, row, c, room, valid)
        tl.store(values + ((tile * C + c).to(tl.int64) * H + y) * W + x, value.to(tl.int16), mask=valid)
        start = (c * tiles + tile).to(tl.int64) * (H + _UP) * stride
        at = planes + start + (y + _UP) * stride + x + _LEFT
        v = value.to(tl.float32)
        tl.store(at, v, mask=valid)
        for d in tl.static_range(1, _RIGHT + 1):
            tl.store(at + d, v, mask=valid & (x == W - 1))
        for d in tl.static_range(1, _LEFT + 1):
            tl.store(at + stride - d, v, mask=valid & (x == 0) & (y + 1 < H))
        for r in tl.static_range(1, _UP + 1):
            for d in tl.static_range(_RIGHT):
                column = x + _LEFT + 2 * r + d
                inside = valid & (y == 0) & (column < stride) & ((x == W - 1) | (d == 0))
                tl.store(planes + start + (_UP - r) * stride + column, v, mask=inside)
        for m in tl.static_range(2):
            e = 8.0 * v - tl.load(predictions + (m * 3 + c) * room + row, mask=valid, other=0.0)
            plane = ((3 + m * 3 + c) * tiles + tile).to(tl.int64) * (H + _UP) * stride
            tl.store(planes + plane + (y + _UP) * stride + x + _LEFT, _compand(fine, e, valid), mask=valid)
        now, _, _ = _inherit(t, x, y, W, H, tile, tiles, c, C, _STATE)
        error = v - tl.load(references + c * room + row, mask=valid, other=0.0)
        tl.store(states + now + _ERROR, error.to(tl.float64), mask=valid)
    if C == 3:
        now, left, above = _inherit(t, x, y, W, H, tile, tiles, 0, 1, _COUPLING)
        e0 = _error(high, low, anchors, row, 0, room, valid)
        e1 = _error(high, low, anchors, row, 1, room, valid)
        e2 = _error(high, low, anchors, row, 2, room, valid)
        q0, q1 = _merged(couplings, left, above, valid, 0), _merged(couplings, left, above, valid, 1)
        q2, q3 = _merged(couplings, left, above, valid, 2), _merged(couplings, left, above, valid, 3)
        rest = e1 - tl.floor(_slope(q1, q0) * e0 / 4096.0)
        cg_part = tl.floor(_slope(q3, q0) * e0 / 4096.0)
        q4 = _merged(couplings, left, above, valid, 4)
        couplings += now
        tl.store(couplings, q0 + e0 * e0, mask=valid)
        tl.store(couplings + 1, q1 + e0 * e1, mask=valid)
        tl.store(couplings + 2, q2 + rest * rest, mask=valid)
        tl.store(couplings + 3, q3 + e0 * e2, mask=valid)
        tl.store(couplings + 4, q4 + rest * (e2 - cg_part), mask=valid)


@triton.jit(do_not_specialize=["H", "W", "tiles"])
def _advance(front, H, W, tiles, C: tl.constexpr):
    t, coded = tl.load(front) + 1, tl.load(front + 4) + 2 * C * tl.load(front + 2)
    low, high = tl.maximum(0, (t - W + 2) // 2), tl.minimum(H, t // 2 + 1)
    n = tl.maximum(0, high - low)
    tl.store(front, t)
    tl.store(front + 1, low)
    tl.store(front + 2, n)
    tl.store(front + 3, tiles * n)
    tl.store(front + 4, coded)
