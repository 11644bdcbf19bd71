"""Training of the causal family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from lgcodec.models import registry
from lgcodec.models.entropy.program import ideal_bits
from lgcodec.models.errors import ModelError
from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.causal import online
from lgcodec.models.families.causal.floats import Causal, Features, export, grow
from lgcodec.models.families.causal.model import coding_of
from lgcodec.models.machines.choose import choose
from lgcodec.models.training.images import (
    Photograph,
    Pixels,
    area,
    augment,
    converted,
    find,
    planes,
    read_images,
    single,
)
from lgcodec.models.training.losses import bits_per_dim
from lgcodec.models.training.optimisers import optimisers
from lgcodec.models.training.options import training_options
from lgcodec.models.training.pool import Pool
from lgcodec.models.training.run import Run, lineage, train

UNLABELLED = 0.25
PROCESSED = 0.3  # of the images that a network with a grid sees
PLANES = 0.25  # of the regions that are a single plane


@dataclass(frozen=True)
class Region:
    """What crops are cut from. channels: 1 where the tile is a single plane."""

    features: Features
    channels: int


class Crops:
    """Batches of random crops; every other batch one region is made anew, so no two passes are alike.

    A batch is the parts of Features.crop, then how many of its crops have three channels (they come first), then, with
    `classes`, each crop's class, int64 [B], with -1 for UNLABELLED of them. single: the share of regions of one plane.
    """

    def __init__(
        self, photographs: Sequence[Photograph], rng: np.random.Generator, batch: int, size: int, *,
        classes: bool = False, processed: float = 0, single: float = 0,
    ) -> None:  # fmt: skip
        self.rng, self.batch, self.size, self.classes = rng, batch, size, classes
        self.processed, self.single = processed, single
        self.pool = Pool(photographs, rng, self._region)

    def _region(self, rgb: Pixels, rng: np.random.Generator) -> Region:
        rgb = augment(rgb, rng, self.processed)
        if rng.random() >= self.single:
            return Region(Features(planes(rgb)), 3)
        return Region(Features.of_plane(single(rgb, rng, self.size, self.processed)), 1)

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        for step in range(1 << 62):
            self.pool.step(step)
            drawn = sorted((self.pool.draw() for _ in range(self.batch)), key=lambda pair: -pair[0].channels)
            crops = []
            for region, _ in drawn:
                f = region.features
                y, x = self.rng.integers(f.height - self.size + 1), self.rng.integers(f.width - self.size + 1)
                crops.append(f.crop(y, x, self.size, self.size))
            parts = [np.stack(part) for part in zip(*crops, strict=True)]
            parts.append(np.array(sum(region.channels == 3 for region, _ in drawn)))
            if self.classes:
                kinds = [kind for _, kind in drawn]
                parts.append(np.where(self.rng.random(self.batch) < UNLABELLED, -1, kinds))
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
@click.option("--planes", "share", default=PLANES, show_default=True, help="Share of single planes, as of grey images.")
@click.option("--start", help="Name or path of a smaller network to start from.")
@click.option("--rate", default=1.0, show_default=True, help="Learning rates, times the usual ones.")
def command(
    folders: tuple[Path, ...], held_out: Path, out: Path, minutes: float, device: str, threads: int, resume: bool,
    seed: int, batch: int, crop: int, grid: bool, classes: bool, share: float, start: str | None, rate: float,
    **sizes: Any,
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
    found = find(folders, crop)
    crops = Crops(
        found, np.random.default_rng(seed), batch, crop, classes=classes, processed=PROCESSED * grid, single=share
    )
    pictures = [a[:512, :768] for a in read_images([held_out], 16)]
    held = [Features(planes(a)) for a in pictures]
    tiles = [f.values[:, online.UP :, online.LEFT : -online.RIGHT] for f in held]
    luma, blue, red = zip(*([plane[None].astype(np.int16) for plane in converted(a, 0)] for a in pictures), strict=True)
    facts = {
        "images": len(found),
        "megapixels": round(area(found) / 1e6, 1),
        "machine": f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "architecture": config.written(),
        "multiply_adds_per_pixel": sum(weight.numel() for weight, _ in model.layers().values()),
        **({"classes": [folder.name for folder in folders]} if classes else {}),
        **lineage(began),
    }

    def loss(parts: list[torch.Tensor]) -> torch.Tensor:
        *known, coloured = parts[:6]
        dims = known[3][0, 0].numel() * (batch + 2 * int(coloured))
        return bits_per_dim(model(*known, labels=parts[6] if classes else None, coloured=int(coloured)), dims) * 3

    def rates(network: causal.Network, tiles: Sequence[causal.Tile]) -> NDArray[np.float64]:
        """Bits per dim of each tile in integers, with its best class or none."""
        coding = coding_of(network, choose("cpu", threads=torch.get_num_threads()))
        choices = (b"", *network.choices())
        return np.array([min(ideal_bits(coding, [tile], choice) for choice in choices) / tile.size for tile in tiles])

    def mean_rate(network: causal.Network) -> float:
        return float(np.mean(rates(network, tiles)))

    def write(run: Run) -> None:
        weights = export(model, dict(facts))
        network = causal.Network.of(weights)
        for name, some in (("luma", luma), ("chroma", blue + red)):
            weights.card[f"{name}_bpd"] = round(float(np.mean(rates(network, some))), 4)
        click.echo(f"{weights.card['luma_bpd']:.4f} bits a pixel of luma, {weights.card['chroma_bpd']:.4f} of chroma")
        if config.learning:
            weights.card["learned_bpd"] = round(mean_rate(network), 4)
            click.echo(f"{weights.card['learned_bpd']:.4f} bits/dim with learning while decoding")
        run.report(weights, evaluate(model, held, run.device), mean_rate(network.without_learning()))

    run = Run(
        model, out, torch.device(device), [(o, peak * rate) for o, peak in optimisers(model, is_other)], loss, write
    )
    run.seen = batch * crop**2 / area(found)
    if resume and run.checkpoint.exists():
        run.resume()
    train(run, crops, minutes)
