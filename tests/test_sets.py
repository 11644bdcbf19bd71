"""Sets: names and files come back, nothing hostile leaves its folder, and the command line makes and restores them."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from strategies import FakeLatent, FakeModel, texture

from lgcodec import Codec, container, sets
from lgcodec.cli.main import program
from lgcodec.errors import FormatError, InputError, LgcodecError

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=9).filter(sets.is_safe)


@given(st.dictionaries(NAMES, st.binary(max_size=20), max_size=4))
def test_what_is_written_is_read(files: dict[str, bytes]) -> None:
    again = sets.read(sets.write(files))
    assert {name: bytes(part) for name, part in again.items()} == files
    assert list(again) == list(files)


UNSAFE = ["", "/a", "a/", "../a", "a/../b", "a//b", ".", "a\\b", "C:x", "nul\0", "a\nb", "a.", "b ", "x" * 4097]


@pytest.mark.parametrize("name", UNSAFE)
def test_names_that_leave_the_folder(name: str) -> None:
    with pytest.raises(InputError, match="cannot be a name"):
        sets.write({name: b""})
    body = b"\x01" + varint(len(name)) + name.encode() + b"\x00"
    head = sets.MAGIC + b"\x01\x00" + varint(len(body)) + body
    with pytest.raises(FormatError):
        sets.read(head + struct.pack("<I", zlib.crc32(head)))


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def test_any_damage_of_the_header_is_found() -> None:
    data = sets.write({"a": b"one", "b/c": b"two"})
    for place in range(len(data) - 6):
        for change in (1, 0x80):
            damaged = bytearray(data)
            damaged[place] ^= change
            with pytest.raises(FormatError):
                sets.read(damaged)
    for other in [*(data[:cut] for cut in range(len(data))), data + b"x"]:
        with pytest.raises(FormatError):
            sets.read(other)


@pytest.mark.parametrize("model", ["default", FakeLatent(tile=(16, 16))], ids=["explicit", "latent"])
def test_images_come_back_from_a_set(model: str | FakeLatent) -> None:
    codec = Codec(model)
    images = {"a.png": texture(20, 30, 3), "b/a.png": texture(40, 9), "c": np.zeros((3, 3), bool)}
    data = codec.compress_set(images)
    for name, picture in codec.decode_set(data).items():
        assert np.array_equal(picture.array(), images[name])
    damaged = bytearray(data)
    damaged[-9] ^= 1
    with pytest.raises(LgcodecError):
        codec.decode_set(damaged)
    with pytest.raises(FormatError, match="a set of images"):
        codec.decompress(data)


@pytest.mark.usefixtures("model_alone")
def test_a_chain_may_begin_with_tiles_of_several_images() -> None:
    codec, digit = Codec("vae-mnist"), np.add.outer(np.arange(28) ** 2 % 50, np.arange(28) * 7).astype(np.uint8)
    data = codec.compress_set({str(i): digit + np.uint8(i) for i in range(9)})
    first = container.read_header(sets.read(data)["0"]).content
    assert first.chain is not None
    assert len(first.chain.seeds) > len(first.index) == 1
    for name, picture in codec.decode_set(data).items():
        assert np.array_equal(picture.array(), digit + np.uint8(int(name)))
    with pytest.raises(FormatError, match="more tiles than there are"):
        codec.decompress(sets.read(data)["0"])


@pytest.fixture
def album(tmp_path: Path) -> Path:
    (tmp_path / "album" / "more").mkdir(parents=True)
    for name, image in (
        ("one.png", texture(9, 20, 3)),
        ("more/two.webp", texture(16, 8, 3)),
        ("three.ppm", texture(5, 5, 3)),
    ):
        Image.fromarray(image).save(tmp_path / "album" / name, **({"lossless": True} if name.endswith("webp") else {}))
    return tmp_path / "album"


def run(*words: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(program, [str(word) for word in words], standalone_mode=False)
    if isinstance(result.exception, LgcodecError):
        return 1, str(result.exception)
    assert result.exception is None, result.exception
    return int(result.return_value or 0), result.output


def test_a_folder_is_compressed_and_restored(album: Path) -> None:
    packed, back = album.parent / "album.lgcs", album.parent / "back"
    code, said = run("compress", album, "-o", packed)
    assert code == 0
    assert "3 images" in said
    assert "bpsp" in said
    assert run("verify", packed)[0] == 0
    assert run("decompress", packed, "-o", back)[0] == 0
    for path in album.rglob("*.*"):
        again = Image.open(back / path.relative_to(album))
        assert np.array_equal(np.asarray(again), np.asarray(Image.open(path)))
    assert run("compress", album, "-o", packed)[0] == 1  # exists
    assert run("decompress", packed, "-o", back)[0] == 1
    assert run("decompress", packed, "-o", back, "-f")[0] == 0


def test_info_has_a_line_an_image(album: Path) -> None:
    packed = album.parent / "album.lgcs"
    assert run("compress", album, "-o", packed, "-q")[0] == 0
    code, said = run("info", packed)
    assert code == 0
    lines = said.splitlines()
    assert lines[0] == str(packed)
    assert f"3 images: 333 pixels, {packed.stat().st_size} bytes" in lines[1]
    parts = sets.read(packed.read_bytes())
    for line, (name, part) in zip(lines[2:], parts.items(), strict=True):
        assert line.split()[0] == name
        assert f"RGB  {len(part)} bytes" in line
    found = json.loads(run("info", "--json", packed)[1])
    assert found["file_bytes"] == packed.stat().st_size
    assert found["images"]["one.png"]["width"] == 20
    assert list(found["images"]) == list(parts)
    damaged = packed.read_bytes()[:-1]
    packed.write_bytes(damaged)
    assert run("info", packed)[0] == 1


def test_a_set_is_one_under_any_name(album: Path) -> None:
    assert run("compress", album, "-o", album.parent / "x.lgcs", "-q")[0] == 0
    other = (album.parent / "x.lgcs").rename(album.parent / "x.bin")
    for command in ("verify", "info"):
        code, said = run(command, other)
        assert code == 0
        assert "3 images" in said
    code, said = run("decompress", other, "-o", album.parent / "x.png")
    assert code == 1
    assert "from a name that ends in .lgcs" in said


def test_info_of_a_chain_says_that_it_is_one(tmp_path: Path) -> None:
    data = Codec(FakeLatent(tile=(16, 16))).compress_set({"a": texture(20, 30, 3), "b": texture(40, 9, 3)})
    (tmp_path / "c.lgcs").write_bytes(data)
    code, said = run("info", tmp_path / "c.lgcs")
    assert code == 0
    assert "one chain" in said
    (tmp_path / "none.lgcs").write_bytes(sets.write({}))
    assert "0 images" in run("info", tmp_path / "none.lgcs")[1]


def test_a_damaged_set_writes_nothing(album: Path) -> None:
    packed, back = album.parent / "album.lgcs", album.parent / "back"
    assert run("compress", album, "-o", packed, "-q")[0] == 0
    data = bytearray(packed.read_bytes())
    data[-3] ^= 1
    packed.write_bytes(data)
    name = list(sets.read(data))[-1]
    for command in (("decompress", packed, "-o", back), ("verify", packed)):
        code, said = run(*command)
        assert code == 1
        assert f"{packed}: {name}: the checksum of" in said
    assert not back.exists()


def test_two_inputs_of_one_name(album: Path) -> None:
    (album / "more" / "one.png").write_bytes((album / "one.png").read_bytes())
    code, said = run("compress", album / "one.png", album / "more" / "one.png", "-o", album / "x.lgcs")
    assert code == 1
    assert "two inputs are called one.png" in said


def struck(data: bytes, *names: str, at: int = -3) -> bytes:
    """The set with a bit of these files changed, `at` so many bytes from their ends, or starts."""
    changed = bytearray(data)
    for name, (start, end) in sets.read_index(data).items():
        if name in names:
            changed[(end if at < 0 else start) + at] ^= 1
    return bytes(changed)


def whole(found: dict[str, Any], images: dict[str, Any]) -> set[str]:
    """The names of those that came back, which are as they were; the others have an error or lost tiles."""
    back = {name: part for name, part in found.items() if not isinstance(part, LgcodecError)}
    assert found.keys() == images.keys()
    assert all(np.array_equal(part[0].array(), images[name]) for name, part in back.items() if not part[1])
    return {name for name, part in back.items() if not part[1]}


@pytest.mark.usefixtures("model_alone")
def test_what_is_whole_of_a_damaged_set_comes_back() -> None:
    codec = Codec(FakeModel(tile=(16, 16)))
    images = {name: texture(24, 40, 3, shift) for shift, name in enumerate("abcd")}
    data = codec.compress_set(images)
    assert whole(codec.rescue_set(data), images) == set("abcd")
    found = codec.rescue_set(struck(struck(data, "b"), "c", at=20))
    assert whole(found, images) == set("ad")
    picture, damaged = found["b"]  # type: ignore[misc]
    assert damaged == [(28, 12, 40, 24)]
    expected = images["b"].copy()
    expected[12:24, 28:40] = 128
    assert np.array_equal(picture.array(), expected)
    assert "header" in str(found["c"])
    end = sets.read_index(data)["c"][1]
    assert whole(codec.rescue_set(data[: end - 3]), images) == set("ab")
    assert whole(codec.rescue_set(data + b"and more"), images) == set("abcd")
    with pytest.raises(FormatError):
        codec.rescue_set(data[:20])


def test_of_a_chain_what_comes_before_its_damage_is_lost() -> None:
    """It is decoded from its end, and an image's digest says whether that went well."""
    codec = Codec(FakeLatent(tile=(16, 16)))
    images = {name: texture(32, 40 if name == "d" else 24, 3, shift % 2) for shift, name in enumerate("abcdef")}
    images["x"] = np.full((9, 9), 70, np.uint8)  # in no chain
    data = codec.compress_set(images)
    start, end = sets.read_index(data)["a"]
    header = container.read_header(sets.read(data)["a"])
    lost = []
    for place in range(start + header.size, end, 400):
        changed = bytearray(data)
        changed[place] ^= 16
        back = whole(codec.rescue_set(changed), images)
        assert back == {*"abcdefx"[len("abcdefx") - len(back) :]}  # the last ones
        lost.append(7 - len(back))
    assert lost[0] < 6 == lost[-1]
    assert lost == sorted(lost)
    assert len(set(lost)) > 4
    # of one header that is lost, the others do not suffer where it was of the size of the one before it
    assert whole(codec.rescue_set(struck(data, "c", at=20)), images) == set("abdefx")
    assert whole(codec.rescue_set(struck(data, "x", at=20)), images) == set("abcdef")
    assert whole(codec.rescue_set(struck(data, "d", at=20)), images) == set("efx")
    found = codec.rescue_set(struck(data, "a", at=20))
    assert whole(found, images) == {"x"}
    assert "in which the chain begins" in str(found["b"])


