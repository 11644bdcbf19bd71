"""Training of the coefficients family: on JPEG files as they are, and on other images at the qualities people use.

Every head learns by itself, from its own samples: walking through crops of files as the program does fills a reservoir
for each, and a batch draws as many samples of each head.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image

from lgcodec.models.entropy.mixture import Tables
from lgcodec.models.errors import LgcodecError
from lgcodec.models.families.coefficients.floats import Model, Rows, export
from lgcodec.models.families.coefficients.network import (
    AC_SIZE,
    FEATURE_UNIT,
    HEADS,
    KINDS,
    LINEAR,
    LOOKS,
    Config,
    Network,
    compand_table,
)
from lgcodec.models.families.coefficients.program import Program, Seen, energy_of
from lgcodec.models.interface import Coefficients, ComponentShape, IntArray
from lgcodec.models.machines.choose import choose
from lgcodec.models.training.options import training_options
from lgcodec.models.training.run import Run, train

# What reads a JPEG file: its components, without their energy. The program that trains gives it.
ReadJpeg = Callable[[bytes], tuple[list[ComponentShape], list[Coefficients]]]
JPEG = (".jpg", ".jpeg")
IMAGES = (*JPEG, ".png", ".webp", ".tif", ".tiff", ".bmp", ".ppm")
# What other images are saved at: what cameras, phones and programs write.
QUALITIES = (30, 50, 60, 70, 75, 80, 85, 88, 90, 92, 93, 95, 96, 97, 98, 100)
LIKELY = (2, 4, 4, 4, 14, 10, 12, 4, 14, 7, 4, 12, 3, 3, 3, 1)
SUBSAMPLINGS, OFTEN = (0, 1, 2), (0.3, 0.1, 0.6)
SIDE = 40  # rows of blocks of a crop; twice as many columns
FIRST, FEEDING = 30, 0.45  # crops before the first step; how much time feeding may take of a step's
HELD, STEP = 40, 500  # crops that are held out; their samples that are looked at together
Crop = tuple[list[ComponentShape], list[Coefficients]]


class Recorder(Program):
    """Walks through known coefficients as the program does, and keeps what each head would have seen."""

    def __init__(self, shapes: Sequence[ComponentShape]) -> None:
        self.shapes, self.compand, self.tables = shapes, compand_table(), Tables.make()  # no network is asked
        self.seen: list[tuple[str, Seen, IntArray]] = []

    def _code(self, kind: str, seen: Seen, truth: IntArray, edges: Any = None) -> Generator[Any, Any, Any]:
        self.seen.append((kind, seen, truth))
        return truth
        yield

    def record(self, value: Sequence[Coefficients]) -> list[tuple[str, Seen, IntArray]]:
        for _ in self._run(value):
            raise RuntimeError("a recorder codes nothing")
        return self.seen


class Reservoir:
    """The newest samples of each head of one kind, `size` of them."""

    def __init__(self, kind: str, size: int) -> None:
        looks = LOOKS[kind]
        self.size, self.count = size, np.zeros(HEADS, np.int64)
        inputs, features = max(l.linear_inputs() for l in looks), max(l.features() for l in looks) - 2 * LINEAR
        self.linear = np.zeros((HEADS, size, inputs), np.int16)
        self.features = np.zeros((HEADS, size, features), np.int16)
        self.row, self.x = np.zeros((HEADS, size), np.int8), np.zeros((HEADS, size), np.int16)
        self.predictions, self.step = np.zeros((HEADS, size, 2), np.int32), np.ones((HEADS, size), np.int32)

    def add(self, seen: Seen, x: IntArray, rng: np.random.Generator, share: float = 1.0) -> None:
        h, n = seen.head, len(x)
        kept = np.flatnonzero(rng.random(n) < share) if share < 1 else np.arange(n)
        kept = kept[: self.size]
        n = len(kept)
        full = self.count[h] >= self.size
        at = rng.permutation(self.size)[:n] if full else (self.count[h] + np.arange(n)) % self.size
        self.count[h] += n
        self.linear[h, at, : len(seen.linear)] = seen.linear.T[kept]
        f = np.stack(seen.features, axis=1)[kept]
        self.features[h, at, : f.shape[1]] = f
        self.row[h, at] = seen.phase
        self.x[h, at], self.step[h, at] = x[kept], seen.step
        self.predictions[h, at] = np.clip(seen.predictions.T[kept], -(1 << 30), 1 << 30)

    def draw(self, n: int, rng: np.random.Generator) -> Rows:
        at = (rng.random((HEADS, n)) * np.minimum(np.maximum(self.count, 1), self.size)[:, None]).astype(np.int64)
        return self.rows(np.arange(HEADS)[:, None], at)

    def rows(self, h: Any, at: Any) -> Rows:
        def floats(a: Any, unit: float = 1.0) -> torch.Tensor:
            return torch.from_numpy(a.astype(np.float32)) / unit

        return Rows(
            floats(self.linear[h, at]),
            floats(self.features[h, at], FEATURE_UNIT),
            torch.from_numpy(self.row[h, at].astype(np.int64)),
            floats(self.predictions[h, at], 64),
            floats(self.step[h, at]),
            floats(self.x[h, at]),
        )


class Source:
    """Crops of files: components of at most SIDE rows of luma blocks, mirrored at random."""

    def __init__(self, folders: Sequence[Path], read: ReadJpeg, rng: np.random.Generator) -> None:
        self.read, self.rng = read, rng
        self.files = [
            sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGES) for folder in folders
        ]
        self.files = [files for files in self.files if files]
        if not self.files:
            raise click.ClickException(f"no images in {', '.join(map(str, folders))}")

    def crop(self) -> Crop:
        """Of a file of any folder, each as likely; files that are none of ours are passed over."""
        for _ in range(1000):
            files = self.files[self.rng.integers(len(self.files))]
            path = files[self.rng.integers(len(files))]
            try:
                data = path.read_bytes() if path.suffix.lower() in JPEG else self._saved(path)
                return self._cut(*self.read(data))
            except (LgcodecError, OSError, ValueError):
                continue
        raise click.ClickException("a thousand files, and none that could be read as a JPEG of one or three components")

    def _saved(self, path: Path) -> bytes:
        """A region of another image as a JPEG file."""
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        width, height = (min(side, most) for side, most in zip(image.size, (640, 480), strict=True))
        x, y = (int(self.rng.integers(a - b + 1)) for a, b in zip(image.size, (width, height), strict=True))
        file, share = io.BytesIO(), np.array(LIKELY) / sum(LIKELY)
        quality = int(self.rng.choice(QUALITIES, p=share))
        subsampling = int(self.rng.choice(SUBSAMPLINGS, p=OFTEN))
        image.crop((x, y, x + width, y + height)).save(file, "JPEG", quality=quality, subsampling=subsampling)
        return file.getvalue()

    def _cut(
        self, shapes: list[ComponentShape], values: list[Coefficients]
    ) -> Crop:
        if len(shapes) not in (1, 3) or any(abs(v).max() >= -AC_SIZE[1] for v in values):
            raise ValueError("not a file to learn from")
        down, across = (max(getattr(s, way) for s in shapes) for way in ("vertical", "horizontal"))
        rows = min(s.rows // s.vertical for s in shapes)
        columns = min(s.columns // s.horizontal for s in shapes)
        height, width = min(rows, SIDE // down), min(columns, 2 * SIDE // across)
        y, x = self.rng.integers(rows - height + 1), self.rng.integers(columns - width + 1)
        flips = [axis for axis in (0, 1) if self.rng.random() < 0.5]
        cut, parts = [], []
        for shape, value in zip(shapes, values, strict=True):
            v, h = shape.vertical, shape.horizontal
            part = value[y * v : (y + height) * v, x * h : (x + width) * h]
            for axis in flips:
                odd = (np.arange(64) // 8, np.arange(64) % 8)[axis] % 2
                part = np.flip(part, axis) * (1 - 2 * odd).astype(np.int16)
            cut.append(replace(shape, rows=part.shape[0], columns=part.shape[1], energy=energy_of(value)))
            parts.append(np.ascontiguousarray(part))
        return cut, parts


def float_bits(model: Model, crop: Crop) -> tuple[float, int]:
    """What the float networks say that a crop takes, in bits, and how many values it has."""
    seen = Recorder(crop[0]).record(crop[1])
    counts = {kind: np.zeros(HEADS, np.int64) for kind in KINDS}
    for kind, at, x in seen:
        counts[kind][at.head] += len(x)
    bits, rng = 0.0, np.random.default_rng(0)
    for kind, count in counts.items():
        most, heads = int(count.max()), getattr(model, kind)
        if not most:
            continue
        whole = Reservoir(kind, most)
        for other, at, x in seen:
            if other == kind:
                whole.add(at, x, rng)
        for head in range(0, most, STEP):  # heads with fewer samples see some again, in equal shares
            rows = np.arange(head, min(head + STEP, most)) % np.maximum(1, count)[:, None]
            rates = heads(whole.rows(np.arange(HEADS)[:, None], rows)).numpy() * rows.shape[1] / most
            bits += float((rates * count).sum())
    return bits, int(sum(count.sum() for count in counts.values()))


@click.command("coefficients")
@training_options
@click.option("--first", default=48, show_default=True)
@click.option("--second", default=24, show_default=True)
@click.option("--components", default=Config.components, show_default=True)
@click.option("--batch", default=192, show_default=True, help="Samples of each head.")
@click.option("--pool", default=16000, show_default=True, help="Samples of each head that batches are drawn from.")
@click.option("--rate", default=3e-3, show_default=True, help="Learning rate.")
@click.pass_obj
def command(
    read: ReadJpeg, /, folders: tuple[Path, ...], held_out: Path, out: Path, minutes: float, device: str,
    threads: int, resume: bool, seed: int, batch: int, pool: int, rate: float, **sizes: int,
) -> None:  # fmt: skip
    """Quantised DCT coefficients of JPEG files."""
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = Model(Config(**sizes)).to(device)
    source = Source(folders, read, rng)
    held = Source([held_out], read, np.random.default_rng(1))
    click.echo(f"{sum(map(len, source.files))} files to learn from, {sum(map(len, held.files))} that are held out")
    with click.progressbar(range(HELD), label=f"Taking {HELD} crops of those held out") as bar:
        crops = [held.crop() for _ in bar]
    reservoirs = {kind: Reservoir(kind, pool) for kind in KINDS}
    parts = {kind: getattr(model, kind) for kind in KINDS}

    def feed() -> None:
        for kind, seen, x in Recorder((crop := source.crop())[0]).record(crop[1]):
            reservoirs[kind].add(seen, x, rng)

    def batches() -> Iterator[list[torch.Tensor]]:
        with click.progressbar(range(FIRST), label=f"Walking through {FIRST} crops before the first step") as bar:
            for _ in bar:
                feed()
        feeding, began = 0.0, time.monotonic()
        while True:
            start = time.monotonic()
            if feeding < FEEDING * (start - began - feeding):
                feed()
                feeding += time.monotonic() - start
            yield [torch.zeros(0)]  # samples are drawn where they are used, in one piece

    def loss(_: list[torch.Tensor]) -> torch.Tensor:
        with torch.autocast(device, enabled=False):
            bits = []
            for kind, heads in parts.items():
                known = torch.from_numpy(reservoirs[kind].count > 0)
                bits.append(heads(reservoirs[kind].draw(batch, rng).to(device))[known.to(device)].sum())
            return torch.stack(bits).sum()

    def write(run: Run) -> None:
        facts = {
            "files": sum(map(len, source.files)),
            "machine": f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}",
            "architecture": asdict(model.config),
        }
        weights = export(model.cpu(), facts)
        network, executor = Network.of(weights), choose("cpu").executor
        floats, integers, values = 0.0, 0.0, 0
        for crop in crops:
            with torch.inference_mode():
                bits, n = float_bits(model, crop)
            floats, values = floats + bits, values + n
            for mixed, x in Program(network, executor, crop[0]).symbols(crop[1]):
                integers += sum(part.ideal_bits() for part in mixed.intervals(x))
        model.to(device)
        run.report(weights, floats / values, integers / values)

    linear = [p for name, p in model.named_parameters() if name.endswith("linear")]
    others = [p for name, p in model.named_parameters() if not name.endswith("linear")]
    optimisers: list[tuple[torch.optim.Optimizer, float]] = [
        (torch.optim.Adam(others, betas=(0.9, 0.99)), rate),
        (torch.optim.Adam(linear, betas=(0.9, 0.99)), rate / 6),
    ]
    run = Run(model, out, torch.device(device), optimisers, loss, write)
    if resume and run.checkpoint.exists():
        run.resume()
    train(run, batches(), minutes)
