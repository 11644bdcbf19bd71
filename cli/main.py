"""The commands. What is heavy is imported inside the command that needs it, so that --help and info start at once."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

import lgcodec
from lgcodec.cli import batch, files, report
from lgcodec.cli.files import Outputs, Source
from lgcodec.errors import InputError, LgcodecError
from lgcodec.models.machines import DEVICES
from lgcodec.models.training.command import train

if TYPE_CHECKING:
    from lgcodec import Codec

F = TypeVar("F", bound=Callable[..., Any])
# Tiles are what runs in parallel here. Threads inside numpy's small products only wait for each other (twice as slow).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
INTERRUPTED = 130
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
            code = INTERRUPTED
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
    gc.set_threshold(GARBAGE)
    signal.signal(signal.SIGINT, report.interrupt)
    sys.unraisablehook = report.dropped
    try:
        program(prog_name="lgcodec")
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        with contextlib.suppress(OSError):  # a pipe that was closed, as Python itself would find at its end
            sys.stdout.flush()
            sys.stderr.flush()
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
_MODEL = click.option(
    "--model", default="default", show_default=True, metavar="NAME", help="A model's name, or a weights file."
)
_LOUDNESS = _all(
    click.option("-q", "--quiet", is_flag=True, help="Only errors."),
    click.option("-v", "--verbose", is_flag=True, help="More about each file."),
)


def _codec(model: str, device: str, threads: int, quiet: bool, **options: Any) -> Codec:
    """The codec that does the work. Loads numpy and Pillow; a model only when it is used."""
    import logging
    import warnings

    from PIL import Image

    logging.getLogger("lgcodec").setLevel(logging.ERROR if quiet else logging.WARNING)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit itself stands, as an error
    return lgcodec.Codec(model=model, device=device, threads=threads or None, **options)


def _each(sources: Iterable[Source], work: Callable[[Source], None]) -> int:
    """Runs `work` on every source, whatever becomes of the others. Returns the exit code."""
    code = 0
    for source in sources:
        try:
            work(source)
        except BrokenPipeError:  # whoever reads our output has left
            raise
        except EXPECTED as error:
            report.complain(error, source.name)
            code = 1
    return code


def _convert(
    outputs: Outputs, suffix: str, suffixes: Iterable[str], work: Callable[[Source, Path | None], None]
) -> int:
    """Calls `work(source, target)` for each input, and removes the input where that is asked for."""

    def one(source: Source) -> None:
        if outputs.is_done(source, suffix):
            return
        work(source, outputs.claim(source, suffix))
        if outputs.remove and source.path is not None:
            source.path.unlink()

    return _each(files.sources(outputs.inputs, recursive=outputs.recursive, suffixes=suffixes), one)


def _compress_set(codec: Codec, outputs: Outputs, quiet: bool) -> int:
    """All inputs as one file. Nothing is written where one of them fails."""
    from lgcodec import sets

    start = time.perf_counter()
    sources = list(files.sources(outputs.inputs, recursive=True, suffixes=files.IMAGES))
    images: dict[str, Any] = {}
    size = 0
    for source in sources:
        if source.label in images:
            raise InputError(f"two inputs are called {source.label} (give the folder above them)")
        source.refuse_folder()
        with source.opened() as file:
            images[source.label] = file.read()
            size += len(images[source.label])
    if not images:
        raise InputError("no images to compress")
    data = codec.compress_set(images)
    target = Path(outputs.output or "")
    with outputs.writing(target) as out:
        out.write(data)
    if not quiet:
        report.conversion_of_set(target, sets.read(data).values(), (size, len(data)), time.perf_counter() - start)
    for source in sources if outputs.remove else ():
        if source.path is not None:
            source.path.unlink()
    return 0


def _restore(codec: Codec, outputs: Outputs, quiet: bool) -> Callable[[Source], None]:
    from lgcodec.cli import formats

    def work(source: Source) -> None:
        """Writes the images of a set, once all of them are decoded and checked."""
        start = time.perf_counter()
        if source.path is None or source.path.suffix != files.SET or outputs.stdout or outputs.output == files.STDIO:
            raise InputError("sets are restored from a file each, into a folder")
        folder = source.path.with_suffix("") if outputs.output is None else Path(outputs.output)
        with source.opened() as file:
            pictures = codec.decode_set(file)
        targets = {name: folder / formats.named(name) for name in pictures}
        for target in targets.values():
            files.refuse_replacing(target, force=outputs.force)
        for name, picture in pictures.items():
            targets[name].parent.mkdir(parents=True, exist_ok=True)
            with files.appearing(targets[name], force=outputs.force) as out:
                formats.write(picture, out, targets[name].suffix.lower(), check=outputs.remove)
        if not quiet:
            pixels = sum(picture.width * picture.height for picture in pictures.values())
            report.restored(source.name, folder, len(pictures), pixels, time.perf_counter() - start)
        if outputs.remove:
            source.path.unlink()

    return work


@program.command()
@click.argument("inputs", metavar="IN...", nargs=-1)
@_OUTPUT
@batch.options
@_MACHINE
@_MODEL
@click.option("--effort", type=click.IntRange(1, 9), default=3, show_default=True, help="Higher is smaller and slower.")
@click.option("--no-verify", is_flag=True, help="Do not decode each result to compare it with the input.")
@_LOUDNESS
def compress(
    inputs: tuple[str, ...],
    files_from: str | None,
    jobs: int,
    scheduler: str | None,
    model: str,
    device: str,
    threads: int,
    effort: int,
    no_verify: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> int:
    """Compress images: img.png becomes img.lgc beside it, or what -o says.

    An output that ends in .lgcs holds all inputs, folders too: a set, which models with latents code as one chain.

    With -j or --scheduler, workers share the files; stopped, it goes on where it was with --skip-existing.
    """
    inputs += batch.listed(files_from)
    if not inputs and files_from is None:
        raise click.UsageError("Missing argument 'IN...'.")
    outputs = Outputs(inputs=inputs, **options)
    if no_verify and outputs.remove:
        raise click.UsageError("--rm and --no-verify exclude each other")
    codec = _codec(model, device, threads, quiet, effort=effort, verify=not no_verify)
    if outputs.is_set:
        return _compress_set(codec, outputs, quiet)
    if jobs != 1 or scheduler is not None:
        with batch.pool_of(jobs, scheduler) as pool:
            one = dataclasses.replace(codec, threads=threads or 1)
            return batch.compress(one, outputs, pool, quiet=quiet, verbose=verbose)

    def work(source: Source, target: Path | None) -> None:
        start = time.perf_counter()
        with source.opened() as file:
            size = files.size_of(file)
            with report.Progress(source.name, enabled=not quiet) as progress:
                data = codec.compress(file, progress=progress)
        with outputs.writing(target) as out:
            out.write(data)
        if not quiet:
            info, seconds = lgcodec.inspect(data), time.perf_counter() - start
            report.conversion(source.name, target, info, (size, len(data)), seconds, verbose=verbose)

    return _convert(outputs, files.PACKED, files.IMAGES, work)


@program.command()
@_INPUTS
@_OUTPUT
@_MACHINE
@_MODEL
@_LOUDNESS
def decompress(model: str, device: str, threads: int, quiet: bool, verbose: bool, **options: Any) -> int:
    """Decompress files: img.lgc becomes img.png beside it, or what -o says. A set fills a folder.

    The suffix of -o chooses the format, of those that keep every pixel: png, webp, tiff, bmp, ppm, tga.
    """
    outputs = Outputs(**options)
    codec = _codec(model, device, threads, quiet)
    if any(name.endswith(files.SET) for name in outputs.inputs):
        return _each(files.sources(outputs.inputs, recursive=False, suffixes=()), _restore(codec, outputs, quiet))
    from lgcodec.cli import formats

    def work(source: Source, target: Path | None) -> None:
        start = time.perf_counter()
        suffix = formats.suffix_of(target)
        with source.opened() as file:
            info, size = lgcodec.inspect(file), files.size_of(file)
            with report.Progress(source.name, enabled=not quiet) as progress:
                picture = codec.decode(file, progress=progress)
        with outputs.writing(target) as out:
            formats.write(picture, out, suffix, check=outputs.remove)
            written = files.size_of(out)
        if not quiet:
            seconds = time.perf_counter() - start
            report.conversion(source.name, target, info, (size, written), seconds, verbose=verbose)

    return _convert(outputs, ".png", {files.PACKED}, work)


@program.command()
@_INPUTS
@_TARGET
@_MACHINE
@_MODEL
@click.option("-q", "--quiet", is_flag=True, help="Only errors.")
def preview(model: str, device: str, threads: int, quiet: bool, **options: Any) -> int:
    """Show what files look like from their first bytes: img.lgc becomes img.preview.png, or what -o says.

    For files of models with a base (compress --model vqvae); the start of a file will do.
    """
    outputs = Outputs(**options, remove=False, recursive=False)
    codec = _codec(model, device, threads, quiet)
    from lgcodec import container, image
    from lgcodec.cli import formats

    def work(source: Source, target: Path | None) -> None:
        start = time.perf_counter()
        suffix = formats.suffix_of(target)
        with source.opened() as file:
            data = file.read()
        picture = image.read(codec.preview(data))
        with outputs.writing(target) as out:
            formats.write(picture, out, suffix, check=False)
        if not quiet:
            header, seconds = container.read_header(data, max_pixels=1 << 62), time.perf_counter() - start
            report.preview(source.name, target, header, seconds)

    return _convert(outputs, ".preview.png", {files.PACKED}, work)


@program.command()
@click.argument("file", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
@click.option("--heatmap", metavar="OUT.png", help="Draw where the bits went: bits a pixel of each tile.")
@click.option("-f", "--force", is_flag=True, help="Replace an existing heatmap.")
def inspect(file: str, as_json: bool, heatmap: str | None, force: bool) -> int:
    """Show what a file holds, from its header: nothing is decoded. `info` is the same."""

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
        click.echo(report.as_json(found) if as_json else f"{source.name}\n{report.details(found)}")

    return _each(files.sources([file], recursive=False, suffixes=()), work)


@program.command()
@click.argument("inputs", metavar="FILE...", nargs=-1, required=True)
@_MACHINE
@_MODEL
@_LOUDNESS
def verify(inputs: tuple[str, ...], model: str, device: str, threads: int, quiet: bool, verbose: bool) -> int:
    """Decode files in memory and check every checksum and the digest of the pixels."""
    codec = _codec(model, device, threads, quiet)

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

    return _each(files.sources(inputs, recursive=False, suffixes=()), work)


@program.command()
@click.argument("inputs", metavar="FILE...", nargs=-1, required=True)
@_MACHINE
@_MODEL
@click.option("-r", "--recursive", is_flag=True, help="Walk folders.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object of rates by name.")
def score(inputs: tuple[str, ...], model: str, device: str, threads: int, recursive: bool, as_json: bool) -> int:
    """Say how unexpected images are to a model: bits per dim, of what it would code them with."""
    import json

    codec, rates = _codec(model, device, threads, quiet=False), {}

    def work(source: Source) -> None:
        with source.opened() as file:
            rates[source.name] = codec.score(file)
        if not as_json:
            click.echo(f"{source.name}: {rates[source.name]:.4f} bits/dim")

    code = _each(files.sources(inputs, recursive=recursive, suffixes=files.IMAGES), work)
    if as_json:
        click.echo(json.dumps(rates, indent=2))
    return code


@program.command()
@click.option("-n", "--number", type=click.IntRange(1, 1024), default=16, show_default=True, help="How many pictures.")
@click.option("--size", type=click.IntRange(1, 1024), help="Their side in pixels; 64, or what the model was made for.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the random bits.")
@_TARGET
@_MACHINE
@_MODEL
def sample(number: int, size: int | None, seed: int, model: str, device: str, threads: int, **options: Any) -> int:
    """Show what a model imagines: random bits, decompressed, as a grid of pictures."""
    outputs = Outputs(inputs=(), **options, remove=False, recursive=False)
    if outputs.output is None and not outputs.stdout:
        raise click.UsageError("say where the grid goes: -o OUT.png")
    codec = _codec(model, device, threads, quiet=False)
    from lgcodec import image
    from lgcodec.cli import formats
    from lgcodec.models import registry

    side = size or min(64, *registry.load(model, device=device, threads=threads or None).tile)
    target = outputs.claim(Source(None), ".png")
    grid = formats.grid_of(codec.sample(number, (side, side), seed=seed))
    with outputs.writing(target) as out:
        formats.write(image.read(grid), out, formats.suffix_of(target), check=False)
    return 0


@program.command()
@click.option("--json", "as_json", is_flag=True, help="As a JSON array.")
def models(as_json: bool) -> int:
    """List the models in this installation."""
    from lgcodec.models import registry

    click.echo(report.models_json(registry.records()) if as_json else report.models(registry.records()))
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
    threads: int,
    device: str,
    json_file: Path | None,
    csv_file: Path | None,
    html_file: Path | None,
    plot_file: Path | None,
    quiet: bool,
) -> int:
    """Measure rate and speed on a folder of images, side by side with other codecs.

    Every result is decoded and compared. lgcodec uses the threads that -T gives, the other codecs one.
    """
    from lgcodec.cli.bench import measure as benchmark
    from lgcodec.cli.bench import plot
    from lgcodec.cli.bench.contenders import contenders
    from lgcodec.cli.bench.tables import describe, table, title, write_csv, write_json

    def tell(row: benchmark.Row) -> None:
        if not quiet:
            click.echo(describe(row), err=True)

    chosen = contenders(_listed(codecs), _listed(models), efforts, threads or None, device)
    results = benchmark.run(folder, chosen, threads or None, device, tell)
    click.echo(table(results.summaries))
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


program.add_command(train, "train")
program.add_command(inspect, "info")


def _listed(names: str) -> list[str]:
    return [name for name in names.split(",") if name]
