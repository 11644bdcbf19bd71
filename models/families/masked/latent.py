"""Latents of masked graphs, coded by bits-back: prior, posterior and likelihood are a graph each.

    posterior   a picture of latents given the samples          x -> z
    likelihood  a picture of samples given the latents          z -> x
    prior       a picture of latents, given nothing; without a graph all cells are as likely, which is standard normal

A latent is a cell of the normal distribution, or one of a few categories, or a bit: then the likelihood is given a
number for each category, 1 for the one that it is. A cell may be said by a mixture of normals. All three may be
autoregressive. A prior that is is what others call an inverse autoregressive flow in the posterior (Chen et al. 2017,
section 3.2); a likelihood that sees pixels makes a PixelVAE of it, or a lossy autoencoder.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy import program
from lgcodec.models.errors import ModelError
from lgcodec.models.families.masked.network import ONE, Graph, Int, Network
from lgcodec.models.families.masked.program import UNKNOWN, Arrays, Blocks, Draw, Schedule, Shape, Step, Tile
from lgcodec.models.interface import TOTAL, Distribution, IntArray, Table
from lgcodec.models.layers.integer import Executor
from lgcodec.models.weights import Weights

PARTS = ("prior", "posterior", "likelihood")
ROUNDS = 20  # of latents and pixels, to complete a picture


def split(weights: Weights) -> dict[str, Weights]:
    """The graphs of a weights file with latents, each as a file of its own. Raises ModelError."""
    parts = {}
    for name in PARTS:
        config = weights.config.get(name)
        if config is None and name == "prior":
            continue
        if not isinstance(config, dict):
            raise ModelError(f"masked model: {name} is not a graph")
        start = f"{name}."
        tensors = {key[len(start) :]: a for key, a in weights.tensors.items() if key.startswith(start)}
        parts[name] = Weights(weights.family, config, tensors, {})
    return parts


def joined(parts: dict[str, Weights], card: dict[str, object]) -> Weights:
    """The inverse of `split`."""
    tensors = {f"{name}.{key}": a for name, part in parts.items() for key, a in part.tensors.items()}
    config = {name: parts[name].config if name in parts else None for name in PARTS}
    return Weights("masked", config, tensors, card)


@dataclass(frozen=True)
class Uniform:
    """interface.Explicit of latents, int64 [N, units], of 2**bits equal cells: high halves, then low ones."""

    shape: tuple[int, int]
    levels: int

    def symbols(self, value: Int) -> Iterator[Step]:
        return program.symbols(self._run(value))

    def steps(self) -> Generator[Distribution, IntArray, Int]:
        return program.steps(self._run(None))

    def _run(self, truth: Int | None) -> Generator[Step, IntArray, Int]:
        n, side = math.prod(self.shape), math.isqrt(self.levels)
        row = (np.arange(side + 1) * (TOTAL // side)).astype(np.uint32)
        table = Table(np.broadcast_to(row, (n, side + 1)), np.array([n]))
        known = (UNKNOWN, UNKNOWN) if truth is None else np.divmod(truth.ravel(), side)
        high = yield table, known[0]
        low = yield table, known[1]
        return np.asarray(high, np.int64).reshape(self.shape) * side + np.reshape(low, self.shape)


@dataclass(frozen=True)
class Likelihood:
    """interface.Explicit of tiles given latents."""

    arrays: Arrays
    blocks: Blocks

    def symbols(self, value: list[Tile]) -> Iterator[Step]:
        return self.arrays.symbols(self.blocks.arrange(value))

    def steps(self) -> Generator[Distribution, IntArray, list[Tile]]:
        return self.blocks.restore((yield from self.arrays.steps()))


class Latents:
    """The graphs of a weights file, checked, on a machine. Raises ModelError where they do not fit together."""

    def __init__(self, weights: Weights, executor: Executor) -> None:
        if set(weights.config) != set(PARTS):
            raise ModelError("masked model: a config that is not one of this release")
        self.run = {name: Schedule(Network.of(part), executor) for name, part in split(weights).items()}
        posterior, likelihood = self.graph("posterior"), self.graph("likelihood")
        self.is_normal = posterior.head == "normal"
        sizes = math.prod(likelihood.shape), math.prod(posterior.shape) * (1 if self.is_normal else posterior.levels)
        fits = posterior.head in ("normal", "categorical", "bernoulli") and (posterior.given, likelihood.given) == sizes
        if "prior" in self.run:
            prior = self.graph("prior")
            fits = fits and (prior.shape, prior.levels, prior.given) == (posterior.shape, posterior.levels, 0)
            fits = fits and prior.head == posterior.head
        else:
            fits = fits and math.isqrt(posterior.levels) ** 2 == posterior.levels
        if not fits or not likelihood.is_of_pixels:
            raise ModelError("masked model: prior, posterior and likelihood do not fit together")

    def graph(self, name: str) -> Graph:
        return self.run[name].network.graph

    def said(self, latent: Int) -> NDArray[np.int16]:
        """What the likelihood is given of latents int64 [N, units]."""
        if self.is_normal:
            seen: NDArray[np.int16] = self.run["posterior"].seen[latent]
            return seen
        chosen = latent[..., None] == np.arange(self.graph("posterior").levels)
        given: NDArray[np.int16] = (ONE * chosen).reshape(len(latent), -1).astype(np.int16)
        return given

    def latent(self, shapes: Sequence[Shape]) -> LatentTiles:
        """The program of a batch of tiles of one shape [1, H, W]."""
        return LatentTiles(self, shapes)


@dataclass(frozen=True)
class LatentTiles:
    """bits_back.Latent of a batch of tiles of one shape [1, H, W]."""

    graphs: Latents
    shapes: Sequence[Shape]

    @property
    def blocks(self) -> Blocks:
        return Blocks(self.graphs.graph("likelihood").shape, self.shapes)

    def _pictures(self) -> int:
        return len(self.blocks.inside) * len(self.shapes)

    def _whole(self) -> NDArray[np.bool_]:
        return np.ones((self._pictures(), math.prod(self.graphs.graph("posterior").shape)), bool)

    def prior(self) -> Uniform | Arrays:
        if "prior" in self.graphs.run:
            return Arrays(self.graphs.run["prior"], self._whole())
        graph = self.graphs.graph("posterior")
        return Uniform((self._pictures(), math.prod(graph.shape)), graph.levels)

    def posterior(self, value: list[Tile]) -> Arrays:
        likelihood, blocks = self.graphs.run["likelihood"], self.blocks
        x = blocks.arrange(value)
        if x.min() < 0 or x.max() >= likelihood.network.graph.levels:
            raise ModelError(f"samples beyond the {likelihood.network.graph.levels} levels of this model")
        inside = np.tile(blocks.inside, (len(self.shapes), 1))
        seen = np.where(inside, likelihood.seen[x], 0).astype(np.int16)
        return Arrays(self.graphs.run["posterior"], self._whole(), given=seen)

    def complete(self, draw: Draw, value: list[Tile], known: list[Tile]) -> list[Tile]:
        """Tiles with what is not known drawn, given what is known: latents and pixels in turn, ROUNDS times, towards
        the model's distribution (Rezende et al. 2014, appendix F).
        """
        x = draw(self.likelihood(draw(self.prior())))
        for _ in range(ROUNDS):
            x = [np.where(k > 0, a, b) for k, a, b in zip(known, value, x, strict=True)]
            x = draw(self.likelihood(draw(self.posterior(x))))
        return [np.where(k > 0, a, b) for k, a, b in zip(known, value, x, strict=True)]

    def between(self, draw: Draw, first: Tile, last: Tile) -> list[Tile]:
        """Tiles drawn at latents on the line from the first picture's to the last one's. Raises ModelError where they
        are categories.
        """
        cells, n = self.graphs.run["posterior"].network.cells, len(self.shapes)
        if cells is None:
            raise ModelError("there is nothing between categories")
        ends = [draw(self.posterior([tile] * n)).reshape(n, -1)[0] for tile in (first, last)]
        values = cells.values.astype(np.int64)
        share, (a, b) = np.linspace(0, 1, n)[:, None], values[ends]
        z = np.searchsorted((values[1:] + values[:-1]) / 2, a + share * (b - a))
        x: list[Tile] = draw(self.likelihood(z.reshape(self._pictures(), -1)))
        return x

    def along(self, draw: Draw, value: Tile, latent: int) -> list[Tile]:
        """Tiles drawn at a picture's latents, but for one of them, which goes from its lowest value to its highest.
        Raises ModelError where there is no such latent.
        """
        n, graph = len(self.shapes), self.graphs.graph("posterior")
        z = np.repeat(draw(self.posterior([value] * n)).reshape(n, -1)[:1], n, axis=0)
        if not 0 <= latent < z.shape[1]:
            raise ModelError(f"latent {latent}: there are {z.shape[1]}, from 0 on")
        z[:, latent] = graph.levels * (2 * np.arange(n) + 1) // (2 * n)
        x: list[Tile] = draw(self.likelihood(z.reshape(self._pictures(), -1)))
        return x

    def likelihood(self, latent: Int) -> Likelihood:
        blocks, given = self.blocks, self.graphs.said(latent)
        inside = np.tile(blocks.inside, (len(self.shapes), 1))
        return Likelihood(Arrays(self.graphs.run["likelihood"], inside, given=given), blocks)
