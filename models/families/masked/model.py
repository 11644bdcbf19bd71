"""The masked family as a model of images: small grey pictures, or bits, stacked."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from lgcodec.models import stack
from lgcodec.models.families.masked.network import Network
from lgcodec.models.families.masked.program import Program, Schedule, Shape, Tile, pictures
from lgcodec.models.integer import executor
from lgcodec.models.interface import Compiled, Stack
from lgcodec.models.weights import Weights

BATCH = 1  # tiles of so many pictures that products are large


class Model:
    """interface.ImageModel of this family. machine: "numpy", "numba", "torch" or "cuda"."""

    choices: Sequence[bytes] = ()
    compiled: Compiled | None = None
    layered: None = None
    latent: None = None
    planes = 1
    batch = BATCH

    def __init__(self, weights: Weights, name: str, wire_id: int, machine: str, threads: int | None) -> None:
        self.name, self.wire_id, self.weights = name, wire_id, weights
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # see causal.Model
        self.digest = weights.digest()
        self.network = Network.of(weights)
        self.schedule = Schedule(self.network, executor(machine))
        height, width = self.network.graph.shape
        self.levels = self.network.graph.levels
        self.tile, self.unit = (width, height * pictures(self.network)), height
        self.stack: Callable[..., Stack] | None = stack.suited(machine)

    def program(self, shapes: Sequence[Shape], adaptation: bytes) -> Program:
        return Program(self.schedule, shapes)

    def adapt(self, tiles: Sequence[Tile], effort: int, choice: bytes = b"") -> bytes:
        """Nothing: these models are not fitted to images."""
        return b""
