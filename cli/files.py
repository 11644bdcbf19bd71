"""Which files a command reads and which it writes.

A source is a path, stdin or a URL that fsspec opens; a target a path or stdout. Targets appear whole or not at all, and
never replace a file unasked. What a file is called, who may read it and when it was written go over to the target, as
gzip has it.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import click

from lgcodec.errors import InputError
from lgcodec.files import is_url, opened

STDIO = "-"
STREAMS = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
PACKED, SET = ".lgc", ".lgcs"
JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
# What compress -r picks up. Not what is lossy, but for JPEG: its pixels take more bytes than it does.
IMAGES = frozenset({".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", *JPEG})
GROWING = frozenset({".avif", ".jp2"})


def shown(path: str | os.PathLike[str]) -> str:
    """A name for a message: whatever it holds, nothing in it moves the cursor or colours a terminal."""
    name = click.format_filename(path)
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in name)


@dataclass(frozen=True)
class Source:
    """An input: `path` as the user gave it, or as -r found it below `root`. stdin and URLs have no path."""

    path: Path | None
    root: Path | None = None
    url: str | None = None

    @property
    def name(self) -> str:
        return shown(self.url or self.path or "stdin")

    @property
    def is_stdin(self) -> bool:
        return self.path is None and self.url is None

    @property
    def label(self) -> str:
        """Its name in a set: below the folder that was walked, or alone."""
        path = self.named()
        return (path.relative_to(self.root) if self.root else Path(path.name)).as_posix()

    def named(self) -> Path:
        """Its path, or one of its name alone. Raises InputError for stdin."""
        if self.url is not None:
            return Path(self.url.rsplit("/", 1)[-1])
        if self.path is None:
            raise InputError("stdin has no name for a file in a folder or a set (use -o FILE)")
        return self.path

    def refuse_folder(self) -> None:
        """Raises InputError where the path is one."""
        if self.path is not None and self.path.is_dir():
            raise InputError("is a folder (use -r to walk it)")

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """A seekable file of its bytes."""
        if self.is_stdin:
            if sys.stdin is None:
                raise InputError("stdin is closed")
            yield io.BytesIO(sys.stdin.buffer.read())
            return
        self.refuse_folder()
        with opened(self.url or self.named()) as file:
            yield file if file.seekable() else io.BytesIO(file.read())

    def state(self) -> os.stat_result | None:
        """What the system says about the file; None where it is none."""
        if self.path is None or not self.path.is_file():
            return None
        return self.path.stat()


def size_of(file: BinaryIO) -> int:
    """The bytes in a file, whose position goes back to its start."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def is_set(file: BinaryIO) -> bool:
    """Whether a file is a set, by its first bytes. Its position goes back to its start."""
    from lgcodec import sets

    start = file.read(len(sets.MAGIC))
    file.seek(0)
    return start == sets.MAGIC


