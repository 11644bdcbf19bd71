"""The causal family: one model on every machine gives one stream, and every stream gives its tile back."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import CPU, on_machine

import lgcodec
from lgcodec import container
from lgcodec.coding import coder
from lgcodec.errors import FormatError, LgcodecError, ModelError
from lgcodec.models import registry
from lgcodec.models.adaptation import deltas, fit
from lgcodec.models.adaptation.deltas import MAX_RANK, Deltas
from lgcodec.models.families.causal import floats as causal_training
from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.causal import online
from lgcodec.models.families.causal.network import Config, Network
from lgcodec.models.families.causal.on_native import NativeCausal
from lgcodec.models.families.causal.training import evaluate
from lgcodec.models.interface import ImageModel, Stream
from lgcodec.models.layers.integer import EXACT
from lgcodec.models.machines.native import library
from lgcodec.models.training.images import planes
from lgcodec.models.weights import Weights

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
if not library.available():
    pytest.skip("no native library: there was no C compiler", allow_module_level=True)
Tile = NDArray[np.int16]
Shape = tuple[int, int, int]
MACHINES = (*((name, 1) for name in CPU), ("native", 2))
SHIPPED = [record.name for record in registry.RECORDS if record.family == "causal"]


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@functools.lru_cache(maxsize=64)
def _built(digest: bytes, machine: str, threads: int) -> ImageModel:
    return on_machine(_known[digest], machine, threads)


_known: dict[bytes, Weights] = {}


def build(weights: Weights, machine: str, threads: int = 1) -> ImageModel:
    torch.set_num_threads(threads)
    _known[weights.digest()] = weights
    return _built(weights.digest(), machine, threads)


@functools.lru_cache
def shipped(name: str) -> Weights:
    weights: Weights = registry.read(name)
    return weights


@functools.lru_cache(maxsize=64)
def random_model(config: Config, seed: int, scale: float) -> causal_training.Causal:
    torch.manual_seed(seed)
    model = causal_training.Causal(config)
    with torch.no_grad():
        model.linear.normal_(0, 0.02 * scale)
        for parameter in model.parameters():
            parameter.mul_(scale)
        if model.classes is not None:
            model.classes.normal_(0, scale)
        if config.grid:
            model.first.weight[:, -causal.GRID :].normal_(0, 0.3 * scale)
    return model


def random_weights(config: Config, seed: int, scale: float = 1.0) -> Weights:
    """An untrained network; `scale` makes it loud, so that clamps and limits are met."""
    return causal_training.export(random_model(config, seed, scale), {})


SMALL = Config(width=24, depth=2, hidden=12, components=2, rows=2, left=3, reach=2)
configs = st.one_of(
    st.just(SMALL),
    st.builds(
        lambda width, context, **sizes: Config(width=width, context=min(context, width), **sizes),
        context=st.integers(0, 8), width=st.integers(1, 40), depth=st.integers(1, 3), hidden=st.integers(1, 20),
        components=st.integers(1, 4),
        rows=st.integers(1, online.UP), left=st.integers(1, online.LEFT), reach=st.integers(1, online.RIGHT),
        fraction=st.integers(1, 8), limit=st.integers(1, 2047), grid=st.integers(0, 1),
    ),
)  # fmt: skip
networks = st.builds(random_weights, configs, st.integers(0, 99), st.sampled_from([1.0, 1.0, 5.0]))
KINDS = ("flat", "smooth", "noise", "extremes", "checkerboard", "few")


def tile_of(kind: str, shape: Shape, seed: int) -> Tile:
    """int16 [C, H, W] within the ranges of YCoCg-R, whether or not pixels give such colours."""
    C, H, W = shape
    random = np.random.default_rng(seed)
    y, x = np.indices((H, W))
    planes = []
    for low, high in list(zip(online.LOW, online.HIGH, strict=True))[:C]:
        if kind == "flat":
            plane = np.full((H, W), random.integers(low, high + 1))
        elif kind == "smooth":
            plane = random.integers(low, high) + random.integers(-4, 5) * x + random.integers(-4, 5) * y
            plane = plane + random.integers(0, 3, (H, W))
        elif kind == "noise":
            plane = random.integers(low, high + 1, (H, W))
        elif kind == "extremes":
            plane = random.choice([low, high], (H, W))
        elif kind == "checkerboard":
            plane = np.where((x + y) % 2, low, high)
        else:
            plane = random.choice(random.integers(low, high + 1, 3), (H, W))
        planes.append(np.clip(plane, low, high))
    return np.stack(planes).astype(np.int16)


shapes = st.tuples(
    st.sampled_from([1, 3]),
    *[st.shared(st.one_of(
        st.sampled_from([(1, 1), (1, 2), (2, 1), (1, 17), (17, 1), (2, 2), (9, 7), (8, 8)]),
        st.tuples(st.integers(1, 10), st.integers(1, 10)),
    ), key="side").map(lambda side, i=i: side[i]) for i in (0, 1)],
)  # fmt: skip
seeds = st.integers(0, 2**32 - 1)
kinds = st.sampled_from(KINDS)


@st.composite
def batches(draw: st.DrawFn) -> list[Tile]:
    """One to four tiles of one shape."""
    shape = draw(shapes)
    return [tile_of(draw(kinds), shape, draw(seeds)) for _ in range(draw(st.integers(1, 4)))]


def words_of(streams: Sequence[Stream]) -> list[list[int]]:
    return [stream.words.tolist() for stream in streams]


def same(one: Sequence[Tile], other: Sequence[Tile]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b) for a, b in pairs)


def check(weights: Weights, tiles: list[Tile], machines: Sequence[tuple[str, int]] = MACHINES) -> None:
    """Every machine writes the same words, alone and in any batch, and decodes those words: all pairs of machines."""
    first = coder.encode(build(weights, *machines[0]), tiles)
    words = words_of(first)
    for machine in machines:
        model = build(weights, *machine)
        streams = coder.encode(model, tiles)
        assert words_of(streams) == words, machine
        assert [s.ideal_bits for s in streams] == pytest.approx([s.ideal_bits for s in first])
        assert words_of(coder.encode(model, tiles[::-1])) == words[::-1], machine
        assert words_of(coder.encode(model, tiles[-1:])) == words[-1:], machine
        again = coder.decode(model, [t.shape for t in tiles], [s.words for s in first])
        assert same(again, tiles), machine
        assert same(coder.decode(model, [tiles[-1].shape], [first[-1].words]), tiles[-1:]), machine


GROWN = replace(SMALL, width=40, depth=3, hidden=17, components=3, context=5)


def test_a_grown_network_goes_on_where_the_small_one_was() -> None:
    """But for the new components of the mixtures and the new layer, whose start is small and random."""
    tile = causal_training.Features(tile_of("smooth", (3, 20, 24), 1))
    network = Network.of(random_weights(SMALL, 1))
    rates = {}
    for name, config in (
        ("as it is", SMALL), ("wider", replace(GROWN, depth=2, components=2)), ("deeper", replace(GROWN, components=2)),
        ("more", GROWN),
    ):  # fmt: skip
        torch.manual_seed(2)
        model = causal_training.Causal(config)
        causal_training.grow(model, network)
        rates[name] = evaluate(model, [tile], torch.device("cpu"))
    rate = rates.pop("as it is")
    assert rates.pop("wider") == pytest.approx(rate, rel=1e-5)
    assert all(other == pytest.approx(rate, rel=0.05) for other in rates.values()), rates


@pytest.mark.parametrize("smaller", [replace(GROWN, width=20), replace(GROWN, rows=1), replace(GROWN, depth=1)])
def test_a_network_cannot_start_from_one_that_sees_more(smaller: Config) -> None:
    with pytest.raises(ModelError, match="cannot start"):
        causal_training.grow(causal_training.Causal(smaller), Network.of(random_weights(SMALL, 1)))


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(networks, batches())
def test_machines_agree_on_random_networks(weights: Weights, tiles: list[Tile]) -> None:
    check(weights, tiles)


@pytest.mark.parametrize("name", SHIPPED)
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(tiles=batches())
def test_machines_agree_on_shipped_models(name: str, tiles: list[Tile]) -> None:
    check(shipped(name), tiles)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 1, 1), (3, 1, 40), (1, 40, 1), (3, 23, 31)], ids=str)
def test_shapes_that_images_have(name: str, shape: Shape) -> None:
    check(shipped(name), [tile_of("smooth", shape, 1), tile_of("noise", shape, 2)])


def test_torch_threads_agree() -> None:
    """Few and wide fronts, so that torch shares their products between threads."""
    tiles = [tile_of(KINDS[i % len(KINDS)], (3, 2, 5), i) for i in range(100)]
    check(shipped("default"), tiles, (("native", 2), ("torch", 1), ("torch", 2)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", SHIPPED)
@settings(deadline=None, max_examples=12)
@given(tiles=batches())
def test_cuda_agrees(name: str, tiles: list[Tile]) -> None:
    check(shipped(name), tiles, (("native", 1), ("cuda", 1)))


@given(st.lists(st.tuples(shapes, kinds, seeds), min_size=1, max_size=6))
@settings(deadline=None, max_examples=20)
def test_compiled_batches_may_mix_shapes(drawn: list[tuple[Shape, str, int]]) -> None:
    tiles = [tile_of(kind, shape, seed) for shape, kind, seed in drawn]
    alone = [coder.encode(build(shipped("default"), "numpy"), [tile])[0] for tile in tiles[:1]]
    for threads in (1, 2):
        model = build(shipped("default"), "native", threads)
        streams = coder.encode(model, tiles)
        assert words_of(streams[:1]) == words_of(alone)
        assert same(coder.decode(model, [t.shape for t in tiles], [s.words for s in streams]), tiles)


def test_programs_take_tiles_of_one_shape() -> None:
    model = build(random_weights(SMALL, 0), "numpy")
    with pytest.raises(ValueError, match="one shape"):
        model.coding.program([(1, 2, 2), (1, 2, 3)], b"")


@settings(deadline=None, max_examples=15)
@given(networks, batches())
def test_encoder_and_decoder_see_the_same_tables(weights: Weights, tiles: list[Tile]) -> None:
    """symbols() gives intervals; each is one share of the table that steps() yields, and stands for the true symbol."""
    model = build(weights, "numpy")
    program = model.coding.program([t.shape for t in tiles], b"")
    known = [part for mixture, values in program.symbols(tiles) for part in mixture.intervals(values)]
    left = iter(known)

    def read(cdf: NDArray[np.uint32]) -> NDArray[np.int64]:
        intervals = next(left)
        assert cdf.dtype == np.uint32
        assert (cdf[:, 0] == 0).all()
        assert (cdf[:, -1] == 1 << 24).all()
        assert (np.diff(cdf.astype(np.int64), axis=1) > 0).all()
        symbols = (cdf[:, 1:] <= intervals.start[:, None]).sum(axis=1)
        rows = np.arange(len(cdf))
        assert np.array_equal(cdf[rows, symbols], intervals.start)
        assert np.array_equal(cdf[rows, symbols + 1] - cdf[rows, symbols], intervals.frequency)
        return symbols

    steps, answer = program.steps(), None
    for i in range(0, len(known), 2):
        mixture = steps.send(answer) if answer is not None else next(steps)
        assert np.array_equal(mixture.counts, known[i].counts)
        assert mixture.counts.sum() == len(known[i].start)
        answer = mixture.pop(read)
    with pytest.raises(StopIteration) as stop:
        steps.send(answer)
    assert same(stop.value.value, tiles)
    C, H, W = tiles[0].shape
    assert sum(len(i.start) for i in known) == 2 * C * H * W * len(tiles)


def photograph(side: int, seed: int) -> Tile:
    """Something like a photograph: 1/f in space, bright before colourful, edges, a little grain. YCoCg-R [3, H, W]."""
    random = np.random.default_rng(seed)
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    f[0, 0] = np.inf

    def field() -> NDArray[np.float64]:
        noise = np.fft.irfft2(np.fft.rfft2(random.normal(size=(side, side))) / f**1.6, (side, side))
        return noise / noise.std()

    light, edge = field(), field() > 0.3
    rgb = 120 + (45 * light + 50 * edge)[..., None] + 8 * np.stack([field(), field(), field()], -1)
    rgb = np.clip(np.rint(rgb + random.normal(0, 1.0, rgb.shape)), 0, 255).astype(np.uint8)
    return planes(rgb)


class Dequantised(causal_training.Causal):
    """The float network that the integers stand for."""

    def __init__(self, weights: Weights) -> None:
        network = Network.of(weights)
        super().__init__(network.config)
        self.exact = causal_training.float_layers(network)

    def layers(self) -> causal_training.Layers:
        return self.exact


def float_bits(model: causal_training.Causal, tile: Tile) -> float:
    return evaluate(model, [causal_training.Features(tile)], torch.device("cpu")) * tile.size


@pytest.mark.parametrize("name", SHIPPED)
def test_rates_of_shipped_models(name: str) -> None:
    """Float bits, ideal bits and words: each within half a percent of the one before; and learning saves some."""
    tile, network = photograph(160, 4), Network.of(shipped(name))
    stream = coder.encode(build(shipped(name), "native"), [tile])[0]
    (still,) = NativeCausal(network.without_learning(), 1).encode([tile], b"")
    assert still.ideal_bits == pytest.approx(float_bits(Dequantised(shipped(name)), tile), rel=0.005)
    assert stream.ideal_bits < still.ideal_bits if network.config.learning else stream.ideal_bits == still.ideal_bits
    assert 32 * len(stream.words) <= stream.ideal_bits * 1.005 + 64
    raw = 8 * tile.size
    assert stream.ideal_bits < 0.6 * raw, "a shipped model should find a photograph easy"


@pytest.mark.parametrize("seed", [0, 1])
def test_export_keeps_the_rate(seed: int) -> None:
    config = replace(SMALL, width=48, hidden=24)
    model, tile = random_model(config, seed, 1.0), photograph(96, seed)
    stream = coder.encode(build(random_weights(config, seed), "native"), [tile])[0]
    assert stream.ideal_bits == pytest.approx(float_bits(model, tile), rel=0.005)
    assert 32 * len(stream.words) <= stream.ideal_bits * 1.005 + 64


@settings(deadline=None, max_examples=30)
@given(kinds, shapes, seeds)
def test_words_are_the_ideal_bits(kind: str, shape: Shape, seed: int) -> None:
    stream = coder.encode(build(shipped("default"), "native"), [tile_of(kind, shape, seed)])[0]
    assert stream.words.dtype == np.uint32
    assert 32 * len(stream.words) <= stream.ideal_bits * 1.005 + 64


def decoded(model: ImageModel, shape: Shape, words: list[int]) -> Tile | None:
    """The tile, or None where the stream is refused with an error of lgcodec's own."""
    try:
        (tile,) = coder.decode(model, [shape], [np.array(words, np.uint32)])
    except LgcodecError:
        return None
    return tile