@pytest.mark.usefixtures("model_alone")
def test_a_chain_of_one_image_is_whole_or_lost() -> None:
    codec = Codec(FakeLatent(tile=(16, 16)))
    one = codec.compress(texture(96, 96, 3))
    assert container.read_header(one).is_chained
    assert np.array_equal(codec.rescue(one)[0].array(), texture(96, 96, 3))
    with pytest.raises(FormatError, match="chain"):
        codec.rescue(one[:-3])


def test_keep_going_restores_the_rest_of_a_set(album: Path) -> None:
    packed, back = album.parent / "album.lgcs", album.parent / "back"
    assert run("compress", album, "-o", packed, "-q")[0] == 0
    packed.write_bytes(struck(packed.read_bytes(), "one.png"))
    assert run("decompress", packed, "-o", back)[0] == 1
    assert not back.exists()
    code, said = run("decompress", packed, "-o", back, "--keep-going")
    assert code == 1
    assert f"{packed}: one.png: " in said
    assert f"{packed}: 1 of 3 images are damaged (1 left out, 0 restored in part)" in said
    assert sorted(path.relative_to(back).as_posix() for path in back.rglob("*.*")) == ["more/two.webp", "three.ppm"]
    for name in ("more/two.webp", "three.ppm"):
        assert np.array_equal(np.asarray(Image.open(back / name)), np.asarray(Image.open(album / name)))
    packed.write_bytes(struck(packed.read_bytes(), "more/two.webp", "three.ppm"))
    code, said = run("decompress", packed, "-o", album.parent / "none", "--keep-going")
    assert code == 1
    assert "3 left out" in said
    assert not (album.parent / "none").exists()


