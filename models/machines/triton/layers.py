"""Integer layers on a GPU: one Triton kernel for a product and what follows it.

float32 sums of products are exact here (`integer.py`) as long as they are what they say: "ieee", not TF32. With
`halves`, products run on tensor cores instead: float16 holds every integer up to 2**11, and every even one up to 2**12,
so an activation is its even part and its lowest bit, and sums are float32 as before. Which is faster is for
measurement to say (`python -m benchmarks.gpu tune`); both are checked for exactness when they are loaded.

Checked against the CPU machines under Triton's interpreter (TRITON_INTERPRET=1), where tensors live on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from lgcodec.models.layers.integer import EXACT, Layer, check_exact
from lgcodec.models.machines.triton.stack import to_device

_HALF = 1 << 11  # float16 holds the integers up to here
_DEEP = 32  # inputs multiplied at a time


@triton.jit(do_not_specialize=["a_stride", "out_stride"])
def _product(
    a, weight, bias, scale, low, high, before, out, count, I, O, a_stride, out_stride, limit,
    M: tl.constexpr, N: tl.constexpr, D: tl.constexpr, PASSES: tl.constexpr, RESIDUAL: tl.constexpr,
):  # fmt: skip
    """out = clip(floor((a weight + bias) scale), low, high), of `count` rows; if RESIDUAL, min(before + that, limit).

    PASSES: 0, float32; 1, float16; 2, float16, even parts and lowest bits.
    """
    rows = tl.load(count)
    if tl.program_id(0) * M >= rows:
        return
    row = (tl.program_id(0) * M + tl.arange(0, M))[:, None]
    column = (tl.program_id(1) * N + tl.arange(0, N))[None, :]
    inner = tl.arange(0, D)
    a += row.to(tl.int64) * a_stride
    total = tl.zeros((M, N), tl.float32)
    for start in range(0, I, D):
        deep = start + inner
        left = tl.load(a + deep[None, :], mask=(row < rows) & (deep[None, :] < I), other=0.0)
        right = tl.load(weight + deep[:, None] * O + column, mask=(deep[:, None] < I) & (column < O), other=0.0)
        if PASSES == 0:
            total = tl.dot(left, right, total, input_precision="ieee")
        elif PASSES == 1:
            total = tl.dot(left.to(tl.float16), right, total)
        else:
            integer = left.to(tl.int32)
            bit = integer & 1
            total = tl.dot((integer - bit).to(tl.float16), right, total)
            total = tl.dot(bit.to(tl.float16), right, total)
    inside = column < O
    y = total + tl.load(bias + column, mask=inside, other=0.0)
    y = tl.floor(y * tl.load(scale + column, mask=inside, other=0.0))
    y = tl.maximum(y, tl.load(low + column, mask=inside, other=0.0))
    y = tl.minimum(y, tl.load(high + column, mask=inside, other=0.0))
    to = row.to(tl.int64) * out_stride + column
    if RESIDUAL:
        y = tl.minimum(y + tl.load(before + to, mask=(row < rows) & inside, other=0.0), limit)
    tl.store(out + to, y, mask=(row < rows) & inside)


@triton.jit
def outputs(
    z, o, scale, low_end, high_end, weight, bias, out_scale, out_low, out_high, hidden, outs,
    HP: tl.constexpr, OP: tl.constexpr,
):  # fmt: skip
    """A head's hidden units from their sums z [B, HP], o = 0 .. HP - 1, and its outputs: int64 [B, OP], 0 .. OP - 1."""
    is_hidden = o < hidden
    z = tl.floor(z * tl.load(scale + o, mask=is_hidden, other=0.0))
    z = tl.maximum(z, tl.load(low_end + o, mask=is_hidden, other=0.0))
    z = tl.minimum(z, tl.load(high_end + o, mask=is_hidden, other=0.0))
    p, inner = tl.arange(0, OP)[None, :], tl.arange(0, HP)[:, None]
    is_out = p < outs
    w = tl.load(weight + inner * outs + p, mask=(inner < hidden) & is_out, other=0.0)
    q = tl.dot(z, w, input_precision="ieee") + tl.load(bias + p, mask=is_out, other=0.0)
    q = tl.floor(q * tl.load(out_scale + p, mask=is_out, other=0.0))
    q = tl.maximum(q, tl.load(out_low + p, mask=is_out, other=0.0))
    return tl.minimum(q, tl.load(out_high + p, mask=is_out, other=0.0)).to(tl.int64), p


@dataclass(frozen=True)
class Loaded:
    """A layer on a device. weight: [I, O], float32, or float16 where passes > 0. vectors: bias, scale, low and high,
    float32 [O]. passes: see _product.
    """

    weight: torch.Tensor
    vectors: list[torch.Tensor]
    passes: int


