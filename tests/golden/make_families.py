"""Makes golden files of every shipped model: `python tests/golden/make_families.py NAME...`. See README.md."""

from __future__ import annotations

import functools

import numpy as np
from keep import Made, kept, main, model_alone
from numpy.typing import NDArray

from lgcodec import Codec

COLOUR = ("best", "default", "fast", "flow", "vae", "vqvae")
DIGITS = ("continuous-mnist", "flow-mnist", "vae-mnist", "vqvae-mnist")


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """Soft shading with grain, in integers: uint8 [height, width, 3]."""
    y, x = np.indices((height, width))
    noise = (y * 7919 + x * 104729 + x * y * 31) % 5
    return np.stack([(noise + c + y * y // 9 + x * (3 - c) + 40 * c) % 200 for c in range(3)], 2).astype(np.uint8)


def digits(rows: int, columns: int) -> NDArray[np.uint8]:
    """Soft rings on black, a tile of 28 x 28 each, in integers: uint8 [28 rows, 28 columns]."""
    y, x = np.indices((28 * rows, 28 * columns))
    place, far = y // 28 * columns + x // 28, (y % 28 - 14) ** 2 + (x % 28 - 13) ** 2
    return np.clip(255 - 6 * np.abs(far - 20 - 9 * (place % 9)), 0, 255).astype(np.uint8)


def made(codec: Codec, image: NDArray[np.uint8]) -> Made:
    with model_alone():
        return kept(codec.compress(image), image)


CASES = {f"family-{name}": functools.partial(made, Codec(name, tile=(24, 40)), picture(37, 45)) for name in COLOUR}
CASES |= {f"family-{name}": functools.partial(made, Codec(name), digits(2, 2)) for name in DIGITS}
CASES |= {
    "family-masked-mnist": functools.partial(made, Codec("masked-mnist"), digits(3, 2) > 200),
    "family-masked-mnist-grey": functools.partial(made, Codec("masked-mnist-grey", origin="none"), digits(3, 2)),
    "family-scan": functools.partial(made, Codec("scan"), (digits(10, 10) > 200)[:270, :265]),
    "family-flow-cifar": functools.partial(made, Codec("flow-cifar"), picture(64, 32)),
    "family-fast-adapted": functools.partial(made, Codec("fast", effort=8, tile=(64, 96)), picture(96, 120)),
}

if __name__ == "__main__":
    main(CASES)
