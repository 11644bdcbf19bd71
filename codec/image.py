"""Pictures: samples, a mode, and the PNG chunks that carry everything else; as arrays, Pillow images and PNG files.

`readers` makes them of files, arrays and Pillow images, `metadata` has the chunks.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, Any, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lgcodec import metadata
from lgcodec.boxes import Box
from lgcodec.errors import FormatError, InputError
from lgcodec.metadata import PLACE, PNG_SIGNATURE, Chunk, write_chunk
from lgcodec.plain import pack_rows, png_filtered

Samples = NDArray[np.uint8]
Source = Union[Image.Image, NDArray[Any], str, "os.PathLike[str]", bytes, bytearray, memoryview, IO[bytes]]

_STRIP = 1 << 20  # samples handled at once where a whole image is walked


@dataclass(frozen=True)
class Mode:
    """One line of the table of modes.

    wire_id: append-only. pillow: Pillow's name. channels: bytes a pixel. subpixels: what bpsp divides by.
    dtype, tail: of the public array, [H, W, *tail]. depths: bits a sample that a PNG of this mode may have.
    deep: of 16 bits a channel and several of them, which Pillow does not have.
    """

    wire_id: int
    pillow: str
    channels: int
    subpixels: int
    dtype: str
    tail: tuple[int, ...]
    depths: tuple[int, ...]
    png_colour: int
    deep: bool = False

    @property
    def byte_order(self) -> str:
        """In which the two bytes of 16-bit samples follow each other, as numpy writes it."""
        return ">" if self.deep else "<"

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.png_colour in (4, 6)

    @property
    def has_bits(self) -> bool:
        """Whether its samples are 0 and 1."""
        return self.dtype == "?"

    @property
    def has_palette(self) -> bool:
        return self.png_colour == 3

    @property
    def is_grey(self) -> bool:
        """Whether it has one channel of light, perhaps with alpha."""
        return self.png_colour in (0, 4)

    @property
    def levels(self) -> int:
        """How many a sample has: 2, 256, or 65536."""
        return 1 << self.depths[-1]


MODES = {
    mode.wire_id: mode
    for mode in (
        Mode(0, "1", 1, 1, "?", (), (1,), 0),
        Mode(1, "L", 1, 1, "u1", (), (2, 4, 8), 0),
        Mode(2, "LA", 2, 2, "u1", (2,), (8,), 4),
        Mode(3, "P", 1, 1, "u1", (), (1, 2, 4, 8), 3),
        Mode(4, "RGB", 3, 3, "u1", (3,), (8,), 2),
        Mode(5, "RGBA", 4, 4, "u1", (4,), (8,), 6),
        Mode(6, "I;16", 2, 1, "u2", (), (16,), 0),  # samples: the low byte, then the high byte
        Mode(7, "L", 1, 1, "u1", (1,), (8,), 0),
        Mode(8, "LA;16", 4, 2, "u2", (2,), (16,), 4, deep=True),  # the high byte, then the low byte
        Mode(9, "RGB;16", 6, 3, "u2", (3,), (16,), 2, deep=True),
        Mode(10, "RGBA;16", 8, 4, "u2", (4,), (16,), 6, deep=True),
    )
}
BY_PILLOW = {mode.pillow: mode for mode in reversed(MODES.values()) if not mode.deep}
BY_ARRAY = {(mode.dtype, mode.tail): mode for mode in reversed(MODES.values()) if not mode.has_palette}
NOTHING: Samples = np.zeros((0, 0, 1), np.uint8)  # the pixels of a file that is kept, and too damaged to show any


@dataclass(frozen=True)
class Picture:
    """An image and all that must come back with it.

    depth: bits a sample in a PNG of it. chunks: its PNG chunks in file order, without IHDR and IEND; an empty IDAT
    stands for the pixels where chunks follow them. pixels: samples uint8 [H, W, channels], or a Pillow image.
    lost: what its file holds beside, in words, that cannot be kept. file: the bytes of a JPEG file that is kept as
    such; the pixels are then those that it shows.
    """

    mode: Mode
    width: int
    height: int
    depth: int
    chunks: tuple[Chunk, ...]
    pixels: Samples | Image.Image
    lost: tuple[str, ...] = ()
    file: bytes | None = None

    @property
    def area(self) -> int:
        """Pixels."""
        return self.width * self.height

    def samples(self, box: Box) -> Samples:
        """The samples of a part, uint8 [y1 - y0, x1 - x0, channels]: bits as 0 and 1, I;16 as two bytes."""
        self._check_shown()
        x0, y0, x1, y1 = box
        if not isinstance(self.pixels, Image.Image):
            return self.pixels[y0:y1, x0:x1]
        if self.file is not None and self.mode.pillow != self.pixels.mode:
            raise InputError(f"pixels of mode {self.pixels.mode} are not known here: take the file itself")
        try:
            part = np.asarray(self.pixels.crop(box))
        except (OSError, SyntaxError) as error:  # of a file that is read only now: one that is kept as it is
            raise InputError(f"the image file is damaged, and kept as it is: {error}") from error
        return _bytes_of(part, self.mode)

    def strips(self) -> Iterator[Samples]:
        """All samples, as strips of whole rows from the top."""
        rows = max(1, _STRIP // (self.width * self.mode.channels))
        for y in range(0, self.height, rows):
            yield self.samples((0, y, self.width, min(y + rows, self.height)))

    def palette(self) -> Samples | None:
        """uint8 [n, 3], n <= 256, of mode P; None for the others. Raises FormatError where there should be one."""
        return palette_of(self.chunks) if self.mode.has_palette else None

    def array(self) -> NDArray[Any]:
        """The pixels as an array: bool, uint8 or uint16, [H, W] or [H, W, channels]; indices for mode P."""
        samples = np.ascontiguousarray(self.samples((0, 0, self.width, self.height)))
        return array_of(samples, self.mode)

    def image(self) -> Image.Image:
        """The Pillow image, with palette and `info`.

        Raises FormatError for chunks that Pillow cannot read, InputError for deep modes, which Pillow does not have.
        """
        if self.mode.deep:
            raise InputError(f"Pillow has no images of mode {self.mode.pillow}: take the array, or write a PNG file")
        self._check_shown()
        size = (self.width, self.height)
        if isinstance(self.pixels, Image.Image):
            image = self.pixels.copy()
            image.info = {}
        elif self.mode.has_bits:
            image = Image.frombytes("1", size, pack_rows(self.pixels[..., 0], 1).tobytes())
        else:
            image = Image.frombytes(self.mode.pillow, size, np.ascontiguousarray(self.pixels).data)
        return self._described(image)

    def _check_shown(self) -> None:
        if self.pixels is NOTHING:
            raise InputError("the image file is damaged, and kept as it is: it shows nothing")

    def _described(self, image: Image.Image) -> Image.Image:
        """`image` with what Pillow reads from a PNG of one pixel with the picture's chunks."""
        if not self.chunks:
            return image
        pixel = replace(self, width=1, height=1, chunks=(), pixels=np.zeros((1, 1, self.mode.channels), np.uint8))
        file = io.BytesIO()
        pixel.write_png(file)
        source = metadata.info_of(self.chunks, file.getvalue())
        if self.mode.has_palette and source.palette is not None:
            image.putpalette(palette_of(self.chunks).tobytes(), "RGB")
        image.info.update(source.info)
        if source.text:
            image.text = source.text  # type: ignore[attr-defined]  # as PngImageFile has it
        return image

    def stripped(self) -> Picture:
        """The picture without metadata."""
        return replace(self, chunks=metadata.stripped(self.chunks), lost=(), file=None)

    def write_png(self, file: IO[bytes]) -> None:
        """Writes a PNG file of the same pixels, depth and chunks. Memory is bounded by a strip of rows."""
        head = struct.pack(">IIBBBBB", self.width, self.height, self.depth, self.mode.png_colour, 0, 0, 0)
        file.write(PNG_SIGNATURE)
        write_chunk(file, b"IHDR", head)
        types = [kind for kind, _ in self.chunks]
        place = types.index(PLACE) if PLACE in types else len(types)
        for kind, data in self.chunks[:place]:
            write_chunk(file, kind, data)
        packer = zlib.compressobj(6)
        for rows in _png_rows(self):
            if data := packer.compress(rows):
                write_chunk(file, b"IDAT", data)
        write_chunk(file, b"IDAT", packer.flush())
        for kind, data in self.chunks[place + 1 :]:
            write_chunk(file, kind, data)
        write_chunk(file, b"IEND", b"")


