"""Raw deflate (RFC 1951), with or without the preset dictionary of metadata (FORMAT.md, PNG chunks)."""

from __future__ import annotations

import functools
import zlib
from pathlib import Path

from lgcodec.errors import FormatError


@functools.cache
def metadata() -> bytes:
    """What EXIF, XMP, ICC profiles and PNG texts say again and again, the rare first."""
    return Path(__file__).with_name("metadata.dictionary").read_bytes()


def deflate(data: bytes, preset: bytes = b"") -> bytes:
    """`data` as raw deflate (RFC 1951), without the zlib wrapper, behind a preset dictionary."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zdict=preset)
    return packer.compress(data) + packer.flush()


def inflate(data: bytes, size: int, preset: bytes = b"") -> bytes:
    """The inverse of `deflate`. Raises FormatError unless `data` is one whole stream of exactly `size` bytes."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS, zdict=preset)
    try:
        content = unpacker.decompress(data, size + 1)
    except zlib.error as error:
        raise FormatError("a deflate stream is damaged") from error
    if len(content) != size or not unpacker.eof or unpacker.unused_data:
        raise FormatError(f"a deflate stream does not hold exactly {size} bytes")
    return content
