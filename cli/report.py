"""What a command says: one line per file, one line per error, and a bar when it takes long.

About conversions all goes to stderr, because stdout may carry an image.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import click

from lgcodec.cli import files
from lgcodec.errors import InputError, LgcodecError

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

    from lgcodec.boxes import Box
    from lgcodec.cli.batch import Totals
    from lgcodec.container import Header
    from lgcodec.info import Info
    from lgcodec.models.registry import Record

EXPECTED = (LgcodecError, OSError, MemoryError)  # what a file or a machine can cause; anything else is a bug
# Megapixels a second that two cores decode: of models by name, of others by family, of plain methods and of contexts.
SPEEDS = {"best": 0.5, "causal": 1.2, "vqvae": 1.3, "flow": 4.0, "vae": 0.6, "continuous": 0.05, "coefficients": 8.0}
PLAIN_SPEED, CONTEXTS_SPEED = 20.0, 1.0
DELAY = 1.0  # seconds before a bar appears
current: str | None = None  # the file in hand


def say(text: str) -> None:
    """Prints a line on stderr, if anybody can read it: work does not end because a log cannot be written."""
    with suppress(OSError):
        click.echo(text, err=True)


def complain(error: BaseException | str, name: str | None = None) -> None:
    """Prints `lgcodec: NAME: message` on one line; `name` is the file in hand."""
    parts = [name]
    message = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:  # str() would repeat the name and add a number
        other = None if error.filename is None else click.format_filename(error.filename)
        parts.append(other if other != name else None)
        message = error.strerror
    _line([*parts, message])


def fault(error: Exception, name: str) -> None:
    """Prints a line about an error that no file should be able to cause."""
    complain(f"{type(error).__name__}: {error} (this is a fault of lgcodec: please report it)", name)


def note(text: str, name: str | None = None) -> None:
    """Prints a line about something that is no error, but that nobody should miss."""
    _line([name, f"note: {text}"])


def lost(what: Iterable[str], name: str) -> None:
    """Prints what of a file is not in its output."""
    note(f"not kept: {', '.join(what)}", name)


def warned(message: Warning | str, *_: Any, **__: Any) -> None:
    """A `warnings.showwarning` that prints a line about the file in hand."""
    note(str(message), current)


def _line(parts: Iterable[str | None]) -> None:
    """Prints parts on one line of stderr, nothing in which moves the cursor or colours a terminal."""
    line = ": ".join(" ".join(part.split()) for part in ("lgcodec", *parts) if part)
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in line)
    say(shown)


def open_streams() -> None:
    """Makes the standard streams safe to use: closed ones are no other file's, and any name can be printed."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
            if number:
                os.write(number, b"")
        except OSError as error:
            if error.errno != errno.EBADF:  # a full disk, which writing will tell of
                continue
            # closed, or since then another file's that is read from
            setattr(sys, name, None)
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def speed(pixels: int, seconds: float) -> str:
    return f"{pixels / 1e6 / max(seconds, 1e-9):.2f} MP/s"


def size(info: Info) -> str:
    return f"{info.width}x{info.height} {info.mode}, {info.pixels:,} pixels"


def conversion(
    name: str, target: Path | None, info: Info, sizes: tuple[int, int], seconds: float, *, verbose: bool
) -> None:
    """One line about a file: sizes are its bytes before and after, and `info` is about the compressed side."""
    before, after = sizes
    where = "stdout" if target is None else files.shown(target)
    say(
        f"{name} -> {where}: {size(info)}, {before:,} -> {after:,} bytes ({after / max(before, 1):.1%}), "
        f"{info.bpsp:.3f} bpsp, {speed(info.pixels, seconds)}"
    )
    if verbose:
        say(details(info))


def conversion_of_set(target: Path, parts: Iterable[memoryview], sizes: tuple[int, int], seconds: float) -> None:
    """Prints the line of a set."""
    from lgcodec import inspect

    infos = [inspect(part) for part in parts]
    pixels, samples = sum(info.pixels for info in infos), sum(info.pixels * info.channels for info in infos)
    before, after = sizes
    say(
        f"{len(infos)} images -> {files.shown(target)}: {pixels:,} pixels, {before:,} -> {after:,} bytes "
        f"({after / max(before, 1):.1%}), {8 * after / samples:.3f} bpsp, {speed(pixels, seconds)}"
    )


def packed(name: str, target: Path | None, info: Info, before: int) -> None:
    """One line about a file of many."""
    shown = "stdout" if target is None else click.format_filename(target)
    say(f"{name} -> {shown}: {size(info)}, {before:,} -> {info.file_bytes:,} bytes, {info.bpsp:.3f} bpsp")


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
    say(", ".join(parts))


def grey(boxes: Sequence[Box]) -> LgcodecError:
    """What is wrong with an image that was restored without some of its tiles."""
    places = ", ".join(f"{x1 - x0}x{y1 - y0} at {x0},{y0}" for x0, y0, x1, y1 in boxes)
    return InputError(f"{len(boxes)} tiles are damaged, and grey: {places}")


def restored(name: str, folder: Path, images: int, pixels: int, seconds: float) -> None:
    """Prints the line of a set that was decompressed."""
    where = files.shown(folder)
    say(f"{name} -> {where}: {images} images, {pixels:,} pixels, {speed(pixels, seconds)}")


def preview(name: str, target: Path | None, header: Header, seconds: float) -> None:
    """Prints the line of a preview: which part of the file it took, and how long."""
    where = "stdout" if target is None else files.shown(target)
    part = preview_part(header.preview_size, header.file_size)
    say(f"{name} -> {where}: {header.width}x{header.height}, {part}, {seconds:.2f} s")


