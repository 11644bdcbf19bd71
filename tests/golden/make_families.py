"""Makes family-*.lgc and .npy with the shipped models: `python tests/golden/make_families.py`. Never run by tests.

The files are made anew only where a family is trained anew before the first release; then weights and files stay.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lgcodec import Codec

HERE = Path(__file__).parent
FAMILIES = ("best", "default", "fast", "flow", "vae", "vqvae")


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """Soft shading with grain, in integers: uint8 [height, width, 3]."""
    y, x = np.indices((height, width))
    noise = (y * 7919 + x * 104729 + x * y * 31) % 5
    return np.stack([(noise + c + y * y // 9 + x * (3 - c) + 40 * c) % 200 for c in range(3)], 2).astype(np.uint8)


def main() -> None:
    files = [(name, Codec(name, tile=(24, 40)), picture(37, 45)) for name in FAMILIES]
    files.append(("fast-adapted", Codec("fast", effort=8, tile=(64, 96)), picture(96, 120)))
    for name, codec, image in files:
        (HERE / f"family-{name}.lgc").write_bytes(codec.compress(image))
        np.save(HERE / f"family-{name}.npy", image)


if __name__ == "__main__":
    main()
