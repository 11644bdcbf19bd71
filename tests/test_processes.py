"""Training by torchrun: two processes over gloo take the same steps, each with batches of its own, and one writes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lgcodec.coding import coder
from lgcodec.models import registry
from lgcodec.models.machines.native import library

pytest.importorskip("torch", reason="the torch extra is not installed")
if sys.platform == "win32":
    pytest.skip("torchrun needs gloo over sockets", allow_module_level=True)

# A run of the one loop, whose rate depends on nothing but the step, with batches that depend on step and process.
TOY = """
import json, sys
from pathlib import Path
import torch
from lgcodec.models.training import processes, run

steps, folder = int(sys.argv[1]), Path(sys.argv[2])
with processes.joined():
    torch.manual_seed(processes.own(7))
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim == 1]
    by = [(torch.optim.Muon(matrices, lr=0.02), 0.02), (torch.optim.AdamW(others, lr=0.003), 0.003)]
    own, written = [], []
    def loss(parts):
        total = model(parts[0]).float().square().mean() * 1e-3
        own.append(torch.autograd.grad(total, list(model.parameters()), retain_graph=True))
        return total
    work = run.Run(model, folder / "toy", torch.device("cpu"), by, loss, lambda run: written.append(run.step))
    if work.checkpoint.exists():
        work.resume()
    seeds = [torch.Generator().manual_seed(processes.own(step)) for step in range(work.step, steps)]
    run.train(work, [[torch.randn(8, 3, generator=seed)] for seed in seeds], 1e9)
    facts = {"count": processes.count(), "step": work.step, "written": written}
    facts |= {"state": [t.tolist() for t in model.state_dict().values()]}
    facts |= {"own": [g.tolist() for g in own[-1]], "used": [p.grad.tolist() for p in model.parameters()]}
    (folder / f"{processes.number()}.json").write_text(json.dumps(facts))
    print("said by one")
"""


def torchrun(processes: int, *command: object, cwd: Path) -> str:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    paths = os.pathsep.join(sys.path)
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    words = [*launcher, *map(str, command)]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def toy(folder: Path, processes: int, *stops: int) -> list[dict[str, Any]]:
    """What each process says after runs that each end at a step, and go on from the last one's checkpoint."""
    folder.mkdir()
    (folder / "toy.py").write_text(TOY)
    for steps in stops:
        assert torchrun(processes, folder / "toy.py", steps, folder, cwd=folder).count("said by one") == 1
    return [json.loads((folder / f"{i}.json").read_text()) for i in range(processes)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return toy(tmp_path_factory.mktemp("toy") / "whole", 2, 4)


def test_gradients_are_averaged_and_weights_the_same(whole: list[dict[str, Any]]) -> None:
    first, second = whole
    assert (first["count"], first["step"], second["step"]) == (2, 4, 4)
    assert first["state"] == second["state"]
    assert (first["written"], second["written"]) == ([4], [])
    assert first["used"] == second["used"]
    assert first["own"] != second["own"]
    for used, a, b in zip(first["used"], first["own"], second["own"], strict=True):
        assert np.array(used) == pytest.approx((np.array(a) + np.array(b)) / 2, rel=1e-5, abs=1e-12)


def test_a_resumed_run_ends_in_the_same_weights(whole: list[dict[str, Any]], tmp_path: Path) -> None:
    for part in toy(tmp_path / "parts", 2, 2, 4):
        assert part["state"] == whole[0]["state"]


@pytest.mark.skipif(not library.available(), reason="no native library, which features of training come from")
def test_the_command_trains_in_two_processes(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    for name in ("train", "held"):
        (tmp_path / name).mkdir()
        shading = np.add.outer(np.arange(40), np.arange(40))[..., None] + random.normal(0, 2, (40, 40, 3))
        Image.fromarray((100 + shading).astype(np.uint8)).save(tmp_path / name / "a.png")
    command = "-m lgcodec -- train causal --data train --held-out held --out mine.safetensors --batch 2 --crop 16"
    small = "--width 16 --depth 1 --hidden 8 --components 2 --rows 1 --left 2 --learning 0 --threads 1 --device cpu"
    words = [*command.split(), *small.split()]
    said = torchrun(2, *words, "--steps", "5", cwd=tmp_path)
    assert said.count("held out") == 1
    card = json.loads((tmp_path / "mine.json").read_text())
    assert card["processes"] == 2
    again = torchrun(2, *words, "--steps", "9", "--resume", "--start", "mine.safetensors", cwd=tmp_path)
    assert re.search(r"resumed at step (\d+)", again)[1] == str(card["training_steps"])  # type: ignore[index]
    assert json.loads((tmp_path / "mine.json").read_text())["training_steps"] > card["training_steps"]
    tile = np.arange(3 * 8 * 8, dtype=np.int16).reshape(3, 8, 8)
    model = registry.load(tmp_path / "mine.safetensors", machine="numpy")
    (stream,) = coder.encode(model, [tile])
    assert np.array_equal(coder.decode(model, [tile.shape], [stream.words])[0], tile)
