"""Lists of PNG chunks as files hold them. Deflated texts and profiles stand open in a list, and are packed with it.

    list  = ( type(4) || n(varint) || data(n) ) ...
    data  = head || how(4) || content        of iCcP, zTxt and iTxt, which are iCCP, zTXt and iTXt whose stream is open

FORMAT.md, PNG chunks. A stream is opened where zlib makes it again of its content; all others are left as they are.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence

from lgcodec.deflate import deflate, inflate, metadata
from lgcodec.errors import FormatError, LimitError
from lgcodec.fields import Reader, varint
from lgcodec.metadata import MAX_CHUNKS, Chunk

_OPEN = {kind: kind[:2] + kind[2:3].lower() + kind[3:] for kind in (b"iCCP", b"zTXt", b"iTXt")}
_CLOSED = {name: kind for kind, name in _OPEN.items()}
_HOW = 4  # bytes: the stream's first two; window << 4 | memory; level << 4 | strategy
_MOST, _SMALL = 1 << 16, 1 << 13  # bytes of content that is opened, and for which all windows are tried
_LEVELS = ((1, 0), (1, 5, 4, 3, 2), (6,), (9, 8, 7))  # by what a stream's second byte says of them


def pack(chunks: Sequence[Chunk]) -> tuple[bytes, int, bool]:
    """The shortest form of a list, its size unpacked, and whether it has the preset dictionary and open streams.

    Raises LimitError where it takes more than MAX_CHUNKS bytes.
    """
    listed = _join(chunks)
    if len(listed) > MAX_CHUNKS:
        raise LimitError(f"more than {MAX_CHUNKS >> 20} MiB of metadata")
    ways = [(listed, len(listed), False), (deflate(listed), len(listed), False)]
    opened = _join(map(_opened, chunks))
    if len(opened) <= MAX_CHUNKS and not any(kind in _CLOSED for kind, _ in chunks):
        ways.append((deflate(opened, metadata()), len(opened), True))
    return min(ways, key=lambda way: len(way[0]))


def unpack(packed: bytes, size: int, *, has_preset: bool) -> tuple[Chunk, ...]:
    """The inverse of `pack`. Raises FormatError."""
    listed = inflate(packed, size, metadata() if has_preset else b"") if len(packed) < size else packed
    return tuple(map(_closed, _split(listed)) if has_preset else _split(listed))


def _join(chunks: Iterable[Chunk]) -> bytes:
    return b"".join(part for kind, data in chunks for part in (kind, varint(len(data)), data))


def _split(listed: bytes) -> Iterator[Chunk]:
    reader = Reader(memoryview(listed), 0)
    while reader.left():
        yield reader.take(4), reader.take(reader.varint())


def _opened(chunk: Chunk) -> Chunk:
    kind, data = chunk
    place = _head(kind, data) if kind in _OPEN else None
    found = None if place is None else _recipe(data[place:])
    return chunk if found is None else (_OPEN[kind], data[:place] + found)


def _closed(chunk: Chunk) -> Chunk:
    kind, data = chunk
    if kind not in _CLOSED:
        return chunk
    place = _head(_CLOSED[kind], data)
    if place is None or len(data) < place + _HOW:
        raise FormatError("an open chunk ends before its content")
    return _CLOSED[kind], data[:place] + _stream(data[place : place + _HOW], data[place + _HOW :])


def _head(kind: bytes, data: bytes) -> int | None:
    """Where the zlib stream of a chunk begins, None where it has none."""
    end = data.find(b"\0") + 1
    if kind != b"iTXt":
        return end + 1 if end and data[end : end + 1] == b"\0" else None
    if not end or data[end : end + 2] != b"\1\0":
        return None
    language = data.find(b"\0", end + 2) + 1
    key = data.find(b"\0", language) + 1 if language else 0
    return key or None


def _recipe(stream: bytes) -> bytes | None:
    """How a zlib stream is made of its content, and this; None where zlib does not make it."""
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(stream, _MOST)
    except zlib.error:
        return None
    if not unpacker.eof or unpacker.unused_data:
        return None
    own = max(9, 8 + (stream[0] >> 4))  # what the stream says, which libpng makes as small as it can
    for window in dict.fromkeys((own, 15, *(range(9, 15) if len(content) < _SMALL else ()))):
        for level in _LEVELS[stream[1] >> 6]:
            for memory, strategy in ((8, 0), (8, 1), (9, 0), (9, 1)):
                how = stream[:2] + bytes([window << 4 | memory, level << 4 | strategy])
                if _stream(how, content) == stream:
                    return how + content
    return None


def _stream(how: bytes, content: bytes) -> bytes:
    """A zlib stream. Raises FormatError."""
    window, memory, level, strategy = how[2] >> 4, how[2] & 15, how[3] >> 4, how[3] & 15
    if not (9 <= window <= 15 and 1 <= memory <= 9 and level <= 9 and strategy <= 4):
        raise FormatError("an open chunk says that it is deflated as zlib cannot")
    packer = zlib.compressobj(level, zlib.DEFLATED, -window, memory, strategy)
    return how[:2] + packer.compress(content) + packer.flush() + struct.pack(">I", zlib.adler32(content))
