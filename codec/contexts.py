"""Context mixing: pixels of graphics, each by what came next to such neighbours before.

A pixel is first held against candidates: the colours that last followed the same 1 to 16 neighbours, and W, N and NE.
Where it is none of them, its channels are coded bit by bit, each bit under 13 contexts. All that is known is learned on
the way, in tables of colours and of counts. Logistic mixing (Mahoney 2005, "Adaptive weighing of context models for
lossless data compression") makes one probability of theirs, a curve corrects it, a binary arithmetic coder takes it.
Where everything repeats, a pixel takes a thousandth of a bit.

This is the meaning, slow; contexts.c is the same, at one to ten megapixels a second. FORMAT.md has it in words.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lgcodec.errors import FormatError

Tile = NDArray[np.uint8]
Shape = tuple[int, int, int]
MOST_CHANNELS = 4
# Neighbours (dy, dx), nearest first, and how many of them each order sees.
AROUND = (
    (0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-1, 2), (-2, 1), (-1, -2), (0, -3), (-2, -1), (0, -4),
    (-1, 3), (-2, 2), (-3, 0), (-1, -3),
)  # fmt: skip
REACH = (1, 2, 4, 6, 10, 16)
ORDERS, CANDIDATES, VIEWS = len(REACH), 3, 13
UP, SIDE = 3, 4
DOMAIN, SHADES = 4096, 33  # of stretched probabilities, in octaves / 256; places of a curve over them
MOST_SEEN, MOST_WEIGHT = 255, 1 << 22
WORD = (1 << 32) - 1
PRIMED = 16  # unit of the weights in contexts.weights, in 2**-16
_PATIENCE = 1 << 14  # pixels that take seconds in Python


@functools.cache
def tables() -> tuple[NDArray[Any], ...]:
    """stretch int16 [65536], squash uint16 [2 DOMAIN], reciprocal int32 [MOST_SEEN + 1], next uint8 [2, 256], and the
    first probabilities agreeing, differing uint32 [64], counted uint32 [256].
    """
    n = np.arange(1, 65536, dtype=np.uint64)
    whole = np.floor(np.log2(n)).astype(np.uint64)  # exact: the integers are below 2**53
    part, logarithm = n << (np.uint64(31) - whole), whole
    for _ in range(8):  # bits of 256 log2 n behind the point, by squaring
        part = part * part >> np.uint64(31)
        carry = part >> np.uint64(32)
        part, logarithm = part >> carry, 2 * logarithm + carry
    log = logarithm.astype(np.int64)
    stretch = np.concatenate([log[:1] - log[-1:], log - log[::-1]]).astype(np.int16)
    squash = np.minimum(1 + np.searchsorted(stretch[1:], np.arange(-DOMAIN, DOMAIN)), 65535).astype(np.uint16)
    seen = np.arange(MOST_SEEN + 1)
    reciprocal = ((1 << 17) // (2 * seen + 3)).astype(np.int32)
    zeros, ones = np.divmod(np.arange(256), 16)
    after = []
    for own, other in ((zeros, ones), (ones, zeros)):
        own = np.minimum(own + 1, 15)
        other = np.select([other < 3, other < 5, other < 8, other < 12], [other, 3, 4, 5], 6)
        after.append((own, other))
    following = np.stack([16 * after[0][0] + after[0][1], 16 * after[1][1] + after[1][0]]).astype(np.uint8)
    count = np.arange(64)
    agreeing = ((1 << 22) - (1 << 23) // (3 * count + 4)) << 10
    differing = (1 << 22) // (2 * count + 3) << 10
    counted = (((2 * ones + 1) << 21) // (zeros + ones + 1)) << 10 | np.minimum(zeros + ones, 4)
    first = tuple(table.astype(np.uint32) for table in (agreeing, differing, counted))
    return stretch, squash, reciprocal, following, *first


@functools.cache
def weights(*, is_primed: bool) -> tuple[NDArray[np.int32], ...]:
    """The mixers' first weights, int32 [sets, inputs] each: all alike, or those that learning graphics led to."""
    sets = CANDIDATES * (ORDERS + 1) * 32, MOST_CHANNELS * 256, MOST_CHANNELS * 64
    inputs = ORDERS + 2, 2 * VIEWS + 1, 2 * VIEWS + 1
    if not is_primed:
        return tuple(np.full((n, k), w, np.int32) for n, k, w in zip(sets, inputs, (18000, 6000, 6000), strict=True))
    stored = np.frombuffer(Path(__file__).with_name("contexts.weights").read_bytes(), "<i2").astype(np.int32) * PRIMED
    candidates, by_bits, by_texture = np.split(stored, np.cumsum([sets[0] * inputs[0], MOST_CHANNELS * 8 * inputs[1]]))
    known = np.array([max(node, 1).bit_length() - 1 for node in range(256)])  # how many bits
    by_bits = by_bits.reshape(MOST_CHANNELS, 8, -1)[:, known]
    found = candidates, by_bits, by_texture
    return tuple(np.ascontiguousarray(w.reshape(n, k)) for w, n, k in zip(found, sets, inputs, strict=True))


