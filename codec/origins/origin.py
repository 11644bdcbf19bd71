"""An origin: parts, which are pictures of their own, and the exact way from them to the image.

invert(picture) -> Inverted | None        encoder: origin, parts, exceptions; may search
origin.render(parts, box) -> samples      decoder: exact integers (FORMAT.md, Origins)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lgcodec.boxes import Box
from lgcodec.image import Samples

Given = Samples | Sequence["JpegPlane"] | None  # what comes of a part: samples, or a JPEG's coefficients


class JpegPlane(Protocol):
    """As `jpeg.file.Plane`. coefficients: int16 [rows, columns, 64], quantised; steps: uint16 [64]; natural order."""

    @property
    def coefficients(self) -> NDArray[np.int16]: ...

    @property
    def steps(self) -> NDArray[np.uint16]: ...

    def turned(self) -> JpegPlane: ...


@dataclass(frozen=True)
class Part:
    """What a part must be. is_jpeg: a kept JPEG, of which the coefficients are wanted. is_bits: no picture to anyone,
    which no model needs to try.
    """

    mode: str
    width: int
    height: int
    is_jpeg: bool = False
    is_bits: bool = False


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

    def render(self, parts: Sequence[Given], box: Box) -> Samples:
        """The pixels of `box`, from those boxes; exceptions are still missing."""
        ...

    def write(self) -> bytes: ...


@dataclass(frozen=True)
class Inverted:
    """An image's origin, its parts uint8 [H, W, channels] or a JPEG file, and the exceptions as `exceptions.pack` gives
    them.
    """

    origin: Origin
    parts: list[Samples | bytes]
    exceptions: bytes
    count: int
