"""The lectures' systems: what is published, what was trained, and the file that it makes, in one table.

Usage: python benchmarks/zoo.py mnist.npz FOLDER [--systems gated,vae] [--images 10000] [--tight]

FOLDER holds NAME.safetensors and NAME.checkpoint.pt for each system, as `lgcodec train masked NAME --data mnist.npz
--out FOLDER/NAME.safetensors` writes them. The first test images are compressed by one call, by numpy, as one image of
all of them one below the other; the file is counted whole, decoded and compared. Systems that are told classes make a
file of each class. Float rates are of the same images: of systems with latents -ELBO for one draw, and beside it, in
nats, the bound of 50 draws, which is nearer to -log p(x) but not what a file takes, and, with --tight, of 5000, by
which likelihoods are published (ten minutes for 10,000 digits); and the information that latents have about a picture,
in nats, between its lower bound (of the model's own pictures) and the divergence. Rows of systems that are not asked
for stay as they are in results/zoo.csv.
"""

from __future__ import annotations

import csv
import json
import math
import re
import time
from pathlib import Path
from unittest import mock

import click
import numpy as np
import torch

import lgcodec
from lgcodec.cli.bench import measure as bench
from lgcodec.cli.bench.tables import replaced
from lgcodec.models import registry, zoo
from lgcodec.models.families.masked import training
from lgcodec.models.families.masked.floats.objectives import Latents

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "zoo.csv"
LECTURES = HERE / "lectures.csv"  # every system, technique and use that the lectures name
HEAD = [
    "system", "data", "published", "float bits/dim", "integer bits/dim", "file bits/dim", "nats of the file",
    "nats by 50 draws", "nats by 5000 draws", "nats in latents", "integer over float", "file over integer",
    "minutes trained", "compress s", "decompress s", "images",
]  # fmt: skip
FACTS = ["name", "multiply-adds of a pixel", "parameters", "digest"]


@click.command()
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--systems", help="Names, with commas; all that are in the folder if not given.")
@click.option("--images", default=10000, show_default=True, help="At most; fewer where a system is slow.")
@click.option("--tight", is_flag=True, help="Also the bound of 5000 draws, of systems with latents.")
@click.option("--page", type=click.Path(path_type=Path), default=HERE.parent / "docs" / "lectures.md")
def main(data: Path, folder: Path, systems: str | None, images: int, tight: bool, page: Path) -> None:
    """Rows of the systems asked for, and the page's tables; no system at all (--systems "") draws the tables alone."""
    found = [name for name in zoo.names() if (folder / f"{name}.safetensors").is_file()]
    with np.load(data) as file:
        x, labels = file["test"][:images], file.get("test_labels")
    where = vars(bench.environment(None, "auto"))
    head, rows = [*HEAD, *FACTS, *where], known([*HEAD, *FACTS, *where])
    for name in found if systems is None else filter(None, systems.split(",")):
        row = [*measure(name, folder, x, labels, is_tight=tight), *map(str, where.values())]
        rows = known(head) | {name: row}  # another call may have added some
        with RESULTS.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(head)
            writer.writerows(rows[name] for name in zoo.names() if name in rows)
    for name, row in rows.items():
        row[0], row[2] = zoo.system(name).title, zoo.system(name).published
    ordered = sorted(rows.values(), key=lambda row: (row[1], float(row[5])))
    lines = [HEAD, ["---"] * len(HEAD), *(row[: len(HEAD)] for row in ordered)]
    text = replaced(page.read_text(), "zoo", table(lines))
    page.write_text(replaced(text, "rows", table(lectures(rows))))


def alone(codec: lgcodec.Codec, image: np.ndarray) -> bytes:
    """The file that the model makes, even where plain methods would be shorter."""
    with (
        mock.patch("lgcodec.encode.may_be_smaller", return_value=False),
        mock.patch("lgcodec.plain.is_promising", return_value=False),
        mock.patch("lgcodec.plain.encode", return_value=(1, bytes(image.size))),
    ):
        return codec.compress(image)


