"""The VAE family: a hierarchy of latents and pixels that see them, coded by bits-back (`lgcodec/bits_back.py`).

References: Kingma & Welling 2014; Townsend et al. 2019 (BB-ANS), 2020 (HiLLoC: top-down inference, fully
convolutional); Kingma et al. 2019 (Bit-Swap); Vahdat & Kautz 2020 (NVAE: posteriors relative to the prior);
Gulrajani et al. 2017 (PixelVAE: pixels given latents and pixels).

    x --enter--> e[0] --down--> e[1] ..                    bottom up: blocks of convolutions, each grid half of the last
                  |              |
                  v              v
    pixels <-- h[0] <--up--- h[1] <-- 0                    top down: at each group z = sample of posterior(h, e),
                                                           h = h + merge(z), then blocks

Latents are standard normal given those above them: what other models put into a conditional prior's mean and scale is
left to the layers that read z, so a posterior is relative to the prior by construction. A latent is the index of one of
2**bits cells of equal prior mass: the prior is uniform, the posterior's share of a cell comes from a table of the
normal distribution's function. Pixels are coded phase by phase of 2x2 cells, given h and the phases before:

    0 2     phase 0 of the coarsest cells is given h alone, phase 0 of finer ones is the whole coarser image
    3 1

Every layer is one in integers, on both ways: in bits-back the decoder runs the posterior as well.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import NormalDist
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from lgcodec.models import convolution, mixture, stack
from lgcodec.models.convolution import Convolution
from lgcodec.models.errors import ModelError
from lgcodec.models.integer import Layer
from lgcodec.models.interface import (
    TOTAL,
    Compiled,
    Distribution,
    IntArray,
    Intervals,
    Layered,
    Read,
    Stack,
    Table,
)
from lgcodec.models.weights import Weights

Shape = tuple[int, int, int]
Tile = NDArray[np.int16]
Int = NDArray[np.int64]
Array = NDArray[np.float32]

PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))  # (y, x) in a cell, in the order of coding
SIZES, ORIGINS = (256, 512, 512), (0, -256, -256)  # alphabets of the channels, and the value of their symbol 0
CENTRE = (128, 0, 0)
LATENT_UNIT = 256  # of a latent's value and a posterior's mean
NORMAL_RANGE, NORMAL_STEPS = 8, 64  # of the table of the normal distribution: -8 to 8, steps of 1/64
RATIO_UNIT = 16  # of the logarithm of a posterior's scale


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


@dataclass(frozen=True)
class Config:
    """Sizes of one network.

    channels: 1 or 3. latents: channels of the latents of each group, for each grid from fine to coarse; the finest grid
    has cells of 2**scales pixels a side, each other one cells twice as large. blocks: after each group and on each grid
    of the way up. width: of these; hidden, depth: of the layers that see pixels, those at most `reach` cells away.
    components: of a mixture. bits: of a latent. relative: pixels are seen and predicted relative to their neighbours.
    Activations are in units of 2**-fraction, up to limit.
    """

    channels: int
    scales: int
    latents: tuple[tuple[int, ...], ...]
    width: int
    blocks: int
    hidden: int
    depth: int
    components: int
    reach: int
    relative: int
    bits: int
    fraction: int
    limit: int

    def __post_init__(self) -> None:
        bounds = {
            "channels": (1, 3), "scales": (1, 4), "width": (1, 512), "blocks": (0, 16), "hidden": (1, 512),
            "depth": (0, 16), "components": (1, 16), "reach": (1, 3), "relative": (0, 1), "bits": (4, 12),
            "fraction": (0, 12), "limit": (1, 8191),
        }  # fmt: skip
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise ModelError(f"vae model: {name} is {value!r}, expected {low} to {high}")
        try:
            groups = tuple(tuple(grid) for grid in self.latents)
        except TypeError:
            groups = ()
        flat = [n for grid in groups for n in grid]
        if (
            self.channels == 2
            or self.bits % 2
            or not 0 < len(groups) <= 6
            or not all(0 < len(grid) <= 8 for grid in groups)
            or any(type(n) is not int or not 0 < n <= 256 for n in flat)
        ):
            raise ModelError("vae model: malformed config")
        object.__setattr__(self, "latents", groups)

    @property
    def unit(self) -> int:
        """Pixels a side of the coarsest grid's cells."""
        return int(1 << (self.scales + len(self.latents) - 1))

    def kinds(self) -> dict[str, Kind]:
        activation, pixel = float(1 << self.fraction), 16 if self.relative else 64
        return {
            "sample": Kind(128, -256, 255),  # less CENTRE
            "difference": Kind(4 * pixel, -1023, 1023),  # in 1/4
            "stream": Kind(activation, -self.limit, self.limit),
            "hidden": Kind(activation, 0, self.limit),
            "latent": Kind(LATENT_UNIT, -1023, 1023),
            "mean": Kind(LATENT_UNIT, -2047, 2047),
            "ratio": Kind(RATIO_UNIT, 0, 95),  # less is wider
            "logit": Kind(mixture.LOGIT_UNIT, -4095, 4095),
            "offset": Kind(8 * mixture.MEAN_UNIT, -32768, 32767),
            "level": Kind(64 * mixture.MEAN_UNIT, -32768, 32767),  # where no neighbour tells more or less what it is
            "log_scale": Kind(mixture.LOG_SCALE_UNIT, 0, 160, 5 * mixture.LOG_SCALE_UNIT),
            "linear": Kind(pixel * mixture.MEAN_UNIT, -65536, 65535),
        }

    def layers(self) -> dict[str, Spec]:
        w, C, K = self.width, self.channels, self.components
        stream, wide = (("stream", w),), (("stream", 4 * w),)
        hidden, phase = (("hidden", w),), (("hidden", self.hidden),)
        result = {"enter": Spec((("sample", C << 2 * self.scales),), stream, 3)}

        def block(name: str) -> None:
            result[f"{name}.first"] = Spec(stream, hidden, 3)
            result[f"{name}.last"] = Spec(hidden, stream)

        for grid, groups in enumerate(self.latents):
            if grid:
                result[f"down.{grid}"] = Spec(wide, stream)
                result[f"up.{grid}"] = Spec(stream, wide)
            for b in range(self.blocks):
                block(f"encode.{grid}.{b}")
            for g, n in enumerate(groups):
                result[f"posterior.{grid}.{g}"] = Spec((("stream", 2 * w),), hidden)
                result[f"out.posterior.{grid}.{g}"] = Spec(hidden, (("mean", n), ("ratio", n)))
                result[f"merge.{grid}.{g}"] = Spec((("latent", n),), stream)
                for b in range(self.blocks):
                    block(f"decode.{grid}.{g}.{b}")
        window = (2 * self.reach + 1) ** 2 * C
        for s in range(self.scales):
            if s:
                result[f"fine.{s}"] = Spec(stream, wide)
                result[f"see.{s}"] = Spec((("difference", window),), stream)
                for b in range(self.blocks):
                    block(f"fine.{s}.{b}")
            for p in range(1 if s else 0, 4):
                seen = (("difference", p * window),) if p else ()
                if p:
                    result[f"linear.{s}.{p}"] = Spec(seen, (("linear", C),))
                result[f"phase.{s}.{p}"] = Spec((*stream, *seen), phase)
                for i in range(self.depth):
                    result[f"phase.{s}.{p}.{i}"] = Spec(phase, phase)
                mixed = (("logit", K), ("offset" if p and self.relative else "level", K), ("log_scale", K))
                for c in range(C):
                    known = (("difference", c),) if c else ()
                    result[f"head.{s}.{p}.{c}"] = Spec((*phase, *known), phase)
                    result[f"out.{s}.{p}.{c}"] = Spec((*phase, *known), mixed)
        return result


