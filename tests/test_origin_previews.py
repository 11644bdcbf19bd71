"""Previews of files with an origin: small luma and chroma, and of JPEGs the blocks' means."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

import lgcodec
from lgcodec.cli.main import program
from lgcodec.errors import InputError
from lgcodec.jpeg import idct
from lgcodec.models.machines.native import origins as native
from lgcodec.origins import coefficients, rendered
from lgcodec.origins.conversions import CONVERSIONS
from lgcodec.pillow import LgcImageFile

GOLDEN = sorted((Path(__file__).parent / "golden").glob("origin-*.lgc"))
needs_native = pytest.mark.skipif(not native.is_available(), reason="searches run in the native library alone")
Samples = NDArray[np.uint8]


def colours(image: Samples) -> Samples:
    """Without alpha: [H, W, 1 or 3]."""
    channels = image.reshape(*image.shape[:2], -1)
    return channels[..., : 3 if channels.shape[2] > 2 else 1]


def eighth(image: Samples) -> NDArray[np.float64]:
    """Means of 8 x 8 pixels; the last rows and columns repeat."""
    image = colours(image)
    height, width, channels = image.shape
    image = np.pad(image, ((0, -height % 8), (0, -width % 8), (0, 0)), "edge")
    means: NDArray[np.float64] = image.reshape(image.shape[0] // 8, 8, -1, 8, channels).mean((1, 3))
    return means


def difference(data: bytes) -> float:
    """How far a file's preview is from what it is a preview of: mean absolute difference of luma."""
    shown, wanted = lgcodec.preview(data), eighth(lgcodec.decompress(data))
    shown = shown.reshape(*shown.shape[:2], -1)
    assert shown.shape == wanted.shape
    weights = (0.299, 0.587, 0.114) if wanted.shape[2] == 3 else (1,)
    return float(np.abs((shown - wanted) @ weights).mean())


def waves(size: tuple[int, int] = (216, 160)) -> Image.Image:
    y, x = np.mgrid[: size[1], : size[0]]
    planes = [128 + 70 * np.sin(x / a + y / b) + 20 * np.sign(np.sin(x / 5)) for a, b in ((39, 61), (43, 57), (67, 49))]
    noise = np.random.default_rng(0).normal(0, 3, (size[1], size[0], 3))
    return Image.fromarray((np.stack(planes, 2) + noise).clip(0, 255).astype(np.uint8))


def decoded(quality: int, subsampling: int) -> Samples:
    file = io.BytesIO()
    waves().save(file, "JPEG", quality=quality, subsampling=subsampling)
    return np.array(Image.open(file))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_previews_are_near_the_image(path: Path) -> None:
    data = path.read_bytes()
    info = lgcodec.inspect(data)
    if "coefficients" in str(info.origin) or any(known.name in str(info.origin) for known in CONVERSIONS):
        assert difference(data) < 14  # of blocks that lie across the eighths
        assert info.preview_bytes == len(data)
    else:
        assert info.preview_bytes == 0
        with pytest.raises(InputError, match="no preview"):
            lgcodec.preview(data)


@needs_native
@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_coefficients_are_shown_by_their_means_alone(
    subsampling: int, is_turned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crop, turned or not, with something pasted in; no coefficients are transformed."""
    samples = decoded(80, subsampling)[8:, 16:]
    samples = np.ascontiguousarray(samples.swapaxes(0, 1) if is_turned else samples)
    samples[32:64, 48:96] = np.random.default_rng(1).integers(0, 256, (1, 48, 3))
    data = lgcodec.compress(samples)
    assert "coefficients" in str(lgcodec.inspect(data).origin)
    assert difference(data) < 4
    shown = lgcodec.preview(data)
    monkeypatch.setattr(idct, "plane", None)
    assert np.array_equal(lgcodec.preview(data), shown)
    wanted = eighth(samples)[4:8, 6:12]
    assert np.abs(shown[4:8, 6:12] - wanted).max() < 1  # the patch


@needs_native
def test_planes_are_shown_without_being_enlarged(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.ascontiguousarray(decoded(100, 2)[3:, 5:])
    data = lgcodec.compress(samples, model="fast")
    assert lgcodec.inspect(data).origin == "JPEG 4:2:0"
    assert difference(data) < 2
    monkeypatch.setattr(rendered.Rendered, "render", None)
    assert lgcodec.preview(data).shape == (20, 27, 3)


@needs_native
def test_luma_coefficients_with_planes_of_chroma(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    waves().convert("L").save(file, "JPEG", quality=80)
    y = np.array(Image.open(file))
    v, u = np.mgrid[:160, :216]
    c1, c2 = (np.rint(128 + 20 * np.sin(u / a + v / b)).astype(np.uint8) for a, b in ((9, 7), (5, 11)))
    data = lgcodec.compress(CONVERSIONS[0].make().convert(y, c1, c2))
    assert lgcodec.inspect(data).origin == "JPEG 4:4:4 luma coefficients"
    assert difference(data) < 2
    monkeypatch.setattr(coefficients.Coefficients, "render", None)
    assert lgcodec.preview(data).shape == (20, 27, 3)


@needs_native
def test_the_command_and_pillow_show_them(tmp_path: Path) -> None:
    Image.fromarray(decoded(80, 2)).save(tmp_path / "a.png")
    assert CliRunner().invoke(program, ["compress", "-q", str(tmp_path / "a.png")]).exit_code == 0
    result = CliRunner().invoke(program, ["preview", "-q", str(tmp_path / "a.lgc")])
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "a.preview.png") as image:
        shown = np.asarray(image)
    assert np.array_equal(shown, lgcodec.preview((tmp_path / "a.lgc").read_bytes()))
    assert "an eighth as wide" in CliRunner().invoke(program, ["info", str(tmp_path / "a.lgc")]).output
    with LgcImageFile(tmp_path / "a.lgc") as image:
        image.draft("RGB", (20, 20))
        assert np.array_equal(np.asarray(image), shown)
