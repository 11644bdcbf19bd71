"""The coefficients family: its program through stacks, on the native library number for number, and what is refused."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from lgcodec.coding.explicit import pop_program, push_program
from lgcodec.errors import FormatError, ModelError
from lgcodec.models.entropy.mixture import Tables
from lgcodec.models.entropy.program import popped
from lgcodec.models.families import tile_coder
from lgcodec.models.families.coefficients import companion, earlier
from lgcodec.models.families.coefficients.network import (
    AC_SIZE,
    BANDS,
    FEATURE_LIMIT,
    MAGNITUDES,
    MOST_BLOCKS,
    ZIGZAG,
    Config,
    Network,
    compand_table,
    ends,
)
from lgcodec.models.families.coefficients.on_native import NativeCoefficients
from lgcodec.models.families.coefficients.program import Program, energy_of
from lgcodec.models.interface import BandCoder, Coefficients, ComponentShape, Stream, Words
from lgcodec.models.layers.integer import EXACT, WEIGHT_LIMIT, Layer
from lgcodec.models.machines import choose
from lgcodec.models.machines.native import library
from lgcodec.models.machines.numpy.executor import NumpyExecutor
from lgcodec.models.machines.numpy.stack import Stack
from lgcodec.models.parallel import each

Band = list[Coefficients]
Ends = NDArray[np.int32]


def draw_layer(random: np.random.Generator, limit: Ends, low: Ends, high: Ends) -> Layer:
    """Weights within the exact range, whose outputs are within their ends more often than not."""
    weight = random.normal(size=(len(low), len(limit))) * (random.random((len(low), len(limit))) < 0.5)
    reach = np.maximum(np.abs(weight) @ limit, 1)
    weight = np.clip(np.trunc(weight * (0.6 * EXACT / reach)[:, None]), -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int16)
    shift = np.clip(23 - np.log2(high).astype(np.int32) + random.integers(-3, 2, len(low)), 0, 23).astype(np.int32)
    bias = np.clip(((low + high) // 2).astype(np.int64) << shift, -EXACT // 4, EXACT // 4).astype(np.int32)
    return Layer(weight, bias, shift, limit, low, high)


@functools.cache
def network_of(first: int, second: int, components: int, seed: int) -> Network:
    """Any numbers that a network may have; that of seed 0 takes nothing for more than nothing."""
    random, config = np.random.default_rng(seed), Config(first, second, components)
    layers = {name: draw_layer(random, *parts) for name, parts in ends(config).items()}
    compand = compand_table() if seed else np.sort(random.integers(0, FEATURE_LIMIT + 1, MAGNITUDES)).astype(np.int32)
    return Network(config, layers, compand, Tables.make())


NETWORKS = {"small": (7, 5, 2, 0), "as trained": (48, 24, 3, 1), "wide": (70, 33, 8, 2)}


def draw_steps(random: np.random.Generator, kind: str) -> NDArray[np.int64]:
    if kind == "extreme":
        return random.choice([1, 255, 65535], 64)
    return np.maximum(1, random.integers(1, 40, 64) if kind == "fine" else 10 + 3 * np.arange(64))


def draw_blocks(random: np.random.Generator, rows: int, columns: int, kind: str) -> Coefficients:
    """Few coefficients that are not zero, and smaller ones the higher their frequencies are; or any."""
    if kind == "extreme":
        x = random.integers(AC_SIZE[1], AC_SIZE[1] + AC_SIZE[0], (rows, columns, 64))
        x[random.random(x.shape) < 0.3] = random.choice([AC_SIZE[1], 1031, 0])
        x[..., 0] = random.choice([-2048, 2047, 0], (rows, columns))
        return x.astype(np.int16)
    size = 30 / (1 + np.add.outer(np.arange(8), np.arange(8)).reshape(64)) ** 1.6
    x = np.rint(random.laplace(size=(rows, columns, 64)) * size * random.random((rows, columns, 1)) * 2)
    x[..., 0] += np.cumsum(random.integers(-20, 21, (rows, columns)), axis=1)
    return x.astype(np.int16)


def draw(kind: str, parts: Sequence[tuple[int, int, int, int]], seed: int) -> tuple[list[ComponentShape], Band]:
    """A band's components: rows, columns, vertical and horizontal factors."""
    random = np.random.default_rng(seed)
    band = [draw_blocks(random, rows, columns, kind) for rows, columns, _, _ in parts]
    known = zip(parts, band, strict=True)
    shapes = [ComponentShape(*part, draw_steps(random, kind), energy_of(x)) for part, x in known]
    return [replace(shape, earlier=draw_earlier(random, shape)) if kind == "twice" else shape for shape in shapes], band


