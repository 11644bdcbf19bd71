"""The flow compiled by numba: a tile's phases one after another, strip by strip in the cache, without Python between.

Everything here repeats `flow.Flow`, `flow.Program` and `mixture.Mixture` number for number; tests hold the two against
each other. Samples and activations are int16; sums, means and inverse scales int32: the bounds that `integer.Layer` and
FORMAT.md prove leave room in all of them.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy import mixture
from lgcodec.models.entropy.escapes import LENGTHS
from lgcodec.models.entropy.mixture import Mixture
from lgcodec.models.errors import ModelError
from lgcodec.models.families.flow import network as flow
from lgcodec.models.families.flow.network import NEAREST, ORIGINS, PHASES, SIZES, STRIP, Network, Shape, Tile
from lgcodec.models.families.flow.program import Images
from lgcodec.models.interface import TOTAL, Intervals, Stream
from lgcodec.models.layers.integer import Layer
from lgcodec.models.machines.choose import Machine
from lgcodec.models.machines.numba.jit import jit
from lgcodec.models.machines.numba.mixtures import SLOTS, mixtures, packed_sigmoids, shares
from lgcodec.models.machines.numba.products import activate, activate_onto, look1, look3, multiply, packed
from lgcodec.models.machines.numba.stack import MASK, CompiledStack, advance, pop_mixtures
from lgcodec.models.machines.numba.vectors import BLOCK, LANES
from lgcodec.models.parallel import each

_SAMPLE_LIMIT, _DIFFERENCE_LIMIT, _PLACE_LIMIT = flow.SAMPLE_LIMIT, flow.DIFFERENCE_LIMIT, flow.PLACE_LIMIT
_ERROR_LIMIT, _MEAN_UNIT = flow.ERROR_LIMIT, mixture.MEAN_UNIT
_NO_EXCESS = int(LENGTHS[1])  # the share of the length 0; all others have 1
_LARGEST = 32767  # sample
_TOTAL = float(TOTAL)
_MANY = 84  # half as many frequencies have a product below 2**1024


@jit
def _extend(x, place, planes, start):
    """flow._extend of the samples of a phase, into planes[start:]. x: int16 [N, H, W, C]; place: as in `_place`."""
    rows, cols, h, w, margin, channels, top, left, step = place[:9]
    C = x.shape[3]
    at = start
    for n in range(x.shape[0]):
        for y in range(-margin, h + margin):
            row = x[n, top + min(max(y, 0), rows - 1) * step]
            for v in range(-margin, w + margin):
                cell = left + min(max(v, 0), cols - 1) * step
                for c in range(C):
                    planes[at + c] = min(max(row[cell, c], -_SAMPLE_LIMIT), _SAMPLE_LIMIT)
                for c in range(C, channels):
                    planes[at + c] = 0
                at += channels


@jit
def _strip(planes, place, around, net, start, n, room):
    """What the channels of n positions from `start` on share: `h` and `centre`."""
    rows, cols, h, w, margin, channels, top, left, step, relative, width = place
    nearest, runs, columns = around
    first, first_ends, middle, middle_ends = net[:4]
    sums, seen, four, here, hidden, centre = room[:6]
    for begin in range(0, n, BLOCK):
        m = min(BLOCK, n - begin)
        v, y, image = (start + begin) % cols, (start + begin) // cols % rows, (start + begin) // (cols * rows)
        for j in range(m):
            here[j] = ((image * (h + 2 * margin) + y + margin) * (w + 2 * margin) + v + margin) * channels
            v += 1
            if v == cols:
                v, y = 0, y + 1
                if y == rows:
                    y, image = 0, image + 1
        if channels == 3:
            look3(planes, here, nearest, runs, columns, relative, _DIFFERENCE_LIMIT, seen, four, m)
        else:
            look1(planes, here, nearest, runs, columns, relative, _DIFFERENCE_LIMIT, seen, four, m)
        if relative == 0:
            for j in range(m):
                position = start + begin + j
                seen[j, columns[-1]] = min(top + position // cols % rows * step, _PLACE_LIMIT)
                seen[j, columns[-1] + 1] = min(left + position % cols * step, _PLACE_LIMIT)
        multiply(seen, first, 0, sums, m)
        block = hidden[begin:]
        activate(sums, first_ends, 0, block, m)
        for j in range(m):
            for c in range(channels):
                o = width + c
                value = (sums[j, o] + first_ends[0, 0, o]) >> first_ends[0, 1, o]
                value = min(max(value, first_ends[0, 2, o]), first_ends[0, 3, o])
                centre[c, begin + j] = 16 * four[j, c] + value
        for i in range(len(middle)):
            multiply(block, middle, i, sums, m)
            activate_onto(sums, middle_ends, i, block, m)


@jit
def _priors(c, n, net, tables, room):
    """Channel c's mixtures: mean, inverse and weight."""
    heads, head_ends, outs, out_ends = net[4:]
    exponential, inverses = tables[:2]
    sums, _, _, _, hidden, centre, z, q, error, mean, inverse, weight = room[:12]
    turned = room[17]
    for begin in range(0, n, BLOCK):
        m = min(BLOCK, n - begin)
        multiply(hidden[begin:], heads, c, sums, m)
        activate(sums, head_ends, c, z, m)
        multiply(z, outs, c, sums, m)
        activate(sums, out_ends, c, q, m)
        mixtures(q, m, begin, c, exponential, inverses, centre, error, turned, mean, inverse, weight)


