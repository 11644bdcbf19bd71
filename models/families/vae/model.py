"""The VAE family as a model of images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.errors import ModelError
from lgcodec.models.families.vae.network import Network
from lgcodec.models.families.vae.program import Integers, LatentTiles
from lgcodec.models.interface import Compiled, Layered, Stack
from lgcodec.models.machines import choose as machines_choose
from lgcodec.models.machines.choose import suited
from lgcodec.models.weights import Weights

Tile = NDArray[np.int16]
Shape = tuple[int, int, int]


class Model:
    """interface.ImageModel of this family, whose tiles are coded by bits-back. machine: "numpy", "numba", "torch" or
    "cuda".
    """

    choices: Sequence[bytes] = ()
    compiled: Compiled | None = None
    layered: Layered | None = None
    stack: Callable[..., Stack] | None = None

    def __init__(self, weights: Weights, name: str, wire_id: int, machine: str, threads: int | None) -> None:
        self.name, self.wire_id, self.weights = name, wire_id, weights
        # Before torch may be loaded: its threads otherwise spin while they wait, ten times slower beside other work.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        self.digest = weights.digest()
        self.network = Network.of(weights)
        self.run = Integers(self.network, machines_choose.machine(machine))
        self.unit = 1
        self.planes = self.network.config.channels
        self.tile, self.batch = ((256, 256), 8) if self.planes == 3 else ((28, 28), 64)
        self.stack = suited(machine)

    def latent(self, shapes: Sequence[Shape]) -> LatentTiles:
        """The program of a batch of tiles of one shape [C, H, W]. Raises ModelError for more channels than it knows."""
        if len(set(shapes)) != 1:
            raise ValueError("a batch holds tiles of one shape")
        if shapes[0][0] > self.network.config.channels:
            raise ModelError(f"model {self.name} codes grey images alone")
        return LatentTiles(self.run, shapes)

    def program(self, shapes: Sequence[Shape], adaptation: bytes) -> NoReturn:
        raise NotImplementedError("a latent model has no explicit program")

    def adapt(self, tiles: Sequence[Tile], effort: int, choice: bytes = b"") -> bytes:
        """Nothing: these models are not fitted to images."""
        return b""
