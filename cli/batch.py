"""Many files at once: over processes of this machine, or over a cluster of dask.distributed.

Files are read and written here, one process's work; what goes to workers and comes back is bytes. So workers need no
common file system, outputs appear whole or not at all, and a worker that dies loses nothing: its files are sent again.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

import lgcodec
from lgcodec.cli import files, report
from lgcodec.errors import InputError, LgcodecError
from lgcodec.models.optional import needs

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

    from lgcodec import Codec
    from lgcodec.cli.files import Outputs, Source

TRIES = 3  # how often a file is sent to workers that die over it
PATIENCE = 10  # seconds to find a scheduler
WARMTH = 2  # files under way for each worker, so that none waits for the next
EXPECTED = (LgcodecError, OSError, MemoryError)


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of commands that work on many files."""
    for option in reversed(
        (
            click.option("--files-from", metavar="FILE", help="Take names from FILE too, one a line; - is stdin."),
            click.option(
                "-j", "--jobs", type=click.IntRange(0), default=1, metavar="N",
                help="Processes that share the files; 0 is a process a core.",
            ),
            click.option("--scheduler", metavar="tcp://...", help="Workers of this dask.distributed cluster instead."),
        )
    ):  # fmt: skip
        function = option(function)
    return function


def listed(name: str | None) -> tuple[str, ...]:
    """The names in a file, one a line. Raises OSError."""
    if name is None:
        return ()
    text = sys.stdin.read() if name == files.STDIO else Path(name).read_text()
    return tuple(line for line in text.splitlines() if line)


class Pool(Protocol):
    """Workers. dead: what a result raises where its worker died."""

    size: int
    dead: tuple[type[Exception], ...]

    def submit(self, codec: Codec, data: bytes) -> Any:
        """A future of the compressed bytes."""

    def first(self, futures: Iterable[Any]) -> Iterable[Any]:
        """Those that are done, once one is."""


class Processes:
    """Processes of this machine."""

    def __init__(self, size: int) -> None:
        from concurrent.futures.process import BrokenProcessPool

        self.size = size
        self.dead: tuple[type[Exception], ...] = (BrokenProcessPool,)
        self._pool = self._new()

    def submit(self, codec: Codec, data: bytes) -> Future[bytes]:
        try:
            return self._pool.submit(compressed, codec, data)
        except self.dead:
            self._pool = self._new()
            return self._pool.submit(compressed, codec, data)

    def first(self, futures: Iterable[Future[bytes]]) -> Iterable[Future[bytes]]:
        from concurrent.futures import FIRST_COMPLETED, wait

        return wait(futures, return_when=FIRST_COMPLETED).done

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _new(self) -> ProcessPoolExecutor:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        return ProcessPoolExecutor(self.size, mp_context=multiprocessing.get_context("spawn"))


class Cluster:
    """The workers of a scheduler, as many as there are at the time."""

    def __init__(self, client: Any) -> None:
        from distributed.scheduler import KilledWorker

        self.dead: tuple[type[Exception], ...] = (KilledWorker,)
        self.size = max(1, sum(client.nthreads().values()))
        self._client = client

    def submit(self, codec: Codec, data: bytes) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the data is large: scattered, it would be lost with its worker
            return self._client.submit(compressed, codec, data, pure=False, retries=TRIES)

    def first(self, futures: Iterable[Any]) -> Iterable[Any]:
        from distributed import wait

        return set(wait(list(futures), return_when="FIRST_COMPLETED").done)


@contextmanager
def pool_of(jobs: int, scheduler: str | None) -> Iterator[Pool]:
    """The workers that the options ask for. Raises ModelError without dask.distributed, OSError without a scheduler."""
    if scheduler is not None:
        with needs("cluster", "--scheduler"):
            from distributed import Client
        with Client(scheduler, timeout=PATIENCE) as client:
            yield Cluster(client)
        return
    processes = Processes(jobs or os.cpu_count() or 1)
    try:
        yield processes
    finally:
        processes.close()


def compressed(codec: Codec, data: bytes) -> bytes:
    """What a worker does."""
    return codec.compress(data)


