"""What the masked family's systems of several graphs are trained for: flows, and latents of three kinds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as the field calls it

from lgcodec.models.families.masked.floats.graph import FloatGraph, Means, bits, drawn
from lgcodec.models.families.masked.floats.normals import Normals
from lgcodec.models.families.masked.network import FIRST, SAMPLES, Graph
from lgcodec.models.interface import TOTAL

TYPICAL = 140.0  # nats of a picture


class Flow(nn.Module):
    """Steps z = x - shift(x), rounded, and the graph of z's prior. Gradients pass by what is rounded."""

    def __init__(self, steps: Sequence[Graph], prior: Graph, seed: int = 0) -> None:
        super().__init__()
        self.steps = nn.ModuleList(FloatGraph(step, seed + i) for i, step in enumerate(steps, 1))
        self.prior = FloatGraph(prior, seed)

    def forward(self, x: Tensor) -> Tensor:
        """Bits of each picture's samples, [B, units], in the order of z. x: int64 [B, units]."""
        graph, (*_, z) = self.prior.graph, self._run(x)
        return bits(graph, self.prior(z), z if graph.head == "mixture" else z.round().long())

    def _run(self, x: Tensor) -> Iterator[Tensor]:
        """x, and what each step makes of it, as floats."""
        levels, z = self.prior.graph.levels, x.float()
        yield z
        for step in self.steps:
            shift = (levels / 2 * step(z)[..., 0]).clamp(-levels / 2, levels / 2)
            z, whole = z - shift, (z.round() - shift.round()).detach()
            z = z + (torch.remainder(whole, levels) - z).detach()
            yield z

    @torch.no_grad()
    def means(self, x: Tensor) -> list[Means]:
        """Of the nodes of each step, and of the prior's, over pictures x."""
        nets = [*self.steps, self.prior]
        return [net.means(z) for net, z in zip(nets, self._run(x), strict=True)]


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
        self.degree: Tensor
        self.register_buffer("degree", torch.from_numpy(posterior.degree(SAMPLES)), persistent=False)

    def draw(self, x: Tensor, samples: int) -> tuple[Tensor, Normals]:
        """Latents of each picture, [B samples, latents], those of a picture one after the other, and their posterior;
        degree by degree.
        """
        steps = self.degree.unique()
        each = samples if len(steps) == 1 else 1  # draws of what does not depend on a draw
        given = self.likelihood.seen[x].repeat_interleave(samples // each, 0)
        z = given.new_zeros(len(x) * samples, len(self.degree))
        for t in steps:
            q = Normals(self.posterior(z[::each], given=given).repeat_interleave(each, 0))
            z = torch.where(self.degree == t, q.draw(), z)
        return z, q

    def nats(self, x: Tensor, z: Tensor, q: Normals) -> tuple[Tensor, Tensor]:
        """log q(z) - log p(z) of each latent that was drawn, [B samples, latents], and -log p(x|z), [B samples]."""
        nats = q.log(z) - (-(z**2) / 2 if self.prior is None else Normals(self.prior(z)).log(z))
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
        z, q = self.draw(x, self.samples)
        nats, likelihood = self.nats(x, z, q.fixed())
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
        x = drawn(self.likelihood.graph, self.likelihood(none, given=2 * z))
        q = Normals(self.posterior(z, given=self.likelihood.seen[x]))
        return float((q.log(z) + z**2 / 2).sum(1).mean())

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


class Clusters(Mixture):
    """The same of grey pixels, normal ones. Their posterior is no linear one: a net learns to classify by the true one,
    which is what components learn by (as in expectation-maximisation, of a batch at a time). In other words, of its
    divergence from the true one: the other way around, a net that is sure of a wrong one stays so.
    """

    def __init__(self, *graphs: Any, **options: Any) -> None:
        super().__init__(*graphs, **options)
        self.begun: Tensor
        self.register_buffer("begun", torch.tensor(False))

    @torch.no_grad()
    def begin(self, x: Tensor) -> None:
        """Each component begins at a picture, so that none is the best one of all pictures, or of none."""
        K, graph = self.posterior.graph.levels, self.likelihood.graph
        (weight,) = self.likelihood.weights.values()
        mean, precision = weight.view(-1, 2, K).unbind(1)  # [units, K]
        mean.copy_(x[torch.arange(K) % len(x)].T / graph.levels - 0.5)
        precision.fill_(1.0)
        self.begun.fill_(True)

    def nats_of_each(self, x: Tensor) -> Tensor:
        """-log p(x | k), [B, K]: what black pixels take, and what others take beyond. In training as of densities: a
        picture that a table would call impossible under all components belongs to the nearest one, and moves it.
        """
        least = 0.0 if torch.is_grad_enabled() else 1 / TOTAL
        levels, K = self.likelihood.graph.levels, self.posterior.graph.levels
        given = torch.eye(K)
        out = self.likelihood(given.new_zeros(K, x.shape[1]).long(), given=given).movedim(0, 1)  # [units, K, 2]
        black = Normals(out).pixel_nats(x.new_zeros(x.shape[1], 1), levels, least)
        rows, units = x.nonzero(as_tuple=True)
        others = Normals(out.index_select(0, units)).pixel_nats(x[rows, units, None], levels, least)
        beyond = others - black.index_select(0, units)
        return black.sum(0) + black.new_zeros(len(x), K).index_add(0, rows, beyond)

    def log_posterior(self, x: Tensor) -> Tensor:
        """As the net says, [B, K]."""
        given = self.likelihood.seen[x]
        return torch.log_softmax(self.posterior(x.new_zeros(len(x), 1), given=given)[:, 0], dim=-1)

    def bound(self, x: Tensor, samples: int = 1) -> Tensor:
        """-ELBO; of more samples, what it bounds."""
        if samples == 1:
            nats, likelihood = self.terms(x)
            return nats[:, 0] + likelihood
        nats = self.nats_of_each(x)
        return math.log(nats.shape[1]) - torch.logsumexp(-nats, dim=1)

    def loss(self, x: Tensor) -> Tensor:
        if not self.begun:
            self.begin(x)
        nats, q = self.nats_of_each(x), self.log_posterior(x)
        true = torch.log_softmax(-nats.detach(), dim=1)
        gap = (true.exp() * (true - q)).sum(1)
        exact = math.log(nats.shape[1]) - torch.logsumexp(-nats, dim=1)
        return (exact + gap).mean() / (x.shape[1] * math.log(2))

    def terms(self, x: Tensor, samples: int = 1) -> tuple[Tensor, Tensor]:
        nats, q = self.nats_of_each(x), self.log_posterior(x)
        share = q.exp()
        return (share * (q + math.log(q.shape[1]))).sum(1, keepdim=True), (share * nats).sum(1)

    def finish(self) -> None:
        """Nothing."""


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
