"""Mixtures as integer tables: always valid tables, whatever a network says, and close to the real mixture."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lgcodec.models import registry, weights
from lgcodec.models.entropy import mixture
from lgcodec.models.entropy.mixture import LOW_SYMBOLS, Mixture, Tables
from lgcodec.models.errors import ModelError
from lgcodec.models.families.causal.network import ORIGINS, SIZES
from lgcodec.models.interface import TOTAL

Int = NDArray[np.int64]
TABLES = Tables.make()
logits = st.one_of(st.integers(-4095, 4095), st.sampled_from([-4095, 0, 4095]))
log_scales = st.one_of(st.integers(0, 160), st.sampled_from([0, 160]))
means = st.one_of(
    st.integers(-(1 << 20), 1 << 20),  # more than anchor, linear path, gate, coupling and head can say together
    st.integers(-300 * 64, 300 * 64),
    st.sampled_from([-2 * 65536, 2 * 65536, 0, 32, -32, 255 * 64, 256 * 64 - 32]),
)


def wide(K: int, n: int, element: st.SearchStrategy[int]) -> st.SearchStrategy[Int]:
    row = st.lists(element, min_size=n, max_size=n)
    return st.lists(row, min_size=K, max_size=K).map(lambda rows: np.array(rows, np.int64))


@st.composite
def mixtures(draw: st.DrawFn) -> Mixture:
    """Anything that the layers' limits in causal.Config.layers let through."""
    K, n = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    parameters = [draw(wide(K, n, element)) for element in (logits, means, log_scales)]
    c = draw(st.integers(0, 2))
    return Mixture.of(TABLES, *parameters, SIZES[c], ORIGINS[c])


def check_table(cdf: NDArray[np.uint32], n: int, alphabet: int) -> None:
    assert cdf.dtype == np.uint32
    assert cdf.shape == (n, alphabet + 1)
    assert (cdf[:, 0] == 0).all()
    assert (cdf[:, -1] == TOTAL).all()
    assert (np.diff(cdf.astype(np.int64), axis=1) > 0).all()


