"""The coefficients family on the native library: a band in one call. coefficients.c repeats `program.Program` number by
number.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy.mixture import Tables
from lgcodec.models.families.coefficients import earlier
from lgcodec.models.families.coefficients import network as coefficients
from lgcodec.models.families.coefficients.companion import FACTORS, matrix
from lgcodec.models.families.coefficients.network import (
    BANDS,
    COUNT,
    DC,
    HEADS,
    KINDS,
    LINEAR,
    LOOKS,
    PHASES,
    Network,
)
from lgcodec.models.families.coefficients.program import check
from lgcodec.models.interface import Coefficients, ComponentShape, Intervals, Stream, Words
from lgcodec.models.layers.integer import Layer
from lgcodec.models.machines.choose import Machine
from lgcodec.models.machines.native import library
from lgcodec.models.machines.native.library import Layers, pointer
from lgcodec.models.machines.native.mixtures import tables
from lgcodec.models.machines.native.products import packed
from lgcodec.models.machines.native.stack import NativeStack, ideal_bits


class _Head(ctypes.Structure):
    """coefficients.c's."""

    _fields_ = (
        *((name, Layers) for name in ("linear", "first", "fixed", "second", "out")),
        *((name, ctypes.c_void_p) for name in ("magnitudes", "mates")),
        *((name, ctypes.c_int64) for name in ("magnitude_count", "mate_count")),
    )


class _Net(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("heads", "compand", "zigzag", "bands")),
        ("companions", ctypes.c_void_p * len(FACTORS)),
        ("tables", library.Tables),
        ("components", ctypes.c_int64),
    )


class _Part(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "columns", "vertical", "horizontal")),
        *((name, ctypes.c_void_p) for name in ("steps", "energy", "coefficients")),
        ("edges", ctypes.c_void_p * 64),
    )


def _fixed(head: int, is_chroma: bool) -> list[int]:
    """Which features of the program all blocks of a phase have alike."""
    looks = LOOKS[KINDS[is_chroma]][head]
    alike = coefficients.COMMON - 2 * LINEAR + (len(BANDS) if head == COUNT else 0 if head == DC else len(PHASES))
    own = {COUNT: 0, DC: 1}.get(head, 2) * is_chroma  # the last ones
    others = {COUNT: 0, DC: 2}.get(head, 8) * is_chroma  # of the other components, between these
    end = looks.features() - own - others
    return [*range(end - alike, end), *range(looks.features() - own, looks.features())]


def _head(layers: dict[str, Layer], kind: str, head: int) -> _Head:
    """One head's layers; the inputs of `first` that differ from block to block, and those that do not, apart."""
    linear, first, second, out = (layers[f"{kind}.{head}.{name}"] for name in ("linear", "first", "second", "out"))
    fixed = _fixed(head, kind == "chroma")
    seen = [i for i in range(first.weight.shape[1]) if i not in fixed]
    parts = [
        packed([linear.weight], [linear]),
        packed([first.weight[:, seen]], [first]),
        packed([first.weight[:, fixed]]),
        packed([second.weight], [second]),
        packed([out.weight], [out]),
    ]
    looks = LOOKS[kind][head]
    places = [np.array(some, np.int64).reshape(-1, 3) for some in (looks.magnitudes, looks.mates)]
    result = _Head(*parts, *(pointer(some, np.int64) for some in places), *map(len, places))
    result.kept = (parts, places)
    return result


def load(network: Network, machine: Machine) -> NativeCoefficients:
    """What `families.tile_coder` gives."""
    return NativeCoefficients(network)


