"""Files are read whole or refused: what Pillow would cut, drop or repair never passes for the image."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from strategies import arrays

from lgcodec import metadata, pnm, tiff
from lgcodec.errors import InputError, LimitError
from lgcodec.image import Picture
from lgcodec.readers import read
from lgcodec.readers.png import PNG_MODES

RANDOM = np.random.default_rng(11)
Fields = dict[int, tuple[int, tuple[int, ...]]]


def noise(*shape: int, top: int = 256) -> NDArray[np.uint8]:
    return RANDOM.integers(0, top, shape).astype(np.uint8)


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return metadata.PNG_SIGNATURE + head + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def tif(pixels: bytes, fields: Fields, order: str = "<", following: int = 0) -> bytes:
    """A TIFF file of one strip: fields are type and values by tag."""
    sizes = {3: "H", 4: "I"}
    fields = fields | {273: (4, (8,)), 279: (4, (len(pixels),))}
    start = 8 + len(pixels)
    place = start + 2 + 12 * len(fields) + 4
    entries, behind = b"", b""
    for tag, (kind, values) in sorted(fields.items()):
        data = struct.pack(f"{order}{len(values)}{sizes[kind]}", *values)
        if len(data) > 4:
            behind += data
            data = struct.pack(f"{order}I", place + len(behind) - len(data))
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + data.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    count = struct.pack(f"{order}H", len(fields))
    return head + pixels + count + entries + struct.pack(f"{order}I", following) + behind


def layout(width: int, height: int, photometric: int, *bits: int) -> Fields:
    return {
        256: (4, (width,)),
        257: (4, (height,)),
        258: (3, bits),
        259: (3, (1,)),
        262: (3, (photometric,)),
        277: (3, (len(bits),)),
        278: (4, (height,)),
    }


def refused(data: bytes, *words: str) -> None:
    with pytest.raises(InputError) as error:
        read(data)
    for word in words:
        assert word in str(error.value)


# -- PNG --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("colour", "depth"), sorted(PNG_MODES))
@pytest.mark.parametrize("interlaced", [False, True])
def test_every_kind_of_png_comes_back(colour: int, depth: int, interlaced: bool) -> None:
    width, height, channels = 13, 9, {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    values = RANDOM.integers(0, 1 << depth, (height, width, channels))
    palette = [chunk(b"PLTE", bytes(range(3 << min(depth, 6))))] if colour == 3 else []
    if colour == 3:
        values %= min(1 << depth, 64)

    def rows(part: NDArray[np.int64]) -> bytes:
        bits = (part.reshape(len(part), -1)[..., None] >> np.arange(depth)[::-1]) & 1
        packed = np.packbits(bits.reshape(len(part), -1).astype(np.uint8), axis=1)
        return b"".join(b"\0" + row.tobytes() for row in packed)

    body = rows(values)
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
        body = b"".join(rows(values[y::dy, x::dx]) for y, x, dy, dx in passes if values[y::dy, x::dx].size)
    data = bytearray(png(width, height, depth, colour, body, *palette))
    if interlaced:
        data[28] = 1
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    picture = read(bytes(data))
    scale = 255 // ((1 << depth) - 1) if colour == 0 and 1 < depth < 8 else 1
    assert np.array_equal(picture.array().reshape(values.shape), values * scale)
    assert picture.depth == depth
    file = io.BytesIO()
    picture.write_png(file)
    assert metadata.parse_png(file.getvalue()).head[8:10] == bytes([depth, colour])
    assert np.array_equal(read(file.getvalue()).array(), picture.array())


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda d: d[:4] + b"\n" + d[5:], "first bytes were changed"),
        (lambda d: d[:29] + b"\0\0\0\0" + d[33:], "checksum of chunk IHDR"),
        (lambda d: d[:-12], "no IEND"),
        (lambda d: d[:50], "ends inside chunk"),
        (lambda d: d[:33] + d[-12:], "no pixels"),
        (lambda d: d[:33] + chunk(b"CgBI", b"") + d[33:], "unknown critical chunk CgBI"),
        (lambda d: d[:33] + d[8:33] + d[33:], "more than one IHDR"),
        (lambda d: d[:-12] + chunk(b"tEXt", b"a\0b") + chunk(b"IDAT", b"") + d[-12:], "stand between"),
        (lambda d: png(2, 2, 3, 2, bytes(20)), "3 bits"),
        (lambda d: png(2, 2, 8, 5, bytes(20)), "colour type 5"),
        (lambda d: png(0, 2, 8, 2, bytes(20)), "0 x 2"),
        (lambda d: png(2, 2, 8, 3, bytes(6)), "no palette"),
        (lambda d: png(2, 2, 8, 2, bytes(3)), "damaged"),
        (lambda d: d[:33] + chunk(b"tRNS", b"x") + d[33:], "metadata"),
    ],
)
def test_damaged_png_files_say_what_is_wrong(change: Any, word: str) -> None:
    refused(change(saved(Image.fromarray(noise(5, 7, 3)), "PNG")), word)


def test_a_damaged_text_is_named_and_can_be_stripped() -> None:
    good = png(7, 5, 8, 2, b"".join(b"\0" + noise(21).tobytes() for _ in range(5)), chunk(b"tEXt", b"Title\0name"))
    bad = good.replace(b"name", b"nome")
    refused(bad, "checksum of chunk tEXt", "--strip")
    assert np.array_equal(read(bad, strip=True).array(), read(good).array())
    assert read(good, strip=True).chunks == ()


def test_animated_png_is_refused_with_the_count() -> None:
    frames = [Image.fromarray(noise(5, 7, 3)) for _ in range(3)]
    refused(saved(frames[0], "PNG", save_all=True, append_images=frames[1:]), "3 frames")


def test_bytes_after_the_end_are_named() -> None:
    for form in ("PNG", "JPEG", "WEBP", "PPM"):
        data = saved(Image.fromarray(noise(5, 7, 3)), form)
        assert read(data).lost == ()
        assert any("bytes after" in lost for lost in read(data + b"12345").lost), form


# -- metadata ---------------------------------------------------------------------------------------------------------


def test_profiles_and_texts_of_any_size_come_back_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    big = RANDOM.bytes(700_000).hex().encode()  # Pillow alone reads 1 MB of it
    image = Image.fromarray(noise(5, 7, 3))
    extra = PngImagePlugin.PngInfo()
    extra.add_text("Long", big.decode(), zip=True)
    extra.add_itxt("Longer", big.decode(), zip=True)
    picture = read(saved(image, "PNG", icc_profile=big, pnginfo=extra))
    info = picture.image().info
    assert info["icc_profile"] == big
    assert info["Long"] == info["Longer"] == big.decode()
    monkeypatch.setattr(metadata, "MAX_CHUNKS", 1 << 20)
    with pytest.raises(LimitError, match="--strip"):
        read(saved(image, "PNG", icc_profile=big))


def test_a_pillow_image_is_what_it_says_when_it_is_handed_over() -> None:
    exif = Image.Exif()
    exif[0x0110] = "a camera"
    data = saved(Image.fromarray(noise(5, 7, 3)), "PNG", exif=exif, icc_profile=b"profile", dpi=(72, 72))
    image = Image.open(io.BytesIO(data))
    image.info.pop("exif")
    first, second = read(image), read(image)
    assert first.chunks == second.chunks
    assert sorted(first.image().info) == ["dpi", "icc_profile"]
    image.info["icc_profile"] = b"another"
    assert read(image).image().info["icc_profile"] == b"another"


def test_an_unread_tiff_is_checked_and_its_tags_named() -> None:
    fields = layout(7, 5, 2, 8, 8, 8) | {33550: (4, (1, 2, 3))}
    image = Image.open(io.BytesIO(tif(noise(5, 7, 3).tobytes(), fields)))
    picture = read(image)
    assert picture.lost == ("TIFF tag 33550",)
    assert picture.chunks == ()
    assert image.info["dpi"] == (1, 1)  # the caller's own is as it was
    for bits, word in (((8, 8, 8, 8), "bands"), ((16, 16, 16), "of which Pillow reads 8")):
        fields = layout(7, 5, 2, *bits) | ({338: (3, (0,))} if len(bits) == 4 else {})
        with pytest.raises(InputError, match=word):
            read(Image.open(io.BytesIO(tif(noise(5 * 7 * 8).tobytes(), fields))))


def test_jpeg_metadata_is_kept_or_named() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    iptc = b"8BIM\x04\x04\0\0\0\0\0\x0c\x1c\x02\x78\0\x07caption"
    app13 = b"Photoshop 3.0\0" + iptc
    plain = saved(Image.fromarray(noise(16, 16, 3)), "JPEG", exif=exif, comment=b"by Jane")
    for marker, content in ((0xED, app13), (0xE5, b"private\0")):
        plain = plain[:2] + struct.pack(">BBH", 255, marker, 2 + len(content)) + content + plain[2:]
    picture = read(plain)
    assert picture.lost == ("APP5 private",)
    chunks = dict(picture.chunks)
    assert chunks[b"tEXt"] == b"Comment\0by Jane"
    name, text = chunks[b"zTXt"].split(b"\0\0", 1)
    assert name == b"Raw profile type iptc"
    assert bytes.fromhex(zlib.decompress(text).decode().split("\n", 3)[3].replace("\n", "")) == iptc
    assert b"pHYs" not in chunks  # nobody said how many dots an inch has


def test_tiff_metadata_are_kept_byte_for_byte() -> None:
    fields = layout(7, 5, 2, 8, 8, 8)
    assert read(tif(noise(5, 7, 3).tobytes(), fields)).chunks == ()  # no "1 dpi"
    directory = tiff.read(tif(noise(5, 7, 3).tobytes(), fields | {33550: (4, (1, 2, 3)), 282: (4, (1,))}))[0]
    assert tiff.described(directory)[33550] == (4, 3, struct.pack("<3I", 1, 2, 3))
    for order in "<>":
        data = tif(noise(5, 7, 3).tobytes(), fields | {33550: (4, (1, 2, 3)), 270: (3, (7,))}, order)
        picture = read(data)
        file = io.BytesIO()
        exif = dict(picture.chunks)[b"eXIf"]
        tiff.write(picture.array(), file, exif=exif, profile=b"icc", xmp=b"<x/>", density=(300, 150))
        again = read(file.getvalue())
        assert np.array_equal(again.array(), picture.array())
        assert tiff.described(tiff.read(file.getvalue())[0]).items() >= tiff.described(tiff.read(data)[0]).items()
        info = again.image().info
        assert (info["icc_profile"], info["xmp"]) == (b"icc", b"<x/>")
        assert tuple(round(side) for side in info["dpi"]) == (300, 150)


# -- other formats ----------------------------------------------------------------------------------------------------

WHOLE = {
    "1": (0, (1,), ()),
    "L": (1, (8,), ()),
    "LA": (1, (8, 8), (2,)),
    "I;16": (1, (16,), ()),
    "RGB": (2, (8, 8, 8), ()),
    "RGBA": (2, (8, 8, 8, 8), (2,)),
    "LA;16": (1, (16, 16), (2,)),
    "RGB;16": (2, (16, 16, 16), ()),
    "RGBA;16": (2, (16, 16, 16, 16), (2,)),
}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("mode", WHOLE)
def test_tiff_that_is_read_whole(mode: str, order: str) -> None:
    photometric, bits, extra = WHOLE[mode]
    if mode == "1":
        values = noise(5, 7, top=2)
        pixels = np.packbits(values, axis=1).tobytes()
        values = 1 - values
    else:
        values = RANDOM.integers(0, 1 << bits[0], (5, 7, *([len(bits)] if len(bits) > 1 else [])))
        pixels = values.astype(f"{order}u{bits[0] // 8}").tobytes()
    fields = layout(7, 5, photometric, *bits) | ({338: (3, extra)} if extra else {})
    picture = read(tif(pixels, fields, order))
    assert picture.mode.pillow == mode
    assert np.array_equal(picture.array(), values)


@pytest.mark.parametrize(
    ("bits", "photometric", "extra", "word"),
    [
        ((8, 8, 8, 8), 2, (0,), "1 bands would be lost"),
        ((8, 8, 8, 8), 2, (1,), "premultiplied"),
        ((8, 8, 8, 8, 8), 2, (2, 0), "bands"),
        ((8, 8), 1, (0,), "bands"),
        ((8, 8), 1, (1,), "premultiplied"),
        ((16, 16, 16, 16), 2, (0,), "bands"),
        ((12,), 1, (), "bits would be lost"),
        ((32,), 1, (), "bits would be lost"),
        ((8, 8, 8, 8), 5, (), "changed"),
        ((8, 8, 8), 8, (), "changed"),
    ],
)
def test_tiff_that_would_lose_something(bits: tuple[int, ...], photometric: int, extra: Any, word: str) -> None:
    fields = layout(7, 5, photometric, *bits) | ({338: (3, extra)} if extra else {})
    refused(tif(noise(5 * 7 * sum(bits) // 8 + 9).tobytes(), fields), "not known to be read whole", word)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("photometric", "channels"), [(0, 1), (1, 2)], ids=["WhiteIsZero", "LA;16"])
def test_tiff_of_16_bits_that_pillow_does_not_show(order: str, photometric: int, channels: int) -> None:
    values = RANDOM.integers(0, 1 << 16, (5, 7, channels)).astype(np.uint16)
    shown = values[..., 0] if channels == 1 else values
    shown = ~shown if photometric == 0 else shown
    fields = layout(7, 5, photometric, *[16] * channels) | ({338: (3, (2,))} if channels == 2 else {})
    deflated = zlib.compress(np.diff(values, axis=1, prepend=values[:, :1] * 0).astype(f"{order}u2").tobytes())
    for pixels, more in ((values.astype(f"{order}u2").tobytes(), {}), (deflated, {259: (3, (8,)), 317: (3, (2,))})):
        assert np.array_equal(read(tif(pixels, fields | more, order)).array(), shown)
        turned = read(tif(pixels, fields | more | {274: (3, (6,))}, order))
        assert np.array_equal(turned.array(), tiff.turned(shown, 6))
        refused(tif(pixels[: len(pixels) // 2], fields | more, order), "damaged TIFF file", "short")
    with pytest.raises(LimitError, match="limit"):
        read(tif(pixels, fields | more | {256: (4, (1 << 20,)), 257: (4, (1 << 20,))}, order))


def test_tiff_of_16_bits_in_other_layouts_needs_its_reader() -> None:
    tifffile = pytest.importorskip("tifffile")
    values = RANDOM.integers(0, 1 << 16, (20, 30, 2)).astype(np.uint16)
    for options in ({"compression": "lzw", "predictor": True}, {"tile": (16, 16)}, {"planarconfig": "separate"}):
        flat = values.transpose(2, 0, 1) if "planarconfig" in options else values
        file, kind = io.BytesIO(), {"photometric": "minisblack", "extrasamples": ["unassalpha"]}
        tifffile.imwrite(file, flat, **({"planarconfig": "contig"} | kind | options))
        assert np.array_equal(read(file.getvalue()).array(), values)


def test_tiff_in_planes_is_read_whole_or_refused() -> None:
    values = RANDOM.integers(0, 1 << 16, (3, 5, 7)).astype("<u2")
    data = bytearray(tif(values.tobytes(), layout(7, 5, 2, 16, 16, 16) | {284: (3, (2,))}))
    for tag, parts in ((273, [8 + i * values[0].nbytes for i in range(3)]), (279, [values[0].nbytes] * 3)):
        place = data.index(struct.pack("<HHI", tag, 4, 1))
        data[place : place + 12] = struct.pack("<HHII", tag, 4, 3, len(data))
        data += struct.pack("<3I", *parts)
    try:
        import tifffile  # noqa: F401
    except ImportError:
        refused(bytes(data), "tifffile")
        return
    assert np.array_equal(read(bytes(data)).array(), values.transpose(1, 2, 0))


def test_signed_tiff_and_palettes_of_sixteen_bits_are_refused() -> None:
    refused(tif(noise(70).tobytes(), layout(7, 5, 1, 16) | {339: (3, (2,))}), "format [2]")
    colours = tuple(int(c) for c in RANDOM.integers(256, 1 << 16, 768))
    refused(tif(noise(35).tobytes(), layout(7, 5, 3, 8) | {320: (3, colours)}), "colour map of 16 bits")
    assert read(tif(noise(35).tobytes(), layout(7, 5, 3, 8) | {320: (3, tuple(c & 255 for c in colours))}))


def test_a_turned_tiff_is_turned_once() -> None:
    for order in range(1, 9):
        values = RANDOM.integers(0, 256, (5, 7, 3)).astype(np.uint8)
        shown = read(tif(values.tobytes(), layout(7, 5, 2, 8, 8, 8) | {274: (3, (order,))}))
        deep = (values.astype(np.uint16) << 8).astype("<u2")
        wide = read(tif(deep.tobytes(), layout(7, 5, 2, 16, 16, 16) | {274: (3, (order,))}))
        assert np.array_equal(wide.array() >> 8, shown.array())
        assert np.array_equal(tiff.turned(values, order), shown.array())
        assert b"eXIf" not in dict(shown.chunks)


def test_several_pages_are_refused_with_the_count() -> None:
    pages = [Image.fromarray(noise(5, 7, 3)) for _ in range(3)]
    refused(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]), "3 images")
    refused(saved(pages[0], "GIF", save_all=True, append_images=pages[1:]), "3 images")
    refused(saved(pages[0], "WEBP", save_all=True, append_images=pages[1:], lossless=True), "3 images")
    refused(saved(pages[0], "MPO", save_all=True, append_images=pages[1:]), "3 images")
    refused(saved(pages[0].convert("1"), "PPM") * 2, "several PNM images")
    with pytest.raises(InputError, match="3 images"):
        read(Image.open(io.BytesIO(saved(pages[0], "MPO", save_all=True, append_images=pages[1:]))))


def test_a_damaged_fax_is_not_repaired(capfd: pytest.CaptureFixture[str]) -> None:
    page = Image.fromarray(noise(60, 64, top=2) * np.uint8(255)).convert("1")
    data = bytearray(saved(page, "TIFF", compression="group4"))
    assert np.array_equal(read(bytes(data)).array(), np.asarray(page))
    start, found = 8, 0
    for place in range(start + 20, start + 60):
        damaged = bytes(data[:place]) + bytes([data[place] ^ 0x5A]) + bytes(data[place + 1 :])
        try:
            read(damaged)
        except InputError as error:
            found += "Fax4Decode" in str(error)
    assert found > 0
    assert "Fax" not in capfd.readouterr().err


def test_bmp_with_a_fourth_byte_that_says_something() -> None:
    pixels = noise(4, 4, 4)
    head = struct.pack("<2sIHHI", b"BM", 54 + 64, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 32, *[0] * 6)
    refused(head + pixels.tobytes(), "fourth byte")
    pixels[..., 3] = 0
    assert np.array_equal(read(head + pixels.tobytes()).array(), pixels[::-1, :, 2::-1])


def test_formats_beyond_the_list_are_refused() -> None:
    refused(saved(Image.fromarray(noise(16, 16, 4)), "ICO"), "not an image file of a kind")
    refused(saved(Image.fromarray(noise(16, 16, 3)), "SGI"), "not an image file of a kind")
    refused(saved(Image.new("CMYK", (8, 8)), "JPEG"), "CMYK")


@pytest.mark.parametrize("form", ["BMP", "TGA", "WEBP", "GIF", "TIFF", "QOI", "JPEG2000"])
def test_formats_of_the_list_come_back(form: str) -> None:
    image = Image.fromarray(noise(16, 16, 3))
    if form == "GIF":
        image = image.quantize(16)
    if form == "QOI" and "QOI" not in Image.SAVE:
        Image.init()
        if "QOI" not in Image.SAVE:
            pytest.skip("this Pillow does not write QOI")
    data = saved(image, form, **({"lossless": True} if form == "WEBP" else {}))
    shown = read(data).image().convert("RGB")
    assert shown.tobytes() == image.convert("RGB").tobytes()


def test_jpeg2000_of_more_bits_needs_its_reader() -> None:
    codecs = pytest.importorskip("imagecodecs")
    for top, kept in ((65535, True), (4095, False)):
        values = RANDOM.integers(0, top + 1, (16, 16, 3)).astype(np.uint16)
        bits = 16 if kept else 12
        data = bytes(codecs.jpeg2k_encode(values, level=0, reversible=True, bitspersample=bits))
        if kept:
            assert np.array_equal(read(data).array(), values)
        else:
            refused(data, "12 bits")


@pytest.mark.parametrize("error", [TypeError, RuntimeError, KeyError, AttributeError, OSError])
def test_whatever_a_decoder_raises_is_our_error(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("inside")

    monkeypatch.setattr(Image, "open", fail)
    refused(b"\xff\xd8\xff\xe0", "damaged image file", "inside")


@pytest.mark.parametrize("source", [None, [[1, 2], [3, 4]], 7, {"a": 1}, io.StringIO("text"), memoryview(b"12")[::2]])
def test_what_is_no_image_at_all(source: Any) -> None:
    with pytest.raises(InputError):
        read(source)


def test_buffers_are_files() -> None:
    data = saved(Image.fromarray(noise(5, 7, 3)), "PNG")
    for source in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        assert np.array_equal(read(source).array(), read(data).array())


# -- PNM --------------------------------------------------------------------------------------------------------------


@given(arrays((("uint8", ()), ("uint8", (3,)), ("uint16", ()), ("uint16", (3,)), ("bool", ()))), st.integers(1, 65535))
@settings(max_examples=50)
def test_anymaps_come_back_with_any_maxval(array: NDArray[Any], maxval: int) -> None:
    top = 1 if array.dtype == bool else np.iinfo(array.dtype).max
    if array.dtype != bool:
        maxval = min(max(maxval, 256 if top > 255 else 1), int(top))
        array = (array.astype(np.int64) % (maxval + 1)).astype(array.dtype)
        kind = b"P6" if array.ndim == 3 else b"P5"
        head = kind + b"\n# a comment\n%d %d\n%d\n" % (*array.shape[1::-1], maxval)
        data = head + array.astype(">u2" if maxval > 255 else np.uint8).tobytes()
    else:
        data = b"P4\n# a comment\n%d %d\n" % array.shape[::-1] + np.packbits(~array, axis=1).tobytes()
    picture = read(data)
    assert (b"tEXt", b"Comment\0a comment") in picture.chunks
    word = dict(picture.chunks).get(metadata.MAXVAL)
    options = {} if word is None else dict(zip(("maxval", "is_scaled"), struct.unpack(">I?", word), strict=True))
    file = io.BytesIO()
    pnm.write(picture.array(), file, **options)
    assert file.getvalue() == data.replace(b"# a comment\n", b"")


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_plain_anymaps(kind: int) -> None:
    values = RANDOM.integers(0, 2 if kind == 1 else 256, (4, 5, 3) if kind == 3 else (4, 5))
    maxval = b"" if kind == 1 else b"255\n"
    data = b"P%d 5 4\n%s%s\n" % (kind, maxval, b" ".join(b"%d" % v for v in values.ravel()))
    expected = values == 0 if kind == 1 else values
    assert np.array_equal(read(data).array(), expected)
    refused(data[: len(data) // 2], "PNM")
    refused(data.replace(b" 4\n", b" x\n", 1), "PNM")


def test_samples_above_their_maxval_stay_as_they_are() -> None:
    values = RANDOM.integers(0, 1 << 16, (4, 5)).astype(np.uint16)
    data = b"P5\n5 4\n4095\n" + values.astype(">u2").tobytes()
    picture = read(data)
    assert np.array_equal(picture.array(), values)
    file = io.BytesIO()
    maxval, is_scaled = struct.unpack(">I?", dict(picture.chunks)[metadata.MAXVAL])
    pnm.write(picture.array(), file, maxval, is_scaled=is_scaled)
    assert file.getvalue() == data


def test_limits_come_before_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    for data in (b"P5 60000 60000 255\n", saved(Image.fromarray(noise(9, 9)), "PNG")):
        with pytest.raises((LimitError, InputError), match=r"limit|exceeds"):
            read(data)


def test_a_picture_stripped_is_its_pixels() -> None:
    picture = read(saved(Image.fromarray(noise(5, 7)).quantize(4), "PNG", transparency=1, dpi=(9, 9)))
    assert [kind for kind, _ in picture.stripped().chunks if kind != b"IDAT"] == [b"PLTE", b"tRNS"]


def test_an_unreadable_path_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.png")
    with pytest.raises(IsADirectoryError):
        read(tmp_path)
    assert isinstance(read(noise(3, 3)), Picture)
