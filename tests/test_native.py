"""The native library says what numpy says, on each instruction set that this processor has: products, convolutions,
mixtures, the stack, and each family's tiles, whatever their shapes.
"""

from __future__ import annotations

import functools
import os
import platform

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import band_for, steps

from lgcodec.coding import chain, coder
from lgcodec.errors import ModelError
from lgcodec.models import registry
from lgcodec.models.entropy.program import shape_of
from lgcodec.models.interface import (
    TOTAL,
    CoefficientCoding,
    ExplicitCoding,
    ImageModel,
    Intervals,
    LatentCoding,
    Stream,
)  # fmt: skip
from lgcodec.models.layers.convolution import Convolution, ExecutorConvolutions
from lgcodec.models.layers.integer import Layer, check_exact
from lgcodec.models.machines import choose
from lgcodec.models.machines.native import build, library
from lgcodec.models.machines.native.convolution import NativeConvolutions, NativeExecutor
from lgcodec.models.machines.native.stack import NativeStack, ideal_bits
from lgcodec.models.machines.numpy.executor import NumpyExecutor
from lgcodec.models.machines.numpy.stack import Stack

if not library.available():
    pytest.skip("no native library: python -m lgcodec.models.machines.native.build", allow_module_level=True)

QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
Tile = NDArray[np.int16]


def layer(random: np.random.Generator, outputs: int, inputs: int) -> Layer:
    weight = random.integers(-300, 301, (outputs, inputs)).astype(np.int16)
    most = max(int(np.abs(weight.astype(np.int64)).sum(axis=1).max()), 1)
    limit = np.full(inputs, min((1 << 23) // most, 32767), np.int32)
    bias, shift = (
        random.integers(-5000, 5000, outputs).astype(np.int32),
        random.integers(0, 9, outputs).astype(np.int32),
    )
    low, high = np.sort(random.integers(-30000, 30000, (2, outputs)), axis=0).astype(np.int32)
    return Layer(weight, bias, shift, limit, low, high)


@QUICK
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_products(instructions: str, n: int, inputs: int, outputs: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    one = layer(random, outputs, inputs)
    a = random.integers(-one.limit, one.limit + 1, (n, inputs)).astype(np.float32)
    results = [machine.apply(machine.load(one), a) for machine in (NumpyExecutor(), NativeExecutor())]
    assert np.array_equal(*results)


def test_products_are_exact(instructions: str) -> None:
    check_exact(NativeExecutor())


@QUICK
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 120), st.integers(1, 7)), st.integers(1, 40),
    st.sampled_from([1, 3, 5, 7]), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_convolutions(instructions: str, shape: tuple[int, ...], outputs: int, size: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    one = Convolution(layer(random, outputs, size * size * shape[3]), size)
    limit = int(one.layer.limit[0])
    a = random.integers(-limit, limit + 1, shape).astype(np.float32)
    results = [m.convolve(m.load(one), a) for m in (ExecutorConvolutions(NumpyExecutor()), NativeConvolutions())]
    assert np.array_equal(*results)


@QUICK
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 40), max_size=5))
def test_stacks_push_the_same_words_and_pop_what_was_pushed(instructions: str, seed: int, sizes: list[int]) -> None:
    message = steps(seed, sizes)
    words = []
    for new in (Stack, NativeStack):
        stack = new()
        for distribution, symbols in reversed(message):
            for intervals in reversed(stack.intervals(distribution, symbols)):
                stack.push(intervals)
        words.append(stack.words())
    assert words[0].tolist() == words[1].tolist()
    for new in (Stack, NativeStack):
        stack = new(words[0])
        for distribution, symbols in message:
            assert stack.pop(distribution).tolist() == symbols.tolist()
        assert stack.is_empty()
        assert len(stack.words()) == 0


@QUICK
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 20), min_size=1, max_size=4), st.integers(0, 200))
def test_any_words_pop_alike_and_pushing_restores_them(
    instructions: str, seed: int, sizes: list[int], length: int
) -> None:
    words = np.random.default_rng(seed).integers(1, 2**32, length, dtype=np.uint64).astype(np.uint32)
    message = steps(seed, sizes)
    popped = []
    for new in (Stack, NativeStack):
        stack = new(words)
        values = [stack.pop(distribution) for distribution, _ in message]
        popped.append([*(v.tolist() for v in values), stack.words().tolist()])
        for (distribution, _), v in zip(reversed(message), reversed(values), strict=True):
            for intervals in reversed(stack.intervals(distribution, v)):
                stack.push(intervals)
        if length == 200:  # an empty stack gives zeros that it never held
            assert np.array_equal(stack.words(), words)
    assert popped[0] == popped[1]


