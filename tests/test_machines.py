"""One table of cases, run on every machine that is here, and which object serves what: a machine more is a row more."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from cases import (
    convolved,
    exact,
    exactness,
    joined,
    largest_product,
    make,
    no_zero_word,
    one_unit,
    product,
    restored,
    run,
    stacked,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import band_for, each_machine

from lgcodec.coding import chain, coder
from lgcodec.models import registry
from lgcodec.models.errors import ModelError
from lgcodec.models.families import FAMILIES, tile_coder
from lgcodec.models.interface import (
    CoefficientCoding,
    ExplicitCoding,
    LatentCoding,
    Tile,
)
from lgcodec.models.layers.integer import EXACT, Layer
from lgcodec.models.machines import choose
from lgcodec.models.machines.choose import MACHINES, Machine, missing
from lgcodec.models.registry import RECORDS

SERVES = {  # machine: executor, convolutions, stack, and what codes whole tiles of causal networks and of flows
    "native": ("NativeExecutor", "NativeConvolutions", "NativeStack", "NativeCausal", "NativeFlow"),
    "numpy": ("NumpyExecutor", "ExecutorConvolutions", "Stack", None, None),
    "torch": ("TorchExecutor", "ExecutorConvolutions", "Stack", None, None),
    "cuda": ("TorchExecutor", "ExecutorConvolutions", "NativeStack", "GpuCausal", "GpuFlow"),
}
IN_ORDER = [name for name, row in MACHINES.items() if row.device == "cpu"]
ALL = [name for name in MACHINES if missing(name) is None]
Int = NDArray[np.int64]
Case = Callable[[Machine], None]
seeds = st.integers(0, 2**32 - 1)


@functools.cache
def machine_of(name: str) -> Machine:
    return choose.choose(machine=name, threads=1)


# Whole families, on the weights that ship


def photo(shape: tuple[int, int, int], seed: int) -> Tile:
    """Soft shading with grain, and a sample at each end: int16 [C, H, W]."""
    random, (C, H, W) = np.random.default_rng(seed), shape
    y, x = np.indices((H, W))
    shade = [[120, 10, -10][c] + 50 * np.sin(x / 7 + c) * np.cos(y / 5) for c in range(C)]
    tile = np.rint(np.stack(shade) + random.normal(0, 3, shape)).clip(-255, 255).astype(np.int16)
    tile[0] = tile[0].clip(0, 255)
    tile[0, 0, 0], tile[0, -1, -1] = 0, 255
    return tile


def words_of(model: Any, tiles: list[Tile]) -> list[list[int]]:
    if isinstance(model.coding, LatentCoding):
        return [chain.encode(model, registry.load("default", machine="numpy", threads=1), tiles).words.tolist()]
    streams = coder.encode(model, tiles)
    return [[*stream.words.tolist(), *([] if stream.base is None else stream.base.tolist())] for stream in streams]


@functools.cache
def coded(name: str, machine: str) -> tuple[list[Tile], list[list[int]]]:
    """Small tiles of shapes that the model is made for, and one that is a column or a row; and their words."""
    model = registry.load(name, machine=machine, threads=1)
    side = min(28, model.tile[0])
    shapes = [(model.planes, side, side)] * 3 if model.tile == (28, 28) else [(model.planes, 11, 14)] * 2
    if not isinstance(model.coding, LatentCoding) and not model.unit > 8:
        shapes += [(model.planes, 1, 9), (1, 9, 1)]
    tiles = [photo(shape, seed) for seed, shape in enumerate(shapes)]
    tiles = [(tile > 127).astype(np.int16) for tile in tiles] if model.levels == 2 else tiles
    return tiles, words_of(model, tiles)


def shipped(name: str, machine: Machine) -> None:
    if isinstance(registry.load(name, machine=machine.name, threads=1).coding, CoefficientCoding):
        shapes, band = band_for()
        own, known = (registry.load(name, machine=each, threads=1) for each in (machine.name, "numpy"))
        stream, wanted = coder.encode_band(own, shapes, band), coder.encode_band(known, shapes, band)
        assert stream is not None
        assert wanted is not None
        assert stream.words.tolist() == wanted.words.tolist()
        back = coder.decode_band(own, shapes, stream.words)
        assert all(np.array_equal(a, b) for a, b in zip(back, band, strict=True))
        return
    tiles, words = coded(name, machine.name)
    assert words == coded(name, "numpy")[1]
    model = registry.load(name, machine=machine.name, threads=1)
    if isinstance(model.coding, ExplicitCoding):
        streams = [np.array(part, np.uint32) for part in words]
        back = coder.decode(model, [tile.shape for tile in tiles], streams)  # type: ignore[misc]
        assert all(np.array_equal(a, b) for a, b in zip(back, tiles, strict=True))


OPEN, HALF = (-EXACT, EXACT), (0, 255)
CASES: dict[str, Case] = {
    **{
        f"product-{n}x{I}x{O}-{limit}": functools.partial(product, n, I, O, limit, ends)
        for n, I, O, limit, ends in (
            (1, 1, 1, 32767, OPEN), (2, 1, 17, 1, HALF), (3, 33, 1, 2047, HALF), (1, 150, 100, 127, OPEN),
            (17, 31, 33, 4095, (-8191, 8191)), (64, 64, 64, 127, HALF), (65, 129, 15, 8191, OPEN), (7, 2, 3, 0, OPEN),
        )
    },
    "product-one-unit": one_unit,
    "product-large": largest_product,
    "join": joined,
    "exactness": exactness,
    **{
        f"convolution-{size}-{'x'.join(map(str, (*shape, O)))}": functools.partial(convolved, 1, size, shape, O)
        for size, shape, O in (
            (1, (1, 1, 1, 1), 1), (3, (1, 1, 1, 1), 1), (5, (1, 1, 1, 3), 2), (3, (1, 1, 20, 5), 7),
            (3, (2, 20, 1, 5), 17), (5, (3, 2, 3, 20), 16), (3, (2, 17, 16, 16), 33), (1, (3, 13, 19, 33), 20),
        )
    },
    **{
        f"convolution-{size}-in-parts-{N}x{H}x{W}": functools.partial(convolved, 1, size, (N, H, W, 2), 3, most=9)
        for size in (1, 3)
        for N, H, W in ((2, 300, 400), (70, 40, 40), (1, 3, 70000))
    },
    **{
        f"stack-{'-'.join(map(str, sizes)) or 'empty'}": functools.partial(stacked, len(sizes), sizes)
        for sizes in ([], [0], [1], [30, 0, 1], [1, 1, 1, 1, 1], [17, 30, 30])
    },
    **{f"stack-again-{len(sizes)}": functools.partial(restored, 5, sizes) for sizes in ([1], [20, 3], [9, 9, 20, 1])},
    "stack-zero-word": no_zero_word,
    **{f"family-{record.name}": functools.partial(shipped, record.name) for record in RECORDS},
}  # fmt: skip


@each_machine
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_machine_gives_the_same(case: Case, machine: str) -> None:
    case(machine_of(machine))


# The same, at random


@st.composite
def networks(draw: st.DrawFn) -> tuple[list[Layer], Int]:
    """One to four layers, each within the limits that the one before keeps to, and inputs [n, I] for the first."""
    random = np.random.default_rng(draw(seeds))
    limit = np.full(draw(st.integers(1, 150)), draw(st.sampled_from([1, 127, 2047, 32767])), np.int32)
    n, signed = draw(st.integers(1, 70)), draw(st.booleans())
    a = random.integers(-limit if signed else 0, limit + 1, (n, len(limit)))
    a[random.random(a.shape) < 0.3] = limit[0]  # the ends are where sums are largest
    layers = []
    for _ in range(draw(st.integers(1, 4))):
        outputs, high = draw(st.integers(1, 100)), draw(st.sampled_from([1, 255, 2047, 8191]))
        fill = draw(st.sampled_from([0.01, 0.5, 1.0]))
        layers.append(make(random, limit, outputs, fill, draw(st.sampled_from([0, -high])), high))
        limit = np.full(outputs, high, np.int32)
    return layers, a


@settings(deadline=None, max_examples=60)
@given(networks(), st.integers(0, 70))
def test_executors_agree_for_any_batch(network: tuple[list[Layer], Int], cut: int) -> None:
    layers, a = network
    expected = a
    for layer in layers:
        expected = exact(layer, expected)
    for name in ALL:
        executor = machine_of(name).executor
        assert np.array_equal(run(executor, layers, a), expected), name
        split = [run(executor, layers, part) for part in (a[:cut], a[cut:]) if len(part)]
        assert np.array_equal(np.concatenate(split), expected), name
        assert np.array_equal(run(executor, layers, a[::-1])[::-1], expected), name


@settings(deadline=None, max_examples=40)
@given(seeds, st.sampled_from([1, 3, 5]), st.tuples(*[st.integers(1, 20)] * 4), st.integers(1, 3))
def test_machines_convolve_as_defined(seed: int, size: int, shape: tuple[int, ...], N: int) -> None:
    for name in ALL:
        convolved(seed, size, (N, *shape[:3]), shape[3], machine_of(name))


@settings(deadline=None, max_examples=50)
@given(seeds, st.lists(st.integers(0, 30), max_size=5))
def test_stacks_have_the_same_words(seed: int, sizes: list[int]) -> None:
    for name in ALL:
        stacked(seed, sizes, machine_of(name))


@settings(deadline=None, max_examples=30)
@given(seeds, st.lists(st.integers(1, 20), min_size=1, max_size=4))
def test_popping_and_pushing_again_restores_stacks(seed: int, sizes: list[int]) -> None:
    for name in ALL:
        restored(seed, sizes, machine_of(name))


# Who serves, and who is chosen


def test_every_machine_is_in_the_table() -> None:
    assert list(SERVES) == list(MACHINES)


@each_machine
@pytest.mark.parametrize("name", [record.name for record in RECORDS])
def test_which_object_serves(name: str, machine: str) -> None:
    """Each (family, machine): a fast way that is never taken would go unnoticed, as the words are the same."""
    executor, convolutions, stack, causal, flow = SERVES[machine]
    chosen = machine_of(machine)
    family = next(record.family for record in RECORDS if record.name == name)
    model = registry.load(name, machine=machine, threads=1)
    assert (chosen.name, chosen.threads) == (machine, 1)
    assert type(chosen.executor).__name__ == executor
    assert type(chosen.convolutions).__name__ == convolutions
    assert (chosen.stack.__name__, model.stack) == (stack, chosen.stack)  # type: ignore[attr-defined]
    fast = getattr(model.coding, "fast", None) or getattr(model.coding, "pixels", None)
    bands = "NativeCoefficients" if machine == "native" else None
    expected = {"causal": causal, "flow": flow, "vqvae": causal, "coefficients": bands}.get(family)
    assert (None if fast is None else type(fast).__name__) == expected
    if family == "vqvae":
        assert model.network.run is chosen.convolutions
    if expected is None:
        assert family in ("vae", "continuous", "vqvae") or tile_coder(family, model.network, chosen) is None


def test_families_that_code_whole_tiles_are_in_the_table() -> None:
    serves = {"causal": {"native", "triton"}, "coefficients": {"native"}, "flow": {"native", "triton"}}
    for family in FAMILIES:
        found = {tiles for tiles in ("native", "triton") if find_spec(f"lgcodec.models.families.{family}.on_{tiles}")}
        assert found == serves.get(family, set()), family


@each_machine
def test_a_machine_asked_for_is_the_one_that_runs(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose.choose(machine=machine).name == machine
    monkeypatch.setattr(choose, "missing", lambda name: "is not here today" if name == machine else None)
    with pytest.raises(ModelError, match=f"machine {machine}: is not here today"):
        choose.choose(machine=machine)


def test_machines_and_devices_that_there_are_not() -> None:
    *others, last = MACHINES
    with pytest.raises(ModelError, match=f"no machine 'abacus': expected {', '.join(others)} or {last}"):
        choose.choose(machine="abacus")
    with pytest.raises(ModelError, match="no device 'tpu': expected auto, cpu or cuda"):
        choose.choose("tpu")


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "find_spec", lambda package: None)
    for name in ("torch", "cuda"):
        assert missing(name) == "needs torch: pip install 'lgcodec[torch]'"


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_the_automatic_choice_falls_back_and_says_so_once(
    device: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, *_ = IN_ORDER
    assert choose.choose(device).name == next(name for name in IN_ORDER if missing(name) is None)
    monkeypatch.setattr(choose, "missing", lambda name: "is not here today" if name == first else None)
    choose.say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert [choose.choose(device).name for _ in range(3)] == [second] * 3
    assert [record.getMessage() for record in caplog.records] == [
        f"machine {first} is not here today; without it models are many times slower"
    ]
    choose.say_once.cache_clear()


def test_a_device_that_nothing_serves_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "missing", lambda name: "is not here today")
    for device in ("auto", "cpu", "cuda"):
        with pytest.raises(ModelError, match="is not here today"):
            choose.choose(device)