@dataclass
class Walk:
    """The inputs of a command. With `recursive`, folders give the files below them that end in `suffixes`.

    complain: told of each folder that cannot be read or holds nothing (an error, and its name). passed: how many
    files of other suffixes were passed over, by suffix. failed: whether there was anything to complain about.
    """

    inputs: Sequence[str]
    recursive: bool
    suffixes: Iterable[str]
    complain: Callable[[BaseException | str, str], None]
    passed: Counter[str] = field(default_factory=Counter)
    failed: bool = False

    def sources(self) -> Iterator[Source]:
        for name in self.inputs:
            path = Path(name)
            if not name:  # often an unset variable, and never the folder that this would be
                self._fail("No such file or directory", "''")
            elif name == STDIO:
                yield Source(None)
            elif is_url(name):
                yield Source(None, url=name)
            elif self.recursive and path.is_dir():
                yield from self._below(path)
            else:
                yield Source(path)

    def summary(self) -> str | None:
        """What was passed over, in a line."""
        if not self.passed:
            return None
        kinds = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in sorted(self.passed.items()))
        return f"passed over {self.passed.total()} files that are not {', '.join(sorted(self.suffixes))} ({kinds})"

    def _below(self, folder: Path) -> Iterator[Source]:
        found, others = [], Counter[str]()
        for parent, folders, names in os.walk(folder, onerror=lambda error: self._fail(error, shown(folder))):
            folders.sort()
            for path in (Path(parent, name) for name in sorted(names)):
                suffix = path.suffix.lower()
                if suffix in self.suffixes and (path.is_file() or path.is_symlink()):
                    found.append(path)
                elif not path.name.startswith("."):
                    others[suffix if path.is_file() else "special"] += 1
        self.passed += others
        if not found and not self.failed:
            kinds = ", ".join(sorted(self.suffixes))
            self._fail(f"nothing to do: no {kinds} files in this folder", shown(folder))
        yield from (Source(path, root=folder) for path in sorted(found))

    def _fail(self, error: BaseException | str, name: str) -> None:
        self.failed = True
        self.complain(error, name)


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
        if self.output in STREAMS:
            object.__setattr__(self, "output", STDIO)
        if self.stdout and self.output not in (None, STDIO):
            raise click.UsageError("-c and -o exclude each other")
        if self._to_stdout and (len(self.inputs) > 1 or self.recursive):
            raise click.UsageError("stdout takes one file: give one input, or a folder with -o")
        if self.remove and (self._to_stdout or STDIO in self.inputs):
            raise click.UsageError("--rm needs files on both sides")
        if self.inputs.count(STDIO) > 1:
            raise click.UsageError("stdin can be read once")
        if self.remove and any(map(is_url, self.inputs)):
            raise click.UsageError("--rm removes files of this machine alone")
        if is_url(self.output):
            raise click.UsageError(f"-o {self.output}: outputs are files of this machine (-c hands them on)")
        if self.output == "":
            raise click.UsageError("-o names no file or folder")
        if self.output is not None and not self._to_stdout:
            self._check_output(self.output, Path(self.output))

    def _check_output(self, output: str, path: Path) -> None:
        several = len(self.inputs) > 1 or self.recursive
        if several and not self.is_set and not path.is_dir() and (path.exists() or path.suffix in (PACKED, *IMAGES)):
            raise click.UsageError(f"-o {shown(path)} names one file: several inputs need a folder, -o {shown(path)}/")
        if self.remove and path.exists() and not path.is_file() and not path.is_dir():
            raise click.UsageError(f"--rm needs a file on the disk as output, and {shown(path)} is none")
        restoring = any(name.endswith(SET) for name in self.inputs)
        if self._folder is None and not restoring and not path.parent.is_dir():
            raise InputError(f"there is no folder {shown(path.parent)} for {shown(output)}")

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

    def targets(
        self, sources: Sequence[Source], suffix_of: Callable[[Source], str]
    ) -> Iterator[tuple[Source, Path | None]]:
        """Where the result of each source goes; None is stdout. Those that would share a target keep their suffixes."""
        paths = [self._target(source, suffix_of(source)) for source in sources]
        counts = Counter(paths)
        for source, path in zip(sources, paths, strict=True):
            if path is not None and source.path is not None and counts[path] > 1 and self._is_named_after_inputs:
                path = path.with_name(source.path.name + suffix_of(source))
            yield source, path

    @property
    def _is_named_after_inputs(self) -> bool:
        return self.output is None or self._folder is not None

    def claim(self, source: Source, path: Path | None) -> Path | None:
        """The target, if it may be written. Raises InputError where it may not."""
        source.refuse_folder()
        if path is None:
            if sys.stdout is None:
                raise InputError("stdout is closed")
            if sys.stdout.isatty():
                raise InputError("will not write binary data to a terminal (use -o FILE, or a pipe)")
            return None
        if source.path is not None and path.exists() and path.samefile(source.path):
            if source.path.suffix == PACKED:
                raise InputError("is an lgcodec file already: decompress restores it (-o names another output)")
            raise InputError("the output would replace the input (-o names another; compress makes .lgc files)")
        if path.resolve() in self._written:
            raise InputError(f"{shown(path)} already holds the result of another input")
        refuse_replacing(path, force=self.force)
        refuse_locked(path)
        return path

    def _target(self, source: Source, suffix: str) -> Path | None:
        folder = self._folder
        if self._to_stdout or (source.is_stdin and self.output is None):
            return None
        if self.output is not None and folder is None:
            return Path(self.output)
        path = source.named()
        beside = path.with_suffix(suffix) if path.name else path
        if folder is None:
            return beside
        return folder / (beside.relative_to(source.root) if source.root else beside.name)

    @contextmanager
    def writing(self, target: Path | None, like: os.stat_result | None = None) -> Iterator[BinaryIO]:
        """The file to write a result to: nothing reaches stdout or `target` unless the block ends well."""
        if target is None:
            with _passing_on(sys.stdout.buffer) as file:
                yield file
            return
        if self._folder is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
        with appearing(target, force=self.force, like=like, sync=self.remove) as file:
            yield file
        self._written.add(target.resolve())


