"""An origin: parts, which are pictures of their own, and the exact way from them to the image.

invert(picture) -> Inverted | None        encoder: origin, parts, exceptions; may search
origin.render(parts, box) -> samples      decoder: exact integers (FORMAT.md, Origins)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lgcodec.boxes import Box
from lgcodec.image import Samples


@dataclass(frozen=True)
class Part:
    """What a part must be. wanted: the box of it that a region needs, None where it needs nothing of it."""

    mode: str
    width: int
    height: int


class Origin(Protocol):
    """What an image is rendered from. name: for people."""

    @property
    def name(self) -> str: ...

    def parts(self) -> list[Part]:
        """What the parts must be, in order."""
        ...

    def needs(self, box: Box) -> list[Box | None]:
        """Which box of each part the pixels of `box` need; None where nothing."""
        ...

    def render(self, parts: Sequence[Samples | None], box: Box) -> Samples:
        """The pixels of `box`, from those boxes; exceptions are still missing."""
        ...

    def write(self) -> bytes: ...


@dataclass(frozen=True)
class Inverted:
    """An image's origin, its parts uint8 [H, W, channels], and the exceptions as `exceptions.pack` gives them."""

    origin: Origin
    parts: list[Samples]
    exceptions: bytes
    count: int
