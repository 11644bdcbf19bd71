"""The VQ-VAE family in floats, and its export to integers."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lgcodec.models.entropy import mixture
from lgcodec.models.families.causal import floats as causal_training
from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.vqvae import network as vqvae
from lgcodec.models.families.vqvae.network import PATCH, PHASES, VECTOR_LIMIT
from lgcodec.models.layers.integer import quantise
from lgcodec.models.weights import Weights

SAMPLE_UNIT = 64.0  # of Y - 128, Co, Cg
FEATURE_LIMIT = causal.COMPAND_LIMIT / causal.COMPAND_UNIT


class Conv(nn.Module):
    """size x size convolution with zero padding on [B, H, W, I] -> [B, H, W, O]; weight [O, size size I]."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, gain: float = 1.0) -> None:
        super().__init__()
        self.inputs, self.outputs, self.size = inputs, outputs, size
        spread = gain / math.sqrt(size * size * inputs)
        self.weight = nn.Parameter(torch.randn(outputs, size * size * inputs) * spread)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, a: Tensor) -> Tensor:
        if self.size == 1:
            return nn.functional.linear(a, self.weight, self.bias)
        weight = self.weight.view(self.outputs, self.size, self.size, self.inputs).permute(0, 3, 1, 2)
        y = nn.functional.conv2d(a.permute(0, 3, 1, 2), weight, self.bias, padding=self.size // 2)
        return y.permute(0, 2, 3, 1)


ACTIVATION_LIMIT = 1023 / 64


def relu(a: Tensor) -> Tensor:
    """Clipped where the integers are."""
    return a.clamp(0, ACTIVATION_LIMIT)


class Block(nn.Module):
    """h -> relu(h + W relu(3x3 h))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide = Conv(width, width // 2, 3, 1.4)
        self.back = Conv(width // 2, width, 1, 0.3)

    def forward(self, h: Tensor) -> Tensor:
        return relu(h + self.back(relu(self.wide(h))))


def gather(a: Tensor, n: int) -> Tensor:
    """Space to depth: [B, H, W, C] -> [B, H/n, W/n, n n C]."""
    B, H, W, C = a.shape
    return a.reshape(B, H // n, n, W // n, n, C).transpose(2, 3).reshape(B, H // n, W // n, n * n * C)


def spread(a: Tensor, n: int) -> Tensor:
    """The inverse of `gather`."""
    B, H, W, C = a.shape
    return a.reshape(B, H, W, n, n, C // (n * n)).transpose(2, 3).reshape(B, H * n, W * n, C // (n * n))


class Codebook(nn.Module):
    """Vector quantisation with an averaged codebook (van den Oord et al. 2017, appendix A.1) reviving dead codes."""

    vectors: Tensor
    count: Tensor
    total: Tensor

    def __init__(self, entries: int, depth: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.randn(entries, depth))
        self.register_buffer("count", torch.zeros(entries))
        self.register_buffer("total", torch.zeros(entries, depth))
        self.step = 0

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z [..., depth] -> quantised (gradient passed straight through), indices [...], commitment loss."""
        flat = z.detach().float().reshape(-1, z.shape[-1])
        with torch.no_grad():
            score = flat @ self.vectors.T - self.vectors.square().sum(1) / 2
            index = score.argmax(1)
            if self.training:
                self._learn(flat, index)
        chosen = self.vectors[index].reshape(z.shape)
        loss = (z.float() - chosen).square().sum(-1).mean()
        return z + (chosen - z).detach(), index.reshape(z.shape[:-1]), loss

    def _learn(self, flat: Tensor, index: Tensor) -> None:
        decay = 0.98
        if self.step % 25 == 0:
            dead = (self.count < 0.05 * self.count.sum() / len(self.count)) | (self.count == 0)
            n = int(dead.sum())
            if n and (self.step < 25 or self.step > 100):
                picks = flat[torch.randint(len(flat), (n,), device=flat.device)]
                self.vectors[dead] = picks
                mean = max(float(self.count.sum()) / len(self.count), 1.0)
                self.count[dead], self.total[dead] = 0.3 * mean, picks * 0.3 * mean
        self.count.mul_(decay).index_add_(0, index, flat.new_full((len(index),), 1 - decay))
        self.total.mul_(decay).index_add_(0, index, flat * (1 - decay))
        live = self.count > 1e-4
        self.vectors[live] = self.total[live] / self.count[live, None]
        self.step += 1


class Base(nn.Module):
    """Two levels of codes (Razavi et al. 2019): 1/16, and 1/8 of the side given those."""

    def __init__(self, config: vqvae.Config) -> None:
        super().__init__()
        self.config = config
        W, D = config.width, config.depth
        self.patch = Conv(3 * PATCH * PATCH, W)
        self.encode = nn.Sequential(*(Block(W) for _ in range(config.encode_blocks)))
        self.up = Conv(4 * W, W)
        self.encode_top = nn.Sequential(*(Block(W) for _ in range(config.top_blocks)))
        self.z_top = Conv(W, D)
        self.top = Codebook(config.top, D)
        self.in_top = Conv(D, W)
        self.decode_top = nn.Sequential(*(Block(W) for _ in range(config.top_blocks)))
        self.down = Conv(W, 4 * W)
        self.z_bottom = Conv(2 * W, D)
        self.bottom = Codebook(config.bottom, D)
        self.in_bottom = Conv(D + W, W)
        self.decode = nn.Sequential(*(Block(W) for _ in range(config.decode_blocks)))
        self.picture = Conv(W, 3 * PATCH * PATCH, 1, 0.3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """x [B, H, W, 3]: (Y - 128, Co, Cg) / 64, sides multiples of 16."""
        h = self.encode(relu(self.patch(gather(x, PATCH))))
        top = self.encode_top(relu(self.up(gather(h, 2))))
        e_top, top_index, top_loss = self.top(self.z_top(top))
        t = self.condition(e_top)
        e_bottom, bottom_index, bottom_loss = self.bottom(self.z_bottom(torch.cat([h, t], -1)))
        d = self.hidden(e_bottom, t)
        return {
            "picture": spread(self.picture(d), PATCH), "top": top_index, "bottom": bottom_index,
            "top_loss": top_loss, "bottom_loss": bottom_loss, "t": t, "d": d,
        }  # fmt: skip

    def condition(self, e_top: Tensor) -> Tensor:
        """Embeddings of the top codes [B, h, w, D] -> [B, 2 h, 2 w, width]."""
        return spread(relu(self.down(self.decode_top(relu(self.in_top(e_top))))), 2)

    def hidden(self, e_bottom: Tensor, t: Tensor) -> Tensor:
        d: Tensor = self.decode(relu(self.in_bottom(torch.cat([e_bottom, t], -1))))
        return d


def rgb_error(a: Tensor) -> Tensor:
    """Difference in (Y, Co, Cg) [..., 3] -> in (R, G, B)."""
    y, co, cg = a.unbind(-1)
    low = y - cg / 2
    return torch.stack([low + co / 2, y + cg / 2, low - co / 2], -1)


def perplexity(index: Tensor, entries: int) -> float:
    p = torch.bincount(index.flatten(), minlength=entries).float()
    p = p / p.sum()
    return float(torch.exp(-(p * (p + 1e-12).log()).sum()))


class Prior(nn.Module):
    """The prior over the codes, on both levels: the phases of `vqvae.phases`, all in one pass."""

    def __init__(self, config: vqvae.Config) -> None:
        super().__init__()
        self.levels = nn.ModuleDict()
        for level, entries, given in (("top", config.top, 0), ("bottom", config.bottom, config.width)):
            layers = {
                str(i): Conv(config.depth * len(places) + given, config.prior)
                for i, (_, places) in enumerate(PHASES, 1)
            }
            if given:
                layers["0"] = Conv(given, config.prior)
            self.levels[level] = nn.ModuleDict({**layers, "out": Conv(config.prior, entries, 1, 0.1)})
        self.width = config.prior

    def forward(self, level: str, codes: Tensor, vectors: Tensor, t: Tensor | None) -> Tensor:
        """codes [B, h, w], their vectors [B, h, w, D] -> nats, summed."""
        layers, pad = cast(nn.ModuleDict, self.levels[level]), vqvae.PAD
        B, h, w = codes.shape
        known = vectors.new_zeros(B, h + 2 * pad, w + 2 * pad, vectors.shape[-1])
        nats = vectors.new_zeros(())
        for phase, reach, y, x in vqvae.phases(level):
            rows, cols = torch.arange(y, h, 2 * reach)[:, None], torch.arange(x, w, 2 * reach)
            if rows.numel() * cols.numel() == 0:
                continue
            places = PHASES[phase - 1][1] if phase else ()
            parts = [known[:, pad + rows + dy * reach, pad + cols + dx * reach] for dy, dx in places]
            parts += [] if t is None else [t[:, rows, cols]]
            if parts:
                hidden = relu(layers[str(phase)](torch.cat(parts, -1)))
            else:
                hidden = vectors.new_zeros(B, rows.numel(), cols.numel(), self.width)
            logits = layers["out"](hidden).float()
            nats = nats + nn.functional.cross_entropy(
                logits.flatten(0, 2), codes[:, rows, cols].flatten(), reduction="sum"
            )
            known = known.clone()
            known[:, pad + rows, pad + cols] = vectors[:, rows, cols]
        return nats


class Pixels(causal_training.Causal):
    """The causal network with what the codes show."""

    def __init__(self, config: vqvae.Config) -> None:
        super().__init__(config.pixels)
        self.features = Conv(config.width, config.pixels.side)
        self.activation = 2.0**config.fraction

    def forward(self, values, errors, predictions, coupled, place, picture, d):  # type: ignore[no-untyped-def, override]
        """As Causal; picture [B, H', W', 3] padded; d [B, ceil(H / 8), ceil(W / 8), width], integers."""
        H, W = predictions.shape[-2:]
        features = relu(self.features(d.float() / self.activation)).permute(0, 3, 1, 2).clamp(max=FEATURE_LIMIT)
        features = features.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)[..., :H, :W]
        side = (picture.permute(0, 3, 1, 2), features)
        return super().forward(values, errors, predictions, coupled, place, side=side)

    def start(self, network: causal.Network) -> None:
        """Takes over what a trained causal network of the same width knows; its first hidden layers, if it has more."""
        layers = causal_training.float_layers(network)
        with torch.no_grad():
            inputs = layers["first"][0].shape[1] - causal.GRID * network.config.grid
            self.first.weight[:, :inputs] = layers["first"][0][:, :inputs]
            self.first.weight[:, inputs:] *= 0.1
            self.first.bias[:] = layers["first"][1]
            self.linear[:] = layers["linear"][0]
            for i, layer in enumerate(self._linears(self.middle)):
                layer.weight[:], layer.bias[:] = layers[f"middle.{i}"]
            width = self.config.width
            self.head.weight[:] = torch.cat([layers[f"head.{c}"][0][:, :width] for c in range(3)])
            self.head.bias[:] = torch.cat([layers[f"head.{c}"][1] for c in range(3)])
            for c, out in enumerate(self._linears(self.out)):
                out.weight[:], out.bias[:] = layers[f"out.{c}"]
                if c:
                    self._linears(self.known)[c - 1].weight[:] = layers[f"head.{c}"][0][:, width:]


class SideFeatures(causal_training.Features):
    """One tile's features and what its codes show; crops begin where the codes' cells do."""

    def __init__(self, x: NDArray[np.int16], network: vqvae.Network) -> None:
        super().__init__(x)
        self.rows = network.config.rows
        codes = network.quantise(x)
        self.d = network.decode(codes).astype(np.int16)
        self.side = network.side(codes, x.shape)
        self.picture = self.side.padded()

    def crop(self, y: int, x: int, height: int, width: int) -> list[NDArray[np.int16]]:
        y, x = y - y % (self.rows or PATCH), x - x % PATCH
        band, y0 = divmod(y, self.rows or self.height)
        far = 2 * causal.SIDE_REACH
        picture = self.picture[y : y + height + far, x : x + width + far]
        d = self.d[band, y0 // PATCH : -(-(y0 + height) // PATCH), x // PATCH : -(-(x + width) // PATCH)]
        return [*super().crop(y, x, height, width), picture, d]


def normal(tile: NDArray[np.int16]) -> Tensor:
    """Planes [..., 3, H, W] -> what Base takes, [..., H, W, 3]."""
    x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(tile, -3, -1))).float()
    return (x - torch.tensor([128.0, 0, 0])) / SAMPLE_UNIT


