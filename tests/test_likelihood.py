"""Scores are what files take, and samples come from the model: by the API and from the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from strategies import FakeLatent, FakeModel, texture

import lgcodec
from lgcodec import Codec
from lgcodec.cli.main import program
from lgcodec.errors import InputError


@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("model", [FakeModel(), FakeLatent(tile=(16, 16))], ids=["explicit", "latent"])
def test_a_score_is_in_bits_per_sample_and_noise_scores_high(model: FakeModel, channels: int | None) -> None:
    codec = Codec(model)
    expected = texture(32, 40, channels)
    noise = np.random.default_rng(0).integers(0, 256, expected.shape, dtype=np.uint8)
    assert 0 < codec.score(expected) < codec.score(noise) - 2


def test_a_score_is_the_ideal_rate_of_the_file() -> None:
    image = texture(40, 30, 3)
    info = lgcodec.inspect(lgcodec.compress(image, tile=(1024, 256), effort=1))
    rate = lgcodec.score(image)
    assert info.methods == {"model": 1} or rate > info.bpsp
    assert rate == pytest.approx(Codec(effort=1).score(image))
    if "model" in info.methods:
        assert rate == pytest.approx(info.ideal_bits / image.size, abs=1e-3)


def test_no_model_scores_one_bit_images() -> None:
    with pytest.raises(InputError, match="mode 1"):
        lgcodec.score(np.zeros((3, 3), bool))


@pytest.mark.parametrize("model", ["default", FakeModel(), FakeLatent()], ids=["default", "explicit", "latent"])
def test_samples_are_reproducible_and_differ(model: str | FakeModel) -> None:
    pictures, again = (Codec(model).sample(3, (12, 9), seed=5) for _ in range(2))
    others = Codec(model).sample(3, (12, 9), seed=6)
    assert [p.shape for p in pictures] == [(9, 12, 3)] * 3
    assert all(p.dtype == np.uint8 for p in pictures)
    assert np.array_equal(pictures, again)
    assert not np.array_equal(pictures, others)
    assert not np.array_equal(pictures[0], pictures[1])


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(program, [str(word) for word in words], standalone_mode=False, catch_exceptions=False)


def test_the_commands(tmp_path: Path) -> None:
    Image.fromarray(texture(20, 20, 3)).save(tmp_path / "a.png")
    result = run("score", tmp_path / "a.png")
    assert result.return_value == 0
    rate = float(result.output.split()[-2])
    assert result.output.endswith("bits/dim\n")
    rates = json.loads(run("score", "--json", "-r", tmp_path).output)
    assert rates == {str(tmp_path / "a.png"): pytest.approx(rate, abs=1e-4)}
    assert math.isfinite(rate)
    assert run("sample", "-n", 5, "--size", 8, "-o", tmp_path / "grid.png").return_value == 0
    grid = np.asarray(Image.open(tmp_path / "grid.png"))
    assert grid.shape == (2 * 10 + 2, 3 * 10 + 2, 3)
    assert (grid[:2] == 255).all()
    assert (grid[12:, 22:] == 255).all()  # the place of a sixth picture
