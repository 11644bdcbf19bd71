"""Headers and whole files, written."""

from __future__ import annotations

import hashlib
import itertools
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lgcodec import chunks as lists
from lgcodec.colour import PLAIN
from lgcodec.container.header import (
    DIGEST_SIZE,
    HAS_BASE,
    HAS_CHAIN,
    HAS_MODEL,
    HAS_ORIGIN,
    HAS_PRESET,
    IS_KEPT,
    MAGIC,
    MAX_LINKS,
    VERSION,
    ChainReference,
    ModelReference,
)
from lgcodec.deflate import deflate
from lgcodec.errors import LimitError
from lgcodec.fields import varint
from lgcodec.image import Mode, Samples
from lgcodec.metadata import Chunk
from lgcodec.plain import MODEL


def digest_of(strips: Iterable[Samples]) -> bytes:
    """The digest of an image's samples, strips of whole rows from the top."""
    sha = hashlib.sha256()
    for strip in strips:
        sha.update(np.ascontiguousarray(strip).data)
    return sha.digest()[:DIGEST_SIZE]


def write(
    *,
    mode: Mode,
    depth: int,
    size: tuple[int, int],
    transform: int,
    digest: bytes,
    chunks: Sequence[Chunk],
    model: ModelReference | None,
    tiles: Sequence[tuple[int, int]],
    streams: Sequence[tuple[int, bytes]],
    bases: Mapping[int, bytes] | None = None,
    chain: tuple[ChainReference, bytes] | None = None,
) -> bytes:
    """A whole file. size: width, height. tiles: as in Header. streams: (method, bytes) in the index's order.

    bases: of all model streams by their place, or of none. chain: of all model streams, which are then empty.
    """
    bases = bases or {}
    if chain is not None and len(streams) > MAX_LINKS:
        raise LimitError(f"a chain of more than {MAX_LINKS} tiles: take larger ones")
    body, packed, features = _start_of_body(mode, depth, size, transform, digest, chunks)
    if model is not None:
        body += _model_fields(model)
    if chain is not None:
        reference, _ = chain
        body += [varint(reference.seed_id), reference.seed_digest]
        body += [varint(len(reference.seeds)), *map(varint, reference.seeds)]
        body += [varint(reference.length), struct.pack("<I", reference.crc)]
    for tile_width, tile_height in tiles:
        body += [varint(tile_width), varint(tile_height)]
    place = 0
    while place < len(streams):
        method, data = streams[place]
        body.append(bytes([method]))
        if chain is not None and method == MODEL:
            run = len(list(itertools.takewhile(lambda stream: stream[0] == MODEL, streams[place:])))
            body.append(varint(run))
            place += run
            continue
        parts = (data, bases.get(place))
        body += [varint(len(part)) + struct.pack("<I", zlib.crc32(part)) for part in parts if part is not None]
        place += 1
    features |= (HAS_MODEL if model is not None else 0) | (HAS_BASE if bases else 0)
    features |= HAS_CHAIN if chain is not None else 0
    tail = [] if chain is None else [chain[1]]
    return b"".join([_head(features, body), packed, *bases.values(), *(data for _, data in streams), *tail])


def write_origin(
    *,
    mode: Mode,
    depth: int,
    size: tuple[int, int],
    digest: bytes,
    chunks: Sequence[Chunk],
    origin: bytes,
    exceptions: bytes,
    parts: Sequence[bytes],
) -> bytes:
    """A whole file of an image that is rendered from planes. parts: the files that hold these."""
    body, packed, features = _start_of_body(mode, depth, size, PLAIN, digest, chunks)
    excepted = min(exceptions, deflate(exceptions), key=len)
    body += [varint(len(origin)), origin, varint(len(excepted))]
    if excepted:
        body += [varint(len(exceptions)), struct.pack("<I", zlib.crc32(excepted))]
    body += [varint(len(parts)), *(varint(len(part)) for part in parts)]
    return b"".join([_head(features | HAS_ORIGIN, body), packed, excepted, *parts])


def write_kept(
    *,
    mode: Mode,
    size: tuple[int, int],
    digest: bytes,
    length: int,
    rest: bytes,
    model: ModelReference | None,
    bands: Sequence[bytes],
) -> bytes:
    """A whole file that keeps an image file of `length` bytes. digest: of these bytes. As KeptReference."""
    body, *_ = _start_of_body(mode, 8, size, PLAIN, digest, ())
    body += [varint(length), varint(len(rest)), struct.pack("<I", zlib.crc32(rest))]
    if model is not None:
        body += [*_model_fields(model), varint(len(bands))]
        body += [varint(len(band)) + struct.pack("<I", zlib.crc32(band)) for band in bands]
    features = IS_KEPT | (HAS_MODEL if model is not None else 0)
    return b"".join([_head(features, body), rest, *bands])


def _model_fields(model: ModelReference) -> list[bytes]:
    adaptation = [varint(len(model.adaptation)), model.adaptation]
    return [varint(model.wire_id), model.digest, *adaptation, varint(model.ideal_bits)]


def _start_of_body(
    mode: Mode, depth: int, size: tuple[int, int], transform: int, digest: bytes, chunks: Sequence[Chunk]
) -> tuple[list[bytes], bytes, int]:
    """The fields that all files have, the packed chunks, and the feature bits of these."""
    packed, unpacked, has_preset = lists.pack(chunks)
    body = [bytes([mode.wire_id, depth]), varint(size[0]), varint(size[1]), bytes([transform]), digest]
    body.append(varint(len(packed)))
    if packed:
        body += [varint(unpacked), struct.pack("<I", zlib.crc32(packed))]
    return body, packed, HAS_PRESET if has_preset else 0


def _head(features: int, body: Sequence[bytes]) -> bytes:
    joined = b"".join(body)
    head = MAGIC + bytes([VERSION, features]) + varint(len(joined)) + joined
    return head + struct.pack("<I", zlib.crc32(head))
