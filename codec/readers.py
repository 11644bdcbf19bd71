"""Image files, Pillow images and arrays, read whole or refused.

Readers drop what they do not know: Pillow cuts 16 bits a channel to 8, leaves bands out, multiplies alpha back. So
only combinations of format, raw mode, depth, samples a pixel and extra samples that are known to be read whole are
accepted, whatever else Pillow opens; and what a file holds beside its one image is kept, named in `Picture.lost`, or,
where it is an image as well, a reason to refuse.
"""

from __future__ import annotations

import io
import os
import re
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lgcodec import metadata, pnm, tiff
from lgcodec.errors import InputError, LgcodecError, LimitError
from lgcodec.files import bytes_of
from lgcodec.image import BY_PILLOW, MODES, Mode, Picture, Samples, Source, of_array
from lgcodec.metadata import PNG_SIGNATURE, Chunk, PngParts, parse_png

# Image mode and raw mode of each format of Pillow's whose pixels are all read; the formats in _CAREFUL say more.
WHOLE: dict[str, set[tuple[str, str]]] = {
    "BMP": {("1", "1"), ("P", "P;1"), ("P", "P;4"), ("P", "P"), ("L", "L"), ("L", "L;1"), ("L", "L;4")}
    | {("RGB", "BGR"), ("RGB", "BGR;15"), ("RGB", "BGR;16"), ("RGB", "BGRX"), ("RGBA", "BGRA")},
    "TGA": {("1", "1"), ("L", "L"), ("LA", "LA"), ("P", "P"), ("RGB", "BGR"), ("RGBA", "BGRA")},
    "QOI": {("RGB", "RGB"), ("RGBA", "RGBA")},
    "JPEG": {("L", "L"), ("RGB", "RGB")},
    "GIF": {("L", "L"), ("P", "P")},
    "WEBP": {("RGB", "RGB"), ("RGBA", "RGBA")},
    "AVIF": {("RGB", "RGB"), ("RGBA", "RGBA")},
    "JPEG2000": {("L", "L"), ("LA", "LA"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("I;16", "I;16")},
    "TIFF": {("1", ""), ("L", ""), ("LA", ""), ("P", ""), ("RGB", ""), ("RGBA", ""), ("I;16", ""), ("I;16B", "")},
}
JPEG_SIGNATURE = b"\xff\xd8\xff"
# Colour type and bit depth of PNG.
PNG_MODES = {(0, 1): 0, (0, 2): 1, (0, 4): 1, (0, 8): 1, (0, 16): 6, (2, 8): 4, (2, 16): 9, (3, 1): 3, (3, 2): 3}
PNG_MODES |= {(3, 4): 3, (3, 8): 3, (4, 8): 2, (4, 16): 8, (6, 8): 5, (6, 16): 10}
# Photometric interpretation, bits of each sample, and extra samples of TIFF, all unsigned. Extra 2 is alpha as such.
TIFF_MODES: dict[tuple[int, tuple[int, ...], tuple[int, ...]], int] = {
    **{(photometric, (bits,), ()): 0 if bits == 1 else 1 for photometric in (0, 1) for bits in (1, 2, 4, 8)},
    (1, (16,), ()): 6,
    (1, (8, 8), (2,)): 2,
    (1, (16, 16), (2,)): 8,
    (2, (8,) * 3, ()): 4,
    (2, (16,) * 3, ()): 9,
    (2, (8,) * 4, (2,)): 5,
    (2, (16,) * 4, (2,)): 10,
    **{(3, (bits,), ()): 3 for bits in (1, 2, 4, 8)},
}
_TIFF_JPEG = (6, (7,))  # YCbCr as JPEG stores it, which libtiff renders
# The two halves of each sample, where Pillow reads only one: raw modes of the first and of the second byte
_HALVES = {"RGB": ("RGB;16B", "RGB;16L"), "RGBA": ("RGBA;16B", "RGBA;16L")}
_STDERR = threading.Lock()


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
        picture = _of_image(source)
    else:
        with _decoding():
            data = bytes(bytes_of(source))
            if keep and data[:3] == JPEG_SIGNATURE:
                if strip:
                    raise InputError("a JPEG file is kept as it is: --strip needs --pixels as well")
                return _file(data)
            picture = _of_file(data, strip)
    if strip:
        return picture.stripped()
    metadata.check_size(picture.chunks)
    return picture


@contextmanager
def _decoding() -> Iterator[None]:
    """What decoders raise for files they cannot read, as our errors: Pillow's raise anything at all."""
    try:
        yield
    except (LgcodecError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise LimitError(f"{error}: raise PIL.Image.MAX_IMAGE_PIXELS (--max-pixels) to read it") from error
    except OSError as error:
        if error.errno is not None:  # of the path, not of the pixels
            raise
        raise InputError(f"damaged image file: {error}") from error
    except Exception as error:
        raise InputError(f"damaged image file: {str(error) or type(error).__name__}") from error


def _of_file(data: bytes, strip: bool) -> Picture:
    if data[:8] == PNG_SIGNATURE:
        return _png(data, strip)
    if pnm.is_anymap(data):
        return _anymap(data)
    if not data:
        raise InputError("an empty file")
    if data[:4] in (b"\x89LGC", b"\x89LGS"):
        raise InputError("an lgcodec file already (decompress restores it)")
    if b"IHDR" in data[:24]:
        raise InputError("damaged PNG file: its first bytes were changed, as by a transfer in text mode")
    try:
        image = Image.open(io.BytesIO(data), formats=list(WHOLE))
    except UnidentifiedImageError as error:
        kinds = ", ".join(["PNG", "PNM", *WHOLE]).lower()
        raise InputError(f"not an image file of a kind that is read whole ({kinds}), or a damaged one") from error
    with image:
        _refuse_several(getattr(image, "n_frames", 1), "images")
        form = str(image.format)
        raw = "" if form == "TIFF" else _raw_mode(image)
        if form != "TIFF" and (image.mode, raw) not in WHOLE.get(form, set()):
            raise InputError(f"a {form} file of mode {image.mode} ({raw}) is not known to be read whole")
        return _CAREFUL[form](image, data)


def _refuse_several(count: int, what: str) -> None:
    if count > 1:
        raise InputError(f"a file of {count} {what}: only single images are kept, and the others would be lost")


def _raw_mode(image: Image.Image) -> str:
    """How Pillow is about to read the pixels."""
    for tile in getattr(image, "tile", []):
        arguments = tile[3] if isinstance(tile[3], tuple) and tile[0] != "jpeg2k" else (tile[3],)
        return next((argument for argument in arguments if isinstance(argument, str)), image.mode)
    return image.mode


def _whole(
    image: Image.Image,
    lost: tuple[str, ...] = (),
    extra: tuple[Chunk, ...] = (),
    info: dict[Any, Any] | None = None,
) -> Picture:
    """The picture of an image that Pillow reads whole, with what its `info` says, or another one."""
    image.load()
    mode = BY_PILLOW.get("I;16" if image.mode.startswith("I;16") else image.mode)
    if mode is None:
        raise InputError(f"mode {image.mode} cannot be kept exactly: convert to one of {', '.join(BY_PILLOW)}")
    if 0 in image.size:
        raise InputError("an image without pixels")
    chunks = metadata.of_image(image, image.info if info is None else info)
    return Picture(mode, *image.size, mode.depths[-1], (*chunks, *extra), image, lost)


def _of_image(image: Image.Image) -> Picture:
    """The picture that a Pillow image is when it is handed over."""
    _refuse_several(getattr(image, "n_frames", 1), "images")
    unread = getattr(image, "fp", None) is not None and bool(getattr(image, "tile", None))
    info, lost = dict(image.info), []
    with _decoding():
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
        return _whole(image, tuple(lost), info=info)


def _check_unread(image: Image.Image) -> None:
    """Raises InputError for an image that Pillow has opened, and would not read whole."""
    if image.format == "TIFF":
        file: Any = image.fp  # type: ignore[attr-defined]
        place = file.tell()
        file.seek(0)
        data = file.read()
        file.seek(place)
        cut = _tiff_mode(tiff.read(data)[0]).deep
    elif image.format in ("PNG", "PPM"):
        cut = _is_cut(image)
    else:
        cut = False
        if (image.mode, _raw_mode(image)) not in WHOLE.get(str(image.format), set()):
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


# -- one function a format ---------------------------------------------------------------------------------------------


def _png(data: bytes, strip: bool) -> Picture:
    """PNG: our own chunks, Pillow's pixels; of 16-bit colour it reads one half of each sample at a time."""
    parts = parse_png(data, strip=strip)
    _refuse_several(parts.frames, "frames")
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
    picture = Picture(mode, width, height, depth, tuple(parts.chunks), _png_pixels(bare, mode), tuple(parts.lost))
    if not strip:
        _check_info(parts, picture)
    return picture


def _png_pixels(bare: bytes, mode: Mode) -> Samples | Image.Image:
    if not mode.deep:
        image = Image.open(io.BytesIO(bare), formats=["PNG"])
        image.load()
        if image.mode == "I":  # Pillow before 11
            return Image.fromarray(np.asarray(image).astype(np.uint16))
        return image
    name = mode.pillow.removesuffix(";16")
    if name == "LA":  # its four bytes a pixel look like those of 8-bit RGBA
        return _reread(bare, "RGBA", "RGBA")
    return np.stack([_reread(bare, name, raw) for raw in _HALVES[name]], axis=3).reshape(
        *_reread(bare, name, name + ";16B").shape[:2], mode.channels
    )


def _reread(data: bytes, name: str, raw: str) -> Samples:
    """The pixels of a file as Pillow reads them under another raw mode, uint8 [H, W, C]."""
    with Image.open(io.BytesIO(data), formats=["PNG", "TIFF", "BMP"]) as opened:
        image: Any = opened
        arguments = [(raw, *tile[3][1:]) if isinstance(tile[3], tuple) else raw for tile in image.tile]
        image.tile = [tile._replace(args=args) for tile, args in zip(image.tile, arguments, strict=True)]
        image._mode = name
        return np.asarray(image)


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


def _anymap(data: bytes) -> Picture:
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
    return Picture(picture.mode, picture.width, picture.height, picture.depth, tuple(chunks), picture.pixels, lost)


def _bmp(image: Image.Image, data: bytes) -> Picture:
    if image.mode == "RGB" and _raw_mode(image) == "BGRX":
        fourth = _reread(data, "RGBA", "BGRA")[..., 3]
        if fourth.min() != fourth.max():
            raise InputError("a BMP file whose fourth byte of each pixel says something that would be lost")
    header = struct.unpack_from("<I", data, 14)[0]
    lost: tuple[str, ...] = ()
    if header >= 124 and struct.unpack_from("<I", data, 70)[0] in (0x4C494E4B, 0x4D424544):
        lost = ("its colour profile",)
    if image.info.get("dpi", (0, 0))[0] <= 0:
        image.info.pop("dpi", None)
    return _whole(image, lost)


def _tga(image: Image.Image, data: bytes) -> Picture:
    lost = []
    if data[1] and data[7] != 24:
        raise InputError(f"a TGA file with a colour map of {data[7]} bits is not known to be read whole")
    if data[-18:-2] == b"TRUEVISION-XFILE" and any(struct.unpack("<II", data[-26:-18])):
        lost.append("its extension or developer area")
    if image.info.pop("id_section", b"").strip(b"\0 "):
        lost.append("its image identification")
    return _whole(image, tuple(lost))


def _gif(image: Image.Image, data: bytes) -> Picture:
    box = image.tile[0][1] if image.tile else None  # type: ignore[attr-defined]
    if box != (0, 0, *image.size):
        raise InputError("a GIF file whose picture does not fill its screen is not known to be read whole")
    return _whole(image)


def _qoi(image: Image.Image, data: bytes) -> Picture:
    return _whole(image)


def _file(data: bytes) -> Picture:
    """A JPEG file as it is; nothing is decoded yet."""
    image = Image.open(io.BytesIO(data), formats=["JPEG"])
    return Picture(BY_PILLOW.get(image.mode, BY_PILLOW["RGB"]), *image.size, 8, (), image, (), data)


def kept(data: bytes) -> Picture:
    """As `read` gives a JPEG file that is kept, with metadata; `lost` is what its pixels alone would lose."""
    with _decoding():
        picture = _file(data)
        image: Any = picture.pixels
        extra, lost = _beside(image, data)
        try:
            chunks = metadata.of_image(Image.new(picture.mode.pillow, (1, 1)), image.info)
        except InputError as error:
            return replace(picture, lost=(*lost, str(error)))
        return replace(picture, chunks=(*chunks, *extra), lost=lost)


def _jpeg(image: Image.Image, data: bytes) -> Picture:
    several = image._getmp()  # type: ignore[attr-defined]
    _refuse_several(0 if several is None else int(several.get(0xB001, 1)), "images (or an image and its gain map)")
    extra, lost = _beside(image, data)
    return _whole(image, lost, extra)


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
    behind = len(data) - _jpeg_end(data)
    if behind > 0:
        lost.append(f"{behind:,} bytes after the image")
    return tuple(extra), tuple(lost)


def _jpeg_end(data: bytes) -> int:
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


def _webp(image: Image.Image, data: bytes) -> Picture:
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
    return _whole(image, tuple(lost))


def _avif(image: Image.Image, data: bytes) -> Picture:
    for found in re.finditer(rb"av1C", data):
        if data[found.end() + 2 : found.end() + 3] and data[found.end() + 2] & 0x60:
            raise InputError("an AVIF file of 10 or 12 bits a sample, of which 8 would be read")
    if b"tmap" in data[: struct.unpack_from(">I", data)[0]]:
        raise InputError("an AVIF file with a gain map, which would be lost")
    return _whole(image)


def _jpeg2000(image: Image.Image, data: bytes) -> Picture:
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
        return _whole(image, tuple(lost))
    if depth == 16 and channels in (3, 4):
        array = _optional("imagecodecs", "JPEG 2000 with 16 bits a channel").jpeg2k_decode(data)
        if array.dtype != np.uint16 or array.shape != (image.height, image.width, channels):
            raise InputError("this JPEG 2000 file is not read whole")
        return _of_deep(array, image, tuple(lost))
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


def _of_deep(array: NDArray[Any], image: Image.Image, lost: tuple[str, ...], chunks: tuple[Chunk, ...] = ()) -> Picture:
    picture = of_array(array)
    return Picture(picture.mode, picture.width, picture.height, picture.depth, chunks, picture.pixels, lost)


def _tiff(image: Image.Image, data: bytes) -> Picture:
    """TIFF: its own tags say what it holds, and what Pillow made of it must be that."""
    directories = tiff.read(data)
    _refuse_several(len(directories), "pages")
    found = directories[0]
    if tiff.SUBDIRECTORIES in found.tags:
        raise InputError(f"a file of {1 + found.tags[tiff.SUBDIRECTORIES].count} images, one inside the other")
    mode, planar = _tiff_mode(found), found.number(tiff.PLANAR, 1)
    width, height = found.number(tiff.WIDTH, 0), found.number(tiff.HEIGHT, 0)
    orientation = found.number(tiff.ORIENTATION, 1)
    lost: tuple[str, ...] = ()
    if mode.deep:
        samples = _deep_tiff(image, data, mode, planar, orientation)
        chunks = _tiff_chunks(found)
        picture = Picture(mode, samples.shape[1], samples.shape[0], 16, chunks, samples, lost)
    else:
        with _complaints():
            image.load()
        image.info = {key: value for key, value in image.info.items() if key == "transparency"}
        picture = _whole(image, lost)
        palette = tuple(chunk for chunk in picture.chunks if chunk[0] in metadata.PIXELS)
        picture = Picture(
            picture.mode, picture.width, picture.height, picture.depth, (*palette, *_tiff_chunks(found)), image, lost
        )
        _check_palette(found)
    turned = orientation in (5, 6, 7, 8)
    if picture.mode is not mode or (picture.width, picture.height) != ((height, width) if turned else (width, height)):
        raise InputError(f"this TIFF file is not read whole: mode {picture.mode.pillow} instead of {mode.pillow}")
    return picture


def _tiff_mode(found: tiff.Directory) -> Mode:
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
    if (photometric, found.numbers(tiff.COMPRESSION)) == _TIFF_JPEG and bits == (8, 8, 8) and not extra:
        wire_id = 4
    if wire_id is None or formats != {1} or samples != len(bits):
        raise InputError(
            f"a TIFF file of {samples} samples a pixel, {bits[0]} bits, photometric {photometric}, extra samples "
            f"{list(extra) or 'none'}, format {sorted(formats)}: not known to be read whole ({_tiff_loss(bits, extra)})"
        )
    return MODES[wire_id]


def _tiff_loss(bits: tuple[int, ...], extra: tuple[int, ...]) -> str:
    if 1 in extra:
        return "premultiplied alpha would be changed"
    if extra:
        return f"{len(extra)} bands would be lost"
    return "some of its bits would be lost" if max(bits) > 8 else "its values would be changed"


def _deep_tiff(image: Image.Image, data: bytes, mode: Mode, planar: int, orientation: int) -> Samples:
    """The samples of 16-bit colour, high bytes first: Pillow reads one half of them at a time, and turns them."""
    name = mode.pillow.removesuffix(";16")
    if planar == 1 and name in _HALVES:
        first, second = (_reread_tiff(data, name, raw) for raw in _HALVES[name])
        halves = (first, second) if image.tile[0][3][0].endswith("B") else (second, first)  # type: ignore[attr-defined]
        return np.stack(halves, axis=3).reshape(*first.shape[:2], mode.channels)
    array = _optional("tifffile", "TIFF with 16 bits a channel in planes").imread(io.BytesIO(data))
    if planar == 2 and array.ndim == 3:
        array = array.transpose(1, 2, 0)
    pixels = of_array(np.ascontiguousarray(tiff.turned(array, orientation))).pixels
    if array.shape[2:] != mode.tail or array.dtype != np.uint16 or isinstance(pixels, Image.Image):
        raise InputError("this TIFF file is not read whole")
    return pixels


def _reread_tiff(data: bytes, name: str, raw: str) -> Samples:
    with _complaints():
        return _reread(data, name, raw)


def _tiff_chunks(found: tiff.Directory) -> tuple[Chunk, ...]:
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


def _optional(package: str, what: str) -> Any:
    """A package that reads what Pillow does not. Raises InputError where it is not installed."""
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError as error:
        raise InputError(f"{what} needs the package {package} (pip install {package})") from error


_CAREFUL: dict[str, Callable[[Any, bytes], Picture]] = {
    "BMP": _bmp,
    "TGA": _tga,
    "QOI": _qoi,
    "JPEG": _jpeg,
    "GIF": _gif,
    "WEBP": _webp,
    "AVIF": _avif,
    "JPEG2000": _jpeg2000,
    "TIFF": _tiff,
}
