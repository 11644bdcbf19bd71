"""The causal family on the native library: on every instruction set the words that numpy writes."""

from __future__ import annotations

import ctypes
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lgcodec.models import parallel, registry
from lgcodec.models.adaptation import deltas
from lgcodec.models.entropy.mixture import Mixture, Tables
from lgcodec.models.entropy.program import push_value
from lgcodec.models.errors import ModelError
from lgcodec.models.families.causal import program
from lgcodec.models.families.causal.network import Config, Network, Side
from lgcodec.models.families.vqvae import network as vqvae
from lgcodec.models.layers import learning
from lgcodec.models.layers.integer import LearningLayer
from lgcodec.models.machines.native import library
from lgcodec.models.machines.native.library import SLACK, Layers, Mixtures, pointer, rounded
from lgcodec.models.machines.native.mixtures import tables
from lgcodec.models.machines.native.products import packed
from lgcodec.models.machines.numpy.executor import NumpyExecutor
from lgcodec.models.machines.numpy.learning import Learner, mixture_errors
from lgcodec.models.machines.numpy.stack import Stack
from lgcodec.models.parallel import together

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
if not library.available():
    pytest.skip("no native library: there is no C compiler here", allow_module_level=True)

from test_causal import GROWN, KINDS, SMALL, Shape, Tile, draw_deltas, random_weights, tile_of  # noqa: E402
from test_learning import draw_mixture  # noqa: E402

from lgcodec.models.families.causal import on_native  # noqa: E402
from lgcodec.models.families.causal.on_native import NativeCausal  # noqa: E402

TABLES = Tables.make()
LEARNING = replace(SMALL, learning=10)
SHAPES = ((3, 1, 1), (1, 1, 1), (3, 1, 40), (3, 40, 1), (1, 40, 1), (3, 2, 2), (1, 9, 7), (3, 23, 31), (3, 30, 61))
seeds = st.integers(0, 2**32 - 1)


def moved(config: Config, reach: int) -> bytes:
    return deltas.write(draw_deltas(config, 2, reach, 1))


# name: (the network's sizes, or the name of a shipped one; how loud it is; side information)
CASES: dict[str, tuple[Config | str, float, bytes]] = {
    "default": ("default", 1, b""),
    "best": ("best", 1, b""),
    "vqvae": ("vqvae", 1, b""),
    "small": (SMALL, 1, b""),
    "loud": (SMALL, 5, b""),
    "one of everything": (Config(1, 1, 1, 1, 1, 1, 1), 1, b""),
    "passes on": (GROWN, 1, b""),
    "knows its place": (replace(SMALL, grid=1, rows=1, left=1, reach=1), 1, b""),
    "many components": (replace(SMALL, components=16, hidden=33), 1, b""),
    "learns": (LEARNING, 1, b""),
    "learns loudly": (replace(LEARNING, learning=3), 5, b""),
    "learns now and then, odd": (replace(LEARNING, rest=2, context=3, width=17, hidden=9, grid=1), 1, b""),
    "class": (replace(SMALL, classes=3), 1, b"\1"),
    "deltas": (SMALL, 1, moved(SMALL, 16)),
    "deltas that learn": (LEARNING, 1, moved(LEARNING, 8)),
}


@functools.lru_cache
def network_of(name: str) -> Network:
    kind, loud, _ = CASES[name]
    if not isinstance(kind, str):
        return Network.of(random_weights(kind, 1, loud))
    weights = registry.read(kind)
    if kind != "vqvae":
        return Network.of(weights)
    start = "pixels."  # of the network whose pixels know the picture of the codes
    pixels = {name[len(start) :]: a for name, a in weights.tensors.items() if name.startswith(start)}
    return Network.build(vqvae.Config.of(weights.config).pixels, pixels)


def side_of(network: Network, shape: Shape) -> Side | None:
    """Anything, where the network wants one."""
    if not network.config.side:
        return None
    random, space = np.random.default_rng(1), shape[1:]
    picture = random.integers(-2040, 2041, (*space, 3)).astype(np.int16)
    return Side(picture, random.integers(0, 512, (*space, network.config.side)).astype(np.int16))


