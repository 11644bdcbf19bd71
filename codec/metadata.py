"""Metadata as PNG chunks, the one form that is kept here: to and from a Pillow image's `info`, and its limits.

A chunk is (type, data). What a PNG file has is kept byte for byte; the metadata of any other Pillow image is what
Pillow itself writes into a PNG of one pixel, and reads from one.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from PIL import Image, PngImagePlugin

from lgcodec import tiff
from lgcodec.errors import FormatError, InputError, LimitError

Chunk = tuple[bytes, bytes]  # a PNG chunk's type and data

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PLACE = b"IDAT"  # as an empty chunk in a list: where the pixels were among the others
ANIMATION = (b"acTL", b"fcTL", b"fdAT")
PIXELS = (b"PLTE", b"tRNS", PLACE)  # what the pixels mean, which is not metadata
COLOURS = (b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP")
MAXVAL = b"mxVL"  # of a PGM or PPM file: u32, big-endian, and a byte: whether samples were scaled to 8 or 16 bits
MAX_CHUNKS = 1 << 26  # bytes of all chunks, as stored and as their texts and profiles unpack
XMP = "XML:com.adobe.xmp"
_BEFORE_PALETTE = (b"gAMA", b"cHRM", b"sRGB")


def check(chunks: Iterable[Chunk]) -> None:
    """Raises FormatError for chunks that are no palette, no ancillary ones, and not the place of the pixels."""
    types = [kind for kind, _ in chunks]
    for kind, data in chunks:
        if len(kind) != 4 or not kind.isalpha() or not kind.isascii() or kind in ANIMATION:
            raise FormatError(f"{kind!r} is not the type of a chunk that is kept")
        if kind[:1].isupper() and kind != b"PLTE" and (kind != PLACE or data):
            raise FormatError(f"{kind.decode()} is not an ancillary chunk")
    if max(types.count(b"PLTE"), types.count(PLACE)) > 1:
        raise FormatError("a picture has one palette and one place for its pixels")


def check_size(chunks: Iterable[Chunk]) -> None:
    """Raises LimitError where chunks take more than MAX_CHUNKS bytes, stored or unpacked: they could not be read."""
    if sum(len(data) + 9 for _, data in chunks) > MAX_CHUNKS:
        raise LimitError(f"more than {MAX_CHUNKS >> 20} MiB of metadata (--strip leaves it out)")
    _unpacked(chunks)


def stripped(chunks: Iterable[Chunk]) -> tuple[Chunk, ...]:
    """The chunks without metadata: palette, transparency, and the place of the pixels."""
    return tuple(chunk for chunk in chunks if chunk[0] in PIXELS)


def of_appearance(chunks: Iterable[Chunk]) -> tuple[Chunk, ...]:
    """What of the chunks says how pixels are shown: their colours' meaning and the orientation, of EXIF that alone."""
    shown = []
    for kind, data in chunks:
        if kind in COLOURS:
            shown.append((kind, data))
        elif kind == b"eXIf":
            try:
                orientation = tiff.read(data)[0].number(tiff.ORIENTATION, 1)
            except (InputError, IndexError):
                continue
            if 2 <= orientation <= 8:
                block = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, tiff.ORIENTATION, 3, 1, orientation, 0, 0)
                shown.append((kind, block))
    return tuple(shown)


# -- PNG files ---------------------------------------------------------------------------------------------------------


@dataclass
class PngParts:
    """A PNG file taken apart: IHDR's content, the chunks that are kept, the compressed pixels, what is dropped."""

    head: bytes = b""
    chunks: list[Chunk] = field(default_factory=list)
    pixels: list[bytes] = field(default_factory=list)
    frames: int = 1
    lost: list[str] = field(default_factory=list)

    def bare(self, palette: bytes | None) -> bytes:
        """A PNG file of the pixels alone."""
        middle = [] if palette is None else [(b"PLTE", palette)]
        parts = [(b"IHDR", self.head), *middle, *((b"IDAT", data) for data in self.pixels), (b"IEND", b"")]
        file = io.BytesIO(PNG_SIGNATURE)
        file.seek(0, io.SEEK_END)
        for kind, data in parts:
            write_chunk(file, kind, data)
        return file.getvalue()


