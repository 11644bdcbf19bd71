"""The VAE family as a program: what it codes, in which order, in numpy."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy import mixture
from lgcodec.models.entropy.cells import Posterior
from lgcodec.models.families.vae.network import (
    CENTRE,
    ORIGINS,
    PHASES,
    SIZES,
    Network,
    Pixels,
    descend,
    encode,
    groups,
    pixels,
    posterior,
)
from lgcodec.models.interface import TOTAL, Distribution, IntArray, Table
from lgcodec.models.layers import convolution

Tile = NDArray[np.int16]
Shape = tuple[int, int, int]
Array = NDArray[np.float32]
Int = NDArray[np.int64]


class Integers:
    """The network in integers: a network.Run of the arrays of a convolution.Convolutions."""

    def __init__(self, network: Network, run: convolution.Convolutions) -> None:
        self.network, self.run = network, run
        self.loaded = {name: run.load(layer) for name, layer in network.layers.items()}
        self.kinds = network.config.kinds()

        self.join = run.join

    def enter(self, kind: str, a: Any) -> Any:
        return a.clip(self.kinds[kind].low, self.kinds[kind].high)

    def apply(self, name: str, *inputs: Any) -> Any:
        return self.run.convolve(self.loaded[name], inputs[0] if len(inputs) == 1 else self.join(inputs))

    def add(self, h: Any, change: Any) -> Any:
        return self.enter("stream", h + change)

    def window(self, a: Any) -> Any:
        r = self.network.config.reach
        H, W = a.shape[1:3]
        rows, cols = (np.arange(-r, side + r).clip(0, side - 1) for side in (H, W))
        padded, around = a[:, rows][:, :, cols], range(2 * r + 1)
        return self.join([padded[:, dy : dy + H, dx : dx + W] for dy in around for dx in around])

    def latents(self, z: Int) -> Any:
        """The values of cells z."""
        return self.enter("latent", self.run.array(self.network.cells.values[z].astype(np.float32)))


def follow(
    steps: Generator[Distribution, IntArray, Any], symbols: Iterable[IntArray]
) -> Iterator[tuple[Distribution, IntArray]]:
    """What `steps` yields, with the symbols that it is sent."""
    sent: Any = None
    for known in symbols:
        yield steps.send(sent), known
        sent = known


@dataclass(frozen=True)
class PriorProgram:
    """interface.Explicit of latents, cells of equal mass. shapes: [N, H, W, n] of each group."""

    shapes: Sequence[tuple[int, ...]]
    side: int

    def symbols(self, value: list[Int]) -> Iterable[tuple[Distribution, IntArray]]:
        return follow(self.steps(), (half for z in value for half in (z.ravel() // self.side, z.ravel() % self.side)))

    def steps(self) -> Generator[Distribution, IntArray, list[Int]]:
        row, value = (np.arange(self.side + 1) * (TOTAL // self.side)).astype(np.uint32), []
        for shape in self.shapes:
            n = math.prod(shape)
            table = Table(np.broadcast_to(row, (n, len(row))), np.array([n]))
            high = yield table
            low = yield table
            value.append((np.asarray(high, np.int64) * self.side + low).reshape(shape))
        return value


@dataclass(frozen=True)
class PosteriorProgram:
    """interface.Explicit of latents given tiles x, [N, H, W, C] less CENTRE, H and W multiples of `unit`."""

    run: Integers
    x: Array

    def symbols(self, value: list[Int]) -> Iterable[tuple[Distribution, IntArray]]:
        return follow(self.steps(), (z.ravel() for z in value))

    def steps(self) -> Generator[Distribution, IntArray, list[Int]]:
        config, cells = self.run.network.config, self.run.network.cells
        host = self.run.run
        e = encode(self.run, config, host.array(self.x))
        h, value = 0 * e[-1], []
        for group in groups(config):
            q = host.numpy(posterior(self.run, group, h, e)).astype(np.int64)
            mean, ratio = q[..., : group.n], q[..., group.n :]
            z = yield Posterior(cells, mean.ravel(), ratio.ravel(), np.array([mean.size]))
            value.append(np.asarray(z, np.int64).reshape(mean.shape))
            h = descend(self.run, config, group, h, self.run.latents(value[-1]))
        return value


@dataclass(frozen=True)
class LikelihoodProgram:
    """interface.Explicit of tiles of one shape [C, H, W] given latents."""

    run: Integers
    shapes: Sequence[Shape]
    latents: list[Int]

    def symbols(self, value: list[Tile]) -> Iterable[tuple[Distribution, IntArray]]:
        x = np.stack(value).astype(np.int64)
        planes: list[Int] = []
        for _ in range(self.run.network.config.scales):
            planes = [x[:, c, dy::2, dx::2] for dy, dx in PHASES[1:] for c in range(x.shape[1])] + planes
            x = x[..., ::2, ::2]
        planes = [x[:, c] for c in range(x.shape[1])] + planes
        return follow(self.steps(), (plane.ravel() for plane in planes if plane.size))

    def steps(self) -> Generator[Distribution, IntArray, list[Tile]]:
        run, config, host = self.run, self.run.network.config, self.run.run
        h = host.zeros(*self.latents[0].shape[:3], config.width)
        for group, z in zip(groups(config), self.latents, strict=True):
            h = descend(run, config, group, h, run.latents(z))
        C, H, W = self.shapes[0]
        steps = pixels(run, config, h)
        step = next(steps)
        try:
            while True:
                N, high, wide = step.anchor.shape
                if step.channel >= C:  # grey tiles
                    step = steps.send(host.zeros(N, high, wide))
                    continue
                cell = 2 << (config.scales - 1 - step.scale)
                height, width = (
                    -(-(side - d * cell // 2) // cell) for side, d in zip((H, W), PHASES[step.phase], strict=True)
                )
                if height and width:
                    values = yield self._mixture(step, height, width)
                    inside = np.reshape(values, (N, height, width)).astype(np.float32) - CENTRE[step.channel]
                    plane = np.pad(inside, ((0, 0), (0, high - height), (0, wide - width)), "edge")
                else:
                    plane = np.floor(host.numpy(step.anchor) / 4)
                step = steps.send(host.array(plane))
        except StopIteration as stop:
            image = host.numpy(stop.value)[:, :H, :W, :C] + np.array(CENTRE[:C], np.float32)
            return list(image.transpose(0, 3, 1, 2).astype(np.int16))

    def _mixture(self, step: Pixels, height: int, width: int) -> mixture.Mixture:
        K, near, numpy = self.run.network.config.components, np.s_[:, :height, :width], self.run.run.numpy
        out = numpy(step.out[near]).astype(np.int64).reshape(-1, 3 * K).T
        mean = 16 * numpy(step.anchor[near]).astype(np.int64).ravel() + CENTRE[step.channel] * mixture.MEAN_UNIT
        if step.linear is not None:
            mean += numpy(step.linear[near]).astype(np.int64).ravel()
        size, origin = SIZES[step.channel], ORIGINS[step.channel]
        return mixture.Mixture.of(
            self.run.network.tables, out[:K], mean + out[K : 2 * K], np.ascontiguousarray(out[2 * K :]), size, origin
        )


@dataclass(frozen=True)
class LatentTiles:
    """bits_back.Latent of a batch of tiles of one shape [C, H, W]."""

    run: Integers
    shapes: Sequence[Shape]

    def prior(self) -> PriorProgram:
        config = self.run.network.config
        _, H, W = self.shapes[0]
        shapes = []
        for group in groups(config):
            cell = 1 << (config.scales + group.grid)
            height, width = (-(-side // config.unit) * config.unit // cell for side in (H, W))
            shapes.append((len(self.shapes), height, width, group.n))
        return PriorProgram(shapes, 1 << config.bits // 2)

    def posterior(self, value: list[Tile]) -> PosteriorProgram:
        config = self.run.network.config
        C, H, W = self.shapes[0]
        x = np.stack(value).transpose(0, 2, 3, 1).astype(np.float32) - np.array(CENTRE[:C], np.float32)
        over = ((0, 0), (0, -H % config.unit), (0, -W % config.unit), (0, 0))
        x = np.pad(x, over, "edge")
        return PosteriorProgram(self.run, np.pad(x, ((0, 0), (0, 0), (0, 0), (0, config.channels - C))))

    def likelihood(self, latent: list[Int]) -> LikelihoodProgram:
        return LikelihoodProgram(self.run, self.shapes, latent)
