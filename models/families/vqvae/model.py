"""The VQ-VAE family as a model of images."""

from __future__ import annotations

from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.causal.model import on_machine
from lgcodec.models.families.vqvae.network import BATCH, STEP, Network
from lgcodec.models.families.vqvae.program import Layers
from lgcodec.models.interface import ImageModel
from lgcodec.models.machines.choose import Machine
from lgcodec.models.weights import Weights


def load(weights: Weights, machine: Machine) -> ImageModel:
    """The model that these weights are. Raises ModelError where they are malformed."""
    network = Network(weights, machine.convolutions)
    pixels_machine, pixels = on_machine(network.pixels, machine)
    threads = machine.threads if pixels else 1
    return ImageModel(
        digest=weights.digest(),
        coding=Layers(network, machine.stack, pixels, pixels_machine.executor, threads),
        stack=machine.stack,
        batch=min(BATCH, pixels.batch) if pixels else BATCH // 4,
        planes=1 if network.config.rows else causal.CHANNELS,
        tile=network.config.tile,
        unit=network.config.rows or STEP,
        network=network,
    )
