"""Renders images from their parts, from the text of codec/FORMAT.md (Origins) alone: plain Python integers.

Parts arrive decoded; only the container around them and what becomes of them is read here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from reference import Reader, check, clip

Plane = Sequence[Sequence[int | Sequence[int]]]
AXES = [(1, 1, 0, 0), (2, 1, 0, 0), (2, 4, 1, 1), (2, 2, 0, 1), (2, 2, 1, 0)]
CHANNELS = {1: 1, 2: 2, 4: 3, 5: 4, 6: 2, 7: 1, 8: 4, 9: 6, 10: 8}


def decode(data: bytes, part: Callable[[bytes], list[list[list[int]]]]) -> list[list[list[int]]]:
    """The samples [height][width][channels] of a file with an origin. part: decodes a part's file to that."""
    reader = Reader(data)
    check(reader.take(8) == b"\x89LGC\r\n\x1a\n" and reader.take(2) == b"\x01\x08", "signature, version, features")
    length = reader.varint()
    body = Reader(reader.take(length))
    check(reader.number(4) == zlib.crc32(data[: reader.at - 4]), "crc")
    mode, _depth = body.number(1), body.number(1)
    width, height = body.varint(), body.varint()
    check(body.number(1) == 0, "transform")
    body.take(8)
    stored = body.varint()
    if stored:
        body.varint(), body.number(4)
    reader.take(stored)
    origin = Reader(body.take(body.varint()))
    stored, size, crc = body.varint(), 0, 0
    if stored:
        size, crc = body.varint(), body.number(4)
    packed = reader.take(stored)
    check(not stored or zlib.crc32(packed) == crc, "crc of exceptions")
    parts = [part(reader.take(body.varint())) for _ in range(body.varint())]
    check(body.at == len(body.data) and reader.at == len(data), "ends")
    kind = origin.number(1)
    render = {0: rendering, 1: levels, 3: depth}[kind]
    out = render(origin, parts, mode, width, height)
    check(origin.at == len(origin.data), "end of origin")
    if stored:
        except_from(zlib.decompress(packed, -15) if stored < size else packed, out, CHANNELS[mode])
    return out


