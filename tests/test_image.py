"""Pictures: every mode that is kept comes back with pixels, palette and metadata; every other one is refused."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from PIL import Image, PngImagePlugin
from strategies import arrays

from lgcodec.errors import FormatError, InputError, LimitError
from lgcodec.image import MODES, Picture
from lgcodec.metadata import PNG_SIGNATURE, check
from lgcodec.readers import read

RANDOM = np.random.default_rng(7)
PILLOW_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/">é</x:xmpmeta>'


def picture_of(mode: str, size: tuple[int, int] = (13, 9)) -> Image.Image:
    width, height = size
    if mode == "1":
        return Image.fromarray(RANDOM.integers(0, 2, (height, width)).astype(np.uint8) * 255).convert("1")
    if mode == "I;16":
        return Image.fromarray(RANDOM.integers(0, 65536, (height, width)).astype(np.uint16))
    if mode == "P":
        image = Image.fromarray(RANDOM.integers(0, 5, (height, width)).astype(np.uint8))
        image.putpalette(RANDOM.integers(0, 256, 15).astype(np.uint8).tobytes(), "RGB")
        return image
    channels = len(mode)
    values = RANDOM.integers(0, 256, (height, width, channels)).astype(np.uint8)
    return Image.fromarray(values[..., 0] if channels == 1 else values)


def png_of(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def returned(picture: Picture) -> Picture:
    """The picture as a decoder makes it: the same facts around an array of samples."""
    samples = picture.samples((0, 0, picture.width, picture.height))
    return Picture(picture.mode, picture.width, picture.height, picture.depth, picture.chunks, samples)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def assert_same(left: Image.Image, right: Image.Image) -> None:
    assert (left.mode, left.size) == (right.mode, right.size)
    assert left.tobytes() == right.tobytes()
    if left.mode in ("P", "LA", "RGBA"):
        assert left.convert("RGBA").tobytes() == right.convert("RGBA").tobytes()


@given(arrays())
def test_array_comes_back(array: np.ndarray) -> None:
    picture = read(array)
    again = returned(picture).array()
    assert again.dtype == array.dtype
    assert again.shape == array.shape
    assert np.array_equal(again, array)
    whole = picture.samples((0, 0, picture.width, picture.height))
    assert np.array_equal(np.concatenate(list(picture.strips())), whole)


@given(arrays())
def test_png_of_any_array_is_read_by_pillow(array: np.ndarray) -> None:
    file = io.BytesIO()
    picture = read(array)
    returned(picture).write_png(file)
    if not picture.mode.deep:
        assert_same(Image.open(file), returned(picture).image())
    assert np.array_equal(read(file.getvalue()).array().reshape(array.shape), array)


@pytest.mark.parametrize("mode", PILLOW_MODES)
@pytest.mark.parametrize("size", [(1, 1), (13, 9), (1, 30), (30, 1)])
def test_pillow_image_comes_back(mode: str, size: tuple[int, int]) -> None:
    image = picture_of(mode, size)
    picture = returned(read(image))
    assert_same(picture.image(), image)
    file = io.BytesIO()
    picture.write_png(file)
    assert_same(Image.open(file), image)


def test_array_layouts_that_are_not_contiguous() -> None:
    array = RANDOM.integers(0, 255, (8, 6, 3)).astype(np.uint8)[::-1, ::2]
    assert np.array_equal(returned(read(array)).array(), array)
    big_endian = RANDOM.integers(0, 65536, (4, 5)).astype(">u2")
    assert np.array_equal(returned(read(big_endian)).array(), big_endian)


def test_metadata_of_a_pillow_image_comes_back() -> None:
    image = picture_of("RGB")
    exif = Image.Exif()
    exif[0x010E] = "a description"
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "me")
    text.add_itxt("XML:com.adobe.xmp", XMP)
    profile = b"not really a profile" * 9
    source = Image.open(
        io.BytesIO(png_of(image, exif=exif, pnginfo=text, icc_profile=profile, dpi=(300, 150), transparency=(1, 2, 3)))
    )
    expected = dict(source.info)
    for picture in (read(source), read(source)):  # unread, then read: from its file, then from its info
        result = returned(picture).image()
        assert {k: v for k, v in result.info.items() if v != expected.get(k)} == {}
        assert set(result.info) >= {"exif", "icc_profile", "xmp", "dpi", "transparency", "Author"}
        assert result.getexif()[0x010E] == "a description"


def test_jpeg_metadata_comes_back() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    picture_of("RGB").save(file, "JPEG", exif=exif, icc_profile=b"profile", dpi=(72, 72), xmp=XMP.encode())
    source = Image.open(file)
    result = returned(read(source)).image()
    assert result.tobytes() == source.tobytes()
    assert result.getexif()[0x0112] == 6
    assert result.info["icc_profile"] == b"profile"
    assert round(result.info["dpi"][0]) == 72
    assert result.info["xmp"] == XMP.encode()


def test_png_chunks_come_back_byte_for_byte_and_in_place() -> None:
    before = [(b"gAMA", struct.pack(">I", 45455)), (b"bKGD", b"\0\1\0\2\0\3"), (b"vpAg", b"private")]
    after = [(b"tIME", bytes(7)), (b"zTXt", b"c\0\0" + zlib.compress(b"long"))]
    plain = png_of(picture_of("RGB"))
    place = plain.index(b"IDAT") - 4
    first, last = (b"".join(chunk(*c) for c in chunks) for chunks in (before, after))
    data = plain[:place] + first + plain[place:-12] + last + plain[-12:]
    picture = read(data)
    assert list(picture.chunks) == [*before, (b"IDAT", b""), *after]
    file = io.BytesIO()
    returned(picture).write_png(file)
    assert read(file.getvalue()).chunks == picture.chunks


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("mode", ["L", "P"])
def test_narrow_png_keeps_its_depth(mode: str, bits: int) -> None:
    if (mode, bits) == ("L", 1):
        pytest.skip("Pillow reads 1-bit grey as mode 1")
    values = RANDOM.integers(0, 1 << bits, (5, 7)).astype(np.uint8)
    image = Image.fromarray(values if mode == "P" else values * (255 // ((1 << bits) - 1)))
    if mode == "P":
        image.putpalette(bytes(range(3 << bits)), "RGB")
    data = png_of(image, bits=bits)
    if data[24] != bits:
        pytest.skip("Pillow before 13 writes grey in 8 bits")
    picture = read(data)
    assert picture.depth == bits
    file = io.BytesIO()
    returned(picture).write_png(file)
    assert file.getvalue()[24] == data[24] == bits
    assert_same(Image.open(file), image)


@pytest.mark.parametrize("transparency", [3, b"\x00\x80\xff"])
def test_transparent_palette(transparency: int | bytes) -> None:
    source = Image.open(io.BytesIO(png_of(picture_of("P"), transparency=transparency)))
    result = returned(read(source)).image()
    assert result.info["transparency"] == transparency
    assert_same(result, source)


def test_palette_with_alpha() -> None:
    image = picture_of("RGBA").quantize(4)
    assert image.palette is not None
    assert image.palette.mode == "RGBA"
    assert returned(read(image)).image().convert("RGBA").tobytes() == image.convert("RGBA").tobytes()


@pytest.mark.parametrize("mode", ["CMYK", "I", "F", "YCbCr", "LAB", "HSV", "RGBX", "La", "RGBa", "PA"])
def test_modes_that_are_refused_are_named(mode: str) -> None:
    with pytest.raises(InputError, match=f"mode {mode} "):
        read(Image.new(mode, (2, 2)))


def test_sixteen_bit_colour_is_read_whole() -> None:
    for channels, kind in ((2, 4), (3, 2), (4, 6)):
        values = RANDOM.integers(0, 65536, (5, 7, channels)).astype(np.uint16)
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
        head = struct.pack(">IIBBBBB", 7, 5, 16, kind, 0, 0, 0)
        data = PNG_SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
        picture = read(data)
        assert np.array_equal(picture.array(), values)
        assert np.array_equal(returned(picture).array(), values)
        file = io.BytesIO()
        returned(picture).write_png(file)
        assert np.array_equal(read(file.getvalue()).array(), values)
        with pytest.raises(InputError, match="Pillow has no images"):
            picture.image()
        with pytest.raises(InputError, match="16 bits a channel"), Image.open(io.BytesIO(data)) as image:
            read(image)  # of which Pillow says nothing
    wide = read(b"P6 1 1 65535\n" + bytes(range(6)))
    assert wide.array().tolist() == [[[1, 515, 1029]]]


def test_animation_is_refused() -> None:
    file = io.BytesIO()
    frames = [picture_of("RGB") for _ in range(2)]
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="2 frames"):
        read(file.getvalue())


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2, 5), np.uint8),
        np.zeros((0, 2), np.uint8),
        np.zeros((2, 2), np.int16),
        np.zeros((2, 2), np.float32),
        np.zeros((2, 2, 1), np.uint16),
        np.zeros(4, np.uint8),
        np.zeros((1, 2, 2, 3), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{list(array.shape)}",
)
def test_arrays_that_are_no_image(array: np.ndarray) -> None:
    with pytest.raises(InputError, match="is no image"):
        read(array)


def test_files_that_are_no_image(tmp_path: Path) -> None:
    for other in (b"hello", b"", b"\x89LGC\r\n\x1a\n"):
        with pytest.raises(InputError):
            read(other)
    data = png_of(picture_of("RGB"))
    with pytest.raises(InputError):
        read(data[: len(data) // 2])
    with pytest.raises(InputError, match="no IEND"):
        read(data[:-12])
    damaged = bytearray(data)
    damaged[-20] ^= 1
    with pytest.raises(InputError, match="checksum of chunk IDAT"):
        read(bytes(damaged))
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing.png")


def test_pillow_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = png_of(picture_of("RGB"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(LimitError):
        read(data)


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"IHDR", b"")],
        [(b"IDAT", b"data")],
        [(b"IDAT", b""), (b"IDAT", b"")],
        [(b"acTL", bytes(8))],
        [(b"te\0t", b"")],
        [(b"PLTE", b"abc"), (b"PLTE", b"abc")],
    ],
)
def test_chunks_that_no_picture_has(chunks: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(FormatError):
        check(tuple(chunks))


def test_chunks_that_pillow_cannot_read() -> None:
    picture = Picture(MODES[4], 1, 1, 8, ((b"tRNS", b"x"),), np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(FormatError, match="metadata"):
        picture.image()


def test_mode_ids_never_change() -> None:
    names = {0: "1", 1: "L", 2: "LA", 3: "P", 4: "RGB", 5: "RGBA", 6: "I;16", 7: "L"}
    names |= {8: "LA;16", 9: "RGB;16", 10: "RGBA;16"}
    assert {wire_id: mode.pillow for wire_id, mode in MODES.items()} == names