@functools.cache
def known(name: str, shape: Shape) -> tuple[list[Tile], list[NDArray[np.uint32]], list[float]]:
    """Tiles, and their words and ideal bits by numpy."""
    network, side, adaptation = network_of(name), side_of(network_of(name), shape), CASES[name][2]
    kinds = KINDS[1:4] if shape[1] * shape[2] < 100 else KINDS[1:2]
    tiles, words, bits = [tile_of(kind, shape, i) for i, kind in enumerate(kinds)], [], []
    for tile in tiles:
        stack = Stack()
        sides = [side] if side else []
        run = program.Program(network.adapted(adaptation), NumpyExecutor(), [shape], sides)
        bits.append(push_value(stack, run, [tile]))
        words.append(stack.words())
    return tiles, words, bits


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_words_are_those_of_numpy(name: str, shape: Shape, instructions: str) -> None:
    tiles, words, bits = known(name, shape)
    coder, adaptation = NativeCausal(network_of(name), 1 + shape[1] % 2), CASES[name][2]
    sides = [side_of(network_of(name), shape)] * len(tiles)
    streams = coder.encode(tiles, adaptation, sides)
    assert [stream.words.tolist() for stream in streams] == [w.tolist() for w in words]
    assert [stream.ideal_bits for stream in streams] == pytest.approx(bits)
    again = coder.decode([shape] * len(tiles), words, adaptation, sides)
    assert all(np.array_equal(a, b) for a, b in zip(again, tiles, strict=True))


@pytest.mark.parametrize("workers", [2, 3, 8])
@pytest.mark.parametrize("name", CASES)
def test_crews_write_the_same_words(
    name: str, workers: int, instructions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_native, "_FEWEST_ROWS", 1)
    coder, adaptation = NativeCausal(network_of(name), workers), CASES[name][2]
    for shape in SHAPES:
        (tile, *_), (words, *_), _ = known(name, shape)
        sides = [side_of(network_of(name), shape)]
        assert coder.encode([tile], adaptation, sides)[0].words.tolist() == words.tolist()
        assert np.array_equal(coder.decode([shape], [words], adaptation, sides)[0], tile)


def test_a_crew_of_a_whole_tile_is_refused_what_is_no_stream() -> None:
    tile = tile_of("noise", (3, 70, 140), 0)
    coder = NativeCausal(network_of("learns"), 2)
    words = coder.encode([tile], b"")[0].words
    with pytest.raises(ModelError, match="exactly its tile"):
        coder.decode([tile.shape], [np.append(words, np.uint32(1))], b"")
    with pytest.raises(ModelError, match="sizes or values"):
        coder.encode([tile + np.int16(300)], b"")


def test_all_threads_of_a_crew_begin_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Barrier(4)
    assert together(4, lambda worker: (gate.wait(timeout=60), worker)[1]) == [0, 1, 2, 3]
    submit, begun = ThreadPoolExecutor.submit, []

    def no_third(pool: ThreadPoolExecutor, function: Any, worker: int) -> Any:
        if worker == 3:
            raise RuntimeError("can't start new thread")
        return submit(pool, function, worker)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", no_third)
    with pytest.raises(RuntimeError, match="new thread"):
        together(4, begun.append)
    assert begun == []


def test_cores_are_those_that_a_container_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "_QUOTA", tmp_path / "cpu.max")
    free = parallel.cores()
    monkeypatch.setattr(parallel.os, "sched_getaffinity", lambda _: range(7), raising=False)
    for quota, count in (("max 100000", 7), ("250000 100000", 3), ("50000 100000", 1), ("nonsense", 7)):
        (tmp_path / "cpu.max").write_text(quota)
        assert parallel.cores() == count
    assert free >= 1


def test_threads_are_divided_among_tiles() -> None:
    coder = NativeCausal(network_of("small"), 5)

    def crews(*shapes: Shape) -> list[int]:
        return coder._each(lambda workers: workers, shapes)

    assert crews((3, 500, 500)) == [5]
    assert crews((3, 500, 500), (3, 500, 500)) == [2, 2]
    assert crews((1, 96, 500), (3, 500, 40)) == [2, 1]  # of which fronts have 96 and 20 rows
    assert crews(*[(3, 500, 500)] * 7) == [1, 1, 1, 1, 1, 2, 2]


