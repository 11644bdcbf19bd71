"""What graphs in floats say of pictures beside their bits: Fisher scores, latents, classes, and what is near."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, grad, vmap

from lgcodec.models.families.masked.floats.graph import FloatGraph, bits
from lgcodec.models.families.masked.floats.objectives import Latents

CHUNK = 64  # pictures at once


@torch.no_grad()
def fisher_scores(net: FloatGraph, x: Tensor) -> Tensor:
    """The Fisher score of each picture, [B, parameters]: the gradient of log p(x) by all parameters (Jaakkola &
    Haussler 1999). x: int64 [B, units]. A net without latents has features, too: in which way it would have to change.
    """

    def log_p(parameters: dict[str, Tensor], one: Tensor) -> Tensor:
        return -math.log(2) * bits(net.graph, functional_call(net, parameters, (one[None],)), one[None]).sum()

    of_each = vmap(grad(log_p), in_dims=(None, 0))
    parts = [of_each(dict(net.named_parameters()), some) for some in x.split(CHUNK)]
    return torch.cat([torch.cat([a.flatten(1) for a in part.values()], dim=1) for part in parts])


def by_moment(scores: Tensor, moment: Tensor) -> Tensor:
    """Scores [B, parameters] over the root of their second moment [parameters], the diagonal of Fisher's information,
    and of length 1: inner products are the Fisher kernel.
    """
    scaled = scores * torch.rsqrt(moment + 1e-6 * moment.mean())
    result: Tensor = scaled / scaled.norm(dim=1, keepdim=True)
    return result


@torch.no_grad()
def latents(model: Latents, x: Tensor) -> Tensor:
    """The means of the posterior's normal latents, [B, latents]. x: int64 [B, units]."""
    _, posterior = model.draw(x, 1)
    return posterior.expected()


def by_classes(net: FloatGraph, x: Tensor) -> Tensor:
    """-log p(x | y) in nats, for each class y that the net is told, [B, classes]. x: int64 [B, units]."""
    classes = net.graph.given
    each = x.repeat_interleave(classes, 0)
    told = torch.eye(classes).repeat(len(x), 1)
    return math.log(2) * bits(net.graph, net(each, given=told), each).sum(1).view(len(x), classes)


def nearest(x: NDArray[np.floating], known: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which row of `known` [M, D] is nearest to each row of x [N, D], and how far away it is."""
    squares, found = (known.astype(np.float32) ** 2).sum(axis=1), []
    for rows in np.array_split(x.astype(np.float32), max(1, len(x) // CHUNK)):
        found.append((squares - 2 * rows @ known.T.astype(np.float32)).argmin(axis=1))
    at = np.concatenate(found)
    return at, np.sqrt(((x - known[at]).astype(np.float64) ** 2).sum(axis=1))
