"""Work on tiles side by side: compiled functions release the GIL, so threads are enough."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of processors in so many, or "max"


def cores() -> int:
    """How many cores this process may use: by affinity, and by a container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        share, period = map(int, _QUOTA.read_text().split())
    except (OSError, ValueError):
        return count
    return max(1, min(count, -(-share // period)))


def each(threads: int, function: Callable[..., T], *items: Sequence[Any]) -> list[T]:
    """function(item, ..) for the items of all sequences in turn, on so many threads."""
    if threads == 1 or len(items[0]) == 1:
        return list(map(function, *items))
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, *items))


def together(workers: int, function: Callable[[int], T]) -> list[T]:
    """function(0) .. function(workers - 1), which may wait for each other: each on a thread of its own, all or none."""
    if workers == 1:
        return [function(0)]
    gate = threading.Barrier(workers)

    def one(worker: int) -> T:
        gate.wait()
        return function(worker)

    with ThreadPoolExecutor(workers - 1) as pool:
        try:
            others = [pool.submit(one, worker) for worker in range(1, workers)]
            first = one(0)
        except BaseException:  # no more threads here, or an interrupt: nobody waits for one that never comes
            gate.abort()
            raise
        return [first, *(other.result() for other in others)]
