"""The native loops of codec/jpeg/scans, as jpeg.c describes them: the entropy-coded data of one scan, both ways."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.errors import ModelError
from lgcodec.models.machines.native import library
from lgcodec.models.machines.native.library import pointer

_ROOM = 1 << 20  # bytes written at once
_TABLE = 16 + 256
_MEANINGS = {
    -1: "entropy-coded data ends too early",
    -2: "a code that is in no Huffman table",
    -3: "a scan without its Huffman table",
    -4: "a coefficient out of range",
    -5: "a run beyond the end of its block or interval",
    -6: "a restart marker is missing",
    -7: "a correction of more than one bit",
    -8: "a symbol that its Huffman table does not have",
    -9: "padding that does not fill its byte",
    -10: "a fact about a block that is not as it says",
}

Blocks = NDArray[np.int16]
Numbers = NDArray[np.int64]


class Part(ctypes.Structure):
    _fields_ = (
        ("blocks", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("columns", "across", "down", "dc", "ac")),
    )


class Scan(ctypes.Structure):
    """jpeg.c's; keep the arrays alive that it points at."""

    _fields_ = (
        ("parts", Part * 4),
        *(
            (name, ctypes.c_int64)
            for name in ("count", "rows", "columns", "progressive", "first", "last", "high", "low", "interval")
        ),
        ("tables", ctypes.c_void_p * 8),
    )


class Facts(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("pads", "breaks", "zeros")),
        *((name, ctypes.c_int64) for name in ("pad_count", "break_count", "zero_count", "pad")),
    )


class Writing(ctypes.Structure):
    _fields_ = (
        ("encoders", ctypes.c_uint32 * (8 * 256)),
        *(
            (name, ctypes.c_int64)
            for name in ("mcu", "block", "pending", "corrections", "table", "pads", "breaks", "zeros")
        ),
        ("bits", ctypes.c_uint64),
        ("have", ctypes.c_int32),
        ("error", ctypes.c_int32),
        ("before", ctypes.c_int32 * 4),
        ("held", ctypes.c_uint8 * ((1 << 16) + 64)),
    )


def is_available() -> bool:
    return bool(library.available())


class Native:
    """A scan for the library. parts: blocks of the plane, across, down, dc, ac. numbers: rows, columns, progressive,
    first, last, high, low, interval. tables: as DHT segments hold them, None where there is none.
    """

    def __init__(
        self,
        parts: Sequence[tuple[Blocks, int, int, int, int]],
        numbers: Sequence[int],
        tables: Sequence[bytes | None],
    ) -> None:
        self.scan = Scan(count=len(parts))
        for name, number in zip(("rows", "columns", "progressive", "first", "last", "high", "low", "interval"), numbers,
                                strict=True):  # fmt: skip
            setattr(self.scan, name, number)
        for i, (blocks, *own) in enumerate(parts):
            _, across, down, _, _ = parts[i]
            if blocks.ndim != 3 or blocks.shape[2] != 64:
                raise ValueError(f"expected blocks [rows, columns, 64], got {blocks.shape}")
            if self.scan.rows * down > blocks.shape[0] or self.scan.columns * across > blocks.shape[1]:
                raise ValueError("a scan larger than its plane")
            self.scan.parts[i] = Part(pointer(blocks, np.int16), blocks.shape[1], *own)
        self.kept: list[Any] = [[blocks for blocks, *_ in parts]]
        for i, table in enumerate(tables):
            if table is not None:
                self.kept.append(ctypes.create_string_buffer(table.ljust(_TABLE, b"\0"), _TABLE))
                self.scan.tables[i] = ctypes.addressof(self.kept[-1])
        self.blocks = self.scan.rows * self.scan.columns * sum(across * down for _, across, down, _, _ in parts)

    def read(self, data: bytes, start: int, alignments: int) -> tuple[int, bytes, Numbers, Numbers, Numbers]:
        """The end, pads, breaks, zeros, counts: as `scans.read` has them. Raises ModelError for what data can cause."""
        pads, counts = np.empty(alignments, np.uint8), np.zeros((8, 256), np.uint32)
        breaks, zeros = np.empty(self.blocks, np.int64), np.empty((self.blocks, 2), np.int64)
        facts = Facts(pointer(pads, np.uint8), pointer(breaks, np.int64), pointer(zeros, np.int64))
        end = _call("read", self.scan, data, start, len(data), pointer(counts, np.uint32), facts)
        return (
            end,
            pads[: facts.pad_count].tobytes(),
            breaks[: facts.break_count].copy(),
            zeros[: facts.zero_count].copy(),
            counts.astype(np.int64),
        )

    def write(self, pad: int | None, pads: bytes, breaks: Numbers, zeros: Numbers, limit: int) -> bytes:
        """The data. limit: bytes. Raises ModelError where they cannot be written."""
        facts, kept = _facts(pad, pads, breaks, zeros)
        writing, room, out, size = Writing(), np.empty(_ROOM, np.uint8), list[bytes](), 0
        while writing.mcu < self.scan.rows * self.scan.columns:
            n = _call("write", self.scan, facts, writing, pointer(room, np.uint8), room.size, None)
            out.append(room[:n].tobytes())
            size += n
            if size > limit:
                raise ModelError("a JPEG file larger than it may be")
        del kept
        return b"".join(out)

    def count(self, breaks: Numbers, zeros: Numbers) -> Numbers:
        """How often each symbol of each table would be written, int64 [8, 256]."""
        facts, kept = _facts(0, b"", breaks, zeros)
        counts = np.zeros((8, 256), np.uint32)
        _call("write", self.scan, facts, Writing(), None, _ROOM, pointer(counts, np.uint32))
        del kept
        return counts.astype(np.int64)


def _facts(pad: int | None, pads: bytes, breaks: Numbers, zeros: Numbers) -> tuple[Facts, list[Any]]:
    kept = [np.ascontiguousarray(breaks, np.int64), np.ascontiguousarray(zeros, np.int64)]
    pointers = (ctypes.cast(ctypes.c_char_p(pads), ctypes.c_void_p), *(pointer(array, np.int64) for array in kept))
    return Facts(*pointers, len(pads), len(breaks), len(zeros), -1 if pad is None else pad), [pads, *kept]


def _call(name: str, *arguments: Any) -> int:
    function = getattr(library.library(), f"lgcodec_jpeg_{name}")
    function.restype = ctypes.c_int64
    passed = [
        ctypes.byref(value)
        if isinstance(value, ctypes.Structure)
        else ctypes.c_int64(value)
        if isinstance(value, int)
        else ctypes.c_char_p(value)
        if isinstance(value, bytes)
        else value
        for value in arguments
    ]
    result = int(function(*passed))
    if result < 0:
        raise ModelError(_MEANINGS[result])
    return result
