"""Every machine codes the causal family's golden files to the same bytes, and a decoder written from FORMAT.md alone
decodes them.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from numpy.typing import NDArray
from strategies import each_machine

from lgcodec import Codec, colour, container
from lgcodec.boxes import tile_boxes
from lgcodec.coding import coder
from lgcodec.image import MODES
from lgcodec.models import registry, weights
from lgcodec.models.adaptation import deltas
from lgcodec.models.families.causal import network as causal
from lgcodec.models.interface import ImageModel
from lgcodec.models.layers import learning
from lgcodec.models.layers.integer import EXACT, LearningLayer
from lgcodec.models.machines.numpy.learning import Learner

GOLDEN = Path(__file__).parent / "golden"
WEIGHTS = GOLDEN / "tiny.safetensors"
FILES = sorted(GOLDEN.glob("model-*.lgc"))
MODE_OF = {(): 1, (1,): 7, (3,): 4}  # by the array's shape after height and width
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def _golden_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LGCODEC_WEIGHTS", str(GOLDEN))


def named(path: Path) -> str:
    """The name or path of the weights that a file needs."""
    model = container.read_header(path.read_bytes()).model
    assert model is not None
    return registry.find(model.wire_id, model.digest)


def pixels_of(path: Path) -> NDArray[Any]:
    pixels: NDArray[Any] = np.load(path.with_suffix(".npy"))
    return pixels


def file_of(
    model: ImageModel, pixels: NDArray[np.uint8], transform: int, tile: tuple[int, int], adaptation: bytes = b""
) -> bytes:
    """The file of uint8 [H, W], [H, W, 1] or [H, W, 3] all whose tiles are coded by the model: nothing is chosen."""
    mode = MODES[MODE_OF[pixels.shape[2:]]]
    samples = pixels.reshape(*pixels.shape[:2], -1)
    height, width = samples.shape[:2]
    (component,) = colour.components(mode, transform)
    boxes = tile_boxes(width, height, *tile)
    tiles = [colour.forward(component.take(samples[y0:y1, x0:x1]), transform) for x0, y0, x1, y1 in boxes]
    streams = [coder.encode(model, [planes], adaptation)[0] for planes in tiles]
    ideal = round(sum(stream.ideal_bits for stream in streams))
    return container.write(
        mode=mode,
        depth=8,
        size=(width, height),
        transform=transform,
        digest=hashlib.sha256(samples.tobytes()).digest()[: container.DIGEST_SIZE],
        chunks=(),
        model=container.ModelReference(model.wire_id, model.digest[: container.MODEL_DIGEST_SIZE], adaptation, ideal),
        tiles=[tile],
        streams=[(0, stream.words.astype("<u4").tobytes()) for stream in streams],
    )


@each_file
@each_machine
def test_pixels_give_the_golden_bytes_again(path: Path, machine: str) -> None:
    data = path.read_bytes()
    header = container.read_header(data)
    assert header.model is not None
    model = registry.load(named(path), machine=machine, threads=1)
    again = file_of(model, pixels_of(path), header.content.transform, header.content.sizes[0], header.model.adaptation)
    assert again == data


@each_machine
def test_compress_gives_the_golden_bytes_again(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In that file's order of channels, whichever an encoder would choose."""
    monkeypatch.setattr("lgcodec.colour.MIDDLES", (2,))
    path = GOLDEN / "model-tiles.lgc"
    tile = container.read_header(path.read_bytes()).content.sizes[0]
    codec = Codec(registry.load(WEIGHTS, machine=machine, threads=1), tile=tile, effort=2)
    assert codec.compress(pixels_of(path)) == path.read_bytes()


@pytest.mark.parametrize("path", [path for path in FILES if "best" not in path.stem], ids=lambda path: path.stem)
def test_reference_decoder_agrees(path: Path) -> None:
    pixels = pixels_of(path)
    shipped, name = files("lgcodec.models") / "weights", named(path)
    weights = Path(name) if name.endswith(".safetensors") else shipped / f"{name}.safetensors"
    width, height, channels, samples = reference.decode(path.read_bytes(), weights.read_bytes())
    assert (height, width, channels) == pixels.reshape(*pixels.shape[:2], -1).shape
    assert samples == pixels.tobytes()


SHAPES = ((1, 1, 3), (1, 9, 3), (8, 1, 3), (7, 9, 3), (5, 6), (5, 2, 1))
KINDS = ("noise", "extremes", "opposed", "steep")


