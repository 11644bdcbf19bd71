"""What likelihoods are good for beside files, measured: features, pictures without labels, and copies.

Usage: python benchmarks/uses.py digits8.npz mnist.npz [--page nearest.png]

digits8.npz holds 8 x 8 digits with labels (the UCI repository's optical digits, 1297 to train on and 500 for the test),
mnist.npz those that `masked-mnist` was trained on; both as `lgcodec train masked` takes them. Everything is trained
here, in minutes of one core, with fixed seeds, and results/uses.csv is written.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image

import lgcodec
from lgcodec.models import zoo
from lgcodec.models.families.masked import features, training
from lgcodec.models.families.masked.floats.graph import FloatGraph

RESULTS = Path(__file__).parent / "results" / "uses.csv"
STEPS, BATCH, RATE, SEEDS, SHOWN = 600, 100, 1e-2, 4, 8


@click.command()
@click.argument("digits", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("mnist", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--page", type=click.Path(path_type=Path), default=RESULTS.parents[2] / "docs" / "nearest.png")
def main(digits: Path, mnist: Path, page: Path) -> None:
    torch.set_num_threads(1)
    with np.load(digits) as file:
        data = {name: file[name] for name in ("train", "train_labels", "test", "test_labels")}
    rows = [*fisher(data), *semi(data), *copies(mnist, page)]
    with RESULTS.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "what", "figure"])
        writer.writerows(rows)


def trained(name: str, x: np.ndarray, labels: np.ndarray | None, seed: int, **sizes: int) -> FloatGraph:
    system = zoo.system(name)
    graph = system.graph(0, x.shape[1:], **sizes)
    torch.manual_seed(seed)
    model, masks = training.build(replace(system, orders=1), graph, seed)
    given = training.one_hot(labels, len(x), graph.given)
    (descent, _), *_ = training.optimisers(model, RATE, system.decay)
    some = training.batches(x, given, system, BATCH, seed)
    for step in range(STEPS):
        descent.param_groups[0]["lr"] = RATE * min(1, (step + 1) / 50) * (1 - step / STEPS)
        descent.zero_grad()
        training.cost(model, next(some), masks).backward()
        descent.step()
    return model  # type: ignore[return-value]


def flat(x: np.ndarray, seed: int) -> torch.Tensor:
    bits = training.binarise(x, np.random.default_rng(seed))
    return torch.from_numpy(bits.reshape(len(x), -1).astype(np.int64))


def linear(a: np.ndarray, labels: np.ndarray, b: np.ndarray, true: np.ndarray) -> float:
    """How many of b a linear classifier gets right: least squares on features a, by their kernel."""
    kernel = a @ a.T
    weight = np.linalg.solve(kernel + 0.1 * np.trace(kernel) / len(a) * np.eye(len(a)), np.eye(10)[labels] - 0.1)
    return float(((b @ a.T @ weight).argmax(axis=1) == true).mean())


def fisher(data: dict[str, np.ndarray]) -> list[list[str]]:
    net = trained("made", data["train"], None, 0, hidden=50)
    x, test = flat(data["train"], 1), flat(data["test"], 2)
    scores = features.fisher_scores(net, x)
    moment = (scores**2).mean(0)
    pairs = {
        "fisher": [features.by_moment(a, moment) for a in (scores, features.fisher_scores(net, test))],
        "pixels": [2.0 * a - 1 for a in (x, test)],
    }
    rows = []
    for name, (a, b) in pairs.items():
        right = linear(a.double().numpy(), data["train_labels"], b.double().numpy(), data["test_labels"])
        rows.append([name, "8 x 8 digits, binarised: right by a linear classifier", f"{100 * right:.1f} %"])
    return said(rows)


def semi(data: dict[str, np.ndarray]) -> list[list[str]]:
    """Accuracy by p(y | x) with 100 labels: of a net trained on these pictures, and on others without labels too."""
    right: dict[str, list[float]] = {"labels": [], "semi": []}
    for seed in range(SEEDS):
        rng, labels = np.random.default_rng(seed), data["train_labels"].astype(np.int64)
        few = np.concatenate([rng.permutation(np.flatnonzero(labels == k))[:10] for k in range(10)])
        repeated = np.tile(few, len(labels) // len(few))  # so that half of a batch has labels
        sets = {
            "labels": (data["train"][few], labels[few]),
            "semi": (np.concatenate([data["train"], data["train"][repeated]]),
                     np.concatenate([np.full(len(labels), -1), labels[repeated]])),
        }  # fmt: skip
        for name, (x, known) in sets.items():
            net = trained("semi", x, known, seed)
            with torch.inference_mode():
                found = features.by_classes(net, flat(data["test"], 2)).argmin(1).numpy()
            right[name].append(float((found == data["test_labels"]).mean()))
    what = {"labels": "100 labels, no other pictures", "semi": "100 labels, 1297 pictures without"}
    rows = [[name, f"8 x 8 digits, binarised: {what[name]}", f"{100 * np.mean(some):.1f} %"]
            for name, some in right.items()]  # fmt: skip
    return said(rows)


def copies(mnist: Path, page: Path) -> list[list[str]]:
    """How far the model's pictures, and test digits, are from the nearest training digit: pixels that differ."""
    with np.load(mnist) as file:
        known = training.binarise(file["train"], np.random.default_rng(0)).reshape(-1, 784)
        test = training.test_images(file["test"][:200], "bits").reshape(-1, 784)
    drawn = np.reshape(lgcodec.Codec("masked-mnist").sample(200, (28, 28)), (200, 784))
    rows = []
    for name, x in (("copies", drawn), ("copies_test", test)):
        at, distance = features.nearest(x.astype(np.float32), known.astype(np.float32))
        what = "drawn by masked-mnist" if name == "copies" else "of the test"
        rows.append([name, f"pixels of a digit {what} that the nearest of 60000 training digits has otherwise, of 784",
                     f"{np.mean(distance**2):.1f}, at least {np.min(distance**2):.0f}"])  # fmt: skip
        if name == "copies":
            pairs = np.stack([drawn[:SHOWN], known[at[:SHOWN]]]).reshape(2, SHOWN, 28, 28)
            grid = np.pad(pairs, ((0, 0), (0, 0), (2, 2), (2, 2))).transpose(0, 2, 1, 3).reshape(64, -1)
            Image.fromarray(grid.astype(bool)).resize((2 * grid.shape[1], 128), Image.Resampling.NEAREST).save(page)
    return said(rows)


def said(rows: list[list[str]]) -> list[list[str]]:
    for row in rows:
        click.echo("  ".join(row))
    return rows


if __name__ == "__main__":
    main()