class NativeCoefficients:
    """interface.BandCoder of this family; bands may run on threads side by side."""

    def __init__(self, network: Network) -> None:
        heads = [_head(network.layers, kind, head) for kind in KINDS for head in range(HEADS)]
        array = (_Head * len(heads))(*heads)
        compand, known = network.compand.astype(np.int16), tables(network.tables)
        order = [np.array(part, np.int64) for part in (coefficients.ZIGZAG, coefficients.BAND)]
        companions = [np.ascontiguousarray(matrix(factor).T, np.int32) for factor in FACTORS]
        addresses = (pointer(part, np.int32).value for part in companions)
        self.net = _Net(
            ctypes.cast(array, ctypes.c_void_p), pointer(compand, np.int16), *(pointer(p, np.int64) for p in order),
            (ctypes.c_void_p * len(FACTORS))(*addresses), known, network.config.components,
        )  # fmt: skip
        self.tables = network.tables
        self.kept = (heads, array, compand, known, order, companions)

    def encode(self, shapes: Sequence[ComponentShape], band: Sequence[Coefficients]) -> Stream:
        """Raises ModelError where shapes or coefficients are none that a JPEG has."""
        check(shapes, band)
        band = [np.ascontiguousarray(part) for part in band]
        parts, net = _parts(shapes, band, self.tables), ctypes.byref(self.net)
        count = library.library().lgcodec_coefficients_symbols(net, parts, ctypes.c_int64(len(parts)))
        shares, stack = np.empty((2, count), np.uint32), NativeStack()
        self._run(parts, shares, None, shapes[0].is_dc_first, False)
        stack.push(Intervals(shares[0], shares[1], np.array([count])))
        return Stream(stack.words(), ideal_bits(shares[1]))

    def decode(self, shapes: Sequence[ComponentShape], words: Words) -> list[Coefficients]:
        """Raises ModelError where a stream is not exactly one band of these shapes."""
        return self._decoded(shapes, words, False)

    def preview(self, shapes: Sequence[ComponentShape], words: Words) -> list[Coefficients]:
        """Raises ModelError for impossible shapes."""
        return self._decoded(shapes, words, True)

    def _decoded(self, shapes: Sequence[ComponentShape], words: Words, is_dc: bool) -> list[Coefficients]:
        check(shapes)
        band = [np.zeros((shape.rows, shape.columns, 64), np.int16) for shape in shapes]
        self._run(_parts(shapes, band, self.tables), None, NativeStack(words), shapes[0].is_dc_first, is_dc)
        return band

    def _run(
        self,
        parts: ctypes.Array[_Part],
        shares: NDArray[np.uint32] | None,
        stack: NativeStack | None,
        is_dc_first: bool,
        is_dc: bool,
    ) -> None:
        native, given = library.library(), (ctypes.byref(self.net), parts, ctypes.c_int64(len(parts)))
        block = np.zeros(native.lgcodec_coefficients_room(*given), np.uint8)
        starts, frequencies = (None, None) if shares is None else (pointer(part, np.uint32) for part in shares)
        room = ctypes.c_int64(0 if shares is None else shares.shape[1])
        popped = stack and ctypes.byref(stack.struct)
        order = (ctypes.c_int(is_dc_first), ctypes.c_int(is_dc))
        to = (starts, frequencies, room, popped, *order, pointer(block, np.uint8))
        library.check(native.lgcodec_coefficients(*given, *to))


def _parts(
    shapes: Sequence[ComponentShape], band: Sequence[Coefficients], tables: Tables
) -> ctypes.Array[_Part]:
    kept, parts = [], (_Part * len(shapes))()
    for i, (shape, x) in enumerate(zip(shapes, band, strict=True)):
        numbers = [np.array(part, np.int64) for part in (shape.steps, shape.energy)]
        addresses = (*(pointer(part, np.int64) for part in numbers), pointer(x, np.int16))
        parts[i] = _Part(shape.rows, shape.columns, shape.vertical, shape.horizontal, *addresses)
        edges = earlier.edges(shape, tables)
        for k, moved in edges.items():
            parts[i].edges[k] = pointer(moved, np.int32).value
        kept.append((numbers, x, edges))
    parts.kept = kept  # type: ignore[attr-defined]
    return parts
