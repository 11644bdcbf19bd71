"""Origins: what images were rendered from. A file each (`rendered`, `coefficients`, ..), with like functions.

They are imported when they are asked for: most files have no origin.
"""

from __future__ import annotations

from types import ModuleType

from lgcodec.errors import FormatError, VersionError
from lgcodec.fields import Reader
from lgcodec.image import Picture
from lgcodec.origins.origin import Inverted, Origin


def invert(picture: Picture) -> list[Inverted]:
    """The origins of an image, that of the smallest file first, if any is recognised.

    Nothing is known until it is rendered and compared.
    """
    from lgcodec.origins import coefficients, rendered

    found = rendered.invert(picture) or _by_values(picture)
    deeper: list[Inverted] = []
    if picture.mode.pillow in coefficients.MODES:
        from lgcodec.origins import recovery

        deeper = [one for planes in found or (None,) for one in recovery.invert(picture, planes)]
    return [*sorted(deeper, key=lambda origin: origin.count), *found]


def _by_values(picture: Picture) -> list[Inverted]:
    """What few values, or many bits, speak for."""
    from lgcodec.origins import depth, levels

    one = levels.invert(picture) or depth.invert(picture)
    return [] if one is None else [one]


def is_likely(picture: Picture) -> bool:
    """Whether a few pixels speak for colours that were made of luma and chroma."""
    from lgcodec.origins import search

    return picture.mode.pillow in ("RGB", "RGBA") and search.is_likely(picture)


def read(data: bytes, mode: str, width: int, height: int) -> Origin:
    """The origin that a file names. Raises FormatError."""
    from lgcodec.origins import coefficients, depth, levels, rendered

    reader = Reader(memoryview(data), 0)
    kind = reader.byte()
    place: ModuleType | None = {part.KIND: part for part in (rendered, levels, coefficients, depth)}.get(kind)
    if place is None:
        raise VersionError(f"origin {kind} is unknown to this release")
    origin: Origin = place.read(reader, mode, width, height)
    if reader.left():
        raise FormatError("an origin's parameters go on after their end")
    return origin
