"""The flow family on a GPU: each of its network calls, of all tiles of a batch at once; nothing returns before the end.

What is launched depends on the tiles' shape alone. All numbers are those of `flow.py`: windows of known samples become
rows of one matrix (`_window`), gpu_layers multiplies them, `_head` makes mixtures, gpu_stack their tables, and one lane
a tile pops its symbols. What lies beyond the window of samples is rare and serial (`_settle`, `_push_excess`). An
encoder keeps each group's shares, and pushes the groups from the last to the first.

As a latent's prior is the mixture of the sample that it stands for, samples are coded, and t never appears.

Checked against the CPU machines under Triton's interpreter (TRITON_INTERPRET=1), where tensors live on the CPU.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl

from lgcodec.models.entropy.mixture import LOW_SYMBOLS, MEAN_UNIT, Mixture
from lgcodec.models.errors import ModelError
from lgcodec.models.families.flow import network as flow
from lgcodec.models.families.flow.network import Network, Shape, Tile
from lgcodec.models.families.flow.program import Images
from lgcodec.models.interface import PRECISION, TOTAL, Stream
from lgcodec.models.machines.choose import Machine
from lgcodec.models.machines.triton.layers import Heads, Loaded, Products, outputs
from lgcodec.models.machines.triton.mixtures import Tables, column, store_mixtures
from lgcodec.models.machines.triton.stack import Lanes, Words, in_batches, pop_one, push_one, share, to_device

_DIFFERENCE, _PLACE = tl.constexpr(flow.DIFFERENCE_LIMIT), tl.constexpr(flow.PLACE_LIMIT)
_ERROR, _SLOPE_BITS = tl.constexpr(flow.ERROR_LIMIT), tl.constexpr(flow.SLOPE_BITS)
_UNIT, _LAST = tl.constexpr(MEAN_UNIT), tl.constexpr(flow.COMPAND_SIZE - 1)
_WITHIN = tl.constexpr(TOTAL - 4)  # frequency of no excess
_FAR = tl.constexpr(1 << 20)  # an excess of this much is refused, whatever it is
_ROWS = 32  # rows of a program
_BLOCK = 128  # samples that a lane's program looks at together


@triton.jit(
    do_not_specialize=[
        "first",
        "count",
        "tiles",
        "images",
        "area",
        "cols",
        "height",
        "width",
        "margin",
        "py",
        "px",
        "level",
    ]
)
def _window(
    planes, windows, nearest, out, fours, first, count, tiles, images, area, cols, height, width, margin, py, px, level,
    columns, seen, C: tl.constexpr, ABSOLUTE: tl.constexpr, B: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """What the networks see of positions `first` .. + count of each tile's: out float32 [tiles count, columns], fours
    [tiles count, C]. planes: float32 [4, N, height, width, C]; a tile has `images` images of `area` positions each.
    """
    row = (tl.program_id(0) * B + tl.arange(0, B))[:, None]
    k = (tl.program_id(1) * D + tl.arange(0, D))[None, :]
    valid = row < tiles * count
    q = first + row % count
    image = (row // count).to(tl.int64) * images + q // area
    y, x = q % area // cols, q % area % cols
    base = ((image * height + y + margin) * width + x + margin) * C
    use = valid & (k < seen)
    four = tl.zeros((B, D), tl.float32)
    if not ABSOLUTE:
        for i in tl.static_range(4):
            four += tl.load(planes + base + tl.load(nearest + i) * C + k % C, mask=use, other=0.0)
    around = tl.load(windows + k // C, mask=k < seen, other=0)
    value = 4.0 * tl.load(planes + base + around * C + k % C, mask=use, other=0.0) - four
    value = tl.minimum(tl.maximum(value, -_DIFFERENCE), _DIFFERENCE)
    if ABSOLUTE:
        place = tl.where(k == seen, (2 * y + py) << level, (2 * x + px) << level)
        value = tl.where(k < seen, value, tl.minimum(place, _PLACE).to(tl.float32))
    tl.store(out + row.to(tl.int64) * columns + k, value, mask=valid & (k < columns))
    tl.store(fours + row * C + k, four, mask=valid & (k < C))


@triton.jit(do_not_specialize=["rows", "hidden"])
def _head(
    sums, fours, linears, errors, extra, scale, low_end, high_end, out_weight, out_bias, out_scale, out_low, out_high,
    coarse, exponential, inverses, parameters, rows, hidden, sums_stride, last,
    c: tl.constexpr, C: tl.constexpr, K: tl.constexpr, HP: tl.constexpr, OP: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """Trunk.prior of channel c: parameters int32 [rows, 3 K], see gpu_stack.Tables. errors: int32 [C, rows]."""
    row = tl.program_id(0) * B + tl.arange(0, B)
    valid = row < rows
    o = tl.arange(0, HP)[None, :]
    is_hidden = o < hidden
    sums += row.to(tl.int64)[:, None] * sums_stride + c * hidden
    z = tl.load(sums + o, mask=valid[:, None] & is_hidden, other=0.0)
    for j in tl.static_range(c):
        e = tl.load(errors + j * rows + row, mask=valid, other=0) >> 3
        known = tl.load(coarse + tl.minimum(tl.abs(e), _LAST), mask=valid, other=0).to(tl.float32)
        known = tl.where(e < 0, -known, known)
        z += tl.load(extra + j * hidden + o, mask=is_hidden, other=0.0) * known[:, None]
    q, p = outputs(
        z, o, scale, low_end, high_end, out_weight, out_bias, out_scale, out_low, out_high, hidden, 3 * K + c, HP, OP
    )
    centre = _centre(fours, linears, row, c, C, valid)
    for j in tl.static_range(c):
        e = tl.load(errors + j * rows + row, mask=valid, other=0).to(tl.int64)
        centre += (column(q, p, 3 * K + j) * e) >> _SLOPE_BITS
    to = parameters + row.to(tl.int64) * (3 * K)
    store_mixtures(q, p, centre, 0, to, exponential, inverses, last, valid, K)


@triton.jit
def _centre(fours, linears, row, c, C: tl.constexpr, valid):
    """Trunk.centre of channel c, int64."""
    four = tl.load(fours + row * C + c, mask=valid, other=0.0)
    linear = tl.load(linears + row * C + c, mask=valid, other=0.0)
    return four.to(tl.int64) * (_UNIT // 4) + linear.to(tl.int64)


@triton.jit
def _error(x, centre):
    return tl.minimum(tl.maximum(x.to(tl.int64) * _UNIT - centre, -_ERROR), _ERROR).to(tl.int32)


@triton.jit
def _length(excess):
    """How many bytes an excess has; 0 for none and for -1, which is said of samples within."""
    more = (excess > 255).to(tl.int32) + (excess > 65535).to(tl.int32) + (excess > 16777215).to(tl.int32)
    return (excess > 0).to(tl.int32) + more


@triton.jit(do_not_specialize=["rows", "origin"])
def _split(
    values, fours, linears, high, low, excess, errors, rows, origin, size, stride,
    c: tl.constexpr, C: tl.constexpr, NETWORK: tl.constexpr, B: tl.constexpr,
):  # fmt: skip
    """A sample's symbols, how far it lies beyond its end of the window, and its error. values: int32 [rows, stride]."""
    row = tl.program_id(0) * B + tl.arange(0, B)
    valid = row < rows
    x = tl.load(values + row.to(tl.int64) * stride + c, mask=valid, other=0)
    symbol = tl.minimum(tl.maximum(x - origin, 0), size - 1)
    beyond = tl.where((symbol == 0) | (symbol == size - 1), tl.abs(x - origin - symbol), -1)
    tl.store(high + row, symbol >> 4, mask=valid)
    tl.store(low + row, symbol & 15, mask=valid)
    tl.store(excess + row, beyond, mask=valid)
    if NETWORK:
        tl.store(errors + c * rows + row, _error(x, _centre(fours, linears, row, c, C, valid)), mask=valid)


