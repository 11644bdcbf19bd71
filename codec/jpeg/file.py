"""A JPEG file as its coefficients and the rest, and back: parse, shape_of, write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lgcodec.errors import FormatError, LimitError, ModelError
from lgcodec.jpeg import huffman, markers, scans
from lgcodec.jpeg.errors import JpegError
from lgcodec.jpeg.markers import Header, Markers, Steps
from lgcodec.jpeg.rest import Rest, pack
from lgcodec.jpeg.scans import Blocks, Facts, Numbers, Scan
from lgcodec.models.machines.native import jpeg as native

_BLOCKS_IN_A_BYTE = 8  # at most: each takes a bit


@dataclass(frozen=True, eq=False)
class Plane:
    """horizontal, vertical: sampling factors. steps: uint16 [64] and coefficients: int16 [rows, columns, 64] in natural
    order, 8 v + u with v the vertical frequency. Coefficients are quantised, none is a difference, none is beyond
    scans.LARGEST.
    """

    horizontal: int
    vertical: int
    steps: Steps
    coefficients: Blocks

    def turned(self) -> Plane:
        """The same with rows and columns exchanged."""
        rows, columns, _ = self.coefficients.shape
        blocks = self.coefficients.reshape(rows, columns, 8, 8).transpose(1, 0, 3, 2).reshape(columns, rows, 64)
        return Plane(self.vertical, self.horizontal, self.steps.reshape(8, 8).T.reshape(64), blocks)


@dataclass(frozen=True, eq=False)
class Jpeg:
    """width, height: pixels. rest: what `write` needs beside the coefficients."""

    width: int
    height: int
    planes: tuple[Plane, ...]
    rest: bytes


class PlaneShape(NamedTuple):
    """A plane before its coefficients. rows, columns: of blocks."""

    horizontal: int
    vertical: int
    rows: int
    columns: int
    steps: Steps


class Shape(NamedTuple):
    width: int
    height: int
    planes: tuple[PlaneShape, ...]


def parse(data: bytes, check: bool = True, max_pixels: int | None = None) -> Jpeg:
    """Takes a file apart. Raises JpegError, and LimitError for a picture of more than `max_pixels`.

    check: whether it is also put together again and compared.
    """
    data = bytes(data)
    reader, planes, facts = Markers(data, False), list[Blocks](), list[Facts]()
    header, at = reader.next(2)
    while header is not None:
        if not planes:
            planes = _zeros(reader, len(data), max_pixels)
        at, own, counts = _read(header.coded(), data, at, planes)
        facts.append(own)
        for i, table in enumerate(header.tables):
            if table is not None and not table.used:
                table.used, table.optimal = True, _is_optimal(table.code, counts[i])
        header, at = reader.next(at)
    shape = _shape(reader)
    planes = [
        np.ascontiguousarray(blocks[: of.rows, : of.columns]) for blocks, of in zip(planes, shape.planes, strict=True)
    ]
    rest = pack(markers.skeleton(reader.pieces), facts)
    if check and write(rest, planes) != data:
        raise JpegError("does not come back as it is written")
    named = tuple(
        Plane(of.horizontal, of.vertical, of.steps, blocks) for blocks, of in zip(planes, shape.planes, strict=True)
    )
    return Jpeg(shape.width, shape.height, named, rest)


def shape_of(rest: bytes) -> Shape:
    """What a decoder knows before the coefficients. Raises FormatError."""
    return _shape(Rest(rest).markers)


def write(rest: bytes, coefficients: Sequence[Blocks], limit: int = 1 << 31) -> bytes:
    """The file of which `parse` gave these. limit: bytes that its scans may have. Raises FormatError."""
    opened = Rest(rest)
    wanted = [(of.rows, of.columns, 64) for of in _shape(opened.markers).planes]
    if [blocks.shape for blocks in coefficients] != wanted or any(blocks.dtype != np.int16 for blocks in coefficients):
        raise FormatError(f"coefficients that are not int16 of {wanted}")
    planes = [np.ascontiguousarray(blocks) for blocks in coefficients]
    headers = [piece for piece in opened.markers.pieces if isinstance(piece, Header)]
    written = []
    for header, own in zip(headers, opened.facts(), strict=True):
        missing = [(i, table) for i, table in enumerate(header.tables) if table is not None and table.code is None]
        if missing:
            counts = _count(header.scan, planes, own)
            for i, table in missing:
                table.code = huffman.optimal(counts[i].tolist())
        written.append(_write(header.coded(), planes, own, opened.pad, limit))
        limit -= len(written[-1])
        if limit < 0:
            raise FormatError("a JPEG file larger than it may be")
    data = iter(written)
    return b"".join(
        piece.text + next(data) if isinstance(piece, Header) else markers.as_file(piece)
        for piece in opened.markers.pieces
    )


def _shape(reader: Markers) -> Shape:
    frame = reader.frame
    if frame is None:
        raise JpegError("has no frame")
    planes = tuple(
        PlaneShape(of.horizontal, of.vertical, *reader.shape(i), reader.steps[i])
        for i, of in enumerate(frame.components)
    )
    return Shape(frame.width, frame.height, planes)


def _zeros(reader: Markers, size: int, max_pixels: int | None = None) -> list[Blocks]:
    """Planes of a frame, as large as they may be. size: bytes of the file."""
    if reader.frame is None:
        raise JpegError("has no frame")
    area = reader.frame.width * reader.frame.height
    if max_pixels is not None and area > max_pixels:
        raise LimitError(f"the JPEG file has {area} pixels, more than the {max_pixels} allowed")
    shapes = [reader.frame.padded(of) for of in reader.frame.components]
    if sum(rows * columns for rows, columns in shapes) > _BLOCKS_IN_A_BYTE * size:
        raise JpegError("is too short for its size")
    return [np.zeros((*shape, 64), np.int16) for shape in shapes]


def _is_optimal(code: bytes | None, counts: Numbers) -> bool:
    try:
        return huffman.optimal(counts.tolist()) == code
    except JpegError:
        return False


def _native(scan: Scan, planes: Sequence[Blocks]) -> native.Native:
    parts = [(planes[part.plane], part.across, part.down, part.dc, part.ac) for part in scan.parts]
    numbers = (scan.rows, scan.columns, scan.progressive, scan.first, scan.last, scan.high, scan.low, scan.interval)
    return native.Native(parts, numbers, scan.codes)


def _read(scan: Scan, data: bytes, start: int, planes: Sequence[Blocks]) -> tuple[int, Facts, Numbers]:
    if not native.is_available():
        return scans.read(scan, data, start, planes)
    try:
        end, pads, breaks, zeros, counts = _native(scan, planes).read(data, start, scan.alignments)
    except ModelError as error:
        raise JpegError(str(error)) from error
    return end, Facts(pads, breaks, zeros), counts


def _write(scan: Scan, planes: Sequence[Blocks], facts: Facts, pad: int | None, limit: int) -> bytes:
    if not native.is_available():
        return scans.write(scan, planes, facts, pad)
    try:
        return _native(scan, planes).write(pad, facts.pads, facts.breaks, facts.zeros, limit)
    except ModelError as error:
        raise JpegError(str(error)) from error


def _count(scan: Scan, planes: Sequence[Blocks], facts: Facts) -> Numbers:
    if not native.is_available():
        return scans.count(scan, planes, facts)
    try:
        return _native(scan, planes).count(facts.breaks, facts.zeros)
    except ModelError as error:
        raise JpegError(str(error)) from error
