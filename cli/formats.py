"""Image files that keep every pixel, to write a decoded picture into."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from lgcodec.cli.files import JPEG
from lgcodec.errors import InputError, LgcodecError
from lgcodec.image import Picture, of_array

if TYPE_CHECKING:
    from PIL import Image

    from lgcodec.cli.files import Source

PNG = ".png"
TIFF = (".tif", ".tiff")
PNM = (".ppm", ".pgm", ".pbm", ".pnm")
# Pillow's name and options by suffix; PNG, TIFF and PNM have writers of our own, which keep depth and metadata.
_PILLOWS: dict[str, tuple[str, dict[str, Any]]] = {
    ".webp": ("WEBP", {"lossless": True, "exact": True, "method": 4}),
    ".bmp": ("BMP", {}),
    ".tga": ("TGA", {}),
}
SUFFIXES = (PNG, *_PILLOWS, *TIFF, *PNM)


def own_suffix(source: Source) -> str:
    """What a restored file is called where nothing else is said: .jpg where it keeps a JPEG file, .png otherwise."""
    from lgcodec.container import KeptReference
    from lgcodec.info import read_start

    if source.is_stdin:  # which is read once
        return PNG
    try:
        with source.opened() as file:
            return JPEG[0] if isinstance(read_start(file)[0].content, KeptReference) else PNG
    except (LgcodecError, OSError):  # which the work on the file will say
        return PNG


def suffix_of(target: Path | None, source: Source) -> str:
    """The format that a target's name asks for: the source's own where it does not say. Raises InputError for a lossy
    one, but JPEG, which `write` allows where such a file is kept.
    """
    if target is None and source.is_stdin:
        return ""
    suffix = own_suffix(source) if target is None else target.suffix.lower() or own_suffix(source)
    if suffix not in (*SUFFIXES, *JPEG):
        kept = ", ".join(name[1:] for name in SUFFIXES)
        raise InputError(f"{suffix} files would not keep every pixel, or are unknown (there are: {kept})")
    return suffix


def write(picture: Picture, file: BinaryIO, suffix: str, *, check: bool) -> tuple[str, ...]:
    """Writes the picture, and says which of its metadata the format has no place for.

    Raises InputError where the format would change its pixels. check: read a PNG file back as well, although its
    writer always keeps them.
    """
    if picture.file is not None and suffix in ("", *JPEG):
        file.write(picture.file)
        return ()
    if suffix in JPEG:
        raise InputError(f"{suffix} files would not keep every pixel (use .png)")
    lost = picture.lost if picture.file is None else (*picture.lost, "the JPEG file as such")
    if suffix in ("", PNG):
        picture.write_png(file)
        if not check:
            return lost
    elif suffix in TIFF:
        _write_tiff(picture, file)
    elif suffix in PNM:
        _write_pnm(picture, file)
    else:
        _write_by_pillow(picture, file, suffix)
    file.seek(0)
    from lgcodec import readers

    try:
        back = readers.read(file.read())
    except LgcodecError as error:
        raise InputError(f"{suffix} does not keep this image ({error}; use .png)") from error
    if not _is_same(picture, back, suffix):
        raise InputError(f"{suffix} does not keep every pixel of mode {picture.mode.pillow} (use .png)")
    if suffix == PNG:
        return lost
    facts, kept = _facts(picture), _facts(back)
    if suffix in PNM:
        facts.pop("mxVL", None)
    if suffix in TIFF:
        facts.pop("orientation", None)  # readers turn the pixels instead
    return (*(name for name, value in facts.items() if not _holds(kept.get(name), value)), *lost)


def grid_of(pictures: Sequence[NDArray[Any]]) -> NDArray[np.uint8]:
    """Pictures of one size, uint8 or bool, side by side on white, in about as many rows as columns."""
    columns = math.ceil(math.sqrt(len(pictures)))
    height, width = (side + 2 for side in pictures[0].shape[:2])
    rows = -(-len(pictures) // columns)
    grid = np.full((rows * height + 2, columns * width + 2, *pictures[0].shape[2:]), 255, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * height + 2, i % columns * width + 2
        grid[y : y + height - 2, x : x + width - 2] = picture * np.uint8(255 if picture.dtype == bool else 1)
    return grid


def _write_tiff(picture: Picture, file: BinaryIO) -> None:
    from lgcodec import tiff

    if any(kind == b"tRNS" for kind, _ in picture.chunks) and not picture.mode.deep:
        picture = _in_colours(picture)
    info = _info(picture)
    exif = info.get("exif")
    options = {"profile": info.get("icc_profile"), "xmp": info.get("xmp"), "density": info.get("dpi")}
    options["palette"] = picture.palette()
    array = picture.array()
    array = array[..., 0] if array.shape[2:] == (1,) else array
    try:
        tiff.write(array, file, exif=None if exif is None else exif.removeprefix(b"Exif\0\0"), **options)
    except InputError:  # a damaged EXIF block, which is then named as lost
        file.seek(0)
        file.truncate()
        tiff.write(array, file, **options)


def _write_pnm(picture: Picture, file: BinaryIO) -> None:
    from lgcodec import metadata, pnm

    chunks = dict(picture.chunks)
    if picture.mode.pillow in ("P", "LA", "RGBA") or b"tRNS" in chunks:
        picture = of_array(np.asarray(_image(picture).convert("RGB")))  # compared later, with alpha
    array = picture.array()
    array = array[..., 0] if array.shape[2:] == (1,) else array
    if array.ndim == 3 and array.shape[2] != 3:
        raise InputError(f"PNM files do not keep every pixel of mode {picture.mode.pillow} (use .png)")
    word = chunks.get(metadata.MAXVAL, b"")
    maxval, is_scaled = struct.unpack(">I?", word) if len(word) == 5 else (None, True)
    pnm.write(array, file, maxval, is_scaled=is_scaled)


def _write_by_pillow(picture: Picture, file: BinaryIO, suffix: str) -> None:
    """Saves in the picture's own mode, or where the format has none such, in colours.

    By way of memory: Pillow passes over what a full disk does not take of its last block.
    """
    name, options = _PILLOWS[suffix]
    image = _image(picture)
    info = image.info
    if suffix == ".webp":
        options = options | {key: info[key] for key in ("exif", "icc_profile", "xmp") if key in info}
    if "dpi" in info:
        options = options | {"dpi": info["dpi"]}
    try:
        try:
            image.save(saved := io.BytesIO(), name, **options)
        except OSError:
            shown = image.convert("RGBA" if image.has_transparency_data else "RGB")
            shown.save(saved := io.BytesIO(), name, **options)
    except (OSError, ValueError, OverflowError, struct.error) as error:
        raise InputError(f"{suffix} cannot hold this image: {error}") from error
    file.write(saved.getbuffer())


def _image(picture: Picture) -> Image.Image:
    try:
        return picture.image()
    except InputError as error:
        raise InputError(f"16 bits a channel: only PNG, TIFF and, without alpha, PPM keep them ({error})") from error


def _in_colours(picture: Picture) -> Picture:
    """The picture in RGB or RGBA."""
    image = picture.image()
    shown = of_array(np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB")))
    chunks = tuple(chunk for chunk in picture.chunks if chunk[0] not in (b"PLTE", b"tRNS"))
    return Picture(shown.mode, shown.width, shown.height, 8, chunks, shown.pixels)


def _info(picture: Picture) -> Mapping[Any, Any]:
    """Pillow's `info` of a picture, deep ones too."""
    if not picture.mode.deep:
        return picture.image().info
    chunks = tuple(chunk for chunk in picture.chunks if chunk[0] not in (b"tRNS", b"PLTE"))
    pixel = of_array(np.zeros((1, 1, 3), np.uint8))
    return Picture(pixel.mode, 1, 1, 8, chunks, pixel.pixels).image().info


