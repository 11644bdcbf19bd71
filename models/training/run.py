"""Training: `lgcodec train causal --data FOLDER --held-out FOLDER --out weights.safetensors --minutes 60`.

Random crops of augmented photographs, Muon (Jordan et al. 2024) for the hidden matrices and AdamW for the rest,
cosine decay to zero over the time (or steps) given. Every few minutes the held-out rate is printed, a checkpoint is
written beside --out (--resume finds it) and the integer network is exported to --out, with a card of facts in --out
with the ending .json. A call can be shorter than the run: --call-minutes. `Run` and `train` serve every family; each
has a command of its own below `main`. Started by torchrun, the same run takes one process a device (`processes`).
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn

from lgcodec.models.training import processes
from lgcodec.models.training.options import DEADLINE, STEPS
from lgcodec.models.training.pool import ahead
from lgcodec.models.weights import Weights

SAVE_SECONDS, EXPORT_SECONDS = 300, 1200
SAY_STEPS = 100


@dataclass
class Run:
    """One training run of any family, and where it stands.

    loss: a batch to a scalar in bits per dim. export: writes the integer weights and prints the held-out rates; called
    every EXPORT_SECONDS and at the end. seen: how often a step sees each pixel of the data. spent: seconds of training.
    """

    model: nn.Module
    out: Path
    device: torch.device
    optimisers: list[tuple[torch.optim.Optimizer, float]]
    loss: Callable[[list[torch.Tensor]], torch.Tensor]
    export: Callable[[Run], None]
    seen: float = 0.0
    step: int = 0
    spent: float = 0.0

    @property
    def checkpoint(self) -> Path:
        return self.out.with_suffix(".checkpoint.pt")

    def state(self) -> dict[str, Any]:
        states = [optimiser.state_dict() for optimiser, _ in self.optimisers]
        return {"model": self.model.state_dict(), "optimisers": states, "step": self.step, "spent": self.spent}

    def load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        for (optimiser, _), saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.step, self.spent = state["step"], state["spent"]

    def save(self) -> None:
        if not processes.is_first():
            return
        new = self.checkpoint.with_suffix(".new")
        torch.save(self.state(), new)
        new.replace(self.checkpoint)

    def resume(self) -> None:
        try:
            self.load(torch.load(self.checkpoint, map_location=self.device, weights_only=True))
        except RuntimeError as e:
            raise click.ClickException(f"{self.checkpoint}: a checkpoint of other sizes than asked for") from e
        click.echo(f"resumed at step {self.step}, {self.spent / 60:.1f} min")

    def report(self, weights: Weights, floats: float, integers: float) -> None:
        """Writes the weights with their card, and prints the rates (bits per dim on the held-out images)."""
        card = {
            **weights.card,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "training_minutes": round(self.spent / 60, 1),
            "training_steps": self.step,
            **({"processes": processes.count()} if processes.count() > 1 else {}),
            "float_bpd": round(floats, 4),
            "integer_bpd": round(integers, 4),
            "digest": weights.digest().hex(),
        }
        dataclasses.replace(weights, card=card).write(self.out)
        self.out.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
        click.echo(
            f"{self.spent / 60:6.1f} min  step {self.step:6d}  held out {floats:.4f} bits/dim as floats, "
            f"{integers:.4f} as integers ({100 * (integers / floats - 1):+.2f} %)"
        )


def lineage(began: Weights | None) -> dict[str, Any]:
    """What a card says of the network that a run starts from: its digest, and the minutes of all runs before."""
    if began is None:
        return {}
    earlier = [*began.card.get("earlier_minutes", []), began.card.get("training_minutes", 0.0)]
    return {"started_from": began.digest().hex(), "earlier_minutes": earlier}


Batch = list[torch.Tensor]
AHEAD = 4  # batches that are ready before a GPU asks for them


def pinned(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The same batches in memory that a GPU reads without the processor."""
    for batch in batches:
        yield [part.pin_memory() if torch.cuda.is_available() else part for part in batch]


def train(run: Run, batches: Iterable[Batch], minutes: float) -> bool:
    """Trains until `minutes` in all are spent, or --steps are taken; returns False where the call's time ended it."""
    context = click.get_current_context(silent=True)
    asked = {} if context is None else context.meta
    deadline, steps = asked.get(DEADLINE, math.inf), asked.get(STEPS, 0)
    if run.device.type != "cpu":
        batches = ahead(pinned(batches), AHEAD)
    if processes.count() > 1:
        run.load(processes.shared(run.state))
    mean, first = None, run.step
    started = saved = exported = time.monotonic()
    begin = started - run.spent
    for batch in batches:
        run.spent, is_over = processes.shared(lambda: (time.monotonic() - begin, time.monotonic() > deadline))
        taken, all_of_it = (run.step, steps) if steps else (run.spent / 60, minutes)
        done = taken / all_of_it if all_of_it else 1
        if done >= 1:
            break
        if is_over:
            run.save()
            click.echo(f"{run.spent / 60:6.1f} min  step {run.step:6d}  stopped; --resume goes on")
            return False
        factor = min(1, (run.step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * done))
        for optimiser, peak in run.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = peak * factor
        with torch.autocast(run.device.type, dtype=torch.bfloat16):
            loss = run.loss([b.to(run.device, non_blocking=True) for b in batch])
        for optimiser, _ in run.optimisers:
            optimiser.zero_grad()
        loss.backward()
        processes.average(run.model)
        nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
        for optimiser, _ in run.optimisers:
            optimiser.step()
        run.step += 1
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if run.step % SAY_STEPS == 0:
            speed = (run.step - first) / (time.monotonic() - started)
            times = run.step * run.seen * processes.count()
            seen = f"  each pixel seen {times:.2f} times" if run.seen else ""
            click.echo(
                f"{run.spent / 60:6.1f} min  step {run.step:6d}  train {mean:.4f} bits/dim  {speed:.1f} steps/s{seen}"
            )
        if time.monotonic() - saved > SAVE_SECONDS:
            run.save()
            saved = time.monotonic()
        if time.monotonic() - exported > EXPORT_SECONDS and processes.is_first():
            run.export(run)
            exported = time.monotonic()
    run.save()
    if processes.is_first():
        run.export(run)
    return True
