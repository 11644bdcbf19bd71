"""The first recipe of CONTRIBUTING.md, followed: a family is a folder and a name, its shipping weights and a record."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lgcodec

ROOT = Path(__file__).parents[1]
A_FOLDER_AND_A_NAME = f"""
import sys
from lgcodec.models import families
families.__path__.append({str(ROOT / "tests" / "recipes")!r})
families.FAMILIES += ("histogram",)
"""
WEIGHTS_AND_A_RECORD = """
from pathlib import Path
from lgcodec.models import registry
registry.RECORDS += (registry.Record("histogram", 200, "histogram", sys.argv.pop(1)),)
registry.FOLDER = Path("installed/weights")
"""
RUN = """
from lgcodec.cli.main import main
main()
"""
Lgcodec = Callable[..., str]


@pytest.fixture
def lgcodec_with(tmp_path: Path) -> Lgcodec:
    """Runs a command in a folder of two pictures, by an installation that has what some code adds."""
    (tmp_path / "seen").mkdir()
    for name in ("seen/a.png", "b.png"):
        grain = np.random.default_rng(len(name)).choice([90, 91, 120], (64, 50), p=[0.92, 0.04, 0.04])
        Image.fromarray(grain.astype(np.uint8)).save(tmp_path / name)

    def run(code: str, *words: str) -> str:
        command = [sys.executable, "-c", code + RUN, *words]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def test_a_new_family_is_a_folder_and_a_name(lgcodec_with: Lgcodec, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the torch extra is not installed")

    def same(name: str) -> bool:
        return np.array_equal(Image.open(tmp_path / name), Image.open(tmp_path / "b.png"))

    family = A_FOLDER_AND_A_NAME
    assert "histogram" in lgcodec_with(family, "train", "--help")
    options = ("--data", "seen", "--held-out", "seen", "--out", "histogram.safetensors")
    digest = lgcodec_with(family, "train", "histogram", *options).split()[-1]
    own = ("--model", "histogram.safetensors")
    lgcodec_with(family, "compress", "b.png", "-q", *own)
    assert lgcodec.inspect(tmp_path / "b.lgc").methods == {"model": 1}
    lgcodec_with(family, "decompress", "b.lgc", "-o", "own.png", "-q", *own)
    assert same("own.png")

    installed = tmp_path / "installed" / "weights"
    installed.mkdir(parents=True)
    for path in (files("lgcodec.models") / "weights").iterdir():
        (installed / path.name).symlink_to(str(path))
    for name in ("histogram.safetensors", "histogram.json"):
        (tmp_path / name).rename(installed / name)
    shipped = family + WEIGHTS_AND_A_RECORD
    listed = json.loads(lgcodec_with(shipped, digest, "models", "--json"))
    assert listed[-1]["name"] == "histogram"
    assert digest[:32] in lgcodec_with(shipped, digest, "models")
    lgcodec_with(shipped, digest, "compress", "b.png", "-q", "-f", "--model", "histogram")
    assert lgcodec.inspect(tmp_path / "b.lgc").model_id == 200
    lgcodec_with(shipped, digest, "decompress", "b.lgc", "-o", "shipped.png", "-q")
    assert same("shipped.png")


def test_recipes_name_what_there_is() -> None:
    """Every file and name in code in CONTRIBUTING.md is in the tree."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    places = [path for folder in ("codec", "models", "cli", "tests") for path in (ROOT / folder).rglob("*.py")]
    source = "\n".join(path.read_text() for path in places if path != Path(__file__))
    for path in re.findall(r"`((?:codec|models|cli|tests|benchmarks)/[\w./]+)`", text):
        assert "NAME" in path or (ROOT / path).exists(), path
    for name in re.findall(r"`([A-Z_a-z]\w+)(?:\(.*?\))?`", text):
        assert re.search(rf"\b{name}\b", source), name