def check_hostile(model: ImageModel, shape: Shape, words: list[int]) -> Tile | None:
    """Refused, or the very words of what they decode to: coding is a bijection."""
    tile = decoded(model, shape, words)
    if tile is not None:
        assert tile.shape == shape
        assert tile.dtype == np.int16
        assert words_of(coder.encode(model, [tile])) == [words]
    return tile


@settings(deadline=None, max_examples=60)
@given(kinds, shapes, seeds, st.data())
def test_changed_streams_are_refused_or_hold_another_tile(
    kind: str, shape: Shape, seed: int, data: st.DataObject
) -> None:
    model = build(shipped("default"), "native")
    tile = tile_of(kind, shape, seed)
    words = coder.encode(model, [tile])[0].words.tolist()
    at = data.draw(st.integers(0, len(words)))
    changed = {
        "cut": words[:at],
        "beheaded": words[at:],
        "longer": [*words[:at], data.draw(seeds), *words[at:]],
        "flipped": [w ^ (1 << data.draw(st.integers(0, 31))) if i == at else w for i, w in enumerate(words)],
        "swapped": words[::-1],
    }[data.draw(st.sampled_from(["cut", "beheaded", "longer", "flipped", "swapped"]))]
    other = check_hostile(model, shape, changed)
    if changed != words and other is not None:
        assert not np.array_equal(other, tile)


