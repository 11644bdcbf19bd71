"""JPEG 2000 files, bare code streams too."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image

from lgcodec.errors import InputError
from lgcodec.image import Picture, of_array
from lgcodec.readers.whole import optional, whole


def read(image: Image.Image, data: bytes) -> Picture:
    start = data.find(b"\xff\x4f\xff\x51")
    count = struct.unpack_from(">H", data, start + 40)[0]
    parts = [data[start + 42 + 3 * i : start + 45 + 3 * i] for i in range(count)]
    bits = {(part[0] & 127) + 1 for part in parts}
    if any(part[0] & 128 for part in parts) or any(part[1:] != b"\1\1" for part in parts) or len(bits) != 1:
        raise InputError("a JPEG 2000 file of signed or subsampled components is not known to be read whole")
    head = data[:start]
    if b"pclr" in head or b"cmap" in head or re.search(rb"colr\x01..\x00\x00\x00\x12", head, re.DOTALL):
        raise InputError("a JPEG 2000 file with a palette or in YCC is not known to be read whole")
    lost = ["its colour profile"] if re.search(rb"colr\x02", head) else []
    lost += [f"box {kind}" for kind in _boxes(data) if kind not in ("jP", "ftyp", "jp2h", "jp2c")]
    depth, channels = bits.pop(), len(parts)
    if (depth == 8 and channels <= 4) or (depth == 16 and channels == 1):
        return whole(image, tuple(lost))
    if depth == 16 and channels in (3, 4):
        array = optional("imagecodecs", "JPEG 2000 with 16 bits a channel").jpeg2k_decode(data)
        if array.dtype != np.uint16 or array.shape != (image.height, image.width, channels):
            raise InputError("this JPEG 2000 file is not read whole")
        return replace(of_array(array), lost=tuple(lost))
    raise InputError(f"a JPEG 2000 file of {channels} components of {depth} bits, of which 8 would be read")


def _boxes(data: bytes) -> Iterator[str]:
    """The top-level boxes of a JP2 file; none of a bare code stream."""
    place = 0
    while data[4:8] == b"jP  " and place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        if size == 1 and place + 16 <= len(data):
            size = struct.unpack_from(">Q", data, place + 8)[0]
        yield kind.decode("latin-1").strip()
        if size < 8:
            return
        place += size
