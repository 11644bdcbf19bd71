"""Makes golden files of the plain methods: `python tests/golden/make_plain.py NAME...`. See README.md."""

from __future__ import annotations

import functools
from typing import Any
from unittest import mock

import numpy as np
from keep import Made, kept, main
from numpy.typing import NDArray
from strategies import FakeModel  # a model that none of these images suits

import lgcodec
from lgcodec import plain


def images() -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(20)
    bits = random.integers(0, 2, (9, 13)).astype(bool)
    wide = (np.add.outer(np.arange(24) * 300, np.arange(20) * 7) + random.integers(0, 9, (24, 20))).astype(np.uint16)
    blocks = np.kron(random.integers(0, 9, (8, 8, 3)), np.ones((6, 6, 1))).astype(np.uint8) * 25
    ramp = np.add.outer(np.arange(4) * 7, np.arange(6) * 3)
    words = random.integers(0, 256, 2000)
    phrases = np.concatenate([words[start : start + 50] for start in random.integers(0, 1900, 120)])
    return {
        "one": np.array([[[1, 2, 3]]], np.uint8),
        "flat": np.full((40, 30, 4), 7, np.uint8),
        "bits": bits,
        "wide": wide,
        "blocks": blocks,
        "ramp": np.repeat(ramp[..., None], 3, axis=2).astype(np.uint8),
        "phrases": phrases[: 60 * 40 * 2].reshape(60, 40, 2).astype(np.uint8),
        "noise": random.integers(0, 256, (5, 7, 4)).astype(np.uint8),
        "few": random.integers(0, 4, (30, 17)).astype(np.uint8),
    }


def png() -> dict[str, NDArray[Any]]:
    """What is packed in each way that the method knows."""
    y, x = np.indices((20, 27))
    soft = (x * 3 + y * y // 4 + (x * y) % 7).astype(np.uint8)
    return {
        "png": np.stack([soft, soft // 2, 255 - soft], axis=2),
        "png-bits": (x * y % 5 < 2),
        "png-nibbles": soft % 16,
        "png-wide": (soft * 77 + 40 * y).astype(np.uint16),
    }


def drawings() -> dict[str, NDArray[Any]]:
    """Patterns, marks and a soft part, of each number of channels."""
    random = np.random.default_rng(21)
    palette = random.integers(0, 256, (5, 4)).astype(np.uint8)
    drawn = palette[np.tile(random.integers(0, 5, (8, 9)), (5, 6))]
    drawn[10:20, 20:40] = palette[0]
    drawn[25:, 30:] = np.add.outer(np.arange(15) * 5, np.arange(24) * 3).astype(np.uint8)[..., None]
    drawn[random.random(drawn.shape[:2]) < 0.05] = random.integers(0, 256, 4)
    return {
        "contexts": drawn[..., :3],
        "contexts-alpha": drawn,
        "contexts-grey": drawn[..., 0],
        "contexts-two": drawn[..., :2],
    }


def by(method: str, image: NDArray[Any]) -> Made:
    """Whatever an encoder would choose."""
    (wire_id,) = (wire_id for wire_id, name in plain.NAMES.items() if name == method)
    alone = mock.patch.dict(plain.METHODS, {wire_id: plain.METHODS[wire_id]}, clear=True)
    with alone, mock.patch.object(plain, "OLDER", ()):
        return made(image)


def made(image: NDArray[Any]) -> Made:
    data = lgcodec.compress(image, model=FakeModel())
    if "model" in lgcodec.inspect(data).methods:
        raise ValueError("not plain")
    return kept(data, image)


if __name__ == "__main__":
    main(
        {f"plain-{name}": functools.partial(made, image) for name, image in images().items()}
        | {f"plain-{name}": functools.partial(by, "png", image) for name, image in png().items()}
        | {f"plain-{name}": functools.partial(by, "contexts", image) for name, image in drawings().items()}
        | {f"plain-primed-{name}": functools.partial(by, "primed contexts", x) for name, x in drawings().items()}
        | {f"plain-sure-{name}": functools.partial(by, "sure contexts", x) for name, x in drawings().items()}
    )
