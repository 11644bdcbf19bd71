"""A decoder of files whose streams are all model streams, from the text of codec/FORMAT.md alone.

Plain Python integers, no numpy, nothing of lgcodec: slow, and independent of everything it is held against. Pixels that
are not decoded yet are None, so reading one by mistake fails.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from dataclasses import dataclass, field, replace
from operator import mul

TAPS = [(0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-2, 1), (-2, -1), (-1, -2), (-2, 2), (0, -3), (-3, 0)]
PLACES = [(0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-2, -1), (-2, 1)]
PASSED = [(0, -1), (-1, -1), (-1, 0), (-1, 1)]
PULL = [12288, 12288, -8192] + 9 * [0]
SOLVERS = [(6, 230), (12, 251)]
TOTAL = 1 << 24
FADING, STEP = 6, 4096  # of what learns
CHANNELS = {1: 1, 4: 3, 7: 1}  # of the modes known here: L, RGB, L as an array
ORDERS = {2: "RGB", 3: "GRB", 4: "RBG", 5: "BGR", 6: "BRG", 7: "GBR"}


def check(condition: object, what: str) -> None:
    if not condition:
        raise ValueError(what)


def clip(a: int, low: int, high: int) -> int:
    return max(low, min(a, high))


def product(a: list[int], b: list[int]) -> int:
    return sum(map(mul, a, b))


# --- file


@dataclass
class Reader:
    data: bytes
    at: int = 0

    def take(self, n: int) -> bytes:
        check(0 <= n <= len(self.data) - self.at, "truncated")
        self.at += n
        return self.data[self.at - n : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def varint(self) -> int:
        value = 0
        for i in range(9):
            byte = self.number(1)
            value += (byte & 127) << 7 * i
            if byte < 128:
                check(byte or i == 0, "varint too long")
                return value
        raise ValueError("varint too long")


def decode(data: bytes, weights: bytes) -> tuple[int, int, int, bytes]:
    """-> width, height, channels, samples."""
    file = Reader(data)
    check(file.take(8) == b"\x89LGC\r\n\x1a\n", "signature")
    check(file.number(1) == 1, "version")
    check(file.number(1) == 1, "features")
    body = Reader(file.take(file.varint()))
    check(zlib.crc32(data[: file.at]) == file.number(4), "header CRC")
    mode, depth = body.number(1), body.number(1)
    check(mode in CHANNELS and depth == 8, "mode")
    width, height, transform, digest = body.varint(), body.varint(), body.number(1), body.take(8)
    check(body.varint() == 0, "chunks")
    network = Network(weights)
    body.varint()  # the model's id: the digest is enough
    check(body.take(16) == network.digest[:16], "another model")
    network.adapt(body.take(body.varint()))
    body.varint()  # ideal bits
    channels, planes = CHANNELS[mode], 1 if transform == 1 else 3
    check(transform == 1 or (transform in ORDERS and channels == 3), "transform")
    tile_width, tile_height = body.varint(), body.varint()
    boxes = [
        (x, y, min(tile_width, width - x), min(tile_height, height - y))
        for y in range(0, height, tile_height)
        for x in range(0, width, tile_width)
    ]
    entries = [(body.number(1), body.varint(), body.number(4)) for _ in boxes]
    check(body.at == len(body.data), "header")
    samples = bytearray(width * height * channels)
    for (x0, y0, w, h), (method, length, crc) in zip(boxes, entries, strict=True):
        stream = file.take(length)
        check(method == 0 and zlib.crc32(stream) == crc, "stream")
        tile = Tile(network, stream, planes, h, w).decode()
        for y in range(h):
            for x in range(w):
                values = [plane[y][x] for plane in tile]
                pixel = inverse(values, ORDERS[transform]) if planes == 3 else channels * values
                at = ((y0 + y) * width + x0 + x) * channels
                samples[at : at + channels] = bytes(pixel)  # refuses what is not 0 to 255
    check(file.at == len(data), "trailing bytes")
    check(hashlib.sha256(samples).digest()[:8] == digest, "digest")
    return width, height, channels, bytes(samples)


def inverse(planes: list[int], order: str) -> list[int]:
    luma, orange, green = planes
    t = luma - (green >> 1)
    c = t - (orange >> 1)
    a, b = c + orange, green + t
    given = dict(zip(order, (a, b, c), strict=True))
    return [given[channel] for channel in "RGB"]


class Stack:
    def __init__(self, stream: bytes) -> None:
        check(len(stream) % 4 == 0, "words")
        self.words = list(struct.unpack(f"<{len(stream) // 4}I", stream))
        check(not self.words or self.words[-1], "last word is 0")
        self.state = 0
        self.refill()
        self.refill()

    def refill(self) -> None:
        if self.state < 1 << 32 and self.words:
            self.state = self.state << 32 | self.words.pop()

    def pop(self, starts: list[int]) -> int:
        """starts: of all symbols, then 2**24."""
        quantile = self.state % TOTAL
        symbol = max(s for s in range(len(starts) - 1) if starts[s] <= quantile)
        self.state = self.state // TOTAL * (starts[symbol + 1] - starts[symbol]) + quantile - starts[symbol]
        self.refill()
        return symbol


# --- weights


@dataclass
class Layer:
    weight: list[list[int]]
    bias: list[int]
    shift: list[int]
    ends: list[tuple[int, int]]
    limits: list[int]
    bound: int = TOTAL

    def __call__(self, a: list[int]) -> list[int]:
        rows = zip(self.weight, self.bias, self.shift, self.ends, strict=True)
        return [clip((bias + product(weight, a)) >> shift, *ends) for weight, bias, shift, ends in rows]

    def size(self, o: int) -> int:
        return abs(self.bias[o]) + product([abs(w) for w in self.weight[o]], self.limits)

    def adapt(self, bias: list[int], left: list[list[int]], right: list[list[int]]) -> None:
        for o, weight in enumerate(self.weight):
            for i in range(len(weight)):
                delta = sum(left[r][o] * right[r][i] for r in range(len(left)))
                weight[i] += (delta << self.shift[o]) >> 9
            self.bias[o] += (bias[o] << self.shift[o]) >> 2
            while max(map(abs, weight)) > 32767 or self.size(o) >= self.bound:
                check(self.shift[o] > 0, "adaptation out of range")
                weight[:] = [w >> 1 for w in weight]
                self.bias[o] >>= 1
                self.shift[o] -= 1


def wrap(a: int) -> int:
    return (a + (1 << 31)) % (1 << 32) - (1 << 31)


def back(a: int) -> int:
    return wrap(a + (1 << 9)) >> 10


def limit(a: int) -> int:
    return clip(a, -32767, 32767)


class Learner:
    """A layer of one tile, of whose inputs the first `own` learn."""

    def __init__(self, layer: Layer, own: int, rate: int) -> None:
        self.layer, self.own, self.rate = layer, own, rate
        self.weight = [row[:] for row in layer.weight]
        self.master = [[w << 12 for w in row[:own]] for row in self.weight]
        self.row, self.column = [own << 12 for _ in self.weight], [len(self.weight) << 12 for _ in range(own)]

    def __call__(self, a: list[int]) -> list[int]:
        rows = zip(self.weight, self.layer.bias, self.layer.shift, self.layer.ends, strict=True)
        return [clip(wrap(bias + product(weight, a)) >> shift, *ends) for weight, bias, shift, ends in rows]

    def back(self, errors: list[int]) -> list[int]:
        """Through the weights as trained."""
        return [sum(e * row[i] for e, row in zip(errors, self.layer.weight, strict=True)) for i in range(self.own)]

    def step(self, inputs: list[list[int]], errors: list[list[int]]) -> None:
        """Of each pixel of a front."""
        columns, rows = [list(a) for a in zip(*inputs, strict=True)][: self.own], zip(*errors, strict=True)
        G = [[clip(wrap(product(list(e), a)) >> 8, -65536, 65536) for a in columns] for e in rows]
        for o, g in enumerate(G):
            self.row[o] += (product(g, g) - self.row[o]) >> FADING
        for i in range(self.own):
            self.column[i] += (sum(g[i] ** 2 for g in G) - self.column[i]) >> FADING
        whole = math.isqrt(sum(self.row)) << 8
        q = [min((1 << 24) // (math.isqrt(a) + 64), 65536) for a in self.column]
        for o, g in enumerate(G):
            r = min(whole // (math.isqrt(self.row[o]) + 64), 65536)
            for i in range(self.own):
                step = clip(g[i] * r * q[i] >> (10 + self.rate), -STEP, STEP)
                self.master[o][i] = clip(self.master[o][i] - step, -32767 << 12, 32767 << 12)
                self.weight[o][i] = (self.master[o][i] + 2048) >> 12


class Network:
    def __init__(self, data: bytes) -> None:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        meta = header.pop("__metadata__")
        config = json.loads(meta["config"])
        check(meta["family"] == "causal", "family")
        sha = hashlib.sha256(json.dumps(["causal", config], sort_keys=True).encode())
        tensors: dict[str, list[int]] = {}
        for name in sorted(header):
            dtype, shape = header[name]["dtype"], header[name]["shape"]
            low, high = header[name]["data_offsets"]
            raw = data[8 + size + low : 8 + size + high]
            sha.update(json.dumps([name, dtype, shape]).encode() + raw)
            tensors[name] = [v for (v,) in struct.iter_unpack({"I16": "<h", "I32": "<i"}[dtype], raw)]
        self.digest = sha.digest()
        self.tables = {name: tensors[name] for name in ("sigmoid", "exponential", "inverse", "fine", "coarse")}
        self.depth, self.K, self.limit = config["depth"], config["components"], config["limit"]
        self.context, self.classes = config.get("context", 0), config.get("classes", 0)
        self.grid, self.learning = config.get("grid", 0), config.get("learning", 0)
        self.rest = config.get("rest", 0)
        check(0 <= self.grid <= 1, "grid")
        check(0 <= self.rest <= 14 * bool(self.learning) and self.rest % 2 == 0, "rest")
        check(0 <= self.learning <= 20 and (config["fraction"] == 7 or not self.learning), "learning")
        self.tables |= {name: table for name, table in tensors.items() if name.endswith(".class")}
        width, hidden, left, reach = (config[name] for name in ("width", "hidden", "left", "reach"))
        self.neighbours = [(0, -i) for i in range(1, left + 1)]
        for r in range(1, config["rows"] + 1):
            self.neighbours += [(-r, dx) for dx in range(-left, min(2 * r - 1, reach) + 1)]
        difference, h = 3 * len(self.neighbours) * [2047], width * [self.limit]
        self.layers: dict[str, Layer] = {}

        def layer(name: str, limits: list[int], ends: list[tuple[int, int]]) -> None:
            flat, I = tensors[f"{name}.weight"], len(limits)
            weight = [flat[o * I : (o + 1) * I] for o in range(len(ends))]
            bound = 1 << 31 if self.learning and name != "linear" else TOTAL
            self.layers[name] = Layer(weight, tensors[f"{name}.bias"], tensors[f"{name}.shift"], ends, limits, bound)
            for known in [255, *range(self.classes)]:
                told = replace(self.layers[name], bias=self.bias(name, known))
                check(all(told.size(o) < bound for o in range(len(ends))), "weights out of range")

        layer("first", difference + 51 * [511] + 20 * self.grid * [128], width * [(0, self.limit)])
        for i in range(self.depth):
            layer(f"middle.{i}", h + 4 * self.context * [self.limit], width * [(0, self.limit)])
        layer("linear", difference, 3 * [(-65536, 65535)])
        for c, extras in enumerate((0, 2, 3)):
            layer(f"head.{c}", h + extras * [511], hidden * [(0, self.limit)])
            ends = self.K * [(-4095, 4095)] + self.K * [(-32768, 32767)] + self.K * [(0, 160)] + [(-1023, 1023)]
            layer(f"out.{c}", hidden * [self.limit], ends)

    def bias(self, name: str, known: int) -> list[int]:
        """Of a layer, for a class or 255."""
        bias, table = self.layers[name].bias, self.tables.get(f"{name}.class")
        if known == 255 or table is None:
            return bias
        check(len(table) == self.classes * len(bias), "classes")
        return [a + b for a, b in zip(bias, table[known * len(bias) :][: len(bias)], strict=True)]

    def adapt(self, adaptation: bytes) -> None:
        if adaptation and self.classes:
            known, adaptation = adaptation[0], adaptation[1:]
            check(known == 255 or known < self.classes, "class")
            for name, layer in self.layers.items():
                layer.bias = self.bias(name, known)
        if not adaptation:
            return
        rank, inflate = adaptation[0], zlib.decompressobj(-15)
        check(rank <= 8, "rank")
        deltas = Reader(inflate.decompress(adaptation[1:]))
        check(inflate.eof and not inflate.unused_data, "adaptation")

        def take(n: int) -> list[int]:
            return list(struct.unpack(f"{n}b", deltas.take(n)))

        for layer in self.layers.values():
            O, I = len(layer.bias), len(layer.limits)
            layer.adapt(take(O), [take(O) for _ in range(rank)], [take(I) for _ in range(rank)])
        check(deltas.at == len(deltas.data), "adaptation")

    def learner(self, name: str) -> Layer | Learner:
        """A layer for a new tile."""
        layer = self.layers[name]
        if not self.learning or name == "linear":
            return layer
        width = len(self.layers["first"].weight)
        own = width if name.startswith(("middle", "head")) else len(layer.limits)
        return Learner(layer, own, self.learning)

    def compand(self, name: str, a: int) -> int:
        value = self.tables[name][min(abs(a), 4095)]
        return value if a >= 0 else -value


# --- model


@dataclass
class Solver:
    """The state of one predictor at one pixel, and what it needs to learn."""

    n: int
    d: int
    G: list[list[int]]
    m: list[int]
    w: list[int]
    v: list[int] = field(default_factory=list)

    @classmethod
    def start(cls, n: int, d: int) -> Solver:
        return cls(n, d, [n * [0] for _ in range(n)], n * [0], PULL[:n])

    @classmethod
    def inherit(cls, left: Solver, upper: Solver) -> Solver:
        def merge(a: list[int], b: list[int]) -> list[int]:
            return [(x + y) * left.d // 512 for x, y in zip(a, b, strict=True)]

        G = [merge(a, b) for a, b in zip(left.G, upper.G, strict=True)]
        w = [(x + y) // 2 for x, y in zip(left.w, upper.w, strict=True)]
        return cls(left.n, left.d, G, merge(left.m, upper.m), w)

    def predict(self, v: list[int], r: int, low: int) -> int:
        self.v = v[: self.n]
        for i in range(self.n):
            g = (self.m[i] << 14) + 128 * (PULL[i] - self.w[i]) - product(self.G[i], self.w)
            self.w[i] = clip(self.w[i] + g // (self.G[i][i] + 128), -65536, 65536)
        return clip(((r << 14) + product(self.w, self.v)) >> 11, low, 2040)

    def learn(self, error: int) -> None:
        for i, a in enumerate(self.v):
            self.m[i] += 16 * a * error
            self.G[i] = [g + 16 * a * b for g, b in zip(self.G[i], self.v, strict=True)]


def slope(a: int, b: int) -> int:
    return clip(4096 * a // (b + 256), -16384, 16384)


class Pixel:
    """One pixel of a front: what is computed before, and while, its channels are decoded."""

    def __init__(self, tile: Tile, y: int, x: int) -> None:
        self.tile, self.y, self.x, self.C = tile, y, x, tile.C
        net, near = tile.network, tile.near
        left, upper = tile.done.get((y, x - 1)), tile.done.get((y - 1, min(x + 1, tile.W - 1)))
        self.P, self.r = [[0, 0, 0], [0, 0, 0]], [0, 0, 0]
        self.solvers: list[list[Solver]] = [[], [], []]
        for c in range(self.C):
            p = [near(c, y, x, offset) for offset in TAPS]
            self.r[c] = (3 * p[0] + 3 * p[1] + p[2] + p[3]) // 8
            for s, (n, d) in enumerate(SOLVERS):
                before = [side.solvers[c][s] if side else Solver.start(n, d) for side in (left, upper)]
                solver = Solver.inherit(*before)
                self.P[s][c] = solver.predict([a - self.r[c] for a in p], self.r[c], -2040 if c else 0)
                self.solvers[c].append(solver)
        self.A = [(a + b) // 2 for a, b in zip(*self.P, strict=True)]
        self.S = [(a - b) // 2 for a, b in zip(*self.P, strict=True)]
        states = [side.q if side else 5 * [0] for side in (left, upper)]
        self.q = [(a + b) * 246 // 512 for a, b in zip(*states, strict=True)]
        D = [clip(8 * near(c, y, x, o) - self.A[c], -2047, 2047) for o in net.neighbours for c in range(3)]
        errors = [net.compand("fine", tile.error(s, c, y, x, o)) for o in PLACES for s in (0, 1) for c in range(3)]
        self.ran: dict[str, tuple[list[int], list[int]]] = {}  # inputs and outputs of layers
        stands = (2 * (y % 2) + x % 2, 4 + x % 8, 12 + y % 8)
        grid = [128 * (i in stands) for i in range(20 * net.grid)]
        self.h = self.run("first", D + errors + [net.compand("fine", a) for a in self.S] + grid)
        self.passed: list[list[int]] = []  # h before each middle layer
        for i in range(net.depth):
            self.passed.append(self.h[: net.context])
            around = [tile.passed(i, y, x, offset) for offset in PASSED]
            more = self.run(f"middle.{i}", self.h + [a for part in around for a in part])
            self.h = [min(a + b, net.limit) for a, b in zip(self.h, more, strict=True)]
        self.linear = self.run("linear", D)
        self.k: list[int] = []
        self.errors: dict[str, list[int]] = {}  # of layers' outputs

    def run(self, name: str, a: list[int]) -> list[int]:
        self.ran[name] = a, self.tile.layers[name](a)
        return self.ran[name][1]

    def prepare(self, c: int) -> None:
        """The mixture of channel c."""
        net, K, k, q, E = self.tile.network, self.tile.network.K, self.k, self.q, 0
        if c > 0:
            E = slope(q[1], q[0]) * k[0] // 4096
        if c == 2:
            self.rest = k[1] - E
            self.part = slope(q[3], q[0]) * k[0] // 4096
            E = self.part + slope(q[4], q[2]) * self.rest // 4096
        extra = [net.compand("coarse", a) for a in k] + ([net.compand("fine", E)] if c else [])
        o = self.run(f"out.{c}", self.run(f"head.{c}", self.h + extra))
        table = net.tables["exponential"]
        share = [table[min(max(o[:K]) - a, 383)] for a in o[:K]]
        self.weight = [(a << 16) // sum(share) for a in share]
        self.weight[0] += (1 << 16) - sum(self.weight)
        centre = 8 * self.A[c] + self.linear[c] + (o[3 * K] * self.S[c] >> 5)
        self.mean = [o[K + j] + centre + (8 * E if j else 0) for j in range(K)]
        self.scale = [net.tables["inverse"][a] for a in o[2 * K : 3 * K]]
        self.size, self.origin = (512, -256) if c else (256, 0)

    def share_below(self, v: int) -> int:
        if v in (0, self.size):
            return TOTAL if v else 0
        M = sum(weight * self.sigmoid(v, j)[1] for j, weight in enumerate(self.weight))
        return v + ((TOTAL - self.size) * M >> 38)

    def sigmoid(self, v: int, j: int) -> tuple[int, int]:
        """t, and its sigmoid, of component j."""
        table = self.tile.network.tables["sigmoid"]
        t = clip((64 * (v + self.origin) - 32 - self.mean[j]) * self.scale[j] + (1 << 24), 0, (1 << 25) - 1)
        i, f = divmod(t, 1 << 14)
        return t, table[i] + ((table[i + 1] - table[i]) * f >> 14)

    def pop_high(self, stack: Stack) -> None:
        self.high = 16 * stack.pop([self.share_below(v) for v in range(0, self.size + 1, 16)])

    def pop_low(self, c: int, stack: Stack) -> None:
        F = [self.share_below(self.high + b) for b in range(17)]
        low = stack.pop([b + (F[b] - F[0]) * (TOTAL - 16) // (F[16] - F[0]) for b in range(17)])
        value = self.high + low + self.origin
        self.tile.planes[c][self.y][self.x] = value
        self.k.append(8 * value - self.A[c])
        if self.tile.network.learning:
            self.errors[f"out.{c}"] = self.mixture_errors(c, self.high + low)

    def mixture_errors(self, c: int, v: int) -> list[int]:
        o, K, parts = self.ran[f"out.{c}"][1], self.tile.network.K, []
        for j, weight in enumerate(self.weight):
            edges = []
            for u in (0, 1):
                t, s = self.sigmoid(v + u, j)
                g = s * ((1 << 22) - s) >> 22
                if v == (self.size - 1 if u else 0):
                    s, g = u << 22, 0
                edges.append((s, g, (t - (1 << 24)) * g >> 20))
            parts.append([weight * (above - below) for below, above in zip(*edges, strict=True)])
        M = (1 << 14) + sum(s for s, _, _ in parts)
        logits = [limit((weight >> 4) - (s << 12) // M) for weight, (s, _, _) in zip(self.weight, parts, strict=True)]
        means = [limit(((g << 14) // M) * scale >> 13) for scale, (_, g, _) in zip(self.scale, parts, strict=True)]
        scales = [limit((b << 12) // M) for _, _, b in parts]
        for j, at in enumerate(o[2 * K : 3 * K]):
            if (at == 0 and scales[j] > 0) or (at == 160 and scales[j] < 0):
                scales[j] = 0
        return logits + means + scales + [limit(sum(means) * self.S[c] >> 6)]

    def propagate(self) -> None:
        """Errors of the hidden layers from those of the channels' outputs."""
        layers, total = self.tile.layers, len(self.h) * [0]

        def enter(name: str, errors: list[int]) -> list[int]:
            self.errors[name] = [e if y else 0 for e, y in zip(errors, self.ran[name][1], strict=True)]
            return layers[name].back(self.errors[name])

        for c in range(self.C):
            hidden = [limit(back(e)) for e in layers[f"out.{c}"].back(self.errors[f"out.{c}"])]
            total = [a + b for a, b in zip(total, enter(f"head.{c}", hidden), strict=True)]
        d = [limit(back(a)) for a in total]
        for k in reversed(range(self.tile.network.depth)):
            d = [limit(a + back(b)) for a, b in zip(d, enter(f"middle.{k}", d), strict=True)]
        enter("first", d)

    def learn(self) -> None:
        p = [self.tile.near(c, self.y, self.x, (0, 0)) for c in range(self.C)]
        for c in range(self.C):
            for solver in self.solvers[c]:
                solver.learn(p[c] - self.r[c])
        self.e = [[8 * p[c] - P[c] if c < self.C else 0 for c in range(3)] for P in self.P]
        if self.C == 3:
            k = self.k
            for i, a in enumerate((k[0] ** 2, k[0] * k[1], self.rest**2, k[0] * k[2], self.rest * (k[2] - self.part))):
                self.q[i] += a
        self.tile.done[self.y, self.x] = self


