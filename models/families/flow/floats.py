"""The flow family in floats, and its export to integers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lgcodec.models.adaptation import fit
from lgcodec.models.entropy import mixture
from lgcodec.models.errors import ModelError
from lgcodec.models.families.flow import network as flow
from lgcodec.models.layers import integer
from lgcodec.models.training.losses import COARSE, compand, logistic_mixture_nats
from lgcodec.models.weights import Weights

SEEN_UNITS = (1 / 32, 1 / 16, 1 / 16)  # of differences in Y, Co, Cg
PLACE_UNIT = 1 / 8
Layers = dict[str, tuple[Tensor, Tensor]]  # weight [O, I], bias [O]


def _flat(a: Tensor) -> Tensor:
    """[B, C, h, w] -> [C, N], N = B h w."""
    return a.movedim(0, 1).flatten(1)


def _linears(modules: nn.ModuleList) -> list[nn.Linear]:
    return [module for module in modules if isinstance(module, nn.Linear)]


class Phase(nn.Module):
    """The network of one phase: t of the coupling and the prior of its latent, given the phases known before it."""

    def __init__(self, config: flow.Config, phase: int) -> None:
        super().__init__()
        C, width, hidden = config.channels, config.width, config.hidden
        self.config, self.phase = config, phase
        self.seen = C * len(config.window(phase))
        self.first = nn.Linear(self.seen + 2 * config.absolute, width)
        self.middle = nn.ModuleList(nn.Linear(width, width) for _ in range(config.depth))
        self.linear = nn.Linear(self.seen, C)
        self.head = nn.Linear(width, C * hidden)
        self.known = nn.ModuleList(nn.Linear(c, hidden, bias=False) for c in range(1, C))
        self.out = nn.ModuleList(nn.Linear(hidden, 3 * config.components + c) for c in range(C))
        with torch.no_grad():
            self.linear.weight.zero_()
            self.linear.bias.zero_()
            for layer in _linears(self.out):
                layer.weight.mul_(0.1)
                layer.bias.zero_()
                if config.absolute:
                    K = config.components
                    layer.bias[K : 2 * K] = torch.linspace(0, 255 / flow.OFFSET, K)

    def layers(self) -> Layers:
        """The layers under the names and with the rows that the integer network has."""
        C = self.config.channels
        layers: Layers = {
            "first": (self.first.weight, self.first.bias),
            "linear": (self.linear.weight, self.linear.bias),
        }
        layers |= {f"middle.{i}": (layer.weight, layer.bias) for i, layer in enumerate(_linears(self.middle))}
        known = [torch.empty(0), *(layer.weight for layer in _linears(self.known))]
        shared = zip(self.head.weight.chunk(C), self.head.bias.chunk(C), known, _linears(self.out), strict=True)
        for c, (weight, bias, more, out) in enumerate(shared):
            layers[f"head.{c}"] = (torch.cat([weight, more], 1) if c else weight, bias)
            layers[f"out.{c}"] = (out.weight, out.bias)
        return layers

    def forward(
        self, planes: list[Tensor], x: Tensor, place: Tensor, count: Tensor | None, layers: Layers | None = None
    ) -> Tensor:
        """Nats [C] of x, int [B, C, h, w], of which `count` says the positions that are coded, None for all.

        planes: int16, by parity, of the phases known so far, [B, C, h + 2 m, w + 2 m]; place: [2, N]; layers: instead
        of its own.
        """
        layers = self.layers() if layers is None else layers
        config, K, C = self.config, self.config.components, self.config.channels
        m = config.margin
        h, w = planes[0].shape[2] - 2 * m, planes[0].shape[3] - 2 * m

        def at(offset: tuple[int, int]) -> Tensor:
            parity, dy, dx = flow.locate(self.phase, offset)
            return _flat(planes[parity][..., m + dy : m + dy + h, m + dx : m + dx + w])

        around = torch.stack([at(o) for o in config.window(self.phase)])  # [neighbours, C, N]
        four = torch.stack([at(o) for o in flow.NEAREST[self.phase]]).sum(0, dtype=torch.int16)
        if config.absolute:
            four = torch.zeros_like(four)
        limit = flow.DIFFERENCE_LIMIT
        seen = (around * 4 - four).clamp_(-limit, limit).flatten(0, 1).float()  # Q2
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            weight, bias = layers["linear"]
            linear = torch.addmm(bias[:, None], weight / 4, seen)
        centre = four.float() / 4 + linear  # [C, N]
        half = torch.bfloat16 if torch.is_autocast_enabled(seen.device.type) else torch.float32

        def product(weight: Tensor, bias: Tensor, a: Tensor) -> Tensor:
            return torch.addmm(bias.to(half)[:, None], weight.to(half), a)

        unit = torch.tensor(SEEN_UNITS[:C], device=seen.device).repeat(len(around)).view(-1, 1) / 4
        a = seen.to(half) * unit.to(half)
        if config.absolute:
            a = torch.cat([a, (place * PLACE_UNIT).to(half)])
        values, c0 = _flat(x).float(), centre
        if count is not None:
            a, values, c0 = a[:, count], values[:, count], c0[:, count]
        g = product(*layers["first"], a).relu()
        for i in range(config.depth):
            g = g + product(*layers[f"middle.{i}"], g).relu()
        heads = [layers[f"head.{c}"] for c in range(C)]
        joined = torch.cat([w[:, : config.width] for w, _ in heads]), torch.cat([b for _, b in heads])
        shared = product(*joined, g).chunk(C)
        error = values - c0
        e = compand(error * 8, COARSE)
        result = []
        for c in range(C):
            u = shared[c]
            if c:
                u = torch.addmm(u, heads[c][0][:, config.width :].to(half), e[:c].to(half))
            if config.absolute:  # bfloat16 cannot place a spike on one of 256 values
                with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
                    weight, bias = layers[f"out.{c}"]
                    q = torch.addmm(bias[:, None], weight, u.relu().float())
            else:
                q = product(*layers[f"out.{c}"], u.relu()).float()  # [3 K + c, N]
            mean = q[K : 2 * K] * flow.OFFSET + c0[c]
            for j in range(c):
                mean = mean + q[3 * K + j] * error[j].clamp(-256, 256)
            log_scale = (q[2 * K : 3 * K] + flow.LOG_SCALE_BIAS).clamp(flow.LOG_SCALE_LOW, flow.LOG_SCALE_HIGH)
            low, high = flow.ORIGINS[c], flow.ORIGINS[c] + flow.SIZES[c] - 1
            result.append(logistic_mixture_nats(values[c], q[:K], mean, log_scale, low, high))
        return torch.stack(result)


class Flow(nn.Module):
    """Nats of images under the flow; the volume term of an integer flow is zero."""

    def __init__(self, config: flow.Config) -> None:
        super().__init__()
        self.config = config
        self.phases = nn.ModuleList(Phase(config, p) for _ in range(config.sets) for p in range(3))
        K = config.components
        self.last = nn.Parameter(torch.zeros(config.channels, 3, K))
        with torch.no_grad():
            self.last[:, 1] = torch.linspace(0, 1, K)
            self.last[:, 2] = 3 if config.absolute else 4

    def phase(self, number: int, phase: int) -> Phase:
        """The network of a phase in a set."""
        return cast(Phase, self.phases[3 * number + phase])

    def level(
        self, number: int, planes: list[Tensor], shape: tuple[int, int], padded: bool, layers: Layers | None = None
    ) -> Tensor:
        """Nats [C] of the three phases of one level.

        planes: int16, by parity (00, 01, 10, 11); where `padded` with their true margins, else [B, C, h, w] and of a
        plane `shape` high and wide. layers: instead of its own, named as in flow.Network.named.
        """
        config, m = self.config, self.config.margin
        chosen = min(number, config.sets - 1)
        h, w = planes[0].shape[2] - 2 * m * padded, planes[0].shape[3] - 2 * m * padded
        known: list[Tensor] = [planes[0] if padded else _pad(planes[0], m, h, w)] + [torch.empty(0)] * 3
        total = torch.zeros(config.channels, device=planes[0].device)
        for p, (py, px) in enumerate(flow.PHASES):
            parity = 2 * py + px
            rows, cols = (shape[0] + 1 - py) // 2, (shape[1] + 1 - px) // 2
            if rows == 0 or cols == 0:
                known[parity] = known[0]
                continue
            count = None
            if (rows, cols) != (h, w):
                real = torch.zeros(len(planes[0]), h, w, dtype=torch.bool)
                real[:, :rows, :cols] = True
                count = real.flatten().nonzero()[:, 0].to(planes[0].device)
            place = torch.empty(0)
            if config.absolute:
                scale = 2**number
                y = (2 * torch.arange(h) + py)[:, None].expand(h, w) * scale
                x = (2 * torch.arange(w) + px).expand(h, w) * scale
                place = torch.stack([y, x])[:, None].expand(2, len(planes[0]), h, w).flatten(1).to(planes[0].device)
                place = place.clamp(max=flow.PLACE_LIMIT)
            value = planes[parity]
            inner = value[..., m : m + h, m : m + w] if padded else value
            network, key = self.phase(chosen, p), f"{chosen}.{p}."
            own = layers and {name.removeprefix(key): layers[name] for name in layers if name.startswith(key)}
            total = total + network(known, inner, place, count, own)
            known[parity] = value if padded else _pad(value[..., :rows, :cols], m, h, w)
        return total

    def whole(self, x: Tensor, number: int = 0) -> Tensor:
        """Nats [C] of whole images, int16 [B, C, H, W], from level `number` on down to one sample."""
        total = torch.zeros(self.config.channels, device=x.device)
        while x.shape[2] * x.shape[3] > 1:
            shape = (x.shape[2], x.shape[3])
            even = functional.pad(x.float(), (0, shape[1] % 2, 0, shape[0] % 2)).to(torch.int16)
            planes = [even[..., py::2, px::2] for py in (0, 1) for px in (0, 1)]
            total = total + self.level(number, planes, shape, padded=False)
            x, number = planes[0], number + 1
        flat = _flat(x).float()
        result = []
        for c in range(self.config.channels):
            q = self.last[c][..., None].expand(-1, -1, flat.shape[1])
            mean = q[1] * flow.OFFSET * 32
            log_scale = (q[2] + flow.LOG_SCALE_BIAS).clamp(flow.LOG_SCALE_LOW, flow.LOG_SCALE_HIGH)
            low = flow.ORIGINS[c]
            result.append(logistic_mixture_nats(flat[c], q[0], mean, log_scale, low, low + flow.SIZES[c] - 1))
        return total + torch.stack(result)

    def bits(self, batch: list[Tensor], layers: Layers | None = None) -> Tensor:
        """Bits per dim of a batch: crops with margins of the first levels in turn, then whole coarse planes; or whole
        images alone. layers: see `level`, of crops.
        """
        result = torch.zeros((), device=batch[0].device)
        for number, x in enumerate(batch):
            if len(x) == 0:
                continue
            scale = 0.25**number / math.log(2)
            if number < len(batch) - 1:
                planes = [x[..., py::2, px::2] for py in (0, 1) for px in (0, 1)]
                m = self.config.margin
                shape = (x.shape[2] - 4 * m, x.shape[3] - 4 * m)
                nats = self.level(number, planes, shape, padded=True, layers=layers)
                pixels = len(x) * (x.shape[2] - 4 * m) * (x.shape[3] - 4 * m)
            else:
                nats = self.whole(x, number)
                pixels = len(x) * x.shape[2] * x.shape[3]
            result = result + nats.sum() * scale / (pixels * self.config.channels)
        return result


def _pad(a: Tensor, m: int, h: int, w: int) -> Tensor:
    """The last row and column repeated beyond the edges, [B, C, h + 2 m, w + 2 m]."""
    margins = (m, m + w - a.shape[3], m, m + h - a.shape[2])
    return functional.pad(a.float(), margins, mode="replicate").to(torch.int16)


def scales(
    config: flow.Config, phase: int
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]:
    """Rows, columns and addend that turn float layers into integer units: W row[:, None] col, b row + add."""
    activation, K = 2.0**config.fraction, config.components
    seen = np.tile(SEEN_UNITS[: config.channels], len(config.window(phase))) / 4
    place = np.full(2 * config.absolute, PLACE_UNIT)
    h, wide = np.full(config.width, 1 / activation), np.full(config.width, activation)
    result = {"first": (wide, np.concatenate([seen, place]), np.zeros(config.width))}
    result |= {f"middle.{i}": (wide, h, np.zeros(config.width)) for i in range(config.depth)}
    C = config.channels
    result["linear"] = (np.full(C, float(mixture.MEAN_UNIT)), np.full(len(seen), 1 / 4), np.zeros(C))
    units = (mixture.LOGIT_UNIT, flow.OFFSET * mixture.MEAN_UNIT, mixture.LOG_SCALE_UNIT)
    add = (flow.LOG_SCALE_BIAS - flow.LOG_SCALE_LOW) * mixture.LOG_SCALE_UNIT
    for c in range(C):
        columns = np.concatenate([h, np.full(c, 1 / flow.COMPAND_UNIT)])
        result[f"head.{c}"] = (np.full(config.hidden, activation), columns, np.zeros(config.hidden))
        row = np.concatenate([np.repeat(units, K), np.full(c, flow.SLOPE_UNIT)]).astype(float)
        addend = np.concatenate([np.zeros(2 * K), np.full(K, add), np.zeros(c)])
        result[f"out.{c}"] = (row, np.full(config.hidden, 1 / activation), addend)
    return result


def export(model: Flow, card: dict[str, Any]) -> Weights:
    """The integer network. Raises ModelError where a layer cannot be held within the exact range."""
    config = model.config
    tensors: dict[str, NDArray[Any]] = {}
    for s in range(config.sets):
        for p in range(3):
            limits, units = config.layers(p), scales(config, p)
            for name, parts in model.phase(s, p).layers().items():
                weight, bias = (part.detach().double().cpu().numpy() for part in parts)
                row, column, add = units[name]
                layer = integer.quantise(weight * row[:, None] * column, bias * row + add, *limits[name])
                key = f"{s}.{p}.{name}"
                tensors |= {f"{key}.weight": layer.weight, f"{key}.bias": layer.bias, f"{key}.shift": layer.shift}
    rows, addend = last_units()
    whole = np.rint(model.last.detach().double().cpu().numpy() * rows + addend)
    ends = np.array(flow.OUTPUT_ENDS)[:3, :, None]
    tensors["last"] = np.clip(whole, ends[:, 0], ends[:, 1]).astype(np.int32)
    tables = mixture.Tables.make()
    tensors |= {"sigmoid": tables.sigmoid, "exponential": tables.exponential, "inverse": tables.inverse}
    e = torch.arange(flow.COMPAND_SIZE, dtype=torch.float64)
    tensors["coarse"] = (compand(e, COARSE) * flow.COMPAND_UNIT).round().int().numpy()
    return Weights("flow", asdict(config), tensors, card)


def last_units() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factors and addends that turn the last sample's prior into integer units, [3, 1]."""
    rows = np.array([mixture.LOGIT_UNIT, 32 * flow.OFFSET * mixture.MEAN_UNIT, mixture.LOG_SCALE_UNIT])
    addend = np.array([0, 0, (flow.LOG_SCALE_BIAS - flow.LOG_SCALE_LOW) * mixture.LOG_SCALE_UNIT])
    return rows[:, None], addend[:, None]