def _facts(picture: Picture) -> dict[str, Any]:
    """What a picture's metadata say, in a form that does not depend on how they are stored."""
    from lgcodec import metadata, tiff

    facts: dict[str, Any] = {}
    info = _info(picture)
    for kind, data in picture.chunks:
        if kind == b"iCCP":
            facts["iCCP"] = info.get("icc_profile")
        elif kind == b"eXIf":
            facts["eXIf"] = data
            try:
                found = tiff.read(data)[0]
            except InputError:
                continue
            facts["orientation"] = found.number(tiff.ORIENTATION, 1)
            facts["eXIf"] = tiff.described(found)
        elif kind == b"iTXt" and data.startswith(metadata.XMP.encode()):
            facts["XMP"] = info.get("xmp")
        elif kind == b"pHYs":
            facts["pHYs"] = tuple(round(side, 1) for side in info.get("dpi", ())) or data
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            facts[f"{kind.decode()} {data.partition(bytes(1))[0].decode('latin-1')}"] = data
        elif kind not in metadata.PIXELS:
            facts[kind.decode()] = data
    return facts


def _holds(kept: Any, value: Any) -> bool:
    """Whether a fact is among those kept; of an EXIF block all fields must be."""
    if isinstance(value, dict):
        return isinstance(kept, dict) and all(_holds(kept.get(key), part) for key, part in value.items())
    return bool(kept == value)


def _is_same(picture: Picture, back: Picture, suffix: str) -> bool:
    """Whether two pictures show the same pixels: of 16 bits as they are, others by their colours and alpha."""
    a, b = (_shown(part) for part in (picture, back))
    if suffix in TIFF:
        a = _turned(a, picture)
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


def _turned(array: NDArray[Any], picture: Picture) -> NDArray[Any]:
    from lgcodec import tiff

    block = dict(picture.chunks).get(b"eXIf")
    try:
        return array if block is None else tiff.turned(array, tiff.read(block)[0].number(tiff.ORIENTATION, 1))
    except InputError:
        return array


def _shown(picture: Picture) -> NDArray[Any]:
    if picture.mode.dtype == "u2":
        return picture.array()
    return np.asarray(picture.image().convert("RGBA"))
