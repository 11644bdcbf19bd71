"""The commands. What is heavy is imported inside the command that needs it, so that --help and info start at once."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import operator
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

import lgcodec
from lgcodec.cli import batch, files, report
from lgcodec.cli.files import Outputs, Source, Walk
from lgcodec.errors import InputError, LgcodecError
from lgcodec.models.machines import DEVICES
from lgcodec.models.training.command import train

if TYPE_CHECKING:
    from lgcodec import Codec
    from lgcodec.image import Picture

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
# Tiles are what runs in parallel here. Threads inside numpy's small products only wait for each other (twice as slow).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
SIGNALLED = 128  # the exit code, and which signal ended the work
SLACK = 64  # bytes that a result may have more than its input, unasked
GARBAGE = 300_000  # objects between two collections; imports make many, and none of them is garbage
EXPECTED = (LgcodecError, OSError, MemoryError)  # what a file or a machine can cause; anything else is a bug


class Program(click.Group):
    """A group whose errors are one line, and whose exit code is what the command returns: 0 or 1."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            hint = f" (see {context.command_path} --help)" if context else ""
            report.complain(error.format_message() + hint)
            code = 1
        except click.Abort:
            code = SIGNALLED + (report.stopped_by or signal.SIGINT)
        except EXPECTED as error:
            report.complain(error)
            code = 1
        sys.exit(code)


