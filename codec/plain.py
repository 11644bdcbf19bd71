"""Plain methods: codes for tiles that need no model, and beat it on flat graphics, tiny images and noise.

A plain tile is uint8 [H, W, C], C = 1 to 4, 6 or 8. One method is one `Method` below and one line of `METHODS`; wire
ids are append-only, and 0 is the model's. No decoder allocates more than its tile, whatever the bytes say.
"""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, WebPImagePlugin, features

from lgcodec import contexts
from lgcodec.contexts import Contexts
from lgcodec.deflate import deflate, inflate
from lgcodec.errors import FormatError, VersionError

MODEL, WEBP, CONTEXTS = 0, 5, 9
OLDER = 7, 8  # methods that are only decoded
Tile = NDArray[np.uint8]
Shape = tuple[int, int, int]
HASTE = 0  # the effort where a model is there as well
_LZMA_WINDOW = 1 << 23
_WEBP_SIDE = 1 << 14
_WEBP_AREA = 1 << 26
_WEBP_STRONG = 1 << 18
# Up to this many bytes a tile costs less to try than to think about.
_TINY = 1 << 10
_SMALL = 1 << 14
# Deflate, at its fastest, leaves 0.53 to 0.97 of photographs and 0.01 to 0.40 of drawings, screenshots and sprites.
_PROMISING_RATIO = 0.45
_PROMISING_SMALL = 0.7
_NOISE_RATIO = 0.9  # of the raw bytes, left by deflate and LZMA: there is not much to gain
# Contexts, shorter than this share of WebP's usual best, are the shortest below the effort that tries all.
_CLEAR, _ALL = 0.95, 7
_BANDS = 3
_BAND_ROWS = 16


class Method(Protocol):
    """A pair of inverses. `decode` raises FormatError where `data` is not what `encode` makes for that shape."""

    is_final: ClassVar[bool]  # where it applies, nothing else is shorter
    is_hasty: ClassVar[bool]  # almost always the shortest, in a sixth of the time of trying all

    @property
    def name(self) -> str: ...

    def encode(self, tile: Tile, effort: int) -> bytes | None:
        """The tile's bytes, or None where the method does not apply. effort: 1 to 9."""
        ...

    def decode(self, data: bytes, shape: Shape) -> Tile: ...


@dataclass(frozen=True)
class Solid:
    """One colour: its C bytes."""

    is_final: ClassVar[bool] = True
    is_hasty: ClassVar[bool] = False
    name: str = "solid"

    def encode(self, tile: Tile, effort: int) -> bytes | None:
        return tile[0, 0].tobytes() if bool((tile == tile[0, 0]).all()) else None

    def decode(self, data: bytes, shape: Shape) -> Tile:
        if len(data) != shape[2]:
            raise FormatError(f"a solid tile of {shape[2]} channels takes {shape[2]} bytes, not {len(data)}")
        return np.broadcast_to(np.frombuffer(data, np.uint8), shape)


