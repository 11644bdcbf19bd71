"""Rectangles of pixels, and how tiles cover an image."""

from __future__ import annotations

from collections.abc import Iterator

Box = tuple[int, int, int, int]  # x0, y0, x1, y1: the pixels with x0 <= x < x1 and y0 <= y < y1


def area_of(box: Box) -> int:
    """Pixels of a box; 0 where it is turned inside out."""
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def intersection(a: Box, b: Box) -> Box:
    """The pixels of both; turned inside out where there are none."""
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def tile_boxes(width: int, height: int, tile_width: int, tile_height: int) -> Iterator[Box]:
    """The tiles of an image in raster order; those at the right and bottom are cut."""
    for y in range(0, height, tile_height):
        for x in range(0, width, tile_width):
            yield x, y, min(x + tile_width, width), min(y + tile_height, height)


def even(side: int, most: int, unit: int) -> int:
    """Split `side` into the fewest tiles of nearly equal length <= most; returns that length.

    unit: what the length is a multiple of where there are several tiles; `most` is one.
    """
    count = -(-side // most)
    return side if count == 1 else -(-side // (count * unit)) * unit


def squares(width: int, height: int, side: int, count: int, unit: int = 1) -> list[Box]:
    """About `count` boxes of at most side x side pixels, spread evenly over an image, at multiples of `unit`."""
    w, h = min(side, width), min(side, height)
    columns = max(1, round((count * width / height) ** 0.5))
    rows = max(1, round(count / columns))
    xs = {(width - w) * (2 * i + 1) // (2 * columns) for i in range(columns)}
    ys = {(height - h) * (2 * i + 1) // (2 * rows) for i in range(rows)}
    corners = [(x - x % unit, y - y % unit) for y in sorted(ys) for x in sorted(xs)]
    return [(x, y, x + w, y + h) for x, y in corners]
