"""Layers that learn while they decode: the gradient is the loss's, and every machine takes the same steps."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_causal import (
    SMALL,
    Tile,
    batches,
    build,
    check,
    configs,
    photograph,
    random_model,
    random_weights,
    same,
    shipped,
    tile_of,
    words_of,
)

from lgcodec.coding import coder
from lgcodec.models import registry
from lgcodec.models.adaptation import deltas
from lgcodec.models.entropy.mixture import Mixture, Tables
from lgcodec.models.errors import ExactnessError, ModelError
from lgcodec.models.families.causal import floats as causal_training
from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.causal.network import Config, Network
from lgcodec.models.families.causal.on_native import NativeCausal
from lgcodec.models.interface import ExplicitCoding
from lgcodec.models.layers import learning
from lgcodec.models.layers.integer import EXACT, LearningLayer
from lgcodec.models.machines import choose
from lgcodec.models.machines.native import library
from lgcodec.models.machines.numpy.executor import NumpyExecutor
from lgcodec.models.machines.numpy.learning import Learner, mixture_errors
from lgcodec.models.machines.torch.executor import TorchExecutor
from lgcodec.models.training.losses import logistic_mixture_nats
from lgcodec.models.weights import Weights

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
if not library.available():
    pytest.skip("no native library: there was no C compiler", allow_module_level=True)
TABLES = Tables.make()
LEARNING = replace(SMALL, learning=10)
MACHINES = (("numpy", 1), ("native", 1), ("native", 2))
seeds = st.integers(0, 2**32 - 1)
learners = st.builds(
    lambda config, rate, rest: replace(config, fraction=7, learning=rate, rest=rest),
    configs, st.integers(1, 20), st.sampled_from([0, 0, 2, 4]),
)  # fmt: skip
networks = st.builds(random_weights, learners, st.integers(0, 99), st.sampled_from([1.0, 5.0]))


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(networks, batches())
def test_machines_learn_alike(weights: Weights, tiles: list[Tile]) -> None:
    check(weights, tiles, MACHINES)


@pytest.mark.parametrize("shape", [(3, 1, 40), (3, 40, 1), (1, 40, 1), (3, 40, 2), (3, 23, 70), (1, 50, 33)], ids=str)
def test_shapes_that_images_have(shape: tuple[int, int, int]) -> None:
    """One pixel wide, fronts are empty; and fronts of more pixels than a block of a product has rows."""
    tiles = [tile_of("smooth", shape, 1), tile_of("noise", shape, 2)]
    check(random_weights(replace(LEARNING, width=19, hidden=13, context=5), 1), tiles, (*MACHINES, ("torch", 1)))


DELTAS = deltas.write({
    name: (np.full(len(low), 3, np.int8), np.full((1, len(low)), 9, np.int8), np.full((1, len(limit)), -5, np.int8))
    for name, (limit, low, _) in LEARNING.layers().items()
})  # fmt: skip


@pytest.mark.parametrize("side", [b"\0", b"\1" + DELTAS], ids=["class", "deltas"])
def test_adapted_networks_learn(side: bytes) -> None:
    """From the weights of the adaptation on, which errors go back through."""
    tiles = [photograph(24, 1), photograph(24, 2)]
    slow, fast = (build(random_weights(replace(LEARNING, classes=2), 1), machine) for machine in ("numpy", "native"))
    streams = coder.encode(slow, tiles, side)
    assert words_of(coder.encode(fast, tiles, side)) == words_of(streams)
    assert words_of(coder.encode(fast, tiles)) != words_of(streams)
    again = coder.decode(fast, [tile.shape for tile in tiles], [stream.words for stream in streams], side)
    assert same(again, tiles)


@pytest.mark.parametrize("machine", ["numpy", "native"])
def test_tiles_learn_nothing_of_each_other(machine: str) -> None:
    model, tiles = build(random_weights(LEARNING, 1), machine), [photograph(24, seed) for seed in range(3)]
    streams = coder.encode(model, tiles)
    together = coder.decode(model, [tile.shape for tile in tiles], [stream.words for stream in streams])
    alone = [coder.decode(model, [t.shape], [s.words])[0] for t, s in zip(tiles, streams, strict=True)]
    assert same(together, tiles)
    assert same(alone, tiles)
    assert words_of(streams) == [words_of(coder.encode(model, [tile]))[0] for tile in tiles]


@functools.lru_cache
def photographer(rate: int) -> Network:
    """The default network, which has seen photographs, with weights that learn."""
    network = Network.of(shipped("default"))
    model = causal_training.Causal(replace(network.config, learning=rate, rest=0))
    causal_training.grow(model, network)
    return Network.of(causal_training.export(model, {}))


def bits(network: Network, tile: Tile) -> float:
    return NativeCausal(network, 1).encode([tile], b"")[0].ideal_bits


def stripes(side: int) -> Tile:
    y, x = np.indices((side, side))
    return (60 + 90 * (x // 3 % 2) + 20 * (y // 5 % 2))[None].astype(np.int16)


@pytest.mark.parametrize(
    "tile", [stripes(96), tile_of("checkerboard", (3, 64, 64), 0)], ids=["stripes", "checkerboard"]
)
def test_learning_pays_where_training_saw_nothing_alike(tile: Tile) -> None:
    network = photographer(12)
    assert bits(network, tile) < 0.7 * bits(network.without_learning(), tile)


def test_learning_does_no_harm_where_training_did() -> None:
    """And weights of one unit, which are all that learning asks for, cost next to nothing."""
    tile, network = photograph(128, 4), photographer(12)
    before = bits(Network.of(shipped("default")).without_learning(), tile)
    assert bits(network.without_learning(), tile) == pytest.approx(before, rel=0.003)
    assert bits(network, tile) < 1.002 * before


def draw_mixture(
    random: np.random.Generator, K: int, n: int, window: tuple[int, int], scales: tuple[int, int]
) -> tuple[NDArray[np.int64], ...]:
    """logit, mean, log_scale [K, n] as mixtures take them, and values [n] in reach of the means."""
    size, origin = window
    values = random.integers(origin + 2, origin + size, n)
    logit, log_scale = random.integers(-100, 101, (K, n)), random.integers(*scales, (K, n))
    mean = 64 * values + random.integers(-200, 201, (K, n))
    return logit, mean, log_scale, values


@pytest.mark.parametrize("window", [(256, 0), (512, -256)], ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_errors_are_the_gradient_of_the_loss(seed: int, window: tuple[int, int]) -> None:
    """Which training descends, by autograd, in the outputs' units; ends of the alphabet are among the values."""
    random, (size, origin), K, n = np.random.default_rng(seed), window, 3, 200
    logit, mean, log_scale, values = draw_mixture(random, K, n, window, (64, 140))
    values[:10] = origin + size - 1
    values[10:20] = np.maximum(origin, -254)  # training cuts Co off at -255, which is no end of the integers' alphabet
    mean[:, :20] = 64 * values[:20] + random.integers(-200, 201, (K, 20))
    spread = random.integers(-16, 17, n)
    mixed = Mixture.of(TABLES, logit, mean, log_scale, size, origin)
    got = mixture_errors(mixed, values, log_scale, 160, spread).T / 2**learning.ERROR
    unit = torch.zeros(3 * K + 1, n, dtype=torch.float64, requires_grad=True)
    parts = (torch.from_numpy(a) for a in (logit / 32, mean / 64, log_scale / 16 + causal.LOG_SCALE_LOW))
    logits, means, scales = (
        a + u for a, u in zip(parts, (unit[:K], 8 * unit[K : 2 * K], unit[2 * K : -1]), strict=True)
    )
    ends = (0, 255) if origin == 0 else (-255, 255)
    x = torch.from_numpy(values.astype(float))
    means = means + unit[-1] * torch.from_numpy(spread / 8)
    logistic_mixture_nats(x, logits, means, scales, *ends).backward()
    assert unit.grad is not None
    wanted = unit.grad.numpy()
    assert np.abs(wanted).max() > 2
    most = learning.ERROR_LIMIT / 2**learning.ERROR
    np.testing.assert_allclose(got, np.clip(wanted, -most, most), rtol=0.01, atol=0.003)


