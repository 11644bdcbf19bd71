"""What a file's header says."""

from __future__ import annotations

import io
import os
from collections import Counter
from dataclasses import dataclass
from typing import IO, Any

from lgcodec import colour, container, origins, plain, sets
from lgcodec.container import Header, KeptReference, OriginReference, Tiles
from lgcodec.fields import Reader
from lgcodec.files import Data, bytes_of, opened
from lgcodec.metadata import Chunk

_PROCESS, _MODEL = 40 << 20, 160 << 20  # bytes, as measured on 0.4 megapixels
_TABLES, _TABLES_OF_A_PIXEL = 105 << 20, 400  # of context mixing, at most


@dataclass(frozen=True)
class Info:
    """What a file's header says. Sizes in bytes, `ideal_bits` and bpsp in bits.

    channels: samples a pixel. tile_sizes: (width, height) for each component. methods: how many streams use each.
    model_id, model_digest (the first 16 bytes, hexadecimal): None where no stream needs a model.
    ideal_bits: the exact code length of the model's streams; overhead of these is 8 * model_bytes - ideal_bits.
    preview_bytes: from the file's start on, that a preview takes; 0 where there is none.
    origin: what the image was rendered from, None for most. Its parts count where streams do; model_id is the first
    one's. exceptions: pixels that are not as rendered. kept_bytes: of the image file that
    is kept byte for byte, 0 for others; its bands count as streams.
    """

    width: int
    height: int
    mode: str
    channels: int
    depth: int
    transform: str
    tile_sizes: tuple[tuple[int, int], ...]
    methods: dict[str, int]
    model_id: int | None
    model_digest: str | None
    adaptation_bytes: int
    ideal_bits: int
    file_bytes: int
    header_bytes: int
    chunk_bytes: int
    model_bytes: int
    preview_bytes: int
    plain_bytes: int
    chunks: tuple[str, ...]
    origin: str | None = None
    kept_bytes: int = 0
    exceptions: int = 0

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def tiles(self) -> int:
        return sum(self.methods.values())

    @property
    def memory(self) -> int:
        """Bytes that a process takes to decode it, roughly: the pixels twice, the file, tables, a model, and Python."""
        tables = min(_TABLES, _TABLES_OF_A_PIXEL * self.pixels) * self.is_mixed + _MODEL * (self.model_id is not None)
        return _PROCESS + self.file_bytes + self.pixels * (2 * self.channels + 6) + tables

    @property
    def is_mixed(self) -> bool:
        """Whether context mixing has coded a part of it."""
        return any("contexts" in method for method in self.methods)

    @property
    def bpsp(self) -> float:
        """Bits per sub-pixel of the whole file."""
        return 8 * self.file_bytes / (self.pixels * self.channels)


def inspect(data: Data) -> Info:
    """What a file's header says: no pixel is decoded, no model loaded, and of a file no more is read than its header.

    Raises FormatError; of the streams only the lengths are checked.
    """
    if isinstance(data, (str, os.PathLike)):
        with opened(data) as file:
            return _inspect(file)
    given: Any = data
    return _inspect(given if hasattr(data, "seekable") else io.BytesIO(bytes_of(data)))


def inspect_set(data: Data) -> dict[str, Info]:
    """As `inspect` for each image of a set, by name. The bytes of a chain count with the image that it begins in.

    Raises FormatError.
    """
    return {name: _inspect(io.BytesIO(part)) for name, part in sets.read(bytes_of(data)).items()}


def read_start(file: IO[bytes]) -> tuple[Header, tuple[Chunk, ...], int]:
    """The header, the PNG chunks, and how many bytes they took, of a file that is read no further than these.

    Raises FormatError.
    """
    start = file.read(20)
    need = container.header_size(start)
    start += file.read(need - len(start)) if need > len(start) else b""
    header = container.read_header(start, max_pixels=1 << 62)
    end = header.size + header.chunks[0]
    start += file.read(end - len(start)) if end > len(start) else b""
    return header, container.read_chunks(header, start), len(start)


def _inspect(file: IO[bytes]) -> Info:
    header, chunks, read = read_start(file)
    size = file.seek(0, os.SEEK_END) if file.seekable() else read + len(file.read())
    container.check_size(header, size)
    parts, kept_bytes, own = [header], 0, header.size
    transform, origin, exceptions = colour.NAMES[colour.PLAIN], None, b""
    match header.content:
        case Tiles():
            transform = colour.NAMES[header.content.transform]
        case KeptReference():
            kept_bytes = header.content.size
        case OriginReference():
            file.seek(0)
            whole = container.read(file.read(), max_pixels=1 << 62)
            parts = [_part(part) for part in whole.pieces[1:]]
            transform, exceptions = "origin", whole.exceptions(header.content)
            origin = origins.read(header.content.data, header.mode.pillow, header.width, header.height).name
            own += header.content.exceptions[0] + sum(part.size for part in parts)
    methods, lengths = Counter[str](), Counter[bool]()  # bytes by whether a model made them
    tiles: tuple[tuple[int, int], ...] = ()
    for part in parts:
        match part.content:
            case Tiles(index=index, chain=chain, sizes=sizes):
                for entry in index:
                    methods[plain.NAMES[entry.method]] += 1
                    lengths[entry.method == plain.MODEL] += entry.length
                lengths[True] += part.base_size + (0 if chain is None else chain.length)
                tiles += sizes
            case KeptReference(rest=rest, bands=bands):
                methods[plain.NAMES[plain.MODEL] if bands else "as it is"] += len(bands) or 1
                lengths[True] += sum(length for length, _ in bands)
                lengths[False] += rest[0]
    models = [part.model for part in parts if part.model is not None]
    return Info(
        width=header.width,
        height=header.height,
        mode=header.mode.pillow,
        channels=header.mode.subpixels,
        depth=header.depth,
        transform=transform,
        tile_sizes=tiles,
        methods=dict(methods),
        model_id=models[0].wire_id if models else None,
        model_digest=models[0].digest.hex() if models else None,
        adaptation_bytes=sum(len(model.adaptation) for model in models),
        ideal_bits=sum(model.ideal_bits for model in models),
        file_bytes=size,
        header_bytes=own,
        chunk_bytes=header.chunks[0],
        model_bytes=lengths[True],
        preview_bytes=header.preview_size,
        plain_bytes=lengths[False],
        kept_bytes=kept_bytes,
        chunks=tuple(kind.decode() for kind, _ in chunks if kind != b"IDAT"),
        origin=origin,
        exceptions=Reader(memoryview(exceptions), 0).varint() if exceptions else 0,
    )


def _part(data: container.Data) -> Header:
    header = container.read_header(data, max_pixels=1 << 62)
    container.check_size(header, len(data))
    return header
