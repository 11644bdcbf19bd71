"""What needs a GPU, in one script: exactness and throughput, tuning, longer training. Nothing here was run on one yet.

    python benchmarks/gpu.py measure FOLDER --out OUT        files equal the CPU's, then MB/s both ways
    python benchmarks/gpu.py tune --out OUT                  blocks and kinds of products, lanes, batches
    python benchmarks/gpu.py train --data PACK --held-out FOLDER --minutes-each 60 --out OUT [--resume OUT]
    python benchmarks/gpu.py pack FOLDER --out PACKS         images as shards of lossless WebP, for --data
    python benchmarks/gpu.py compile                         all kernels for a GPU that is not there

Each takes --device cpu, which tries the script itself: kernels then run under Triton's interpreter where
TRITON_INTERPRET=1 is set, else the CPU's machines stand in. `train` may be called again and again with --resume, for
--call-minutes each: every run goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from unittest import mock

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lgcodec import Codec
from lgcodec.coding import coder
from lgcodec.errors import ModelError
from lgcodec.models import registry
from lgcodec.models.families.causal import network as causal
from lgcodec.models.interface import Stream
from lgcodec.models.layers import integer
from lgcodec.models.training.images import JPEG, LOSSLESS, planes, read_images

Pixels = NDArray[np.uint8]
Tile = NDArray[np.int16]
PATH = click.Path(path_type=Path)
FOLDER = click.Path(exists=True, path_type=Path)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TIMED = [name for name in ("fast", "flow", "default", "vqvae", "best") if name in registry.names()]


@click.group()
def main() -> None:
    """Measure, tune and train on a GPU."""


def environment(device: str) -> dict[str, str]:
    facts = {"device": torch.cuda.get_device_name() if device == "cuda" else platform.machine()}
    for name in ("lgcodec", "torch", "triton", "numba", "constriction"):
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "none"
    return facts


def finish(device: str) -> None:
    """Waits until the device has done what it was asked for."""
    if device == "cuda":
        torch.cuda.synchronize()


def timed(device: str, function: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    """The result, and the median of the seconds that it takes, device and transfers included."""
    seconds = []
    for _ in range(repeats):
        finish(device)
        start = time.perf_counter()
        result = function()
        finish(device)
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Dictionaries of the same keys as a Markdown table."""
    if not rows:
        return "none\n"
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([f"{value}" for value in row.values()] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def report(out: Path, name: str, parts: dict[str, Any]) -> str:
    """OUT/name.json with everything, so far, and OUT/name.md with the tables, which it returns."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(parts, indent=1) + "\n")
    text = "\n".join(f"{title}\n\n{table(rows)}" for title, rows in parts.items() if isinstance(rows, list))
    (out / f"{name}.md").write_text(text)
    return text


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--out", type=PATH, required=True)
@click.option("--model", "models", multiple=True, default=TIMED, show_default=True, help="To be timed.")
@click.option("--exact", default=",".join(registry.names()), help="To be compared with the CPU, comma separated.")
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


@main.command()
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


@dataclass(frozen=True)
class Family:
    """A training run: the command of `lgcodec.models.train`, its options, and what it learns from."""

    command: str
    options: str
    source: str = "photographs"


FAMILIES = {
    "default": Family("causal", "--batch 64 --grid"),
    "best": Family(
        "causal", "--batch 64 --start best --width 160 --hidden 64 --components 4 --context 64 --grid --rest 0"
    ),
    "wide": Family("causal", "--batch 64 --width 256 --depth 4 --hidden 96 --components 5 --context 64"),
    "flow": Family("flow", ""),
    "fast": Family("flow", "--width 60 --depth 1 --components 2 --reach 18 9 9"),
    "vae": Family("vae", "--scales 3 --latents 4/8 --batch 32 --reach 1 --components 3 --free-bits 0.05"),
    "vqvae": Family("vqvae", "--batch 64"),
    "flow-mnist": Family("flow", "--batch 128", "digits"),
    "vae-mnist": Family("vae", "--batch 128", "digits"),
    "vqvae-mnist": Family(
        "vqvae",
        "--start none --batch 64 --width 64 --depth 16 --top 16 --bottom 16 --prior 48 --pixels 96 --layers 2 "
        "--components 5 --fraction 5",
        "digits",
    ),
    "continuous-mnist": Family("continuous", "--batch 128", "digits"),
    "local-mnist": Family("local", "--batch 128", "digits"),
    "flow-cifar": Family("flow", "--batch 128", "cifar"),
}
RESERVE = 60  # seconds of a call that are kept for exports and archives
LEAST = 30  # seconds that a run must have left to be worth its start


@main.command("train")
@click.option("--family", "families", multiple=True, default=("all",), show_default=True, help=", ".join(FAMILIES))
@click.option("--data", "folders", type=FOLDER, multiple=True, help="Folders of photographs, or of what `pack` made.")
@click.option("--held-out", type=FOLDER, help="As --data.")
@click.option("--digits", type=FOLDER, help="An .npz whose `train` holds small grey images.")
@click.option(
    "--cifar", type=FOLDER, help="An .npz whose `train` holds small colour images. Families without data wait."
)
@click.option("--minutes-each", default=60.0, show_default=True)
@click.option("--call-minutes", default=10.0, show_default=True, help="How long this call may take, all in all.")
@click.option("--out", type=PATH, required=True, help="Gets FAMILY.zip of each run: checkpoints, weights, cards, log.")
@click.option("--resume", type=PATH, help="Where earlier calls put these; may be --out.")
@click.option("--more", multiple=True, metavar="FAMILY=OPTIONS", help="Options that a run's command is given besides.")
@click.option("--threads", default=0)
@click.option("--device", default=DEVICE, show_default=True)
def train_families(
    families: tuple[str, ...], folders: tuple[Path, ...], held_out: Path | None, digits: Path | None,
    cifar: Path | None, minutes_each: float, call_minutes: float, out: Path, resume: Path | None,
    more: tuple[str, ...], threads: int, device: str,
) -> None:  # fmt: skip
    """Trains the families that there are data for, in turn, the one that has had least first, until the call's time is
    up.
    """
    deadline = time.monotonic() + 60 * call_minutes - RESERVE
    extra = dict(text.split("=", 1) for text in more)
    chosen = [name for name in FAMILIES if name in families or "all" in families]
    if unknown := {*families, *extra} - {*FAMILIES, "all"}:
        raise click.ClickException(f"no family {', '.join(unknown)}: expected all or {', '.join(FAMILIES)}")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        data = {name: [path] for name, path in (("digits", digits), ("cifar", cifar)) if path}
        held = {name: path for name, (path,) in data.items()}
        if folders and held_out:
            data["photographs"] = [unpack(path, work / f"data{i}") for i, path in enumerate(folders)]
            held["photographs"] = unpack(held_out, work / "held-out")
        for name in chosen:
            _restore(work / name, resume, name)
        text = ""
        while time.monotonic() + LEAST < deadline:
            spent = {name: progress(work / name)["spent"] for name in chosen if FAMILIES[name].source in data}
            waiting = [name for name in spent if spent[name] < minutes_each - 1e-3]
            if not waiting:
                break
            name = min(waiting, key=spent.__getitem__)
            run = FAMILIES[name]
            words = [sys.executable, "-m", "lgcodec", "train", run.command]
            words += [str(word) for path in data[run.source] for word in ("--data", path)]
            words += ["--held-out", str(held[run.source]), "--out", str(work / name / "w.safetensors")]
            left = (deadline - time.monotonic()) / 60
            words += ["--minutes", str(minutes_each), "--call-minutes", f"{left:.3f}", "--resume", "--device", device]
            words += ["--threads", str(threads), *shlex.split(run.options), *shlex.split(extra.get(name, ""))]
            advance(work / name, words, minutes_each, 60 * left + RESERVE / 2)
            _keep(work / name, out, name)
            summary = [{"family": name, **progress(work / name)} for name in chosen]
            text = report(out, "train", {"environment": environment(device), "training": summary})
        click.echo(text or "nothing left to train")


def advance(folder: Path, words: list[str], minutes: float, timeout: float) -> None:
    """Runs a slice of a training run, and writes down how far it came."""
    folder.mkdir(exist_ok=True)
    click.echo(shlex.join(words[2:]))
    failed = ""
    with (folder / "log.txt").open("a") as log:
        try:
            subprocess.run(words, stdout=log, stderr=subprocess.STDOUT, check=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            failed = "out of time, between checkpoints"
        except subprocess.CalledProcessError as e:
            failed = f"failed with {e.returncode}"
    last = (folder / "log.txt").read_text().splitlines()[-1:]
    click.echo("".join(last))
    card, spent = folder / "w.json", 0.0
    for checkpoint in folder.glob("*.checkpoint.pt"):
        spent += torch.load(checkpoint, map_location="cpu", weights_only=True)["spent"] / 60
    done = not failed and not "".join(last).endswith("--resume goes on")
    rates = json.loads(card.read_text()) if card.exists() else {}
    facts = {
        "spent": minutes if done else round(min(spent, minutes), 2),
        "float_bpd": rates.get("float_bpd"),
        "integer_bpd": rates.get("integer_bpd"),
        "state": failed or ("done" if done else "stopped"),
    }
    if failed.startswith("failed"):
        facts["spent"] = math.inf  # not again
        click.echo((folder / "log.txt").read_text()[-2000:])
    (folder / "progress.json").write_text(json.dumps(facts))


def progress(folder: Path) -> dict[str, Any]:
    """What `advance` wrote; of runs that did not begin, that."""
    path = folder / "progress.json"
    if not path.exists():
        return {"spent": 0.0, "float_bpd": None, "integer_bpd": None, "state": "waits"}
    facts: dict[str, Any] = json.loads(path.read_text())
    return facts


def _restore(folder: Path, resume: Path | None, name: str) -> None:
    if resume and (resume / f"{name}.zip").exists():
        with zipfile.ZipFile(resume / f"{name}.zip") as archive:
            archive.extractall(folder)
        facts = progress(folder)
        if math.isinf(facts["spent"]):  # what failed may be tried once more in each call
            (folder / "progress.json").unlink()


def _keep(folder: Path, out: Path, name: str) -> None:
    """Everything that a run needs to go on, in one file."""
    out.mkdir(parents=True, exist_ok=True)
    new = out / f"{name}.zip.new"
    with zipfile.ZipFile(new, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    new.replace(out / f"{name}.zip")


@main.command()
@click.argument("folders", type=FOLDER, nargs=-1, required=True)
@click.option("--out", type=PATH, required=True)
@click.option("--megabytes", default=55.0, show_default=True, help="Most of a shard.")
@click.option("--most", default=math.inf, help="Most of all shards.")
def pack(folders: tuple[Path, ...], out: Path, megabytes: float, most: float) -> None:
    """Images as zip files of lossless WebP; JPEG at half size, as training takes it."""
    out.mkdir(parents=True, exist_ok=True)
    paths = sorted(p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in LOSSLESS | JPEG)
    shard, size, total, number = None, 0.0, 0.0, 0
    for i, path in enumerate(paths):
        image = Image.open(path).convert("RGB")
        if path.suffix.lower() in JPEG:
            image = image.reduce(2)
        data = io.BytesIO()
        image.save(data, "WEBP", lossless=True, quality=60, exact=True)
        more = len(data.getvalue()) / 1e6
        if total + more > most:
            break
        if shard is None or size + more > megabytes:
            if shard is not None:
                shard.close()
            shard, size, number = zipfile.ZipFile(out / f"shard-{number:03}.zip", "w"), 0.0, number + 1
        shard.writestr(f"{i:06}.webp", data.getvalue())
        size, total = size + more, total + more
    if shard is not None:
        shard.close()
    click.echo(f"{number} shards, {total:.1f} MB")


def unpack(path: Path, folder: Path) -> Path:
    """A folder of images, from one or from one or many shards."""
    shards = [path] if path.suffix == ".zip" else sorted(path.glob("shard-*.zip"))
    for shard in shards:
        with zipfile.ZipFile(shard) as archive:
            archive.extractall(folder / shard.stem)
    return folder if shards else path


@main.command("compile")
@click.option("--capability", default=90, show_default=True)
def compile_kernels(capability: int) -> None:
    """Compiles every kernel that the causal and the flow family launch, for a GPU that need not be there."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.runtime.jit import JITFunction

    class Absent:
        """A driver that compiles and launches nothing."""

        def get_current_target(self) -> Any:
            return GPUTarget("cuda", capability, 32)

        def get_current_device(self) -> int:
            return 0

        def get_current_stream(self, device: int = 0) -> int:
            return 0

    triton.runtime.driver.set_active(Absent())
    launch, seen = JITFunction.run, set()

    def build(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        kernel = launch(self, *arguments, grid=grid, warmup=True, **options)
        if kernel.hash not in seen:
            seen.add(kernel.hash)
            ptx = kernel.asm["ptx"]
            units = "tensor cores" if "mma" in ptx else "tf32" if "tf32" in ptx else ""
            click.echo(f"{self.__name__:14} {kernel.metadata.shared:6} bytes shared  {units}")
        return kernel

    from lgcodec.models.families.causal.on_triton import GpuCausal
    from lgcodec.models.families.flow import network as flow
    from lgcodec.models.families.flow.on_triton import GpuFlow
    from lgcodec.models.machines.triton import layers as gpu_layers
    from lgcodec.models.machines.triton import learning as gpu_learning

    # Nothing runs, so nothing is exact.
    checks = [mock.patch.object(module, "check_exact") for module in (gpu_layers, gpu_learning)]
    with mock.patch.object(JITFunction, "run", build), checks[0], checks[1]:
        for name in registry.names():
            model: Any = registry.load(name, machine="numpy")
            network = getattr(model.network, "pixels", model.network)
            side = getattr(getattr(network, "config", None), "side", 0)
            sides = [causal.Side(*(np.zeros((2, 2, n), np.int16) for n in (3, side)))] if side else []
            for halves in (False, True):
                products = gpu_layers.Products(torch.device("cpu"), halves=halves)
                core: Any = None
                if isinstance(network, causal.Network):
                    core = GpuCausal(network, "cpu", products)
                elif isinstance(network, flow.Network):
                    core = GpuFlow(network, "cpu", products)
                for channels in (1, 3) if core else ():
                    more = (sides,) if sides else ()
                    core.encode([np.zeros((channels, 2, 2), np.int16)], b"", *more)
                    with contextlib.suppress(ModelError):  # of course
                        core.decode([(channels, 2, 2)], [np.array([1], np.uint32)], b"", *more)
    click.echo(f"{len(seen)} kernels for sm_{capability}")


if __name__ == "__main__":
    main()
