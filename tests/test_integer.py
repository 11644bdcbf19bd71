"""Integer layers: the bound that makes float32 exact, and executors that agree with int64 to the last unit."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import convolution, exact, large, run
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_machines import networks

from lgcodec.models.errors import ExactnessError, ModelError
from lgcodec.models.layers.convolution import Convolution
from lgcodec.models.layers.integer import EXACT, INPUT_LIMIT, WEIGHT_LIMIT, Layer, check_exact, quantise
from lgcodec.models.machines.numpy.executor import NumpyExecutor
from lgcodec.models.machines.torch.executor import TorchExecutor

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
Int = NDArray[np.int64]


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    """Tests here change torch's thread count; others shall not see it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@settings(deadline=None, max_examples=40)
@given(network=networks(), threads=st.sampled_from([1, 2]))
def test_torch_agrees_for_any_threads(network: tuple[list[Layer], Int], threads: int) -> None:
    layers, a = network
    expected = a
    for layer in layers:
        expected = exact(layer, expected)
    torch.set_num_threads(threads)
    assert np.array_equal(run(TorchExecutor("cpu"), layers, a), expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_torch_threads_share_one_large_product(threads: int) -> None:
    random = np.random.default_rng(3)
    layers, a = large(random)
    torch.set_num_threads(threads)
    assert np.array_equal(run(TorchExecutor("cpu"), layers, a), exact(layers[0], a))


IN_A_PROCESS = """
import sys; sys.path.insert(0, sys.argv[1])
import hashlib, numpy as np, cases as t
from lgcodec.models.machines.numpy.executor import NumpyExecutor
layers, a = t.large(np.random.default_rng(3))
print(hashlib.sha256(t.run(NumpyExecutor(), layers, a)).hexdigest())
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_numpy_threads_share_one_large_product(threads: int) -> None:
    """BLAS takes its thread count when it is loaded, hence a process."""
    variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    command = [sys.executable, "-c", IN_A_PROCESS, os.path.dirname(__file__)]
    environment = {**os.environ, **dict.fromkeys(variables, str(threads))}
    got = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    layers, a = large(np.random.default_rng(3))
    assert got == hashlib.sha256(exact(layers[0], a)).hexdigest()


def single(weight: int, bias: int, limit: int) -> Layer:
    def of(n: int) -> NDArray[np.int32]:
        return np.array([n], np.int32)

    return Layer(np.array([[weight]], np.int16), of(bias), of(0), of(limit), of(-EXACT), of(EXACT))


@given(
    weight=st.integers(-WEIGHT_LIMIT, WEIGHT_LIMIT).filter(bool),
    bias=st.integers(-EXACT + 1, EXACT - 1),
    beyond=st.integers(-2, 2),
)
def test_the_bound_is_enforced_to_the_unit(weight: int, bias: int, beyond: int) -> None:
    limit = min(max(0, (EXACT - 1 - abs(bias)) // abs(weight) + beyond), INPUT_LIMIT)
    reach = abs(weight) * limit + abs(bias)
    if reach >= EXACT:
        with pytest.raises(ModelError, match=r"2\*\*24"):
            single(weight, bias, limit)
    else:
        assert single(weight, bias, limit).bound().tolist() == [reach]


def test_even_sizes_and_odd_weights_are_refused() -> None:
    layer = convolution(np.random.default_rng(0), 3, 2, 4).layer
    for size in (0, 2, 5):
        with pytest.raises(ModelError, match="malformed"):
            Convolution(layer, size)


def test_one_more_than_the_bound_would_round() -> None:
    """Why the bound is where it is."""
    full = single(1, EXACT - 2, 1)
    assert run(NumpyExecutor(), [full], np.array([[1]])).tolist() == [[EXACT - 1]]
    assert np.float32(EXACT) + np.float32(1) == np.float32(EXACT)
    with pytest.raises(ModelError):
        single(1, EXACT - 1, 1)


@pytest.mark.parametrize("limit", [-1, INPUT_LIMIT + 1])
def test_inputs_have_16_bits(limit: int) -> None:
    with pytest.raises(ModelError, match="16 bits"):
        single(1, 0, limit)


@pytest.mark.parametrize(
    "change",
    [
        {"bias": np.zeros(2, np.int32)},
        {"shift": np.zeros(2, np.int32)},
        {"shift": np.array([-1], np.int32)},
        {"shift": np.array([24], np.int32)},
        {"limit": np.zeros(2, np.int32)},
        {"low": np.zeros(2, np.int32)},
        {"high": np.zeros((1, 1), np.int32)},
    ],
    ids=lambda change: f"{next(iter(change))} {next(iter(change.values())).tolist()}",
)
def test_malformed_layers_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="malformed"):
        replace(single(1, 1, 1), **change)


@st.composite
def real_layers(draw: st.DrawFn) -> tuple[Any, ...]:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    outputs, inputs = draw(st.integers(1, 20)), draw(st.integers(1, 40))
    scale = 2.0 ** draw(st.integers(-24, 5))
    limit = random.integers(0, draw(st.sampled_from([2, 128, 2048, 8192])), inputs).astype(np.int32)
    weight = random.normal(0, scale, (outputs, inputs)) * random.choice([0, 0.01, 1], (outputs, inputs))
    bias = random.normal(0, 1000 * scale, outputs)
    return weight, bias, limit, np.full(outputs, -EXACT, np.int32), np.full(outputs, EXACT, np.int32)


def fits(weight: NDArray[np.float64], bias: float, limit: NDArray[np.int32], shift: int) -> bool:
    """Whether one output row can be held with `shift`, in Python's own integers."""
    w = [round(float(v) * 2**shift) for v in weight]
    b = round(float(bias) * 2**shift + (2 ** (shift - 1) if shift else 0))
    reach = sum(abs(v) * int(m) for v, m in zip(w, limit, strict=True)) + abs(b)
    return reach < EXACT and max(map(abs, w)) <= WEIGHT_LIMIT


@settings(deadline=None)
@given(real_layers())
def test_quantise_is_within_the_bound_and_as_fine_as_possible(real: tuple[Any, ...]) -> None:
    weight, bias, limit = real[:3]
    try:
        layer = quantise(*real)
    except ModelError:
        assert not all(fits(w, b, limit, 0) for w, b in zip(weight, bias, strict=True))
        return
    assert (layer.bound() < EXACT).all()
    unit = 2.0 ** -layer.shift[:, None]
    assert (np.abs(layer.weight * unit - weight) <= unit / 2).all()
    for o, s in enumerate(layer.shift.tolist()):
        assert fits(weight[o], bias[o], limit, s)
        assert not any(fits(weight[o], bias[o], limit, finer) for finer in range(s + 1, 24))


@settings(deadline=None)
@given(real_layers(), st.integers(0, 2**32 - 1))
def test_quantised_layers_compute_the_rounded_real_layer(real: tuple[Any, ...], seed: int) -> None:
    weight, bias, limit = real[:3]
    try:
        layer = quantise(*real)
    except ModelError:
        return
    a = np.random.default_rng(seed).integers(-limit, limit + 1, (9, len(limit)))
    wanted = a @ weight.T + bias
    error = (limit.sum() + 1) * 0.5 ** (layer.shift + 1.0)  # what rounding the weights and the bias can cost
    assert (np.abs(exact(layer, a) - wanted) <= 0.5 + error + 1e-6).all()


def test_quantise_refuses_what_no_shift_can_hold() -> None:
    ends = np.array([-1], np.int32), np.array([1], np.int32)
    with pytest.raises(ModelError, match="too large"):
        quantise(np.array([[32768.0]]), np.zeros(1), np.array([1], np.int32), *ends)
    with pytest.raises(ModelError, match="too large"):
        quantise(np.array([[32767.0]]), np.zeros(1), np.array([513], np.int32), *ends)


def bfloat16(a: NDArray[np.float32]) -> NDArray[np.float32]:
    return torch.from_numpy(a).bfloat16().float().numpy()


def float16(a: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return a.astype(np.float16).astype(np.float32)


def tf32(a: NDArray[np.float32]) -> NDArray[np.float32]:
    """Ten bits of mantissa, as NVIDIA's tensor cores take float32 operands unless told otherwise."""
    return ((a.view(np.uint32) + 0x1000) & 0xFFFFE000).astype(np.uint32).view(np.float32)


class Sabotaged(NumpyExecutor):
    """Rounds operands or results as some accelerators do."""

    name = "sabotaged"

    def __init__(self, rounding: Any, operands: bool) -> None:
        self.rounding, self.operands = rounding, operands

    def apply(self, layer: Any, a: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.operands:
            return super().apply((self.rounding(layer[0]), *layer[1:]), self.rounding(a))
        return self.rounding(super().apply(layer, a))


@pytest.mark.parametrize("operands", [True, False], ids=["operands", "results"])
@pytest.mark.parametrize("rounding", [bfloat16, float16, tf32])
def test_executors_that_round_are_refused(rounding: Any, operands: bool) -> None:
    with pytest.raises(ExactnessError, match=r"sabotaged.*not exact"):
        check_exact(Sabotaged(rounding, operands))


@example(0)
@given(st.integers(0, 63))
@settings(deadline=None, max_examples=10)
def test_one_unit_of_error_is_refused(output: int) -> None:
    class Off(NumpyExecutor):
        def apply(self, layer: Any, a: NDArray[np.float32]) -> NDArray[np.float32]:
            result = super().apply(layer, a)
            result[0, output % result.shape[1]] += 1
            return result

    with pytest.raises(ExactnessError):
        Off()


def test_biases_make_up_for_what_rounded_weights_lose_of_typical_inputs() -> None:
    """A thousand weights, each off by half a unit at most, move what all inputs have in common."""
    rng = np.random.default_rng(0)
    weight, bias, typical = rng.normal(0, 0.02, (50, 1000)), np.zeros(50), np.full(1000, -128.0)
    ends = np.full(1000, 1023, np.int32), np.full(50, -32768, np.int32), np.full(50, 32767, np.int32)
    errors = []
    for known in (None, typical):
        layer = quantise(weight, bias, *ends, typical=known)
        sums = (layer.weight.astype(float) @ typical + layer.bias) / 2.0**layer.shift - 0.5
        errors.append(float((np.abs(sums - weight @ typical) * 2.0**layer.shift).max()))  # in the finest steps
    assert errors[1] < 0.51
    assert errors[0] > 100
