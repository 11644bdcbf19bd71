"""The VQ-VAE family in floats: the base network, the prior over its codes, and how both are trained.

Shapes: pictures are [B, H, W, channels] (channels last), so that a convolution's weight is one matrix [O, (dy, dx, I)].
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lgcodec.models import registry
from lgcodec.models.entropy.program import ideal_bits
from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.causal.model import on_machine
from lgcodec.models.families.causal.program import Program
from lgcodec.models.families.causal.training import LEARNING, REST, is_other
from lgcodec.models.families.vqvae import network as vqvae
from lgcodec.models.families.vqvae.floats import (
    SAMPLE_UNIT,
    Base,
    Pixels,
    Prior,
    SideFeatures,
    export,
    normal,
    perplexity,
    rgb_error,
)
from lgcodec.models.families.vqvae.network import PATCH
from lgcodec.models.families.vqvae.program import BaseProgram
from lgcodec.models.interface import ExplicitCoding
from lgcodec.models.layers import learning
from lgcodec.models.machines.choose import choose
from lgcodec.models.training import processes
from lgcodec.models.training import run as train
from lgcodec.models.training.images import Photograph, augment, cut, find, planes, read_images
from lgcodec.models.training.losses import bits_per_dim
from lgcodec.models.training.optimisers import optimisers
from lgcodec.models.training.options import training_options
from lgcodec.models.training.pool import Pool
from lgcodec.models.weights import Weights

Tile = NDArray[np.int16]
MSE_WEIGHT, COMMITMENT = 3.0, 0.05


T = TypeVar("T")
Augment = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]


class Small:
    """Small images, `rows` rows each, stacked to tiles [3, H, W], which are not augmented."""

    def __init__(self, stacks: list[Tile], rows: int, rng: np.random.Generator) -> None:
        self.stacks, self.rows, self.rng = stacks, rows, rng
        self.area = np.array([a.size for a in stacks], float)
        self.area /= self.area.sum()

    def tile(self) -> Tile:
        return self.stacks[self.rng.choice(len(self.stacks), p=self.area)]

    def crop(self, size: int) -> Tile:
        """One small image, its sides filled up to whole codes."""
        a = self.tile()
        y = self.rng.integers(a.shape[1] // self.rows) * self.rows
        a = a[:, y : y + self.rows]
        return np.pad(a, ((0, 0), *((0, -side % vqvae.STEP) for side in a.shape[1:])), "edge")

    def held(self, make: Callable[[Tile], T]) -> Iterator[list[T]]:
        """What is made of each tile, in every step."""
        made = [make(tile) for tile in self.stacks]
        while True:
            yield made


class Photographs:
    """Photographs as tiles [3, H, W], augmented whenever they are looked at."""

    rows = 0

    def __init__(self, photographs: Sequence[Photograph], rng: np.random.Generator) -> None:
        self.photographs, self.rng = photographs, rng

    def _pool(self, make: Callable[[Tile], T], augmented: Augment = augment) -> Pool[T]:
        return Pool(self.photographs, self.rng, lambda rgb, random: make(planes(augmented(rgb, random))))

    @cached_property
    def _augmented(self) -> Pool[Tile]:
        return self._pool(lambda tile: tile)

    @cached_property
    def _cut(self) -> Pool[Tile]:
        return self._pool(lambda tile: tile, cut)

    def tile(self) -> Tile:
        self._augmented.renew()
        return self._augmented.draw()[0]

    def crop(self, size: int) -> Tile:
        """A random square of `size`, not augmented; a new region for every eighth."""
        if self.rng.random() < 1 / 8:
            self._cut.renew()
        a, _ = self._cut.draw()
        y, x = (int(self.rng.integers(side - size + 1)) for side in a.shape[1:])
        return a[:, y : y + size, x : x + size]

    def held(self, make: Callable[[Tile], T]) -> Iterator[list[T]]:
        """What is made of some tiles, others in every other step."""
        made = self._pool(make)
        for step in range(1 << 62):
            made.step(step)
            yield [region for region, _ in made.regions]


Data = Small | Photographs


def psnr(mse: float) -> float:
    return 10 * math.log10(255**2 / max(mse, 1e-9))


def train_base(base: Base, data: Data, held: Sequence[Tile], out: Path, minutes: float, batch: int, size: int) -> bool:
    """The first stage: the codes and the picture that they show. Returns what train.train does."""
    by = optimisers(base, lambda name: name.startswith(("patch", "picture", "z_")), 0.008, 2e-3)

    def batches() -> Iterator[list[Tensor]]:
        while True:
            yield [normal(np.stack([data.crop(size) for _ in range(batch)]))]

    def loss(parts: list[Tensor]) -> Tensor:
        o = base(parts[0])
        error = rgb_error(o["picture"].float() - parts[0]).square().mean()
        total: Tensor = MSE_WEIGHT * error + COMMITMENT * (o["top_loss"] + o["bottom_loss"])
        return total

    def write(run: train.Run) -> None:
        base.eval()
        facts = report(base, held)
        base.train()
        click.echo(f"{run.spent / 60:6.1f} min  step {run.step:6d}  held out {json.dumps(facts)}")

    run = train.Run(base, out, device_of(base), by, loss, write)
    if run.checkpoint.exists():
        run.resume()
    return train.train(run, batches(), minutes)


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def report(base: Base, held: Sequence[Tile]) -> dict[str, float]:
    """PSNR (dB, mean over images), commitment losses, codebook usage and perplexity on the held-out images."""
    total: dict[str, list[Any]] = {}
    with torch.inference_mode():
        for tile in held:
            x = normal(_whole(tile, base.config.rows)).to(device_of(base))
            o = base(x)
            error = rgb_error((o["picture"] - x) * SAMPLE_UNIT).square().mean()
            facts = {"preview_psnr_db": psnr(float(error)), "top": o["top"].flatten(), "bottom": o["bottom"].flatten()}
            facts |= {f"{level}_commitment": float(o[f"{level}_loss"]) for level in ("top", "bottom")}
            for name, value in facts.items():
                total.setdefault(name, []).append(value)
    result = {name: round(float(np.mean(values)), 4) for name, values in total.items() if name not in ("top", "bottom")}
    for level, entries in (("top", base.config.top), ("bottom", base.config.bottom)):
        index = torch.cat(total[level])
        result[f"{level}_codes_used"] = round(len(index.unique()) / entries, 4)
        result[f"{level}_perplexity"] = round(perplexity(index, entries), 1)
    return result


def _whole(tile: Tile, rows: int) -> Tile:
    """[3, H, W] -> bands [n, 3, h, w] of whole codes."""
    bands = np.stack(np.split(tile, tile.shape[1] // rows, axis=1)) if rows else tile[None]
    return np.pad(bands, ((0, 0), (0, 0), *((0, -side % vqvae.STEP) for side in bands.shape[2:])), "edge")


class Stage:
    """What the later stages share: a base that does not change any more, as integers."""

    def __init__(self, base: Base, prior: Prior, pixels: Pixels, facts: dict[str, Any]) -> None:
        self.base, self.prior, self.pixels, self.facts = base.eval(), prior, pixels, facts
        self.network = self.integers()[1]

    def integers(self) -> tuple[Weights, vqvae.Network]:
        weights = export(self.base, self.prior, self.pixels, self.facts)
        return weights, vqvae.Network(weights, choose("cpu").convolutions)


def pixel_bits(network: causal.Network, tile: Tile, side: causal.Side) -> float:
    """What a tile takes given what its codes show."""
    machine, fast = on_machine(network, choose("cpu", threads=1))
    if fast is not None:
        (stream,) = fast.encode([tile], b"", [side])  # type: ignore[call-arg]
        return float(stream.ideal_bits)
    coding = ExplicitCoding(lambda shapes, _: Program(network, machine.executor, shapes, [side]))
    return ideal_bits(coding, [tile], b"")


def pixel_rates(network: vqvae.Network, tiles: Sequence[Tile]) -> dict[str, float]:
    """A card's bits per dim of the pixels' integers, without learning, and with it where they learn."""
    sides = [network.side(network.quantise(tile), tile.shape) for tile in tiles]
    machines = {"integer": network.pixels.without_learning()}
    if network.config.pixels.learning:
        machines["learned"] = network.pixels
    rates = {}
    for name, pixels in machines.items():
        bits = [pixel_bits(pixels, tile, side) for tile, side in zip(tiles, sides, strict=True)]
        rate = float(np.mean([b / tile.size for b, tile in zip(bits, tiles, strict=True)]))
        rates[f"pixels_{name}_bpd"] = round(rate, 4)
    return rates


def train_pixels(
    stage: Stage, data: Data, held: Sequence[Tile], out: Path, minutes: float, batch: int, size: int, rate: float
) -> bool:
    """The second stage: the pixels given the codes."""
    pixels, rows = stage.pixels, data.rows
    planes = pixels.planes = 1 if rows else 3
    known = [SideFeatures(tile, stage.network) for tile in held]

    def batches() -> Iterator[list[Tensor]]:
        for features in data.held(lambda tile: SideFeatures(tile, stage.network)):
            crops = []
            for i in data.rng.integers(len(features), size=batch):
                f = features[i]
                height, width = (rows, f.width) if rows else (size, size)
                y, x = (int(data.rng.integers(n + 1)) for n in (f.height - height, f.width - width))
                crops.append(f.crop(y, x, height, width))
            yield [torch.from_numpy(np.stack(part)) for part in zip(*crops, strict=True)]

    def loss(parts: list[Tensor]) -> Tensor:
        return bits_per_dim(pixels(*parts), parts[3][:, 0].numel()) * 3 / planes

    def write(run: train.Run) -> None:
        pixels.eval()
        rates = []
        with torch.inference_mode():
            for f in known:
                nats = torch.zeros(planes)
                for y in range(0, f.height, rows or 128):
                    crop = f.crop(y, 0, min(rows or 128, f.height - y), f.width)
                    nats += pixels(*(torch.from_numpy(part)[None].to(run.device) for part in crop)).cpu()
                rates.append(bits_per_dim(nats, f.height * f.width).item() * 3 / planes)
        pixels.train()
        _, network = stage.integers()
        facts = {"pixels_float_bpd": round(float(np.mean(rates)), 4)}
        facts |= pixel_rates(network, [tile[:planes] for tile in held])
        stage.facts |= facts
        click.echo(f"{run.spent / 60:6.1f} min  step {run.step:6d}  held out {json.dumps(facts)}")

    by = [(optimiser, peak * rate) for optimiser, peak in optimisers(pixels, is_other)]
    run = train.Run(pixels, out, device_of(pixels), by, loss, write)
    if run.checkpoint.exists():
        run.resume()
    return train.train(run, batches(), minutes)


def train_prior(
    stage: Stage, data: Data, held: Sequence[Tile], out: Path, minutes: float, batch: int, size: int
) -> bool:
    """The third stage: the codes' own probabilities."""
    prior, network, base = stage.prior, stage.network, stage.base
    activation = 2.0**base.config.fraction

    def codes(tile: Tile) -> vqvae.Codes:
        if not data.rows:
            y, x = (int(data.rng.integers(max(side - size, 0) + 1)) for side in tile.shape[1:])
            tile = tile[:, y : y + size, x : x + size]
        return network.quantise(tile)

    def tensors(made: vqvae.Codes) -> list[Tensor]:
        t = torch.from_numpy(network.condition(made.top) / activation)
        return [torch.from_numpy(made.top), torch.from_numpy(made.bottom), t]

    def batches() -> Iterator[list[Tensor]]:
        while True:
            made = [codes(data.tile()) for _ in range(batch)]
            parts = zip(*(tensors(m) for m in made), strict=True)
            yield [torch.cat(part) for part in parts]

    def bits(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        top, bottom, t = parts
        vectors = [book.vectors[index] for book, index in ((base.top, top), (base.bottom, bottom))]
        return (
            prior("top", top, vectors[0], None) / math.log(2),
            prior("bottom", bottom, vectors[1], t.float()) / math.log(2),
        )

    def loss(parts: list[Tensor]) -> Tensor:
        top, bottom = bits(parts)
        return (top + bottom) / (parts[0].numel() + parts[1].numel())

    def write(run: train.Run) -> None:
        rates, ideal, sizes = [], [], []
        exact = stage.integers()[1]
        with torch.inference_mode():
            for tile in held:
                made = network.quantise(tile)
                rates.append([float(part) for part in bits([a.to(run.device) for a in tensors(made)])])
                tables = BaseProgram(exact, tile.shape).symbols(made)
                ideal.append(sum(part.ideal_bits() for table, codes in tables for part in table.intervals(codes)))
                sizes.append(tile.size / (3 if data.rows else 1))
        top, bottom = (float(np.mean([r[i] / n for r, n in zip(rates, sizes, strict=True)])) for i in (0, 1))
        integers = float(np.mean([bits / n for bits, n in zip(ideal, sizes, strict=True)]))
        facts = {"top_codes_float_bpd": top, "bottom_codes_float_bpd": bottom, "codes_integer_bpd": integers}
        stage.facts |= {name: round(value, 5) for name, value in facts.items()}
        click.echo(f"{run.spent / 60:6.1f} min  step {run.step:6d}  held out {json.dumps(facts)}")

    run = train.Run(prior, out, device_of(prior), optimisers(prior, is_other), loss, write)
    if run.checkpoint.exists():
        run.resume()
    return train.train(run, batches(), minutes)


def small_images(path: Path) -> tuple[list[Tile], int]:
    """An archive's `train`, uint8 [n, rows, columns], as tall stacks of some hundred, and rows."""
    images = np.load(path)["train"]
    stacks = np.array_split(images, max(1, len(images) // 250))
    tiles = [stack.reshape(1, -1, images.shape[2]).astype(np.int16) for stack in stacks]
    return [np.concatenate([tile, np.zeros_like(tile), np.zeros_like(tile)]) for tile in tiles], images.shape[1]


@click.command("vqvae")
@training_options
@click.option("--start", default="default", show_default=True, help="Causal model that the pixels start from; or none.")
@click.option("--batch", default=16, show_default=True)
@click.option(
    "--crop", default=64, show_default=True, help="Side of a crop of the pixels' network; the others' follow."
)
@click.option("--width", default=vqvae.Config.width, show_default=True, help="Of the codes' networks.")
@click.option("--depth", default=vqvae.Config.depth, show_default=True, help="Of the codebooks' vectors.")
@click.option("--top", default=vqvae.Config.top, show_default=True, help="Codes of the top level.")
@click.option("--bottom", default=vqvae.Config.bottom, show_default=True, help="Codes of the bottom level.")
@click.option("--prior", default=vqvae.Config.prior, show_default=True, help="Hidden units of the prior.")
@click.option("--pixels", default=128, show_default=True, help="Width of the pixels' network.")
@click.option("--layers", default=1, show_default=True, help="Hidden layers of the pixels' network after its first.")
@click.option("--components", default=3, show_default=True)
@click.option("--fraction", default=causal.Config.fraction, show_default=True, help="Binary places of hidden pixels.")
@click.option("--shares", nargs=3, default=(0.4, 0.45, 0.15), show_default=True, help="Of the time, for each stage.")
def command(
    folders: tuple[Path, ...], held_out: Path, out: Path, minutes: float, device: str, threads: int, resume: bool,
    seed: int, start: str, batch: int, crop: int, pixels: int, layers: int, components: int,
    fraction: int, shares: tuple[float, float, float], **sizes: Any,
) -> None:  # fmt: skip
    """The VQ-VAE family: codes, then pixels given the codes, then the codes' prior.

    Photographs, or (--data X.npz --held-out X.npz) small grey images, `train` [n, H, W], the last of them held out.
    """
    torch.set_num_threads(threads or torch.get_num_threads())
    torch.manual_seed(seed)
    data: Data
    rows, random = 0, np.random.default_rng(seed)
    if held_out.suffix == ".npz":
        stacks, rows = small_images(folders[0])
        data, held = Small(stacks[:-4], rows, random), stacks[-4:]
        count, tile = sum(a.shape[1] for a in data.stacks) // rows, (stacks[0].shape[2], rows * 256)
    else:
        data = Photographs(find(folders, 2 * crop), random)
        count, tile = len(data.photographs), vqvae.Config.tile
        held = [planes(a[:512, :768]) for a in read_images([held_out], 16)]
    seen = causal.Config(width=pixels, depth=layers, components=components, fraction=fraction, side=16)
    if not rows and fraction == learning.ACTIVATION:  # photographs, as the default model
        seen = replace(seen, learning=LEARNING, rest=REST)
    config = vqvae.Config(pixels=seen, rows=rows, tile=tile, **sizes)
    base, prior, network = Base(config), Prior(config), Pixels(config)
    if start != "none":
        network.start(registry.load(start, machine="numpy").network)
    for model in (base, prior, network):
        model.to(device)
    parts = [out.with_suffix(f".{name}.safetensors") for name in ("base", "pixels", "prior")]
    if not resume:
        for part in parts:
            part.with_suffix(".checkpoint.pt").unlink(missing_ok=True)
    spent = [share * minutes for share in shares]
    if not train_base(base, data, held, parts[0], spent[0], batch, 3 * crop // 2):
        return
    facts = {
        "images": count,
        "machine": f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "architecture": asdict(config),
        "training_minutes": minutes,
        **report(base, held),
    }
    stage = Stage(base, prior, network, facts)
    rate = 1.0 if start == "none" else 0.5
    if not train_pixels(stage, data, held, parts[1], spent[1], batch, crop, rate):
        return
    if not train_prior(stage, data, held, parts[2], spent[2], batch // 2, 2 * crop):
        return
    if not processes.is_first():
        return
    weights, _ = stage.integers()
    weights = replace(weights, card=card(stage, weights))
    weights.write(out)
    out.with_suffix(".json").write_text(json.dumps(weights.card, indent=2) + "\n")


def card(stage: Stage, weights: Weights) -> dict[str, Any]:
    """The facts of a whole run; the rates are of codes and pixels together."""
    facts = stage.facts
    config = stage.base.config
    learned = {}
    if "pixels_learned_bpd" in facts:
        learned["learned_bpd"] = round(facts["pixels_learned_bpd"] + facts["codes_integer_bpd"], 4)
    counts = {name: tensor.size for name, tensor in weights.tensors.items() if name.endswith(("weight", "bias"))}
    floats = facts["pixels_float_bpd"] + facts["top_codes_float_bpd"] + facts["bottom_codes_float_bpd"]
    return {
        **facts,
        "parameters": sum(counts.values())
        + sum(weights.tensors[f"vectors.{level}"].size for level in ("top", "bottom")),
        "multiply_adds_per_pixel": round(multiply_adds(config)),
        "float_bpd": round(floats, 4),
        "integer_bpd": round(facts["pixels_integer_bpd"] + facts["codes_integer_bpd"], 4),
        **learned,
        "digest": weights.digest().hex(),
    }


def multiply_adds(config: vqvae.Config) -> float:
    """Per pixel, of an encoder: codes, prior, what the codes show, pixels."""
    top = ("up", "encode_top", "z_top", "in_top", "decode_top", "down", "prior.top")
    area = {True: vqvae.STEP**2, False: PATCH**2}
    total = float(sum(len(low) * len(limit) for limit, low, _ in config.pixels.layers().values()))
    for name, (_, (limit, low, _)) in config.convolutions().items():
        total += len(low) * len(limit) / area[name.startswith(top)]
    return total