@dataclass
class Totals:
    """What a run came to. samples: of the pixels. before, after: bytes."""

    images: int = 0
    pixels: int = 0
    samples: int = 0
    before: int = 0
    after: int = 0
    skipped: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a file. result: its compressed bytes, what went wrong, or None where it was passed over."""

    source: Source
    target: Path | None
    result: bytes | Exception | None


@dataclass(frozen=True)
class Job:
    """A file under way. tries: how often it was sent."""

    source: Source
    target: Path
    data: bytes
    tries: int = 1


def compress(codec: Codec, outputs: Outputs, pool: Pool, *, quiet: bool, verbose: bool) -> int:
    """Compresses all inputs. Returns the exit code: 1 where a file failed, which is said in a line."""
    start, totals, done = time.perf_counter(), Totals(), 0
    sources = list(files.sources(outputs.inputs, recursive=outputs.recursive, suffixes=files.IMAGES))
    sizes = {source: _size(source) for source in sources}
    with report.Progress(f"{len(sources)} files", enabled=not quiet) as progress:
        for outcome in _outcomes(codec, sources, outputs, pool):
            done += sizes[outcome.source]
            _finish(outcome, sizes[outcome.source], outputs, totals, verbose)
            progress(done, max(1, sum(sizes.values())))
    if not quiet:
        report.batch(totals, time.perf_counter() - start)
    return int(totals.failed > 0)


def _finish(outcome: Outcome, size: int, outputs: Outputs, totals: Totals, verbose: bool) -> None:
    """Writes a result, or says why there is none, and counts it."""
    source, data = outcome.source, outcome.result
    if data is None:
        totals.skipped += 1
        return
    try:
        if isinstance(data, Exception):
            raise data
        with outputs.writing(outcome.target) as out:
            out.write(data)
        if outputs.remove and source.path is not None:
            source.path.unlink()
    except EXPECTED as error:
        totals.failed += 1
        report.complain(error, source.name)
        return
    info = lgcodec.inspect(data)
    totals.images += 1
    totals.pixels += info.pixels
    totals.samples += info.pixels * info.channels
    totals.before += size
    totals.after += len(data)
    if verbose:
        report.packed(source.name, outcome.target, info, size)


def _outcomes(codec: Codec, sources: Iterable[Source], outputs: Outputs, pool: Pool) -> Iterator[Outcome]:
    """What becomes of each source, as it does; a few files for each worker are under way."""
    waiting: dict[Any, Job] = {}
    left, claimed = iter(sources), set[Path]()
    source = next(left, None)
    while source is not None or waiting:
        while source is not None and len(waiting) < WARMTH * pool.size:
            if outputs.is_done(source, files.PACKED):
                yield Outcome(source, None, None)
            else:
                try:
                    job = _read(source, outputs, claimed)
                except EXPECTED as error:
                    yield Outcome(source, None, error)
                else:
                    waiting[pool.submit(codec, job.data)] = job
            source = next(left, None)
        for future in list(pool.first(waiting)) if waiting else ():
            job = waiting.pop(future)
            try:
                result: bytes | Exception = future.result()
            except pool.dead as error:
                if job.tries < TRIES:
                    waiting[pool.submit(codec, job.data)] = replace(job, tries=job.tries + 1)
                    continue
                result = InputError(f"{TRIES} workers died over it: {error}")
            except EXPECTED as error:
                result = error
            yield Outcome(job.source, job.target, result)


def _read(source: Source, outputs: Outputs, claimed: set[Path]) -> Job:
    """A file's bytes and target. Raises InputError where that may not be written, and OSError."""
    target = outputs.claim(source, files.PACKED)
    if target is None:
        raise InputError("has no name for a file: many at once are written to files")
    if target.resolve() in claimed:
        raise InputError(f"{click.format_filename(target)} already holds the result of another input")
    claimed.add(target.resolve())
    with source.opened() as file:
        return Job(source, target, file.read())


def _size(source: Source) -> int:
    """Bytes of a file, 0 where that cannot be said: opening it will say why."""
    return source.path.stat().st_size if source.path is not None and source.path.is_file() else 0
