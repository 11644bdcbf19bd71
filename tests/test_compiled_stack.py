"""The compiled stack: the words and values of stack.Stack, for tables and mixtures, in any mixture of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lgcodec.models.entropy.mixture import Mixture, Tables
from lgcodec.models.errors import ModelError
from lgcodec.models.interface import TOTAL, Distribution, Table
from lgcodec.models.machines.numba import stack as compiled_stack
from lgcodec.models.machines.numba.jit import _SOURCES, _stamp
from lgcodec.models.machines.numba.stack import CompiledStack
from lgcodec.models.machines.numpy.stack import Stack

pytest.importorskip("numba", reason="the fast extra (numba) is not installed")
TABLES = Tables.make()
Step = tuple[Distribution, NDArray[np.int64]]


def mixture(random: np.random.Generator, n: int) -> Step:
    """Components from needles to plains, in and far outside the alphabet; values likely and not."""
    K, size = int(random.integers(1, 5)), 16 * int(random.integers(3, 300))
    origin = -int(random.integers(0, size))
    logit, log_scale = random.integers(-200, 200, (K, n)), random.integers(0, 161, (K, n))
    mean = random.integers(64 * (origin - 300), 64 * (origin + size + 300), (K, n))
    near = np.clip(np.rint(mean[0] / 64), origin, origin + size - 1)
    values = np.where(random.random(n) < 0.5, near, random.integers(origin, origin + size, n)).astype(np.int64)
    return Mixture.of(TABLES, logit, mean, log_scale, size, origin), values


def table(random: np.random.Generator, n: int) -> Step:
    A = int(random.integers(3, 40))
    share = random.random((n, A)) ** 8 + 1e-9
    frequency = 1 + np.floor(share / share.sum(axis=1, keepdims=True) * (TOTAL - A)).astype(np.int64)
    cdf = np.pad(np.cumsum(frequency, axis=1), ((0, 0), (1, 0))).astype(np.uint32)
    cdf[:, -1] = TOTAL
    return Table(cdf, np.array([n])), random.integers(0, A, n)


def steps(seed: int, sizes: list[int]) -> list[Step]:
    random = np.random.default_rng(seed)
    return [(mixture if random.random() < 0.6 else table)(random, n) for n in sizes]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 30), max_size=5))
def test_both_stacks_push_the_same_words_and_pop_what_was_pushed(seed: int, sizes: list[int]) -> None:
    message = steps(seed, sizes)
    words = []
    for new in (Stack, CompiledStack):
        stack = new()
        for distribution, symbols in reversed(message):
            for intervals in reversed(stack.intervals(distribution, symbols)):
                stack.push(intervals)
        words.append(stack.words())
    assert words[0].tolist() == words[1].tolist()
    for new in (Stack, CompiledStack):
        stack = new(words[0])
        for distribution, symbols in message:
            assert stack.pop(distribution).tolist() == symbols.tolist()
        assert stack.is_empty()
        assert len(stack.words()) == 0


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 20), min_size=1, max_size=4))
def test_popping_and_pushing_again_restores_both_stacks(seed: int, sizes: list[int]) -> None:
    random = np.random.default_rng(seed)
    words = random.integers(1, 2**32, 200, dtype=np.uint64).astype(np.uint32)
    message = steps(seed, sizes)
    popped = []
    for new in (Stack, CompiledStack):
        stack = new(words)
        values = [stack.pop(distribution) for distribution, _ in message]
        popped.append([v.tolist() for v in values])
        middle = stack.words().tolist()
        popped.append(middle)
        for (distribution, _), v in zip(reversed(message), reversed(values), strict=True):
            for intervals in reversed(stack.intervals(distribution, v)):
                stack.push(intervals)
        assert np.array_equal(stack.words(), words)
    assert popped[:2] == popped[2:]


def test_a_zero_last_word_is_refused() -> None:
    with pytest.raises(ModelError, match="zero word"):
        CompiledStack(np.array([1, 0], np.uint32))


def test_cached_machine_code_goes_stale_with_any_module(tmp_path: Path) -> None:
    (tmp_path / "called.py").write_text("a = 1")
    before = _stamp(tmp_path)
    assert _stamp(tmp_path) == before
    (tmp_path / "called.py").write_text("a = 12")
    assert _stamp(tmp_path) != before
    caches = [f._cache for f in (compiled_stack._push, compiled_stack._open)]
    assert all(cache._cache_file._source_stamp == _SOURCES for cache in caches)
