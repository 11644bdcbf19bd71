"""Pillow's plugin, by Pillow's own functions."""

from __future__ import annotations

import io
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError
from strategies import FakeLayered, FakeModel, texture

import lgcodec.pillow
from lgcodec import Codec

GOLDEN = Path(__file__).parent / "golden"


def reopened(image: Image.Image, **options: object) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "LGC", effort=1, model=FakeModel(), **options)
    return Image.open(file)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_comes_back(tmp_path: Path, mode: str) -> None:
    array = np.random.default_rng(0).integers(0, 4, (9, 14, 3), np.uint8) * 60
    rgb = Image.fromarray(array)
    image = Image.fromarray(array[..., 0].astype(np.uint16) * 200) if mode == "I;16" else rgb.convert(mode)
    image.save(tmp_path / "x.lgc", model=FakeModel())
    with Image.open(tmp_path / "x.lgc") as found:
        assert (found.format, found.mode, found.size) == ("LGC", mode, (14, 9))
        assert found.get_format_mimetype() == "image/x-lgc"
        found.load()
        assert found.tobytes() == image.tobytes()
        if mode == "P":
            assert found.convert("RGB").tobytes() == image.convert("RGB").tobytes()


def test_metadata_has_pillows_names() -> None:
    image = Image.new("RGB", (5, 4), (1, 2, 3))
    exif = Image.Exif()
    exif[0x010E] = "a description"
    found = reopened(image, exif=exif, icc_profile=b"profile" * 20, xmp=b"<x:xmpmeta/>", dpi=(300, 300))
    assert found.getexif()[0x010E] == "a description"
    assert found.info["icc_profile"] == b"profile" * 20
    assert found.info["xmp"] == b"<x:xmpmeta/>"
    assert found.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    changed = reopened(found, exif=None, xmp="<other/>")
    assert "exif" not in changed.info
    assert changed.info["xmp"] == b"<other/>"
    assert changed.info["icc_profile"] == b"profile" * 20
    assert changed.convert("RGB").tobytes() == image.tobytes()


def test_options_reach_the_codec() -> None:
    image = Image.fromarray(texture(40, 40, 3))
    sizes = [Codec(FakeModel(), tile=tile).compress(image) for tile in (None, (8, 8))]
    files = [io.BytesIO(), io.BytesIO()]
    image.save(files[0], "LGC", model=FakeModel())
    image.save(files[1], "LGC", model=FakeModel(), tile=(8, 8))
    assert [file.getvalue() for file in files] == sizes
    with pytest.raises(lgcodec.InputError, match="effort"):
        image.save(io.BytesIO(), "LGC", effort=11)


def test_opening_100_megapixels_is_cheap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    side = 10_000
    (tmp_path / "large.lgc").write_bytes(Codec(verify=False, effort=1).compress(np.full((side, side), 7, np.uint8)))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        with Image.open(tmp_path / "large.lgc") as image:
            seconds.append(time.perf_counter() - start)
            assert image.size == (side, side)
    tracemalloc.start()
    with Image.open(tmp_path / "large.lgc"):
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert min(seconds) < 0.030
    assert peak < 5 << 20
    with Image.open(tmp_path / "large.lgc") as image:
        assert image.getpixel((side - 1, side - 1)) == 7


def test_thumbnails_are_made_of_previews(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeLayered()
    monkeypatch.setattr("lgcodec.options.Options.find", lambda options, reference: model)
    pixels = texture(200, 240, 3) // 8 + np.add.outer(np.arange(200), np.arange(240))[..., None].astype(np.uint8) // 4
    file = io.BytesIO()
    monkeypatch.setattr("lgcodec.plain.is_promising", lambda tile: False)
    monkeypatch.setattr("lgcodec.plain.encode", lambda tile, effort: (1, bytes(1 << 20)))
    Image.fromarray(pixels).save(file, "LGC", model=model, tile=(64, 64))
    monkeypatch.undo()
    monkeypatch.setattr("lgcodec.options.Options.find", lambda options, reference: model)
    whole = Image.open(file)
    whole.load()
    assert np.array_equal(np.asarray(whole), pixels)

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("the image itself was decoded")

    monkeypatch.setattr("lgcodec.codec.Codec.decode", refuse)
    small = Image.open(file)
    small.thumbnail((24, 24))
    whole.thumbnail((24, 24))
    assert small.size == whole.size
    assert np.abs(np.asarray(small).astype(int) - np.asarray(whole)).mean() < 3
    medium = Image.open(file)
    assert medium.draft(None, (200, 200)) is None
    assert medium.draft(None, (48, 48)) == ("RGB", (0, 0, 60, 50))
    assert medium.size == (60, 50) == (medium.load(), medium.im.size)[1]


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.glob("plain-*.lgc")))
def test_golden_files_open(name: str) -> None:
    expected = Codec().decode(GOLDEN / name).image()
    with Image.open(GOLDEN / name) as image:
        assert (image.mode, image.size) == (expected.mode, expected.size)
        assert image.tobytes() == expected.tobytes()
        assert image.info == expected.info
    with Image.open(GOLDEN / name) as image:
        image.verify()


def test_damage_is_an_oserror() -> None:
    data = Codec(FakeModel()).compress(np.random.default_rng(1).integers(0, 255, (30, 30), np.uint8))
    with pytest.raises(OSError, match="checksum of the header"):
        Image.open(io.BytesIO(data[:12] + b"\0" + data[13:]))
    broken = data[:-1] + bytes([data[-1] ^ 1])
    with Image.open(io.BytesIO(broken)) as image, pytest.raises(OSError, match="checksum") as caught:
        image.load()
    assert isinstance(caught.value.__cause__, lgcodec.IntegrityError)
    with Image.open(io.BytesIO(broken)) as image, pytest.raises(OSError, match="checksum"):
        image.verify()
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(b"\x89LGX\r\n\x1a\n" + data[8:]))


KINDS = ["kept-444.lgc", "kept-as-it-is.lgc", "origin-jpeg-444.lgc", "origin-coefficients.lgc"]


@pytest.mark.parametrize("name", KINDS)
def test_damage_is_found_whatever_a_file_holds(name: str) -> None:
    data = (GOLDEN / name).read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        image.verify()
    for place in (len(data) - 1, len(data) // 2):
        broken = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with Image.open(io.BytesIO(broken)) as image, pytest.raises(OSError, match="checksum"):
            image.verify()


def test_importing_lgcodec_registers_nothing() -> None:
    code = "import PIL.Image as I; I.init(); n = len(I.ID); import lgcodec, lgcodec.codec; assert len(I.ID) == n"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("mode", ["CMYK", "RGB"])
def test_kept_files_without_a_preview_are_shown_by_their_pixels(mode: str) -> None:
    jpeg = io.BytesIO()
    shade = Image.linear_gradient("L").resize((96, 80))
    Image.merge(mode, [shade] * len(mode)).save(jpeg, "JPEG", quality=90, subsampling=0)
    data = jpeg.getvalue()
    packed = lgcodec.compress(data)
    with Image.open(io.BytesIO(packed)) as image, Image.open(io.BytesIO(data)) as wanted:
        image.load()
        assert (image.mode, image.tobytes()) == (wanted.mode, wanted.tobytes())
    with Image.open(io.BytesIO(packed)) as image:
        image.thumbnail((10, 10))
        assert (max(image.size), image.mode) == (10, mode)