def array_of(samples: Samples, mode: Mode) -> NDArray[Any]:
    """The public array of contiguous samples uint8 [H, W, channels], without a copy on little-endian machines."""
    shape = (*samples.shape[:2], *mode.tail)
    if mode.dtype == "u2":
        return samples.view(f"{mode.byte_order}u2").reshape(shape).astype(np.uint16, copy=False)
    return samples.view(mode.dtype).reshape(shape)


def palette_of(chunks: tuple[Chunk, ...]) -> Samples:
    """The PLTE chunk as uint8 [n, 3], 1 <= n <= 256. Raises FormatError where there is none."""
    data = dict(chunks).get(b"PLTE", b"")
    if not 3 <= len(data) <= 768 or len(data) % 3:
        raise FormatError("an image of mode P needs a PLTE chunk of 1 to 256 colours")
    return np.frombuffer(data, np.uint8).reshape(-1, 3)


def of_array(array: NDArray[Any]) -> Picture:
    """The picture of an array. Raises InputError where no mode is like it, or where it masks samples."""
    if np.any(getattr(array, "mask", False)):
        raise InputError("the mask of an array is not kept: give its data, or what .filled() makes of it")
    dtype = "?" if array.dtype == np.bool_ else array.dtype.kind + str(array.dtype.itemsize)
    mode = BY_ARRAY.get((dtype, array.shape[2:])) if array.ndim in (2, 3) else None
    if mode is None or array.size == 0:
        raise InputError(
            f"an array of {array.dtype} {list(array.shape)} is no image: expected bool [H, W], uint16 [H, W] or "
            "[H, W, 2 to 4], or uint8 [H, W] or [H, W, 1 to 4], none of them 0"
        )
    height, width = array.shape[:2]
    return Picture(mode, width, height, mode.depths[-1], (), _bytes_of(array, mode))


