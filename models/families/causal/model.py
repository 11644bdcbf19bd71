"""The causal family as a model of images."""

from __future__ import annotations

from collections.abc import Sequence

from lgcodec.models import families
from lgcodec.models.adaptation.adapter import adapter
from lgcodec.models.families.causal.network import CHANNELS, LARGEST_TILE, LEARNING_TILE, TILE, Network
from lgcodec.models.families.causal.program import Program
from lgcodec.models.interface import ExplicitCoding, ImageModel, Shape, TileCoder
from lgcodec.models.machines.choose import Machine, choose
from lgcodec.models.weights import Weights


def load(weights: Weights, machine: Machine) -> ImageModel:
    """The model that these weights are. Raises ModelError where they are malformed."""
    network = Network.of(weights)
    coding, config = coding_of(network, machine), network.config
    return ImageModel(
        digest=weights.digest(),
        coding=coding,
        stack=machine.stack,
        batch=coding.fast.batch if coding.fast else 16,
        planes=CHANNELS,
        tile=TILE if not config.learning else LEARNING_TILE if config.rest else LARGEST_TILE,
        larger=(LARGEST_TILE,) if config.rest else (),
        unit=8 if config.grid else 1,
        choices=network.choices(),
        adapt=adapter("causal", network, coding, machine.threads),
        network=network,
    )


def coding_of(network: Network, machine: Machine) -> ExplicitCoding:
    """How a machine codes tiles of a network."""
    machine, fast = on_machine(network, machine)

    def program(shapes: Sequence[Shape], adaptation: bytes) -> Program:
        return Program(network.adapted(adaptation), machine.executor, shapes)

    return ExplicitCoding(program, fast)


def on_machine(network: Network, machine: Machine) -> tuple[Machine, TileCoder | None]:
    """The machine that serves a network, and what codes whole tiles on it.

    What learns has no layers that a device could keep: without kernels for whole tiles it stays on the processor.
    """
    if network.config.learning and machine.name == "cuda" and machine.tiles is None:
        machine = choose("cpu", threads=machine.threads)
    return machine, families.tile_coder("causal", network, machine)