class Tile:
    def __init__(self, network: Network, stream: bytes, C: int, H: int, W: int) -> None:
        self.network, self.C, self.H, self.W = network, C, H, W
        self.stack, self.layers = Stack(stream), {name: network.learner(name) for name in network.layers}
        self.planes: list[list[list[int]]] = [[W * [None] for _ in range(H)] for _ in range(C)]  # type: ignore[list-item]
        self.done: dict[tuple[int, int], Pixel] = {}

    def near(self, c: int, y: int, x: int, offset: tuple[int, int]) -> int:
        if c >= self.C:
            return 0
        plane, start, y, x = self.planes[c], 0 if c else 128, y + offset[0], x + offset[1]
        if y < 0:
            return start if x < -2 * y else plane[0][min(x + 2 * y, self.W - 1)]
        if x < 0:
            return plane[y - 1][0] if y else start
        return plane[y][min(x, self.W - 1)]

    def error(self, s: int, c: int, y: int, x: int, offset: tuple[int, int]) -> int:
        there = y + offset[0], x + offset[1]
        return self.done[there].e[s][c] if there[0] >= 0 and 0 <= there[1] < self.W else 0

    def passed(self, i: int, y: int, x: int, offset: tuple[int, int]) -> list[int]:
        there = self.done.get((y + offset[0], x + offset[1]))
        return there.passed[i] if there else self.network.context * [0]

    def learn(self, front: list[Pixel]) -> None:
        for pixel in front:
            pixel.propagate()
        for name in front[0].errors:
            self.layers[name].step([pixel.ran[name][0] for pixel in front], [pixel.errors[name] for pixel in front])

    def decode(self) -> list[list[list[int]]]:
        for t in range(self.W + 2 * self.H - 2):
            front = [Pixel(self, y, t - 2 * y) for y in range(self.H) if 0 <= t - 2 * y < self.W]
            for c in range(self.C):
                for pixel in front:
                    pixel.prepare(c)
                for pixel in front:
                    pixel.pop_high(self.stack)
                for pixel in front:
                    pixel.pop_low(c, self.stack)
            for pixel in front:
                pixel.learn()
            if self.network.learning and front and t % (1 + self.network.rest) == 0:
                self.learn(front)
        check(self.stack.state == 0 and not self.stack.words, "more than the tile")
        return self.planes
