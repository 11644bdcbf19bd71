"""Sets of images under latent models, in one chain and one by one: what the bits of the chains are.

Usage: python benchmarks/chains.py FOLDER [--model vae]

Everything is decoded and compared. Net bits are what the images take once a chain has begun (about their -ELBO),
seeds what its first tiles take, coded by the explicit model; initial bits are those of the seeds that latents used.
"""

from __future__ import annotations

import csv
import time
from pathlib import Path

import click
import numpy as np

import lgcodec
from lgcodec import container, sets
from lgcodec.cli import bench

HERE = Path(__file__).parent
HEAD = [
    "images", "model", "total bpsp", "net + seed bpsp", "total over both", "seed tiles", "compress s", "decompress s"
]  # fmt: skip


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", default="vae", show_default=True)
@click.option("--readme", type=click.Path(path_type=Path), default=HERE.parent / "README.md")
def main(folder: Path, model: str, readme: Path) -> None:
    images = dict(bench.images(folder))
    codec = lgcodec.Codec(model, verify=False)
    codec.decompress(codec.compress(next(iter(images.values()))[:300, :300].copy()))  # loads and compiles
    rows = [measure(codec, model, "all as one set", images)]
    alone = [measure(codec, model, name, {name: image}) for name, image in images.items()]
    where = vars(bench.environment(None, "auto"))
    with (HERE / "results" / "sets.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*HEAD, *where])
        writer.writerows([*row, *where.values()] for row in rows + alone)
    total, ideal, over = (np.mean([float(row[i].split()[0]) for row in alone]) for i in (2, 3, 4))
    rows.append(["one by one, means", model, f"{total:.3f}", f"{ideal:.3f}", f"{over:+.2f} %", "", "", ""])
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    readme.write_text(
        bench.replaced(readme.read_text(), "sets", "\n".join(f"| {' | '.join(line)} |" for line in lines))
    )


def measure(codec: lgcodec.Codec, model: str, name: str, images: dict[str, np.ndarray]) -> list[str]:
    start = time.perf_counter()
    data = codec.compress_set(images)
    middle = time.perf_counter()
    again = codec.decode_set(data)
    end = time.perf_counter()
    if any(not np.array_equal(again[key].array(), image) for key, image in images.items()):
        raise click.ClickException(f"{name}: the images did not come back")
    headers = [container.read_header(part) for part in sets.read(data).values()]
    samples = sum(image.size for image in images.values())
    ideal = sum(header.model.ideal_bits for header in headers if header.model is not None)
    seeds = sum(len(header.chain.seeds) for header in headers if header.chain is not None)
    row = [name, model, f"{8 * len(data) / samples:.3f}", f"{ideal / samples:.3f}"]
    row += [f"{100 * (8 * len(data) / ideal - 1):+.2f} %", str(seeds), f"{middle - start:.1f}", f"{end - middle:.1f}"]
    click.echo("  ".join(row))
    return row


if __name__ == "__main__":
    main()
