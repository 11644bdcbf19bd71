"""Makes golden files for the causal family: `python tests/golden/make_model.py`, once for each version of the format.

Never run by tests. It refuses to touch what exists: files of old versions must decode for ever. The model is a tiny one
of random weights, so that these files outlive every training.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import lgcodec
from lgcodec import Codec
from lgcodec.models import causal, registry, weights
from lgcodec.models.causal_training import Causal, export

HERE = Path(__file__).parent
MODEL = HERE / "tiny.safetensors"
CONFIG = causal.Config(width=16, depth=2, hidden=16, components=2, rows=2, left=3, reach=2, fraction=7, limit=1023)


def make_weights() -> weights.Weights:
    torch.manual_seed(20)
    model = Causal(CONFIG)
    with torch.no_grad():
        model.linear.normal_(0, 0.01)
        for layer in model.out:
            layer.weight.mul_(3)
    return export(model, {"note": "random; for golden files only"})


def make_adaptation(network: causal.Network) -> bytes:
    """Rank 1, small, but such that rows leave the exact range and must be halved."""
    random = np.random.default_rng(20)
    deltas = {}
    for name, layer in network.layers.items():
        O, I = layer.weight.shape
        deltas[name] = tuple(random.integers(-4, 5, shape).astype(np.int8) for shape in (O, (1, O), (1, I)))
    adaptation = causal.write_deltas(deltas, network.config)
    before, after = network.layers, network.adapted(adaptation).layers
    halved = sum(int((before[name].shift > after[name].shift).sum()) for name in before)
    if not halved:
        raise SystemExit("the adaptation halves no row")
    return adaptation


class Adapted(causal.Model):
    """The model with an adaptation that suits no image."""

    def adapt(self, tiles: object, effort: int) -> bytes:
        return make_adaptation(self.network)


def picture(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """Smooth with some noise and an edge; uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    y, x = np.indices((height, width))
    light = 110 + 60 * np.sin(x / 5 + seed) * np.cos(y / 4) + np.where(x + y > width, 50, 0)
    tint = np.stack([9 * np.cos(y / 6), 0 * y, 12 * np.sin(x / 7)], axis=-1)
    return np.clip(np.rint(light[..., None] + tint + random.normal(0, 2, (height, width, 3))), 0, 255).astype(np.uint8)


def main() -> None:
    if MODEL.exists():
        raise SystemExit(f"{MODEL} exists")
    make_weights().write(MODEL)
    model = registry.load(MODEL)
    adapted = Adapted(model.weights, "tiny", registry.OWN, "numpy", 1)
    jobs = {  # tiles that are cut to one column and to one row
        "rgb": (picture(9, 13, 1), Codec(model, tile=(13, 8))),
        "tiles": (picture(17, 24, 2), Codec(model, tile=(23, 17))),
        "grey": (picture(7, 11, 3)[..., 1], Codec(model)),
        "adapted": (picture(10, 12, 4), Codec(adapted, effort=7)),
    }
    for name, (image, codec) in jobs.items():
        path = HERE / f"model-{name}.lgc"
        data = codec.compress(image)
        info = lgcodec.inspect(data)
        if set(info.methods) != {"model"} or bool(info.adaptation_bytes) != (name == "adapted"):
            raise SystemExit(f"{name}: {info}")
        with path.open("xb") as file:
            file.write(data)
        np.save(path.with_suffix(".npy"), image)
        print(path.name, len(data), info.methods, info.tile_sizes, f"{info.bpsp:.2f} bpsp")  # noqa: T201


if __name__ == "__main__":
    main()
