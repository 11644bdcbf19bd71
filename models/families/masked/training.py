"""Training of the zoo: `lgcodec train masked NAME --data mnist.npz --out weights.safetensors --minutes 20`.

The .npz holds `train` and `test`, uint8 [N, H, W], and of systems that are told classes `train_labels` and
`test_labels`, integers [N], -1 where not known. Systems of bits are trained on pixels drawn anew for each batch,
white with the probability grey / 255, and tested on one fixed draw (`binarise`), as is usual for MNIST.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from lgcodec.models import zoo
from lgcodec.models.entropy.program import ideal_bits
from lgcodec.models.errors import ModelError
from lgcodec.models.families.masked.features import by_classes
from lgcodec.models.families.masked.floats.export import export, export_flow, export_latents
from lgcodec.models.families.masked.floats.graph import FloatGraph, Masks, bits
from lgcodec.models.families.masked.floats.objectives import Bits, Clusters, Flow, Latents, Mixture
from lgcodec.models.families.masked.model import load
from lgcodec.models.families.masked.network import FIRST, Graph
from lgcodec.models.interface import ExplicitCoding
from lgcodec.models.machines.choose import choose
from lgcodec.models.training.options import seed_option, steps_option
from lgcodec.models.training.rates import net_bits
from lgcodec.models.training.run import Run, train
from lgcodec.models.weights import Weights

Trained = FloatGraph | Flow | Latents
SEED = 0  # of the test images' draw
UNLABELLED = 0.1  # of a batch, where a net is told classes
SHOWN = 500  # images that the rates are measured on while training
_DRAWS = 5000  # of latents at once


def binarise(x: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Grey values -> 1 where x is above an integer drawn from 0 .. 254, so with the probability x / 255."""
    return (x > rng.integers(0, 255, x.shape, np.uint8)).astype(np.uint8)


def test_images(x: NDArray[np.uint8], data: str) -> NDArray[np.uint8]:
    """The images of a test set that rates are of: as they are, or drawn once."""
    return binarise(x, np.random.Generator(np.random.PCG64(SEED))) if data == "bits" else x


def batches(
    x: NDArray[np.uint8], given: NDArray[np.float32], system: zoo.System, batch: int, seed: int
) -> Iterator[list[torch.Tensor]]:
    """Samples int64 [batch, units], which order they are trained in, and what is given, [batch, classes or 0]."""
    rng = np.random.default_rng(seed)
    flat = x.reshape(len(x), -1)
    while True:
        at = rng.integers(len(flat), size=batch)
        some = binarise(flat[at], rng) if system.data == "bits" else flat[at]
        told = given[at] * (rng.random((batch, 1)) >= UNLABELLED)
        parts = some.astype(np.int64), rng.integers(system.orders, size=()), told.astype(np.float32)
        yield [torch.from_numpy(np.asarray(part)) for part in parts]


def one_hot(labels: NDArray[np.integer] | None, count: int, classes: int) -> NDArray[np.float32]:
    """What a net is given of each picture, [count, classes]. Raises ClickException for labels that do not fit."""
    if not classes:
        return np.zeros((count, 0), np.float32)
    if labels is None or labels.shape != (count,) or labels.min() < -1 or labels.max() >= classes:
        raise click.ClickException(f"the system needs labels of {classes} classes: train_labels, test_labels")
    result: NDArray[np.float32] = np.eye(classes + 1, classes, dtype=np.float32)[labels]  # the last row has no class
    return result


def by_class(x: NDArray[np.uint8], given: NDArray[np.float32]) -> list[tuple[bytes, NDArray[np.uint8]]]:
    """Images [N, H, W] of each class, with the adaptation that says so; all in one where there are none."""
    if not given.shape[1]:
        return [(b"", x)]
    kinds = given.argmax(axis=1)
    return [(bytes([kind]), x[kinds == kind]) for kind in np.unique(kinds).tolist()]


def integer_rate(weights: Weights, x: NDArray[np.uint8], given: NDArray[np.float32]) -> float:
    """Bits per dim of images [N, H, W]: ideal ones, or net ones of latents drawn at random."""
    model = load(weights, choose("cpu"))
    if not isinstance(model.coding, ExplicitCoding):
        tile = x.reshape(1, -1, x.shape[2]).astype(np.int16)
        return net_bits(model, [tile], np.random.default_rng(SEED)) / x.size
    parts = [(kind, some.reshape(1, -1, x.shape[2]).astype(np.int16)) for kind, some in by_class(x, given)]
    return sum(ideal_bits(model.coding, [tile], kind) for kind, tile in parts) / x.size


def cost(model: Trained, parts: list[torch.Tensor], masks: Sequence[Masks | None]) -> torch.Tensor:
    """What is trained, in bits per dim, of a batch as `batches` gives it."""
    x, order, given = parts
    if isinstance(model, Latents):
        with torch.autocast(x.device.type, enabled=False):  # latents are finer than bfloat16
            return model.loss(x)
    if isinstance(model, Flow):
        with torch.autocast(x.device.type, enabled=False):  # a shift is the same integer as in the file
            return torch.mean(model(x))
    if model.marginal and torch.is_grad_enabled():
        nats = by_classes(model, x)
        any_class = math.log(nats.shape[1]) - torch.logsumexp(-nats, dim=1)
        nats = torch.where(given.sum(1) > 0, (given * nats).sum(1), any_class)
        return nats.mean() / x.shape[1] / math.log(2)
    return bits(model.graph, model(x, masks[int(order)], given), x).mean()


