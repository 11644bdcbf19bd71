"""The masked family: small pictures by any graph of causal layers. The graph is data of the weights file.

References: Germain et al. 2015 (MADE: masks from degrees), van den Oord et al. 2016 (PixelRNN, PixelCNN, gated
PixelCNN, WaveNet), Jain et al. 2020 (one network, any order). A picture has H W samples. Nodes 0, 1 and 2 are the
samples, their places, and whatever is given beforehand; each further node has units of C channels, computed from nodes
before it. Every unit, and every sample, has a degree, a number that says when it is computed. One rule makes masks,
orders, stacks, fronts and caches:

    memory of all nodes = 0
    for each degree t, ascending:
        for each node: its units of degree t, from memory -> memory
        code the samples of degree t, given the last node's -> memory

So a unit reads samples of degrees below its own and units up to its own; all else reads zero, whatever a graph says.
Both directions run this loop. Arrays hold integers, in 1/128 where they are activations.

    window   a layer over the units at some offsets (dilated, of any shape) on a grid of units; inputs may be finer or
             coarser ones
    local    the same, with weights of its own for each unit
    dense    a layer over all units, with weights of its own for each unit
    tied     the same, with one unit's weights for all: what is new to a unit is added to what those before it had read
    table    an entry of a table, whose index are the bits of the samples at some offsets
    gate     tanh(a) sigmoid(b), of the first and second half of the channels
    attend   softmax(q k) v over the units known: inputs q, k, v
    cell     an LSTM whose state comes from one or two units before it
    add      the sum of nodes
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy import mixture
from lgcodec.models.entropy.cells import Cells
from lgcodec.models.errors import ModelError
from lgcodec.models.interface import TOTAL
from lgcodec.models.layers.integer import Layer
from lgcodec.models.weights import Weights

Int = NDArray[np.int64]

ONE = 128  # activations in 1/128
LIMIT = 1023  # of what gates and cells take
SAMPLES, PLACES, GIVEN, FIRST = 0, 1, 2, 3  # nodes that are there, and the first that is computed
LOGIT_UNIT, LOGIT_LIMIT = 64, 1023  # Bernoulli
SOFTMAX_LIMIT = 4095  # in 1/32
NORMAL_LIMIT, RATIO_LIMIT = 1023, 95  # 1/256; 1/16
MEAN_LIMIT, SCALE_LIMIT = 32767, 160  # mixtures: 1/64 of a level around the middle one; 1/16
EXPONENTS = 384
SCORE_BITS = 10  # of q k, below 1/32
MAX_UNITS, MAX_CHANNELS, MAX_NODES, MAX_OFFSETS, MAX_DEGREE = 1 << 16, 1 << 12, 256, 256, 1 << 20
MAX_MEMORY = 1 << 24  # activations of one picture
MAX_WORK = 1 << 36  # multiply-adds of one picture
KINDS = ("window", "local", "dense", "tied", "table", "gate", "attend", "cell", "add")
LAYERS = ("window", "local", "dense", "tied", "cell")
AROUND = ("window", "local", "table")  # what reads the units at some offsets
WHOLE = ("dense", "tied")  # what reads all units
LAST = (*AROUND, *WHOLE)
OWN = ("local", "dense")  # what has weights of its own for each unit
CELLS = ("edges", "values", "normal", "precision")
LEVELS = {  # of each head
    "bernoulli": (2,), "categorical": range(3, 257), "mixture": range(16, 257, 16), "normal": (64, 256, 1024, 4096),
    "shift": range(16, 257, 16),
}  # fmt: skip


@dataclass(frozen=True)
class Node:
    """One node. inputs: nodes before it; degrees: the name of its units' degrees; channels: of its output, low and
    high its ends (those of the last node are its head's). offsets: (dy, dx) on a grid of (rows, columns) of units.
    """

    kind: str
    inputs: tuple[int, ...]
    degrees: str
    channels: int
    low: int = -LIMIT
    high: int = LIMIT
    offsets: tuple[tuple[int, int], ...] = ()
    grid: tuple[int, int] = (0, 0)
    heads: int = 1

    @classmethod
    def of(cls, entry: Any) -> Node:
        """From a weights file's config. Raises ModelError."""
        numbers = ("channels", "low", "high", "heads")
        try:
            ok = set(entry) == set(cls.__dataclass_fields__) and all(type(entry[n]) is int for n in numbers)
            ok = ok and type(entry["kind"]) is str and type(entry["degrees"]) is str
            inputs, grid = tuple(entry["inputs"]), tuple(entry["grid"])
            offsets = tuple(tuple(offset) for offset in entry["offsets"])
        except (TypeError, KeyError) as e:
            raise ModelError("masked model: a node without what nodes have") from e
        pairs = (grid, *offsets)
        if not ok or any(len(p) != 2 for p in pairs) or any(type(n) is not int for p in (inputs, *pairs) for n in p):
            raise ModelError("masked model: a node without what nodes have")
        return cls(**{**entry, "inputs": inputs, "grid": grid, "offsets": offsets})

    def written(self) -> dict[str, Any]:
        """The inverse of `of`."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**fields, "inputs": list(self.inputs), "grid": list(self.grid), "offsets": [*map(list, self.offsets)]}


@dataclass(frozen=True)
class Graph:
    """What is computed. shape: rows and columns of a picture; levels: of its samples; given: how many numbers are known
    beforehand; head: what the last node says of a sample, components its mixture's; order: the name of the samples'
    degrees. degrees: int32 [units] by name.

    Raises ModelError for graphs beyond the limits, and for those whose nodes do not fit together.
    """

    shape: tuple[int, int]
    levels: int
    given: int
    head: str
    components: int
    order: str
    nodes: tuple[Node, ...]
    degrees: Mapping[str, NDArray[np.int32]] = field(repr=False)
    NAMES: ClassVar = ("shape", "levels", "given", "head", "components", "order", "nodes")

    def __post_init__(self) -> None:
        numbers = [*self.shape, self.levels, self.given, self.components] if len(self.shape) == 2 else [None]
        if any(type(n) is not int for n in numbers) or min(self.shape) < 1 or math.prod(self.shape) > MAX_UNITS:
            raise ModelError("masked model: malformed graph")
        if not 0 <= self.given <= MAX_UNITS or self.levels not in LEVELS.get(self.head, ()):
            raise ModelError("masked model: malformed graph")
        if not 1 <= self.components <= 16 or not 1 <= len(self.nodes) <= MAX_NODES:
            raise ModelError("masked model: malformed graph")
        for name, degree in self.degrees.items():
            if degree.dtype != np.int32 or degree.ndim != 1 or not 1 <= len(degree) <= MAX_UNITS:
                raise ModelError(f"masked model: malformed degrees {name!r}")
            if degree.min() < 0 or degree.max() >= MAX_DEGREE:
                raise ModelError(f"masked model: degrees {name!r} beyond their limit")
        if len(self.degrees.get(self.order, ())) != math.prod(self.shape):
            raise ModelError("masked model: samples without degrees")
        for i, node in enumerate(self.nodes, FIRST):
            self._check(i, node)
        last = self.nodes[-1]
        if last.degrees != self.order or last.kind not in LAST or last.channels != len(self.head_ends()[0]):
            raise ModelError("masked model: the last node is not what the head needs")
        if self.memory() > MAX_MEMORY or sum(map(self.work, range(FIRST, len(self.nodes) + FIRST))) > MAX_WORK:
            raise ModelError("masked model: the graph needs too much memory or work")

    def _check(self, i: int, node: Node) -> None:
        def need(fact: bool, what: str) -> None:
            if not fact:
                raise ModelError(f"masked model: node {i}, {node.kind!r}: {what}")

        need(node.kind in KINDS, "unknown kind")
        need(node.degrees in self.degrees, "unknown degrees")
        need(1 <= len(node.inputs) <= 8 and all(0 <= j < i for j in node.inputs), "inputs that are not before it")
        need(1 <= node.channels <= MAX_CHANNELS, "too many channels, or none")
        need(-32767 <= node.low <= node.high <= 32767, "ends beyond 16 bits")
        units, sizes = len(self.degrees[node.degrees]), [self.channels(j) for j in node.inputs]
        if node.kind in (*AROUND, "cell"):
            need(1 <= len(node.offsets) <= MAX_OFFSETS, "too many offsets, or none")
            need(len(set(node.offsets)) == len(node.offsets), "an offset that is there twice")
            need(all(abs(d) <= MAX_UNITS for offset in node.offsets for d in offset), "offsets beyond their limit")
            need(math.prod(node.grid) == units and min(node.grid) > 0, "a grid that does not hold its units")
            need(units * len(node.offsets) <= 1 << 22, "too many offsets")
        if node.kind in AROUND:
            fits = (self.units(j) in (units, math.prod(self.grid(j))) for j in node.inputs)
            need(all(fits), "inputs with other units, on no grid")
        if node.kind == "table":
            need(node.inputs == (SAMPLES,) and self.levels == 2 and len(node.offsets) <= 16, "expected bits")
        if node.kind in ("gate", "attend", "cell", "add"):
            need(all(self.named(j) == node.degrees for j in node.inputs[:1]), "an input with other degrees")
            need(SAMPLES not in node.inputs, "samples must come through a layer")
        need(all(self.units(j) > 0 for j in node.inputs), "an input that is not there")
        if node.kind == "gate":
            need(sizes == [2 * node.channels], "expected one input of twice its channels")
        if node.kind in ("gate", "cell"):
            need(self.limit(node.inputs[0]).max() <= LIMIT, "inputs beyond its tables")
        if node.kind == "add":
            need(all(self.named(j) == node.degrees for j in node.inputs), "an input with other degrees")
            need(set(sizes) == {node.channels}, "inputs of other channels")
        if node.kind == "attend":
            need(sizes == [node.channels] * 3 and min(node.inputs) >= FIRST, "expected three inputs of its channels")
            need(1 <= node.heads <= node.channels and node.channels % node.heads == 0, "heads that do not divide it")
            need(self.named(node.inputs[1]) == self.named(node.inputs[2]), "keys and values with other degrees")
            need(units * self.units(node.inputs[1]) <= 1 << 22, "too many pairs")
        if node.kind == "tied":
            need(units * node.channels <= 1 << 22, "too many channels of units")
        if node.kind == "cell":
            need(node.channels % 2 == 0 and len(node.inputs) == 1 and len(node.offsets) <= 2, "malformed")

    @classmethod
    def of(cls, weights: Weights) -> Graph:
        """From a weights file. Raises ModelError."""
        config, start = weights.config, "degrees."
        if set(config) != set(cls.NAMES) or not all(isinstance(config[n], list) for n in ("shape", "nodes")):
            raise ModelError("masked model: a config that is not one of this release")
        if not isinstance(config["head"], str) or not isinstance(config["order"], str):
            raise ModelError("masked model: a config that is not one of this release")
        degrees = {name[len(start) :]: a for name, a in weights.tensors.items() if name.startswith(start)}
        nodes = tuple(map(Node.of, config["nodes"][: MAX_NODES + 1]))
        return cls(**{**config, "shape": tuple(config["shape"]), "nodes": nodes, "degrees": degrees})

    def written(self) -> dict[str, Any]:
        """The config of a weights file; the degrees are among its tensors."""
        config = {name: getattr(self, name) for name in self.NAMES}
        return {**config, "shape": list(self.shape), "nodes": [node.written() for node in self.nodes]}

    @property
    def is_of_pixels(self) -> bool:
        """Whether its samples can be a picture's."""
        return self.head != "shift" and self.levels <= 256

    def named(self, i: int) -> str | None:
        """The name of a node's degrees; None for what is always known."""
        return self.order if i == SAMPLES else None if i < FIRST else self.nodes[i - FIRST].degrees

    def units(self, i: int) -> int:
        if i < FIRST:
            return self.given if i == GIVEN else math.prod(self.shape)
        return len(self.degrees[self.nodes[i - FIRST].degrees])

    def channels(self, i: int) -> int:
        return (1, 2, 1)[i] if i < FIRST else self.nodes[i - FIRST].channels

    def degree(self, i: int) -> Int:
        """When the units of a node are computed, int64 [units]."""
        name = self.named(i)
        return np.full(self.units(i), -1) if name is None else self.degrees[name].astype(np.int64)

    def limit(self, i: int) -> NDArray[np.int32]:
        """The largest absolute value of each channel, int32 [channels]."""
        if i < FIRST:
            is_normal = i == GIVEN or (i == SAMPLES and self.head == "normal")
            return np.full(self.channels(i), LIMIT if is_normal else ONE, np.int32)
        node = self.nodes[i - FIRST]
        if node.kind == "gate":
            return np.full(node.channels, ONE, np.int32)
        if node.kind == "cell":
            return np.repeat(np.array([ONE, LIMIT], np.int32), node.channels // 2)
        if node.kind == "attend":
            return self.limit(node.inputs[2])
        low, high = self.ends(i)
        return np.maximum(np.abs(low), np.abs(high))[: node.channels]

    def ends(self, i: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The lowest and highest value of what a node's layer makes, int32 [outputs]."""
        node = self.nodes[i - FIRST]
        if node is self.nodes[-1]:
            count = self.units(i) if node.kind in OWN else 1
            low, high = (np.tile(end, count) for end in self.head_ends())
            return low, high
        times = self.units(i) if node.kind in OWN else (3 + len(node.offsets)) / 2 if node.kind == "cell" else 1
        n = int(times * node.channels)
        low_, high_ = (-LIMIT, LIMIT) if node.kind == "cell" else (node.low, node.high)
        return np.full(n, low_, np.int32), np.full(n, high_, np.int32)

    def head_ends(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The same of what the head takes of a sample."""
        K = self.components
        high = {
            "bernoulli": [LOGIT_LIMIT],
            "categorical": [SOFTMAX_LIMIT] * self.levels,
            "mixture": np.repeat([SOFTMAX_LIMIT, MEAN_LIMIT, SCALE_LIMIT], K),
            "normal": np.repeat([SOFTMAX_LIMIT, NORMAL_LIMIT, RATIO_LIMIT], [K - 1, K, K]),
            "shift": [self.levels // 2],
        }[self.head]
        ends = np.array(high, np.int32)
        positive = (ends <= SCALE_LIMIT) & (self.head != "shift")  # precisions and scales
        return np.where(positive, 0, -ends).astype(np.int32), ends

    def inputs_limit(self, i: int) -> NDArray[np.int32]:
        """The largest absolute value of each input of a node's layer, int32 [inputs]."""
        node = self.nodes[i - FIRST]
        times = 1 if node.kind == "cell" else len(node.offsets)
        parts = [np.tile(self.limit(j), self.units(j) if node.kind in WHOLE else times) for j in node.inputs]
        states = [np.full(node.channels // 2, ONE, np.int32)] * (len(node.offsets) if node.kind == "cell" else 0)
        return np.concatenate(parts + states)

    def work(self, i: int) -> int:
        """Multiply-adds of a node for one picture."""
        node = self.nodes[i - FIRST]
        if node.kind == "attend":
            return 2 * self.units(i) * self.units(node.inputs[1]) * node.channels
        if node.kind not in LAYERS:
            return self.units(i) * node.channels
        sizes = sum(self.channels(j) * (self.units(j) if node.kind in WHOLE else 1) for j in node.inputs)
        if node.kind == "cell":
            return self.units(i) * 5 * node.channels // 2 * (sizes + node.channels)
        if node.kind == "tied":
            return node.channels * (sizes + self.units(i))
        return self.units(i) * node.channels * sizes * max(1, len(node.offsets))

    def memory(self) -> int:
        """Activations of one picture."""
        kept = sum(self.units(i) * node.channels for i, node in enumerate(self.nodes, FIRST) if not self.is_local(i))
        return kept + sum(node.channels for node in self.nodes if node.kind == "tied")

    def grid(self, i: int) -> tuple[int, int]:
        """Rows and columns of a node's units; (0, 0) where they lie on none."""
        if i < FIRST:
            return self.shape if i != GIVEN else (0, 0)
        node = self.nodes[i - FIRST]
        return self.grid(node.inputs[0]) if node.kind in ("gate", "add", "attend") else node.grid

    def sources(self, i: int, j: int) -> Int:
        """Which units of its input j a unit reads, int64 [units, offsets]; `units` of j, one too many, beyond its grid.
        A grid of another size is as large as the node's own: finer, or coarser.
        """
        node = self.nodes[i - FIRST]
        own = node.grid
        grid = own if self.units(j) == math.prod(own) else self.grid(j)
        places = np.divmod(np.arange(math.prod(own)), own[1])
        y, x = (a[:, None] * n // m + np.array(d)
                for a, n, m, d in zip(places, grid, own, zip(*node.offsets, strict=True), strict=True))  # fmt: skip
        return np.where((y >= 0) & (y < grid[0]) & (x >= 0) & (x < grid[1]), y * grid[1] + x, math.prod(grid))

    def is_local(self, i: int) -> bool:
        """Whether a node is read in the step that computes it alone, so that no memory keeps it."""
        for node in self.nodes[max(i + 1 - FIRST, 0) :]:
            if i in node.inputs:
                own = node.kind in ("gate", "add", "cell") or (node.kind == "attend" and i not in node.inputs[1:])
                here = node.kind in ("window", "local") and node.offsets == ((0, 0),)
                if not (own or here) or node.degrees != self.named(i):
                    return False
        return i >= FIRST and self.nodes[i - FIRST].kind != "cell"


@dataclass(frozen=True)
class Tables:
    """Functions as integers: sigmoid and tanh int16 [2047] of -1023 .. 1023 in 1/128; bernoulli int32 [2047], 2**24
    over (1 + exp(-i / 64)); mixtures: `mixture.Tables`, whose exponential softmaxes read. Raises ModelError.
    """

    sigmoid: NDArray[np.int16]
    tanh: NDArray[np.int16]
    bernoulli: NDArray[np.int32]
    mixtures: mixture.Tables

    def __post_init__(self) -> None:
        gates, logits = (2 * LIMIT + 1,), (2 * LOGIT_LIMIT + 1,)
        if any(a.dtype != np.int16 or a.shape != gates for a in (self.sigmoid, self.tanh)):
            raise ModelError("masked model: malformed tables")
        if self.bernoulli.dtype != np.int32 or self.bernoulli.shape != logits:
            raise ModelError("masked model: malformed tables")
        if self.sigmoid.min() < 0 or self.sigmoid.max() > ONE or np.abs(self.tanh.astype(np.int64)).max() > ONE:
            raise ModelError("masked model: malformed tables")
        exponential = self.mixtures.exponential
        if self.bernoulli.min() < 2 or self.bernoulli.max() > TOTAL - 2 or exponential.max() > exponential[0]:
            raise ModelError("masked model: malformed tables")

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[Any]]) -> Tables:
        """Of a weights file's tensors. Raises ModelError."""
        try:
            sigmoid, tanh, bernoulli = (tensors[f"table.{name}"] for name in ("gate.sigmoid", "gate.tanh", "bernoulli"))
            mixtures = (tensors[f"table.{name}"] for name in ("sigmoid", "exponential", "inverse"))
            return cls(sigmoid, tanh, bernoulli, mixture.Tables(*mixtures))
        except KeyError as e:
            raise ModelError(f"masked model: tensor {e} is missing") from e

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The inverse of `of`."""
        gates = {"gate.sigmoid": self.sigmoid, "gate.tanh": self.tanh, "bernoulli": self.bernoulli}
        return {f"table.{name}": a for name, a in {**gates, **vars(self.mixtures)}.items() if name != "steps"}

    @classmethod
    def make(cls) -> Tables:
        """For training's export alone."""
        steps = range(-LIMIT, LIMIT + 1)
        sigmoid = [round(ONE / (1 + math.exp(-i / ONE))) for i in steps]
        tanh = [round(ONE * math.tanh(i / ONE)) for i in steps]
        bernoulli = [min(max(round(TOTAL / (1 + math.exp(-i / LOGIT_UNIT))), 2), TOTAL - 2) for i in steps]
        return cls(np.array(sigmoid, np.int16), np.array(tanh, np.int16), np.array(bernoulli, np.int32),
                   mixture.Tables.make())  # fmt: skip


@dataclass(frozen=True)
class Network:
    """The integers of one model, checked. layers, entries: of the nodes that have a layer or a table; cells: of normal
    samples, be they latents or pixels.
    """

    graph: Graph
    layers: dict[int, Layer]
    entries: dict[int, NDArray[np.int16]]
    tables: Tables
    cells: Cells | None

    @classmethod
    def of(cls, weights: Weights) -> Network:
        """Raises ModelError where tensors are missing, misshapen or out of the exact range."""
        graph, tensors = Graph.of(weights), weights.tensors
        layers, entries = {}, {}
        try:
            for i, node in enumerate(graph.nodes, FIRST):
                if node.kind in LAYERS:
                    weight, bias, shift = (tensors[f"{i}.{part}"] for part in ("weight", "bias", "shift"))
                    layers[i] = Layer(weight, bias, shift, graph.inputs_limit(i), *graph.ends(i))
                if node.kind == "table":
                    entries[i] = a = tensors[f"{i}.table"]
                    if a.dtype != np.int16 or a.shape != (1 << len(node.offsets), node.channels):
                        raise ModelError(f"masked model: malformed table of node {i}")
                    low, high = graph.ends(i)
                    if (a < low).any() or (a > high).any():
                        raise ModelError(f"masked model: malformed table of node {i}")
            cells = Cells(*(tensors[f"table.{name}"] for name in CELLS)) if graph.head == "normal" else None
        except KeyError as e:
            raise ModelError(f"masked model: tensor {e} is missing") from e
        if cells is not None:
            cells.check(graph.levels.bit_length() - 1)
        return cls(graph, layers, entries, Tables.of(tensors), cells)
