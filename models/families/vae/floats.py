"""The VAE family in floats, and its export to integers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lgcodec.models.entropy import mixture
from lgcodec.models.entropy.cells import RATIO_UNIT, Cells
from lgcodec.models.families.vae import network as vae
from lgcodec.models.layers.integer import quantise
from lgcodec.models.weights import Weights


class Floats(nn.Module):
    """The network, a network.Run of float tensors. Layers are matrices [O, size**2 I], columns ordered (dy, dx, I)."""

    def __init__(self, config: vae.Config) -> None:
        super().__init__()
        self.config = config
        self.multiply_adds = 0  # so far
        self.kinds = config.kinds()
        self.specs = config.layers()
        for name, spec in self.specs.items():
            O, I = (sum(n for _, n in ends) for ends in (spec.outputs, spec.inputs))
            weight = torch.randn(O, I * spec.size**2) * (I * spec.size**2) ** -0.5
            bias = torch.zeros(O)
            if name.startswith(("out", "linear")) or name.endswith("last"):
                weight *= 0.1
            if name.startswith("out") and not name.startswith("out.posterior"):
                K = config.components
                if spec.outputs[1][0] == "level":
                    bias[K : 2 * K] = torch.linspace(-2, 2, K)
                    bias[2 * K :] = 1.0
            self.register_parameter(f"{name}.weight".replace(".", "/"), nn.Parameter(weight))
            self.register_parameter(f"{name}.bias".replace(".", "/"), nn.Parameter(bias))

    def layer(self, name: str) -> tuple[Tensor, Tensor]:
        weight, bias = (self.get_parameter(f"{name}.{part}".replace(".", "/")) for part in ("weight", "bias"))
        return weight, bias

    def enter(self, kind: str, a: Tensor) -> Tensor:
        k = self.kinds[kind]
        return a.clamp(k.low, k.high) / k.unit

    def apply(self, name: str, *inputs: Tensor) -> Tensor:  # type: ignore[override]
        (weight, bias), spec = self.layer(name), self.specs[name]
        a = inputs[0] if len(inputs) == 1 else self.join(inputs)
        self.multiply_adds += a.shape[:3].numel() * weight.numel()
        if spec.size == 1:
            a = functional.linear(a, weight, bias)
        else:
            kernel = weight.view(len(weight), spec.size, spec.size, -1).permute(0, 3, 1, 2)
            a = functional.conv2d(a.permute(0, 3, 1, 2), kernel, bias, padding=spec.size // 2).permute(0, 2, 3, 1)
        kind = self.kinds[spec.outputs[0][0]]
        if spec.outputs[0][0] == "hidden":
            a = functional.hardtanh(a, 0, kind.high / kind.unit)  # unlike clamp, fast backwards
        return a

    def add(self, h: Tensor, change: Tensor) -> Tensor:
        kind = self.kinds["stream"]
        return functional.hardtanh(h + change, kind.low / kind.unit, kind.high / kind.unit)

    def window(self, a: Tensor) -> Tensor:
        r = self.config.reach
        H, W = a.shape[1:3]
        padded = functional.pad(a.permute(0, 3, 1, 2), (r, r, r, r), mode="replicate").permute(0, 2, 3, 1)
        around = range(2 * r + 1)
        return torch.cat([padded[:, dy : dy + H, dx : dx + W] for dy in around for dx in around], -1)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts), -1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x: int16 or float [N, H, W, C] less CENTRE -> nats of the pixels given one sample of the latents [N], and the
        divergence of each group's posterior from the prior, nats [N] each.
        """
        h, divergences, _ = self.latents(x)
        return self.pixels(x, h), divergences

    def latents(self, x: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """-> h, the divergence of each group [N], and the log of prior over posterior at the sample, summed [N]."""
        x = x.float()
        e = vae.encode(self, self.config, x)
        h = torch.zeros_like(e[-1])
        divergences, ratio = [], torch.zeros(len(x), device=x.device)
        for group in vae.groups(self.config):
            mean, width = vae.posterior(self, group, h, e).float().chunk(2, -1)
            mean, log_scale = functional.hardtanh(mean, -8, 8), -functional.hardtanh(width, 0, 95 / RATIO_UNIT)
            noise = torch.randn_like(mean)
            z = mean + log_scale.exp() * noise
            divergence = 0.5 * (mean**2 + (2 * log_scale).exp() - 1) - log_scale
            divergences.append(divergence.flatten(1).sum(1))
            ratio = ratio + (0.5 * (noise**2 - z**2) + log_scale).flatten(1).sum(1)
            h = vae.descend(self, self.config, group, h, z.clamp(-4, 4))
        return h, divergences, ratio

    def pixels(self, x: Tensor, h: Tensor) -> Tensor:
        """Nats of x [N, H, W, C] given h, [N]."""
        x, K = x.float(), self.config.components
        planes = phases(x, self.config.scales)
        parts: list[tuple[Tensor, ...]] = []
        steps = vae.pixels(self, self.config, h)
        step = next(steps)
        try:
            while True:
                c, value = step.channel, planes[step.scale][step.phase][..., step.channel]
                kind = self.specs[f"out.{step.scale}.{step.phase}.{c}"].outputs[1][0]
                centre = step.anchor / 4
                if step.linear is not None:
                    centre = centre + step.linear * (self.kinds["linear"].unit / mixture.MEAN_UNIT)
                ends = vae.ORIGINS[c] - vae.CENTRE[c] + torch.tensor([0.0, vae.SIZES[c] - 1.0], device=x.device)
                unit = ends.new_tensor(self.kinds[kind].unit / mixture.MEAN_UNIT)
                known = (value.flatten(1), centre.flatten(1), step.out.flatten(1, 2))
                parts.append((*known, *(a.expand(known[0].shape[1]) for a in (unit, *ends))))
                step = steps.send(value)
        except StopIteration:
            pass
        # all pixels at once: many small operations are what training here would otherwise wait for
        x, centre, out, unit, low, high = (torch.cat([part[i] for part in parts], 0 if i > 2 else 1) for i in range(6))
        mean = out[..., K : 2 * K] * unit[:, None] + centre[..., None]
        log_scale = functional.hardtanh(out[..., 2 * K :] + 1, -4, 6)
        return logistic_mixture_nats(x, out[..., :K], mean, log_scale, low, high).sum(1)


def phases(x: Any, scales: int) -> list[list[Any]]:
    """The phases [N, H, W, C] of each scale, from coarse to fine, in the order of coding."""
    result: list[list[Any]] = []
    for _ in range(scales):
        result.insert(0, [x[:, dy::2, dx::2] for dy, dx in vae.PHASES])
        x = x[:, ::2, ::2]
    return result


def logistic_mixture_nats(
    x: Tensor, logit: Tensor, mean: Tensor, log_scale: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    """Nats of x [...] in low..high under mixtures of K discretised logistics [..., K] (PixelCNN++, eq. 2)."""
    inverse = torch.exp(-log_scale)
    upper, lower = torch.where(x >= high, 1e6, x + 0.5)[..., None], torch.where(x <= low, -1e6, x - 0.5)[..., None]
    above, below = torch.sigmoid((upper - mean) * inverse), torch.sigmoid((lower - mean) * inverse)
    log_p = torch.logsumexp(torch.log_softmax(logit, -1) + torch.log((above - below).clamp_min(1e-9)), -1)
    # The integer tables give no symbol less than 2**-24: say the same here, so that training does not fear the tails.
    return -torch.log(torch.exp(log_p) * (1 - 2e-5) + 4e-8)


def bounds(model: Floats, x: Tensor, samples: int = 1) -> tuple[Tensor, Tensor]:
    """-ELBO and the importance-weighted bound of `samples` samples (Burda et al. 2016), nats of each item [N]."""
    nats, weights = [], []
    for _ in range(samples):
        h, divergences, ratio = model.latents(x)
        likelihood = model.pixels(x, h)
        nats.append(likelihood + sum(divergences))
        weights.append(ratio - likelihood)
    tight = math.log(samples) - torch.logsumexp(torch.stack(weights), 0)
    return torch.stack(nats).mean(0), tight


@dataclass
class Objective:
    """-ELBO, or the importance-weighted bound, with what keeps latents in use, in bits per dim.

    warm_up: steps until latents cost what they will cost, from a tenth on (Sønderby et al. 2016). free_bits: of each
    latent that cost nothing, averaged over a group and the batch (Kingma et al. 2016). samples: of the bound.
    """

    model: Floats
    warm_up: int
    free_bits: float
    samples: int
    step: int = 0

    def __call__(self, parts: list[Tensor]) -> Tensor:
        x, device = parts[0], parts[0].device.type
        self.step += 1
        with torch.autocast(device, enabled=False):  # half precision buys little in networks of this width
            if self.samples > 1:
                nats = bounds(self.model, x, self.samples)[1].mean()
            else:
                likelihood, divergences = self.model(x)
                scale = min(1.0, 0.1 + 0.9 * self.step / max(1, self.warm_up))
                nats = likelihood.mean()
                for group, divergence in zip(vae.groups(self.model.config), divergences, strict=True):
                    cell = self.model.config.unit >> (len(self.model.config.latents) - 1 - group.grid)
                    latents = group.n * x[0, ..., 0].numel() / cell**2
                    nats = nats + scale * divergence.mean().clamp_min(self.free_bits * math.log(2) * latents)
        return nats / (math.log(2) * x[0].numel())


def export(model: Floats, card: dict[str, Any]) -> Weights:
    """The integer network. Raises ModelError where a layer cannot be held within the exact range."""
    tensors: dict[str, NDArray[Any]] = {}
    kinds = model.kinds
    for name, spec in model.specs.items():
        weight, bias = (p.detach().double().cpu().numpy() for p in model.layer(name))
        column = np.tile([1 / kinds[k].unit for k, n in spec.inputs for _ in range(n)], spec.size**2)
        ends = [kinds[k] for k, n in spec.outputs for _ in range(n)]
        row, add = np.array([kind.unit for kind in ends]), np.array([kind.add for kind in ends])
        layer = quantise(weight * row[:, None] * column, bias * row + add, *vae.limits(model.config, spec))
        tensors |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias, f"{name}.shift": layer.shift}
    tables = mixture.Tables.make()
    tensors |= {"sigmoid": tables.sigmoid, "exponential": tables.exponential, "inverse": tables.inverse}
    cells = Cells.make(model.config.bits)
    tensors |= {"normal": cells.normal, "precision": cells.precision, "edges": cells.edges, "values": cells.values}
    return Weights("vae", vae.as_dict(model.config), tensors, card)
