"""The masked family's loop over degrees, in integers: products by an executor, everything else by numpy."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy import program
from lgcodec.models.entropy.cells import Normals, Posterior
from lgcodec.models.entropy.mixture import Mixture
from lgcodec.models.errors import ModelError
from lgcodec.models.families.masked.network import (
    EXPONENTS,
    FIRST,
    GIVEN,
    LAYERS,
    LIMIT,
    LOGIT_LIMIT,
    NORMAL_LIMIT,
    ONE,
    OWN,
    PLACES,
    SAMPLES,
    SCORE_BITS,
    Graph,
    Int,
    Network,
)
from lgcodec.models.interface import TOTAL, Distribution, IntArray, Table
from lgcodec.models.layers.integer import EXACT, Executor, Layer

Shape = tuple[int, int, int]
Tile = NDArray[np.int16]
Step = tuple[Distribution, IntArray]
Draw = Callable[[Any], Any]  # a value of a program, of random bits

MAX_STACK = 1 << 30  # activations of a batch
CHUNK = 1 << 23  # inputs of a product that are laid out at a time
UNKNOWN = np.zeros(0, np.int64)
ROWS = 64  # of a softmax that are made at a time, in the cache


class Blocks:
    """How a batch of tiles of one shape [1, H, W] lies in pictures [h, w]: cut in raster order, each picture for
    itself.

    inside: bool [n, h w], the samples of a tile's n pictures that are in the tile; others are not coded.
    """

    def __init__(self, picture: tuple[int, int], shapes: Sequence[Shape]) -> None:
        if len(set(shapes)) != 1:
            raise ValueError("a batch holds tiles of one shape")
        planes, self.height, self.width = shapes[0]
        if planes != 1:
            raise ModelError("a masked model codes grey images alone")
        self.tiles, self.picture = len(shapes), picture
        self.rows, self.columns = -(-self.height // picture[0]), -(-self.width // picture[1])
        self.inside = self.arrange([np.ones((1, self.height, self.width), np.int16)]).astype(bool)

    def arrange(self, tiles: Sequence[Tile]) -> Int:
        """Tiles [1, H, W] -> int64 [N, h w], zero outside."""
        h, w = self.picture
        x = np.stack(tiles)[:, 0].astype(np.int64)
        x = np.pad(x, ((0, 0), (0, self.rows * h - self.height), (0, self.columns * w - self.width)))
        return x.reshape(-1, self.rows, h, self.columns, w).swapaxes(2, 3).reshape(-1, h * w)

    def restore(self, x: Int) -> list[Tile]:
        """The inverse of `arrange`."""
        h, w = self.picture
        parts = x.reshape(self.tiles, self.rows, self.columns, h, w).swapaxes(2, 3)
        whole = parts.reshape(self.tiles, 1, self.rows * h, self.columns * w)
        return list(whole[..., : self.height, : self.width].astype(np.int16))


class Task(NamedTuple):
    """A node's units of one degree. fan: the inputs of one of them; layer: loaded, for each unit where these are read
    one by one, or the units that `attend` knows; new: of each input of `tied`, the units that no degree before read.
    """

    node: int
    at: Int
    fan: int
    layer: Any
    new: tuple[Int, ...] = ()


class Schedule:
    """A network on a machine: what is computed at each degree, and which samples are coded then."""

    def __init__(self, network: Network, executor: Executor) -> None:
        self.network, self.executor, graph = network, executor, network.graph
        self.local = [graph.is_local(i) for i in range(len(graph.nodes) + FIRST)]
        self.sources = {
            (i, j): graph.sources(i, j)
            for i, node in enumerate(graph.nodes, FIRST)
            if node.offsets
            for j in ((i,) if node.kind == "cell" else node.inputs)
        }
        self.tasks: dict[int, list[Task]] = {}
        for i, node in enumerate(graph.nodes, FIRST):
            whole = executor.load(network.layers[i]) if node.kind in ("window", "cell") else None
            arrivals = _arrivals(graph, i) if node.kind == "tied" else itertools.repeat(())
            for (t, at), new in zip(_by_degree(graph.degree(i)), arrivals, strict=False):
                layer, fan = whole, 1
                if node.kind in LAYERS:
                    fan = network.layers[i].weight.shape[1]
                if node.kind in OWN:
                    rows = at[:, None] * node.channels + np.arange(node.channels)
                    parts = rows if node.kind == "local" else rows.reshape(1, -1)
                    layer = [executor.load(_rows(network.layers[i], part)) for part in parts]
                if node.kind == "tied":
                    some = any(map(len, new))
                    layer = executor.load(_columns(graph, network.layers[i], node.inputs, new)) if some else None
                if node.kind == "attend":
                    layer = np.flatnonzero(graph.degree(node.inputs[1]) <= t)
                    fan = len(layer) * node.heads
                self.tasks.setdefault(t, []).append(Task(i, at, fan, layer, new))
        self.samples = dict(_by_degree(graph.degree(SAMPLES)))
        self.degrees = sorted({*self.tasks, *self.samples})

    @functools.cached_property
    def seen(self) -> NDArray[np.int16]:
        """What nodes see of each level, int16 [levels]."""
        if self.network.cells is not None:
            return np.clip(self.network.cells.values, -NORMAL_LIMIT, NORMAL_LIMIT).astype(np.int16)
        top = self.network.graph.levels - 1
        return ((2 * np.arange(top + 1) - top) * ONE // top).astype(np.int16)

    @functools.cached_property
    def places(self) -> NDArray[np.int16]:
        """(y, x) of each sample, int16 [h w + 1, 1, 2]."""
        h, w = self.network.graph.shape
        axes = [(2 * np.arange(n) - (n - 1)) * ONE // max(n - 1, 1) for n in (h, w)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 1, 2)
        return np.concatenate([grid, np.zeros((1, 1, 2), np.int64)]).astype(np.int16)


def _by_degree(degree: Int) -> Iterator[tuple[int, Int]]:
    order = np.argsort(degree, kind="stable")
    values, starts = np.unique(degree[order], return_index=True)
    yield from zip(values.tolist(), np.split(order, starts[1:]), strict=True)


def _arrivals(graph: Graph, i: int) -> Iterator[tuple[Int, ...]]:
    """For each degree of node i, ascending: of each input, the units that it reads and no degree before."""
    values, parts = np.unique(graph.degree(i)), []
    for j in graph.nodes[i - FIRST].inputs:
        first = np.searchsorted(values, graph.degree(j) + (j == SAMPLES))
        order = np.argsort(first, kind="stable")
        parts.append(np.split(order, np.searchsorted(first[order], np.arange(1, len(values) + 1)))[:-1])
    yield from zip(*parts, strict=True)


def _columns(graph: Graph, layer: Layer, inputs: Sequence[int], units: Sequence[Int]) -> Layer:
    """Of a layer of all units of its inputs, what some of them add to its sums."""
    parts, start = [], 0
    for j, some in zip(inputs, units, strict=True):
        parts.append((start + some[:, None] * graph.channels(j) + np.arange(graph.channels(j))).ravel())
        start += graph.units(j) * graph.channels(j)
    at, none = np.concatenate(parts), np.zeros_like(layer.bias)
    return Layer(layer.weight[:, at], none, none, layer.limit[at], none - EXACT, none + EXACT)


def _rows(layer: Layer, at: Int) -> Layer:
    return Layer(layer.weight[at], layer.bias[at], layer.shift[at], layer.limit, layer.low[at], layer.high[at])


class Memory:
    """All nodes of N pictures: int16 [units + 1, N, channels] each, the last row zero; `now` holds those that one step
    alone needs. given: int16 [N, units].
    """

    def __init__(self, schedule: Schedule, N: int, given: NDArray[np.int16] | None) -> None:
        graph = schedule.network.graph
        if N * (graph.memory() + graph.units(SAMPLES)) > MAX_STACK:
            raise ModelError("a tile holds too many pictures for its model")
        self.schedule, self.network, self.N = schedule, schedule.network, N
        places = np.broadcast_to(schedule.places, (graph.units(PLACES) + 1, N, 2))
        self.nodes: dict[int, NDArray[np.int16]] = {PLACES: places}
        for i in (i for i, local in enumerate(schedule.local) if not local and i != PLACES):
            self.nodes[i] = np.zeros((graph.units(i) + 1, N, graph.channels(i)), np.int16)
        if given is not None:
            self.nodes[GIVEN][:-1, :, 0] = given.T
        self.now: dict[int, NDArray[Any]] = {}
        self.sums: dict[int, NDArray[np.float32]] = {}  # of tied nodes, integers below 2**24, [N, channels]
        for i, node in enumerate(graph.nodes, FIRST):
            if node.kind == "tied":
                bias = self.network.layers[i].bias.astype(np.float32)
                self.sums[i] = np.broadcast_to(bias, (N, node.channels)).copy()

    def step(self, t: int) -> None:
        """Computes the units of degree t."""
        self.now = {}
        for task in self.schedule.tasks.get(t, ()):
            size = max(1, CHUNK // (len(task.at) * max(1, task.fan)))
            compute = getattr(self, f"_{self.network.graph.nodes[task.node - FIRST].kind}")
            parts = [compute(task, np.s_[s : s + size]) for s in range(0, self.N, size)]
            value = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)  # [n, N, channels]
            if self.schedule.local[task.node]:
                self.now[task.node] = value
            else:
                self.nodes[task.node][task.at] = value

    def _own(self, i: int, task: Task, part: slice) -> NDArray[Any]:
        """Input i at the task's own units, [n, N, channels]."""
        return self.now[i][:, part] if self.schedule.local[i] else self.nodes[i][task.at, part]

    def _around(self, i: int, task: Task, part: slice) -> NDArray[Any]:
        """Input i at the task's offsets, [n, N, offsets * channels]."""
        if self.schedule.local[i]:
            return self.now[i][:, part]
        near = self.nodes[i][self.schedule.sources[task.node, i][task.at], part]  # [n, offsets, N, channels]
        return near.swapaxes(1, 2).reshape(len(near), near.shape[2], -1)

    def _apply(self, layer: Any, parts: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """A layer of parts [n, N, ...] side by side -> [n, N, outputs]."""
        run = self.schedule.executor
        rows = np.concatenate(parts, axis=-1, dtype=np.float32, casting="unsafe")
        y: NDArray[np.float32] = run.numpy(run.apply(layer, run.array(rows.reshape(-1, rows.shape[-1]))))
        return y.reshape(rows.shape[0], rows.shape[1], y.shape[-1])

    def _node(self, task: Task) -> Any:
        return self.network.graph.nodes[task.node - FIRST]

    def _window(self, task: Task, part: slice) -> NDArray[np.float32]:
        return self._apply(task.layer, [self._around(i, task, part) for i in self._node(task).inputs])

    def _local(self, task: Task, part: slice) -> NDArray[np.float32]:
        near = [self._around(i, task, part) for i in self._node(task).inputs]
        rows = enumerate(task.layer)
        return np.concatenate([self._apply(layer, [a[k : k + 1] for a in near]) for k, layer in rows])

    def _dense(self, task: Task, part: slice) -> NDArray[np.float32]:
        y = self._apply(task.layer[0], [self._row(i, np.s_[:-1], part) for i in self._node(task).inputs])[0]
        result: NDArray[np.float32] = y.reshape(len(y), len(task.at), -1).swapaxes(0, 1)
        return result

    def _row(self, i: int, units: Any, part: slice) -> NDArray[Any]:
        """Some units of node i one after the other, [1, N, units * channels]."""
        a = self.nodes[i][units, part]  # [units, N, channels]
        return a.swapaxes(0, 1).reshape(1, a.shape[1], -1)

    def _tied(self, task: Task, part: slice) -> NDArray[np.float32]:
        total, layer = self.sums[task.node][part], self.network.layers[task.node]
        if task.layer is not None:
            pairs = zip(self._node(task).inputs, task.new, strict=True)
            total += self._apply(task.layer, [self._row(i, new, part) for i, new in pairs])[0]
        y = np.clip(np.floor(total / (1 << layer.shift).astype(np.float32)), layer.low, layer.high)
        return np.broadcast_to(y, (len(task.at), *y.shape))

    def _table(self, task: Task, part: slice) -> NDArray[np.int16]:
        bits = self._around(SAMPLES, task, part) > 0
        return self.network.entries[task.node][bits @ (1 << np.arange(bits.shape[-1]))]

    def _gate(self, task: Task, part: slice) -> NDArray[np.int16]:
        a = self._own(self._node(task).inputs[0], task, part).astype(np.intp) + LIMIT
        first, second = np.split(a, 2, axis=-1)
        product = self.network.tables.tanh[first].astype(np.int32) * self.network.tables.sigmoid[second]
        return ((product + ONE // 2) >> 7).astype(np.int16)

    def _add(self, task: Task, part: slice) -> Int:
        node = self._node(task)
        total = sum(self._own(i, task, part).astype(np.int64) for i in node.inputs)
        return np.clip(total, node.low, node.high)

    def _attend(self, task: Task, part: slice) -> NDArray[np.float64]:
        node = self._node(task)
        split = (node.heads, node.channels // node.heads)
        own = self._own(node.inputs[0], task, part)
        if len(task.layer) == 0:
            return np.zeros(own.shape)
        arrays = (own, *(self.nodes[i][task.layer, part] for i in node.inputs[1:]))
        q, k, v = (a.astype(np.float64).reshape(*a.shape[:2], *split).transpose(1, 2, 0, 3) for a in arrays)
        # Integers below 2**53 in float64, and floors of quotients that rounding cannot bring to the next integer.
        scores = np.floor(q @ k.swapaxes(-1, -2) / (1 << SCORE_BITS))  # [N, heads, n, known], in 1/32
        behind = np.minimum(scores.max(axis=-1, keepdims=True) - scores, EXPONENTS - 1).astype(np.intp)
        share = self.network.tables.mixtures.exponential[behind].astype(np.float64)
        y: NDArray[np.float64] = np.floor(share @ v / share.sum(axis=-1, keepdims=True))
        return y.transpose(2, 0, 1, 3).reshape(len(task.at), -1, node.channels)

    def _cell(self, task: Task, part: slice) -> NDArray[np.int16]:
        node, tables = self._node(task), self.network.tables
        C, P = node.channels // 2, len(node.offsets)
        state = self._around(task.node, task, part)
        state = state.reshape(*state.shape[:2], P, 2 * C)
        own, before = self._own(node.inputs[0], task, part), [state[:, :, p, :C] for p in range(P)]
        a = self._apply(task.layer, [own, *before]).astype(np.intp) + LIMIT
        new, out, enter, *keep = np.split(a, 3 + P, axis=-1)
        c = P * tables.tanh[new].astype(np.int64) * tables.sigmoid[enter]
        for p, gate in enumerate(keep):
            c += tables.sigmoid[gate].astype(np.int64) * state[:, :, p, C:]
        c = np.clip((c + P * ONE // 2) // (P * ONE), -LIMIT, LIMIT)
        h = (tables.tanh[c + LIMIT].astype(np.int64) * tables.sigmoid[out] + ONE // 2) >> 7
        return np.concatenate([h, c], axis=-1).astype(np.int16)


class Arrays:
    """The model of N pictures, int64 [N, units], in one or more streams (interface.Explicit).

    inside: bool [n, units], the samples that are coded, of the n pictures of each stream; others are 0.
    given: int16 [N, units], of networks that are told something. fixed: samples [N, units], and which of them, bool,
    stay what they are, whatever is decoded: to draw the rest.
    """

    def __init__(
        self, schedule: Schedule, inside: NDArray[np.bool_], streams: int = 1, given: NDArray[np.int16] | None = None,
        fixed: tuple[Int, NDArray[np.bool_]] | None = None,
    ) -> None:  # fmt: skip
        self.schedule, self.inside, self.streams, self.given = schedule, inside, streams, given
        self.fixed = fixed

    def symbols(self, value: Int) -> Iterator[Step]:
        levels = self.schedule.network.graph.levels
        if value.min() < 0 or value.max() >= levels:
            raise ModelError(f"samples beyond the {levels} levels of this model")
        return program.symbols(self._run(value))

    def steps(self) -> Generator[Distribution, IntArray, Int]:
        return program.steps(self._run(None))

    def _run(self, truth: Int | None) -> Generator[Step, IntArray, Int]:
        schedule, network = self.schedule, self.schedule.network
        x = np.zeros((self.streams * len(self.inside), self.inside.shape[1]), np.int64)
        memory, last = Memory(schedule, len(x), self.given), len(network.graph.nodes) + FIRST - 1
        for t in schedule.degrees:
            memory.step(t)
            at = schedule.samples.get(t, UNKNOWN)
            coded = np.tile(self.inside[:, at], (self.streams, 1))  # [N, n]
            if not coded.any():
                continue
            out = memory.now[last].swapaxes(0, 1)[coded].astype(np.int64)  # [symbols, channels]
            counts = np.full(self.streams, np.count_nonzero(coded) // self.streams)
            known = UNKNOWN if truth is None else truth[:, at][coded]
            found = np.zeros(coded.shape, np.int64)
            found[coded] = yield distribution(network, out, counts), known
            if self.fixed is not None:
                found = np.where(self.fixed[1][:, at], self.fixed[0][:, at], found)
            x[:, at] = found
            memory.nodes[SAMPLES][at, :, 0] = np.where(coded, schedule.seen[found], 0).T
        return x


class Program:
    """The model of a batch of tiles of one shape [1, H, W]; one stream per tile (interface.Explicit).

    adaptation: nothing, or one byte, the class of all pictures, of graphs that are given one: 1 of `given` numbers.
    """

    def __init__(self, schedule: Schedule, shapes: Sequence[Shape], adaptation: bytes = b"") -> None:
        graph = schedule.network.graph
        self.schedule, self.blocks = schedule, Blocks(graph.shape, shapes)
        given = np.zeros((self.blocks.tiles * len(self.blocks.inside), graph.given), np.int16)
        if adaptation:
            if len(adaptation) > 1 or adaptation[0] >= graph.given:
                raise ModelError(f"masked model: the file's adaptation is none of {graph.given} classes")
            given[:, adaptation[0]] = ONE
        self.arrays = Arrays(schedule, self.blocks.inside, self.blocks.tiles, given)

    def symbols(self, value: list[Tile]) -> Iterator[Step]:
        return self.arrays.symbols(self.blocks.arrange(value))

    def steps(self) -> Generator[Distribution, IntArray, list[Tile]]:
        return self.blocks.restore((yield from self.arrays.steps()))

    def complete(self, draw: Draw, value: list[Tile], known: list[Tile]) -> list[Tile]:
        """Tiles with what is not known drawn, given what is known and comes before it in the graph's order."""
        fixed = self.blocks.arrange(value), self.blocks.arrange(known) > 0
        arrays = Arrays(self.schedule, self.arrays.inside, self.arrays.streams, self.arrays.given, fixed)
        return self.blocks.restore(draw(arrays))


def distribution(network: Network, out: Int, counts: Int) -> Distribution:
    """What the last node's outputs [n, channels] say of n samples."""
    graph, tables = network.graph, network.tables
    n, K = len(out), graph.components
    if graph.head == "bernoulli":
        cdf = np.zeros((n, 3), np.uint32)
        cdf[:, 1] = TOTAL - tables.bernoulli[out[:, 0] + LOGIT_LIMIT]
        cdf[:, 2] = TOTAL
        return Table(cdf, counts)
    if graph.head == "categorical":
        return Table(softmax(tables.mixtures.exponential, out), counts)
    if network.cells is not None:
        logit, mean, ratio = np.split(out.T, [K - 1, 2 * K - 1])
        if K == 1:
            return Posterior(network.cells, mean[0], ratio[0], counts)
        weight = tables.mixtures.weights(np.concatenate([np.zeros((1, n), np.int64), logit]))
        return Normals(network.cells, mean, ratio, counts, weight)
    logit, mean, scale = (np.ascontiguousarray(a.T) for a in (out[:, :K], out[:, K : 2 * K], out[:, 2 * K :]))
    return Mixture.of(tables.mixtures, logit, mean + 64 * (graph.levels // 2), scale, graph.levels, 0, counts)


def softmax(exponential: NDArray[np.int32], logits: Int) -> NDArray[np.uint32]:
    """Logits [n, A] in 1/32 -> cdf [n, A + 1]."""
    n, A = logits.shape
    cdf = np.zeros((n, A + 1), np.uint32)
    cdf[:, -1] = TOTAL
    for start in range(0, n, ROWS):
        part = logits[start : start + ROWS]
        behind = np.minimum(part.max(axis=1, keepdims=True) - part, EXPONENTS - 1)
        share = exponential[behind].cumsum(axis=1, dtype=np.int64)
        # Integers below 2**53 in float64, so the floor of the rounded quotient is that of the exact one.
        below = np.floor(share * float(TOTAL - A) / share[:, -1:])
        cdf[start : start + ROWS, 1:-1] = below[:, :-1] + np.arange(1, A)
    return cdf


def pictures(graph: Graph) -> int:
    """How many pictures an encoder's tile should hold: 512, or fewer where they need much memory."""
    return max(1, min(512, (1 << 20) // math.prod(graph.shape), (1 << 27) // max(1, graph.memory())))
