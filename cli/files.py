"""Which files a command reads and which it writes.

A source is a path or stdin, a target a path or stdout. Targets appear whole or not at all, and never replace a file
unasked.
"""

from __future__ import annotations

import io
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import click

from lgcodec.errors import InputError

STDIO = "-"
PACKED, SET = ".lgc", ".lgcs"
# What compress -r picks up. JPEG is not among them: it is lossy already, and its pixels take more bytes than it does.
IMAGES = frozenset({".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"})


@dataclass(frozen=True)
class Source:
    """An input: `path` as the user gave it, or as -r found it below `root`. stdin has no path."""

    path: Path | None
    root: Path | None = None

    @property
    def name(self) -> str:
        return "stdin" if self.path is None else click.format_filename(self.path)

    @property
    def label(self) -> str:
        """Its name in a set: below the folder that was walked, or alone."""
        if self.path is None:
            raise InputError("has no name for a set")
        return (self.path.relative_to(self.root) if self.root else Path(self.path.name)).as_posix()

    def refuse_folder(self) -> None:
        """Raises InputError where the path is one."""
        if self.path is not None and self.path.is_dir():
            raise InputError("is a folder (use -r to walk it)")

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """A seekable file of its bytes."""
        if self.path is None:
            yield io.BytesIO(sys.stdin.buffer.read())
            return
        self.refuse_folder()
        with self.path.open("rb") as file:
            yield file if file.seekable() else io.BytesIO(file.read())


def size_of(file: BinaryIO) -> int:
    """The bytes in a file, whose position goes back to its start."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def sources(inputs: Sequence[str], *, recursive: bool, suffixes: Iterable[str]) -> Iterator[Source]:
    """The inputs in order; with `recursive`, folders give the files below them that end in `suffixes`."""
    for name in inputs:
        path = Path(name)
        if name == STDIO:
            yield Source(None)
        elif recursive and path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
            yield from (Source(file, root=path) for file in found)
        else:
            yield Source(path)


@dataclass(frozen=True)
class Outputs:
    """The options about outputs, checked, and what this run has written so far."""

    inputs: tuple[str, ...]
    output: str | None
    stdout: bool
    force: bool
    remove: bool
    recursive: bool
    skip: bool = False
    _written: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.stdout and self.output not in (None, STDIO):
            raise click.UsageError("-c and -o exclude each other")
        if self._to_stdout and (len(self.inputs) > 1 or self.recursive):
            raise click.UsageError("stdout takes one file: give one input, or a folder with -o")
        if self.remove and (self._to_stdout or STDIO in self.inputs):
            raise click.UsageError("--rm needs files on both sides")
        if self.inputs.count(STDIO) > 1:
            raise click.UsageError("stdin can be read once")

    @property
    def is_set(self) -> bool:
        """Whether all inputs go into one file."""
        return self.output is not None and self.output.endswith(SET) and not Path(self.output).is_dir()

    @property
    def _to_stdout(self) -> bool:
        return self.stdout or self.output == STDIO

    @property
    def _folder(self) -> Path | None:
        """The folder that -o names: one that exists, or that ends in a slash, or that several inputs need."""
        if self.output is None or self._to_stdout:
            return None
        several = (self.recursive or len(self.inputs) > 1) and not self.is_set
        path = Path(self.output)
        return path if several or self.output.endswith(("/", os.sep)) or path.is_dir() else None

    def is_done(self, source: Source, suffix: str) -> bool:
        """Whether a source is to be passed over, because its result is there."""
        path = self._target(source, suffix) if self.skip else None
        return path is not None and path.is_file()

    def claim(self, source: Source, suffix: str) -> Path | None:
        """Where the result of `source` goes; None is stdout. Raises InputError where that may not be written."""
        source.refuse_folder()
        path = self._target(source, suffix)
        if path is None:
            if sys.stdout.isatty():
                raise InputError("will not write binary data to a terminal (use -o FILE, or a pipe)")
            return None
        if source.path is not None and path.exists() and path.samefile(source.path):
            raise InputError("the output would replace the input")
        if path.resolve() in self._written:
            raise InputError(f"{click.format_filename(path)} already holds the result of another input")
        refuse_replacing(path, force=self.force)
        return path

    def _target(self, source: Source, suffix: str) -> Path | None:
        folder = self._folder
        if self._to_stdout or (source.path is None and self.output is None):
            return None
        if self.output is not None and folder is None:
            return Path(self.output)
        if source.path is None:
            raise InputError("has no name for a file in a folder (use -o FILE)")
        beside = source.path.with_suffix(suffix)
        if folder is None:
            return beside
        return folder / (beside.relative_to(source.root) if source.root else beside.name)

    @contextmanager
    def writing(self, target: Path | None) -> Iterator[BinaryIO]:
        """The file to write a result to: nothing reaches stdout or `target` unless the block ends well."""
        if target is None:
            with _passing_on(sys.stdout.buffer) as file:
                yield file
            return
        if self._folder is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
        with appearing(target, force=self.force) as file:
            yield file
        self._written.add(target.resolve())


@contextmanager
def appearing(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A new file that becomes `path` when the block ends well, and vanishes when it does not.

    Devices and pipes are not replaced: they are sent the contents.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        with path.open("wb") as device, _passing_on(device) as file:
            yield file
        return
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("x+b") as file:
            yield file
        refuse_replacing(path, force=force)  # again: it may have appeared meanwhile
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _passing_on(file: BinaryIO) -> Iterator[BinaryIO]:
    """A buffer that is written to `file` when the block ends well."""
    with io.BytesIO() as buffer:
        yield buffer
        file.write(buffer.getbuffer())
        file.flush()


def refuse_replacing(path: Path, *, force: bool) -> None:
    if path.is_file() and not force:
        raise InputError(f"{click.format_filename(path)} exists (use -f to replace it)")
