"""Sets: many files in one, under their names. The files of a latent model are one chain, which begins in the first.

set   signature(8) || version(1) || features(1) || length(varint) || body(length) || crc32(4) || file || file ...
body  count(varint) || (size of name(varint) || name, UTF-8 || size of file(varint)) for each
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from lgcodec.container import Data
from lgcodec.errors import FormatError, InputError, IntegrityError, TruncatedError, VersionError
from lgcodec.fields import Reader, varint

MAGIC = b"\x89LGS\r\n\x1a\n"
VERSION = 1
_NAME_SIZE = 4096
_RESERVED = frozenset('<>:"|?*\\\x7f') | {chr(i) for i in range(32)}


def write(files: Mapping[str, bytes]) -> bytes:
    """A set of files by name, in this order. Raises InputError for a name that `is_safe` refuses."""
    body = [varint(len(files))]
    for name, data in files.items():
        if not is_safe(name):
            raise InputError(f"{name!r} cannot be a name in a set: expected a relative path without special characters")
        encoded = name.encode()
        body += [varint(len(encoded)), encoded, varint(len(data))]
    joined = b"".join(body)
    head = MAGIC + bytes([VERSION, 0]) + varint(len(joined)) + joined
    return b"".join([head, struct.pack("<I", zlib.crc32(head)), *files.values()])


def read(data: Data) -> dict[str, memoryview]:
    """The files of a set, unread. Raises FormatError (its subclasses say how the bytes are wrong)."""
    view = memoryview(data)
    spans = read_index(view)
    for name, (_, end) in spans.items():
        if end > len(view):
            raise TruncatedError(f"the set ends inside {name!r}")
    check_end(view)
    return {name: view[start:end] for name, (start, end) in spans.items()}


def check_end(data: Data) -> None:
    """Raises FormatError where a set goes on after its end, and as `read_index`."""
    view = memoryview(data)
    end = max((end for _, end in read_index(view).values()), default=index_size(view))
    if len(view) > end:
        raise FormatError(f"the set goes on for {len(view) - end} bytes after its end")


def index_size(prefix: Data) -> int:
    """How many bytes come before the first file of a set, by its first 20 bytes. Raises FormatError."""
    view = memoryview(prefix)
    if bytes(view[: len(MAGIC)]) != MAGIC:
        raise FormatError("not a set of lgcodec files")
    reader = Reader(view, len(MAGIC))
    version, features = reader.byte(), reader.byte()
    if version != VERSION or features:
        raise VersionError(f"sets of version {version}, features {features:#04x} are unknown to this release")
    return reader.varint() + reader.place + 4


def read_index(data: Data) -> dict[str, tuple[int, int]]:
    """Where a set has each of its files: the first byte, and the one after the last. `data` may end after the index.

    Raises as `read`.
    """
    view = memoryview(data)
    place = index_size(view)
    end = place - 4
    if len(view) < place:
        raise TruncatedError(f"the set ends inside its header: {len(view)} of {place} bytes")
    if struct.unpack_from("<I", view, end)[0] != zlib.crc32(view[:end]):
        raise IntegrityError("the checksum of the set's header is wrong: the set is damaged")
    reader = Reader(view[:end], len(MAGIC) + 2)
    reader.varint()
    spans: dict[str, tuple[int, int]] = {}
    for _ in range(reader.varint(0, reader.left())):
        try:
            name = reader.take(reader.varint(1, _NAME_SIZE)).decode()
        except UnicodeDecodeError as e:
            raise FormatError("a name in the set is not UTF-8") from e
        size = reader.varint()
        if not is_safe(name) or name in spans:
            raise FormatError(f"the set names a file {name!r}, which is no relative path, or twice the same")
        spans[name] = place, place + size
        place += size
    if reader.left():
        raise FormatError("the set's header goes on after its end")
    return spans


def is_safe(name: str) -> bool:
    """Whether a name is a relative path that stays inside its folder, on every system."""
    parts = name.split("/")
    return (
        0 < len(name.encode(errors="replace")) <= _NAME_SIZE
        and not any("\ud800" <= letter <= "\udfff" for letter in name)
        and not _RESERVED & set(name)
        and all(part not in ("", ".", "..") and not part.endswith((" ", ".")) for part in parts)
    )
