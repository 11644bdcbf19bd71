"""Fixtures. Tests import `strategies` by name, which importlib mode alone does not allow."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
if shutil.which("nvidia-smi") is None:
    os.environ["TRITON_INTERPRET"] = "1"  # Triton reads it when kernels are defined

from strategies import FakeModel

from lgcodec import Codec


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def codec(model: FakeModel) -> Codec:
    """Small tiles, so that small images have several."""
    return Codec(model, tile=(8, 8))


@pytest.fixture
def model_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plain method is worth trying."""
    monkeypatch.setattr("lgcodec.plain.is_promising", lambda tile: False)
    monkeypatch.setattr("lgcodec.plain.encode", lambda tile, effort: (1, bytes(1 << 20)))
