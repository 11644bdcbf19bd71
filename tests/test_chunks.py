"""Lists of PNG chunks: they come back byte for byte, whoever deflated what is in them, and hostile ones are refused."""

from __future__ import annotations

import contextlib
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lgcodec.chunks import pack, unpack
from lgcodec.errors import FormatError
from lgcodec.fields import varint
from lgcodec.metadata import Chunk

PROFILE = b"\0\0\x0cHLino\x02\x10\0\0mntrRGB XYZ \x07\xce\0\x02\0\tacspMSFT\0\0\0\0IEC sRGB" + bytes(range(200)) * 2


def deflated(content: bytes, level: int, window: int, memory: int, strategy: int) -> bytes:
    """A stream, with the head of a window as large as it could be."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -window, memory, strategy)
    head = zlib.compress(b"", level)[:2]
    return head + packer.compress(content) + packer.flush() + struct.pack(">I", zlib.adler32(content))


def chunks_of(stream: bytes) -> list[Chunk]:
    return [
        (b"iCCP", b"sRGB\0\0" + stream),
        (b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
        (b"IDAT", b""),
        (b"zTXt", b"Comment\0\0" + stream),
        (b"iTXt", b"Title\0\1\0en\0Titel\0" + stream),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta/>"),
    ]


def came_back(chunks: list[Chunk]) -> int:
    """The packed size of chunks, which came back."""
    packed, size, has_preset = pack(chunks)
    assert unpack(packed, size, has_preset=has_preset) == tuple(chunks)
    return len(packed)


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize(("window", "memory", "strategy"), [(15, 8, 0), (15, 9, 1), (12, 8, 0), (10, 8, 1), (9, 9, 0)])
def test_streams_are_opened_whoever_made_them(level: int, window: int, memory: int, strategy: int) -> None:
    assert came_back(chunks_of(deflated(PROFILE, level, window, memory, strategy))) < 500


def test_what_zlib_does_not_make_stays_as_it_is() -> None:
    stream = zlib.compress(PROFILE)
    for odd in (stream + b"\0", stream[:-1], stream[:9], b"", stream[:2] + b"\1\2\0\xfd\xffab\0\0\0\0"):
        came_back(chunks_of(odd))
    for data in (b"", b"\0", b"k", b"k\0", b"k\0\1x", b"k\0\0", b"k\0\1\0", b"k\0\1\0l\0", b"k\0\1\0l\0t\0"):
        came_back([(kind, data) for kind in (b"iCCP", b"zTXt", b"iTXt")])
    came_back([(b"iCcP", b"a\0\0" + stream * 9), (b"iCCP", b"a\0\0" + stream)])  # of a program that we do not know


@given(st.lists(st.tuples(st.sampled_from([b"iCCP", b"zTXt", b"iTXt", b"iCcP", b"abCd"]), st.binary(max_size=60))))
def test_any_chunks_come_back(chunks: list[Chunk]) -> None:
    came_back(chunks)


@given(st.sampled_from([b"iCcP", b"zTxt", b"iTxt"]), st.binary(max_size=40))
def test_any_open_chunk_is_read_or_refused(kind: bytes, data: bytes) -> None:
    listed = b"".join([kind, varint(len(data)), data])
    with contextlib.suppress(FormatError):
        (chunk,) = unpack(listed, len(listed), has_preset=True)
        assert chunk[0].lower() == kind.lower()
        came_back([chunk])


def test_hostile_open_chunks_are_named() -> None:
    for data, reason in (
        (b"name", "ends before"),
        (b"name\0\0abc", "ends before"),
        (b"name\0\0\x78\x9c\x88\x60", "as zlib cannot"),  # a window of 8
        (b"name\0\0\x78\x9c\xf8\xa0", "as zlib cannot"),  # level 10
    ):
        listed = b"".join([b"iCcP", varint(len(data)), data])
        with pytest.raises(FormatError, match=reason):
            unpack(listed, len(listed), has_preset=True)