any_words = st.one_of(
    st.lists(seeds, max_size=12),
    st.integers(0, 40).map(lambda n: [0xFFFFFFFF] * n),
    st.integers(1, 40).map(lambda n: [0] * n),
    st.integers(0, 40).map(lambda n: [0] * n + [1]),
)


@settings(deadline=None, max_examples=40)
@given(shapes, any_words)
@example((3, 5, 4), [])
@example((3, 8, 8), [0xFFFFFFFF] * 300)
@example((1, 3, 3), [0])
def test_machines_agree_on_words_that_nobody_wrote(shape: Shape, words: list[int]) -> None:
    fast, slow = (build(shipped("default"), machine) for machine in ("native", "numpy"))
    one, other = check_hostile(fast, shape, words), decoded(slow, shape, words)
    assert (one is None) == (other is None)
    assert one is None or np.array_equal(one, other)


def shapes_of(config: Config) -> dict[str, tuple[int, int]]:
    return {name: (len(low), len(limit)) for name, (limit, low, _) in config.layers().items()}


def draw_deltas(config: Config, rank: int, reach: int, seed: int) -> dict[str, Deltas]:
    """For each layer -reach..reach: its bias [O], left [rank, O], right [rank, I]."""
    random = np.random.default_rng(seed)

    def part(*shape: int) -> NDArray[np.int8]:
        return random.integers(-reach, reach + 1, shape).clip(-128, 127).astype(np.int8)

    sizes = shapes_of(config).items()
    return {name: (part(rows), part(rank, rows), part(rank, cols)) for name, (rows, cols) in sizes}


