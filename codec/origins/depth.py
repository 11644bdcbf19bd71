"""Deep samples: values of up to 16 bits lie in 256 bins, a picture that models code; their places there are bits.

Bins are about as wide as the noise of their values, so that a place within one costs its bits, whoever codes it: in
light parts of an image from a sensor they are wider, and at values that hardly occur. Images that leave out many values
are places in lists first, as in `levels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from lgcodec.boxes import Box
from lgcodec.errors import FormatError
from lgcodec.fields import Reader, varint
from lgcodec.image import MODES, Mode, Picture, Samples, array_of
from lgcodec.origins.origin import Given, Inverted, Part

KIND = 3
_MODES: dict[str, tuple[str, Mode]] = {
    mode.pillow: (mode.pillow.removesuffix(";16").replace("I", "L"), mode)
    for mode in MODES.values()
    if mode.levels == 1 << 16
}
_ALPHA = ("LA", "RGBA")
BINS, BITS, ROWS, MOST = 256, 8, 16, (1 << 16) - 1  # ROWS: whose bits begin with a byte
_PARTS, _STRIPS = 64, 64  # parts of all values, for each of which the noise is estimated, and from how many strips
_LISTED = 0.5  # of the values from the least to the greatest that occur at most, where they are listed

Values = NDArray[np.uint16]


@dataclass(frozen=True)
class Table:
    """The values of some channels. steps: from `least` to the next ones, none where these are all 1; their places begin
    at 0, and make bins of 2^bits places: `runs` of (how many, bits).
    """

    least: int
    steps: tuple[int, ...]
    runs: tuple[tuple[int, int], ...]

    @cached_property
    def bits(self) -> NDArray[np.int64]:
        """Of places in each bin."""
        counts, bits = zip(*self.runs, strict=True)
        return np.repeat(np.array(bits, np.int64), counts)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """The first place of each bin, and the one after the last."""
        return np.concatenate([[0], np.cumsum(np.left_shift(1, self.bits))])

    @cached_property
    def listed(self) -> NDArray[np.int64]:
        """The values of all places, where there are steps."""
        return np.cumsum((self.least, *self.steps))

    def value(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Raises FormatError where a place is beyond the last value."""
        last = len(self.steps) if self.steps else MOST - self.least
        if int(places.max(initial=0)) > last:
            raise FormatError("a place beyond the last value of its channel")
        return self.listed[places] if self.steps else places + self.least

    def place(self, values: Values) -> NDArray[np.int64]:
        if self.steps:
            return np.searchsorted(self.listed, values)
        return values.astype(np.int64) - self.least


