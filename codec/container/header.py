"""What the header of a file says: the image, the model, where each stream is."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from lgcodec.boxes import Box, tile_boxes
from lgcodec.errors import FormatError
from lgcodec.image import Mode

MAGIC = b"\x89LGC\r\n\x1a\n"
VERSION = 1
# The feature bits of this version.
HAS_MODEL, HAS_BASE, HAS_CHAIN, HAS_ORIGIN, IS_KEPT, HAS_PRESET = 1, 2, 4, 8, 16, 32
DIGEST_SIZE = 8
MODEL_DIGEST_SIZE = 16
MODEL_TILE_AREA = 1 << 21  # pixels of the largest tile that a model may code
_ENERGIES, _EARLIER = 10, 65  # bytes of side information for each component of a kept file (FORMAT.md, Kept files)
MAX_LINKS = 1 << 20  # streams of a file with a chain, whose index takes less than a byte each
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

    @property
    def has_preview(self) -> bool:
        """Whether it is luma and chroma that the image was rendered from, or what these are made of."""
        return self.data[:1] in (b"\0", b"\2")  # rendered.KIND, coefficients.KIND

    def lengths(self) -> list[int]:
        """Of the exceptions, and of each part."""
        return [self.exceptions[0], *self.parts]


@dataclass(frozen=True)
class KeptReference:
    """An image file that is kept byte for byte. size: its bytes; rest: bytes and CRC-32 of all of it but what the
    model's streams hold. bands: bytes and CRC-32 of these streams; none, nor a model, where `rest` is the file.
    """

    size: int
    rest: tuple[int, int]
    model: ModelReference | None
    bands: tuple[tuple[int, int], ...]

    def lengths(self) -> list[int]:
        """Of the rest, and of each band."""
        return [self.rest[0], *(length for length, _ in self.bands)]

    @property
    def has_preview(self) -> bool:
        """Whether a model codes the file's components, and these are not four: of CMYK no pixels are made."""
        if self.model is None:
            return False
        side, four = self.model.adaptation, 4 * _ENERGIES
        if len(side) <= four:
            return len(side) < four
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)  # what was earlier, behind them, has as many parts as they are
        try:
            return len(unpacker.decompress(side[four:], 4 * _EARLIER + 1)) != 4 * _EARLIER
        except zlib.error:
            return True


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
class Tiles:
    """An image as streams. transform: `colour`'s wire id. sizes: (width, height) of each component's tiles.

    index: the streams, component by component, tiles in raster order. chain: of the model's, which are then empty.
    """

    transform: int
    model: ModelReference | None
    chain: ChainReference | None
    sizes: tuple[tuple[int, int], ...]
    index: tuple[Entry, ...]

    def lengths(self) -> list[int]:
        """Of all streams' bases, of all streams, and of the chain."""
        bases = [entry.base[0] if entry.base else 0 for entry in self.index]
        return [*bases, *(entry.length for entry in self.index), 0 if self.chain is None else self.chain.length]


class PackedChunks(NamedTuple):
    """PNG chunks: bytes as stored and unpacked, their CRC-32, and whether the preset dictionary is needed."""

    stored: int = 0
    size: int = 0
    crc: int = 0
    has_preset: bool = False


@dataclass(frozen=True)
class Header:
    """All of a file but its chunks and what they are followed by.

    digest: the first 8 bytes of the SHA-256 of the samples, row by row; of a kept file, of its bytes. size: bytes, with
    its CRC.
    """

    mode: Mode
    depth: int
    width: int
    height: int
    digest: bytes
    chunks: PackedChunks
    size: int
    content: Tiles | OriginReference | KeptReference

    @property
    def model(self) -> ModelReference | None:
        """The model that is needed, which of an origin its parts say."""
        return None if isinstance(self.content, OriginReference) else self.content.model

    @property
    def is_chained(self) -> bool:
        """Whether tiles are in a chain, which may go on from another file."""
        return isinstance(self.content, Tiles) and self.content.chain is not None

    @property
    def file_size(self) -> int:
        return self.size + self.chunks.stored + sum(self.content.lengths())

    @property
    def base_size(self) -> int:
        """Bytes of all bases."""
        return sum(self.content.lengths()[: len(self.content.index)]) if isinstance(self.content, Tiles) else 0

    def tiles(self) -> Tiles:
        """The content. Raises FormatError where this is something else than tiles."""
        if not isinstance(self.content, Tiles):
            raise FormatError("the file has an origin, or keeps an image file, where tiles are expected")
        return self.content

    @property
    def preview_size(self) -> int:
        """Bytes from the file's start on that a preview takes; 0 where there is none."""
        if isinstance(self.content, KeptReference | OriginReference):
            return self.file_size if self.content.has_preview else 0
        return self.size + self.chunks.stored + self.base_size if self.base_size else 0

    def spans(self) -> Iterator[tuple[int, int]]:
        """Where the file has each piece of its content: the first byte, and the one after the last."""
        place = self.size + self.chunks.stored
        for length in self.content.lengths():
            yield place, place + length
            place += length

    def boxes(self) -> Iterator[tuple[int, Box]]:
        """The component and the place of each stream in the index. Raises as `tiles`."""
        for component, (width, height) in enumerate(self.tiles().sizes):
            for box in tile_boxes(self.width, self.height, width, height):
                yield component, box
