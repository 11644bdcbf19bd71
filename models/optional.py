"""What is not installed with the base package, and how to say so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lgcodec.models.errors import ModelError


@contextmanager
def needs(extra: str, purpose: str) -> Iterator[None]:
    """Turns an ImportError within into a ModelError that says what to install. purpose: what needs it."""
    try:
        yield
    except ImportError as e:
        raise ModelError(f"{purpose} needs more: pip install 'lgcodec[{extra}]' ({e})") from e
