"""Context mixing: pixels of graphics, each by what came next to such neighbours before.

A pixel is first held against a candidate: the colour that last followed the same 1 to 16 neighbours. Where that is not
sure, or not the colour, its channels are coded bit by bit, each bit under 13 contexts, and under what the colours that
followed so have there. All that is known is learned on the way, in tables of colours and of counts. Logistic mixing
(Mahoney 2005, "Adaptive weighing of context models for lossless data compression") makes one probability of theirs, a
curve corrects it, a binary arithmetic coder takes it.
Where everything repeats, a pixel takes a thousandth of a bit.

Older files (OLDEST, PRIMED) asked for three candidates, sure or not, and had other contexts.

This is the meaning, slow; contexts.c is the same, at 0.2 to ten megapixels a second. FORMAT.md has it in words.
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
OLDEST, PRIMED, SURE = range(3)  # kinds, of which new files have the last one
MOST_SURE, ASKED = 15, 64000  # of a slot's count; probabilities from here on are worth a question
INPUTS = 32  # of the mixers of bits, as contexts.c holds them: two for each view, 256, one for each order but the first
_WEIGHTS = {PRIMED: "contexts.weights", SURE: "sure.weights"}
_UNIT = 16  # of the weights in these files, in 2**-16
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
def weights(kind: int) -> tuple[NDArray[np.int32], ...]:
    """The mixers' first weights, int32 [sets, inputs] each: all alike, or those that learning graphics led to."""
    candidates = (CANDIDATES if kind < SURE else 1) * (ORDERS + 1) * 32
    sets = [candidates, MOST_CHANNELS * 256, MOST_CHANNELS * 64]
    of_bits = 2 * VIEWS + 1 if kind < SURE else INPUTS
    if kind not in _WEIGHTS:
        inputs = ORDERS + 2, of_bits, of_bits
        return tuple(np.full((n, k), w, np.int32) for n, k, w in zip(sets, inputs, (18000, 6000, 6000), strict=True))
    stored = np.frombuffer(Path(__file__).with_name(_WEIGHTS[kind]).read_bytes(), "<i2").astype(np.int32) * _UNIT
    sizes = np.array([candidates * (ORDERS + 2), MOST_CHANNELS * 8 * of_bits, MOST_CHANNELS * 64 * of_bits])
    first, by_bits, by_texture, by_echo = np.split(stored, sizes.cumsum())
    known = np.array([max(node, 1).bit_length() - 1 for node in range(256)])  # how many bits
    found = [by_bits.reshape(MOST_CHANNELS, 8, -1)[:, known], by_texture]
    if kind == SURE:
        found.append(np.tile(by_echo, MOST_CHANNELS * 8))
    return first.reshape(candidates, -1), *(np.ascontiguousarray(part.reshape(-1, of_bits)) for part in found)


