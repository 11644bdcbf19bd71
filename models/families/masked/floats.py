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
from lgcodec.models.entropy.cells import LATENT_UNIT, RATIO_UNIT, Cells
from lgcodec.models.families.masked import flow
from lgcodec.models.families.masked.latent import joined
from lgcodec.models.families.masked.network import (
    CELLS,
    FIRST,
    GIVEN,
    LAYERS,
    LOGIT_UNIT,
    ONE,
    PLACES,
    RATIO_LIMIT,
    SAMPLES,
    SCORE_BITS,
    Graph,
    Int,
    Tables,
)
from lgcodec.models.layers.integer import quantise
from lgcodec.models.weights import Weights

TYPICAL = 140.0  # nats of a picture
SPARSE = 3  # a window is a convolution where its box has at most so many places for each offset


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
        for i, node in enumerate(graph.nodes, FIRST):
            own, allowed = graph.degree(i)[:, None], {}
            if node.kind in ("dense", "attend"):
                allowed = {j: _allowed(j, graph.degree(j)[None], own) for j in node.inputs}
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
                self.weights[str(i)] = nn.Parameter(gain * inputs**-0.5 * drawn)
                self.biases[str(i)] = nn.Parameter(torch.zeros(outputs))
            if node.kind == "table":
                self.weights[str(i)] = nn.Parameter(torch.zeros(1 << len(node.offsets), node.channels))
        if graph.head == "mixture":
            K = graph.components
            last = self.biases[str(len(graph.nodes) + FIRST - 1)].data.view(-1, 3 * K)
            last[:, K : 2 * K], last[:, 2 * K :] = torch.linspace(-1, 1, K), 3.0
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
        masks = masks or self.masks
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
            if node.kind in ("window", "dense", "add"):
                y = _rounded(y.clamp(node.low / ONE, node.high / ONE))
            arrays[i] = y
        i, node = len(self.graph.nodes) + FIRST - 1, self.graph.nodes[-1]
        with torch.autocast(x.device.type, enabled=False):  # what the head takes is finer than bfloat16
            inputs = [arrays[j].float() for j in node.inputs]
            arrays[i] = getattr(self, f"_{node.kind}")(i, node, inputs, masks)
        return arrays[i].transpose(1, 2)

    def _seen(self, x: Tensor) -> Tensor:
        if self.graph.head == "normal":
            return 2 * x
        if not x.is_floating_point():
            return self.seen[x]
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
            new, out, enter, *keep = a.float().chunk(3 + P, dim=-1)
            c = torch.tanh(new) * torch.sigmoid(enter)
            for p, gate in enumerate(keep):
                c = c + torch.sigmoid(gate) * read[:, :, p, C:] / P
            state = torch.cat([torch.sigmoid(out) * torch.tanh(c), c], dim=-1)
            states.append(state)
        return torch.cat(states, dim=1)[:, np.argsort(order)].transpose(1, 2)


def _rounded(y: Tensor) -> Tensor:
    """Activations as integers have them, while training, so that nets learn to bear it; gradients pass by."""
    return y + (torch.round(y.detach() * ONE) / ONE - y.detach()) if torch.is_grad_enabled() else y


def _scales(graph: Graph) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What one activation of the last node is in the head's units, and where these begin, [channels]."""
    K = graph.components
    if graph.head == "mixture":
        row = np.repeat([mixture.LOGIT_UNIT, mixture.MEAN_UNIT * graph.levels / 2, mixture.LOG_SCALE_UNIT], K)
        return row, np.repeat([0.0, 0.0, 4.0 * mixture.LOG_SCALE_UNIT], K)
    if graph.head == "normal":
        return np.array([float(LATENT_UNIT), RATIO_UNIT]), np.zeros(2)
    unit = {"bernoulli": LOGIT_UNIT, "categorical": mixture.LOGIT_UNIT, "shift": graph.levels / 2}[graph.head]
    size = len(graph.head_ends()[0])
    return np.full(size, float(unit)), np.zeros(size)


