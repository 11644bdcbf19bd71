"""Rectangles of pixels, (x0, y0, x1, y1), and how tiles cover an image."""

from __future__ import annotations

from collections.abc import Iterator


def tile_boxes(width: int, height: int, tile_width: int, tile_height: int) -> Iterator[Box]:
    """The tiles of an image in raster order; those at the right and bottom are cut."""
    for y in range(0, height, tile_height):
        for x in range(0, width, tile_width):
            yield x, y, min(x + tile_width, width), min(y + tile_height, height)


Box = tuple[int, int, int, int]  # x0, y0, x1, y1: the pixels with x0 <= x < x1 and y0 <= y < y1
