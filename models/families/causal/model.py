"""The causal family as a model of images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.families.causal.network import CHANNELS, TILE, Network
from lgcodec.models.families.causal.program import Program
from lgcodec.models.interface import Compiled, Stack
from lgcodec.models.layers.integer import Executor
from lgcodec.models.machines.choose import executor
from lgcodec.models.optional import fitted
from lgcodec.models.weights import Weights

Tile = NDArray[np.int16]
Shape = tuple[int, int, int]


def machines(network: Network, machine: str, threads: int) -> tuple[Any, Executor]:
    """What runs all fronts of a tile in one go, CompiledCausal or GpuCausal, or None where there is neither; and the
    executor of a Program.
    """
    compiled: Any = None
    if machine == "cuda" and find_spec("triton") is not None:
        from lgcodec.models.families.causal.on_triton import GpuCausal

        compiled = GpuCausal(network, "cuda")
    elif (
        machine == "cuda" and network.config.learning
    ):  # what learns has no layers that the device's executor could keep
        machine = "numpy" if find_spec("numba") is None else "numba"
    if machine == "numba":
        from lgcodec.models.families.causal.on_numba import CompiledCausal

        compiled = CompiledCausal(network, threads)
    return compiled, executor(machine)


class Model:
    """interface.ImageModel of this family. machine: "numpy", "numba", "torch" or "cuda"."""

    def __init__(self, weights: Weights, name: str, wire_id: int, machine: str, threads: int | None) -> None:
        self.name, self.wire_id, self.weights = name, wire_id, weights
        # Before torch may be loaded: its threads otherwise spin while they wait, ten times slower beside other work.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        self.digest = weights.digest()
        self.network = Network.of(weights)
        self.threads = threads or os.cpu_count() or 1
        self.stack: Callable[..., Stack] | None = None
        self.layered = self.latent = None
        self.planes, self.tile, self.unit = CHANNELS, TILE, 8 if self.network.config.grid else 1
        self.choices: Sequence[bytes] = self.network.choices()
        self.compiled: Compiled | None
        self.compiled, self.executor = machines(self.network, machine, self.threads)
        self.batch = self.compiled.batch if self.compiled else 16

    def program(self, shapes: Sequence[Shape], adaptation: bytes) -> Program:
        return Program(self.network.adapted(adaptation), self.executor, shapes)

    def adapt(self, tiles: Sequence[Tile], effort: int, choice: bytes = b"") -> bytes:
        """`choice`, and deltas fitted to these tiles by gradient descent (needs torch and numba) where they pay."""
        return fitted("causal", self.network, tiles, effort, self.threads, choice)
