"""Training of the causal family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from lgcodec.models import registry
from lgcodec.models.entropy.program import ideal_bits
from lgcodec.models.errors import ModelError
from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.causal import online
from lgcodec.models.families.causal.floats import Causal, Features, export, grow
from lgcodec.models.families.causal.model import coding_of
from lgcodec.models.interface import IntArray
from lgcodec.models.machines.choose import choose
from lgcodec.models.training.images import Pixels, augment, planes, read_images
from lgcodec.models.training.losses import bits_per_dim
from lgcodec.models.training.optimisers import optimisers
from lgcodec.models.training.options import training_options
from lgcodec.models.training.run import Run, lineage, train

UNLABELLED = 0.25
PROCESSED = 0.3  # of the images that a network with a grid sees


class Crops:
    """Batches of random crops; every other batch one image is augmented anew, so no two passes are alike.

    labels: the class of each image, which comes as one more tensor, int64 [B], with -1 for UNLABELLED of the crops.
    """

    def __init__(
        self, images: list[Pixels], rng: np.random.Generator, batch: int, size: int, labels: IntArray | None = None,
        processed: float = 0,
    ) -> None:  # fmt: skip
        self.images, self.rng, self.batch, self.size, self.labels = images, rng, batch, size, labels
        self.processed = processed
        self.area = np.array([a.shape[0] * a.shape[1] for a in images], float)
        self.area /= self.area.sum()
        with click.progressbar(images, label="features", show_eta=True) as bar:
            self.features = [Features(planes(augment(a, rng, processed))) for a in bar]

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        for step in range(1 << 62):
            if step % 2:
                i = int(self.rng.choice(len(self.images), p=self.area))
                self.features[i] = Features(planes(augment(self.images[i], self.rng, self.processed)))
            crops = []
            chosen = self.rng.choice(len(self.images), self.batch, p=self.area)
            for i in chosen:
                f = self.features[i]
                y, x = self.rng.integers(f.height - self.size + 1), self.rng.integers(f.width - self.size + 1)
                crops.append(f.crop(y, x, self.size, self.size))
            parts = [np.stack(part) for part in zip(*crops, strict=True)]
            if self.labels is not None:
                parts.append(np.where(self.rng.random(self.batch) < UNLABELLED, -1, self.labels[chosen]))
            yield [torch.from_numpy(part) for part in parts]


def evaluate(model: Causal, held_out: Sequence[Features], device: torch.device) -> float:
    """Mean bits per dim over whole images, in float32; each with its best class, or none."""
    model.eval()
    rates = []
    labels = [torch.tensor([label], device=device) for label in range(-1, model.config.classes)]
    with torch.inference_mode():
        for f in held_out:
            nats = torch.zeros(len(labels), 3)
            for y in range(0, f.height, 128):
                height = min(128, f.height - y)
                batch = [torch.from_numpy(p)[None].to(device) for p in f.crop(y, 0, height, f.width)]
                nats += torch.stack([model(*batch, labels=label).cpu() for label in labels])
            rates.append(min(bits_per_dim(part, f.height * f.width).item() for part in nats))
    model.train()
    return float(np.mean(rates))


LEARNING, REST = 12, 2  # of a Config, where nothing else is asked for


def is_other(name: str) -> bool:
    """Whether a matrix is an output, a class or the linear path."""
    return name.startswith(("out", "linear", "classes"))


@click.command("causal")
@training_options
@click.option("--batch", default=16, show_default=True)
@click.option("--crop", default=64, show_default=True, help="Side of a crop, pixels.")
@click.option("--width", default=causal.Config.width, show_default=True)
@click.option("--depth", default=causal.Config.depth, show_default=True)
@click.option("--hidden", default=causal.Config.hidden, show_default=True)
@click.option("--components", default=causal.Config.components, show_default=True)
@click.option("--rows", default=causal.Config.rows, show_default=True)
@click.option("--left", default=causal.Config.left, show_default=True)
@click.option("--context", default=0, show_default=True, help="Features passed on to later pixels.")
@click.option(
    "--grid", is_flag=True, help="See where a pixel stands modulo 2 and 8, as in photographs from cameras and JPEG."
)
@click.option("--learning", default=LEARNING, show_default=True, help="Learn while decoding, 2**-N a step; 0 for none.")
@click.option(
    "--rest", type=int, help="Fronts without learning after each one with: 0, 2 (if not given), 4 .. are faster."
)
@click.option("--classes", is_flag=True, help="Each --data is a class; held-out rates are those of the best or none.")
@click.option("--start", help="Name or path of a smaller network to start from.")
@click.option("--rate", default=1.0, show_default=True, help="Learning rates, times the usual ones.")
def command(
    folders: tuple[Path, ...], held_out: Path, out: Path, minutes: float, device: str, threads: int, resume: bool,
    seed: int, batch: int, crop: int, grid: bool, classes: bool, start: str | None, rate: float, **sizes: Any,
) -> None:  # fmt: skip
    """The causal autoregressive family (the default model)."""
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    if classes and len(folders) < 2:
        raise click.UsageError("--classes needs two or more --data")
    if sizes["rest"] is None:
        sizes["rest"] = REST if sizes["learning"] else 0
    config = causal.Config(**sizes, grid=int(grid), classes=len(folders) if classes else 0)
    model = Causal(config)
    try:
        began = registry.read(start) if start else None
        if began:
            grow(model, causal.Network.of(began))
    except ModelError as e:
        raise click.ClickException(str(e)) from e
    model.to(device)
    click.echo(f"{asdict(config)}, {sum(p.numel() for p in model.parameters())} parameters")
    groups = [read_images(group, crop) for group in ([[folder] for folder in folders] if classes else [folders])]
    images = [image for group in groups for image in group]
    labels = np.repeat(np.arange(len(groups)), [len(group) for group in groups]) if classes else None
    crops = Crops(images, np.random.default_rng(seed), batch, crop, labels, PROCESSED * grid)
    held = [Features(planes(a[:512, :768])) for a in read_images([held_out], 16)]
    tiles = [f.values[:, online.UP :, online.LEFT : -online.RIGHT] for f in held]
    facts = {
        "images": len(crops.images),
        "megapixels": round(sum(a.shape[0] * a.shape[1] for a in crops.images) / 1e6, 1),
        "machine": f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "architecture": config.written(),
        "multiply_adds_per_pixel": sum(weight.numel() for weight, _ in model.layers().values()),
        **({"classes": [folder.name for folder in folders]} if classes else {}),
        **lineage(began),
    }

    def loss(parts: list[torch.Tensor]) -> torch.Tensor:
        return bits_per_dim(model(*parts[:5], labels=parts[5] if classes else None), parts[3][:, 0].numel())

    def integer_rate(network: causal.Network) -> float:
        coding = coding_of(network, choose("cpu", threads=torch.get_num_threads()))
        choices = (b"", *network.choices())
        best = [min(ideal_bits(coding, [tile], choice) for choice in choices) / tile.size for tile in tiles]
        return float(np.mean(best))

    def write(run: Run) -> None:
        weights = export(model, dict(facts))
        network = causal.Network.of(weights)
        if config.learning:
            weights.card["learned_bpd"] = round(integer_rate(network), 4)
            click.echo(f"{weights.card['learned_bpd']:.4f} bits/dim with learning while decoding")
        run.report(weights, evaluate(model, held, run.device), integer_rate(network.without_learning()))

    run = Run(
        model, out, torch.device(device), [(o, peak * rate) for o, peak in optimisers(model, is_other)], loss, write
    )
    if resume and run.checkpoint.exists():
        run.resume()
    train(run, crops, minutes)
