"""The VAE family in floats: the network that is trained, its bounds, and its export."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lgcodec.models import mixture, train, vae
from lgcodec.models.integer import quantise
from lgcodec.models.interface import TOTAL, Distribution, IntArray
from lgcodec.models.weights import Weights


class Floats(nn.Module):
    """The network, a vae.Machine of float tensors. Layers are matrices [O, size**2 I], columns ordered (dy, dx, I)."""

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
            mean, log_scale = functional.hardtanh(mean, -8, 8), -functional.hardtanh(width, 0, 95 / vae.RATIO_UNIT)
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


def evaluate(model: Floats, tiles: Sequence[NDArray[np.int16]], samples: int = 1) -> tuple[float, float]:
    """Mean bits per dim over batches of tiles [N, H, W, C] less CENTRE: -ELBO, the bound of `samples` samples."""
    model.eval()
    device = model.layer("enter")[0].device
    with torch.inference_mode():
        rates = [[b.mean().item() for b in bounds(model, torch.from_numpy(t).to(device), samples)] for t in tiles]
    model.train()
    elbo, tight = (
        float(np.mean([r / (math.log(2) * t[0].size) for r, t in zip(part, tiles, strict=True)]))
        for part in zip(*rates, strict=True)
    )
    return elbo, tight


def net_bits(model: vae.Model, tiles: list[NDArray[np.int16]], random: np.random.Generator) -> float:
    """What bits-back adds for tiles [C, H, W] of one shape, by the integer tables, for latents drawn at random."""

    def read(cdf: NDArray[np.uint32]) -> NDArray[np.int64]:
        symbols: NDArray[np.int64] = (cdf <= random.integers(0, TOTAL, (len(cdf), 1))).sum(axis=1) - 1
        return symbols

    def bits(known: Iterable[tuple[Distribution, IntArray]]) -> float:
        return math.fsum(part.ideal_bits() for table, symbols in known for part in table.intervals(symbols))

    def net(program: Any, value: Any) -> float:
        if not hasattr(program, "posterior"):
            return bits(program.symbols(value))
        steps = program.posterior(value).steps()
        try:
            distribution = next(steps)
            while True:
                distribution = steps.send(distribution.pop(read))
        except StopIteration as stop:
            z = stop.value
        spent = bits(program.likelihood(z).symbols(value)) - bits(program.posterior(value).symbols(z))
        return spent + net(program.prior(), z)

    return net(model.latent([(t.shape[0], t.shape[1], t.shape[2]) for t in tiles]), tiles)


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
    cells = vae.Cells.make(model.config.bits)
    tensors |= {"normal": cells.normal, "precision": cells.precision, "edges": cells.edges, "values": cells.values}
    return Weights("vae", vae.as_dict(model.config), tensors, card)


class Pictures:
    """Batches of random crops of augmented photographs."""

    def __init__(self, images: list[train.Pixels], rng: np.random.Generator, batch: int, size: int) -> None:
        self.images, self.rng, self.batch, self.size = images, rng, batch, size
        area = np.array([a.shape[0] * a.shape[1] for a in images], float)
        self.share = area / area.sum()
        self.tiles = [channels_last(train.planes(train.augment(a, rng))) for a in images]

    def __iter__(self) -> Iterator[list[Tensor]]:
        while True:
            i = int(self.rng.choice(len(self.images), p=self.share))
            self.tiles[i] = channels_last(train.planes(train.augment(self.images[i], self.rng)))
            crops = []
            for i in self.rng.choice(len(self.images), self.batch, p=self.share):
                tile = self.tiles[i]
                y, x = (self.rng.integers(side - self.size + 1) for side in tile.shape[:2])
                crops.append(tile[y : y + self.size, x : x + self.size])
            yield [torch.from_numpy(np.stack(crops))]


class Digits:
    """Batches of small images of one size, [N, H, W]."""

    def __init__(self, images: NDArray[np.uint8], rng: np.random.Generator, batch: int) -> None:
        self.images, self.rng, self.batch = images, rng, batch

    def __iter__(self) -> Iterator[list[Tensor]]:
        while True:
            order = self.rng.permutation(len(self.images))
            for start in range(0, len(order) - self.batch + 1, self.batch):
                yield [torch.from_numpy(small(self.images[order[start : start + self.batch]]))]


def channels_last(tile: NDArray[np.int16]) -> NDArray[np.int16]:
    """[C, H, W] -> [H, W, C], less CENTRE."""
    return np.ascontiguousarray(tile.transpose(1, 2, 0) - np.array(vae.CENTRE[: len(tile)], np.int16))


def first_channels(tiles: NDArray[np.int16]) -> list[NDArray[np.int16]]:
    """[N, H, W, C] less CENTRE -> [C, H, W] of each."""
    return list((tiles + np.array(vae.CENTRE[: tiles.shape[3]], np.int16)).transpose(0, 3, 1, 2))


def small(images: NDArray[np.uint8]) -> NDArray[np.int16]:
    """[N, H, W] -> [N, H, W, 1], less CENTRE."""
    return (images.astype(np.int16) - vae.CENTRE[0])[..., None]


HELD_OUT = 1000  # of the images in an array
BOUND_SAMPLES = 8  # of the bound that is reported beside the -ELBO


@click.command("vae")
@train.training_options
@click.option("--batch", default=32, show_default=True)
@click.option("--crop", default=64, show_default=True, help="Side of a crop of a photograph, pixels.")
@click.option("--latents", default="2/8", show_default=True, help="Channels of each group; grids from fine to coarse.")
@click.option("--scales", default=1, show_default=True)
@click.option("--width", default=32, show_default=True)
@click.option("--blocks", default=1, show_default=True)
@click.option("--hidden", default=48, show_default=True)
@click.option("--depth", default=1, show_default=True)
@click.option("--components", default=5, show_default=True)
@click.option("--reach", default=2, show_default=True)
@click.option("--bits", default=10, show_default=True)
@click.option("--fraction", default=6, show_default=True)
@click.option("--limit", default=1023, show_default=True)
@click.option("--warm-up", default=1000, show_default=True, help="Steps.")
@click.option("--free-bits", default=0.01, show_default=True)
@click.option("--samples", default=1, show_default=True, help="More than 1: train on the importance-weighted bound.")
def command(
    folders: tuple[Path, ...], held_out: Path, out: Path, minutes: float, device: str, threads: int, resume: bool,
    seed: int, batch: int, crop: int, latents: str, warm_up: int, free_bits: float, samples: int, **sizes: Any,
) -> None:  # fmt: skip
    """The VAE family. --data: folders of photographs, or one .npz whose `train` holds small grey images [N, H, W]."""
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    grids = tuple(tuple(int(n) for n in grid.split(",")) for grid in latents.split("/"))
    batches: Iterable[list[Tensor]]
    if folders[0].suffix == ".npz":
        channels, images = 1, np.load(folders[0])["train"]
        batches = Digits(images[:-HELD_OUT], rng, batch)
        held = [small(images[-HELD_OUT:])]
        pixels = images[:-HELD_OUT].size
    else:
        channels, photographs = 3, train.read_images(folders, crop)
        batches = Pictures(photographs, rng, batch, crop)
        pixels = sum(a.shape[0] * a.shape[1] for a in photographs)
        held = [channels_last(train.planes(a[:256, :256]))[None] for a in train.read_images([held_out], 256)[:16]]
    config = vae.Config(channels=channels, relative=int(channels == 3), latents=grids, **sizes)
    model = Floats(config).to(device)
    evaluate(model, [held[0][:1]])
    click.echo(f"{config}, {sum(p.numel() for p in model.parameters())} parameters")
    facts = {
        "images": len(images) - HELD_OUT if channels == 1 else len(photographs),
        "megapixels": round(pixels / 1e6, 1),
        "machine": f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "architecture": vae.as_dict(config),
        "multiply_adds_per_pixel": round(model.multiply_adds / held[0][0, ..., 0].size),
    }

    def write(run: train.Run) -> None:
        elbo, bound = evaluate(model, held, BOUND_SAMPLES)
        facts[f"iwae_{BOUND_SAMPLES}_bpd"] = round(bound, 4)
        click.echo(f"held out {bound:.4f} bits/dim as the importance-weighted bound of {BOUND_SAMPLES} samples")
        weights = export(model, facts)
        integers = vae.Model(weights, str(out), 255, "numpy", torch.get_num_threads())
        random = np.random.default_rng(seed)
        rates = [net_bits(integers, first_channels(batch), random) / batch.size for batch in held]
        run.report(weights, elbo, float(np.mean(rates)))

    objective = Objective(model, warm_up, free_bits, samples)
    run = train.Run(model, out, torch.device(device), train.optimisers(model), objective, write)
    if resume and run.checkpoint.exists():
        run.resume()
    objective.step = run.step
    train.train(run, batches, minutes)


if __name__ == "__main__":
    command()
