"""Context mixing: the native library and the meaning in Python make the same bytes, and read each other's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import reference_contexts
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lgcodec import contexts, plain
from lgcodec.errors import FormatError
from lgcodec.models.machines import choose
from lgcodec.models.machines.native import contexts as native
from lgcodec.models.machines.native import library

ROOT = Path(__file__).parents[1]
Tile = NDArray[np.uint8]
GIVEN = contexts.given(is_primed=True)
needs_native = pytest.mark.skipif(not native.is_available(), reason="no native library")


@st.composite
def drawings(draw: st.DrawFn) -> Tile:
    """Few colours, patterns that repeat, some noise."""
    height, width, channels = draw(st.integers(1, 12)), draw(st.integers(1, 12)), draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    palette = random.integers(0, 256, (draw(st.integers(1, 6)), channels)).astype(np.uint8)
    places = random.integers(0, len(palette), (4, 4))[np.indices((height, width))[0] % 4, np.arange(width) % 4]
    tile = palette[places]
    some = random.random((height, width)) < draw(st.sampled_from([0, 0.1, 1]))
    tile[some] = random.integers(0, 256, (int(some.sum()), channels))
    return tile


def picture() -> Tile:
    """Frames, text-like marks and a ramp: 40 x 60."""
    random = np.random.default_rng(3)
    tile = np.full((40, 60, 3), 240, np.uint8)
    tile[5:35, 5] = tile[5:35, 40] = tile[5, 5:41] = (30, 60, 90)
    marks = random.integers(0, 2, (4, 5, 4))
    for place in range(12):
        tile[8 + 6 * (place // 4) :, 8 + 7 * (place % 4) :][:5, :4][marks[place % 4] == 1] = 0
    tile[:, 44:] = (np.arange(16) * 9)[None, :, None] + np.arange(40)[:, None, None]
    return tile


@needs_native
@settings(max_examples=25)
@given(drawings(), st.booleans())
def test_both_make_the_same_bytes_and_read_them(tile: Tile, is_primed: bool) -> None:
    tables = contexts.given(is_primed=is_primed)
    code = native.encode(tables, tile, 2 * tile.size + 64)
    assert code is not None
    shown, meant = contexts.run(tile.shape, tile, None, is_primed=is_primed)
    assert code == meant
    np.testing.assert_array_equal(shown, tile)
    np.testing.assert_array_equal(contexts.run(tile.shape, None, code, is_primed=is_primed)[0], tile)
    read, size = native.decode(tables, code, tile.shape)
    assert size == len(code)
    np.testing.assert_array_equal(read, tile)


@needs_native
def test_each_instruction_set_makes_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = set()
    for name in library.available():
        monkeypatch.setenv("LGCODEC_INSTRUCTIONS", name)
        codes.add(native.encode(GIVEN, picture(), 7200))
    assert len(codes) == 1


@pytest.mark.parametrize("is_primed", [False, True])
def test_the_text_of_the_format_is_enough(is_primed: bool) -> None:
    first = (ROOT / "codec" / "contexts.weights").read_bytes() if is_primed else None
    for tile in (picture(), picture()[:9, :30, :1], np.ascontiguousarray(picture()[20:, 35:, :2])):
        _, code = contexts.run(tile.shape, tile, None, is_primed=is_primed)
        assert reference_contexts.decode(code, *tile.shape, first) == tile.tobytes()


@pytest.mark.parametrize("with_native", [True, False])
def test_a_stream_is_exactly_its_tile(monkeypatch: pytest.MonkeyPatch, with_native: bool) -> None:
    if with_native and not native.is_available():
        pytest.skip("no native library")
    method, tile = contexts.Contexts(is_primed=True), np.ascontiguousarray(picture()[:20, :30])
    _, code = contexts.run(tile.shape, tile, None, is_primed=True)
    monkeypatch.setattr(native, "is_available", lambda: with_native)
    np.testing.assert_array_equal(method.decode(code, tile.shape), tile)
    for more in (b"\0", b"ab"):  # cut ones may be codes of other tiles
        with pytest.raises(FormatError):
            method.decode(code + more, tile.shape)
    with pytest.raises(FormatError, match="channels"):
        method.decode(code, (20, 30, 6))


@needs_native
@given(st.binary(max_size=300), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_any_bytes_show_the_same(data: bytes, height: int, width: int, channels: int) -> None:
    shown, size = native.decode(GIVEN, data, (height, width, channels))
    meant, code = contexts.run((height, width, channels), None, data, is_primed=True)
    np.testing.assert_array_equal(shown, meant)
    assert size == len(code)


def test_tables_are_those_of_the_format() -> None:
    found = b"".join(table.astype("<i8").tobytes() for table in contexts.tables())
    assert hashlib.sha256(found).hexdigest()[:16] == "944960a0c6b4b387"
    first = (ROOT / "codec" / "contexts.weights").read_bytes()
    assert hashlib.sha256(first).hexdigest() in (ROOT / "codec" / "FORMAT.md").read_text()
    kept = [np.abs(w).max() for w in contexts.weights(is_primed=True)]
    assert max(kept) <= contexts.MOST_WEIGHT


@needs_native
def test_drawings_are_smaller_than_by_any_other_method() -> None:
    random = np.random.default_rng(5)
    tile = np.tile(picture(), (3, 2, 1))
    some = random.random(tile.shape[:2]) < 0.03
    tile[some] = tile[::-1, ::-1][some]
    sizes = {wire_id: len(code) for wire_id, m in plain.METHODS.items() if (code := m.encode(tile, 3)) is not None}
    assert min(sizes, key=lambda wire_id: sizes[wire_id]) == plain.CONTEXTS
    assert plain.encode(tile, 3)[0] == plain.CONTEXTS


def test_what_repeats_takes_a_thousandth_of_a_bit() -> None:
    tile = np.zeros((64, 64, 3), np.uint8)
    tile[::2] = 9
    _, code = contexts.run(tile.shape, tile, None, is_primed=True)
    assert len(code) < 40


def test_what_is_slow_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    shape, code = (100, 200, 1), b""  # zeros, by the first candidates alone
    monkeypatch.setattr(library, "available", lambda: ())
    choose.say_once.cache_clear()
    contexts.Contexts(is_primed=True).decode(code, shape)
    choose.say_once.cache_clear()
    assert "graphics take minutes a megapixel" in caplog.text
    assert "not compiled" in caplog.text


@needs_native
def test_what_was_learned_before_helps_small_drawings() -> None:
    tile = np.ascontiguousarray(picture()[:, :42])
    plainly, primed = (native.encode(contexts.given(is_primed=is_primed), tile, 9999) for is_primed in (False, True))
    assert plainly is not None
    assert primed is not None
    assert len(primed) < 0.95 * len(plainly)
