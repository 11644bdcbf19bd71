"""JPEG files that are kept byte for byte: through the library, the command line, and what becomes of damaged ones."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from strategies import Cli

import lgcodec
import lgcodec.pillow
from lgcodec import container, readers
from lgcodec.errors import FormatError, InputError, LgcodecError
from lgcodec.models.families.coefficients import earlier


def photo(size: tuple[int, int] = (120, 88)) -> Image.Image:
    y, x = np.mgrid[: size[1], : size[0]]
    waves = np.stack([128 + 90 * np.sin(x / 9 + y / 31), y * 2 % 256, 255 - x], axis=2)
    noise = np.random.default_rng(0).normal(0, 6, waves.shape)
    return Image.fromarray(np.clip(waves + noise, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    (image or photo()).save(file, "JPEG", **{"quality": 85, **options})
    return file.getvalue()


KINDS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "optimised": {"optimize": True, "quality": 95},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "restarts": {"restart_marker_rows": 1},
    "metadata": {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0", "icc_profile": b"profile" * 9, "comment": b"hello"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_comes_back(kind: str) -> None:
    data = jpeg(**KINDS[kind])
    packed = lgcodec.compress(data)
    assert lgcodec.restore(packed) == data
    assert len(packed) < 0.9 * len(data)
    info = lgcodec.inspect(packed)
    assert (info.kept_bytes, info.width, info.height, info.mode) == (len(data), 120, 88, "RGB")
    assert abs(8 * info.model_bytes - info.ideal_bits) <= 64 + 0.001 * info.ideal_bits


def test_what_was_saved_twice_costs_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """A JPEG whose pixels a JPEG showed: the values that its quantiser left empty are not paid for."""
    first = Image.open(io.BytesIO(jpeg(photo((400, 304)), quality=70)))
    data = jpeg(first, quality=97, subsampling=0)
    packed = lgcodec.compress(data)
    assert lgcodec.restore(packed) == data
    monkeypatch.setattr(earlier, "found", lambda values, steps, tables: b"")
    assert len(packed) < 0.9 * len(lgcodec.compress(data))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_modes_come_back(mode: str) -> None:
    data = jpeg(photo().convert(mode))
    assert lgcodec.restore(lgcodec.compress(data)) == data


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (8, 8), (17, 33), (333, 16)])
def test_odd_sizes_come_back(size: tuple[int, int]) -> None:
    data = jpeg(photo(size))
    packed = lgcodec.compress(data)
    assert lgcodec.restore(packed) == data
    assert len(packed) <= len(data) + 64


def test_bands_are_coded_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    from lgcodec import kept

    monkeypatch.setattr(kept, "BAND_BLOCKS", 40)
    for options in ({}, {"subsampling": 0}):
        data = jpeg(**options)
        packed = lgcodec.compress(data)
        assert lgcodec.inspect(packed).tiles > 2
        assert lgcodec.restore(packed) == data


def test_its_pixels_are_those_that_pillow_shows() -> None:
    data = jpeg(photo(), exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")
    packed = lgcodec.compress(data)
    shown = np.asarray(Image.open(io.BytesIO(data)))
    assert np.array_equal(lgcodec.decompress(packed), shown)
    assert np.array_equal(lgcodec.decompress(packed, region=(5, 7, 60, 40)), shown[7:40, 5:60])
    image = lgcodec.open(packed)
    assert np.array_equal(np.asarray(image), shown)
    assert "exif" in image.info
    lgcodec.verify(packed)


@pytest.mark.parametrize("kind", ["baseline", "progressive", "4:4:4", "4:2:2", "grey", "cut"])
def test_a_region_decodes_the_bands_under_it_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lgcodec import kept
    from lgcodec.coding import coder

    monkeypatch.setattr(kept, "BAND_BLOCKS", 60)
    image = photo((96, 400)).convert("L") if kind == "grey" else photo((96, 400))
    data = jpeg(image, **KINDS.get(kind, {}))
    data = data[:-900] if kind == "cut" else data  # which is kept as it is: whole, or not at all
    packed, decoded = lgcodec.compress(data), list[int]()

    def counted(*words: Any) -> Any:
        decoded.append(1)
        return true(*words)

    true = coder.decode_band
    monkeypatch.setattr(coder, "decode_band", counted)
    if kind == "cut":
        with pytest.raises(InputError, match="damaged"):
            lgcodec.decompress(packed, region=(5, 200, 60, 220))
        return
    shown = np.asarray(Image.open(io.BytesIO(data)))
    for box in ((5, 200, 60, 220), (0, 0, 96, 3), (95, 399, 96, 400), (0, 0, 96, 400)):
        decoded.clear()
        x0, y0, x1, y1 = box
        assert np.array_equal(lgcodec.decompress(packed, region=box), shown[y0:y1, x0:x1]), box
        bands = lgcodec.inspect(packed).tiles
        assert bands > 3
        assert (len(decoded) < bands) == (y1 - y0 < 400)


def test_cmyk_gives_no_pixels() -> None:
    packed = lgcodec.compress(jpeg(photo().convert("CMYK")))
    with pytest.raises(InputError, match="CMYK"):
        lgcodec.decompress(packed)


def test_no_preview_of_cmyk_is_promised() -> None:
    packed = lgcodec.compress(jpeg(photo().convert("CMYK")))
    assert lgcodec.inspect(packed).model_id is not None
    assert lgcodec.inspect(packed).preview_bytes == 0
    with pytest.raises(InputError, match="no preview"):
        lgcodec.preview(packed)
    assert lgcodec.inspect(lgcodec.compress(jpeg(photo()))).preview_bytes > 0


def test_pixels_on_request() -> None:
    data = jpeg()
    packed = lgcodec.compress(data, pixels=True, effort=1)
    assert lgcodec.inspect(packed).kept_bytes == 0
    assert np.array_equal(lgcodec.decompress(packed), np.asarray(Image.open(io.BytesIO(data))))
    with pytest.raises(InputError, match="keeps pixels"):
        lgcodec.restore(packed)


@pytest.mark.parametrize("cut", [0.4, 0.9])
def test_a_damaged_file_is_kept_as_it_is(cut: float) -> None:
    data = jpeg()
    data = data[: int(len(data) * cut)]
    packed = lgcodec.compress(data)
    assert len(packed) <= len(data) + 64
    assert lgcodec.restore(packed) == data
    assert lgcodec.inspect(packed).methods == {"as it is": 1}


def test_what_is_behind_the_image_stays() -> None:
    data = jpeg() + b"a film" * 100
    packed = lgcodec.compress(data)
    assert lgcodec.restore(packed) == data
    assert len(packed) < len(data) - 600


def test_a_thumbnail_is_coded_as_the_jpeg_it_is() -> None:
    thumbnail, image = jpeg(photo((160, 120))), photo((240, 180))
    exif = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + thumbnail
    alone, plainly = (jpeg(image, exif=block) for block in (exif[:20], exif))
    packed = lgcodec.compress(plainly)
    assert lgcodec.restore(packed) == plainly
    assert len(packed) - len(lgcodec.compress(alone)) < 0.95 * len(thumbnail)
    twice = jpeg(image, exif=exif, comment=b"again" + thumbnail)
    assert lgcodec.restore(lgcodec.compress(twice)) == twice
    assert len(lgcodec.compress(twice)) < len(packed) + 64


def test_other_models_code_pixels_alone() -> None:
    data = jpeg()
    assert lgcodec.compress(data, model="fast") == lgcodec.compress(data)
    with pytest.raises(LgcodecError, match="codes JPEG files, not pixels"):
        lgcodec.compress(photo(), model="jpeg")


def test_damage_is_found() -> None:
    packed = bytearray(lgcodec.compress(jpeg()))
    whole = bytes(packed)
    for place in range(0, len(packed), 97):
        packed[place] ^= 4
        with pytest.raises(LgcodecError):
            lgcodec.restore(bytes(packed))
        packed[place] ^= 4
    assert bytes(packed) == whole
    with pytest.raises(FormatError):
        lgcodec.restore(whole[:-1])
    assert lgcodec.Codec().rescue(whole)[0].file == jpeg()
    packed[-9] ^= 4
    with pytest.raises(FormatError, match="the checksum of"):  # all comes back or nothing
        lgcodec.Codec().rescue(packed)


def resealed(data: bytes, change: Callable[[bytearray], None]) -> bytes:
    """The file with its header changed and sealed again."""
    size = container.read_header(data).size
    head = bytearray(data[: size - 4])
    change(head)
    return bytes(head) + zlib.crc32(head).to_bytes(4, "little") + data[size:]


def test_a_hostile_header_is_refused() -> None:
    data = jpeg()
    packed = lgcodec.compress(data)
    size = container.read_header(packed).size

    def flip(place: int) -> Callable[[bytearray], None]:
        def change(head: bytearray) -> None:
            head[place] ^= 1

        return change

    for place in range(9, size - 4):
        try:
            assert lgcodec.restore(resealed(packed, flip(place))) == data, place  # of what decides nothing
        except LgcodecError:
            continue


def test_a_kept_picture_is_read_lazily(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg())
    picture = readers.read(path, keep=True)
    assert picture.file == path.read_bytes()
    assert picture.lost == ()
    assert picture.stripped().file is None


def test_the_command_line_keeps_files(cli: Cli) -> None:
    data = jpeg(comment=b"kept")
    Path("a.jpeg").write_bytes(data)
    assert cli("compress", "--rm", "a.jpeg").exit_code == 0
    assert sorted(p.name for p in Path().iterdir()) == ["a.lgc"]
    assert "a JPEG file of" in cli("info", "a.lgc").stdout
    assert cli("decompress", "a.lgc").exit_code == 0
    assert Path("a.jpg").read_bytes() == data
    assert cli("decompress", "-c", "a.lgc").stdout_bytes == data
    assert cli("decompress", "a.lgc", "-o", "a.png").exit_code == 0
    assert np.array_equal(np.asarray(Image.open("a.png")), np.asarray(Image.open("a.jpg")))
    assert cli("decompress", "-", "-o", "b.jpg", stdin=Path("a.lgc").read_bytes()).exit_code == 0
    assert Path("b.jpg").read_bytes() == data
    assert "--pixels" in cli("compress", "--strip", "-f", "a.jpg").stderr
    assert "--strip needs another format" in cli("decompress", "--strip", "a.lgc", "-f", "-o", "b.jpg").stderr
    assert cli("verify", "a.lgc").exit_code == 0


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_a_file_is_not_removed_for_its_pixels(cli: Cli, suffix: str) -> None:
    Path("a.jpg").write_bytes(jpeg())
    assert cli("compress", "-q", "--rm", "a.jpg").exit_code == 0
    result = cli("decompress", "-q", "--rm", "a.lgc", "-o", f"b.{suffix}")
    assert result.exit_code == 1
    assert "is not removed, because this would be lost: " in result.stderr
    assert "the JPEG file as such" in result.stderr
    assert Path("a.lgc").exists()
    assert cli("decompress", "-q", "--rm", "a.lgc").exit_code == 0
    assert not Path("a.lgc").exists()


SHOWS_NOTHING = {"cut": jpeg()[:25], "junk": b"\xff\xd8\xff\xe0junk" * 9, "bare": b"\xff\xd8\xff"}


@pytest.mark.parametrize("data", SHOWS_NOTHING.values(), ids=list(SHOWS_NOTHING))
def test_what_shows_nothing_is_kept_as_well(cli: Cli, data: bytes) -> None:
    Path("a.jpg").write_bytes(data)
    assert cli("compress", "-q", "--rm", "a.jpg").exit_code == 0
    assert Path("a.lgc").stat().st_size <= len(data) + 64
    shown = cli("decompress", "a.lgc", "-o", "b.png")
    assert (shown.exit_code, "it shows nothing" in shown.stderr) == (1, True)
    with pytest.raises(InputError, match="shows nothing"):
        lgcodec.open("a.lgc")
    assert cli("inspect", "a.lgc").exit_code == 0
    assert cli("decompress", "-q", "--rm", "a.lgc").exit_code == 0
    assert Path("a.jpg").read_bytes() == data


@pytest.mark.parametrize("kind", ["4:2:0", "4:4:4", "4:2:2", "progressive", "grey", "odd"])
def test_previews_are_the_blocks_means(cli: Cli, kind: str) -> None:
    """As libjpeg makes a file an eighth of its size; where chroma is smaller, it takes that from finer blocks."""
    options = {"4:4:4": {"subsampling": 0}, "4:2:2": {"subsampling": 1}, "progressive": {"progressive": True}}
    shown = photo((113, 91) if kind == "odd" else (160, 96))
    data = jpeg(shown.convert("L") if kind == "grey" else shown, **options.get(kind, {}))
    packed = lgcodec.compress(data)
    wanted = Image.open(io.BytesIO(data))
    wanted.draft(None, (1, 1))
    assert wanted.size == (-(-shown.width // 8), -(-shown.height // 8))
    difference = np.abs(lgcodec.preview(packed).astype(int) - np.asarray(wanted))
    assert difference.max() == 0 if kind in ("4:4:4", "grey") else difference.mean() < 12
    Path("a.lgc").write_bytes(packed)
    assert cli("preview", "-q", "a.lgc").exit_code == 0
    assert np.array_equal(np.asarray(Image.open("a.preview.png")), lgcodec.preview(packed))


def test_files_whose_components_come_one_after_the_other_have_previews() -> None:
    golden = Path(__file__).parent / "golden" / "kept-444"
    wanted = Image.open(golden.with_suffix(".jpg"))
    wanted.draft(None, (1, 1))
    assert np.array_equal(lgcodec.preview(golden.with_suffix(".lgc")), np.asarray(wanted))


def test_pillow_drafts_by_previews() -> None:
    data = jpeg(photo((160, 96)))
    with Image.open(io.BytesIO(lgcodec.compress(data))) as image:
        image.thumbnail((15, 15))
        assert image.size == (15, 9)
    with Image.open(io.BytesIO(lgcodec.compress(jpeg(photo(), quality=85)[:-700]))) as image:  # kept as it is
        assert image.draft("RGB", (10, 10)) is None


def test_pixels_do_not_become_jpegs(cli: Cli) -> None:
    photo().save("a.png")
    assert cli("compress", "a.png").exit_code == 0
    result = cli("decompress", "a.lgc", "-o", "b.jpg")
    assert result.exit_code == 1
    assert "would not keep every pixel" in result.stderr
    assert not Path("b.jpg").exists()


def test_sets_and_folders_keep_files(cli: Cli) -> None:
    Path("in").mkdir()
    data = jpeg()
    Path("in/a.jpg").write_bytes(data)
    photo().save("in/b.png")
    assert cli("compress", "-q", "in", "-o", "s.lgcs").exit_code == 0
    assert cli("decompress", "-q", "s.lgcs", "-o", "back").exit_code == 0
    assert sorted(p.name for p in Path("back").iterdir()) == ["a.jpg", "b.png"]
    assert Path("back/a.jpg").read_bytes() == data
    assert cli("compress", "-q", "-r", "in", "-o", "packed").exit_code == 0
    assert cli("decompress", "-q", "-r", "packed", "-o", "again").exit_code == 0
    assert Path("again/a.jpg").read_bytes() == data
