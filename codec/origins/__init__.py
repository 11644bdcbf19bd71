"""Origins: what images were rendered from. A file each (`rendered`, `levels`), with the same few functions."""

from __future__ import annotations

from lgcodec.container import Reader
from lgcodec.errors import FormatError
from lgcodec.image import Picture
from lgcodec.origins import levels, rendered
from lgcodec.origins.origin import Inverted, Origin

_KINDS = {rendered.KIND: rendered, levels.KIND: levels}


def invert(picture: Picture) -> Inverted | None:
    """The origin of an image, None where none is recognised. Nothing is known until it is rendered and compared."""
    for kind in _KINDS.values():
        found = kind.invert(picture)
        if found is not None:
            return found
    return None


def read(data: bytes, mode: str, width: int, height: int) -> Origin:
    """The origin that a file names. Raises FormatError."""
    reader = Reader(memoryview(data), 0)
    kind = _KINDS.get(reader.byte())
    if kind is None:
        raise FormatError("an origin that is unknown to this release")
    origin = kind.read(reader, mode, width, height)
    if reader.left():
        raise FormatError("an origin's parameters go on after their end")
    return origin