def _bytes_of(array: NDArray[Any], mode: Mode) -> Samples:
    if mode.dtype == "u2":
        array = array.astype(f"{mode.byte_order}u2")
    if mode.dtype == "?":
        array = array.view(np.uint8) != 0  # Pillow's True is 255
    samples: Samples = np.ascontiguousarray(array).view(np.uint8)
    return samples.reshape(*array.shape[:2], mode.channels)


def _png_rows(picture: Picture) -> Iterator[bytes]:
    """The image's rows as PNG filters them, each behind its filter's type byte."""
    above: Samples | None = None
    for samples in picture.strips():
        rows = _png_bytes(samples, picture.mode, picture.depth)  # [h, bytes a row]
        if picture.depth < 8 or picture.mode.has_palette:
            yield np.pad(rows, ((0, 0), (1, 0))).tobytes()
            continue
        step = samples.shape[2]
        if above is None:
            above = np.zeros_like(rows[:1])
        yield png_filtered(rows, np.concatenate([above, rows[:-1]]), step).tobytes()
        above = rows[-1:]


def _png_bytes(samples: Samples, mode: Mode, depth: int) -> Samples:
    if depth == 16 and not mode.deep:
        samples = samples[..., ::-1]
    if depth >= 8:
        return np.ascontiguousarray(samples).reshape(len(samples), -1)
    values = samples[..., 0]
    scale = 1 if mode.has_bits or mode.has_palette else 255 // ((1 << depth) - 1)
    if bool((values % scale).any()) or int(values.max()) // scale >= 1 << depth:
        raise FormatError(f"pixels that do not fit into {depth} bits a sample, as the file says they do")
    return pack_rows(values // np.uint8(scale), depth)