ranks = st.integers(0, MAX_RANK)
reaches = st.sampled_from([0, 1, 16, 128])


@settings(deadline=None, max_examples=30)
@given(configs, ranks, reaches, seeds)
def test_deltas_come_back(config: Config, rank: int, reach: int, seed: int) -> None:
    drawn = draw_deltas(config, rank, reach, seed)
    again = deltas.read(deltas.write(drawn), shapes_of(config))
    assert list(again) == list(drawn)
    for name, parts in drawn.items():
        assert all(np.array_equal(a, b) and a.shape == b.shape for a, b in zip(parts, again[name], strict=True)), name


@settings(deadline=None, max_examples=20)
@given(networks, batches(), seeds, st.integers(0, 2), reaches)
def test_machines_agree_on_adapted_networks(
    weights: Weights, tiles: list[Tile], seed: int, rank: int, reach: int
) -> None:
    config = Config(**weights.config)
    adaptation = deltas.write(draw_deltas(config, rank, reach, seed))
    results: list[Any] = []
    for machine in CPU:
        model = build(weights, machine)
        try:
            streams = coder.encode(model, tiles, adaptation)
        except LgcodecError as error:  # beyond the exact range
            results.append(str(error))
            continue
        results.append(words_of(streams))
        again = coder.decode(model, [t.shape for t in tiles], [s.words for s in streams], adaptation)
        assert same(again, tiles)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("machine", CPU)
