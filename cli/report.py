"""What a command says: one line per file, one line per error, and a bar when it takes long.

About conversions all goes to stderr, because stdout may carry an image.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

    from lgcodec.cli.batch import Totals
    from lgcodec.container import Header
    from lgcodec.info import Info
    from lgcodec.models.registry import Record

DELAY = 1.0  # seconds before a bar appears


def complain(error: BaseException | str, name: str | None = None) -> None:
    """Prints `lgcodec: NAME: message` on one line; `name` is the file in hand."""
    parts = ["lgcodec", name]
    message = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:  # str() would repeat the name and add a number
        other = None if error.filename is None else click.format_filename(error.filename)
        parts.append(other if other != name else None)
        message = error.strerror
    click.echo(": ".join([part for part in parts if part] + [" ".join(message.split())]), err=True)


def speed(pixels: int, seconds: float) -> str:
    return f"{pixels / 1e6 / max(seconds, 1e-9):.2f} MP/s"


def size(info: Info) -> str:
    return f"{info.width}x{info.height} {info.mode}, {info.pixels:,} pixels"


def conversion(
    name: str, target: Path | None, info: Info, sizes: tuple[int, int], seconds: float, *, verbose: bool
) -> None:
    """One line about a file: sizes are its bytes before and after, and `info` is about the compressed side."""
    before, after = sizes
    shown = "stdout" if target is None else click.format_filename(target)
    click.echo(
        f"{name} -> {shown}: {size(info)}, {before:,} -> {after:,} bytes ({after / max(before, 1):.1%}), "
        f"{info.bpsp:.3f} bpsp, {speed(info.pixels, seconds)}",
        err=True,
    )
    if verbose:
        click.echo(details(info), err=True)


def conversion_of_set(target: Path, parts: Iterable[memoryview], sizes: tuple[int, int], seconds: float) -> None:
    """Prints the line of a set."""
    from lgcodec import inspect

    infos = [inspect(part) for part in parts]
    pixels, samples = sum(info.pixels for info in infos), sum(info.pixels * info.channels for info in infos)
    before, after = sizes
    click.echo(
        f"{len(infos)} images -> {click.format_filename(target)}: {pixels:,} pixels, {before:,} -> {after:,} bytes "
        f"({after / max(before, 1):.1%}), {8 * after / samples:.3f} bpsp, {speed(pixels, seconds)}",
        err=True,
    )


def packed(name: str, target: Path | None, info: Info, before: int) -> None:
    """One line about a file of many."""
    shown = "stdout" if target is None else click.format_filename(target)
    click.echo(
        f"{name} -> {shown}: {size(info)}, {before:,} -> {info.file_bytes:,} bytes, {info.bpsp:.3f} bpsp", err=True
    )


def batch(totals: Totals, seconds: float) -> None:
    """The last line about many files."""
    parts = [f"{totals.images} images"]
    if totals.images:
        share = totals.after / max(totals.before, 1)
        parts.append(f"{totals.before:,} -> {totals.after:,} bytes ({share:.1%})")
        parts.append(f"{8 * totals.after / totals.samples:.3f} bpsp")
        parts.append(speed(totals.pixels, seconds))
    parts += [f"{totals.skipped} skipped"] if totals.skipped else []
    parts += [f"{totals.failed} failed"] if totals.failed else []
    click.echo(", ".join(parts), err=True)


def restored(name: str, folder: Path, images: int, pixels: int, seconds: float) -> None:
    """Prints the line of a set that was decompressed."""
    shown = click.format_filename(folder)
    click.echo(f"{name} -> {shown}: {images} images, {pixels:,} pixels, {speed(pixels, seconds)}", err=True)


def preview(name: str, target: Path | None, header: Header, seconds: float) -> None:
    """Prints the line of a preview: which part of the file it took, and how long."""
    shown = "stdout" if target is None else click.format_filename(target)
    used = header.size + header.chunks[0] + header.base_size
    click.echo(
        f"{name} -> {shown}: {header.width}x{header.height}, from the first {used:,} of {header.file_size:,} bytes "
        f"({used / header.file_size:.1%}), {seconds:.2f} s",
        err=True,
    )


def details(info: Info) -> str:
    """What a header says, one fact a line, indented."""
    streams = ", ".join(f"{count} {method}" for method, count in info.methods.items())
    tiles = " and ".join(f"{width}x{height}" for width, height in info.tile_sizes)
    facts = {
        "image": f"{size(info)}, bit depth {info.depth}",
        "file": f"{info.file_bytes:,} bytes, {info.bpsp:.3f} bpsp",
        "parts": (
            f"{info.header_bytes:,} bytes header, {info.chunk_bytes:,} metadata, "
            f"{info.model_bytes:,} by the model, {info.plain_bytes:,} by plain methods"
        ),
        "streams": f"{info.tiles} ({streams}), tiles of {tiles}",
        "transform": info.transform,
        "metadata": ", ".join(info.chunks) or "none",
    }
    if info.base_bytes:
        first = info.header_bytes + info.chunk_bytes + info.base_bytes
        facts["preview"] = f"from the first {first:,} bytes ({first / info.file_bytes:.1%})"
    if info.model_id is not None:
        over = 100 * (8 * info.model_bytes / max(info.ideal_bits, 1) - 1)
        facts["model"] = f"id {info.model_id}, digest {info.model_digest}, {info.adaptation_bytes:,} bytes adaptation"
        facts["ideal"] = f"{info.ideal_bits:,} bits; the model's streams take {over:+.3f} %"
    return "\n".join(f"  {name:<10} {fact}" for name, fact in facts.items())


def as_json(info: Info) -> str:
    derived = {"pixels": info.pixels, "tiles": info.tiles, "bpsp": info.bpsp}
    return json.dumps(dataclasses.asdict(info) | derived, indent=2)


def models(records: Iterable[Record]) -> str:
    """One line per model: its name, what it is, and the rates of its card in bits per dim."""
    lines = [["name", "id", "family", "float bpd", "integer bpd", "learning bpd", "digest"]]
    for record in records:
        rates = (record.card.get(key) for key in ("float_bpd", "integer_bpd", "learned_bpd"))
        shown = ("" if rate is None else f"{rate:.3f}" for rate in rates)
        lines.append([record.name, str(record.wire_id), record.family, *shown, record.digest[:32]])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def models_json(records: Iterable[Record]) -> str:
    return json.dumps([dataclasses.asdict(record) | {"card": record.card} for record in records], indent=2)


interrupted = threading.Event()  # set by Ctrl-C, see `interrupt`


def interrupt(number: int, frame: FrameType | None) -> None:
    """A handler of SIGINT. Libraries in C drop what is raised while they call Python (LLVM does, while it compiles), so
    the next step of `Progress` raises again.
    """
    interrupted.set()
    raise KeyboardInterrupt


def dropped(what: UnraisableHookArgs) -> None:
    """A sys.unraisablehook that says nothing of such a drop."""
    if not issubclass(what.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(what)


class Progress:
    """A callback `(done, total)` in pixels that draws a bar on a terminal once the work has taken `DELAY` seconds."""

    def __init__(self, label: str, *, enabled: bool) -> None:
        self._label = label
        self._enabled = enabled and sys.stderr.isatty()
        self._start = time.perf_counter()
        self._bar: Any = None
        self._exit = ExitStack()

    def __call__(self, done: int, total: int) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        if not self._enabled or time.perf_counter() - self._start < DELAY:
            return
        if self._bar is None:
            self._bar = self._exit.enter_context(
                click.progressbar(length=total, label=self._label, file=sys.stderr, show_percent=True)
            )
        self._bar.update(max(done - self._bar.pos, 0))

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.__exit__(kind, error, trace)
