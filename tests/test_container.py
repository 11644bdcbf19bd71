"""The container: what is written is read, and every hostile header has a named error."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lgcodec import container
from lgcodec.boxes import tile_boxes
from lgcodec.colour import GREY, PLAIN, STANDARD
from lgcodec.container import MAGIC, ModelReference
from lgcodec.deflate import deflate, inflate, metadata
from lgcodec.errors import FormatError, IntegrityError, LgcodecError, LimitError, TruncatedError, VersionError
from lgcodec.image import MODES

ROOT = Path(__file__).parents[1]
RGB = MODES[4]
REFERENCE = ModelReference(wire_id=300, digest=bytes(range(16)), adaptation=b"delta", ideal_bits=70)


def varint(value: int) -> bytes:
    """A plain one, written apart from the one under test."""
    return bytes([value]) if value < 128 else bytes([128 + value % 128]) + varint(value // 128)


def sealed(body: bytes, tail: bytes = b"", version: int = 1, features: int = 0, length: int | None = None) -> bytes:
    """A file around a header's body, with right checksums."""
    head = MAGIC + bytes([version, features]) + varint(len(body) if length is None else length) + body
    return head + struct.pack("<I", zlib.crc32(head)) + tail


def body(
    mode: int = 4,
    depth: int = 8,
    size: bytes = varint(1) + varint(1),
    transform: int = PLAIN,
    chunks: bytes = b"\0",
    model: bytes = b"",
    tiles: bytes = varint(1) + varint(1),
    index: bytes | None = None,
) -> bytes:
    """The header of a solid 1x1 RGB image, unless told otherwise."""
    entry = b"\x02\x03" + struct.pack("<I", zlib.crc32(b"rgb")) if index is None else index
    return bytes([mode, depth]) + size + bytes([transform]) + bytes(8) + chunks + model + tiles + entry


def written(**changes: Any) -> bytes:
    arguments: dict[str, Any] = {
        "mode": RGB,
        "depth": 8,
        "size": (5, 3),
        "transform": STANDARD,
        "digest": b"01234567",
        "chunks": ((b"gAMA", b"\0\0\xb1\x8f"), (b"tEXt", b"a\0b" * 50)),
        "model": REFERENCE,
        "tiles": [(3, 2)],
        "streams": [(0, b"word" * 2), (2, b"rgb"), (1, b"x"), (0, b"")],
    }
    return container.write(**(arguments | changes))


def read_all(data: bytes) -> list[bytes]:
    file = container.read(data)
    return [file.stream(i) for i in range(len(file.header.content.index))]


def test_what_is_written_is_read() -> None:
    file = container.read(written())
    header = file.header
    assert (header.mode, header.depth, header.width, header.height) == (RGB, 8, 5, 3)
    assert (header.content.transform, header.digest, header.model) == (STANDARD, b"01234567", REFERENCE)
    assert header.content.sizes == ((3, 2),)
    assert [entry.method for entry in header.content.index] == [0, 2, 1, 0]
    assert [file.stream(i) for i in range(4)] == [b"word" * 2, b"rgb", b"x", b""]
    assert file.chunks == ((b"gAMA", b"\0\0\xb1\x8f"), (b"tEXt", b"a\0b" * 50))
    assert list(header.boxes()) == [(0, (0, 0, 3, 2)), (0, (3, 0, 5, 2)), (0, (0, 2, 3, 3)), (0, (3, 2, 5, 3))]


