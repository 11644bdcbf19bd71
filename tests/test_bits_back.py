"""Bits-back: every pop can be undone and every push, chains come back with their seed, and cost what they should."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lgcodec.coding import bits_back
from lgcodec.coding.bits_back import DryError, Meter, pop, push
from lgcodec.coding.likelihood import code_length, draw, noise
from lgcodec.models.interface import TOTAL, Distribution, IntArray, Stack, Table
from lgcodec.models.machines.native import library
from lgcodec.models.machines.native.stack import NativeStack
from lgcodec.models.machines.numpy.stack import Stack as AnsStack

Words = NDArray[np.uint32]
STACKS: list[Any] = [AnsStack, *([NativeStack] if library.available() else [])]


@dataclass
class Reference:
    """The stack in big integers, as FORMAT.md has it."""

    words: list[int]
    state: int = 0

    def __post_init__(self) -> None:
        for _ in range(2):
            if self.words:
                self.state = self.state << 32 | self.words.pop()

    def push(self, start: int, frequency: int) -> None:
        if self.state >> 40 >= frequency:
            self.words.append(self.state & 0xFFFFFFFF)
            self.state >>= 32
        self.state = (self.state // frequency << 24) + self.state % frequency + start

    def pop(self, cdf: list[int]) -> int:
        point = self.state % TOTAL
        symbol = sum(c <= point for c in cdf) - 1
        self.state = (self.state >> 24) * (cdf[symbol + 1] - cdf[symbol]) + point - cdf[symbol]
        if self.state < 1 << 32 and self.words:
            self.state = self.state << 32 | self.words.pop()
        return symbol

    def content(self) -> list[int]:
        words, state = list(self.words), self.state
        while state:
            words.append(state & 0xFFFFFFFF)
            state >>= 32
        return words


def normalised(share: NDArray[np.float64]) -> NDArray[np.uint32]:
    """[n, A] -> cdf [n, A + 1]."""
    frequency = 1 + np.floor(share / share.sum(axis=1, keepdims=True) * (TOTAL - share.shape[1])).astype(np.int64)
    cdf = np.pad(np.cumsum(frequency, axis=1), ((0, 0), (1, 0)))
    cdf[:, -1] = TOTAL
    return cdf.astype(np.uint32)


words_of = st.lists(st.integers(1, 2**32 - 1), max_size=6).map(lambda w: np.array(w, np.uint32))


@settings(deadline=None, max_examples=100)
@given(words_of, st.integers(0, 2**32 - 1), st.lists(st.booleans(), max_size=12))
def test_pops_and_pushes_in_any_order_can_be_undone_even_on_a_dry_stack(
    words: Words, seed: int, actions: list[bool]
) -> None:
    random = np.random.default_rng(seed)
    stacks = [new(words) for new in STACKS]
    reference = Reference(words.tolist())
    done: list[tuple[bool, Table, NDArray[np.int64], list[int]]] = []
    for popping in actions:
        cdf = normalised(random.random((3, int(random.integers(3, 20)))) ** 12 + 1e-12)
        table, symbols = Table(cdf, np.array([3])), random.integers(0, cdf.shape[1] - 1, 3)
        before = reference.content()
        rows: list[list[int]] = cdf.tolist()
        if popping:
            symbols = np.array([reference.pop(row) for row in rows])
        else:
            for row, symbol in zip(rows[::-1], symbols[::-1].tolist(), strict=True):
                reference.push(row[symbol], row[symbol + 1] - row[symbol])
        for stack in stacks:
            if popping:
                assert stack.pop(table).tolist() == symbols.tolist()
            else:
                stack.push(table.intervals(symbols)[0])
            assert stack.words().tolist() == reference.content()
        done.append((popping, table, symbols, before))
    for popping, table, symbols, before in reversed(done):
        for stack in stacks:
            if popping:
                stack.push(table.intervals(symbols)[0])
            else:
                assert stack.pop(table).tolist() == symbols.tolist()
            assert stack.words().tolist() == before


@dataclass(frozen=True)
class Rows:
    """An explicit program: n symbols, each with its row of a table."""

    cdf: NDArray[np.uint32]

    def symbols(self, value: IntArray) -> Iterable[tuple[Distribution, IntArray]]:
        return [(Table(self.cdf, np.array([len(self.cdf)])), value)]

    def steps(self) -> Generator[Distribution, IntArray, IntArray]:
        return np.asarray((yield Table(self.cdf, np.array([len(self.cdf)]))), np.int64)


RANDOM = np.random.default_rng(5)
TOP = RANDOM.random(5) + 0.1  # p(y), 5 values
MIDDLE = RANDOM.random((5, 4)) ** 3 + 0.01  # p(z | y), 4 values
BOTTOM = RANDOM.random((4, 8)) ** 3 + 0.01  # p(x | z), 8 values
TOP, MIDDLE, BOTTOM = TOP / TOP.sum(), *(a / a.sum(axis=1, keepdims=True) for a in (MIDDLE, BOTTOM))
JOINT = TOP[:, None, None] * MIDDLE[:, :, None] * BOTTOM  # [y, z, x]


@dataclass(frozen=True)
class Upper:
    """Of z: y explains it; the posterior is exact."""

    n: int

    def prior(self) -> Rows:
        return Rows(normalised(np.tile(TOP, (self.n, 1))))

    def posterior(self, value: IntArray) -> Rows:
        return Rows(normalised(JOINT.sum(axis=2).T[value]))

    def likelihood(self, latent: IntArray) -> Rows:
        return Rows(normalised(MIDDLE[latent]))


@dataclass(frozen=True)
class Swap:
    """Of x: z explains it, whose prior is latent: coded in the order of Bit-Swap."""

    n: int

    def prior(self) -> Upper:
        return Upper(self.n)

    def posterior(self, value: IntArray) -> Rows:
        return Rows(normalised(JOINT.sum(axis=0).T[value]))

    def likelihood(self, latent: IntArray) -> Rows:
        return Rows(normalised(BOTTOM[latent]))


@dataclass(frozen=True)
class Joint:
    """The same model with y and z as one latent of 20 values."""

    n: int

    def prior(self) -> Rows:
        return Rows(normalised(np.tile(JOINT.sum(axis=2).ravel(), (self.n, 1))))

    def posterior(self, value: IntArray) -> Rows:
        return Rows(normalised(JOINT.reshape(20, 8).T[value]))

    def likelihood(self, latent: IntArray) -> Rows:
        return Rows(normalised(BOTTOM[latent % 4]))


def values(n: int, seed: int = 0) -> NDArray[np.int64]:
    share = JOINT.sum(axis=(0, 1))
    return np.random.default_rng(seed).choice(8, n, p=share / share.sum())


@pytest.mark.parametrize("new", STACKS)
@pytest.mark.parametrize("program", [Upper, Swap, Joint])
@settings(deadline=None, max_examples=30)
@given(words_of, st.integers(0, 2**32 - 1))
def test_a_value_comes_back_and_so_does_the_stack(
    new: Callable[..., Stack], program: Any, words: Words, seed: int
) -> None:
    value = values(9, seed) % (4 if program is Upper else 8)
    stack = new(words)
    push(stack, program(9), value)
    assert pop(stack, program(9)).tolist() == value.tolist()
    assert stack.words().tolist() == words.tolist()


@pytest.mark.parametrize("program", [Swap, Joint])
def test_with_the_exact_posterior_a_value_costs_its_probability_whatever_was_popped(program: Any) -> None:
    value = values(200)
    bits = code_length(program(200), value, AnsStack(noise(4000, 1)))
    assert bits == pytest.approx(-np.log2(JOINT.sum(axis=(0, 1)))[value].sum(), abs=0.01)


def seed_of(n: int) -> tuple[Rows, NDArray[np.int64]]:
    """Something else that has to be coded anyway."""
    return Rows(normalised(np.ones((n, 16)))), np.random.default_rng(3).integers(0, 16, n)


def chain(program: Any, count: int, n: int, new: Callable[..., Stack]) -> tuple[Words, Meter, list[NDArray[np.int64]]]:
    """A seed, and values on top of it."""
    stack = new()
    push(stack, *seed_of(400))
    seed, meter = stack.words(), Meter(stack, 1600.0)
    message = [values(n, i) for i in range(count)]
    for value in message:
        push(meter, program(n), value)
    return seed, meter, message


@pytest.mark.parametrize("new", STACKS)
@pytest.mark.parametrize("program", [Swap, Joint])
def test_a_chain_is_as_long_as_its_net_bits_and_leaves_exactly_its_seed(
    program: Any, new: Callable[..., Stack]
) -> None:
    seed, meter, message = chain(program, 30, 50, new)
    words = meter.words()
    expected = sum(-np.log2(JOINT.sum(axis=(0, 1)))[value].sum() for value in message)
    assert meter.bits - 1600 == pytest.approx(expected, abs=0.5)
    assert 0 <= 32 * len(words) - meter.bits < 64
    stack = new(words)
    for value in reversed(message):
        assert pop(stack, program(50)).tolist() == value.tolist()
    assert stack.words().tolist() == seed.tolist()
    assert pop(stack, seed_of(400)[0]).tolist() == seed_of(400)[1].tolist()
    assert stack.is_empty()


def test_bit_swap_begins_with_fewer_bits() -> None:
    swap, joint = (chain(program, 1, 200, AnsStack)[1] for program in (Swap, Joint))
    assert 0 < 1600 - swap.lowest < 0.8 * (1600 - joint.lowest)
    assert swap.bits == pytest.approx(joint.bits, abs=0.1)


@pytest.mark.parametrize("new", STACKS)
def test_a_stack_without_enough_to_begin_with_says_so(new: Callable[..., Stack]) -> None:
    with pytest.raises(DryError, match="to begin with"):
        push(Meter(new(), 0.0), Joint(50), values(50))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["flip", "cut", "more", "noise"]))
def test_a_damaged_chain_does_not_end_in_its_seed(seed: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    start, meter, message = chain(Swap, 3, 20, AnsStack)
    words = meter.words().copy()
    if kind == "flip":
        words[random.integers(len(words) - 1)] ^= np.uint32(1 << random.integers(32))
    elif kind == "cut":
        words = words[: random.integers(len(words))]
    elif kind == "more":
        words = np.append(words, np.uint32(random.integers(1, 1 << 32)))
    else:
        words = noise(len(words), seed)
    for new in STACKS:
        stack = new(words)
        decoded = [pop(stack, Swap(20)) for _ in message][::-1]
        same = all(a.tolist() == value.tolist() for a, value in zip(decoded, message, strict=True))
        assert not same or stack.words().tolist() != start.tolist()


@pytest.mark.parametrize("program", [Swap, Joint])
def test_what_is_drawn_is_distributed_as_the_model_says(program: Any) -> None:
    drawn = draw(AnsStack(noise(8000, 2)), program(4000))
    share = np.bincount(drawn, minlength=8) / 4000
    expected = JOINT.sum(axis=(0, 1))
    assert np.abs(share - expected).max() < 4 * math.sqrt(0.25 / 4000)


def test_code_length_of_explicit_programs_is_exact() -> None:
    program, value = seed_of(100)
    assert code_length(program, value, AnsStack()) == pytest.approx(400, abs=0.01)
    assert isinstance(Swap(1), bits_back.Latent)
    assert not isinstance(program, bits_back.Latent)
