"""numba's compiler, with a cache that goes stale when any source here changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numba as nb


def _stamp(folder: Path) -> tuple[tuple[str, float, int], ...]:
    """Names, times and sizes of the modules there."""
    modules = [(path.name, path.stat()) for path in sorted(folder.rglob("*.py"))]
    return tuple((name, stat.st_mtime, stat.st_size) for name, stat in modules)


_SOURCES = _stamp(Path(__file__).parents[2])


def jit(function: Any) -> Any:
    """numba's, with a cache that goes stale when any module here changes. numba looks at the function's own
    module, though what it calls, and constants, are compiled into it.
    """
    compiled: Any = nb.njit(cache=True, nogil=True, error_model="numpy")(function)
    compiled._cache._cache_file._source_stamp = _SOURCES
    return compiled
