"""The file format: a header that says everything, then the bytes it announces, with nothing between or after them.

    file    magic(8) || version(1) || features(1) || length(varint) || body(length) || crc32(4) || chunks || stream ...
    body    mode(1) depth(1) width height transform(1) digest(8) || chunks || model? || tile sizes || one entry a stream
    stream  all streams' bases first, then the streams, then the chain if there is one

FORMAT.md has every field. Integers are little-endian; those without a size here are varints (7 bits a byte, low first).
"""

from __future__ import annotations

import hashlib
import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from lgcodec.boxes import Box, tile_boxes
from lgcodec.colour import PLAIN, Component, components
from lgcodec.errors import FormatError, IntegrityError, LimitError, TruncatedError, VersionError
from lgcodec.fields import Reader, varint
from lgcodec.image import MODES, Mode, Samples, palette_of
from lgcodec.metadata import MAX_CHUNKS, Chunk, check
from lgcodec.plain import METHODS, MODEL, deflate, inflate

MAGIC = b"\x89LGC\r\n\x1a\n"
VERSION = 1
HAS_MODEL, HAS_BASE, HAS_CHAIN, HAS_ORIGIN, IS_KEPT = 1, 2, 4, 8, 16  # the feature bits of this version
DIGEST_SIZE = 8
MODEL_DIGEST_SIZE = 16
MODEL_TILE_AREA = 1 << 21  # pixels of the largest tile that a model may code
_MAX_SIDE = (1 << 31) - 1
_MAX_LINKS = 1 << 20  # streams of a file with a chain, whose index takes less than a byte each
_ENTRY_SIZE = 6  # the least an index entry takes: method, length, CRC
Data = bytes | bytearray | memoryview


@dataclass(frozen=True)
class ModelReference:
    """The model that the model streams need.

    digest: the first 16 bytes of ImageModel.digest. adaptation: side information for the first component's streams.
    ideal_bits: the exact code length of all model streams together, rounded to whole bits.
    """

    wire_id: int
    digest: bytes
    adaptation: bytes
    ideal_bits: int


@dataclass(frozen=True)
class ChainReference:
    """The one stream of all the tiles that a latent model codes.

    seed_id, seed_digest: the explicit model of the first tiles, as in ModelReference. seeds: the words that each of
    these takes; none where the tiles go on in the chain of a file before, in a set. length: bytes. crc: CRC-32 of
    them.
    """

    seed_id: int
    seed_digest: bytes
    seeds: tuple[int, ...]
    length: int
    crc: int


@dataclass(frozen=True)
class OriginReference:
    """What an image was rendered from. data: `origins` reads it. exceptions: as stored and unpacked, and their CRC-32.

    parts: bytes of each file that holds a plane.
    """

    data: bytes
    exceptions: tuple[int, int, int]
    parts: tuple[int, ...]


@dataclass(frozen=True)
class KeptReference:
    """An image file that is kept byte for byte. size: its bytes; rest: bytes and CRC-32 of all of it but what the
    model's streams hold. bands: bytes and CRC-32 of these streams; none where `rest` is the file.
    """

    size: int
    rest: tuple[int, int]
    bands: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Entry:
    """One stream in the index. method: 0 for the model, or of `plain.METHODS`. length: bytes. crc: CRC-32 of them.

    base: length and CRC-32 of a model stream's base, None where it has none.
    """

    method: int
    length: int
    crc: int
    base: tuple[int, int] | None = None


