"""The GPU's kernels: the words, layers and tiles of the CPU machines, under Triton's interpreter where there is no GPU.

And with a GPU: files made on either side decode on the other, for all models that ship.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from strategies import on_machine

from lgcodec import Codec
from lgcodec.coding import coder
from lgcodec.coding.explicit import push_program
from lgcodec.errors import ModelError
from lgcodec.models import registry, weights
from lgcodec.models.adaptation import deltas
from lgcodec.models.entropy import mixture
from lgcodec.models.families.causal import floats as causal_training
from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.causal.on_triton import GpuCausal
from lgcodec.models.families.causal.program import Program
from lgcodec.models.families.flow import network as flow
from lgcodec.models.families.flow.floats import Flow, export
from lgcodec.models.families.flow.on_triton import GpuFlow
from lgcodec.models.interface import ImageModel, Intervals
from lgcodec.models.layers import learning
from lgcodec.models.layers.integer import LearningLayer, quantise
from lgcodec.models.machines.numpy.executor import NumpyExecutor
from lgcodec.models.machines.numpy.learning import Learner, mixture_errors
from lgcodec.models.machines.numpy.stack import Stack
from lgcodec.models.machines.triton import learning as gpu_learning
from lgcodec.models.machines.triton.layers import Products, stacked, unrounded
from lgcodec.models.machines.triton.mixtures import Tables
from lgcodec.models.machines.triton.stack import Lanes, share, to_device

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
CUDA = torch.cuda.is_available()
triton = pytest.importorskip("triton", reason="triton is not installed")
tl = triton.language
DEVICE = torch.device("cuda" if CUDA else "cpu")
needs_cuda = pytest.mark.skipif(not CUDA, reason="no CUDA device here")
Tile = NDArray[np.int16]
TABLES = mixture.Tables.make()


def zeros(*shape: int) -> Any:
    return torch.zeros(shape, dtype=torch.int32, device=DEVICE)


def integer(value: int) -> Any:
    return to_device(np.array([value], np.int32), DEVICE)


def smooth(shape: tuple[int, int, int], seed: int) -> Tile:
    """A tile [C, H, W] of steps that no table expects much of."""
    random = np.random.default_rng(seed)
    tile = np.cumsum(random.integers(-20, 21, shape), axis=2).clip(-255, 255).astype(np.int16)
    tile[0] = (tile[0] + 100).clip(0, 255)
    return tile


@pytest.mark.parametrize(("size", "origin", "rows"), [(256, 0, 1), (512, -256, 7)])
def test_lanes_have_the_words_of_the_stack(size: int, origin: int, rows: int) -> None:
    random, lanes, K = np.random.default_rng(rows), 3, 3
    n = lanes * rows
    logit, mean = random.integers(-300, 300, (K, n)), random.integers(-64 * 300, 64 * 300, (K, n))
    mixed = mixture.Mixture.of(TABLES, logit, mean, random.integers(0, 161, (K, n)), size, origin)
    values = random.integers(0, size, n)
    values[0], values[-1] = 0, size - 1

    parameters = to_device(np.concatenate([mixed.mean, mixed.inverse, mixed.weight]).T.astype(np.int32), DEVICE)
    high, low = (to_device(part.astype(np.int32), DEVICE) for part in (values >> 4, values & 15))
    made, count, table = Tables(TABLES, K, DEVICE), integer(rows), [zeros(n, size // 16), zeros(n, 16)]
    alphabet = made.high(parameters, count, lanes, size, origin, table[0])
    made.low(parameters, high, count, lanes, size, origin, table[1])
    assert np.array_equal(table[0].cpu(), mixed.high_table()[:, :-1])
    assert np.array_equal(table[1].cpu(), mixed.low_table(values >> 4)[:, :-1])

    starts, frequencies = zeros(lanes, 2 * rows), zeros(lanes, 2 * rows)
    share(table[0], count, high, alphabet, lanes, integer(0), 0, starts, frequencies)
    share(table[1], count, low, 16, lanes, integer(0), 1, starts, frequencies)
    stacks = Lanes(DEVICE, lanes, 2 * rows)
    stacks.push(starts, frequencies)
    words = stacks.words()
    for lane, got in enumerate(words):
        stack, part = Stack(), slice(lane * rows, lane * rows + rows)
        for known in reversed(mixed.intervals(values + origin)):
            stack.push(Intervals(known.start[part], known.frequency[part], np.array([rows])))
        assert np.array_equal(got, stack.words())

    stacks, popped = Lanes(DEVICE, words, 2 * rows), [zeros(n), zeros(n)]
    stacks.pop(table[0], count, popped[0], alphabet)
    stacks.pop(table[1], count, popped[1], 16)
    assert torch.equal(popped[0], high)
    assert torch.equal(popped[1], low)
    assert stacks.are_empty()


def test_a_stack_that_no_encoder_writes_is_refused() -> None:
    with pytest.raises(ModelError, match="zero word"):
        Lanes(DEVICE, [np.array([1, 2], np.uint32), np.array([5, 0], np.uint32)], 9)


@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize("limit", [2047, 4095])
def test_products_are_the_layers_of_numpy(halves: bool, limit: int) -> None:
    random = np.random.default_rng(limit)
    limits, low, high = np.full(37, limit, np.int32), np.zeros(21, np.int32), np.full(21, limit, np.int32)
    layer = quantise(random.normal(0, 0.2, (21, 37)), random.normal(0, 100, 21), limits, low, high)
    a = random.integers(0, limit + 1, (35, 37)).astype(np.float32)
    expected, products = NumpyExecutor(), Products(DEVICE, halves=halves)
    y = expected.apply(expected.load(layer), a)
    loaded = products.load(layer)
    assert loaded.passes == (0 if not halves else 1 if limit == 2047 else 2)
    assert np.array_equal(products.numpy(products.apply(loaded, products.array(a))), y)

    before = random.integers(0, limit + 1, y.shape).astype(np.float32)
    out = products.array(np.full_like(y, -1))
    products.run(loaded, products.array(a), out, integer(33), products.array(before), limit)
    assert np.array_equal(out.cpu()[:33], np.minimum(before + y, limit)[:33])
    assert (out[33:] == -1).all()

    sums = stacked([unrounded(layer, 30), unrounded(layer, 30)])
    both = products.numpy(products.apply(products.load(sums), products.array(a[:, :30])))
    exact = a[:, :30].astype(int) @ layer.weight[:, :30].T.astype(int) + layer.bias
    assert np.array_equal(both, np.concatenate([exact, exact], axis=1))


@triton.jit
def _dot(a, b, out, D: tl.constexpr):
    i, k = tl.arange(0, 16), tl.arange(0, D)
    left, right = tl.load(a + i[:, None] * D + k[None, :]), tl.load(b + k[:, None] * 16 + i[None, :])
    tl.store(out + i[:, None] * 16 + i[None, :], gpu_learning.exact_dot(left, right))


@pytest.mark.parametrize("ends", [(-32768, 32768), (32767, 32768), (-32768, -32767), (255, 256)], ids=str)
def test_products_of_sixteen_bits_wrap_as_integers_do(ends: tuple[int, int]) -> None:
    random, deep = np.random.default_rng(0), gpu_learning.MOST_HIDDEN
    a, b = random.integers(*ends, (16, deep)), random.integers(*ends, (deep, 16))
    out = zeros(16, 16)
    _dot[(1,)](to_device(a.astype(np.int32), DEVICE), to_device(b.astype(np.int32), DEVICE), out, D=deep)
    assert np.array_equal(out.cpu(), (a @ b).astype(np.int32))
    gpu_learning.check_exact(DEVICE)


def learners(own: int, tiles: int, front: Any) -> tuple[list[Learner], gpu_learning.Learner]:
    """Two layers of more inputs, outputs and pixels than a program takes, on numpy and on the device."""
    random, inputs, outputs = np.random.default_rng(own), 41, 70
    low, high, limit, shift = (np.full(n, value, np.int32) for n, value in (
        (outputs, 0), (outputs, 4095), (inputs, 4095), (outputs, learning.FRACTION)
    ))  # fmt: skip
    layers = []
    for _ in range(2):
        weight, bias = random.integers(-600, 601, (outputs, inputs)), random.integers(-9000, 9000, outputs)
        layers.append(LearningLayer(weight.astype(np.int16), bias.astype(np.int32), shift, limit, low, high))
    trained = gpu_learning.Trained.load(layers, own, DEVICE)
    reference = [Learner(layer, tiles, own, 3) for layer in layers]
    return reference, gpu_learning.Learner(trained, 3, tiles, 100, front)


@pytest.mark.parametrize(("own", "scale"), [(24, 20), (41, 32767)])
def test_layers_learn_as_those_of_numpy(own: int, scale: int) -> None:
    """Gently, and up to all limits."""
    random, tiles, front = np.random.default_rng(own), 2, zeros(4)
    expected, got = learners(own, tiles, front)
    for n in (1, 100, 0, 3):
        front[2], front[3], rows = n, tiles * n, max(tiles * n, 1)
        a = random.integers(0, 4096, (2, rows, 80)).astype(np.float32)
        errors = random.integers(-scale, scale + 1, (2, rows, 70)).astype(np.int16)
        inputs = to_device(a, DEVICE)
        out, kept = torch.zeros((2, 2, rows, 140), dtype=torch.float32, device=DEVICE)
        got.apply(0, inputs[0], out[0])
        got.apply(1, inputs[1], out[1], 5000, kept[1])
        got.learn(2, inputs, to_device(errors, DEVICE), inputs.stride(0), errors[0].size)
        if n:
            y = [learner.apply(part[:, :41]) for learner, part in zip(expected, a, strict=True)]
            assert np.array_equal(out[0, :, :70].cpu(), y[0])
            assert np.array_equal(out[1, :, :70].cpu(), np.minimum(y[1] + a[1, :, :70], 5000))
            assert np.array_equal(kept[1].cpu().reshape(-1)[: y[1].size], y[1].reshape(-1))
            for learner, part in zip(expected, errors, strict=True):
                learner.backward(part.reshape(tiles, n, 70).astype(np.int64))
        for i, learner in enumerate(expected):
            for name in ("weight", "master", "rows", "columns"):
                assert np.array_equal(getattr(got, name)[:, i].cpu(), getattr(learner, name)), (n, i, name)


def test_sums_are_side_by_side() -> None:
    expected, got = learners(24, 1, to_device(np.array([0, 0, 7, 7], np.int32), DEVICE))
    a, sums = np.random.default_rng(0).integers(0, 4096, (7, 41)), zeros(7, 140)
    got.sums(2, to_device(a.astype(np.float32), DEVICE), sums)
    assert np.array_equal(sums.cpu(), np.concatenate([a @ e.weight[0] + e.layer.bias for e in expected], axis=1))


@pytest.mark.parametrize("channel", [0, 1])
def test_errors_of_mixtures_are_those_of_numpy(channel: int) -> None:
    random, K, n = np.random.default_rng(channel), 3, 50
    size, origin = causal.SIZES[channel], causal.ORIGINS[channel]
    values = random.integers(0, size, n)
    values[:2] = 0, size - 1
    mean = 64 * (values + origin) + random.integers(-200, 201, (K, n))
    mean[:, 2] += 64 * 200  # next to impossible
    log_scale, spread = random.choice([0, 3, 40, 90, 160], (K, n)), random.integers(-4000, 4001, n)
    mixed = mixture.Mixture.of(TABLES, random.integers(-99, 100, (K, n)), mean, log_scale, size, origin)
    expected = mixture_errors(mixed, values + origin, log_scale, 160, spread)

    def both(a: NDArray[Any], kind: type) -> Any:
        """Where channel 1 is looked for, if it is that, else at the beginning."""
        return to_device(np.stack([a] * (channel + 1)).astype(kind), DEVICE)

    parameters = np.concatenate([mixed.mean, mixed.inverse, mixed.weight]).T
    front = to_device(np.array([0, 0, n, n], np.int32), DEVICE)
    errors = torch.zeros((channel + 1, n, 3 * K + 1), dtype=torch.int16, device=DEVICE)
    gpu_learning.mixture_errors(
        front, channel + 1, both(parameters, np.int32), both(log_scale.T, np.int32), both(values >> 4, np.int32),
        both(values & 15, np.int32), both(spread, np.float32), Tables(TABLES, K, DEVICE).sigmoid, 160, errors,
    )  # fmt: skip
    assert np.array_equal(errors[channel].cpu(), expected)
    assert np.abs(expected).max() == learning.ERROR_LIMIT


CONFIG = {"width": 20, "depth": 2, "hidden": 8, "components": 2, "rows": 2}


def untrained(**config: int) -> weights.Weights:
    torch.manual_seed(1)
    network = causal_training.Causal(causal.Config(**CONFIG, **config))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)  # loud, so that limits are met
    return causal_training.export(network, {})


def machines(**config: int) -> tuple[ImageModel, GpuCausal]:
    """An untrained network on numpy and on the device."""
    reference = on_machine(untrained(**config), "numpy", 1)
    return reference, GpuCausal(reference.network, str(DEVICE))


@pytest.mark.parametrize(
    ("shapes", "options"),
    [
        ([(3, 2, 3)], {}),
        ([(1, 2, 3), (3, 1, 1), (1, 2, 3)], {}),  # two shapes, two batches
        ([(1, 4, 5)], {"context": 5}),  # long enough for all that is kept by front to come round
        ([(1, 3, 1)], {"context": 5, "learning": 3}),  # fronts without a pixel
        ([(3, 2, 3)], {"grid": 1, "learning": 3}),
        ([(1, 3, 9), (1, 3, 9)], {"context": 5, "grid": 1, "learning": 9, "rest": 2}),  # each tile learns alone
    ],
)
def test_causal_tiles_are_coded_as_by_numpy(shapes: list[tuple[int, int, int]], options: dict[str, int]) -> None:
    check(*machines(**options), [smooth(shape, i) for i, shape in enumerate(shapes)])


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_that_see_a_picture_are_coded_as_by_numpy(channels: int) -> None:
    given = untrained(side=3, grid=1, learning=3)
    network = causal.Network.build(causal.Config.of(given.config), given.tensors)
    random, shapes = np.random.default_rng(channels), [(channels, 2, 3), (channels, 1, 2), (channels, 2, 3)]
    tiles = [smooth(shape, i) for i, shape in enumerate(shapes)]
    sides = []
    for _, H, W in shapes:
        picture = random.integers(-2040, 2041, (H, W, 3)).astype(np.int16)
        picture[..., 0], picture[..., channels:] = np.abs(picture[..., 0]), 0
        sides.append(causal.Side(picture, random.integers(0, 512, (H, W, 3)).astype(np.int16)))
    core = GpuCausal(network, str(DEVICE))
    streams = core.encode(tiles, b"", sides)
    for tile, shape, side, stream in zip(tiles, shapes, sides, streams, strict=True):
        program = Program(network, NumpyExecutor(), [shape], [side])
        assert np.array_equal(stream.words, push_program(program, [tile])[0].words)
    back = core.decode(shapes, [stream.words for stream in streams], b"", sides)
    assert all(np.array_equal(a, b) for a, b in zip(back, tiles, strict=True))


FLOW = {"width": 12, "depth": 1, "hidden": 6, "components": 2}


@pytest.mark.parametrize(
    ("config", "shapes"),
    [
        (flow.Config(**FLOW, reach=(2, 5, 4)), [(3, 3, 4), (3, 3, 4), (1, 3, 2)]),
        (flow.Config(**FLOW, channels=1, sets=1, reach=(2, 2, 2), absolute=1, block=3), [(1, 6, 3), (3, 3, 3)]),
    ],
)
def test_flow_tiles_are_coded_as_by_numpy(config: flow.Config, shapes: list[tuple[int, int, int]]) -> None:
    torch.manual_seed(1)
    network = Flow(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
    reference = on_machine(export(network, {}), "numpy", 1)
    tiles = [smooth(shape, i) for i, shape in enumerate(shapes)]
    for i, tile in enumerate(tiles):
        tile[0, 0, 0], tile[-1, -1, -1] = 0, (300, -5000)[i % 2]  # at the end of the window, and beyond
    core = GpuFlow(reference.network, str(DEVICE))
    check(reference, core, tiles)
    parts = {}
    for name, layer in reference.network.named().items():
        parts[name] = tuple(
            np.random.default_rng(0).integers(-9, 10, (1, n)).astype(np.int8) for n in layer.weight.shape
        )
    side = deltas.write({name: (left[0], left, right) for name, (left, right) in parts.items()})
    check(reference, core, tiles[:1], side)


def check(reference: Any, core: Any, tiles: list[Tile], side: bytes = b"") -> None:
    """Both make the same streams, and the core reads the reference's. side: an adaptation."""
    expected, got = coder.encode(reference, tiles, side), core.encode(tiles, side)
    for a, b in zip(expected, got, strict=True):
        assert np.array_equal(a.words, b.words)
        assert a.ideal_bits == pytest.approx(b.ideal_bits, abs=1e-6)
    back = core.decode([tile.shape for tile in tiles], [stream.words for stream in expected], side)
    assert all(np.array_equal(a, b) for a, b in zip(back, tiles, strict=True))


