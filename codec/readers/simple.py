"""Formats that take a function each: PNM, BMP, TGA, GIF, QOI, WebP, AVIF."""

from __future__ import annotations

import re
import struct
from dataclasses import replace

import numpy as np
from PIL import Image

from lgcodec import metadata, pnm
from lgcodec.errors import InputError
from lgcodec.image import Picture, of_array
from lgcodec.readers.whole import raw_mode, reread, whole


def anymap(data: bytes) -> Picture:
    limit = None if Image.MAX_IMAGE_PIXELS is None else 2 * Image.MAX_IMAGE_PIXELS
    found = pnm.read(data, limit)
    rest = found.rest.strip()
    if pnm.is_anymap(rest):
        raise InputError("a file of several PNM images: only single images are kept, and the others would be lost")
    picture = of_array(found.samples)
    chunks = [metadata.text("Comment", comment) for comment in found.comments]
    if found.samples.dtype != np.bool_ and found.maxval not in (255, 65535):
        chunks.append((metadata.MAXVAL, struct.pack(">I?", found.maxval, found.is_scaled)))
    lost = (f"{len(found.rest):,} bytes after the image",) if rest else ()
    return replace(picture, chunks=tuple(chunks), lost=lost)


def bmp(image: Image.Image, data: bytes) -> Picture:
    if image.mode == "RGB" and raw_mode(image) == "BGRX":
        fourth = reread(data, "RGBA", "BGRA")[..., 3]
        if fourth.min() != fourth.max():
            raise InputError("a BMP file whose fourth byte of each pixel says something that would be lost")
    header = struct.unpack_from("<I", data, 14)[0]
    lost: tuple[str, ...] = ()
    if header >= 124 and struct.unpack_from("<I", data, 70)[0] in (0x4C494E4B, 0x4D424544):
        lost = ("its colour profile",)
    if image.info.get("dpi", (0, 0))[0] <= 0:
        image.info.pop("dpi", None)
    return whole(image, lost)


def tga(image: Image.Image, data: bytes) -> Picture:
    lost = []
    if data[1] and data[7] != 24:
        raise InputError(f"a TGA file with a colour map of {data[7]} bits is not known to be read whole")
    if data[-18:-2] == b"TRUEVISION-XFILE" and any(struct.unpack("<II", data[-26:-18])):
        lost.append("its extension or developer area")
    if image.info.pop("id_section", b"").strip(b"\0 "):
        lost.append("its image identification")
    return whole(image, tuple(lost))


def gif(image: Image.Image, data: bytes) -> Picture:
    box = image.tile[0][1] if image.tile else None  # type: ignore[attr-defined]
    if box != (0, 0, *image.size):
        raise InputError("a GIF file whose picture does not fill its screen is not known to be read whole")
    return whole(image)


def qoi(image: Image.Image, data: bytes) -> Picture:
    return whole(image)


def webp(image: Image.Image, data: bytes) -> Picture:
    known = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP", b"EXIF", b"XMP "}
    lost = []
    size = struct.unpack_from("<I", data, 4)[0] + 8
    place = 12
    while place + 8 <= min(size, len(data)):
        kind, length = struct.unpack_from("<4sI", data, place)
        if kind not in known:
            lost.append(f"chunk {kind.decode('ascii', 'replace').strip()}")
        place += 8 + length + length % 2
    if len(data) > size:
        lost.append(f"{len(data) - size:,} bytes after the image")
    return whole(image, tuple(lost))


def avif(image: Image.Image, data: bytes) -> Picture:
    for found in re.finditer(rb"av1C", data):
        if data[found.end() + 2 : found.end() + 3] and data[found.end() + 2] & 0x60:
            raise InputError("an AVIF file of 10 or 12 bits a sample, of which 8 would be read")
    if b"tmap" in data[: struct.unpack_from(">I", data)[0]]:
        raise InputError("an AVIF file with a gain map, which would be lost")
    return whole(image)