def test_a_zero_last_word_is_refused() -> None:
    with pytest.raises(ModelError, match="zero word"):
        NativeStack(np.array([1, 0], np.uint32))


def test_ideal_bits() -> None:
    frequency = np.random.default_rng(3).integers(1, TOTAL, 1000).astype(np.uint32)
    expected = Intervals(frequency, frequency, np.array([1000])).ideal_bits()
    assert ideal_bits(frequency) == pytest.approx(expected, rel=1e-12)


def photo(random: np.random.Generator, channels: int, height: int, width: int) -> Tile:
    """A smooth tile with some noise, and some samples at their ends."""
    walk = np.cumsum(random.integers(-9, 10, (channels, height, width)), axis=2)
    tile = walk + np.array([128, 0, 0])[:channels, None, None]
    return np.clip(tile, np.array([0, -255, -255])[:channels, None, None], 255).astype(np.int16)


SHAPES = ((3, 1, 1), (3, 1, 7), (3, 5, 1), (3, 13, 9), (3, 24, 33), (1, 6, 17))


def tiles_for(model: ImageModel) -> list[Tile]:
    random = np.random.default_rng(7)
    shapes = SHAPES if isinstance(model.coding, ExplicitCoding) else ((3, 24, 40),) * 2
    tiles = [photo(random, min(shape[0], model.planes), *shape[1:]) for shape in shapes]
    return [(tile > 127).astype(np.int16) for tile in tiles] if model.levels == 2 else tiles


def coded(model: ImageModel, machine: str) -> list[Stream]:
    """Of `tiles_for`; of models that code chains, the words of one."""
    if isinstance(model.coding, LatentCoding):
        seed = registry.load("flow-mnist" if model.planes == 1 else "fast", machine=machine, threads=1)
        link = chain.encode(model, seed, tiles_for(model))
        return [Stream(link.words, link.net_bits)]
    if isinstance(model.coding, CoefficientCoding):
        stream = coder.encode_band(model, *band_for())
        return [] if stream is None else [stream]
    return coder.encode(model, tiles_for(model))


@functools.cache
def expected(name: str) -> list[Stream]:
    return coded(registry.load(name, machine="numpy", threads=1), "numpy")


@pytest.mark.parametrize("name", registry.NAMES)
def test_shipped_weights(instructions: str, name: str) -> None:
    choose._built.cache_clear()  # the machine checks itself again
    model = registry.load(name, machine="native", threads=1)
    got, known = coded(model, "native"), expected(name)
    assert [s.words.tolist() for s in got] == [s.words.tolist() for s in known]
    assert [s.ideal_bits for s in got] == pytest.approx([s.ideal_bits for s in known])
    if isinstance(model.coding, CoefficientCoding):
        shapes, band = band_for()
        back = coder.decode_band(model, shapes, got[0].words)
        assert all(np.array_equal(a, b) for a, b in zip(back, band, strict=True))
    elif not isinstance(model.coding, LatentCoding):
        tiles, bases = tiles_for(model), [s.base for s in got]
        back = coder.decode(model, [shape_of(tile) for tile in tiles], [s.words for s in got], bases=bases)
        assert all(np.array_equal(a, b) for a, b in zip(back, tiles, strict=True))


def test_an_unknown_instruction_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LGCODEC_INSTRUCTIONS", "mmx")
    with pytest.raises(ModelError, match="mmx"):
        library.library()
    assert os.environ["LGCODEC_INSTRUCTIONS"] not in build.SETS


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names sets of x86-64")
def test_sets_are_counted_from_the_narrowest_on() -> None:
    assert set(library.available()) <= set(build.X86)
    if not build.path_of("sse4.2").exists():
        pytest.skip("compiled for some sets alone, as under sanitizers")
    assert library.available()[-1] == "sse4.2"
