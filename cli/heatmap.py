"""Where a file's bits went, as a picture: each tile in the colour of its bits a pixel, and a scale beside it."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lgcodec import container, origins
from lgcodec.container import Header, KeptReference, OriginReference
from lgcodec.errors import InputError

SIDE = 1024  # pixels of the longer side
RAMP = np.array([(13, 8, 135), (126, 3, 168), (204, 71, 120), (248, 149, 64), (240, 249, 33)], float)  # dark is cheap
BAR, LABELS, GAP = 18, 64, 10
_ANY = 1 << 62  # pixels


def rates(header: Header, parts: Sequence[Header] = ()) -> NDArray[np.float64]:
    """Bits a pixel of each place, [h, w], where the longer of both is at most SIDE: of all streams over it. parts: of a
    file with an origin, whose maps are laid over the image, one upon the other.

    Headers, metadata and exceptions are not counted. Raises InputError for a file whose tiles are one chain, or that
    keeps a JPEG file, as such or as a part.
    """
    scale = max(1.0, max(header.width, header.height) / SIDE)
    bits = np.zeros((max(1, round(header.height / scale)), max(1, round(header.width / scale))))
    if isinstance(header.content, OriginReference):
        origin = origins.read(header.content.data, header.mode.pillow, header.width, header.height)
        for part, what in zip(parts, origin.parts(), strict=True):
            own = rates(part) * (part.width * part.height) / (header.width * header.height)
            if what.is_bits:  # rows of bits, which lie under no columns
                own = own.mean(axis=1, keepdims=True)
            rows, columns = (np.arange(n) * m // n for n, m in zip(bits.shape, own.shape, strict=True))
            bits += own[rows[:, None], columns]
        return bits
    if isinstance(header.content, KeptReference):
        raise InputError("the file keeps a JPEG file, frequency by frequency: a map of pixels is not drawn")
    if header.content.chain is not None:
        raise InputError("the tiles of the file are one chain: which bits are whose is not said")
    for (_, (x0, y0, x1, y1)), entry in zip(header.boxes(), header.content.index, strict=True):
        length = entry.length + (entry.base[0] if entry.base else 0)
        left, top = int(x0 / scale), int(y0 / scale)
        bits[top : max(top + 1, round(y1 / scale)), left : max(left + 1, round(x1 / scale))] += (
            8 * length / ((x1 - x0) * (y1 - y0))
        )
    return bits


def rates_of(data: bytes) -> NDArray[np.float64]:
    """The rates of a file, given its bytes. Raises FormatError, and as `rates`."""
    file = container.read(data, max_pixels=_ANY, partial=True)
    parts = file.pieces[1:] if isinstance(file.header.content, OriginReference) else ()
    return rates(file.header, [container.read_header(part, max_pixels=_ANY) for part in parts])


def draw(data: bytes) -> bytes:
    """A PNG file of a file's map with its scale. Raises as `rates_of`."""
    bits = rates_of(data)
    low, high = float(bits.min()), float(bits.max())
    height, width = bits.shape
    tall = max(height, 120)
    picture = Image.new("RGB", (width + GAP + BAR + LABELS, tall + 2 * GAP), (24, 24, 27))
    picture.paste(Image.fromarray(_coloured((bits - low) / max(high - low, 1e-9))), (0, GAP))
    column = np.linspace(1, 0, tall)[:, None].repeat(BAR, 1)
    picture.paste(Image.fromarray(_coloured(column)), (width + GAP, GAP))
    pen = ImageDraw.Draw(picture)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        text = f"{low + share * (high - low):.2f}" + (" b/px" if share == 1 else "")
        pen.text((width + GAP + BAR + 4, GAP + (1 - share) * (tall - 10)), text, fill=(228, 228, 231))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _coloured(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colours [h, w, 3] of values from 0 to 1."""
    places = np.clip(values, 0, 1) * (len(RAMP) - 1)
    return np.stack([np.interp(places, range(len(RAMP)), RAMP[:, c]) for c in range(3)], -1).round().astype(np.uint8)
