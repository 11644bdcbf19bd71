"""The rest of a JPEG file beside its coefficients, packed small.

    rest = flags(u8) || packed body, in one part or two
    body = skeleton   or   size(varint) || skeleton(size) || [ pads ] || [ facts for each scan ]
    facts = n(varint) || gap(varint) for each break || n(varint) || (gap(varint) || how many(varint)) for each of zeros

FORMAT.md, JPEG files, has every field; `markers` has the skeleton, `scans` what pads and facts are.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lgcodec.deflate import deflate, metadata
from lgcodec.fields import Reader, varint
from lgcodec.jpeg.dictionary import dictionary
from lgcodec.jpeg.errors import JpegError
from lgcodec.jpeg.markers import Header, Markers
from lgcodec.jpeg.scans import Facts, Numbers, Scan

_LISTED, _HAS_FACTS, _PARTED = 2, 4, 8  # flags: pads are listed, else all bits are bit 0; facts follow; two streams
_TABLES = b"\xff\xdb\0"  # how tables begin, behind metadata
_MOST = 1 << 26  # bytes of a body


def pack(skeleton: bytes, facts: Sequence[Facts]) -> bytes:
    """The rest. Raises JpegError where it would be too large."""
    pads = b"".join(own.pads for own in facts)
    bits = "".join(f"{pad:b}"[1:] for pad in set(pads))
    flags = _LISTED if len(set(bits)) > 1 else int("0" not in bits)
    flags |= _HAS_FACTS if any(len(own.breaks) or len(own.zeros) for own in facts) else 0
    body = skeleton
    if flags > 1:
        body = varint(len(skeleton)) + skeleton + (pads if flags & _LISTED else b"")
    if flags & _HAS_FACTS:
        body += b"".join(map(_write, facts))
    if len(body) > _MOST:
        raise JpegError("has too much beside its scans")
    return closed(bytes([flags]) + body)


def closed(content: bytes) -> bytes:
    """flags || body as a rest has them: packed."""
    place = max(1, content.find(_TABLES))
    parts = deflate(content[1:place], metadata()), deflate(content[place:], dictionary())
    whole = content[:1] + deflate(content[1:], dictionary())
    return min(whole, b"".join([bytes([content[0] | _PARTED]), *parts]), key=len)


def opened(data: bytes) -> bytes:
    """The inverse of `closed`. Raises FormatError."""
    if not data:
        raise JpegError("a rest that is none")
    is_parted = bool(data[0] & _PARTED)
    body, left = b"", data[1:]
    for known in (metadata(), dictionary()) if is_parted else (dictionary(),):
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS, zdict=known)
        try:
            body += unpacker.decompress(left, _MOST + 1)
        except zlib.error as error:
            raise JpegError("a rest that is damaged") from error
        if len(body) > _MOST or not unpacker.eof:
            raise JpegError("a rest that is damaged")
        left = unpacker.unused_data
    if left:
        raise JpegError("a rest that is damaged")
    return bytes([data[0] & ~_PARTED]) + body


class Rest:
    """A rest, as far as it is read before the facts. markers: went through to the end."""

    def __init__(self, data: bytes) -> None:
        """Raises FormatError."""
        flags = data[0] if data else 0xFF
        if flags & ~(1 | _LISTED | _HAS_FACTS | _PARTED) or flags & 3 == 3:
            raise JpegError("a rest that is none")
        body = opened(data)
        self._flags, body = body[0], body[1:]
        self._reader = Reader(memoryview(body), 0)
        skeleton = self._reader.take(self._reader.varint() if self._flags > 1 else len(body))
        self.markers = Markers(skeleton, True)
        header, at = self.markers.next(2)
        while header is not None:
            header, at = self.markers.next(at)

    @property
    def pad(self) -> int | None:
        """What all padding bits are, None where facts have them."""
        return None if self._flags & _LISTED else self._flags & 1

    def facts(self) -> list[Facts]:
        """Of each scan. Raises FormatError."""
        headers = [piece for piece in self.markers.pieces if isinstance(piece, Header)]
        facts = [
            Facts(self._reader.take(header.scan.alignments)) if self._flags & _LISTED else Facts() for header in headers
        ]
        if self._flags & _HAS_FACTS:
            facts = [_read(self._reader, of.scan, own.pads) for of, own in zip(headers, facts, strict=True)]
        if self._reader.left():
            raise JpegError("a rest that goes on after its end")
        return facts


def _write(facts: Facts) -> bytes:
    breaks, zeros = np.diff(facts.breaks, prepend=-1) - 1, facts.zeros.copy()
    zeros[:, 0] = np.diff(zeros[:, 0], prepend=-1) - 1
    numbers = [len(breaks), *breaks.tolist(), len(zeros), *zeros.ravel().tolist()]
    return b"".join(map(varint, numbers))


def _read(reader: Reader, scan: Scan, pads: bytes) -> Facts:
    breaks = [reader.varint(0, scan.blocks) + 1 for _ in range(reader.varint(0, scan.blocks))]
    pairs = [
        (reader.varint(0, scan.blocks) + 1, reader.varint(1, 3)) for _ in range(reader.varint(0, scan.blocks))
    ]
    zeros: Numbers = np.array(pairs, np.int64).reshape(-1, 2)
    zeros[:, 0] = np.cumsum(zeros[:, 0]) - 1
    return replace(Facts(pads), breaks=np.cumsum(breaks, dtype=np.int64) - 1, zeros=zeros)
