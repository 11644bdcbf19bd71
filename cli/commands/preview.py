"""`lgcodec preview`: pictures from the first bytes of files."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import click

from lgcodec.cli import files, report
from lgcodec.cli.convert import convert_each
from lgcodec.cli.files import Outputs, Source
from lgcodec.cli.options import INPUTS, LIMIT, MACHINE, MODEL, TARGET, codec_of


@click.command()
@INPUTS
@TARGET
@MACHINE
@MODEL
@LIMIT
@click.option("-q", "--quiet", is_flag=True, help="Only errors.")
def preview(model: str, device: str, threads: int, max_pixels: int | None, quiet: bool, **options: Any) -> int:
    """Show what files look like from their first bytes: img.lgc becomes img.preview.png, or what -o says.

    For files of models with a base (compress --model vqvae), of which the start will do. JPEG files, and images that
    were rendered from luma and chroma, are shown an eighth as wide and high.
    """
    outputs = Outputs(**options, remove=False, recursive=False)
    codec = codec_of(model, device, threads, quiet, max_pixels)
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

    return convert_each(outputs, ".preview.png", {files.PACKED}, work)