@functools.cache
def given(*, is_primed: bool) -> tuple[NDArray[Any], ...]:
    """What contexts.c is given: the tables, and all first weights, those of bits padded to 32 inputs."""
    candidates, *others = weights(is_primed=is_primed)
    padded = (np.pad(w, ((0, 0), (0, 32 - w.shape[1]))) for w in others)
    return *tables(), np.concatenate([candidates.ravel(), *(w.ravel() for w in padded)])


def mix(a: int, b: int) -> int:
    """A hash of two integers modulo 2**32."""
    h = (a * 0x9E3779B1 ^ b * 0x85EBCA6B) & WORD
    h = (h ^ h >> 15) * 0xC2B2AE35 & WORD
    return h ^ h >> 13


class Arithmetic:
    """A carry-less binary arithmetic coder of 32 bits. data: what is decoded, None to encode."""

    def __init__(self, data: bytes | None) -> None:
        self.data, self.out, self.low, self.high, self.at = data, bytearray(), 0, WORD, 4
        self.point = int.from_bytes((data or b"")[:4].ljust(4, b"\0"), "big")

    def code(self, probability: int, bit: int) -> int:
        """A bit that is 1 with `probability` in 2**-16."""
        middle = self.low + ((self.high - self.low) * probability >> 16)
        if self.data is not None:
            bit = int(self.point <= middle)
        if bit:
            self.high = middle
        else:
            self.low = middle + 1
        while not (self.low ^ self.high) >> 24:
            self.out.append(self.high >> 24)
            if self.data is not None:
                self.point = (self.point << 8 | (self.data[self.at] if self.at < len(self.data) else 0)) & WORD
                self.at += 1
            self.low, self.high = self.low << 8 & WORD, (self.high << 8 | 255) & WORD
        return bit

    def finish(self) -> bytes:
        """All bytes: at the end the fewest that tell a number of low .. high, zeros behind them."""
        for count in range(5):
            unit = 1 << (32 - 8 * count)
            least = -(-self.low // unit) * unit
            if least <= self.high or count == 4:
                break
        return bytes(self.out) + least.to_bytes(5, "big")[1 : 1 + count]


class Probabilities:
    """Adaptive probabilities: 22 bits of what they are, 10 of how often they have learned."""

    def __init__(self, first: NDArray[np.uint32]) -> None:
        self.table: list[int] = first.tolist()
        self.reciprocal: list[int] = tables()[2].tolist()

    def of(self, place: int) -> int:
        return max(1, self.table[place] >> 16)

    def learn(self, place: int, bit: int) -> None:
        p, seen = divmod(self.table[place], 1024)
        p += ((bit << 22) - p) * self.reciprocal[seen] >> 16
        self.table[place] = p << 10 | min(seen + 1, MOST_SEEN)


class Mixer:
    """Sets of weights in 2**-16, [sets, inputs] at the beginning."""

    def __init__(self, first: NDArray[np.int32]) -> None:
        self.weights: list[list[int]] = first.tolist()

    def mixed(self, inputs: list[int], place: int) -> int:
        """The stretched probability that a set makes of stretched ones."""
        self.inputs, self.row = inputs, self.weights[place]
        total = sum(w * x for w, x in zip(self.row, inputs, strict=True)) >> 16
        self.stretched = min(max(total, 1 - DOMAIN), DOMAIN - 1)
        return self.stretched

    def learn(self, probability: int, bit: int, rate: int) -> None:
        """probability: what `mixed` said, squashed."""
        error = ((bit << 16) - probability) * rate
        for i, x in enumerate(self.inputs):
            self.row[i] = min(max(self.row[i] + (x * error >> 18), -MOST_WEIGHT), MOST_WEIGHT)


def bits_of(area: int, low: int, high: int) -> int:
    return min(max(low, (area - 1).bit_length()), high)


def channel(colour: int, c: int) -> int:
    return 0 if c < 0 else colour >> 8 * c & 255


def within(value: int) -> int:
    return min(max(value, 0), 255)


class Mixing:
    """One tile on its way, either way. shape: [H, W, C]; data: as `Arithmetic`'s."""

    def __init__(self, shape: Shape, data: bytes | None, *, is_primed: bool) -> None:
        (height, width, self.channels), self.coder = shape, Arithmetic(data)
        stretch, squash, _, following, agreeing, differing, counted = tables()
        self.stretch, self.squash, self.following = stretch.tolist(), squash.tolist(), following.ravel().tolist()
        self.slot_bits, self.group_bits = bits_of(2 * height * width, 10, 18), bits_of(height * width, 8, 17)
        self.slots: dict[int, list[int]] = {}  # check, colour, count
        self.groups: dict[int, bytearray] = {}
        curve = squash[[min(256 * i, 2 * DOMAIN - 1) for i in range(SHADES)]].astype(np.uint32) << 16
        self.trusts = Probabilities(np.tile(np.stack([agreeing, differing], axis=1).ravel(), ORDERS))
        self.states = Probabilities(np.tile(counted, VIEWS * MOST_CHANNELS))
        self.curve = Probabilities(np.tile(curve, CANDIDATES * (ORDERS + 1) * 16 * 8))
        self.bit_curve = Probabilities(np.tile(curve, MOST_CHANNELS * 256))
        self.candidates, self.by_bits, self.by_texture = map(Mixer, weights(is_primed=is_primed))

    def refined(self, curve: Probabilities, first: int, x: int) -> tuple[int, int]:
        """What a curve makes of a stretched probability, and the place of it that is to learn."""
        place, part = divmod(x + DOMAIN, 256)
        low, high = (curve.table[first + place + i] >> 16 for i in range(2))
        return (low * (256 - part) + high * part) >> 8, first + place + (part >= 128)

    def bit(self, probability: int, bit: int) -> int:
        return self.coder.code(min(max(probability, 1), 65535), bit)

    def pixel(self, near: list[int], colour: int) -> int:
        """near: the colours AROUND. colour: where it is known."""
        slots, hashes, value, seen = [], [], near[0], 1
        for k, reach in enumerate(REACH):
            for neighbour in near[seen:reach]:
                value = mix(value, neighbour)
            seen = reach
            hashes.append(value)
            place = mix(value, k)
            slot = self.slots.setdefault(k << 32 | place >> (32 - self.slot_bits), [-1, 0, 0])
            if slot[0] != place & 0xFFFF:
                slot[:] = place & 0xFFFF, 0, 0
            slots.append(slot)
        top = max((k + 1 for k, slot in enumerate(slots) if slot[2]), default=0)
        likely = [slot[1] for slot in reversed(slots) if slot[2]] + [near[0], near[1], near[3]]
        candidates = list(dict.fromkeys(likely))[:CANDIDATES]
        W, N, NW, NE, WW, NN = near[:6]
        equal = (W == N) | (N == NE) << 1 | (W == NW) << 2 | (W == WW) << 3 | (N == NN) << 4
        sure = min(slots[top - 1][2], 15) if top else 0
        for i, candidate in enumerate(candidates):
            used, inputs = [], []
            for k, (_, says, count) in enumerate(slots):
                if count and says not in candidates[:i]:
                    used.append(2 * (64 * k + min(count, 63)) + (says != candidate))
                    inputs.append(self.stretch[self.trusts.of(used[-1])])
                else:
                    inputs.append(0)
            inputs += [256, (128 if candidate == W else -128) + (128 if candidate == N else -128)]
            group = i * (ORDERS + 1) + top
            x = self.candidates.mixed(inputs, 32 * group + equal)
            refined, nearest = self.refined(self.curve, ((16 * group + sure) * 8 + equal % 8) * SHADES, x)
            is_it = self.bit((self.squash[x + DOMAIN] + 3 * refined + 2) >> 2, int(colour == candidate))
            self.candidates.learn(self.squash[x + DOMAIN], is_it, 8 + 4 * i)
            self.curve.learn(nearest, is_it)
            for place in used:
                self.trusts.learn(place, is_it)
            if is_it:
                colour = candidate
                break
        else:
            colour = self.colour(near, hashes[4], [*candidates, 0], colour)
        for slot in slots:
            if slot[2] and slot[1] == colour:
                slot[2] = min(slot[2] + 1, 255)
            elif slot[2] > 3:
                slot[2] = 8 if slot[2] > 24 else slot[2] // 3
            else:
                slot[1:] = colour, 1
        return colour

    def contexts(self, near: list[int], order: int, candidates: list[int], known: int, c: int) -> tuple[list[int], int]:
        """Hashes of what a channel's bits are coded under, and the kind of texture."""
        W, N, NW, _, _, NN = near[:6]
        w, n, nw, ne, ww, nn = (channel(colour, c) for colour in near[:6])
        before = channel(known, c - 1)
        total = within(w + n - nw)
        total_before = within(channel(W, c - 1) + channel(N, c - 1) - channel(NW, c - 1))
        rest = before - total_before if c else 0
        both = mix(before, channel(known, c - 2))
        hashes = [
            within(w + before - channel(W, c - 1)),
            within(n + before - channel(N, c - 1)),
            mix(total, rest),
            mix((w + ne) // 2, rest >> 1),
            both,
            mix(within(2 * n - nn) << 8 | within(2 * w - ww), before),
            mix(within(total + rest), (abs(w - nw) + abs(n - nw)) >> 3),
            mix(channel(candidates[0], c) << 8 | channel(candidates[1], c), before),
            mix(W, both),
            mix(N, both),
            mix(mix(W, N), both),
            mix(mix(N, NN), both),
            mix(order, both),
        ]
        texture = (0 if abs(w - n) < 4 else 1 if abs(w - n) < 32 else 2) + (0 if abs(n - ne) < 4 else 3)
        return [mix(value, 4 * k + c) for k, value in enumerate(hashes)], texture

    def colour(self, near: list[int], order: int, candidates: list[int], colour: int) -> int:
        """A colour that none of the candidates is: bit by bit."""
        known = 0
        for c in range(self.channels):
            hashes, texture = self.contexts(near, order, candidates, known, c)
            value, node, groups = channel(colour, c), 1, []
            for bit in reversed(range(8)):
                if bit % 4 == 3:
                    groups = [self.group(k, mix(value_of, node)) for k, value_of in enumerate(hashes)]
                inner = node if bit > 3 else node % (1 << (3 - bit)) | 1 << (3 - bit)
                states, inputs = [group[inner] for group in groups], []
                used = [(k * MOST_CHANNELS + c) * 256 + state for k, state in enumerate(states)]
                for state, place in zip(states, used, strict=True):
                    p = self.states.of(place)
                    inputs += [self.stretch[p], (p - 32768) >> 5] if state else [0, 0]
                inputs.append(256)
                first = self.by_bits.mixed(inputs, 256 * c + node)
                second = self.by_texture.mixed(inputs, 64 * c + 8 * bit + texture)
                x = (first + second) >> 1
                refined, nearest = self.refined(self.bit_curve, (256 * c + node) * SHADES, x)
                is_one = self.bit((3 * self.squash[x + DOMAIN] + refined + 2) >> 2, value >> bit & 1)
                self.by_bits.learn(self.squash[first + DOMAIN], is_one, 6)
                self.by_texture.learn(self.squash[second + DOMAIN], is_one, 6)
                self.bit_curve.learn(nearest, is_one)
                for place, group, state in zip(used, groups, states, strict=True):
                    self.states.learn(place, is_one)
                    group[inner] = self.following[256 * is_one + state]
                node = 2 * node + is_one
            known |= (node & 255) << 8 * c
        return known

    def group(self, view: int, value: int) -> bytearray:
        """16 states: a check, then those of a tree of 4 bits."""
        found = self.groups.setdefault(view << 32 | value >> (32 - self.group_bits), bytearray(16))
        if found[0] != value & 255:
            found[:] = bytes([value & 255]) + bytes(15)
        return found


def run(shape: Shape, tile: Tile | None, data: bytes | None, *, is_primed: bool) -> tuple[Tile, bytes]:
    """A tile and its code, from either."""
    height, width, channels = shape
    mixing, stride = Mixing(shape, data, is_primed=is_primed), width + 2 * SIDE
    pixels, out = [0] * (stride * (UP + height)), np.zeros(shape, np.uint8)
    offsets = [dy * stride + dx for dy, dx in AROUND]
    for y in range(height):
        row = (UP + y) * stride + SIDE
        first, last = (pixels[row - stride], pixels[row - stride + width - 1]) if y else (0, 0)
        pixels[row - SIDE : row] = [first] * SIDE
        pixels[row - stride + width : row - stride + width + SIDE] = [last] * SIDE
        for x in range(width):
            colour = 0 if tile is None else int.from_bytes(tile[y, x].tobytes(), "little")
            colour = pixels[row + x] = mixing.pixel([pixels[row + x + o] for o in offsets], colour)
            out[y, x] = list(colour.to_bytes(channels, "little"))
    return out, mixing.coder.finish()


@dataclass(frozen=True)
class Contexts:
    """The method of `plain`, on the native library if there is one. is_primed: with first weights that have learned."""

    is_primed: bool
    is_final: ClassVar[bool] = False
    is_hasty: ClassVar[bool] = True
    name: str = "contexts"

    def encode(self, tile: Tile, effort: int) -> bytes | None:
        """Without the native library it would take minutes: then there is none."""
        from lgcodec.models.machines.native import contexts as native  # solid tiles need no library

        if tile.shape[2] > MOST_CHANNELS or not native.is_available():
            return None
        return native.encode(given(is_primed=self.is_primed), tile, tile.size)

    def decode(self, data: bytes, shape: Shape) -> Tile:
        if shape[2] > MOST_CHANNELS:
            raise FormatError(f"a tile of {shape[2]} channels is no code by contexts: they have 1 to {MOST_CHANNELS}")
        from lgcodec.models.machines.native import contexts as native

        if native.is_available():
            tile, size = native.decode(given(is_primed=self.is_primed), data, shape)
        else:
            if shape[0] * shape[1] > _PATIENCE:
                from lgcodec.models.machines import choose

                reason = choose.missing("native")
                choose.say_once(f"machine native {reason}; without it graphics take minutes a megapixel")
            tile, code = run(shape, None, data, is_primed=self.is_primed)
            size = len(code)
        if size != len(data):
            raise FormatError("a code by contexts does not hold exactly its tile")
        return tile
