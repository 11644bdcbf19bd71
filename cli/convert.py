"""Work on many inputs: one that fails is named and the others go on, and one that is whole in its output may go."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lgcodec.cli import files, report
from lgcodec.cli.files import Outputs, Source, Walk
from lgcodec.errors import InputError, LgcodecError

if TYPE_CHECKING:
    from lgcodec.boxes import Box

T = TypeVar("T")
SLACK = 64  # bytes that a result may have more than its input, unasked


def each(sources: Iterable[Source], work: Callable[[Source], None]) -> int:
    """Runs `work` on every source, whatever becomes of the others. Returns the exit code."""
    code = 0
    for source in sources:
        if tried(source.name, functools.partial(_done, work, source)) is None:
            code = 1
    return code


def _done(work: Callable[[Source], None], source: Source) -> bool:
    work(source)
    return True


def tried(name: str, work: Callable[[], T]) -> T | None:
    """What `work` returns; None where it fails, which is said in a line, whatever it was."""
    report.current = name
    try:
        return work()
    except BrokenPipeError:  # whoever reads our output has left
        raise
    except report.EXPECTED as error:
        report.complain(error, name)
    except Exception as error:  # noqa: BLE001  the other files are done all the same
        report.fault(error, name)
    return None


def walk_of(inputs: Sequence[str], recursive: bool, suffixes: Iterable[str]) -> Walk:
    return Walk(inputs, recursive, frozenset(suffixes), report.complain)


def convert_each(
    outputs: Outputs,
    suffix: str | Callable[[Source], str],
    suffixes: Iterable[str],
    work: Callable[[Source, Path | None], Iterable[str]],
) -> int:
    """Calls `work(source, target)` for each input, and removes the input where that is asked for.

    work: returns what of the input is not in the target, which is said, and then the input stays.
    """
    walk = walk_of(outputs.inputs, outputs.recursive, suffixes)
    sources = list(walk.sources())
    targets = dict(outputs.targets(sources, suffix if callable(suffix) else lambda _: suffix))
    skipped = 0

    def one(source: Source) -> None:
        nonlocal skipped
        target = targets[source]
        if outputs.skip and target is not None and target.is_file():
            skipped += 1
            return
        before = source.state()
        lost = list(work(source, outputs.claim(source, target)))
        if outputs.remove and source.path is not None:
            remove(source, before, [target], lost)
        elif lost:
            report.lost(lost, source.name)

    code = each(sources, one)
    if skipped:
        report.note(f"{skipped} of {len(sources)} skipped: their outputs exist")
    if (summary := walk.summary()) is not None:
        report.note(summary)
    return code or int(walk.failed)


def remove(source: Source, before: os.stat_result | None, targets: Iterable[Path | None], lost: list[str]) -> None:
    """Removes an input that is whole in its targets, which are on the disk. Raises InputError where it is not."""
    if lost:
        raise InputError(f"is not removed, because this would be lost: {', '.join(lost)}")
    if not all(target is not None and target.is_file() for target in targets):
        raise InputError("is not removed, because its output is no file on the disk")
    now = source.state()
    if before is None or now is None or (before.st_mtime_ns, before.st_size) != (now.st_mtime_ns, now.st_size):
        raise InputError("is not removed, because it has changed meanwhile")
    if source.path is None:
        return
    try:
        source.path.unlink()
    except OSError as error:
        raise InputError(f"is not removed: {error.strerror}") from error


def refuse_growth(before: int, after: int, name: str) -> None:
    """Raises InputError where a result has more bytes than its input, and a few."""
    if after > before + SLACK:
        why = " (a JPEG is lossy, and its pixels take more)" if Path(name).suffix.lower() in files.JPEG else ""
        raise InputError(
            f"would grow from {before:,} to {after:,} bytes{why}: --allow-larger keeps its pixels all the same"
        )


def flaw(data: bytes, grey: Sequence[Box]) -> LgcodecError | None:
    """What is wrong with a file that was rescued: tiles in grey, lost metadata, bytes after its end; None where all
    is well.
    """
    from lgcodec import container

    if grey:
        return report.grey(grey)
    try:
        container.read(data, max_pixels=1 << 62).check()
    except LgcodecError as error:
        return error
    return None