def draw_earlier(random: np.random.Generator, shape: ComponentShape) -> bytes:
    """Larger steps, or none."""
    before = shape.steps[list(ZIGZAG)] + random.integers(1, 60, 64)
    return bytes([random.integers(32), *np.where((random.random(64) < 0.7) & (before < 256), before, 0).tolist()])


# Components as files have them, and as hostile ones say they have them.
LAYOUTS = {
    "one block": [(1, 1, 1, 1)],
    "grey": [(7, 10, 1, 1)],
    "a row": [(1, 9, 1, 1)],
    "a column": [(9, 1, 1, 1)],
    "4:4:4": [(5, 6, 1, 1)] * 3,
    "4:2:0": [(6, 8, 2, 2), (3, 4, 1, 1), (3, 4, 1, 1)],
    "4:2:0, odd": [(5, 7, 2, 2), (3, 4, 1, 1), (3, 4, 1, 1)],
    "4:2:2": [(5, 7, 1, 2), (5, 4, 1, 1), (5, 4, 1, 1)],
    "4:4:0": [(5, 3, 2, 1), (3, 3, 1, 1), (3, 3, 1, 1)],
    "4:1:1": [(3, 9, 1, 4), (3, 3, 1, 1), (3, 3, 1, 1)],
    "of a third": [(6, 6, 3, 3), (2, 2, 1, 1), (2, 2, 1, 1)],
    "larger chroma": [(2, 3, 1, 1), (4, 6, 2, 2), (4, 6, 2, 2)],
    "two": [(4, 4, 2, 2), (2, 2, 1, 1)],
    "four": [(4, 4, 2, 2), (2, 2, 1, 1), (2, 2, 1, 1), (4, 4, 2, 2)],
    "all differ": [(9, 8, 4, 4), (5, 4, 2, 2), (3, 2, 1, 1), (9, 5, 4, 2)],
    "sizes that do not agree": [(2, 3, 2, 2), (9, 8, 2, 2), (4, 5, 1, 2)],
    "more than a batch": [(30, 40, 2, 2), (15, 20, 1, 1)],
}
KINDS = ("coarse", "fine", "extreme", "twice")
CASES = [(layout, KINDS[i % 4], "small") for i, layout in enumerate(LAYOUTS)]
CASES += [("4:2:0, odd", kind, name) for kind in KINDS for name in NETWORKS if (kind, name) != ("coarse", "small")]


def program_of(network: Network, shapes: Sequence[ComponentShape]) -> Program:
    return Program(network, NumpyExecutor(), shapes)


