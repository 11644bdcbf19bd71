"""The native library says what numpy says, on each instruction set that this processor has: products, convolutions,
mixtures, the stack, and each family's tiles, whatever their shapes.
"""

from __future__ import annotations

import functools
import os
import platform

import numpy as np
import pytest
from cases import convolved, exactness, product, restored, stacked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import band_for

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
from lgcodec.models.machines import choose
from lgcodec.models.machines.native import build, library
from lgcodec.models.machines.native.stack import ideal_bits

if not library.available():
    pytest.skip("no native library: python -m lgcodec.models.machines.native.build", allow_module_level=True)

QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
Tile = NDArray[np.int16]


def machine() -> choose.Machine:
    """As the instruction set of the moment makes it."""
    return choose.MACHINES["native"].build(1)


@QUICK
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 90), st.sampled_from([0, 1, 127, 4095, 32767]))
def test_products(instructions: str, n: int, inputs: int, outputs: int, limit: int) -> None:
    product(n, inputs, outputs, limit, (-30000, 30000), machine())


def test_products_are_exact(instructions: str) -> None:
    exactness(machine())


@QUICK
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 5, 7]),
    st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 120), st.integers(1, 7)), st.integers(1, 40),
)  # fmt: skip
def test_convolutions(instructions: str, seed: int, size: int, shape: tuple[int, ...], outputs: int) -> None:
    convolved(seed, size, shape, outputs, machine())


@QUICK
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 40), max_size=5), st.integers(0, 200))
def test_stacks(instructions: str, seed: int, sizes: list[int], length: int) -> None:
    stacked(seed, sizes, machine())
    restored(seed, sizes, machine(), length)


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
