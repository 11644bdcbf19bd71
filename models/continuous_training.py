"""The continuous family in floats: the flow that is trained, its bound, and its export."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lgcodec.models import continuous, mixture, train
from lgcodec.models.continuous import CHANNELS, GROUPS, HALF, SCALE_BITS, SCALE_UNIT, SEEN, Config
from lgcodec.models.integer import quantise
from lgcodec.models.vae import Cells
from lgcodec.models.vae_training import HELD_OUT, net_bits
from lgcodec.models.weights import Weights


class Floats(nn.Module):
    """The continuous flow. --data: one .npz whose `train` holds small grey images [N, H, W], sides multiples of 4."""

    # Layers are matrices [O, size**2 I], columns ordered (dy, dx, I). y, z: in steps of samples.

    family: ClassVar[ModuleType] = continuous

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


def batches(images: NDArray[np.uint8], rng: np.random.Generator, batch: int) -> Iterator[list[Tensor]]:
    while True:
        order = rng.permutation(len(images))
        for start in range(0, len(order) - batch + 1, batch):
            yield [torch.from_numpy(cells(images[order[start : start + batch]]))]


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
    name = model.family.__name__.rpartition(".")[2]
    return Weights(name, asdict(model.config), tensors | tables(model.config), card)


def tables(config: Config) -> dict[str, NDArray[np.int32]]:
    """The look-up tables of a model's weights."""
    t, c = mixture.Tables.make(), Cells.make(config.bits)
    steps = range(-SCALE_UNIT, SCALE_UNIT + 1)
    powers = np.array([round((1 << SCALE_BITS) * math.exp(i / SCALE_UNIT)) for i in steps], np.int32)
    made = {"sigmoid": t.sigmoid, "exponential": t.exponential, "inverse": t.inverse, "powers": powers}
    return made | {"edges": c.edges, "values": c.values, "normal": c.normal, "precision": c.precision}


def evaluate(model: Floats, images: NDArray[np.uint8]) -> float:
    """-ELBO, bits per dim."""
    device = model.layer("out.prior.0")[0].device
    with torch.inference_mode():
        nats = model(torch.from_numpy(cells(images)).to(device)).sum().item()
    return float(nats / math.log(2) / images.size)


def family_command(name: str, kind: type[Floats]) -> click.Command:
    """The training command of a family with these networks."""
    defaults = kind.family.Config

    @click.command(name, help=kind.__doc__)
    @train.training_options
    @click.option("--batch", default=32, show_default=True)
    @click.option("--bits", default=defaults.bits, show_default=True)
    @click.option("--couplings", default=defaults.couplings, show_default=True)
    @click.option("--width", default=defaults.width, show_default=True)
    @click.option("--components", default=defaults.components, show_default=True)
    @click.option("--variational", default=defaults.variational, show_default=True, help="0: uniform dequantisation.")
    def command(
        folders: tuple[Path, ...], held_out: Path, out: Path, minutes: float, device: str, threads: int, resume: bool,
        seed: int, batch: int, **sizes: Any,
    ) -> None:  # fmt: skip
        if threads:
            torch.set_num_threads(threads)
        torch.manual_seed(seed)
        config, images = defaults(**sizes), np.load(folders[0])["train"]
        if images.ndim != 3 or images.shape[1] % continuous.CELL or images.shape[2] % continuous.CELL:
            raise click.ClickException(f"{folders[0]}: expected images [N, H, W] with sides that are multiples of 4")
        held = images[-HELD_OUT:]
        model = kind(config).to(device)
        facts = {
            "images": len(images) - HELD_OUT,
            "megapixels": round(images[:-HELD_OUT].size / 1e6, 1),
            "machine": f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}",
            "architecture": asdict(config),
            "multiply_adds_per_pixel": round(sum(model.layer(name)[0].numel() for name in model.specs) / CHANNELS),
        }
        click.echo(f"{config}, {sum(p.numel() for p in model.parameters())} parameters")

        def loss(parts: list[Tensor]) -> Tensor:
            with torch.autocast(parts[0].device.type, enabled=False):
                bits: Tensor = model(parts[0]).mean() / (math.log(2) * parts[0][0].numel())
            return bits

        def write(run: train.Run) -> None:
            weights = export(model, facts)
            integers: Any = kind.family.Model(weights, str(out), 255, "numpy", torch.get_num_threads())
            tiles = list(held[:, None].astype(np.int16))
            rates = [
                net_bits(integers, tiles[i : i + 100], np.random.default_rng(i)) for i in range(0, len(tiles), 100)
            ]
            run.report(weights, evaluate(model, held), sum(rates) / held.size)

        run = train.Run(model, out, torch.device(device), train.optimisers(model), loss, write)
        if resume and run.checkpoint.exists():
            run.resume()
        train.train(run, batches(images[:-HELD_OUT], np.random.default_rng(seed), batch), minutes)

    return command


command = family_command("continuous", Floats)
