"""What a user's shell waits for: whole processes, interpreter start and imports included.

Usage: python benchmarks/whole_process.py IMAGE [--repeat 5] [--csv results/whole_process.csv]
"""

from __future__ import annotations

import csv
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click

from lgcodec.cli.bench import measure as bench

HERE = Path(__file__).parent
START = "import sys; from lgcodec.cli.main import main; main()"  # the console script, whatever PATH says


def commands(image: Path, folder: Path) -> dict[str, list[str]]:
    """What is timed, in an order in which each finds its input."""
    packed, back = folder / "image.lgc", folder / "image.png"
    program = [sys.executable, "-c", START]
    return {
        "python": [sys.executable, "-c", "pass"],
        "import numpy": [sys.executable, "-c", "import numpy"],
        "import lgcodec": [sys.executable, "-c", "import lgcodec"],
        "--help": [*program, "--help"],
        "compress": [*program, "compress", "-f", str(image), "-o", str(packed)],
        "compress --no-verify": [*program, "compress", "-f", "--no-verify", str(image), "-o", str(packed)],
        "compress --effort 1 --no-verify": [
            *[*program, "compress", "-f", "--effort", "1", "--no-verify"],
            *[str(image), "-o", str(packed)],
        ],
        "info": [*program, "info", str(packed)],
        "verify": [*program, "verify", str(packed)],
        "decompress": [*program, "decompress", "-f", str(packed), "-o", str(back)],
    }


def seconds(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


@click.command()
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--repeat", default=5, show_default=True)
@click.option("--csv", "out", type=click.Path(path_type=Path), default=HERE / "results" / "whole_process.csv")
def main(image: Path, repeat: int, out: Path) -> None:
    where = bench.environment(None, "auto")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["command", "image", "runs", "first_s", "best_s", "median_s", *vars(where)])
        for name, command in commands(image, Path(folder)).items():
            times = [seconds(command) for _ in range(repeat)]
            figures = [times[0], min(times), statistics.median(times)]
            click.echo(f"{name:32}  first {figures[0]:.3f} s  best {figures[1]:.3f} s  median {figures[2]:.3f} s")
            writer.writerow([name, image.name, repeat, *(f"{t:.4f}" for t in figures), *vars(where).values()])


if __name__ == "__main__":
    main()
