"""The continuous flow family in floats, and its export to integers."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lgcodec.models.entropy import mixture
from lgcodec.models.entropy.cells import Cells
from lgcodec.models.families.continuous import network as continuous
from lgcodec.models.families.continuous.model import load
from lgcodec.models.families.continuous.network import GROUPS, HALF, SCALE_BITS, SCALE_UNIT, SEEN, Config
from lgcodec.models.layers.integer import quantise
from lgcodec.models.weights import Weights


class Floats(nn.Module):
    """The continuous flow. --data: one .npz whose `train` holds small grey images [N, H, W], sides multiples of 4."""

    # Layers are matrices [O, size**2 I], columns ordered (dy, dx, I). y, z: in steps of samples.

    name: ClassVar[str] = "continuous"
    config_type: ClassVar[type[Config]] = Config
    load: Any = staticmethod(load)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.kinds, self.specs = config, config.kinds(), config.layers()
        K = config.components
        for name, spec in self.specs.items():
            O, I = (sum(n for _, n in ends) for ends in (spec.outputs, spec.inputs))
            weight, bias = torch.randn(O, I * spec.size**2) * (I * spec.size**2) ** -0.5, torch.zeros(O)
            if name.startswith("out"):
                weight *= 0.1
            if name.startswith("out.prior"):
                said = bias.view(3, K, -1)
                said[1] = torch.tensor([0.5, *np.linspace(2, 31.5, K - 1)])[:, None]  # black, and the rest
                said[2] = torch.tensor([0.0] + [3.0] * (K - 1))[:, None]
            self.register_parameter(f"{name}.weight".replace(".", "/"), nn.Parameter(weight))
            self.register_parameter(f"{name}.bias".replace(".", "/"), nn.Parameter(bias))

    def layer(self, name: str) -> tuple[Tensor, Tensor]:
        weight, bias = (self.get_parameter(f"{name}.{part}".replace(".", "/")) for part in ("weight", "bias"))
        return weight, bias

    def apply_layer(self, name: str, a: Tensor) -> Tensor:
        (weight, bias), size = self.layer(name), self.specs[name].size
        if size == 1:
            return functional.linear(a, weight, bias)
        kernel = weight.view(len(weight), size, size, -1).permute(0, 3, 1, 2)
        a = functional.conv2d(a.permute(0, 3, 1, 2), kernel, bias, padding=size // 2).permute(0, 2, 3, 1)
        return functional.hardtanh(a, 0, self.kinds["hidden"].high / self.kinds["hidden"].unit)

    def ask(self, name: str, known: Tensor) -> Tensor:
        """continuous.Flow.ask, with the gradient of what it floors."""
        unit = self.kinds["sample"].unit
        seen = 4 * known
        seen = (seen + (seen.floor() - seen).detach()).clamp(-SEEN, SEEN) / unit
        inside = known.new_full((*known.shape[:3], 1), SEEN / unit)
        h = self.apply_layer(f"first.{name}", torch.cat([seen, inside], -1))
        limit = self.kinds["hidden"].high / self.kinds["hidden"].unit
        h = functional.hardtanh(h + self.apply_layer(f"middle.{name}", h), 0, limit)
        return self.apply_layer(f"out.{name}", h)

    def flow(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """y -> z, and the logarithm of how much the flow expands there, [N]: 0."""
        coarse, fine = y[..., :HALF], y[..., HALF:]
        for i in range(self.config.couplings):
            known, changed = (fine, coarse) if i % 2 else (coarse, fine)
            said = self.ask(f"coupling.{i}", known)
            powers = functional.pad(functional.hardtanh(said[..., : HALF - 1]), (1, 1))
            changed = changed * torch.exp(powers[..., :-1] - powers[..., 1:]) + said[..., HALF - 1 :]
            coarse, fine = (changed, fine) if i % 2 else (coarse, changed)
        return torch.cat([coarse, fine], -1), y.new_zeros(len(y))

    def dequantise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [N, h, w, 16] -> y, and the log density of y given x, [N]."""
        if not self.config.variational:
            return x + torch.rand_like(x), x.new_zeros(len(x))
        mean, ratio = self.ask("posterior", x).chunk(2, -1)
        mean, ratio = functional.hardtanh(mean, -4, 4), functional.hardtanh(ratio, 0, 95 / 16)
        noise = torch.randn_like(x)
        g = mean + torch.exp(-ratio) * noise
        log_q = 0.5 * (g**2 - noise**2) + ratio
        return x + torch.special.ndtr(g), log_q.flatten(1).sum(1)

    def forward(self, x: Tensor) -> Tensor:
        """-ELBO, nats of each item [N]. x: [N, h, w, 16], samples."""
        K, (y, log_q) = self.config.components, self.dequantise(x.float())
        z, expansion = self.flow(y)
        said = [self.ask(f"prior.{g}", z[..., :start]).unflatten(-1, (3, K, -1)) for g, start in enumerate(GROUPS[:-1])]
        logit, mean, log_scale = torch.cat(said, -1).unbind(-3)  # [N, h, w, K, 16]
        units = [self.kinds[kind].unit / (1 << self.config.bits) for kind in ("fine", *("level",) * (K - 1))]
        mean = mean * mean.new_tensor(units)[:, None]
        log_scale = functional.hardtanh(log_scale, -4, 6)
        t = (z[..., None, :] - mean) * torch.exp(-log_scale)
        log_p = torch.log_softmax(logit, -2) - log_scale - t.abs() - 2 * functional.softplus(-t.abs())
        log_p = torch.logsumexp(log_p, -2)
        floor = log_p.new_tensor((self.config.bits - 34) * math.log(2))  # of the integer tables
        return log_q - expansion - torch.logaddexp(log_p, floor).flatten(1).sum(1)


def cells(images: NDArray[np.integer]) -> NDArray[np.float32]:
    """[N, H, W] -> [N, h, w, 16], in the order of continuous.PLACES."""
    planes = [images[:, dy :: continuous.CELL, dx :: continuous.CELL] for dy, dx in continuous.PLACES]
    return np.stack(planes, -1).astype(np.float32)


def export(model: Floats, card: dict[str, Any]) -> Weights:
    """The integer network. Raises ModelError where a layer cannot be held within the exact range."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, spec in model.specs.items():
        weight, bias = (p.detach().double().cpu().numpy() for p in model.layer(name))
        column = np.tile([1 / model.kinds[k].unit for k, n in spec.inputs for _ in range(n)], spec.size**2)
        ends = [model.kinds[k] for k, n in spec.outputs for _ in range(n)]
        row, add = np.array([kind.unit for kind in ends]), np.array([kind.add for kind in ends])
        layer = quantise(weight * row[:, None] * column, bias * row + add, *model.config.ends(spec))
        tensors |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias, f"{name}.shift": layer.shift}
    return Weights(model.name, asdict(model.config), tensors | tables(model.config), card)


def tables(config: Config) -> dict[str, NDArray[np.int32]]:
    """The look-up tables of a model's weights."""
    t, c = mixture.Tables.make(), Cells.make(config.bits)
    steps = range(-SCALE_UNIT, SCALE_UNIT + 1)
    powers = np.array([round((1 << SCALE_BITS) * math.exp(i / SCALE_UNIT)) for i in steps], np.int32)
    made = {"sigmoid": t.sigmoid, "exponential": t.exponential, "inverse": t.inverse, "powers": powers}
    return made | {"edges": c.edges, "values": c.values, "normal": c.normal, "precision": c.precision}