def as_dict(config: Config) -> dict[str, Any]:
    """As weights files hold it."""
    return {**asdict(config), "latents": [list(grid) for grid in config.latents]}


def limits(config: Config, spec: Spec) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """A layer's input limits, and its outputs' lowest and highest value."""
    kinds = config.kinds()
    seen = np.array([max(-kinds[k].low, kinds[k].high) for k, n in spec.inputs for _ in range(n)], np.int32)
    ends = np.array([(kinds[k].low, kinds[k].high) for k, n in spec.outputs for _ in range(n)], np.int32)
    return np.tile(seen, spec.size**2), ends[:, 0].copy(), ends[:, 1].copy()


@dataclass(frozen=True)
class Cells:
    """The cells of latents, and the normal distribution. Tables of int32 that ship with the weights.

    edges [2**bits - 1]: between the cells, in 2**-16. values [2**bits]: what layers read, in 1/256, the mean of a
    cell. normal [1025]: 2**24 times the share below t, t in steps of 1/64 from -8 to 8. precision [96]: 2**14
    exp(i / 16), one over a posterior's scale.
    """

    edges: NDArray[np.int32]
    values: NDArray[np.int32]
    normal: NDArray[np.int32]
    precision: NDArray[np.int32]

    @classmethod
    def make(cls, bits: int) -> Cells:
        """For training's export alone."""
        normal, n = NormalDist(), 1 << bits
        edges = [normal.inv_cdf(i / n) for i in range(1, n)]
        density = [0.0, *(normal.pdf(e) for e in edges), 0.0]
        values = [n * (low - high) * LATENT_UNIT for low, high in itertools.pairwise(density)]
        t = [i / NORMAL_STEPS - NORMAL_RANGE for i in range(2 * NORMAL_RANGE * NORMAL_STEPS + 1)]
        steps = [round(TOTAL * normal.cdf(v)) for v in t]
        precision = [round((1 << 14) * math.exp(i / RATIO_UNIT)) for i in range(96)]
        scaled = [round(e * (1 << 16)) for e in edges]
        return cls(*(np.array(a, np.int32) for a in (scaled, [round(v) for v in values], steps, precision)))

    def check(self, bits: int) -> None:
        """Raises ModelError unless these are what `make` makes, or could be."""
        tables = (self.edges, self.values, self.normal, self.precision)
        sizes = ((1 << bits) - 1, 1 << bits, 2 * NORMAL_RANGE * NORMAL_STEPS + 1, 96)
        if (
            [(t.dtype, t.shape) for t in tables] != [(np.dtype(np.int32), (n,)) for n in sizes]
            or any((np.diff(t.astype(np.int64)) < 0).any() for t in tables)
            or np.abs(self.edges.astype(np.int64)).max() > 1 << 20
            or self.normal.min() < 0
            or self.normal.max() > TOTAL
            or self.precision.min() < 0
        ):
            raise ModelError("vae model: malformed tables of latents")

    def cumulative(self, v: Int, size: int, t: Int) -> Int:
        """The share of TOTAL below v of `size` values, which begin where the normal distribution is at t, int64 in
        2**-16 of its standard deviation.
        """
        t = np.clip(t + (NORMAL_RANGE << 16), 0, (2 * NORMAL_RANGE << 16) - 1)
        i, fraction = t >> 10, t & 1023
        below = self.normal[i].astype(np.int64)
        below += (self.normal[i + 1] - below) * fraction >> 10
        c = v + (below * (TOTAL - size) >> 24)
        return np.where(v == 0, 0, np.where(v == size, TOTAL, c))