def except_from(data: bytes, out: list[list[list[int]]], channels: int) -> None:
    reader = Reader(data)
    n, at, places = reader.varint(), -1, []
    for _ in range(n):
        at += reader.varint() + 1
        places.append(at)
    for c in range(channels):
        for place in places:
            pixel = out[place // len(out[0])][place % len(out[0])]
            pixel[c] = (pixel[c] + reader.number(1)) % 256
    check(reader.at == len(data), "end of exceptions")


def sums(x: list[list[int]], axis: tuple[int, int, int, int]) -> list[list[int]]:
    by, unit, p, q = axis
    if by == 1:
        return x
    out = []
    for i in range(len(x)):
        before, after = x[max(i - 1, 0)], x[min(i + 1, len(x) - 1)]
        out.append([(unit - p) * a + p * b for a, b in zip(x[i], before, strict=True)])
        out.append([(unit - q) * a + q * b for a, b in zip(x[i], after, strict=True)])
    return out


def turned(x: list[list[int]]) -> list[list[int]]:
    return [list(row) for row in zip(*x, strict=True)]


def rendering(
    origin: Reader, parts: list[list[list[list[int]]]], mode: int, width: int, height: int
) -> list[list[list[int]]]:
    conversion, rows, columns = origin.number(1), AXES[origin.number(1)], AXES[origin.number(1)]
    bias = [origin.number(1) for _ in range(4)]
    top, left = origin.number(1), origin.number(1)
    origin.varint(), origin.varint()
    patches = [[origin.varint() for _ in range(4)] for _ in range(origin.varint())]
    first = 4 if mode == 5 else 3
    luma = [[pixel[0] for pixel in row] for row in parts[0]]
    chroma = []
    for part in parts[1:3]:
        s = turned(sums(turned(sums([[pixel[0] for pixel in row] for row in part], rows)), columns))
        unit = rows[1] * columns[1]
        full = [[(v + bias[2 * (i % 2) + j % 2]) // unit for j, v in enumerate(row)] for i, row in enumerate(s)]
        chroma.append([row[left : left + width] for row in full[top : top + height]])
    out = [
        [colour(conversion, luma[i][j], chroma[0][i][j], chroma[1][i][j]) for j in range(width)] for i in range(height)
    ]
    for (x, y, w, h), part in zip(patches, parts[first:], strict=True):
        for i in range(h):
            for j in range(w):
                out[y + i][x + j] = list(part[i][j])
    if mode == 5:
        out = [[[*out[i][j], parts[3][i][j][0]] for j in range(width)] for i in range(height)]
    return out


def colour(conversion: int, luma: int, first: int, second: int) -> list[int]:
    x, z = first - 128, second - 128
    if conversion == 0:
        y = 65536 * luma + 32768
        rgb = [(y + 91881 * z) >> 16, (y - 22554 * x - 46802 * z) >> 16, (y + 116130 * x) >> 16]
    elif conversion == 1:
        y, b, r = 89024 * luma, 145352 * (first - 156), 119374 * (second - 137)
        rgb = [(y + r) >> 16, (y - 12714 * (b >> 16) - 33358 * (r >> 16)) >> 16, (y + b) >> 16]
    elif conversion == 2:
        y = 19077 * luma >> 8
        green = y - (6419 * first >> 8) - (13320 * second >> 8) + 8708
        rgb = [(y + (26149 * second >> 8) - 14234) >> 6, green >> 6, (y + (33050 * first >> 8) - 17685) >> 6]
    else:
        y = 76309 * (luma - 16) + 32768
        r, g1, g2, b = [(104597, 25675, 53279, 132201), (117489, 13975, 34925, 138438)][conversion - 3]
        rgb = [(y + r * z) >> 16, (y - g1 * x - g2 * z) >> 16, (y + b * x) >> 16]
    return [clip(v, 0, 255) for v in rgb]


def levels(
    origin: Reader, parts: list[list[list[list[int]]]], mode: int, width: int, height: int
) -> list[list[list[int]]]:
    one = origin.number(1)
    tables = []
    for _ in range(1 if mode == 6 else CHANNELS[mode]):
        values, total = [], 0
        for _ in range(origin.varint()):
            total += origin.varint()
            values.append(total)
        tables.append(values)
    alpha = mode in (2, 5)
    out = []
    for row in parts[0]:
        line = []
        for pixel in row:
            places = [pixel[0]] * (len(tables) - alpha) + [pixel[-1]] * alpha if one else pixel
            values = [table[place] for table, place in zip(tables, places, strict=True)]
            line.append([values[0] & 255, values[0] >> 8] if mode == 6 else values)
        out.append(line)
    return out


def depth(
    origin: Reader, parts: list[list[list[list[int]]]], mode: int, width: int, height: int
) -> list[list[list[int]]]:
    most, tables = origin.varint(), []
    for _ in range(1 + (mode in (8, 10))):
        values = [origin.varint()]
        n, steps = origin.varint(), []
        while len(steps) < n:
            step = origin.varint()
            count = 1 if step else origin.varint()
            steps += [step or origin.varint()] * count
        for step in steps or [1] * (65535 - values[0]):
            values.append(values[-1] + step)
        bins, at = [], 0
        for _ in range(origin.varint()):
            count, bits = origin.varint(), origin.varint()
            for _ in range(count):
                bins.append((at, bits))
                at += 1 << bits
        tables.append((values, bins))
    out = []
    for y, row in enumerate(parts[0]):
        if y % 16 == 0:
            packed = parts[1][y // 16] if most else []
            left = "".join(f"{byte:08b}" for (byte,) in packed)
        line = []
        for pixel in row:
            samples = []
            for c, bin_of in enumerate(pixel):
                values, bins = tables[len(tables) > 1 and c == len(pixel) - 1]
                at, bits = bins[bin_of]
                within, left = int(left[:bits] or "0", 2), left[bits:]
                value = values[at + within]
                samples += [value & 255, value >> 8] if mode == 6 else [value >> 8, value & 255]
            line.append(samples)
        if y % 16 == 15 or y == height - 1:
            check("1" not in left, "zeros")
        out.append(line)
    return out
