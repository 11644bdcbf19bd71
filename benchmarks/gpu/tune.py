"""Which products of a GPU are exact and how fast; how long a front takes; how fast lanes are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from benchmarks.gpu.tools import DEVICE, PATH, environment, report, table, timed
from lgcodec.models import registry
from lgcodec.models.interface import Stream
from lgcodec.models.layers import integer


@click.command()
@click.option("--out", type=PATH, required=True)
@click.option("--rows", default=1 << 15, show_default=True, help="Of a product.")
@click.option("--tiles", "batches", default="16,64,256", show_default=True, help="Batches of tiles.")
@click.option("--size", default="512x128", show_default=True, help="Of a tile, width x height.")
@click.option("--repeats", default=5, show_default=True)
@click.option("--device", default=DEVICE, show_default=True)
def tune(out: Path, rows: int, batches: str, size: str, repeats: int, device: str) -> None:
    """Which products are exact and how fast; how long a front takes; how fast lanes are. Needs Triton."""
    from lgcodec.models.machines.triton.layers import Products

    parts: dict[str, Any] = {"environment": environment(device)}
    if device == "cuda":
        parts["ceilings"] = [ceilings()]
    products = [
        Products(torch.device(device), (M, N), warps, halves)
        for halves in (False, True)
        for M, N in ((16, 64), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128))
        for warps in (4, 8)
    ]
    parts["products"] = sorted((time_product(p, rows, device, repeats) for p in products), key=lambda row: row["us"])
    click.echo(report(out, "tune", parts))
    best = [next(r for r in parts["products"] if r["exact"] and r["halves"] == halves) for halves in (False, True)]
    width, height = map(int, size.split("x"))
    parts["tiles"] = []
    for row in best:
        chosen = Products(torch.device(device), row["block"], row["warps"], row["halves"])
        for count in map(int, filter(None, batches.split(","))):
            for timing in time_tiles(chosen, count, (3, height, width), device):
                parts["tiles"].append(timing)
                report(out, "tune", parts)
    click.echo(table(parts["tiles"]))


def ceilings() -> dict[str, float]:
    """What the device copies, in TB/s read and written, and multiplies, in TFLOP/s: float32 as such, and float16."""
    a = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    found = {"copy TB/s": 2 * a.numel() / timed("cuda", lambda: b.copy_(a), 9)[1] / 1e12}
    torch.backends.cuda.matmul.allow_tf32 = False
    for kind in (torch.float32, torch.float16):
        m = torch.randn(8192, 8192, device="cuda", dtype=kind)
        m @ m
        seconds = timed("cuda", lambda m=m: m @ m, 5)[1]  # type: ignore[misc]
        found[f"{kind} TFLOP/s"] = 2 * 8192**3 / seconds / 1e12
    return {name: round(value, 2) for name, value in found.items()}


def time_product(products: Any, rows: int, device: str, repeats: int) -> dict[str, Any]:
    """A hidden layer of the default model's size, over activations of 12 bits; compared with exact integers."""
    random = np.random.default_rng(1)
    limits = [np.full(128, n, np.int32) for n in (4095, 0, 4095)]
    layer = integer.quantise(random.normal(0, 0.06, (128, 128)), np.zeros(128), *limits)
    loaded, a = products.load(layer), random.integers(0, 4096, (rows, 128))
    on_device = products.array(a.astype(np.float32))
    out, count = torch.empty_like(on_device), torch.tensor([rows], dtype=torch.int32, device=device)
    _, seconds = timed(device, lambda: products.run(loaded, on_device, out, count), repeats + 1)
    expected = np.clip((a @ layer.weight.T.astype(np.int64) + layer.bias) >> layer.shift, 0, 4095)
    return {
        "block": products.block,
        "warps": products.warps,
        "halves": products.halves,
        "passes": loaded.passes,
        "exact": bool(np.array_equal(out.cpu().numpy(), expected)),
        "us": round(1e6 * seconds, 1),
        "TMAC/s": round(rows * 128 * 128 / seconds / 1e12, 3),
    }


def time_tiles(products: Any, count: int, shape: tuple[int, int, int], device: str) -> Iterator[dict[str, Any]]:
    """Whole tiles of soft noise, by the causal model and by the flow."""
    from lgcodec.models.families.causal.on_triton import GpuCausal
    from lgcodec.models.families.flow.on_triton import GpuFlow

    random = np.random.default_rng(2)
    steps = np.cumsum(random.integers(-4, 5, (count, *shape)), axis=3).clip(-100, 100).astype(np.int16)
    steps[:, 0] += 128
    for name, family in (("default", GpuCausal), ("best", GpuCausal), ("flow", GpuFlow)):
        network: Any = registry.load(name, device="cpu")
        core: Any = family(network.network, device, products)
        streams: list[Stream] = core.encode(list(steps), b"")  # compiles
        _, encode = timed(device, lambda core=core: core.encode(list(steps), b""), 1)  # type: ignore[misc]
        words = [stream.words for stream in streams]
        core.decode([shape] * count, words, b"")
        back, decode = timed(device, lambda core=core, words=words: core.decode([shape] * count, words, b""), 1)  # type: ignore[misc]
        yield {
            "model": name,
            "halves": products.halves,
            "block": products.block,
            "tiles": count,
            "MB": round(steps.size / 1e6, 1),
            "encode MB/s": round(steps.size / encode / 1e6, 1),
            "decode MB/s": round(steps.size / decode / 1e6, 1),
            "decode us a front": round(1e6 * decode / (shape[2] + 2 * shape[1] - 2), 1) if family is GpuCausal else "",
            "same": all(np.array_equal(a, b) for a, b in zip(back, steps, strict=True)),
        }
