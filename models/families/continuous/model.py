"""The continuous flow family as a model of images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.errors import ModelError
from lgcodec.models.families.continuous.network import Config, Network
from lgcodec.models.families.continuous.program import Flow, LatentTiles, Networks, Tiles
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

    planes = unit = 1
    tile, batch = (28, 28), 64
    choices: Sequence[bytes] = ()
    compiled: Compiled | None = None
    layered: Layered | None = None
    stack: Callable[..., Stack] | None = None
    parts: ClassVar[tuple[type[Config], type[Networks], type[Tiles]]] = (Config, Flow, LatentTiles)

    def __init__(self, weights: Weights, name: str, wire_id: int, machine: str, threads: int | None) -> None:
        self.name, self.wire_id, self.weights = name, wire_id, weights
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # see causal.Model
        self.digest = weights.digest()
        config, networks, _ = self.parts
        self.networks = networks(Network.of(weights, config), machines_choose.machine(machine))
        self.stack = suited(machine)

    def latent(self, shapes: Sequence[Shape]) -> Tiles:
        """The program of a batch of tiles of one shape [1, H, W]. Raises ModelError for other channels."""
        if len(set(shapes)) != 1:
            raise ValueError("a batch holds tiles of one shape")
        if shapes[0][0] != 1:
            raise ModelError(f"model {self.name} codes grey images alone")
        return self.parts[2](self.networks, len(shapes), shapes[0])

    def program(self, shapes: Sequence[Shape], adaptation: bytes) -> NoReturn:
        raise NotImplementedError("a latent model has no explicit program")

    def adapt(self, tiles: Sequence[Tile], effort: int, choice: bytes = b"") -> bytes:
        """Nothing: these models are not fitted to images."""
        return b""
