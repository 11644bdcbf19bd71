"""The continuous flow family as a model of images, whose tiles are coded by bits-back."""

from __future__ import annotations

from collections.abc import Sequence

from lgcodec.models.errors import ModelError
from lgcodec.models.families.continuous.network import Config, Network
from lgcodec.models.families.continuous.program import Flow, LatentTiles, Networks, Tiles
from lgcodec.models.interface import ImageModel, LatentCoding, Shape
from lgcodec.models.machines.choose import Machine
from lgcodec.models.weights import Weights


def load(
    weights: Weights,
    machine: Machine,
    config: type[Config] = Config,
    networks: type[Networks] = Flow,
    latent: type[Tiles] = LatentTiles,
) -> ImageModel:
    """The model that these weights are. Raises ModelError where they are malformed.

    config, networks, latent: those of another flow that shares the rest.
    """
    network = Network.of(weights, config)
    run = networks(network, machine.convolutions)

    def program(shapes: Sequence[Shape]) -> Tiles:
        if len(set(shapes)) != 1:
            raise ValueError("a batch holds tiles of one shape")
        if shapes[0][0] != 1:
            raise ModelError("the model codes grey images alone")
        return latent(run, len(shapes), shapes[0])

    return ImageModel(
        digest=weights.digest(),
        coding=LatentCoding(program),
        stack=machine.stack,
        batch=64,
        planes=1,
        tile=(28, 28),
        network=network,
    )
