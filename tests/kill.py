"""kill -9 at random moments of `compress --rm` and `decompress --rm`: nothing is lost, and no half file has a name.

`python tests/kill.py` does it 200 times; tests do it 6 times.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import lgcodec
from lgcodec import readers

PROGRAM = [sys.executable, "-c", "from lgcodec.cli.main import main; main()"]
IMAGES = 12


def pixels(seed: int) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, 1 << 16, (60, 80), dtype=np.uint16)


def kill_once(folder: Path, moment: float, command: str) -> int:
    """Kills a command `moment` seconds after it began to write; returns how many files it had done.

    Raises AssertionError where an image is lost or half.
    """
    folder.mkdir(parents=True)
    for i in range(IMAGES):
        if command == "compress":
            Image.fromarray(pixels(i)).save(folder / f"{i}.png")
        else:
            (folder / f"{i}.lgc").write_bytes(lgcodec.compress(pixels(i), effort=1))
    words = [*PROGRAM, command, "-q", "--rm", "-r", str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    known = set(folder.iterdir())
    while set(folder.iterdir()) <= known and process.poll() is None:
        time.sleep(0.001)
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = 0
    for i in range(IMAGES):
        packed, plain = folder / f"{i}.lgc", folder / f"{i}.png"
        if not packed.exists() and not plain.exists():
            raise AssertionError(f"{command} killed after {moment:.4f} s: image {i} is lost")
        if packed.exists() and not np.array_equal(lgcodec.decompress(packed), pixels(i)):
            raise AssertionError(f"{command} killed after {moment:.4f} s: {packed.name} is not whole")
        if plain.exists() and not np.array_equal(readers.read(plain).array(), pixels(i)):
            raise AssertionError(f"{command} killed after {moment:.4f} s: {plain.name} is not whole")
        done += not (plain if command == "compress" else packed).exists()
    return done


@click.command()
@click.option("--count", default=200, show_default=True, help="How many times.")
@click.option("--seed", default=0, show_default=True, help="Of the moments.")
@click.option("--longest", default=0.2, show_default=True, help="Seconds.")
def main(count: int, seed: int, longest: float) -> None:
    """Kill commands at random moments; ends at the first that loses something."""
    moments, counts = np.random.default_rng(seed).uniform(0, longest, count), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        for i, moment in enumerate(moments):
            command = ("compress", "decompress")[i % 2]
            done = kill_once(Path(folder, str(i)), float(moment), command)
            counts["before" if done == 0 else "after" if done == IMAGES else "amid"] += 1
    click.echo(f"{count} killed, 0 lost, 0 half files; {dict(counts)} the work (seed {seed})")


if __name__ == "__main__":
    main()
