"""The vector instructions for numba say the numbers of `mixture.py` and of integer layers, whatever they are given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lgcodec.models.entropy.mixture import Mixture, Tables
from lgcodec.models.layers.integer import Layer
from lgcodec.models.machines.numba import mixtures as mixture_kernels
from lgcodec.models.machines.numba import products as short_kernels
from lgcodec.models.machines.numba import stack as compiled_stack
from lgcodec.models.machines.numba.vectors import BLOCK
from lgcodec.models.machines.numpy.stack import Stack

nb = pytest.importorskip("numba", reason="the fast extra (numba) is not installed")
QUICK = settings(max_examples=60, deadline=None)
TABLES = Tables.make()
SIGMOIDS = mixture_kernels.packed_sigmoids(TABLES)
SLACK = mixture_kernels.SLOTS


@nb.njit
def shares(values, mean, inverse, weight, n, size, origin, starts, frequencies, first):
    mixture_kernels.shares(values, mean, inverse, weight, n, size, origin, SIGMOIDS, starts, frequencies, first)


@nb.njit
def mixtures(q, n, c, centre, error, turned, mean, inverse, weight):
    tables = (TABLES_EXPONENTIAL, TABLES_INVERSE)
    mixture_kernels.mixtures(q, n, 0, c, tables[0], tables[1], centre, error, turned, mean, inverse, weight)


@nb.njit
def layer(a, w, ends, sums, out, n):
    short_kernels.multiply(a, w, 0, sums, n)
    short_kernels.activate(sums, ends, 0, out, n)


TABLES_EXPONENTIAL, TABLES_INVERSE = TABLES.exponential, TABLES.inverse


@QUICK
@given(
    st.integers(1, 6), st.integers(1, 40), st.sampled_from([(256, 0), (512, -256)]),
    st.sampled_from([64, 3000, 40000, 1 << 20]), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_shares_and_pops_are_those_of_mixtures(K: int, n: int, window: tuple[int, int], far: int, seed: int) -> None:
    random, (size, origin) = np.random.default_rng(seed), window
    mean, inverse, weight = np.zeros((3, K, n + SLACK), np.int32)
    mean[:, :n] = random.integers(-far, far + 1, (K, n)) + 64 * 128 * (origin == 0)
    inverse[:, :n] = TABLES.inverse[random.integers(0, 161, (K, n))]
    part = random.integers(1, 65537, (K, n))
    weight[:, :n] = (part << 16) // part.sum(axis=0)
    weight[0, :n] += (1 << 16) - weight[:, :n].sum(axis=0)
    known = [a[:, :n].astype(np.int64) for a in (weight, mean, inverse)]
    mixture = Mixture(TABLES, *known, size, origin, np.array([n]))
    symbols = random.integers(origin, origin + size, n)
    if seed % 2:  # likely ones
        symbols = np.clip(known[1][0] // 64 + random.integers(-40, 41, n), origin, origin + size - 1)
    values = np.zeros(n + SLACK, np.int32)
    values[:n] = symbols - origin
    starts, frequencies = np.full((2, 2 * n + 3), 7, np.uint32)
    shares(values, mean, inverse, weight, n, size, origin, starts, frequencies, 2)
    high, low = mixture.intervals(symbols)
    np.testing.assert_array_equal(starts, [7, 7, *high.start, *low.start, 7])
    np.testing.assert_array_equal(frequencies, [7, 7, *high.frequency, *low.frequency, 7])

    stack = Stack(np.array([1, 2, 3], np.uint32))
    stack.push(low)
    stack.push(high)
    words = stack.words()
    state, left = np.uint64(0), len(words)
    for _ in range(2):
        state, left = compiled_stack.refill(np.uint64(state), words, left)
    found, bases, spans = np.zeros((3, n), np.int32)
    parameters = (mean, inverse, weight, size, origin, SIGMOIDS)
    edges = np.zeros(16, np.int64)
    state, left = compiled_stack.pop_mixtures(np.uint64(state), words, left, n, parameters, found, bases, spans, edges)
    np.testing.assert_array_equal(found, values[:n])
    assert int(state) == 3 << 32 | 2
    assert left == 1


@QUICK
@given(st.integers(1, 7), st.integers(1, 48), st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_mixtures_are_those_of_rows(K: int, n: int, c: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    outputs = -(-(3 * K + c) // 16) * 16
    q = np.zeros((48, outputs), np.int32)
    ends = np.repeat([(-4095, 4095), (-65535, 65535), (0, 160), (-1023, 1023)], [K, K, K, c], axis=0)
    q[:, : 3 * K + c] = random.integers(ends[:, 0], ends[:, 1] + 1, (48, 3 * K + c))
    if seed % 2:
        q[:, :K] //= 64
    centre = random.integers(-(1 << 19), 1 << 19, (3, n + SLACK)).astype(np.int32)
    error = random.integers(-16384, 16385, (3, n + SLACK)).astype(np.int32)
    mean, inverse, weight = np.zeros((3, K, n + SLACK), np.int32)
    mixtures(q, n, c, centre, error, np.zeros((outputs, SLACK), np.int32), mean, inverse, weight)
    row = q[:n].astype(np.int64).T
    middle = centre[c, :n] + sum(((row[3 * K + i] * error[i, :n]) >> 8 for i in range(c)), np.zeros(n, np.int64))
    wanted = Mixture.of(TABLES, row[:K], row[K : 2 * K] + middle, row[2 * K : 3 * K], 256, 0)
    for got, expected in ((mean, wanted.mean), (inverse, wanted.inverse), (weight, wanted.weight)):
        np.testing.assert_array_equal(got[:, :n], expected)


@QUICK
@given(st.integers(1, 130), st.integers(1, 150), st.integers(1, 48), st.integers(0, 2**32 - 1))
def test_products_fill_24_bits(inputs: int, outputs: int, n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    weight = random.integers(-32767, 32768, (outputs, inputs)).astype(np.int16)
    most = ((1 << 24) - 1 - 1000) // np.abs(weight.astype(np.int64)).sum(axis=1).max()
    limit = np.full(inputs, min(most, 32767), np.int32)
    bias, shift = random.integers(-1000, 1001, outputs), random.integers(0, 12, outputs)
    low, high = np.zeros(outputs), random.integers(0, 32768, outputs)
    one = Layer(weight, *(a.astype(np.int32) for a in (bias, shift)), limit, *(a.astype(np.int32) for a in (low, high)))
    w, ends = short_kernels.packed([one], inputs)
    a = np.zeros((BLOCK, 2 * w.shape[1]), np.int16)
    a[:, :inputs] = random.integers(-limit, limit + 1, (len(a), inputs))
    a[0, :inputs] = np.sign(weight[0]) * limit
    sums, out = np.zeros((len(a), ends.shape[2]), np.int32), np.zeros((len(a), ends.shape[2]), np.int16)
    layer(a, w, ends, sums, out, n)
    exact = a[:n, :inputs].astype(np.int64) @ weight.T.astype(np.int64)
    np.testing.assert_array_equal(sums[:n, :outputs], exact)
    np.testing.assert_array_equal(out[:n, :outputs], np.clip((exact + bias) >> shift, low, high))
    assert not out[:n, outputs:].any()
