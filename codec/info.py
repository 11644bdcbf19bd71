"""What a file's header says."""

from __future__ import annotations

import io
import os
from collections import Counter
from dataclasses import dataclass, replace
from typing import IO, Any

from lgcodec import colour, container, plain
from lgcodec.container import Header
from lgcodec.decode import origin_of
from lgcodec.fields import Reader
from lgcodec.files import Data, bytes_of, opened
from lgcodec.metadata import Chunk

_PROCESS, _MODEL = 40 << 20, 160 << 20  # bytes, as measured on 0.4 megapixels


@dataclass(frozen=True)
class Info:
    """What a file's header says. Sizes in bytes, `ideal_bits` and bpsp in bits.

    channels: samples a pixel. tile_sizes: (width, height) for each component. methods: how many streams use each.
    model_id, model_digest (the first 16 bytes, hexadecimal): None where no stream needs a model.
    ideal_bits: the exact code length of the model's streams; overhead of these is 8 * model_bytes - ideal_bits.
    base_bytes: how many of the model_bytes a preview takes.
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
    base_bytes: int
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
        """Bytes that a process takes to decode it, roughly: the pixels twice, the file, a model, and Python."""
        return _PROCESS + self.file_bytes + self.pixels * (2 * self.channels + 6) + _MODEL * (self.model_id is not None)

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
    model, kept = header.model, header.kept
    lengths = Counter[bool]()
    methods = Counter(plain.NAMES[entry.method] for entry in header.index)
    if kept is not None:
        lengths[True], lengths[False] = sum(length for length, _ in kept.bands), kept.rest[0]
        methods = Counter({plain.NAMES[plain.MODEL]: len(kept.bands)} if kept.bands else {"as it is": 1})
    for entry in header.index:
        lengths[entry.method == plain.MODEL] += entry.length
    found = Info(
        width=header.width,
        height=header.height,
        mode=header.mode.pillow,
        channels=header.mode.subpixels,
        depth=header.depth,
        transform=colour.NAMES[header.transform],
        tile_sizes=header.tiles,
        methods=dict(methods),
        model_id=None if model is None else model.wire_id,
        model_digest=None if model is None else model.digest.hex(),
        adaptation_bytes=0 if model is None else len(model.adaptation),
        ideal_bits=0 if model is None else model.ideal_bits,
        file_bytes=size,
        header_bytes=header.size,
        chunk_bytes=header.chunks[0],
        model_bytes=lengths[True] + header.base_size + (0 if header.chain is None else header.chain.length),
        base_bytes=header.base_size,
        plain_bytes=lengths[False],
        kept_bytes=0 if kept is None else kept.size,
        chunks=tuple(kind.decode() for kind, _ in chunks if kind != b"IDAT"),
    )
    if header.origin is None:
        return found
    file.seek(0)
    return _of_parts(found, container.read(file.read(), max_pixels=1 << 62))


def _of_parts(found: Info, file: container.File) -> Info:
    """What is found of an image that was rendered, with the sums over the files of its parts."""
    parts = [inspect(bytes(part)) for part in file.parts]
    exceptions = file.exceptions()
    first = next((part for part in parts if part.model_id is not None), parts[0])
    methods = Counter[str]()
    for part in parts:
        methods.update(part.methods)
    own = found.file_bytes - sum(part.file_bytes for part in parts)
    return replace(
        found,
        transform="origin",
        tile_sizes=tuple(size for part in parts for size in part.tile_sizes),
        methods=dict(methods),
        model_id=first.model_id,
        model_digest=first.model_digest,
        adaptation_bytes=sum(part.adaptation_bytes for part in parts),
        ideal_bits=sum(part.ideal_bits for part in parts),
        header_bytes=own - found.chunk_bytes + sum(part.header_bytes for part in parts),
        model_bytes=sum(part.model_bytes for part in parts),
        base_bytes=sum(part.base_bytes for part in parts),
        plain_bytes=sum(part.plain_bytes for part in parts),
        origin=origin_of(file).name,
        exceptions=Reader(memoryview(exceptions), 0).varint() if exceptions else 0,
    )
