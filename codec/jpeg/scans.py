"""The entropy-coded data of one scan, read and written: what it means (ITU-T T.81, Annexes F and G), and the slow way.

The native library does the same (models/machines/native/jpeg.c). A writer has few choices, and writes as libjpeg does
where `Facts` do not say otherwise:

- the bits that fill the last byte before a marker (pads);
- when a run of blocks that end is written: before a block with anything to say, at 32767 blocks, and before a block
  that ends where the run holds more than 937 bits of corrections (breaks: blocks that end where it is the other way);
- runs of 16 zeros that nothing follows in the block are not written (zeros: blocks where so many of them are).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lgcodec.jpeg import huffman
from lgcodec.jpeg.errors import JpegError

Blocks = NDArray[np.int16]  # [rows, columns, 64], coefficients in natural order
Numbers = NDArray[np.int64]

LARGEST = 2047  # of coefficients, up or down
MOST_RUN = 0x7FFF
MOST_CORRECTIONS, ALL_CORRECTIONS = 937, 1 << 16  # bits: more make libjpeg write a run; more make every writer do
# natural order of the k-th coefficient of a scan: diagonals, downwards where their number is odd
ZIGZAG = tuple(
    8 * y + d - y
    for d in range(15)
    for y in sorted(range(max(0, d - 7), min(d, 7) + 1), reverse=d % 2 == 0)
)
_ORDER = np.array(ZIGZAG)


@dataclass(frozen=True)
class Part:
    """A component in a scan. across, down: its blocks in an MCU. dc, ac: its tables in `Scan.codes`."""

    plane: int
    across: int
    down: int
    dc: int
    ac: int


@dataclass(frozen=True)
class Scan:
    """parts: in order. rows, columns: of MCUs. first, last: of coefficients. high, low: bits that were, and are, left.

    interval: MCUs between restarts, 0 for none. codes: DC tables 0 to 3, then AC tables 0 to 3, None where not used.
    """

    parts: tuple[Part, ...]
    rows: int
    columns: int
    progressive: bool
    first: int
    last: int
    high: int
    low: int
    interval: int
    codes: tuple[bytes | None, ...]

    @property
    def blocks(self) -> int:
        return self.rows * self.columns * sum(part.across * part.down for part in self.parts)

    @property
    def alignments(self) -> int:
        """How often bits fill a byte: before each restart, and at the end."""
        return (self.rows * self.columns - 1) // self.interval + 1 if self.interval else 1


@dataclass(frozen=True)
class Facts:
    """What a scan has beside coefficients. Blocks are counted in the order of the scan.

    pads: for each alignment 2**n + its n bits. breaks: int64 [n], ascending. zeros: int64 [n, 2], block and how many.
    """

    pads: bytes = b""
    breaks: Numbers = field(default_factory=lambda: np.zeros(0, np.int64))
    zeros: Numbers = field(default_factory=lambda: np.zeros((0, 2), np.int64))


def units(scan: Scan, planes: Sequence[Blocks]) -> Iterator[tuple[int, list[tuple[Part, Blocks]]]]:
    """The number of each MCU, and its blocks."""
    for mcu in range(scan.rows * scan.columns):
        row, column = divmod(mcu, scan.columns)
        yield (
            mcu,
            [
                (part, planes[part.plane][row * part.down + y, column * part.across + x])
                for part in scan.parts
                for y in range(part.down)
                for x in range(part.across)
            ],
        )


class _Source:
    """Bits of entropy-coded data, from a place on."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at
        self.value = self.left = 0  # bits of the current byte that are left

    def bit(self) -> int:
        if not self.left:
            byte = self.data[self.at : self.at + 2]
            if not byte or (byte[0] == 0xFF and byte != b"\xff\0"):
                raise JpegError("entropy-coded data ends too early")
            self.at += 1 + (byte[0] == 0xFF)
            self.value, self.left = byte[0], 8
        self.left -= 1
        return self.value >> self.left & 1

    def bits(self, n: int) -> int:
        value = 0
        for _ in range(n):
            value = 2 * value + self.bit()
        return value

    def signed(self, n: int) -> int:
        """T.81's RECEIVE and EXTEND."""
        value = self.bits(n)
        return value if not n or value >> (n - 1) else value - (1 << n) + 1

    def symbol(self, code: dict[tuple[int, int], int]) -> int:
        value = 0
        for length in range(1, huffman.LONGEST + 1):
            value = 2 * value + self.bit()
            if (length, value) in code:
                return code[length, value]
        raise JpegError("a code that is in no Huffman table")

    def align(self) -> int:
        pad = (1 << self.left) | (self.value & ((1 << self.left) - 1))
        self.left = 0
        return pad


