"""Sets from the command line: many images into one file, and all of them out of it."""

from __future__ import annotations

import functools
import operator
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from lgcodec.cli import files, report
from lgcodec.cli.convert import SLACK, each, flaw, refuse_growth, remove, tried, walk_of
from lgcodec.cli.files import Outputs, Source
from lgcodec.errors import InputError, LgcodecError

if TYPE_CHECKING:
    from lgcodec import Codec
    from lgcodec.image import Picture


def compress_set(codec: Codec, outputs: Outputs, quiet: bool, strip: bool, allow_larger: bool) -> int:
    """All inputs as one file. Those that cannot be read are named and left out."""
    from lgcodec import readers, sets

    start = time.perf_counter()
    target = Path(outputs.output or "")
    if outputs.skip and target.is_file():
        report.note("skipped: it exists", files.shown(target))
        return 0
    outputs.claim(Source(None), target)
    walk = walk_of(outputs.inputs, True, files.IMAGES | (files.GROWING if allow_larger else frozenset()))
    packed: dict[Source, tuple[os.stat_result | None, int, tuple[str, ...]]] = {}
    labels: set[str] = set()
    failed = False

    def picture(source: Source) -> Picture:
        if source.label in labels:
            raise InputError(f"two inputs are called {source.label} (give the folder above them)")
        if not sets.is_safe(source.label):
            raise InputError("cannot be a name in a set: it takes a relative path without special characters")
        state = source.state()
        with source.opened() as file:
            size = files.size_of(file)
            found = readers.read(file, strip=strip, keep=not codec.pixels)
        labels.add(source.label)
        packed[source] = (state, size, found.lost)
        return found

    def pictures() -> Iterable[tuple[str, Picture]]:
        nonlocal failed
        for source in walk.sources():
            found = tried(source.name, functools.partial(picture, source))
            if found is None:
                failed = True
            else:
                yield source.label, found

    data = codec.compress_set(pictures())
    if not allow_larger:
        data, grown = _without_grown(data, packed)
        failed = failed or grown
    if not packed:
        raise InputError("no images to compress")
    size = sum(size for _, size, _ in packed.values())
    modes = [state.st_mode for state, _, _ in packed.values() if state is not None]
    with outputs.writing(target) as out:
        out.write(data)
    if modes:
        target.chmod(target.stat().st_mode & functools.reduce(operator.and_, modes) | 0o600)
    if not quiet:
        report.conversion_of_set(target, sets.read(data).values(), (size, len(data)), time.perf_counter() - start)

    def finish(source: Source) -> None:
        state, _, lost = packed[source]
        if outputs.remove:
            remove(source, state, [target], list(lost))
        elif lost:
            report.lost(lost, source.name)

    code = each(packed, finish)
    if (summary := walk.summary()) is not None:
        report.note(summary)
    return code or int(failed or walk.failed)


def _without_grown(data: bytes, packed: dict[Source, Any]) -> tuple[bytes, bool]:
    """A set without the images that grew, which are named and taken out of `packed`; and whether there were any.

    Raises InputError where a chain, which holds all images in one, grew.
    """
    from lgcodec import container, sets

    parts = sets.read(data)
    if any(container.read_header(part, max_pixels=1 << 62).is_chained for part in parts.values()):
        sizes = [size + SLACK for _, size, _ in packed.values()]
        refuse_growth(sum(sizes), len(data), "")
        return data, False
    kept = {}
    for source, (_, size, _) in list(packed.items()):
        part = parts[source.label]
        if tried(source.name, functools.partial(_accepted, size, len(part), source)) is None:
            del packed[source]
        else:
            kept[source.label] = bytes(part)
    return (data, False) if len(kept) == len(parts) else (sets.write(kept), True)


def _accepted(before: int, after: int, source: Source) -> bool:
    refuse_growth(before, after, source.name)
    return True


def restore(codec: Codec, outputs: Outputs, quiet: bool, strip: bool, keep_going: bool) -> Callable[[Source], None]:
    def work(source: Source) -> None:
        """Writes the images of a set, once all of them are decoded and checked.

        keep_going: those that are whole, and of others what is. Raises InputError where something is missing.
        """
        from lgcodec import sets

        start = time.perf_counter()
        if source.is_stdin or source.named().suffix != files.SET or outputs.stdout or outputs.output == files.STDIO:
            raise InputError("sets are restored from a file each, into a folder")
        folder = source.named().with_suffix("") if outputs.output is None else Path(outputs.output)
        state = source.state()
        damaged: dict[str, LgcodecError] = {}
        with source.opened() as file:
            data = file.read()
        if keep_going:
            pictures, damaged = _rescued(codec, data)
        else:
            pictures = codec.decode_set(data)
        if strip:
            pictures = {name: picture.stripped() for name, picture in pictures.items()}
        targets = _unpack(pictures, folder, outputs, state)
        if not quiet:
            pixels = sum(picture.width * picture.height for picture in pictures.values())
            report.restored(source.name, folder, len(pictures), pixels, time.perf_counter() - start)
        if outputs.remove:
            remove(source, state, targets, [])
        for name, error in damaged.items():
            report.complain(error, f"{source.name}: {name}")
        if damaged:
            missing = len(damaged.keys() - pictures.keys())
            parts = f"{missing} left out, {len(damaged) - missing} restored in part"
            raise InputError(f"{len(damaged)} of {missing + len(pictures)} images are damaged ({parts})")
        sets.check_end(data)

    return work


def _rescued(codec: Codec, data: bytes) -> tuple[dict[str, Picture], dict[str, LgcodecError]]:
    """The images of a set of which anything is whole, and what is wrong with those that are not whole."""
    from lgcodec import sets

    pictures: dict[str, Picture] = {}
    damaged: dict[str, LgcodecError] = {}
    spans = sets.read_index(data)
    for name, found in codec.rescue_set(data).items():
        if isinstance(found, LgcodecError):
            damaged[name] = found
            continue
        pictures[name], boxes = found
        if (error := flaw(data[slice(*spans[name])], boxes)) is not None:
            damaged[name] = error
    return pictures, damaged


def _unpack(pictures: dict[str, Picture], folder: Path, outputs: Outputs, like: os.stat_result | None) -> list[Path]:
    """Writes all pictures under hidden names, and then gives all of them theirs.

    A picture whose own format would not keep all of it becomes a PNG file, NAME.png.
    """
    from lgcodec.cli import formats

    parts: list[files.Part] = []
    taken = set(pictures)
    try:
        for name, picture in pictures.items():
            final = name
            suffix = Path(name).suffix.lower()
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            part = files.Part(target, like)
            parts.append(part)
            with part.opened() as out:
                if not _fits(picture, out, suffix):
                    number = 1
                    while final in taken:
                        final = f"{name}.png" if number == 1 else f"{name}.{number}.png"
                        number += 1
                    taken.add(final)
                    out.seek(0)
                    out.truncate()
                    formats.write(picture, out, formats.PNG, check=outputs.remove)
            part.target = (folder / final).resolve()
            files.refuse_replacing(part.target, force=outputs.force)
        for part in parts:
            part.finish(force=outputs.force, sync=outputs.remove, times=False)
    finally:
        for part in parts:
            part.path.unlink(missing_ok=True)
    return [part.target for part in parts]


def _fits(picture: Picture, out: BinaryIO, suffix: str) -> bool:
    """Writes a picture in a format, and says whether that holds all of it."""
    from lgcodec.cli import formats

    if suffix not in formats.SUFFIXES and picture.file is None:
        return False
    try:
        return not formats.write(picture, out, suffix, check=True)
    except InputError:
        return False