def test_zero_deltas_change_nothing(machine: str, rank: int) -> None:
    weights, tiles = random_weights(SMALL, 3), [tile_of("smooth", (3, 6, 5), 1)]
    model = build(weights, machine)
    zeros = deltas.write(draw_deltas(SMALL, rank, 0, 0))
    assert words_of(coder.encode(model, tiles, zeros)) == words_of(coder.encode(model, tiles))


def raw_deltas(rank: int, body: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return bytes([rank]) + deflate.compress(body) + deflate.flush()


BIASES = sum(len(low) for _, low, _ in SMALL.layers().values())
MALFORMED = {
    "rank alone": b"\0",
    "one too few": raw_deltas(0, bytes(BIASES - 1)),
    "one too many": raw_deltas(0, bytes(BIASES + 1)),
    "of another rank": raw_deltas(1, bytes(BIASES)),
    "rank beyond": raw_deltas(MAX_RANK + 1, bytes(BIASES)),
    "cut": raw_deltas(0, bytes(BIASES))[:-1],
    "trailing": raw_deltas(0, bytes(BIASES)) + b"\0",
    "not deflate": b"\0" + bytes([0xFF] * 20),
    "a bomb": raw_deltas(0, bytes(1 << 24)),
}


@pytest.mark.parametrize("machine", CPU)
@pytest.mark.parametrize("adaptation", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_deltas_are_refused(adaptation: bytes, machine: str) -> None:
    model, tiles = build(random_weights(SMALL, 3), machine), [tile_of("smooth", (3, 6, 5), 1)]
    with pytest.raises(ModelError, match="adaptation"):
        coder.encode(model, tiles, adaptation)
    with pytest.raises(FormatError, match="adaptation"):
        coder.decode(model, [tiles[0].shape], [np.zeros(0, np.uint32)], adaptation)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=80), st.booleans())
def test_any_side_information_is_refused_or_read(data: bytes, small: bool) -> None:
    config = Config(width=1, depth=1, hidden=1, components=1, rows=1, left=1, reach=1) if small else SMALL
    try:
        found = deltas.read(data, shapes_of(config))
    except ModelError:
        return
    assert deltas.read(deltas.write(found), shapes_of(config)).keys() == found.keys()


def test_a_bias_moves_in_quarters_of_an_output_unit() -> None:
    net = Network.of(random_weights(SMALL, 3))
    assert net.adapted(b"") is net
    drawn = draw_deltas(SMALL, 0, 0, 0)
    drawn["out.0"][0][:2] = 4, -8
    moved = net.adapted(deltas.write(drawn))
    for name, layer in net.layers.items():
        wanted = layer.bias.astype(np.int64)
        if name == "out.0":
            wanted[0] += 1 << layer.shift[0]
            wanted[1] -= 2 << layer.shift[1]
        assert np.array_equal(moved.layers[name].bias, wanted), name
        assert np.array_equal(moved.layers[name].weight, layer.weight), name
        assert np.array_equal(moved.layers[name].shift, layer.shift), name


