"""The contract of every plain method: the tile comes back, and no bytes do harm."""

from __future__ import annotations

import io
import lzma
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from strategies import tiles

from lgcodec import plain
from lgcodec.deflate import deflate
from lgcodec.errors import FormatError, LgcodecError, VersionError
from lgcodec.plain import METHODS

every_method = pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)


def test_wire_ids_never_change() -> None:
    names = ("model", "raw", "solid", "deflate", "lzma", "webp", "png", "contexts", "primed contexts", "sure contexts")
    assert dict(enumerate(names)) == plain.NAMES


@every_method
@given(tile=tiles(), effort=st.integers(1, 9))
def test_tile_comes_back(method: plain.Method, tile: plain.Tile, effort: int) -> None:
    code = method.encode(tile, effort)
    if code is not None:
        assert np.array_equal(method.decode(code, tile.shape), tile)


@given(tile=tiles())
def test_shortest_never_grows_a_tile_by_more_than_a_byte(tile: plain.Tile) -> None:
    wire_id, code = plain.encode(tile, 3)
    assert len(code) <= tile.size + 1
    assert np.array_equal(plain.decode(wire_id, code, tile.shape), tile)


@every_method
@given(data=st.binary(max_size=200), shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 8)))
def test_any_bytes_give_a_tile_or_our_error(method: plain.Method, data: bytes, shape: plain.Shape) -> None:
    try:
        tile = method.decode(data, shape)
    except LgcodecError:
        return
    assert tile.shape == shape
    assert tile.dtype == np.uint8


@every_method
def test_truncated_tile_is_refused(method: plain.Method) -> None:
    if method.name in ("webp", "contexts", "primed contexts", "sure contexts"):
        pytest.skip("a truncated stream may be one of another tile; the file's CRC tells")
    tile = np.random.default_rng(1).integers(0, 255, (9, 7, 3)).astype(np.uint8)
    code = method.encode(np.full_like(tile, 3) if method.name == "solid" else tile, 3)
    assert code is not None
    for size in range(len(code)):
        with pytest.raises(FormatError):
            method.decode(code[:size], tile.shape)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("top", [2, 16, 256])
def test_png_tiles_are_no_larger_than_pillows_png(channels: int, top: int) -> None:
    random = np.random.default_rng(top)
    tile = (random.integers(0, top, (70, 90, channels)) // (1 + np.arange(90)[:, None] // 30)).astype(np.uint8)
    image = Image.fromarray(tile[..., 0] if channels == 1 else tile)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    code = METHODS[6].encode(tile, 3)
    assert code is not None
    assert len(code) < len(file.getvalue())


def test_png_filters_are_undone_for_every_type() -> None:
    random = np.random.default_rng(2)
    for shape in ((5, 6, 1), (5, 6, 2), (5, 6, 3), (5, 6, 4), (5, 6, 6), (5, 6, 8)):
        rows = random.integers(0, 256, (5, 1 + 6 * shape[2])).astype(np.uint8)
        rows[:, 0] = np.arange(5)
        code = b"\x08" + deflate(rows.tobytes())
        assert np.array_equal(METHODS[6].decode(code, shape), unfiltered(rows, shape[2]).reshape(shape))
        rows[2, 0] = 5
        with pytest.raises(FormatError):
            METHODS[6].decode(b"\x08" + deflate(rows.tobytes()), shape)


def unfiltered(rows: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """FORMAT.md's words, a byte at a time."""
    known = np.zeros((rows.shape[0] + 1, rows.shape[1] - 1 + step), int)
    for y, row in enumerate(rows.astype(int), 1):
        for x in range(row.size - 1):
            a, b, c = int(known[y, x]), int(known[y - 1, x + step]), int(known[y - 1, x])
            nearest = min((a, b, c), key=lambda v: abs(a + b - c - v))
            guess = (0, a, b, (a + b) // 2, nearest)[row[0]]
            known[y, x + step] = (row[1 + x] + guess) % 256
    return known[1:, step:].astype(np.uint8)


def test_one_bit_samples_take_one_bit() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (64, 64, 1)).astype(np.uint8)
    assert len(plain.encode(noise, 3)[1]) <= 64 * 64 // 8 + 1


def test_unknown_method() -> None:
    with pytest.raises(VersionError, match="method 99"):
        plain.decode(99, b"", (1, 1, 1))


@pytest.mark.parametrize("wire_id", [3, 4])
def test_bomb_allocates_no_more_than_its_tile(wire_id: int) -> None:
    zeros = bytes(1 << 26)
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    bomb = deflate(zeros) if wire_id == 3 else lzma.compress(zeros, lzma.FORMAT_RAW, filters=filters)
    tracemalloc.start()
    with pytest.raises(FormatError, match="does not hold exactly 16 bytes"):
        plain.decode(wire_id, b"\x08" + bomb, (4, 4, 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 21


def test_photographs_are_not_promising_and_drawings_are() -> None:
    random = np.random.default_rng(0)
    photo = np.cumsum(random.integers(-4, 5, (96, 96, 3)), axis=1).astype(np.uint8)
    drawing = np.repeat(np.repeat(random.integers(0, 255, (6, 6, 3)), 16, 0), 16, 1).astype(np.uint8)
    assert not plain.is_promising(photo)
    assert plain.is_promising(drawing)


def test_deflate_is_raw() -> None:
    assert zlib.decompress(deflate(b"abc"), -15) == b"abc"
