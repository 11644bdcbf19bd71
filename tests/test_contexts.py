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
KINDS = (contexts.OLDEST, contexts.PRIMED, contexts.SURE)
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


def encoded(tile: Tile, kind: int = contexts.SURE) -> bytes | None:
    return native.encode(contexts.given(kind), tile, 2 * tile.size + 64, is_sure=kind == contexts.SURE)


def decoded(data: bytes, shape: tuple[int, int, int], kind: int = contexts.SURE) -> tuple[Tile, int]:
    return native.decode(contexts.given(kind), data, shape, is_sure=kind == contexts.SURE)


def method(kind: int = contexts.SURE) -> contexts.Contexts:
    return contexts.Contexts("contexts", kind)


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
@given(drawings(), st.sampled_from(KINDS))
def test_both_make_the_same_bytes_and_read_them(tile: Tile, kind: int) -> None:
    code = encoded(tile, kind)
    assert code is not None
    shown, meant = contexts.run(tile.shape, tile, None, kind)
    assert code == meant
    np.testing.assert_array_equal(shown, tile)
    np.testing.assert_array_equal(contexts.run(tile.shape, None, code, kind)[0], tile)
    read, size = decoded(code, tile.shape, kind)
    assert size == len(code)
    np.testing.assert_array_equal(read, tile)


@needs_native
def test_each_instruction_set_makes_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = set()
    for name in library.available():
        monkeypatch.setenv("LGCODEC_INSTRUCTIONS", name)
        codes.add(encoded(picture()))
    assert len(codes) == 1


@pytest.mark.parametrize(("kind", "first"), list(zip(KINDS, (None, "contexts.weights", "sure.weights"), strict=True)))
def test_the_text_of_the_format_is_enough(kind: int, first: str | None) -> None:
    weights = None if first is None else (ROOT / "codec" / first).read_bytes()
    for tile in (picture(), picture()[:9, :30, :1], np.ascontiguousarray(picture()[20:, 35:, :2])):
        _, code = contexts.run(tile.shape, tile, None, kind)
        shown = reference_contexts.decode(code, *tile.shape, weights, is_sure=kind == contexts.SURE)
        assert shown == tile.tobytes()


@pytest.mark.parametrize("with_native", [True, False])
def test_a_stream_is_exactly_its_tile(monkeypatch: pytest.MonkeyPatch, with_native: bool) -> None:
    if with_native and not native.is_available():
        pytest.skip("no native library")
    tile = np.ascontiguousarray(picture()[:20, :30])
    _, code = contexts.run(tile.shape, tile, None, contexts.SURE)
    monkeypatch.setattr(native, "is_available", lambda: with_native)
    np.testing.assert_array_equal(method().decode(code, tile.shape), tile)
    for more in (b"\0", b"ab"):  # cut ones may be codes of other tiles
        with pytest.raises(FormatError):
            method().decode(code + more, tile.shape)
    with pytest.raises(FormatError, match="channels"):
        method().decode(code, (20, 30, 6))


@needs_native
@given(st.binary(max_size=300), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.sampled_from(KINDS[1:]))
def test_any_bytes_show_the_same(data: bytes, height: int, width: int, channels: int, kind: int) -> None:
    shown, size = decoded(data, (height, width, channels), kind)
    meant, code = contexts.run((height, width, channels), None, data, kind)
    np.testing.assert_array_equal(shown, meant)
    assert size == len(code)


def test_tables_are_those_of_the_format() -> None:
    found = b"".join(table.astype("<i8").tobytes() for table in contexts.tables())
    assert hashlib.sha256(found).hexdigest()[:16] == "944960a0c6b4b387"
    for first in ("contexts.weights", "sure.weights"):
        digest = hashlib.sha256((ROOT / "codec" / first).read_bytes()).hexdigest()
        assert digest in (ROOT / "codec" / "FORMAT.md").read_text()
    kept = [np.abs(w).max() for kind in KINDS for w in contexts.weights(kind)]
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
    _, code = contexts.run(tile.shape, tile, None, contexts.SURE)
    assert len(code) < 40


def test_what_is_slow_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    shape, code = (100, 200, 1), b""  # zeros, by the first candidates alone
    monkeypatch.setattr(library, "available", lambda: ())
    choose.say_once.cache_clear()
    method(contexts.PRIMED).decode(code, shape)
    choose.say_once.cache_clear()
    assert "graphics take minutes a megapixel" in caplog.text
    assert "not compiled" in caplog.text


@needs_native
def test_what_was_learned_before_helps_small_drawings() -> None:
    tile = np.ascontiguousarray(picture()[:, :42])
    plainly, primed = (len(encoded(tile, kind) or b"") for kind in (contexts.OLDEST, contexts.PRIMED))
    assert 0 < primed < 0.95 * plainly


@needs_native
def test_questions_that_are_not_asked_save_bits_where_colours_are_noise() -> None:
    random = np.random.default_rng(6)
    tile = (random.normal(9, 2, (60, 80, 1)).astype(np.uint8) * 3).repeat(3, axis=2)
    older, newer = (len(encoded(tile, kind) or b"") for kind in KINDS[1:])
    assert 0 < newer < 0.97 * older