@dataclass(frozen=True)
class Depth:
    """tables: of the colours together, and of alpha. most: bytes that the places within bins of ROWS rows take at most;
    the second part has those of each ROWS rows in a row, and zeros behind them.
    """

    mode: str
    width: int
    height: int
    tables: tuple[Table, ...]
    most: int

    @property
    def name(self) -> str:
        return f"16 bits in {max(len(table.bits) for table in self.tables)} bins"

    def parts(self) -> list[Part]:
        bits = Part("L", self.most, -(-self.height // ROWS), is_bits=True)
        return [Part(_MODES[self.mode][0], self.width, self.height), *([bits] if self.most else [])]

    def needs(self, box: Box) -> list[Box | None]:
        """Whole rows, because bits of a row follow each other."""
        first, end = box[1] // ROWS, -(-box[3] // ROWS)
        bits = (0, first, self.most, end)
        return [(0, first * ROWS, self.width, min(self.height, end * ROWS)), *([bits] if self.most else [])]

    def render(self, parts: Sequence[Given], box: Box) -> Samples:
        bins, *more = [part for part in parts if isinstance(part, np.ndarray)]
        first, count = box[1] // ROWS * ROWS, -(-len(bins) // ROWS)
        rest = more[0][..., 0] if more else np.zeros((count, 0), np.uint8)
        values = np.concatenate([self._values(bins[ROWS * i : ROWS * (i + 1)], rest[i]) for i in range(count)])
        values = values[box[1] - first : box[3] - first, box[0] : box[2]]
        order = _MODES[self.mode][1].byte_order
        return np.ascontiguousarray(values.astype(f"{order}u2")).view(np.uint8)

    def _values(self, bins: Samples, rest: Samples) -> NDArray[np.int64]:
        bits, starts = np.empty(bins.shape, np.int64), np.empty(bins.shape, np.int64)
        for k, table in self._by_channel():
            widths, channel = table.bits, bins[..., k]
            if int(channel.max(initial=0)) >= len(widths):
                raise FormatError("a bin that is not in its table")
            bits[..., k], starts[..., k] = widths[channel], table.starts[channel]
        places = starts + _unpack(rest, bits)
        for k, table in self._by_channel():
            places[..., k] = table.value(places[..., k])
        return places

    def _by_channel(self) -> list[tuple[int, Table]]:
        channels = _MODES[self.mode][1].channels // 2
        alpha = _MODES[self.mode][0] in _ALPHA
        return [(k, self.tables[int(alpha and k == channels - 1)]) for k in range(channels)]

    def write(self) -> bytes:
        data = [bytes([KIND]), varint(self.most)]
        for table in self.tables:
            data += [varint(table.least), varint(len(table.steps))]
            for step, equal in groupby(table.steps):
                count = len(list(equal))
                data.append(bytes(1) + varint(count) + varint(step) if count > 1 else varint(step))
            data.append(varint(len(table.runs)))
            data += [varint(count) + varint(bits) for count, bits in table.runs]
        return b"".join(data)


def read(reader: Reader, mode: str, width: int, height: int) -> Depth:
    """The inverse of `write`, after the kind. Raises FormatError."""
    if mode not in _MODES:
        raise FormatError(f"mode {mode} has no samples of 16 bits")
    tables, most = [], reader.varint(0, ROWS * width * (_MODES[mode][1].channels // 2))
    for _ in range(1 + (_MODES[mode][0] in _ALPHA)):
        least, n, steps = reader.varint(0, MOST), reader.varint(0, MOST), list[int]()
        while len(steps) < n:
            count, step = 1, reader.varint(0, MOST)
            if step == 0:
                count, step = reader.varint(2, n - len(steps)), reader.varint(1, MOST)
            steps += [step] * count
        runs = tuple((reader.varint(1, BINS), reader.varint(0, BITS)) for _ in range(reader.varint(1, BINS)))
        if least + sum(steps) > MOST or _count(runs) > BINS:
            raise FormatError("a value beyond what samples can be")
        tables.append(Table(least, tuple(steps), runs))
    return Depth(mode, width, height, tuple(tables), most)


def _unpack(data: Samples, bits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of so many bits each, one after the other, the highest bit first. Raises FormatError."""
    ends = np.cumsum(bits).reshape(bits.shape)
    size = int(ends.flat[-1]) if ends.size else 0
    if 8 * len(data) < size or np.unpackbits(data[size // 8 :])[size % 8 :].any():
        raise FormatError(f"places within bins of {8 * len(data)} bits, or what follows them is not 0: expected {size}")
    padded = np.concatenate([data, np.zeros(2, np.uint8)]).astype(np.int64)
    begin = ends - bits
    window = (padded[begin >> 3] << 8) | padded[(begin >> 3) + 1]
    numbers: NDArray[np.int64] = (window >> (16 - (begin & 7) - bits)) & ((1 << bits) - 1)
    return numbers


def _pack(numbers: NDArray[np.int64], bits: NDArray[np.int64]) -> Samples:
    """The inverse of `_unpack`."""
    each = np.arange(BITS)
    wanted = each[None] < bits.reshape(-1, 1)
    digits = (numbers.reshape(-1, 1) >> np.maximum(bits.reshape(-1, 1) - 1 - each, 0)) & 1
    return np.packbits(digits[wanted].astype(np.uint8))


def invert(picture: Picture) -> Inverted | None:
    """A picture of 16-bit samples as bins and places in them, None for others."""
    if picture.mode.pillow not in _MODES or not picture.area:
        return None
    part, mode = _MODES[picture.mode.pillow]
    has_alpha = part in _ALPHA

    def groups(y: int) -> list[Values]:
        """The colours and the alpha of a strip."""
        strip = np.ascontiguousarray(picture.samples((0, y, picture.width, min(y + ROWS, picture.height))))
        values = array_of(strip, mode).reshape(*strip.shape[:2], -1)
        return [values[..., :-1], values[..., -1:]] if has_alpha else [values]

    strips = range(0, picture.height, ROWS)
    used = [np.zeros(MOST + 1, bool) for _ in range(1 + has_alpha)]
    for y in strips:
        for group, seen in zip(groups(y), used, strict=True):
            seen[group] = True
    some = [groups(y) for y in strips[:: max(1, len(strips) // _STRIPS)]]
    tables = tuple(_table(np.flatnonzero(u), [strip[k] for strip in some]) for k, u in enumerate(used))
    pictures, rest = [], []
    for y in strips:
        places = [table.place(group) for table, group in zip(tables, groups(y), strict=True)]
        bins = [np.searchsorted(table.starts, p, "right") - 1 for table, p in zip(tables, places, strict=True)]
        within = [place - table.starts[b] for table, place, b in zip(tables, places, bins, strict=True)]
        bits = [table.bits[b] for table, b in zip(tables, bins, strict=True)]
        rest.append(_pack(np.concatenate(within, -1), np.concatenate(bits, -1)))
        pictures.append(np.concatenate(bins, -1).astype(np.uint8))
    most = max(map(len, rest))
    packed = np.stack([np.pad(part, (0, most - len(part))) for part in rest])[..., None]
    found = Depth(picture.mode.pillow, picture.width, picture.height, tables, most)
    return Inverted(found, [np.concatenate(pictures), *([packed] if most else [])], b"", 0)


def _table(used: NDArray[np.int64], strips: Sequence[Values]) -> Table:
    """Bins by the noise of some strips: the fewer bits are lost that way, the more even is what they hold.

    used: all values that occur.
    """
    least, most = int(used[0]), int(used[-1])
    listed = len(used) < _LISTED * (most - least + 1)
    table = Table(least, tuple(np.diff(used).tolist()) if listed else (), ((1, 0),))
    places = [table.place(strip) for strip in strips]
    last = len(used) - 1 if listed else most - least
    # parts of all places, none with many more samples or places than others; their ends, samples, and noise
    shares, joined = np.linspace(0, 1, _PARTS + 1)[1:], np.concatenate([place.ravel() for place in places])
    ends = np.unique(np.concatenate([np.quantile(joined, shares), shares * last]).astype(np.int64)) + 1
    count, noise = np.full(len(ends), 1e-9), np.full(len(ends), 1e-9)
    for x in places:
        if min(x.shape[:2]) > 1:
            part = np.searchsorted(ends, x[1:, 1:], "right").ravel()
            apart = np.abs(2 * x[1:, 1:] - x[1:, :-1] - x[:-1, 1:]).ravel() / 2
            count += np.bincount(part, minlength=len(ends))
            noise += np.bincount(part, apart, len(ends))
    scale, widths = np.maximum(noise / count, 0.25), np.diff(ends, prepend=0)
    bits = np.zeros(len(ends), np.int64)
    while _count(runs := _runs(ends, bits)) > BINS:
        # A bin of width w where noise has the scale s costs about (w / s)^2 / 12 bits a sample more than none.
        loss = count * 4.0**bits / scale**2 / (widths / 2.0**bits)
        bits[np.argmin(np.where(bits < BITS, loss, np.inf))] += 1
    return Table(table.least, table.steps, tuple(runs))


def _count(runs: Sequence[tuple[int, int]]) -> int:
    return sum(count for count, _ in runs)


def _runs(ends: NDArray[np.int64], bits: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Bins from place 0 on, of 2^bits places in each part until its end."""
    runs: list[tuple[int, int]] = []
    at = 0
    for end, b in zip(ends.tolist(), bits.tolist(), strict=True):
        n = max(0, -(-(end - at) >> b))
        at += n << b
        if n and runs and runs[-1][1] == b:
            runs[-1] = (runs[-1][0] + n, b)
        elif n:
            runs.append((n, b))
    return runs