def bits(graph: Graph, out: Tensor, x: Tensor) -> Tensor:
    """Of each sample, [B, units]. out: [B, units, channels] of `FloatGraph`; x: int64 [B, units]."""
    if graph.head == "bernoulli":
        nats = F.softplus(out[..., 0]) - x * out[..., 0]
    elif graph.head == "categorical":
        nats = F.cross_entropy(out.movedim(-1, 1), x, reduction="none")
    else:
        nats = _mixture_nats(graph, out, x.float())
    return nats / math.log(2)


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


class Flow(nn.Module):
    """Steps z = x - shift(x), rounded, and the graph of z's prior. Gradients pass by what is rounded."""

    def __init__(self, steps: Sequence[Graph], prior: Graph, seed: int = 0) -> None:
        super().__init__()
        self.steps = nn.ModuleList(FloatGraph(step, seed + i) for i, step in enumerate(steps, 1))
        self.prior = FloatGraph(prior, seed)

    def forward(self, x: Tensor) -> Tensor:
        """Bits of each picture's samples, [B, units], in the order of z. x: int64 [B, units]."""
        graph, z = self.prior.graph, x.float()
        for step in self.steps:
            shift = (graph.levels / 2 * step(z)[..., 0]).clamp(-graph.levels / 2, graph.levels / 2)
            z, whole = z - shift, (z.round() - shift.round()).detach()
            z = z + (torch.remainder(whole, graph.levels) - z).detach()
        return bits(graph, self.prior(z), z if graph.head == "mixture" else z.round().long())


