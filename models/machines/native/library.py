"""Loads the native library: of the widest instruction set that this processor has, or of $LGCODEC_INSTRUCTIONS."""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.errors import ModelError
from lgcodec.models.machines.native import build

COLUMNS = 16  # rows of outputs are multiples of this
SLACK = 16  # so many more numbers may be read, and written, behind those of an array
ABSENT = "is not compiled: install lgcodec again where there is a C compiler, or with pip's `ziglang`"
_MEANINGS = {
    1: "arrays whose sizes or values do not fit",
    2: "a stream does not hold exactly its tile",
    3: "a stream holds samples beyond 16 bits",
    4: "a stream's blocks do not have as many coefficients as it says",
}


class Layers(ctypes.Structure):
    """native.h's; keep the arrays alive that it points at."""

    _fields_ = (
        ("weight", ctypes.c_void_p),
        ("ends", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("layers", "pairs", "outputs")),
    )


class Stack(ctypes.Structure):
    _fields_ = (
        ("state", ctypes.c_uint64),
        ("words", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("left", "room")),
    )


class Tables(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in ("sigmoid", "exponential", "inverses"))


class Mixtures(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("mean", "inverse", "weight")),
        *((name, ctypes.c_int64) for name in ("components", "stride", "size", "origin")),
        ("tables", ctypes.POINTER(Tables)),
        ("edges", ctypes.c_void_p),
    )


@functools.cache
def available() -> tuple[str, ...]:
    """The instruction sets of this processor whose libraries are there, the widest first."""
    path = build.path_of("processor")
    if not path.exists():
        return ()
    try:
        count = ctypes.CDLL(str(path)).lgcodec_processor()
    except OSError:  # of another kind of machine
        return ()
    known = [name for name in list(build.SETS)[:count] if build.path_of(name).exists()]
    return tuple(name for name in reversed(known) if _is_fresh(name))


def _is_fresh(name: str) -> bool:
    """Whether a library is of the sources beside it, if there are any: a working tree may be ahead of its libraries."""
    if not build.sources():
        return True
    stamp = ctypes.CDLL(str(build.path_of(name))).lgcodec_sources
    stamp.restype = ctypes.c_char_p
    return bool(stamp() == build.digest().encode())


@functools.cache
def load(name: str) -> Any:
    """The library of an instruction set. Raises ModelError where it is not there."""
    if name not in available():
        raise ModelError(f"no native library for {name!r} here: have {', '.join(available()) or 'none'}")
    library = ctypes.CDLL(str(build.path_of(name)))
    library.lgcodec_product.restype = ctypes.c_double
    for function in (
        "flow",
        "flow_room",
        "causal_room",
        "features_room",
        "coefficients_room",
        "coefficients_symbols",
        "contexts",
        "contexts_room",
    ):
        getattr(library, f"lgcodec_{function}").restype = ctypes.c_int64
    return library


def library() -> Any:
    """The library to use. Raises ModelError where there is none."""
    name = os.environ.get("LGCODEC_INSTRUCTIONS") or next(iter(available()), "")
    if not name:
        raise ModelError(f"the native library {ABSENT}")
    return load(name)


def check(code: int) -> None:
    """Raises what a function of the library returned, ModelError for what streams can cause."""
    if code:
        raise ModelError(_MEANINGS[code])


def rounded(n: int) -> int:
    """n, rounded up to a multiple of COLUMNS."""
    return -(-n // COLUMNS) * COLUMNS


def pointer(array: NDArray[Any], kind: Any) -> ctypes.c_void_p:
    """Where a C-contiguous array begins. Raises ValueError unless it is one of `kind`: the library sees no types."""
    if not array.flags.c_contiguous or array.dtype != kind:
        raise ValueError(f"expected a C-contiguous array of {np.dtype(kind)}, got {array.dtype}")
    return ctypes.c_void_p(array.ctypes.data)