def _checked(value: int) -> int:
    if abs(value) > LARGEST:
        raise JpegError("a coefficient out of range")
    return value


class _Walk(ABC):
    """The way through a scan, block by block. before: the DC value of each plane's last block."""

    before: dict[int, int]

    def __init__(self, scan: Scan) -> None:
        self.scan, self.block = scan, 0
        self.counts = np.zeros((8, 256), np.int64)  # of each table's symbols
        self.restart()

    def restart(self) -> None:
        self.before = dict.fromkeys((part.plane for part in self.scan.parts), 0)

    @abstractmethod
    def align(self) -> None:
        """Ends what is in hand, up to a whole byte."""

    @abstractmethod
    def marker(self, marker: bytes) -> None:
        """Reads or writes the restart marker that is due."""

    @abstractmethod
    def dc(self, part: Part, block: Blocks) -> None: ...

    @abstractmethod
    def ac(self, part: Part, block: Blocks) -> None: ...

    def walk(self, planes: Sequence[Blocks]) -> None:
        for mcu, blocks in units(self.scan, planes):
            if self.scan.interval and mcu and mcu % self.scan.interval == 0:
                self.align()
                self.marker(bytes([0xFF, 0xD0 + (mcu // self.scan.interval - 1) % 8]))
                self.restart()
            for part, block in blocks:
                if self.scan.first == 0:
                    self.dc(part, block)
                if self.scan.last:
                    self.ac(part, block)
                self.block += 1
        self.align()


class _Reader(_Walk):
    def __init__(self, scan: Scan, data: bytes, start: int) -> None:
        super().__init__(scan)
        self.source = _Source(data, start)
        self.codes = [
            None if table is None else {(length, code): symbol for symbol, length, code in huffman.codes(table)}
            for table in scan.codes
        ]
        self.pads, self.breaks, self.zeros = bytearray(), list[int](), list[tuple[int, int]]()

    def restart(self) -> None:
        super().restart()
        self.run = 0  # blocks of the run that are still to come
        self.pending = self.corrections = 0  # what a writer would have in hand: blocks, bits

    def symbol(self, table: int) -> int:
        code = self.codes[table]
        if code is None:
            raise JpegError("a scan without its Huffman table")
        symbol = self.source.symbol(code)
        self.counts[table, symbol] += 1
        return symbol

    def dc(self, part: Part, block: Blocks) -> None:
        if self.scan.high:
            block[0] |= self.source.bit() << self.scan.low
            return
        size = self.symbol(part.dc)
        if size > 15:
            raise JpegError("a coefficient out of range")
        self.before[part.plane] += self.source.signed(size)
        block[0] = _checked(self.before[part.plane] << self.scan.low)

    def ends(self, fresh: bool, bits: int) -> None:
        """A block that ends, by a new run or in one, with so many bits of corrections after its last symbol."""
        if self.pending:
            full = self.corrections > ALL_CORRECTIONS
            if full and not fresh:
                raise JpegError("a run with too many corrections")
            if not full and fresh != (self.corrections > MOST_CORRECTIONS):
                self.breaks.append(self.block)
            if fresh:
                self.pending = self.corrections = 0
        self.pending += 1
        self.corrections += bits
        if self.pending == (MOST_RUN if self.scan.progressive else 1):
            self.pending = self.corrections = 0

    def ac(self, part: Part, block: Blocks) -> None:
        scan, source = self.scan, self.source
        one, k, bits, zeros = 1 << scan.low, max(scan.first, 1), 0, 0
        fresh = not self.run
        while not self.run and k <= scan.last:
            run, size = divmod(self.symbol(part.ac), 16)
            if size == 0 and run < 15:
                if run and not scan.progressive:
                    raise JpegError("an end of block with a run")
                self.run = (1 << run) + source.bits(run)
                break
            self.pending = self.corrections = 0
            zeros = 0 if size else zeros + 1
            if scan.high:
                if size > 1:
                    raise JpegError("a correction of more than one bit")
                value = one * (2 * source.bit() - 1) if size else 0
                while k <= scan.last:
                    if block[ZIGZAG[k]]:
                        self.correct(block, k)
                    elif run:
                        run -= 1
                    else:
                        break
                    k += 1
            else:
                k += run
                value = source.signed(size) * one
            if k > scan.last:
                raise JpegError("a run beyond the end of its block")
            if size:
                block[ZIGZAG[k]] = _checked(value)
            k += 1
        if self.run:
            self.run -= 1
            if scan.high:
                for j in np.flatnonzero(block[_ORDER[k : scan.last + 1]]).tolist():
                    self.correct(block, k + j)
                    bits += 1
            self.ends(fresh, bits)
        if zeros:
            self.zeros.append((self.block, zeros))

    def correct(self, block: Blocks, k: int) -> None:
        value, one = int(block[ZIGZAG[k]]), 1 << self.scan.low
        if self.source.bit():
            block[ZIGZAG[k]] = _checked(value + (one if value > 0 else -one))

    def align(self) -> None:
        if self.run:
            raise JpegError("a run beyond the end of its interval")
        self.pads.append(self.source.align())

    def marker(self, marker: bytes) -> None:
        if self.source.data[self.source.at : self.source.at + 2] != marker:
            raise JpegError("a restart marker is missing")
        self.source.at += 2


def read(scan: Scan, data: bytes, start: int, planes: Sequence[Blocks]) -> tuple[int, Facts, Numbers]:
    """Reads a scan's data, which begins at `start`, into planes. Raises JpegError.

    Returns where they end, what they have beside coefficients, and how often each symbol of each table is in them:
    int64 [8, 256].
    """
    reader = _Reader(scan, data, start)
    reader.walk(planes)
    zeros = np.array(reader.zeros, np.int64).reshape(-1, 2)
    facts = Facts(bytes(reader.pads), np.array(reader.breaks, np.int64), zeros)
    return reader.source.at, facts, reader.counts


class _Writer(_Walk):
    def __init__(self, scan: Scan, facts: Facts, pad: int | None, counting: bool) -> None:
        super().__init__(scan)
        self.pad, self.counting = pad, counting
        self.pads, self.breaks = iter(facts.pads), set(facts.breaks.tolist())
        self.zeros = dict(facts.zeros.tolist())
        self.codes = [
            None if table is None else {symbol: (code, length) for symbol, length, code in huffman.codes(table)}
            for table in scan.codes
        ]
        self.out = bytearray()
        self.value = self.have = 0

    def restart(self) -> None:
        super().restart()
        self.pending, self.table = 0, 0
        self.corrections: list[int] = []

    def bits(self, value: int, n: int) -> None:
        for i in range(n - 1, -1, -1):
            self.value, self.have = 2 * self.value + (value >> i & 1), self.have + 1
            if self.have == 8:
                self.out += bytes([self.value]) + (b"\0" if self.value == 0xFF else b"")
                self.value = self.have = 0

    def symbol(self, table: int, symbol: int) -> None:
        self.counts[table, symbol] += 1
        code = self.codes[table]
        if self.counting:
            return
        if code is None or symbol not in code:
            raise JpegError("a symbol that its Huffman table does not have")
        self.bits(*code[symbol])

    def signed(self, value: int) -> None:
        size = abs(value).bit_length()
        self.bits(value if value > 0 else value + (1 << size) - 1, size)

    def end(self) -> None:
        """Writes the run in hand."""
        if self.pending:
            size = self.pending.bit_length() - 1
            self.symbol(self.table, size << 4)
            self.bits(self.pending - (1 << size), size)
            self.correct(self.corrections)
        self.pending = 0

    def correct(self, bits: list[int]) -> None:
        for bit in bits:
            self.bits(bit, 1)
        bits.clear()

    def dc(self, part: Part, block: Blocks) -> None:
        value = int(block[0]) >> self.scan.low
        if self.scan.high:
            self.bits(value, 1)
            return
        difference = value - self.before[part.plane]
        self.before[part.plane] = value
        size = abs(difference).bit_length()
        if size > 15:
            raise JpegError("a coefficient out of range")
        self.symbol(part.dc, size)
        self.signed(difference)

    def ac(self, part: Part, block: Blocks) -> None:
        scan = self.scan
        values = block[_ORDER[max(scan.first, 1) : scan.last + 1]].tolist()
        sizes = [abs(value) >> scan.low for value in values]
        new = [k for k, size in enumerate(sizes) if (size == 1 if scan.high else size)]
        last = new[-1] if new else -1
        extra, run = self.zeros.pop(self.block, 0), 0
        bits: list[int] = []  # corrections since the last symbol of this block

        def sixteens(k: int) -> None:
            nonlocal extra, run
            while run > 15 and (k <= last or extra):
                extra -= k > last
                self.end()
                self.symbol(part.ac, 0xF0)
                self.correct(bits)
                run -= 16

        for k, (value, size) in enumerate(zip(values, sizes, strict=True)):
            if not size:
                run += 1
                continue
            sixteens(k)
            if scan.high and size > 1:
                bits.append(size & 1)
                continue
            self.end()
            if size.bit_length() > 15:
                raise JpegError("a coefficient out of range")
            self.symbol(part.ac, run << 4 | size.bit_length())
            self.signed(size if value > 0 else -size)
            self.correct(bits)
            run = 0
        sixteens(len(sizes))
        if extra:
            raise JpegError("more runs of zeros than a block has")
        if run or bits:
            self.ends(part, bits)

    def ends(self, part: Part, bits: list[int]) -> None:
        if self.pending:
            held = len(self.corrections)
            if held > ALL_CORRECTIONS or (held > MOST_CORRECTIONS) != (self.block in self.breaks):
                self.end()
            self.breaks.discard(self.block)
        self.pending, self.table = self.pending + 1, part.ac
        self.corrections += bits
        if self.pending == (MOST_RUN if self.scan.progressive else 1):
            self.end()

    def align(self) -> None:
        self.end()
        n = -self.have % 8
        pad = (1 << n) - 1 if self.pad else 0
        if self.pad is None:
            pad = next(self.pads, 0) - (1 << n)
            if not 0 <= pad < 1 << n:
                raise JpegError("padding that does not fill its byte")
        if not self.counting:
            self.bits(pad, n)

    def marker(self, marker: bytes) -> None:
        self.out += marker

    def write(self, planes: Sequence[Blocks]) -> bytes:
        self.walk(planes)
        if self.breaks or self.zeros:
            raise JpegError("a fact about a block that is not as it says")
        return bytes(self.out)


def write(scan: Scan, planes: Sequence[Blocks], facts: Facts, pad: int | None) -> bytes:
    """The data of a scan. pad: 0 or 1 for bits all alike, None for those of facts. Raises JpegError."""
    return _Writer(scan, facts, pad, False).write(planes)


def count(scan: Scan, planes: Sequence[Blocks], facts: Facts) -> Numbers:
    """How often `write` writes each symbol of each table, int64 [8, 256]; the tables themselves are not needed."""
    writer = _Writer(scan, facts, 0, True)
    writer.write(planes)
    return writer.counts