def start(model: Flow, network: flow.Network) -> None:
    """Sets a model to what a trained network of its sizes computes: the inverse of `export`. Raises ModelError."""
    if dataclasses.replace(network.config, block=model.config.block) != model.config:
        raise ModelError(f"{model.config} cannot start from a network of {network.config}")
    with torch.no_grad():
        for s in range(model.config.sets):
            for p in range(3):
                units, phase = scales(model.config, p), model.phase(s, p)
                layers = {
                    name: tuple(map(torch.from_numpy, floats(layer, *units[name])))
                    for name, layer in network.layers[s][p].items()
                }
                for name, (weight, bias) in phase.layers().items():
                    if not name.startswith("head"):
                        weight.copy_(layers[name][0])
                        bias.copy_(layers[name][1])
                heads = [layers[f"head.{c}"] for c in range(model.config.channels)]
                phase.head.weight.copy_(torch.cat([weight[:, : model.config.width] for weight, _ in heads]))
                phase.head.bias.copy_(torch.cat([bias for _, bias in heads]))
                for known, (weight, _) in zip(_linears(phase.known), heads[1:], strict=True):
                    known.weight.copy_(weight[:, model.config.width :])
        rows, addend = last_units()
        model.last.copy_(torch.from_numpy((network.last - addend) / rows))