def preview_part(used: int, size: int) -> str:
    """What a preview needs of a file of `size` bytes: the first `used`, or parts of the whole; these are an eighth."""
    if used == size:
        return "an eighth as wide and high; it needs the whole file"
    return f"from the first {used:,} of {size:,} bytes ({used / size:.1%})"


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
        "origin": "none" if info.origin is None else f"{info.origin}, {info.exceptions:,} exceptions",
        "metadata": ", ".join(info.chunks) or "none",
        "needs": needs(info),
    }
    if info.kept_bytes:
        saved = 1 - info.file_bytes / info.kept_bytes
        gain = f"{saved:.1%} of it are saved" if saved >= 0 else f"{info.file_bytes - info.kept_bytes:,} bytes more"
        facts["keeps"] = f"a JPEG file of {info.kept_bytes:,} bytes, byte for byte; {gain}"
        facts["streams"] = f"{info.tiles} ({streams})"
        facts["parts"] = (
            f"{info.header_bytes:,} bytes header, {info.model_bytes:,} coefficients by the model, "
            f"{info.plain_bytes:,} the rest of the file"
        )
        for name in ("transform", "origin", "metadata"):
            del facts[name]
    if info.preview_bytes:
        facts["preview"] = preview_part(info.preview_bytes, info.file_bytes)
    if info.model_id is not None:
        over = 100 * (8 * info.model_bytes / max(info.ideal_bits, 1) - 1)
        facts["model"] = f"id {info.model_id}, digest {info.model_digest}, {info.adaptation_bytes:,} bytes adaptation"
        facts["ideal"] = f"{info.ideal_bits:,} bits; the model's streams take {over:+.3f} %"
    return "\n".join(f"  {name:<10} {fact}" for name, fact in facts.items())


def details_of_set(images: Mapping[str, Info], file_bytes: int) -> str:
    """What a set holds: a line about all of it and one an image, indented."""
    infos = images.values()
    pixels, samples = sum(info.pixels for info in infos), sum(info.pixels * info.channels for info in infos)
    rate = f", {8 * file_bytes / samples:.3f} bpsp" if samples else ""
    lines = [f"{len(images)} images: {pixels:,} pixels, {file_bytes:,} bytes{rate}"]
    if any(info.tiles and info.model_id is not None and not info.model_bytes for info in infos):
        lines.append("its images are one chain, whose bytes count with the image that it begins in")
    table = [
        [files.shown(name), f"{info.width}x{info.height}", info.mode, f"{info.file_bytes:,} bytes", coded_by(info)]
        for name, info in images.items()
    ]
    return "\n".join(f"  {line}" for line in (*lines, *_columns(table)))


def coded_by(info: Info) -> str:
    """What coded an image, in a word or two: a model's name, an origin's."""
    from lgcodec.models.registry import RECORDS

    names = {record.wire_id: record.name for record in RECORDS}
    model = "no model" if info.model_id is None else names.get(info.model_id, f"model {info.model_id}")
    kept = "kept JPEG file" if info.kept_bytes else info.origin
    return model if kept is None else f"{model}, {kept}"


def needs(info: Info) -> str:
    """The memory and the time that decoding takes, roughly."""
    from lgcodec.models.registry import RECORDS

    speed = CONTEXTS_SPEED if info.is_mixed else PLAIN_SPEED
    if info.model_id is not None:
        record = next((record for record in RECORDS if record.wire_id == info.model_id), None)
        speed = 0.5 if record is None else SPEEDS.get(record.name, SPEEDS.get(record.family, 0.5))
    seconds = info.pixels / 1e6 / speed
    long = "under a second" if seconds < 1 else f"about {seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
    return f"about {info.memory >> 20} MB and {long} on two cores"


def as_json(info: Info) -> str:
    import json

    return json.dumps(_facts(info), indent=2)


def set_as_json(images: Mapping[str, Info], file_bytes: int) -> str:
    import json

    return json.dumps(
        {"file_bytes": file_bytes, "images": {name: _facts(info) for name, info in images.items()}}, indent=2
    )


def _facts(info: Info) -> dict[str, Any]:
    derived = {"pixels": info.pixels, "tiles": info.tiles, "bpsp": info.bpsp, "memory": info.memory}
    return dataclasses.asdict(info) | derived


def models(records: Iterable[Record]) -> str:
    """One line per model: its name, what it is, and the rates of its card in bits per dim."""
    lines = [["name", "id", "family", "float bpd", "integer bpd", "learning bpd", "digest"]]
    for record in records:
        rates = (record.card.get(key) for key in ("float_bpd", "integer_bpd", "learned_bpd"))
        shown = ("" if rate is None else f"{rate:.3f}" for rate in rates)
        lines.append([record.name, str(record.wire_id), record.family, *shown, record.digest[:32]])
    return "\n".join(_columns(lines))


def _columns(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of words, one under the other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def models_json(records: Iterable[Record]) -> str:
    import json

    return json.dumps([dataclasses.asdict(record) | {"card": record.card} for record in records], indent=2)


interrupted = threading.Event()  # set by Ctrl-C, see `interrupt`
stopped_by: int | None = None  # the signal


def interrupt(number: int, frame: FrameType | None) -> None:
    """A handler of signals: what is half written is removed on the way out. Libraries in C may drop what is raised
    while they call Python, so the next step of `Progress` raises again.
    """
    global stopped_by
    stopped_by = number
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
        self._enabled = enabled and sys.stderr is not None and sys.stderr.isatty()
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


def auroc(known: Sequence[float], unknown: Sequence[float]) -> float:
    """How often one of the unknown scores higher than one of the known, a tie being half: 1 where always."""
    return sum((b > a) + (b == a) / 2 for a in known for b in unknown) / (len(known) * len(unknown))
