"""Pixels that a rendering does not give: where they are, and by how much they differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lgcodec.errors import FormatError
from lgcodec.fields import Reader, varint
from lgcodec.image import Samples

Places = NDArray[np.int64]


def pack(wanted: Samples, rendered: Samples) -> tuple[bytes, int]:
    """n || n gaps || their residuals, channel by channel, of samples uint8 [H, W, C]; and n."""
    channels = wanted.shape[2]
    places = np.flatnonzero((wanted != rendered).any(2).ravel())
    if not len(places):
        return b"", 0
    gaps = np.diff(places, prepend=-1) - 1
    residuals = (wanted - rendered).reshape(-1, channels)[places].T  # modulo 256
    return b"".join([varint(len(places)), *map(varint, gaps.tolist()), residuals.tobytes()]), len(places)


def unpack(data: bytes, area: int, channels: int) -> tuple[Places, Samples]:
    """Places [n], ascending, and residuals uint8 [n, channels]. Raises FormatError."""
    if not data:
        return np.zeros(0, np.int64), np.zeros((0, channels), np.uint8)
    reader = Reader(memoryview(data), 0)
    count = reader.varint(1, min(area, len(data)))
    places = np.cumsum([reader.varint(0, area) + 1 for _ in range(count)], dtype=np.int64) - 1
    if places[-1] >= area or reader.left() != count * channels:
        raise FormatError("exceptions that are not within the image, or not so many as their list says")
    return places, np.frombuffer(reader.take(reader.left()), np.uint8).reshape(channels, count).T


def apply(samples: Samples, places: Places, residuals: Samples, width: int, left: int, top: int) -> None:
    """Adds the residuals to those pixels that are in the samples [h, w, C], which begin at (left, top) of an image."""
    y, x = places // width - top, places % width - left
    inside = (y >= 0) & (y < samples.shape[0]) & (x >= 0) & (x < samples.shape[1])
    samples[y[inside], x[inside]] += residuals[inside]
