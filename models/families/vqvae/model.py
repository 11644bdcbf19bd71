"""The VQ-VAE family as a model of images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.causal.model import machines
from lgcodec.models.families.causal.network import Shape, Tile
from lgcodec.models.families.vqvae.network import BATCH, STEP, Network
from lgcodec.models.families.vqvae.program import Layers
from lgcodec.models.interface import Compiled, Layered, Stack
from lgcodec.models.machines import choose as machines_choose
from lgcodec.models.machines.choose import suited
from lgcodec.models.weights import Weights


class Model:
    """interface.ImageModel of this family. machine: "numpy", "numba", "torch" or "cuda"."""

    choices: Sequence[bytes] = ()
    compiled: Compiled | None = None
    stack: Callable[..., Stack] | None = None
    latent: Callable[..., Any] | None = None
    layered: Layered | None

    def __init__(self, weights: Weights, name: str, wire_id: int, machine: str, threads: int | None) -> None:
        self.name, self.wire_id, self.weights = name, wire_id, weights
        # Before torch may be loaded: its threads otherwise spin while they wait, ten times slower beside other work.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        self.digest = weights.digest()
        threads = threads or os.cpu_count() or 1
        run = machines_choose.machine(machine)
        network = Network(weights, run)
        self.tile, self.unit = network.config.tile, network.config.rows or STEP
        self.planes = 1 if network.config.rows else causal.CHANNELS
        pixels, executor = machines(network.pixels, machine, threads)
        self.batch = min(BATCH, pixels.batch) if pixels else BATCH // 4
        self.layered = Layers(network, suited(machine), pixels, executor, threads if pixels else 1)

    def program(self, shapes: Sequence[Shape], adaptation: bytes) -> NoReturn:
        raise NotImplementedError("a layered model has its own loops")

    def adapt(self, tiles: Sequence[Tile], effort: int, choice: bytes = b"") -> bytes:
        """Nothing: these models are not fitted to images."""
        return b""
