"""Decodes tiles of methods 7, 8 and 9, written from the text of FORMAT.md (Contexts) alone: plain Python integers."""

from __future__ import annotations

import functools
import struct
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

NEIGHBOURS = [(0, -1), (1, 0), (1, -1), (1, 1), (0, -2), (2, 0), (1, 2), (2, 1)]
NEIGHBOURS += [(1, -2), (0, -3), (2, -1), (0, -4), (1, 3), (2, 2), (3, 0), (1, -3)]
ORDERS = [1, 2, 4, 6, 10, 16]
MASK = 2**32 - 1


def clip(x: int, low: int = 0, high: int = 255) -> int:
    return max(low, min(high, x))


def mix(a: int, b: int) -> int:
    h = (a * 0x9E3779B1 ^ b * 0x85EBCA6B) & MASK
    h = (h ^ h >> 15) * 0xC2B2AE35 & MASK
    return h ^ h >> 13


def channel(colour: int, c: int) -> int:
    return colour >> 8 * c & 255 if c >= 0 else 0


def size(low: int, high: int, least: int) -> int:
    """The least of low .. high with 2^b >= least, or high."""
    return clip((least - 1).bit_length(), low, high)


def logarithm(n: int) -> int:
    out = n.bit_length() - 1
    m = n << 31 - out
    for _ in range(8):
        m = m * m >> 31
        bit = m >> 32
        out, m = 2 * out + bit, m >> bit
    return out


LOGARITHMS = [0, *map(logarithm, range(1, 65536))]
STRETCH = [0] + [LOGARITHMS[p] - LOGARITHMS[65536 - p] for p in range(1, 65536)]


def squash(x: int) -> int:
    return min(bisect_left(STRETCH, x, 1), 65535)


class Coder:
    def __init__(self, data: bytes) -> None:
        self.data, self.low, self.high, self.dropped = data, 0, MASK, 0
        self.point = int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def bit(self, p: int) -> int:
        middle = self.low + ((self.high - self.low) * p >> 16)
        bit = int(self.point <= middle)
        self.low, self.high = (self.low, middle) if bit else (middle + 1, self.high)
        while self.low >> 24 == self.high >> 24:
            after = self.data[self.dropped + 4 : self.dropped + 5]
            self.low, self.high = self.low << 8 & MASK, self.high << 8 & MASK | 255
            self.point = self.point << 8 & MASK | (after[0] if after else 0)
            self.dropped += 1
        return bit

    def end(self) -> None:
        n = next(n for n in range(5) if -(-self.low >> 32 - 8 * n) << 32 - 8 * n <= self.high)
        if len(self.data) != self.dropped + n:
            raise ValueError(f"a stream of {len(self.data)} bytes for a tile of {self.dropped + n}")


