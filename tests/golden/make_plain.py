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


def made(image: NDArray[Any]) -> Made:
    data = lgcodec.compress(image, model=FakeModel())
    if "model" in lgcodec.inspect(data).methods:
        raise ValueError("not plain")
    return kept(data, image)


def made_by(method: int, image: NDArray[Any]) -> Made:
    """By this method, whichever is shorter."""
    with mock.patch.dict(plain.METHODS, {method: plain.METHODS[method]}, clear=True):
        return made(image)


def graded() -> NDArray[Any]:
    """Rows of which PNG's filters suit different ones."""
    y, x = np.mgrid[:21, :17]
    return np.stack([(9 * x + y * y) % 256, (7 * y + x // 3) % 256, (x * y) % 256], axis=2).astype(np.uint8)


if __name__ == "__main__":
    cases = {f"plain-{name}": functools.partial(made, image) for name, image in images().items()}
    cases["plain-filtered"] = lambda: made_by(6, graded())
    main(cases)
