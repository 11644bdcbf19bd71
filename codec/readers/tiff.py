"""TIFF files: their own tags say what they hold, and what Pillow makes of them must be that."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lgcodec import metadata, tiff
from lgcodec.errors import InputError
from lgcodec.image import MODES, Mode, Picture, Samples, of_array
from lgcodec.metadata import Chunk
from lgcodec.readers.whole import HALVES, optional, refuse_large, refuse_several, reread, whole

# Photometric interpretation, bits of each sample, and extra samples of TIFF, all unsigned. Extra 2 is alpha as such.
TIFF_MODES: dict[tuple[int, tuple[int, ...], tuple[int, ...]], int] = {
    **{(photometric, (bits,), ()): 0 if bits == 1 else 1 for photometric in (0, 1) for bits in (1, 2, 4, 8)},
    (0, (16,), ()): 6,
    (1, (16,), ()): 6,
    (1, (8, 8), (2,)): 2,
    (1, (16, 16), (2,)): 8,
    (2, (8,) * 3, ()): 4,
    (2, (16,) * 3, ()): 9,
    (2, (8,) * 4, (2,)): 5,
    (2, (16,) * 4, (2,)): 10,
    **{(3, (bits,), ()): 3 for bits in (1, 2, 4, 8)},
}
WHITE_IS_ZERO = 0
HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG = (6, (7,))  # YCbCr as JPEG stores it, which libtiff renders
_STDERR = threading.Lock()


def read(image: Image.Image | None, data: bytes) -> Picture:
    """TIFF: its own tags say what it holds, and what Pillow made of it must be that. image: None where Pillow does not
    know such files: 16-bit grey with alpha is read all the same.
    """
    directories = tiff.read(data)
    refuse_several(len(directories), "pages")
    found = directories[0]
    if tiff.SUBDIRECTORIES in found.tags:
        raise InputError(f"a file of {1 + found.tags[tiff.SUBDIRECTORIES].count} images, one inside the other")
    mode, planar = mode_of(found), found.number(tiff.PLANAR, 1)
    width, height = found.number(tiff.WIDTH, 0), found.number(tiff.HEIGHT, 0)
    orientation = found.number(tiff.ORIENTATION, 1)
    name = mode.pillow.removesuffix(";16")
    if image is not None and planar == 1 and mode.deep and name in HALVES:
        samples = _halves(image, data, name)
        picture = Picture(mode, samples.shape[1], samples.shape[0], 16, _chunks(found), samples)
    elif mode.deep or (mode.dtype == "u2" and found.number(tiff.PHOTOMETRIC, 1) == WHITE_IS_ZERO):
        picture = replace(of_array(_samples(data, found, mode)), chunks=_chunks(found))
    elif image is None:
        raise InputError(f"a TIFF file of compression {found.number(tiff.COMPRESSION, 1)}, which Pillow does not read")
    else:
        with _complaints():
            image.load()
        image.info = {key: value for key, value in image.info.items() if key == "transparency"}
        picture = whole(image)
        palette = tuple(chunk for chunk in picture.chunks if chunk[0] in metadata.PIXELS)
        picture = replace(picture, chunks=(*palette, *_chunks(found)))
        _check_palette(found)
    turned = orientation in (5, 6, 7, 8)
    if picture.mode is not mode or (picture.width, picture.height) != ((height, width) if turned else (width, height)):
        raise InputError(f"this TIFF file is not read whole: mode {picture.mode.pillow} instead of {mode.pillow}")
    return picture


def mode_of(found: tiff.Directory) -> Mode:
    """What a directory says its pixels are. Raises InputError for what no reader here keeps."""
    samples = found.number(tiff.SAMPLES, 1)
    bits = found.numbers(tiff.BITS, (1,))
    bits = bits * samples if len(bits) == 1 else bits
    extra = found.numbers(tiff.EXTRA)
    photometric = found.number(tiff.PHOTOMETRIC, -1)
    if len(bits) == 4 and photometric == 2 and not extra:
        extra = (2,)  # as every reader takes it
    formats = set(found.numbers(tiff.FORMAT, (1,)))
    wire_id = TIFF_MODES.get((photometric, bits, extra))
    if (photometric, found.numbers(tiff.COMPRESSION)) == _JPEG and bits == (8, 8, 8) and not extra:
        wire_id = 4
    if wire_id is None or formats != {1} or samples != len(bits):
        raise InputError(
            f"a TIFF file of {samples} samples a pixel, {bits[0]} bits, photometric {photometric}, extra samples "
            f"{list(extra) or 'none'}, format {sorted(formats)}: not known to be read whole ({_loss(bits, extra)})"
        )
    return MODES[wire_id]


def _loss(bits: tuple[int, ...], extra: tuple[int, ...]) -> str:
    if 1 in extra:
        return "premultiplied alpha would be changed"
    if extra:
        return f"{len(extra)} bands would be lost"
    return "some of its bits would be lost" if max(bits) > 8 else "its values would be changed"


def _halves(image: Image.Image, data: bytes, name: str) -> Samples:
    """The samples of 16-bit colour, high bytes first: Pillow reads one half of them at a time, and turns them."""
    first, second = (_reread(data, name, raw) for raw in HALVES[name])
    halves = (first, second) if image.tile[0][3][0].endswith("B") else (second, first)  # type: ignore[attr-defined]
    return np.stack(halves, axis=3).reshape(*first.shape[:2], 2 * first.shape[2])


def _samples(data: bytes, found: tiff.Directory, mode: Mode) -> NDArray[np.uint16]:
    """Samples of 16 bits that Pillow does not read, or not as they are shown, [H, W] or [H, W, C], turned."""
    refuse_large(found.number(tiff.WIDTH, 0), found.number(tiff.HEIGHT, 0))
    array = tiff.samples(data, found)
    if array is None:
        array = optional("tifffile", f"TIFF of mode {mode.pillow} in this layout").imread(io.BytesIO(data))
        if found.number(tiff.PLANAR, 1) == 2 and array.ndim == 3:
            array = array.transpose(1, 2, 0)
    if array.shape[2:] != mode.tail or array.dtype != np.uint16:
        raise InputError("this TIFF file is not read whole")
    if found.number(tiff.PHOTOMETRIC, 1) == WHITE_IS_ZERO:
        array = ~array
    return np.ascontiguousarray(tiff.turned(array, found.number(tiff.ORIENTATION, 1)))


def _reread(data: bytes, name: str, raw: str) -> Samples:
    with _complaints():
        return reread(data, name, raw)


def _chunks(found: tiff.Directory) -> tuple[Chunk, ...]:
    chunks = []
    tags = found.tags
    if tiff.PROFILE in tags:
        chunks.append(metadata.profile(tags[tiff.PROFILE].data))
    x, y = (tags[key].ratio if key in tags else None for key in (tiff.X_RESOLUTION, tiff.Y_RESOLUTION))
    unit = {2: 1.0, 3: 2.54}.get(found.number(tiff.UNIT, 2))
    if x and y and unit and max(x, y) * unit < 1 << 26:
        chunks.append(metadata.density(x * unit, y * unit))
    if tiff.XMP in tags:
        chunks.append(metadata.text(metadata.XMP, tags[tiff.XMP].data.decode("utf-8", "replace")))
    exif = tiff.exif_of(found)
    if exif is not None:
        chunks.append((b"eXIf", exif))
    return tuple(chunks)


def _check_palette(found: tiff.Directory) -> None:
    """Raises InputError for a colour map of more than 8 bits, of which Pillow keeps 8."""
    colours = np.array(found.numbers(tiff.PALETTE), np.int64)
    if len(colours) and bool(((colours % 257 != 0) & (colours % 256 != 0)).any()) and colours.max() > 255:
        raise InputError("a TIFF file with a colour map of 16 bits, of which 8 would be kept")


@contextmanager
def _complaints() -> Iterator[None]:
    """Raises InputError for what libtiff writes to file 2 while it goes on and repairs: it has no other way to say."""
    import tempfile

    with _STDERR, tempfile.TemporaryFile() as heard:
        try:
            kept = os.dup(2)
        except OSError:  # nobody listens
            kept = os.open(os.devnull, os.O_WRONLY)
        os.dup2(heard.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        heard.seek(0)
        said = heard.read().decode("utf-8", "replace").strip()
    if said:
        raise InputError(f"damaged TIFF file: {said.splitlines()[0]}")
