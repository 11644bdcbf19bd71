"""Sets of small images, raw: bits per dim and coded bpsp of the models made for them, and of other codecs.

Usage: python benchmarks/mnist.py mnist.npz [--models vae-mnist,flow-mnist,...] [--images 10000]
       python benchmarks/mnist.py cifar10.npz --name cifar --models flow-cifar,flow,default --codecs png,webp,jxl-e7

The .npz file holds `test`, uint8 [N, H, W] or [N, H, W, 3]. The images are compressed by one call, as one image of all
of them one below the other, and none is left out: the file is what is counted. It is decoded and compared. Other codecs
get the same column, in parts of as many images as WebP's 16383 rows hold.
"""

from __future__ import annotations

import csv
import time
from pathlib import Path

import click
import numpy as np

import lgcodec
from lgcodec.cli.bench import measure as bench
from lgcodec.cli.bench.contenders import External, external
from lgcodec.cli.bench.tables import replaced

HERE = Path(__file__).parent
HEAD = ["model", "coded bpsp", "ideal bits/dim", "file over ideal", "compress s", "decompress s", "images"]
ROWS = 16383


@click.command()
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", default="mnist", show_default=True, help="Of the table, in results/ and the README.")
@click.option("--models", default="vae-mnist,flow-mnist,vqvae-mnist,continuous-mnist", show_default=True)
@click.option("--codecs", default="png", show_default=True)
@click.option("--images", default=10000, show_default=True, help="At most.")
@click.option("--readme", type=click.Path(path_type=Path), default=HERE.parent / "docs" / "results.md")
def main(data: Path, name: str, models: str, codecs: str, images: int, readme: Path) -> None:
    x = np.load(data)["test"][:images]
    rows = [measure(model, x) for model in filter(None, models.split(","))]
    rows += [compare(external(codec), x) for codec in filter(None, codecs.split(","))]
    where = vars(bench.environment(None, "auto"))
    with (HERE / "results" / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*HEAD, *where])
        writer.writerows([*row, *where.values()] for row in rows)
    lines = [HEAD, ["---"] * len(HEAD), *sorted(rows, key=lambda row: float(row[1]))]
    readme.write_text(replaced(readme.read_text(), name, "\n".join(f"| {' | '.join(line)} |" for line in lines)))


def column(x: np.ndarray) -> np.ndarray:
    """[N, H, W, ...] -> [N H, W, ...]."""
    return np.ascontiguousarray(x.reshape(-1, *x.shape[2:]))


def measure(name: str, x: np.ndarray) -> list[str]:
    codec = lgcodec.Codec(name, verify=False)
    codec.decompress(codec.compress(column(x[:8])))  # loads and compiles
    start = time.perf_counter()
    data = codec.compress(column(x))
    middle = time.perf_counter()
    again = codec.decompress(data)
    end = time.perf_counter()
    if not np.array_equal(again, column(x)):
        raise click.ClickException(f"{name}: the images did not come back")
    info = lgcodec.inspect(data)
    row = [name, f"{info.bpsp:.3f}", f"{info.ideal_bits / x.size:.3f}"]
    row += [f"{100 * (8 * len(data) / info.ideal_bits - 1):+.2f} %", f"{middle - start:.1f}", f"{end - middle:.1f}"]
    click.echo("  ".join(row))
    return [*row, str(len(x))]


def compare(codec: External, x: np.ndarray) -> list[str]:
    n = ROWS // x.shape[1]
    parts = [column(x[i : i + n]) for i in range(0, len(x), n)]
    start = time.perf_counter()
    files = [codec.encode(part, 1) for part in parts]
    middle = time.perf_counter()
    again = [codec.decode(file, 1) for file in files]
    end = time.perf_counter()
    if not all(np.array_equal(a, b) for a, b in zip(again, parts, strict=True)):
        raise click.ClickException(f"{codec.name}: the images did not come back")
    row = [codec.name, f"{8 * sum(map(len, files)) / x.size:.3f}", "", ""]
    row += [f"{middle - start:.1f}", f"{end - middle:.1f}", str(len(x))]
    click.echo("  ".join(row))
    return row


if __name__ == "__main__":
    main()
