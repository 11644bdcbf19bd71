"""The flow family as a model of images."""

from __future__ import annotations

from collections.abc import Sequence

from lgcodec.models import families
from lgcodec.models.adaptation.adapter import adapter
from lgcodec.models.families.flow.network import Network
from lgcodec.models.families.flow.program import ExecutedTrunks, Program
from lgcodec.models.interface import ExplicitCoding, ImageModel, Shape, unfitted
from lgcodec.models.machines.choose import Machine
from lgcodec.models.weights import Weights

_PATIENCE = 0.9  # it decodes ten times as fast as what is shorter on a photograph


def load(weights: Weights, machine: Machine) -> ImageModel:
    """The model that these weights are. Raises ModelError where they are malformed."""
    network = Network.of(weights)
    block = network.config.block
    fast = families.tile_coder("flow", network, machine)

    def program(shapes: Sequence[Shape], adaptation: bytes) -> Program:
        adapted = network.adapted(adaptation)
        return Program(adapted, ExecutedTrunks(adapted, machine.executor), shapes)

    coding = ExplicitCoding(program, fast)
    return ImageModel(
        digest=weights.digest(),
        coding=coding,
        stack=machine.stack,
        batch=fast.batch if fast else 8,
        planes=network.config.channels,
        tile=(block, block * 512) if block else (1024, 256),
        unit=block or 1,
        patience=_PATIENCE,
        adapt=unfitted if block or network.config.channels == 1 else adapter("flow", network, coding, machine.threads),
        network=network,
    )