def soft_tile(side: int) -> Tile:
    """Easy to foretell, so that no error is beyond its limit: [3, side, side]."""
    random, (y, x) = np.random.default_rng(0), np.indices((side, side))
    planes = [120 + 30 * np.sin(x / 9 + y / 7), 10 * np.cos(x / 8), 0 * x]
    return np.rint(np.stack(planes) + random.normal(0, 1, (3, side, side))).astype(np.int16)


def test_steps_follow_the_gradient_of_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an image's bits by all weights that learn, by autograd, within what rounding errors cost."""
    sums: dict[int, Any] = {}

    def gather(learner: Learner, gradient: NDArray[np.int64]) -> None:
        sums[id(learner)] = sums.get(id(learner), 0) + gradient[0]

    monkeypatch.setattr(Learner, "_step", gather)
    model, tile = random_model(LEARNING, 1, 1.5), soft_tile(32)
    program = build(random_weights(LEARNING, 1, 1.5), "numpy").coding.program([tile.shape], b"")
    assert len(list(program.symbols([tile]))) == 3 * (32 + 2 * 31)
    layers = {name: (weight.detach().requires_grad_(), bias) for name, (weight, bias) in model.layers().items()}
    batch = [torch.from_numpy(part.copy())[None] for part in causal_training.Features(tile).crop(0, 0, 32, 32)]
    model(*batch, layers=layers).sum().backward()
    for name in filter(LEARNING.learners, layers):
        own, column = LEARNING.learners(name), causal_training.scales(LEARNING)[name][1]
        gradient = layers[name][0].grad
        assert gradient is not None
        wanted = gradient.numpy()[:, :own]
        got = sums[id(program.loaded[name])].T * column[:own] / 2**learning.ERROR
        most = 0.03 if name.startswith("out") else 0.1
        assert np.linalg.norm(got - wanted) < most * np.linalg.norm(wanted), name