@dataclass(frozen=True)
class Posterior:
    """n latents' posteriors, an interface.Distribution of the indices of cells, coded as a high and a low half.

    mean: int64 [n] in 1/256; ratio: int64 [n], see Cells.precision. counts: int64 [streams].
    """

    cells: Cells
    mean: Int
    ratio: Int
    counts: Int

    @property
    def side(self) -> int:
        """How many high and how many low symbols."""
        return math.isqrt(len(self.cells.values))

    def part(self, rows: slice) -> Posterior:
        mean, ratio = self.mean[rows], self.ratio[rows]
        return Posterior(self.cells, mean, ratio, np.array([len(mean)]))

    def cumulative(self, v: Int) -> Int:
        """The share of TOTAL below cell v. v: int64 [m, n] or [m, 1] in 0..2**bits -> int64 [m, n]."""
        size = len(self.cells.values)
        edge = self.cells.edges[np.clip(v - 1, 0, size - 2)].astype(np.int64)
        t = (edge - (self.mean << 8)) * self.cells.precision[self.ratio].astype(np.int64) >> 14
        return self.cells.cumulative(v, size, t)

    def intervals(self, symbols: IntArray) -> list[Intervals]:
        v, side = np.asarray(symbols, np.int64), self.side
        first = v // side * side
        base, end, below, above = self.cumulative(np.stack([first, first + side, v, v + 1]))
        start, stop = ((c - base) * (TOTAL - side) // (end - base) for c in (below, above))
        start, stop = start + v - first, stop + v + 1 - first
        parts = ((base, end - base), (start, stop - start))
        return [Intervals(a.astype(np.uint32), n.astype(np.uint32), self.counts) for a, n in parts]

    def pop(self, read: Read) -> IntArray:
        side = self.side
        edges = self.cumulative(np.arange(0, side * side + 1, side)[:, None])
        high = np.asarray(read(edges.T.astype(np.uint32)), np.int64)
        j = np.arange(side + 1)[:, None]
        c = self.cumulative(high * side + j)
        low = (c - c[0]) * (TOTAL - side) // (c[-1] - c[0]) + j
        return high * side + read(low.T.astype(np.uint32))


class Machine(Protocol):
    """Runs layers on arrays [N, H, W, I]: float32 integers (`Integers`), or floats as trained (`vae_training`)."""

    def enter(self, kind: str, a: Any) -> Any:
        """Integers -> clipped to what a layer's input of this kind may be, in this machine's units."""
        ...

    def apply(self, name: str, *inputs: Any) -> Any:
        """The layer of the inputs' channels side by side."""
        ...

    def add(self, h: Any, change: Any) -> Any:
        """The sum of two streams, clipped."""
        ...

    def window(self, a: Any) -> Any:
        """[N, H, W, C] -> [N, H, W, (2 reach + 1)**2 C]: the cells around, edges repeated, ordered (dy, dx, C)."""
        ...

    def join(self, parts: Sequence[Any]) -> Any:
        """Channels side by side."""
        ...


def gather(a: Any) -> Any:
    """[N, 2 H, 2 W, C] -> [N, H, W, 4 C]: each cell's pixels, (0, 0), (0, 1), (1, 0), (1, 1)."""
    N, H, W, C = a.shape
    return a.reshape(N, H // 2, 2, W // 2, 2, C).swapaxes(2, 3).reshape(N, H // 2, W // 2, 4 * C)


def spread(a: Any) -> Any:
    """The inverse of `gather`."""
    N, H, W, C = a.shape
    return a.reshape(N, H, W, 2, 2, C // 4).swapaxes(2, 3).reshape(N, 2 * H, 2 * W, C // 4)


def blocks(run: Machine, config: Config, name: str, h: Any) -> Any:
    for b in range(config.blocks):
        h = run.add(h, run.apply(f"{name}.{b}.last", run.apply(f"{name}.{b}.first", h)))
    return h


def encode(run: Machine, config: Config, x: Any) -> list[Any]:
    """x [N, H, W, C] less CENTRE, H and W multiples of `config.unit` -> e of each grid, from fine to coarse."""
    cells = run.enter("sample", x)
    for _ in range(config.scales):
        cells = gather(cells)
    e = [blocks(run, config, "encode.0", run.apply("enter", cells))]
    for grid in range(1, len(config.latents)):
        e.append(blocks(run, config, f"encode.{grid}", run.apply(f"down.{grid}", gather(e[-1]))))
    return e


@dataclass(frozen=True)
class Group:
    """A step of the way down: latents [N, H, W, n] of a grid. up: the layer to the next grid, if this is the last."""

    name: str
    grid: int
    n: int
    up: str


def groups(config: Config) -> Iterator[Group]:
    """In the order of coding, from coarse to fine."""
    for grid in reversed(range(len(config.latents))):
        last = len(config.latents[grid]) - 1
        for g, n in enumerate(config.latents[grid]):
            yield Group(f"{grid}.{g}", grid, n, f"up.{grid}" if grid and g == last else "")


def posterior(run: Machine, group: Group, h: Any, e: Sequence[Any]) -> Any:
    """-> [N, H, W, 2 n]: means, then ratios."""
    return run.apply(f"out.posterior.{group.name}", run.apply(f"posterior.{group.name}", h, e[group.grid]))


def descend(run: Machine, config: Config, group: Group, h: Any, z: Any) -> Any:
    """h below the group, on the grid of the next one. z: the latents' values, as `enter` gives them."""
    h = blocks(run, config, f"decode.{group.name}", run.add(h, run.apply(f"merge.{group.name}", z)))
    return spread(run.apply(group.up, h)) if group.up else h


@dataclass(frozen=True)
class Pixels:
    """What the mixture of one channel of one phase is made of: anchor [N, H, W], integers in 1/4; linear [N, H, W] or
    None; out [N, H, W, 3 K]: logits, offsets, log scales.
    """

    scale: int
    phase: int
    channel: int
    anchor: Any
    linear: Any
    out: Any


def pixels(run: Machine, config: Config, h: Any) -> Generator[Pixels, Any, Any]:
    """Yields what each channel of each phase is made of, is sent its values, integers [N, H, W]; the image in the end,
    less CENTRE as all values here.
    """
    C = config.channels
    image: Any = None
    for s in range(config.scales):
        if s:
            window = run.window(image)
            seen = run.enter("difference", 4 * (window - run.join([centre(config, window)] * (window.shape[-1] // C))))
            h = run.add(spread(run.apply(f"fine.{s}", h)), run.apply(f"see.{s}", seen))
            h = blocks(run, config, f"fine.{s}", h)
        known = [image] if s else []
        for p in range(len(known), 4):
            inputs: list[Any] = [h]
            around: Any = None
            linear: Any = None
            if p:
                window = run.window(run.join(known))
                around = anchor(config, known, window)
                differences = 4 * window - run.join([around] * (window.shape[-1] // C))
                inputs.append(run.enter("difference", differences))
                linear = run.apply(f"linear.{s}.{p}", inputs[1])
            a = run.apply(f"phase.{s}.{p}", *inputs)
            for i in range(config.depth):
                a = run.apply(f"phase.{s}.{p}.{i}", a)
            plane: list[Any] = []
            for c in range(C):
                extra = [run.enter("difference", run.join(plane))] if c else []
                out = run.apply(f"out.{s}.{p}.{c}", run.apply(f"head.{s}.{p}.{c}", a, *extra), *extra)
                base = around[..., c] if p else 0 * h[..., 0]
                value = yield Pixels(s, p, c, base, linear[..., c] if p else None, out)
                plane.append((4 * value - base)[..., None])
            exact = run.join(plane)
            known.append((exact + around if p else exact) / 4)
        image = spread(run.join([known[0], known[2], known[3], known[1]]))
    return image


def centre(config: Config, window: Any) -> Any:
    """What a window of one phase is seen relative to, [N, H, W, C]."""
    middle = (2 * config.reach + 1) ** 2 // 2 * config.channels
    return window[..., middle : middle + config.channels] * config.relative


def anchor(config: Config, known: Sequence[Any], window: Any) -> Any:
    """What a phase's pixels are likely to be, in 1/4, [N, H, W, C]. known: the phases before; window: around them."""
    C, side = config.channels, 2 * config.reach + 1

    def cell(phase: int, dy: int, dx: int) -> Any:
        at = ((config.reach + dy) * side + config.reach + dx) * len(known) * C + phase * C
        return window[..., at : at + C]

    if not config.relative:
        return 0 * cell(0, 0, 0)
    if len(known) == 1:
        return cell(0, 0, 0) + cell(0, 0, 1) + cell(0, 1, 0) + cell(0, 1, 1)
    dy, dx = PHASES[len(known)]
    return cell(0, 0, 0) + cell(0, dy, 1 - dy) + cell(1, 0, 0) + cell(1, -dx, -dy)


@dataclass(frozen=True)
class Network:
    """The integers of one model, checked."""

    config: Config
    layers: dict[str, Convolution]
    tables: mixture.Tables
    cells: Cells

    @classmethod
    def of(cls, weights: Weights) -> Network:
        """Raises ModelError where tensors are missing, misshapen or out of the exact range."""
        if set(weights.config) != {field.name for field in fields(Config)}:
            raise ModelError(f"vae model: config {weights.config} is not one of this release")
        config = Config(**weights.config)
        try:
            layers = {}
            for name, spec in config.layers().items():
                weight, bias, shift = (weights.tensors[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
                layers[name] = Convolution(Layer(weight, bias, shift, *limits(config, spec)), spec.size)
            tables = mixture.Tables(*(weights.tensors[name] for name in ("sigmoid", "exponential", "inverse")))
            cells = Cells(*(weights.tensors[name] for name in ("edges", "values", "normal", "precision")))
        except KeyError as e:
            raise ModelError(f"vae model: tensor {e} is missing") from e
        cells.check(config.bits)
        return cls(config, layers, tables, cells)


class Integers:
    """The network in integers: a vae.Machine of the arrays of a convolution.Machine."""

    def __init__(self, network: Network, machine: convolution.Machine) -> None:
        self.network, self.machine = network, machine
        self.loaded = {name: machine.load(layer) for name, layer in network.layers.items()}
        self.kinds = network.config.kinds()

        self.join = machine.join

    def enter(self, kind: str, a: Any) -> Any:
        return a.clip(self.kinds[kind].low, self.kinds[kind].high)

    def apply(self, name: str, *inputs: Any) -> Any:
        return self.machine.convolve(self.loaded[name], inputs[0] if len(inputs) == 1 else self.join(inputs))

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
        return self.enter("latent", self.machine.array(self.network.cells.values[z].astype(np.float32)))


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
        machine = self.run.machine
        e = encode(self.run, config, machine.array(self.x))
        h, value = 0 * e[-1], []
        for group in groups(config):
            q = machine.numpy(posterior(self.run, group, h, e)).astype(np.int64)
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
        run, config, machine = self.run, self.run.network.config, self.run.machine
        h = machine.zeros(*self.latents[0].shape[:3], config.width)
        for group, z in zip(groups(config), self.latents, strict=True):
            h = descend(run, config, group, h, run.latents(z))
        C, H, W = self.shapes[0]
        steps = pixels(run, config, h)
        step = next(steps)
        try:
            while True:
                N, high, wide = step.anchor.shape
                if step.channel >= C:  # grey tiles
                    step = steps.send(machine.zeros(N, high, wide))
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
                    plane = np.floor(machine.numpy(step.anchor) / 4)
                step = steps.send(machine.array(plane))
        except StopIteration as stop:
            image = machine.numpy(stop.value)[:, :H, :W, :C] + np.array(CENTRE[:C], np.float32)
            return list(image.transpose(0, 3, 1, 2).astype(np.int16))

    def _mixture(self, step: Pixels, height: int, width: int) -> mixture.Mixture:
        K, near, numpy = self.run.network.config.components, np.s_[:, :height, :width], self.run.machine.numpy
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


class Model:
    """interface.ImageModel of this family, whose tiles are coded by bits-back. machine: "numpy", "numba", "torch" or
    "cuda".
    """

    choices: Sequence[bytes] = ()
    compiled: Compiled | None = None
    layered: Layered | None = None
    stack: Callable[..., Stack] | None = None

    def __init__(self, weights: Weights, name: str, wire_id: int, machine: str, threads: int | None) -> None:
        self.name, self.wire_id, self.weights = name, wire_id, weights
        # Before torch may be loaded: its threads otherwise spin while they wait, ten times slower beside other work.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        self.digest = weights.digest()
        self.network = Network.of(weights)
        self.run = Integers(self.network, convolution.machine(machine))
        self.unit = 1
        self.planes = self.network.config.channels
        self.tile, self.batch = ((256, 256), 8) if self.planes == 3 else ((28, 28), 64)
        self.stack = stack.suited(machine)

    def latent(self, shapes: Sequence[Shape]) -> LatentTiles:
        """The program of a batch of tiles of one shape [C, H, W]. Raises ModelError for more channels than it knows."""
        if len(set(shapes)) != 1:
            raise ValueError("a batch holds tiles of one shape")
        if shapes[0][0] > self.network.config.channels:
            raise ModelError(f"model {self.name} codes grey images alone")
        return LatentTiles(self.run, shapes)

    def program(self, shapes: Sequence[Shape], adaptation: bytes) -> NoReturn:
        raise NotImplementedError("a latent model has no explicit program")

    def adapt(self, tiles: Sequence[Tile], effort: int, choice: bytes = b"") -> bytes:
        """Nothing: these models are not fitted to images."""
        return b""
