"""What the scripts of this folder share: facts of the machine, timing, tables."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Tile = NDArray[np.int16]
PATH = click.Path(path_type=Path)
FOLDER = click.Path(exists=True, path_type=Path)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def environment(device: str) -> dict[str, str]:
    facts = {"device": torch.cuda.get_device_name() if device == "cuda" else platform.machine()}
    for name in ("lgcodec", "torch", "triton", "constriction"):
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "none"
    return facts


def finish(device: str) -> None:
    """Waits until the device has done what it was asked for."""
    if device == "cuda":
        torch.cuda.synchronize()


def timed(device: str, function: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    """The result, and the median of the seconds that it takes, device and transfers included."""
    seconds = []
    for _ in range(repeats):
        finish(device)
        start = time.perf_counter()
        result = function()
        finish(device)
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Dictionaries of the same keys as a Markdown table."""
    if not rows:
        return "none\n"
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([f"{value}" for value in row.values()] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def report(out: Path, name: str, parts: dict[str, Any]) -> str:
    """OUT/name.json with everything, so far, and OUT/name.md with the tables, which it returns."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(parts, indent=1) + "\n")
    text = "\n".join(f"{title}\n\n{table(rows)}" for title, rows in parts.items() if isinstance(rows, list))
    (out / f"{name}.md").write_text(text)
    return text
