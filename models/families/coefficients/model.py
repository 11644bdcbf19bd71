"""The coefficients family as a model of JPEG files."""

from __future__ import annotations

from collections.abc import Sequence

from lgcodec.models import families
from lgcodec.models.families.coefficients import earlier
from lgcodec.models.families.coefficients.network import BANDS, Network
from lgcodec.models.families.coefficients.program import Program, energy_of
from lgcodec.models.interface import CoefficientCoding, Coefficients, ComponentShape, ImageModel, IntArray
from lgcodec.models.machines.choose import Machine
from lgcodec.models.weights import Weights


def load(weights: Weights, machine: Machine) -> ImageModel:
    """The model that these weights are. Raises ModelError where they are malformed."""
    network = Network.of(weights)

    def program(shapes: Sequence[ComponentShape]) -> Program:
        return Program(network, machine.executor, shapes)

    def earlier_of(values: Coefficients, steps: IntArray) -> bytes:
        return earlier.found(values, steps, network.tables)

    return ImageModel(
        digest=weights.digest(),
        coding=CoefficientCoding(
            energies=len(BANDS) + 1,
            energy=energy_of,
            earliers=earlier.SIZE,
            earlier=earlier_of,
            program=program,
            fast=families.tile_coder("coefficients", network, machine),
        ),
        stack=machine.stack,
        batch=1,
        planes=3,
        tile=(1, 1),
        network=network,
    )