def known(head: list[str]) -> dict[str, list[str]]:
    """The rows of results/zoo.csv by name."""
    if not RESULTS.is_file():
        return {}
    with RESULTS.open(newline="") as file:
        return {row["name"]: [row.get(key, "") for key in head] for row in csv.DictReader(file)}


def table(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def lectures(rows: dict[str, list[str]]) -> list[list[str]]:
    """The lines of lectures.csv, with the figures of systems, of the models of digits and of uses in {braces}."""
    figures = {name: f"{row[6]} nats" if row[1] == "bits" else f"{row[5]} bits/dim" for name, row in rows.items()}
    with (RESULTS.parent / "mnist.csv").open(newline="") as file:
        figures |= {f"mnist:{row['model']}": f"{row['coded bpsp']} bits/dim" for row in csv.DictReader(file)}
    with (RESULTS.parent / "uses.csv").open(newline="") as file:
        figures |= {f"uses:{row['name']}": row["figure"] for row in csv.DictReader(file)}
    with LECTURES.open(newline="") as file:
        entries = list(csv.DictReader(file))
    lines = [[*entries[0]], ["---"] * len(entries[0])]
    for entry in entries:
        found = re.sub(r"{([\w:-]+)}", lambda m: figures.get(m[1], "tested, not trained"), entry["figure"])
        lines.append([*list(entry.values())[:-1], found])
    return lines


def measure(name: str, folder: Path, x: np.ndarray, labels: np.ndarray | None, *, is_tight: bool) -> list[str]:
    system, path = zoo.system(name), folder / f"{name}.safetensors"
    images, graph = training.test_images(x, system.data), system.graph(0, x.shape[1:])
    classes = 0 if system.posterior else graph.given
    given = training.one_hot(None if labels is None else labels[: len(x)], len(x), classes)
    model, _ = training.build(system, graph, 0)
    model.load_state_dict(torch.load(path.with_suffix(".checkpoint.pt"), weights_only=True)["model"])
    floats, bounds, told = training.float_rate(model, images, given), ["", ""], ""
    if isinstance(model, Latents):
        for i, draws in enumerate((50, 5000) if is_tight else (50,)):
            bounds[i] = f"{training.float_rate(model, images, given, draws) * math.log(2) * images[0].size:.2f}"
        least, most = training.information(model, images[:500])
        told = f"{most:.1f}" if least is None else f"{least:.1f} to {most:.1f}"
    columns = [np.ascontiguousarray(some.reshape(-1, x.shape[2])) for _, some in training.by_class(images, given)]
    columns = [column.astype(bool) for column in columns] if system.data == "bits" else columns
    codec = lgcodec.Codec(registry.load(path, machine="numpy"), verify=False)
    codec.decompress(alone(codec, columns[0][: 2 * x.shape[1]]))  # loads
    start = time.perf_counter()
    data = [alone(codec, column) for column in columns]
    middle = time.perf_counter()
    again = [codec.decompress(part) for part in data]
    end = time.perf_counter()
    if not all(map(np.array_equal, again, columns)):
        raise click.ClickException(f"{name}: the images did not come back")
    card = json.loads(path.with_suffix(".json").read_text())
    ideal = sum(lgcodec.inspect(part).ideal_bits or 0 for part in data) / images.size
    bits = 8 * sum(map(len, data)) / images.size
    kind = system.data if x.shape[1:] == (28, 28) else f"{system.data}, {x.shape[1]} x {x.shape[2]}"
    row = [
        system.title, kind, system.published, f"{floats:.4f}", f"{ideal:.4f}", f"{bits:.4f}",
        f"{bits * math.log(2) * images[0].size:.2f}", *bounds, told, f"{100 * (ideal / floats - 1):+.2f} %",
        f"{100 * (bits / ideal - 1):+.2f} %", f"{card['training_minutes']:.1f}", f"{middle - start:.1f}",
        f"{end - middle:.1f}", str(len(images)), name, f"{card['multiply_adds'] / images[0].size:.0f}",
        str(card["parameters"]), str(card["digest"]),
    ]  # fmt: skip
    click.echo("  ".join(row))
    return row


if __name__ == "__main__":
    main()
