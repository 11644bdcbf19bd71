"""Kinds of layers of a network, and how large each is."""

from __future__ import annotations

from dataclasses import dataclass


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
