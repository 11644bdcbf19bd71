"""Per-image adaptation: the encoder fits a small integer delta to the image at hand and sends it in the header.

Biases move, and a matrix of low rank is added to each layer (as CALLIC and HPAC-FT do). It costs encoding time alone:
the decoder adds the integers and runs as ever. The fit is by gradient descent on the float twin of the integer
network; what comes of it is rounded, measured with the integer network itself, and kept only where it saves more than
it costs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lgcodec.models.adaptation import deltas
from lgcodec.models.errors import ModelError
from lgcodec.models.layers.integer import Layer

Layers = dict[str, tuple[Tensor, Tensor]]  # weight [O, I] and bias [O] of each layer, float32


class Plan(NamedTuple):
    """What an effort buys."""

    steps: int
    rank: int


PLANS = {7: Plan(150, 2), 8: Plan(300, 2), 9: Plan(1000, 4)}  # an effort tries those below it, too
# A fit is bounded by what it can gain, some 4 % of the bits: 32x32 pixels of a photograph take 1288 bytes, of which
# 150 steps save 16 by deltas that take 64.
BITS_A_STEP, FEWEST = 128, 128  # of the tiles, before; steps below which no deltas pay
RATE = 0.6  # of Adam, in units of the integers that are sent
START = 4.0  # spread of the right factors at first, in the same units; the left ones start at zero
PENALTY = 8.0  # times log2(1 + |delta|), what a delta is held to cost in bits; dearer than it is, which fits better


class FloatNetwork(Protocol):
    """A network of integers and what a family's training knows of it.

    tiles: int16 [C, H, W], those it can be fitted to. layers: the integers, in the order of deltas; floats: the same
    layers as trained; units: rows, columns and addends between the two. biases, matrices: layers of which these are
    fitted. begin: of an adaptation without a class.
    """

    tiles: Sequence[NDArray[np.int16]]
    layers: Mapping[str, Layer]
    floats: Layers
    units: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]
    biases: set[str]
    matrices: set[str]
    begin: bytes

    def loss(self, place: int, random: np.random.Generator, layers: Layers) -> Tensor:
        """Bits per dim of crops of the tile at this place, with these layers."""
        ...


class Delta(torch.nn.Module):
    """The deltas of every layer as floats in units of their integers, with rounding that gradients pass through."""

    def __init__(self, twin: FloatNetwork, rank: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.names, self.base, self.fitted = list(twin.layers), twin.floats, twin.biases
        self.weight_unit, self.bias_unit = {}, {}
        parts: list[list[torch.nn.Parameter]] = [[], [], []]
        for name, layer in twin.layers.items():
            row, column, _ = (torch.tensor(a, dtype=torch.float32) for a in twin.units[name])
            O, I = layer.weight.shape
            self.weight_unit[name] = 2.0**-deltas.PRODUCT_BITS / (row[:, None] * column)
            self.bias_unit[name] = 2.0**-deltas.BIAS_BITS / row
            right = torch.randn(rank, I, generator=random) * START * column / column.mean()
            fitted = (name in twin.biases, name in twin.matrices, name in twin.matrices)
            for part, value, moves in zip(parts, (torch.zeros(O), torch.zeros(rank, O), right), fitted, strict=True):
                part.append(torch.nn.Parameter(value * moves, requires_grad=moves))
        self.bias, self.left, self.right = (torch.nn.ParameterList(part) for part in parts)

    def rounded(self) -> dict[str, deltas.Deltas]:
        def integers(p: Tensor) -> NDArray[np.int8]:
            return p.detach().round().clamp(-127, 127).to(torch.int8).numpy()

        parts = zip(self.names, self.bias, self.left, self.right, strict=True)
        return {name: (integers(b), integers(left), integers(right)) for name, b, left, right in parts}

    def layers(self) -> Layers:
        def straight(p: Tensor) -> Tensor:
            return p + (p.round().clamp(-127, 127) - p).detach()

        result = dict(self.base)
        for name, b, left, right in zip(self.names, self.bias, self.left, self.right, strict=True):
            if name in self.fitted:
                weight, bias = self.base[name]
                moved = weight + (straight(left).T @ straight(right)) * self.weight_unit[name]
                result[name] = (moved, bias + straight(b) * self.bias_unit[name])
        return result

    def cost(self) -> Tensor:
        """What the deltas are held to cost, in bits."""
        moving = torch.cat([p.flatten() for p in self.parameters() if p.requires_grad])
        return PENALTY * torch.log2(1 + moving.abs()).sum()


def adapt(
    make: Callable[[Any, Sequence[NDArray[np.int16]]], FloatNetwork],
    network: Any,
    tiles: Sequence[NDArray[np.int16]],
    effort: int,
    threads: int,
    bits: Callable[[Sequence[NDArray[np.int16]], bytes], float],
    choice: bytes = b"",
) -> bytes:
    """The side information that makes tiles (int16 [C, H, W]) smallest: `choice`, one of the network's or empty, and
    deltas where they pay. make: a family's FloatNetwork, of a network and tiles; effort: 7 to 9; bits: what
    tiles take under side information. Tiles of few bits get fewer steps, or none.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        twin = make(network.adapted(choice), tiles)
        if not twin.tiles:
            return choice
        plain, plan = bits(twin.tiles, choice), PLANS[max(7, min(effort, 9))]
        steps = min(plan.steps, int(plain / BITS_A_STEP))
        if steps < FEWEST:
            return choice
        fitted = _fit(twin, plan._replace(steps=steps))
    finally:
        torch.set_num_threads(before)
    adaptation = (choice or twin.begin) + deltas.write(fitted)
    try:
        better = bits(twin.tiles, adaptation)
    except ModelError:
        return choice  # the fit left the exact range
    return adaptation if better + 8 * len(adaptation) < plain + 8 * len(choice) else choice


def _fit(twin: FloatNetwork, plan: Plan) -> dict[str, deltas.Deltas]:
    random, delta = np.random.default_rng(0), Delta(twin, plan.rank)
    optimiser = torch.optim.Adam([p for p in delta.parameters() if p.requires_grad], lr=RATE, betas=(0.9, 0.98))
    sizes = np.array([tile.size for tile in twin.tiles], float)
    share, samples = sizes / sizes.sum(), sizes.sum()
    for step in range(plan.steps):
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 10) * 0.5 * (1 + math.cos(math.pi * step / plan.steps))
        place = int(random.choice(len(share), p=share))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = twin.loss(place, random, delta.layers())
        loss = loss + delta.cost() / samples
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return delta.rounded()
