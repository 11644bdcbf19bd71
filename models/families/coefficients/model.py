"""The coefficients family as a model of JPEG files."""

from __future__ import annotations

from collections.abc import Sequence

from lgcodec.models import families
from lgcodec.models.families.coefficients.network import BANDS, Network
from lgcodec.models.families.coefficients.program import Program, energy_of
from lgcodec.models.interface import CoefficientCoding, ComponentShape, ImageModel
from lgcodec.models.machines.choose import Machine
from lgcodec.models.weights import Weights


def load(weights: Weights, machine: Machine) -> ImageModel:
    """The model that these weights are. Raises ModelError where they are malformed."""
    network = Network.of(weights)

    def program(shapes: Sequence[ComponentShape]) -> Program:
        return Program(network, machine.executor, shapes)

    return ImageModel(
        digest=weights.digest(),
        coding=CoefficientCoding(
            len(BANDS) + 1, energy_of, program, families.tile_coder("coefficients", network, machine)
        ),
        stack=machine.stack,
        batch=1,
        planes=3,
        tile=(1, 1),
        network=network,
    )
