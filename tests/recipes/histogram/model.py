"""The histogram family as a model of images."""

from __future__ import annotations

from collections.abc import Sequence

from lgcodec.models.families.histogram.network import Network
from lgcodec.models.families.histogram.program import Program
from lgcodec.models.interface import ExplicitCoding, ImageModel, Shape
from lgcodec.models.machines.choose import Machine
from lgcodec.models.weights import Weights


def load(weights: Weights, machine: Machine) -> ImageModel:
    network = Network.of(weights)

    def program(shapes: Sequence[Shape], adaptation: bytes) -> Program:
        return Program(network, shapes)

    coding = ExplicitCoding(program)
    return ImageModel(
        digest=weights.digest(), coding=coding, stack=machine.stack, batch=4, planes=3, tile=(256, 256), network=network
    )
