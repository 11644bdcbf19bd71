"""The masked family as a model of images: small grey pictures, or bits, stacked; those with latents as chains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lgcodec.models.errors import ModelError
from lgcodec.models.families.masked.flow import Flow, FlowTiles
from lgcodec.models.families.masked.latent import Latents, LatentTiles
from lgcodec.models.families.masked.network import Graph, Network
from lgcodec.models.families.masked.program import Program, Schedule, pictures
from lgcodec.models.interface import ExplicitCoding, ImageModel, LatentCoding, Shape
from lgcodec.models.machines.choose import Machine
from lgcodec.models.weights import Weights

LINKS = 64  # tiles of a chain that one call is given


def load(weights: Weights, machine: Machine) -> ImageModel:
    """The model that these weights are. Raises ModelError where they are malformed."""
    if "posterior" in weights.config:
        return load_latents(weights, machine)
    if "flow" in weights.config:
        return load_flow(weights, machine)
    network = Network.of(weights)
    if not network.graph.is_of_pixels:
        raise ModelError("masked model: a graph that says nothing of pixels")
    schedule = Schedule(network, machine.executor)

    def program(shapes: Sequence[Shape], adaptation: bytes) -> Program:
        return Program(schedule, shapes, adaptation)

    classes = [bytes([i]) for i in range(min(network.graph.given, 256))]
    return _stacked(weights, machine, ExplicitCoding(program), network.graph, network, classes)


def load_flow(weights: Weights, machine: Machine) -> ImageModel:
    """As `load`, of flows."""
    flow = Flow(weights, machine.executor)

    def program(shapes: Sequence[Shape], adaptation: bytes) -> FlowTiles:
        return flow.program(shapes)

    return _stacked(weights, machine, ExplicitCoding(program), flow.graph, flow)


def _stacked(
    weights: Weights,
    machine: Machine,
    coding: ExplicitCoding,
    graph: Graph,
    network: Any,
    classes: Sequence[bytes] = (),
) -> ImageModel:
    height, width = graph.shape
    return ImageModel(
        digest=weights.digest(),
        coding=coding,
        stack=machine.stack,
        batch=1,  # a tile has enough pictures
        planes=1,
        tile=(width, height * pictures(graph)),
        unit=height,
        levels=graph.levels,
        choices=classes,
        adapt=lambda tiles, effort, choice: choice,
        network=network,
    )


def load_latents(weights: Weights, machine: Machine) -> ImageModel:
    """As `load`, of graphs with latents: a tile is one picture, and a chain has as many as there are."""
    latents = Latents(weights, machine.executor)
    likelihood = latents.graph("likelihood")

    def program(shapes: Sequence[Shape]) -> LatentTiles:
        return latents.latent(shapes)

    return ImageModel(
        digest=weights.digest(),
        coding=LatentCoding(program),
        stack=machine.stack,
        batch=LINKS,
        planes=1,
        tile=(likelihood.shape[1], likelihood.shape[0]),
        levels=likelihood.levels,
        network=latents,
    )
