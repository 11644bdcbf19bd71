"""Images that Pillow has opened, and perhaps read: pixels, and what their `info` says."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from lgcodec import tiff
from lgcodec.errors import InputError
from lgcodec.image import Picture
from lgcodec.readers.tiff import mode_of
from lgcodec.readers.whole import WHOLE, decoding, raw_mode, refuse_several, whole


def of_image(image: Image.Image) -> Picture:
    """The picture that a Pillow image is when it is handed over."""
    refuse_several(getattr(image, "n_frames", 1), "images")
    unread = getattr(image, "fp", None) is not None and bool(getattr(image, "tile", None))
    info, lost = dict(image.info), []
    with decoding():
        if unread:
            _check_unread(image)
        tags = getattr(image, "tag_v2", {})
        if image.format == "TIFF":
            lost += [f"TIFF tag {tag}" for tag in tiff.beyond_pixels(tags)]
            if tiff.X_RESOLUTION not in tags:
                info.pop("dpi", None)  # Pillow has made it up
        if image.format == "JPEG" and info.get("jfif_unit") not in (1, 2) and info.get("dpi") == (72, 72):
            info.pop("dpi")
        image.load()
        if "photoshop" in info:
            lost.append("IPTC")
        if image.mode == "I" and _was_deep_grey(image):
            image = Image.fromarray(np.asarray(image).astype(np.uint16))
        return whole(image, tuple(lost), info=info)


def _check_unread(image: Image.Image) -> None:
    """Raises InputError for an image that Pillow has opened, and would not read whole."""
    if image.format == "TIFF":
        file: Any = image.fp  # type: ignore[attr-defined]
        place = file.tell()
        file.seek(0)
        data = file.read()
        file.seek(place)
        cut = mode_of(tiff.read(data)[0]).deep
    elif image.format in ("PNG", "PPM"):
        cut = _is_cut(image)
    else:
        cut = False
        if (image.mode, raw_mode(image)) not in WHOLE.get(str(image.format), set()):
            raise InputError(f"a {image.format} image of mode {image.mode} is not known to be read whole")
    if cut:
        raise InputError(f"mode {image.mode} with 16 bits a channel, of which Pillow reads 8: give the file itself")


def _was_deep_grey(image: Image.Image) -> bool:
    """Whether 16-bit grey was read into 32 bits, as Pillow before 11 did for PNG, and does for PGM."""
    values = np.asarray(image)
    return image.format in ("PNG", "PPM") and int(values.min()) >= 0 and int(values.max()) < 1 << 16


def _is_cut(image: Image.Image) -> bool:
    """Whether Pillow is about to cut 16-bit channels to 8 bits."""
    for tile in getattr(image, "tile", []):
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        raw = next((argument for argument in arguments if isinstance(argument, str)), "")
        if not image.mode.startswith("I") and ";16" in raw:
            return True
        if tile[0] in ("ppm", "ppm_plain") and image.mode != "I" and isinstance(arguments[-1], int):
            return arguments[-1] > 255
    return False