@contextmanager
def appearing(path: Path, *, force: bool, like: os.stat_result | None = None, sync: bool = False) -> Iterator[BinaryIO]:
    """A new file that becomes `path` when the block ends well, and vanishes when it does not.

    like: whose permissions and times it gets. sync: only once it is on the disk. Devices and pipes are not replaced:
    they are sent the contents.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as device, _passing_on(device) as file:
            yield file
        return
    part = Part(path, like)
    try:
        with part.opened() as file:
            os.chmod(part.path, 0o600 if like is not None else 0o666 & ~_umask())
            yield file
        part.finish(force=force, sync=sync)
    finally:
        part.path.unlink(missing_ok=True)


class Part:
    """A file under a hidden name beside the one that it is to become."""

    def __init__(self, path: Path, like: os.stat_result | None) -> None:
        self._asked, self.target = path, path.resolve()
        self.path = self.target.with_name(f".{os.urandom(8).hex()}.part")
        self._like = like

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The file, to be written. The system's errors name the one that it is to become."""
        try:
            with self.path.open("x+b") as file:
                yield file
        except OSError as error:
            if error.filename in (None, os.fspath(self.path)):
                error.filename = os.fspath(self._asked)
            raise

    def finish(self, *, force: bool, sync: bool, times: bool = True) -> None:
        """Gives the file its name. Raises InputError where that has appeared meanwhile."""
        if self._like is not None:
            if hasattr(os, "chown"):
                with suppress(OSError):
                    os.chown(self.path, self._like.st_uid, self._like.st_gid)
            os.chmod(self.path, self._like.st_mode & 0o777)
            if times:
                os.utime(self.path, ns=(self._like.st_atime_ns, self._like.st_mtime_ns))
        if sync:
            synced(self.path)
        refuse_replacing(self.target, force=force)
        self.path.replace(self.target)
        if sync:
            synced(self.target.parent)


def synced(path: Path) -> None:
    """Returns once a file or folder is on the disk, where the system can say so."""
    if os.name != "posix":
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextmanager
def _passing_on(file: BinaryIO) -> Iterator[BinaryIO]:
    """A buffer that is written to `file` when the block ends well."""
    with io.BytesIO() as buffer:
        yield buffer
        file.write(buffer.getbuffer())
        file.flush()


def refuse_locked(path: Path) -> None:
    """Raises PermissionError, before any work, for a file in a folder that may not be written to."""
    folder = path.resolve().parent
    if folder.is_dir() and (path.is_file() or not path.exists()) and not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))


def refuse_replacing(path: Path, *, force: bool) -> None:
    if path.is_file() and not force:
        raise InputError(f"{shown(path)} exists (use -f to replace it)")
