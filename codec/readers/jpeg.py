"""JPEG files, as the files that they are or as their pixels."""

from __future__ import annotations

import io
import re
import struct
from dataclasses import replace
from typing import Any

from PIL import Image

from lgcodec import metadata
from lgcodec.errors import InputError
from lgcodec.image import BY_PILLOW, NOTHING, Picture
from lgcodec.metadata import Chunk
from lgcodec.readers.whole import decoding, refuse_several, whole

JPEG_SIGNATURE = b"\xff\xd8\xff"


def file_of(data: bytes) -> Picture:
    """A JPEG file as it is; nothing is decoded yet. One that is too damaged to be opened is said to be of one pixel."""
    try:
        with decoding():
            image = Image.open(io.BytesIO(data), formats=["JPEG"])
    except InputError:
        return Picture(BY_PILLOW["L"], 1, 1, 8, (), NOTHING, (), data)
    return Picture(BY_PILLOW.get(image.mode, BY_PILLOW["RGB"]), *image.size, 8, (), image, (), data)


def kept(data: bytes) -> Picture:
    """As `read` gives a JPEG file that is kept, with metadata; `lost` is what its pixels alone would lose."""
    with decoding():
        picture = file_of(data)
        if picture.pixels is NOTHING:
            return picture
        image: Any = picture.pixels
        extra, lost = _beside(image, data)
        try:
            chunks = metadata.of_image(Image.new(picture.mode.pillow, (1, 1)), image.info)
        except InputError as error:
            return replace(picture, lost=(*lost, str(error)))
        return replace(picture, chunks=(*chunks, *extra), lost=lost)


def read(image: Image.Image, data: bytes) -> Picture:
    several = image._getmp()  # type: ignore[attr-defined]
    refuse_several(0 if several is None else int(several.get(0xB001, 1)), "images (or an image and its gain map)")
    extra, lost = _beside(image, data)
    return whole(image, lost, extra)


def _beside(image: Any, data: bytes) -> tuple[tuple[Chunk, ...], tuple[str, ...]]:
    """What a JPEG file holds beside its pixels that Pillow's `info` does not say: as chunks, and what is lost."""
    extra, lost = [], []
    known = {"APP0": b"JFIF", "APP1": (b"Exif\0", b"http://ns.adobe.com/xap/"), "APP2": b"ICC_PROFILE", "APP14": b"Ado"}
    for name, content in image.applist:
        if name == "APP13" and content.startswith(b"Photoshop 3.0\0"):
            extra.append(metadata.raw_profile("iptc", content[14:]))
        elif name != "COM" and not content.startswith(known.get(name, ())):
            word = re.match(rb"[!-~ ]{0,28}", content)
            lost.append(f"{name} {word[0].decode() if word else ''}".strip())
    if int(image.info.get("jfif_unit", 0)) not in (1, 2):
        image.info.pop("dpi", None)  # invented
        density = image.info.get("jfif_density", (1, 1))
        if density[0] != density[1]:
            extra.append((b"pHYs", struct.pack(">IIB", *density, 0)))
    comments = [content for name, content in image.applist if name == "COM"]
    extra += [metadata.text("Comment", comment.rstrip(b"\0").decode("utf-8", "replace")) for comment in comments[:-1]]
    behind = len(data) - _end(data)
    if behind > 0:
        lost.append(f"{behind:,} bytes after the image")
    return tuple(extra), tuple(lost)


def _end(data: bytes) -> int:
    """Where the first image of a JPEG file ends: behind its EOI marker, or at the end of the data."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xD9:
            return place + 2
        if marker == 0xFF:  # fill
            place += 1
            continue
        place += 2 if 0xD0 <= marker <= 0xD8 or marker == 1 else 2 + struct.unpack_from(">H", data, place + 2)[0]
        if marker == 0xDA:
            found = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL).search(data, place)
            if found is None:
                return len(data)
            place = found.end() - 2
    return min(place + 2, len(data)) if data[place : place + 2] == b"\xff\xd9" else len(data)