@settings(deadline=None)
@given(networks, ranks, reaches, seeds)
def test_moved_layers_are_exact_and_lose_at_most_their_shift(
    weights: Weights, rank: int, reach: int, seed: int
) -> None:
    """A row that would leave the exact range is halved: it says the same to within its new unit."""
    net = Network.of(weights)
    for name, parts in draw_deltas(net.config, rank, reach, seed).items():
        layer = net.layers[name]
        try:
            moved = deltas.move(layer, *parts)
        except ModelError:
            continue
        assert moved.bound().max() < EXACT
        assert (moved.shift <= layer.shift).all()
        bias, left, right = (p.astype(float) for p in parts)
        fine, coarse = np.exp2(-layer.shift.astype(float)), np.exp2(-moved.shift.astype(float))
        wanted = layer.weight * fine[:, None] + left.T @ right / 2**deltas.PRODUCT_BITS
        assert (np.abs(moved.weight * coarse[:, None] - wanted) <= 2 * coarse[:, None]).all()
        wanted = layer.bias * fine + bias / 2**deltas.BIAS_BITS
        assert (np.abs(moved.bias * coarse - wanted) <= 2 * coarse).all()


def test_adapting_pays_for_itself_and_decodes_everywhere() -> None:
    """An untrained network has much to gain, so something must come of it; what comes of it is the same everywhere."""
    weights, tile = random_weights(SMALL, 3), photograph(40, 2)
    model = build(weights, "native")
    adaptation = model.adapt([tile], 7)
    assert adaptation
    plain, fitted = (coder.encode(model, [tile], side)[0] for side in (b"", adaptation))
    assert fitted.ideal_bits + 8 * len(adaptation) < plain.ideal_bits
    for machine in ("numpy", "torch"):
        (again,) = coder.decode(build(weights, machine), [tile.shape], [fitted.words], adaptation)
        assert np.array_equal(again, tile)


def test_a_fit_is_bounded_by_what_it_can_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of few bits get fewer steps, or none."""
    network, tile, steps = Network.of(random_weights(SMALL, 3)), photograph(40, 2), list[int]()

    def unfitted(twin: fit.FloatNetwork, plan: fit.Plan) -> dict[str, Deltas]:
        steps.append(plan.steps)
        return {"nothing": (np.zeros(0, np.int8),) * 3}

    monkeypatch.setattr(fit, "_fit", unfitted)

    def adapt(bits: float, effort: int) -> bytes:
        return fit.adapt(causal_training.FloatNetwork, network, [tile], effort, 1, lambda tiles, side: bits)

    few = float(fit.BITS_A_STEP)
    for bits, effort in ((1e9, 7), (1e9, 9), (few * 300, 9), (few * (fit.FEWEST - 1), 9)):
        assert adapt(bits, effort) == b""  # what gains nothing is not kept
    assert steps == [150, 1000, 300]


def test_adapting_to_nothing_costs_nothing() -> None:
    model = build(random_weights(SMALL, 3), "native")
    tiny = [tile_of("noise", (3, 5, 5), 0)]
    assert model.adapt(tiny, 9) == b""
    assert model.adapt([], 9) == b""


def test_models_say_who_they_are() -> None:
    weights = random_weights(SMALL, 3)
    model = on_machine(weights, "numpy", 1)
    assert (model.name, model.wire_id, model.digest) == ("test", 255, weights.digest())
    assert model.batch > 0
    assert model.coding.fast is None
    with pytest.raises(ModelError, match="abacus"):
        on_machine(weights, "abacus", 1)


def test_an_image_is_one_tile_where_every_front_teaches() -> None:
    """As large as a file may have them; the others' are for work side by side."""
    tiles = {name: registry.load(name, machine="numpy").tile for name in SHIPPED}
    every = {n for n in SHIPPED if not causal.Network.of(registry.read(n)).config.rest}
    assert {name for name, (width, height) in tiles.items() if width * height == container.MODEL_TILE_AREA} == every
    assert "best" in every


@settings(deadline=None)
@given(configs)
def test_neighbourhoods_are_causal(config: Config) -> None:
    """Wavefronts of slope 2: a neighbour (dy, dx) is decoded by then if dx + 2 dy < 0. It lies inside the padding."""
    places = config.neighbours()
    assert len(set(places)) == len(places)
    for dy, dx in (*places, *online.TAPS, *causal.ERRORS):
        assert dx + 2 * dy < 0
        assert -online.UP <= dy <= 0
        assert -online.LEFT <= dx <= online.RIGHT


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 12))
def test_fronts_visit_each_pixel_once_and_in_time(height: int, width: int) -> None:
    when = np.full((height, width), -1)
    for t, (rows, cols, low, high) in enumerate(causal.fronts(height, width)):
        assert rows.tolist() == list(range(low, high))
        assert (when[rows, cols] == -1).all()
        when[rows, cols] = t
    assert (when >= 0).all()
    assert (when[:, 1:] > when[:, :-1]).all()
    assert (when[1:, :-1] > when[:-1, 1:]).all()
    assert (when[1:] > when[:-1]).all()


