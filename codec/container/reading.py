"""Headers, read. Whatever the bytes are, a header is well-formed or one of our errors says how it is not."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from PIL import Image

from lgcodec.colour import PLAIN, components
from lgcodec.container.header import (
    DIGEST_SIZE,
    HAS_BASE,
    HAS_CHAIN,
    HAS_MODEL,
    HAS_ORIGIN,
    HAS_PRESET,
    IS_KEPT,
    MAGIC,
    MAX_LINKS,
    MODEL_DIGEST_SIZE,
    MODEL_TILE_AREA,
    VERSION,
    ChainReference,
    Data,
    Entry,
    Header,
    KeptReference,
    ModelReference,
    OriginReference,
    PackedChunks,
    Tiles,
)
from lgcodec.errors import FormatError, IntegrityError, TruncatedError, VersionError, too_large
from lgcodec.fields import Reader
from lgcodec.image import MODES
from lgcodec.metadata import MAX_CHUNKS
from lgcodec.plain import METHODS, MODEL

_MAX_SIDE = (1 << 31) - 1
_ENTRY_SIZE = 6  # the least an index entry takes: method, length, CRC


def default_max_pixels() -> int | None:
    """The limit that Pillow enforces: twice `PIL.Image.MAX_IMAGE_PIXELS`, or none."""
    return None if Image.MAX_IMAGE_PIXELS is None else 2 * Image.MAX_IMAGE_PIXELS


def header_size(prefix: Data) -> int:
    """How many bytes the header takes, with its CRC, by the first 20 bytes of a file (or all of them).

    Raises FormatError where it does not begin like one of our files.
    """
    reader = _start(memoryview(prefix))
    length = reader.varint()
    return reader.place + length + 4


def read_header(data: Data, *, max_pixels: int | None = None) -> Header:
    """The header alone; `data` may end after it."""
    view = memoryview(data)
    size = header_size(view)
    if len(view) < size:
        raise TruncatedError(f"the file ends inside its header: {len(view)} of {size} bytes")
    if struct.unpack_from("<I", view, size - 4)[0] != zlib.crc32(view[: size - 4]):
        raise IntegrityError("the checksum of the header is wrong: the file is damaged")
    features = view[len(MAGIC) + 1]
    known = HAS_MODEL | HAS_BASE | HAS_CHAIN | HAS_ORIGIN | IS_KEPT | HAS_PRESET
    if features & ~known:
        raise VersionError(f"features {features & ~known:#04x} are unknown to this release")
    alone = (0, HAS_MODEL, HAS_MODEL | HAS_BASE, HAS_MODEL | HAS_CHAIN, HAS_ORIGIN, IS_KEPT, IS_KEPT | HAS_MODEL)
    if features & ~HAS_PRESET not in alone:
        raise FormatError("a file has bases or a chain without a model, or what excludes each other")
    reader = _start(view[: size - 4])
    reader.varint()
    return _read_body(reader, size, features, max_pixels)


def _start(view: memoryview) -> Reader:
    """A reader at the header's length, behind magic, version and features."""
    magic = bytes(view[: len(MAGIC)])
    if magic != MAGIC:
        if MAGIC.startswith(magic):
            raise TruncatedError(f"the file ends after {len(magic)} bytes")
        if magic.startswith(b"\x89LGS"):
            raise FormatError("a set of images, not one (decompress restores them all from a name that ends in .lgcs)")
        if magic[1:4] == MAGIC[1:4]:
            raise FormatError("the file was changed in transfer: its first bytes look as after a text-mode conversion")
        raise FormatError("not an lgcodec file")
    reader = Reader(view, len(MAGIC))
    version = reader.byte()
    if version != VERSION:
        raise VersionError(f"format version {version} is unknown to this release, which knows version {VERSION}")
    reader.byte()
    return reader


