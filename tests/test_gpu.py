"""The GPU's kernels: the words, layers and tiles of the CPU machines, under Triton's interpreter where there is no GPU.

And with a GPU: files made on either side decode on the other, for all models that ship.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lgcodec import Codec, coder
from lgcodec.errors import ModelError
from lgcodec.models import causal, flow, mixture, registry
from lgcodec.models.integer import NumpyExecutor, quantise
from lgcodec.models.interface import Intervals
from lgcodec.models.stack import Stack

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
CUDA = torch.cuda.is_available()
if not CUDA:
    os.environ["TRITON_INTERPRET"] = "1"  # before any kernel is defined
pytest.importorskip("triton", reason="triton is not installed")

from lgcodec.models import causal_training, flow_training  # noqa: E402
from lgcodec.models.gpu_causal import GpuCausal  # noqa: E402
from lgcodec.models.gpu_flow import GpuFlow  # noqa: E402
from lgcodec.models.gpu_layers import Products, stacked, unrounded  # noqa: E402
from lgcodec.models.gpu_stack import Lanes, Tables, share, to_device  # noqa: E402

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


CONFIG = {"width": 20, "depth": 2, "hidden": 8, "components": 2, "rows": 2}


def machines(**config: int) -> tuple[causal.Model, GpuCausal]:
    """An untrained network on numpy and on the device."""
    torch.manual_seed(1)
    network = causal_training.Causal(causal.Config(**CONFIG, **config))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)  # loud, so that limits are met
    reference = causal.Model(causal_training.export(network, {}), "test", registry.OWN, "numpy", 1)
    return reference, GpuCausal(reference.network, str(DEVICE))


@pytest.mark.parametrize(
    ("shapes", "context"),
    [
        ([(3, 2, 3)], 0),
        ([(1, 2, 3), (3, 1, 1), (1, 2, 3)], 0),  # two shapes, two batches
        ([(1, 4, 5)], 5),  # long enough for all that is kept by front to come round
        ([(1, 3, 1)], 5),  # fronts without a pixel
    ],
)
def test_causal_tiles_are_coded_as_by_numpy(shapes: list[tuple[int, int, int]], context: int) -> None:
    check(*machines(context=context), [smooth(shape, i) for i, shape in enumerate(shapes)])


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
    network = flow_training.Flow(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
    reference = flow.Model(flow_training.export(network, {}), "test", registry.OWN, "numpy", 1)
    tiles = [smooth(shape, i) for i, shape in enumerate(shapes)]
    for i, tile in enumerate(tiles):
        tile[0, 0, 0], tile[-1, -1, -1] = 0, (300, -5000)[i % 2]  # at the end of the window, and beyond
    check(reference, GpuFlow(reference.network, str(DEVICE)), tiles)


def check(reference: Any, core: Any, tiles: list[Tile]) -> None:
    """Both make the same streams, and the core reads the reference's."""
    expected, got = coder.encode(reference, tiles), core.encode(tiles, b"")
    for a, b in zip(expected, got, strict=True):
        assert np.array_equal(a.words, b.words)
        assert a.ideal_bits == pytest.approx(b.ideal_bits, abs=1e-6)
    back = core.decode([tile.shape for tile in tiles], [stream.words for stream in expected], b"")
    assert all(np.array_equal(a, b) for a, b in zip(back, tiles, strict=True))


def test_a_stream_that_holds_more_than_its_tile_is_refused() -> None:
    _, core = machines()
    with pytest.raises(ModelError, match="exactly its tile"):
        core.decode([(1, 1, 1)], [np.arange(1, 4, dtype=np.uint32)], b"")
    with pytest.raises(ModelError, match="exactly its tile"):  # before memory for it is asked for
        core.decode([(1, 1, 1)], [np.ones(1 << 20, np.uint32)], b"")


@needs_cuda
@pytest.mark.gpu
@pytest.mark.parametrize("name", registry.names())
def test_files_decode_on_the_other_side(name: str) -> None:
    sides = [registry.load(name, device=device) for device in ("cpu", "cuda")]
    shape: tuple[int, ...] = (28 * 3, 28) if name.endswith("mnist") else (70, 90, 3)
    noise = np.random.default_rng(3).integers(0, 9, shape)
    y, x = (part.reshape(*shape[:2], *[1] * (len(shape) - 2)) for part in np.indices(shape[:2]))
    pixels = (70 + 60 * np.sin(y / 9) + x + noise).astype(np.uint8)
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
