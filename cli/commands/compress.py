"""`lgcodec compress`: images, one by one, by many workers, or as a set."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import click

import lgcodec
from lgcodec.cli import batch, files, report
from lgcodec.cli.convert import convert_each, refuse_growth, remove, walk_of
from lgcodec.cli.files import Outputs, Source
from lgcodec.cli.options import LIMIT, LOUDNESS, MACHINE, MODEL, ORIGIN, OUTPUT, codec_of
from lgcodec.cli.sets import compress_set


@click.command()
@click.argument("inputs", metavar="IN...", nargs=-1)
@OUTPUT
@batch.options
@MACHINE
@MODEL
@LIMIT
@click.option("--effort", type=click.IntRange(1, 9), default=3, show_default=True, help="Higher is smaller and slower.")
@ORIGIN
@click.option("--no-verify", is_flag=True, help="Do not decode each result to compare it with the input.")
@click.option("--strip", is_flag=True, help="Leave metadata out (EXIF, profiles, texts), damaged ones too.")
@click.option(
    "--pixels", is_flag=True, help="Keep the pixels of JPEG files, not the files, which come back as they are."
)
@click.option(
    "--allow-larger", is_flag=True, help="Keep results that are larger than their inputs: pixels of lossy files."
)
@LOUDNESS
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
    codec = codec_of(
        model, device, threads, quiet, max_pixels, effort=effort, origin=origin, pixels=pixels, verify=not no_verify
    )
    if outputs.is_set:
        return compress_set(codec, outputs, quiet, strip, allow_larger)
    wanted = files.IMAGES | (files.GROWING if allow_larger else frozenset())

    def settle(result: batch.Result) -> None:
        """Writes what a file became, and removes the file where that is asked for."""
        if not allow_larger:
            refuse_growth(result.size, len(result.data), result.source.name)
        with outputs.writing(result.target, result.state) as out:
            out.write(result.data)
        if outputs.remove:
            remove(result.source, result.state, [result.target], list(result.lost))
        elif result.lost:
            report.lost(list(result.lost), result.source.name)

    if jobs != 1 or scheduler is not None:
        walk = walk_of(outputs.inputs, outputs.recursive, wanted)
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
            refuse_growth(size, len(data), source.name)
        with outputs.writing(target, like) as out:
            out.write(data)
        if not quiet:
            info, seconds = lgcodec.inspect(data), time.perf_counter() - start
            report.conversion(source.name, target, info, (size, len(data)), seconds, verbose=verbose)
        return picture.lost

    return convert_each(outputs, files.PACKED, wanted, convert)
