"""Makes golden files for the causal family: `python tests/golden/make_model.py`, once for each version of the format.

Never run by tests. It refuses to touch what exists: files of old versions must decode for ever. The model is a tiny one
of random weights, so that the files outlive every training.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lgcodec.models import registry
from lgcodec.models.adaptation import deltas
from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.causal.floats import Causal, export
from lgcodec.models.weights import Weights

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from test_format import WEIGHTS, file_of  # noqa: E402  every tile by the model, whatever an encoder would choose

CONFIG = causal.Config(width=16, depth=2, hidden=16, components=2, rows=3, left=4, reach=4, limit=1023)


def make_weights() -> Weights:
    torch.manual_seed(20)
    model = Causal(CONFIG)
    with torch.no_grad():
        model.linear.normal_(0, 0.01)
        for layer in model.out:
            layer.weight.mul_(3)
    return export(model, {"note": "random; for golden files only"})


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


def main() -> None:
    if WEIGHTS.exists():
        raise SystemExit(f"{WEIGHTS} exists")
    make_weights().write(WEIGHTS)
    model = registry.load(WEIGHTS, machine="numpy")
    adaptation = make_adaptation(model.network)  # type: ignore[attr-defined]
    files = {  # transform, tile: some are cut to one column or one row
        "rgb": (picture(9, 13, 1), 3, (13, 8), b""),
        "tiles": (picture(17, 24, 2), 2, (23, 17), b""),
        "grey": (picture(7, 11, 3)[..., 1], 1, (11, 7), b""),
        "adapted": (picture(10, 12, 4), 6, (12, 10), adaptation),
    }
    for name, (image, *options) in files.items():
        path = HERE / f"model-{name}.lgc"
        with path.open("xb") as file:
            file.write(file_of(model, image, *options))
        with path.with_suffix(".npy").open("xb") as file:
            np.save(file, image)
        print(path.name, path.stat().st_size, f"of {image.nbytes} bytes")  # noqa: T201


if __name__ == "__main__":
    main()
