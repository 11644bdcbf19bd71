"""The flow family as a model of images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from lgcodec.models import interface
from lgcodec.models.families.flow.network import Network
from lgcodec.models.families.flow.program import Layers, Program
from lgcodec.models.interface import Compiled
from lgcodec.models.machines.choose import executor, suited
from lgcodec.models.optional import fitted
from lgcodec.models.weights import Weights

Tile = NDArray[np.int16]
Shape = tuple[int, int, int]


class Model:
    """interface.ImageModel of this family. machine: "numpy", "numba", "torch" or "cuda"."""

    choices: Sequence[bytes] = ()
    layered: None = None
    latent: None = None

    def __init__(self, weights: Weights, name: str, wire_id: int, machine: str, threads: int | None) -> None:
        self.name, self.wire_id, self.weights = name, wire_id, weights
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # see causal.Model
        self.digest = weights.digest()
        self.network = Network.of(weights)
        self.threads = threads or os.cpu_count() or 1
        block = self.network.config.block
        self.tile, self.unit = ((block, block * 512), block) if block else ((1024, 256), 1)
        self.planes = self.network.config.channels
        self.stack: Callable[..., interface.Stack] | None = suited(machine)
        self.executor = executor(machine)
        self.compiled: Compiled | None = None
        if machine == "cuda" and find_spec("triton") is not None:
            from lgcodec.models.families.flow.on_triton import GpuFlow

            self.compiled = GpuFlow(self.network, "cuda")
        elif machine == "numba":
            from lgcodec.models.families.flow.on_numba import CompiledFlow

            self.compiled = CompiledFlow(self.network, self.threads)
        self.batch = self.compiled.batch if self.compiled else 8

    def program(self, shapes: Sequence[Shape], adaptation: bytes) -> Program:
        network = self.network.adapted(adaptation)
        return Program(network, Layers(network, self.executor), shapes)

    def adapt(self, tiles: Sequence[Tile], effort: int, choice: bytes = b"") -> bytes:
        """Deltas fitted to these tiles by gradient descent (needs torch and numba) where they pay; none of networks of
        small images.
        """
        if self.network.config.block or self.network.config.channels == 1:
            return b""
        return fitted("flow", self.network, tiles, effort, self.threads)
