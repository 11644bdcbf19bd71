"""Fixtures. Tests import `strategies` by name, which importlib mode alone does not allow."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from strategies import FakeModel

from lgcodec import Codec


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def codec(model: FakeModel) -> Codec:
    """Small tiles, so that small images have several."""
    return Codec(model, tile=(8, 8))
