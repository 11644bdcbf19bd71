"""The codebooks of a VQ-VAE on a folder of images: how many codes are in use, and what codes and pixels take.

Usage: python benchmarks/codes.py FOLDER [--model vqvae]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from lgcodec import colour, readers
from lgcodec.boxes import tile_boxes
from lgcodec.cli.bench import measure as bench
from lgcodec.models import registry
from lgcodec.options import Options
from lgcodec.plan import model_tile


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default="vqvae", show_default=True)
def main(folder: Path, model: str) -> None:
    loaded: Any = registry.load(model)
    network = loaded.network
    counts = {level: np.zeros(len(network.vectors[level]), np.int64) for level in ("top", "bottom")}
    codes_bits = pixels_bits = samples = 0.0
    for _, pixels in bench.images(folder):
        if pixels.ndim != 3:
            continue
        picture = readers.read(pixels)
        size = model_tile(picture, Options(model))
        for x0, y0, x1, y1 in tile_boxes(picture.width, picture.height, *size):
            tile = colour.forward(pixels[y0:y1, x0:x1], colour.STANDARD)
            chosen = network.quantise(tile)
            for level, count in counts.items():
                count += np.bincount(getattr(chosen, level).ravel(), minlength=len(count))
            (stream,) = loaded.coding.encode([tile])
            codes_bits += 32 * len(stream.base)
            pixels_bits += 32 * len(stream.words)
            samples += tile.size
    for level, count in counts.items():
        share = count[count > 0] / count.sum()
        perplexity = np.exp2(-(share * np.log2(share)).sum())
        click.echo(f"{level:6}  {(count > 0).mean():.1%} of {len(count)} codes in use, perplexity {perplexity:.1f}")
    click.echo(
        f"codes   {codes_bits / samples:.4f} bits/dim\npixels  {pixels_bits / samples:.4f} bits/dim given the codes"
    )


if __name__ == "__main__":
    main()
