"""The VAE family as a model of images, whose tiles are coded by bits-back."""

from __future__ import annotations

from collections.abc import Sequence

from lgcodec.models.errors import ModelError
from lgcodec.models.families.vae.network import Network
from lgcodec.models.families.vae.program import Integers, LatentTiles
from lgcodec.models.interface import ImageModel, LatentCoding, Shape
from lgcodec.models.machines.choose import Machine
from lgcodec.models.weights import Weights


def load(weights: Weights, machine: Machine) -> ImageModel:
    """The model that these weights are. Raises ModelError where they are malformed."""
    network = Network.of(weights)
    run, planes = Integers(network, machine.convolutions), network.config.channels

    def program(shapes: Sequence[Shape]) -> LatentTiles:
        if len(set(shapes)) != 1:
            raise ValueError("a batch holds tiles of one shape")
        if shapes[0][0] > planes:
            raise ModelError("the model codes grey images alone")
        return LatentTiles(run, shapes)

    return ImageModel(
        digest=weights.digest(),
        coding=LatentCoding(program),
        stack=machine.stack,
        batch=8 if planes == 3 else 64,
        planes=planes,
        tile=(256, 256) if planes == 3 else (28, 28),
        network=network,
    )
