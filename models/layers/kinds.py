"""Kinds of numbers in a network, the sizes of its layers, and the bounds of its config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lgcodec.models.errors import ModelError


@dataclass(frozen=True)
class Kind:
    """Numbers of one meaning: integers low..high, `unit` of them to 1.0 in the network that is trained; add: integers
    added to what it says.
    """

    unit: float
    low: int
    high: int
    add: float = 0.0


@dataclass(frozen=True)
class Spec:
    """What goes in and out of a layer: kinds and how many numbers of each. size: 1, or 3 for 3 x 3 positions."""

    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]
    size: int = 1


def check_bounds(family: str, config: object, bounds: Mapping[str, tuple[int, int]]) -> None:
    """Raises ModelError unless each of these fields of a config is an int from low to high."""
    for name, (low, high) in bounds.items():
        value = getattr(config, name)
        if type(value) is not int or not low <= value <= high:
            raise ModelError(f"{family} model: {name} is {value!r}, expected {low} to {high}")
