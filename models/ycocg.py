"""YCoCg-R, a reversible colour transform (Malvar & Sullivan 2003)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ycocg(rgb: NDArray[np.int16]) -> NDArray[np.int16]:
    """RGB [3, ...] -> YCoCg-R [3, ...] by lifting, exactly reversible (Malvar & Sullivan 2003). int16."""
    red, green, blue = rgb
    co = red - blue
    middle = blue + (co >> 1)
    cg = green - middle
    return np.stack([middle + (cg >> 1), co, cg])


def rgb_of(ycocg: NDArray[np.int16]) -> NDArray[np.int16]:
    """The inverse of `ycocg`; outside 0..255 for planes that no image gives."""
    y, co, cg = ycocg
    middle = y - (cg >> 1)
    blue = middle - (co >> 1)
    return np.stack([blue + co, cg + middle, blue])