class Latents(nn.Module):
    """Graphs of prior (None: standard normal), posterior and likelihood, and what they are trained for.

    samples: of the importance-weighted bound (Burda et al. 2016); beta: what a divergence costs (Higgins et al. 2017);
    free_bits: of each latent that cost nothing, averaged over a batch (Kingma et al. 2016); warm_up: steps until they
    cost what they will cost (Sønderby et al. 2016); rate: nats that a picture's latents are held at, instead of costing
    what they take (Guu et al. 2018), so that a strong likelihood cannot do without them; dropout: share of the samples
    that the likelihood does not see of those before, in training, to the same end (Bowman et al. 2016).
    """

    def __init__(
        self, prior: Graph | None, posterior: Graph, likelihood: Graph, seed: int = 0, *, samples: int = 1,
        beta: float = 1.0, free_bits: float = 0.0, warm_up: int = 0, rate: float | None = None, dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.prior = None if prior is None else FloatGraph(prior, seed)
        self.posterior, self.likelihood = FloatGraph(posterior, seed + 1), FloatGraph(likelihood, seed + 2)
        self.samples, self.beta, self.free_bits, self.rate = samples, beta, free_bits, rate
        self.likelihood.dropout = dropout
        if posterior.head == "normal":
            self.posterior.origin = -1.0  # black: most pixels of most pictures, which would move all units together
        self.warm_up, self.step = warm_up, 0

    def draw(self, x: Tensor, samples: int) -> tuple[Tensor, Tensor, Tensor]:
        """Latents of each picture, their posterior's means and log precisions, each [B samples, latents]; those of a
        picture one after the other.
        """
        given = self.likelihood.seen[x]
        out = self.posterior(given.new_zeros(len(x), self.likelihood.graph.given), given=given)
        mean, ratio = _normal(out.repeat_interleave(samples, 0))
        return mean + torch.randn_like(mean) * torch.exp(-ratio), mean, ratio

    def nats(self, x: Tensor, z: Tensor, mean: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
        """log q(z) - log p(z) of each latent that was drawn, [B samples, latents], and -log p(x|z), [B samples]."""
        nats = ratio - ((z - mean) * torch.exp(ratio)) ** 2 / 2
        if self.prior is None:
            nats = nats + z**2 / 2
        else:
            m, r = _normal(self.prior(z))
            nats = nats + ((z - m) * torch.exp(r)) ** 2 / 2 - r
        x = x.repeat_interleave(len(z) // len(x), 0)
        return nats, bits(self.likelihood.graph, self.likelihood(x, given=2 * z), x).sum(1) * math.log(2)

    def terms(self, x: Tensor, samples: int = 1) -> tuple[Tensor, Tensor]:
        """`nats` for so many draws of the latents."""
        return self.nats(x, *self.draw(x, samples))

    def bound(self, x: Tensor, samples: int = 1) -> Tensor:
        """Nats of each picture [B]: -ELBO, or the bound of more samples."""
        nats, likelihood = self.terms(x, samples)
        weights = -nats.sum(1) - likelihood
        return math.log(samples) - torch.logsumexp(weights.view(len(x), samples), dim=1)

    def weighted(self, x: Tensor) -> Tensor:
        """`bound` of `samples` draws, whose gradients reach the posterior through the latents alone, by the square of
        their weights: the same on average, and the less noisy the tighter the bound (Tucker et al. 2019, IWAE-DReG).
        """
        z, mean, ratio = self.draw(x, self.samples)
        nats, likelihood = self.nats(x, z, mean.detach(), ratio.detach())
        weights = (-nats.sum(1) - likelihood).view(len(x), self.samples)
        share = torch.softmax(weights.detach(), dim=1).view(-1, 1)
        if z.requires_grad:
            z.register_hook(lambda gradient: gradient * share)
        return math.log(self.samples) - torch.logsumexp(weights, dim=1)

    def loss(self, x: Tensor) -> Tensor:
        """Bits per dim, with the options above."""
        self.step += 1
        size = x.shape[1] * math.log(2)
        if self.samples > 1:
            return self.weighted(x).mean() / size
        nats, likelihood = self.terms(x)
        spent = nats.mean(0).clamp(min=self.free_bits * math.log(2)).sum()
        spent = spent if self.rate is None else torch.abs(spent - self.rate)
        cost = self.beta * min(1.0, 0.1 + self.step / self.warm_up if self.warm_up else 1.0)
        return (cost * spent + likelihood.mean()) / size

    def information(self, n: int = 500) -> float | None:
        """Nats that the model's latents tell of its pictures, at least: log q(z|x) - log p(z) of n of its own pairs
        (Barber & Agakov 2003). None where drawing pairs takes more than one step.
        """
        if self.prior is not None or len(set(self.likelihood.graph.degree(SAMPLES).tolist())) > 1:
            return None
        z = torch.randn(n, self.posterior.graph.units(SAMPLES))
        none = z.new_zeros(n, self.likelihood.graph.units(SAMPLES)).long()
        x = torch.bernoulli(torch.sigmoid(self.likelihood(none, given=2 * z)[..., 0])).long()
        given = self.likelihood.seen[x]
        mean, ratio = _normal(self.posterior(none.new_zeros(z.shape), given=given))
        log_q = ratio - ((z - mean) * torch.exp(ratio)) ** 2 / 2
        return float((log_q + z**2 / 2).sum(1).mean())

    def finish(self) -> None:
        """Computes what was not trained."""


class Mixture(Latents):
    """One latent, a category, each as likely as the others, and pixels that are independent given it: -log p(x) is a
    sum over all of them, and the posterior follows from the likelihood, so that bits-back reaches it.
    """

    def components(self) -> Tensor:
        """Logits of the pixels, [K, units]."""
        K, graph = self.posterior.graph.levels, self.likelihood.graph
        given = torch.eye(K)
        out: Tensor = self.likelihood(given.new_zeros(K, graph.units(SAMPLES)).long(), given=given)
        return out[..., 0]

    def bound(self, x: Tensor, samples: int = 1) -> Tensor:
        logits = self.components()
        nats = F.softplus(logits).sum(1) - x.float() @ logits.T  # [B, K]
        return math.log(len(logits)) - torch.logsumexp(-nats, dim=1)

    def loss(self, x: Tensor) -> Tensor:
        return self.bound(x).mean() / (x.shape[1] * math.log(2))

    def terms(self, x: Tensor, samples: int = 1) -> tuple[Tensor, Tensor]:
        logits = self.components()
        share = torch.softmax(x.float() @ logits.T - F.softplus(logits).sum(1), dim=1)  # p(k|x)
        nats = (torch.xlogy(share, share) + share * math.log(len(logits))).sum(1, keepdim=True)
        return nats, self.bound(x) - nats[:, 0]

    def information(self, n: int = 500) -> float | None:
        return None  # the posterior is the true one, so that its divergence is no bound but the information

    def finish(self) -> None:
        """p(k|x): logits linear in x, of which the posterior sees 2 x - 1; so much more that they are not clipped."""
        logits, (last,) = self.components().detach(), self.posterior.weights
        self.posterior.weights[last].data = logits / 2
        self.posterior.biases[last].data = (logits / 2 - F.softplus(logits)).sum(1) + TYPICAL


class Bits(Latents):
    """Latents of one bit, drawn: no gradient goes through a draw, so that the posterior learns by the score function,
    each draw's cost less the mean of the others' (Mnih & Gregor 2014; Kool et al. 2019). wake_sleep: from the model's
    own pictures, whose latents are known, instead (Hinton et al. 1995).
    """

    DRAWS = 4

    def __init__(self, *graphs: Any, wake_sleep: bool = False, **options: Any) -> None:
        super().__init__(*graphs, **options)
        self.wake_sleep = wake_sleep
        if wake_sleep:  # bits that say something from the beginning, so that pixels begin to depend on them
            self.posterior.weights[str(len(self.posterior.graph.nodes) + FIRST - 1)].data *= 30

    def drawn(self, x: Tensor, samples: int) -> tuple[Tensor, Tensor, Tensor]:
        """log q(z), log p(z), [B samples, latents], and nats of x given z, [B samples]."""
        given = self.likelihood.seen[x]
        logit = self.posterior(given.new_zeros(len(x), self.likelihood.graph.given), given=given)[..., 0]
        logit = logit.repeat_interleave(samples, 0)
        z = torch.bernoulli(torch.sigmoid(logit.detach()))
        prior = self.prior(z.long())[..., 0]  # type: ignore[misc]
        log_q, log_p = (-F.binary_cross_entropy_with_logits(a, z, reduction="none") for a in (logit, prior))
        x = x.repeat_interleave(samples, 0)
        out = self.likelihood(x, given=torch.stack([1 - z, z], dim=-1).flatten(1))
        return log_q, log_p, bits(self.likelihood.graph, out, x).sum(1) * math.log(2)

    def terms(self, x: Tensor, samples: int = 1) -> tuple[Tensor, Tensor]:
        log_q, log_p, likelihood = self.drawn(x, samples)
        return log_q - log_p, likelihood

    def dreamed(self, n: int) -> Tensor:
        """Nats of n latents of the prior, given the pictures that follow, [n]; all of one step."""
        none = torch.zeros(n, self.likelihood.graph.units(SAMPLES), dtype=torch.int64)
        prior = self.prior(none.new_zeros(n, self.posterior.graph.units(SAMPLES)))  # type: ignore[misc]
        z = torch.bernoulli(torch.sigmoid(prior[..., 0].detach()))
        out = self.likelihood(none, given=torch.stack([1 - z, z], dim=-1).flatten(1))
        x = torch.bernoulli(torch.sigmoid(out[..., 0].detach())).long()
        logit = self.posterior(z.long(), given=self.likelihood.seen[x])[..., 0]
        return F.binary_cross_entropy_with_logits(logit, z, reduction="none").sum(1)

    def loss(self, x: Tensor) -> Tensor:
        if self.wake_sleep:
            log_q, log_p, likelihood = self.drawn(x, 1)
            value = ((log_q - log_p).sum(1) + likelihood).mean()
            gradient = (likelihood - log_p.sum(1) + self.dreamed(len(x))).mean()
            return (value.detach() + gradient - gradient.detach()) / (x.shape[1] * math.log(2))
        log_q, log_p, likelihood = self.drawn(x, self.DRAWS)
        cost = ((log_q - log_p).sum(1) + likelihood).view(-1, self.DRAWS)
        others = (cost.sum(1, keepdim=True) - cost) / (self.DRAWS - 1)
        score = (cost - others).detach() * log_q.sum(1).view_as(cost)
        value = cost.mean() / (x.shape[1] * math.log(2))
        gradient = (cost + score).mean() / (x.shape[1] * math.log(2))
        return value.detach() + gradient - gradient.detach()


def _normal(out: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log precision of latents, [B, latents], from [B, latents, 2]. Gradients pass by the ends: a latent as
    vague as the prior could not come back otherwise."""
    ratio = out[..., 1]
    return out[..., 0], ratio + (ratio.clamp(0, RATIO_LIMIT / RATIO_UNIT) - ratio).detach()


def export_latents(model: Latents, card: dict[str, Any]) -> Weights:
    """The integers of trained graphs."""
    model.finish()
    nets = {"prior": model.prior, "posterior": model.posterior, "likelihood": model.likelihood}
    parts = {name: export(net, {}) for name, net in nets.items() if net is not None}
    work = sum(part.card["multiply_adds"] for part in parts.values())
    return joined(parts, {**card, "multiply_adds": work})


def export_flow(model: Flow, card: dict[str, Any]) -> Weights:
    """The same of a flow."""
    steps, prior = [export(step, {}) for step in model.steps], export(model.prior, {})  # type: ignore[arg-type]
    work = sum(part.card["multiply_adds"] for part in (*steps, prior))
    return flow.joined(steps, prior, {**card, "multiply_adds": work})


def export(net: FloatGraph, card: dict[str, Any], graph: Graph | None = None) -> Weights:
    """The integers of a trained net. graph: in another order than its own."""
    graph = graph or net.graph
    masks = Masks(graph, torch.device("cpu"))
    tensors: dict[str, NDArray[Any]] = {f"degrees.{name}": a for name, a in graph.degrees.items()}
    tensors |= Tables.make().tensors()
    if graph.head == "normal":
        cells = Cells.make(graph.levels.bit_length() - 1)
        tensors |= {f"table.{name}": getattr(cells, name) for name in CELLS}
    for i, node in enumerate(graph.nodes, FIRST):
        is_last = node is graph.nodes[-1]
        low, high = graph.ends(i)
        row = net.row if is_last else np.full(node.channels, float(ONE))
        offset = net.offset if is_last else np.zeros(node.channels)
        if node.kind == "table":
            table = np.rint(net.weights[str(i)].detach().double().cpu().numpy() * row + offset)
            tensors[f"{i}.table"] = np.clip(table, low, high).astype(np.int16)
        if node.kind not in LAYERS:
            continue
        row, offset = (np.resize(a, len(low)) for a in (row, offset))  # of a cell's gates, of each unit
        weight, bias = (p[str(i)].detach().double().cpu().numpy() for p in (net.weights, net.biases))
        if net.origin:
            reads = [np.full(graph.units(j) * graph.channels(j), float(j == GIVEN)) for j in node.inputs]
            bias = bias - net.origin * weight @ np.concatenate(reads)
        if (mask := masks.dense.get(i)) is not None:
            weight = weight * mask.numpy()
        if node.kind == "window":
            used = [masks.of[i, j].numpy().any(axis=0).repeat(graph.channels(j)) for j in node.inputs]
            weight = weight * np.concatenate(used)
        layer = quantise(weight * row[:, None] / ONE, bias * row + offset, graph.inputs_limit(i), low, high)
        tensors |= {f"{i}.weight": layer.weight, f"{i}.bias": layer.bias, f"{i}.shift": layer.shift}
    work = sum(graph.work(i) for i in range(FIRST, len(graph.nodes) + FIRST))
    return Weights("masked", graph.written(), tensors, {**card, "multiply_adds": work})
