"""The causal family on the native library: a tile's fronts one after another, without Python between them."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.causal.network import Network, Side
from lgcodec.models.interface import Intervals, Shape, Stream
from lgcodec.models.machines.choose import Machine
from lgcodec.models.machines.native import library
from lgcodec.models.machines.native.library import pointer, rounded
from lgcodec.models.machines.native.mixtures import tables
from lgcodec.models.machines.native.products import packed
from lgcodec.models.machines.native.stack import NativeStack, ideal_bits
from lgcodec.models.parallel import each, together

T = TypeVar("T")

_EXTRAS = 4  # inputs of heads beside h, in pairs
_MOST_WORKERS = 32  # at a tile, in crew.h
_FEWEST_ROWS = 32  # of a front, for each worker: below that they would wait for each other more than they work


class _Causal(ctypes.Structure):
    """causal.c's Causal."""

    _fields_ = (
        *((name, library.Layers) for name in ("first", "middle", "linear", "heads", "outs")),
        *((name, library.Layers) for name in ("back_outs", "back_heads", "back_middle")),
        ("tables", library.Tables),
        *((name, ctypes.c_void_p) for name in ("fine", "coarse")),
        *((name, ctypes.c_int64) for name in ("rows", "left", "reach", "context", "side", "grid", "components")),
        *((name, ctypes.c_int64) for name in ("inputs", "width", "hidden", "rate", "period")),
    )


class _Side(ctypes.Structure):
    _fields_ = (("picture", ctypes.c_void_p), ("features", ctypes.c_void_p))


class _Crew(ctypes.Structure):
    """crew.h's Crew."""

    _fields_ = (("workers", ctypes.c_int64), ("arrived", ctypes.c_int32), ("round", ctypes.c_int32))


def _order(config: causal.Config) -> NDArray[np.int64]:
    """The inputs of `first` in the order that causal.c has them."""

    def by_rows(places: Sequence[tuple[int, int]]) -> list[int]:
        return sorted(range(len(places)), key=lambda i: (-places[i][0], places[i][1]))

    neighbours, channels, planes = config.neighbours(), causal.CHANNELS, causal.WINDOWS * causal.CHANNELS
    seen = [i * channels + c for c in range(channels) for i in by_rows(neighbours)]
    errors = [len(seen) + i * planes + m for i in by_rows(causal.ERRORS) for m in range(planes)]
    inputs = len(config.layers()["first"][0])
    return np.array([*seen, *errors, *range(len(seen) + len(errors), inputs)])


def _wide(weight: NDArray[np.int16], own: int, behind: int, inputs: int) -> NDArray[np.int16]:
    """weight [O, I] -> [O, inputs]: its first `own` columns, zeros, and its others from `behind` on."""
    wide = np.zeros((len(weight), inputs), np.int16)
    wide[:, :own] = weight[:, :own]
    wide[:, behind : behind + weight.shape[1] - own] = weight[:, own:]
    return wide


def _tall(weight: NDArray[np.int16], rows: int) -> NDArray[np.int16]:
    """With zero rows below, `rows` in all."""
    return np.pad(weight, ((0, rows - len(weight)), (0, 0)))


def load(network: Network, machine: Machine) -> NativeCausal:
    """What `families.tile_coder` gives."""
    return NativeCausal(network, machine.threads)


