"""Files of a GPU and of the CPU are compared and decoded on the other side; then batches of photographs are timed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from benchmarks.gpu.tools import DEVICE, FOLDER, PATH, Pixels, Tile, environment, report, timed
from lgcodec import Codec
from lgcodec.coding import coder
from lgcodec.models import registry
from lgcodec.models.interface import Stream
from lgcodec.models.training.images import planes, read_images

TIMED = [name for name in ("fast", "flow", "default", "vqvae", "best") if name in registry.NAMES]


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--out", type=PATH, required=True)
@click.option("--model", "models", multiple=True, default=TIMED, show_default=True, help="To be timed.")
@click.option("--exact", default=",".join(registry.NAMES), help="To be compared with the CPU, comma separated.")
@click.option("--megabytes", default=200.0, show_default=True, help="Of pixels in a timed batch: photographs repeat.")
@click.option("--side", default=0, help="Most pixels of a photograph's sides; 0 for all.")
@click.option("--repeats", default=3, show_default=True)
@click.option("--device", default=DEVICE, show_default=True)
def measure(
    folder: Path, out: Path, models: tuple[str, ...], exact: str, megabytes: float, side: int, repeats: int, device: str
) -> None:
    """Files of both sides are compared and decoded on the other; then batches of photographs are timed."""
    photographs = [a[: side or None, : side or None] for a in read_images([folder], 16)]
    parts: dict[str, Any] = {"environment": environment(device), "exactness": [], "throughput": []}
    for name in filter(None, exact.split(",")):
        parts["exactness"].append(compare(name, photographs, device))
        report(out, "measure", parts)
    batch = photographs[:1]
    while sum(a.nbytes for a in batch) < 1e6 * megabytes:
        batch.append(photographs[len(batch) % len(photographs)])
    for name in models:
        parts["throughput"].append(throughput(name, batch, device, repeats))
        report(out, "measure", parts)
    click.echo(report(out, "measure", parts))
    if not all(row["equal"] and row["decoded"] for row in parts["exactness"]):
        raise click.ClickException("the device's files differ from the CPU's")


def compare(name: str, photographs: Sequence[Pixels], device: str) -> dict[str, Any]:
    """Small images on the CPU and on the device: the same bytes, decoded on the other side."""
    sides = [registry.load(name, device=d) for d in ("cpu", device)]
    images = [a[:96, :128] for a in photographs[:3]]
    if sides[0].planes == 1:  # digits, one below the other
        images = [np.ascontiguousarray(a[:84, :28, 1]) for a in images]
    equal = decoded = True
    for image in images:
        files = [Codec(model).compress(image) for model in sides]
        equal &= files[0] == files[1]
        back = [Codec(model).decompress(data) for model, data in zip(sides, reversed(files), strict=True)]
        decoded &= all(np.array_equal(a, image) for a in back)
    return {"model": name, "images": len(images), "equal": equal, "decoded": decoded}


def cut(pixels: Pixels, size: tuple[int, int]) -> Iterator[Tile]:
    """The tiles of an image, width and height of `size` at most."""
    width, height = size
    for y in range(0, pixels.shape[0], height):
        for x in range(0, pixels.shape[1], width):
            yield planes(pixels[y : y + height, x : x + width])


def throughput(name: str, photographs: Sequence[Pixels], device: str, repeats: int) -> dict[str, Any]:
    """Both ways between host memory and host memory: tiles and streams alone, and whole files.

    The first round, which compiles, is not timed. MB are 10**6 bytes of pixels.
    """
    model = registry.load(name, device=device)
    tiles = [tile for pixels in photographs for tile in cut(pixels, model.tile)]
    size = sum(pixels.nbytes for pixels in photographs) / 1e6
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()

    def read(streams: Sequence[Stream]) -> list[Tile]:
        bases = [stream.base for stream in streams]
        return coder.decode(model, [_shape(tile) for tile in tiles], [s.words for s in streams], bases=bases)

    read(coder.encode(model, tiles))
    streams, encode = timed(device, lambda: coder.encode(model, tiles), repeats)
    back, decode = timed(device, lambda: read(streams), repeats)
    codec = Codec(model, verify=False)
    files, compress = timed(device, lambda: codec.compress_batch(photographs), 1)
    pictures, decompress = timed(device, lambda: codec.decompress_batch(files), 1)
    same = all(np.array_equal(a, b) for a, b in zip(back, tiles, strict=True))
    same &= all(np.array_equal(a, b) for a, b in zip(pictures, photographs, strict=True))
    if not same:
        raise click.ClickException(f"{name}: the pixels did not come back")
    return {
        "model": name,
        "photographs": len(photographs),
        "tiles": len(tiles),
        "MB": round(size, 1),
        "encode MB/s": round(size / encode, 1),
        "decode MB/s": round(size / decode, 1),
        "compress MB/s": round(size / compress, 1),
        "decompress MB/s": round(size / decompress, 1),
        "bpsp": round(sum(8 * len(data) for data in files) / (1e6 * size), 4),
        "peak GB": round(torch.cuda.max_memory_allocated() / 1e9, 2) if device == "cuda" else 0,
    }


def _shape(tile: Tile) -> tuple[int, int, int]:
    C, H, W = tile.shape
    return C, H, W