@torch.inference_mode()
def float_rate(model: Trained, x: NDArray[np.uint8], given: NDArray[np.float32], samples: int = 1) -> float:
    """Bits per dim of images [N, H, W], in float32; samples: of the bound of models with latents."""

    def rate(p: torch.Tensor, g: torch.Tensor) -> float:
        if isinstance(model, Latents):
            return model.bound(p, samples).mean().item() / p.shape[1] / math.log(2)
        return cost(model, [p, torch.tensor(0), g], [None]).item()

    torch.manual_seed(SEED)
    at_once = max(1, min(50, _DRAWS // samples))
    flat, n = x.reshape(len(x), -1).astype(np.int64), max(1, len(x) // at_once)
    pairs = zip(np.array_split(flat, n), np.array_split(given, n), strict=True)
    return sum(rate(torch.from_numpy(p), torch.from_numpy(g)) * len(p) for p, g in pairs) / len(x)


@torch.inference_mode()
def information(model: Latents, x: NDArray[np.uint8]) -> list[float | None]:
    """Nats that latents tell of a picture: at least, of the model's own pictures (None where that is not cheap), and at
    most, of images [N, H, W]: the divergence of posterior and prior.
    """
    torch.manual_seed(SEED)
    least = model.information()
    most = model.terms(torch.from_numpy(x.reshape(len(x), -1).astype(np.int64)))[0].sum(1).mean().item()
    return [None if least is None else round(max(0.0, least), 2), round(most, 2)]


def optimisers(model: Trained, peak: float, decay: float) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the windows' and cells' matrices but the last one's, AdamW for all else, lone numbers among it; each
    with its peak rate.
    """
    nets = [module for module in model.modules() if isinstance(module, FloatGraph)]
    nodes = [(net, i, node) for net in nets for i, node in enumerate(net.graph.nodes[:-1], FIRST)]
    hidden = [w for net, i, node in nodes if node.kind in ("window", "cell") and (w := net.weights[str(i)]).numel() > 1]
    ids = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in ids]
    result: list[tuple[torch.optim.Optimizer, float]] = [
        (torch.optim.AdamW(rest, lr=peak, betas=(0.9, 0.98), weight_decay=decay, fused=True), peak)
    ]
    if hidden:
        result.append((torch.optim.Muon(hidden, lr=7 * peak, weight_decay=decay, momentum=0.95), 7 * peak))
    return result


def build(system: zoo.System, graph: Graph, seed: int) -> tuple[Trained, list[Masks]]:
    """A system to be trained, and the masks of each of its orders."""
    if system.posterior is not None:
        prior = None if system.prior is None else system.prior()
        options: dict[str, Any] = system.objective
        posterior = system.posterior(graph.shape)
        mixture = Mixture if graph.head == "bernoulli" else Clusters
        kind = {"normal": Latents, "bernoulli": Bits, "categorical": mixture}[posterior.head]
        return kind(prior, posterior, graph, seed, **options), []
    if system.flow is not None:
        return Flow(system.flow(graph.shape), graph, seed), []
    net = FloatGraph(graph, seed)
    net.marginal = system.marginal
    others = [Masks(system.graph(number, graph.shape), torch.device("cpu")) for number in range(1, system.orders)]
    return net, [net.masks, *others]


def exported(
    model: Trained, card: dict[str, Any], tile: Graph | None = None, x: torch.Tensor | None = None
) -> Weights:
    """tile: the graph that is written, if not the one that is trained. x: pictures that flows are most exact for."""
    if isinstance(model, Latents):
        return export_latents(model, card)
    return export_flow(model, card, x) if isinstance(model, Flow) else export(model, card, tile)


@click.command("masked", epilog=f"NAME is one of {', '.join(zoo.names())}.")
@click.argument("name")
@click.option("--data", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--minutes", type=float, help="As the system says, if not given.")
@steps_option
@click.option("--batch", type=int, help="Likewise.")
@click.option("--rate", type=float, help="Likewise: learning rates, times the usual ones.")
@click.option("--threads", default=0, help="CPU threads; 0 leaves the choice to torch.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint beside --out.")
@seed_option
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
        images, test = file["train"], file["test"]
        labels = [file.get(name) for name in ("train_labels", "test_labels")]
    if images.ndim != 3 or images.shape[1:] != test.shape[1:] or images.dtype != np.uint8:
        raise click.ClickException(f"{data}: expected images uint8 [N, H, W] of one size")
    try:
        graph = system.graph(0, images.shape[1:])
    except ModelError as e:
        raise click.ClickException(f"{data}: {e}") from e
    tile = None if system.tile is None else system.graph(0, system.tile)
    classes = 0 if system.posterior else graph.given
    given, told = (one_hot(a, len(x), classes) for a, x in zip(labels, (images, test), strict=True))
    held, told = test_images(test, system.data)[:SHOWN], told[:SHOWN]
    some = torch.from_numpy(test_images(images[:SHOWN], system.data).astype(np.int64)).flatten(1)
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

    def write(run: Run) -> None:
        card = dict(facts)
        if isinstance(model, Latents):
            card["bound_of_50_samples_bpd"] = round(float_rate(model, held, told, 50), 4)
            card["information_nats"] = information(model, held)
        floats, integers = float_rate(model, held, told), integer_rate(exported(model, card, None, some), held, told)
        run.report(exported(model, card, tile, some), floats, integers)

    peak = 3e-3 * (system.rate if rate is None else rate)
    batch = batch or system.batch
    seen = batch / len(images)
    run = Run(
        model,
        out,
        torch.device("cpu"),
        optimisers(model, peak, system.decay),
        lambda parts: cost(model, parts, masks),
        write,
        seen,
    )
    if resume and run.checkpoint.exists():
        run.resume()
    train(run, batches(images, given, system, batch, seed), system.minutes if minutes is None else minutes)