def loud_picture(kind: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """What the clamps are for: jumps, red against blue at the same brightness, growth beyond any weight's limit."""
    random = np.random.default_rng(sum(shape))
    if kind == "noise":
        pixels = random.integers(0, 256, shape)
    elif kind == "extremes":
        pixels = random.choice([0, 255], shape)
    elif kind == "opposed":
        pixels = np.where(random.integers(0, 2, shape[:2]) > 0, 255, 0)[(...,) + (None,) * (len(shape) - 2)]
        pixels = np.abs(pixels - np.array([0, 127, 255])[: (*shape, 1)[2]]) if len(shape) > 2 else pixels
    elif kind == "flat":
        pixels = np.full(shape, 100)
    else:
        pixels = np.resize([0, 1, 6, 36, 216], shape[1::-1]).T[(...,) + (None,) * (len(shape) - 2)] + np.zeros(shape)
    return pixels.astype(np.uint8)


def loud_weights(folder: Path) -> Path:
    """The golden model with its outputs 64 times as large. Shifts do not enter the exact range."""
    quiet = weights.read(WEIGHTS.read_bytes(), "tiny")
    tensors = dict(quiet.tensors)
    for name in ("linear.shift", "out.0.shift", "out.1.shift", "out.2.shift"):
        tensors[name] = np.maximum(tensors[name] - 6, 0)
    replace(quiet, tensors=tensors).write(folder / "loud.safetensors")
    return folder / "loud.safetensors"


def passing_weights(folder: Path, context: int = 3) -> Path:
    """The golden model with features passed on to later pixels, by weights as large as the exact range leaves room."""
    quiet, random = weights.read(WEIGHTS.read_bytes(), "tiny"), np.random.default_rng(1)
    config, tensors = {**quiet.config, "context": context}, dict(quiet.tensors)
    for i in range(config["depth"]):
        layer = causal.Network.of(quiet).layers[f"middle.{i}"]
        room = (EXACT - 1 - layer.bound()) // (4 * context * config["limit"])
        more = random.integers(-1, 2, (len(room), 4 * context)) * np.minimum(room, 32767)[:, None]
        tensors[f"middle.{i}.weight"] = np.concatenate([layer.weight, more], axis=1).astype(np.int16)
    replace(quiet, config=config, tensors=tensors).write(folder / "passing.safetensors")
    return folder / "passing.safetensors"


def classed_weights(folder: Path, classes: int = 3) -> Path:
    """The golden model with classes, of biases as large as the exact range leaves room."""
    quiet, random = weights.read(WEIGHTS.read_bytes(), "tiny"), np.random.default_rng(2)
    config, tensors = {**quiet.config, "classes": classes}, dict(quiet.tensors)
    network = causal.Network.of(quiet)
    for name in causal.Config.of(config).classed():
        room = EXACT - 1 - network.layers[name].bound()
        tensors[f"{name}.class"] = random.integers(-room, room + 1, (classes, len(room))).astype(np.int32)
    replace(quiet, config=config, tensors=tensors).write(folder / "classed.safetensors")
    return folder / "classed.safetensors"


def learning_weights(folder: Path, rate: int, *, loud: bool = False) -> Path:
    """The golden model with features passed on, classes and a grid, and weights that learn.

    loud: biases so large that sums wrap after a step, and log scales of 0, of means that are a little off.
    """
    quiet = weights.read(passing_weights(folder).read_bytes(), "tiny")
    rest = {"rest": 2} if rate == 4 else {}
    config = causal.Config.of({**quiet.config, "classes": 2, "grid": 1, "learning": rate, **rest})
    tensors = dict(quiet.tensors)
    random = np.random.default_rng(3)
    more = random.integers(-50, 51, (config.width, causal.GRID)).astype(np.int16)
    tensors["first.weight"] = np.hstack([tensors["first.weight"], more])
    for name, (_, low, _) in config.layers().items():
        if name in config.classed():
            tensors[f"{name}.class"] = random.integers(-50, 51, (2, len(low))).astype(np.int32)
        if config.learners(name):
            unit = causal.output_units(config)[0] if name.startswith("out") else np.full(len(low), 2.0**config.fraction)
            shift = learning.FRACTION + learning.ACTIVATION - np.log2(unit)
            scale = 2.0 ** (shift - tensors[f"{name}.shift"])[:, None]
            weight = np.clip(np.rint(tensors[f"{name}.weight"] * scale), -32767, 32767)
            bias = np.rint(tensors[f"{name}.bias"] * scale[:, 0])
            if loud and name.startswith("out"):
                K = config.components
                weight[K : 2 * K], bias[K : 2 * K], bias[2 * K] = 0, 19.5 * 2**8, -(1 << 28)
            elif loud:
                brimming = random.integers(0, 3, len(bias)) == 0
                weight[brimming], bias[brimming] = 0, (1 << 31) - 1 - 50
            tensors[f"{name}.weight"], tensors[f"{name}.bias"] = weight.astype(np.int16), bias.astype(np.int32)
            tensors[f"{name}.shift"] = shift.astype(np.int32)
    path = folder / f"learning-{rate}-{loud}.safetensors"
    replace(quiet, config=config.written(), tensors=tensors).write(path)
    return path


def loud_adaptation(config: causal.Config) -> bytes:
    random = np.random.default_rng(0)
    sizes = {name: (len(low), len(limit)) for name, (limit, low, _) in config.layers().items()}
    parts = {name: (O, (2, O), (2, I)) for name, (O, I) in sizes.items()}
    loud = {name: tuple(random.integers(-128, 128, p).astype(np.int8) for p in part) for name, part in parts.items()}
    return deltas.write(loud)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_reference_decoder_agrees_where_it_is_loud(shape: tuple[int, ...], kind: str, tmp_path: Path) -> None:
    pixels = loud_picture(kind, shape)
    loud, passing, classed = loud_weights(tmp_path), passing_weights(tmp_path), classed_weights(tmp_path)
    configs = {path: causal.Config.of(weights.read(path.read_bytes(), "").config) for path in (loud, passing)}
    drawn = loud_adaptation(configs[loud])
    transform, tile = 5 if shape[2:] == (3,) else 1, (shape[1], shape[0])
    cases = ((WEIGHTS, b""), *((path, side) for path in configs for side in (b"", loud_adaptation(configs[path]))))
    kinds = ((classed, side) for side in (b"", b"\2", b"\xff" + drawn, b"\0" + drawn))
    for model, adaptation in (*cases, *kinds):
        data = file_of(registry.load(model, machine="numpy"), pixels, transform, tile, adaptation)
        assert reference.decode(data, model.read_bytes())[3] == pixels.tobytes()


@pytest.mark.parametrize("shape", [(7, 9, 3), (8, 1, 3), (5, 6)], ids=str)
@pytest.mark.parametrize("kind", ["noise", "extremes", "flat"])
def test_reference_decoder_learns(shape: tuple[int, ...], kind: str, tmp_path: Path) -> None:
    pixels, transform = loud_picture(kind, shape), 3 if shape[2:] == (3,) else 1
    for rate, loud in ((12, False), (4, False), (1, True)):
        path = learning_weights(tmp_path, rate, loud=loud)
        model = registry.load(path, machine="numpy")
        config = causal.Config.of(weights.read(path.read_bytes(), "").config)
        for adaptation in (b"", b"\1" + loud_adaptation(config)):
            data = file_of(model, pixels, transform, (min(shape[1], 5), shape[0]), adaptation)
            assert reference.decode(data, path.read_bytes())[3] == pixels.tobytes()


@pytest.mark.parametrize("seed", range(40))
def test_reference_layers_learn_alike(seed: int) -> None:
    """Wherever moments, weights and sums have got to: what takes long to happen in a file."""
    random = np.random.default_rng(seed)
    O, I, n = random.integers(1, 30, 3)
    own, rate, most = int(random.integers(1, I + 1)), int(random.integers(1, 21)), 2 ** int(random.integers(6, 44))
    weight = random.integers(-32767, 32768, (O, I)).astype(np.int16)
    weight[::2] = 32767
    ends = [np.full(O, end, np.int32) for end in (0, 8191)]
    bias, shift, limit = random.integers(-(1 << 20), 1 << 20, O), np.full(O, 10, np.int32), np.full(I, 2000, np.int32)
    layer = Learner(LearningLayer(weight, bias.astype(np.int32), shift, limit, *ends), 1, own, rate)
    parts = (weight.tolist(), bias.tolist(), shift.tolist(), [(0, 8191)] * O, limit.tolist(), 1 << 31)
    other = reference.Learner(reference.Layer(*parts), own, rate)
    layer.rows[:], layer.columns[:] = random.integers(0, most, (1, O)), random.integers(0, most, (1, own))
    layer.rows[0, 0] = 1 << 42
    other.row, other.column = layer.rows[0].tolist(), layer.columns[0].tolist()
    for near in (8191, 1, 8191):
        inputs, size = random.integers(near // 2, near + 1, (n, I)), 32767 >> int(random.integers(0, 16))
        errors = random.integers(-size, size + 1, (n, O))
        errors[:, ::2] = random.choice([-size, size])
        assert layer.apply(inputs.astype(np.float32)).tolist() == [other(a) for a in inputs.tolist()]
        sums = layer.backward(errors[None])[0]
        assert learning.back(sums).tolist() == [[reference.back(a) for a in other.back(e)] for e in errors.tolist()]
        other.step(inputs.tolist(), errors.tolist())
        assert layer.weight[0].T.tolist() == other.weight
        assert (layer.rows[0].tolist(), layer.columns[0].tolist()) == (other.row, other.column)