def test_other_streams_are_refused_or_hold_another_tile(instructions: str) -> None:
    (tile, *_), (words, *_), _ = known("small", (3, 23, 31))
    coder, refused = NativeCausal(network_of("small"), 1), 0
    for other in (words[:-1], words[2:], np.append(words[:1], words), np.append(words, np.uint32(0)), words[:0]):
        try:
            (again,) = coder.decode([tile.shape], [other], b"")
        except ModelError:
            refused += 1
        else:
            assert coder.encode([again], b"")[0].words.tolist() == other.tolist()
    assert refused > 1


def test_tiles_and_sides_of_other_shapes_and_values_are_refused() -> None:
    coder, tile = NativeCausal(network_of("vqvae"), 1), tile_of("noise", (3, 8, 8), 0)
    with pytest.raises(ModelError, match="sizes"):
        coder.encode([tile], b"")
    with pytest.raises(ValueError, match="height and width"):
        coder.encode([tile], b"", [side_of(network_of("vqvae"), (3, 8, 7))])
    with pytest.raises(ModelError, match="sizes"):
        NativeCausal(network_of("small"), 1).encode([tile[:2]], b"")
    for value in (256, -1):  # which no symbol stands for
        with pytest.raises(ModelError, match="sizes"):
            NativeCausal(network_of("small"), 1).encode([np.full((3, 8, 8), value, np.int16)], b"")


def filled(a: NDArray[Any], rows: int, columns: int) -> NDArray[np.int16]:
    return np.pad(a, ((0, rows - a.shape[0]), (0, columns - a.shape[1]))).astype(np.int16)


