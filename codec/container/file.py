"""A whole file, read: its parts are cut out at once, and each is checked when it is asked for."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from lgcodec.colour import Component, components
from lgcodec.container.header import Data, Header
from lgcodec.container.reading import read_header
from lgcodec.errors import FormatError, IntegrityError, TruncatedError
from lgcodec.fields import Reader
from lgcodec.image import palette_of
from lgcodec.metadata import Chunk, check
from lgcodec.plain import inflate


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
        return checked(self.streams[place], entry.length, entry.crc, f"stream {place}")

    def base(self, place: int) -> bytes | None:
        """The bytes of one stream's base, None where it has none. Raises as `stream` does."""
        announced = self.header.index[place].base
        return None if announced is None else checked(self.bases[place], *announced, f"the base of stream {place}")

    def exceptions(self) -> bytes:
        """An origin's exceptions, unpacked. Raises as `stream` does."""
        if self.header.origin is None:
            return b""
        stored, size, crc = self.header.origin.exceptions
        packed = checked(self.excepted, stored, crc if stored else 0, "the exceptions")
        return packed if stored == size else inflate(packed, size)

    def kept_rest(self) -> bytes:
        """The bytes of a kept file that no stream holds. Raises as `stream` does."""
        kept = self.header.kept
        return b"" if kept is None else checked(self.rest, *kept.rest, "the kept file's own part")

    def band(self, place: int) -> bytes:
        """The bytes of one band of a kept file. Raises as `stream` does."""
        kept = self.header.kept
        return b"" if kept is None else checked(self.bands[place], *kept.bands[place], f"band {place}")

    def chain(self) -> bytes:
        """The bytes of the chain, none where there is none. Raises as `stream` does."""
        chain = self.header.chain
        return b"" if chain is None else checked(self.chained, chain.length, chain.crc, "the chain")


def checked(data: Data, length: int, crc: int, name: str) -> bytes:
    if len(data) < length:
        raise TruncatedError(f"the file ends inside {name}: {len(data)} of {length} bytes")
    if zlib.crc32(data) != crc:
        raise IntegrityError(f"the checksum of {name} is wrong: the file is damaged")
    return bytes(data)


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


def _unpack_chunks(listed: bytes) -> tuple[Chunk, ...]:
    reader = Reader(memoryview(listed), 0)
    chunks = []
    while reader.left():
        chunks.append((reader.take(4), reader.take(reader.varint())))
    return tuple(chunks)