@jit
def _walk(x, place, start, n, c, samples, reads):
    """Copies channel c of n positions from `start` on, from x or into it."""
    rows, cols = place[:2]
    top, left, step = place[6:9]
    v, y, image = start % cols, start // cols % rows, start // (cols * rows)
    for j in range(n):
        row, cell = top + y * step, left + v * step
        if reads:
            samples[j] = x[image, row, cell, c]
        else:
            x[image, row, cell, c] = samples[j]
        v += 1
        if v == cols:
            v, y = 0, y + 1
            if y == rows:
                y, image = 0, image + 1


@jit
def _learn(c, n, tables, room, width):
    """The errors of channel c, which `centre` and the heads of the channels after it see."""
    coarse = tables[3]
    hidden, centre, error, samples = room[4], room[5], room[8], room[12]
    last = np.int64(len(coarse) - 1)
    for j in range(n):
        e = _MEAN_UNIT * np.int64(samples[j]) - centre[c, j]
        e = min(max(e, -_ERROR_LIMIT), _ERROR_LIMIT)
        error[c, j] = e
        e >>= 3
        value = coarse[np.uint64(min(abs(e), last))]
        hidden[j, width + c] = value if e >= 0 else -value


@jit
def _code(n, size, origin, sigmoid, room, starts, frequencies, at):
    """Writes the shares of a group's n samples, from `at` on; returns where they end."""
    mean, inverse, weight, samples, values = room[9:14]
    high, ends = origin + size - 1, 0
    for j in range(n):
        values[j] = min(max(samples[j], origin), high) - origin
        ends += values[j] == 0 or values[j] == size - 1
    shares(values, mean, inverse, weight, n, size, origin, sigmoid, starts, frequencies, at)
    at += 2 * n
    if ends == 0:
        return at
    lengths = at
    excess, most = np.zeros(ends, np.int64), 0
    for j in range(n):
        if values[j] == 0 or values[j] == size - 1:
            e = abs(samples[j] - (values[j] + origin))
            excess[at - lengths] = e
            length = (e > 0) + (e > 255) + (e > 65535)
            most = max(most, length)
            starts[at] = 0 if length == 0 else _NO_EXCESS + length - 1
            frequencies[at] = _NO_EXCESS if length == 0 else 1
            at += 1
    for i in range(most):
        for e in excess:
            if e >> 8 * i > 0:
                starts[at] = ((e >> 8 * i) & 255) << 16
                frequencies[at] = 1 << 16
                at += 1
    return at