@functools.cache
def given(kind: int) -> tuple[NDArray[Any], ...]:
    """What contexts.c is given: the tables, and all first weights; where it has more sets or inputs, 0."""
    candidates, *others = weights(kind)
    of_candidates = np.zeros((CANDIDATES * (ORDERS + 1) * 32, ORDERS + 2), np.int32)
    of_candidates[: len(candidates)] = candidates
    padded = (np.pad(w, ((0, 0), (0, INPUTS - w.shape[1]))) for w in others)
    return *tables(), np.concatenate([of_candidates.ravel(), *(w.ravel() for w in padded)])


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

    def __init__(self, shape: Shape, data: bytes | None, kind: int) -> None:
        (height, width, self.channels), self.coder, self.is_sure = shape, Arithmetic(data), kind == SURE
        stretch, squash, _, following, agreeing, differing, counted = tables()
        self.stretch, self.squash, self.following = stretch.tolist(), squash.tolist(), following.ravel().tolist()
        most = (20, 18) if self.is_sure else (18, 17)
        self.slot_bits, self.group_bits = bits_of(2 * height * width, 10, most[0]), bits_of(height * width, 8, most[1])
        self.slots: dict[int, list[int]] = {}  # check, colour, count
        self.groups: dict[int, bytearray] = {}
        curve = squash[[min(256 * i, 2 * DOMAIN - 1) for i in range(SHADES)]].astype(np.uint32) << 16
        self.trusts = Probabilities(np.tile(np.stack([agreeing, differing], axis=1).ravel(), ORDERS))
        self.states = Probabilities(np.tile(counted, VIEWS * MOST_CHANNELS))
        self.curve = Probabilities(np.tile(curve, CANDIDATES * (ORDERS + 1) * 16 * 8))
        self.bit_curve = Probabilities(np.tile(curve, MOST_CHANNELS * 256))
        self.echoes = Probabilities(np.tile(agreeing[: MOST_SURE + 1, None], (ORDERS, MOST_CHANNELS * 16)).ravel())
        self.candidates, *self.of_bits = map(Mixer, weights(kind))

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
        candidates = list(dict.fromkeys(likely))[: 1 if self.is_sure else CANDIDATES]
        W, N, NW, NE, WW, NN = near[:6]
        equal = (W == N) | (N == NE) << 1 | (W == NW) << 2 | (W == WW) << 3 | (N == NN) << 4
        sure = min(slots[top - 1][2], MOST_SURE) if top else 0
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
            probability = (self.squash[x + DOMAIN] + 3 * refined + 2) >> 2
            is_asked = probability >= ASKED or not self.is_sure
            if is_asked:
                is_it = self.bit(probability, int(colour == candidate))
            else:
                colour = self.colour(near, hashes[4], candidates, slots, None, colour)
                is_it = int(colour == candidate)
            self.candidates.learn(self.squash[x + DOMAIN], is_it, 5 if self.is_sure else 8 + 4 * i)
            self.curve.learn(nearest, is_it)
            for place in used:
                self.trusts.learn(place, is_it)
            if is_it:
                colour = candidate
            if is_it or not is_asked:
                break
        else:
            colour = self.colour(near, hashes[4], candidates, slots, candidates[0], colour)
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
        W, N, NW, NE, WW, NN = near[:6]
        w, n, nw, ne, ww, nn = (channel(colour, c) for colour in near[:6])
        before = channel(known, c - 1)
        total = within(w + n - nw)
        total_before = within(channel(W, c - 1) + channel(N, c - 1) - channel(NW, c - 1))
        rest = before - total_before if c else 0
        both = mix(before, channel(known, c - 2))
        quarters = mix(w >> 2 << 8 | n >> 2, ne >> 2 << 8 | nw >> 2)
        second = channel(candidates[1], c) if len(candidates) > 1 else 0
        hashes = [
            within(w + before - channel(W, c - 1)),
            within(n + before - channel(N, c - 1)),
            mix(mix(W, WW), both) if self.is_sure else mix(total, rest),
            mix((w + ne) // 2, rest >> 1),
            both,
            mix(within(2 * n - nn) << 8 | within(2 * w - ww), before),
            mix(within(total + rest), (abs(w - nw) + abs(n - nw)) >> 3),
            mix(quarters if self.is_sure else channel(candidates[0], c) << 8 | second, before),
            mix(W, both),
            mix(N, both),
            mix(mix(W, N), both),
            mix(mix(N, NN), both),
            mix(NE if self.is_sure else order, both),
        ]
        texture = (0 if abs(w - n) < 4 else 1 if abs(w - n) < 32 else 2) + (0 if abs(n - ne) < 4 else 3)
        return [mix(value, 4 * k + c) for k, value in enumerate(hashes)], texture

    def colour(
        self,
        near: list[int],
        order: int,
        candidates: list[int],
        slots: list[list[int]],
        refused: int | None,
        colour: int,
    ) -> int:
        """A colour, bit by bit. refused: the candidate that it is not, None if none was asked for."""
        known, rate = 0, 3 if self.is_sure else 6
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
                sets = [256 * c + node, 64 * c + 8 * bit + texture]
                echoes: list[tuple[int, int]] = []
                if self.is_sure:
                    best, echoes, told = self.echo(slots, known, c, bit, node, refused)
                    sets.append((8 * c + bit) * ORDERS * (MOST_SURE + 1) + best)
                    inputs += told
                mixed = [mixer.mixed(inputs, place) for mixer, place in zip(self.of_bits, sets, strict=True)]
                x = sum(mixed) // len(mixed)
                refined, nearest = self.refined(self.bit_curve, (256 * c + node) * SHADES, x)
                is_one = self.bit((3 * self.squash[x + DOMAIN] + refined + 2) >> 2, value >> bit & 1)
                for mixer, own in zip(self.of_bits, mixed, strict=True):
                    mixer.learn(self.squash[own + DOMAIN], is_one, rate)
                self.bit_curve.learn(nearest, is_one)
                for place, expected in echoes:
                    self.echoes.learn(place, int(is_one == expected))
                for place, group, state in zip(used, groups, states, strict=True):
                    self.states.learn(place, is_one)
                    group[inner] = self.following[256 * is_one + state]
                node = 2 * node + is_one
            known |= (node & 255) << 8 * c
        return known

    def echo(
        self, slots: list[list[int]], known: int, c: int, bit: int, node: int, refused: int | None
    ) -> tuple[int, list[tuple[int, int]], list[int]]:
        """What the colours of slots that begin as what is known say of a bit: the highest order and how sure it is,
        each one's probability and expected bit, the inputs of all orders but the first.
        """
        best, echoes, inputs = 0, [], []
        for k, (_, says, count) in enumerate(slots[1:], 1):
            own = channel(says, c) | 256
            if not count or (says ^ known) % (1 << 8 * c) or own >> (bit + 1) != node:
                inputs.append(0)
                continue
            best = (MOST_SURE + 1) * k + min(count, MOST_SURE)
            place = (best * MOST_CHANNELS * 8 + 8 * c + bit) * 2 + (says == refused)
            x, expected = self.stretch[self.echoes.of(place)], own >> bit & 1
            echoes.append((place, expected))
            inputs.append(x if expected else -x)
        return best, echoes, inputs

    def group(self, view: int, value: int) -> bytearray:
        """16 states: a check, then those of a tree of 4 bits."""
        found = self.groups.setdefault(view << 32 | value >> (32 - self.group_bits), bytearray(16))
        if found[0] != value & 255:
            found[:] = bytes([value & 255]) + bytes(15)
        return found


def run(shape: Shape, tile: Tile | None, data: bytes | None, kind: int) -> tuple[Tile, bytes]:
    """A tile and its code, from either."""
    height, width, channels = shape
    mixing, stride = Mixing(shape, data, kind), width + 2 * SIDE
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
    """The methods of `plain`, on the native library if there is one."""

    name: str
    kind: int
    is_final: ClassVar[bool] = False
    is_hasty: ClassVar[bool] = True

    def encode(self, tile: Tile, effort: int) -> bytes | None:
        """Without the native library it would take minutes: then there is none."""
        from lgcodec.models.machines.native import contexts as native  # solid tiles need no library

        if tile.shape[2] > MOST_CHANNELS or not native.is_available():
            return None
        return native.encode(given(self.kind), tile, tile.size, is_sure=self.kind == SURE)

    def decode(self, data: bytes, shape: Shape) -> Tile:
        if shape[2] > MOST_CHANNELS:
            raise FormatError(f"a tile of {shape[2]} channels is no code by contexts: they have 1 to {MOST_CHANNELS}")
        from lgcodec.models.machines.native import contexts as native

        if native.is_available():
            tile, size = native.decode(given(self.kind), data, shape, is_sure=self.kind == SURE)
        else:
            if shape[0] * shape[1] > _PATIENCE:
                from lgcodec.models.machines import choose

                reason = choose.missing("native")
                choose.say_once(f"machine native {reason}; without it graphics take minutes a megapixel")
            tile, code = run(shape, None, data, self.kind)
            size = len(code)
        if size != len(data):
            raise FormatError("a code by contexts does not hold exactly its tile")
        return tile
