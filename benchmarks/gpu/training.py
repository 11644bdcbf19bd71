"""Training of all families in slices, and what they learn from as shards."""

from __future__ import annotations

import io
import json
import math
import shlex
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from PIL import Image

from benchmarks.gpu.tools import DEVICE, FOLDER, PATH, environment, report
from lgcodec.models.training.images import JPEG, LOSSLESS


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


@click.command("train")
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


@click.command()
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
