"""The flow family: an exact bijection of all integers, one stream on every machine, and every stream comes back."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from strategies import CPU, on_machine

from lgcodec.coding import coder
from lgcodec.errors import FormatError, ModelError
from lgcodec.models import registry, weights
from lgcodec.models.adaptation import deltas
from lgcodec.models.adaptation import fit as adaptation
from lgcodec.models.families.flow import floats as flow_floats
from lgcodec.models.families.flow import training as flow_training
from lgcodec.models.families.flow.floats import FloatNetwork, export, floats, start
from lgcodec.models.families.flow.network import Config, Network
from lgcodec.models.families.flow.program import ExecutedTrunks, Flow
from lgcodec.models.interface import ImageModel, Stream
from lgcodec.models.machines.choose import missing
from lgcodec.models.machines.numpy.executor import NumpyExecutor
from lgcodec.models.training.images import find

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
if missing("native"):
    pytest.skip("the native library is not compiled", allow_module_level=True)
Tile = NDArray[np.int16]
COLOUR = Config(sets=2, width=20, depth=2, hidden=12, components=2)
DIGITS = Config(channels=1, sets=2, width=16, depth=1, hidden=8, components=3, reach=(34, 25, 25), absolute=1, block=6)
ODD = Config(sets=1, width=17, depth=0, hidden=9, components=4, reach=(10, 2, 5))  # no size that a vector has
QUICK = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@functools.lru_cache
def random_flow(config: Config, seed: int = 0, scale: float = 1.0) -> flow_floats.Flow:
    """An untrained flow; `scale` makes it loud, so that clamps and limits are met."""
    torch.manual_seed(seed)
    model = flow_floats.Flow(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".linear." in name:
                parameter.normal_(0, 0.005 if config.absolute else 0.1)
            parameter.mul_(scale)
            if ".out." in name and name.endswith("bias"):
                parameter[2 * config.components : 3 * config.components] += 2  # no sample far out in the tails
    return model


@functools.lru_cache
def built(config: Config, machine: str = "numpy", scale: float = 1.0) -> ImageModel:
    content = export(random_flow(config, scale=scale), {})
    return on_machine(content, machine, 1)


def transform(config: Config, scale: float, shape: tuple[int, int, int, int]) -> Flow:
    network = built(config, scale=scale).network
    return Flow(network, ExecutedTrunks(network, NumpyExecutor()), 1, shape)


def photo(height: int, width: int, channels: int, seed: int = 0) -> Tile:
    """A smooth tile with some noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [90 * np.sin(y / random.uniform(4, 20) + c) * np.cos(x / random.uniform(4, 20)) for c in range(channels)]
    noise = random.integers(-3, 4, (channels, height, width))
    middle = np.array([128, 0, 0])[:channels, None, None]
    return np.clip(np.rint(np.stack(waves)) + noise + middle, [[[0]], [[-255]], [[-255]]][:channels], 255).astype(
        np.int16
    )


@QUICK
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from([(COLOUR, 1.0, 3), (COLOUR, 6.0, 3), (COLOUR, 1.0, 1), (DIGITS, 3.0, 1)]),
    st.sampled_from([10, 300, 1 << 15, 1 << 40]),
    st.integers(0, 2**32 - 1),
)
def test_the_flow_is_a_bijection_of_all_integers(
    size: tuple[int, int, int], kind: tuple[Config, float, int], reach: int, seed: int
) -> None:
    config, scale, channels = kind
    x = np.random.default_rng(seed).integers(-reach, reach, (*size, channels))
    bijection = transform(config, scale, x.shape)
    latents = bijection.forward(x)
    assert sum(z.size for z in latents) == x.size
    np.testing.assert_array_equal(bijection.inverse(latents), x)
    moved = [z + 1 for z in latents]  # and of the latents: whatever integers come, forward returns them
    back = bijection.forward(bijection.inverse(moved))
    assert all(np.array_equal(a, b) for a, b in zip(back, moved, strict=True))


@settings(QUICK, max_examples=10)
@given(
    st.sampled_from([(1, 1), (1, 7), (5, 1), (2, 3), (13, 9), (70, 67)]),
    st.sampled_from([(COLOUR, 3), (COLOUR, 1), (DIGITS, 1), (DIGITS, 3), (ODD, 3)]),
    st.sampled_from([1.0, 6.0]),
    st.sampled_from(["photo", "noise", "beyond"]),
)
def test_every_machine_writes_the_same_words_and_reads_them(
    size: tuple[int, int], kind: tuple[Config, int], scale: float, content: str
) -> None:
    config, channels = kind
    tiles = [photo(*size, channels, seed) for seed in (1, 2)]
    if content == "noise":
        tiles[0] = np.random.default_rng(3).integers(-256, 256, tiles[0].shape).astype(np.int16)
    elif content == "beyond":
        tiles[1] = np.random.default_rng(4).integers(-32767, 32768, tiles[0].shape).astype(np.int16)
    expected: list[Stream] = []
    for machine in CPU:
        model = built(config, machine, scale)
        streams = coder.encode(model, tiles)
        expected = expected or streams
        for stream, other in zip(streams, expected, strict=True):
            np.testing.assert_array_equal(stream.words, other.words)
            assert 32 * len(stream.words) - stream.ideal_bits < 64 + 0.001 * stream.ideal_bits
        back = coder.decode(model, [tile.shape for tile in tiles], [stream.words for stream in streams])  # type: ignore[misc]
        for tile, other_tile in zip(tiles, back, strict=True):
            np.testing.assert_array_equal(other_tile, tile)