@dataclass(frozen=True)
class Header:
    """All of a file but its chunks' and streams' bytes.

    transform: `colour`'s wire id. digest: the first 8 bytes of the SHA-256 of the samples, row by row.
    tiles: (width, height) of each component's tiles. index: the streams, component by component, tiles in raster order.
    chunks: lengths of the PNG chunks as stored and unpacked, and their CRC-32.
    """

    mode: Mode
    depth: int
    width: int
    height: int
    transform: int
    digest: bytes
    model: ModelReference | None
    chain: ChainReference | None
    origin: OriginReference | None
    tiles: tuple[tuple[int, int], ...]
    index: tuple[Entry, ...]
    chunks: tuple[int, int, int]
    size: int  # bytes, with its CRC
    kept: KeptReference | None = None

    @property
    def file_size(self) -> int:
        chain = 0 if self.chain is None else self.chain.length
        origin = 0 if self.origin is None else self.origin.exceptions[0] + sum(self.origin.parts)
        kept = 0 if self.kept is None else self.kept.rest[0] + sum(length for length, _ in self.kept.bands)
        streams = self.base_size + sum(entry.length for entry in self.index)
        return self.size + self.chunks[0] + streams + chain + origin + kept

    @property
    def base_size(self) -> int:
        """Bytes of all bases."""
        return sum(entry.base[0] for entry in self.index if entry.base is not None)

    def spans(self) -> Iterator[tuple[int, int]]:
        """Where the file has each stream's base, and then each stream: the first byte, and the one after the last."""
        place = self.size + self.chunks[0]
        for length in [e.base[0] if e.base else 0 for e in self.index] + [e.length for e in self.index]:
            yield place, place + length
            place += length

    def boxes(self) -> Iterator[tuple[int, Box]]:
        """The component and the place of each stream in the index."""
        for component, (width, height) in enumerate(self.tiles):
            for box in tile_boxes(self.width, self.height, width, height):
                yield component, box


@dataclass(frozen=True)
class File:
    """A file's contents.

    streams, bases: the bytes of each entry in the header's index; chained: those of the chain. They are unchecked until
    `stream`, `base` or `chain` is called. excepted, parts: those of an origin; `exceptions` checks the first, the
    others are files. rest, bands: those of a kept file.
    """

    header: Header
    chunks: tuple[Chunk, ...]
    streams: Sequence[Data]
    bases: Sequence[Data]
    chained: Data
    excepted: Data
    parts: Sequence[Data]
    rest: Data = b""
    bands: Sequence[Data] = ()

    def components(self) -> tuple[Component, ...]:
        mode, transform = self.header.mode, self.header.transform
        palette = palette_of(self.chunks) if mode.has_palette else None
        return components(mode, transform, palette)

    def stream(self, place: int) -> bytes:
        """The bytes of one stream. Raises TruncatedError, or IntegrityError where their checksum is wrong."""
        entry = self.header.index[place]
        return _checked(self.streams[place], entry.length, entry.crc, f"stream {place}")

    def base(self, place: int) -> bytes | None:
        """The bytes of one stream's base, None where it has none. Raises as `stream` does."""
        announced = self.header.index[place].base
        return None if announced is None else _checked(self.bases[place], *announced, f"the base of stream {place}")

    def exceptions(self) -> bytes:
        """An origin's exceptions, unpacked. Raises as `stream` does."""
        if self.header.origin is None:
            return b""
        stored, size, crc = self.header.origin.exceptions
        packed = _checked(self.excepted, stored, crc if stored else 0, "the exceptions")
        return packed if stored == size else inflate(packed, size)

    def kept_rest(self) -> bytes:
        """The bytes of a kept file that no stream holds. Raises as `stream` does."""
        kept = self.header.kept
        return b"" if kept is None else _checked(self.rest, *kept.rest, "the kept file's own part")

    def band(self, place: int) -> bytes:
        """The bytes of one band of a kept file. Raises as `stream` does."""
        kept = self.header.kept
        return b"" if kept is None else _checked(self.bands[place], *kept.bands[place], f"band {place}")

    def chain(self) -> bytes:
        """The bytes of the chain, none where there is none. Raises as `stream` does."""
        chain = self.header.chain
        return b"" if chain is None else _checked(self.chained, chain.length, chain.crc, "the chain")


def _checked(data: Data, length: int, crc: int, name: str) -> bytes:
    if len(data) < length:
        raise TruncatedError(f"the file ends inside {name}: {len(data)} of {length} bytes")
    if zlib.crc32(data) != crc:
        raise IntegrityError(f"the checksum of {name} is wrong: the file is damaged")
    return bytes(data)


