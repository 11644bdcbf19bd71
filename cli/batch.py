"""Many files at once: over processes of this machine, or over a cluster of dask.distributed.

Files are read and written here, one process's work; what goes to workers and comes back is bytes. So workers need no
common file system, outputs appear whole or not at all, and a worker that dies loses nothing: its files are sent again.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

import lgcodec
from lgcodec.cli import files, report
from lgcodec.errors import InputError
from lgcodec.models.optional import needs
from lgcodec.models.parallel import cores

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

    from lgcodec import Codec
    from lgcodec.cli.files import Outputs, Source

TRIES = 3  # how often a file is sent to workers that die over it
PATIENCE = 10  # seconds to find a scheduler
WARMTH = 2  # files under way for each worker, so that none waits for the next


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

    def submit(self, work: Work, data: bytes) -> Any:
        """A future of what `work` returns."""

    def first(self, futures: Iterable[Any]) -> Iterable[Any]:
        """Those that are done, once one is."""


class Processes:
    """Processes of this machine."""

    def __init__(self, size: int) -> None:
        from concurrent.futures.process import BrokenProcessPool

        self.size = size
        self.dead: tuple[type[Exception], ...] = (BrokenProcessPool,)
        self._pool = self._new()

    def submit(self, work: Work, data: bytes) -> Future[Any]:
        try:
            return self._pool.submit(work, data)
        except self.dead:
            self._pool = self._new()
            return self._pool.submit(work, data)

    def first(self, futures: Iterable[Future[Any]]) -> Iterable[Future[Any]]:
        from concurrent.futures import FIRST_COMPLETED, wait

        return wait(futures, return_when=FIRST_COMPLETED).done

    def close(self) -> None:
        """Ends the workers, whatever they are at: where all went well, they are at nothing."""
        import multiprocessing

        for process in multiprocessing.active_children():
            process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def _new(self) -> ProcessPoolExecutor:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.size, mp_context=context, initializer=_follow_parent)


def _follow_parent() -> None:
    """In a worker: ends it with the process that it works for, however that ends, and no sooner. By themselves workers
    wait for ever for the next job of one that was killed.
    """
    import multiprocessing
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


class Cluster:
    """The workers of a scheduler, as many as there are at the time."""

    def __init__(self, client: Any) -> None:
        from distributed.scheduler import KilledWorker

        self.dead: tuple[type[Exception], ...] = (KilledWorker,)
        self.size = max(1, sum(client.nthreads().values()))
        self._client = client

    def submit(self, work: Work, data: bytes) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the data is large: scattered, it would be lost with its worker
            return self._client.submit(work, data, pure=False, retries=TRIES)

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
    processes = Processes(jobs or cores())
    try:
        yield processes
    finally:
        processes.close()


@dataclass(frozen=True)
class Work:
    """What workers do with a file. strip: leave its metadata out."""

    codec: Codec
    strip: bool

    def __call__(self, data: bytes) -> tuple[bytes, tuple[str, ...]]:
        """The compressed bytes, and what of the file is not in them, in words."""
        from lgcodec import readers

        picture = readers.read(data, strip=self.strip, keep=not self.codec.pixels)
        return self.codec.compress(picture), picture.lost


@dataclass(frozen=True)
class Result:
    """A file that was compressed. state: of the file, before it was read; size: its bytes. lost: as Work gives it."""

    source: Source
    target: Path
    state: os.stat_result | None
    size: int
    data: bytes
    lost: tuple[str, ...]


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
class Job:
    """A file under way. tries: how often it was sent."""

    source: Source
    target: Path
    state: os.stat_result | None
    data: bytes
    tries: int = 1


def compress(
    work: Work,
    targets: Mapping[Source, Path | None],
    outputs: Outputs,
    pool: Pool,
    settle: Callable[[Result], None],
    *,
    quiet: bool,
    verbose: bool,
) -> int:
    """Compresses all sources. Returns the exit code: 1 where a file failed, which is said in a line.

    settle: writes a result, or raises what is wrong with it.
    """
    start, totals, done = time.perf_counter(), Totals(), 0
    sizes = {source: _size(source) for source in targets}
    with report.Progress(f"{len(sizes)} files", enabled=not quiet) as progress:
        for source, outcome in _outcomes(work, targets, outputs, pool):
            done += sizes[source]
            _finish(source, outcome, settle, totals, verbose)
            progress(done, max(1, sum(sizes.values())))
    if not quiet:
        report.batch(totals, time.perf_counter() - start)
    return int(totals.failed > 0)


def _finish(
    source: Source, outcome: Result | Exception | None, settle: Callable[[Result], None], totals: Totals, verbose: bool
) -> None:
    """Settles what became of a file, or says why nothing did, and counts it. None: it was passed over."""
    if outcome is None:
        totals.skipped += 1
        return
    try:
        if isinstance(outcome, Exception):
            raise outcome
        settle(outcome)
    except Exception as error:  # noqa: BLE001  the other files are done all the same
        totals.failed += 1
        (report.complain if isinstance(error, report.EXPECTED) else report.fault)(error, source.name)
        return
    info = lgcodec.inspect(outcome.data)
    totals.images += 1
    totals.pixels += info.pixels
    totals.samples += info.pixels * info.channels
    totals.before += outcome.size
    totals.after += len(outcome.data)
    if verbose:
        report.packed(source.name, outcome.target, info, outcome.size)


def _outcomes(
    work: Work, targets: Mapping[Source, Path | None], outputs: Outputs, pool: Pool
) -> Iterator[tuple[Source, Result | Exception | None]]:
    """What becomes of each source, as it does; a few files for each worker are under way."""
    waiting: dict[Any, Job] = {}
    left, claimed = iter(targets.items()), set[Path]()
    following = next(left, None)
    while following is not None or waiting:
        while following is not None and len(waiting) < WARMTH * pool.size:
            source, target = following
            if outputs.skip and target is not None and target.is_file():
                yield source, None
            else:
                try:
                    job = _read(source, target, outputs, claimed)
                except report.EXPECTED as error:
                    yield source, error
                else:
                    waiting[pool.submit(work, job.data)] = job
            following = next(left, None)
        for future in list(pool.first(waiting)) if waiting else ():
            job = waiting.pop(future)
            try:
                data, lost = future.result()
            except pool.dead as error:
                if job.tries < TRIES:
                    waiting[pool.submit(work, job.data)] = replace(job, tries=job.tries + 1)
                else:
                    yield job.source, InputError(f"{TRIES} workers died over it: {error}")
            except Exception as error:  # noqa: BLE001  the other files are done all the same
                yield job.source, error
            else:
                yield job.source, Result(job.source, job.target, job.state, len(job.data), data, lost)


def _read(source: Source, target: Path | None, outputs: Outputs, claimed: set[Path]) -> Job:
    """A file's bytes and target. Raises InputError where that may not be written, and OSError."""
    if target is None:
        raise InputError("has no name for a file: many at once are written to files")
    target = outputs.claim(source, target) or target
    if target.resolve() in claimed:
        raise InputError(f"{files.shown(target)} already holds the result of another input")
    claimed.add(target.resolve())
    state = source.state()
    with source.opened() as file:
        return Job(source, target, state, file.read())


def _size(source: Source) -> int:
    """Bytes of a file, 0 where that cannot be said: opening it will say why."""
    return source.path.stat().st_size if source.path is not None and source.path.is_file() else 0
