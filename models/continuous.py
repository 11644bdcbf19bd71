"""The continuous family: a volume-preserving flow of dequantised samples, exact in integers, coded by bits-back.

References: Zhang et al. 2021 (iVPF: the modular affine transform), Ho et al. 2019 (variational dequantisation), Dinh et
al. 2017 (affine couplings), Salimans et al. 2017 (mixtures of logistics).

    x --posterior--> y = 2**bits x + u, r --couplings--> z, r'      coded: z under the prior, r' uniform
    x <--likelihood- y, r <-------------------------------- z, r'   then u and r go back on the stack

Samples stand in cells of 4 x 4, one channel per place, in an order from coarse to fine. A coupling scales and shifts
half of the channels as a network of the other half says. Its scales are ratios of integers, m[0] / m[1], m[1] / m[2],
.. m[7] / m[8], with m[0] = m[8] = 2**16: their product is one, the map preserves volume, and what one division leaves
over is what the next multiplication adds, so that nothing is lost:

    v = z m[i] + r      z' = floor(v / m[i+1])      r' = v mod m[i+1]           inverse: the same with m reversed

The remainder r of each cell starts as a random number of the stack and ends as one, at no cost. The prior codes
groups of channels in order, each a mixture of logistics given the groups before, with an escape beyond its window.
The posterior of u is a normal distribution squeezed into 0..1: the uniform one, where that is best. Everything is
integers.

Range: |y| < 2**18 as samples give it, |z| < 2**33 as any stack may give it. m is between 2**14 and 2**18, and a channel
changes in at most three couplings: it grows by less than 2**4 in each, by less than 2**20 for the shift, and |v| stays
below 2**60.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Generic, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from lgcodec.models import convolution, flow, mixture, program, stack
from lgcodec.models.convolution import Convolution
from lgcodec.models.errors import ModelError
from lgcodec.models.integer import Layer
from lgcodec.models.interface import TOTAL, Compiled, Distribution, IntArray, Intervals, Layered, Read, Stack, Table
from lgcodec.models.mixture import FRACTION_BITS, INVERSE_BITS, SIGMOID_BITS, Mixture, Tables
from lgcodec.models.vae import LATENT_UNIT, RATIO_UNIT, Cells, Kind, Posterior, Spec
from lgcodec.models.weights import Weights

T = TypeVar("T")
Shape = tuple[int, int, int]
Tile = NDArray[np.int16]
Int = NDArray[np.int64]
Latents = tuple[Int, Int]  # y [N, h, w, 16] and r [N, h, w], of h x w cells

CELL = 4
PLACES = (
    (0, 0), (2, 2), (0, 2), (2, 0), (1, 1), (1, 3), (3, 1), (3, 3),
    (0, 1), (0, 3), (2, 1), (2, 3), (1, 0), (1, 2), (3, 0), (3, 2),
)  # fmt: skip
GROUPS = (0, 1, 2, 4, 8, 12, 16)  # where each group of the prior begins in PLACES
CHANNELS, HALF = 16, 8
SCALE_BITS, SCALE_UNIT = 16, 4096  # of m; of log m
DIGITS, DIGIT = 5, 16  # of a latent's code
SIZE, ORIGIN = DIGIT**DIGITS, -(DIGIT**DIGITS) // 2  # the prior's window
FLOOR_BITS = 18  # each value's least share is 2**-34
SEEN = 1023  # the most that networks see, in quarters of a sample's step
UNKNOWN = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Config:
    """Sizes of one model. bits: of u. couplings: in turn of the finer half and of the coarser. width: of networks.
    components: of a mixture. variational: 0 where u is uniform. Activations are in units of 2**-fraction, up to limit.
    """

    bits: int = 8
    couplings: int = 2
    width: int = 64
    components: int = 5
    variational: int = 1
    fraction: int = 6
    limit: int = 1023
    scales: ClassVar[int] = HALF - 1  # that a coupling's network says

    def __post_init__(self) -> None:
        bounds = {
            "bits": (6, 10), "couplings": (0, 6), "width": (1, 512), "components": (2, 16), "variational": (0, 1),
            "fraction": (0, 12), "limit": (1, 8191),
        }  # fmt: skip
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high or (name == "bits" and value % 2):
                raise ModelError(f"continuous model: {name} is {value!r}, expected {low} to {high}")

    def kinds(self) -> dict[str, Kind]:
        one = 1 << self.bits  # a step of the samples
        return {
            "sample": Kind(256, -SEEN, SEEN),  # in 1/4
            "hidden": Kind(1 << self.fraction, 0, self.limit),
            "mean": Kind(LATENT_UNIT, -1023, 1023),
            "ratio": Kind(RATIO_UNIT, 0, 95),
            "scale": Kind(SCALE_UNIT, -SCALE_UNIT, SCALE_UNIT),
            "shift": Kind(one, -512 * one, 512 * one),
            "logit": Kind(mixture.LOGIT_UNIT, -4095, 4095),
            "fine": Kind(one, -512 * one, 512 * one),
            "level": Kind(8 * one, -512 * one, 512 * one),
            "log_scale": Kind(mixture.LOG_SCALE_UNIT, 0, 160, 4 * mixture.LOG_SCALE_UNIT),
        }

    def networks(self) -> dict[str, tuple[int, tuple[tuple[str, int], ...]]]:
        """Of each network: how many channels it sees, and what it says, each for all channels in turn."""
        result: dict[str, tuple[int, tuple[tuple[str, int], ...]]] = {}
        if self.variational:
            result["posterior"] = CHANNELS, (("mean", CHANNELS), ("ratio", CHANNELS))
        for i in range(self.couplings):
            result[f"coupling.{i}"] = HALF, (("scale", self.scales), ("shift", HALF))
        K = self.components
        for g, (start, end) in enumerate(itertools.pairwise(GROUPS)):
            n = end - start  # one of the means is for what stands exactly: black
            result[f"prior.{g}"] = start, (("logit", K * n), ("fine", n), ("level", (K - 1) * n), ("log_scale", K * n))
        return result

    def layers(self) -> dict[str, Spec]:
        hidden, result = (("hidden", self.width),), {}
        for name, (n, outputs) in self.networks().items():
            result[f"first.{name}"] = Spec((("sample", n + 1),), hidden, 3)
            result[f"middle.{name}"] = Spec(hidden, hidden, 3)
            result[f"out.{name}"] = Spec(hidden, outputs)
        return result

    def ends(self, spec: Spec) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """A layer's input limits, and its outputs' lowest and highest value."""
        kinds = self.kinds()
        seen = np.array([kinds[k].high for k, n in spec.inputs for _ in range(n)], np.int32)
        low, high = np.array([(kinds[k].low, kinds[k].high) for k, n in spec.outputs for _ in range(n)], np.int32).T
        return np.tile(seen, spec.size**2), low.copy(), high.copy()


@dataclass(frozen=True)
class Network:
    """The integers of one model, checked. powers: int64 [2 SCALE_UNIT + 1], 2**16 exp(i / SCALE_UNIT), from -1 on."""

    config: Config
    layers: dict[str, Convolution]
    tables: Tables
    cells: Cells
    powers: Int

    @classmethod
    def of(cls, weights: Weights, kind: type[Config] = Config) -> Network:
        """Raises ModelError where tensors are missing, misshapen or out of the exact range."""
        if set(weights.config) != {field.name for field in fields(kind)}:
            raise ModelError(f"{weights.family} model: config {weights.config} is not one of this release")
        config, layers = kind(**weights.config), {}
        try:
            for name, spec in config.layers().items():
                weight, bias, shift = (weights.tensors[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
                layers[name] = Convolution(Layer(weight, bias, shift, *config.ends(spec)), spec.size)
            tables = Tables(*(weights.tensors[name] for name in ("sigmoid", "exponential", "inverse")))
            cells = Cells(*(weights.tensors[name] for name in ("edges", "values", "normal", "precision")))
            powers = weights.tensors["powers"]
        except KeyError as e:
            raise ModelError(f"continuous model: tensor {e} is missing") from e
        all_tables = (tables.sigmoid, tables.exponential, tables.inverse, powers)
        sizes = (2049, 12 * mixture.LOGIT_UNIT, 161, 2 * SCALE_UNIT + 1)
        if (
            [(t.dtype, t.shape) for t in all_tables] != [(np.dtype(np.int32), (n,)) for n in sizes]
            or (np.diff(tables.sigmoid.astype(np.int64)) < 0).any()
            or min(tables.sigmoid[0], tables.exponential.min(), tables.inverse.min()) < 0
            or tables.sigmoid[-1] > 1 << SIGMOID_BITS
            or tables.exponential[0] < 1
            or max(tables.exponential.max(), tables.inverse.max()) > 1 << 20
            or powers.min() < 1 << 14
            or powers.max() > 1 << 18
        ):
            raise ModelError("continuous model: malformed tables")
        cells.check(config.bits)
        return cls(config, layers, tables, cells, powers.astype(np.int64))


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

    def __init__(self, network: Network, machine: convolution.Machine) -> None:
        self.network, self.machine = network, machine
        self.loaded = {name: machine.load(layer) for name, layer in network.layers.items()}

    def ask(self, name: str, known: Int) -> Int:
        """What a network says of each cell, int64 [N, h, w, O], given y or z of some channels."""
        inside = np.full((*known.shape[:3], 1), SEEN)  # so that edges of the image are seen
        a = np.concatenate([np.clip(known >> self.network.config.bits - 2, -SEEN, SEEN), inside], -1)
        run, layers = self.machine, self.loaded
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
    table = Table(np.broadcast_to(flow.BYTES, (n, len(flow.BYTES))), np.array([n]))
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
                excess = yield from flow._excess(np.zeros(len(at), np.int64), 1, beyond)
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


class Model:
    """interface.ImageModel of this family, whose tiles are coded by bits-back. machine: "numpy", "numba", "torch" or
    "cuda".
    """

    planes = unit = 1
    tile, batch = (28, 28), 64
    choices: Sequence[bytes] = ()
    compiled: Compiled | None = None
    layered: Layered | None = None
    stack: Callable[..., Stack] | None = None
    parts: ClassVar[tuple[type[Config], type[Networks], type[Tiles]]] = (Config, Flow, LatentTiles)

    def __init__(self, weights: Weights, name: str, wire_id: int, machine: str, threads: int | None) -> None:
        self.name, self.wire_id, self.weights = name, wire_id, weights
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # see causal.Model
        self.digest = weights.digest()
        config, networks, _ = self.parts
        self.networks = networks(Network.of(weights, config), convolution.machine(machine))
        self.stack = stack.suited(machine)

    def latent(self, shapes: Sequence[Shape]) -> Tiles:
        """The program of a batch of tiles of one shape [1, H, W]. Raises ModelError for other channels."""
        if len(set(shapes)) != 1:
            raise ValueError("a batch holds tiles of one shape")
        if shapes[0][0] != 1:
            raise ModelError(f"model {self.name} codes grey images alone")
        return self.parts[2](self.networks, len(shapes), shapes[0])

    def program(self, shapes: Sequence[Shape], adaptation: bytes) -> NoReturn:
        raise NotImplementedError("a latent model has no explicit program")

    def adapt(self, tiles: Sequence[Tile], effort: int, choice: bytes = b"") -> bytes:
        """Nothing: these models are not fitted to images."""
        return b""