@click.group(cls=Program, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(lgcodec.__version__, prog_name="lgcodec", message="%(prog)s %(version)s")
@click.pass_context
def program(context: click.Context) -> None:
    """Lossless image compression with learned likelihoods.

    `-` is stdin or stdout. Nothing is overwritten without -f, and inputs stay as they are.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> None:
    """The console script. It starts and ends faster than interpreters do."""
    report.open_streams()
    gc.set_threshold(GARBAGE)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # nohup, or a script's background
            signal.signal(number, report.interrupt)
    sys.unraisablehook = report.dropped
    try:
        program(prog_name="lgcodec")
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, AttributeError):  # a pipe that was closed, or a stream that never was
                stream.flush()
        os._exit(end.code)  # nothing is left to do but to free memory piece by piece


def _all(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


_INPUTS = click.argument("inputs", metavar="IN...", nargs=-1, required=True)
_TARGET = _all(
    click.option("-o", "--output", metavar="OUT", help="Output file, or folder for several inputs; - is stdout."),
    click.option("-c", "--stdout", is_flag=True, help="Write to stdout."),
    click.option("-f", "--force", is_flag=True, help="Replace existing outputs."),
)
_OUTPUT = _all(
    _TARGET,
    click.option("--rm", "remove", is_flag=True, help="Remove each input once its output is verified and in place."),
    click.option("-r", "--recursive", is_flag=True, help="Walk folders."),
    click.option("--skip-existing", "skip", is_flag=True, help="Pass over inputs whose outputs exist."),
)
_MACHINE = _all(
    click.option(
        "-T", "--threads", type=click.IntRange(0), default=0, metavar="N", help="0, the default, is all cores."
    ),
    click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True),
)
_LIMIT = click.option(
    "--max-pixels", type=click.IntRange(1), metavar="N", help="Refuse images of more pixels; 178,956,970 otherwise."
)
_MODEL = click.option(
    "--model", default="default", show_default=True, metavar="NAME", help="A model's name, or a weights file."
)
_CLASS = click.option("--class", "label", type=click.IntRange(0), metavar="N", help="Of models that know classes.")
_ORIGIN = click.option(
    "--origin",
    type=click.Choice(["auto", "none"]),
    default="auto",
    show_default=True,
    help="Whether to look for what an image was rendered from, and to code that.",
)
_LOUDNESS = _all(
    click.option("-q", "--quiet", is_flag=True, help="Only errors."),
    click.option("-v", "--verbose", is_flag=True, help="More about each file."),
)


def _codec(model: str, device: str, threads: int, quiet: bool, max_pixels: int | None = None, **options: Any) -> Codec:
    """The codec that does the work. Loads numpy and Pillow; a model only when it is used."""
    import logging
    import warnings

    from PIL import Image

    logging.getLogger("lgcodec").setLevel(logging.ERROR if quiet else logging.WARNING)
    warnings.simplefilter("default")
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit itself stands, as an error
    warnings.showwarning = report.warned
    if max_pixels is not None:
        Image.MAX_IMAGE_PIXELS = -(-max_pixels // 2)  # Pillow raises at twice this
    return lgcodec.Codec(model=model, device=device, threads=threads or None, max_pixels=max_pixels, **options)


def _each(sources: Iterable[Source], work: Callable[[Source], None]) -> int:
    """Runs `work` on every source, whatever becomes of the others. Returns the exit code."""
    code = 0
    for source in sources:
        if _tried(source.name, functools.partial(_done, work, source)) is None:
            code = 1
    return code


def _done(work: Callable[[Source], None], source: Source) -> bool:
    work(source)
    return True


def _tried(name: str, work: Callable[[], T]) -> T | None:
    """What `work` returns; None where it fails, which is said in a line, whatever it was."""
    report.current = name
    try:
        return work()
    except BrokenPipeError:  # whoever reads our output has left
        raise
    except EXPECTED as error:
        report.complain(error, name)
    except Exception as error:  # noqa: BLE001  the other files are done all the same
        report.fault(error, name)
    return None


def _walk(inputs: Sequence[str], recursive: bool, suffixes: Iterable[str]) -> Walk:
    return Walk(inputs, recursive, frozenset(suffixes), report.complain)


def _convert(
    outputs: Outputs,
    suffix: str | Callable[[Source], str],
    suffixes: Iterable[str],
    work: Callable[[Source, Path | None], Iterable[str]],
) -> int:
    """Calls `work(source, target)` for each input, and removes the input where that is asked for.

    work: returns what of the input is not in the target, which is said, and then the input stays.
    """
    walk = _walk(outputs.inputs, outputs.recursive, suffixes)
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
            _remove(source, before, [target], lost)
        elif lost:
            report.lost(lost, source.name)

    code = _each(sources, one)
    if skipped:
        report.note(f"{skipped} of {len(sources)} skipped: their outputs exist")
    if (summary := walk.summary()) is not None:
        report.note(summary)
    return code or int(walk.failed)


def _remove(source: Source, before: os.stat_result | None, targets: Iterable[Path | None], lost: list[str]) -> None:
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


def _refuse_growth(before: int, after: int, name: str) -> None:
    """Raises InputError where a result has more bytes than its input, and a few."""
    if after > before + SLACK:
        why = " (a JPEG is lossy, and its pixels take more)" if Path(name).suffix.lower() in files.JPEG else ""
        raise InputError(
            f"would grow from {before:,} to {after:,} bytes{why}: --allow-larger keeps its pixels all the same"
        )


def _compress_set(codec: Codec, outputs: Outputs, quiet: bool, strip: bool, allow_larger: bool) -> int:
    """All inputs as one file. Those that cannot be read are named and left out."""
    from lgcodec import readers, sets

    start = time.perf_counter()
    target = Path(outputs.output or "")
    if outputs.skip and target.is_file():
        report.note("skipped: it exists", files.shown(target))
        return 0
    outputs.claim(Source(None), target)
    walk = _walk(outputs.inputs, True, files.IMAGES | (files.GROWING if allow_larger else frozenset()))
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
            found = _tried(source.name, functools.partial(picture, source))
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
            _remove(source, state, [target], list(lost))
        elif lost:
            report.lost(lost, source.name)

    code = _each(packed, finish)
    if (summary := walk.summary()) is not None:
        report.note(summary)
    return code or int(failed or walk.failed)


def _without_grown(data: bytes, packed: dict[Source, Any]) -> tuple[bytes, bool]:
    """A set without the images that grew, which are named and taken out of `packed`; and whether there were any.

    Raises InputError where a chain, which holds all images in one, grew.
    """
    from lgcodec import container, sets

    parts = sets.read(data)
    if any(container.read_header(part, max_pixels=1 << 62).chain is not None for part in parts.values()):
        sizes = [size + SLACK for _, size, _ in packed.values()]
        _refuse_growth(sum(sizes), len(data), "")
        return data, False
    kept = {}
    for source, (_, size, _) in list(packed.items()):
        part = parts[source.label]
        if _tried(source.name, functools.partial(_accepted, size, len(part), source)) is None:
            del packed[source]
        else:
            kept[source.label] = bytes(part)
    return (data, False) if len(kept) == len(parts) else (sets.write(kept), True)


def _accepted(before: int, after: int, source: Source) -> bool:
    _refuse_growth(before, after, source.name)
    return True


def _restore(codec: Codec, outputs: Outputs, quiet: bool) -> Callable[[Source], None]:
    def work(source: Source) -> None:
        """Writes the images of a set, once all of them are decoded and checked."""
        start = time.perf_counter()
        if source.path is None or source.path.suffix != files.SET or outputs.stdout or outputs.output == files.STDIO:
            raise InputError("sets are restored from a file each, into a folder")
        folder = source.path.with_suffix("") if outputs.output is None else Path(outputs.output)
        state = source.state()
        with source.opened() as file:
            pictures = codec.decode_set(file)
        targets = _unpack(pictures, folder, outputs, state)
        if not quiet:
            pixels = sum(picture.width * picture.height for picture in pictures.values())
            report.restored(source.name, folder, len(pictures), pixels, time.perf_counter() - start)
        if outputs.remove:
            _remove(source, state, targets, [])

    return work


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


@program.command()
@click.argument("inputs", metavar="IN...", nargs=-1)
@_OUTPUT
@batch.options
@_MACHINE
@_MODEL
@_LIMIT
@click.option("--effort", type=click.IntRange(1, 9), default=3, show_default=True, help="Higher is smaller and slower.")
@_ORIGIN
@click.option("--no-verify", is_flag=True, help="Do not decode each result to compare it with the input.")
@click.option("--strip", is_flag=True, help="Leave metadata out (EXIF, profiles, texts), damaged ones too.")
@click.option(
    "--pixels", is_flag=True, help="Keep the pixels of JPEG files, not the files, which come back as they are."
)
@click.option(
    "--allow-larger", is_flag=True, help="Keep results that are larger than their inputs: pixels of lossy files."
)
@_LOUDNESS
def compress(
    inputs: tuple[str, ...],
    files_from: str | None,
    jobs: int,
    scheduler: str | None,
    model: str,
    device: str,
    threads: int,
    max_pixels: int | None,
    effort: int,
    origin: str,
    no_verify: bool,
    strip: bool,
    pixels: bool,
    allow_larger: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> int:
    """Compress images: img.png becomes img.lgc beside it, or what -o says. JPEG files come back byte for byte.

    An output that ends in .lgcs holds all inputs, folders too: a set, which models with latents code as one chain.

    With -j or --scheduler, workers share the files; stopped, it goes on where it was with --skip-existing.
    """
    inputs += batch.listed(files_from)
    if not inputs and files_from is None:
        raise click.UsageError("Missing argument 'IN...'.")
    outputs = Outputs(inputs=inputs, **options)
    if no_verify and outputs.remove:
        raise click.UsageError("--rm and --no-verify exclude each other")
    codec = _codec(
        model, device, threads, quiet, max_pixels, effort=effort, origin=origin, pixels=pixels, verify=not no_verify
    )
    if outputs.is_set:
        return _compress_set(codec, outputs, quiet, strip, allow_larger)
    wanted = files.IMAGES | (files.GROWING if allow_larger else frozenset())

    def settle(result: batch.Result) -> None:
        """Writes what a file became, and removes the file where that is asked for."""
        if not allow_larger:
            _refuse_growth(result.size, len(result.data), result.source.name)
        with outputs.writing(result.target, result.state) as out:
            out.write(result.data)
        if outputs.remove:
            _remove(result.source, result.state, [result.target], list(result.lost))
        elif result.lost:
            report.lost(list(result.lost), result.source.name)

    if jobs != 1 or scheduler is not None:
        walk = _walk(outputs.inputs, outputs.recursive, wanted)
        targets = dict(outputs.targets(list(walk.sources()), lambda _: files.PACKED))
        with batch.pool_of(jobs, scheduler) as pool:
            work = batch.Work(dataclasses.replace(codec, threads=threads or 1), strip)
            code = batch.compress(work, targets, outputs, pool, settle, quiet=quiet, verbose=verbose)
        if (summary := walk.summary()) is not None:
            report.note(summary)
        return code or int(walk.failed)
    from lgcodec import readers

    def convert(source: Source, target: Path | None) -> tuple[str, ...]:
        start = time.perf_counter()
        like = source.state()
        with source.opened() as file:
            size = files.size_of(file)
            picture = readers.read(file, strip=strip, keep=not codec.pixels)
        with report.Progress(source.name, enabled=not quiet) as progress:
            data = codec.compress(picture, progress=progress)
        if not allow_larger:
            _refuse_growth(size, len(data), source.name)
        with outputs.writing(target, like) as out:
            out.write(data)
        if not quiet:
            info, seconds = lgcodec.inspect(data), time.perf_counter() - start
            report.conversion(source.name, target, info, (size, len(data)), seconds, verbose=verbose)
        return picture.lost

    return _convert(outputs, files.PACKED, wanted, convert)


@program.command()
@_INPUTS
@_OUTPUT
@_MACHINE
@_MODEL
@_LIMIT
@click.option("--strip", is_flag=True, help="Leave metadata out (EXIF, profiles, texts).")
@click.option("--keep-going", is_flag=True, help="Restore what is whole of a damaged file, the rest in grey.")
@_LOUDNESS
def decompress(
    model: str,
    device: str,
    threads: int,
    max_pixels: int | None,
    strip: bool,
    keep_going: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> int:
    """Decompress files: img.lgc becomes img.png beside it (img.jpg, if it was one), or what -o says. A set fills a
    folder.

    The suffix of -o chooses the format, of those that keep every pixel: png, webp, tiff, bmp, ppm, tga.
    """
    outputs = Outputs(**options)
    if outputs.remove and (strip or keep_going):
        raise click.UsageError("--rm excludes --strip and --keep-going: something would be lost")
    codec = _codec(model, device, threads, quiet, max_pixels)
    found = [name for name in outputs.inputs if name.endswith(files.SET)]
    code = _each(_walk(found, False, ()).sources(), _restore(codec, outputs, quiet))
    others = tuple(name for name in outputs.inputs if name not in found)
    if not others:
        return code
    outputs = dataclasses.replace(outputs, inputs=others)
    from lgcodec.cli import formats

    def rescue(data: bytes, target: Path | None, like: os.stat_result | None) -> tuple[str, ...]:
        picture, damaged = codec.rescue(data)
        with outputs.writing(target, like) as out:
            lost = formats.write(
                picture.stripped() if strip else picture, out, formats.suffix_of(target, Source(None)), check=False
            )
        if damaged:
            places = ", ".join(f"{x1 - x0}x{y1 - y0} at {x0},{y0}" for x0, y0, x1, y1 in damaged)
            raise InputError(f"{len(damaged)} tiles are damaged, and grey: {places}")
        return lost

    def work(source: Source, target: Path | None) -> tuple[str, ...]:
        start = time.perf_counter()
        suffix = formats.suffix_of(target, source)
        like = source.state()
        with source.opened() as file:
            if keep_going:
                return rescue(file.read(), target, like)
            info, size = lgcodec.inspect(file), files.size_of(file)
            with report.Progress(source.name, enabled=not quiet) as progress:
                picture = codec.decode(file, progress=progress)
        picture = picture.stripped() if strip else picture
        with outputs.writing(target, like) as out:
            lost = formats.write(picture, out, suffix, check=outputs.remove)
            written = files.size_of(out)
        if not quiet:
            seconds = time.perf_counter() - start
            report.conversion(source.name, target, info, (size, written), seconds, verbose=verbose)
        return lost

    return _convert(outputs, formats.own_suffix, {files.PACKED}, work) or code


@program.command()
@_INPUTS
@_TARGET
@_MACHINE
@_MODEL
@_LIMIT
@click.option("-q", "--quiet", is_flag=True, help="Only errors.")
def preview(model: str, device: str, threads: int, max_pixels: int | None, quiet: bool, **options: Any) -> int:
    """Show what files look like from their first bytes: img.lgc becomes img.preview.png, or what -o says.

    For files of models with a base (compress --model vqvae); the start of a file will do.
    """
    outputs = Outputs(**options, remove=False, recursive=False)
    codec = _codec(model, device, threads, quiet, max_pixels)
    from lgcodec import container, metadata, readers
    from lgcodec.cli import formats

    def work(source: Source, target: Path | None) -> tuple[str, ...]:
        start = time.perf_counter()
        suffix = formats.suffix_of(target, source)
        with source.opened() as file:
            data = file.read()
        picture = readers.read(codec.preview(data))
        header = container.read_header(data, max_pixels=1 << 62)
        chunks = metadata.of_appearance(container.read_chunks(header, data))
        with outputs.writing(target) as out:
            formats.write(dataclasses.replace(picture, chunks=chunks), out, suffix, check=False)
        if not quiet:
            report.preview(source.name, target, header, time.perf_counter() - start)
        return ()

    return _convert(outputs, ".preview.png", {files.PACKED}, work)


@program.command()
@click.argument("inputs", metavar="FILE...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="As a JSON object, or an array of several.")
@click.option("--heatmap", metavar="OUT.png", help="Draw where the bits of a file went: bits a pixel of each tile.")
@click.option("-f", "--force", is_flag=True, help="Replace an existing heatmap.")
def inspect(inputs: tuple[str, ...], as_json: bool, heatmap: str | None, force: bool) -> int:
    """Show what files hold, from their headers: nothing is decoded. `info` is the same."""
    if heatmap is not None and len(inputs) > 1:
        raise click.UsageError("--heatmap takes one file")
    shown: list[str] = []

    def work(source: Source) -> None:
        with source.opened() as opened:
            found = lgcodec.inspect(opened)
            if heatmap is not None:
                from lgcodec.cli.heatmap import draw
                from lgcodec.info import read_start

                opened.seek(0)
                picture = draw(read_start(opened)[0])
                with files.appearing(Path(heatmap), force=force) as out:
                    out.write(picture)
        if as_json:
            shown.append(report.as_json(found))
        else:
            click.echo(f"{source.name}\n{report.details(found)}")

    code = _each(_walk(inputs, False, ()).sources(), work)
    if shown:
        click.echo(shown[0] if len(inputs) == 1 else "[" + ", ".join(shown) + "]")
    return code


@program.command()
@click.argument("inputs", metavar="FILE...", nargs=-1, required=True)
@click.option("-r", "--recursive", is_flag=True, help="Walk folders.")
@_MACHINE
@_MODEL
@_LIMIT
@_LOUDNESS
def verify(
    inputs: tuple[str, ...],
    recursive: bool,
    model: str,
    device: str,
    threads: int,
    max_pixels: int | None,
    quiet: bool,
    verbose: bool,
) -> int:
    """Decode files in memory and check every checksum and the digest of the pixels."""
    codec = _codec(model, device, threads, quiet, max_pixels)

    def work(source: Source) -> None:
        start = time.perf_counter()
        if source.path is not None and source.path.suffix == files.SET:
            with source.opened() as file:
                pictures = codec.decode_set(file).values()
            if not quiet:
                speed = report.speed(sum(p.width * p.height for p in pictures), time.perf_counter() - start)
                click.echo(f"{source.name}: OK, {len(pictures)} images, {speed}")
            return
        with source.opened() as file, report.Progress(source.name, enabled=not quiet) as progress:
            found = lgcodec.inspect(file)
            file.seek(0)
            codec.decode(file, progress=progress)
        if not quiet:
            speed = report.speed(found.pixels, time.perf_counter() - start)
            click.echo(f"{source.name}: OK, {report.size(found)}, {speed}")
            if verbose:
                click.echo(report.details(found))

    walk = _walk(inputs, recursive, {files.PACKED, files.SET})
    return _each(walk.sources(), work) or int(walk.failed)


@program.command()
@click.argument("inputs", metavar="FILE...", nargs=-1, required=True)
@_MACHINE
@_MODEL
@click.option("-r", "--recursive", is_flag=True, help="Walk folders.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object of rates by name.")
@_CLASS
@click.option("--against", metavar="CODEC", help="Less what another codec takes, as bench knows them: png, webp ..")
@click.option("--others", metavar="PATH", multiple=True, help="Images of another kind: do scores tell them apart?")
def score(
    inputs: tuple[str, ...], model: str, device: str, threads: int, recursive: bool, as_json: bool, label: int | None,
    against: str | None, others: tuple[str, ...],
) -> int:  # fmt: skip
    """Say how unexpected images are to a model: bits per dim, of what it would code them with.

    --against takes the image's own complexity away, so that plain images are not expected because they are plain.
    """
    import json

    import numpy as np

    from lgcodec import readers
    from lgcodec.cli.bench import contenders
    from lgcodec.image import array_of

    codec, rates = _codec(model, device, threads, quiet=False), dict[str, float]()
    other = None if against is None else contenders.external(against)

    def work(source: Source) -> None:
        with source.opened() as file:
            picture = readers.read(file)
        rate = codec.score(picture, label=label)
        if other is not None:
            samples = np.ascontiguousarray(picture.samples((0, 0, picture.width, picture.height)))
            pixels = array_of(samples, picture.mode)
            rate -= 8 * len(other.encode(pixels, 1)) / pixels.size
        rates[source.name] = rate
        if not as_json:
            less = "" if other is None else f", less what {other.name} takes"
            click.echo(f"{source.name}: {rate:.4f} bits/dim{less}")

    walk = _walk(inputs, recursive, files.IMAGES)
    code = _each(walk.sources(), work) or int(walk.failed)
    known = list(rates.values())
    if others:
        walk = _walk(others, True, files.IMAGES)
        code = _each(walk.sources(), work) or int(walk.failed) or code
    unknown = list(rates.values())[len(known) :]
    if as_json:
        click.echo(json.dumps(rates, indent=2))
    elif known and unknown:
        area = report.auroc(known, unknown)
        click.echo(f"AUROC {area:.4f}: {len(known)} images against {len(unknown)} others")
    return code


@program.command()
@click.option("-n", "--number", type=click.IntRange(1, 1024), default=16, show_default=True, help="How many pictures.")
@click.option("--size", type=click.IntRange(1, 1024), help="Their side in pixels; 64, or what the model was made for.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the random bits.")
@_CLASS
@click.option("--begin", type=click.Path(exists=True, dir_okay=False), help="An image, whose first --rows are kept.")
@click.option("--rows", type=click.IntRange(1), help="Half of its rows, if not given.")
@click.option(
    "--between", type=click.Path(exists=True, dir_okay=False), nargs=2, help="Two images, and what is between."
)
@_TARGET
@_MACHINE
@_MODEL
def sample(
    number: int, size: int | None, seed: int, label: int | None, begin: str | None, rows: int | None,
    between: tuple[str, str] | None, model: str, device: str, threads: int, **options: Any,
) -> int:  # fmt: skip
    """Show what a model imagines: random bits, decompressed, as a grid of pictures.

    --begin and --between take models of the masked family, the latter those with latents.
    """
    if begin is not None and between:
        raise click.UsageError("--begin and --between exclude each other")
    outputs = Outputs(inputs=(), **options, remove=False, recursive=False)
    if outputs.output is None and not outputs.stdout:
        raise click.UsageError("say where the grid goes: -o OUT.png")
    codec = _codec(model, device, threads, quiet=False)
    from lgcodec import readers
    from lgcodec.cli import formats
    from lgcodec.models import registry

    def pictures() -> list[Any]:
        if between:
            return codec.between(*between, number, seed=seed)
        if begin is not None:
            import numpy as np

            picture = readers.read(begin)
            known = np.zeros((picture.height, picture.width), bool)
            known[: rows or picture.height // 2] = True
            return codec.complete(picture, known, number, seed=seed, label=label)
        side = size or min(64, *registry.load(model, device=device, threads=threads or None).tile)
        return codec.sample(number, (side, side), seed=seed, label=label)

    target = outputs.claim(Source(None), None if outputs.output in (None, files.STDIO) else Path(outputs.output))
    grid = formats.grid_of(pictures())
    with outputs.writing(target) as out:
        formats.write(readers.read(grid), out, formats.suffix_of(target, Source(None)), check=False)
    return 0


@program.command()
@click.option("--json", "as_json", is_flag=True, help="As a JSON array.")
def models(as_json: bool) -> int:
    """List the models in this installation."""
    from lgcodec.models import registry

    click.echo(report.models_json(registry.RECORDS) if as_json else report.models(registry.RECORDS))
    return 0


@program.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--codecs", default="png,webp,jpeg2000,jxl-e3,jxl-e7,jxl-e9", show_default=True, help="To compare with.")
@click.option(
    "--models",
    default="default",
    show_default=True,
    help="Names or weights files, with commas; NAME@EFFORT for another effort.",
)
@click.option("--effort", "efforts", type=click.IntRange(1, 9), multiple=True, default=(3,), show_default=True)
@_ORIGIN
@_MACHINE
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write everything here.")
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False, path_type=Path), help="Write a row per image here.")
@click.option("--html", "html_file", type=click.Path(dir_okay=False, path_type=Path), help="Write a page to look at.")
@click.option("--plot", "plot_file", type=click.Path(dir_okay=False, path_type=Path), help="Draw rate against speed.")
@click.option("-q", "--quiet", is_flag=True, help="Only the table.")
def bench(
    folder: Path,
    codecs: str,
    models: str,
    efforts: tuple[int, ...],
    origin: str,
    threads: int,
    device: str,
    json_file: Path | None,
    csv_file: Path | None,
    html_file: Path | None,
    plot_file: Path | None,
    quiet: bool,
) -> int:
    """Measure rate and speed on a folder of images, side by side with other codecs; of JPEG files, as files.

    Every result is decoded and compared. Speeds are on one thread and, for all codecs alike, on the threads of -T.
    """
    from lgcodec.cli.bench import jpegs, plot
    from lgcodec.cli.bench import measure as benchmark
    from lgcodec.cli.bench.contenders import contenders
    from lgcodec.cli.bench.tables import describe, table, title, write_csv, write_json

    def tell(row: benchmark.Row | jpegs.FileRow) -> None:
        if not quiet:
            click.echo(jpegs.describe(row) if isinstance(row, jpegs.FileRow) else describe(row), err=True)

    chosen = contenders(_listed(codecs), _listed(models), efforts, device, origin)
    results = benchmark.run(folder, chosen, threads or None, device, tell)
    peer = any(name.startswith("jxl") for name in _listed(codecs))
    results.files.extend(jpegs.measure(folder, device, results.environment.threads, peer, tell))
    if not results.rows and not results.files:
        raise InputError(f"no 8-bit grey or RGB image in {folder}")
    if results.rows:
        click.echo(table(results.summaries))
    if results.files:
        click.echo(jpegs.table(results.files))
    if json_file is not None:
        write_json(json_file, results)
    if csv_file is not None:
        write_csv(csv_file, results)
    if html_file is not None:
        from lgcodec.cli.bench.page import write_html

        write_html(html_file, results, folder, title(folder.resolve().name, results))
    if plot_file is not None:
        plot.draw(plot_file, results.summaries, title(folder.resolve().name, results))
    return 0


@program.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of this machine; 0 is any that is free.")
@_MACHINE
@_MODEL
@_LIMIT
@click.option("-q", "--quiet", is_flag=True, help="Only the address.")
def view(folder: Path, port: int, model: str, device: str, threads: int, max_pixels: int | None, quiet: bool) -> int:
    """Look at a folder's .lgc and .lgcs files in the browser: a gallery that this machine alone is served."""
    from lgcodec.cli import view as gallery

    codec = _codec(model, device, threads, quiet, max_pixels)
    found = list(gallery.items(folder))
    if not found:
        raise InputError(f"{files.shown(folder)}: no .lgc or .lgcs files in this folder")
    shown = gallery.Gallery(files.shown(folder.resolve().name), found, codec)
    with gallery.server(shown, port) as served:
        note = "" if quiet else f"  ({len(found)} images; Ctrl-C ends it)"
        click.echo(f"http://{gallery.HOST}:{served.server_address[1]}/{note}")
        served.serve_forever()
    return 0


@program.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print what completes our commands in a shell: eval "$(lgcodec completion bash)"."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise InputError(f"{shell} is no shell that click completes in")
    click.echo(kind(program, {}, "lgcodec", "_LGCODEC_COMPLETE").source())
    return 0


@program.command()
def manual() -> int:
    """Print the manual page: lgcodec manual > lgcodec.1."""
    from lgcodec.cli.manual import page

    click.echo(page(program, "lgcodec", lgcodec.__version__), nl=False)
    return 0


def _read_jpeg(data: bytes) -> Any:
    from lgcodec import kept

    return kept.components(data)


train.context_settings["obj"] = _read_jpeg  # what families of JPEG files learn from
program.add_command(train, "train")
program.add_command(inspect, "info")


def _listed(names: str) -> list[str]:
    return [name for name in names.split(",") if name]
