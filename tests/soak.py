"""Mixed work for as long as wanted: memory and file handles stay flat. `python tests/soak.py --minutes 15`."""

from __future__ import annotations

import gc
import os
import time
from concurrent.futures import ThreadPoolExecutor

import click
import numpy as np

import lgcodec
from lgcodec import Codec
from lgcodec.errors import LgcodecError

PAGE = os.sysconf("SC_PAGE_SIZE")
ALLOWED = 64 << 20  # bytes that memory may grow after the first quarter


def memory() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


def work(codec: Codec, seed: int) -> None:
    """Compresses, decompresses and damages one image of some kind."""
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 200, 2)
    y, x = np.mgrid[:height, :width]
    kinds = (
        np.clip(x + y + random.normal(0, 3, (height, width)), 0, 255).astype(np.uint8),
        random.integers(0, 1 << 16, (height, width, 3)).astype(np.uint16),
        random.integers(0, 2, (height, width)).astype(bool),
        random.integers(0, 4, (height, width, 4)).astype(np.uint8),
    )
    image = kinds[seed % len(kinds)]
    data = codec.compress(image)
    if not np.array_equal(codec.decompress(data), image):
        raise AssertionError(f"seed {seed}: other pixels")
    damaged = bytearray(data)
    damaged[random.integers(len(data))] ^= 1
    try:
        lgcodec.verify(damaged)
    except LgcodecError:
        return
    raise AssertionError(f"seed {seed}: damage was not found")


@click.command()
@click.option("--minutes", default=15.0, show_default=True)
@click.option("--threads", default=4, show_default=True)
def main(minutes: float, threads: int) -> None:
    """Work in threads that share a codec; ends where memory or handles grow."""
    codec, start, done = Codec(threads=1), time.monotonic(), 0
    first: tuple[int, int] | None = None
    with ThreadPoolExecutor(threads) as pool:
        while time.monotonic() - start < 60 * minutes:
            list(pool.map(lambda seed: work(codec, seed), range(done, done + 40)))
            done += 40
            gc.collect()
            now = memory(), handles()
            if first is None and time.monotonic() - start > 15 * minutes:
                first = now
            if first is not None and (now[0] > first[0] + ALLOWED or now[1] > first[1] + 4):
                raise click.ClickException(f"after {done} images: {first} has grown to {now} (memory, handles)")
    click.echo(f"{done} images, {memory() >> 20} MB, {handles()} handles")


if __name__ == "__main__":
    main()
