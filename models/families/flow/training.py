"""The flow family in floats: the network that is trained, its data and its export to integers.

Features are laid out [feature, pixel], so that a layer is one matrix product W @ x.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lgcodec.models import registry
from lgcodec.models.families.flow import network as flow
from lgcodec.models.families.flow import program as flow_program
from lgcodec.models.families.flow.floats import Flow, export, start
from lgcodec.models.families.flow.program import Program
from lgcodec.models.machines.numpy.executor import NumpyExecutor
from lgcodec.models.training import images as training_images
from lgcodec.models.training import run as train
from lgcodec.models.training.images import Photograph, area, augment, find, planes, read_images
from lgcodec.models.training.optimisers import optimisers
from lgcodec.models.training.options import training_options
from lgcodec.models.training.pool import Pool


def is_other(name: str) -> bool:
    """Whether a matrix is an output or a linear path."""
    return ".out." in name or ".linear." in name


class Crops:
    """Batches for `Flow.bits`: crops of the first levels with their margins, and whole coarse planes."""

    COUNTS = (16, 4, 1)  # crops of levels 0, 1, 2

    def __init__(
        self, photographs: Sequence[Photograph], rng: np.random.Generator, config: flow.Config, size: int = 64
    ) -> None:
        self.rng, self.size, self.margin = rng, size, config.margin
        self.pool = Pool(photographs, rng, lambda rgb, random: planes(augment(rgb, random)))
        self.seen = self.COUNTS[0] * size**2 / area(photographs)  # of the pixels, by each batch

    def _crop(self, level: int) -> NDArray[np.int16]:
        side = self.size + 4 * self.margin
        while True:
            x = self.pool.draw()[0][:, :: 2**level, :: 2**level]
            if min(x.shape[1:]) >= side:
                top, left = (int(self.rng.integers(n - side + 1)) for n in x.shape[1:])
                return np.ascontiguousarray(x[:, top : top + side, left : left + side])

    def __iter__(self) -> Iterator[list[Tensor]]:
        for step in range(1 << 62):
            self.pool.step(step)
            batch = [np.stack([self._crop(level) for _ in range(n)]) for level, n in enumerate(self.COUNTS)]
            x = self.pool.draw()[0]
            batch.append(np.ascontiguousarray(x[None, :, ::8, ::8][: step % 4 == 0]))  # its many small calls cost time
            yield [torch.from_numpy(b) for b in batch]


class Small:
    """Batches of whole small images, grey uint8 [n, H, W], or colour [n, H, W, 3], which are mirrored at random."""

    def __init__(self, x: NDArray[np.uint8], rng: np.random.Generator, batch: int) -> None:
        self.x, self.rng, self.batch = x, rng, batch
        self.seen = batch / len(x)  # of the pixels, by each batch

    def __iter__(self) -> Iterator[list[Tensor]]:
        while True:
            order = self.rng.permutation(len(self.x))
            for i in range(0, len(order) - self.batch + 1, self.batch):
                x = small_planes(self.x[order[i : i + self.batch]])
                if x.shape[1] == 3:
                    mirrored = self.rng.random(len(x)) < 0.5
                    x[mirrored] = x[mirrored, ..., ::-1]
                yield [torch.from_numpy(x)]


def small_planes(x: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Small images [n, H, W] or [n, H, W, 3] -> [n, C, H, W], those of colour in YCoCg-R."""
    grey = x.ndim == 3
    return x[:, None].astype(np.int16) if grey else np.stack([planes(image) for image in x])


def evaluate(model: Flow, batches: Sequence[NDArray[np.int16]]) -> float:
    """Mean bits per dim over batches of whole images [B, C, H, W], in float32."""
    model.eval()
    with torch.inference_mode():
        rates = [float(model.bits([torch.from_numpy(x).to(model.last.device)])) for x in batches]
    model.train()
    return float(np.mean(rates))