def low_tables(m: Mixture) -> Int:
    """The low tables under every high symbol, int64 [A / 16, n, 17]."""
    n = m.mean.shape[1]
    return np.stack([m.low_table(np.full(n, high)) for high in range(m.size // LOW_SYMBOLS)]).astype(np.int64)


@settings(deadline=None)
@given(mixtures())
def test_tables_are_valid_for_any_parameters(m: Mixture) -> None:
    n = m.mean.shape[1]
    check_table(m.high_table(), n, m.size // LOW_SYMBOLS)
    for high in range(m.size // LOW_SYMBOLS):
        check_table(m.low_table(np.full(n, high)), n, LOW_SYMBOLS)
    whole = m.cumulative(np.arange(m.size + 1)[:, None])
    check_table(whole.T.astype(np.uint32), n, m.size)
    assert np.array_equal(whole[::LOW_SYMBOLS].T, m.high_table())


@settings(deadline=None)
@given(mixtures())
def test_weights_are_whole(m: Mixture) -> None:
    assert (m.weight.sum(axis=0) == 1 << mixture.WEIGHT_BITS).all()
    assert (m.weight >= 0).all()


@settings(deadline=None)
@given(mixtures(), st.data())
def test_a_column_does_not_see_the_others(m: Mixture, data: st.DataObject) -> None:
    """Batches of any composition give one table per pixel."""
    n = m.mean.shape[1]
    j = data.draw(st.integers(0, n - 1))
    alone = Mixture(
        m.tables, m.weight[:, j : j + 1], m.mean[:, j : j + 1], m.inverse[:, j : j + 1], m.size, m.origin, np.array([1])
    )
    high = np.array(data.draw(st.lists(st.integers(0, m.size // LOW_SYMBOLS - 1), min_size=n, max_size=n)))
    assert np.array_equal(alone.high_table()[0], m.high_table()[j])
    assert np.array_equal(alone.low_table(high[j : j + 1])[0], m.low_table(high)[j])


def real_cumulative(logit: Int, mean: Int, log_scale: Int, size: int, origin: int) -> NDArray[np.float64]:
    """P(symbol < v) for v = 0..A of the real mixture, PixelCNN++ equation 2: float64 [A + 1, n]."""
    share = np.exp((logit - logit.max(axis=0)) / 32)
    share /= share.sum(axis=0)
    edge = np.arange(size + 1)[:, None, None] + origin - 0.5
    z = (edge - mean / 64) * np.exp(4 - log_scale / 16)
    c = (share * 0.5 * (1 + np.tanh(z / 2))).sum(axis=1)
    c[0], c[-1] = 0, 1
    return c


@st.composite
def ordinary(draw: st.DrawFn) -> tuple[Int, Int, Int, int, int]:
    """Components inside the alphabet, scales from 1/7 of a pixel to 20, weights above 1/1000."""
    K, n, c = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(0, 2))
    low, high = ORIGINS[c] + 20, ORIGINS[c] + SIZES[c] - 20
    parameters = [(-100, 100), (64 * low, 64 * high), (32, 112)]
    return (*(draw(wide(K, n, st.integers(*ends))) for ends in parameters), SIZES[c], ORIGINS[c])


@settings(deadline=None)
@given(ordinary())
@example((np.zeros((1, 1), np.int64), np.full((1, 1), 6400), np.full((1, 1), 64), 256, 0))
@example((np.array([[-100], [0], [98]]), np.array([[97], [0], [0]]), np.full((3, 1), 32), 512, -256))
def test_high_and_low_multiply_to_the_real_mixture(parameters: tuple[Int, Int, Int, int, int]) -> None:
    m = Mixture.of(TABLES, *parameters)
    high = np.diff(m.high_table().astype(np.int64), axis=1) / TOTAL  # [n, A / 16]
    low = np.diff(low_tables(m), axis=2) / TOTAL  # [A / 16, n, 16]
    got = (high.T[:, :, None] * low).transpose(0, 2, 1).reshape(m.size, -1)  # [A, n]
    wanted = np.diff(real_cumulative(*parameters), axis=0)
    assert got.sum(axis=0) == pytest.approx(1)
    likely = wanted > 1e-3
    unit = 2.0**-mixture.WEIGHT_BITS  # of weights; and the table of sigmoids has steps
    assert (np.abs(got - wanted) < 0.01 * wanted + unit)[likely].all()
    assert np.abs(got - wanted).sum(axis=0).max() < 1e-3
    # What matters in the end: the bits lost by coding the real mixture with the tables, and the dearest symbol.
    assert ((wanted * np.log2(np.maximum(wanted, 1e-300) / got)).sum(axis=0) < 1e-3).all()
    assert -np.log2(got).max() < 48


def test_tables_are_sigmoid_and_exponentials() -> None:
    t = np.arange(len(TABLES.sigmoid)) / mixture.SIGMOID_STEPS - mixture.SIGMOID_RANGE
    assert np.abs(TABLES.sigmoid / 2**mixture.SIGMOID_BITS - 0.5 * (1 + np.tanh(t / 2))).max() < 2**-22
    assert np.array_equal(TABLES.sigmoid + TABLES.sigmoid[::-1], np.full(len(t), 1 << mixture.SIGMOID_BITS))
    assert TABLES.exponential[0] == 1 << mixture.WEIGHT_BITS
    assert TABLES.inverse[64] == 1 << mixture.INVERSE_BITS
    assert all((np.diff(table) <= 0).all() for table in (TABLES.exponential, TABLES.inverse))
    assert TABLES.inverse.min() > 0


@pytest.mark.parametrize("record", registry.RECORDS, ids=lambda record: record.name)
def test_shipped_weights_hold_these_tables(record: registry.Record) -> None:
    """Where another libm than the exporter's rounds a table differently, the shipped one still counts: say so here."""
    data = (files("lgcodec.models") / "weights" / record.weights).read_bytes()
    tensors = weights.read(data, record.weights).tensors
    for name in ("sigmoid", "exponential", "inverse"):
        key = {"vqvae": "pixels.", "masked": "table."}.get(record.family, "") + name
        assert tensors[key].dtype == np.int32
        assert np.array_equal(tensors[key], getattr(TABLES, name)), key


@pytest.mark.parametrize("name", ["sigmoid", "exponential", "inverse"])
def test_malformed_tables_are_refused(name: str) -> None:
    table = getattr(TABLES, name)
    for bad in (table[:-1], table.astype(np.int64), -1 - table, table[None]):
        with pytest.raises(ModelError, match="malformed tables"):
            replace(TABLES, **{name: bad})
    for other in (TABLES.sigmoid[::-1].copy(), TABLES.sigmoid * 2):
        with pytest.raises(ModelError, match="malformed tables"):
            replace(TABLES, sigmoid=other)


def test_tables_too_steep_for_32_bits_are_refused() -> None:
    steep = np.minimum(np.arange(len(TABLES.sigmoid)) << mixture.SIGMOID_STEP_BITS, 1 << mixture.SIGMOID_BITS)
    replace(TABLES, sigmoid=steep.astype(np.int32))
    steep[1:] = np.minimum(steep[1:] + 1, 1 << mixture.SIGMOID_BITS)
    with pytest.raises(ModelError, match="malformed tables"):
        replace(TABLES, sigmoid=steep.astype(np.int32))
