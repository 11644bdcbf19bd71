"""Flows of masked graphs: bijections of pictures of integers, whose volume is one, and a graph as the prior.

    z = x - shift(x)  modulo levels       each step, one after the other
    x = z + shift(x)                      its inverse, degree by degree

A step is a graph whose head is one number, `shift`. As a sample's shift sees samples of lower degrees alone, a step is
a bijection whatever its weights are: with two degrees NICE's additive coupling (Dinh et al. 2015), in integers as in
Hoogeboom et al. 2019; with many a masked autoregressive flow of volume one (Papamakarios et al. 2017); with one and no
net a shift of each sample alone.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lgcodec.models.errors import ModelError
from lgcodec.models.families.masked.network import FIRST, MAX_NODES, SAMPLES, Graph, Int, Network
from lgcodec.models.families.masked.program import Arrays, Blocks, Memory, Schedule, Shape, Step, Tile
from lgcodec.models.interface import Distribution, IntArray
from lgcodec.models.layers.integer import Executor
from lgcodec.models.weights import Weights


def joined(steps: Sequence[Weights], prior: Weights, card: dict[str, Any]) -> Weights:
    """One weights file of the steps' graphs and the prior's."""
    parts = {**{f"flow.{i}": part for i, part in enumerate(steps)}, "prior": prior}
    tensors = {f"{name}.{key}": a for name, part in parts.items() for key, a in part.tensors.items()}
    return Weights("masked", {"flow": [part.config for part in steps], "prior": prior.config}, tensors, card)


class Flow:
    """The graphs of a weights file, checked, on a machine. Raises ModelError where they do not fit together."""

    def __init__(self, weights: Weights, executor: Executor) -> None:
        config, tensors = weights.config, weights.tensors
        if set(config) != {"flow", "prior"} or not isinstance(config["flow"], list) or len(config["flow"]) > MAX_NODES:
            raise ModelError("masked model: a config that is not one of this release")

        def part(name: str, own: Any) -> Schedule:
            if not isinstance(own, dict):
                raise ModelError(f"masked model: {name} is not a graph")
            found = {key[len(name) + 1 :]: a for key, a in tensors.items() if key.startswith(f"{name}.")}
            return Schedule(Network.of(Weights(weights.family, own, found, {})), executor)

        self.steps = [part(f"flow.{i}", own) for i, own in enumerate(config["flow"])]
        self.prior = part("prior", config["prior"])
        graphs = [step.network.graph for step in self.steps]
        fits = all(g.head == "shift" and (g.shape, g.levels) == (self.graph.shape, self.graph.levels) for g in graphs)
        if not fits or any(g.given for g in (*graphs, self.graph)) or self.graph.head in ("shift", "normal"):
            raise ModelError("masked model: the steps and the prior of a flow do not fit together")

    @property
    def graph(self) -> Graph:
        return self.prior.network.graph

    def forward(self, x: Int) -> Int:
        """Samples int64 [N, units] -> z."""
        for step in self.steps:
            x = moved(step, x, back=False)
        return x

    def inverse(self, z: Int) -> Int:
        for step in reversed(self.steps):
            z = moved(step, z, back=True)
        return z

    def program(self, shapes: Sequence[Shape]) -> FlowTiles:
        """The program of a batch of tiles of one shape [1, H, W]."""
        return FlowTiles(self, shapes)


def moved(schedule: Schedule, value: Int, back: bool) -> Int:
    """A step of samples int64 [N, units], or its inverse."""
    graph = schedule.network.graph
    memory, last, result = Memory(schedule, len(value), None), len(graph.nodes) + FIRST - 1, np.zeros_like(value)
    for t in schedule.degrees:
        memory.step(t)
        if t not in schedule.samples:
            continue
        at, shift = schedule.samples[t], memory.now[last][..., 0].T.astype(np.int64)
        result[:, at] = (value[:, at] + (shift if back else -shift)) % graph.levels
        memory.nodes[SAMPLES][at, :, 0] = schedule.seen[(result if back else value)[:, at]].T
    return result


@dataclass(frozen=True)
class FlowTiles:
    """The model of a batch of tiles of one shape [1, H, W]; one stream per tile (interface.Explicit). Of pictures that
    the tile's edge cuts, what is missing is coded as zeros.
    """

    flow: Flow
    shapes: Sequence[Shape]

    @property
    def blocks(self) -> Blocks:
        return Blocks(self.flow.graph.shape, self.shapes)

    def _arrays(self) -> Arrays:
        return Arrays(self.flow.prior, np.ones_like(self.blocks.inside), len(self.shapes))

    def symbols(self, value: list[Tile]) -> Iterator[Step]:
        x = self.blocks.arrange(value)
        if x.min() < 0 or x.max() >= self.flow.graph.levels:
            raise ModelError(f"samples beyond the {self.flow.graph.levels} levels of this model")
        return self._arrays().symbols(self.flow.forward(x))

    def steps(self) -> Generator[Distribution, IntArray, list[Tile]]:
        return self.blocks.restore(self.flow.inverse((yield from self._arrays().steps())))
