"""The continuous family in floats: the flow that is trained, its bound, and its export."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lgcodec.models.families.continuous import network as continuous
from lgcodec.models.families.continuous.floats import Floats, cells, export
from lgcodec.models.families.continuous.network import CHANNELS
from lgcodec.models.machines.choose import choose
from lgcodec.models.training import run as train
from lgcodec.models.training.optimisers import optimisers
from lgcodec.models.training.options import training_options
from lgcodec.models.training.rates import HELD_OUT, net_bits


def batches(images: NDArray[np.uint8], rng: np.random.Generator, batch: int) -> Iterator[list[Tensor]]:
    while True:
        order = rng.permutation(len(images))
        for start in range(0, len(order) - batch + 1, batch):
            yield [torch.from_numpy(cells(images[order[start : start + batch]]))]


def evaluate(model: Floats, images: NDArray[np.uint8]) -> float:
    """-ELBO, bits per dim."""
    device = model.layer("out.prior.0")[0].device
    with torch.inference_mode():
        nats = model(torch.from_numpy(cells(images)).to(device)).sum().item()
    return float(nats / math.log(2) / images.size)


def is_other(name: str) -> bool:
    """Whether a matrix is an output."""
    return name.startswith("out")


def family_command(name: str, kind: type[Floats]) -> click.Command:
    """The training command of a family with these networks."""
    defaults = kind.config_type

    @click.command(name, help=kind.__doc__)
    @training_options
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
            integers = kind.load(weights, choose(machine="numpy"))
            tiles = list(held[:, None].astype(np.int16))
            rates = [
                net_bits(integers, tiles[i : i + 100], np.random.default_rng(i)) for i in range(0, len(tiles), 100)
            ]
            run.report(weights, evaluate(model, held), sum(rates) / held.size)

        run = train.Run(model, out, torch.device(device), optimisers(model, is_other), loss, write)
        if resume and run.checkpoint.exists():
            run.resume()
        train.train(run, batches(images[:-HELD_OUT], np.random.default_rng(seed), batch), minutes)

    return command


command = family_command("continuous", Floats)
