"""Training: `python -m lgcodec.models.train ar --data FOLDER --held-out FOLDER --out weights.safetensors --minutes 60`.

Random crops of augmented photographs, Muon (Jordan et al. 2024) for the hidden matrices and AdamW for the rest,
cosine decay to zero over the time given. Every few minutes the held-out rate is printed, a checkpoint is written
beside --out (--resume finds it) and the integer network is exported to --out, with a card of facts in --out with the
ending .json. A call can be shorter than the run: --call-minutes. `Run` and `train` serve every family; each has a
command of its own below `main`.
"""

from __future__ import annotations

import dataclasses
import importlib
import io
import json
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from lgcodec.models import causal, online, registry
from lgcodec.models.causal_training import Causal, Features, bits_per_dim, export, grow
from lgcodec.models.compiled import CompiledCausal
from lgcodec.models.errors import ModelError
from lgcodec.models.interface import IntArray, ycocg
from lgcodec.models.weights import Weights

Pixels = NDArray[np.uint8]
SAVE_SECONDS = 300
UNLABELLED = 0.25
PROCESSED = 0.3  # of the images that a network with a grid sees
REGION = 384  # pixels; the most of an image's side that is held ready at a time
LOSSLESS, JPEG = {".png", ".webp", ".ppm", ".bmp", ".tif", ".tiff"}, {".jpg", ".jpeg"}


def planes(rgb: Pixels) -> NDArray[np.int16]:
    """[H, W, 3] -> a model's tile, YCoCg-R [3, H, W]."""
    return ycocg(np.ascontiguousarray(rgb.transpose(2, 0, 1), np.int16))


def read_images(folders: Sequence[Path], smallest: int) -> list[Pixels]:
    """The images below the folders, RGB, at least `smallest` pixels a side; JPEG is halved to lose its artefacts."""
    images = []
    for path in sorted(p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in LOSSLESS | JPEG):
        image = Image.open(path).convert("RGB")
        if path.suffix.lower() in JPEG:
            image = image.reduce(2)
        if min(image.size) >= smallest:
            images.append(np.asarray(image))
    if not images:
        where = ", ".join(map(str, folders))
        raise click.ClickException(f"{where}: no image (png, webp, ppm, bmp, tif, jpg) of {smallest} pixels a side")
    return images


def augment(rgb: Pixels, rng: np.random.Generator, processed: float = 0) -> Pixels:
    """A random region, flip, transposition and channel order, sometimes grey, sometimes grain, as of sensors.
    processed: the share that goes through `process`.
    """
    y, x = (rng.integers(max(side - REGION, 0) + 1) for side in rgb.shape[:2])
    rgb = rgb[y : y + REGION, x : x + REGION]
    if rng.random() < 0.5:
        rgb = rgb[:, ::-1]
    if rng.random() < 0.5:
        rgb = rgb.transpose(1, 0, 2)
    if rng.random() < 0.03:
        rgb = np.repeat(rgb[..., 1:2], 3, axis=2)
    if rng.random() < 0.05:
        rgb = rgb[..., ::-1]
    if rng.random() < 0.25:
        sigma = rng.uniform(0.5, 4)
        grain = rng.normal(0, sigma * 0.7, (*rgb.shape[:2], 1)) + rng.normal(0, sigma * 0.7, rgb.shape)
        rgb = np.clip(np.rint(rgb + grain), 0, 255).astype(np.uint8)
    if rng.random() < processed:
        rgb = process(np.ascontiguousarray(rgb), rng)
    return np.ascontiguousarray(rgb)


