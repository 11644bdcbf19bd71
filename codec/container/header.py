"""What the header of a file says: the image, the model, where each stream is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lgcodec.boxes import Box, tile_boxes
from lgcodec.image import Mode

MAGIC = b"\x89LGC\r\n\x1a\n"
VERSION = 1
HAS_MODEL, HAS_BASE, HAS_CHAIN, HAS_ORIGIN, IS_KEPT = 1, 2, 4, 8, 16  # the feature bits of this version
DIGEST_SIZE = 8
MODEL_DIGEST_SIZE = 16
MODEL_TILE_AREA = 1 << 21  # pixels of the largest tile that a model may code
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

    @property
    def preview_size(self) -> int:
        """Bytes from the file's start on that a preview takes; 0 where there is none."""
        if self.kept is not None:
            return self.file_size if self.model is not None else 0
        return self.size + self.chunks[0] + self.base_size if self.base_size else 0

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
