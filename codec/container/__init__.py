"""The file format: a header that says everything, then the bytes it announces, and nothing else.

    file    magic(8) || version(1) || features(1) || length(varint) || body(length) || crc32(4) || chunks || stream ...
    body    mode(1) depth(1) width height transform(1) digest(8) || chunks || model? || tile sizes || one entry a stream
    stream  all streams' bases first, then the streams, then the chain if there is one

FORMAT.md has every field. Integers are little-endian; those without a size here are varints (7 bits a byte, low first).

`header` is what a header says, `reading` and `writing` its bytes, `file` a whole file's parts.
"""

from __future__ import annotations

from lgcodec.container.file import File, check_size, read, read_chunks
from lgcodec.container.header import (
    DIGEST_SIZE,
    MAGIC,
    MODEL_DIGEST_SIZE,
    MODEL_TILE_AREA,
    ChainReference,
    Data,
    Entry,
    Header,
    KeptReference,
    ModelReference,
    OriginReference,
    Tiles,
)
from lgcodec.container.reading import default_max_pixels, header_size, read_header
from lgcodec.container.writing import digest_of, write, write_kept, write_origin

__all__ = [
    "DIGEST_SIZE", "MAGIC", "MODEL_DIGEST_SIZE", "MODEL_TILE_AREA", "ChainReference", "Data", "Entry", "File", "Header",
    "KeptReference", "ModelReference", "OriginReference", "Tiles", "check_size", "default_max_pixels", "digest_of",
    "header_size", "read", "read_chunks", "read_header", "write", "write_kept", "write_origin",
]  # fmt: skip