def _read_body(reader: Reader, size: int, features: int, max_pixels: int | None) -> Header:
    has_model = bool(features & HAS_MODEL)
    mode_id, depth = reader.byte(), reader.byte()
    if mode_id not in MODES:
        raise VersionError(f"image mode {mode_id} is unknown to this release")
    mode = MODES[mode_id]
    if depth not in mode.depths:
        raise FormatError(f"mode {mode.pillow} does not have {depth} bits a sample")
    width, height = reader.varint(1, _MAX_SIDE), reader.varint(1, _MAX_SIDE)
    limit = default_max_pixels() if max_pixels is None else max_pixels
    if limit is not None and width * height > limit:
        raise too_large(f"the image has {width} x {height}", limit)
    transform = reader.byte()
    digest = reader.take(DIGEST_SIZE)
    chunks = _read_chunk_sizes(reader, bool(features & HAS_PRESET))
    if features & HAS_ORIGIN:
        origin = _read_origin(reader, width * height)
        if reader.left() or transform != PLAIN:
            raise FormatError("a file with an origin has no streams of its own")
        return Header(mode, depth, width, height, digest, chunks, size, origin)
    if features & IS_KEPT:
        if transform != PLAIN or chunks.stored:
            raise FormatError("a kept file has neither a transform nor metadata beside it")
        return Header(mode, depth, width, height, digest, chunks, size, _read_kept(reader, has_model))
    model = _read_model(reader) if has_model else None
    chain = _read_chain(reader) if features & HAS_CHAIN else None
    parts = components(mode, transform)
    tiles = tuple((reader.varint(1, width), reader.varint(1, height)) for _ in parts)
    counts = [-(-width // w) * -(-height // h) for w, h in tiles]
    if (sum(counts) > MAX_LINKS) if chain is not None else (sum(counts) * _ENTRY_SIZE > reader.left()):
        raise FormatError(f"the header has no room for the index of {sum(counts)} streams")
    sizes = (w * h for (w, h), n in zip(tiles, counts, strict=True) for _ in range(n))
    index = tuple(_read_index(reader, list(sizes), features))
    if reader.left():
        raise FormatError(f"the header goes on for {reader.left()} bytes after its end")
    if any(entry.method == MODEL for entry in index) != has_model or (has_model and transform == PLAIN):
        raise FormatError("a file names a model if, and only if, it holds streams of that model")
    return Header(mode, depth, width, height, digest, chunks, size, Tiles(transform, model, chain, tiles, index))


def _read_kept(reader: Reader, has_model: bool) -> KeptReference:
    size, rest = reader.varint(1), (reader.varint(1), reader.crc())
    model = _read_model(reader) if has_model else None
    count = reader.varint(1, reader.left()) if has_model else 0
    bands = tuple((reader.varint(), reader.crc()) for _ in range(count))
    if reader.left() or any(length % 4 for length, _ in bands):
        raise FormatError("the header of a kept file is not well-formed")
    return KeptReference(size, rest, model, bands)


def _read_chunk_sizes(reader: Reader, has_preset: bool) -> PackedChunks:
    stored = reader.varint(0, MAX_CHUNKS)
    size, crc = (reader.varint(stored, MAX_CHUNKS), reader.crc()) if stored else (0, 0)
    if has_preset and stored == size:
        raise FormatError("metadata that is not packed needs no dictionary")
    return PackedChunks(stored, size, crc, has_preset)


def _read_origin(reader: Reader, area: int) -> OriginReference:
    data = reader.take(reader.varint())
    stored = reader.varint()
    exceptions = (stored, reader.varint(stored, 16 * area + 16), reader.crc()) if stored else (0, 0, 0)
    return OriginReference(data, exceptions, tuple(reader.varint() for _ in range(reader.varint(1, reader.left()))))


def _read_model(reader: Reader) -> ModelReference:
    wire_id = reader.varint()
    digest = reader.take(MODEL_DIGEST_SIZE)
    adaptation = reader.take(reader.varint())
    return ModelReference(wire_id, digest, adaptation, reader.varint())


def _read_chain(reader: Reader) -> ChainReference:
    seed_id, digest = reader.varint(), reader.take(MODEL_DIGEST_SIZE)
    seeds = tuple(reader.varint() for _ in range(reader.varint(0, reader.left())))
    chain = ChainReference(seed_id, digest, seeds, reader.varint(), reader.crc())
    if chain.length % 4:
        raise FormatError("a chain consists of whole words of 4 bytes")
    if 4 * sum(seeds) > chain.length:
        raise FormatError("the seeds of a chain are longer than the chain")
    return chain


def _read_index(reader: Reader, areas: Sequence[int], features: int) -> Iterator[Entry]:
    """An entry for each stream; areas: pixels of the tiles of its component."""
    place = 0
    while place < len(areas):
        method, run = reader.byte(), 1
        if method == MODEL and features & HAS_CHAIN:
            run = reader.varint(1, len(areas) - place)
        for area in areas[place : place + run]:
            yield _read_entry(reader, method, area, features)
        place += run


def _read_entry(reader: Reader, method: int, area: int, features: int) -> Entry:
    if method == MODEL and features & HAS_CHAIN:
        entry = Entry(method, 0, 0)
    else:
        entry = Entry(method, reader.varint(), reader.crc())
    if method == MODEL and features & HAS_BASE:
        entry = replace(entry, base=(reader.varint(), reader.crc()))
    if entry.method not in (MODEL, *METHODS):
        raise VersionError(f"coding method {entry.method} is unknown to this release")
    if entry.method == MODEL and (entry.length % 4 or (entry.base is not None and entry.base[0] % 4)):
        raise FormatError("a model's stream consists of whole words of 4 bytes")
    if entry.method == MODEL and area > MODEL_TILE_AREA:
        raise FormatError(f"a model codes tiles of at most {MODEL_TILE_AREA} pixels, not {area}")
    return entry
