"""Large images: speed at 12 megapixels, peak memory at 100.

Usage: python benchmarks/large.py FOLDER [--model default --model flow] [--size 4000x3000 --size 12000x8400]

A large image is a mosaic of the folder's RGB photographs, unscaled: real pixels with real noise. Every command runs as
a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lgcodec.cli.bench import measure as bench

HERE = Path(__file__).parent
START = "import sys; from lgcodec.cli.main import main; main()"
# A small process in between: a child's peak starts at its parent's, and ours holds the whole mosaic.
LAUNCHER = """
import os, sys, time
start = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
sys.stdout.write(f"{time.perf_counter() - start} {usage.ru_maxrss}")
sys.exit(os.waitstatus_to_exitcode(status))
"""
SIZES = ("4000x3000", "12000x8400")


def mosaic(photographs: Sequence[NDArray[np.uint8]], width: int, height: int) -> NDArray[np.uint8]:
    """Rows of photographs in turn, mirrored every second round, cut at the right and at the bottom."""
    out = np.zeros((height, width, 3), np.uint8)
    y = turn = 0
    while y < height:
        x, row = 0, min(photograph.shape[0] for photograph in photographs)
        while x < width:
            photograph = photographs[turn % len(photographs)]
            if turn // len(photographs) % 2:
                photograph = photograph[:, ::-1]
            piece = photograph[: min(row, height - y), : width - x]
            out[y : y + piece.shape[0], x : x + piece.shape[1]] = piece
            x += piece.shape[1]
            turn += 1
        y += row
    return out


def run(command: Sequence[str]) -> tuple[float, int]:
    """Seconds, and the peak resident memory of the process in bytes."""
    done = subprocess.run([sys.executable, "-c", LAUNCHER, *command], capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"failed: {' '.join(command)}: {done.stderr.strip()}")
    seconds, peak = done.stdout.split()
    return float(seconds), int(peak) * (1 if sys.platform == "darwin" else 1024)


def commands(folder: Path, model: str, effort: int) -> Iterator[tuple[str, list[str]]]:
    """Compress and decompress; BMP on both sides, because packing and unpacking PNG would be measured as well."""
    image, packed, back = (str(folder / name) for name in ("image.bmp", "image.lgc", "back.bmp"))
    program = [sys.executable, "-c", START]
    options = ["--no-verify", "--origin", "none", "--model", model, "--effort", str(effort), "-f", "-q"]
    yield "compress", [*program, "compress", *options, image, "-o", packed]
    yield "decompress", [*program, "decompress", "-f", "-q", packed, "-o", back]


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--size", "sizes", multiple=True, default=SIZES, show_default=True, metavar="WxH")
@click.option("--model", "models", multiple=True, default=("default",), show_default=True)
@click.option("--effort", default=3, show_default=True)
@click.option("--csv", "out", type=click.Path(path_type=Path), default=HERE / "results" / "large.csv")
def main(folder: Path, sizes: tuple[str, ...], models: tuple[str, ...], effort: int, out: Path) -> None:
    Image.MAX_IMAGE_PIXELS = None  # our own mosaics are read back here
    photographs = [pixels for _, pixels in bench.images(folder) if pixels.ndim == 3]
    if not photographs:
        raise click.ClickException("no RGB images in the folder")
    where = bench.environment(None, "auto")
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        head = ["model", "command", "width", "height", "effort", "seconds", "mps", "peak_bytes", "file_bytes", "bpsp"]
        writer.writerow([*head, *vars(where)])
        for size in sizes:
            width, height = map(int, size.split("x"))
            for model in models:
                for line in measure(mosaic(photographs, width, height), model, effort):
                    writer.writerow([model, line[0], width, height, effort, *line[1:], *vars(where).values()])


def measure(pixels: NDArray[np.uint8], model: str, effort: int) -> Iterator[tuple[str, str, str, int, int, str]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Image.fromarray(pixels).save(folder / "image.bmp")
        megapixels = pixels.shape[0] * pixels.shape[1] / 1e6
        for command, words in commands(folder, model, effort):
            seconds, peak = run(words)
            size = (folder / "image.lgc").stat().st_size
            bpsp, mps = 8 * size / pixels.size, megapixels / seconds
            click.echo(
                f"{model:8} {command:10} {megapixels:6.1f} MP  {seconds:7.2f} s  {mps:6.3f} MP/s  "
                f"peak {peak / 1e6:6.0f} MB  {bpsp:.3f} bpsp"
            )
            yield command, f"{seconds:.3f}", f"{mps:.4f}", peak, size, f"{bpsp:.4f}"
        if not np.array_equal(np.asarray(Image.open(folder / "back.bmp")), pixels):
            raise click.ClickException("the pixels did not come back")


if __name__ == "__main__":
    main()