@dataclass(frozen=True)
class Rows:
    """Packed, differenced rows in one of three wrappings. The first byte says how: bits | left << 4 | up << 5.

    bits: 1, 2, 4 or 8 a sample; rows of narrow samples are packed, the first sample in a byte's highest bits (C = 1).
    left, up: each byte less the same channel's one before it / above it, modulo 256, in this order.
    """

    is_final: ClassVar[bool] = False
    is_hasty: ClassVar[bool] = False
    name: str
    wrapping: str  # "raw", "deflate" or "lzma"

    def encode(self, tile: Tile, effort: int) -> bytes | None:
        bits = _narrowest(tile)
        rows = _pack(tile, bits)
        if self.wrapping == "raw":
            return bytes([bits]) + rows.tobytes()
        flag = min(_differences(bits), key=lambda flag: _roughness(_difference(rows, flag)))
        flags = {0, flag} if tile.size <= _SMALL else {flag}
        return min((bytes([bits | f]) + self._wrap(_difference(rows, f).tobytes()) for f in sorted(flags)), key=len)

    def decode(self, data: bytes, shape: Shape) -> Tile:
        bits, flag = (data[0] & 15, data[0] & ~15) if data else (0, 0)
        if bits not in (1, 2, 4, 8) or flag & ~0x30 or (bits < 8 and shape[2] != 1) or flag not in _differences(bits):
            raise FormatError(f"a tile of rows begins with how they are packed, and {data[:1].hex()!r} is no way")
        height, width, channels = shape
        packed = (height, (width * bits + 7) // 8, channels)
        content = self._unwrap(data[1:], packed[0] * packed[1] * packed[2])
        return _unpack(_undifference(np.frombuffer(content, np.uint8).reshape(packed), flag), bits, width)

    def _wrap(self, content: bytes) -> bytes:
        if self.wrapping == "lzma":
            return lzma.compress(content, lzma.FORMAT_RAW, filters=_lzma_filters(len(content)))
        return deflate(content)

    def _unwrap(self, data: bytes, size: int) -> bytes:
        if self.wrapping == "raw":
            if len(data) != size:
                raise FormatError(f"a raw tile takes {size} bytes, not {len(data)}")
            return data
        if self.wrapping == "lzma":
            return _unlzma(data, size)
        return inflate(data, size)


@dataclass(frozen=True)
class WebP:
    """The VP8L bit stream of RFC 9649 after its 5 header bytes, which the tile's shape implies.

    C = 3 and 4 are RGB and RGBA; one channel goes to green, a second one to alpha, the others are zero.
    """

    is_final: ClassVar[bool] = False
    is_hasty: ClassVar[bool] = True
    name: str = "webp"

    def encode(self, tile: Tile, effort: int) -> bytes | None:
        height, width, channels = tile.shape
        if channels > 4 or max(height, width) >= _WEBP_SIDE or height * width > _WEBP_AREA:
            return None
        if not features.check("webp"):
            return None
        pixels = tile
        if channels < 3:
            pixels = np.zeros((height, width, 2 + channels), np.uint8)
            pixels[..., 1::2] = tile
        image = Image.fromarray(np.ascontiguousarray(pixels))
        codes = []
        for options in _webp_options(height * width, effort):
            file = io.BytesIO()
            image.save(file, "WEBP", lossless=True, exact=True, **options)
            data = file.getvalue()
            if data[12:16] == b"VP8L":
                codes.append(data[25 : 20 + struct.unpack_from("<I", data, 16)[0]])
        return min(codes, key=len, default=None)

    def decode(self, data: bytes, shape: Shape) -> Tile:
        height, width, channels = shape
        if channels > 4 or max(height, width) >= _WEBP_SIDE or height * width > _WEBP_AREA:
            raise FormatError(f"a WebP tile has sides below {_WEBP_SIDE}, at most {_WEBP_AREA} pixels and 4 channels")
        if not features.check("webp"):
            raise VersionError("this file holds WebP tiles, and this build of Pillow has no WebP")
        alpha = channels % 2 == 0
        head = struct.pack("<BI", 0x2F, (width - 1) | (height - 1) << 14 | alpha << 28)
        pad = (len(head) + len(data)) % 2
        chunk = struct.pack("<4sI", b"VP8L", len(head) + len(data)) + head + data + bytes(pad)
        file = struct.pack("<4sI4s", b"RIFF", 4 + len(chunk), b"WEBP") + chunk
        try:
            with WebPImagePlugin.WebPImageFile(io.BytesIO(file)) as image:
                pixels = np.asarray(image)
        except (OSError, EOFError, SyntaxError, ValueError) as error:
            raise FormatError("a WebP tile cannot be decoded") from error
        if pixels.shape != (height, width, 4 if alpha else 3):
            raise FormatError("a WebP tile has another shape than its place")
        return pixels if channels > 2 else pixels[..., 1::2]


@dataclass(frozen=True)
class Png:
    """The deflated rows of a PNG file, each behind its filter's type. The first byte says how: bits | swapped << 4.

    bits: 1, 2, 4 or 8 a sample, as in Rows. swapped: the two bytes of each pixel have changed places (C = 2).
    """

    is_final: ClassVar[bool] = False
    is_hasty: ClassVar[bool] = False
    name: str = "png"

    def encode(self, tile: Tile, effort: int) -> bytes | None:
        return min((bytes([how]) + code for how, code in _png_codes(tile)), key=len)

    def decode(self, data: bytes, shape: Shape) -> Tile:
        bits, swapped = (data[0] & 15, data[0] & ~15) if data else (0, 0)
        height, width, channels = shape
        if bits not in (1, 2, 4, 8) or swapped not in (0, 16) or (bits < 8 and channels != 1):
            raise FormatError(f"a tile of PNG rows begins with how they are packed, and {data[:1].hex()!r} is no way")
        if channels not in _PNG_KINDS or (swapped and channels != 2):
            raise FormatError(f"a tile of {channels} channels is no such PNG")
        size = height * (1 + (width * bits * channels + 7) // 8)
        tile = _unfiltered(inflate(data[1:], size), shape, bits)
        return tile[..., ::-1] if swapped else tile


METHODS: dict[int, Method] = {
    1: Rows("raw", "raw"),
    2: Solid(),
    3: Rows("deflate", "deflate"),
    6: Png(),
    7: Contexts("contexts", contexts.OLDEST),
    8: Contexts("primed contexts", contexts.PRIMED),
    CONTEXTS: Contexts("sure contexts", contexts.SURE),
    4: Rows("lzma", "lzma"),
    WEBP: WebP(),
}
NAMES = {MODEL: "model"} | {wire_id: method.name for wire_id, method in METHODS.items()}
_SLOW = 4  # from here on methods take longer than a look whether they can win


def encode(tile: Tile, effort: int) -> tuple[int, bytes]:
    """The shortest plain code of uint8 [H, W, C]: its method's wire id and its bytes. effort: 1 to 9, or HASTE."""
    hasty = effort == HASTE and tile.size > _SMALL
    tried = {wire_id: method for wire_id, method in METHODS.items() if wire_id not in OLDER}
    for wire_id, method in tried.items():
        if method.is_final or (hasty and method.is_hasty):
            code = method.encode(tile, effort)
            if code is not None and (method.is_final or len(code) < tile.size):
                return wire_id, code
    best = 1, b""
    for wire_id, method in tried.items():  # WebP comes last: its strongest settings take minutes on noise
        busy = bool(best[1]) and len(best[1]) > _NOISE_RATIO * tile.size
        if wire_id == _SLOW and effort < _ALL and tile.size > _SMALL and _is_clear(best, tile):
            break
        code = method.encode(tile, 1 if busy else effort)
        if code is not None and (not best[1] or len(code) < len(best[1])):
            best = wire_id, code
    return best


def _is_clear(best: tuple[int, bytes], tile: Tile) -> bool:
    """Whether contexts are so much shorter than what is called WebP's best that nothing slower need be tried."""
    if best[0] != CONTEXTS:
        return False
    if _narrowest(tile) == 1:
        return True  # of bits WebP takes 0.8 to 0.9 of PNG, contexts half
    webp = METHODS[WEBP].encode(tile, 1)
    return webp is None or len(best[1]) < _CLEAR * len(webp)


def decode(wire_id: int, data: bytes, shape: Shape) -> Tile:
    """The tile, uint8 [H, W, C], perhaps read-only. Raises FormatError, or VersionError for an unknown method."""
    if wire_id not in METHODS:
        raise VersionError(f"coding method {wire_id} is unknown to this release, which knows 0 to {max(METHODS)}")
    return METHODS[wire_id].decode(data, shape)


def is_final(wire_id: int) -> bool:
    """Whether what this method has coded needs no model."""
    return METHODS[wire_id].is_final


def is_promising(tile: Tile) -> bool:
    """Whether plain methods may beat a model on uint8 [H, W, C]: a cheap guess from a few rows."""
    if tile.size <= _TINY:
        return True
    rows = len(tile)
    starts = [rows * band // (_BANDS + 1) for band in range(1, _BANDS + 1)]
    bands = b"".join(tile[start : start + _BAND_ROWS].tobytes() for start in starts)
    if rows <= (_BANDS + 1) * _BAND_ROWS:  # bands would overlap, and repetitions look promising
        bands = tile.tobytes()
    ratio = len(zlib.compress(bands, 1)) / len(bands)
    return ratio < (_PROMISING_SMALL if tile.size <= _SMALL else _PROMISING_RATIO)


def share_of_colours(tile: Tile) -> float:
    """How many colours uint8 [H, W, C] has for each of its pixels."""
    pixels = np.ascontiguousarray(tile).reshape(-1, tile.shape[2])
    keys = pixels.astype(np.uint64) @ (np.uint64(1) << np.arange(0, 8 * tile.shape[2], 8, dtype=np.uint64))
    keys.sort()  # np.unique would import numpy.ma
    return (1 + np.count_nonzero(keys[1:] != keys[:-1])) / len(keys)


def _lzma_filters(size: int) -> list[dict[str, int]]:
    """LZMA2 for `size` bytes of content; its properties (lc 3, lp 0, pb 2) are in the stream itself."""
    window = min(_LZMA_WINDOW, max(4096, 1 << (size - 1).bit_length()))
    return [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": window}]


def _unlzma(data: bytes, size: int) -> bytes:
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_lzma_filters(size))
    try:
        content = unpacker.decompress(data, size + 1)
    except (lzma.LZMAError, EOFError) as error:
        raise FormatError("an LZMA2 stream is damaged") from error
    if len(content) != size or not unpacker.eof or unpacker.unused_data:
        raise FormatError(f"an LZMA2 stream does not hold exactly {size} bytes")
    return content


def _webp_options(area: int, effort: int) -> list[dict[str, int]]:
    """What libwebp should try: more with each effort. Its strongest settings take 7 to 50 seconds a megapixel."""
    if effort == HASTE:
        return [{"quality": 75, "method": 4}]
    options = [{"quality": 80, "method": 6}]  # what others call its best, in less than 2
    if effort >= 3 and area > _WEBP_STRONG:
        options.append({"quality": 100, "method": 5})
    if effort >= 7 or (effort >= 3 and area <= _WEBP_STRONG):
        options.append({"quality": 100, "method": 6})
    return options


_PNG_KINDS = {1: (0, 8), 2: (4, 8), 3: (2, 8), 4: (6, 8), 6: (2, 16), 8: (6, 16)}  # colour type and bits, by channels
_PNG_HALVES = {6: ("RGB", "RGB;16B", "RGB;16L"), 8: ("RGBA", "RGBA;16B", "RGBA;16L")}


def _png_codes(tile: Tile) -> Iterator[tuple[int, bytes]]:
    """How, and the deflated rows, of the PNG files that Pillow makes of a tile; of six or eight channels, our own."""
    tile = np.ascontiguousarray(tile)
    channels = tile.shape[2]
    if channels > 4:
        above = np.zeros_like(tile[:1]).reshape(1, -1)
        rows = tile.reshape(len(tile), -1)
        yield 8, deflate(png_filtered(rows, np.concatenate([above, rows[:-1]]), channels).tobytes())
        return
    if channels > 1:
        yield 8, _png_rows(Image.fromarray(tile))
        if channels == 2:
            yield 8 | 16, _png_rows(Image.fromarray(np.ascontiguousarray(tile[..., ::-1])))
        return
    bits = _narrowest(tile)
    grey = Image.fromarray(tile[..., 0])
    yield 8, _png_rows(grey)
    if bits == 1:
        yield 1, _png_rows(Image.fromarray(tile[..., 0] * np.uint8(255)).convert("1", dither=Image.Dither.NONE))
    grey.putpalette(bytes(768))
    yield bits, _png_rows(grey, bits=bits)


def _png_rows(image: Image.Image, **options: int) -> bytes:
    """The raw deflate stream in the PNG file that Pillow makes at its best."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True, **options)
    data, place, parts = file.getvalue(), 8, []
    while place < len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        if kind == b"IDAT":
            parts.append(data[place + 8 : place + 8 + size])
        place += 12 + size
    return b"".join(parts)[2:-4]


def _unfiltered(rows: bytes, shape: Shape, bits: int) -> Tile:
    """The tile of PNG's filtered rows, by Pillow. Raises FormatError for filters that PNG does not have."""
    height, width, channels = shape
    kind, depth = _PNG_KINDS[channels] if bits == 8 else (3, bits)
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    parts = [(b"IHDR", head), (b"PLTE", bytes(768)) if kind == 3 else None, (b"IDAT", zlib.compress(rows, 0))]
    file = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in (*filter(None, parts), (b"IEND", b""))
    )
    try:
        if channels <= 4:
            return _png_half(file, None).reshape(shape)
        name, *raw = _PNG_HALVES[channels]
        return np.stack([_png_half(file, (name, half)) for half in raw], axis=3).reshape(shape)
    except (OSError, SyntaxError, ValueError) as error:
        raise FormatError("a tile of PNG rows cannot be decoded") from error


def _png_half(file: bytes, way: tuple[str, str] | None) -> Tile:
    """What Pillow reads from a PNG file, uint8; way: its mode and raw mode, for one half of 16-bit samples."""
    with PngImagePlugin.PngImageFile(io.BytesIO(file)) as opened:
        image: Any = opened
        if way is not None:
            image._mode, image.tile = way[0], [tile._replace(args=way[1]) for tile in image.tile]
        return np.asarray(image)


def png_filtered(rows: Tile, above: Tile, step: int) -> Tile:
    """Each row [n] as [1 + n]: the PNG filter with the smallest sum of differences, its type first.

    above: the rows above. step: bytes a pixel.
    """
    left, corner = (np.pad(x, ((0, 0), (step, 0)))[:, : rows.shape[1]].astype(np.int16) for x in (rows, above))
    up = above.astype(np.int16)
    near_left, near_up = np.abs(up - corner), np.abs(left - corner)
    near_corner = np.abs(left + up - 2 * corner)
    paeth = np.where(near_up <= near_corner, up, corner)
    paeth = np.where((near_left <= near_up) & (near_left <= near_corner), left, paeth)
    guesses = (np.zeros_like(up), left, up, (left + up) >> 1, paeth)
    best = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    cost = np.full(len(rows), np.iinfo(np.int64).max)
    for kind, guess in enumerate(guesses):
        residual = rows - guess.astype(np.uint8)
        roughness = np.abs(residual.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64)
        better = roughness < cost
        best[better, 0] = kind
        best[better, 1:] = residual[better]
        cost = np.where(better, roughness, cost)
    return best


def _narrowest(tile: Tile) -> int:
    if tile.shape[2] > 1:
        return 8
    return next(bits for bits in (1, 2, 4, 8) if int(tile.max()) < 1 << bits)


def _pack(tile: Tile, bits: int) -> Tile:
    if bits == 8:
        return tile
    return pack_rows(tile[..., 0], bits)[..., None]


def pack_rows(samples: Tile, bits: int) -> Tile:
    """Samples below 2**bits, [H, W], as rows of bytes [H, ceil(W * bits / 8)], the first in the highest bits."""
    per_byte = 8 // bits
    height, width = samples.shape
    padded = np.zeros((height, -(-width // per_byte) * per_byte), np.uint8)
    padded[:, :width] = samples
    packed = np.zeros((height, padded.shape[1] // per_byte), np.uint8)
    for place in range(per_byte):
        packed |= padded[:, place::per_byte] << (8 - bits * (place + 1))
    return packed


def _unpack(rows: Tile, bits: int, width: int) -> Tile:
    if bits == 8:
        return rows
    per_byte = 8 // bits
    samples = np.empty((rows.shape[0], rows.shape[1] * per_byte), np.uint8)
    for place in range(per_byte):
        samples[:, place::per_byte] = rows[..., 0] >> (8 - bits * (place + 1)) & ((1 << bits) - 1)
    return samples[:, :width, None]


def _differences(bits: int) -> tuple[int, ...]:
    return (0x00, 0x10, 0x20, 0x30) if bits == 8 else (0x00, 0x20)


def _difference(rows: Tile, flag: int) -> Tile:
    if flag & 0x10:
        rows = np.diff(rows, axis=1, prepend=np.uint8(0))
    if flag & 0x20:
        rows = np.diff(rows, axis=0, prepend=np.uint8(0))
    return rows


def _undifference(rows: Tile, flag: int) -> Tile:
    if flag & 0x20:
        rows = np.cumsum(rows, axis=0, dtype=np.uint8)
    if flag & 0x10:
        rows = np.cumsum(rows, axis=1, dtype=np.uint8)
    return rows


def _roughness(rows: Tile) -> int:
    return int(np.abs(rows.view(np.int8).astype(np.int16)).sum())
