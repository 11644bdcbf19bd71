"""The way from a model to `fit`, which only an encoder takes: torch is loaded when an image is fitted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from lgcodec.models.entropy.program import ideal_bits
from lgcodec.models.families import part
from lgcodec.models.interface import ExplicitCoding, Tile
from lgcodec.models.optional import needs


def adapter(
    family: str, network: Any, coding: ExplicitCoding, threads: int
) -> Callable[[Sequence[Tile], int, bytes], bytes]:
    """ImageModel.adapt of a family whose `floats` have a FloatNetwork: `choice`, and deltas fitted to tiles by gradient
    descent (needs torch) where they pay.
    """

    def adapt(tiles: Sequence[Tile], effort: int, choice: bytes = b"") -> bytes:
        with needs("torch", "effort 7 to 9"):
            from lgcodec.models.adaptation import fit

            make = part(family, "floats").FloatNetwork
        return fit.adapt(make, network, tiles, effort, threads, functools.partial(ideal_bits, coding), choice)

    return adapt