def parse_png(data: bytes | memoryview, *, strip: bool = False) -> PngParts:
    """The parts of a PNG file. Raises InputError where a chunk is damaged, missing or critical and unknown.

    strip: leave metadata out, damaged or not.
    """
    parts = PngParts()
    place = len(PNG_SIGNATURE)
    while True:
        if place + 12 > len(data):
            raise InputError("truncated PNG file: it has no IEND chunk")
        size, kind = struct.unpack_from(">I4s", data, place)
        end = place + 8 + size
        if not kind.isalpha() or not kind.isascii():
            raise InputError("damaged PNG file: a chunk has no proper type")
        if end + 4 > len(data):
            raise InputError(f"truncated PNG file: it ends inside chunk {kind.decode()}")
        content = bytes(data[place + 8 : end])
        kept = not strip or kind[:1].isupper() or kind in PIXELS
        if kept and struct.unpack_from(">I", data, end)[0] != zlib.crc32(content, zlib.crc32(kind)):
            way = " (--strip reads the image without its metadata)" if kind[:1].islower() else ""
            raise InputError(f"damaged PNG file: the checksum of chunk {kind.decode()} is wrong{way}")
        if not parts.head and kind != b"IHDR":
            raise InputError("damaged PNG file: it does not begin with IHDR")
        place = end + 4
        if kind == b"IEND":
            break
        if kept:
            _take(parts, kind, content)
    if not parts.pixels:
        raise InputError("damaged PNG file: it has no pixels (no IDAT chunk)")
    if place < len(data):
        parts.lost.append(f"{len(data) - place:,} bytes after the PNG's end")
    if parts.chunks[-1:] == [(PLACE, b"")]:
        parts.chunks.pop()
    try:
        check(parts.chunks)
    except FormatError as error:
        raise InputError(f"damaged PNG file: {error}") from error
    return parts


def _take(parts: PngParts, kind: bytes, content: bytes) -> None:
    if kind == b"IHDR":
        if parts.head or len(content) != 13:
            raise InputError("damaged PNG file: it has more than one IHDR chunk, or one of a wrong size")
        parts.head = content
    elif kind == PLACE:
        if not parts.pixels:
            parts.chunks.append((PLACE, b""))
        elif parts.chunks[-1][0] != PLACE:
            raise InputError("damaged PNG file: other chunks stand between those of its pixels")
        parts.pixels.append(content)
    elif kind == b"acTL":
        parts.frames = int.from_bytes(content[:4], "big")
        parts.lost.append("acTL")
    elif kind == b"fdAT":
        parts.frames = max(2, parts.frames)
    elif kind in ANIMATION:
        pass
    elif kind == b"PLTE" or kind[:1].islower():
        parts.chunks.append((kind, content))
    else:
        raise InputError(f"PNG file with an unknown critical chunk {kind.decode()}")


def write_chunk(file: IO[bytes], kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))


# -- Pillow's info -----------------------------------------------------------------------------------------------------


def of_image(image: Image.Image, info: dict[Any, Any]) -> tuple[Chunk, ...]:
    """The chunks of a PNG of one pixel with this loaded image's palette, and metadata as this `info` says them.

    Raises InputError for metadata that Pillow cannot write.
    """
    pixel = image.crop((0, 0, 1, 1))
    pixel.info = dict(info)
    extra = PngImagePlugin.PngInfo()
    try:
        for kind, content in _colorimetry(info):
            extra.add(kind, content)
        texts: dict[Any, Any] = {}
        for key, text in (getattr(image, "text", None) or {}).items():
            if info.get(key) == text:  # `info` is what people edit
                texts[key] = text
        texts |= {key: value for key, value in info.items() if isinstance(value, PngImagePlugin.iTXt)}
        xmp = info.get("xmp")
        texts.pop(XMP, None)
        if isinstance(xmp, (bytes, str)):
            text = xmp.decode("utf-8", "surrogateescape") if isinstance(xmp, bytes) else xmp
            texts[XMP] = PngImagePlugin.iTXt(text)
        comment = info.get("comment")
        if isinstance(comment, (bytes, str)) and "Comment" not in texts:
            texts["Comment"] = comment.decode("utf-8", "replace") if isinstance(comment, bytes) else comment
        for key, text in texts.items():
            _add_text(extra, str(key), text)
        if image.mode == "1" or image.mode in ("LA", "RGBA"):
            pixel.info.pop("transparency", None)
        if isinstance(info.get("icc_profile"), str):
            raise TypeError("an ICC profile is bytes")
        options = {key: info[key] for key in ("dpi", "exif") if info.get(key)}
        file = io.BytesIO()
        pixel.save(file, "PNG", pnginfo=extra, **options)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, struct.error) as error:
        raise InputError(f"metadata that Pillow cannot write: {error}") from error
    return tuple(parse_png(file.getvalue()).chunks)