CLASSED = replace(SMALL, classes=3)
EVERY = (b"", b"\xff", b"\0", b"\1", b"\2")


@given(configs, st.integers(0, 255))
def test_classes_are_written_where_there_are_any(config: Config, classes: int) -> None:
    """So digests of networks without are what they were."""
    config = replace(config, classes=classes)
    assert Config.of(config.written()) == config
    assert ("classes" in config.written()) == (classes > 0)
    with pytest.raises(ModelError, match="classes"):
        replace(config, classes=classes + 256)


def test_a_network_without_classes_has_no_tensors_of_them() -> None:
    plain, classed = random_weights(SMALL, 3), random_weights(CLASSED, 3)
    assert classed.tensors.keys() - plain.tensors.keys() == {f"{name}.class" for name in CLASSED.classed()}
    assert set(CLASSED.classed()) == {"first", "middle.0", "middle.1", "head.0", "head.1", "head.2"}
    assert SMALL.classed() == {}
    assert Network.of(plain).choices() == []


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(configs, st.integers(0, 99), st.sampled_from([1.0, 5.0]), batches())
def test_machines_agree_on_every_class(config: Config, seed: int, scale: float, tiles: list[Tile]) -> None:
    weights = random_weights(replace(config, classes=3), seed, scale)
    slow, fast = (build(weights, machine) for machine in ("numpy", "native"))
    words = []
    for side in EVERY:
        streams = coder.encode(slow, tiles, side)
        words.append(words_of(streams))
        assert words_of(coder.encode(fast, tiles, side)) == words[-1]
        for model in (slow, fast):
            assert same(coder.decode(model, [t.shape for t in tiles], [s.words for s in streams], side), tiles)
    assert words[0] == words[1], "255 is no class"


def test_classes_differ() -> None:
    model, tile = build(random_weights(CLASSED, 3), "native"), photograph(32, 1)
    assert [*model.choices] == [b"\0", b"\1", b"\2"]
    assert len({coder.encode(model, [tile], side)[0].ideal_bits for side in EVERY}) == 4


@pytest.mark.parametrize("height", [64, 45])
def test_export_keeps_the_rate_of_a_grid(height: int) -> None:
    """Integers, and floats by crops, see where a pixel stands."""
    network, tile = Network.of(shipped("default")).without_learning(), photograph(64, 1)[:, :height]
    model = causal_training.Causal(replace(network.config, grid=1))
    causal_training.grow(model, network)
    torch.manual_seed(0)
    with torch.no_grad():
        model.first.weight[:, -causal.GRID :].normal_(0, 0.5)
    features, nats = causal_training.Features(tile), 0.0
    for y, x, rows, columns in ((0, 0, 13, 64), (13, 0, height - 13, 29), (13, 29, height - 13, 35)):
        batch = [torch.from_numpy(part.copy())[None] for part in features.crop(y, x, rows, columns)]
        with torch.inference_mode():
            nats += float(model(*batch).sum())
    (stream,), (blind,) = (
        coder.encode(build(weights, "native"), [tile])
        for weights in (causal_training.export(model, {}), shipped("default"))
    )
    assert stream.ideal_bits == pytest.approx(nats / np.log(2), rel=0.005)
    assert stream.ideal_bits > 1.02 * blind.ideal_bits


@pytest.mark.parametrize("label", [-1, 0, 1, 2])
def test_export_keeps_the_rate_of_every_class(label: int) -> None:
    model, tile = random_model(CLASSED, 3, 1.0), photograph(64, 1)
    batch = [torch.from_numpy(part.copy())[None] for part in causal_training.Features(tile).crop(0, 0, 64, 64)]
    with torch.inference_mode():
        nats = model(*batch, labels=torch.tensor([label]))
        alone = [model(*(part[:1] for part in batch), labels=torch.tensor([k])).sum() for k in (label, 2)]
        both = model(*(torch.cat([part, part]) for part in batch), labels=torch.tensor([label, 2])).sum()
    assert float(both) == pytest.approx(float(sum(alone)), rel=1e-5), "each crop has its own"
    side = bytes([label % 256])
    (stream,) = coder.encode(build(random_weights(CLASSED, 3), "native"), [tile], side)
    assert stream.ideal_bits == pytest.approx(float(nats.sum()) / np.log(2), rel=0.005)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 99), st.floats(0.1, 1e4), st.integers(1, 5))