def test_a_stream_that_holds_more_than_its_tile_is_refused() -> None:
    _, core = machines()
    with pytest.raises(ModelError, match="exactly its tile"):
        core.decode([(1, 1, 1)], [np.arange(1, 4, dtype=np.uint32)], b"")
    with pytest.raises(ModelError, match="exactly its tile"):  # before memory for it is asked for
        core.decode([(1, 1, 1)], [np.ones(1 << 20, np.uint32)], b"")


@needs_cuda
@pytest.mark.gpu
@pytest.mark.parametrize("name", registry.NAMES)
def test_files_decode_on_the_other_side(name: str) -> None:
    sides = [registry.load(name, device=device) for device in ("cpu", "cuda")]
    shape: tuple[int, ...] = (28 * 3, 28) if name.endswith("mnist") else (70, 90, 3)
    noise = np.random.default_rng(3).integers(0, 9, shape)
    y, x = (part.reshape(*shape[:2], *[1] * (len(shape) - 2)) for part in np.indices(shape[:2]))
    pixels = (70 + 60 * np.sin(y / 9) + x + noise).astype(np.uint8)
    pixels = pixels > 80 if sides[0].levels == 2 else pixels
    files = [Codec(side).compress(pixels) for side in sides]
    assert files[0] == files[1]
    for side, data in zip(sides, reversed(files), strict=True):
        assert np.array_equal(Codec(side).decompress(data), pixels)


@needs_cuda
@pytest.mark.gpu
@pytest.mark.parametrize("halves", [False, True])
def test_large_tiles_on_the_device(halves: bool) -> None:
    reference: Any = registry.load("default", device="cpu")
    core = GpuCausal(reference.network, "cuda", Products(DEVICE, halves=halves))
    check(reference, core, [smooth((3, 40, 150), i) for i in range(5)] + [smooth((1, 33, 20), 9)])
