"""The integers: shares of 2**24 of the values -256..255, for brightness and for colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.errors import ModelError
from lgcodec.models.interface import TOTAL
from lgcodec.models.weights import Weights

SIZE, ORIGIN = 512, -256


@dataclass(frozen=True)
class Network:
    """cdf: uint32 [2, SIZE + 1]."""

    cdf: NDArray[np.uint32]

    @classmethod
    def of(cls, weights: Weights) -> Network:
        """Raises ModelError where the weights are malformed."""
        frequency = weights.tensors.get("frequency", np.zeros(0))
        if weights.config or frequency.dtype != np.int32 or frequency.shape != (2, SIZE) or frequency.min() < 1:
            raise ModelError("histogram model: malformed")
        cdf = np.pad(np.cumsum(frequency, axis=1, dtype=np.int64), ((0, 0), (1, 0)))
        if (cdf[:, -1] != TOTAL).any():
            raise ModelError("histogram model: shares do not add up")
        return cls(cdf.astype(np.uint32))
