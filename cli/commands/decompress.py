"""`lgcodec decompress`: files back to images, sets to folders."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import click

import lgcodec
from lgcodec.cli import files, report
from lgcodec.cli.convert import convert_each, each, flaw, walk_of
from lgcodec.cli.files import Outputs, Source
from lgcodec.cli.options import INPUTS, LIMIT, LOUDNESS, MACHINE, MODEL, OUTPUT, codec_of
from lgcodec.cli.sets import restore
from lgcodec.errors import InputError


@click.command()
@INPUTS
@OUTPUT
@MACHINE
@MODEL
@LIMIT
@click.option("--strip", is_flag=True, help="Leave metadata out (EXIF, profiles, texts).")
@click.option("--keep-going", is_flag=True, help="Restore what is whole of damaged files, tiles that are not in grey.")
@LOUDNESS
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
    codec = codec_of(model, device, threads, quiet, max_pixels)
    found = [name for name in outputs.inputs if name.endswith(files.SET)]
    code = each(walk_of(found, False, ()).sources(), restore(codec, outputs, quiet, strip, keep_going))
    others = tuple(name for name in outputs.inputs if name not in found)
    if not others:
        return code
    outputs = dataclasses.replace(outputs, inputs=others)
    from lgcodec.cli import formats

    def rescue(data: bytes, target: Path | None, suffix: str, like: os.stat_result | None) -> tuple[str, ...]:
        picture, damaged = codec.rescue(data)
        with outputs.writing(target, like) as out:
            lost = formats.write(picture.stripped() if strip else picture, out, suffix, check=False)
        if (error := flaw(data, damaged)) is not None:
            raise error
        return lost

    def work(source: Source, target: Path | None) -> tuple[str, ...]:
        start = time.perf_counter()
        suffix = formats.suffix_of(target, source)
        like = source.state()
        with source.opened() as file:
            if keep_going:
                return rescue(file.read(), target, suffix, like)
            info, size = lgcodec.inspect(file), files.size_of(file)
            with report.Progress(source.name, enabled=not quiet) as progress:
                picture = codec.decode(file, progress=progress)
        if strip and picture.file is not None and suffix in ("", *files.JPEG):
            raise InputError("a JPEG file is kept as it is: --strip needs another format (-o NAME.png)")
        picture = picture.stripped() if strip else picture
        with outputs.writing(target, like) as out:
            lost = formats.write(picture, out, suffix, check=outputs.remove)
            written = files.size_of(out)
        if not quiet:
            seconds = time.perf_counter() - start
            report.conversion(source.name, target, info, (size, written), seconds, verbose=verbose)
        return lost

    return convert_each(outputs, formats.own_suffix, {files.PACKED}, work) or code
