"""Options that every family's training command has."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch

from lgcodec.models.training import processes

DEADLINE = f"{__name__}.deadline"
STEPS = f"{__name__}.steps"


def _set_deadline(context: click.Context, _: click.Parameter, minutes: float) -> None:
    context.meta[DEADLINE] = time.monotonic() + 60 * minutes if minutes else math.inf


def _set_steps(context: click.Context, _: click.Parameter, steps: int) -> None:
    context.meta[STEPS] = steps


steps_option = click.option(
    "--steps",
    type=click.IntRange(min=0),
    default=0,
    expose_value=False,
    callback=_set_steps,
    help="Train this many steps (of each stage) whatever time they take, instead of --minutes; 0 for by time.",
)
seed_option = click.option(
    "--seed", default=0, show_default=True, callback=lambda context, parameter, seed: processes.own(seed)
)


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every family's command has."""
    path = click.Path(path_type=Path)
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    options = [
        click.option("--data", "folders", type=click.Path(exists=True, path_type=Path), multiple=True, required=True),
        click.option("--held-out", type=click.Path(exists=True, path_type=Path), required=True),
        click.option("--out", type=path, required=True),
        click.option("--minutes", default=60.0, show_default=True, help="0 exports what --start gave."),
        steps_option,
        click.option(
            "--call-minutes",
            default=0.0,
            expose_value=False,
            callback=_set_deadline,
            help="Stop after this time, with a checkpoint that --resume goes on from; 0 for never.",
        ),
        click.option("--device", default=cuda, show_default=True),
        click.option("--threads", default=0, help="CPU threads; 0 leaves the choice to torch."),
        click.option("--resume", is_flag=True, help="Go on from the checkpoint beside --out."),
        seed_option,
    ]
    for option in reversed(options):
        command = option(command)
    return command