@jit
def _decode(state, words, left, n, size, origin, sigmoid, room):
    """Pops a group's n samples; left is -1 where one is beyond 16 bits."""
    mean, inverse, weight, samples, values, bases, spans, edges = room[9:17]
    known = (mean, inverse, weight, size, origin, sigmoid)
    state, left = pop_mixtures(state, words, left, n, known, values, bases, spans, edges)
    ends = 0
    for j in range(n):
        samples[j] = values[j] + origin
        ends += samples[j] == origin or samples[j] == origin + size - 1
    if ends == 0:
        return state, left
    lengths, excess, most = np.zeros(ends, np.int64), np.zeros(ends, np.int64), 0
    for i in range(ends):
        point = np.int64(state & MASK)
        start, end = np.int64(0), np.int64(_NO_EXCESS)
        if point >= end:
            lengths[i] = point - _NO_EXCESS + 1
            start, end = point, point + 1
            most = max(most, lengths[i])
        state, left = advance(state, start, end, words, left)
    for k in range(most):
        for i in range(ends):
            if lengths[i] > k:
                start = np.int64(state & MASK) >> 16 << 16
                state, left = advance(state, start, start + (1 << 16), words, left)
                excess[i] += start >> 16 << 8 * k
    i = 0
    for j in range(n):
        if samples[j] == origin or samples[j] == origin + size - 1:
            value = samples[j] + (-excess[i] if samples[j] == origin else excess[i])
            if abs(value) > _LARGEST:
                return state, -1
            samples[j] = value
            i += 1
    return state, left


@jit
def _encode_phase(x, planes, place, around, net, tables, room, starts, frequencies, at):
    rows, cols, width = place[0], place[1], place[10]
    N, _, _, C = x.shape
    for start in range(0, N * rows * cols, STRIP):
        n = min(STRIP, N * rows * cols - start)
        _strip(planes, place, around, net, start, n, room)
        for c in range(C):
            _priors(c, n, net, tables, room)
            _walk(x, place, start, n, c, room[12], True)
            at = _code(n, SIZES[c], ORIGINS[c], tables[2], room, starts, frequencies, at)
            _learn(c, n, tables, room, width)
    return at


@jit
def _decode_phase(state, words, left, x, planes, place, around, net, tables, room):
    rows, cols, width = place[0], place[1], place[10]
    N, _, _, C = x.shape
    for start in range(0, N * rows * cols, STRIP):
        n = min(STRIP, N * rows * cols - start)
        _strip(planes, place, around, net, start, n, room)
        for c in range(C):
            _priors(c, n, net, tables, room)
            state, left = _decode(state, words, left, n, SIZES[c], ORIGINS[c], tables[2], room)
            if left < 0:
                return state, left
            _walk(x, place, start, n, c, room[12], False)
            _learn(c, n, tables, room, width)
    return state, left


