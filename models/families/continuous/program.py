"""The continuous flow family as a program: what it codes, in which order, in numpy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy import mixture, program
from lgcodec.models.entropy.cells import Posterior
from lgcodec.models.entropy.escapes import BYTES, _excess
from lgcodec.models.entropy.mixture import FRACTION_BITS, INVERSE_BITS, SIGMOID_BITS, Mixture, Tables
from lgcodec.models.errors import ModelError
from lgcodec.models.families.continuous.network import (
    CELL,
    CHANNELS,
    DIGIT,
    DIGITS,
    FLOOR_BITS,
    GROUPS,
    HALF,
    ORIGIN,
    PLACES,
    SCALE_BITS,
    SCALE_UNIT,
    SEEN,
    SIZE,
    UNKNOWN,
    Latents,
    Network,
)
from lgcodec.models.interface import TOTAL, Distribution, IntArray, Intervals, Read, Table
from lgcodec.models.layers import convolution

Shape = tuple[int, int, int]
Tile = NDArray[np.int16]
T = TypeVar("T")
Int = NDArray[np.int64]


@dataclass(frozen=True)
class Logistics:
    """n mixtures of K logistics over SIZE values from ORIGIN on, coded as five digits from high to low; an
    interface.Distribution of these values. weight, mean, inverse: int64 [K, n], as of Mixture, mean in steps of the
    values, 2**bits of which are one of `inverse`.
    """

    tables: Tables
    weight: Int
    mean: Int
    inverse: Int
    bits: int
    counts: Int

    def part(self, rows: slice) -> Logistics:
        weight, mean, inverse = self.weight[:, rows], self.mean[:, rows], self.inverse[:, rows]
        return Logistics(self.tables, weight, mean, inverse, self.bits, np.array([weight.shape[1]]))

    def intervals(self, values: IntArray) -> list[Intervals]:
        v, parts = np.asarray(values, np.int64) - ORIGIN, []
        for level in reversed(range(DIGITS)):
            digit = v // DIGIT**level % DIGIT
            edges = np.stack([0 * digit, digit, digit + 1, 0 * digit + DIGIT])
            first = v // DIGIT ** (level + 1) * DIGIT ** (level + 1)
            start, stop = (_share(self.cumulative(first + edges * DIGIT**level)) + edges)[1:3]
            parts.append(Intervals(start.astype(np.uint32), (stop - start).astype(np.uint32), self.counts))
        return parts

    def pop(self, read: Read) -> Int:
        v, digits = np.zeros(self.mean.shape[1], np.int64), np.arange(DIGIT + 1)[:, None]
        for level in reversed(range(DIGITS)):
            table = _share(self.cumulative(v + digits * DIGIT**level)) + digits
            v += np.asarray(read(table.T.astype(np.uint32)), np.int64) * DIGIT**level
        value: Int = v + ORIGIN
        return value

    def cumulative(self, v: Int) -> Int:
        """What is below v, strictly increasing, of 2**52 + 2**38. v: int64 [m, n] in 0..SIZE -> int64 [m, n]."""
        middle = mixture.SIGMOID_RANGE << (6 + INVERSE_BITS)
        total = v << FLOOR_BITS
        for weight, mean, inverse in zip(self.weight, self.mean, self.inverse, strict=True):
            t = np.clip(((v + ORIGIN - mean) * inverse >> self.bits - 6) + middle, 0, 2 * middle - 1)
            i, fraction = t >> FRACTION_BITS, t & ((1 << FRACTION_BITS) - 1)
            below = self.tables.sigmoid[i].astype(np.int64)
            total += weight * ((below << FRACTION_BITS) + (self.tables.sigmoid[i + 1] - below) * fraction)
        end = (1 << mixture.WEIGHT_BITS + SIGMOID_BITS + FRACTION_BITS) + (SIZE << FLOOR_BITS)
        return np.where(v == 0, 0, np.where(v == SIZE, end, total))


def _share(c: Int) -> Int:
    """How much of TOTAL - DIGIT is below each of c, between the first and the last. c: int64 [m, n], below 2**53."""
    span = c[-1] - c[0]
    drop = np.maximum(np.frexp(span.astype(np.float64))[1] - 38, 0)  # all products below 2**63
    share: Int = ((c - c[0]) >> drop) * (TOTAL - DIGIT) // (span >> drop)
    return share


class Networks:
    """The networks that couplings and distributions ask. Arrays of cells, [N, h, w, channels]."""

    def __init__(self, network: Network, run: convolution.Convolutions) -> None:
        self.network, self.run = network, run
        self.loaded = {name: run.load(layer) for name, layer in network.layers.items()}

    def ask(self, name: str, known: Int) -> Int:
        """What a network says of each cell, int64 [N, h, w, O], given y or z of some channels."""
        inside = np.full((*known.shape[:3], 1), SEEN)  # so that edges of the image are seen
        a = np.concatenate([np.clip(known >> self.network.config.bits - 2, -SEEN, SEEN), inside], -1)
        run, layers = self.run, self.loaded
        h = run.convolve(layers[f"first.{name}"], run.array(a.astype(np.float32)))
        h = (h + run.convolve(layers[f"middle.{name}"], h)).clip(max=self.network.config.limit)
        return run.numpy(run.convolve(layers[f"out.{name}"], h)).astype(np.int64)

    def coupling(self, i: int, z: Int) -> tuple[Int, Int]:
        """The scales m [N, h, w, Config.scales] of coupling i and its shift [N, h, w, 8]."""
        said, n = self.ask(f"coupling.{i}", z[..., changed(i + 1)]), self.network.config.scales
        return self.network.powers[said[..., :n] + SCALE_UNIT], said[..., n:]


def changed(i: int) -> slice:
    """Which channels coupling i changes, given the others."""
    return slice(0, HALF) if i % 2 else slice(HALF, CHANNELS)


class Flow(Networks):
    """The couplings that preserve volume."""

    def forward(self, y: Int, r: Int) -> tuple[Int, Int]:
        """-> z and the remainders that are left, of the same shapes. r: in 0..2**16 - 1."""
        z = y.copy()
        for i in range(self.network.config.couplings):
            half, (m, shift) = changed(i), self.coupling(i, z)
            z[..., half], r = transform(z[..., half], r, _closed(m))
            z[..., half] += shift
        return z, r

    def inverse(self, z: Int, r: Int) -> tuple[Int, Int]:
        """The inverse of `forward`."""
        y = z.copy()
        for i in reversed(range(self.network.config.couplings)):
            half, (m, shift) = changed(i), self.coupling(i, y)
            scaled, r = transform((y[..., half] - shift)[..., ::-1], r, _closed(m)[..., ::-1])
            y[..., half] = scaled[..., ::-1]
        return y, r


def _closed(m: Int) -> Int:
    """With 2**16 at both ends: what a cell is scaled by in all is one."""
    return np.pad(m, ((0, 0),) * 3 + ((1, 1),), constant_values=1 << SCALE_BITS)


def transform(z: Int, r: Int, m: Int) -> tuple[Int, Int]:
    """The modular affine transform of z [..., n] by m[i] / m[i+1], with the remainders r [...] in 0..m[0] - 1."""
    result = np.empty_like(z)
    for i in range(z.shape[-1]):
        result[..., i], r = np.divmod(z[..., i] * m[..., i] + r, m[..., i + 1])
    return result, r


Step = tuple[Distribution, IntArray]
Loop = Generator[Step, IntArray, T]


class Program(Generic[T]):
    """interface.Explicit of latents: what `run` yields, distributions with their symbols where these are known."""

    def __init__(self, run: Callable[[T | None], Loop[T]]) -> None:
        self.run = run

    def symbols(self, value: T) -> Iterator[Step]:
        return program.symbols(self.run(value))

    def steps(self) -> Generator[Distribution, IntArray, T]:
        return program.steps(self.run(None))


def _remainders(cells: tuple[int, ...], r: Int | None) -> Loop[Int]:
    """Uniform remainders r, [N, h, w] = cells: a high and a low byte."""
    n = int(np.prod(cells))
    table = Table(np.broadcast_to(BYTES, (n, len(BYTES))), np.array([n]))
    high = yield table, UNKNOWN if r is None else r.ravel() >> 8
    low = yield table, UNKNOWN if r is None else r.ravel() & 255
    return (np.asarray(high, np.int64) << 8 | low).reshape(cells)


@dataclass(frozen=True)
class Likelihood:
    """interface.Explicit of tiles [1, H, W] given their latents: no choice is left."""

    tiles: list[Tile]

    def symbols(self, value: list[Tile]) -> Iterable[Step]:
        return ()

    def steps(self) -> Generator[Distribution, IntArray, list[Tile]]:
        yield from ()
        return self.tiles


class Tiles:
    """n tiles of one shape [1, H, W], and what couplings are between: y given tiles, and z."""

    def __init__(self, networks: Networks, n: int, shape: Shape) -> None:
        self.networks, self.shape = networks, shape
        self.cells = (n, -(-shape[1] // CELL), -(-shape[2] // CELL))

    def arrange(self, tiles: Sequence[Tile]) -> Int:
        """Tiles -> cells [N, h, w, 16]; the last row and column repeated to fill them."""
        _, H, W = self.shape
        x = np.pad(np.stack(tiles)[:, 0].astype(np.int64), ((0, 0), (0, -H % CELL), (0, -W % CELL)), "edge")
        return np.stack([x[:, dy::CELL, dx::CELL] for dy, dx in PLACES], -1)

    def restore(self, x: Int) -> list[Tile]:
        """The inverse of `arrange`; samples that only a damaged file holds are clipped."""
        N, h, w = self.cells
        image = np.empty((N, h * CELL, w * CELL), np.int16)
        for c, (dy, dx) in enumerate(PLACES):
            image[:, dy::CELL, dx::CELL] = np.clip(x[..., c], 0, 255)
        return list(image[:, None, : self.shape[1], : self.shape[2]])

    def dequantise(self, value: list[Tile], y: Int | None) -> Loop[Int]:
        """y given samples. Raises ModelError for one of other samples."""
        network = self.networks.network
        config, x = network.config, self.arrange(value) << network.config.bits
        said = self.networks.ask("posterior", x) if config.variational else np.zeros((*self.cells, 2 * CHANNELS), int)
        mean, ratio = said[..., :CHANNELS].ravel(), said[..., CHANNELS:].ravel()
        u = UNKNOWN if y is None else (y - x).ravel()
        if y is not None and (u.min() < 0 or u.max() >= 1 << config.bits):
            raise ModelError("a stream holds samples that no image has")
        u = np.asarray((yield Posterior(network.cells, mean, ratio, np.array([x.size])), u), np.int64)
        return x + u.reshape(x.shape)

    def quantise(self, y: Int) -> Likelihood:
        """Tiles given y."""
        return Likelihood(self.restore(y >> self.networks.network.config.bits))

    def groups(self, true: Int | None) -> Loop[Int]:
        """z under the prior, group by group."""
        z = np.zeros((*self.cells, CHANNELS), np.int64)
        for g, (start, end) in enumerate(itertools.pairwise(GROUPS)):
            distribution = self._mixtures(g, z[..., :start])
            known = UNKNOWN if true is None else true[..., start:end].ravel()
            last = ORIGIN + SIZE - 1
            value = np.array((yield distribution, np.clip(known, ORIGIN, last)), np.int64)
            at = np.flatnonzero((value == ORIGIN) | (value == last))
            if len(at):
                beyond = np.abs(known[at] - value[at]) if len(known) else known
                excess = yield from _excess(np.zeros(len(at), np.int64), 1, beyond)
                value[at] += np.where(value[at] == ORIGIN, -excess, excess)
            z[..., start:end] = value.reshape(*self.cells, end - start)
        return z

    def _mixtures(self, g: int, known: Int) -> Logistics:
        """Group g's, given the channels before."""
        network, K = self.networks.network, self.networks.network.config.components
        said = self.networks.ask(f"prior.{g}", known)
        logit, mean, log_scale = said.reshape(*self.cells, 3, K, -1).transpose(3, 4, 0, 1, 2, 5).reshape(3, K, -1)
        m = Mixture.of(network.tables, logit, mean, log_scale, SIZE, ORIGIN)
        return Logistics(network.tables, m.weight, m.mean, m.inverse, network.config.bits, m.counts)


class LatentTiles(Tiles):
    """bits_back.Latent of a batch of n tiles of one shape [1, H, W]."""

    networks: Flow

    def posterior(self, value: list[Tile]) -> Program[Latents]:
        def run(latents: Latents | None) -> Loop[Latents]:
            r = yield from _remainders(self.cells, None if latents is None else latents[1])
            return (yield from self.dequantise(value, None if latents is None else latents[0])), r

        return Program(run)

    def likelihood(self, latent: Latents) -> Likelihood:
        return self.quantise(latent[0])

    def prior(self) -> Program[Latents]:
        def run(latents: Latents | None) -> Loop[Latents]:
            true, left = (None, None) if latents is None else self.networks.forward(*latents)
            z = yield from self.groups(true)
            r = yield from _remainders(self.cells, left)
            return self.networks.inverse(z, r) if latents is None else latents

        return Program(run)