class FloatNetwork(fit.FloatNetwork):
    """The floats of a network and its loss on some tiles, for `adaptation`. Networks of the first levels are fitted:
    those of others see a sixteenth of the samples.
    """

    CROPS = (2, 1)  # of levels 0, 1
    SIDE, begin = 64, b""

    def __init__(self, network: flow.Network, tiles: Sequence[flow.Tile]) -> None:
        config, self.layers = network.config, network.named()
        least = 4 * config.margin + 8
        self.tiles = [tile for tile in tiles if len(tile) == config.channels and min(tile.shape[1:]) >= least]
        self.model = Flow(config)
        keys = {name: name.split(".", 2) for name in self.layers}
        self.units = {name: scales(config, int(p))[key] for name, (_, p, key) in keys.items()}
        parts = {name: floats(layer, *self.units[name]) for name, layer in self.layers.items()}
        self.floats = {name: (torch.tensor(w).float(), torch.tensor(b).float()) for name, (w, b) in parts.items()}
        self.biases = {name for name, (s, _, _) in keys.items() if int(s) < len(self.CROPS)}
        self.matrices = self.biases

    def loss(self, place: int, random: np.random.Generator, layers: Layers) -> Tensor:
        """Bits per dim of crops of the first levels."""
        tile, margin, batch = self.tiles[place], 4 * self.model.config.margin, []
        for level, count in enumerate(self.CROPS):
            plane, crops = tile[:, :: 2**level, :: 2**level], []
            side = min(self.SIDE, min(plane.shape[1:]) - margin) // 4 * 4 + margin
            for _ in range(count if side > margin else 0):
                top, left = (int(random.integers(n - side + 1)) for n in plane.shape[1:])
                crops.append(plane[:, top : top + side, left : left + side])
            batch.append(torch.from_numpy(np.array(crops, np.int16)))
        return self.model.bits([*batch, torch.empty(0)], layers)


def floats(
    layer: integer.Layer, row: NDArray[np.float64], column: NDArray[np.float64], add: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight and bias whose `integer.quantise`, in the units of `scales`, the layer is."""
    one = 2.0**layer.shift
    bias = np.where(layer.shift > 0, layer.bias / one - 0.5, layer.bias)  # half a unit rounds
    return layer.weight / (one * row)[:, None] / column, (bias - add) / row
