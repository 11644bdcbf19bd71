"""Small pictures of images that have an origin: an eighth as wide and high, of luma and chroma that are not enlarged.

Sample (i, j) of the small picture is near the mean of rows 8 i .. 8 i + 7 and columns 8 j .. 8 j + 7 of the image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lgcodec.origins.form import Plane
from lgcodec.origins.origin import JpegPlane

BY = 8  # pixels a sample, along both axes
Axis = tuple[int, int, int]  # by, offset, length: of `length` pixels along an axis p is sample (offset + p) // by


def of_plane(plane: Plane, rows: Axis, columns: Axis) -> Plane:
    """The means of a plane's samples."""
    sums = _sums(plane.astype(np.int32), *rows)
    small = _sums(sums.T, *columns).T
    area = (BY // rows[0]) * (BY // columns[0])
    means: Plane = ((small + area // 2) // area).astype(np.uint8)
    return means


def _sums(x: NDArray[np.int32], by: int, offset: int, length: int) -> NDArray[np.int32]:
    """Sums of BY // by samples along the first axis; the last one repeats."""
    count, each = -(-length // BY), BY // by
    places = offset // by + np.arange(count * each)
    sums: NDArray[np.int32] = x[np.minimum(places, len(x) - 1)].reshape(count, each, -1).sum(1, dtype=np.int32)
    return sums


def of_blocks(component: JpegPlane, rows: Axis, columns: Axis) -> Plane:
    """The means of a component's blocks, by its DC coefficients alone: of each eight pixels the block of the middle."""
    height, width, _ = component.coefficients.shape
    dc = component.coefficients[_blocks(*rows, height)[:, None], _blocks(*columns, width), 0].astype(np.int32)
    means: Plane = np.clip((dc * int(component.steps[0]) + 4 >> 3) + 128, 0, 255).astype(np.uint8)
    return means


def _blocks(by: int, offset: int, length: int, count: int) -> NDArray[np.int64]:
    middles = BY * np.arange(-(-length // BY)) + min(BY, length) // 2
    blocks: NDArray[np.int64] = np.minimum((offset + middles) // (by * BY), count - 1)
    return blocks