@jit
def _bits(frequencies):
    """The sum of log2(TOTAL / frequency): one logarithm for many."""
    total = np.log2(_TOTAL) * len(frequencies)
    for start in range(0, len(frequencies), _MANY):
        even, odd = 1.0, 1.0  # two, so that products need not wait for each other
        part = frequencies[start : start + _MANY]
        for i in range(len(part) // 2):
            even *= part[2 * i]
            odd *= part[2 * i + 1]
        if len(part) % 2:
            even *= part[-1]
        total -= np.log2(even) + np.log2(odd)
    return total


@jit
def _ends(x):
    """How many samples are at an end of their window or beyond. x: int16 [n, C]."""
    count = 0
    for c in range(x.shape[1]):
        low, high = ORIGINS[c], ORIGINS[c] + SIZES[c] - 1
        for i in range(len(x)):
            count += (x[i, c] <= low) | (x[i, c] >= high)
    return count


class _Around:
    """Where a phase's windows are, as runs of cells that lie side by side in a plane.

    order: of the cells in the window; runs: int [R, 3], plane, row and column of a run's first cell, from a position's
    own; columns: where each run's samples begin among a network's inputs, and where those of the last one end.
    """

    def __init__(self, config: flow.Config, phase: int) -> None:
        cells = [flow.locate(phase, offset) for offset in config.window(phase)]
        self.order = sorted(range(len(cells)), key=cells.__getitem__)
        starts = [i for i in range(len(cells)) if not self._follows(cells, i)]
        long = LANES // config.channels
        bounds = [*starts, len(cells)]
        firsts = [i for a, b in itertools.pairwise(bounds) for i in range(a, b, long)]
        self.runs = np.array([cells[self.order[i]] for i in firsts])
        self.columns = np.array([*firsts, len(cells)]) * config.channels
        self.nearest = np.array([flow.locate(phase, offset) for offset in NEAREST[phase]])

    def _follows(self, cells: list[tuple[int, int, int]], i: int) -> bool:
        """Whether the cell lies to the right of the one before it in the order."""
        plane, row, column = cells[self.order[i]]
        return i > 0 and cells[self.order[i - 1]] == (plane, row, column - 1)


def _net(config: flow.Config, layers: dict[str, Layer], around: _Around) -> tuple[Any, ...]:
    """The layers of one phase's network, packed: `first` and `linear` as one, each kind as one array."""
    C, first, linear = config.channels, layers["first"], layers["linear"]
    seen = len(around.order) * C
    inputs = np.arange(first.weight.shape[1])
    inputs[:seen] = (np.array(around.order)[:, None] * C + np.arange(C)).reshape(-1)
    wide = np.pad(linear.weight, ((0, 0), (0, len(inputs) - seen)))
    ends = ("bias", "shift", "low", "high")
    bias, shift, low, high = (np.concatenate([getattr(first, end), getattr(linear, end)]) for end in ends)
    both = Layer(np.concatenate([first.weight, wide])[:, inputs], bias, shift, first.limit[inputs], low, high)
    kinds = (
        ([both], len(inputs)),
        ([layers[f"middle.{i}"] for i in range(config.depth)], config.width),
        ([layers[f"head.{c}"] for c in range(C)], config.width + C - 1),
        ([layers[f"out.{c}"] for c in range(C)], config.hidden),
    )
    return tuple(array for some, size in kinds for array in packed(some, size))


Nets = list[list[tuple[Any, ...]]]  # by set and phase, see `_net`


class _Tile:
    """One tile in work: its samples x, int16 [N, H, W, C], and what compiled functions keep beside them."""

    def __init__(self, coder: CompiledFlow, nets: Nets, x: NDArray[np.int16]) -> None:
        self.coder, self.nets, self.x, config = coder, nets, x, coder.network.config
        N, H, W, _ = x.shape
        m, C, K = config.margin, config.channels, config.components
        area = N * ((H + 1) // 2 + 2 * m) * ((W + 1) // 2 + 2 * m) * C
        self.planes = np.zeros(4 * area + LANES, np.int16)
        _, first, _, middle, _, head, _, out = (part.shape[2] for part in nets[0][0])
        n = max(N, min(STRIP, N * H * W)) + BLOCK
        self.seen = [np.zeros((BLOCK + LANES, 2 * net[0].shape[1]), np.int16) for net in nets[0]]
        self.sums = np.zeros((BLOCK, max(first, middle, head, out)), np.int32)

        def rows(*shape: int, kind: Any = np.int32) -> NDArray[Any]:
            return np.zeros(shape, kind)

        four, here, edges = rows(BLOCK, LANES, kind=np.int16), rows(BLOCK, kind=np.int64), rows(LANES, kind=np.int64)
        hidden, centre, error = rows(n, first, kind=np.int16), rows(C, n), rows(C, n)
        z, q, turned = rows(BLOCK, head, kind=np.int16), rows(BLOCK, out), rows(out, SLOTS)
        mixtures = rows(3, K, n)  # mean, inverse, weight
        symbols = rows(4, n)  # samples, values; the bases and spans of their bins
        self.room = (four, here, hidden, centre, z, q, error, *mixtures, *symbols, edges, turned)

    def last(self) -> Iterator[tuple[int, Any]]:
        """Each channel of the one sample that is left, with the room that now holds its mixtures."""
        network, N = self.coder.network, len(self.x)
        for c in range(self.x.shape[3]):
            logit, mean, log_scale = np.repeat(network.last[c].astype(np.int64)[..., None], N, axis=2)
            m = Mixture.of(network.tables, logit, mean, log_scale, SIZES[c], ORIGINS[c])
            room = (self.sums, self.seen[0], *self.room)
            for part, values in zip(room[9:12], (m.mean, m.inverse, m.weight), strict=True):
                part[:, :N] = values
            yield c, room

    def _place(self, level: int, py: int, px: int) -> tuple[int, ...]:
        """Where the samples of a level's phase are: how many rows and columns of them there are, and of a plane, with
        its margin and channels; the first one's row and column in x, and the step to the next; 0 where networks see
        samples as they are; the width.
        """
        config, (_, H, W, _) = self.coder.network.config, self.x.shape
        rows, cols = ((side - 1 >> level) + 1 for side in (H, W))
        size = ((rows + 1 - py) // 2, (cols + 1 - px) // 2, (rows + 1) // 2, (cols + 1) // 2)
        relative = 1 - config.absolute
        return *size, config.margin, config.channels, py << level, px << level, 2 << level, relative, config.width

    def phases(self) -> Iterator[tuple[Any, ...]]:
        """For each phase in decode order, its samples' places and its network: what the functions above begin with."""
        coder, config = self.coder, self.coder.network.config
        N, H, W, _ = self.x.shape
        for level in reversed(range(max(H - 1, W - 1).bit_length())):
            _extend(self.x, self._place(level, 0, 0), self.planes, 0)
            _, _, h, w, m, C = self._place(level, 0, 0)[:6]
            stride = (w + 2 * m) * C
            plane = N * (h + 2 * m) * stride
            for p, (py, px) in enumerate(PHASES):
                start = (2 * py + px) * plane
                place = self._place(level, py, px)
                if place[0] == 0 or place[1] == 0:
                    self.planes[start : start + plane] = self.planes[:plane]
                    continue
                scale = np.array([plane, stride, C])
                around = (coder.around[p].nearest @ scale, coder.around[p].runs @ scale, coder.around[p].columns)
                net = self.nets[min(level, config.sets - 1)][p]
                yield self.x, self.planes, place, around, net, coder.tables, (self.sums, self.seen[p], *self.room)
                _extend(self.x, place, self.planes, start)


def load(network: Network, machine: Machine) -> CompiledFlow:
    """What `families.tile_coder` gives."""
    return CompiledFlow(network, machine.threads)


class CompiledFlow:
    """interface.TileCoder of this family: one tile per thread."""

    def __init__(self, network: Network, threads: int) -> None:
        self.network, self.threads, self.batch, config = network, threads, 8 * threads, network.config
        self.around = [_Around(config, phase) for phase in range(3)]
        self.prepared = functools.lru_cache(maxsize=8)(self._prepare)
        tables = network.tables
        self.tables = (tables.exponential, tables.inverse, packed_sigmoids(tables), network.coarse)

    def _prepare(self, adaptation: bytes) -> Nets:
        return [
            [_net(self.network.config, layers, around) for layers, around in zip(phases, self.around, strict=True)]
            for phases in self.network.adapted(adaptation).layers
        ]

    def encode(self, tiles: Sequence[Tile], adaptation: bytes) -> list[Stream]:
        return each(self.threads, functools.partial(self._encode, self.prepared(adaptation)), tiles)

    def decode(self, shapes: Sequence[Shape], words: Sequence[NDArray[np.uint32]], adaptation: bytes) -> list[Tile]:
        return each(self.threads, functools.partial(self._decode, self.prepared(adaptation)), shapes, words)

    def _encode(self, nets: Nets, tile: Tile) -> Stream:
        C, H, W = tile.shape
        x = Images(self.network.config, [(C, H, W)]).arrange([tile])
        work = _Tile(self, nets, x)
        room_needed = 2 * x.size + 3 * _ends(x.reshape(-1, x.shape[3]))  # an escape: a length and at most two bytes
        starts, frequencies = np.empty((2, room_needed), np.uint32)
        at, encode_phase = 0, cast(Any, _encode_phase)
        for c, room in work.last():
            room[12][: len(x)] = x[:, 0, 0, c]
            at = _code(len(x), SIZES[c], ORIGINS[c], self.tables[2], room, starts, frequencies, at)
        for phase in work.phases():
            at = encode_phase(*phase, starts, frequencies, at)
        stack = CompiledStack()
        stack.push(Intervals(starts[:at], frequencies[:at], np.array([at])))
        return Stream(stack.words(), _bits(frequencies[:at]))

    def _decode(self, nets: Nets, shape: Shape, words: NDArray[np.uint32]) -> Tile:
        images = Images(self.network.config, [shape])
        work = _Tile(self, nets, np.zeros(images.shape, np.int16))
        stack = CompiledStack(words)
        for c, room in work.last():
            stack.run(_decode, len(work.x), SIZES[c], ORIGINS[c], self.tables[2], room)
            work.x[:, 0, 0, c] = room[12][: len(work.x)]
        for phase in work.phases():
            stack.run(_decode_phase, *phase)
        if not stack.is_empty():
            raise ModelError("a stream holds more than its tile")
        return images.restore(work.x)[0]
