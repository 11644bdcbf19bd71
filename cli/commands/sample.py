"""`lgcodec sample`: pictures that a model imagines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lgcodec.cli import files
from lgcodec.cli.files import Outputs, Source
from lgcodec.cli.options import CLASS, MACHINE, MODEL, TARGET, codec_of


@click.command()
@click.option("-n", "--number", type=click.IntRange(1, 1024), default=16, show_default=True, help="How many pictures.")
@click.option("--size", type=click.IntRange(1, 1024), help="Their side in pixels; 64, or what the model was made for.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the random bits.")
@CLASS
@click.option("--begin", type=click.Path(exists=True, dir_okay=False), help="An image, whose first --rows are kept.")
@click.option("--rows", type=click.IntRange(1), help="Half of its rows, if not given.")
@click.option(
    "--between", type=click.Path(exists=True, dir_okay=False), nargs=2, help="Two images, and what is between."
)
@click.option(
    "--along", type=(click.Path(exists=True, dir_okay=False), click.IntRange(0)), metavar="IMAGE LATENT",
    help="An image, and which of its latents goes through all its values.",
)  # fmt: skip
@TARGET
@MACHINE
@MODEL
def sample(
    number: int, size: int | None, seed: int, label: int | None, begin: str | None, rows: int | None,
    between: tuple[str, str] | None, along: tuple[str, int] | None, model: str, device: str, threads: int,
    **options: Any,
) -> int:  # fmt: skip
    """Show what a model imagines: random bits, decompressed, as a grid of pictures.

    --begin, --between and --along take models of the masked family, the latter two those with latents.
    """
    if sum(option is not None for option in (begin, between, along)) > 1:
        raise click.UsageError("--begin, --between and --along exclude each other")
    outputs = Outputs(inputs=(), **options, remove=False, recursive=False)
    if outputs.output is None and not outputs.stdout:
        raise click.UsageError("say where the grid goes: -o OUT.png")
    codec = codec_of(model, device, threads, quiet=False)
    from lgcodec import readers
    from lgcodec.cli import formats
    from lgcodec.models import registry

    def pictures() -> list[Any]:
        if between:
            return codec.between(*between, number, seed=seed)
        if along:
            return codec.along(*along, number, seed=seed)
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
