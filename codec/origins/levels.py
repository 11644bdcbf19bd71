"""Few levels: each channel takes its values from a list, so that what is coded are places in it, without gaps.

Stretched histograms, constant channels, tinted greys (all channels from one plane), 16-bit samples with 8 bits of
content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lgcodec.boxes import Box
from lgcodec.errors import FormatError
from lgcodec.fields import Reader, varint
from lgcodec.image import Picture, Samples
from lgcodec.origins.origin import Given, Inverted, Part

_GAPS = 0.06  # of the values between the least and the greatest that must be missing
_STEP = 64  # rows between those that are looked at first

KIND = 1
_MODES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


@dataclass(frozen=True)
class Levels:
    """tables: the values of each channel, ascending. one: whether all channels but alpha share the part's first one."""

    mode: str  # of the image: one of the above, or I;16
    width: int
    height: int
    tables: tuple[tuple[int, ...], ...]
    one: bool

    @property
    def name(self) -> str:
        return "levels " + "/".join(str(len(table)) for table in self.tables)

    def parts(self) -> list[Part]:
        mode = "L" if self.mode == "I;16" else self.mode
        if self.one:
            mode = {"RGB": "L", "RGBA": "LA"}.get(mode, mode)
        return [Part(mode, self.width, self.height)]

    def needs(self, box: Box) -> list[Box | None]:
        return [box]

    def render(self, parts: Sequence[Given], box: Box) -> Samples:
        planes = parts[0]
        if not isinstance(planes, np.ndarray):
            raise FormatError("a part is missing")
        alpha = self.mode in ("LA", "RGBA")
        out = []
        for k, table in enumerate(self.tables):
            place = (0 if k < len(self.tables) - alpha else 1) if self.one else k
            plane = planes[..., place]
            if int(plane.max(initial=0)) >= len(table):
                raise FormatError("a level that is not in its list")
            out.append(np.array(table, np.uint16)[plane])
        values = np.stack(out, -1)
        if self.mode == "I;16":
            return np.concatenate([values & 255, values >> 8], -1).astype(np.uint8)
        return values.astype(np.uint8)

    def write(self) -> bytes:
        data = [bytes([KIND, int(self.one)])]
        for table in self.tables:
            data += [varint(len(table)), *map(varint, np.diff(table, prepend=0).tolist())]
        return b"".join(data)


def read(reader: Reader, mode: str, width: int, height: int) -> Levels:
    """The inverse of `write`, after the kind. Raises FormatError."""
    if mode not in (*_MODES, "I;16"):
        raise FormatError(f"mode {mode} has no levels")
    one, most = reader.varint(0, int(mode in ("RGB", "RGBA"))), (1 << 16 if mode == "I;16" else 1 << 8) - 1
    tables = []
    for _ in range(_MODES.get(mode, 1)):
        steps = [reader.varint(i > 0, most) for i in range(reader.varint(1, 256))]
        table = tuple(np.cumsum(steps).tolist())
        if table[-1] > most:
            raise FormatError("a level beyond what samples can be")
        tables.append(table)
    return Levels(mode, width, height, tuple(tables), bool(one))


def invert(picture: Picture) -> Inverted | None:
    """Levels of an image whose channels leave out some, None for others."""
    mode = picture.mode.pillow
    if mode not in (*_MODES, "I;16") or picture.depth not in (8, 16):
        return None
    rows = range(0, picture.height, max(1, min(_STEP, picture.height // 16)))
    if not _has_gaps(_used(np.concatenate([picture.samples((0, y, picture.width, y + 1)) for y in rows]), mode), mode):
        return None
    samples = picture.samples((0, 0, picture.width, picture.height))
    used = _used(samples, mode)
    if not _has_gaps(used, mode):
        return None
    values = _values(samples, mode)
    planes = np.stack([np.searchsorted(u, values[..., k]) for k, u in enumerate(used)], -1).astype(np.uint8)
    colours = planes[..., : 3 if mode in ("RGB", "RGBA") else 1]
    one = colours.shape[2] == 3 and bool((colours == colours[..., :1]).all())
    if one:
        planes = np.delete(planes, (1, 2), -1)
    tables = tuple(tuple(int(v) for v in u) for u in used)
    return Inverted(Levels(mode, picture.width, picture.height, tables, one), [planes], b"", 0)


def _values(samples: Samples, mode: str) -> NDArray[np.uint16]:
    if mode == "I;16":
        wide = samples.astype(np.uint16)
        return wide[..., :1] + (wide[..., 1:] << 8)
    return samples.astype(np.uint16)


def _used(samples: Samples, mode: str) -> list[NDArray[np.int64]]:
    values = _values(samples, mode)
    size = 1 << 16 if mode == "I;16" else 1 << 8
    return [np.flatnonzero(np.bincount(values[..., k].ravel(), minlength=size)) for k in range(values.shape[2])]


def _has_gaps(used: Sequence[NDArray[np.int64]], mode: str) -> bool:
    if mode == "I;16":
        return len(used[0]) <= 256
    colours = used[:-1] if mode in ("LA", "RGBA") else used
    missing = [1 - len(u) / (u[-1] - u[0] + 1) for u in colours]
    tinted = len(colours) == 3 and len({len(u) for u in colours}) == 1 and len(colours[0]) < 256
    return max(missing) >= _GAPS or any(len(u) == 1 for u in colours) or tinted