@given(
    mode=st.sampled_from([MODES[1], MODES[4], MODES[5]]),
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    tile=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    chunks=st.lists(st.tuples(st.sampled_from([b"gAMA", b"tEXt", b"eXIf"]), st.binary(max_size=200)), max_size=4),
    adaptation=st.binary(max_size=300),
    data=st.data(),
)
def test_any_file_comes_back(
    mode: Any, size: Any, tile: Any, chunks: Any, adaptation: bytes, data: st.DataObject
) -> None:
    tile = (max(min(tile[0], size[0]), size[0] // 4 + 1), max(min(tile[1], size[1]), size[1] // 4 + 1))
    tile = (min(tile[0], size[0]), min(tile[1], size[1]))
    count = len(list(tile_boxes(*size, *tile))) * (2 if mode.pillow == "RGBA" else 1)
    streams = [(data.draw(st.sampled_from([1, 2, 5])), data.draw(st.binary(max_size=9))) for _ in range(count - 1)]
    streams.append((0, b"abcd" * data.draw(st.integers(0, 3))))
    model = ModelReference(7, bytes(16), adaptation, 12345)
    transform = GREY
    tiles = [tile] * (2 if mode.pillow == "RGBA" else 1)
    file = container.read(
        container.write(
            mode=mode,
            depth=8,
            size=size,
            transform=transform,
            digest=bytes(8),
            chunks=chunks,
            model=model,
            tiles=tiles,
            streams=streams,
        )
    )
    assert file.chunks == tuple(chunks)
    assert file.header.model == model
    assert file.header.content.sizes == tuple(tiles)
    assert [(entry.method, file.stream(i)) for i, entry in enumerate(file.header.content.index)] == streams


def test_the_smallest_header_is_written_as_the_format_says() -> None:
    mine = sealed(body(), b"rgb")
    theirs = written(
        size=(1, 1), transform=PLAIN, digest=bytes(8), chunks=(), model=None, tiles=[(1, 1)], streams=[(2, b"rgb")]
    )
    assert mine == theirs
    assert len(mine) == 40


def test_every_truncation_is_refused() -> None:
    data = written()
    for size in range(len(data)):
        with pytest.raises(TruncatedError):
            container.read(data[:size])


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(FormatError, match="goes on for 1 bytes"):
        container.read(written() + b"\0")


def test_every_changed_byte_is_refused() -> None:
    data = written()
    for place in range(len(data)):
        for change in (1, 128, 255):
            damaged = bytearray(data)
            damaged[place] ^= change
            with pytest.raises(FormatError):
                read_all(bytes(damaged))


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", TruncatedError, "ends after 0 bytes"),
        (MAGIC[:5], TruncatedError, "ends after 5 bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(30), FormatError, "not an lgcodec file"),
        (MAGIC.replace(b"\r\n", b"\n") + bytes(30), FormatError, "text-mode"),
        (b"\x09" + MAGIC[1:] + bytes(30), FormatError, "text-mode"),
        (sealed(body(), version=2), VersionError, "format version 2"),
        (sealed(body(), features=64), VersionError, "features 0x40"),
        (sealed(body(), features=32), FormatError, "not packed needs no dictionary"),
        (sealed(body(), features=48), FormatError, "not packed needs no dictionary"),
        (sealed(body(), features=4), FormatError, "chain without a model"),
        (sealed(body(), features=7), FormatError, "excludes each other"),
        (sealed(body(), features=2), FormatError, "bases or a chain without a model"),
        (sealed(body(mode=99)), VersionError, "image mode 99"),
        (sealed(body(depth=7)), FormatError, "7 bits a sample"),
        (sealed(body(size=varint(0) + varint(1))), FormatError, "holds 0 where 1"),
        (sealed(body(size=varint(1 << 31) + varint(1))), FormatError, "holds 2147483648"),
        (sealed(body(size=varint((1 << 31) - 1) * 2)), LimitError, "more than the limit"),
        (sealed(body(size=b"\x81\x00" + varint(1))), FormatError, "more bytes than it needs"),
        (sealed(body(size=b"\xff" * 30)), FormatError, "more than 9 bytes"),
        (sealed(body(transform=8)), FormatError, "no transform 8"),
        (sealed(body(mode=1, transform=STANDARD)), FormatError, "no transform"),
        (sealed(body(tiles=varint(2) + varint(1))), FormatError, "holds 2 where 1 to 1"),
        (sealed(body(tiles=varint(0) + varint(1))), FormatError, "holds 0 where 1 to 1"),
        (sealed(body(size=varint(9999) + varint(9999))), FormatError, "no room for the index of 99980001 streams"),
        (sealed(body() + b"\0", b"rgb"), FormatError, "header goes on for 1 bytes"),
        (sealed(body()[:-1], b"rgb"), FormatError, "no room"),
        (sealed(body()[:9], b"rgb"), TruncatedError, "inside a field"),
        (sealed(body(), b"rgb", length=1 << 62), TruncatedError, "inside its header"),
        (sealed(body(index=b"\x02" + varint(1 << 62) + bytes(4))), TruncatedError, "header announces"),
        (sealed(body(index=b"\x63\x03" + bytes(4)), b"rgb"), VersionError, "method 99"),
        (sealed(body(index=b"\x00\x04" + bytes(4)), b"word"), FormatError, "names a model if"),
        (sealed(body(model=bytes(19)), b"rgb", features=1), FormatError, "names a model if"),
        (
            sealed(body(transform=2, model=bytes(19), index=b"\x00\x03" + bytes(4)), b"rgb", features=1),
            FormatError,
            "whole words",
        ),
        (
            sealed(
                body(size=varint(2048) * 2, transform=2, model=bytes(19), tiles=varint(2048) * 2, index=bytes(6)),
                features=1,
            ),
            FormatError,
            "at most 2097152 pixels",
        ),
        (sealed(body(model=bytes(17) + varint(1 << 40)), b"rgb", features=1), TruncatedError, "inside a field"),
        (sealed(body(chunks=varint(1 << 40) * 2 + bytes(4))), FormatError, "is possible"),
        (sealed(body(chunks=varint(2) + varint(1) + bytes(4))), FormatError, "is possible"),
    ],
)
def test_hostile_headers(data: bytes, error: type[LgcodecError], message: str) -> None:
    with pytest.raises(error, match=message):
        container.read(data)


@pytest.mark.parametrize(
    ("packed", "size"),
    [
        (b"gAMA\x05four", 9),  # one byte too few
        (b"gAM", 3),
        (b"IHDR\x00", 5),
        (b"acTL\x00", 5),
        (zlib.compress(bytes(1 << 20), 9)[2:-4], 1 << 19),  # holds twice what it says
        (b"\xff" * 9, 10),
    ],
)
def test_hostile_chunks(packed: bytes, size: int) -> None:
    field = varint(len(packed)) + varint(size) + struct.pack("<I", zlib.crc32(packed))
    with pytest.raises(FormatError):
        container.read(sealed(body(chunks=field), packed + b"rgb"))


def test_damaged_stream_is_found_when_it_is_used() -> None:
    data = bytearray(sealed(body(), b"rgb"))
    data[-1] ^= 1
    file = container.read(data)
    with pytest.raises(IntegrityError, match="stream 0"):
        file.stream(0)


def test_limit_follows_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7)
    with pytest.raises(LimitError, match="5 x 3 pixels, more than the limit of 14"):
        container.read(data)
    container.read(data, max_pixels=15)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    container.read(data)


def test_metadata_has_a_dictionary_of_its_own() -> None:
    """FORMAT.md names it by its digest; what programs write is packed with it."""
    known = metadata()
    assert hashlib.sha256(known).hexdigest() in (ROOT / "codec" / "FORMAT.md").read_text()
    assert len(known) == 32506  # as much as deflate looks back on
    text = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    assert len(deflate(text, known)) < len(deflate(text)) // 3
    assert inflate(deflate(text, known), len(text), known) == text
    with pytest.raises(FormatError, match="damaged"):
        inflate(deflate(text, known), len(text))