DIGITS = flow.Config(channels=1, hidden=40, components=5, reach=(34, 25, 25), absolute=1, block=28)
SMALL_HELD_OUT = 30  # the least part of small images that trains for each that is held out


@click.command("flow")
@training_options
@click.option("--width", default=flow.Config.width, show_default=True)
@click.option("--depth", default=flow.Config.depth, show_default=True)
@click.option("--hidden", type=int, help="Of photographs and in colour 32, of digits 40.")
@click.option("--components", type=int, help="Likewise 3 and 5.")
@click.option("--reach", type=int, nargs=3, help="Squared radius of each phase's window.")
@click.option("--batch", default=32, show_default=True, help="Small images in a step.")
@click.option("--start", "begin", help="Name or path of a network of the same sizes to start from.")
@click.option("--rate", default=1.0, show_default=True, help="Learning rates, times the usual ones.")
def command(
    folders: tuple[Path, ...], held_out: Path, out: Path, minutes: float, device: str, threads: int, resume: bool,
    seed: int, width: int, depth: int, batch: int, begin: str | None, rate: float, **others: Any,
) -> None:  # fmt: skip
    """The flow family: photographs, or (--data X.npz --held-out X.npz) small images, `train` [n, H, W] or, in colour,
    [n, H, W, 3].

    Of small images the last ones are held out, one of 30.
    """
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    batches: Small | Crops
    sizes = {"width": width, "depth": depth} | {name: value for name, value in others.items() if value is not None}
    config = flow.Config(**sizes)
    if held_out.suffix == ".npz":
        x = np.concatenate([np.load(path)["train"] for path in folders])
        config = dataclasses.replace(config if x.ndim == 4 else DIGITS, **sizes, block=x.shape[2])
        known = len(x) - len(x) // SMALL_HELD_OUT
        batches = Small(x[:known], rng, batch)
        planes = small_planes(x[known:])
        held = np.array_split(planes, -(-len(planes) // 100))
        tiles = [np.ascontiguousarray(planes.transpose(1, 0, 2, 3)).reshape(planes.shape[1], -1, x.shape[2])]
        count, pixels = len(x), x[..., 0].size if x.ndim == 4 else x.size
    else:
        found = find(folders, 140)
        batches = Crops(found, rng, config)
        held = [training_images.planes(a[:512, :768])[None] for a in read_images([held_out], 16)]
        tiles = [a[0] for a in held]
        count, pixels = len(found), area(found)
    model = Flow(config)
    began = registry.read(begin) if begin else None
    if began:
        start(model, flow.Network.of(began))
    model.to(device)
    click.echo(f"{asdict(config)}, {sum(p.numel() for p in model.parameters())} parameters")
    facts = {
        "images": count,
        "megapixels": round(pixels / 1e6, 1),
        "machine": f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "architecture": asdict(config),
        "multiply_adds_per_pixel": multiply_adds(config),
        **train.lineage(began),
    }

    def write(run: train.Run) -> None:
        weights = export(model, facts)
        network = flow.Network.of(weights)
        machine = flow_program.ExecutedTrunks(network, NumpyExecutor())
        rates = []
        for tile in tiles:
            program = Program(network, machine, [tile.shape])
            parts = (p for table, known in program.symbols([tile]) for p in table.intervals(known))
            rates.append(sum(part.ideal_bits() for part in parts) / tile.size)
        run.report(weights, evaluate(model, held), float(np.mean(rates)))

    optimised = [(optimiser, peak * rate) for optimiser, peak in optimisers(model, is_other)]
    run = train.Run(model, out, torch.device(device), optimised, model.bits, write)
    run.seen = batches.seen
    if resume and run.checkpoint.exists():
        run.resume()
    train.train(run, batches, minutes)


def multiply_adds(config: flow.Config) -> int:
    """Of a pixel, over all levels: each phase has a quarter of a level's positions, and all levels 4/3 of the first."""
    sizes = [len(low) * len(limit) for p in range(3) for limit, low, _ in config.layers(p).values()]
    return round(sum(sizes) / 3)
