"""A decoder of the VQ-VAE family in plain Python integers, written from FORMAT.md alone; slow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reference import TOTAL, Layer, Pixel, Stack, check, clip
from reference import Network as CausalNetwork
from reference import Tile as CausalTile

Grid = list[list[list[int]]]  # [y][x][i]
LOOKS = ((0, 0), (0, 4), (4, 0), (0, -4), (-4, 0), (4, 4), (4, -4), (-4, 4))
DIAGONAL, BESIDE = [(-1, -1), (-1, 1), (1, -1), (1, 1)], [(0, -1), (0, 1), (-1, 0), (1, 0)]
KINDS = [[], DIAGONAL, BESIDE, BESIDE + DIAGONAL]


def phases(e: int) -> list[tuple[int, int, int, int]]:
    return [(1, e, e, e), (2, e, 0, e), (3, e, e, 0)]


PHASES = {"top": [(0, 2, 0, 0), *phases(2), *phases(1)], "bottom": [(0, 1, 0, 0), *phases(1)]}


class Decoder:
    """config, tensors: of a weights file, tensors as nested lists."""

    def __init__(self, config: dict[str, Any], tensors: dict[str, Any]) -> None:
        self.config, self.tensors = config, tensors

    def layer(self, name: str, a: Sequence[int], low: int, high: int) -> list[int]:
        weight, bias, shift = (self.tensors[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
        result = []
        for row, b, s in zip(weight, bias, shift, strict=True):
            result.append(clip((b + sum(w * x for w, x in zip(row, a, strict=True))) >> s, low, high))
        return result

    def conv(self, name: str, a: Grid, low: int, high: int, size: int = 1) -> Grid:
        r, zero = size // 2, len(a[0][0]) * [0]
        places = [(dy, dx) for dy in range(-r, r + 1) for dx in range(-r, r + 1)]

        def at(y: int, x: int) -> list[int]:
            return a[y][x] if 0 <= y < len(a) and 0 <= x < len(a[0]) else zero

        def window(y: int, x: int) -> list[int]:
            return [v for dy, dx in places for v in at(y + dy, x + dx)]

        return [[self.layer(name, window(y, x), low, high) for x in range(len(a[0]))] for y in range(len(a))]

    def blocks(self, name: str, n: int, a: Grid) -> Grid:
        L = self.config["limit"]
        for i in range(n):
            back = self.conv(f"{name}.{i}.back", self.conv(f"{name}.{i}.wide", a, 0, L, 3), -L, L)
            pairs = [zip(*rows, strict=True) for rows in zip(a, back, strict=True)]
            a = [[[clip(u + v, 0, L) for u, v in zip(*pair, strict=True)] for pair in row] for row in pairs]
        return a

    def vectors(self, level: str, codes: list[list[int]]) -> Grid:
        return [[self.tensors[f"vectors.{level}"][code] for code in row] for row in codes]

    def t(self, top: list[list[int]]) -> Grid:
        L = self.config["limit"]
        h = self.blocks("decode_top", self.config["top_blocks"], self.conv("in_top", self.vectors("top", top), 0, L))
        return spread(self.conv("down", h, 0, L), 2)

    def codes(self, stack: Stack, level: str, bands: int, h: int, w: int, t: list[Grid] | None) -> list[Any]:
        known: list[Any] = [[w * [None] for _ in range(h)] for _ in range(bands)]
        for k, e, y0, x0 in PHASES[level]:
            places = [(b, y, x) for b in range(bands) for y in range(y0, h, 2 * e) for x in range(x0, w, 2 * e)]
            tables = []
            for b, y, x in places:
                given: list[int] = []
                for dy, dx in KINDS[k]:
                    v, u = y + e * dy, x + e * dx
                    code = known[b][v][u] if 0 <= v < h and 0 <= u < w else None
                    given += self.config["depth"] * [0] if code is None else self.tensors[f"vectors.{level}"][code]
                given += t[b][y][x] if t else []
                hidden = self.config["prior"] * [0]
                if given:
                    hidden = self.layer(f"prior.{level}.{k}", given, 0, self.config["limit"])
                o = self.layer(f"prior.{level}.out", hidden, -4095, 4095)
                share = [self.tensors["exponential"][min(max(o) - a, 383)] for a in o]
                A = len(o)
                starts = [v + (TOTAL - A) * sum(share[:v]) // sum(share) for v in range(A)]
                tables.append([*starts, TOTAL])
            for (b, y, x), table in zip(places, tables, strict=True):
                known[b][y][x] = stack.pop(table)
        return known

    def decode(self, base: bytes, stream: bytes, C: int, H: int, W: int) -> list[list[list[int]]]:
        config, L, stack = self.config, self.config["limit"], Stack(base)
        rows = config["rows"] or H
        bands, h, w = -(-H // rows), -(-rows // 16), -(-W // 16)
        top = self.codes(stack, "top", bands, h, w, None)
        t = [self.t(band) for band in top]
        bottom = self.codes(stack, "bottom", bands, 2 * h, 2 * w, t)
        check(stack.state == 0 and not stack.words, "more than the codes")
        self.q: Grid = []
        self.f: Grid = []
        for codes, given in zip(bottom, t, strict=True):
            e = self.vectors("bottom", codes)
            both = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(e, given, strict=True)]
            d = self.blocks("decode", config["decode_blocks"], self.conv("in_bottom", both, 0, L))
            wide = spread(self.conv("picture", d, -2040, 2040), 8)
            ends = [0, -2040, -2040]
            self.q += [[[max(v, low) for v, low in zip(a, ends, strict=True)] for a in row[:W]] for row in wide[:rows]]
            features = self.conv("features", d, 0, 511)
            self.f += [[features[y // 8][x // 8] for x in range(W)] for y in range(rows)]
        if C == 1:
            self.q = [[[a[0], 0, 0] for a in row] for row in self.q]
        return Tile(Network(config["pixels"], self.tensors), stream, C, H, W, self.q, self.f).decode()


def spread(a: Grid, n: int) -> Grid:
    C = len(a[0][0]) // n**2

    def at(y: int, x: int) -> list[int]:
        start = (y % n * n + x % n) * C
        return a[y // n][x // n][start : start + C]

    return [[at(y, x) for x in range(n * len(a[0]))] for y in range(n * len(a))]


class Network(CausalNetwork):
    """The causal network with a Side; its own first layer is taken out, so that the looks can be added."""

    def __init__(self, config: dict[str, Any], tensors: dict[str, Any]) -> None:
        names = ("sigmoid", "exponential", "inverse", "fine", "coarse")
        self.tables = {name: tensors[f"pixels.{name}"] for name in names}
        self.depth, self.K, self.limit = config["depth"], config["components"], config["limit"]
        self.context = self.grid = self.learning = 0
        self.neighbours = [(0, -i) for i in range(1, config["left"] + 1)]
        for r in range(1, config["rows"] + 1):
            self.neighbours += [(-r, dx) for dx in range(-config["left"], min(2 * r - 1, config["reach"]) + 1)]
        hidden = [(0, self.limit)]
        ends = self.K * [(-4095, 4095)] + self.K * [(-32768, 32767)] + self.K * [(0, 160)] + [(-1023, 1023)]
        kinds = {"linear": 3 * [(-65536, 65535)], "first": config["width"] * hidden}
        kinds |= {f"middle.{i}": config["width"] * hidden for i in range(self.depth)}
        for c in range(3):
            kinds |= {f"head.{c}": config["hidden"] * hidden, f"out.{c}": ends}
        self.layers = {}
        for name, low_high in kinds.items():
            parts = (tensors[f"pixels.{name}.{part}"] for part in ("weight", "bias", "shift"))
            self.layers[name] = Layer(*parts, low_high, [])


class Tile(CausalTile):
    def __init__(self, network: Network, stream: bytes, C: int, H: int, W: int, q: Grid, f: Grid) -> None:
        super().__init__(network, stream, C, H, W)
        self.q, self.f = q, f

    def pixel(self, y: int, x: int) -> Pixel:
        first, given = self.layers["first"], []

        class Wait:
            def __call__(self, a: list[int]) -> list[int]:
                given[:] = a
                return len(first.bias) * [0]

        self.layers["first"] = Wait()  # type: ignore[assignment]
        pixel = Pixel(self, y, x)
        self.layers["first"] = first
        around = [self.q[clip(y + dy, 0, self.H - 1)][clip(x + dx, 0, self.W - 1)] for dy, dx in LOOKS]
        looks = [clip(a[c] - pixel.A[c], -2047, 2047) for a in around for c in range(3)]
        pixel.h = first(given + looks + self.f[y][x])
        for i in range(self.network.depth):
            more = self.layers[f"middle.{i}"](pixel.h)
            pixel.h = [min(a + b, self.network.limit) for a, b in zip(pixel.h, more, strict=True)]
        return pixel

    def decode(self) -> list[list[list[int]]]:
        for t in range(self.W + 2 * self.H - 2):
            front = [self.pixel(y, t - 2 * y) for y in range(self.H) if 0 <= t - 2 * y < self.W]
            for c in range(self.C):
                for pixel in front:
                    pixel.prepare(c)
                for pixel in front:
                    pixel.pop_high(self.stack)
                for pixel in front:
                    pixel.pop_low(c, self.stack)
            for pixel in front:
                pixel.learn()
        check(self.stack.state == 0 and not self.stack.words, "more than the tile")
        return self.planes
