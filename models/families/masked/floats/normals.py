"""Normal distributions in floats, and mixtures of them, as a graph's head says them: of latents, or of pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as the field calls it

from lgcodec.models.entropy.cells import RATIO_UNIT
from lgcodec.models.families.masked.network import RATIO_LIMIT
from lgcodec.models.interface import TOTAL

FAR = 3e4  # scales; below -46340, log_ndtr has no gradient


class Normals:
    """Mixtures of K normals. out: [..., 3 K - 1], a logit for each normal but the first, means, log precisions; the
    latter's gradients pass by their ends: a latent as vague as the prior could not come back otherwise.
    """

    def __init__(self, out: Tensor) -> None:
        K = (out.shape[-1] + 1) // 3
        logit, self.mean, ratio = out.split([K - 1, K, K], dim=-1)
        self.log_weight = torch.log_softmax(F.pad(logit, (1, 0)), dim=-1)  # [..., K]
        self.ratio = ratio + (ratio.clamp(0, RATIO_LIMIT / RATIO_UNIT) - ratio).detach()

    def fixed(self) -> Normals:
        """The same, without gradients."""
        result = object.__new__(Normals)
        result.log_weight, result.mean, result.ratio = (a.detach() for a in (self.log_weight, self.mean, self.ratio))
        return result

    def expected(self) -> Tensor:
        return self._mixed(self.mean)

    def draw(self) -> Tensor:
        """A number of each mixture. Gradients reach it by the distribution function, which stays what it is for a draw
        (Figurnov et al. 2018): of one normal those of mean + noise / precision.
        """
        with torch.no_grad():
            kinds = torch.multinomial(self.log_weight.exp().flatten(0, -2), 1).view(*self.mean.shape[:-1], 1)
            mean, ratio = (a.gather(-1, kinds)[..., 0] for a in (self.mean, self.ratio))
            z: Tensor = mean + torch.randn_like(mean) * torch.exp(-ratio)
        if not torch.is_grad_enabled():
            return z
        below = self.below(z)
        density = torch.exp(self.log(z).detach()) / math.sqrt(2 * math.pi)
        return z + (below.detach() - below) / density

    def log(self, z: Tensor) -> Tensor:
        """log of the density, plus half of log 2 pi."""
        each = self.ratio - ((z[..., None] - self.mean) * torch.exp(self.ratio)) ** 2 / 2
        return torch.logsumexp(self.log_weight + each, dim=-1)

    def below(self, z: Tensor) -> Tensor:
        """The distribution function."""
        return self._mixed(torch.special.ndtr((z[..., None] - self.mean) * torch.exp(self.ratio)))

    def _mixed(self, each: Tensor) -> Tensor:
        result: Tensor = (self.log_weight.exp() * each).sum(-1)
        return result

    def pixel_nats(self, x: Tensor, levels: int, least: float = 1 / TOTAL) -> Tensor:
        """Of pixels int64, each a cell of 1 / levels between -1/2 and 1/2, the first and last one as far as there are
        numbers. least: what a table leaves to each; with 0, gradients reach what is far out, too.
        """
        edges = [torch.where(at, end, (x + i) / levels - 0.5)
                 for at, end, i in ((x == 0, -1e2, 0), (x == levels - 1, 1e2, 1))]  # fmt: skip
        low, high = (((e[..., None] - self.mean) * torch.exp(self.ratio)).clamp(-FAR, FAR) for e in edges)
        turned = low + high > 0  # where differences are of small numbers
        low, high = torch.where(turned, -high, low), torch.where(turned, -low, high)
        low, high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
        apart = (low - high).clamp(max=-1e-4)  # so much at least, but for rounding of large numbers
        log = torch.logsumexp(self.log_weight + high + torch.log(-torch.expm1(apart)), dim=-1)
        return -torch.log((1 - levels * least) * log.exp() + least) if least else -log

    def pixels(self, levels: int) -> Tensor:
        """Pixels that were drawn, int64."""
        return ((self.draw() + 0.5) * levels).floor().clamp(0, levels - 1).long()
