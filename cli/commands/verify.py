"""`lgcodec verify`: files, decoded and checked."""

from __future__ import annotations

import time

import click

import lgcodec
from lgcodec.cli import files, report
from lgcodec.cli.convert import each, walk_of
from lgcodec.cli.files import Source
from lgcodec.cli.options import LIMIT, LOUDNESS, MACHINE, MODEL, codec_of


@click.command()
@click.argument("inputs", metavar="FILE...", nargs=-1, required=True)
@click.option("-r", "--recursive", is_flag=True, help="Walk folders.")
@MACHINE
@MODEL
@LIMIT
@LOUDNESS
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
    codec = codec_of(model, device, threads, quiet, max_pixels)

    def work(source: Source) -> None:
        start = time.perf_counter()
        with source.opened() as file, report.Progress(source.name, enabled=not quiet) as progress:
            if files.is_set(file):
                pictures = codec.decode_set(file).values()
                if not quiet:
                    speed = report.speed(sum(p.width * p.height for p in pictures), time.perf_counter() - start)
                    click.echo(f"{source.name}: OK, {len(pictures)} images, {speed}")
                return
            found = lgcodec.inspect(file)
            file.seek(0)
            codec.decode(file, progress=progress)
        if not quiet:
            speed = report.speed(found.pixels, time.perf_counter() - start)
            click.echo(f"{source.name}: OK, {report.size(found)}, {speed}")
            if verbose:
                click.echo(report.details(found))

    walk = walk_of(inputs, recursive, {files.PACKED, files.SET})
    return each(walk.sources(), work) or int(walk.failed)
