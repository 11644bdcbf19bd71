"""benchmarks/gpu without a GPU: the script measures, tunes, packs, trains and resumes, in miniature."""

from __future__ import annotations

import importlib
import json
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image
from strategies import texture

from lgcodec.models.training import run as train
from lgcodec.models.training.command import train as main
from lgcodec.models.training.images import read_images

torch = pytest.importorskip("torch", reason="the torch extra is not installed")


@pytest.fixture(scope="module")
def script() -> Any:
    root = Path(__file__).parents[1]
    if not (root / "benchmarks").exists():
        pytest.skip("benchmarks are not here")
    sys.path.insert(0, str(root))
    return importlib.import_module("benchmarks.gpu.__main__")


def training() -> Any:
    return importlib.import_module("benchmarks.gpu.training")


def picture(seed: int) -> NDArray[np.uint8]:
    return np.roll(texture(40, 44, 3), seed, axis=1)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    (tmp_path / "photographs").mkdir()
    for i in range(3):
        Image.fromarray(picture(i)).save(tmp_path / "photographs" / f"{i}.png")
    return tmp_path / "photographs"


def run(script: Any, *words: object) -> str:
    result = CliRunner().invoke(script.main, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_measures(script: Any, photographs: Path, tmp_path: Path) -> None:
    options = ["--exact", "flow", "--model", "flow", "--megabytes", 0.02, "--repeats", 1, "--device", "cpu"]
    assert "decode MB/s" in run(script, "measure", photographs, "--out", tmp_path / "out", *options)
    parts = json.loads((tmp_path / "out" / "measure.json").read_text())
    assert parts["exactness"] == [{"model": "flow", "images": 3, "equal": True, "decoded": True}]
    assert parts["throughput"][0]["photographs"] == 4


def test_tunes(script: Any, tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    run(script, "tune", "--out", tmp_path, "--rows", 16, "--tiles", "", "--repeats", 1, "--device", "cpu")
    rows = json.loads((tmp_path / "tune.json").read_text())["products"]
    assert {row["passes"] for row in rows} == {0, 2}
    assert all(row["exact"] for row in rows)


def test_packs_keep_the_pixels(script: Any, photographs: Path, tmp_path: Path) -> None:
    assert run(script, "pack", photographs, "--out", tmp_path / "packs", "--megabytes", 0.001).startswith("3 shards")
    folder = training().unpack(tmp_path / "packs", tmp_path / "unpacked")
    images = read_images([folder], 16)
    assert all(np.array_equal(a, picture(i)) for i, a in enumerate(images))
    assert training().unpack(photographs, tmp_path / "other") == photographs


SIZES = "--batch 4 --crop 16 --width 16 --depth 1 --hidden 8 --components 2 --rows 1 --left 2"


def test_trains_in_slices(script: Any, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def here(words: list[str], stdout: Any, **_: object) -> SimpleNamespace:
        """In this process, which has everything imported."""
        result = CliRunner().invoke(main, words[4:], catch_exceptions=False)
        stdout.write(result.output)
        return SimpleNamespace(returncode=result.exit_code)

    monkeypatch.setattr(training().subprocess, "run", here)
    monkeypatch.setattr(training(), "RESERVE", 0)
    monkeypatch.setattr(training(), "LEAST", 0)
    options: list[object] = ["--data", photographs, "--held-out", photographs, "--family", "default"]
    options += ["--more", f"default={SIZES}"]
    options += ["--out", tmp_path, "--resume", tmp_path, "--device", "cpu", "--threads", 1, "--minutes-each", 0.1]
    spent = []
    for call in (0.04, 10):
        run(script, "train", *options, "--call-minutes", call)
        (row,) = json.loads((tmp_path / "train.json").read_text())["training"]
        spent.append((row["state"], row["spent"]))
    assert spent[0][0] == "stopped"
    assert 0 <= spent[0][1] < 0.1
    assert spent[1] == ("done", 0.1)
    assert row["integer_bpd"] > 0
    with zipfile.ZipFile(tmp_path / "default.zip") as archive:
        names = set(archive.namelist())
    assert {"w.safetensors", "w.json", "w.checkpoint.pt", "progress.json", "log.txt"} <= names
    assert "nothing left" in run(script, "train", *options, "--call-minutes", 1)


def test_batches_made_ahead_are_the_same() -> None:
    batches = [[torch.full((2,), i)] for i in range(9)]
    assert [int(batch[0][0]) for batch in train.ahead(batches, 4)] == list(range(9))

    def broken() -> Any:
        yield batches[0]
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(train.ahead(broken(), 4))