@dataclass
class Products:
    """An integer.Executor by Triton. block: rows and outputs of a program; halves: float16, where a layer allows.

    Raises ExactnessError where the device rounds.
    """

    device: torch.device
    block: tuple[int, int] = (32, 64)
    warps: int = 4
    halves: bool = False
    name: str = "triton"

    def __post_init__(self) -> None:
        check_exact(self)

    def load(self, layer: Layer) -> Loaded:
        fits = self.halves and np.abs(layer.weight.astype(int)).max() <= _HALF and layer.limit.max() <= 2 * _HALF
        passes = (1 if layer.limit.max() <= _HALF else 2) if fits else 0
        weight = to_device(layer.weight.T.astype(np.float16 if passes else np.float32), self.device)
        scale = np.exp2(-layer.shift.astype(np.float32))
        bias, low, high = (a.astype(np.float32) for a in (layer.bias, layer.low, layer.high))
        vectors = [to_device(a, self.device) for a in (bias, scale, low, high)]
        return Loaded(weight, vectors, passes)

    def array(self, a: NDArray[np.float32]) -> torch.Tensor:
        return to_device(a, self.device)

    def zeros(self, *shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.float32, device=self.device)

    def numpy(self, a: torch.Tensor) -> NDArray[np.float32]:
        result: NDArray[np.float32] = a.cpu().numpy()
        return result

    def join(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat(list(parts), dim=-1)

    def apply(self, layer: Loaded, a: torch.Tensor) -> torch.Tensor:
        out = torch.empty((len(a), layer.weight.shape[1]), dtype=torch.float32, device=self.device)
        self.run(layer, a.contiguous(), out, torch.tensor([len(a)], dtype=torch.int32, device=self.device))
        return out

    def run(
        self, layer: Loaded, a: torch.Tensor, out: torch.Tensor, count: torch.Tensor,
        before: torch.Tensor | None = None, limit: int = EXACT,
    ) -> None:  # fmt: skip
        """The layer of a's first `count` (int32 [1]) rows, its first I columns; to out's first O.

        before: what is added to it, of out's strides, and `limit` the most of the sum.
        """
        I, O = layer.weight.shape
        M, N = self.block
        N = max(16, min(N, triton.next_power_of_2(O)))
        grid = (triton.cdiv(len(a), M), triton.cdiv(O, N))
        strides = (a.stride(0), out.stride(0))
        _product[grid](
            a, layer.weight, *layer.vectors, out if before is None else before, out, count, I, O, *strides,
            float(limit), M=M, N=N, D=_DEEP, PASSES=layer.passes, RESIDUAL=before is not None, num_warps=self.warps,
        )  # fmt: skip


def unrounded(layer: Layer, inputs: int) -> Layer:
    """The sums alone, of a layer's first inputs: neither shifted nor clipped."""
    O = len(layer.bias)
    zero, ends = np.zeros(O, np.int32), np.full(O, EXACT, np.int32)
    return Layer(layer.weight[:, :inputs], layer.bias, zero, layer.limit[:inputs], -ends, ends)


def stacked(layers: list[Layer]) -> Layer:
    """Layers of the same inputs as one whose outputs stand side by side."""
    names = ("weight", "bias", "shift", "low", "high")
    weight, bias, shift, low, high = (np.concatenate([getattr(layer, name) for layer in layers]) for name in names)
    return Layer(weight, bias, shift, layers[0].limit, low, high)


class Heads:
    """The heads of all channels, whose sums over h are one product, and what else `outputs` needs of each.

    heads, outs: their layers; width: how many of a head's inputs are h.
    """

    def __init__(self, products: Products, heads: list[Layer], outs: list[Layer], width: int) -> None:
        self.sums = products.load(stacked([unrounded(head, width) for head in heads]))
        self.hidden = len(heads[0].bias)
        self.channels = []
        for head, out in zip(heads, outs, strict=True):
            parts = (*_ends(head), out.weight.T, out.bias, *_ends(out))
            on_device = [to_device(part.astype(np.float32), products.device) for part in parts]
            self.channels.append([extra(head, width, products.device), *on_device])

    def sizes(self, c: int) -> dict[str, int]:
        """The constants of `outputs` for channel c."""
        return padded(self.hidden, self.channels[c][4].shape[1])


def extra(head: Layer, width: int, device: torch.device) -> torch.Tensor:
    """A head's weights of what it sees besides h, float32 [inputs + 1, hidden]: never empty."""
    weight = head.weight[:, width:].T
    return to_device(np.append(weight, np.zeros((1, weight.shape[1])), axis=0).astype(np.float32), device)


def padded(hidden: int, outs: int) -> dict[str, int]:
    """The constants of `outputs` for heads of these sizes."""
    return {"HP": max(16, triton.next_power_of_2(hidden)), "OP": max(16, triton.next_power_of_2(outs))}


def _ends(layer: Layer) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    return np.exp2(-layer.shift.astype(np.float32)), layer.low, layer.high
