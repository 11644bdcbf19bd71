"""Tiles of the causal family on a GPU, by the kernels of `triton_kernels`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import triton
from numpy.typing import NDArray

from lgcodec.models.entropy import mixture
from lgcodec.models.errors import ModelError
from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.causal import online
from lgcodec.models.families.causal.network import Network, Side
from lgcodec.models.families.causal.triton_kernels import (
    _COLUMNS,
    _COUPLING,
    _FEATURE,
    _GRID,
    _LEFT,
    _PICTURE,
    _RIGHT,
    _ROWS,
    _SOLVED,
    _SPREAD,
    _START,
    _STATE,
    _UP,
    _WEIGHTS0,
    _WEIGHTS1,
    _advance,
    _finish,
    _head,
    _inputs,
    _pass,
    _predict,
    _truth,
)
from lgcodec.models.interface import PRECISION, Stream
from lgcodec.models.machines.choose import Machine
from lgcodec.models.machines.triton import learning as gpu_learning
from lgcodec.models.machines.triton.layers import Heads, Products, extra, padded
from lgcodec.models.machines.triton.learning import Learning, Trained
from lgcodec.models.machines.triton.mixtures import Tables
from lgcodec.models.machines.triton.stack import Lanes, Words, in_batches, share, to_device

Shape = tuple[int, int, int]
Tile = NDArray[np.int16]


def load(network: Network, machine: Machine) -> GpuCausal:
    """What `families.tile_coder` gives."""
    return GpuCausal(network, "cuda")


class GpuCausal:
    """interface.TileCoder for the causal family. products: how matrices are multiplied, gpu_layers.Products if None.

    Raises ExactnessError where the device rounds.
    """

    batch = 256

    def __init__(self, network: Network, device: str, products: Products | None = None) -> None:
        self.network, self.device = network, torch.device(device)
        self.products = products or Products(self.device)
        config, tables = network.config, network.tables
        self.tables = Tables(tables, config.components, self.device)
        vectors = (network.fine, network.coarse, tables.exponential, tables.inverse)
        self.vectors = [to_device(v, self.device) for v in vectors]
        if config.learning:
            gpu_learning.check_exact(self.device)
        self.highest = int(network.layers["out.0"].high[2 * config.components])  # log scale
        self.prepared = functools.lru_cache(maxsize=8)(self._prepare)

    def _prepare(self, adaptation: bytes) -> _Layers:
        return _Layers(self.network.adapted(adaptation), self.products)

    def encode(self, tiles: Sequence[Tile], adaptation: bytes, sides: Sequence[Side] = ()) -> list[Stream]:
        """sides: what is known of each tile, where the network wants that."""

        def run(places: list[int]) -> list[Stream]:
            batch = np.stack([tiles[i] for i in places])
            return _Batch(self, adaptation, batch.shape, [sides[i] for i in places if sides], batch).encode()

        return in_batches([tile.shape for tile in tiles], self.device, self._size, run)

    def decode(
        self, shapes: Sequence[Shape], words: Sequence[Words], adaptation: bytes, sides: Sequence[Side] = ()
    ) -> list[Tile]:
        """Raises ModelError where a stream is not exactly one tile."""

        def run(places: list[int]) -> list[Tile]:
            batch = _Batch(self, adaptation, (len(places), *shapes[places[0]]), [sides[i] for i in places if sides])
            return batch.decode([words[i] for i in places])

        return in_batches(shapes, self.device, self._size, run)

    def _size(self, C: int, H: int, W: int) -> int:
        """Bytes of a tile's states, planes, symbols with their shares, side, and what it learns; the rest is small."""
        learnt = sum(gpu_learning.Learner.size(trained) for trained in self.prepared(b"").learning)
        side = 2 * (3 + self.network.config.side) * (H + 8) * (W + 8) if self.network.config.side else 0
        return 2 * C * (H + 1) * int(_STATE) * 8 + 9 * (H + 3) * (W + 8) * 4 + 24 * C * H * W + side + learnt


