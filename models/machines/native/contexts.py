"""Context mixing of pixels on the native library, as contexts.c describes it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.machines.native import library
from lgcodec.models.machines.native.library import pointer

Bytes = NDArray[np.uint8]


class _Tables(ctypes.Structure):
    """contexts.c's ContextTables."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("stretch", "squash", "reciprocal", "next")),
        *((name, ctypes.c_void_p) for name in ("agreeing", "differing", "counted", "weights")),
        ("is_sure", ctypes.c_int64),
    )


def is_available() -> bool:
    return bool(library.available())


def encode(tables: Sequence[NDArray[Any]], samples: Bytes, most: int, *, is_sure: bool) -> bytes | None:
    """The code of samples [H, W, C]; None where it is longer than `most` bytes."""
    code = np.zeros(most, np.uint8)
    size = _run(tables, np.ascontiguousarray(samples), code, 1, is_sure)
    return code[:size].tobytes() if size <= most else None


def decode(
    tables: Sequence[NDArray[Any]], data: bytes, shape: tuple[int, int, int], *, is_sure: bool
) -> tuple[Bytes, int]:
    """The samples [H, W, C], and how many bytes their code has: others than there are, where it is not theirs."""
    samples = np.zeros(shape, np.uint8)
    code = np.frombuffer(data or b"\0", np.uint8)
    return samples, _run(tables, samples, code, 0, is_sure)


def _run(tables: Sequence[NDArray[Any]], samples: Bytes, code: Bytes, encodes: int, is_sure: bool) -> int:
    native, (height, width, channels) = library.library(), samples.shape
    kinds = (np.int16, np.uint16, np.int32, np.uint8, np.uint32, np.uint32, np.uint32, np.int32)
    given = _Tables(*(pointer(table, kind) for table, kind in zip(tables, kinds, strict=True)), is_sure)
    sizes = [ctypes.c_int64(n) for n in (height, width)]
    block = np.zeros(native.lgcodec_contexts_room(*sizes, int(is_sure)), np.uint8)
    run = native.lgcodec_contexts
    where = pointer(samples, np.uint8), *sizes, ctypes.c_int64(channels), pointer(code, np.uint8)
    return int(run(ctypes.byref(given), *where, ctypes.c_int64(code.size), encodes, pointer(block, np.uint8)))
