"""The VQ-VAE family: tiles come back on every machine from the same words, previews from the bases alone, hostile bytes
and weights are refused; and the Side that the causal family takes: the same in floats and on both machines.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_vqvae
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from strategies import CPU, on_machine

from lgcodec import Codec
from lgcodec.coding import coder
from lgcodec.errors import FormatError
from lgcodec.models.entropy import mixture
from lgcodec.models.errors import ModelError
from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.causal.program import Program
from lgcodec.models.families.vqvae import network as vqvae
from lgcodec.models.families.vqvae.program import BaseProgram
from lgcodec.models.interface import TOTAL, ImageModel
from lgcodec.models.layers.integer import quantise
from lgcodec.models.machines.choose import choose
from lgcodec.models.machines.numpy.executor import NumpyExecutor
from lgcodec.models.weights import Weights, read

Tile = NDArray[np.int16]
SMALL = vqvae.Config(
    pixels=causal.Config(width=12, depth=1, hidden=6, components=2, rows=1, left=1, reach=1, side=3),
    width=10, depth=4, top=5, bottom=9, encode_blocks=1, top_blocks=1, decode_blocks=1, prior=7,
)  # fmt: skip
BANDS = replace(SMALL, rows=12)
LEARNING = replace(SMALL, pixels=replace(SMALL.pixels, learning=9, rest=2, grid=1))


def random_weights(config: vqvae.Config, seed: int = 0) -> Weights:
    random = np.random.default_rng(seed)
    tensors: dict[str, NDArray[Any]] = {}

    def add(name: str, ends: Any, shift: NDArray[np.int32] | None = None) -> None:
        limit, low, high = ends
        reach = np.minimum(high - low, 1500)  # of the outputs
        weight = random.normal(size=(len(low), len(limit))) * reach[:, None] / limit / np.sqrt(len(limit))
        layer = quantise(weight, random.normal(size=len(low)) * reach * 0.1, limit, low, high, shift)
        tensors.update({f"{name}.{part}": getattr(layer, part) for part in ("weight", "bias", "shift")})

    for name, (_, ends) in config.convolutions().items():
        add(name, ends)
    for name, parts in config.pixels.layers().items():
        unit = np.full(len(parts[1]), 12 if name.startswith("out") else 10, np.int32)
        add(f"pixels.{name}", parts, unit if config.pixels.learners(name) else None)
    for level, entries in (("top", config.top), ("bottom", config.bottom)):
        tensors[f"vectors.{level}"] = random.integers(-300, 301, (entries, config.depth)).astype(np.int16)
    tables = mixture.Tables.make()
    tensors |= {"exponential": tables.exponential, "pixels.exponential": tables.exponential}
    tensors |= {"pixels.sigmoid": tables.sigmoid, "pixels.inverse": tables.inverse}
    curve = np.minimum(np.arange(4096) // 3, causal.COMPAND_LIMIT).astype(np.int32)
    tensors |= {"pixels.fine": curve, "pixels.coarse": curve}
    return Weights("vqvae", config.written(), tensors, {})


def model(config: vqvae.Config = SMALL, name: str = "numpy") -> ImageModel:
    return on_machine(random_weights(config), name, 1)


def tile(seed: int, shape: tuple[int, int, int]) -> Tile:
    random = np.random.default_rng(seed)
    low = np.array([0, -255, -255])[: shape[0], None, None]
    smooth = np.cumsum(random.integers(-9, 10, shape), axis=2) + 60
    noisy = random.integers(low, 256, shape)
    return np.clip(smooth if random.random() < 0.5 else noisy, low, 255).astype(np.int16)


@settings(deadline=None, max_examples=15)
@given(
    st.integers(0, 2**32 - 1), st.sampled_from([SMALL, BANDS]), st.sampled_from([1, 3]), st.integers(1, 40),
    st.integers(1, 37),
)  # fmt: skip
def test_tiles_of_any_shape_come_back(seed: int, config: vqvae.Config, channels: int, height: int, width: int) -> None:
    one, shape = model(config), (channels, height, width)
    value = tile(seed, shape)
    (stream,) = coder.encode(one, [value])
    (back,) = coder.decode(one, [shape], [stream.words], bases=[stream.base])
    assert back.dtype == np.int16
    assert np.array_equal(back, value)
    (preview,) = coder.preview(one, [shape], [stream.base])
    assert preview.shape == shape
    size = 32 * (len(stream.words) + len(stream.base))
    assert -60 < size - stream.ideal_bits < 130  # two stacks; the first symbol of each may be free


@pytest.mark.parametrize("config", [SMALL, BANDS, LEARNING], ids=["one band", "bands", "learning"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_machine_gives_the_same_words_and_reads_those_of_others(config: vqvae.Config, channels: int) -> None:
    shapes = [(channels, 26, 19), (channels, 9, 17)]
    tiles = [tile(i, shape) for i, shape in enumerate(shapes)]
    models = [model(config, name) for name in CPU]
    written = [coder.encode(one, tiles) for one in models]
    previews = [coder.preview(one, shapes, [s.base for s in written[0]]) for one in models]
    for one, streams, shown in zip(models, written[::-1], previews, strict=True):
        for a, b, p, q in zip(streams, written[0], shown, previews[0], strict=True):
            assert a.words.tolist() == b.words.tolist()
            assert a.base is not None
            assert b.base is not None
            assert a.base.tolist() == b.base.tolist()
            assert a.ideal_bits == pytest.approx(b.ideal_bits)
            assert np.array_equal(p, q)
        back = coder.decode(one, shapes, [s.words for s in streams], bases=[s.base for s in streams])
        assert all(np.array_equal(a, b) for a, b in zip(back, tiles, strict=True))


@pytest.mark.skipif("native" not in CPU, reason="slow without the native library")
def test_files_of_the_shipped_model_preview_from_their_beginning() -> None:
    codec, random = Codec("vqvae", tile=(64, 48)), np.random.default_rng(0)
    y, x = np.mgrid[:70, :90]
    smooth = np.stack([120 + 80 * np.sin(x / 17), 100 + y, 140 - x / 2 + 40 * np.cos(y / 11)], axis=2)
    image = np.clip(smooth + random.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
    data = codec.compress(image)
    assert np.array_equal(codec.decompress(data), image)
    preview = codec.preview(data[: len(data) // 2])
    assert ((preview.astype(float) - image) ** 2).mean() < 255**2 / 10**2.4  # 24 dB


@pytest.mark.parametrize("config", [SMALL, BANDS])
@pytest.mark.parametrize("shape", [(1, 7, 18), (3, 14, 9)])
def test_the_specification_decodes_it(config: vqvae.Config, shape: tuple[int, int, int]) -> None:
    one, value = model(config), tile(6, shape)
    (stream,) = coder.encode(one, [value])
    weights = random_weights(config)
    tensors = {name: tensor.tolist() for name, tensor in weights.tensors.items()}
    decoder = reference_vqvae.Decoder(weights.config, tensors)
    assert stream.base is not None
    assert decoder.decode(stream.base.tobytes(), stream.words.tobytes(), *shape) == value.tolist()


def test_bands_do_not_look_at_each_other() -> None:
    network = model(BANDS).network
    value = tile(3, (3, 36, 20))
    other = value.copy()
    other[:, 12:24] = tile(4, (3, 12, 20))
    a, b = network.quantise(value), network.quantise(other)
    for level in ("top", "bottom"):
        same = (getattr(a, level) == getattr(b, level)).all(axis=(1, 2))
        assert same[[0, 2]].all()


def test_the_nearest_vector_is_chosen() -> None:
    network = model().network
    z = np.random.default_rng(1).integers(-511, 512, (2, 3, 5, SMALL.depth)).astype(np.float32)
    vectors = network.vectors["bottom"].astype(np.int64)
    distance = ((z[..., None, :].astype(np.int64) - vectors) ** 2).sum(axis=-1)
    chosen = np.take_along_axis(distance, network._nearest("bottom", z)[..., None], axis=-1)[..., 0]
    assert (chosen - distance.min(axis=-1) <= 1).all()  # halves of odd squares are rounded


def test_phases_cover_every_code_once_and_look_at_known_ones() -> None:
    for level in ("top", "bottom"):
        known = np.zeros((11, 9), bool)
        for phase, reach, y, x in vqvae.phases(level):
            rows, cols = np.arange(y, 11, 2 * reach)[:, None], np.arange(x, 9, 2 * reach)
            assert not known[rows, cols].any()
            for dy, dx in vqvae.PHASES[phase - 1][1] if phase else ():
                inside = [(r + dy * reach, c + dx * reach) for r in rows[:, 0] for c in cols]
                assert all(known[r, c] for r, c in inside if 0 <= r < 11 and 0 <= c < 9)
                assert max(abs(dy * reach), abs(dx * reach)) <= vqvae.PAD
            known[rows, cols] = True
        assert known.all()


def test_tables_are_exact() -> None:
    network = model().network
    given = np.random.default_rng(2).integers(0, SMALL.limit, (2, 3, 4, SMALL.width)).astype(np.float32)
    cdf = network.cdf("bottom", 0, [given], (2, 3, 4)).astype(np.int64)
    assert cdf.shape == (24, SMALL.bottom + 1)
    assert (cdf[:, 0] == 0).all()
    assert (cdf[:, -1] == TOTAL).all()
    assert (np.diff(cdf) > 0).all()


@pytest.mark.parametrize("name", CPU)
def test_damage_is_refused(name: str) -> None:
    one, shape = model(name=name), (3, 20, 18)
    (stream,) = coder.encode(one, [tile(7, shape)])
    random = np.random.default_rng(3)
    assert stream.base is not None
    assert np.array_equal(coder.decode(one, [shape], [stream.words], bases=[stream.base])[0], tile(7, shape))
    for _ in range(8):
        base, words = (a.copy() for a in (stream.base, stream.words))
        part = base if random.random() < 0.6 else words
        part[random.integers(len(part))] ^= np.uint32(1 << random.integers(32))
        with pytest.raises(FormatError):
            coder.decode(one, [shape], [words], bases=[base])
    for base in (stream.base[:-1], stream.base[:0], np.zeros(3, np.uint32), np.full(40, 2**32 - 1, np.uint32)):
        with pytest.raises(FormatError):
            coder.decode(one, [shape], [stream.words], bases=[base])
    with pytest.raises(FormatError):
        coder.preview(one, [shape], [np.append(stream.base, stream.base)])


def test_tiles_of_too_many_codes_are_refused() -> None:
    with pytest.raises(FormatError):
        coder.preview(model(), [(1, 1 << 18, 1)], [np.zeros(0, np.uint32)])


def refused(weights: Weights) -> None:
    with pytest.raises(ModelError):
        on_machine(weights, "numpy", 1)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0}, {"width": "10"}, {"top": 2}, {"bottom": 5000}, {"rows": -1}, {"limit": True}, {"tile": [0, 5]},
        {"tile": "ab"}, {"tile": [1 << 12, 1 << 12]}, {"pixels": None}, {"pixels": {}}, {"more": 1}, {"prior": 1.5},
        {"pixels": {**asdict(SMALL.pixels), "side": 0}}, {"width": 11}, {"width": 1}, {"depth": 5}, {"tile": [True, 2]},
    ],
)  # fmt: skip
def test_a_config_that_is_none_is_refused(change: dict[str, Any]) -> None:
    weights = random_weights(SMALL)
    refused(replace(weights, config={**weights.config, **change}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vectors.top", np.full((5, 4), 512, np.int16)),
        ("vectors.top", np.full((5, 4), -32768, np.int16)),
        ("vectors.bottom", np.zeros((5, 4), np.int16)),
        ("vectors.top", np.zeros((5, 4), np.int32)),
        ("exponential", np.zeros(384, np.int32)),
        ("exponential", np.arange(384, dtype=np.int32)),
        ("exponential", np.full(384, 1 << 20, np.int32)),
        ("exponential", np.full(3, 1, np.int32)),
        ("patch.weight", np.full((10, 192), 32767, np.int16)),
        ("decode.0.wide.weight", np.zeros((5, 10), np.int16)),
        ("pixels.first.shift", np.full(12, 40, np.int32)),
        ("pixels.fine", np.full(4096, 600, np.int32)),
    ],
)
def test_weights_that_are_none_are_refused(name: str, value: NDArray[Any]) -> None:
    weights = random_weights(SMALL)
    refused(replace(weights, tensors={**weights.tensors, name: value}))


def test_missing_weights_are_refused() -> None:
    weights = random_weights(SMALL)
    for name in ("vectors.top", "exponential", "prior.top.out.bias", "pixels.linear.weight"):
        refused(replace(weights, tensors={n: t for n, t in weights.tensors.items() if n != name}))


@pytest.mark.skipif("torch" not in CPU, reason="needs torch")
def test_the_float_network_is_the_integer_one() -> None:
    import torch

    from lgcodec.models.families.vqvae.floats import SAMPLE_UNIT, Base, Pixels, Prior, SideFeatures, export, normal

    torch.manual_seed(0)
    config = replace(SMALL, width=16, depth=8, prior=16)
    base, prior, pixels = (part(config) for part in (Base, Prior, Pixels))
    for book in (base.top, base.bottom):
        book.vectors.mul_(0.5)
    weights = export(base.eval(), prior, pixels, {})
    network = vqvae.Network(weights, choose(machine="numpy").convolutions)
    value = np.cumsum(np.random.default_rng(5).integers(-5, 6, (3, 64, 48)), axis=2).astype(np.int16)
    value[0] += 100
    with torch.inference_mode():
        o = base(normal(value)[None])
    codes, side = network.quantise(value), network.side(network.quantise(value), value.shape)
    assert (codes.top == o["top"].numpy()).mean() > 0.9
    picture = o["picture"][0].numpy() * 8 * SAMPLE_UNIT + [1024, 0, 0]
    assert np.median(np.abs(picture - side.picture)) < 12

    features = SideFeatures(value, network)
    parts = [torch.from_numpy(part)[None] for part in features.crop(0, 0, 64, 48)]
    with torch.inference_mode():
        nats = float(pixels(*parts).sum())
    program = Program(network.pixels, NumpyExecutor(), [(3, 64, 48)], [side])
    bits = sum(part.ideal_bits() for mixed, x in program.symbols([value]) for part in mixed.intervals(x))
    assert bits == pytest.approx(nats / np.log(2), rel=0.005)

    vectors = [
        book.vectors[torch.from_numpy(index)] for book, index in zip((base.top, base.bottom), codes, strict=True)
    ]
    t = torch.from_numpy(network.condition(codes.top) / 2.0**config.fraction)
    with torch.inference_mode():
        nats = float(prior("top", torch.from_numpy(codes.top), vectors[0], None))
        nats += float(prior("bottom", torch.from_numpy(codes.bottom), vectors[1], t.float()))
    tables = BaseProgram(network, value.shape).symbols(codes)
    bits = sum(part.ideal_bits() for table, symbols in tables for part in table.intervals(symbols))
    assert bits == pytest.approx(nats / np.log(2), rel=0.01)


@pytest.mark.skipif(not {"torch", "native"} <= set(CPU), reason="needs torch and the native library")
@pytest.mark.parametrize("small", [False, True])
def test_a_training_run_writes_weights_that_code(small: bool, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from lgcodec.models.families.vqvae.training import command

    random = np.random.default_rng(0)
    digits = random.integers(0, 256, (30, 28, 28)).astype(np.uint8)
    np.savez(tmp_path / "digits.npz", train=np.repeat(digits, 50, axis=0))
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(random.integers(0, 256, (66, 70, 3)).astype(np.uint8)).save(folder / f"{i}.png")
    data, out = str(tmp_path / "digits.npz" if small else folder), tmp_path / "mine.safetensors"
    sizes = ["--width", "16", "--depth", "8", "--top", "8", "--bottom", "8", "--prior", "8", "--pixels", "16"]
    sizes += ["--crop", "32", "--batch", "4", "--start", "none"]
    run = ["--data", data, "--held-out", data, "--out", str(out), "--steps", "3", "--threads", "1", *sizes]
    result = CliRunner().invoke(command, run)
    assert result.exit_code == 0, result.output
    weights = read(out.read_bytes(), "mine")
    assert weights.card["integer_bpd"] > 0
    one, shape = on_machine(weights, "numpy", 1), (1, 30, 28)
    (stream,) = coder.encode(one, [tile(0, shape)])
    assert np.array_equal(coder.decode(one, [shape], [stream.words], bases=[stream.base])[0], tile(0, shape))
