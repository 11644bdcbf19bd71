"""What is not installed with the base package, and how to say so."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.errors import ModelError


def fitted(
    family: str, network: Any, tiles: Sequence[NDArray[np.int16]], effort: int, threads: int, choice: bytes = b""
) -> bytes:
    """`adaptation.adapt` for a network of the family. Raises ModelError where what that needs is not installed."""
    try:
        from lgcodec.models.adaptation import fit as adaptation

        training = importlib.import_module(f"lgcodec.models.families.{family}.floats")
    except ImportError as e:
        raise ModelError(f"effort 7 to 9 needs more: pip install 'lgcodec[fast,torch]' ({e})") from e
    return adaptation.adapt(training.Twin, network, tiles, effort, threads, choice)
