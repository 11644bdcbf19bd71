"""The causal family in floats: the network that is trained, and the features it sees.

Shapes: features are laid out [feature, pixel], so that a layer is one matrix product W @ x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lgcodec.models.adaptation import fit
from lgcodec.models.entropy import mixture
from lgcodec.models.errors import ModelError
from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.causal import online
from lgcodec.models.families.causal.on_native import features
from lgcodec.models.layers import learning
from lgcodec.models.layers.integer import quantise
from lgcodec.models.training.losses import COARSE, bits_per_dim, compand, logistic_mixture_nats
from lgcodec.models.weights import Weights

Layers = dict[str, tuple[Tensor, Tensor]]  # weight [O, I], bias [O], or [O, B] where each crop has its own
SEEN_UNITS = (1 / 32, 1 / 16, 1 / 16)  # of differences in Y, Co, Cg
RARE = -3.0  # logit that a new component of a mixture starts with


def _flat(a: Tensor) -> Tensor:
    """[B, C, H, W] -> [C, N], N = B H W."""
    return a.movedim(0, 1).flatten(1)


class Features:
    """One tile's features, kept padded as int16 so that any crop of it has its true context.

    x: int16 [3, H, W]. values [3, UP+H, LEFT+W+RIGHT]; predictions [2, 3, H, W], errors (padded) [2, 3, ...] and
    coupled [3, H, W] in Q3.
    """

    def __init__(self, x: NDArray[np.int16]) -> None:
        self.values = online.pad(x)
        self.predictions, self.coupled = features(x)
        margin = ((0, 0), (0, 0), (online.UP, 0), (online.LEFT, online.RIGHT))
        self.errors = np.pad(8 * x[None] - self.predictions, margin).astype(np.int16)
        self.height, self.width = x.shape[1:]

    @classmethod
    def of_plane(cls, x: NDArray[np.uint8]) -> Features:
        """Of a tile of one channel, [H, W]: what `Program` sees of the others is zero everywhere."""
        return cls(np.pad(x[None].astype(np.int16), ((0, 2), (0, 0), (0, 0))))

    def crop(self, y: int, x: int, height: int, width: int) -> list[NDArray[np.int16]]:
        far = np.s_[..., y : y + height + online.UP, x : x + width + online.LEFT + online.RIGHT]
        near = np.s_[..., y : y + height, x : x + width]
        return [
            self.values[far],
            self.errors[far],
            self.predictions[near],
            self.coupled[near],
            np.array([y, x], np.int16),
        ]


class Causal(nn.Module):
    """values [B, 3, H', W'], errors [B, 2, 3, H', W'], predictions [B, 2, 3, H, W], coupled [B, 3, H, W], place [B, 2]
    (row and column of the crop's corner) -> nats [planes].
    """

    def __init__(self, config: causal.Config) -> None:
        super().__init__()
        self.config = config
        self.planes = 3  # 1 for training on grey images alone
        self.offsets = config.neighbours()
        width, hidden, outputs = config.width, config.hidden, 3 * config.components + 1
        self.seen = 3 * len(self.offsets)
        inputs = self.seen + 6 * len(causal.ERRORS) + 3 + config.looks() + causal.GRID * config.grid
        self.first = nn.Linear(inputs, width)
        passed = width + len(causal.PASSED) * config.context
        self.middle = nn.ModuleList(nn.Linear(passed, width) for _ in range(config.depth))
        self.linear = nn.Parameter(torch.zeros(3, self.seen))
        self.head = nn.Linear(width, 3 * hidden)
        self.known = nn.ModuleList(nn.Linear(n, hidden, bias=False) for n in (2, 3))  # see `extras` below
        self.out = nn.ModuleList(nn.Linear(hidden, outputs) for _ in range(3))
        self.classed = config.classed()
        rows = sum(self.classed.values())
        self.classes = nn.Parameter(torch.zeros(config.classes, rows)) if rows else None  # see `tables`
        with torch.no_grad():
            self.first.weight[:, inputs - causal.GRID * config.grid :] = 0
            for layer in self._linears(self.out):
                layer.weight.mul_(0.1)
                layer.bias.zero_()

    def inputs(self, values: Tensor, errors: Tensor, predictions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """-> differences [seen, N] in pixels, other features [51, N], anchor [3, N] in Q3."""
        H, W = predictions.shape[-2:]
        anchor = _flat((predictions[:, 0] + predictions[:, 1]) >> 1)
        spread = _flat((predictions[:, 0] - predictions[:, 1]) >> 1)

        def shifted(a: Tensor, dy: int, dx: int) -> Tensor:
            return a[..., online.UP + dy :, online.LEFT + dx :][..., :H, :W]

        limit = causal.DIFFERENCE_LIMIT
        around = torch.stack([_flat(shifted(values, *o)) for o in self.offsets])  # [neighbours, 3, N]
        seen = (around * 8 - anchor).clamp_(-limit, limit).flatten(0, 1).float().div_(8)
        companded = compand(errors.flatten(1, 2).float())
        other = torch.cat([_flat(shifted(companded, *o)) for o in causal.ERRORS] + [compand(spread.float())])
        return seen, other, anchor

    def grid(self, place: Tensor, H: int, W: int) -> Tensor:
        """`causal.grid` of crops, in units: [GRID, N]."""
        ends = [causal.grid(np.arange(8), np.full(8, x)) for x in range(8)]
        table = torch.tensor(np.stack(ends, axis=1) / causal.COMPAND_UNIT, dtype=torch.float32, device=place.device)
        rows, cols = (
            ((place[:, i, None] + torch.arange(n, device=place.device)) % 8).long() for i, n in enumerate((H, W))
        )
        return _flat(table[rows[:, :, None], cols[:, None]].permute(0, 3, 1, 2))

    def looks(self, picture: Tensor, features: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor]:
        """-> the picture around relative to the anchor [3 places, N] and the features [side, N], in units."""
        H, W, R, limit = *features.shape[-2:], causal.SIDE_REACH, causal.DIFFERENCE_LIMIT
        around = torch.stack([_flat(picture[..., R + dy :, R + dx :][..., :H, :W]) for dy, dx in causal.SIDE_PLACES])
        unit = torch.tensor(SEEN_UNITS, device=anchor.device).view(-1, 1) / 8
        seen = (around - anchor).clamp_(-limit, limit).float() * unit
        return seen.flatten(0, 1), _flat(features)

    def passed(self, h: Tensor, shape: torch.Size) -> Tensor:
        """h [width, B H W], shape [B, ..., H, W] -> what a middle layer sees: h, and the features passed on."""
        if not self.config.context:
            return h
        B, H, W = shape[0], *shape[-2:]
        grid = nn.functional.pad(h[: self.config.context].view(-1, B, H, W), (1, 1, 1, 0))
        around = [grid[..., 1 + dy :, 1 + dx :][..., :H, :W].flatten(1) for dy, dx in causal.PASSED]
        return torch.cat([h, *around])

    @staticmethod
    def _linears(modules: nn.ModuleList) -> list[nn.Linear]:
        return [module for module in modules if isinstance(module, nn.Linear)]

    def layers(self) -> Layers:
        """The layers under the names and with the rows that the integer network has."""
        zero = torch.zeros(3, device=self.linear.device)
        layers = {"first": (self.first.weight, self.first.bias), "linear": (self.linear, zero)}
        layers |= {f"middle.{i}": (layer.weight, layer.bias) for i, layer in enumerate(self._linears(self.middle))}
        shared = zip(self.head.weight.chunk(3), self.head.bias.chunk(3), strict=True)
        for c, (weight, bias) in enumerate(shared):
            layers[f"head.{c}"] = (
                torch.cat([weight, self._linears(self.known)[c - 1].weight], 1) if c else weight,
                bias,
            )
            out = self._linears(self.out)[c]
            layers[f"out.{c}"] = (out.weight, out.bias)
        return layers

    def tables(self) -> dict[str, Tensor]:
        """What each class adds to the biases of the layers that tell classes apart, [classes, O]."""
        if self.classes is None:
            return {}
        return dict(zip(self.classed, self.classes.split(list(self.classed.values()), dim=1), strict=True))

    def conditioned(self, layers: Layers, labels: Tensor) -> Layers:
        """The layers with biases [O, B], to which the class of each crop, labels int64 [B], adds its own; -1: none."""
        added = {name: nn.functional.pad(table, (0, 0, 0, 1))[labels].T for name, table in self.tables().items()}
        return layers | {name: (layers[name][0], layers[name][1][:, None] + more) for name, more in added.items()}

    def forward(
        self,
        values: Tensor,
        errors: Tensor,
        predictions: Tensor,
        coupled: Tensor,
        place: Tensor,
        layers: Layers | None = None,
        side: tuple[Tensor, Tensor] | None = None,
        labels: Tensor | None = None,
        coloured: int | None = None,
    ) -> Tensor:
        """side: a picture [B, 3, R+H+R, R+W+R] in Q3, R = SIDE_REACH, and features [B, side, H, W] in units. labels:
        as in `conditioned`. coloured: how many crops, the first ones, have three channels; of the others only the
        first counts. None for all.
        """
        layers = self.layers() if layers is None else layers
        if labels is not None:
            layers = self.conditioned(layers, labels)
        K, width = self.config.components, self.config.width
        seen, other, anchor = self.inputs(values, errors, predictions)
        if side is not None:
            other = torch.cat([other, *self.looks(*side, anchor)])
        if self.config.grid:
            other = torch.cat([other, self.grid(place, *predictions.shape[-2:])])
        spread = _flat((predictions[:, 0] - predictions[:, 1]) >> 1).float() / 8
        x = _flat(values[..., online.UP :, online.LEFT : -online.RIGHT])
        k = _flat(coupled)
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            linear = layers["linear"][0] @ seen + layers["linear"][1][:, None]  # [3, N]
        unit = torch.tensor(SEEN_UNITS, device=seen.device).repeat(len(self.offsets)).view(-1, 1)
        half = torch.bfloat16 if torch.is_autocast_enabled(seen.device.type) else torch.float32

        def product(layer: tuple[Tensor, Tensor], a: Tensor) -> Tensor:
            bias = layer[1].to(half)[..., None]  # [O, 1], or [O, B, 1]
            if bias.ndim == 3:
                bias = bias.expand(-1, -1, a.shape[1] // bias.shape[1]).flatten(1)
            return torch.addmm(bias, layer[0].to(half), a)

        h = product(layers["first"], torch.cat([(seen * unit).to(half), other.to(half)])).relu()  # [width, N]
        for i in range(self.config.depth):
            h = h + product(layers[f"middle.{i}"], self.passed(h, predictions.shape)).relu()
        centre = anchor.float() / 8 + linear
        e = compand((x * 8 - anchor)[:2].float(), COARSE)
        expected = compand(k[1:].float())
        extras = ((), (e[:1], expected[:1]), (e, expected[1:]))  # what each channel's head knows besides h
        heads = [layers[f"head.{c}"] for c in range(self.planes)]
        joined = (torch.cat([w[:, :width] for w, _ in heads]), torch.cat([b for _, b in heads]))
        shared = product(joined, h).chunk(self.planes)
        nats = []
        for c in range(self.planes):
            n = None if c == 0 or coloured is None else coloured * predictions[0, 0, 0].numel()
            z = shared[c][:, :n]
            if c:
                z = torch.addmm(z, heads[c][0][:, width:].to(half), torch.cat(extras[c])[:, :n].to(half))
            q = product(layers[f"out.{c}"], z.relu()).float()  # [3 K + 1, n]
            mean = q[K : 2 * K] * causal.OFFSET + centre[c, :n] + q[3 * K] * spread[c, :n]
            if c:
                mean = torch.cat([mean[:1], mean[1:] + k[c, :n].float() / 8])
            log_scale = (q[2 * K : 3 * K] + causal.LOG_SCALE_BIAS).clamp(causal.LOG_SCALE_LOW, causal.LOG_SCALE_HIGH)
            nats.append(logistic_mixture_nats(x[c, :n].float(), q[:K], mean, log_scale, online.LOW[c], online.HIGH[c]))
        return torch.stack(nats)


def scales(config: causal.Config) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]:
    """Rows, columns and addend that turn float layers into integer units: W row[:, None] col, b row + add."""
    activation, companded = 2.0**config.fraction, 1.0 / causal.COMPAND_UNIT
    neighbours = len(config.neighbours())
    seen, other = np.tile(SEEN_UNITS, neighbours) / 8, np.full(6 * len(causal.ERRORS) + 3, companded)
    if config.side:
        looks = np.tile(SEEN_UNITS, len(causal.SIDE_PLACES)) / 8
        other = np.concatenate([other, looks, np.full(config.side, companded)])
    other = np.concatenate([other, np.full(causal.GRID * config.grid, companded)])
    h, wide = np.full(config.width, 1 / activation), np.full(config.width, activation)
    passed = np.full(config.width + len(causal.PASSED) * config.context, 1 / activation)
    result = {"first": (wide, np.concatenate([seen, other]), np.zeros(config.width))}
    result |= {f"middle.{i}": (wide, passed, np.zeros(config.width)) for i in range(config.depth)}
    result["linear"] = (np.full(3, float(mixture.MEAN_UNIT)), np.full(3 * neighbours, 1 / 8), np.zeros(3))
    unit, add = causal.output_units(config)
    for c in range(3):
        columns = np.concatenate([h, np.full(causal.EXTRAS[c], companded)])
        result[f"head.{c}"] = (np.full(config.hidden, activation), columns, np.zeros(config.hidden))
        result[f"out.{c}"] = (unit, np.full(config.hidden, 1 / activation), add)
    return result


def export(model: Causal, card: dict[str, Any]) -> Weights:
    """The integer network. Raises ModelError where a layer cannot be held within the exact range."""
    tensors: dict[str, NDArray[Any]] = {}
    limits, units = model.config.layers(), scales(model.config)
    classes = {name: table.detach().double().cpu().numpy() for name, table in model.tables().items()}
    for name, parts in model.layers().items():
        weight, bias = (p.detach().double().cpu().numpy() for p in parts)
        row, column, add = units[name]
        shift = learned_shift(row) if model.config.learners(name) else None
        if name in classes:
            biases = (bias + np.pad(classes[name], ((1, 0), (0, 0)))) * row + add
            layer = quantise(weight * row[:, None] * column, np.abs(biases).max(axis=0), *limits[name], shift)
            half = np.where(layer.shift > 0, 0.5, 0)
            bias, *more = np.rint((biases + half) * 2.0**layer.shift).astype(np.int32)  # none is beyond the largest
            layer = replace(layer, bias=bias)
            tensors[f"{name}.class"] = np.stack(more) - bias
        else:
            layer = quantise(weight * row[:, None] * column, bias * row + add, *limits[name], shift)
        tensors |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias, f"{name}.shift": layer.shift}
    tables = mixture.Tables.make()
    tensors |= {"sigmoid": tables.sigmoid, "exponential": tables.exponential, "inverse": tables.inverse}
    e = torch.arange(4096, dtype=torch.float64)
    for name, width in (("fine", 1.0), ("coarse", COARSE)):
        tensors[name] = (compand(e, width) * causal.COMPAND_UNIT).round().int().numpy()
    return Weights("causal", model.config.written(), tensors, card)


def learned_shift(row: NDArray[np.float64]) -> NDArray[np.int32]:
    """The shifts with which all rows of a layer have weights of the same unit, whatever their outputs' (`learning`)."""
    return (learning.FRACTION + learning.ACTIVATION - np.log2(row)).astype(np.int32)


def grow(model: Causal, network: causal.Network) -> None:
    """Starts a model from a trained network of no more in any size: what that computes is computed on (Chen et al.
    2016, Net2Net), while new units keep their random start, unseen by old ones. Raises ModelError.
    """
    old, new = network.config, model.config
    sizes = ("width", "depth", "hidden", "components", "context", "classes", "grid")
    if replace(new, learning=old.learning, rest=old.rest, **{n: getattr(old, n) for n in sizes}) != old or any(
        getattr(old, n) > getattr(new, n) for n in sizes
    ):
        raise ModelError(f"{new.written()} cannot start from a network of {old.written()}")

    def put(target: Tensor, rows: list[int], columns: list[int], source: Tensor) -> None:
        target[rows] = 0
        target[torch.tensor(rows)[:, None], torch.tensor(columns)] = source

    layers = float_layers(network)
    wide, hidden, seen = (list(range(n)) for n in (old.width, old.hidden, layers["first"][0].shape[1]))
    passed = [new.width + p * new.context + j for p in range(len(causal.PASSED)) for j in range(old.context)]
    outputs = [kind * new.components + k for kind in range(3) for k in range(old.components)] + [3 * new.components]
    with torch.no_grad():
        model.linear.copy_(layers["linear"][0])
        put(model.first.weight, wide, seen, layers["first"][0])
        model.first.bias[wide] = layers["first"][1]
        for i, layer in enumerate(model._linears(model.middle)):
            if i < old.depth:
                put(layer.weight, wide, wide + passed, layers[f"middle.{i}"][0])
                layer.bias[wide] = layers[f"middle.{i}"][1]
            else:
                layer.weight[wide] *= 0.1  # none at all, and relu would keep it so
        for c, out in enumerate(model._linears(model.out)):
            weight, bias = layers[f"head.{c}"]
            rows = [c * new.hidden + j for j in hidden]
            put(model.head.weight, rows, wide, weight[:, : old.width])
            model.head.bias[rows] = bias
            if c:
                model._linears(model.known)[c - 1].weight[hidden] = weight[:, old.width :]
            out.bias[old.components : new.components] = RARE
            put(out.weight, outputs, hidden, layers[f"out.{c}"][0])
            out.bias[outputs] = layers[f"out.{c}"][1]
        for name, table in network.classes.items():
            unit = scales(old)[name][0] * np.exp2(network.layers[name].shift)
            model.tables()[name][: old.classes, : table.shape[1]] = torch.tensor(table / unit)


class FloatNetwork(fit.FloatNetwork):
    """The floats of a network and its loss on some tiles, for `adaptation`. What sees features of other pixels keeps
    its matrix: a small change comes back larger from pixel to pixel.
    """

    LEAST, SIDE = 16, 64  # of a tile, of a crop

    def __init__(self, network: causal.Network, tiles: Sequence[causal.Tile]) -> None:
        self.tiles = [tile for tile in tiles if len(tile) == causal.CHANNELS and min(tile.shape[1:]) >= self.LEAST]
        self.layers, self.units, self.floats = network.layers, scales(network.config), float_layers(network)
        self.biases = set(network.layers)
        self.begin = bytes([causal.NO_CLASS] if network.config.classes else [])
        self.matrices = {n for n in self.biases if not (n.startswith("middle") and network.config.context)}
        self.model, self.features = Causal(network.config), [Features(tile) for tile in self.tiles]

    def loss(self, place: int, random: np.random.Generator, layers: Layers) -> Tensor:
        """Bits per dim of one crop: many small steps fit better in the same time than fewer of several crops."""
        f = self.features[place]
        side = min(self.SIDE, *(min(f.height, f.width) for f in self.features))
        corner = random.integers(f.height - side + 1), random.integers(f.width - side + 1)
        batch = [torch.from_numpy(part[None]) for part in f.crop(*corner, side, side)]
        return bits_per_dim(self.model(*batch, layers), side * side)


def float_layers(network: causal.Network) -> Layers:
    """The inverse of `export`, from integers to float layers."""
    result, units = {}, scales(network.config)
    for name, layer in network.layers.items():
        row, column, add = units[name]
        scale = np.exp2(-layer.shift.astype(np.float64))
        weight = layer.weight * scale[:, None] / (row[:, None] * column)
        bias = ((layer.bias * scale - np.where(layer.shift > 0, 0.5, 0)) - add) / row
        result[name] = (torch.tensor(weight, dtype=torch.float32), torch.tensor(bias, dtype=torch.float32))
    return result
