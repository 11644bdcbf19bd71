"""Image files, Pillow images and arrays, read whole or refused.

Readers drop what they do not know: Pillow cuts 16 bits a channel to 8, leaves bands out, multiplies alpha back. So
only combinations of format, raw mode, depth, samples a pixel and extra samples that are known to be read whole are
accepted, whatever else Pillow opens; and what a file holds beside its one image is kept, named in `Picture.lost`, or,
where it is an image as well, a reason to refuse.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from lgcodec import metadata, pnm
from lgcodec.errors import InputError
from lgcodec.files import bytes_of
from lgcodec.image import Picture, Source, of_array
from lgcodec.metadata import PNG_SIGNATURE
from lgcodec.readers import jpeg, jpeg2000, png, simple, tiff
from lgcodec.readers.jpeg import JPEG_SIGNATURE, kept
from lgcodec.readers.opened import of_image
from lgcodec.readers.whole import WHOLE, decoding, raw_mode, refuse_several

__all__ = ["kept", "read"]

_CAREFUL: dict[str, Callable[[Any, bytes], Picture]] = {
    "BMP": simple.bmp,
    "TGA": simple.tga,
    "QOI": simple.qoi,
    "JPEG": jpeg.read,
    "GIF": simple.gif,
    "WEBP": simple.webp,
    "AVIF": simple.avif,
    "JPEG2000": jpeg2000.read,
    "TIFF": tiff.read,
}


def read(source: Source, *, strip: bool = False, keep: bool = False) -> Picture:
    """The picture in a Pillow image, an array, or an image file (its path, its bytes, or the file object).

    Arrays: bool [H, W]; uint8 [H, W], [H, W, 1] (grey), [H, W, 2] (with alpha), [H, W, 3], [H, W, 4]; uint16 [H, W],
    [H, W, 2 to 4]. Of Pillow images the metadata are what their `info` says. strip: leave all metadata out. keep: take
    a JPEG file as the file that it is, with whatever it holds.
    Raises InputError for what cannot be read, or not be read whole; LimitError where Pillow finds the image too large;
    OSError for a path that cannot be opened.
    """
    if isinstance(source, np.ndarray):
        return of_array(source)
    if isinstance(source, Image.Image):
        picture = of_image(source)
    else:
        with decoding():
            data = bytes(bytes_of(source))
            if keep and data[:3] == JPEG_SIGNATURE:
                if strip:
                    raise InputError("a JPEG file is kept as it is: --strip needs --pixels as well")
                return jpeg.file_of(data)
            picture = _of_file(data, strip)
    if strip:
        return picture.stripped()
    metadata.check_size(picture.chunks)
    return picture


def _of_file(data: bytes, strip: bool) -> Picture:
    if data[:8] == PNG_SIGNATURE:
        return png.read(data, strip)
    if pnm.is_anymap(data):
        return simple.anymap(data)
    if not data:
        raise InputError("an empty file")
    if data[:4] in (b"\x89LGC", b"\x89LGS"):
        raise InputError("an lgcodec file already (decompress restores it)")
    if b"IHDR" in data[:24]:
        raise InputError("damaged PNG file: its first bytes were changed, as by a transfer in text mode")
    try:
        image = Image.open(io.BytesIO(data), formats=list(WHOLE))
    except UnidentifiedImageError as error:
        if data[:4] in tiff.HEADS:
            return tiff.read(None, data)
        kinds = ", ".join(["PNG", "PNM", *WHOLE]).lower()
        raise InputError(f"not an image file of a kind that is read whole ({kinds}), or a damaged one") from error
    with image:
        refuse_several(getattr(image, "n_frames", 1), "images")
        form = str(image.format)
        raw = "" if form == "TIFF" else raw_mode(image)
        if form != "TIFF" and (image.mode, raw) not in WHOLE.get(form, set()):
            raise InputError(f"a {form} file of mode {image.mode} ({raw}) is not known to be read whole")
        return _CAREFUL[form](image, data)