def test_tables_are_equal_on_both_sides() -> None:
    """What the encoder says of the true symbols is what the decoder's distributions say, one by one."""
    model, tile = built(COLOUR), photo(19, 23, 3)
    program = model.coding.program([(3, 19, 23)], b"")
    encoder = [p for table, symbols in program.symbols([tile]) for p in table.intervals(symbols)]
    known = iter(program.symbols([tile]))
    steps, decoder = program.steps(), []
    distribution = next(steps)
    try:
        while True:
            symbols = next(known)[1]
            decoder += distribution.intervals(symbols)
            distribution = steps.send(symbols)
    except StopIteration as stop:
        np.testing.assert_array_equal(stop.value[0], tile)
    for a, b in zip(encoder, decoder, strict=True):
        np.testing.assert_array_equal(a.start, b.start)
        np.testing.assert_array_equal(a.frequency, b.frequency)


def test_stacked_images_know_nothing_of_each_other() -> None:
    digits = [np.random.default_rng(i).integers(0, 256, (1, 6, 6)).astype(np.int16) for i in range(3)]
    model = built(DIGITS)

    def bits(tile: Tile) -> float:
        return coder.encode(model, [tile])[0].ideal_bits

    together, apart = bits(np.concatenate(digits, axis=1)), sum(bits(digit) for digit in digits)
    assert together == pytest.approx(apart, rel=1e-12)
    whole = model.coding.program([(1, 19, 6)], b"")
    assert whole.flow.shape == (1, 19, 6, 1)  # of no multiple of the block: one image


KINDS = {COLOUR: (3, 9, 12), DIGITS: (1, 12, 6)}


def stream_of(config: Config, seed: int) -> NDArray[np.uint32]:
    channels, height, width = KINDS[config]
    return coder.encode(built(config, "native"), [photo(height, width, channels, seed)])[0].words


def test_any_words_give_a_tile_or_a_format_error() -> None:
    """Those of a tile among them."""
    decoded = []

    @QUICK
    @given(st.data(), st.sampled_from(list(KINDS)), st.sampled_from(CPU))
    def decode(data: st.DataObject, config: Config, machine: str) -> None:
        seed = data.draw(st.one_of(st.none(), st.integers(0, 9)))
        drawn = data.draw(st.lists(st.integers(0, 2**32 - 1), max_size=100)) if seed is None else None
        words = np.array(drawn, np.uint32) if seed is None else stream_of(config, seed)
        try:
            (tile,) = coder.decode(built(config, machine), [KINDS[config]], [words])
        except FormatError:
            assert seed is None
            return
        assert tile.shape == KINDS[config]
        decoded.append(machine)

    decode()
    assert set(decoded) == set(CPU)


@pytest.mark.parametrize("machine", CPU)
def test_damaged_streams(machine: str) -> None:
    model, tile = built(COLOUR, machine), photo(16, 16, 3)
    words = coder.encode(model, [tile])[0].words
    for damaged in (words[:-3], words[3:], np.append(words, np.uint32(7)), words[::-1]):
        with pytest.raises(FormatError):
            coder.decode(model, [tile.shape], [damaged])  # type: ignore[list-item]
    with pytest.raises(FormatError, match="adaptation"):
        coder.decode(model, [(3, 16, 16)], [words], b"x")


def drawn(network: Network, rank: int, reach: int, seed: int) -> dict[str, deltas.Deltas]:
    random = np.random.default_rng(seed)

    def part(*shape: int) -> NDArray[np.int8]:
        return random.integers(-reach, reach + 1, shape).astype(np.int8)

    shapes = {name: layer.weight.shape for name, layer in network.named().items()}
    return {name: (part(O), part(rank, O), part(rank, I)) for name, (O, I) in shapes.items()}


