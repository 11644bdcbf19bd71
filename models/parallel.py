"""Work on tiles side by side: compiled functions release the GIL, so threads are enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def each(threads: int, function: Callable[..., T], *items: Sequence[Any]) -> list[T]:
    """function(item, ..) for the items of all sequences in turn, on so many threads."""
    if threads == 1 or len(items[0]) == 1:
        return list(map(function, *items))
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, *items))