@dataclass
class Adaptive:
    p: int
    k: int = 0

    def probability(self) -> int:
        return max(1, self.p >> 6)

    def learn(self, bit: int) -> None:
        self.p += ((bit << 22) - self.p) * (2**17 // (2 * self.k + 3)) >> 16
        self.k = min(self.k + 1, 255)


def weights(first: bytes | None, is_sure: bool, mixer: int, number: int) -> list[int]:
    """The first weights of a set. first: contexts.weights, of method 8, or sure.weights."""
    if first is None:
        return [18000] * 8 if mixer == 0 else [6000] * 27
    if is_sure and mixer > 0:
        c, node = divmod(number, 256)
        places = (224 * 8 // 32 + 8 * c + node.bit_length() - 1, 88 + number, 344 + number % 96)
        place, n = 32 * places[mixer - 1], 32
    elif mixer == 0:
        place, n = 8 * number, 8
    elif mixer == 1:
        c, node = divmod(number, 256)
        place, n = 5376 + 27 * (8 * c + node.bit_length() - 1), 27
    else:
        place, n = 6240 + 27 * number, 27
    return [16 * w for w in struct.unpack_from(f"<{n}h", first, 2 * place)]


class Mixer:
    def __init__(self, first: Callable[[int], list[int]]) -> None:
        self.first, self.sets = first, dict[int, list[int]]()

    def mix(self, number: int, inputs: Sequence[int]) -> int:
        self.inputs, self.weights = inputs, self.sets.setdefault(number, self.first(number))
        self.sum = clip(sum(w * x for w, x in zip(self.weights, inputs, strict=True)) >> 16, -4095, 4095)
        return self.sum

    def learn(self, bit: int, rate: int) -> None:
        e = ((bit << 16) - squash(self.sum)) * rate
        self.weights[:] = [
            clip(w + (x * e >> 18), -(2**22), 2**22) for w, x in zip(self.weights, self.inputs, strict=True)
        ]


def curve() -> list[Adaptive]:
    return [Adaptive(64 * squash(min(256 * i - 4096, 4095))) for i in range(33)]


def refine(q: Sequence[Adaptive], x: int) -> tuple[int, Adaptive]:
    """What a curve makes of x, and which of its probabilities learns."""
    place, part = divmod(x + 4096, 256)
    p = ((q[place].p >> 6) * (256 - part) + (q[place + 1].p >> 6) * part) >> 8
    return p, q[place + (part >= 128)]


@dataclass
class Slot:
    check: int = 0
    colour: int = 0
    count: int = 0

    def learn(self, colour: int) -> None:
        if self.count and self.colour == colour:
            self.count = min(self.count + 1, 255)
        elif self.count > 3:
            self.count = 8 if self.count > 24 else self.count // 3
        else:
            self.colour, self.count = colour, 1


class Group:
    def __init__(self, check: int = 0) -> None:
        self.check, self.states = check, [0] * 16

    def learn(self, number: int, bit: int) -> None:
        counts = list(divmod(self.states[number], 16))
        other = counts[1 - bit]
        counts[bit] = min(counts[bit] + 1, 15)
        if other >= 3:
            counts[1 - bit] = 3 + (other > 4) + (other > 7) + (other > 11)
        self.states[number] = 16 * counts[0] + counts[1]


class Tile:
    """What is learned of a tile, and its pixels so far."""

    def __init__(self, data: bytes, height: int, width: int, planes: int, first: bytes | None, is_sure: bool) -> None:
        self.is_sure, self.echoes = is_sure, dict[tuple[int, int, int, bool], Adaptive]()
        self.coder, self.rows, self.width, self.planes = Coder(data), list[list[int]](), width, planes
        self.slots = [defaultdict[int, Slot](Slot) for _ in ORDERS]
        self.groups = [defaultdict[int, Group](Group) for _ in range(13)]
        self.slot_bits = size(10, 20 if is_sure else 18, 2 * height * width)
        self.group_bits = size(8, 18 if is_sure else 17, height * width)
        self.trusts, self.states = dict[tuple[int, int, bool], Adaptive](), dict[tuple[int, int, int], Adaptive]()
        self.candidate_mixer, *self.mixers = [
            Mixer(functools.partial(weights, first, is_sure, m)) for m in range(4 if is_sure else 3)
        ]
        self.candidate_curves, self.curves = (defaultdict[int, list[Adaptive]](curve) for _ in range(2))

    def at(self, y: int, x: int) -> int:
        if x < 0:
            y, x = y - 1, 0
        return self.rows[y][min(x, self.width - 1)] if y >= 0 else 0

    def slot(self, k: int, hashed: int) -> Slot:
        g = mix(hashed, k)
        slots, number, check = self.slots[k], g >> 32 - self.slot_bits, g % 2**16
        if slots[number].check != check:
            slots[number] = Slot(check)
        return slots[number]

    def group(self, k: int, view: int, c: int, node: int) -> Group:
        g = mix(mix(view, 4 * k + c), node)
        groups, number, check = self.groups[k], g >> 32 - self.group_bits, g % 256
        if groups[number].check != check:
            groups[number] = Group(check)
        return groups[number]

    def pixel(self, y: int, x: int) -> int:
        near = [self.at(y - up, x + right) for up, right in NEIGHBOURS]
        hashes = near[:1]
        for n in near[1:]:
            hashes.append(mix(hashes[-1], n))
        hashes = [hashes[seen - 1] for seen in ORDERS]
        slots = [self.slot(k, hashed) for k, hashed in enumerate(hashes)]
        offered = [slot.colour for slot in reversed(slots) if slot.count] + [near[0], near[1], near[3]]
        candidates = list(dict.fromkeys(offered))[: 1 if self.is_sure else 3]
        colour, unasked = self.chosen(near, slots, candidates)
        if colour is None:
            colour, wrong = 0, None if unasked else candidates[0]
            for c in range(self.planes):
                views = seen(c, colour, near, hashes[4], candidates, self.is_sure)
                colour |= self.sample(c, views, near, colour, slots, wrong) << 8 * c
        if unasked:
            self.candidate_mixer.learn(int(colour == candidates[0]), 5)
        for adaptive in unasked:
            adaptive.learn(int(colour == candidates[0]))
        for slot in slots:
            slot.learn(colour)
        return colour

    def chosen(
        self, near: Sequence[int], slots: Sequence[Slot], candidates: Sequence[int]
    ) -> tuple[int | None, list[Adaptive]]:
        """The candidate that a bit says is the colour; and where no bit was asked for, what learns later if one is."""
        west, north, northwest, northeast, wests, norths = near[:6]
        top = max((k + 1 for k, slot in enumerate(slots) if slot.count), default=0)
        sure = min(slots[top - 1].count, 15) if top else 0
        pairs = [(west, north), (north, northeast), (west, northwest), (west, wests), (north, norths)]
        equal = sum((a == b) << i for i, (a, b) in enumerate(pairs))
        for i, candidate in enumerate(candidates):
            inputs, used = list[int](), list[Adaptive]()
            for k, slot in enumerate(slots):
                if slot.count == 0 or slot.colour in candidates[:i]:
                    inputs.append(0)
                    continue
                count, differs = min(slot.count, 63), slot.colour != candidate
                first = 2**22 // (2 * count + 3) if differs else 2**22 - 2**23 // (3 * count + 4)
                used.append(self.trusts.setdefault((k, count, differs), Adaptive(first)))
                inputs.append(STRETCH[used[-1].probability()])
            inputs += [256, sum(128 if n == candidate else -128 for n in (west, north))]
            x = self.candidate_mixer.mix((7 * i + top) * 32 + equal, inputs)
            p, learner = refine(self.candidate_curves[((7 * i + top) * 16 + sure) * 8 + equal % 8], x)
            p = (squash(x) + 3 * p + 2) >> 2
            if self.is_sure and p < 64000:
                return None, [learner, *used]
            bit = self.coder.bit(clip(p, 1, 65535))
            self.candidate_mixer.learn(bit, 5 if self.is_sure else 8 + 4 * i)
            for adaptive in [learner, *used]:
                adaptive.learn(bit)
            if bit:
                return candidate, []
        return None, []

    def sample(
        self,
        c: int,
        views: Sequence[int],
        near: Sequence[int],
        colour: int,
        slots: Sequence[Slot],
        wrong: int | None,
    ) -> int:
        w, n, ne = (channel(near[i], c) for i in (0, 1, 3))
        texture = (abs(w - n) >= 4) + (abs(w - n) >= 32) + 3 * (abs(n - ne) >= 4)
        node = number = 1
        groups = list[Group]()
        for place in range(7, -1, -1):
            if place in (7, 3):
                groups, number = [self.group(k, view, c, node) for k, view in enumerate(views)], 1
            inputs, used = list[int](), list[Adaptive]()
            for k, group in enumerate(groups):
                state = group.states[number]
                if state == 0:
                    inputs += [0, 0]
                    continue
                zeros, ones = divmod(state, 16)
                first = (2 * ones + 1) * 2**21 // (zeros + ones + 1)
                used.append(self.states.setdefault((k, c, state), Adaptive(first, min(zeros + ones, 4))))
                p = used[-1].probability()
                inputs += [STRETCH[p], (p - 32768) >> 5]
            inputs.append(256)
            sets, echoes, third = [256 * c + node, 64 * c + 8 * place + texture], list[tuple[Adaptive, int]](), 0
            for k, slot in enumerate(slots[1:] if self.is_sure else (), 1):
                known = 256 + channel(slot.colour, c)
                if slot.count == 0 or (slot.colour ^ colour) % 256**c or known >> place + 1 != node:
                    inputs.append(0)
                    continue
                s, e = min(slot.count, 15), known >> place & 1
                echo = (k, s, 8 * c + place, slot.colour == wrong)
                echoes.append((self.echoes.setdefault(echo, Adaptive(2**22 - 2**23 // (3 * s + 4))), e))
                stretched, third = STRETCH[echoes[-1][0].probability()], 16 * k + s
                inputs.append(stretched if e else -stretched)
            if self.is_sure:
                sets.append(96 * (8 * c + place) + third)
            x = sum(mixer.mix(at, inputs) for mixer, at in zip(self.mixers, sets, strict=True)) // len(sets)
            p, learner = refine(self.curves[256 * c + node], x)
            bit = self.coder.bit(clip((3 * squash(x) + p + 2) >> 2, 1, 65535))
            for mixer in self.mixers:
                mixer.learn(bit, 3 if self.is_sure else 6)
            for adaptive in [learner, *used]:
                adaptive.learn(bit)
            for adaptive, e in echoes:
                adaptive.learn(int(bit == e))
            for group in groups:
                group.learn(number, bit)
            node, number = 2 * node + bit, 2 * number + bit
        return node - 256


def seen(c: int, colour: int, near: Sequence[int], hashed: int, candidates: Sequence[int], is_sure: bool) -> list[int]:
    """The views of channel c."""
    w, n, nw, ne, ww, nn = (channel(neighbour, c) for neighbour in near[:6])
    before_w, before_n, before_nw = (channel(neighbour, c - 1) for neighbour in near[:3])
    u, v = channel(colour, c - 1), channel(colour, c - 2)
    level = clip(w + n - nw)
    r = u - clip(before_w + before_n - before_nw) if c else 0
    a = mix(u, v)
    first, second = (channel(candidate, c) for candidate in [*candidates, 0][:2])
    west, north, norths = near[0], near[1], near[5]
    views = [
        *(clip(w + u - before_w), clip(n + u - before_n), mix(level, r), mix((w + ne) // 2, r // 2), a),
        mix(256 * clip(2 * n - nn) + clip(2 * w - ww), u),
        mix(clip(level + r), (abs(w - nw) + abs(n - nw)) // 8),
        mix(256 * first + second, u),
        *(mix(west, a), mix(north, a), mix(mix(west, north), a), mix(mix(north, norths), a), mix(hashed, a)),
    ]
    if is_sure:
        views[2] = mix(mix(west, near[4]), a)
        views[7] = mix(mix(256 * (w // 4) + n // 4, 256 * (ne // 4) + nw // 4), u)
        views[12] = mix(near[3], a)
    return views


def decode(
    data: bytes, height: int, width: int, planes: int, first: bytes | None = None, is_sure: bool = False
) -> bytes:
    """The samples of a tile, in order rows, columns, planes. first: contexts.weights, of method 8; sure.weights, of 9.

    Raises ValueError for a stream that is not exactly its.
    """
    tile = Tile(data, height, width, planes, first, is_sure)
    for y in range(height):
        tile.rows.append([])
        for x in range(width):
            tile.rows[y].append(tile.pixel(y, x))
    tile.coder.end()
    return b"".join(colour.to_bytes(planes, "little") for row in tile.rows for colour in row)
