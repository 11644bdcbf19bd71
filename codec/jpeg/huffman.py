"""Huffman tables as DHT segments hold them: 16 counts of codes by length, then the symbols, shortest codes first."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from lgcodec.jpeg.errors import JpegError

LONGEST = 16  # bits of a code


def codes(table: bytes) -> list[tuple[int, int, int]]:
    """Symbol, length and code of each (ITU-T T.81, Annex C). Raises JpegError where codes do not fit their lengths."""
    out, code, at = [], 0, LONGEST
    for length in range(1, LONGEST + 1):
        for symbol in table[at : at + table[length - 1]]:
            out.append((symbol, length, code))
            code += 1
        at += table[length - 1]
        if code > 1 << length:
            raise JpegError("a Huffman table with more codes than there are")
        code <<= 1
    return out


def optimal(counts: Sequence[int]) -> bytes:
    """The table that libjpeg's jpeg_gen_optimal_table makes for symbols that occur so often: counts [256].

    Huffman's algorithm with one more symbol, which occurs once and takes the code of ones alone; among equal counts
    the last symbol is joined first. Codes longer than 16 bits are shortened as T.81 K.2 does. Raises JpegError where
    a code is longer than 32 bits, as libjpeg does.
    """
    heap = [(count, -symbol, [symbol]) for symbol, count in enumerate((*counts, 1)) if count]
    lengths = dict.fromkeys((-symbol for _, symbol, _ in heap), 0)
    heapq.heapify(heap)
    while len(heap) > 1:
        count, name, leaves = heapq.heappop(heap)
        more, _, others = heapq.heappop(heap)
        leaves += others
        for symbol in leaves:
            lengths[symbol] += 1
        heapq.heappush(heap, (count + more, name, leaves))
    longest = max(lengths.values())
    if longest > 32:
        raise JpegError("symbols too rare for a Huffman table")
    bits = [0] * 33
    for length in lengths.values():
        bits[length] += 1
    for length in range(32, LONGEST, -1):
        while bits[length]:
            shorter = length - 2
            while not bits[shorter]:
                shorter -= 1
            bits[length] -= 2
            bits[length - 1] += 1
            bits[shorter + 1] += 2
            bits[shorter] -= 1
    last = max((length for length in range(LONGEST + 1) if bits[length]), default=0)
    bits[last] -= 1
    symbols = sorted((length, symbol) for symbol, length in lengths.items() if symbol < 256)
    return bytes([*bits[1 : LONGEST + 1], *(symbol for _, symbol in symbols)])