@triton.jit(do_not_specialize=["capacity", "n", "rows", "origin"])
def _settle(
    states, lefts, words, capacity, values, fours, linears, high, low, excess, lengths, errors, n, rows, origin, size,
    stride, c: tl.constexpr, C: tl.constexpr, NETWORK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The inverse of _split, of a lane's n samples: pops what lies beyond the window."""
    lane = tl.program_id(0).to(tl.int64)
    words += lane * capacity
    state = tl.load(states + lane).to(tl.uint64, bitcast=True)
    left = tl.load(lefts + lane)
    start, outside = lane * n, 0
    for block in range(0, n, BLOCK):
        i = block + tl.arange(0, BLOCK)
        symbol = tl.load(high + start + i, mask=i < n, other=1) * 16 + tl.load(low + start + i, mask=i < n, other=1)
        is_end = (symbol == 0) | (symbol == size - 1)
        tl.store(excess + start + i, tl.where(is_end, 0, -1), mask=i < n)
        outside += tl.sum(is_end.to(tl.int32), 0)
    if outside > 0:
        longest = 0
        tl.debug_barrier()
        for j in range(n):
            if tl.load(excess + start + j) >= 0:
                quantile = (state & (_WITHIN + 3)).to(tl.int32)
                length = tl.maximum(quantile - (_WITHIN - 1), 0)
                begin = tl.where(length > 0, quantile, 0)
                state, left = pop_one(state, left, words, begin, tl.where(length > 0, 1, _WITHIN))
                tl.store(lengths + start + j, length)
                longest = tl.maximum(longest, length)
        tl.debug_barrier()
        for byte in range(longest):
            for j in range(n):
                known = tl.load(excess + start + j)
                length = tl.load(lengths + start + j, mask=known >= 0, other=0)
                if length > byte:
                    digit = (state & (_WITHIN + 3)).to(tl.int32) >> 16
                    state, left = pop_one(state, left, words, digit << 16, 65536 + tl.zeros((), tl.int32))
                    more = digit.to(tl.int64) << (8 * byte)
                    tl.store(excess + start + j, tl.minimum(known + more, _FAR).to(tl.int32))
            tl.debug_barrier()
        tl.store(states + lane, state.to(tl.int64, bitcast=True))
        tl.store(lefts + lane, left)
    tl.debug_barrier()
    for block in range(0, n, BLOCK):
        i = block + tl.arange(0, BLOCK)
        row, valid = start + i, i < n
        symbol = tl.load(high + row, mask=valid, other=1) * 16 + tl.load(low + row, mask=valid, other=1)
        beyond = tl.maximum(tl.load(excess + row, mask=valid, other=0), 0)
        x = symbol + origin + tl.where(symbol == 0, -beyond, beyond)
        tl.store(values + row * stride + c, x, mask=valid)
        if NETWORK:
            tl.store(errors + c * rows + row, _error(x, _centre(fours, linears, row, c, C, valid)), mask=valid)


@triton.jit(do_not_specialize=["capacity", "n"])
def _push_excess(states, lefts, words, capacity, excess, n, BLOCK: tl.constexpr):
    """Pushes what _settle pops."""
    lane = tl.program_id(0).to(tl.int64)
    words += lane * capacity
    state = tl.load(states + lane).to(tl.uint64, bitcast=True)
    left = tl.load(lefts + lane)
    most = -1
    for block in range(0, n, BLOCK):
        i = block + tl.arange(0, BLOCK)
        most = tl.maximum(most, tl.max(tl.load(excess + lane * n + i, mask=i < n, other=-1), 0))
    if most >= 0:
        longest = _length(most)
        for back in range(longest):
            byte = longest - 1 - back
            for j in range(n):
                beyond = tl.load(excess + lane * n + n - 1 - j)
                if _length(beyond) > byte:
                    digit = (beyond >> (8 * byte)) & 255
                    state, left = push_one(state, left, words, digit << 16, 65536 + tl.zeros((), tl.int32))
        for j in range(n):
            beyond = tl.load(excess + lane * n + n - 1 - j)
            if beyond >= 0:
                length = _length(beyond)
                begin = tl.where(length > 0, _WITHIN - 1 + length, 0)
                state, left = push_one(state, left, words, begin, tl.where(length > 0, 1, _WITHIN))
        tl.store(states + lane, state.to(tl.int64, bitcast=True))
        tl.store(lefts + lane, left)


class _Trunk(NamedTuple):
    """What a network made of some positions: fours and linears float32 [n, C], and the heads' sums."""

    layers: _Phase
    fours: torch.Tensor
    linears: torch.Tensor
    sums: torch.Tensor


class _Phase:
    """The layers of one phase's network on the device."""

    def __init__(self, network: Network, number: int, phase: int, products: Products) -> None:
        layers, config = network.layers[number][phase], network.config
        self.first, self.linear = products.load(layers["first"]), products.load(layers["linear"])
        self.middle: list[Loaded] = [products.load(layers[f"middle.{i}"]) for i in range(config.depth)]
        heads, outs = ([layers[f"{part}.{c}"] for c in range(config.channels)] for part in ("head", "out"))
        self.heads = Heads(products, heads, outs, config.width)


def load(network: Network, machine: Machine) -> GpuFlow:
    """What `families.tile_coder` gives."""
    return GpuFlow(network, "cuda")


class GpuFlow:
    """interface.TileCoder for the flow family. products: how matrices are multiplied, gpu_layers.Products if None.

    Raises ExactnessError where the device rounds.
    """

    batch = 256

    def __init__(self, network: Network, device: str, products: Products | None = None) -> None:
        self.network, self.device = network, torch.device(device)
        self.products = products or Products(self.device)
        config, tables = network.config, network.tables
        self.tables = Tables(tables, config.components, self.device)
        vectors = (network.coarse, tables.exponential, tables.inverse)
        self.vectors = [to_device(v, self.device) for v in vectors]
        self.prepared = functools.lru_cache(maxsize=8)(self._prepare)
        self.prepared(b"")

    def _prepare(self, adaptation: bytes) -> list[list[_Phase]]:
        network = self.network.adapted(adaptation)
        return [[_Phase(network, s, p, self.products) for p in range(3)] for s in range(network.config.sets)]

    def encode(self, tiles: Sequence[Tile], adaptation: bytes) -> list[Stream]:
        shapes = [_shape(tile) for tile in tiles]

        def run(places: list[int]) -> list[Stream]:
            return _Batch(self, adaptation, [shapes[i] for i in places]).encode([tiles[i] for i in places])

        return in_batches(shapes, self.device, _size, run)

    def decode(self, shapes: Sequence[Shape], words: Sequence[Words], adaptation: bytes) -> list[Tile]:
        """Raises ModelError where a stream is not exactly one tile."""

        def run(places: list[int]) -> list[Tile]:
            return _Batch(self, adaptation, [shapes[i] for i in places]).decode([words[i] for i in places])

        return in_batches(shapes, self.device, _size, run)


def _shape(tile: Tile) -> Shape:
    C, H, W = tile.shape
    return C, H, W


def _size(C: int, H: int, W: int) -> int:
    """Bytes that a tile takes: symbols and shares of all its samples, planes, and a strip's rows."""
    return 60 * C * H * W + 4096 * min(flow.STRIP, H * W)


class _Batch:
    """Tiles of one shape on their way."""

    def __init__(self, core: GpuFlow, adaptation: bytes, shapes: Sequence[Shape]) -> None:
        self.core, self.config, self.device = core, core.network.config, core.device
        self.phases = core.prepared(adaptation)
        self.images = Images(self.config, shapes)
        self.tiles = len(shapes)
        self.lanes: Lanes | None = None  # to pop from
        self.pushed: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []  # of each group: shares, excess
        self.zero = torch.zeros(1, dtype=torch.int32, device=self.device)
        self.counts: dict[int, torch.Tensor] = {}

    def encode(self, tiles: Sequence[Tile]) -> list[Stream]:
        self._run(to_device(self.images.arrange(tiles), self.device).to(torch.int32))
        # An excess is below 2**16: at most 24 + 2 * 8 bits more than the two symbols.
        room = sum(starts.shape[1] + 2 * excess.shape[1] for starts, _, excess in self.pushed)
        lanes = Lanes(self.device, self.tiles, room)
        bits = torch.zeros(self.tiles, dtype=torch.float64, device=self.device)
        for starts, frequencies, excess in reversed(self.pushed):
            _push_excess[(self.tiles,)](*lanes.place, excess, excess.shape[1], BLOCK=_BLOCK, num_warps=1)
            lanes.push(starts, frequencies)
            bits += (PRECISION - torch.log2(frequencies.double())).sum(1)
            length = sum((excess > end).to(torch.int32) for end in (0, 255, 65535))
            within = PRECISION - float(np.log2(TOTAL - 4))
            bits += torch.where(excess < 0, 0.0, torch.where(excess == 0, within, PRECISION + 8.0 * length)).sum(1)
        ideal = bits.cpu().numpy()
        return [Stream(words, float(n)) for words, n in zip(lanes.words(), ideal, strict=True)]

    def decode(self, words: Sequence[Words]) -> list[Tile]:
        # Two symbols a sample, and beyond the window 24 bits and four bytes.
        self.lanes = Lanes(self.device, words, 5 * int(np.prod(self.images.tile)))
        x = self._run(None)
        if not self.lanes.are_empty():
            raise ModelError("a stream does not hold exactly its tile")
        return self.images.restore(x.cpu().numpy())

    def _counted(self, n: int) -> torch.Tensor:
        """n on the device, where kernels look for it, int32 [1]."""
        if n not in self.counts:
            self.counts[n] = to_device(np.array([n], np.int32), self.device)
        return self.counts[n]

    def _run(self, x: torch.Tensor | None) -> torch.Tensor:
        """flow.Flow.run; x: int32 [N, H, W, C]."""
        H, W = self.images.shape[1:3]
        depth = max(H - 1, W - 1).bit_length()
        known = self._last(None if x is None else x[:, :: 1 << depth, :: 1 << depth])
        for level in reversed(range(depth)):
            step, side = 1 << level, (1 << level) - 1
            part = None if x is None else x[:, ::step, ::step]
            known = self._level(level, known, ((H + side) // step, (W + side) // step), part)
        return known

    def _last(self, x: torch.Tensor | None) -> torch.Tensor:
        """The one sample that is left, [N, 1, 1, C]."""
        N, C = self.images.shape[0], self.images.shape[3]
        values = self._integers(N, C) if x is None else x.reshape(N, C).contiguous()
        for c in range(C):
            logit, mean, log_scale = np.repeat(self.core.network.last[c].astype(np.int64)[..., None], N, axis=2)
            made = Mixture.of(self.core.network.tables, logit, mean, log_scale, flow.SIZES[c], flow.ORIGINS[c])
            parameters = np.concatenate([made.mean, made.inverse, made.weight]).T.astype(np.int32)
            self._code(c, N // self.tiles, values, to_device(parameters, self.device), None, None)
        return values.reshape(N, 1, 1, C)

    def _level(self, level: int, a: torch.Tensor, size: tuple[int, int], truth: torch.Tensor | None) -> torch.Tensor:
        """The plane of this `size` from its phase a, int32 [N, h, w, C]."""
        (H, W), (N, h, w, C), config = size, a.shape, self.config
        m, channels = config.margin, config.channels
        x = self._integers(N, H, W, C)
        x[:, ::2, ::2] = a
        planes = torch.zeros((4, N, h + 2 * m, w + 2 * m, channels), device=self.device)
        planes[0, ..., :C] = self._extend(a, h, w)
        for p, (py, px) in enumerate(flow.PHASES):
            rows, cols = (H + 1 - py) // 2, (W + 1 - px) // 2
            if rows == 0 or cols == 0:
                planes[2 * py + px] = planes[0]
                continue
            positions = N // self.tiles * rows * cols
            value = self._integers(self.tiles, positions, C)
            true = None if truth is None else truth[:, py::2, px::2].reshape(value.shape)
            around = self._around(p, planes)
            for start in range(0, positions, flow.STRIP):
                strip = np.s_[:, start : start + flow.STRIP]
                n = value[strip].shape[1]
                trunk = self._trunk(level, p, planes, around, (start, n), (rows, cols))
                some = self._integers(self.tiles * n, C) if true is None else true[strip].reshape(-1, C).contiguous()
                errors = self._integers(channels, len(some))
                for c in range(C):
                    self._code(c, n, some, self._prior(trunk, errors, c), trunk, errors)
                value[strip] = some.reshape(self.tiles, n, C)
            x[:, py::2, px::2] = value.reshape(N, rows, cols, C)
            planes[2 * py + px, ..., :C] = self._extend(x[:, py::2, px::2], h, w)
        return x

    def _integers(self, *shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.int32, device=self.device)

    def _extend(self, x: torch.Tensor, h: int, w: int) -> torch.Tensor:
        """flow._extend."""
        m, (rows, cols) = self.config.margin, x.shape[1:3]
        y, v = (torch.arange(-m, n + m, device=self.device).clamp(0, end - 1) for n, end in ((h, rows), (w, cols)))
        seen = x.clamp(-flow.SAMPLE_LIMIT, flow.SAMPLE_LIMIT).to(torch.float32)
        return seen[:, y][:, :, v]

    def _around(self, phase: int, planes: torch.Tensor) -> list[torch.Tensor]:
        """How far from a position in `planes` the samples of its window lie, and the nearest ones: int64."""
        _, N, height, width, _ = planes.shape

        def away(offset: tuple[int, int]) -> int:
            parity, dy, dx = flow.locate(phase, offset)
            return (parity * N * height + dy) * width + dx

        offsets = (self.config.window(phase), flow.NEAREST[phase])
        return [to_device(np.array([away(o) for o in some], np.int64), self.device) for some in offsets]

    def _trunk(
        self, level: int, phase: int, planes: torch.Tensor, around: list[torch.Tensor], strip: tuple[int, int],
        size: tuple[int, int],
    ) -> _Trunk:  # fmt: skip
        """The network of a phase at the positions `strip` (first, count) of each tile's. around: see _around."""
        config, (_, N, height, width, C), (first, n), (rows, cols) = self.config, planes.shape, strip, size
        layers = self.phases[min(level, config.sets - 1)][phase]
        total, run, count = self.tiles * n, self.core.products, self._counted(self.tiles * n)
        seen = C * len(around[0])

        def floats(columns: int) -> torch.Tensor:
            return torch.empty((total, columns), device=self.device)

        columns = seen + 2 * config.absolute
        inputs, fours, linears = floats(columns), floats(C), floats(C)
        (py, px), images = flow.PHASES[phase], N // self.tiles
        _window[(triton.cdiv(total, _ROWS), triton.cdiv(columns, 32))](
            planes, *around, inputs, fours, first, n, self.tiles, images, rows * cols, cols, height, width,
            config.margin, py, px, level, columns, seen, C=C, ABSOLUTE=bool(config.absolute), B=_ROWS, D=32,
        )  # fmt: skip
        run.run(layers.linear, inputs, linears, count)
        h, after = floats(config.width), floats(config.width)
        run.run(layers.first, inputs, h, count)
        for layer in layers.middle:
            run.run(layer, h, after, count, h, config.limit)
            h, after = after, h
        sums = floats(layers.heads.hidden * C)
        run.run(layers.heads.sums, h, sums, count)
        return _Trunk(layers, fours, linears, sums)

    def _prior(self, trunk: _Trunk, errors: torch.Tensor, c: int) -> torch.Tensor:
        """The mixtures of channel c, int32 [n, 3 K]."""
        config, heads, rows = self.config, trunk.layers.heads, len(trunk.sums)
        parameters = self._integers(rows, 3 * config.components)
        _head[(triton.cdiv(rows, _ROWS),)](
            trunk.sums, trunk.fours, trunk.linears, errors, *heads.channels[c], *self.core.vectors, parameters, rows,
            heads.hidden, trunk.sums.stride(0), len(self.core.vectors[1]) - 1,
            c=c, C=config.channels, K=config.components, B=_ROWS, **heads.sizes(c),
        )  # fmt: skip
        return parameters

    def _code(
        self, c: int, n: int, values: torch.Tensor, parameters: torch.Tensor, trunk: _Trunk | None,
        errors: torch.Tensor | None,
    ) -> None:  # fmt: skip
        """A group: channel c of n samples of each tile. values: int32 [tiles n, C], read or written; errors: int32 [C,
        tiles n], of the channels, written.
        """
        rows, lanes, make = len(values), self.lanes, self.core.tables
        size, origin, count = flow.SIZES[c], flow.ORIGINS[c], self._counted(n)
        high, low, excess, lengths = self._integers(4, rows)
        seen = (values, values) if trunk is None else (trunk.fours, trunk.linears)
        if errors is None:
            errors = values
        constants = {"c": c, "C": self.config.channels, "NETWORK": trunk is not None}
        if lanes is None:
            _split[(triton.cdiv(rows, _BLOCK),)](
                values, *seen, high, low, excess, errors, rows, origin, size, values.stride(0), **constants, B=_BLOCK
            )
        table = self._integers(rows, max(size // LOW_SYMBOLS, LOW_SYMBOLS))
        starts, frequencies = self._integers(2, self.tiles, 2 * n) if lanes is None else (high, low)
        for part, symbols in enumerate((high, low)):
            if part == 0:
                alphabet = make.high(parameters, count, self.tiles, size, origin, table)
            else:
                alphabet = make.low(parameters, high, count, self.tiles, size, origin, table)
            if lanes is None:
                share(table, count, symbols, alphabet, self.tiles, self.zero, part, starts, frequencies)
            else:
                lanes.pop(table, count, symbols, alphabet)
        if lanes is None:
            self.pushed.append((starts, frequencies, excess.reshape(self.tiles, n)))
        else:
            _settle[(self.tiles,)](
                *lanes.place, values, *seen, high, low, excess, lengths, errors, n, rows, origin, size,
                values.stride(0), **constants, BLOCK=_BLOCK, num_warps=1,
            )  # fmt: skip