@given(st.integers(-(1 << 52), 1 << 52))
def test_sums_are_those_of_int32(a: int) -> None:
    (wrapped,) = learning.wrap(np.array([a], float)).tolist()
    assert (wrapped - a) % (1 << 32) == 0
    assert -(1 << 31) <= wrapped < 1 << 31


def test_executors_of_float32_refuse_what_learns() -> None:
    """However small its weights are as trained."""
    one = [np.array([n], np.int32) for n in (0, 0, 1, 0, 1)]
    layer = LearningLayer(np.array([[1]], np.int16), *one)
    for executor in (NumpyExecutor(), TorchExecutor("cpu")):
        with pytest.raises(ExactnessError, match="learns"):
            executor.load(layer)


def test_a_layer_that_learns_has_31_bits() -> None:
    weight, limit = np.full((1, 32), 32767, np.int16), np.full(32, 2000, np.int32)
    zero, bias = np.zeros(1, np.int32), np.array([(1 << 31) - 1 - 32 * 32767 * 2000], np.int32)
    assert LearningLayer(weight, bias, zero, limit, zero, zero).bound().tolist() == [(1 << 31) - 1]
    with pytest.raises(ModelError, match=r"2\*\*31"):
        LearningLayer(weight, bias + 1, zero, limit, zero, zero)


def test_learning_is_written_where_there_is_any() -> None:
    """So digests of networks without are what they were."""
    assert Config.of(LEARNING.written()) == LEARNING
    assert LEARNING.written()["learning"] == 10
    assert "learning" not in SMALL.written()


@pytest.mark.parametrize("change", [
    {"fraction": 6}, {"learning": 0}, {"learning": 21}, {"learning": -1}, {"learning": 10.0}, {"learning": "10"},
    {"learning": None}, {"learning": True}, {"learning": [10]},
    {"rest": 0}, {"rest": 3}, {"rest": 16}, {"rest": -2}, {"rest": 2.0},
], ids=str)  # fmt: skip
def test_malformed_learning_is_refused(change: dict[str, Any]) -> None:
    weights = random_weights(LEARNING, 1)
    with pytest.raises(ModelError):
        Network.of(replace(weights, config={**weights.config, **change}))