def export(base: Base, prior: Prior, pixels: Pixels, card: dict[str, Any]) -> Weights:
    """The integer network. Raises ModelError where a layer cannot be held within the exact range."""
    config, activation = base.config, 2.0**base.config.fraction
    tensors: dict[str, NDArray[Any]] = {}
    units = {}
    for level, book in (("top", base.top), ("bottom", base.bottom)):
        vectors = book.vectors.double().cpu().numpy()
        units[level] = VECTOR_LIMIT / np.abs(vectors).max()
        tensors[f"vectors.{level}"] = np.rint(vectors * units[level]).astype(np.int16)
    modules: dict[str, nn.Module] = {name: m for name, m in base.named_modules() if isinstance(m, Conv)}
    modules["features"] = pixels.features
    for level, layers in prior.levels.items():
        modules |= {f"prior.{level}.{name}": layer for name, layer in cast(nn.ModuleDict, layers).items()}
    for name, (_, ends) in config.convolutions().items():
        layer = cast(Conv, modules[name])
        weight, bias = (p.detach().double().cpu().numpy() for p in (layer.weight, layer.bias))
        inputs = weight.shape[1]
        column, row, add = np.full(inputs, activation), activation, np.zeros(len(weight))
        level = "top" if name == "in_top" or name.startswith("prior.top") else "bottom"
        if name == "patch":
            column[:] = SAMPLE_UNIT
        elif name in ("in_top", "in_bottom"):
            column[: config.depth] = units[level]
        elif name in ("z_top", "z_bottom"):
            row = units[name[2:]]
        elif name == "features":
            row = float(causal.COMPAND_UNIT)
        elif name == "picture":
            row, add = 8 * SAMPLE_UNIT, np.tile([8.0 * 128, 0, 0], PATCH * PATCH)
        elif name.endswith(".out"):
            row = float(mixture.LOGIT_UNIT)
        elif name.startswith("prior"):
            column[: inputs - (config.width if level == "bottom" else 0)] = units[level]
        made = quantise(weight * (row / column), bias * row + add, *ends)
        tensors |= {f"{name}.weight": made.weight, f"{name}.bias": made.bias, f"{name}.shift": made.shift}
    tensors["exponential"] = mixture.Tables.make().exponential
    shown = causal_training.export(pixels, {}).tensors
    tensors |= {f"pixels.{name}": tensor for name, tensor in shown.items()}
    return Weights("vqvae", config.written(), tensors, card)
