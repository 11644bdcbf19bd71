"""The VAE family: a hierarchy of latents and pixels that see them, coded by bits-back (`codec/coding/bits_back.py`).

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

from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy import mixture
from lgcodec.models.entropy.cells import LATENT_UNIT, RATIO_UNIT, Cells
from lgcodec.models.errors import ModelError
from lgcodec.models.layers.convolution import Convolution
from lgcodec.models.layers.integer import Layer
from lgcodec.models.layers.kinds import Kind, Spec, check_bounds
from lgcodec.models.weights import Weights

Shape = tuple[int, int, int]
Tile = NDArray[np.int16]
Int = NDArray[np.int64]
Array = NDArray[np.float32]
PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))  # (y, x) in a cell, in the order of coding
SIZES, ORIGINS = (256, 512, 512), (0, -256, -256)  # alphabets of the channels, and the value of their symbol 0
CENTRE = (128, 0, 0)


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
        check_bounds("vae", self, bounds)
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


class Run(Protocol):
    """Runs layers on arrays [N, H, W, I]: float32 integers (`Integers`), or floats as trained (`vae_training`)."""

    def enter(self, kind: str, a: Any) -> Any:
        """Integers -> clipped to what a layer's input of this kind may be, in this run's units."""
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


def blocks(run: Run, config: Config, name: str, h: Any) -> Any:
    for b in range(config.blocks):
        h = run.add(h, run.apply(f"{name}.{b}.last", run.apply(f"{name}.{b}.first", h)))
    return h


def encode(run: Run, config: Config, x: Any) -> list[Any]:
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


def posterior(run: Run, group: Group, h: Any, e: Sequence[Any]) -> Any:
    """-> [N, H, W, 2 n]: means, then ratios."""
    return run.apply(f"out.posterior.{group.name}", run.apply(f"posterior.{group.name}", h, e[group.grid]))


def descend(run: Run, config: Config, group: Group, h: Any, z: Any) -> Any:
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


def pixels(run: Run, config: Config, h: Any) -> Generator[Pixels, Any, Any]:
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
