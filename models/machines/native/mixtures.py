"""Mixtures of logistics as the native library takes them."""

from __future__ import annotations

import ctypes

import numpy as np

from lgcodec.models.entropy import mixture
from lgcodec.models.machines.native import library
from lgcodec.models.machines.native.library import SLACK, pointer

_FAR = 1 << 29  # beyond the alphabet, 1/64: a mean that is as far gives what any farther one does
_LARGEST = 1 << 14  # alphabet
_FARTHEST = 1 << 22  # origin


def tables(tables: mixture.Tables) -> library.Tables:
    # copies, because what comes from a file may lie at any address
    kept = [np.array(part, np.int32) for part in (tables.sigmoid, tables.exponential, tables.inverse)]
    result = library.Tables(*(pointer(part, np.int32) for part in kept))
    result.kept = kept
    return result


def mixtures(m: mixture.Mixture) -> library.Mixtures | None:
    """The same mixtures in int32; None where their alphabet is too large for that."""
    if m.size > _LARGEST or abs(m.origin) > _FARTHEST:
        return None
    K, n = m.mean.shape
    parts = np.zeros((3, K, n + SLACK), np.int32)
    parts[:, :, :n] = np.clip(m.mean, -_FAR, _FAR), m.inverse, m.weight
    known = tables(m.tables)
    edges = None if m.edges is None else pointer(m.edges, np.int32)
    result = library.Mixtures(
        *(pointer(part, np.int32) for part in parts), K, n + SLACK, m.size, m.origin, ctypes.pointer(known), edges
    )
    result.kept = (parts, m.edges)
    return result