@settings(QUICK, max_examples=12)
@given(
    st.sampled_from([(COLOUR, 3), (COLOUR, 1), (DIGITS, 1), (ODD, 3)]),
    st.integers(0, 3),
    st.sampled_from([1, 16, 127]),
    st.integers(0, 2**32 - 1),
)
def test_machines_agree_on_adapted_networks(kind: tuple[Config, int], rank: int, reach: int, seed: int) -> None:
    config, channels = kind
    adaptation = deltas.write(drawn(built(config).network, rank, reach, seed))
    tiles = [photo(12, 6, channels, seed) for seed in (1, 2)]
    expected: list[Stream] = []
    for machine in CPU:
        model = built(config, machine)
        streams = coder.encode(model, tiles, adaptation)
        expected = expected or streams
        for stream, other in zip(streams, expected, strict=True):
            np.testing.assert_array_equal(stream.words, other.words)
        back = coder.decode(model, [tile.shape for tile in tiles], [stream.words for stream in streams], adaptation)  # type: ignore[misc]
        np.testing.assert_array_equal(back, tiles)
    assert any(a.words.tolist() != b.words.tolist() for a, b in zip(streams, coder.encode(model, tiles), strict=True))


@pytest.mark.parametrize("machine", CPU)
def test_malformed_deltas_are_refused(machine: str) -> None:
    model, tile = built(COLOUR, machine), photo(6, 6, 3)
    good = deltas.write(drawn(model.network, 1, 0, 0))
    assert coder.encode(model, [tile], good)[0].words.tolist() == coder.encode(model, [tile])[0].words.tolist()
    for bad in (b"x", good[:-1], good + b"\0", b"\2" + good[1:], deltas.write(drawn(built(ODD).network, 1, 1, 0))):
        with pytest.raises(ModelError, match="adaptation"):
            coder.encode(model, [tile], bad)
        with pytest.raises(FormatError, match="adaptation"):
            coder.decode(model, [(3, 6, 6)], [np.zeros(0, np.uint32)], bad)


def test_adapting_pays_for_itself_and_decodes_everywhere() -> None:
    """An untrained network has much to gain."""
    model, tile = built(COLOUR, "native"), photo(40, 44, 3)
    adaptation = model.adapt([tile, photo(9, 9, 3)], 8)
    plain, fitted = (coder.encode(model, [tile], side)[0] for side in (b"", adaptation))
    assert fitted.ideal_bits + 8 * len(adaptation) < plain.ideal_bits
    for machine in CPU:
        (again,) = coder.decode(built(COLOUR, machine), [(3, 40, 44)], [fitted.words], adaptation)
        np.testing.assert_array_equal(again, tile)


def test_nothing_is_sent_where_nothing_can_be_fitted() -> None:
    assert built(COLOUR, "native").adapt([photo(9, 30, 3)], 9) == b""
    assert built(COLOUR, "native").adapt([photo(40, 40, 1)], 9) == b""
    assert built(DIGITS, "native").adapt([photo(36, 6, 1)], 9) == b""


def test_what_is_fitted_in_floats_is_what_integers_do() -> None:
    network = built(COLOUR).network
    twin = FloatNetwork(network, [photo(40, 40, 3)])
    delta, parts = adaptation.Delta(twin, 2), drawn(network, 2, 5, 1)
    with torch.no_grad():
        for target, values in zip(
            (delta.bias, delta.left, delta.right), zip(*parts.values(), strict=True), strict=True
        ):
            for parameter, value in zip(target, values, strict=True):
                parameter.copy_(torch.from_numpy(value))
    for (name, (weight, bias)), (again, rounded) in zip(delta.layers().items(), delta.rounded().items(), strict=True):
        assert name == again
        assert all(np.array_equal(a, b) for a, b in zip(rounded, parts[name], strict=True))
        moved, (row, column, add) = deltas.move(network.named()[name], *parts[name]), twin.units[name]
        wanted = floats(moved, row, column, add)
        unit = np.exp2(-moved.shift.astype(float)) / row
        assert (np.abs(weight.detach().numpy() - wanted[0]) <= 1.01 * unit[:, None] / column).all()
        assert (np.abs(bias.detach().numpy() - wanted[1]) <= 1.01 * unit).all()


@pytest.mark.parametrize("config", [COLOUR, DIGITS])
def test_integers_lose_little(config: Config) -> None:
    model = random_flow(config)
    tile = photo(36, 6, 1) if config.block else photo(40, 50, 3)
    images = tile.reshape(-1, 1, 6, 6) if config.block else tile[None]
    floats = flow_training.evaluate(model, [images])
    integers = coder.encode(built(config), [tile])[0].ideal_bits / tile.size
    assert integers == pytest.approx(floats, rel=2e-3)