class NativeCausal:
    """interface.TileCoder for the causal family; tiles run on as many threads as asked for, one or more each."""

    def __init__(self, network: Network, threads: int) -> None:
        self.network, self.threads, self.batch = network, threads, 2 * threads
        self.library = library.library()
        self.prepared = functools.lru_cache(maxsize=8)(self._prepare)
        self.order = _order(network.config)

    def _prepare(self, adaptation: bytes) -> _Causal:
        layers, config = self.network.adapted(adaptation).layers, self.network.config
        width, hidden, outputs = (rounded(n) for n in (config.width, config.hidden, 3 * config.components + 1))
        first, linear = layers["first"], layers["linear"]
        middle = [layers[f"middle.{i}"] for i in range(config.depth)]
        heads, outs = ([layers[f"{name}.{c}"] for c in range(causal.CHANNELS)] for name in ("head", "out"))
        passed = width + len(causal.PASSED) * config.context
        own = [layer.weight[:, : config.width] for layer in heads]
        parts = {
            "first": ([first.weight[:, self.order]], [first]),
            "middle": ([_wide(layer.weight, config.width, width, passed) for layer in middle], middle),
            "linear": ([linear.weight[:, self.order[: linear.weight.shape[1]]]], [linear]),
            "heads": ([_wide(layer.weight, config.width, width, width + _EXTRAS) for layer in heads], heads),
            "outs": ([_wide(layer.weight, config.hidden, hidden, hidden) for layer in outs], outs),
            "back_outs": ([_tall(layer.weight, outputs).T for layer in outs], ()),
            "back_heads": ([np.vstack([_tall(weight, hidden) for weight in own]).T], ()),
            "back_middle": ([_tall(layer.weight[:, : config.width], width).T for layer in middle], ()),
        }
        known = {name: packed(weights, ends) for name, (weights, ends) in parts.items()}
        mixtures = tables(self.network.tables)
        compand = [table.astype(np.int16) for table in (self.network.fine, self.network.coarse)]
        fine, coarse = (pointer(table, np.int16) for table in compand)
        net = _Causal(
            **known, tables=mixtures, fine=fine, coarse=coarse, rows=config.rows, left=config.left, reach=config.reach,
            context=config.context, side=config.side, grid=config.grid, components=config.components,
            inputs=config.learners("first"), width=config.width, hidden=config.hidden, rate=config.learning,
            period=1 + config.rest,
        )  # fmt: skip
        net.kept = (known, mixtures, compand)  # the library sees addresses alone
        return net

    def _each(self, function: Callable[..., T], shapes: Sequence[Shape], *items: Sequence[Any]) -> list[T]:
        """function(workers, item, ..) for each tile: a thread each, and those left over share the threads."""
        alone, rest = len(shapes) // self.threads * self.threads, len(shapes) % self.threads
        results = each(self.threads, function, [1] * alone, *(part[:alone] for part in items))
        if rest:
            rows = [min(height, (width + 1) // 2) for _, height, width in shapes[alone:]]
            crews = [max(1, min(self.threads // rest, n // _FEWEST_ROWS, _MOST_WORKERS)) for n in rows]
            results += each(rest, function, crews, *(part[alone:] for part in items))
        return results

    def _run(
        self, tile: NDArray[np.int16], stack: library.Stack, adaptation: bytes, side: Side | None, workers: int,
        shares: NDArray[np.uint32] | None = None,
    ) -> None:  # fmt: skip
        """Codes a tile whose symbols' shares are wanted, or else one that is popped from the stack."""
        net, shape = ctypes.byref(self.prepared(adaptation)), [ctypes.c_int64(n) for n in tile.shape]
        known, space = None, tile.shape[1:]
        if side is not None:
            if side.picture.shape != (*space, causal.CHANNELS) or side.features.shape[:2] != space:
                raise ValueError("what is known of a tile has its height and width")
            parts = (np.ascontiguousarray(side.padded()), np.ascontiguousarray(side.features))
            known = ctypes.byref(_Side(*(pointer(part, np.int16) for part in parts)))
        crew = _Crew(workers=workers)
        block = np.zeros(max(self.library.lgcodec_causal_room(net, *shape, ctypes.c_int64(workers)), 0), np.uint8)
        targets = (None, None) if shares is None else [pointer(part, np.uint32) for part in shares]
        given = (pointer(tile, np.int16), known, *targets, ctypes.byref(stack), pointer(block, np.uint8))

        def one(worker: int) -> int:
            code: int = self.library.lgcodec_causal(net, *shape, *given, ctypes.byref(crew), ctypes.c_int64(worker))
            return code

        for code in together(workers, one):
            library.check(code)

    def encode(
        self, tiles: Sequence[NDArray[np.int16]], adaptation: bytes, sides: Sequence[Side | None] = ()
    ) -> list[Stream]:
        """sides: what is known of each tile, where the network wants that."""

        def one(workers: int, tile: NDArray[np.int16], side: Side | None) -> Stream:
            shares, stack = np.empty((2, 2 * tile.size), np.uint32), NativeStack()
            self._run(np.ascontiguousarray(tile), stack.struct, adaptation, side, workers, shares)
            starts, frequencies = shares
            stack.push(Intervals(starts, frequencies, np.array([len(starts)])))
            return Stream(stack.words(), ideal_bits(frequencies))

        return self._each(one, [tile.shape for tile in tiles], tiles, sides or [None] * len(tiles))

    def decode(
        self, shapes: Sequence[Shape], words: Sequence[NDArray[np.uint32]], adaptation: bytes,
        sides: Sequence[Side | None] = (),
    ) -> list[NDArray[np.int16]]:  # fmt: skip
        """Raises ModelError where a stream is not exactly one tile."""

        def one(workers: int, shape: Shape, stream: NDArray[np.uint32], side: Side | None) -> NDArray[np.int16]:
            tile, stack = np.zeros(shape, np.int16), NativeStack(stream)
            self._run(tile, stack.struct, adaptation, side, workers)
            return tile

        return self._each(one, shapes, shapes, words, sides or [None] * len(shapes))


def features(x: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """What the online predictors say of a known tile x, int16 [C, H, W].

    Returns predictions [windows, C, H, W] and expected errors by coupling [C, H, W], int16 in Q3.
    """
    x, native = np.ascontiguousarray(x), library.library()
    predictions, coupled = np.zeros((causal.WINDOWS, *x.shape), np.int16), np.zeros(x.shape, np.int16)
    shape = [ctypes.c_int64(n) for n in x.shape]
    block = np.zeros(native.lgcodec_features_room(*shape), np.uint8)
    results = pointer(predictions, np.int16), pointer(coupled, np.int16)
    native.lgcodec_features(pointer(x, np.int16), *shape, pointer(block, np.uint8), *results)
    return predictions, coupled
