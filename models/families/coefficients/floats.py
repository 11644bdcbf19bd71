"""The coefficients family in floats, and its export to integers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lgcodec.models.entropy import mixture
from lgcodec.models.families.coefficients.network import (
    COUNT,
    DC,
    FEATURE_LIMIT,
    FEATURE_UNIT,
    HEADS,
    LINEAR,
    LOOKS,
    PHASES,
    PREDICTIONS,
    Config,
    compand_table,
    ends,
)
from lgcodec.models.layers.integer import quantise
from lgcodec.models.weights import Weights


@dataclass(frozen=True)
class Rows:
    """Samples of all heads of one kind, padded: [HEADS, n, ..]. x, step, predictions (steps): float; row: int64."""

    linear: Tensor
    features: Tensor
    row: Tensor
    predictions: Tensor
    step: Tensor
    x: Tensor

    def to(self, device: str) -> Rows:
        return Rows(*(getattr(self, field.name).to(device) for field in fields(self)))


class Heads(nn.Module):
    """The networks of one kind of component, side by side: a batched product for each layer."""

    def __init__(self, config: Config, kind: str) -> None:
        super().__init__()
        self.config, self.kind = config, kind
        looks, K = LOOKS[kind], config.components
        self.inputs = max(look.linear_inputs() for look in looks)
        self.features = max(look.features() for look in looks)
        self.seen = [look.features() for look in looks]
        outputs = 3 * K + 2 * PREDICTIONS

        def matrix(outputs: int, inputs: int, scale: float = 1.0) -> nn.Parameter:
            return nn.Parameter(torch.randn(HEADS, inputs, outputs) * scale * inputs**-0.5)

        self.linear = nn.Parameter(torch.randn(HEADS, self.inputs, LINEAR * len(PHASES)) * 0.02)
        with torch.no_grad():
            self.linear[COUNT, :2] = 0.5
            self.linear[DC, :3] = torch.tensor([0.75, 0.75, -0.5])[:, None]  # W, N, NW
        self.first, self.first_bias = (
            matrix(config.first, self.features),
            nn.Parameter(torch.zeros(HEADS, 1, config.first)),
        )
        self.second = matrix(config.second, config.first, 1.4)
        self.second_bias = nn.Parameter(torch.zeros(HEADS, 1, config.second))
        self.out = matrix(outputs, config.second, 0.3)
        bias = torch.zeros(HEADS, 1, outputs)
        bias[..., 2 * K : 3 * K] = torch.linspace(-1, 1, K)
        bias[DC, :, 2 * K : 3 * K] += 2
        bias[COUNT, :, 2 * K : 3 * K] += 2
        for part in range(LINEAR):
            bias[1:DC, :, 3 * K + PREDICTIONS + part] = 1 / LINEAR
        self.out_bias = nn.Parameter(bias)

    def forward(self, rows: Rows) -> Tensor:
        """Mean bits of each head's samples, [HEADS]."""
        K = self.config.components
        out = torch.bmm(rows.linear, self.linear).unflatten(-1, (len(PHASES), LINEAR))  # [HEADS, n, phases, LINEAR]
        place = rows.row[..., None, None].expand(*rows.row.shape, 1, LINEAR)
        linear = out.gather(2, place)[..., 0, :] / rows.step[..., None]
        size = (torch.log1p(linear.abs() * 4) * 0.88).clamp(max=FEATURE_LIMIT / FEATURE_UNIT)
        a = torch.cat([torch.sign(linear) * size, size, rows.features], -1)
        h = torch.relu(torch.bmm(a, self.first) + self.first_bias)
        h = torch.relu(torch.bmm(h, self.second) + self.second_bias)
        q = torch.bmm(h, self.out) + self.out_bias
        base = torch.zeros_like(linear[..., 0])
        base[[COUNT, DC]] = linear[[COUNT, DC], :, 0]
        predictions = torch.cat([linear, rows.predictions], -1) - base[..., None]
        gates = q[..., 3 * K :].unflatten(-1, (2, PREDICTIONS))
        moved = (gates * predictions[..., None, :]).sum(-1)
        mean = q[..., K : 2 * K] + base[..., None]
        mean = mean + torch.cat([moved[..., :1], moved[..., 1:].expand(*moved.shape[:-1], K - 1)], -1)
        log_scale = (q[..., 2 * K : 3 * K]).clamp(-4, 6)
        inverse = torch.exp(-log_scale)
        x = rows.x[..., None]
        # sigmoids' difference, whose logarithm is exact in the tails
        centre, half = (x - mean).abs() * inverse, 0.5 * inverse
        # log(s(c + h) - s(c - h)) = -(c - h) + log(1 - exp(-2h)) - softplus(-(c - h)) - softplus(-(c + h)), of c >= 0
        above, below = centre + half, centre - half
        log_p = torch.log(-torch.expm1(-2 * half)) - below
        log_p = log_p - nn.functional.softplus(-below) - nn.functional.softplus(-above)
        log_p = torch.logsumexp(torch.log_softmax(q[..., :K], -1) + log_p, -1)
        p = torch.exp(log_p) * (1 - 2e-4) + 6e-8
        return -torch.log2(p).mean(1)


class Model(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.luma, self.chroma = Heads(config, "luma"), Heads(config, "chroma")


def export(model: Model, card: dict[str, Any]) -> Weights:
    """The integers of a trained model."""
    config, tensors = model.config, dict[str, Any]()
    kinds = config.kinds()
    limits, specs = ends(config), config.layers()
    for heads in (model.luma, model.chroma):
        for layer in ("linear", "first", "second", "out"):
            made, weights = [], getattr(heads, layer).detach().double().numpy()
            biases = np.zeros((HEADS, 1, 1)) if layer == "linear" else getattr(heads, f"{layer}_bias")
            for head in range(HEADS):
                name = f"{heads.kind}.{head}.{layer}"
                spec = specs[name]
                row, add = (
                    np.concatenate([np.full(n, getattr(kinds[k], w)) for k, n in spec.outputs]) for w in ("unit", "add")
                )
                column = np.concatenate([np.full(n, kinds[kind].unit) for kind, n in spec.inputs])
                weight, bias = (
                    weights[head].T[:, : len(column)],
                    np.asarray(biases[head, 0].detach() if layer != "linear" else biases[head, 0]),
                )
                made.append(quantise(weight * row[:, None] / column, bias * row + add, *limits[name]))
            inputs = max(m.weight.shape[1] for m in made)
            padded = [np.pad(m.weight, ((0, 0), (0, inputs - m.weight.shape[1]))) for m in made]
            tensors[f"{heads.kind}.{layer}.weight"] = np.stack(padded)
            tensors[f"{heads.kind}.{layer}.bias"] = np.stack([m.bias for m in made])
            tensors[f"{heads.kind}.{layer}.shift"] = np.stack([m.shift for m in made])
    tensors["compand"] = compand_table()
    tables = mixture.Tables.make()
    for table in ("sigmoid", "exponential", "inverse"):
        tensors[table] = getattr(tables, table)
    return Weights("coefficients", config.written(), tensors, card)
