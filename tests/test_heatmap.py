"""The map of a file's bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from strategies import FakeLatent, FakeModel, texture

from lgcodec import Codec, InputError, container
from lgcodec.cli import heatmap
from lgcodec.cli.main import program


def test_rates_are_those_of_the_index() -> None:
    pixels = texture(40, 64, 3)
    pixels[:16, :16] = np.random.default_rng(0).integers(0, 255, (16, 16, 3))
    data = Codec(FakeModel(), tile=(16, 16)).compress(pixels)
    header = container.read_header(data)
    rates = heatmap.rates(header)
    assert rates.shape == (40, 64)
    payload = sum(entry.length for entry in header.content.index)
    assert rates.sum() == pytest.approx(8 * payload)
    assert rates[3, 3] == rates.max() > 2 * rates[20, 40]


def test_large_images_are_drawn_small_and_chains_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    header = container.read_header(Codec(verify=False, effort=1).compress(np.full((3000, 1500), 7, np.uint8)))
    assert heatmap.rates(header).shape == (1024, 512)
    monkeypatch.setattr("lgcodec.options.Options.seed", lambda options: FakeModel())
    chained = Codec(FakeLatent(), verify=False).compress(texture(64, 64))
    with pytest.raises(InputError, match="chain"):
        heatmap.rates(container.read_header(chained))


@pytest.mark.parametrize("command", ["inspect", "info"])
def test_the_command_draws_it(tmp_path: Path, command: str) -> None:
    (tmp_path / "x.lgc").write_bytes(Codec(FakeModel(), tile=(16, 16)).compress(texture(40, 64, 3)))
    arguments = [command, str(tmp_path / "x.lgc"), "--heatmap", str(tmp_path / "bits.png")]
    said = CliRunner().invoke(program, arguments)
    assert "40" in said.output
    with Image.open(tmp_path / "bits.png") as image:
        assert image.size == (64 + 92, 140)
        assert len(image.getcolors(1 << 20) or ()) > 100
    assert "exists" in CliRunner().invoke(program, arguments).output


def test_a_map_of_16_bits_has_all_of_their_streams(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    y, x = np.mgrid[:64, :96]
    upper = (128 + 50 * np.sin(x / 19) + 40 * np.cos(y / 13) + random.normal(0, 4, (64, 96))).round()
    deep = (upper.astype(np.uint16) << 4) + random.integers(0, 16, upper.shape, np.uint16)
    data = Codec().compress(deep)
    header = container.read_header(data)
    assert isinstance(header.content, container.OriginReference)
    parts = [container.read_header(part) for part in container.read(data).pieces[1:]]
    assert len(parts) == 2
    rates = heatmap.rates(header, parts)
    assert rates.shape == (64, 96)
    assert rates.sum() == pytest.approx(8 * sum(entry.length for part in parts for entry in part.tiles().index))
    (tmp_path / "x.lgc").write_bytes(data)
    arguments = ["info", str(tmp_path / "x.lgc"), "--heatmap", str(tmp_path / "bits.png")]
    assert CliRunner().invoke(program, arguments).exit_code == 0
