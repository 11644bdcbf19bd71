"""Whatever happens to a file's bytes, decoding gives the right pixels or one of our errors, and nothing else."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from strategies import FakeModel, texture

import lgcodec
from lgcodec import Codec, container
from lgcodec.errors import LgcodecError

RANDOM = np.random.default_rng(3)
LIMIT = 1 << 12  # pixels; what a hostile header may make us allocate here
CODEC = Codec(FakeModel(), tile=(8, 8), max_pixels=LIMIT)


def palette_image() -> bytes:
    image = Image.fromarray(RANDOM.integers(0, 6, (7, 9)).astype(np.uint8))
    image.putpalette(bytes(range(18)), "RGB")
    file = io.BytesIO()
    image.save(file, "PNG", transparency=2)
    return file.getvalue()


IMAGES: dict[str, bytes | np.ndarray] = {
    "colour": texture(16, 16, 3),
    "alpha": texture(16, 16, 4),
    "grey": texture(24, 8),
    "noise": RANDOM.integers(0, 256, (6, 6, 3)).astype(np.uint8),
    "flat": np.zeros((9, 9, 3), np.uint8),
    "bits": RANDOM.integers(0, 2, (9, 9)).astype(bool),
    "wide": RANDOM.integers(0, 65536, (5, 4)).astype(np.uint16),
    "palette": palette_image(),
}
FILES = {name: CODEC.compress(image) for name, image in IMAGES.items()}
PIXELS = {name: CODEC.decompress(data) for name, data in FILES.items()}
every_file = pytest.mark.parametrize("name", FILES)


def decodes_or_refuses(name: str, data: bytes, *, refuses: bool = False) -> None:
    try:
        picture = CODEC.decode(data)
        picture.image()
    except LgcodecError:
        return
    assert not refuses
    assert np.array_equal(picture.array(), PIXELS[name])


def resealed(data: bytes, change: Callable[[bytearray], None]) -> bytes:
    """The file with `change` made to its header, and the header's checksum made right again."""
    size = container.header_size(data)
    head = bytearray(data[: size - 4])
    change(head)
    return bytes(head) + struct.pack("<I", zlib.crc32(head)) + data[size:]


def test_the_files_use_every_kind_of_stream() -> None:
    methods = set().union(*(lgcodec.inspect(data).methods for data in FILES.values()))
    assert {"model", "raw", "solid"} <= methods
    assert lgcodec.inspect(FILES["colour"]).methods == {"model": 4}


@every_file
def test_every_changed_byte_is_refused(name: str) -> None:
    data = FILES[name]
    for place in range(len(data)):
        for change in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[place] ^= change
            decodes_or_refuses(name, bytes(damaged), refuses=True)


@every_file
def test_every_truncation_and_extension_is_refused(name: str) -> None:
    data = FILES[name]
    for size in range(len(data)):
        decodes_or_refuses(name, data[:size], refuses=True)
    decodes_or_refuses(name, data + b"\0", refuses=True)
    decodes_or_refuses(name, data + data, refuses=True)


@every_file
def test_header_changed_behind_a_right_checksum(name: str) -> None:
    data = FILES[name]
    for place in range(10, container.header_size(data) - 4):
        for change in (1, 2, 0x10, 0x80, 0xFF):

            def flip(head: bytearray, place: int = place, change: int = change) -> None:
                head[place] ^= change

            decodes_or_refuses(name, resealed(data, flip))


@every_file
@settings(max_examples=40)
@given(st.data())
def test_streams_changed_behind_right_checksums(name: str, data: st.DataObject) -> None:
    file = container.read(FILES[name])
    header = file.header
    streams = [(entry.method, file.stream(i)) for i, entry in enumerate(header.content.index)]
    place = data.draw(st.integers(0, len(streams) - 1))
    method, old = streams[place]
    new = data.draw(st.one_of(st.binary(max_size=len(old) + 4), st.permutations(list(old[:40])).map(bytes)))
    if method == 0:
        new = new[: len(new) // 4 * 4]
    streams[place] = (method, new)
    written = container.write(
        mode=header.mode,
        depth=header.depth,
        size=(header.width, header.height),
        transform=header.content.transform,
        digest=header.digest,
        chunks=file.chunks,
        model=header.model,
        tiles=header.content.sizes,
        streams=streams,
    )
    decodes_or_refuses(name, written)


@given(st.binary(max_size=300))
def test_random_bytes(data: bytes) -> None:
    for start in (b"", container.MAGIC, container.MAGIC + b"\x01\x00", container.MAGIC + b"\x01\x01"):
        with pytest.raises(LgcodecError):
            CODEC.decompress(start + data)
        with pytest.raises(LgcodecError):
            lgcodec.inspect(start + data)


def test_small_file_of_a_large_image_is_limited() -> None:
    data = Codec(FakeModel()).compress(np.zeros((1 << 10, 1 << 10), np.uint8))
    assert len(data) < 50
    with pytest.raises(LgcodecError, match="more than the limit of 4096"):
        CODEC.decompress(data)