def test_every_class_is_exact(seed: int, scale: float, classes: int) -> None:
    """However large its biases: the shifts leave room, and every layer of every class is checked when it is made."""
    torch.manual_seed(seed)
    model = causal_training.Causal(replace(SMALL, classes=classes))
    assert model.classes is not None
    with torch.no_grad():
        model.classes.normal_(0, scale)
    network = Network.of(causal_training.export(model, {}))
    for label, choice in enumerate(network.choices()):
        for name, layer in network.adapted(choice).layers.items():
            assert layer.bound().max() < EXACT
            told = model.layers()[name][1].detach().numpy()
            if name in network.classes:
                told = told + model.tables()[name][label].detach().numpy()
            row, _, add = causal_training.scales(network.config)[name]
            unit = np.exp2(layer.shift)
            wanted = (told * row + add + np.where(layer.shift > 0, 0.5, 0)) * unit
            assert np.abs(layer.bias - wanted).max() <= 0.5 + 1e-6 * np.abs(wanted).max()


def test_malformed_classes_are_refused() -> None:
    weights = random_weights(CLASSED, 3)
    table = weights.tensors["middle.1.class"]
    (O,) = Network.of(weights).layers["middle.1"].bias.shape
    beyond = table.copy()
    beyond[2, 0] = EXACT
    wrapped = table.copy()
    wrapped[0, 0] = 2**31 - 1
    for other in (table.astype(np.int16), table[:2], table[:, :-1], table.reshape(O, 3), beyond, wrapped):
        with pytest.raises(ModelError):
            Network.of(replace(weights, tensors={**weights.tensors, "middle.1.class": other}))
    with pytest.raises(ModelError, match="missing"):
        Network.of(replace(weights, tensors={k: v for k, v in weights.tensors.items() if k != "middle.1.class"}))


@pytest.mark.parametrize("machine", ["numpy", "native"])
@pytest.mark.parametrize(
    "side", [b"\3", b"\xfe", *(known + a for known in (b"\1", b"\xff") for a in MALFORMED.values())]
)
def test_malformed_class_bytes_are_refused(side: bytes, machine: str) -> None:
    model, tiles = build(random_weights(CLASSED, 3), machine), [tile_of("smooth", (3, 6, 5), 1)]
    with pytest.raises(ModelError, match="adaptation"):
        coder.encode(model, tiles, side)
    with pytest.raises(FormatError, match="adaptation"):
        coder.decode(model, [tiles[0].shape], [np.zeros(0, np.uint32)], side)


def test_a_fit_starts_from_a_class() -> None:
    """Its deltas follow the class; without a class they follow 255, and nothing is sent where they do not pay."""
    weights, tile = random_weights(CLASSED, 3), photograph(40, 2)
    model = build(weights, "native")
    for choice in (b"", b"\1"):
        adaptation = model.adapt([tile], 7, choice)
        assert adaptation[:1] == (choice or b"\xff")
        plain, fitted = (coder.encode(model, [tile], side)[0] for side in (choice, adaptation))
        assert fitted.ideal_bits + 8 * len(adaptation) < plain.ideal_bits + 8 * len(choice)
        (again,) = coder.decode(build(weights, "numpy"), [tile.shape], [fitted.words], adaptation)
        assert np.array_equal(again, tile)
        assert model.adapt([tile[:, :5]], 7, choice) == choice


def test_classes_are_grown_too() -> None:
    """A network's classes say in a larger one what they said, more of them say nothing at first."""
    network = Network.of(random_weights(CLASSED, 1))
    tile = causal_training.Features(tile_of("smooth", (3, 20, 24), 1))
    batch = [torch.from_numpy(part.copy())[None] for part in tile.crop(0, 0, 20, 24)]
    small, large = (causal_training.Causal(c) for c in (CLASSED, replace(GROWN, depth=2, components=2, classes=4)))
    causal_training.grow(large, network)
    for label, side in zip((-1, 0, 1, 2, 3), (*EVERY[1:], b""), strict=True):
        with torch.inference_mode():
            wanted = small(*batch, causal_training.float_layers(network.adapted(side))).sum()
            assert float(large(*batch, labels=torch.tensor([label])).sum()) == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.usefixtures("model_alone")
@pytest.mark.parametrize("seed", range(4))
def test_files_have_the_class_that_takes_the_fewest_bits(seed: int, tmp_path: Path) -> None:
    path, tile = tmp_path / "classed.safetensors", photograph(48, seed)[:1]
    random_weights(CLASSED, 3).write(path)
    data = lgcodec.compress(tile[0].astype(np.uint8), model=path)
    model = registry.load(path)
    bits = {side: coder.encode(model, [tile], side)[0].ideal_bits for side in (b"", *model.choices)}
    reference = container.read_header(data).model
    assert reference is not None
    assert reference.adaptation == min(bits, key=lambda side: bits[side])
    assert np.array_equal(lgcodec.decompress(data, model=path), tile[0])
