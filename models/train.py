"""Training: `python -m lgcodec.models.train ar --data FOLDER --held-out FOLDER --out weights.safetensors --minutes 60`.

Random crops of augmented photographs, Muon (Jordan et al. 2024) for the hidden matrices and AdamW for the rest, cosine decay
to zero over the time given, the last part with the weights rounded as in the integer network. Checkpoints are written
beside --out and found again with --resume.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from lgcodec.models import causal
from lgcodec.models.causal_training import Causal, Features, bits_per_dim

Pixels = NDArray[np.uint8]


def ycocg(rgb: Pixels) -> NDArray[np.int16]:
    """[H, W, 3] -> YCoCg-R [3, H, W] (Malvar & Sullivan 2003)."""
    r, g, b = (rgb[..., i].astype(np.int16) for i in range(3))
    co = r - b
    t = b + (co >> 1)
    cg = g - t
    return np.ascontiguousarray(np.stack([t + (cg >> 1), co, cg]))


def read_images(folders: Sequence[Path], smallest: int) -> list[Pixels]:
    paths = sorted(p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in {".png", ".webp", ".ppm"})
    images = [np.asarray(Image.open(p).convert("RGB")) for p in paths]
    return [a for a in images if min(a.shape[:2]) >= smallest]


def augment(rgb: Pixels, rng: np.random.Generator) -> Pixels:
    """A random flip, transposition and channel order, sometimes grey, sometimes grain: real images carry noise."""
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
    return np.ascontiguousarray(rgb)


class Crops:
    """Batches of random crops; every other batch one image is augmented anew, so no two passes are alike."""

    def __init__(self, images: list[Pixels], rng: np.random.Generator, batch: int, size: int) -> None:
        self.images, self.rng, self.batch, self.size = images, rng, batch, size
        self.area = np.array([a.shape[0] * a.shape[1] for a in images], float)
        self.area /= self.area.sum()
        with click.progressbar(images, label="features", show_eta=True) as bar:
            self.features = [Features(ycocg(augment(a, rng))) for a in bar]

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        for step in range(1 << 62):
            if step % 2:
                i = int(self.rng.choice(len(self.images), p=self.area))
                self.features[i] = Features(ycocg(augment(self.images[i], self.rng)))
            crops = []
            for i in self.rng.choice(len(self.images), self.batch, p=self.area):
                f = self.features[i]
                y, x = self.rng.integers(f.height - self.size + 1), self.rng.integers(f.width - self.size + 1)
                crops.append(f.crop(y, x, self.size, self.size))
            yield [torch.from_numpy(np.stack(part)) for part in zip(*crops, strict=True)]


def evaluate(model: nn.Module, held_out: Sequence[Features], device: torch.device) -> float:
    """Mean bits per dim over whole images, in float32."""
    model.eval()
    rates = []
    with torch.inference_mode():
        for f in held_out:
            nats = torch.zeros(3)
            for y in range(0, f.height, 128):
                height = min(128, f.height - y)
                batch = [torch.from_numpy(p)[None].to(device) for p in f.crop(y, 0, height, f.width)]
                nats += model(*batch).cpu()
            rates.append(bits_per_dim(nats, f.height * f.width).item())
    model.train()
    return float(np.mean(rates))


def optimisers(model: nn.Module) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the hidden matrices, AdamW for outputs, biases and the linear path; each with its peak rate."""
    hidden = [p for n, p in model.named_parameters() if p.ndim == 2 and not n.startswith(("out", "linear"))]
    ids = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in ids]
    return [
        (torch.optim.Muon(hidden, lr=0.02, weight_decay=0.01, momentum=0.95), 0.02),
        (torch.optim.AdamW(rest, lr=3e-3, betas=(0.9, 0.98), weight_decay=1e-4), 3e-3),
    ]


def train(
    model: nn.Module, crops: Crops, held_out: Sequence[Features], *, minutes: float, device: torch.device, out: Path,
    resume: bool,
) -> None:  # fmt: skip
    checkpoint = out.with_suffix(".checkpoint.pt")
    pairs = optimisers(model)
    step, spent = 0, 0.0
    if resume and checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        for (optimiser, _), saved in zip(pairs, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        step, spent = state["step"], state["spent"]
        click.echo(f"resumed at step {step}, {spent / 60:.1f} min")

    def save() -> None:
        state = {"model": model.state_dict(), "optimisers": [o.state_dict() for o, _ in pairs]}
        torch.save({**state, "step": step, "spent": spent}, checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").replace(checkpoint)

    begin, mean, saved = time.monotonic() - spent, None, time.monotonic()
    for batch in crops:
        spent = time.monotonic() - begin
        done = spent / 60 / minutes
        if done >= 1:
            break
        factor = min(1, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * done))
        for optimiser, peak in pairs:
            for group in optimiser.param_groups:
                group["lr"] = peak * factor
        batch = [b.to(device, non_blocking=True) for b in batch]
        pixels = batch[3][:, 0].numel()
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = bits_per_dim(model(*batch), pixels)
        for optimiser, _ in pairs:
            optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser, _ in pairs:
            optimiser.step()
        step += 1
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if step % 100 == 0:
            speed = step * pixels / 1e6 / (time.monotonic() - begin)
            click.echo(f"{spent / 60:6.1f} min  step {step:6d}  train {mean:.4f} bits/dim  {speed:.2f} Mpx/s")
        if time.monotonic() - saved > 300:
            save()
            click.echo(f"{spent / 60:6.1f} min  step {step:6d}  held out {evaluate(model, held_out, device):.4f} bits/dim")
            saved = time.monotonic()
    save()


@click.group()
def main() -> None:
    """Train a model family on your own images."""


@main.command("ar")
@click.option("--data", "folders", type=click.Path(exists=True, path_type=Path), multiple=True, required=True)
@click.option("--held-out", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--minutes", default=60.0, show_default=True)
@click.option("--device", default="cuda" if torch.cuda.is_available() else "cpu", show_default=True)
@click.option("--threads", default=0, help="CPU threads; 0 leaves the choice to torch.")
@click.option("--batch", default=16, show_default=True)
@click.option("--crop", default=64, show_default=True, help="Side of a crop, pixels.")
@click.option("--width", default=causal.Config.width, show_default=True)
@click.option("--depth", default=causal.Config.depth, show_default=True)
@click.option("--hidden", default=causal.Config.hidden, show_default=True)
@click.option("--components", default=causal.Config.components, show_default=True)
@click.option("--rows", default=causal.Config.rows, show_default=True)
@click.option("--left", default=causal.Config.left, show_default=True)
@click.option("--resume", is_flag=True)
@click.option("--seed", default=0, show_default=True)
def autoregressive(
    folders: tuple[Path, ...], held_out: Path, out: Path, minutes: float, device: str, threads: int, batch: int,
    crop: int, resume: bool, seed: int, **sizes: Any,
) -> None:  # fmt: skip
    """The causal autoregressive family (the default model)."""
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    config = causal.Config(**sizes)
    model = Causal(config).to(device)
    click.echo(f"{asdict(config)}, {sum(p.numel() for p in model.parameters())} parameters")
    crops = Crops(read_images(folders, crop), np.random.default_rng(seed), batch, crop)
    held = [Features(ycocg(a[:512, :768])) for a in read_images([held_out], 16)]
    train(model, crops, held, minutes=minutes, device=torch.device(device), out=out, resume=resume)
    click.echo(f"held out: {evaluate(model, held, torch.device(device)):.4f} bits/dim")


if __name__ == "__main__":
    main()
