"""A whole file, read: its parts are cut out at once, and each is checked when it is asked for."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from lgcodec import chunks as lists
from lgcodec.colour import Component, components
from lgcodec.container.header import ChainReference, Data, Header, KeptReference, OriginReference, Tiles
from lgcodec.container.reading import read_header
from lgcodec.deflate import inflate
from lgcodec.errors import FormatError, IntegrityError, TruncatedError
from lgcodec.image import palette_of
from lgcodec.metadata import Chunk, check


@dataclass(frozen=True)
class File:
    """A file's contents. pieces: the bytes of all that the header's content announces, in the order of its `lengths`.

    They are unchecked until the methods give them, which raise TruncatedError, or IntegrityError where a checksum is
    wrong.
    """

    header: Header
    chunks: tuple[Chunk, ...]
    pieces: Sequence[Data]

    def components(self) -> tuple[Component, ...]:
        palette = palette_of(self.chunks) if self.header.mode.has_palette else None
        return components(self.header.mode, self.header.tiles().transform, palette)

    def stream(self, place: int) -> bytes:
        """The bytes of one stream."""
        index = self.header.tiles().index
        return checked(self.pieces[len(index) + place], index[place].length, index[place].crc, f"stream {place}")

    def base(self, place: int) -> bytes | None:
        """The bytes of one stream's base, None where it has none."""
        announced = self.header.tiles().index[place].base
        return None if announced is None else checked(self.pieces[place], *announced, f"the base of stream {place}")

    def chain(self, reference: ChainReference) -> bytes:
        """The bytes of the chain."""
        return checked(self.pieces[-1], reference.length, reference.crc, "the chain")

    def exceptions(self, origin: OriginReference) -> bytes:
        """An origin's exceptions, unpacked."""
        stored, size, crc = origin.exceptions
        packed = checked(self.pieces[0], stored, crc if stored else 0, "the exceptions")
        return packed if stored == size else inflate(packed, size)

    def rest(self, kept: KeptReference) -> bytes:
        """The bytes of a kept file that no stream holds."""
        return checked(self.pieces[0], *kept.rest, "the kept file's own part")

    def band(self, kept: KeptReference, place: int) -> bytes:
        """The bytes of one band of a kept file."""
        return checked(self.pieces[1 + place], *kept.bands[place], f"band {place}")

    def check(self) -> None:
        """Checks every checksum, those of an origin's parts too. Raises FormatError."""
        match self.header.content:
            case Tiles(index=index, chain=chain):
                for place in range(len(index)):
                    self.base(place)
                    self.stream(place)
                if chain is not None:
                    self.chain(chain)
            case OriginReference() as origin:
                self.exceptions(origin)
                for part in self.pieces[1:]:
                    read(part, max_pixels=1 << 62).check()
            case KeptReference() as kept:
                self.rest(kept)
                for place in range(len(kept.bands)):
                    self.band(kept, place)


def checked(data: Data, length: int, crc: int, name: str) -> bytes:
    if len(data) < length:
        raise TruncatedError(f"the file ends inside {name}: {len(data)} of {length} bytes")
    if zlib.crc32(data) != crc:
        raise IntegrityError(f"the checksum of {name} is wrong: the file is damaged")
    return bytes(data)


def read(data: Data, *, max_pixels: int | None = None, partial: bool = False, rescue: bool = False) -> File:
    """The contents of a file. Its pieces are cut out, but neither checked nor decoded.

    max_pixels: the largest image accepted; None for `default_max_pixels()`. partial: the file may end early, and what
    is missing is found by the methods of `File`. rescue: it may go on after its end, and damaged metadata
    count as none.
    Raises FormatError (its subclasses say how the bytes are wrong) and LimitError.
    """
    view = memoryview(data)
    header = read_header(view, max_pixels=max_pixels)
    if not rescue and (not partial or len(view) > header.file_size):
        check_size(header, len(view))
    try:
        chunks = read_chunks(header, view)
    except FormatError:
        if not rescue or header.mode.has_palette:  # whose indices say nothing without it
            raise
        chunks = ()
    return File(header, chunks, [view[start:end] for start, end in header.spans()])


def check_size(header: Header, size: int) -> None:
    """Raises TruncatedError or FormatError unless the file has `size` bytes."""
    if size < header.file_size:
        raise TruncatedError(f"the file has {size} bytes of the {header.file_size} that its header announces")
    if size > header.file_size:
        raise FormatError(f"the file goes on for {size - header.file_size} bytes after its end")


def read_chunks(header: Header, data: Data) -> tuple[Chunk, ...]:
    """The PNG chunks; `data` may end after them."""
    of = header.chunks
    packed = bytes(memoryview(data)[header.size : header.size + of.stored])
    if len(packed) < of.stored:
        raise TruncatedError("the file ends inside its PNG chunks")
    if zlib.crc32(packed) != of.crc:
        raise IntegrityError("the checksum of the PNG chunks is wrong: the file is damaged")
    chunks = lists.unpack(packed, of.size, has_preset=of.has_preset)
    check(chunks)
    return chunks
