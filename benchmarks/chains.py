"""Sets of images under latent models, in one chain and one by one: what the bits of the chains are.

Usage: python benchmarks/chains.py FOLDER [--model vae]

Everything is decoded and compared. Seed bits are those of a chain's first tiles, coded by the explicit model; initial
bits are those of them that latents used; net bits are what the other tiles take, about their -ELBO. Total is the file.
"""

from __future__ import annotations

import csv
import time
from pathlib import Path
from unittest import mock

import click
import numpy as np
from numpy.typing import NDArray

from lgcodec import Codec
from lgcodec.cli.bench import measure as bench
from lgcodec.cli.bench.tables import replaced
from lgcodec.coding import chain

HERE = Path(__file__).parent
HEAD = [
    "images", "model", "total bpsp", "seed bits", "initial bits", "net bits", "total over seed + net",
    "compress s", "decompress s",
]  # fmt: skip


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default="vae", show_default=True)
@click.option("--readme", type=click.Path(path_type=Path), default=HERE.parent / "docs" / "results.md")
def main(folder: Path, model: str, readme: Path) -> None:
    images = dict(bench.images(folder))
    codec = Codec(model, verify=False)
    codec.decompress(codec.compress(next(iter(images.values()))[:300, :300].copy()))  # loads and compiles
    rows = [measure(codec, model, "all as one set", images)]
    rows += [measure(codec, model, name, {name: image}) for name, image in images.items()]
    where = vars(bench.environment(None, "auto"))
    with (HERE / "results" / "chains.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*HEAD, *where])
        writer.writerows([*row, *where.values()] for row in rows)
    means = [np.mean([float(row[i].split()[0].replace(",", "")) for row in rows[1:]]) for i in range(2, 7)]
    forms = (".3f", ",.0f", ",.0f", ",.0f", "+.3f")
    cells = [f"{mean:{form}}" for mean, form in zip(means, forms, strict=True)]
    lines = [HEAD, ["---"] * len(HEAD), rows[0], ["one by one, means", model, *cells[:-1], f"{cells[-1]} %", "", ""]]
    block = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    readme.write_text(replaced(readme.read_text(), "chains", block))


def measure(codec: Codec, model: str, name: str, images: dict[str, NDArray[np.uint8]]) -> list[str]:
    made: list[chain.Chain] = []
    encode = chain.encode

    def noting(*arguments: object) -> chain.Chain:
        made.append(encode(*arguments))  # type: ignore[arg-type]
        return made[-1]

    start = time.perf_counter()
    with mock.patch.object(chain, "encode", noting):
        data = codec.compress_set(images)
    middle = time.perf_counter()
    again = codec.decode_set(data)
    end = time.perf_counter()
    if any(not np.array_equal(again[key].array(), image) for key, image in images.items()):
        raise click.ClickException(f"{name}: the images did not come back")
    samples = sum(image.size for image in images.values())
    (links,) = made
    row = [name, model, f"{8 * len(data) / samples:.3f}", f"{links.seed_bits:,.0f}", f"{links.initial_bits:,.0f}"]
    over = 100 * (8 * len(data) / (links.seed_bits + links.net_bits) - 1)
    row += [f"{links.net_bits:,.0f}", f"{over:+.3f} %", f"{middle - start:.1f}", f"{end - middle:.1f}"]
    click.echo("  ".join(row))
    return row


if __name__ == "__main__":
    main()
