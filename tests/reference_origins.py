"""Renders images from their parts, from the text of codec/FORMAT.md (Origins) alone: plain Python integers.

Parts arrive decoded, a JPEG as its components; only the container around them and what becomes of them is read here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from functools import cache
from typing import Any

from reference import Reader, check, clip

Plane = Sequence[Sequence[int | Sequence[int]]]
AXES = [(1, 1, 0, 0), (2, 1, 0, 0), (2, 4, 1, 1), (2, 2, 0, 1), (2, 2, 1, 0)]
CHANNELS = {1: 1, 2: 2, 4: 3, 5: 4, 6: 2, 7: 1, 8: 4, 9: 6, 10: 8}


def decode(data: bytes, part: Callable[[bytes], Any]) -> list[list[list[int]]]:
    """The samples [height][width][channels] of a file with an origin. part: decodes a part's file to that, a JPEG's to
    its width, its height and the steps [64] and coefficients [rows][columns][64] of each component.
    """
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
    render = {0: rendering, 1: levels, 2: coefficients, 3: depth}[kind]
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


def coefficients(origin: Reader, parts: list[Any], mode: int, width: int, height: int) -> list[list[list[int]]]:
    how, components = origin.number(1), origin.number(1)
    transform, drawn = how % 4, how >= 4
    places = [(origin.varint(), origin.varint()) for _ in range((components + 1) // 2)]
    size, stored = origin.varint(), origin.varint()
    packed = origin.take(stored)
    corrections = Reader(zlib.decompress(packed, -15) if stored < size else packed)
    colours = mode in (4, 5)
    shapes, needed = [(height, width)], [places[0][0] + height, places[0][1] + width]
    if components == 3:
        again = Reader(origin.data[origin.at :])
        again.number(1)
        rows, columns = AXES[again.number(1)], AXES[again.number(1)]
        again.take(6)
        shapes += [(again.varint(), again.varint())] * 2
        for k, axis in enumerate((rows, columns)):
            needed[k] = max(needed[k], axis[0] * (places[1][k] + shapes[1][k] - 1) + 1)
    own_width, own_height, jpeg = parts[0]
    check([own_width, own_height] == (needed if transform == 2 else needed[::-1]), "size of the JPEG")
    check(len(jpeg) == components, "components of the JPEG")
    planes = []
    for (steps, blocks), (h, w), (top, left) in zip(jpeg, shapes, [*places, places[-1]], strict=False):
        s = decoded(blocks, steps, transform)
        check(len(s) >= top + h and len(s[0]) >= left + w, "size of planes")
        plane = [[[v] for v in row[left : left + w]] for row in s[top : top + h]]
        if size:
            except_from(corrections.take(corrections.varint()), plane, 1)
        planes.append(plane)
    check(corrections.at == len(corrections.data), "end of corrections")
    parts = parts[1:]
    if drawn:
        check(size == 0, "no list beside pictures of corrections")
        for plane, picture in zip(planes, parts, strict=False):
            for row, more in zip(plane, picture, strict=True):
                for pixel, value in zip(row, more, strict=True):
                    pixel[0] = (pixel[0] + value[0] - 128) % 256
        parts = parts[components:]
    if colours:
        return rendering(origin, [*planes, *parts], mode, width, height)
    alpha = parts[0] if mode == 2 else [[[] for _ in row] for row in planes[0]]
    return [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(planes[0], alpha, strict=True)]


M = [
    [8192, 11363, 10703, 9633, 8192, 6437, 4433, 2260],
    [8192, 9633, 4433, -2259, -8192, -11362, -10704, -6436],
    [8192, 6437, -4433, -11362, -8192, 2261, 10704, 9633],
    [8192, 2260, -10703, -6436, 8192, 9633, -4433, -11363],
]
M += [[-v if u % 2 else v for u, v in enumerate(line)] for line in reversed(M)]


@cache
def b() -> list[list[int]]:
    """[8 v + u][8 y + x]."""
    with localcontext() as context:
        context.prec = 40
        root = Decimal(2).sqrt()
        cosines = [Decimal(1), (2 + (2 + root).sqrt()).sqrt() / 2]  # of n pi / 16
        while len(cosines) < 32:
            cosines.append(2 * cosines[1] * cosines[-1] - cosines[-2])
        line = [[cosines[(2 * x + 1) * u % 32] / (2 if u else 2 * root) for x in range(8)] for u in range(8)]
        return [
            [int((line[v][y] * line[u][x] * 2**24).to_integral_value()) for y in range(8) for x in range(8)]
            for v in range(8)
            for u in range(8)
        ]


def decoded(blocks: list[list[list[int]]], steps: list[int], transform: int) -> list[list[int]]:
    """The samples of a component, as the image's planes are cut from them."""
    out = [[0] * (8 * len(blocks[0])) for _ in range(8 * len(blocks))]
    for i, row in enumerate(blocks):
        for j, block in enumerate(row):
            c = [clip(value * step, -32767, 32767) for value, step in zip(block, steps, strict=True)]
            if transform == 1:
                s = [sum(line[k] * c[n] for n, line in enumerate(b()) if c[n]) + 2**23 >> 24 for k in range(64)]
            else:
                t = [sum(M[k // 8][v] * c[8 * v + k % 8] for v in range(8)) + 1024 >> 11 for k in range(64)]
                s = [sum(M[k % 8][u] * t[k // 8 * 8 + u] for u in range(8)) + 131072 >> 18 for k in range(64)]
            for k, value in enumerate(s):
                out[8 * i + k // 8][8 * j + k % 8] = clip(value + 128, 0, 255)
    return turned(out) if transform == 2 else out


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
