"""A baseline JPEG file of given coefficients: nothing but its tables, its frame and a scan for each component."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lgcodec.jpeg import file as jpeg
from lgcodec.jpeg import markers, rest
from lgcodec.jpeg.file import Plane
from lgcodec.jpeg.scans import ZIGZAG, Facts

LARGEST = 1023  # of coefficients that baseline files hold, up or down; a mean may be 1 lower, as black is
MOST_SIDE = 0xFFFF


def write(width: int, height: int, planes: Sequence[Plane]) -> bytes:
    """The file. Rows and columns of blocks must be what the size and the sampling factors say; steps below 256."""
    tables: list[bytes] = []
    for plane in planes:
        steps = plane.steps[list(ZIGZAG)].astype(np.uint8).tobytes()
        if steps not in tables:
            tables.append(steps)
    places = [tables.index(plane.steps[list(ZIGZAG)].astype(np.uint8).tobytes()) for plane in planes]
    data = [bytes([0xFF, markers.SOI])]
    data += [bytes([0xFF, markers.DQT, 0, 67, place]) + table for place, table in enumerate(tables)]
    data.append(bytes([0xFF, 0xC0, 0, 8 + 3 * len(planes), 8]) + height.to_bytes(2, "big") + width.to_bytes(2, "big"))
    data.append(bytes([len(planes)]))
    for name, (plane, place) in enumerate(zip(planes, places, strict=True), 1):
        data.append(bytes([name, plane.horizontal << 4 | plane.vertical, place]))
    for name in range(1, len(planes) + 1):  # each with tables of its own
        data.append(bytes([0xFF, markers.DHT, 2, markers.OPTIMAL, markers.OPTIMAL | 0x10]))
        data.append(bytes([0xFF, markers.SOS, 0, 8, 1, name, 0, 0, 63, 0]))
    data.append(bytes([0xFF, markers.EOI]))
    return jpeg.write(rest.pack(b"".join(data), [Facts()] * len(planes)), [plane.coefficients for plane in planes])
