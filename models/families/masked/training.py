"""Training of the zoo: `lgcodec train zoo NAME --data mnist.npz --out weights.safetensors --minutes 20`.

The .npz holds `train` and `test`, uint8 [N, H, W]. Systems of bits are trained on pixels drawn anew for each batch,
white with the probability grey / 255, and tested on one fixed draw (`binarise`), as is usual for MNIST.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from lgcodec.models import zoo
from lgcodec.models.entropy.program import ideal_bits
from lgcodec.models.families.masked.floats import FloatGraph, Latents, Masks, bits, export, export_latents
from lgcodec.models.families.masked.model import load
from lgcodec.models.families.masked.network import FIRST, Graph
from lgcodec.models.interface import ExplicitCoding
from lgcodec.models.machines.choose import choose
from lgcodec.models.training.rates import net_bits
from lgcodec.models.training.run import Run, train
from lgcodec.models.weights import Weights

SEED = 0  # of the test images' draw
SHOWN = 500  # images that the rates are measured on while training


def binarise(x: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Grey values -> 1 where x is above an integer drawn from 0 .. 254, so with the probability x / 255."""
    return (x > rng.integers(0, 255, x.shape, np.uint8)).astype(np.uint8)


def test_images(x: NDArray[np.uint8], data: str) -> NDArray[np.uint8]:
    """The images of a test set that rates are of: as they are, or drawn once."""
    return binarise(x, np.random.Generator(np.random.PCG64(SEED))) if data == "bits" else x


def batches(x: NDArray[np.uint8], system: zoo.System, batch: int, seed: int) -> Iterator[list[torch.Tensor]]:
    """Samples int64 [batch, units], and which order they are trained in."""
    rng = np.random.default_rng(seed)
    flat = x.reshape(len(x), -1)
    while True:
        rows = flat[rng.integers(len(flat), size=batch)]
        some = binarise(rows, rng) if system.data == "bits" else rows
        yield [torch.from_numpy(some.astype(np.int64)), torch.tensor(rng.integers(system.orders))]


def integer_rate(weights: Weights, x: NDArray[np.uint8]) -> float:
    """Bits per dim of images [N, H, W]: ideal ones, or net ones of latents drawn at random."""
    model, tile = load(weights, choose("cpu")), x.reshape(1, -1, x.shape[2]).astype(np.int16)
    if isinstance(model.coding, ExplicitCoding):
        return ideal_bits(model.coding, [tile], b"") / x.size
    return net_bits(model, [tile], np.random.default_rng(SEED)) / x.size


@torch.inference_mode()
def float_rate(model: FloatGraph | Latents, x: NDArray[np.uint8], samples: int = 1) -> float:
    """Bits per dim of images [N, H, W], in float32; samples: of the bound of models with latents."""

    def rate(p: torch.Tensor) -> float:
        if isinstance(model, Latents):
            return model.bound(p, samples).mean().item() / p.shape[1] / math.log(2)
        return bits(model.graph, model(p), p).mean().item()

    torch.manual_seed(SEED)
    parts = np.array_split(x.reshape(len(x), -1).astype(np.int64), max(1, len(x) // 50))
    return sum(rate(p) * len(p) for p in map(torch.from_numpy, parts)) / len(x)


def optimisers(model: FloatGraph | Latents, peak: float, decay: float) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the windows' and cells' matrices but the last one's, AdamW for all else; each with its peak rate."""
    nets = [module for module in model.modules() if isinstance(module, FloatGraph)]
    nodes = [(net, i, node) for net in nets for i, node in enumerate(net.graph.nodes[:-1], FIRST)]
    hidden = [net.weights[str(i)] for net, i, node in nodes if node.kind in ("window", "cell")]
    ids = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in ids]
    result: list[tuple[torch.optim.Optimizer, float]] = [
        (torch.optim.AdamW(rest, lr=peak, betas=(0.9, 0.98), weight_decay=decay), peak)
    ]
    if hidden:
        result.append((torch.optim.Muon(hidden, lr=7 * peak, weight_decay=decay, momentum=0.95), 7 * peak))
    return result


def build(system: zoo.System, graph: Graph, seed: int) -> tuple[FloatGraph | Latents, list[Masks]]:
    """A system to be trained, and the masks of each of its orders."""
    if system.posterior is not None:
        prior = None if system.prior is None else system.prior()
        options: dict[str, Any] = system.objective
        return Latents(prior, system.posterior(), graph, seed, **options), []
    net = FloatGraph(graph, seed)
    others = [Masks(system.graph(number), torch.device("cpu")) for number in range(1, system.orders)]
    return net, [net.masks, *others]


@click.command("zoo")
@click.argument("name")
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--minutes", type=float, help="As the system says, if not given.")
@click.option("--batch", type=int, help="Likewise.")
@click.option("--rate", type=float, help="Likewise: learning rates, times the usual ones.")
@click.option("--threads", default=0, help="CPU threads; 0 leaves the choice to torch.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint beside --out.")
@click.option("--seed", default=0, show_default=True)
def command(
    name: str, data: Path, out: Path, minutes: float | None, batch: int | None, rate: float | None, threads: int,
    resume: bool, seed: int,
) -> None:  # fmt: skip
    """One of the lectures' systems (the masked family), on small grey images."""
    if threads:
        torch.set_num_threads(threads)
    try:
        system = zoo.system(name)
    except KeyError as e:
        raise click.UsageError(f"no system {name!r}: expected one of {', '.join(zoo.names())}") from e
    with np.load(data) as file:
        images, held = file["train"], test_images(file["test"], system.data)[:SHOWN]
    graph = system.graph(0)
    if images.ndim != 3 or images.shape[1:] != graph.shape:
        raise click.ClickException(f"{data}: expected images of {graph.shape[0]} x {graph.shape[1]} pixels")
    torch.manual_seed(seed)
    model, masks = build(system, graph, seed)
    facts: dict[str, Any] = {
        "system": name,
        "title": system.title,
        "published": system.published,
        "images": len(images),
        "machine": f"cpu, {torch.get_num_threads()} threads, torch {torch.__version__}",
    }
    click.echo(f"{system.title}: {sum(p.numel() for p in model.parameters())} parameters")

    def loss(parts: list[torch.Tensor]) -> torch.Tensor:
        if isinstance(model, Latents):
            return model.loss(parts[0])
        return bits(graph, model(parts[0], masks[int(parts[1])]), parts[0]).mean()

    def write(run: Run) -> None:
        card = dict(facts)
        if isinstance(model, Latents):
            card["bound_of_50_samples_bpd"] = round(float_rate(model, held, 50), 4)
        weights = export_latents(model, card) if isinstance(model, Latents) else export(model, card)
        run.report(weights, float_rate(model, held), integer_rate(weights, held))

    peak = 3e-3 * (system.rate if rate is None else rate)
    batch = batch or system.batch
    seen = batch / len(images)
    run = Run(model, out, torch.device("cpu"), optimisers(model, peak, system.decay), loss, write, seen)
    if resume and run.checkpoint.exists():
        run.resume()
    train(run, batches(images, system, batch, seed), system.minutes if minutes is None else minutes)