def test_crops_with_margins_count_what_whole_images_count() -> None:
    """Away from the edges a level's crop has the same nats as the whole plane: margins are where they should be."""
    model, m = random_flow(COLOUR), COLOUR.margin
    x = torch.from_numpy(photo(24 + 4 * m, 20 + 4 * m, 3)[None])
    planes = [x[..., py::2, px::2] for py in (0, 1) for px in (0, 1)]
    with torch.inference_mode():
        inner = model.level(0, planes, (24, 20), padded=True)
        parts = [model.level(0, [a[..., i : i + 12 // k + 2 * m, :] for a in planes], (24 // k, 20), padded=True)
                 for k, i in ((2, 0), (2, 6))]  # fmt: skip
    torch.testing.assert_close(sum(parts), inner)


def test_malformed_weights() -> None:
    content = export(random_flow(COLOUR), {})
    assert Network.of(content).config == COLOUR

    def expect(message: str, **changes: object) -> None:
        with pytest.raises(ModelError, match=message):
            Network.of(replace(content, **changes))  # type: ignore[arg-type]

    expect("not one of this release", config={"width": 3})
    for wrong in ({"width": 0}, {"reach": [18, 13]}, {"reach": [18, 13, 99]}, {"channels": 2}, {"depth": 2.0}):
        expect("flow model", config={**content.config, **wrong})
    expect("not one of this release", config={**content.config, "reach": 3})
    expect("missing", tensors={k: v for k, v in content.tensors.items() if k != "1.2.linear.bias"})
    for name in ("last", "coarse", "sigmoid"):
        expect("malformed tables", tensors={**content.tensors, name: content.tensors[name] - 100000})
    expect("layer", tensors={**content.tensors, "0.0.first.weight": content.tensors["0.0.first.weight"][:, 1:]})
    with pytest.raises(ModelError, match="no machine"):
        on_machine(content, "abacus", 1)


def test_training_data(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (300, 300, 3)).astype(np.uint8)).save(tmp_path / "noise.png")
    batch = next(iter(flow_training.Crops(find([tmp_path], 140), random, COLOUR)))
    model = random_flow(COLOUR)
    with torch.inference_mode():
        assert 7 < float(model.bits([x[:1] for x in batch])) < 14
    for shape, channels in (((9, 6, 6), 1), ((9, 6, 6, 3), 3)):
        small = next(iter(flow_training.Small(random.integers(0, 256, shape).astype(np.uint8), random, 4)))
        assert [x.shape for x in small] == [(4, channels, 6, 6)]


def test_training_starts_where_another_ended() -> None:
    model = random_flow(COLOUR)
    network = Network.of(export(model, {}))
    again = flow_floats.Flow(replace(COLOUR, block=8))
    start(again, network)
    exported = Network.of(export(again, {}))
    np.testing.assert_array_equal(exported.last, network.last)
    pairs = zip(itertools.chain(*exported.layers), itertools.chain(*network.layers), strict=True)
    for ours, theirs in pairs:
        for name, layer in theirs.items():
            scale = 2.0 ** (layer.shift - ours[name].shift)
            np.testing.assert_allclose(ours[name].weight.T * scale, layer.weight.T, atol=1.01 * scale.max())
            np.testing.assert_allclose(ours[name].bias * scale, layer.bias, atol=1.01 * scale.max())
    with pytest.raises(ModelError, match="cannot start"):
        start(flow_floats.Flow(replace(COLOUR, width=COLOUR.width + 1)), network)


def shipped() -> Sequence[str]:
    return [record.name for record in registry.RECORDS if record.family == "flow"]


@pytest.mark.parametrize("name", shipped())
def test_shipped_models(name: str) -> None:
    models = [registry.load(name, machine=machine) for machine in CPU]
    tiles = [photo(56, 28, 1), photo(33, 47, 3)]
    first, *others = [coder.encode(model, tiles) for model in models]
    for model, streams in zip(models[1:], others, strict=True):
        for tile, a, b in zip(tiles, first, streams, strict=True):
            np.testing.assert_array_equal(a.words, b.words)
            np.testing.assert_array_equal(coder.decode(model, [tile.shape], [b.words])[0], tile)  # type: ignore[list-item]


def test_the_command_trains_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    data, out = tmp_path / "x.npz", tmp_path / "tiny.safetensors"
    monkeypatch.setattr(flow_training, "SMALL_HELD_OUT", 3)
    np.savez(data, train=np.random.default_rng(0).integers(0, 256, (15, 28, 28)).astype(np.uint8))
    arguments = [
        "--data", str(data), "--held-out", str(data), "--out", str(out), "--device", "cpu", "--threads", "1",
        "--width", "8", "--depth", "1", "--batch", "4",
    ]  # fmt: skip
    for more in (["--steps", "8"], ["--steps", "15", "--resume"]):
        result = CliRunner().invoke(flow_training.command, [*arguments, *more], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert "resumed" in result.output
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["digest"] == weights.read(out.read_bytes(), "tiny").digest().hex()
    assert card["integer_bpd"] == pytest.approx(card["float_bpd"], rel=0.01)
