"""PNG files: our own chunks, Pillow's pixels."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from lgcodec.errors import InputError, LgcodecError, LimitError
from lgcodec.image import MODES, Mode, Picture, Samples
from lgcodec.metadata import PngParts, parse_png
from lgcodec.readers.whole import HALVES, refuse_several, reread

# Colour type and bit depth of PNG.
PNG_MODES = {(0, 1): 0, (0, 2): 1, (0, 4): 1, (0, 8): 1, (0, 16): 6, (2, 8): 4, (2, 16): 9, (3, 1): 3, (3, 2): 3}
PNG_MODES |= {(3, 4): 3, (3, 8): 3, (4, 8): 2, (4, 16): 8, (6, 8): 5, (6, 16): 10}


def read(data: bytes, strip: bool) -> Picture:
    """PNG: our own chunks, Pillow's pixels; of 16-bit colour it reads one half of each sample at a time."""
    parts = parse_png(data, strip=strip)
    refuse_several(parts.frames, "frames")
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", parts.head)
    if (colour, depth) not in PNG_MODES or compression or filtering or interlace > 1 or not width or not height:
        raise InputError(
            f"damaged PNG file: colour type {colour}, {depth} bits, interlacing {interlace}, {width} x {height} pixels "
            "are no PNG"
        )
    mode = MODES[PNG_MODES[colour, depth]]
    palette = dict(parts.chunks).get(b"PLTE")
    if mode.has_palette and (palette is None or not 3 <= len(palette) <= 768 or len(palette) % 3):
        raise InputError("damaged PNG file: it has no palette of 1 to 256 colours")
    bare = parts.bare(palette if mode.has_palette else None)
    picture = Picture(mode, width, height, depth, tuple(parts.chunks), _pixels(bare, mode), tuple(parts.lost))
    if not strip:
        _check_info(parts, picture)
    return picture


def _pixels(bare: bytes, mode: Mode) -> Samples | Image.Image:
    if not mode.deep:
        image = Image.open(io.BytesIO(bare), formats=["PNG"])
        image.load()
        if image.mode == "I":  # Pillow before 11
            return Image.fromarray(np.asarray(image).astype(np.uint16))
        return image
    name = mode.pillow.removesuffix(";16")
    if name == "LA":  # its four bytes a pixel look like those of 8-bit RGBA
        return reread(bare, "RGBA", "RGBA")
    return np.stack([reread(bare, name, raw) for raw in HALVES[name]], axis=3).reshape(
        *reread(bare, name, name + ";16B").shape[:2], mode.channels
    )


def _check_info(parts: PngParts, picture: Picture) -> None:
    """Raises InputError for chunks that a Pillow image could not be given back with."""
    chunks = [chunk for chunk in picture.chunks if chunk[0] != b"tRNS" or not picture.mode.deep]
    one = Picture(picture.mode, 1, 1, picture.depth, tuple(chunks), np.zeros((1, 1, picture.mode.channels), np.uint8))
    try:
        if not picture.mode.deep:
            one.image()
    except LimitError:
        raise
    except LgcodecError as error:
        raise InputError(f"PNG file with {error} (--strip leaves metadata out)") from error
