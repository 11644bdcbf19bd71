"""What every machine must do, as cases that take one. Numpy in int64, and numpy's stack, say what is right."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from strategies import Step, steps

from lgcodec.models.errors import ModelError
from lgcodec.models.interface import NewStack
from lgcodec.models.layers.convolution import Convolution
from lgcodec.models.layers.integer import EXACT, WEIGHT_LIMIT, Executor, Layer, check_exact
from lgcodec.models.machines.choose import Machine
from lgcodec.models.machines.numpy.stack import Stack

Int = NDArray[np.int64]

# Products and activations


def exact(layer: Layer, a: Int) -> Int:
    """The layer's definition, in int64."""
    acc = a @ layer.weight.astype(np.int64).T + layer.bias
    return np.clip(acc >> layer.shift, layer.low, layer.high)


def run(executor: Executor, layers: list[Layer], a: Int) -> Int:
    x = executor.array(a.astype(np.float32))
    for layer in layers:
        x = executor.apply(executor.load(layer), x)
    return executor.numpy(x).astype(np.int64)


def make(random: np.random.Generator, limit: NDArray[np.int32], O: int, fill: float, low: int, high: int) -> Layer:
    """Weights and bias that use about `fill` of the 2**24 that partial sums may reach."""
    share = random.dirichlet(np.full(len(limit) + 1, 0.5), O) * fill * (EXACT - 1)
    sign = random.choice([-1, 1], share.shape)
    weight = np.minimum(share[:, 1:] // np.maximum(limit, 1), WEIGHT_LIMIT) * sign[:, 1:]
    bias = share[:, 0].astype(np.int64) * sign[:, 0]
    shift = random.integers(0, 24, O).astype(np.int32)
    ends = np.full(O, low, np.int32), np.full(O, high, np.int32)
    return Layer(weight.astype(np.int16), bias.astype(np.int32), shift, limit, *ends)


def large(random: np.random.Generator) -> tuple[list[Layer], Int]:
    """A product large enough that libraries split it."""
    limit = np.full(132, 2047, np.int32)
    return [make(random, limit, 128, 1.0, -EXACT, EXACT)], random.integers(-2047, 2048, (2000, 132))


def product(n: int, I: int, O: int, limit: int, ends: tuple[int, int], machine: Machine) -> None:
    """At the ends of inputs, of sums (2**24 - 1 either way) and of shifts."""
    random = np.random.default_rng(n)
    layer = make(random, np.full(I, limit, np.int32), O, 1.0, *ends)
    most = np.sign(layer.weight.astype(np.int64)) * limit
    a = np.concatenate([most[:1], -most[-1:], random.integers(-limit, limit + 1, (n, I))])[:n]
    assert np.array_equal(run(machine.executor, [layer], a), exact(layer, a))


def one_unit(machine: Machine) -> None:
    """The largest sum there is, without and with a shift."""
    for bias, shift in ((EXACT - 2, 0), (-EXACT + 2, 0), (EXACT - 2, 23), (-EXACT + 2, 23), (-1, 1)):
        numbers = [np.array([value], np.int32) for value in (bias, shift, 1, -EXACT, EXACT)]
        layer = Layer(np.array([[1]], np.int16), *numbers)
        for value in (-1, 0, 1):
            a = np.array([[value]])
            assert np.array_equal(run(machine.executor, [layer], a), exact(layer, a))


def largest_product(machine: Machine) -> None:
    layers, a = large(np.random.default_rng(3))
    assert np.array_equal(run(machine.executor, layers, a), exact(layers[0], a))


def joined(machine: Machine) -> None:
    executor, random = machine.executor, np.random.default_rng(0)
    for widths in ((1, 1), (3, 70, 1), (5,)):
        parts = [random.integers(-9, 10, (7, width)).astype(np.float32) for width in widths]
        got = executor.numpy(executor.join([executor.array(part) for part in parts]))
        assert np.array_equal(got, np.concatenate(parts, axis=1))
    assert np.array_equal(executor.numpy(executor.zeros(2, 3)), np.zeros((2, 3)))


def exactness(machine: Machine) -> None:
    check_exact(machine.executor)


# Convolutions


def convolution(random: np.random.Generator, size: int, I: int, O: int) -> Convolution:
    """Weights that fill the bound."""
    weight = random.integers(-60, 61, (O, size * size * I)).astype(np.int16)
    bias, shift = random.integers(-5000, 5000, O).astype(np.int32), random.integers(0, 8, O).astype(np.int32)
    most = (EXACT - 5001) // max(1, int(np.abs(weight.astype(np.int64)).sum(axis=1).max()))
    limit = np.full(size * size * I, min(most, 4095), np.int32)
    low = random.integers(-40000, 1, O).astype(np.int32)
    return Convolution(Layer(weight, bias, shift, limit, low, low + 50000), size)


def definition(c: Convolution, a: Int) -> Int:
    N, H, W, I = a.shape
    layer, r = c.layer, c.size // 2
    around = np.pad(a, ((0, 0), (r, r), (r, r), (0, 0)))
    weight = layer.weight.astype(np.int64).reshape(-1, c.size, c.size, I)
    y = np.zeros((N, H, W, len(weight)), np.int64) + layer.bias
    for dy in range(c.size):
        for dx in range(c.size):
            y += around[:, dy : dy + H, dx : dx + W] @ weight[:, dy, dx].T
    return np.clip(y >> layer.shift, layer.low, layer.high)


def convolved(seed: int, size: int, shape: tuple[int, ...], O: int, machine: Machine, most: int | None = None) -> None:
    """shape: N, H, W, I. most: of the inputs, None for all that the bound allows."""
    random = np.random.default_rng(seed)
    c = convolution(random, size, shape[-1], O)
    limit = most or int(c.layer.limit[0])
    a = random.integers(-limit, limit + 1, shape)
    on = machine.convolutions
    got = on.numpy(on.convolve(on.load(c), on.array(a.astype(np.float32))))
    assert got.dtype == np.float32
    assert np.array_equal(got, definition(c, a))


# Stacks


def pushed(new: NewStack, message: list[Step]) -> NDArray[np.uint32]:
    stack = new()
    for distribution, symbols in reversed(message):
        for intervals in reversed(stack.intervals(distribution, symbols)):
            stack.push(intervals)
    return stack.words()


def stacked(seed: int, sizes: list[int], machine: Machine) -> None:
    """The words of numpy's stack, from which what was pushed pops, until nothing is left."""
    message = steps(seed, sizes)
    words = pushed(machine.stack, message)
    assert words.tolist() == pushed(Stack, message).tolist()
    stack = machine.stack(words)
    for distribution, symbols in message:
        assert stack.pop(distribution).tolist() == symbols.tolist()
    assert stack.is_empty()
    assert len(stack.words()) == 0


def restored(seed: int, sizes: list[int], machine: Machine, length: int = 200) -> None:
    """What pops off words of noise is what pops off numpy's stack, and to push it again brings the words back."""
    words = np.random.default_rng(seed).integers(1, 2**32, length, dtype=np.uint64).astype(np.uint32)
    message, ends = steps(seed, sizes), []
    for new in (Stack, machine.stack):
        stack = new(words)
        values = [stack.pop(distribution) for distribution, _ in message]
        ends.append([[value.tolist() for value in values], stack.words().tolist()])
        for (distribution, _), value in zip(reversed(message), reversed(values), strict=True):
            for intervals in reversed(stack.intervals(distribution, value)):
                stack.push(intervals)
        assert length < 200 or np.array_equal(stack.words(), words)  # an empty stack gives zeros that it never held
    assert ends[0] == ends[1]


def no_zero_word(machine: Machine) -> None:
    with pytest.raises(ModelError, match="zero word"):
        machine.stack(np.array([1, 0], np.uint32))
