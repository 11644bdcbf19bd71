"""The entropy coder against a big-integer reference, and the two loops around it against streams not theirs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import FakeModel, texture

from lgcodec.coding import coder
from lgcodec.errors import FormatError, ModelError
from lgcodec.models.interface import TOTAL, Intervals, Table
from lgcodec.models.machines.numpy.stack import Stack


@dataclass
class Reference:
    """rANS in big integers: 24-bit precision, 32-bit words, 64-bit state. FORMAT.md's coder, word for word."""

    emitted: list[int] = field(default_factory=list)
    state: int = 0

    def push(self, start: int, frequency: int) -> None:
        if self.state >= frequency << 40:
            self.emitted.append(self.state & 0xFFFFFFFF)
            self.state >>= 32
        self.state = (self.state // frequency << 24) + self.state % frequency + start

    def words(self) -> list[int]:
        rest = [self.state & 0xFFFFFFFF, self.state >> 32]
        return self.emitted + rest[: (self.state > 0) + (self.state >> 32 > 0)]


def table(cdf: NDArray[np.uint32]) -> Table:
    return Table(cdf, np.array([len(cdf)]))


@dataclass(frozen=True)
class Message:
    """Symbols [n] and the table they are coded with."""

    cdf: NDArray[np.uint32]
    symbols: NDArray[np.int64]

    @property
    def intervals(self) -> Intervals:
        return table(self.cdf).intervals(self.symbols)[0]

    def reference(self) -> list[int]:
        stack = Reference()
        for row, symbol in zip(self.cdf[::-1].tolist(), self.symbols[::-1].tolist(), strict=True):
            stack.push(row[symbol], row[symbol + 1] - row[symbol])
        return stack.words()


@st.composite
def messages(draw: st.DrawFn, alphabet: int | None = None) -> Message:
    """Tables from flat to those where one symbol has all but A - 1 of 2**24; symbols from the ends and between."""
    A, n = alphabet or draw(st.integers(3, 64)), draw(st.integers(0, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["spike", "few", "random", "flat"]))
    if kind == "spike":
        frequency = np.ones((n, A), np.int64)
        frequency[np.arange(n), random.integers(0, A, n)] += TOTAL - A
    else:
        power = {"few": 40.0, "random": 1.0, "flat": 0.0}[kind]
        share = random.random((n, A)) ** power + 1e-30
        frequency = 1 + np.floor(share / share.sum(axis=1, keepdims=True) * (TOTAL - A)).astype(np.int64)
        frequency[np.arange(n), random.integers(0, A, n)] += TOTAL - frequency.sum(axis=1)
    cdf = np.pad(np.cumsum(frequency, axis=1), ((0, 0), (1, 0))).astype(np.uint32)
    where = draw(st.sampled_from(["first", "last", "rarest", "likeliest", "any"]))
    symbols = {
        "first": np.zeros(n, np.int64),
        "last": np.full(n, A - 1),
        "rarest": frequency.argmin(axis=1),
        "likeliest": frequency.argmax(axis=1),
        "any": random.integers(0, A, n),
    }[where]
    return Message(cdf, symbols)


@settings(deadline=None)
@given(messages())
def test_words_are_those_of_the_reference(message: Message) -> None:
    stack = Stack()
    stack.push(message.intervals)
    assert stack.words().dtype == np.uint32
    assert stack.words().tolist() == message.reference()


@settings(deadline=None)
@given(st.lists(messages(5), min_size=1, max_size=4))
def test_pushes_follow_each_other_as_one(parts: list[Message]) -> None:
    stack = Stack()
    for part in reversed(parts):
        stack.push(part.intervals)
    whole = Message(np.concatenate([p.cdf for p in parts]), np.concatenate([p.symbols for p in parts]))
    assert stack.words().tolist() == whole.reference()


@settings(deadline=None)
@given(messages(), st.sampled_from("CF"), st.integers(0, 40))
def test_pop_returns_the_symbols_and_the_stack_comes_back_empty(message: Message, order: str, cut: int) -> None:
    stack = Stack()
    stack.push(message.intervals)
    popping = Stack(stack.words())
    cdf = np.array(message.cdf, order=order)
    got = np.concatenate([popping.pop(table(cdf[:cut])), popping.pop(table(cdf[cut:]))])
    assert np.array_equal(got, message.symbols)
    assert popping.is_empty()
    assert len(popping.words()) == 0


@settings(deadline=None)
@given(messages())
def test_intervals_may_be_strided(message: Message) -> None:
    intervals = message.intervals
    both = np.array([intervals.start, intervals.frequency], order="F")
    stack = Stack()
    stack.push(Intervals(both[0], both[1], intervals.counts))
    assert stack.words().tolist() == message.reference()


@settings(deadline=None)
@given(messages())
def test_words_take_no_more_than_the_ideal_bits(message: Message) -> None:
    """Words are whole, so up to two may be partly empty; nothing else is lost."""
    ideal = message.intervals.ideal_bits()
    assert 32 * len(message.reference()) <= ideal + 64
    cdf = message.cdf.astype(np.float64)
    rows = np.arange(len(cdf))
    shares = (cdf[rows, message.symbols + 1] - cdf[rows, message.symbols]) / TOTAL
    assert ideal == pytest.approx(-np.log2(shares).sum(), abs=1e-6)


def test_exact_words() -> None:
    """Pinned: such words are in files. Three symbols: one with 1 of 2**24, one with a half, one with the rest."""
    cdf = np.tile(np.array([0, 1, 1 + (1 << 23), TOTAL], np.uint32), (8, 1))
    message = Message(cdf, np.array([1, 0, 2, 0, 2, 0, 1, 1]))
    stack = Stack()
    stack.push(message.intervals)
    assert stack.words().tolist() == message.reference() == [478150685, 1, 4608]


def test_reference_by_hand() -> None:
    """The recursion's first steps, worked out on paper."""
    stack = Reference()
    assert stack.words() == []
    stack.push(5, 3)  # 0 // 3 << 24 + 0 % 3 + 5
    assert stack.words() == [5]
    stack.push(7, 2)  # (5 // 2 << 24) + 5 % 2 + 7
    assert stack.words() == [(2 << 24) + 8]
    stack.push(0, 1)  # 2**25 + 8 < 2**40, so nothing leaves: (2**25 + 8) << 24
    assert stack.words() == [8 << 24, 1 << 17]
    stack.push(9, 1)  # now 2**40 is exceeded: the low word leaves, and 2**17 << 24 is the rest
    assert stack.words() == [8 << 24, 9, 1 << 9]


@pytest.mark.parametrize("words", [[0], [1, 0], [7, 0, 0]])
def test_a_zero_last_word_is_refused(words: list[int]) -> None:
    with pytest.raises(ModelError, match="zero word"):
        Stack(np.array(words, np.uint32))


def test_an_empty_stack_has_no_words_and_pops_first_symbols() -> None:
    stack = Stack(np.zeros(0, np.uint32))
    assert stack.is_empty()
    cdf = np.array([[0, 10, 20, TOTAL]] * 4, np.uint32)
    assert stack.pop(table(cdf)).tolist() == [0] * 4
    assert len(stack.words()) == 0


def planes(height: int, width: int) -> NDArray[np.int16]:
    """A tile that FakeModel codes in a few bits, int16 [1, H, W]."""
    return texture(height, width)[None].astype(np.int16)


def test_one_stream_for_each_tile(model: FakeModel) -> None:
    tiles = [planes(6, 5), planes(2, 9)]
    streams = coder.encode(model, tiles)
    alone = [coder.encode(model, [tile])[0] for tile in tiles]
    assert [s.words.tolist() for s in streams] == [s.words.tolist() for s in alone]
    assert [s.ideal_bits for s in streams] == pytest.approx([s.ideal_bits for s in alone])
    assert all(32 * len(s.words) <= s.ideal_bits + 64 for s in streams)
    decoded = coder.decode(model, [tile.shape for tile in tiles], [s.words for s in streams])
    assert all(np.array_equal(a, b) for a, b in zip(decoded, tiles, strict=True))


def test_streams_too_long_or_too_short_are_refused(model: FakeModel) -> None:
    tile = planes(6, 7)
    words = coder.encode(model, [tile])[0].words
    assert len(words) > 3
    short = [part for cut in range(1, len(words)) for part in (words[:cut], words[cut:])]
    long = [np.append(words, np.uint32(1)), np.append(np.uint32(1), words), np.append(words, words)]
    for stream in short + long:
        with pytest.raises(FormatError):
            coder.decode(model, [tile.shape], [stream])


def test_every_stream_of_a_batch_is_checked(model: FakeModel) -> None:
    tile = planes(6, 7)
    words = coder.encode(model, [tile])[0].words
    for streams in ([words, words[1:]], [words[1:], words]):
        with pytest.raises(FormatError):
            coder.decode(model, [tile.shape] * 2, streams)


def test_any_words_are_refused_or_are_what_encoding_gives() -> None:
    """Coding is a bijection: two streams never hold one tile, so a damaged stream cannot pass for another's."""
    model, shape, decoded = FakeModel(), (1, 3, 3), []

    def of_a_tile(seed: int) -> list[int]:
        tile = np.random.default_rng(seed).integers(0, 256, shape).astype(np.int16)
        words: list[int] = coder.encode(model, [tile])[0].words.tolist()
        return words

    @settings(deadline=None)
    @given(st.one_of(st.lists(st.integers(0, 2**32 - 1), max_size=6), st.integers(0, 99).map(of_a_tile)))
    @example([0xFFFFFFFF] * 9)
    @example([0])
    @example(of_a_tile(0))
    def decode(words: list[int]) -> None:
        try:
            (tile,) = coder.decode(model, [shape], [np.array(words, np.uint32)])
        except FormatError:
            return
        assert coder.encode(model, [tile])[0].words.tolist() == words
        decoded.append(words)

    decode()
    assert len(decoded) > 9