class NativeLearner(ctypes.Structure):
    """learning.h's."""

    _fields_ = (
        ("now", Layers),
        *((name, ctypes.c_int64) for name in ("own", "outputs", "room")),
        *((name, ctypes.c_void_p) for name in ("weight", "master", "rows", "columns")),
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 60), st.integers(1, 40), st.integers(1, 48), st.integers(1, 20), st.integers(0, 15), seeds)
def test_layers_learn_alike(
    instructions: str, inputs: int, outputs: int, n: int, rate: int, less: int, seed: int
) -> None:
    """Sums of products and of gradients wrap, moments and weights are at their ends, or all is quiet."""
    random, native = np.random.default_rng(seed), library.library()
    weight = random.integers(-32767, 32768, (outputs, inputs)).astype(np.int16)
    weight[:: 1 + seed % 3] = random.choice([-32767, 32767])
    own = int(random.integers(1, inputs // 2 + 1)) * 2 if inputs > 1 else 1  # odd ones have room beside them
    own = own if own < inputs else inputs
    limit, shift = np.full(inputs, 1000, np.int32), random.integers(0, 12, outputs).astype(np.int32)
    bias, ends = random.integers(-(1 << 27), 1 << 27, outputs).astype(np.int32), np.full((2, outputs), 8191, np.int32)
    layer = LearningLayer(weight, bias, shift, limit, -ends[0], ends[1])
    wanted = Learner(layer, 1, own, rate)
    trained, wide, room = packed([weight], [layer]), rounded(outputs), rounded(own)
    parts = {
        "weight": np.zeros((trained.pairs, wide, 2), np.int16), "master": np.zeros((room + SLACK, wide), np.int32),
        "rows": np.zeros(wide), "columns": np.zeros(room),
    }  # fmt: skip
    pointers = {name: pointer(part, part.dtype) for name, part in parts.items()}
    now = Layers(pointers["weight"], trained.ends, 1, trained.pairs, wide)
    learner = NativeLearner(now, own, outputs, room, **pointers)
    moments = [random.integers(0, 2 ** int(random.integers(6, 43)), count) for count in (outputs, own)]
    moments[0][0] <<= 42 - int(moments[0][0]).bit_length()  # the others' factors may then reach their limit
    block = np.zeros(1 << 20, np.uint8)
    for step, most in enumerate((1, 8191, 8191)):
        a, e = random.integers(most // 2, most + 1, (n, inputs)), random.integers(-32767, 32768, (n, outputs)) >> less
        e[:, :: 1 + seed % 2] = 32767 >> less
        if step == 1:
            wanted.rows[0], wanted.columns[0] = moments
            parts["rows"][:outputs], parts["columns"][:own] = moments
        wanted.apply(a.astype(np.float32))
        wanted.backward(e[None])
        given_parts = filled(a[:, :own], n, room), filled(e, n, wide)
        native.lgcodec_learn(
            ctypes.byref(learner), ctypes.byref(trained), int(step == 0), ctypes.c_int64(rate),
            *(pointer(part, np.int16) for part in given_parts), ctypes.c_int64(n), pointer(block, np.uint8),
        )  # fmt: skip
        beside = parts["weight"].swapaxes(1, 2).reshape(-1, wide)
        np.testing.assert_array_equal(beside[:inputs, :outputs], wanted.weight[0])
        np.testing.assert_array_equal(parts["master"][:own, :outputs], wanted.master[0])
        np.testing.assert_array_equal(parts["rows"][:outputs], wanted.rows[0])
        np.testing.assert_array_equal(parts["columns"][:own], wanted.columns[0])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(-(1 << 31), (1 << 31) - 1), min_size=32, max_size=32), st.integers(-32767, 32767), seeds)
def test_errors_go_back_alike(instructions: str, values: list[int], before: int, seed: int) -> None:
    sums = np.array(values, np.int32).reshape(2, 16)
    outputs = np.random.default_rng(seed).integers(-1, 2, sums.shape).astype(np.int16)
    back = learning.back(sums.astype(np.int64))
    for below, wanted in ((None, back), (np.full_like(outputs, before), before + back)):
        masked, onto = np.zeros_like(outputs), None if below is None else pointer(below, np.int16)
        wide = ctypes.c_int64(16)
        library.library().lgcodec_errors_back(
            pointer(sums, np.int32), wide, ctypes.c_int64(2), onto, pointer(outputs, np.int16), wide,
            pointer(masked, np.int16), wide,
        )  # fmt: skip
        np.testing.assert_array_equal(masked, learning.limited(wanted) * (outputs > 0))
        assert below is None or np.array_equal(below, learning.limited(wanted))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 6), st.integers(1, 40), st.sampled_from([(256, 0), (512, -256)]),
    st.sampled_from([64, 3000, 1 << 20]), st.sampled_from([(0, 161), (0, 8), (150, 161)]), seeds,
)  # fmt: skip
def test_errors_are_those_of_mixtures(
    instructions: str, K: int, n: int, window: tuple[int, int], far: int, scales: tuple[int, int], seed: int
) -> None:
    random, (size, origin) = np.random.default_rng(seed), window
    logit, mean, log_scale, values = draw_mixture(random, K, n, window, scales)
    logit *= int(random.choice([1, 20]))
    mean += random.integers(-far, far + 1, (K, n))
    log_scale[random.random((K, n)) < 0.3] = random.choice([0, 160])
    values[: n // 4], values[n // 4 : n // 2] = origin, origin + size - 1
    spread = random.integers(-4088, 4089, n)
    mixed = Mixture.of(TABLES, logit, mean, log_scale, size, origin)
    outputs, look_up = rounded(3 * K + 1), tables(TABLES)
    parts, (symbols, apart) = np.zeros((3, K, n + SLACK), np.int32), np.zeros((2, n + SLACK), np.int32)
    parts[:, :, :n], symbols[:n], apart[:n] = (mixed.mean, mixed.inverse, mixed.weight), values - origin, spread
    q, errors = np.zeros((n, outputs), np.int32), np.full((n, outputs), 7, np.int16)
    q[:, 2 * K : 3 * K] = log_scale.T
    given_mixtures = Mixtures(
        *(pointer(part, np.int32) for part in parts), K, n + SLACK, size, origin, ctypes.pointer(look_up)
    )
    library.library().lgcodec_mixture_errors(
        ctypes.byref(given_mixtures), *(pointer(part, np.int32) for part in (symbols, apart, q)),
        ctypes.c_int64(outputs), ctypes.c_int64(n), pointer(errors, np.int16),
    )  # fmt: skip
    wanted = mixture_errors(mixed, values, log_scale, 160, spread)
    assert np.abs(wanted).max() <= learning.ERROR_LIMIT
    np.testing.assert_array_equal(errors[:, : 3 * K + 1], wanted)
    assert (errors[:, 3 * K + 1 :] == 7).all()
