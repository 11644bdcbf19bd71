"""The masked family in floats, to be trained: the same graph, with masks where the integers read zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as the field calls it

from lgcodec.models.entropy import mixture
from lgcodec.models.entropy.cells import LATENT_UNIT, RATIO_UNIT
from lgcodec.models.families.masked.floats.normals import Normals
from lgcodec.models.families.masked.network import (
    FIRST,
    GIVEN,
    LAYERS,
    LIMIT,
    LOGIT_UNIT,
    ONE,
    PLACES,
    SAMPLES,
    SCORE_BITS,
    WHOLE,
    Graph,
    Int,
)

SPARSE = 3  # a window is a convolution where its box has at most so many places for each offset


Means = dict[int, NDArray[np.float64]]


class Masks:
    """What a graph's units may read, as tensors. Another order of the samples is another graph, with the same
    weights."""

    def __init__(self, graph: Graph, device: torch.device) -> None:
        self.graph = graph
        self.of: dict[tuple[int, int], Tensor] = {}  # [units, units of the input or offsets], by node and input
        self.dense: dict[int, Tensor | None] = {}  # [O, I] of dense layers' weights; None where all are read
        self.sources: dict[tuple[int, int], Tensor] = {}
        self.shared: dict[int, list[int] | None] = {}  # of windows whose mask is the same everywhere: what it leaves
        self.levels: dict[int, list[tuple[Int, Int]]] = {}  # of cells
        self.new: dict[int, tuple[list[Int], Int]] = {}  # of tied layers: the inputs new at each degree; units' degrees
        for i, node in enumerate(graph.nodes, FIRST):
            own, allowed = graph.degree(i)[:, None], {}
            if node.kind in (*WHOLE, "attend"):
                allowed = {j: _allowed(j, graph.degree(j)[None], own) for j in node.inputs}
            if node.kind == "tied":
                self.new[i] = _new(own[:, 0], np.concatenate(
                    [allowed[j].repeat(graph.channels(j), axis=1) for j in node.inputs], axis=1))  # fmt: skip
            if node.kind == "dense":
                read = [a.repeat(graph.channels(j), axis=1) for j, a in allowed.items()]
                mask = np.concatenate(read, axis=1).repeat(node.channels, axis=0)
                self.dense[i] = None if mask.all() else torch.from_numpy(mask).to(device)
            if node.offsets:
                sources = {j: graph.sources(i, j) for j in (*node.inputs, i)}
                inside = {j: a < graph.units(j) for j, a in sources.items()}
                known = {j: np.append(graph.degree(j), 0)[a] for j, a in sources.items()}
                self.sources |= {(i, j): torch.from_numpy(a.reshape(-1)).to(device) for j, a in sources.items()}
                allowed = {j: inside[j] & _allowed(j, known[j], own) for j in node.inputs}
                if node.kind == "window":
                    is_one = all(graph.units(j) == len(own) for j in node.inputs)
                    self.shared[i] = _shared(node.offsets, inside[i], list(allowed.values())) if is_one else None
                if node.kind == "cell":
                    self.levels[i] = _levels(sources[i], inside[i] & (known[i] < own))
            self.of |= {(i, j): torch.from_numpy(a).to(device) for j, a in allowed.items()}


def _allowed(j: int, known: Int, own: Int) -> NDArray[np.bool_]:
    allowed: NDArray[np.bool_] = known < own if j == SAMPLES else known <= own
    return allowed


def _shared(
    offsets: Sequence[tuple[int, int]], inside: NDArray[np.bool_], allowed: Sequence[NDArray[np.bool_]]
) -> list[int] | None:
    """Which offsets a window may read, where all units may read the same, of all inputs, in a box that is not
    sparse."""
    some = [k for k in range(len(offsets)) if allowed[0][:, k].any()]
    if not some or any((a[:, k] != (inside[:, k] & (k in some))).any() for a in allowed for k in range(len(offsets))):
        return None
    box = math.prod(max(d) - min(d) + 1 for d in zip(*(offsets[k] for k in some), strict=True))
    return some if box <= SPARSE * len(some) else None


def _new(own: Int, read: NDArray[np.bool_]) -> tuple[list[Int], Int]:
    """Which inputs no unit of a lower degree reads, for each degree of units that read [units, inputs]; and the number
    of each unit's degree, int64 [units]."""
    _, first, number = np.unique(own, return_index=True, return_inverse=True)
    at = np.where(read.any(axis=0), read[first].argmax(axis=0), -1)
    return [np.flatnonzero(at == k) for k in range(len(first))], number


