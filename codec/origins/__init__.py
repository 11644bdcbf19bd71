"""Origins: what images were rendered from. A file each (`rendered`, `coefficients`, ..), with like functions."""

from __future__ import annotations

from collections.abc import Callable

from lgcodec.errors import FormatError, VersionError
from lgcodec.fields import Reader
from lgcodec.image import Picture
from lgcodec.origins import coefficients, depth, levels, rendered
from lgcodec.origins.origin import Inverted, Origin

_READ: dict[int, Callable[[Reader, str, int, int], Origin]] = {
    rendered.KIND: rendered.read,
    levels.KIND: levels.read,
    coefficients.KIND: coefficients.read,
    depth.KIND: depth.read,
}


def invert(picture: Picture) -> list[Inverted]:
    """The origins of an image, that of the smallest file first, if any is recognised.

    Nothing is known until it is rendered and compared.
    """
    found = rendered.invert(picture) or _by_values(picture)
    deeper: list[Inverted | None] = []
    if picture.mode.pillow in coefficients.MODES:
        from lgcodec.origins import recovery

        deeper = [recovery.invert(picture, planes) for planes in found or (None,)]
    known = [origin for origin in deeper if origin is not None]
    return [*sorted(known, key=lambda origin: origin.count), *found]


def _by_values(picture: Picture) -> list[Inverted]:
    """What few values, or many bits, speak for."""
    one = levels.invert(picture) or depth.invert(picture)
    return [] if one is None else [one]


def is_likely(picture: Picture) -> bool:
    """Whether a few pixels speak for colours that were made of luma and chroma."""
    from lgcodec.origins import search

    return picture.mode.pillow in ("RGB", "RGBA") and search.is_likely(picture)


def read(data: bytes, mode: str, width: int, height: int) -> Origin:
    """The origin that a file names. Raises FormatError."""
    reader = Reader(memoryview(data), 0)
    kind = reader.byte()
    if kind not in _READ:
        raise VersionError(f"origin {kind} is unknown to this release")
    origin = _READ[kind](reader, mode, width, height)
    if reader.left():
        raise FormatError("an origin's parameters go on after their end")
    return origin
