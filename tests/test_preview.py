"""`lgcodec preview` on files of the shipped model that makes previews."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

import lgcodec
from lgcodec.cli.main import program


def photograph(height: int, width: int) -> NDArray[np.uint8]:
    """Soft shading in three colours with grain, uint8 [height, width, 3]."""
    y, x = np.indices((height, width)) / 60
    waves = [120 + 60 * np.sin(3 * x + 5 * y), 110 + 50 * np.cos(4 * x - y), 90 + 70 * np.sin(2 * y + x * y)]
    return np.clip(np.stack(waves, 2) + np.random.default_rng(0).normal(0, 3, (height, width, 1)), 0, 255).astype(
        np.uint8
    )


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(program, [str(word) for word in words])


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    Image.fromarray(photograph(90, 130)).save(tmp_path / "a.png")
    result = run("compress", "--model", "vqvae", tmp_path / "a.png")
    assert result.exit_code == 0, result.stderr
    return tmp_path / "a.lgc"


def test_a_preview_is_near_the_image_and_takes_the_start_of_the_file(packed: Path) -> None:
    result = run("preview", packed)
    assert result.exit_code == 0, result.stderr
    info, shown = lgcodec.inspect(packed), np.asarray(Image.open(packed.with_name("a.preview.png")))
    error = np.mean((shown.astype(float) - photograph(90, 130)) ** 2)
    assert 10 * np.log10(255**2 / error) > 20
    used = info.preview_bytes
    assert f"from the first {used:,} of {info.file_bytes:,} bytes" in result.stderr
    assert f"from the first {used:,} of {info.file_bytes:,} bytes" in run("info", packed).stdout
    cut = packed.with_name("cut.lgc")
    cut.write_bytes(packed.read_bytes()[:used])
    assert run("preview", cut, "-q").stderr == ""
    assert np.array_equal(np.asarray(Image.open(packed.with_name("cut.preview.png"))), shown)
    assert run("decompress", packed, "-o", packed.with_name("b.png")).exit_code == 0
    assert np.array_equal(np.asarray(Image.open(packed.with_name("b.png"))), photograph(90, 130))


def test_what_has_no_preview_is_an_error_of_one_line(packed: Path) -> None:
    (packed.with_name("short.lgc")).write_bytes(packed.read_bytes()[:80])
    Image.fromarray(photograph(20, 20)).save(packed.with_name("c.png"))
    assert run("compress", packed.with_name("c.png")).exit_code == 0
    for name, said in (("short.lgc", "ends inside"), ("c.lgc", "no preview")):
        result = run("preview", packed.with_name(name))
        assert result.exit_code == 1
        assert said in result.stderr
        assert result.stderr.count("\n") == 1
    assert not packed.with_name("c.preview.png").exists()
    assert run("preview", packed, "-o", packed.with_name("x.jpg")).exit_code == 1