def test_what_learns_may_be_larger_than_what_does_not() -> None:
    """The same tensors are refused as a network that does not learn, and `linear`, which does not, keeps its bound."""
    weights = random_weights(LEARNING, 1)
    still = {name: value for name, value in weights.config.items() if name != "learning"}
    for name, fits in (("middle.0", True), ("linear", False)):
        bias = weights.tensors[f"{name}.bias"].copy()
        bias[0] = EXACT
        other = replace(weights, tensors={**weights.tensors, f"{name}.bias": bias})
        with pytest.raises(ModelError, match=r"2\*\*24"):
            Network.of(replace(other, config=still))
        if fits:
            assert Network.of(other).layers[name].bound().max() >= EXACT
        else:
            with pytest.raises(ModelError, match=r"2\*\*24"):
                Network.of(other)


@pytest.mark.parametrize("sizes", [{"hidden": 257, "learning": 1}, {"rest": 2}, {"rest": 1, "learning": 1}], ids=str)
def test_sizes_that_no_machine_learns_with_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ModelError, match=f"{next(iter(sizes))} is "):
        Config(**sizes)


def test_fronts_that_rest_teach_nothing() -> None:
    """And are coded with the weights as they are."""
    tile, weights = photograph(24, 1), random_weights(LEARNING, 1)
    every, third = (
        Network.of(replace(weights, config={**weights.config, "rest": rest} if rest else weights.config))
        for rest in (0, 2)
    )
    assert [third.config.learns(t) for t in range(4)] == [True, False, False, True]
    costs = [bits(network, tile) for network in (every, third, every.without_learning())]
    assert len(set(costs)) == 3
    assert bits(third, tile[:, :2, :1]) == bits(every, tile[:, :2, :1])  # the second front is empty


def test_without_triton_learning_stays_on_the_processor() -> None:
    on_a_device = replace(choose.choose(machine="torch", threads=1), name="cuda")
    model = registry.build(random_weights(LEARNING, 1), on_a_device)
    assert isinstance(model.coding, ExplicitCoding)
    assert isinstance(model.coding.fast, NativeCausal)


@pytest.mark.parametrize("config", [LEARNING, replace(LEARNING, context=4, width=17, hidden=9, classes=2)], ids=str)
def test_integers_of_what_learns_come_back_from_floats(config: Config) -> None:
    """All weights of a layer have one unit, export rounds to it, and a network grown from it exports the same again."""
    model, weights = random_model(config, 2, 1.0), random_weights(config, 2)
    network = Network.of(weights)
    units, floats = causal_training.scales(config), causal_training.float_layers(network)
    for name, (weight, bias) in model.layers().items():
        row, column, _ = units[name]
        scale = row * np.exp2(network.layers[name].shift)
        if config.learners(name):
            np.testing.assert_array_equal(scale, 1 << (learning.FRACTION + learning.ACTIVATION))
        error = np.abs(floats[name][0].numpy() - weight.detach().numpy()) * scale[:, None] * column
        assert error.max() <= 0.501
        assert (np.abs(floats[name][1].numpy() - bias.detach().numpy()) * scale).max() <= 0.52
    again = causal_training.Causal(config)
    causal_training.grow(again, network)
    assert causal_training.export(again, {}).digest() == weights.digest()


@pytest.mark.parametrize("rates", [(0, 12), (12, 0), (12, 10)], ids=str)
def test_networks_start_from_others_that_learn_or_not(rates: tuple[int, int]) -> None:
    """At the rate that the other one ended with."""
    old, new = (replace(SMALL, learning=rate) for rate in rates)
    network, tile = Network.of(random_weights(old, 1)), photograph(48, 1)
    model = causal_training.Causal(replace(new, width=30, context=2))
    causal_training.grow(model, network)
    grown = Network.of(causal_training.export(model, {}))
    assert grown.config.learning == rates[1]
    assert bits(grown.without_learning(), tile) == pytest.approx(bits(network.without_learning(), tile), rel=0.003)