def _levels(sources: Int, allowed: NDArray[np.bool_]) -> list[tuple[Int, Int]]:
    """A cell's units in an order in which their states are known: of each level its units [n], and where in the level
    before the states are that they read, [n, offsets]; n of that level for none.
    """
    units = len(sources)
    level = np.zeros(units, np.int64)
    for _ in range(units):
        before = np.where(allowed, np.append(level, 0)[sources] + 1, 0).max(axis=1)
        if (before == level).all():
            break
        level = before
    place, result = np.zeros(units + 1, np.int64), list[tuple[Int, Int]]()
    for value in range(int(level.max()) + 1):
        at = np.flatnonzero(level == value)
        count = len(result[-1][0]) if result else 0
        last = np.append(level, -1)[sources[at]] == value - 1
        if (allowed[at] & ~last).any():
            raise ValueError("training runs cells whose states come from the level before alone")
        result.append((at, np.where(allowed[at] & last, place[sources[at]], count)))
        place[at] = np.arange(len(at))
    return result


class FloatGraph(nn.Module):
    """The graph's layers as parameters, weight [O, I] as `Layer` has them, in activations per activation."""

    def __init__(self, graph: Graph, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.graph = graph
        self.weights, self.biases = nn.ParameterDict(), nn.ParameterDict()
        for i, node in enumerate(graph.nodes, FIRST):
            if node.kind in LAYERS:
                inputs, outputs = len(graph.inputs_limit(i)), len(graph.ends(i)[0])
                gain = 0.1 if node is graph.nodes[-1] else 1.0
                drawn = torch.randn(outputs, inputs, generator=generator)
                drawn = drawn if drawn.numel() > 1 else torch.ones(1, 1)  # the identity
                self.weights[str(i)] = nn.Parameter(gain * inputs**-0.5 * drawn)
                self.biases[str(i)] = nn.Parameter(torch.zeros(outputs))
            if node.kind == "table":
                self.weights[str(i)] = nn.Parameter(torch.zeros(1 << len(node.offsets), node.channels))
        if graph.head == "mixture":
            K = graph.components
            last = self.biases[str(len(graph.nodes) + FIRST - 1)].data.view(-1, 3 * K)
            last[:, K : 2 * K], last[:, 2 * K :] = torch.linspace(-1, 1, K), 3.0
        if graph.head == "normal" and (K := graph.components) > 1:
            last = self.biases[str(len(graph.nodes) + FIRST - 1)].data.view(-1, 3 * K - 1)
            last[:, K - 1 : 2 * K - 1] = torch.linspace(-0.5, 0.5, K)
        self.dropout = 0.0  # share of the samples that are not seen, in training
        self.origin = 0.0  # what is given counts from here on, as parameters see it
        self.marginal = False  # pictures without a class are those of any, in training
        self.row, self.offset = _scales(graph)
        self.masks = Masks(graph, torch.device("cpu"))
        self.seen: Tensor
        self.places: Tensor
        top = graph.levels - 1
        seen = (2 * np.arange(top + 1) - top) * ONE // top / ONE
        axes = [(2 * np.arange(n) - (n - 1)) * ONE // max(n - 1, 1) / ONE for n in graph.shape]
        places = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(1, 2, -1)
        self.register_buffer("seen", torch.from_numpy(seen.astype(np.float32)), persistent=False)
        self.register_buffer("places", torch.from_numpy(places.astype(np.float32)), persistent=False)

    def forward(self, x: Tensor, masks: Masks | None = None, given: Tensor | None = None) -> Tensor:
        """x: samples int64 [B, units], normal ones and a flow's as floats; given: [B, units], activations -> what the
        head takes, [B, units, channels], as floats.
        """
        nodes = self._nodes(x, masks or self.masks, given)
        return nodes[len(self.graph.nodes) + FIRST - 1].transpose(1, 2)

    @torch.no_grad()
    def means(self, x: Tensor) -> Means:
        """What nodes give on average over pictures x, [units, channels] each."""
        return {i: a.mean(0).T.double().cpu().numpy() for i, a in self._nodes(x, self.masks, None).items()}

    def _nodes(self, x: Tensor, masks: Masks, given: Tensor | None) -> dict[int, Tensor]:
        """What all nodes give, [B, channels, units]."""
        arrays = {PLACES: self.places.expand(len(x), -1, -1)}  # [B, C, units]
        if any(SAMPLES in node.inputs for node in self.graph.nodes):
            seen = self._seen(x)
            if self.dropout and torch.is_grad_enabled():
                seen = seen * (torch.rand_like(seen) >= self.dropout)
            arrays[SAMPLES] = seen[:, None]
        given = x.new_zeros(len(x), self.graph.given).float() if given is None else given
        arrays[GIVEN] = (given - self.origin)[:, None]
        for i, node in enumerate(self.graph.nodes[:-1], FIRST):
            y = getattr(self, f"_{node.kind}")(i, node, [arrays[j] for j in node.inputs], masks)
            if node.kind in ("window", "local", "dense", "add"):
                y = _rounded(y.clamp(node.low / ONE, node.high / ONE))
            arrays[i] = y
        i, node = len(self.graph.nodes) + FIRST - 1, self.graph.nodes[-1]
        with torch.autocast(x.device.type, enabled=False):  # what the head takes is finer than bfloat16
            inputs = [arrays[j].float() for j in node.inputs]
            arrays[i] = getattr(self, f"_{node.kind}")(i, node, inputs, masks)
        return arrays

    def _seen(self, x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return self.seen[x]
        if self.graph.head == "normal":  # latents
            return 2 * x
        seen = 2 * x / (self.graph.levels - 1) - 1
        return seen + (self.seen[x.detach().round().long()] - seen.detach())

    def _window(self, i: int, node: Any, inputs: list[Tensor], masks: Masks) -> Tensor:
        weight, bias, K = self.weights[str(i)], self.biases[str(i)], len(node.offsets)
        parts, some = weight.split([K * a.shape[1] for a in inputs], dim=1), masks.shared[i]
        if some is None:
            pairs = zip(node.inputs, inputs, strict=True)
            rows = [self._near(a, masks.sources[i, j], masks.of[i, j]) for j, a in pairs]
            return F.linear(torch.cat(rows, dim=-1), weight, bias).transpose(1, 2)
        offsets = np.array([node.offsets[k] for k in some])
        (top, left), (bottom, right) = offsets.min(axis=0), offsets.max(axis=0)
        kernels = []
        for a, part in zip(inputs, parts, strict=True):
            kernel = part.new_zeros(len(weight), a.shape[1], bottom - top + 1, right - left + 1)
            split = part.view(len(weight), K, a.shape[1])
            kernel[:, :, offsets[:, 0] - top, offsets[:, 1] - left] = split[:, some].transpose(1, 2)
            kernels.append(kernel)
        a = torch.cat(inputs, dim=1).unflatten(2, node.grid)
        padded: Tensor = F.pad(a, (-int(left), int(right), -int(top), int(bottom)))
        return F.conv2d(padded, torch.cat(kernels, dim=1), bias).flatten(2)

    @staticmethod
    def _near(a: Tensor, sources: Tensor, mask: Tensor) -> Tensor:
        """a [B, C, units] at each unit's sources, [B, units, K C]."""
        padded = F.pad(a, (0, 1)).transpose(1, 2)  # [B, units + 1, C]
        near: Tensor = padded.index_select(1, sources).unflatten(1, tuple(mask.shape))
        return (near * mask[..., None]).flatten(2)

    def _local(self, i: int, node: Any, inputs: list[Tensor], masks: Masks) -> Tensor:
        is_here = [node.offsets == ((0, 0),) and masks.graph.named(j) == node.degrees for j in node.inputs]
        rows = [
            a.transpose(1, 2) if ok and j != SAMPLES else self._near(a, masks.sources[i, j], masks.of[i, j])
            for ok, j, a in zip(is_here, node.inputs, inputs, strict=True)
        ]
        whole = torch.cat(rows, dim=-1) if len(rows) > 1 else rows[0]
        by_unit = whole.transpose(0, 1)  # [units, B, inputs]
        weight, bias = self.weights[str(i)], self.biases[str(i)].view(-1, 1, node.channels)
        each = weight.view(len(by_unit), 1, node.channels, -1)
        # products of matrices with one column are slower, there and back
        y: Tensor = bias + (by_unit[:, :, None] * each).sum(-1)
        return y.permute(1, 2, 0)

    def _tied(self, i: int, node: Any, inputs: list[Tensor], masks: Masks) -> Tensor:
        new, number = masks.new[i]
        order, sizes = np.concatenate(new), [len(at) for at in new]
        with torch.autocast(inputs[0].device.type, enabled=False):  # sums of many terms
            rows = torch.cat([a.float().transpose(1, 2).flatten(1) for a in inputs], dim=1)[:, order]
            parts = rows, self.weights[str(i)].T[order], self.biases[str(i)]
            y: Tensor = _Sums.apply(*parts, sizes, node.low, node.high, torch.is_grad_enabled())  # type: ignore[no-untyped-call]
        in_order = np.array_equal(number, np.arange(len(sizes)))
        return (y if in_order else y[number]).permute(1, 2, 0)

    def _dense(self, i: int, node: Any, inputs: list[Tensor], masks: Masks) -> Tensor:
        rows = torch.cat([a.transpose(1, 2).flatten(1) for a in inputs], dim=1)
        weight, mask = self.weights[str(i)], masks.dense[i]
        weight = weight if mask is None else weight * mask
        y: Tensor = F.linear(rows, weight, self.biases[str(i)]).unflatten(1, (-1, node.channels))
        return y.transpose(1, 2)

    def _table(self, i: int, node: Any, inputs: list[Tensor], masks: Masks) -> Tensor:
        bits = self._near(inputs[0], masks.sources[i, SAMPLES], masks.of[i, SAMPLES]) > 0
        index = (bits.long() << torch.arange(bits.shape[-1], device=bits.device)).sum(-1)
        return F.embedding(index, self.weights[str(i)]).transpose(1, 2)

    def _gate(self, i: int, node: Any, inputs: list[Tensor], masks: Masks) -> Tensor:
        a, b = inputs[0].chunk(2, dim=1)
        return _rounded(_rounded(torch.tanh(a)) * _rounded(torch.sigmoid(b)))

    def _add(self, i: int, node: Any, inputs: list[Tensor], masks: Masks) -> Tensor:
        return torch.stack(inputs).sum(0)

    def _attend(self, i: int, node: Any, inputs: list[Tensor], masks: Masks) -> Tensor:
        q, k, v = (a.unflatten(1, (node.heads, -1)).transpose(2, 3) for a in inputs)  # [B, heads, units, C]
        scale = 2.0 ** (14 - SCORE_BITS - 5)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=masks.of[i, node.inputs[1]], scale=scale)
        return y.transpose(2, 3).flatten(1, 2)

    def _cell(self, i: int, node: Any, inputs: list[Tensor], masks: Masks) -> Tensor:
        C, P = node.channels // 2, len(node.offsets)
        own = inputs[0].shape[1]
        weight, state = self.weights[str(i)], inputs[0].new_zeros(len(inputs[0]), 0, 2 * C)
        given = F.linear(inputs[0].transpose(1, 2), weight[:, :own], self.biases[str(i)])  # [B, units, outputs]
        order = np.concatenate([at for at, _ in masks.levels[i]])
        # split once: the gradient of an index into `given` would be as large as `given`, at each level
        levels = given[:, order].split([len(at) for at, _ in masks.levels[i]], dim=1)
        states = []
        for level, (_, before) in zip(levels, masks.levels[i], strict=True):
            read = F.pad(state, (0, 0, 0, 1))[:, before]  # [B, n, P, 2 C]
            a = level + F.linear(read[..., :C].flatten(2), weight[:, own:])
            a = a.float()
            new, (out, enter, *keep) = a[..., :C], _rounded(torch.sigmoid(a[..., C:])).chunk(2 + P, dim=-1)
            c = _rounded(torch.tanh(new)) * enter
            for p, gate in enumerate(keep):
                c = c + gate * read[:, :, p, C:] / P
            c = _rounded(c.clamp(-LIMIT / ONE, LIMIT / ONE))
            state = torch.cat([_rounded(out * _rounded(torch.tanh(c))), c], dim=-1)
            states.append(state)
        return torch.cat(states, dim=1)[:, np.argsort(order)].transpose(1, 2)


def _rounded(y: Tensor) -> Tensor:
    """Activations as integers have them, while training, so that nets learn to bear it; gradients pass by."""
    return _Rounded.apply(y) if torch.is_grad_enabled() else y  # type: ignore[no-untyped-call]


class _Rounded(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor) -> Tensor:
        return torch.round(y * ONE) / ONE

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _Sums(torch.autograd.Function):
    """x [B, inputs] w [inputs, C] + bias [C] of the first inputs, so many of them as the first of `sizes` say, the
    first two, .. -> what activations become of it, [sizes, B, C]. The sums of one step are still in the cache, where
    autograd would keep them all.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, w: Tensor, bias: Tensor, sizes: list[int], low: int, high: int, is_rounded: bool
    ) -> Tensor:
        total, result = bias.expand(len(x), -1) * ONE, []
        for a, b in zip(x.split(sizes, 1), (w * ONE).split(sizes), strict=True):
            total = torch.addmm(total, a, b)
            y = total.clamp(low, high)
            result.append((torch.round(y) if is_rounded else y) / ONE)
        return torch.stack(result)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, w, _, ctx.sizes, low, high, _ = inputs
        ctx.ends = low / ONE, high / ONE
        ctx.save_for_backward(x, w, output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, w, output = ctx.saved_tensors
        low, high = ctx.ends
        total, of_x, of_w = torch.zeros_like(gradient[0]), [], []
        parts = zip(x.split(ctx.sizes, 1), w.split(ctx.sizes), gradient, output, strict=True)
        for a, b, g, y in reversed(list(parts)):
            total = total + torch.ops.aten.hardtanh_backward(g, y, low, high)
            of_w.append(a.T @ total)
            if ctx.needs_input_grad[0]:
                of_x.append(total @ b.T)
        into_x = torch.cat(of_x[::-1], dim=1) if of_x else None
        return into_x, torch.cat(of_w[::-1]), total.sum(0), None, None, None, None


def _scales(graph: Graph) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What one activation of the last node is in the head's units, and where these begin, [channels]."""
    K = graph.components
    if graph.head == "mixture":
        row = np.repeat([mixture.LOGIT_UNIT, mixture.MEAN_UNIT * graph.levels / 2, mixture.LOG_SCALE_UNIT], K)
        return row, np.repeat([0.0, 0.0, 4.0 * mixture.LOG_SCALE_UNIT], K)
    if graph.head == "normal":
        row = np.repeat([float(mixture.LOGIT_UNIT), LATENT_UNIT, RATIO_UNIT], [K - 1, K, K])
        return row, np.zeros(len(row))
    unit = {"bernoulli": LOGIT_UNIT, "categorical": mixture.LOGIT_UNIT, "shift": graph.levels / 2}[graph.head]
    size = len(graph.head_ends()[0])
    return np.full(size, float(unit)), np.zeros(size)


def bits(graph: Graph, out: Tensor, x: Tensor) -> Tensor:
    """Of each sample, [B, units]. out: [B, units, channels] of `FloatGraph`; x: int64 [B, units]."""
    if graph.head == "bernoulli":
        nats = F.softplus(out[..., 0]) - x * out[..., 0]
    elif graph.head == "categorical":
        nats = F.cross_entropy(out.movedim(-1, 1), x, reduction="none")
    elif graph.head == "normal":
        nats = Normals(out).pixel_nats(x, graph.levels)
    else:
        nats = _mixture_nats(graph, out, x.float())
    return nats / math.log(2)


def drawn(graph: Graph, out: Tensor) -> Tensor:
    """Pixels int64 [B, units] as the head, bits or normals, says them."""
    if graph.head == "normal":
        return Normals(out).pixels(graph.levels)
    return torch.bernoulli(torch.sigmoid(out[..., 0])).long()


def _mixture_nats(graph: Graph, out: Tensor, x: Tensor) -> Tensor:
    """Of logistics over 0 .. levels - 1, [B, units] (Salimans et al. 2017, equation 2)."""
    logit, mean, log_scale = out.chunk(3, dim=-1)
    mean, log_scale = (mean + 1) * graph.levels / 2, log_scale.clamp(-4, 6)
    inverse, x = torch.exp(-log_scale), x[..., None]
    above, below = (x + 0.5 - mean) * inverse, (x - 0.5 - mean) * inverse
    last, first = -F.softplus(below), F.logsigmoid(above)  # log of 1 - F(below), of F(above)
    inside = torch.log((torch.sigmoid(above) - torch.sigmoid(below)).clamp(min=1e-9))
    log = torch.where(x == 0, first, torch.where(x == graph.levels - 1, last, inside))
    return -torch.logsumexp(log + torch.log_softmax(logit, dim=-1), dim=-1)