def info_of(chunks: tuple[Chunk, ...], pixel: bytes) -> PngImagePlugin.PngImageFile:
    """The Pillow image of one pixel with these chunks: `pixel` is a PNG file of it without them.

    Raises FormatError for what Pillow cannot read, LimitError for what unpacks to more than MAX_CHUNKS.
    """
    parts = parse_png(pixel)
    file = io.BytesIO(PNG_SIGNATURE)
    file.seek(0, io.SEEK_END)
    write_chunk(file, b"IHDR", parts.head)
    profile, plain = _unpacked(chunks)
    for kind, data in plain:
        if kind != PLACE:
            write_chunk(file, kind, data)
    write_chunk(file, b"IDAT", b"".join(parts.pixels))
    write_chunk(file, b"IEND", b"")
    file.seek(0)
    try:
        image = PngImagePlugin.PngImageFile(file)
        image.load()
    except Exception as error:
        raise FormatError(f"metadata that Pillow cannot read: {error}") from error
    if profile is not None:
        image.info["icc_profile"] = profile
    return image


def _unpacked(chunks: Iterable[Chunk]) -> tuple[bytes | None, list[Chunk]]:
    """The ICC profile, and the other chunks with their texts unpacked: Pillow reads no more than 1 MiB of packed ones.

    Raises LimitError where that takes more than MAX_CHUNKS.
    """
    profile, plain, left = None, [], MAX_CHUNKS
    for kind, data in chunks:
        name, _, rest = data.partition(b"\0")
        if kind == b"iCCP" and rest[:1] == b"\0":
            profile = _inflate(rest[1:], left)
            left -= len(profile or b"")
        elif kind == b"zTXt" and rest[:1] == b"\0":
            text = _inflate(rest[1:], left) or b""
            left -= len(text)
            plain.append((b"tEXt", name + b"\0" + text))
        elif kind == b"iTXt" and rest[:2] == b"\1\0" and rest.count(b"\0") >= 3:
            language, key, packed = rest[2:].split(b"\0", 2)
            unpacked = _inflate(packed, left)
            if unpacked is not None:
                left -= len(unpacked)
                plain.append((b"iTXt", b"\0".join([name, b"\0\0" + language, key, unpacked])))
        elif kind != b"iCCP":
            plain.append((kind, data))
    return profile, plain


def _inflate(data: bytes, left: int) -> bytes | None:
    """A zlib stream's content, None where it is damaged."""
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(data, left + 1)
    except zlib.error:
        return None
    if len(content) > left:
        raise LimitError(f"metadata that unpacks to more than {MAX_CHUNKS >> 20} MiB (--strip leaves it out)")
    return content if unpacker.eof else None


def _add_text(extra: PngImagePlugin.PngInfo, key: str, text: Any) -> None:
    name = key.encode("latin-1", "strict")
    if isinstance(text, PngImagePlugin.iTXt) or not _is_latin(str(text)):
        language = (getattr(text, "lang", None) or "").encode()
        translated = (getattr(text, "tkey", None) or "").encode()
        content = str(text).encode("utf-8", "surrogateescape")
        extra.add(b"iTXt", b"\0".join([name, b"\0\0" + language, translated, content]))
    else:
        extra.add(b"tEXt", name + b"\0" + str(text).encode("latin-1"))


def _is_latin(text: str) -> bool:
    return not re.search("[^\x01-\xff]", text)


def _colorimetry(info: dict[Any, Any]) -> Iterator[Chunk]:
    gamma, chromaticity, intent = info.get("gamma"), info.get("chromaticity"), info.get("srgb")
    if gamma is not None:
        yield b"gAMA", struct.pack(">I", round(gamma * 100000))
    if chromaticity is not None:
        yield b"cHRM", struct.pack(">8I", *(round(c * 100000) for c in chromaticity))
    if intent is not None:
        yield b"sRGB", bytes([intent])


def raw_profile(name: str, data: bytes) -> Chunk:
    """A block that PNG has no chunk for, as ImageMagick and ExifTool keep it: hexadecimal in a zTXt chunk."""
    digits = data.hex()
    lines = [digits[i : i + 72] for i in range(0, len(digits), 72)]
    text = f"\n{name}\n{len(data):8d}\n" + "\n".join(lines) + "\n"
    return b"zTXt", f"Raw profile type {name}".encode() + b"\0\0" + zlib.compress(text.encode(), 9)


def text(key: str, content: str) -> Chunk:
    """A tEXt chunk, or an iTXt one where Latin-1 does not do."""
    if key != XMP and _is_latin(content):
        return b"tEXt", key.encode("latin-1") + b"\0" + content.encode("latin-1")
    return b"iTXt", key.encode("latin-1") + b"\0\0\0\0\0" + content.encode("utf-8", "replace")


def density(x: float, y: float) -> Chunk:
    """Dots per inch as a pHYs chunk."""
    return b"pHYs", struct.pack(">IIB", round(x / 0.0254), round(y / 0.0254), 1)


def profile(icc: bytes) -> Chunk:
    """An ICC profile as an iCCP chunk."""
    return b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc, 9)
