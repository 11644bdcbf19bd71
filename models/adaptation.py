"""Per-image adaptation: the encoder fits a small integer delta to the image at hand and sends it in the header.

Biases move, and a matrix of low rank is added to each layer (as CALLIC and HPAC-FT do). It costs encoding time alone:
the decoder adds the integers and runs as ever. The fit is by gradient descent on the float twin of the integer
network; what comes of it is rounded, measured with the integer network itself, and kept only where it saves more than
it costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lgcodec.models import causal
from lgcodec.models.causal_training import Causal, Features, Layers, bits_per_dim, float_layers, scales
from lgcodec.models.compiled import CompiledCausal
from lgcodec.models.errors import ModelError

CROP, BATCH = 64, 1  # many small steps: eight crops a step and fewer steps fit worse in the same time


class Plan(NamedTuple):
    """What an effort buys."""

    steps: int
    rank: int


PLANS = {7: Plan(150, 0), 8: Plan(400, 2), 9: Plan(1000, 4)}
RATE = 0.6  # of Adam, in units of the integers that are sent
START = 4.0  # spread of the right factors at first, in the same units; the left ones start at zero
PENALTY = 8.0  # times log2(1 + |delta|), what a delta is held to cost in bits; dearer than it is, which fits better


class Delta(torch.nn.Module):
    """The deltas of every layer as floats in units of their integers, with rounding that gradients pass through."""

    def __init__(self, network: causal.Network, rank: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.names = list(network.layers)
        self.base = float_layers(network)
        units = scales(network.config)
        self.weight_unit, self.bias_unit = {}, {}
        parts: list[list[torch.nn.Parameter]] = [[], [], []]
        for name, layer in network.layers.items():
            row, column, _ = (torch.tensor(a, dtype=torch.float32) for a in units[name])
            O, I = layer.weight.shape
            self.weight_unit[name] = 2.0**-causal.PRODUCT_BITS / (row[:, None] * column)
            self.bias_unit[name] = 2.0**-causal.BIAS_BITS / row
            right = torch.randn(rank, I, generator=random) * START * column / column.mean()
            # What sees features of other pixels keeps its matrix: a small change comes back larger from pixel to pixel.
            still = name.startswith("middle") and network.config.context > 0
            start = (torch.zeros(O), torch.zeros(rank, O), torch.zeros(rank, I) if still else right)
            for part, value in zip(parts, start, strict=True):
                part.append(torch.nn.Parameter(value, requires_grad=part is parts[0] or not still))
        self.bias, self.left, self.right = (torch.nn.ParameterList(part) for part in parts)

    def rounded(self) -> dict[str, causal.Deltas]:
        def integers(p: Tensor) -> NDArray[np.int8]:
            return p.detach().round().clamp(-127, 127).to(torch.int8).numpy()

        parts = zip(self.names, self.bias, self.left, self.right, strict=True)
        return {name: (integers(b), integers(left), integers(right)) for name, b, left, right in parts}

    def layers(self) -> Layers:
        def straight(p: Tensor) -> Tensor:
            return p + (p.round().clamp(-127, 127) - p).detach()

        result = {}
        for name, b, left, right in zip(self.names, self.bias, self.left, self.right, strict=True):
            weight, bias = self.base[name]
            moved = weight + (straight(left).T @ straight(right)) * self.weight_unit[name]
            result[name] = (moved, bias + straight(b) * self.bias_unit[name])
        return result


def adapt(
    network: causal.Network, tiles: Sequence[causal.Tile], effort: int, threads: int, choice: bytes = b""
) -> bytes:
    """The side information that makes tiles (int16 [C, H, W]) smallest: `choice`, one of the network's or empty, and
    deltas where they pay. effort: 7 to 9.
    """
    tiles = [tile for tile in tiles if min(tile.shape[1:]) >= 16]
    if not tiles or tiles[0].shape[0] != causal.CHANNELS:
        return choice
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        deltas = _fit(network.adapted(choice), tiles, PLANS[max(7, min(effort, 9))])
    finally:
        torch.set_num_threads(before)
    begin = choice or bytes([causal.NO_CLASS] if network.config.classes else [])
    adaptation = begin + causal.write_deltas(deltas, network.config)
    machine = CompiledCausal(network, threads)
    try:
        plain, fitted = (
            sum(stream.ideal_bits for stream in machine.encode(tiles, side)) + 8 * len(side)
            for side in (choice, adaptation)
        )
    except ModelError:
        return choice  # the fit left the exact range
    return adaptation if fitted < plain else choice


def _fit(network: causal.Network, tiles: Sequence[causal.Tile], plan: Plan) -> dict[str, causal.Deltas]:
    rng = np.random.default_rng(0)
    features = [Features(tile) for tile in tiles]
    model, delta = Causal(network.config), Delta(network, plan.rank)
    optimiser = torch.optim.Adam(delta.parameters(), lr=RATE, betas=(0.9, 0.98))
    area = np.array([f.height * f.width for f in features], float)
    side = min(CROP, *(min(f.height, f.width) for f in features))
    for step in range(plan.steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 10) * 0.5 * (1 + math.cos(math.pi * step / plan.steps))
        crops = []
        for i in rng.choice(len(features), BATCH, p=area / area.sum()):
            f = features[i]
            crops.append(f.crop(rng.integers(f.height - side + 1), rng.integers(f.width - side + 1), side, side))
        batch = [torch.from_numpy(np.stack(part)) for part in zip(*crops, strict=True)]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = bits_per_dim(model(*batch, delta.layers()), BATCH * side * side)
        loss = loss + PENALTY * sum(torch.log2(1 + p.abs()).sum() for p in delta.parameters()) / (3 * area.sum())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return delta.rounded()
