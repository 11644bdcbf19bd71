"""Pixels of a JPEG file from its coefficients, equal to those that libjpeg-turbo gives by default.

The accurate integer inverse DCT (`idct`), triangles where chroma is enlarged twice (jdsample.c), YCbCr to RGB.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lgcodec.boxes import Box
from lgcodec.image import Samples
from lgcodec.jpeg import idct
from lgcodec.jpeg.errors import JpegError
from lgcodec.jpeg.file import PlaneShape
from lgcodec.jpeg.markers import Frame, Header, Markers
from lgcodec.jpeg.rest import Rest
from lgcodec.jpeg.scans import Blocks
from lgcodec.origins.conversions import CONVERSIONS
from lgcodec.origins.form import FULL, TRIANGLE, Enlargement

_JPEG = 0  # its place in CONVERSIONS
_BAND = 1 << 20  # pixels made at once
_SMOOTHED = 10  # coefficients of which libjpeg makes up for the bits that a progressive file does not have
_BOTH = Enlargement(TRIANGLE, TRIANGLE, ((8, 7), (8, 7)))
_ACROSS = Enlargement(FULL, TRIANGLE, ((1, 2), (1, 2)))
_DOWN = Enlargement(TRIANGLE, FULL, ((1, 1), (2, 2)))


class Pixels:
    """The picture that a file shows. channels: 1 for grey, 3 for RGB."""

    def __init__(self, rest: bytes, coefficients: Sequence[Blocks]) -> None:
        """Raises FormatError for a rest that is none, and where pixels are not made: CMYK, other samplings."""
        reader = Rest(rest).markers
        if reader.frame is None:
            raise JpegError("has no frame")
        self._frame: Frame = reader.frame
        self._planes = [
            PlaneShape(of.horizontal, of.vertical, *reader.shape(i), reader.steps[i])
            for i, of in enumerate(self._frame.components)
        ]
        self._coefficients = list(coefficients)
        if [blocks.shape for blocks in coefficients] != [(of.rows, of.columns, 64) for of in self._planes]:
            raise JpegError("has other coefficients than its rest says")
        self.width, self.height, self.channels = self._frame.width, self._frame.height, len(self._planes)
        if self.channels not in (1, 3):
            raise JpegError(f"has {self.channels} components: pixels are made of 1 and 3")
        self._is_rgb = self.channels == 3 and _is_rgb(reader)
        self._across = max(of.horizontal for of in self._planes)
        self._down = max(of.vertical for of in self._planes)
        if any(self._across % of.horizontal or self._down % of.vertical for of in self._planes):
            raise JpegError("has sampling factors that do not divide each other")
        _check_scans(reader)

    def all(self) -> Samples:
        """uint8 [height, width, channels], made band by band."""
        out = np.empty((self.height, self.width, self.channels), np.uint8)
        rows = max(16, _BAND // self.width // 16 * 16)
        for top in range(0, self.height, rows):
            bottom = min(self.height, top + rows)
            out[top:bottom] = self.box((0, top, self.width, bottom))
        return out

    def small(self) -> Samples:
        """An eighth of the picture's width and height, rounded up, of DC coefficients alone: each block's mean.

        uint8 [ceil(height / 8), ceil(width / 8), channels].
        """
        planes = []
        for of, blocks in zip(self._planes, self._coefficients, strict=True):
            means = np.clip((blocks[..., 0].astype(np.int32) * int(of.steps[0]) + 4 >> 3) + 128, 0, 255)
            wide = means.repeat(self._down // of.vertical, 0).repeat(self._across // of.horizontal, 1)
            planes.append(wide[: -(-self.height // 8), : -(-self.width // 8)].astype(np.uint8))
        if self.channels == 1 or self._is_rgb:
            return np.stack(planes, -1)
        return CONVERSIONS[_JPEG].make().convert(*planes)

    def box(self, box: Box) -> Samples:
        """The pixels of a box that is within the picture: uint8 [h, w, channels]."""
        planes = [self._plane(i, box) for i in range(self.channels)]
        if self.channels == 1 or self._is_rgb:
            return np.stack(planes, -1)
        return CONVERSIONS[_JPEG].make().convert(*planes)

    def _plane(self, i: int, box: Box) -> Samples:
        """One component at the pixels of a box."""
        of, (x0, y0, x1, y1) = self._planes[i], box
        by_x, by_y = self._across // of.horizontal, self._down // of.vertical
        width, height = -(-self.width // by_x), -(-self.height // by_y)
        enlargement = _enlargement(by_x, by_y, width)
        near = 0 if enlargement is None else 1  # samples beside those at the pixels themselves
        left, top = max(0, x0 // by_x - near), max(0, y0 // by_y - near)
        right, bottom = min(width, (x1 - 1) // by_x + 1 + near), min(height, (y1 - 1) // by_y + 1 + near)
        blocks = self._coefficients[i][top // 8 : -(-bottom // 8), left // 8 : -(-right // 8)]
        samples = idct.plane(blocks, of.steps, idct.ACCURATE)
        samples = samples[top % 8 : top % 8 + bottom - top, left % 8 : left % 8 + right - left]
        samples = enlargement.enlarge(samples) if enlargement else samples.repeat(by_y, 0).repeat(by_x, 1)
        y, x = y0 - top * by_y, x0 - left * by_x
        return samples[y : y + y1 - y0, x : x + x1 - x0]


def _enlargement(by_x: int, by_y: int, width: int) -> Enlargement | None:
    """What is no repetition. width: samples in a row of the plane."""
    if by_y <= 2 and by_x == 2 and width > 2:
        return _BOTH if by_y == 2 else _ACROSS
    return _DOWN if (by_x, by_y) == (1, 2) else None


def _is_rgb(reader: Markers) -> bool:
    """Whether three components are red, green and blue, as libjpeg guesses."""
    if reader.is_jfif:
        return False
    if reader.adobe is not None:
        return reader.adobe == 0
    return bytes(of.name for of in reader.frame.components) == b"RGB" if reader.frame else False


def _check_scans(reader: Markers) -> None:
    """Raises JpegError where libjpeg would smooth what a progressive file leaves open."""
    known = {}
    for piece in reader.pieces:
        if isinstance(piece, Header) and piece.scan.progressive:
            scan = piece.scan
            known.update({(part.plane, k): scan.low for part in scan.parts for k in range(scan.first, scan.last + 1)})
    if known and any(known.get((i, k)) != 0 for i in range(len(reader.steps)) for k in range(_SMOOTHED)):
        raise JpegError("does not tell all of its coefficients: pixels are not made")
