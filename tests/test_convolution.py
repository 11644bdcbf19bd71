"""Integer convolutions: every machine gives the integers of the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lgcodec.models.errors import ModelError
from lgcodec.models.layers.convolution import Convolution
from lgcodec.models.layers.integer import EXACT, Layer
from lgcodec.models.machines.choose import choose, missing

MACHINES = [name for name in ("numpy", "native", "torch") if missing(name) is None]
machines = {name: choose(machine=name).convolutions for name in MACHINES}


def convolution(random: np.random.Generator, size: int, I: int, O: int) -> Convolution:
    """Weights that fill the bound."""
    weight = random.integers(-60, 61, (O, size * size * I)).astype(np.int16)
    bias, shift = random.integers(-5000, 5000, O).astype(np.int32), random.integers(0, 8, O).astype(np.int32)
    most = (EXACT - 5001) // max(1, int(np.abs(weight.astype(np.int64)).sum(axis=1).max()))
    limit = np.full(size * size * I, min(most, 4095), np.int32)
    low = random.integers(-40000, 1, O).astype(np.int32)
    return Convolution(Layer(weight, bias, shift, limit, low, low + 50000), size)


def definition(c: Convolution, a: NDArray[np.int64]) -> NDArray[np.int64]:
    N, H, W, I = a.shape
    layer, r = c.layer, c.size // 2
    around = np.pad(a, ((0, 0), (r, r), (r, r), (0, 0)))
    weight = layer.weight.astype(np.int64).reshape(-1, c.size, c.size, I)
    y = np.zeros((N, H, W, len(weight)), np.int64) + layer.bias
    for dy in range(c.size):
        for dx in range(c.size):
            y += around[:, dy : dy + H, dx : dx + W] @ weight[:, dy, dx].T
    return np.clip(y >> layer.shift, layer.low, layer.high)


@pytest.mark.parametrize("name", MACHINES)
@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 5]), st.tuples(*[st.integers(1, 20)] * 4), st.integers(1, 3))
def test_a_machine_convolves_as_defined(name: str, seed: int, size: int, shape: tuple[int, ...], N: int) -> None:
    random = np.random.default_rng(seed)
    H, W, I, O = shape
    c = convolution(random, size, I, O)
    limit = int(c.layer.limit[0])
    a = random.integers(-limit, limit + 1, (N, H, W, I))
    run = machines[name]
    got = run.numpy(run.convolve(run.load(c), run.array(a.astype(np.float32))))
    assert got.dtype == np.float32
    assert np.array_equal(got, definition(c, a))


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("size", [1, 3])
def test_large_arrays_are_worked_on_in_parts(name: str, size: int) -> None:
    random = np.random.default_rng(1)
    c = convolution(random, size, 2, 3)
    for shape in ((2, 300, 400, 2), (70, 40, 40, 2), (1, 3, 70000, 2)):
        a = random.integers(-9, 10, shape)
        run = machines[name]
        got = run.numpy(run.convolve(run.load(c), run.array(a.astype(np.float32))))
        assert np.array_equal(got, definition(c, a))


def test_even_sizes_and_odd_weights_are_refused() -> None:
    layer = convolution(np.random.default_rng(0), 3, 2, 4).layer
    for size in (0, 2, 5):
        with pytest.raises(ModelError, match="malformed"):
            Convolution(layer, size)


def test_unknown_machines_are_refused() -> None:
    with pytest.raises(ModelError, match="no machine"):
        choose(machine="abacus")