class InNumpy:
    """The program as a BandCoder."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def encode(self, shapes: Sequence[ComponentShape], band: Sequence[Coefficients]) -> Stream:
        (stream,) = push_program(program_of(self.network, shapes), list(band))
        return stream

    def decode(self, shapes: Sequence[ComponentShape], words: Words) -> list[Coefficients]:
        return pop_program(program_of(self.network, shapes), [words], Stack)

    def preview(self, shapes: Sequence[ComponentShape], words: Words) -> list[Coefficients]:
        return popped(Stack(words), program_of(self.network, shapes).preview())


@functools.cache
def known(layout: str, kind: str, name: str) -> tuple[list[ComponentShape], Band, Stream]:
    """A band, and what numpy codes it to."""
    shapes, band = draw(kind, LAYOUTS[layout], len(layout))
    return shapes, band, InNumpy(network_of(*NETWORKS[name])).encode(shapes, band)


def assert_same(a: Sequence[Coefficients], b: Sequence[Coefficients]) -> None:
    assert [x.dtype for x in a] == [np.int16] * len(b)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(("layout", "kind", "name"), CASES)
def test_the_program_comes_back_through_the_stack(layout: str, kind: str, name: str) -> None:
    shapes, band, stream = known(layout, kind, name)
    assert_same(InNumpy(network_of(*NETWORKS[name])).decode(shapes, stream.words), band)


@pytest.mark.parametrize(("layout", "kind", "name"), CASES)
def test_the_native_library_codes_to_the_words_of_numpy(instructions: str, layout: str, kind: str, name: str) -> None:
    shapes, band, stream = known(layout, kind, name)
    before = [x.copy() for x in band]
    coder = NativeCoefficients(network_of(*NETWORKS[name]))
    made = coder.encode(shapes, band)
    assert made.words.tolist() == stream.words.tolist()
    assert made.ideal_bits == pytest.approx(stream.ideal_bits)
    assert_same(band, before)
    assert_same(coder.decode(shapes, stream.words), band)


def attempt(coder: BandCoder, shapes: Sequence[ComponentShape], words: Words) -> Band | str:
    try:
        return list(coder.decode(shapes, words))
    except (ModelError, FormatError) as error:
        return str(error)


@functools.cache
def hostile() -> tuple[list[ComponentShape], list[Words], list[Band | str]]:
    """Streams cut, damaged and of any words, and what numpy makes of them: a band, or why there is none."""
    shapes, _, stream = known("two", "coarse", "small")
    random, empty = np.random.default_rng(5), np.zeros(0, np.uint32)
    streams = [stream.words[:-1], stream.words[3:], empty, np.append(stream.words, np.uint32(0))]
    for i in range(16):
        words = stream.words.copy()
        words[random.integers(0, len(words))] ^= np.uint32(1 << random.integers(32))
        streams.append(words if i % 2 else random.integers(1, 1 << 32, 1 + 30 * i).astype(np.uint32))
    coder = InNumpy(network_of(*NETWORKS["small"]))
    return shapes, streams, [attempt(coder, shapes, words) for words in streams]


def test_hostile_streams_are_refused_or_hold_another_band_on_both(instructions: str) -> None:
    native, (shapes, streams, wanted) = NativeCoefficients(network_of(*NETWORKS["small"])), hostile()
    for words, expected in zip(streams, wanted, strict=True):
        got = attempt(native, shapes, words)
        assert isinstance(got, str) == isinstance(expected, str), (got, expected)
        if isinstance(got, list):
            assert_same(got, expected)
            assert native.encode(shapes, got).words.tolist() == words.tolist()
    reasons = [reason for reason in wanted if isinstance(reason, str)]
    assert any("as many coefficients" in reason for reason in reasons)
    assert len(reasons) > 10


def coders(name: str) -> list[BandCoder]:
    network = network_of(*NETWORKS[name])
    return [InNumpy(network), *([NativeCoefficients(network)] if library.available() else [])]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_components_may_come_one_after_the_other(layout: str) -> None:
    """As in files that were made before DC coefficients came first."""
    shapes, band, stream = known(layout, "fine", "small")
    shapes = [replace(shape, is_dc_first=False) for shape in shapes]
    streams = [coder.encode(shapes, band) for coder in coders("small")]
    assert len(shapes) == 1 or streams[0].words.tolist() != stream.words.tolist()
    for coder, own in zip(coders("small"), streams, strict=True):
        assert own.words.tolist() == streams[0].words.tolist()
        assert_same(coder.decode(shapes, own.words), band)


@pytest.mark.parametrize("layout", ["grey", "4:2:0, odd", "4:1:1", "all differ", "sizes that do not agree"])
def test_dc_coefficients_come_first(layout: str) -> None:
    shapes, band, stream = known(layout, "fine", "small")
    for coder in coders("small"):
        for x, shown in zip(band, coder.preview(shapes, stream.words), strict=True):
            assert np.array_equal(shown[..., 0], x[..., 0])
            assert not shown[..., 1:].any()


def test_a_stream_that_holds_more_is_refused() -> None:
    shapes, _, stream = known("grey", "fine", "small")
    for coder in coders("small"):
        with pytest.raises((ModelError, FormatError), match="tile"):
            coder.decode(shapes, np.concatenate([stream.words[:1], stream.words]))


GREY = ComponentShape(2, 3, 1, 1, np.full(64, 9), np.full(10, 5))


@pytest.mark.parametrize(
    "shapes",
    [
        [],
        [GREY] * 5,
        [replace(GREY, rows=0)],
        [replace(GREY, columns=-1)],
        [replace(GREY, rows=MOST_BLOCKS + 1)],
        [replace(GREY, columns=1 << 40)],
        [replace(GREY, vertical=0)],
        [replace(GREY, horizontal=5)],
        [replace(GREY, steps=np.zeros(64, np.int64))],
        [replace(GREY, steps=np.full(64, 65536))],
        [replace(GREY, steps=np.full(63, 1))],
        [replace(GREY, energy=np.full(10, 128))],
        [replace(GREY, energy=np.full(10, -1))],
        [replace(GREY, energy=np.full(9, 1))],
        [GREY, replace(GREY, rows=0)],
        [replace(GREY, earlier=bytes([32] + 64 * [10]))],
        [replace(GREY, earlier=bytes([0] + 64 * [9]))],
        [replace(GREY, earlier=bytes(64))],
    ],
)
def test_shapes_that_no_file_has_are_refused(shapes: list[ComponentShape]) -> None:
    for coder in coders("small"):
        with pytest.raises(ModelError):
            coder.decode(shapes, np.zeros(0, np.uint32))
        with pytest.raises(ModelError):
            coder.encode(shapes, [np.zeros((2, 3, 64), np.int16)] * len(shapes))


@given(st.integers(1, 254), st.data(), st.integers(0, 31))
def test_edges_of_an_earlier_quantiser_go_up(step: int, data: st.DataObject, setting: int) -> None:
    before = data.draw(st.integers(step + 1, 255))
    shape = replace(GREY, steps=np.full(64, step), earlier=bytes([setting] + 64 * [before]))
    for k, edges in earlier.edges(shape, Tables.make()).items():
        assert len(edges) == (AC_SIZE[0] if k else 4096) + 1
        assert (np.diff(edges) >= 0).all()
        assert np.abs(edges - 64 * (np.arange(len(edges)) - (len(edges) - 1) // 2) + 32).max() <= 64 * before / step


@pytest.mark.parametrize("seed", range(3))
def test_an_earlier_quantiser_is_found(seed: int) -> None:
    """Steps of a table, by the histograms alone: of those that are said to have been before, most were."""
    random = np.random.default_rng(seed)
    table = np.array([5, 6, 7, 9, 11, 14] + 58 * [17])  # of both: what is larger than the own one must be found
    own = np.full(64, 3)
    x = np.rint(random.laplace(size=(60, 70, 64)) * np.where(np.arange(64) < 20, 40, 9)) * table
    x = np.rint((x + random.normal(0, 0.4, x.shape)) / own).clip(-1000, 1000).astype(np.int16)
    told = earlier.found(x, own, Tables.make())
    before = dict(zip(ZIGZAG, told[1:], strict=True))
    known = [k for k in range(1, 64) if before[k]]
    assert len(known) > 30
    assert np.mean([before[k] == table[k] for k in known]) > 0.9
    assert earlier.found(draw_blocks(random, 60, 70, "fine"), own, Tables.make()) == b""


@pytest.mark.parametrize(("place", "value"), [(0, -2049), (0, 2048), (1, -1033), (63, 1032), (7, -32768)])
def test_coefficients_beyond_their_alphabets_are_refused(place: int, value: int) -> None:
    x = np.zeros((2, 3, 64), np.int16)
    x[1, 2, place] = value
    for coder in coders("small"):
        with pytest.raises(ModelError, match="beyond"):
            coder.encode([GREY], [x])


@pytest.mark.parametrize(("shape", "kind"), [((2, 3, 64), np.int32), ((3, 2, 64), np.int16), ((6, 64), np.int16)])
def test_coefficients_of_other_shapes_are_refused(shape: tuple[int, ...], kind: type) -> None:
    x = np.zeros(shape, kind)
    for coder in coders("small"):
        with pytest.raises(ModelError, match="shapes"):
            coder.encode([GREY], [x])
        with pytest.raises(ModelError, match="shapes"):
            coder.encode([GREY], [])


@pytest.mark.skipif(not library.available(), reason="no native library: there is no C compiler here")
def test_the_native_machine_serves_the_family() -> None:
    network, machines = network_of(*NETWORKS["small"]), [choose.choose(machine=name) for name in ("native", "numpy")]
    served = [tile_coder("coefficients", network, machine) for machine in machines]
    assert [type(coder) for coder in served] == [NativeCoefficients, type(None)]


@pytest.mark.skipif(not library.available(), reason="no native library: there is no C compiler here")
def test_coefficients_that_are_read_only_or_lie_apart_are_coded() -> None:
    shapes, band, stream = known("4:4:4", "fine", "small")
    apart = [np.repeat(x, 2, axis=1)[:, ::2] for x in band]
    for x in apart:
        x.flags.writeable = False
    made = NativeCoefficients(network_of(*NETWORKS["small"])).encode(shapes, apart)
    assert made.words.tolist() == stream.words.tolist()


def test_energy_tells_mean_magnitudes_by_bands() -> None:
    x = np.zeros((2, 2, 64), np.int16)
    assert energy_of(x).tolist() == [0] * (len(BANDS) + 1)
    x[..., 1] = x[..., 8] = -15  # the first band: v + u = 1
    wanted = [math.floor(8 * math.log2(1 + 64 * 15)), *[0] * (len(BANDS) - 1), math.floor(8 * math.log2(1 + 64 * 2))]
    assert energy_of(x).tolist() == wanted
    x[:] = 2047
    assert energy_of(x).max() <= 127


def dct(size: int) -> NDArray[np.float64]:
    """The orthonormal DCT-II, [frequency, place]."""
    k, x = np.arange(size)[:, None], np.arange(size)
    basis = np.cos((2 * x + 1) * k * np.pi / (2 * size)) * np.sqrt(2 / size)
    basis[0] /= np.sqrt(2)
    return basis


@pytest.mark.parametrize("vertical", companion.FACTORS)
@pytest.mark.parametrize("horizontal", companion.FACTORS)
def test_companions_are_the_lowest_frequencies_of_larger_blocks(vertical: int, horizontal: int) -> None:
    random = np.random.default_rng(1)
    blocks = np.rint(random.normal(size=(2 * vertical, 3 * horizontal, 8, 8)) * 100).astype(np.int64)
    got = companion.reduced(blocks.reshape(2 * vertical, 3 * horizontal, 64), vertical, horizontal)
    small, tall, wide = dct(8), dct(8 * vertical), dct(8 * horizontal)
    samples = (small.T @ blocks @ small).transpose(0, 2, 1, 3).reshape(2 * 8 * vertical, 3 * 8 * horizontal)
    for y in range(2):
        for x in range(3):
            part = samples[8 * vertical * y : 8 * vertical * (y + 1), 8 * horizontal * x : 8 * horizontal * (x + 1)]
            wanted = (tall @ part @ wide.T)[:8, :8] / math.sqrt(vertical * horizontal)
            assert np.abs(got[y, x].reshape(8, 8) - wanted).max() < 2.5


@pytest.mark.skipif(not library.available(), reason="no native library: there is no C compiler here")
def test_bands_are_coded_on_threads_side_by_side() -> None:
    shapes, band, stream = known("4:2:0, odd", "coarse", "small")
    coder = NativeCoefficients(network_of(*NETWORKS["small"]))
    streams = each(4, lambda _: coder.encode(shapes, band), range(16))
    assert all(made.words.tolist() == stream.words.tolist() for made in streams)
    for back in each(4, lambda made: coder.decode(shapes, made.words), streams):
        assert_same(back, band)


def test_earlier_steps_are_bytes() -> None:
    """Of DC as well, whose own step and values may be anything."""
    random = np.random.default_rng(0)
    x = np.zeros((60, 70, 64), np.int16)
    x[..., 1:20] = np.rint(random.laplace(size=(60, 70, 19)) * 2) * 200
    x[..., 0] = 400 * random.integers(-2, 3, (60, 70))
    told = earlier.found(np.clip(x, -1000, 1000).astype(np.int16), np.full(64, 1), Tables.make())
    assert len(told) == earlier.SIZE
    assert told[1] in (0, 200)
