"""Layers that learn while they decode, on a GPU: `learning.py` number for number, weights of their own for each tile.

Products of 16 bits run on tensor cores as four products of bytes in float16, whose float32 sums are exact, and are put
together modulo 2**32. What follows a front, of all tiles at once:

    mixture_errors   errors of the heads' outputs                                    one program some rows
    back             errors of a layer's inputs, through the weights as trained      as any product
    gradient         inputs x errors of a tile; sums of their squares, block by block
    moments          what a row and a column is multiplied with                      one program a tile's layer
    move             the step

The pixels of a front are rows g = tile * n + j, as in `families/causal/on_triton.py`; a front
without pixels teaches nothing.

Checked against the CPU machines under Triton's interpreter (TRITON_INTERPRET=1), where tensors live on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import triton
import triton.language as tl

from lgcodec.models.entropy import mixture
from lgcodec.models.errors import ExactnessError
from lgcodec.models.layers import learning
from lgcodec.models.layers.integer import Layer
from lgcodec.models.machines.triton.mixtures import component, sigmoids
from lgcodec.models.machines.triton.stack import to_device

_M, _N, _DEEP = 32, 64, 64  # rows, columns and inputs of a program's product
_ROWS = 32
MOST_HIDDEN = 256  # inputs of one `exact_dot`: 2 x 128 x 255 x 256 < 2**24
_MIDDLE = tl.constexpr(mixture.SIGMOID_RANGE << mixture.FINE_BITS)
_FINE_BITS = tl.constexpr(mixture.FINE_BITS)
_SIGMOID_BITS, _WHOLE = tl.constexpr(mixture.SIGMOID_BITS), tl.constexpr(1 << mixture.SIGMOID_BITS)
_WEIGHT_BITS = tl.constexpr(mixture.WEIGHT_BITS)
_ERROR, _LIMIT, _FLOOR = (tl.constexpr(n) for n in (learning.ERROR, learning.ERROR_LIMIT, learning.FLOOR))
_HALF, _FRACTION = tl.constexpr(1 << (learning.FRACTION - 1)), tl.constexpr(learning.FRACTION)
_LESS, _MOST = tl.constexpr(learning.LESS), tl.constexpr(learning.MOST)
_FADING, _SMALL = tl.constexpr(0.5**learning.FADING), tl.constexpr(float(learning.SMALL))
_FACTOR, _STEP = tl.constexpr(float(learning.FACTOR)), tl.constexpr(float(learning.STEP))
_ROW, _COLUMN = tl.constexpr(float(1 << learning.ROW)), tl.constexpr(float(1 << learning.COLUMN))
_MASTER, _ENDS = tl.constexpr(learning.MASTER), tl.constexpr(32767 << learning.MASTER)
_UP = tl.constexpr(1 << (learning.MASTER - 1))  # rounds a master
_BITS = learning.ROW + learning.COLUMN - learning.FRACTION - learning.MASTER


@triton.jit
def exact_dot(left, right):
    """int32 [M, D] @ int32 [D, N], of 16 bits each, modulo 2**32; D up to MOST_HIDDEN."""
    left_high, left_low = (left >> 8).to(tl.float16), (left & 255).to(tl.float16)
    right_high, right_low = (right >> 8).to(tl.float16), (right & 255).to(tl.float16)
    top = tl.dot(left_high, right_high).to(tl.int32)
    middle = tl.dot(left_low, right_high, tl.dot(left_high, right_low)).to(tl.int32)
    return (top << 16) + (middle << 8) + tl.dot(left_low, right_low).to(tl.int32)


@triton.jit
def _limited(e):
    return tl.minimum(tl.maximum(e, -_LIMIT), _LIMIT)


@triton.jit(do_not_specialize=["a_stride", "out_stride"])
def _apply(
    front, a, weight, bias, shift, low, high, out, kept, layers, I, O, a_stride, out_stride, limit,
    M: tl.constexpr, N: tl.constexpr, D: tl.constexpr, SUMS: tl.constexpr, RESIDUAL: tl.constexpr,
):  # fmt: skip
    """A layer of each tile's own weights, int16 [tiles, layers, I, O], of a's rows, float32.

    SUMS: of the layers that axis 2 counts side by side, int32, neither shifted nor clipped. Else one layer's outputs,
    float32; if RESIDUAL min(a's first O + these, limit), and these to kept [.., O].
    """
    n = tl.load(front + 2)
    if tl.program_id(0) * M >= n:
        return
    tile, layer = tl.program_id(1), tl.program_id(2) // tl.cdiv(O, N)
    j = (tl.program_id(0) * M + tl.arange(0, M))[:, None]
    row = (tile * n + j).to(tl.int64)
    column = (tl.program_id(2) % tl.cdiv(O, N) * N + tl.arange(0, N))[None, :]
    weight += (tile * layers + layer).to(tl.int64) * (I * O)
    total = tl.zeros((M, N), tl.int32)
    for start in range(0, I, D):
        deep = start + tl.arange(0, D)
        left = tl.load(a + row * a_stride + deep[None, :], mask=(j < n) & (deep[None, :] < I), other=0.0)
        right = tl.load(weight + deep[:, None] * O + column, mask=(deep[:, None] < I) & (column < O), other=0)
        total += exact_dot(left.to(tl.int32), right.to(tl.int32))
    vector, inside = layer * O + column, column < O
    total += tl.load(bias + vector, mask=inside, other=0)
    to, use = row * out_stride + vector, (j < n) & inside
    if SUMS:
        tl.store(out + to, total, mask=use)
    else:
        y = total >> tl.load(shift + vector, mask=inside, other=0)
        y = tl.maximum(y, tl.load(low + vector, mask=inside, other=0))
        y = tl.minimum(y, tl.load(high + vector, mask=inside, other=0)).to(tl.float32)
        if RESIDUAL:
            tl.store(kept + row * O + column, y, mask=use)
            y = tl.minimum(y + tl.load(a + row * a_stride + column, mask=use, other=0.0), limit)
        tl.store(out + to, y, mask=use)


@triton.jit
def outputs(z, o, p, shift, low, high, weight, bias, out_shift, out_low, out_high, hidden, outs, HP: tl.constexpr):
    """gpu_layers.outputs of layers that learn: hidden units from their sums z, int32 [B, HP], o = 0 .. HP - 1, and
    outputs from these, int32 [B, OP], p = 0 .. OP - 1. weight: int16 [hidden, outs], of one tile.
    """
    z = z >> tl.load(shift + o, mask=o < hidden, other=0)
    z = tl.maximum(z, tl.load(low + o, mask=o < hidden, other=0))
    z = tl.minimum(z, tl.load(high + o, mask=o < hidden, other=0))
    inner = tl.arange(0, HP)[:, None]
    w = tl.load(weight + inner * outs + p, mask=(inner < hidden) & (p < outs), other=0).to(tl.int32)
    q = exact_dot(z, w) + tl.load(bias + p, mask=p < outs, other=0)
    q = q >> tl.load(out_shift + p, mask=p < outs, other=0)
    q = tl.maximum(q, tl.load(out_low + p, mask=p < outs, other=0))
    return z, tl.minimum(q, tl.load(out_high + p, mask=p < outs, other=0))


@triton.jit
def _edge(edge, mean, inverse, is_end, end, sigmoid):
    """Of one edge of values: sigmoid(t), its slope, and t times that; int64, 2**-SIGMOID_BITS."""
    t, s = sigmoids(edge, mean, inverse, sigmoid)
    slope = tl.where(is_end, 0, (s * (_WHOLE - s)) >> _SIGMOID_BITS)
    return tl.where(is_end, end, s), slope, ((t - _MIDDLE) * slope) >> _FINE_BITS


@triton.jit
def _between(v, k, parameters, size, origin, valid, sigmoid, K: tl.constexpr):
    """Of component k: its inverse and weight, and how s, slope and turn differ between values' edges; int64 [B]."""
    mean, inverse, weight = component(parameters, k, valid, K)
    edge = (v + origin) * 64 - 32
    s0, slope0, turn0 = _edge(edge, mean, inverse, v == 0, 0, sigmoid)
    s1, slope1, turn1 = _edge(edge + 64, mean, inverse, v == size - 1, _WHOLE, sigmoid)
    return inverse, weight, s1 - s0, slope1 - slope0, turn1 - turn0


@triton.jit
def _ratio(a, b):
    """The quotient rounded down, |a| below 2**53: so exact in float64, and the same whatever // means here."""
    return tl.floor(a.to(tl.float64) / b.to(tl.float64)).to(tl.int64)


@triton.jit(do_not_specialize=["room", "highest"])
def _mixture_errors(
    front, parameters, scales, high, low, spreads, sigmoid, errors, room, highest,
    K: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """learning.mixture_errors of each channel: errors int16 [3, room, 3 K + 1]. parameters: int32 [3, room, 3 K];
    scales: int32 [3, room, K], what the heads said; high, low: the values' symbols.
    """
    count = tl.load(front + 3)
    if tl.program_id(0) * B >= count:
        return
    c = tl.program_id(1)
    row = tl.program_id(0) * B + tl.arange(0, B)
    valid, at = row < count, (c * room + row).to(tl.int64)
    v = (tl.load(high + at, mask=valid, other=0) * 16 + tl.load(low + at, mask=valid, other=0)).to(tl.int64)
    size, origin = tl.where(c == 0, 256, 512), tl.where(c == 0, 0, -256)
    parameters += at * (3 * K)
    errors += at * (3 * K + 1)
    total = tl.zeros((B,), tl.int64) + _FLOOR
    for k in tl.static_range(K):
        _, w, s, _, _ = _between(v, k, parameters, size, origin, valid, sigmoid, K)
        total += w * s
    means = tl.zeros((B,), tl.int64)
    for k in tl.static_range(K):
        inverse, w, s, slope, turn = _between(v, k, parameters, size, origin, valid, sigmoid, K)
        logit = (w >> (_WEIGHT_BITS - _ERROR)) - _ratio((w * s) << _ERROR, total)
        mean = _limited((_ratio((w * slope) << 14, total) * inverse) >> 13)
        means += mean
        scale = _ratio((w * turn) << _ERROR, total)
        said = tl.load(scales + at * K + k, mask=valid, other=0)
        scale = tl.where(((said == 0) & (scale > 0)) | ((said == highest) & (scale < 0)), 0, scale)
        tl.store(errors + k, _limited(logit).to(tl.int16), mask=valid)
        tl.store(errors + K + k, mean.to(tl.int16), mask=valid)
        tl.store(errors + 2 * K + k, _limited(scale).to(tl.int16), mask=valid)
    spread = tl.load(spreads + at, mask=valid, other=0.0).to(tl.int64)
    tl.store(errors + 3 * K, _limited((means * spread) >> 6).to(tl.int16), mask=valid)


@triton.jit(do_not_specialize=["errors_stride", "mask_stride", "masked_stride", "errors_layer", "mask_layer"])
def _back(
    front, errors, weight, below, mask, masked, O, I, errors_stride, mask_stride, masked_stride, errors_layer,
    mask_layer, M: tl.constexpr, N: tl.constexpr, D: tl.constexpr, BEFORE: tl.constexpr, AFTER: tl.constexpr,
):  # fmt: skip
    """Errors of a layer's inputs from those of its outputs, int16. weight: int16 [O, I], or [layers, O, I] for the
    layers that axis 2 counts.

    If BEFORE, they are added to those in below [.., I]; if AFTER, they are written there; masked: zero where the mask,
    float32 [.., I or more], is.
    """
    count = tl.load(front + 3)
    if tl.program_id(0) * M >= count:
        return
    layer = tl.program_id(2).to(tl.int64)
    row = (tl.program_id(0) * M + tl.arange(0, M)).to(tl.int64)[:, None]
    column = (tl.program_id(1) * N + tl.arange(0, N))[None, :]
    errors += layer * errors_layer + row * errors_stride
    weight += layer * (O * I)
    total = tl.zeros((M, N), tl.int32)
    for start in range(0, O, D):
        deep = start + tl.arange(0, D)
        left = tl.load(errors + deep[None, :], mask=(row < count) & (deep[None, :] < O), other=0)
        right = tl.load(weight + deep[:, None] * I + column, mask=(deep[:, None] < O) & (column < I), other=0)
        total += exact_dot(left.to(tl.int32), right.to(tl.int32))
    e = (total + _HALF) >> _FRACTION
    use = (row < count) & (column < I)
    if BEFORE:
        e += tl.load(below + row * I + column, mask=use, other=0).to(tl.int32)
    e = _limited(e)
    if AFTER:
        tl.store(below + row * I + column, e.to(tl.int16), mask=use)
    passed = tl.load(mask + layer * mask_layer + row * mask_stride + column, mask=use, other=0.0) > 0
    tl.store(masked + row * masked_stride + layer * I + column, tl.where(passed, e, 0).to(tl.int16), mask=use)


@triton.jit(do_not_specialize=["a_stride", "errors_stride", "a_layer", "errors_layer"])
def _gradient(
    front, a, errors, small, across, down, layers, own, O, a_stride, errors_stride, a_layer, errors_layer,
    M: tl.constexpr, N: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Of each tile's layers, those that axis 2 counts: gradients as they are squared, int32 [tiles, layers, own, O];
    sums of the squares, float64, of a block's columns, across [blocks, tiles, layers, O], and of its rows, down
    [blocks, tiles, layers, own].
    """
    n = tl.load(front + 2)
    if n == 0:
        return
    blocks = tl.cdiv(O, N)
    tile, layer = tl.program_id(1), tl.program_id(2)
    i = tl.program_id(0) // blocks * M + tl.arange(0, M)
    o = tl.program_id(0) % blocks * N + tl.arange(0, N)
    a += layer.to(tl.int64) * a_layer
    errors += layer.to(tl.int64) * errors_layer
    total = tl.zeros((M, N), tl.int32)
    for start in range(0, n, D):
        j = start + tl.arange(0, D)
        row = (tile * n + j).to(tl.int64)
        left = tl.load(a + row[None, :] * a_stride + i[:, None], mask=(j[None, :] < n) & (i[:, None] < own), other=0.0)
        right = tl.load(
            errors + row[:, None] * errors_stride + o[None, :], mask=(j[:, None] < n) & (o[None, :] < O), other=0
        )
        total += exact_dot(left.to(tl.int32), right.to(tl.int32))
    g = tl.minimum(tl.maximum(total >> _LESS, -_MOST), _MOST)
    place = (tile * layers + layer).to(tl.int64)
    use = (i[:, None] < own) & (o[None, :] < O)
    tl.store(small + (place * own + i[:, None]) * O + o[None, :], g, mask=use)
    square = tl.where(use, g.to(tl.float64), 0.0)
    square *= square
    all_layers = tl.num_programs(1) * layers
    across += (tl.program_id(0) // blocks * all_layers + place) * O
    tl.store(across + o, tl.sum(square, 0), mask=o < O)
    down += (tl.program_id(0) % blocks * all_layers + place) * own
    tl.store(down + i, tl.sum(square, 1), mask=i < own)


@triton.jit
def _root(a):
    """The integer square root of what is below 2**53, float64, whatever way the device rounds."""
    r = tl.floor(tl.sqrt(a))
    r = tl.where(r * r > a, r - 1, r)
    return tl.where((r + 1) * (r + 1) <= a, r + 1, r)


@triton.jit
def _fade(sums, moments, place, all_layers, parts, length, B: tl.constexpr):
    """A moment's new state from the parts of its sums. -> float64 [B]"""
    k = tl.arange(0, B)
    use = k < length
    total = tl.zeros((B,), tl.float64)
    for part in range(parts):
        total += tl.load(sums + (part * all_layers + place) * length + k, mask=use, other=0.0)
    moment = tl.load(moments + place * length + k, mask=use, other=0.0)
    moment += tl.floor((total - moment) * _FADING)
    tl.store(moments + place * length + k, moment, mask=use)
    return moment, k, use


@triton.jit
def _moments(
    front, across, down, rows, columns, row, column, layers, own, O, unit, M: tl.constexpr, N: tl.constexpr,
    OP: tl.constexpr, IP: tl.constexpr,
):  # fmt: skip
    """Moves rows [tiles, layers, O] and columns [tiles, layers, own]; and what gradients are multiplied with, of the
    same shapes: float64. unit: of a step.
    """
    if tl.load(front + 2) == 0:
        return
    place = (tl.program_id(0) * layers + tl.program_id(1)).to(tl.int64)
    all_layers = tl.num_programs(0) * layers
    moment, k, use = _fade(across, rows, place, all_layers, tl.cdiv(own, M), O, OP)
    whole = _root(tl.sum(moment, 0)) * _ROW
    factor = tl.minimum(tl.floor(whole / (_root(moment) + _SMALL)), _FACTOR)
    tl.store(row + place * O + k, factor, mask=use)
    moment, k, use = _fade(down, columns, place, all_layers, tl.cdiv(O, N), own, IP)
    factor = tl.minimum(tl.floor((tl.zeros_like(moment) + _COLUMN) / (_root(moment) + _SMALL)), _FACTOR)
    tl.store(column + place * own + k, factor * unit, mask=use)


@triton.jit
def _move(
    front, small, row, column, master, weight, layers, I, own, O, M: tl.constexpr, N: tl.constexpr
):  # fmt: skip
    """Takes the step: master int32 [tiles, layers, own, O], weight int16 [tiles, layers, I, O]."""
    if tl.load(front + 2) == 0:
        return
    blocks = tl.cdiv(O, N)
    place = (tl.program_id(1) * layers + tl.program_id(2)).to(tl.int64)
    i = (tl.program_id(0) // blocks * M + tl.arange(0, M))[:, None]
    o = (tl.program_id(0) % blocks * N + tl.arange(0, N))[None, :]
    use = (i < own) & (o < O)
    at = (place * own + i) * O + o
    step = tl.load(small + at, mask=use, other=0).to(tl.float64)
    step *= tl.load(row + place * O + o, mask=o < O, other=0.0)
    step = tl.floor(step * tl.load(column + place * own + i, mask=i < own, other=0.0))
    step = tl.minimum(tl.maximum(step, -_STEP), _STEP).to(tl.int32)
    moved = tl.load(master + at, mask=use, other=0) - step
    moved = tl.minimum(tl.maximum(moved, -_ENDS), _ENDS)
    tl.store(master + at, moved, mask=use)
    tl.store(weight + (place * I + i) * O + o, ((moved + _UP) >> _MASTER).to(tl.int16), mask=use)


@dataclass(frozen=True)
class Trained:
    """Layers of one kind and shape as they were trained, on a device: L of them, I inputs, of which weights of the
    first `own` learn, O outputs.

    weight: int16 [L, I, O]; back: int16 [L, O, own]; vectors: bias, shift, low and high, int32 [L, O].
    """

    weight: torch.Tensor
    back: torch.Tensor
    vectors: list[torch.Tensor]

    @classmethod
    def load(cls, layers: list[Layer], own: int, device: torch.device) -> Trained:
        """Of the inputs that all of them have."""
        inputs = min(layer.weight.shape[1] for layer in layers)
        weight = np.stack([layer.weight[:, :inputs] for layer in layers])
        vectors = [np.stack([getattr(layer, name) for layer in layers]) for name in ("bias", "shift", "low", "high")]
        back = to_device(weight[:, :, :own], device)
        return cls(to_device(weight.transpose(0, 2, 1), device), back, [to_device(v, device) for v in vectors])


def check_exact(device: torch.device) -> None:
    """Raises ExactnessError unless products of 16 bits come out right, also where they wrap."""
    random = np.random.Generator(np.random.PCG64(7))
    a, weight = (random.integers(-32767, 32768, shape) for shape in ((_M, MOST_HIDDEN), (MOST_HIDDEN, _N)))
    a[:, : MOST_HIDDEN // 2] = 32767
    weight[:, ::2] = -32767
    bias = torch.zeros((1, _N), dtype=torch.int32, device=device)
    layer = to_device(weight[None].astype(np.int16), device)
    front = torch.tensor([0, 0, _M, _M], dtype=torch.int32, device=device)
    got = torch.empty((_M, _N), dtype=torch.int32, device=device)
    learner = Learner(Trained(layer, layer.transpose(1, 2), [bias] * 4), 1, 1, _M, front)
    learner.sums(1, to_device(a.astype(np.float32), device), got)
    if not np.array_equal(got.cpu(), (a @ weight).astype(np.int32)):
        raise ExactnessError("triton: products of 16 bits are not exact here; use another device")


class Learner:
    """What a batch of tiles learns of such layers. front: int32 [4 or more] on the device, see `gpu_causal._advance`;
    most: pixels of a tile's front.
    """

    def __init__(self, trained: Trained, rate: int, tiles: int, most: int, front: torch.Tensor) -> None:
        self.trained, self.front, self.tiles, self.most = trained, front, tiles, most
        L, self.inputs, O = trained.weight.shape
        self.layers, self.outputs, self.own = L, O, trained.back.shape[2]
        self.unit = 0.5 ** (_BITS + rate)
        self.weight = trained.weight.repeat(tiles, 1, 1, 1)
        self.master = self.weight[:, :, : self.own].int() << learning.MASTER

        def full(*shape: int, value: int = 0, kind: torch.dtype = torch.float64) -> torch.Tensor:
            return torch.full(shape, value, dtype=kind, device=front.device)

        self.rows = full(tiles, L, O, value=self.own * learning.FIRST_MOMENT)
        self.columns = full(tiles, L, self.own, value=O * learning.FIRST_MOMENT)
        self.row, self.column = full(tiles, L, O), full(tiles, L, self.own)
        self.small = full(tiles, L, self.own, O, kind=torch.int32)
        self.blocks = triton.cdiv(self.own, _M), triton.cdiv(O, _N)
        self.across, self.down = full(self.blocks[0], tiles, L, O), full(self.blocks[1], tiles, L, self.own)

    @staticmethod
    def size(trained: Trained) -> int:
        """Bytes that a tile takes, but for vectors."""
        return 2 * trained.weight.numel() + 8 * trained.back.numel()

    def apply(
        self, layer: int, a: torch.Tensor, out: torch.Tensor, limit: int = 0, kept: torch.Tensor | None = None
    ) -> None:
        """One layer of rows a, float32 [room, I]: out's first O columns; kept: these outputs [room, O], and out then
        their sum with a's first O, at most `limit`.
        """
        one = self.trained.vectors[0].stride(0) * layer
        vectors = [v.view(-1)[one:] for v in self.trained.vectors]
        weight = self.weight.view(-1)[layer * self.inputs * self.outputs :]
        self._run(weight, vectors, 1, a, out, limit, kept, False)

    def sums(self, count: int, a: torch.Tensor, out: torch.Tensor) -> None:
        """Of the first `count` layers side by side, int32 [room, count O or more], neither shifted nor clipped."""
        self._run(self.weight, self.trained.vectors, count, a, out, 0, None, True)

    def _run(
        self, weight: torch.Tensor, vectors: list[torch.Tensor], count: int, a: torch.Tensor, out: torch.Tensor,
        limit: int, kept: torch.Tensor | None, sums: bool,
    ) -> None:  # fmt: skip
        grid = (triton.cdiv(self.most, _M), self.tiles, count * self.blocks[1])
        strides = (a.stride(0), out.stride(0))
        _apply[grid](
            self.front, a, weight, *vectors, out, out if kept is None else kept, self.layers, self.inputs,
            self.outputs, *strides, float(limit), M=_M, N=_N, D=_DEEP, SUMS=sums, RESIDUAL=kept is not None,
        )  # fmt: skip

    def learn(self, count: int, a: torch.Tensor, errors: torch.Tensor, a_layer: int, errors_layer: int) -> None:
        """The step of the first `count` layers. a: float32, inputs [room, own or more], and a_layer numbers on those of
        the next layer; errors: int16, likewise.
        """
        strides = (a.stride(-2), errors.stride(-2), a_layer, errors_layer)
        blocks, shape = self.blocks[0] * self.blocks[1], (self.own, self.outputs)
        _gradient[(blocks, self.tiles, count)](
            self.front, a, errors, self.small, self.across, self.down, self.layers, *shape, *strides,
            M=_M, N=_N, D=_DEEP,
        )  # fmt: skip
        _moments[(self.tiles, count)](
            self.front, self.across, self.down, self.rows, self.columns, self.row, self.column, self.layers, *shape,
            self.unit, M=_M, N=_N, OP=triton.next_power_of_2(self.outputs), IP=triton.next_power_of_2(self.own),
        )  # fmt: skip
        _move[(blocks, self.tiles, count)](
            self.front, self.small, self.row, self.column, self.master, self.weight, self.layers, self.inputs, *shape,
            M=_M, N=_N,
        )  # fmt: skip


def mixture_errors(
    front: torch.Tensor, channels: int, parameters: torch.Tensor, scales: torch.Tensor, high: torch.Tensor,
    low: torch.Tensor, spreads: torch.Tensor, sigmoid: torch.Tensor, highest: int, errors: torch.Tensor,
) -> None:  # fmt: skip
    """learning.mixture_errors of the first channels, of C; to errors, int16 [C, room, 3 K + 1].

    parameters: int32 [C, room, 3 K], see gpu_stack.Tables; scales: int32 [C, room, K], what the heads said; high, low:
    int32 [C, room], symbols; spreads: float32 [C, room], Q3; sigmoid: as `Tables` has it.
    """
    _, room, K = scales.shape
    _mixture_errors[(triton.cdiv(room, _ROWS), channels)](
        front, parameters, scales, high, low, spreads, sigmoid, errors, room, highest, K=K, B=_ROWS
    )


class Learning:
    """All that a batch of tiles learns, and the rooms for it. room: pixels of all tiles' fronts.

    added: float32 [depth, room, width], what each middle layer gave; z: float32 [3, room, hidden]; scales: int32
    [3, room, K], log scales as the heads said them.
    """

    def __init__(
        self, kinds: tuple[Trained, ...], rate: int, components: int, tiles: int, room: int, front: torch.Tensor
    ) -> None:
        self.first, self.middle, self.heads, self.outs = (
            Learner(trained, rate, tiles, room // tiles, front) for trained in kinds
        )
        self.front, self.room = front, room
        depth, width, hidden = self.middle.layers, self.middle.outputs, self.heads.outputs

        def zeros(*shape: int, kind: torch.dtype = torch.int16) -> torch.Tensor:
            return torch.zeros(shape, dtype=kind, device=front.device)

        self.added = zeros(depth, room, width, kind=torch.float32)
        self.z, self.scales = zeros(3, room, hidden, kind=torch.float32), zeros(3, room, components, kind=torch.int32)
        self.errors = zeros(3, room, self.outs.outputs)
        self.of_heads, self.below = zeros(room, 3 * hidden), zeros(room, width)
        self.of_layers = zeros(depth + 1, room, width)  # of first, and of each middle layer

    def step(
        self, channels: int, inputs: torch.Tensor, h: torch.Tensor, parameters: torch.Tensor, high: torch.Tensor,
        low: torch.Tensor, spreads: torch.Tensor, sigmoid: torch.Tensor, highest: int,
    ) -> None:  # fmt: skip
        """Program._learn of a front. inputs: what `first` saw, float32 [room, I]; h: float32 [depth + 1, room, width
        or more], before each middle layer and at the end; the others as `mixture_errors` wants them.
        """
        depth, hidden = self.middle.layers, self.heads.outputs
        mixture_errors(self.front, channels, parameters, self.scales, high, low, spreads, sigmoid, highest, self.errors)
        self._back(self.errors, self.outs.trained.back[:channels], self.z, self.of_heads)
        back = self.heads.trained.back[:channels].flatten(0, 1)[None]
        self._back(self.of_heads, back, self.added[depth - 1], self.of_layers[depth], after=True)
        for i in range(depth - 1, -1, -1):
            mask = self.added[i - 1] if i else h[0]
            back = self.middle.trained.back[i : i + 1]
            self._back(self.of_layers[i + 1], back, mask, self.of_layers[i], before=True, after=True)
        self.outs.learn(channels, self.z, self.errors, self.z.stride(0), self.errors.stride(0))
        self.heads.learn(channels, h[depth], self.of_heads, 0, hidden)
        self.middle.learn(depth, h, self.of_layers[1:], h.stride(0), self.of_layers.stride(0))
        self.first.learn(1, inputs, self.of_layers[0], 0, 0)

    def _back(
        self, errors: torch.Tensor, weight: torch.Tensor, mask: torch.Tensor, masked: torch.Tensor,
        before: bool = False, after: bool = False,
    ) -> None:  # fmt: skip
        layers, O, I = weight.shape
        strides = (errors.stride(-2), mask.stride(-2), masked.stride(-2), errors.stride(0), mask.stride(0))
        _back[(triton.cdiv(self.room, _M), triton.cdiv(I, _N), layers)](
            self.front, errors, weight, self.below, mask, masked, O, I, *strides,
            M=_M, N=_N, D=_DEEP, BEFORE=before, AFTER=after,
        )  # fmt: skip
