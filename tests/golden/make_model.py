"""Makes golden files of the causal and the masked family: `python tests/golden/make_model.py NAME...`. See README.md.

The models are tiny ones of random weights, so that the files outlive every training: `tiny`, and `classes`, which has
all that is optional but learning. The shipped ones have that. `bits` and `kinds` are of the masked family, `normals`
one with latents and pixels that are mixtures of normals.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from keep import HERE, Made, kept, main, model_alone
from numpy.typing import NDArray
from test_format import file_of  # every tile by the model, whatever an encoder would choose

from lgcodec import Codec
from lgcodec.models import registry, zoo
from lgcodec.models.adaptation import deltas
from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.causal.floats import Causal, export
from lgcodec.models.families.masked.floats import export as masked_export
from lgcodec.models.families.masked.floats import graph as masked_floats
from lgcodec.models.families.masked.floats.objectives import Latents
from lgcodec.models.weights import Weights
from lgcodec.models.zoo.build import GIVEN, SAMPLES, Build, raster

TINY = causal.Config(width=16, depth=2, hidden=16, components=2, rows=3, left=4, reach=4, limit=1023)
CLASSES = replace(TINY, width=8, depth=1, hidden=8, rows=2, context=3, grid=1, classes=3)


def weights(config: causal.Config) -> Made:
    torch.manual_seed(20)
    model = Causal(config)
    with torch.no_grad():
        model.linear.normal_(0, 0.01)
        for layer in model.out:
            layer.weight.mul_(3)
        if model.classes is not None:
            model.classes.normal_(0, 0.5)
    return written(export(model, {"note": "random; for golden files only"}))


def written(content: Weights) -> Made:
    """The file of weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights"
        content.write(path)
        return {"safetensors": path.read_bytes()}


def make_adaptation(network: causal.Network) -> bytes:
    """Rank 1 and small. Rows that fill the exact range leave it and are halved."""
    random = np.random.default_rng(20)
    parts = {}
    for name, layer in network.layers.items():
        O, I = layer.weight.shape
        bias, left, right = (random.integers(-4, 5, shape).astype(np.int8) for shape in (O, (1, O), (1, I)))
        parts[name] = (bias, left, right)
    return deltas.write(parts)


def picture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Smooth with some noise and an edge; uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    y, x = np.indices((height, width))
    light = 110 + 60 * np.sin(x / 5 + seed) * np.cos(y / 4) + np.where(x + y > width, 50, 0)
    tint = np.stack([9 * np.cos(y / 6), 0 * y, 12 * np.sin(x / 7)], axis=-1)
    return np.clip(np.rint(light[..., None] + tint + random.normal(0, 2, (height, width, 3))), 0, 255).astype(np.uint8)


def coded(
    image: NDArray[np.uint8],
    transform: int,
    tile: tuple[int, int],
    model: str | Path = HERE / "tiny.safetensors",
    begin: bytes = b"",
    adapted: bool = False,
) -> Made:
    """begin: of the adaptation, a class; adapted: whether deltas follow."""
    loaded = registry.load(model, machine="numpy")
    side = begin + (make_adaptation(loaded.network) if adapted else b"")
    return kept(file_of(loaded, image, transform, tile, side), image)


def bits_weights() -> Made:
    """Of the masked family, for pictures of bits."""
    torch.manual_seed(22)
    graph = zoo.system("made").graph(0, (6, 5), hidden=12)
    return written(masked_export.export(masked_floats.FloatGraph(graph, 1), {}))