def digest_of(strips: Iterable[Samples]) -> bytes:
    """The digest of an image's samples, strips of whole rows from the top."""
    sha = hashlib.sha256()
    for strip in strips:
        sha.update(np.ascontiguousarray(strip).data)
    return sha.digest()[:DIGEST_SIZE]


def default_max_pixels() -> int | None:
    """The limit that Pillow enforces: twice `PIL.Image.MAX_IMAGE_PIXELS`, or none."""
    return None if Image.MAX_IMAGE_PIXELS is None else 2 * Image.MAX_IMAGE_PIXELS


def write(
    *,
    mode: Mode,
    depth: int,
    size: tuple[int, int],
    transform: int,
    digest: bytes,
    chunks: Sequence[Chunk],
    model: ModelReference | None,
    tiles: Sequence[tuple[int, int]],
    streams: Sequence[tuple[int, bytes]],
    bases: Mapping[int, bytes] | None = None,
    chain: tuple[ChainReference, bytes] | None = None,
) -> bytes:
    """A whole file. size: width, height. tiles: as in Header. streams: (method, bytes) in the index's order.

    bases: of all model streams by their place, or of none. chain: of all model streams, which are then empty.
    """
    bases = bases or {}
    if chain is not None and len(streams) > _MAX_LINKS:
        raise LimitError(f"a chain of more than {_MAX_LINKS} tiles: take larger ones")
    body, packed = _start_of_body(mode, depth, size, transform, digest, chunks)
    if model is not None:
        body += _model_fields(model)
    if chain is not None:
        reference, _ = chain
        body += [varint(reference.seed_id), reference.seed_digest]
        body += [varint(len(reference.seeds)), *map(varint, reference.seeds)]
        body += [varint(reference.length), struct.pack("<I", reference.crc)]
    for tile_width, tile_height in tiles:
        body += [varint(tile_width), varint(tile_height)]
    place = 0
    while place < len(streams):
        method, data = streams[place]
        body.append(bytes([method]))
        if chain is not None and method == MODEL:
            run = len(list(itertools.takewhile(lambda stream: stream[0] == MODEL, streams[place:])))
            body.append(varint(run))
            place += run
            continue
        parts = (data, bases.get(place))
        body += [varint(len(part)) + struct.pack("<I", zlib.crc32(part)) for part in parts if part is not None]
        place += 1
    features = (HAS_MODEL if model is not None else 0) | (HAS_BASE if bases else 0)
    features |= HAS_CHAIN if chain is not None else 0
    tail = [] if chain is None else [chain[1]]
    return b"".join([_head(features, body), packed, *bases.values(), *(data for _, data in streams), *tail])


def write_origin(
    *,
    mode: Mode,
    depth: int,
    size: tuple[int, int],
    digest: bytes,
    chunks: Sequence[Chunk],
    origin: bytes,
    exceptions: bytes,
    parts: Sequence[bytes],
) -> bytes:
    """A whole file of an image that is rendered from planes. parts: the files that hold these."""
    body, packed = _start_of_body(mode, depth, size, PLAIN, digest, chunks)
    excepted = min(exceptions, deflate(exceptions), key=len)
    body += [varint(len(origin)), origin, varint(len(excepted))]
    if excepted:
        body += [varint(len(exceptions)), struct.pack("<I", zlib.crc32(excepted))]
    body += [varint(len(parts)), *(varint(len(part)) for part in parts)]
    return b"".join([_head(HAS_ORIGIN, body), packed, excepted, *parts])


def write_kept(
    *,
    mode: Mode,
    size: tuple[int, int],
    digest: bytes,
    length: int,
    rest: bytes,
    model: ModelReference | None,
    bands: Sequence[bytes],
) -> bytes:
    """A whole file that keeps an image file of `length` bytes. digest: of these bytes. As KeptReference."""
    body, _ = _start_of_body(mode, 8, size, PLAIN, digest, ())
    body += [varint(length), varint(len(rest)), struct.pack("<I", zlib.crc32(rest))]
    if model is not None:
        body += [*_model_fields(model), varint(len(bands))]
        body += [varint(len(band)) + struct.pack("<I", zlib.crc32(band)) for band in bands]
    features = IS_KEPT | (HAS_MODEL if model is not None else 0)
    return b"".join([_head(features, body), rest, *bands])


