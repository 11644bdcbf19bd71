"""The flow family as a model of images."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from lgcodec.models import families
from lgcodec.models.entropy.program import ideal_bits
from lgcodec.models.families.flow.network import Network
from lgcodec.models.families.flow.program import ExecutedTrunks, Program
from lgcodec.models.interface import ExplicitCoding, ImageModel, Shape, Tile
from lgcodec.models.machines.choose import Machine
from lgcodec.models.optional import needs
from lgcodec.models.weights import Weights


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
        adapt=functools.partial(adapt, network, coding, machine.threads),
        network=network,
    )


def adapt(
    network: Network,
    coding: ExplicitCoding,
    threads: int,
    tiles: Sequence[Tile],
    effort: int,
    choice: bytes = b"",
) -> bytes:
    """Deltas fitted to these tiles by gradient descent (needs torch) where they pay; none for networks of small
    images.
    """
    if network.config.block or network.config.channels == 1:
        return b""
    with needs("torch", "effort 7 to 9"):
        from lgcodec.models.adaptation import fit
        from lgcodec.models.families.flow.floats import FloatNetwork
    return fit.adapt(FloatNetwork, network, tiles, effort, threads, functools.partial(ideal_bits, coding))