class _Layers:
    """The network's layers on the device, as `_Batch` runs them."""

    def __init__(self, network: Network, products: Products) -> None:
        layers, config, device = network.layers, network.config, products.device
        heads, outs = ([layers[f"{part}.{c}"] for c in range(3)] for part in ("head", "out"))
        middle = [layers[f"middle.{i}"] for i in range(config.depth)]
        self.linear = products.load(layers["linear"])
        self.learning: tuple[Trained, ...] = ()
        if config.learning:
            kinds = {"first": [layers["first"]], "middle.0": middle, "head.0": heads, "out.0": outs}
            self.learning = tuple(Trained.load(like, config.learners(name), device) for name, like in kinds.items())
            self.extras = [extra(head, config.width, device) for head in heads]
        else:
            self.first, self.middle = products.load(layers["first"]), [products.load(layer) for layer in middle]
            self.heads = Heads(products, heads, outs, config.width)


class _Batch:
    """Tiles of one shape on their way. truth: int16 [tiles, C, H, W], where they are known."""

    def __init__(
        self,
        core: GpuCausal,
        adaptation: bytes,
        shape: tuple[int, ...],
        sides: Sequence[Side],
        truth: NDArray[np.int16] | None = None,
    ) -> None:
        self.core, self.layers, self.device = core, core.prepared(adaptation), core.device
        self.tiles, self.channels, self.height, self.width = shape
        T, C, H, W = shape
        config, stride = core.network.config, W + int(_LEFT) + int(_RIGHT)
        self.room = T * min(H, (W + 1) // 2)

        def zeros(*shape: int, kind: torch.dtype = torch.float32) -> torch.Tensor:
            return torch.zeros(shape, dtype=kind, device=self.device)

        self.front = torch.tensor([0, 0, 1, T, 0], dtype=torch.int32, device=self.device)
        self.rows, self.count, self.coded = self.front[2:], self.front[3:], self.front[4:]
        self.planes = zeros(9, T, H + int(_UP), stride)
        self.planes[0] = int(_START)
        self.states = zeros(2, C, T, H + 1, int(_STATE), kind=torch.float64)
        for at in (_WEIGHTS0, _WEIGHTS1):
            for i, pull in enumerate(online.PULL):
                self.states[..., int(at) + i] = pull * online.W_SCALE
        self.couplings = zeros(2, T, H + 1, int(_COUPLING), kind=torch.float64)
        self.predictions = zeros(2, 3, self.room)
        self.references, self.anchors, self.spreads = zeros(3, self.room), zeros(3, self.room), zeros(3, self.room)
        around, places = config.neighbours(), causal.ERRORS
        looked = causal.SIDE_PLACES if config.side else ()
        kinds = [c for _ in around for c in range(3)] + [3 + m for _ in places for m in range(6)]
        kinds += [int(_SPREAD) + c for c in range(3)] + [int(_PICTURE) + c for _ in looked for c in range(3)]
        kinds += [int(_FEATURE)] * config.side + [int(_GRID)] * causal.GRID * config.grid
        offsets = [dy * stride + dx for dy, dx in around for _ in range(3)]
        offsets += [dy * stride + dx for dy, dx in places for _ in range(6)] + [0] * 3
        offsets += [dy * (W + 2 * causal.SIDE_REACH) + dx for dy, dx in looked for _ in range(3)]
        offsets += [*range(config.side), *range(causal.GRID * config.grid)]
        taps = [dy * stride + dx for dy, dx in online.TAPS]
        pad = [0] * (int(_COLUMNS) - len(taps))
        self.kinds, self.offsets, self.taps = (
            to_device(np.array(a, np.int32), self.device) for a in (kinds, offsets, taps + pad)
        )
        known = ([side.padded() for side in sides], [side.features for side in sides])
        self.picture, self.features = (to_device(np.array(a, np.int16), self.device) for a in known)
        self.inputs = zeros(self.room, len(kinds))
        self.linears = zeros(self.room, 3)
        kinds_learnt, K, integers = self.layers.learning, config.components, torch.int32
        # What learns looks back at all layers and channels, others need only the last ones.
        rooms, channels, sums = (config.depth + 1, 3, integers) if kinds_learnt else (2, 1, torch.float32)
        self.h = zeros(rooms, self.room, config.width + len(causal.PASSED) * config.context)
        self.passed = zeros(config.depth, 4, T, H + 1, config.context)
        self.sums = zeros(self.room, 3 * config.hidden, kind=sums)
        self.parameters = zeros(channels, self.room, 3 * K, kind=integers)
        self.learning = Learning(kinds_learnt, config.learning, K, T, self.room, self.front) if kinds_learnt else None
        self.table = zeros(self.room, max(causal.SIZES) // mixture.LOW_SYMBOLS, kind=integers)
        self.high, self.low = zeros(3, self.room, kind=integers), zeros(3, self.room, kind=integers)
        self.values = zeros(T, C, H, W, kind=torch.int16) if truth is None else to_device(truth, self.device)
        self.sizes = (H, W, T)

    def encode(self) -> list[Stream]:
        count = 2 * self.channels * self.height * self.width
        shape = (self.tiles, count)
        starts, frequencies = (torch.zeros(shape, dtype=torch.int32, device=self.device) for _ in range(2))

        def code(table: torch.Tensor, symbols: torch.Tensor, alphabet: int, part: int) -> None:
            share(table, self.rows, symbols, alphabet, self.tiles, self.coded, part, starts, frequencies)

        self._run(code, self._look_up)
        lanes = Lanes(self.device, self.tiles, count)
        lanes.push(starts, frequencies)
        kept = torch.stack([torch.log2(f.double()).sum() for f in frequencies]).cpu().numpy()
        ideal = [float(PRECISION * count - bits) for bits in kept]
        return [Stream(words, bits) for words, bits in zip(lanes.words(), ideal, strict=True)]

    def decode(self, words: Sequence[Words]) -> list[Tile]:
        lanes = Lanes(self.device, words, 2 * self.channels * self.height * self.width)

        def code(table: torch.Tensor, symbols: torch.Tensor, alphabet: int, part: int) -> None:
            lanes.pop(table, self.rows, symbols, alphabet)

        self._run(code, lambda: None)
        if not lanes.are_empty():
            raise ModelError("a stream does not hold exactly its tile")
        return list(self.values.cpu().numpy())

    def _look_up(self) -> None:
        grid = (triton.cdiv(self.room, _ROWS),)
        place = (*self.sizes, self.room)
        _truth[grid](self.front, self.values, self.high, self.low, *place, C=self.channels, B=_ROWS)

    def _run(self, code: Callable[[torch.Tensor, torch.Tensor, int, int], None], look_up: Callable[[], None]) -> None:
        """code: codes a table's symbols, the given part of a front's 2 C. look_up: puts a front's known symbols into
        `high` and `low`.
        """

        def step(is_lesson: bool) -> None:
            self._trunk()
            look_up()
            for c in range(self.channels):
                self._channel(c, code)
            if self.learning and is_lesson:
                symbols, sigmoid = (self.high, self.low, self.spreads), self.core.tables.sigmoid
                highest = self.core.highest
                self.learning.step(self.channels, self.inputs, self.h, self.parameters, *symbols, sigmoid, highest)
            self._close()

        step(True)  # compiles what is not compiled yet, which a capture cannot
        learns = self.core.network.config.learns
        others = [learns(t) for t in range(1, self.width + 2 * (self.height - 1))]
        if self.device.type != "cuda":
            for is_lesson in others:
                step(is_lesson)
            return
        graphs = {is_lesson: torch.cuda.CUDAGraph() for is_lesson in dict.fromkeys(others)}
        for is_lesson, graph in graphs.items():
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                step(is_lesson)
        for is_lesson in others:
            graphs[is_lesson].replay()

    def _trunk(self) -> None:
        run, layers, place = self.core.products, self.layers, (*self.sizes, self.room)
        around = (self.anchors, self.spreads)
        grid = (triton.cdiv(self.room // self.tiles, _SOLVED), self.tiles, self.channels)
        _predict[grid](
            self.front, self.planes, self.states, self.taps, self.predictions, self.references, *around, *place,
            C=self.channels, B=_SOLVED, num_warps=2,
        )  # fmt: skip
        columns = self.inputs.shape[1]
        _inputs[(triton.cdiv(self.room, _ROWS), triton.cdiv(columns, 32))](
            self.front, self.planes, self.picture, self.features, self.kinds, self.offsets, *around,
            self.core.vectors[0], self.inputs, *place, columns, self.core.network.config.side, B=_ROWS, D=32,
        )  # fmt: skip
        config, n, learning = self.core.network.config, self.count, self.learning
        run.run(layers.linear, self.inputs, self.linears, n)
        if learning:
            learning.first.apply(0, self.inputs, self.h[0])
        else:
            run.run(layers.first, self.inputs, self.h[0], n)
        for i in range(config.depth):
            h, after = self.h[i % len(self.h)], self.h[(i + 1) % len(self.h)]
            if config.context:
                _pass[(triton.cdiv(self.room, _ROWS), len(causal.PASSED))](
                    self.front, h, self.passed[i], *self.sizes, h.stride(0), config.width, config.context,
                    B=_ROWS, D=triton.next_power_of_2(config.context),
                )  # fmt: skip
            if learning:
                learning.middle.apply(i, h, after, config.limit, learning.added[i])
            else:
                run.run(layers.middle[i], h, after, n, h, config.limit)
        h = self.h[config.depth % len(self.h)]
        if learning:
            learning.heads.sums(self.channels, h, self.sums)
        else:
            run.run(layers.heads.sums, h, self.sums, n)

    def _parts(self, c: int) -> tuple[tuple[Any, ...], tuple[torch.Tensor, torch.Tensor], int, dict[str, int]]:
        """What `_head` wants of channel c's head and out; where it keeps what learning wants, and numbers from one
        tile's out to the next; its constants.
        """
        if not self.learning:
            heads = self.layers.heads
            return tuple(heads.channels[c]), (self.sums, self.parameters), 0, heads.sizes(c)
        learner, weight = self.learning.outs, self.learning.outs.weight[0, c]
        ends, outs = ([v[c] for v in trained.vectors] for trained in (self.learning.heads.trained, learner.trained))
        kept = (self.learning.z[c], self.learning.scales[c])
        return (self.layers.extras[c], *ends[1:], weight, *outs), kept, learner.weight.stride(0), padded(*weight.shape)

    def _channel(self, c: int, code: Callable[[torch.Tensor, torch.Tensor, int, int], None]) -> None:
        config, (fine, coarse, exponential, inverses) = self.core.network.config, self.core.vectors
        parameters = self.parameters[c % len(self.parameters)]
        known = (self.high, self.low, self.anchors, self.spreads, self.couplings)
        tables = (fine, coarse, exponential, inverses, parameters)
        layers, kept, out_tile, constants = self._parts(c)
        rows = _ROWS // 2 if self.learning else _ROWS  # of 32, a program's registers do not hold what learns
        _head[(triton.cdiv(self.room // self.tiles, rows), self.tiles)](
            self.front, self.sums, self.linears, *layers, *known, *tables, *kept, *self.sizes, self.room,
            config.hidden, len(exponential) - 1, out_tile, c=c, K=config.components, B=rows,
            LEARNS=self.learning is not None, **constants,
        )  # fmt: skip
        size, origin, make = causal.SIZES[c], causal.ORIGINS[c], self.core.tables
        alphabet = make.high(parameters, self.rows, self.tiles, size, origin, self.table)
        code(self.table, self.high[c], alphabet, 2 * c)
        alphabet = make.low(parameters, self.high[c], self.rows, self.tiles, size, origin, self.table)
        code(self.table, self.low[c], alphabet, 2 * c + 1)

    def _close(self) -> None:
        place = (*self.sizes, self.room)
        seen = (self.predictions, self.references, self.anchors, self.core.vectors[0])
        _finish[(triton.cdiv(self.room, _ROWS),)](
            self.front, self.planes, self.states, self.couplings, self.values, self.high, self.low, *seen, *place,
            C=self.channels, B=_ROWS,
        )  # fmt: skip
        _advance[(1,)](self.front, *self.sizes, C=self.channels, num_warps=1)
