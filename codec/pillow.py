"""Pillow's plugin: `import lgcodec.pillow`, and `Image.open` and `Image.save` know .lgc files.

Opening reads the header only; pixels are decoded when Pillow loads them, and `draft` (which `thumbnail` calls) takes
the preview of files that have one instead. Damaged files are an OSError, as of any plugin, with our error as its cause.
"""

from __future__ import annotations

from dataclasses import replace
from typing import IO, Any

import numpy as np
from PIL import Image, ImageFile

from lgcodec import container, image, readers
from lgcodec.codec import Codec
from lgcodec.errors import InputError, LgcodecError
from lgcodec.info import read_start
from lgcodec.options import EFFORT

FORMAT, SUFFIX, MIME = "LGC", ".lgc", "image/x-lgc"
SCALES = (8, 4)  # what previews may be reduced by: finer, they would be seen to be near the image only
OPTIONS = ("model", "effort", "device", "threads", "verify", "tile")  # of Codec
XMP = "XML:com.adobe.xmp"


class LgcImageFile(ImageFile.ImageFile):
    """An .lgc file that Pillow opened."""

    format = FORMAT
    format_description = "lgcodec, learned lossless compression"

    def _open(self) -> None:
        self._scale = 1  # the preview is reduced by it; 1 is the image itself
        try:
            self._header, chunks, _ = read_start(_file(self))
            header = self._header
            samples = np.zeros((1, 1, header.mode.channels), np.uint8)
            pixel = image.Picture(header.mode, 1, 1, header.depth, chunks, samples).image()
        except LgcodecError as error:
            raise OSError(str(error)) from error
        self._mode, self._size = pixel.mode, (header.width, header.height)
        self.info.update(pixel.info)
        self.text: dict[str, str] = getattr(pixel, "text", {})
        if pixel.palette is not None:
            self.palette = pixel.palette
        self.tile = [ImageFile._Tile("lgc", (0, 0, *self.size), 0, ())]

    def load(self) -> Any:
        """Decodes the file, once. Raises OSError where it is damaged, or its model is not here."""
        if not self.tile:
            return super().load()
        try:
            pixels = self._decoded()
        except LgcodecError as error:
            raise OSError(str(error)) from error
        self.im, self._mode, self.tile = pixels.im, pixels.mode, []  # a kept file may show CMYK, which no header says
        if self._exclusive_fp and self._close_exclusive_fp_after_loading:
            _file(self).close()
        self.fp = None
        if pixels.palette is not None:
            self.palette = pixels.palette
        return Image.Image.load(self)

    def _decoded(self) -> Image.Image:
        file = _file(self)
        file.seek(0)
        if self._scale == 1:
            return Codec().decode(file).image()
        try:
            shown = Image.fromarray(Codec().preview(file.read(self._header.preview_size)))
        except InputError:  # a kept JPEG whose components make no preview
            file.seek(0)
            shown = Codec().decode(file).image()
        return shown if shown.size == self.size else shown.reduce(self._scale)

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, Any] | None:
        """Takes the preview, 4 or 8 times smaller, where `size` is still no larger than that.

        Returns the mode and the box of the whole image in it, or None for files without a preview of all channels.
        """
        if not self.tile or size is None or self._scale > 1 or not self._header.preview_size:
            return None
        if self.mode not in ("L", "RGB"):
            return None
        width, height = self.size
        scales = SCALES if isinstance(self._header.content, container.Tiles) else SCALES[:1]
        fitting = [s for s in scales if width >= s * max(1, size[0]) and height >= s * max(1, size[1])]
        if not fitting:
            return None
        self._scale = fitting[0]
        self._size = (-(-width // self._scale), -(-height // self._scale))
        return self.mode, (0, 0, width / self._scale, height / self._scale)

    def verify(self) -> None:
        """Checks every checksum of the file, decoding nothing. Raises OSError where one is wrong."""
        file = _file(self)
        file.seek(0)
        try:
            container.read(file.read(), max_pixels=self.width * self.height).check()
        except LgcodecError as error:
            raise OSError(str(error)) from error
        super().verify()


def _file(opened: ImageFile.ImageFile) -> IO[bytes]:
    if opened.fp is None:
        raise ValueError("the file is closed")
    return opened.fp


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(container.MAGIC)


def _save(picture: Image.Image, file: IO[bytes], name: str | bytes) -> None:
    """`Image.save(..., effort=, model=, ...)`, and exif=, icc_profile=, xmp=, dpi= instead of what `info` has.

    None or nothing in these leaves it out. Raises as `Codec.compress` does.
    """
    given = getattr(picture, "encoderinfo", {})
    codec = Codec(**{"effort": EFFORT, **{key: given[key] for key in OPTIONS if key in given}})
    file.write(codec.compress(_with_given(picture, given)))


def _with_given(picture: Image.Image, given: dict[str, Any]) -> image.Picture:
    """The picture with the metadata that was given to `save`."""
    found = readers.read(picture)
    metadata = {key: given[key] for key in ("exif", "icc_profile", "xmp", "dpi") if key in given}
    if not metadata:
        return found
    pixel = picture.crop((0, 0, 1, 1))
    text = dict(getattr(picture, "text", None) or {})
    if "xmp" in metadata:
        text.pop(XMP, None)
        pixel.info.pop(XMP, None)
        if isinstance(metadata["xmp"], str):
            metadata["xmp"] = metadata["xmp"].encode()
    if isinstance(metadata.get("exif"), Image.Exif):
        metadata["exif"] = metadata["exif"].tobytes()
    pixel.text = text  # type: ignore[attr-defined]  # as PngImageFile has it
    for key, value in metadata.items():
        if value:
            pixel.info[key] = value
        else:
            pixel.info.pop(key, None)
    return replace(found, chunks=readers.read(pixel).chunks)


Image.register_open(FORMAT, LgcImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, SUFFIX)
Image.register_mime(FORMAT, MIME)
