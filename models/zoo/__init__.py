"""The lectures' systems, one file each: a graph for the masked family, how it is trained, and what was published.

A file here has `SYSTEM`. Decoders need none of them: a weights file holds its graph.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lgcodec.models.families.masked.network import Graph


@dataclass(frozen=True)
class System:
    """graph: of an order's number (0 is the usual one), the shape of a picture, and sizes.

    data: "bits", pixels drawn by their grey value, or "grey". published: what others reached, and who. orders: how many
    are trained at once. batch, rate, minutes: of training; decay: of the weights. posterior, prior: of systems with
    latents, whose `graph` is the likelihood; objective: options of `objectives.Latents`. flow: of the shape of a
    picture, the steps of a flow, whose `graph` is its prior. marginal: pictures without a class are those of any. tile:
    the shape of the pictures that the weights are for, where it is not that of training's.
    """

    title: str
    graph: Callable[..., Graph]
    data: str
    published: str = ""
    orders: int = 1
    batch: int = 64
    rate: float = 1.0
    decay: float = 0.02
    posterior: Callable[..., Graph] | None = None
    prior: Callable[..., Graph] | None = None
    flow: Callable[..., list[Graph]] | None = None
    objective: dict[str, Any] = field(default_factory=dict)
    marginal: bool = False
    minutes: float = 10.0
    tile: tuple[int, int] | None = None


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "build")


def system(name: str) -> System:
    """Raises KeyError for names that are not in this folder."""
    if name not in names():
        raise KeyError(name)
    found: System = importlib.import_module(f"{__name__}.{name}").SYSTEM
    return found
