"""Marker segments (ITU-T T.81, Annex B): a file as pieces, scans among them, and the same without entropy-coded data.

    file      bytes verbatim | DHT segment | scan's header, its entropy-coded data   in any order
    skeleton  the same without data; DHT segments as FF C4 || how many tables (u8) || table for each
    table     class and id (u8) || 16 counts || symbols   or   class and id + 128, where it is the scan's optimal one

What is verbatim is understood as far as it is needed: frames, quantisation tables, restart intervals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lgcodec.jpeg import huffman
from lgcodec.jpeg.dictionary import STANDARD
from lgcodec.jpeg.errors import JpegError
from lgcodec.jpeg.scans import ZIGZAG, Part, Scan

Steps = NDArray[np.uint16]

SOI, EOI, SOS, DQT, DNL, DRI, DHP, EXP, DHT = 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xDE, 0xDF, 0xC4
APP0, APP14 = 0xE0, 0xEE
_FRAMES = {0xC0: False, 0xC1: False, 0xC2: True}  # whether progressive
_REFUSED = {
    **dict.fromkeys((0xC3, 0xC7, 0xCB, 0xCF), "is lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xCD, 0xCE, DHP, EXP), "is hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA), "is arithmetic-coded JPEG"),
    0xC8: "is JPEG of an unknown kind",
    DNL: "tells its height after its first scan",
    SOI: "begins again before its end",
}
_ALONE = frozenset((0x01, *range(0xD0, 0xD8)))  # markers without a segment
_MOST_MARKERS, _MOST_SCANS = 4096, 256
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MOST_UNITS = 10  # blocks of an MCU
OPTIMAL = 0x80


@dataclass(frozen=True)
class Component:
    """horizontal, vertical: sampling factors. table: id of its quantisation table."""

    name: int
    horizontal: int
    vertical: int
    table: int


@dataclass(frozen=True)
class Frame:
    width: int
    height: int
    progressive: bool
    components: tuple[Component, ...]

    def units(self) -> tuple[int, int]:
        """Rows and columns of MCUs that interleave components."""
        across = max(of.horizontal for of in self.components)
        down = max(of.vertical for of in self.components)
        return -(-self.height // (8 * down)), -(-self.width // (8 * across))

    def padded(self, of: Component) -> tuple[int, int]:
        """Rows and columns of a component's blocks in scans that interleave it with others."""
        rows, columns = self.units()
        return rows * of.vertical, columns * of.horizontal

    def bare(self, of: Component) -> tuple[int, int]:
        """Rows and columns of a component's blocks in scans that it has for itself."""
        across = max(other.horizontal for other in self.components)
        down = max(other.vertical for other in self.components)
        height, width = -(-self.height * of.vertical // down), -(-self.width * of.horizontal // across)
        return -(-height // 8), -(-width // 8)


@dataclass(eq=False)
class Table:
    """A Huffman table. key: its class and id. code: as in a file, None where it is to be the optimal one."""

    key: int
    code: bytes | None
    used: bool = False
    optimal: bool = False


@dataclass(frozen=True, eq=False)
class Header:
    """A scan's header, and what it was given: `scan` has no tables yet. tables: as in Scan.codes."""

    text: bytes
    scan: Scan
    tables: tuple[Table | None, ...]

    def coded(self) -> Scan:
        """The scan with its tables as they are by now."""
        return replace(self.scan, codes=tuple(None if table is None else table.code for table in self.tables))


Piece = bytes | list[Table] | Header


class Markers:
    """Goes from scan to scan through a file, or a skeleton, and keeps the pieces it met."""

    def __init__(self, data: bytes, is_skeleton: bool) -> None:
        self.data, self.is_skeleton = data, is_skeleton
        self.pieces: list[Piece] = [data[:2]]
        self.frame: Frame | None = None
        self.steps: dict[int, Steps] = {}  # of planes, when they are first coded
        self.interleaved: set[int] = set()
        self.quantisation: dict[int, Steps] = {}
        self.tables = {key: Table(key, code, used=True) for key, code in STANDARD.items()}  # where a file has none
        self.interval = 0
        self.is_jfif = False  # what tells the colours: APP0, and the number in APP14
        self.adobe: int | None = None
        self.markers = self.scans = 0
        if data[:2] != b"\xff\xd8":
            raise JpegError("is not a JPEG file")

    def next(self, at: int) -> tuple[Header | None, int]:
        """The next scan from `at` on, and where its data begin; None and the end where there is no other."""
        data, start = self.data, at
        while True:
            found = _MARKER.search(data, at)
            if found is None or data[found.end() - 1] == EOI:
                self.pieces.append(data[start:])
                return None, len(data)
            mark, at = found.span()
            kind, self.markers = data[at - 1], self.markers + 1
            if self.markers > _MOST_MARKERS:
                raise JpegError("has too many segments")
            if kind in _REFUSED:
                raise JpegError(_REFUSED[kind])
            if kind in _ALONE:
                continue
            if kind == DHT:
                self.pieces.append(data[start:mark])
                start = at = self._huffman(at)
                continue
            size = int.from_bytes(data[at : at + 2], "big")
            content, at = data[at + 2 : at + size], at + size
            if size < 2 or at > len(data):
                raise JpegError("ends within a segment")
            if kind == SOS:
                header = self._scan(data[start:at], content)
                self.pieces.append(header)
                return header, at
            if kind in _FRAMES:
                self._frame(content, _FRAMES[kind])
            elif kind == DQT:
                self._quantise(content)
            elif kind == APP0 and content[:5] == b"JFIF\0" and len(content) >= 14:
                self.is_jfif = True
            elif kind == APP14 and content[:5] == b"Adobe" and len(content) >= 12:
                self.adobe = content[11]
            elif kind == DRI:
                if len(content) != 2:
                    raise JpegError("has a restart interval of another size")
                self.interval = int.from_bytes(content, "big")

    def _frame(self, content: bytes, progressive: bool) -> None:
        if self.frame is not None:
            raise JpegError("has a second frame")
        if len(content) < 6 or len(content) != 6 + 3 * content[5]:
            raise JpegError("has a frame of another size")
        if content[0] != 8:
            raise JpegError(f"has {content[0]} bits a sample")
        height, width = int.from_bytes(content[1:3], "big"), int.from_bytes(content[3:5], "big")
        components = tuple(
            Component(content[i], content[i + 1] >> 4, content[i + 1] & 15, content[i + 2])
            for i in range(6, len(content), 3)
        )
        if not width or not height or not 1 <= len(components) <= 4:
            raise JpegError("has no size, or no components, or more than four")
        if len({of.name for of in components}) < len(components):
            raise JpegError("has two components of one name")
        if any(not 1 <= of.horizontal <= 4 or not 1 <= of.vertical <= 4 for of in components):
            raise JpegError("has sampling factors out of range")
        if len(components) == 1:  # its factors mean nothing
            components = (Component(components[0].name, 1, 1, components[0].table),)
        self.frame = Frame(width, height, progressive, components)

    def _quantise(self, content: bytes) -> None:
        at = 0
        while at < len(content):
            wide, table = content[at] >> 4, content[at] & 15
            size = 64 * (wide + 1)
            if wide > 1 or len(content) < at + 1 + size:
                raise JpegError("has a quantisation table that is none")
            values = np.frombuffer(content, ">u2" if wide else np.uint8, 64, at + 1)
            if not values.all():
                raise JpegError("has a quantisation table that is none")
            steps = np.zeros(64, np.uint16)
            steps[list(ZIGZAG)] = values
            self.quantisation[table] = steps
            at += 1 + size

    def _huffman(self, at: int) -> int:
        """The tables of a segment whose marker ends at `at`; returns its end."""
        data, tables = self.data, list[Table]()
        if self.is_skeleton:
            end, count, at = len(data), int.from_bytes(data[at : at + 1], "big"), at + 1
        else:
            end, count, at = at + int.from_bytes(data[at : at + 2], "big"), 0x10000, at + 2
        if end > len(data):
            raise JpegError("ends within a segment")
        while at < end and len(tables) < count:
            key, at = data[at], at + 1
            code: bytes | None = None
            if not self.is_skeleton or key < OPTIMAL:
                size = huffman.LONGEST + sum(data[at : at + huffman.LONGEST])
                code, at = data[at : at + size], at + size
                if len(code) != size or at > end or size > huffman.LONGEST + 256:
                    raise JpegError("has a Huffman table that is none")
                huffman.codes(code)
            key &= ~OPTIMAL if self.is_skeleton else 0xFF
            if key & ~0x13:
                raise JpegError("has a Huffman table that is none")
            tables.append(Table(key, code, optimal=code is None))
            self.tables[key] = tables[-1]
        if len(tables) != count if self.is_skeleton else at != end or len(tables) > 255:
            raise JpegError("has a segment of Huffman tables that is none")
        self.pieces.append(tables)
        return at

    def _scan(self, text: bytes, content: bytes) -> Header:
        frame, count = self.frame, content[0] if content else 0
        self.scans += 1
        if frame is None or len(content) != 4 + 2 * count or not 1 <= count <= 4:
            raise JpegError("has a scan without a frame, or of another size")
        if self.scans > _MOST_SCANS:
            raise JpegError("has too many scans")
        names = [of.name for of in frame.components]
        first, last, high, low = content[-3], content[-2], content[-1] >> 4, content[-1] & 15
        if not frame.progressive:
            first, last, high, low = 0, 63, 0, 0
        parts, tables = list[Part](), dict[int, Table]()
        for name, ids in zip(content[1:-3:2], content[2:-3:2], strict=True):
            if name not in names or names.index(name) in (part.plane for part in parts):
                raise JpegError("has a scan of components that are not in the frame")
            plane, dc, ac = names.index(name), ids >> 4, ids & 15
            of = frame.components[plane]
            parts.append(Part(plane, *((of.horizontal, of.vertical) if count > 1 else (1, 1)), dc & 3, 4 + (ac & 3)))
            for wanted, key in ((first == 0 and not high, dc), (last > 0, 0x10 + ac)):
                if wanted:
                    if key not in self.tables:
                        raise JpegError("has a scan without its Huffman table")
                    tables[(key & 3) + (key >> 2)] = self.tables[key]
            if plane not in self.steps:
                if of.table not in self.quantisation:
                    raise JpegError("has a component without its quantisation table")
                self.steps[plane] = self.quantisation[of.table]
            if count > 1:
                self.interleaved.add(plane)
        if frame.progressive and not _is_band(first, last, high, low, count):
            raise JpegError("has a scan of impossible parameters")
        if count > 1 and sum(part.across * part.down for part in parts) > _MOST_UNITS:
            raise JpegError("has MCUs of too many blocks")
        rows, columns = frame.units() if count > 1 else frame.bare(frame.components[parts[0].plane])
        scan = Scan(tuple(parts), rows, columns, frame.progressive, first, last, high, low, self.interval, (None,) * 8)
        return Header(text, scan, tuple(tables.get(i) for i in range(8)))

    def shape(self, plane: int) -> tuple[int, int]:
        """Rows and columns of the blocks of a plane that are coded. Known after the last scan."""
        if self.frame is None or plane not in self.steps:
            raise JpegError("has no frame, or components that are in no scan")
        of = self.frame.components[plane]
        return self.frame.padded(of) if plane in self.interleaved else self.frame.bare(of)


def _is_band(first: int, last: int, high: int, low: int, count: int) -> bool:
    band = first == last == 0 or (0 < first <= last < 64 and count == 1)
    return band and low <= 13 and high in (0, low + 1)


def as_file(piece: bytes | list[Table]) -> bytes:
    """A piece as it is in the file. Raises JpegError for tables that are not known."""
    if isinstance(piece, bytes):
        return piece
    content = b""
    for table in piece:
        if table.code is None:
            raise JpegError("has an optimal Huffman table that no scan uses")
        content += bytes([table.key]) + table.code
    if len(content) > 0xFFFF - 2:
        raise JpegError("has a segment that is too long")
    return b"\xff\xc4" + (2 + len(content)).to_bytes(2, "big") + content


def skeleton(pieces: Iterable[Piece]) -> bytes:
    """The pieces without entropy-coded data."""
    out = []
    for piece in pieces:
        if isinstance(piece, bytes):
            out.append(piece)
        elif isinstance(piece, Header):
            out.append(piece.text)
        else:
            out.append(bytes([0xFF, DHT, len(piece)]))
            for table in piece:
                out.append(bytes([table.key | (OPTIMAL if table.optimal else 0)]))
                out.append(b"" if table.optimal or table.code is None else table.code)
    return b"".join(out)
