"""MNIST's test set, raw: bits per dim and coded bpsp of the models made for it.

Usage: python benchmarks/mnist.py mnist.npz [--models vae-mnist,flow-mnist,...] [--images 10000]

The .npz file holds `test`, uint8 [N, 28, 28]. The digits are compressed by one call, as one image of digits one below
the other, and no digit is left out: the file is what is counted. It is decoded and compared.
"""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image

import lgcodec
from lgcodec.cli import bench

HERE = Path(__file__).parent
HEAD = ["model", "coded bpsp", "ideal bits/dim", "file over ideal", "compress s", "decompress s", "digits"]


@click.command()
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--models", default="vae-mnist,flow-mnist,vqvae-mnist,continuous-mnist", show_default=True)
@click.option("--images", default=10000, show_default=True)
@click.option("--readme", type=click.Path(path_type=Path), default=HERE.parent / "README.md")
def main(data: Path, models: str, images: int, readme: Path) -> None:
    digits = np.load(data)["test"][:images]
    tall = np.ascontiguousarray(digits.reshape(-1, digits.shape[2]))
    rows = [measure(model, tall, digits.shape[2], len(digits)) for model in filter(None, models.split(","))]
    png = io.BytesIO()
    Image.fromarray(tall).save(png, "PNG", optimize=True, compress_level=9)
    rows.append(["png -9", f"{8 * len(png.getvalue()) / tall.size:.3f}", "", "", "", "", str(len(digits))])
    where = vars(bench.environment(None, "auto"))
    with (HERE / "results" / "mnist.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*HEAD, *where])
        writer.writerows([*row, *where.values()] for row in rows)
    lines = [HEAD, ["---"] * len(HEAD), *sorted(rows, key=lambda row: float(row[1]))]
    readme.write_text(
        bench.replaced(readme.read_text(), "mnist", "\n".join(f"| {' | '.join(line)} |" for line in lines))
    )


def measure(name: str, tall: np.ndarray, side: int, digits: int) -> list[str]:
    codec = lgcodec.Codec(name, verify=False)
    codec.decompress(codec.compress(tall[: 8 * side]))  # loads and compiles
    start = time.perf_counter()
    data = codec.compress(tall)
    middle = time.perf_counter()
    again = codec.decompress(data)
    end = time.perf_counter()
    if not np.array_equal(again, tall):
        raise click.ClickException(f"{name}: the digits did not come back")
    info = lgcodec.inspect(data)
    row = [name, f"{info.bpsp:.3f}", f"{info.ideal_bits / tall.size:.3f}"]
    row += [f"{100 * (8 * len(data) / info.ideal_bits - 1):+.2f} %", f"{middle - start:.1f}", f"{end - middle:.1f}"]
    click.echo("  ".join(row))
    return [*row, str(digits)]


if __name__ == "__main__":
    main()