def test_keep_going_says_what_is_behind_the_end(album: Path) -> None:
    packed, single = album.parent / "album.lgcs", album.parent / "one.lgc"
    assert run("compress", album, "-o", packed, "-q")[0] == 0
    assert run("compress", album / "one.png", "-o", single, "-q")[0] == 0
    for path, out in ((packed, album.parent / "back"), (single, album.parent / "back.png")):
        path.write_bytes(path.read_bytes() + b"xyz")
        code, said = run("decompress", path, "-o", out, "--keep-going", "-q")
        assert code == 1
        assert "goes on for 3 bytes after its end" in said
    assert len(list((album.parent / "back").rglob("*.*"))) == 3
    assert np.array_equal(np.asarray(Image.open(album.parent / "back.png")), np.asarray(Image.open(album / "one.png")))


def test_keep_going_says_that_metadata_are_lost(album: Path) -> None:
    Image.open(album / "one.png").save(album / "one.png", dpi=(72, 72))
    packed, single = album.parent / "album.lgcs", album.parent / "one.lgc"
    assert run("compress", album, "-o", packed, "-q")[0] == 0
    assert run("compress", album / "one.png", "-o", single, "-q")[0] == 0
    whole = single.read_bytes()
    place = container.read_header(whole).size
    single.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    packed.write_bytes(struck(packed.read_bytes(), "one.png", at=place - len(whole)))
    for path, out in ((packed, album.parent / "back"), (single, album.parent / "back.png")):
        code, said = run("decompress", path, "-o", out, "--keep-going", "-q")
        assert code == 1
        assert "the checksum of the PNG chunks is wrong" in said
    assert np.array_equal(np.asarray(Image.open(album.parent / "back.png")), np.asarray(Image.open(album / "one.png")))
