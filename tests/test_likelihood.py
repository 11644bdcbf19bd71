"""Scores are what files take, and samples come from the model: by the API and from the command line."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from strategies import FakeLatent, FakeModel, texture

import lgcodec
from lgcodec import Codec
from lgcodec.cli.main import program
from lgcodec.cli.report import auroc
from lgcodec.errors import InputError
from lgcodec.models import zoo
from lgcodec.models.families.masked.floats import export
from lgcodec.models.families.masked.floats import graph as floats


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


def test_samples_of_16_bits_are_not_scored() -> None:
    with pytest.raises(InputError, match="models score images of 8 bits a sample"):
        lgcodec.score(np.arange(600, dtype=np.uint16).reshape(20, 30))


def test_bits_are_scored_by_their_own_model() -> None:
    """And by no other."""
    page = np.ones((60, 70), bool)
    page[20:30, 10:60] = False
    rate = lgcodec.score(page)
    assert rate == Codec("scan").score(page) < 0.1
    assert lgcodec.score(np.random.default_rng(0).random((60, 70)) < 0.5) > 1
    with pytest.raises(InputError, match="mode 1"):
        Codec("fast").score(page)


@pytest.mark.parametrize(
    "model", ["default", "vqvae", FakeModel(), FakeLatent()], ids=["default", "vqvae", "explicit", "latent"]
)
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


def test_scores_tell_images_of_another_kind(tmp_path: Path) -> None:
    """By how much they are over another codec's size, and how well that sorts them."""
    (tmp_path / "others").mkdir()
    for i in range(3):
        Image.fromarray(texture(20, 20 + i, 3)).save(tmp_path / f"{i}.png")
        noise = np.random.default_rng(i).integers(0, 256, (20, 20, 3)).astype(np.uint8)
        Image.fromarray(noise).save(tmp_path / "others" / f"{i}.png")
    known = sorted(tmp_path.glob("*.png"))
    assert run("score", *known, "--others", tmp_path / "others").output.endswith(
        "AUROC 1.0000: 3 images against 3 others\n"
    )
    plain, less = (json.loads(run("score", "--json", known[0], *more).output) for more in ((), ("--against", "png")))
    file = io.BytesIO()
    Image.open(known[0]).save(file, "PNG", optimize=True, compress_level=9)
    png = 8 * len(file.getvalue()) / 1200
    assert less[str(known[0])] == pytest.approx(plain[str(known[0])] - png)
    with pytest.raises(InputError, match="gif"):
        run("score", known[0], "--against", "gif")
    assert auroc([1, 2], [2, 3]) == 3.5 / 4


def test_the_rest_of_a_digit(tmp_path: Path) -> None:
    """--begin and --between draw pictures by a model of the masked family."""
    g = zoo.system("pixelcnn").graph(0, (6, 5), width=8, depth=1)
    export.export(floats.FloatGraph(g), {}).write(tmp_path / "own.safetensors")
    digit = np.random.default_rng(0).random((6, 5)) < 0.5
    Image.fromarray(digit).save(tmp_path / "a.png")
    model, out = ("--model", tmp_path / "own.safetensors"), ("-o", tmp_path / "grid.png")
    assert run("sample", *model, "-n", 1, "--begin", tmp_path / "a.png", "--rows", 4, *out).return_value == 0
    grid = np.asarray(Image.open(tmp_path / "grid.png")).astype(bool)
    assert np.array_equal(grid[2:6, 2:7], digit[:4])
    with pytest.raises(InputError):
        run("sample", *model, "--between", tmp_path / "a.png", tmp_path / "a.png", "-f", *out)
    with pytest.raises(click.UsageError):
        run("sample", *model, "--begin", tmp_path / "a.png", "--between", *[tmp_path / "a.png"] * 2, "-f", *out)
