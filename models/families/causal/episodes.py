"""Training for learning: the network is trained as the start of what it becomes while it codes.

Coding moves the weights from front to front (`models/layers/learning.py`). Training as if they stood still finds the
best weights to stay with, which are not the best ones to leave. So a step of training goes through regions from top to
bottom, a copy of the weights takes a step like coding's after each strip, and the gradients of all strips, each at the
copy's weights of its time, train the weights that the copy began with: first-order meta-learning (Finn et al. 2017,
"MAML", section 5.2; Nichol et al. 2018, "On first-order meta-learning algorithms").

    strip 0   loss with w0 = trained      gradient g0      w1 = w0 - step(g0)
    strip 1   loss with w1                gradient g1      w2 = w1 - step(g1)
    ..                                                     trained moves by the mean of g0, g1, ..
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lgcodec.models.families.causal.floats import Causal, Features, Layers, scales
from lgcodec.models.layers import learning
from lgcodec.models.training.losses import bits_per_dim

ROWS = 16  # of a strip
STEP = 1.25  # a strip's step in coding's steps of a front; with 0.8 and with 4 it learns less
FADING = 0.09  # of the moments of gradients, after a strip
LARGEST = 4.0  # of a weight's step, in mean ones


def strips(features: Features, y: int, x: int, side: int) -> list[NDArray[np.int16]]:
    """The parts of `Features.crop` of a square's strips, from top to bottom, [side / ROWS, ..]."""
    crops = [features.crop(y + top, x, ROWS, side) for top in range(0, side, ROWS)]
    return [np.stack(part) for part in zip(*crops, strict=True)]


class Learner:
    """A layer's weights on their way through an image: coding's rule, with factored moments, in floats.

    own: how many inputs' weights learn. unit: of inputs [own], in those of hidden layers.
    """

    def __init__(self, weight: Tensor, own: int, unit: Tensor, step: float) -> None:
        self.own, self.unit, self.step = own, unit.to(weight.device), step
        self.weight = weight.detach().clone().requires_grad_()
        self.moments: tuple[Tensor, Tensor] | None = None

    def learn(self, gradient: Tensor) -> None:
        g = gradient[:, : self.own] * self.unit
        square = g * g
        now = square.sum(dim=1), square.sum(dim=0)
        self.moments = now if self.moments is None else tuple(  # type: ignore[assignment]
            old.lerp(new, FADING) for old, new in zip(self.moments, now, strict=True)
        )  # fmt: skip
        rows, columns = self.moments  # type: ignore[misc]
        mean = torch.sqrt(rows[:, None] * columns / (rows.sum() + 1e-30)) + 1e-12
        with torch.no_grad():
            self.weight[:, : self.own] -= (g / mean).clamp(-LARGEST, LARGEST) * self.step / self.unit


def learned_bits(model: Causal, parts: Sequence[Tensor], coloured: int) -> Tensor:
    """Bits per dim of squares' strips, with learning on the way. parts: [squares, strips, ..], of which the first
    `coloured` squares have three channels. Its gradient is the mean of the strips' own.
    """
    config, layers = model.config, model.layers()
    units, total = scales(config), torch.zeros((), device=parts[0].device)
    count, depth = parts[0].shape[:2]
    sums = {name: [torch.zeros_like(tensor) for tensor in pair] for name, pair in layers.items()}
    dims = parts[3][0, 0, 0].numel()
    for square in range(count):
        channels = 3 if square < coloured else 1
        moving: Layers = {name: (w.detach(), b.detach().clone().requires_grad_()) for name, (w, b) in layers.items()}
        learners = {}
        for name, (weight, _) in layers.items():
            own = config.learners(name)
            unit = torch.tensor(units[name][1][:own] * 2.0**learning.ACTIVATION, dtype=torch.float32)
            learners[name] = Learner(weight, own, unit, STEP * 2.0**-config.learning)
        for strip in range(depth):
            moving = {name: (learners[name].weight, bias) for name, (_, bias) in moving.items()}
            crop = [part[square, strip][None] for part in parts]
            bits = 3 * bits_per_dim(model(*crop, layers=moving, coloured=channels // 3), dims * channels)
            known = [tensor for pair in moving.values() for tensor in pair]
            gradients = iter(torch.autograd.grad(bits, known, allow_unused=True, materialize_grads=True))
            for name, both in sums.items():
                weight, bias = next(gradients), next(gradients)
                both[0] += weight
                both[1] += bias
                if config.learners(name):
                    learners[name].learn(weight)
            total += bits.detach()
    # A sum of products whose gradient is what was summed, and whose value is the bits.
    pairs = [(t, g) for name, pair in layers.items() for t, g in zip(pair, sums[name], strict=True)]
    surrogate = torch.stack([(t * g).sum() for t, g in pairs if t.requires_grad]).sum()
    return (surrogate - surrogate.detach() + total) / (count * depth)
