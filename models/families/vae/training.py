"""The VAE family in floats: the network that is trained, its bounds, and its export."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lgcodec.models.families.vae import network as vae
from lgcodec.models.families.vae.floats import Floats, Objective, bounds, export
from lgcodec.models.families.vae.model import load
from lgcodec.models.machines.choose import choose
from lgcodec.models.training import run as train
from lgcodec.models.training.images import Photograph, area, augment, find, planes, read_images
from lgcodec.models.training.optimisers import optimisers
from lgcodec.models.training.options import training_options
from lgcodec.models.training.pool import Pool
from lgcodec.models.training.rates import HELD_OUT, net_bits


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


class Pictures:
    """Batches of random crops of augmented photographs."""

    def __init__(self, photographs: Sequence[Photograph], rng: np.random.Generator, batch: int, size: int) -> None:
        self.rng, self.batch, self.size = rng, batch, size
        self.pool = Pool(photographs, rng, lambda rgb, random: channels_last(planes(augment(rgb, random))))

    def __iter__(self) -> Iterator[list[Tensor]]:
        while True:
            self.pool.renew()
            crops = []
            for tile, _ in (self.pool.draw() for _ in range(self.batch)):
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


BOUND_SAMPLES = 8  # of the bound that is reported beside the -ELBO


def is_other(name: str) -> bool:
    """Whether a matrix is an output or a linear path."""
    return name.startswith(("out", "linear"))


@click.command("vae")
@training_options
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
        channels, photographs = 3, find(folders, crop)
        batches = Pictures(photographs, rng, batch, crop)
        pixels = area(photographs)
        held = [channels_last(planes(a[:256, :256]))[None] for a in read_images([held_out], 256)[:16]]
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
        integers = load(weights, choose(machine="numpy"))
        random = np.random.default_rng(seed)
        rates = [net_bits(integers, first_channels(batch), random) / batch.size for batch in held]
        run.report(weights, elbo, float(np.mean(rates)))

    objective = Objective(model, warm_up, free_bits, samples)
    run = train.Run(model, out, torch.device(device), optimisers(model, is_other), objective, write)
    run.seen = batch * (crop**2 if channels == 3 else images[0].size) / pixels
    if resume and run.checkpoint.exists():
        run.resume()
    objective.step = run.step
    train.train(run, batches, minutes)
