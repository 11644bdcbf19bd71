"""The flow on the native library: a tile in one call. flow.c repeats `program.Flow` and `Program` number for number."""

from __future__ import annotations

import ctypes
import functools
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.errors import ModelError
from lgcodec.models.families.flow import network as flow
from lgcodec.models.families.flow.network import NEAREST, ORIGINS, SIZES, Network, Shape, Tile
from lgcodec.models.families.flow.program import Images
from lgcodec.models.interface import Intervals, Stream
from lgcodec.models.layers.integer import Layer
from lgcodec.models.machines.choose import Machine
from lgcodec.models.machines.native import library
from lgcodec.models.machines.native.library import Layers, check, pointer
from lgcodec.models.machines.native.mixtures import tables
from lgcodec.models.machines.native.products import packed
from lgcodec.models.machines.native.stack import NativeStack, ideal_bits
from lgcodec.models.parallel import each

_RUN = 16  # flow.c's


class _Phase(ctypes.Structure):
    _fields_ = (
        *((name, Layers) for name in ("first", "middle", "heads", "outs")),
        ("runs", ctypes.c_void_p),
        ("nearest", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("count", "inputs")),
    )


class _Flow(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("phases", "coarse", "last")),
        ("tables", library.Tables),
        *((name, ctypes.c_int64) for name in ("channels", "sets", "margin", "width", "components", "absolute")),
    )


def _window(config: flow.Config, phase: int) -> tuple[list[int], NDArray[np.int64], NDArray[np.int64]]:
    """How a network sees a window: its cells in the order of the planes; runs of them side by side there, and the
    nearest four, each [plane, row, column, input].
    """
    cells = [flow.locate(phase, offset) for offset in config.window(phase)]
    order = sorted(range(len(cells)), key=cells.__getitem__)
    cells = sorted(cells)
    starts = [i for i, (p, y, x) in enumerate(cells) if i == 0 or cells[i - 1] != (p, y, x - 1)]
    bounds, long = [*starts, len(cells)], _RUN // config.channels
    firsts = [i for a, b in itertools.pairwise(bounds) for i in range(a, b, long)]
    runs = np.array([(*cells[i], i * config.channels) for i in firsts], np.int64)
    nearest = np.array([(*flow.locate(phase, offset), 0) for offset in NEAREST[phase]], np.int64)
    return order, runs, nearest


def _phase(config: flow.Config, layers: dict[str, Layer], phase: int) -> _Phase:
    """One network: `first` and, behind it, `linear` as one layer, whose inputs come in the order of the planes."""
    order, runs, nearest = _window(config, phase)
    C, first, linear = config.channels, layers["first"], layers["linear"]
    seen = len(order) * C
    inputs = np.arange(first.weight.shape[1])
    inputs[:seen] = (np.array(order)[:, None] * C + np.arange(C)).reshape(-1)
    wide = np.pad(linear.weight, ((0, 0), (0, len(inputs) - seen)))
    ends = (np.concatenate([getattr(first, end), getattr(linear, end)]) for end in ("bias", "shift", "low", "high"))
    bias, shift, low, high = ends
    both = Layer(np.concatenate([first.weight, wide])[:, inputs], bias, shift, first.limit[inputs], low, high)
    kinds = (
        [both],
        [layers[f"middle.{i}"] for i in range(config.depth)],
        [layers[f"head.{c}"] for c in range(C)],
        [layers[f"out.{c}"] for c in range(C)],
    )
    parts = [packed([layer.weight for layer in some], some) for some in kinds]
    result = _Phase(*parts, pointer(runs, np.int64), pointer(nearest, np.int64), len(runs), seen)
    result.kept = (parts, runs, nearest)
    return result


def _ends(x: NDArray[np.int16]) -> int:
    """How many samples are at an end of their window or beyond. x: [N, H, W, C]."""
    low = np.array(ORIGINS[: x.shape[3]])
    return int(((x <= low) | (x >= low + SIZES[: x.shape[3]] - 1)).sum())


def load(network: Network, machine: Machine) -> NativeFlow:
    """What `families.tile_coder` gives."""
    return NativeFlow(network, machine.threads)


class NativeFlow:
    """interface.TileCoder of this family: one tile per thread."""

    def __init__(self, network: Network, threads: int) -> None:
        self.network, self.threads, self.batch = network, threads, 8 * threads
        self.prepared = functools.lru_cache(maxsize=8)(self._prepare)

    def _prepare(self, adaptation: bytes) -> _Flow:
        config = self.network.config
        sets = self.network.adapted(adaptation).layers
        phases = [_phase(config, layers, p) for one in sets for p, layers in enumerate(one)]
        array = (_Phase * len(phases))(*phases)
        known = tables(self.network.tables)
        coarse, last = (np.array(part, np.int32) for part in (self.network.coarse, self.network.last))  # aligned
        result = _Flow(
            ctypes.cast(array, ctypes.c_void_p), pointer(coarse, np.int32), pointer(last, np.int32), known,
            config.channels, config.sets, config.margin, config.width, config.components, config.absolute,
        )  # fmt: skip
        result.kept = (phases, array, known, coarse, last)
        return result

    def _run(
        self, adaptation: bytes, x: NDArray[np.int16], shares: NDArray[np.uint32] | None, stack: NativeStack | None
    ) -> int:
        """Codes a tile; shares: uint32 [2, room], of its symbols. Returns how many symbols it has."""
        net, native, shape = self.prepared(adaptation), library.library(), np.array(x.shape, np.int64)
        block = np.empty(native.lgcodec_flow_room(ctypes.byref(net), pointer(shape, np.int64)), np.uint8)
        starts, frequencies = (None, None) if shares is None else (pointer(part, np.uint32) for part in shares)
        room = ctypes.c_int64(0 if shares is None else shares.shape[1])
        given = (ctypes.byref(net), pointer(shape, np.int64), pointer(x, np.int16), pointer(block, np.uint8))
        count: int = native.lgcodec_flow(*given, starts, frequencies, room, stack and ctypes.byref(stack.struct))
        check(-min(count, 0))
        return count

    def encode(self, tiles: Sequence[Tile], adaptation: bytes) -> list[Stream]:
        self.prepared(adaptation)

        def one(tile: Tile) -> Stream:
            x = Images(self.network.config, [tile.shape]).arrange([tile])
            shares = np.empty((2, 2 * x.size + 3 * _ends(x)), np.uint32)  # beyond: a length and at most two bytes
            count = self._run(adaptation, x, shares, None)
            stack = NativeStack()
            stack.push(Intervals(shares[0, :count], shares[1, :count], np.array([count])))
            return Stream(stack.words(), ideal_bits(shares[1, :count]))

        return each(self.threads, one, tiles)

    def decode(self, shapes: Sequence[Shape], words: Sequence[NDArray[np.uint32]], adaptation: bytes) -> list[Tile]:
        """Raises ModelError where a stream is not exactly one tile."""
        self.prepared(adaptation)

        def one(shape: Shape, stream: NDArray[np.uint32]) -> Tile:
            images, stack = Images(self.network.config, [shape]), NativeStack(stream)
            x = np.zeros(images.shape, np.int16)
            self._run(adaptation, x, None, stack)
            if not stack.is_empty():
                raise ModelError("a stream holds more than its tile")
            return images.restore(x)[0]

        return each(self.threads, one, shapes, words)