def _model_fields(model: ModelReference) -> list[bytes]:
    adaptation = [varint(len(model.adaptation)), model.adaptation]
    return [varint(model.wire_id), model.digest, *adaptation, varint(model.ideal_bits)]


def _start_of_body(
    mode: Mode, depth: int, size: tuple[int, int], transform: int, digest: bytes, chunks: Sequence[Chunk]
) -> tuple[list[bytes], bytes]:
    """The fields that all files have, and the packed chunks."""
    listed = _pack_chunks(chunks)
    if len(listed) > MAX_CHUNKS:
        raise LimitError(f"more than {MAX_CHUNKS >> 20} MiB of metadata")
    packed = min(listed, deflate(listed), key=len)
    body = [bytes([mode.wire_id, depth]), varint(size[0]), varint(size[1]), bytes([transform]), digest]
    body.append(varint(len(packed)))
    if packed:
        body += [varint(len(listed)), struct.pack("<I", zlib.crc32(packed))]
    return body, packed


def _head(features: int, body: Sequence[bytes]) -> bytes:
    joined = b"".join(body)
    head = MAGIC + bytes([VERSION, features]) + varint(len(joined)) + joined
    return head + struct.pack("<I", zlib.crc32(head))


def read(data: Data, *, max_pixels: int | None = None, partial: bool = False, rescue: bool = False) -> File:
    """The contents of a file. Streams are cut out, but neither checked nor decoded.

    max_pixels: the largest image accepted; None for `default_max_pixels()`. partial: the file may end early, and what
    is missing is found by `File.stream` and `File.base`. rescue: it may go on after its end, and damaged metadata
    count as none.
    Raises FormatError (its subclasses say how the bytes are wrong) and LimitError.
    """
    view = memoryview(data)
    header = read_header(view, max_pixels=max_pixels)
    if not rescue and (not partial or len(view) > header.file_size):
        check_size(header, len(view))
    parts = [view[start:end] for start, end in header.spans()]
    bases, streams = parts[: len(header.index)], parts[len(header.index) :]
    try:
        chunks = read_chunks(header, view)
    except FormatError:
        if not rescue or header.mode.has_palette:  # whose indices say nothing without it
            raise
        chunks = ()
    place = header.size + header.chunks[0] + sum(map(len, parts))
    excepted, files, bands = view[place:place], [], []
    chained = rest = view[place : header.file_size]
    if header.kept is not None:
        rest, chained = view[place : place + header.kept.rest[0]], view[place:place]
        place += len(rest)
        for length, _ in header.kept.bands:
            bands.append(view[place : place + length])
            place += length
    if header.origin is not None:
        excepted, chained = view[place : place + header.origin.exceptions[0]], view[place:place]
        place += header.origin.exceptions[0]
        for length in header.origin.parts:
            files.append(view[place : place + length])
            place += length
    return File(header, chunks, streams, bases, chained, excepted, files, rest, bands)


def check_size(header: Header, size: int) -> None:
    """Raises TruncatedError or FormatError unless the file has `size` bytes."""
    if size < header.file_size:
        raise TruncatedError(f"the file has {size} bytes of the {header.file_size} that its header announces")
    if size > header.file_size:
        raise FormatError(f"the file goes on for {size - header.file_size} bytes after its end")


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
    known = HAS_MODEL | HAS_BASE | HAS_CHAIN | HAS_ORIGIN | IS_KEPT
    if features & ~known:
        raise VersionError(f"features {features & ~known:#04x} are unknown to this release")
    alone = (0, HAS_MODEL, HAS_MODEL | HAS_BASE, HAS_MODEL | HAS_CHAIN, HAS_ORIGIN, IS_KEPT, IS_KEPT | HAS_MODEL)
    if features not in alone:
        raise FormatError("a file has bases or a chain without a model, or what excludes each other")
    reader = _start(view[: size - 4])
    reader.varint()
    return _read_body(reader, size, features, max_pixels)


