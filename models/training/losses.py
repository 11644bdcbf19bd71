"""The likelihood of mixtures of discretised logistics, in floats."""

from __future__ import annotations

import math

import torch
from torch import Tensor

COARSE = 16.0  # the second companding curve is linear up to about this many pixels


def compand(e: Tensor, scale: float = 1.0) -> Tensor:
    """e: Q3 integers -> sign(e) log(1 + 2 |e| / (8 scale)) / 2: fine near zero, short in the tails."""
    return torch.sign(e) * torch.log1p(e.abs() * (0.25 / scale)) / 2


def logistic_mixture_nats(x: Tensor, logit: Tensor, mean: Tensor, log_scale: Tensor, low: int, high: int) -> Tensor:
    """Summed negative log-likelihood of x [N] under a mixture of K discretised logistics [K, N] (PixelCNN++, eq. 2)."""
    inverse = torch.exp(-log_scale)
    above = torch.where(x >= high, 1.0, torch.sigmoid((x + 0.5 - mean) * inverse))
    below = torch.where(x <= low, 0.0, torch.sigmoid((x - 0.5 - mean) * inverse))
    log_p = torch.logsumexp(torch.log_softmax(logit, 0) + torch.log((above - below).clamp_min(1e-9)), 0)
    # The integer tables give no symbol less than 2**-24: say the same here, so that training does not fear the tails.
    return -torch.log(torch.exp(log_p) * (1 - 2e-5) + 4e-8).sum()


def bits_per_dim(nats: Tensor, pixels: int) -> Tensor:
    return nats.sum() / (math.log(2) * 3 * pixels)
