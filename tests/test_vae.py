"""The VAE family: tiles come back with the stack, on every machine the same words; tables, bounds, hostile weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import reference_vae
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import CPU, FakeModel, on_machine

from lgcodec.coding import chain
from lgcodec.coding.bits_back import pop, push
from lgcodec.coding.likelihood import code_length, draw, noise, sample, score
from lgcodec.errors import FormatError
from lgcodec.models.entropy import mixture
from lgcodec.models.entropy.cells import LATENT_UNIT, RATIO_UNIT, Cells, Posterior
from lgcodec.models.errors import ModelError
from lgcodec.models.families.vae import network as vae
from lgcodec.models.interface import TOTAL, ImageModel
from lgcodec.models.layers.integer import quantise
from lgcodec.models.machines.numpy.stack import Stack as AnsStack
from lgcodec.models.weights import Weights

Tile = NDArray[np.int16]
SMALL = vae.Config(
    channels=1, scales=1, latents=((1,), (2, 1)), width=6, blocks=1, hidden=5, depth=1, components=2, reach=1,
    relative=0, bits=8, fraction=6, limit=1023,
)  # fmt: skip
COLOUR = replace(SMALL, channels=3, scales=2, latents=((2,), (3,)), reach=2, relative=1, bits=10)


def random_weights(config: vae.Config, seed: int = 0) -> Weights:
    random = np.random.default_rng(seed)
    tensors: dict[str, NDArray[Any]] = {}
    kinds = config.kinds()
    for name, spec in config.layers().items():
        limit, low, high = vae.limits(config, spec)
        ends = [kinds[k] for k, n in spec.outputs for _ in range(n)]
        row, add = np.array([kind.unit for kind in ends]), np.array([kind.add for kind in ends])
        column = np.tile([1 / kinds[k].unit for k, n in spec.inputs for _ in range(n)], spec.size**2)
        weight = random.normal(size=(len(row), len(column))) * len(column) ** -0.5
        bias = random.normal(size=len(row)) * 0.3
        layer = quantise(weight * row[:, None] * column, bias * row + add, limit, low, high)
        tensors |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias, f"{name}.shift": layer.shift}
    tables, cells = mixture.Tables.make(), Cells.make(config.bits)
    tensors |= {"sigmoid": tables.sigmoid, "exponential": tables.exponential, "inverse": tables.inverse}
    tensors |= {"edges": cells.edges, "values": cells.values, "normal": cells.normal, "precision": cells.precision}
    return Weights("vae", vae.as_dict(config), tensors, {})


def model(config: vae.Config, machine: str = "numpy") -> ImageModel:
    return on_machine(random_weights(config), machine, 1)


def tiles(random: np.random.Generator, n: int, shape: tuple[int, int, int]) -> list[Tile]:
    low = np.array([0, -255, -255])[: shape[0], None, None]
    smooth = np.cumsum(random.integers(-9, 10, (n, *shape)), axis=3) + 60
    noisy = random.integers(low, 256, (n, *shape))
    return list(np.clip(smooth if random.random() < 0.5 else noisy, low, 255).astype(np.int16))


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([SMALL, COLOUR]), st.booleans(), st.integers(1, 3), st.integers(1, 19),
    st.integers(1, 19),
)  # fmt: skip
def test_tiles_of_any_shape_come_back_with_the_stack(
    seed: int, config: vae.Config, grey: bool, n: int, height: int, width: int
) -> None:
    shape = (1 if grey else config.channels, height, width)
    value = tiles(np.random.default_rng(seed), n, shape)
    program = model(config).coding.program([shape] * n)
    words = noise(40, seed)
    stack = AnsStack(words)
    push(stack, program, value)
    for a, b in zip(pop(stack, program), value, strict=True):
        assert a.dtype == np.int16
        assert np.array_equal(a, b)
    assert stack.words().tolist() == words.tolist()


@pytest.mark.parametrize(("config", "shape"), [(SMALL, (1, 7, 9)), (COLOUR, (3, 9, 6)), (COLOUR, (1, 1, 3))])
def test_the_reference_decodes_the_same_words(config: vae.Config, shape: tuple[int, int, int]) -> None:
    weights = random_weights(config)
    (value,) = tiles(np.random.default_rng(5), 1, shape)
    words = noise(400, 3)
    stack = AnsStack(words)
    push(stack, model(config).coding.program([shape]), [value])
    reference = reference_vae.Stack(stack.words().tolist())
    tensors = {name: tensor.tolist() for name, tensor in weights.tensors.items()}
    assert reference_vae.Decoder(weights.config, tensors).decode(reference, shape) == value.tolist()
    assert reference.content() == words.tolist()


@pytest.mark.parametrize("config", [SMALL, COLOUR])
def test_every_machine_gives_the_same_words_and_reads_those_of_others(config: vae.Config) -> None:
    shape = (config.channels, 21, 18)
    value = tiles(np.random.default_rng(1), 3, shape)
    models = [model(config, machine) for machine in CPU]
    written = []
    for one in models:
        stack = (one.stack or AnsStack)(noise(3000, 3))
        push(stack, one.coding.program([shape] * 3), value)
        written.append(stack.words())
    for one, words in zip(models, written[::-1], strict=True):
        assert words.tolist() == written[0].tolist()
        stack = (one.stack or AnsStack)(words)
        assert all(
            np.array_equal(a, b) for a, b in zip(pop(stack, one.coding.program([shape] * 3)), value, strict=True)
        )
        assert stack.words().tolist() == noise(3000, 3).tolist()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([8, 10, 12]))
def test_posteriors_are_the_normal_distribution_and_every_cell_has_a_share(seed: int, bits: int) -> None:
    random, size = np.random.default_rng(seed), 1 << bits
    mean, ratio = random.integers(-2047, 2048, 4), random.integers(0, 96, 4)
    cells = Cells.make(bits)
    distribution = Posterior(cells, mean, ratio, np.array([4]))
    c = distribution.cumulative(np.arange(size + 1)[:, None])
    assert (np.diff(c, axis=0) > 0).all()
    assert set(c[0]) == {0}
    assert set(c[-1]) == {TOTAL}
    for i in range(4):
        exact = NormalDist(mean[i] / LATENT_UNIT, math.exp(-ratio[i] / RATIO_UNIT))
        places = random.integers(1, size, 20)
        assert [c[p, i] / TOTAL for p in places] == pytest.approx(
            [exact.cdf(NormalDist().inv_cdf(p / size)) for p in places], abs=2e-3
        )
    symbols = random.integers(0, size, 4)
    stack = AnsStack(noise(9, seed))
    for part in reversed(distribution.intervals(symbols)):
        stack.push(part)
    assert stack.pop(distribution).tolist() == symbols.tolist()
    assert stack.words().tolist() == noise(9, seed).tolist()


def test_the_prior_is_uniform() -> None:
    program = model(SMALL).coding.program([(1, 9, 8)]).prior()
    value = [np.zeros(shape, np.int64) for shape in program.shapes]
    assert [z.shape for z in value] == [(1, 3, 2, 2), (1, 3, 2, 1), (1, 6, 4, 1)]
    latents = sum(z.size for z in value)
    assert code_length(program, value, AnsStack()) == pytest.approx(SMALL.bits * latents)


def test_a_chain_of_tiles_comes_back_and_damage_is_told() -> None:
    one, seed = model(SMALL), FakeModel()
    value = tiles(np.random.default_rng(2), 36, (1, 8, 8))
    coded = chain.encode(one, seed, value)
    decoded = chain.decode(one, seed, [tile.shape for tile in value], coded.seeds, coded.words)
    assert all(np.array_equal(a, b) for a, b in zip(decoded, value, strict=True))
    assert coded.initial_bits > 0
    assert 0 <= 32 * len(coded.words) - coded.net_bits - coded.seed_bits < 64 * (1 + len(coded.seeds))
    random = np.random.default_rng(4)
    for _ in range(8):
        words = coded.words.copy()
        words[random.integers(len(words) - 1)] ^= np.uint32(1 << random.integers(32))
        with pytest.raises(FormatError):
            chain.decode(one, seed, [tile.shape for tile in value], coded.seeds, words)


@pytest.mark.parametrize("machine", CPU)
def test_a_score_is_the_net_bits_and_samples_are_pictures(machine: str) -> None:
    one = model(COLOUR, machine)
    value = tiles(np.random.default_rng(2), 2, (3, 16, 16))
    rates = score(one, value)
    assert rates == score(model(COLOUR), value)
    assert 1 < min(rates) <= max(rates) < 48
    drawn = sample(one, (3, 11, 16), 2, 1)
    assert [(a.shape, a.dtype) for a in drawn] == [((11, 16, 3), np.uint8)] * 2
    assert all(np.array_equal(a, b) for a, b in zip(drawn, sample(model(COLOUR), (3, 11, 16), 2, 1), strict=True))
    assert sample(one, (1, 11, 16), 1, 1)[0].shape == (11, 16)


def test_explicit_models_have_samples_too() -> None:
    assert sample(FakeModel(), (3, 5, 6), 2, 1)[0].shape == (5, 6, 3)


def test_drawn_tiles_are_in_range() -> None:
    shape = (3, 11, 16)
    drawn = draw(AnsStack(noise(9000, 1)), model(COLOUR).coding.program([shape] * 2))
    assert [tile.shape for tile in drawn] == [shape] * 2
    for tile in drawn:
        assert tile[0].min() >= 0
        assert tile.min() >= -256
        assert tile.max() <= 255


def test_a_grey_model_refuses_colour_and_batches_are_of_one_shape() -> None:
    with pytest.raises(ModelError, match="grey"):
        model(SMALL).coding.program([(3, 8, 8)])
    with pytest.raises(ValueError, match="one shape"):
        model(SMALL).coding.program([(1, 8, 8), (1, 8, 9)])


@pytest.mark.parametrize(
    "change",
    [
        {"channels": 2}, {"scales": 9}, {"bits": 9}, {"bits": 10.0}, {"latents": []}, {"latents": 3},
        {"latents": [[]]}, {"latents": [[True]]}, {"latents": [[1], [0]]}, {"latents": [["8"]]}, {"width": 0},
        {"width": True}, {"limit": 9000}, {"extra": 1},
    ],
)  # fmt: skip
def test_a_malformed_config_is_told(change: dict[str, Any]) -> None:
    weights = random_weights(SMALL)
    with pytest.raises(ModelError):
        vae.Network.of(replace(weights, config={**weights.config, **change}))


@pytest.mark.parametrize(
    "name", ["enter.weight", "out.0.3.0.bias", "edges", "values", "normal", "precision", "sigmoid"]
)
def test_malformed_tensors_are_told(name: str) -> None:
    weights = random_weights(SMALL)
    tensor = weights.tensors[name]
    far = tensor[::-1].copy() if tensor.ndim == 1 else np.full_like(tensor, -32768)  # not ascending; too large
    changes: Sequence[NDArray[Any] | None] = [None, tensor[:-1], tensor.astype(np.int64), far]
    for changed in changes[: 3 if name.endswith("bias") else 4]:
        tensors = {k: v for k, v in weights.tensors.items() if k != name}
        if changed is not None:
            tensors[name] = changed
        with pytest.raises(ModelError):
            vae.Network.of(replace(weights, tensors=tensors))


def test_net_bits_are_the_bound_that_was_trained() -> None:
    torch = pytest.importorskip("torch")
    from lgcodec.models.families.vae import training as vae_training
    from lgcodec.models.families.vae.floats import Floats, Objective, export

    torch.manual_seed(0)
    config = replace(SMALL, width=12, hidden=12, bits=10)
    network = Floats(config)
    random = np.random.default_rng(0)
    value = tiles(random, 32, (1, 16, 16))
    value = [np.clip(np.cumsum(random.integers(-9, 10, t.shape), axis=2) + 99, 0, 255).astype(np.int16) for t in value]
    x = torch.from_numpy(np.stack(value).transpose(0, 2, 3, 1) - vae.CENTRE[0])
    objective = Objective(network, warm_up=5, free_bits=0.0, samples=1)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(40):
        optimiser.zero_grad()
        objective([x]).backward()
        optimiser.step()
    bound, tight = vae_training.evaluate(network, [x.numpy()], samples=8)
    assert tight < bound < 7
    one = on_machine(export(network, {}), "numpy", 1)
    bits = [
        code_length(one.coding.program([t.shape for t in value]), value, AnsStack(noise(9000, seed)))
        for seed in range(2)
    ]
    assert np.mean(bits) / 32 / 256 == pytest.approx(bound, rel=0.01)


def test_the_training_command_writes_weights_that_code_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from click.testing import CliRunner

    from lgcodec.models import weights
    from lgcodec.models.families.vae import training as vae_training

    monkeypatch.setattr(vae_training, "HELD_OUT", 30)
    images = np.random.default_rng(0).integers(0, 256, (70, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "digits.npz", train=images)
    out = tmp_path / "digits.safetensors"
    sizes = "--threads=1 --batch=8 --width=4 --hidden=4 --components=2 --latents=1/1 --bits=8"
    data = ["--data", str(tmp_path / "digits.npz"), "--held-out", str(tmp_path / "digits.npz"), "--out", str(out)]
    for extra in (["--steps", "13"], ["--steps", "26", "--samples", "2", "--resume"]):
        result = CliRunner().invoke(vae_training.command, [*data, *sizes.split(), *extra])
        assert result.exit_code == 0, result.output
    assert "resumed" in result.output
    content = weights.read(out.read_bytes(), "digits")
    assert content.card["integer_bpd"] == pytest.approx(content.card["float_bpd"], rel=0.1)
    assert content.card["multiply_adds_per_pixel"] > 0
    one = on_machine(content, "numpy", 1)
    stack = AnsStack(noise(90, 1))
    push(stack, one.coding.program([(1, 4, 4)]), [images[:1].astype(np.int16)[0][None]])
    assert np.array_equal(pop(stack, one.coding.program([(1, 4, 4)]))[0][0], images[0])