def read_chunks(header: Header, data: Data) -> tuple[Chunk, ...]:
    """The PNG chunks; `data` may end after them."""
    stored, size, crc = header.chunks
    packed = memoryview(data)[header.size : header.size + stored]
    if len(packed) < stored:
        raise TruncatedError("the file ends inside its PNG chunks")
    if zlib.crc32(packed) != crc:
        raise IntegrityError("the checksum of the PNG chunks is wrong: the file is damaged")
    chunks = _unpack_chunks(bytes(packed) if stored == size else inflate(bytes(packed), size))
    check(chunks)
    return chunks


def _start(view: memoryview) -> Reader:
    """A reader at the header's length, behind magic, version and features."""
    magic = bytes(view[: len(MAGIC)])
    if magic != MAGIC:
        if MAGIC.startswith(magic):
            raise TruncatedError(f"the file ends after {len(magic)} bytes")
        if magic.startswith(b"\x89LGS"):
            raise FormatError("a set of images, not one (decompress restores them all)")
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
        raise LimitError(f"the image has {width} x {height} pixels, more than the limit of {limit}")
    transform = reader.byte()
    digest = reader.take(DIGEST_SIZE)
    chunks = _read_chunk_sizes(reader)
    if features & HAS_ORIGIN:
        origin = _read_origin(reader, width * height)
        if reader.left() or transform != PLAIN:
            raise FormatError("a file with an origin has no streams of its own")
        return Header(mode, depth, width, height, transform, digest, None, None, origin, (), (), chunks, size)
    if features & IS_KEPT:
        if transform != PLAIN or chunks[0]:
            raise FormatError("a kept file has neither a transform nor metadata beside it")
        kept = KeptReference(reader.varint(1), (reader.varint(1), reader.crc()), ())
        model = _read_model(reader) if has_model else None
        if model is not None:
            bands = [(reader.varint(), reader.crc()) for _ in range(reader.varint(1, reader.left()))]
            kept = replace(kept, bands=tuple(bands))
        if reader.left() or any(length % 4 for length, _ in kept.bands):
            raise FormatError("the header of a kept file is not well-formed")
        return Header(mode, depth, width, height, transform, digest, model, None, None, (), (), chunks, size, kept)
    model = _read_model(reader) if has_model else None
    chain = _read_chain(reader) if features & HAS_CHAIN else None
    parts = components(mode, transform)
    tiles = tuple((reader.varint(1, width), reader.varint(1, height)) for _ in parts)
    counts = [-(-width // w) * -(-height // h) for w, h in tiles]
    if (sum(counts) > _MAX_LINKS) if chain is not None else (sum(counts) * _ENTRY_SIZE > reader.left()):
        raise FormatError(f"the header has no room for the index of {sum(counts)} streams")
    sizes = (w * h for (w, h), n in zip(tiles, counts, strict=True) for _ in range(n))
    index = tuple(_read_index(reader, list(sizes), features))
    if reader.left():
        raise FormatError(f"the header goes on for {reader.left()} bytes after its end")
    if any(entry.method == MODEL for entry in index) != has_model or (has_model and transform == PLAIN):
        raise FormatError("a file names a model if, and only if, it holds streams of that model")
    return Header(mode, depth, width, height, transform, digest, model, chain, None, tiles, index, chunks, size)


def _read_chunk_sizes(reader: Reader) -> tuple[int, int, int]:
    stored = reader.varint(0, MAX_CHUNKS)
    return (stored, reader.varint(stored, MAX_CHUNKS), reader.crc()) if stored else (0, 0, 0)


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


def _pack_chunks(chunks: Sequence[Chunk]) -> bytes:
    return b"".join(part for kind, data in chunks for part in (kind, varint(len(data)), data))


def _unpack_chunks(listed: bytes) -> tuple[Chunk, ...]:
    reader = Reader(memoryview(listed), 0)
    chunks = []
    while reader.left():
        chunks.append((reader.take(4), reader.take(reader.varint())))
    return tuple(chunks)
