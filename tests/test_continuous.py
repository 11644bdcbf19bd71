"""The continuous family: a bijection of integers, tiles that come back with the stack, the same words everywhere."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import CPU, FakeModel, on_machine

from lgcodec.coding import chain
from lgcodec.coding.bits_back import pop, push
from lgcodec.coding.likelihood import code_length, noise, sample, score
from lgcodec.errors import FormatError
from lgcodec.models.entropy.cells import Cells
from lgcodec.models.entropy.mixture import Mixture, Tables
from lgcodec.models.errors import ModelError
from lgcodec.models.families.continuous import network as continuous
from lgcodec.models.families.continuous.network import CHANNELS, ORIGIN, SCALE_UNIT, SEEN, SIZE, Config, Network
from lgcodec.models.families.continuous.program import Flow, LatentTiles, Logistics, transform
from lgcodec.models.interface import TOTAL, ImageModel
from lgcodec.models.layers import convolution
from lgcodec.models.layers.integer import quantise
from lgcodec.models.machines.choose import choose
from lgcodec.models.machines.numpy.executor import NumpyExecutor
from lgcodec.models.machines.numpy.stack import Stack as AnsStack
from lgcodec.models.weights import Weights

Tile = NDArray[np.int16]
Int = NDArray[np.int64]
SMALL = Config(bits=8, couplings=3, width=6, components=2)
UNIFORM = Config(bits=6, couplings=6, width=5, components=3, variational=0)


def random_weights(config: Config) -> Weights:
    random = np.random.default_rng(0)
    tensors: dict[str, NDArray[Any]] = {}
    kinds = config.kinds()
    for name, spec in config.layers().items():
        ends = [kinds[k] for k, n in spec.outputs for _ in range(n)]
        row, add = np.array([kind.unit for kind in ends]), np.array([kind.add for kind in ends])
        column = np.tile([1 / kinds[k].unit for k, n in spec.inputs for _ in range(n)], spec.size**2)
        weight = random.normal(size=(len(row), len(column))) * len(column) ** -0.5
        layer = quantise(
            weight * row[:, None] * column, random.normal(size=len(row)) * 0.3 * row + add, *config.ends(spec)
        )
        tensors |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias, f"{name}.shift": layer.shift}
    t, c = Tables.make(), Cells.make(config.bits)
    powers = np.rint(2.0**16 * np.exp(np.arange(-SCALE_UNIT, SCALE_UNIT + 1) / SCALE_UNIT)).astype(np.int32)
    tensors |= {"sigmoid": t.sigmoid, "exponential": t.exponential, "inverse": t.inverse, "powers": powers}
    tensors |= {"edges": c.edges, "values": c.values, "normal": c.normal, "precision": c.precision}
    return Weights("continuous", asdict(config), tensors, {})


WEIGHTS = {config: random_weights(config) for config in (SMALL, UNIFORM)}


def model(config: Config, machine: str = "numpy") -> ImageModel:
    return on_machine(WEIGHTS[config], machine)


def flow(config: Config) -> Flow:
    return Flow(Network.of(WEIGHTS[config]), choose(machine="numpy").convolutions)


def tiles(random: np.random.Generator, n: int, shape: tuple[int, int, int]) -> list[Tile]:
    smooth = np.cumsum(random.integers(-9, 10, (n, *shape)), axis=3) + 60
    noisy = random.integers(0, 256, (n, *shape))
    return list(np.clip(smooth if random.random() < 0.5 else noisy, 0, 255).astype(np.int16))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(0, 33))
def test_the_modular_affine_transform_is_a_bijection_and_scales_by_the_ratios(seed: int, size: int) -> None:
    random = np.random.default_rng(seed)
    m = random.integers(1 << 14, (1 << 18) + 1, (9, 9))
    m[:, 0] = m[:, -1] = 1 << 16
    z, r = random.integers(-(1 << size), (1 << size) + 1, (9, 8)), random.integers(0, 1 << 16, 9)
    scaled, left = transform(z, r, m)
    assert ((left >= 0) & (left < 1 << 16)).all()
    assert (np.abs(scaled - z * (m[:, :-1] / m[:, 1:])) <= 17 + np.abs(z) / 2.0**40).all()
    back, remainder = transform(scaled[:, ::-1], left, m[:, ::-1])
    assert np.array_equal(back[:, ::-1], z)
    assert np.array_equal(remainder, r)


def test_the_transform_visits_every_state_once() -> None:
    m = np.array([16, 11, 29, 16])
    z, r = np.meshgrid(np.arange(-40, 40), np.arange(16), indexing="ij")
    states = {(*transform(np.array([a, 3, -2]), np.int64(b), m)[0], int(transform(np.array([a, 3, -2]), b, m)[1]))
              for a, b in zip(z.flat, r.flat, strict=True)}  # fmt: skip
    assert len(states) == z.size


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([SMALL, UNIFORM]), st.integers(0, 33), st.booleans())
def test_the_flow_is_a_bijection_of_all_integers_in_range(seed: int, config: Config, size: int, first: bool) -> None:
    random, map = np.random.default_rng(seed), flow(config)
    value = random.integers(-(1 << size), (1 << size) + 1, (2, 2, 3, CHANNELS)), random.integers(0, 1 << 16, (2, 2, 3))
    there, back = (map.forward, map.inverse) if first else (map.inverse, map.forward)
    moved = there(*value)
    assert config.couplings == 0 or not np.array_equal(moved[0], value[0])
    assert all(np.array_equal(a, b) for a, b in zip(back(*moved), value, strict=True))


def test_products_stay_within_64_bits_at_the_ends_of_every_range() -> None:
    """In big integers: three couplings of a latent as large as a stack may give it."""
    z, ratio, largest = (1 << 32) + SIZE, 1 << 4, 0
    for _ in range(3):
        z += 512 << 10
        largest = max(largest, (z + 1) * (1 << 18) + (1 << 18))
        z = z * ratio + 1
    assert largest < 1 << 63


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([6, 8, 10]))
def test_latents_have_shares_close_to_the_logistic_distribution(seed: int, bits: int) -> None:
    random = np.random.default_rng(seed)
    scale = random.integers(0, 161, (1, 5))
    mean = random.integers(-(1 << 16), 1 << 16, (1, 5))
    m = Mixture.of(Tables.make(), 0 * mean, mean, scale, SIZE, ORIGIN)
    prior = Logistics(m.tables, m.weight, m.mean, m.inverse, bits, m.counts)
    edges = np.sort(random.integers(0, SIZE + 1, (42, 5)), axis=0)
    edges[0], edges[-1] = 0, SIZE
    c = prior.cumulative(edges)
    assert (c[0] == 0).all()
    assert (np.diff(c, axis=0) >= np.diff(edges, axis=0)).all()
    t = (edges[1:-1] + ORIGIN - mean) / 2.0**bits / np.exp(scale / 16 - 4)
    assert c[1:-1] / c[-1] == pytest.approx(1 / (1 + np.exp(-t.clip(-40, 40))), abs=4e-3)
    values = np.array([ORIGIN, ORIGIN + SIZE - 1, 0, mean[0, 3], random.integers(ORIGIN, -ORIGIN)])
    stack = AnsStack(noise(9, seed))
    for part in reversed(prior.intervals(values)):
        assert (part.start.astype(int) + part.frequency <= TOTAL).all()
        stack.push(part)
    assert stack.pop(prior).tolist() == values.tolist()
    assert stack.words().tolist() == noise(9, seed).tolist()
    assert sum(p.ideal_bits() for p in prior.part(slice(1, 3)).intervals(values[1:3])) > 0


@settings(deadline=None, max_examples=15)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([SMALL, UNIFORM]), st.integers(1, 3), st.integers(1, 13),
    st.integers(1, 13),
)  # fmt: skip
def test_tiles_of_any_shape_come_back_with_the_stack(
    seed: int, config: Config, n: int, height: int, width: int
) -> None:
    value = tiles(np.random.default_rng(seed), n, (1, height, width))
    program = model(config).coding.program([(1, height, width)] * n)
    words = noise(40, seed)
    stack = AnsStack(words)
    push(stack, program, value)
    for a, b in zip(pop(stack, program), value, strict=True):
        assert a.dtype == np.int16
        assert np.array_equal(a, b)
    assert stack.words().tolist() == words.tolist()


def test_latents_beyond_the_window_escape() -> None:
    program = model(UNIFORM).coding.program([(1, 8, 8)])
    random = np.random.default_rng(0)
    z, r = random.integers(-(1 << 30), 1 << 30, (1, 2, 2, CHANNELS)), random.integers(0, 1 << 16, (1, 2, 2))
    assert isinstance(program, LatentTiles)
    latents = program.networks.inverse(z, r)
    stack = AnsStack()
    push(stack, program.prior(), latents)
    assert all(np.array_equal(a, b) for a, b in zip(pop(stack, program.prior()), latents, strict=True))
    assert stack.is_empty()


@pytest.mark.parametrize("config", [SMALL, UNIFORM])
def test_every_machine_gives_the_same_words_and_reads_those_of_others(config: Config) -> None:
    shapes = [(1, 21, 18)] * 3
    value = tiles(np.random.default_rng(1), 3, shapes[0])
    models = [model(config, machine) for machine in CPU]
    written = []
    for one in models:
        stack = (one.stack or AnsStack)(noise(3000, 3))
        push(stack, one.coding.program(shapes), value)
        written.append(stack.words())
    for one, words in zip(models, written[::-1], strict=True):
        assert words.tolist() == written[0].tolist()
        stack = (one.stack or AnsStack)(words)
        assert all(np.array_equal(a, b) for a, b in zip(pop(stack, one.coding.program(shapes)), value, strict=True))
        assert stack.words().tolist() == noise(3000, 3).tolist()


def test_a_chain_of_tiles_comes_back_and_damage_is_told() -> None:
    one, seed = model(SMALL), FakeModel()
    value = tiles(np.random.default_rng(2), 36, (1, 8, 8))
    coded = chain.encode(one, seed, value)
    shapes = [tile.shape for tile in value]
    decoded = chain.decode(one, seed, shapes, coded.seeds, coded.words)
    assert all(np.array_equal(a, b) for a, b in zip(decoded, value, strict=True))
    assert coded.initial_bits > 0
    assert 0 <= 32 * len(coded.words) - coded.net_bits - coded.seed_bits < 64 * (1 + len(coded.seeds))
    random = np.random.default_rng(4)
    for i in range(12):
        words = noise(len(coded.words), i) if i < 4 else coded.words.copy()
        words[random.integers(len(words) - 1)] ^= np.uint32(1 << random.integers(32))
        with pytest.raises(FormatError):
            chain.decode(one, seed, shapes, coded.seeds, words)


@pytest.mark.parametrize("machine", CPU)
def test_a_score_is_the_net_bits_and_samples_are_pictures(machine: str) -> None:
    one = model(SMALL, machine)
    value = tiles(np.random.default_rng(2), 2, (1, 16, 16))
    rates = score(one, value)
    assert rates == score(model(SMALL), value)
    assert 1 < min(rates) <= max(rates) < 48
    (drawn,) = sample(one, (1, 11, 16), 1, 1)
    assert (drawn.shape, drawn.dtype) == ((11, 16), np.uint8)
    assert np.array_equal(drawn, sample(model(SMALL), (1, 11, 16), 1, 1)[0])


def test_colour_is_refused_and_batches_are_of_one_shape() -> None:
    with pytest.raises(ModelError, match="grey"):
        model(SMALL).coding.program([(3, 8, 8)])
    with pytest.raises(ValueError, match="one shape"):
        model(SMALL).coding.program([(1, 8, 8), (1, 8, 9)])
    assert model(SMALL).adapt([], 9) == b""


@pytest.mark.parametrize(
    "change",
    [
        {"bits": 7}, {"bits": 12}, {"bits": 8.0}, {"couplings": 7}, {"width": 0}, {"width": True}, {"components": 1},
        {"variational": 2}, {"limit": 9000}, {"extra": 1},
    ],
)  # fmt: skip
def test_a_malformed_config_is_told(change: dict[str, Any]) -> None:
    weights = WEIGHTS[SMALL]
    with pytest.raises(ModelError):
        continuous.Network.of(replace(weights, config={**weights.config, **change}))


@pytest.mark.parametrize("name", ["first.coupling.0.weight", "out.prior.5.bias", "powers", "normal", "sigmoid"])
def test_malformed_tensors_are_told(name: str) -> None:
    weights = WEIGHTS[SMALL]
    tensor = weights.tensors[name]
    far = np.full_like(tensor, -32768)
    for changed in (None, tensor[:-1], tensor.astype(np.int64), *(() if name.endswith("bias") else (far,))):
        tensors = {k: v for k, v in weights.tensors.items() if k != name}
        if changed is not None:
            tensors[name] = changed
        with pytest.raises(ModelError):
            continuous.Network.of(replace(weights, tensors=tensors))


def test_networks_see_the_edges_of_the_image_and_samples_within_bounds() -> None:
    class Watch(convolution.ExecutorConvolutions):
        def convolve(self, loaded: Any, a: NDArray[np.float32]) -> NDArray[np.float32]:
            if loaded[1] == 3 and a.shape[-1] != SMALL.width:
                assert (a[..., -1] == SEEN).all()
                assert np.abs(a).max() <= SEEN
            return super().convolve(loaded, a)

    watched = Flow(continuous.Network.of(WEIGHTS[SMALL]), Watch(NumpyExecutor()))
    watched.forward(np.full((1, 2, 2, CHANNELS), 1 << 30), np.zeros((1, 2, 2), np.int64))


@pytest.mark.parametrize("variational", ["0", "1"])
def test_the_training_command_writes_weights_whose_net_bits_are_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variational: str
) -> None:
    pytest.importorskip("torch")
    from click.testing import CliRunner

    from lgcodec.models import weights
    from lgcodec.models.families.continuous import training as continuous_training

    monkeypatch.setattr(continuous_training, "HELD_OUT", 200)
    random = np.random.default_rng(0)
    images = np.clip(np.cumsum(random.integers(-9, 10, (240, 8, 8)), axis=2) + 99, 0, 255).astype(np.uint8)
    np.savez(tmp_path / "digits.npz", train=images)
    out = tmp_path / "digits.safetensors"
    data = ["--data", str(tmp_path / "digits.npz"), "--held-out", str(tmp_path / "digits.npz"), "--out", str(out)]
    sizes = ["--threads=1", "--batch=8", "--width=4", "--components=2", "--variational", variational]
    for extra in (["--steps", "30"], ["--steps", "60", "--resume"]):
        result = CliRunner().invoke(continuous_training.command, [*data, *sizes, *extra])
        assert result.exit_code == 0, result.output
    assert "resumed" in result.output
    content = weights.read(out.read_bytes(), "digits")
    assert content.card["integer_bpd"] == pytest.approx(content.card["float_bpd"], rel=0.02)
    one, value = on_machine(content, "numpy", 1), list(images[-50:, None].astype(np.int16))
    bits = code_length(one.coding.program([(1, 8, 8)] * 50), value, AnsStack(noise(9000, 1)))
    assert bits / 50 / 64 == pytest.approx(content.card["float_bpd"], rel=0.1)