def kinds_weights() -> Made:
    """Of the masked family, for pictures of bits, with nodes of every kind."""
    shape, left = (5, 4), ((0, -1), (-1, 0))
    g = Build(shape, raster(shape) // 2, 0, {"hidden": np.arange(1, 7, dtype=np.int32)})
    seen = g.window([0, 1], 6, left)
    state = g.add("cell", [seen], 6, offsets=left, grid=shape)
    gated = g.gate(g.window([seen, state], 8), 4)
    q, k, v = (g.window(gated, 4) for _ in range(3))
    total = g.sum(gated, g.add("attend", [q, k, v], 4, heads=2))
    known = [g.add("table", [0], 2, offsets=left, grid=shape), g.add("tied", [0, total], 3, low=0)]
    hidden = g.add("dense", [0, 1], 1, "hidden", low=0)
    near = g.add("local", [total, *known], 2, offsets=((0, 0), (0, -1)), grid=shape)
    g.add("dense", [hidden, near], 1)
    torch.manual_seed(24)
    net = masked_floats.FloatGraph(g.bits(), 1)
    for p in net.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return written(masked_export.export(net, {}))


def normals_weights() -> Made:
    """Of the masked family, for grey pictures: latents of a prior, the second given the first, and then the pixels."""
    torch.manual_seed(24)
    order, pixels = np.arange(2, dtype=np.int32), np.zeros(30, np.int32)
    prior, posterior, likelihood = Build((1, 2), order), Build((1, 2), order, 30), Build((6, 5), pixels, 2)
    prior.add("dense", [SAMPLES], 8)
    posterior.add("dense", [GIVEN, SAMPLES], 8)
    likelihood.add("dense", [GIVEN], 5)
    model = Latents(prior.normal(6, 3), posterior.normal(6, 3), likelihood.normal(8, 2), 1)
    for p in model.parameters():
        p.data += 0.3 * torch.randn_like(p)
    return written(masked_export.export_latents(model, {}))


def coded_bits(model: str, seed: int) -> Made:
    image = np.random.default_rng(seed).random((13, 5)) < 0.3
    with model_alone():
        return kept(Codec(HERE / model).compress(image), image)


def coded_normals() -> Made:
    image = picture(13, 5, 25)[..., 1]
    with model_alone():
        return kept(Codec(HERE / "normals.safetensors", origin="none").compress(image), image)


OF_CLASSES = HERE / "classes.safetensors"
CASES: dict[str, Callable[[], Made]] = {  # some tiles are cut to one column or one row
    "tiny": lambda: weights(TINY),
    "classes": lambda: weights(CLASSES),
    "model-rgb": lambda: coded(picture(9, 13, 1), 3, (13, 8)),
    "model-tiles": lambda: coded(picture(17, 24, 2), 2, (23, 17)),
    "model-grey": lambda: coded(picture(7, 11, 3)[..., 1], 1, (11, 7)),
    "model-adapted": lambda: coded(picture(10, 12, 4), 6, (12, 10), adapted=True),
    "model-channel": lambda: coded(picture(8, 9, 5)[..., 1:2], 1, (9, 8)),
    "model-classes-none": lambda: coded(picture(10, 14, 6), 2, (14, 6), OF_CLASSES),
    "model-classes-third": lambda: coded(picture(10, 14, 6), 4, (14, 6), OF_CLASSES, b"\2"),
    "model-classes-adapted": lambda: coded(picture(10, 14, 6), 5, (14, 6), OF_CLASSES, b"\1", adapted=True),
    "model-classes-grey": lambda: coded(picture(9, 11, 7)[..., 0], 1, (11, 9), OF_CLASSES, b"\xff", adapted=True),
    "model-default-adapted": lambda: coded(picture(7, 9, 8), 7, (9, 7), "default", adapted=True),
    "bits": bits_weights,
    "masked-bits": lambda: coded_bits("bits.safetensors", 23),
    "kinds": kinds_weights,
    "masked-kinds": lambda: coded_bits("kinds.safetensors", 25),
    "normals": normals_weights,
    "masked-normals": coded_normals,
    "model-best-adapted": lambda: coded(picture(6, 9, 9), 2, (9, 6), "best", adapted=True),
}

if __name__ == "__main__":
    main(CASES)