def process(rgb: Pixels, rng: np.random.Generator) -> Pixels:
    """What cameras and JPEG do: interpolation of a colour filter array, chroma of half the resolution, blocks."""
    H, W = rgb.shape[:2]
    kind = rng.integers(3)
    if kind == 0:
        y, x = (np.arange(n) + rng.integers(2) for n in (H, W))
        even, other = (y % 2 == 0)[:, None], (x % 2 == 0)[None]
        masks = np.stack([even & other, even ^ other, ~even & ~other], axis=2)  # red, green, blue (Bayer 1976)
        around = np.pad(rgb * masks, ((1, 1), (1, 1), (0, 0)), "reflect").astype(np.int32)
        rows = around[:-2] + 2 * around[1:-1] + around[2:]
        filled = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) // 4
        cross = (around[:-2, 1:-1] + around[2:, 1:-1] + around[1:-1, :-2] + around[1:-1, 2:]) // 4
        filled[..., 1] = cross[..., 1] + around[1:-1, 1:-1, 1]
        result: Pixels = filled.astype(np.uint8)
        return result
    image = Image.fromarray(rgb)
    if kind == 1:
        luma, *chroma = image.convert("YCbCr").split()
        half = [c.resize(((W + 1) // 2, (H + 1) // 2), Image.Resampling.BOX) for c in chroma]
        whole = [c.resize((W, H), Image.Resampling.BILINEAR) for c in half]
        return np.asarray(Image.merge("YCbCr", (luma, *whole)).convert("RGB"))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(75, 99)), subsampling=int(rng.integers(3)))
    return np.asarray(Image.open(file).convert("RGB"))


class Crops:
    """Batches of random crops; every other batch one image is augmented anew, so no two passes are alike.

    labels: the class of each image, which comes as one more tensor, int64 [B], with -1 for UNLABELLED of the crops.
    """

    def __init__(
        self, images: list[Pixels], rng: np.random.Generator, batch: int, size: int, labels: IntArray | None = None,
        processed: float = 0,
    ) -> None:  # fmt: skip
        self.images, self.rng, self.batch, self.size, self.labels = images, rng, batch, size, labels
        self.processed = processed
        self.area = np.array([a.shape[0] * a.shape[1] for a in images], float)
        self.area /= self.area.sum()
        with click.progressbar(images, label="features", show_eta=True) as bar:
            self.features = [Features(planes(augment(a, rng, processed))) for a in bar]

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        for step in range(1 << 62):
            if step % 2:
                i = int(self.rng.choice(len(self.images), p=self.area))
                self.features[i] = Features(planes(augment(self.images[i], self.rng, self.processed)))
            crops = []
            chosen = self.rng.choice(len(self.images), self.batch, p=self.area)
            for i in chosen:
                f = self.features[i]
                y, x = self.rng.integers(f.height - self.size + 1), self.rng.integers(f.width - self.size + 1)
                crops.append(f.crop(y, x, self.size, self.size))
            parts = [np.stack(part) for part in zip(*crops, strict=True)]
            if self.labels is not None:
                parts.append(np.where(self.rng.random(self.batch) < UNLABELLED, -1, self.labels[chosen]))
            yield [torch.from_numpy(part) for part in parts]


def evaluate(model: Causal, held_out: Sequence[Features], device: torch.device) -> float:
    """Mean bits per dim over whole images, in float32; each with its best class, or none."""
    model.eval()
    rates = []
    labels = [torch.tensor([label], device=device) for label in range(-1, model.config.classes)]
    with torch.inference_mode():
        for f in held_out:
            nats = torch.zeros(len(labels), 3)
            for y in range(0, f.height, 128):
                height = min(128, f.height - y)
                batch = [torch.from_numpy(p)[None].to(device) for p in f.crop(y, 0, height, f.width)]
                nats += torch.stack([model(*batch, labels=label).cpu() for label in labels])
            rates.append(min(bits_per_dim(part, f.height * f.width).item() for part in nats))
    model.train()
    return float(np.mean(rates))


def optimisers(model: nn.Module) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the hidden matrices, AdamW for outputs, biases, classes and the linear path; each with its peak rate."""
    hidden = [p for n, p in model.named_parameters() if p.ndim == 2 and not n.startswith(("out", "linear", "classes"))]
    ids = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in ids]
    return [
        (torch.optim.Muon(hidden, lr=0.02, weight_decay=0.01, momentum=0.95), 0.02),
        (torch.optim.AdamW(rest, lr=3e-3, betas=(0.9, 0.98), weight_decay=1e-4), 3e-3),
    ]


@dataclass
class Run:
    """One training run of any family, and where it stands.

    loss: a batch to a scalar in bits per dim. export: writes the integer weights and prints the held-out rates; called
    every SAVE_SECONDS and at the end. spent: seconds of training.
    """

    model: nn.Module
    out: Path
    device: torch.device
    optimisers: list[tuple[torch.optim.Optimizer, float]]
    loss: Callable[[list[torch.Tensor]], torch.Tensor]
    export: Callable[[Run], None]
    step: int = 0
    spent: float = 0.0

    @property
    def checkpoint(self) -> Path:
        return self.out.with_suffix(".checkpoint.pt")

    def save(self) -> None:
        states = [optimiser.state_dict() for optimiser, _ in self.optimisers]
        state = {"model": self.model.state_dict(), "optimisers": states, "step": self.step, "spent": self.spent}
        new = self.checkpoint.with_suffix(".new")
        torch.save(state, new)
        new.replace(self.checkpoint)

    def resume(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as e:
            raise click.ClickException(f"{self.checkpoint}: a checkpoint of other sizes than asked for") from e
        for (optimiser, _), saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.step, self.spent = state["step"], state["spent"]
        click.echo(f"resumed at step {self.step}, {self.spent / 60:.1f} min")

    def report(self, weights: Weights, floats: float, integers: float) -> None:
        """Writes the weights with their card, and prints the rates (bits per dim on the held-out images)."""
        card = {
            **weights.card,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "training_minutes": round(self.spent / 60, 1),
            "training_steps": self.step,
            "float_bpd": round(floats, 4),
            "integer_bpd": round(integers, 4),
            "digest": weights.digest().hex(),
        }
        dataclasses.replace(weights, card=card).write(self.out)
        self.out.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
        click.echo(
            f"{self.spent / 60:6.1f} min  step {self.step:6d}  held out {floats:.4f} bits/dim as floats, "
            f"{integers:.4f} as integers ({100 * (integers / floats - 1):+.2f} %)"
        )


def lineage(began: Weights | None) -> dict[str, Any]:
    """What a card says of the network that a run starts from: its digest, and the minutes of all runs before."""
    if began is None:
        return {}
    earlier = [*began.card.get("earlier_minutes", []), began.card.get("training_minutes", 0.0)]
    return {"started_from": began.digest().hex(), "earlier_minutes": earlier}


LEARNING, REST = 12, 2  # of a Config, where nothing else is asked for
Batch = list[torch.Tensor]
AHEAD = 4  # batches that are ready before a GPU asks for them


def ahead(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The same batches, made by a thread of their own, and in memory that a GPU reads without the processor."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(AHEAD)
    stopped = threading.Event()

    def put(item: Batch | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return ready.put(item, timeout=1)
            except queue.Full:
                continue

    def make() -> None:
        try:
            for batch in batches:
                put([part.pin_memory() if torch.cuda.is_available() else part for part in batch])
                if stopped.is_set():
                    return
            put(None)
        except BaseException as e:  # noqa: BLE001 - raised again where batches are asked for
            put(e)

    threading.Thread(target=make, daemon=True).start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()


def train(run: Run, batches: Iterable[Batch], minutes: float) -> bool:
    """Trains until `minutes` in all are spent, or the call's are; returns whether all are."""
    context = click.get_current_context(silent=True)
    deadline = math.inf if context is None else context.meta.get(DEADLINE, math.inf)
    if run.device.type != "cpu":
        batches = ahead(batches)
    mean, started, saved, first = None, time.monotonic(), time.monotonic(), run.step
    begin = started - run.spent
    for batch in batches:
        run.spent = time.monotonic() - begin
        done = run.spent / 60 / minutes if minutes else 1
        if done >= 1:
            break
        if time.monotonic() > deadline:
            run.save()
            click.echo(f"{run.spent / 60:6.1f} min  step {run.step:6d}  stopped; --resume goes on")
            return False
        factor = min(1, (run.step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * done))
        for optimiser, peak in run.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = peak * factor
        with torch.autocast(run.device.type, dtype=torch.bfloat16):
            loss = run.loss([b.to(run.device, non_blocking=True) for b in batch])
        for optimiser, _ in run.optimisers:
            optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
        for optimiser, _ in run.optimisers:
            optimiser.step()
        run.step += 1
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if run.step % 100 == 0:
            speed = (run.step - first) / (time.monotonic() - started)
            click.echo(f"{run.spent / 60:6.1f} min  step {run.step:6d}  train {mean:.4f} bits/dim  {speed:.1f} steps/s")
        if time.monotonic() - saved > SAVE_SECONDS:
            run.save()
            run.export(run)
            saved = time.monotonic()
    run.save()
    run.export(run)
    return True


DEADLINE = f"{__name__}.deadline"


def _set_deadline(context: click.Context, _: click.Parameter, minutes: float) -> None:
    context.meta[DEADLINE] = time.monotonic() + 60 * minutes if minutes else math.inf


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that every family's command has."""
    path = click.Path(path_type=Path)
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    options = [
        click.option("--data", "folders", type=click.Path(exists=True, path_type=Path), multiple=True, required=True),
        click.option("--held-out", type=click.Path(exists=True, path_type=Path), required=True),
        click.option("--out", type=path, required=True),
        click.option("--minutes", default=60.0, show_default=True, help="0 exports what --start gave."),
        click.option(
            "--call-minutes",
            default=0.0,
            expose_value=False,
            callback=_set_deadline,
            help="Stop after this time, with a checkpoint that --resume goes on from; 0 for never.",
        ),
        click.option("--device", default=cuda, show_default=True),
        click.option("--threads", default=0, help="CPU threads; 0 leaves the choice to torch."),
        click.option("--resume", is_flag=True, help="Go on from the checkpoint beside --out."),
        click.option("--seed", default=0, show_default=True),
    ]
    for option in reversed(options):
        command = option(command)
    return command


class Families(click.Group):
    """`ar`, and the `command` of each other family's module, which is imported when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*super().list_commands(context), "continuous", "flow", "vae", "vqvae"]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in self.commands or name not in self.list_commands(context):
            return super().get_command(context, name)
        command: click.Command = importlib.import_module(f"lgcodec.models.{name}_training").command
        return command


@click.group(cls=Families)
def main() -> None:
    """Train a model family on your own images."""


@main.command("ar")
@training_options
@click.option("--batch", default=16, show_default=True)
@click.option("--crop", default=64, show_default=True, help="Side of a crop, pixels.")
@click.option("--width", default=causal.Config.width, show_default=True)
@click.option("--depth", default=causal.Config.depth, show_default=True)
@click.option("--hidden", default=causal.Config.hidden, show_default=True)
@click.option("--components", default=causal.Config.components, show_default=True)
@click.option("--rows", default=causal.Config.rows, show_default=True)
@click.option("--left", default=causal.Config.left, show_default=True)
@click.option("--context", default=0, show_default=True, help="Features passed on to later pixels.")
@click.option(
    "--grid", is_flag=True, help="See where a pixel stands modulo 2 and 8, as in photographs from cameras and JPEG."
)
@click.option("--learning", default=LEARNING, show_default=True, help="Learn while decoding, 2**-N a step; 0 for none.")
@click.option(
    "--rest", type=int, help="Fronts without learning after each one with: 0, 2 (if not given), 4 .. are faster."
)
@click.option("--classes", is_flag=True, help="Each --data is a class; held-out rates are those of the best or none.")
@click.option("--start", help="Name or path of a smaller network to start from.")
@click.option("--rate", default=1.0, show_default=True, help="Learning rates, times the usual ones.")
def autoregressive(
    folders: tuple[Path, ...], held_out: Path, out: Path, minutes: float, device: str, threads: int, resume: bool,
    seed: int, batch: int, crop: int, grid: bool, classes: bool, start: str | None, rate: float, **sizes: Any,
) -> None:  # fmt: skip
    """The causal autoregressive family (the default model)."""
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    if classes and len(folders) < 2:
        raise click.UsageError("--classes needs two or more --data")
    if sizes["rest"] is None:
        sizes["rest"] = REST if sizes["learning"] else 0
    config = causal.Config(**sizes, grid=int(grid), classes=len(folders) if classes else 0)
    model = Causal(config)
    try:
        began = registry.read(start) if start else None
        if began:
            grow(model, causal.Network.of(began))
    except ModelError as e:
        raise click.ClickException(str(e)) from e
    model.to(device)
    click.echo(f"{asdict(config)}, {sum(p.numel() for p in model.parameters())} parameters")
    groups = [read_images(group, crop) for group in ([[folder] for folder in folders] if classes else [folders])]
    images = [image for group in groups for image in group]
    labels = np.repeat(np.arange(len(groups)), [len(group) for group in groups]) if classes else None
    crops = Crops(images, np.random.default_rng(seed), batch, crop, labels, PROCESSED * grid)
    held = [Features(planes(a[:512, :768])) for a in read_images([held_out], 16)]
    tiles = [f.values[:, online.UP :, online.LEFT : -online.RIGHT] for f in held]
    facts = {
        "images": len(crops.images),
        "megapixels": round(sum(a.shape[0] * a.shape[1] for a in crops.images) / 1e6, 1),
        "machine": f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "architecture": config.written(),
        "multiply_adds_per_pixel": sum(weight.numel() for weight, _ in model.layers().values()),
        **({"classes": [folder.name for folder in folders]} if classes else {}),
        **lineage(began),
    }

    def loss(parts: list[torch.Tensor]) -> torch.Tensor:
        return bits_per_dim(model(*parts[:5], labels=parts[5] if classes else None), parts[3][:, 0].numel())

    def integer_rate(network: causal.Network) -> float:
        machine = CompiledCausal(network, torch.get_num_threads())
        ideal = [[s.ideal_bits for s in machine.encode(tiles, choice)] for choice in (b"", *network.choices())]
        return float(np.mean(np.min(ideal, axis=0) / [t.size for t in tiles]))

    def write(run: Run) -> None:
        weights = export(model, dict(facts))
        network = causal.Network.of(weights)
        if config.learning:
            weights.card["learned_bpd"] = round(integer_rate(network), 4)
            click.echo(f"{weights.card['learned_bpd']:.4f} bits/dim with learning while decoding")
        run.report(weights, evaluate(model, held, run.device), integer_rate(network.still()))

    run = Run(model, out, torch.device(device), [(o, peak * rate) for o, peak in optimisers(model)], loss, write)
    if resume and run.checkpoint.exists():
        run.resume()
    train(run, crops, minutes)


if __name__ == "__main__":
    main()
