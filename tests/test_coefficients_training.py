"""Training of the coefficients family, a few steps of it: the command exports weights that keep JPEG files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import lgcodec
from lgcodec import kept
from lgcodec.cli.main import program

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
training = pytest.importorskip("lgcodec.models.families.coefficients.training")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two JPEG files, a picture that is none, and a file that only says that it is one."""
    folder = tmp_path / "data"
    folder.mkdir()
    y, x = np.mgrid[:80, :112]
    waves = np.stack([128 + 80 * np.sin(x / 9 + y / 17), 2 * y, 255 - x], axis=2)
    noisy = waves + np.random.default_rng(0).normal(0, 6, waves.shape)
    image = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    image.save(folder / "a.jpg", quality=85)
    image.convert("L").save(folder / "grey.jpg", quality=70)
    image.save(folder / "b.png")
    (folder / "c.jpg").write_bytes(b"\xff\xd8\xff no more")
    return folder


def test_the_command_exports_weights_that_code(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "FIRST", 3)
    monkeypatch.setattr(training, "HELD", 2)
    out = tmp_path / "mine.safetensors"
    sizes = ["--first", "8", "--second", "8", "--batch", "16", "--pool", "400", "--threads", "1"]
    words = ["train", "coefficients", "--data", str(data), "--held-out", str(data), "--out", str(out), *sizes]
    result = CliRunner().invoke(program, [*words, "--steps", "60", "--device", "cpu"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    said = ("files to learn from", "Taking 2 crops", "Walking through 3 crops", "held out")  # what takes long
    assert all(text in result.output for text in said), result.output
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["integer_bpd"] == pytest.approx(card["float_bpd"], rel=0.02)
    jpeg = (data / "a.jpg").read_bytes()
    packed = lgcodec.compress(jpeg, model=out)
    assert lgcodec.inspect(packed).model_digest == card["digest"][:32]
    assert lgcodec.Codec(model=out).restore(packed) == jpeg


def test_floats_are_asked_about_each_value_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their bits do not depend on how many samples are looked at together."""
    source = training.Source([data], kept.components, np.random.default_rng(1))
    model, crop = training.Model(training.Config(first=8, second=8)), source.crop()
    values = sum(len(x) for _, _, x in training.Recorder(crop[0]).record(crop[1]))
    with torch.inference_mode():
        bits, count = training.float_bits(model, crop)
        monkeypatch.setattr(training, "STEP", 37)
        assert training.float_bits(model, crop)[0] == pytest.approx(bits, rel=1e-5)
    assert count == values


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(training.click.ClickException, match="no images"):
        training.Source([tmp_path], kept.components, np.random.default_rng(0))
