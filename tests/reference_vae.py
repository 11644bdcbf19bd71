"""A decoder of the VAE family in plain Python integers, written from FORMAT.md alone; slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Grid = list[list[list[int]]]  # [y][x][i], of one image


def clip(a: int, low: int, high: int) -> int:
    return max(low, min(a, high))


class Stack:
    """The entropy coder of FORMAT.md."""

    def __init__(self, words: list[int]) -> None:
        self.words, self.state = list(words), 0
        for _ in range(2):
            self.refill()

    def refill(self) -> None:
        if self.words:
            self.state = (self.state << 32) + self.words.pop()

    def pop(self, share: Callable[[int], int], size: int) -> int:
        """share: F of a symbol, 0 .. size."""
        point = self.state % (1 << 24)
        symbol = next(v for v in range(size) if share(v) <= point < share(v + 1))
        self.state = (self.state >> 24) * (share(symbol + 1) - share(symbol)) + point - share(symbol)
        if self.state < 1 << 32:
            self.refill()
        return symbol

    def push(self, start: int, frequency: int) -> None:
        if self.state >> 40 >= frequency:
            self.words.append(self.state % (1 << 32))
            self.state >>= 32
        self.state = ((self.state // frequency) << 24) + start + self.state % frequency

    def content(self) -> list[int]:
        words, state = list(self.words), self.state
        while state:
            words.append(state % (1 << 32))
            state >>= 32
        return words


def split(share: Callable[[int], int], side: int) -> tuple[Callable[[int], int], Callable[[int, int], int]]:
    """The shares of high symbols, and of low ones given a high one."""

    def low(h: int, b: int) -> int:
        base, end = share(side * h), share(side * h + side)
        return b + (share(side * h + b) - base) * ((1 << 24) - side) // (end - base)

    return lambda h: share(side * h), low


class Decoder:
    """tensors: lists of integers; config: as in a weights file."""

    def __init__(self, config: dict[str, Any], tensors: dict[str, list[Any]]) -> None:
        self.config, self.tensors = config, tensors
        self.C, self.scales, self.reach = config["channels"], config["scales"], config["reach"]
        self.limit, self.K = config["limit"], config["components"]
        self.grids: list[list[int]] = config["latents"]
        self.side = 1 << config["bits"] // 2

    def layer(self, name: str, a: Grid, low: list[int], high: list[int], size: int = 1) -> Grid:
        weight, bias, shift = (self.tensors[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
        H, W, I, r = len(a), len(a[0]), len(a[0][0]), size // 2
        result: Grid = []
        for y in range(H):
            result.append([])
            for x in range(W):
                window: list[int] = []
                for dy in range(-r, r + 1):
                    for dx in range(-r, r + 1):
                        inside = 0 <= y + dy < H and 0 <= x + dx < W
                        window += a[y + dy][x + dx] if inside else [0] * I
                sums = [
                    b + sum(w * v for w, v in zip(row, window, strict=True))
                    for row, b in zip(weight, bias, strict=True)
                ]
                result[-1].append([clip(s >> n, lo, hi) for s, n, lo, hi in zip(sums, shift, low, high, strict=True)])
        return result

    def stream(self, name: str, a: Grid, n: int | None = None, size: int = 1) -> Grid:
        n = n or self.config["width"]
        return self.layer(name, a, [-self.limit] * n, [self.limit] * n, size)

    def hidden(self, name: str, a: Grid, n: int, size: int = 1) -> Grid:
        return self.layer(name, a, [0] * n, [self.limit] * n, size)

    def add(self, a: Grid, b: Grid) -> Grid:
        return zipped(lambda u, v: [clip(i + j, -self.limit, self.limit) for i, j in zip(u, v, strict=True)], a, b)

    def blocks(self, name: str, h: Grid) -> Grid:
        for b in range(self.config["blocks"]):
            wide = self.hidden(f"{name}.{b}.first", h, self.config["width"], 3)
            h = self.add(h, self.stream(f"{name}.{b}.last", wide))
        return h

    def window(self, a: Grid) -> Grid:
        H, W, around = len(a), len(a[0]), range(-self.reach, self.reach + 1)
        return [
            [
                [v for dy in around for dx in around for v in a[clip(y + dy, 0, H - 1)][clip(x + dx, 0, W - 1)]]
                for x in range(W)
            ]
            for y in range(H)
        ]

    def decode(self, stack: Stack, shape: tuple[int, int, int]) -> list[Any]:
        """One tile [C][H][W]; the stack is as before it was pushed."""
        tiles, H, W = shape
        unit = 1 << (self.scales + len(self.grids) - 1)
        sizes = [[-(-side // unit) * unit >> (self.scales + g) for side in (H, W)] for g in range(len(self.grids))]
        groups = [(g, k, n) for g in reversed(range(len(self.grids))) for k, n in enumerate(self.grids[g])]
        latents = []

        def uniform(v: int) -> int:
            return v * (1 << 24) // self.side

        for g, _, n in groups:
            count = sizes[g][0] * sizes[g][1] * n
            high, low = ([stack.pop(uniform, self.side) for _ in range(count)] for _ in range(2))
            latents.append([a * self.side + b for a, b in zip(high, low, strict=True)])
        h = self.start(sizes)
        for (g, k, n), z in zip(groups, latents, strict=True):
            h = self.down(h, g, k, n, z)
        tile = self.pixels(stack, h, tiles, H, W)
        for start, frequency in reversed(self.posterior(tile, groups, sizes, latents, unit)):
            stack.push(start, frequency)
        return tile

    def start(self, sizes: list[list[int]]) -> Grid:
        return [[[0] * self.config["width"] for _ in range(sizes[-1][1])] for _ in range(sizes[-1][0])]

    def down(self, h: Grid, g: int, k: int, n: int, z: list[int]) -> Grid:
        W = len(h[0])
        values = [clip(self.tensors["values"][v], -1023, 1023) for v in z]
        laid = [[values[(y * W + x) * n : (y * W + x + 1) * n] for x in range(W)] for y in range(len(h))]
        h = self.blocks(f"decode.{g}.{k}", self.add(h, self.stream(f"merge.{g}.{k}", laid)))
        if g and k == len(self.grids[g]) - 1:
            h = spread(self.stream(f"up.{g}", h, 4 * self.config["width"]))
        return h

    def posterior(
        self, tile: list[Any], groups: list[Any], sizes: list[list[int]], latents: list[list[int]], unit: int
    ) -> list[tuple[int, int]]:
        """The shares of the latents, in order."""
        H, W = len(tile[0]), len(tile[0][0])
        planes = [*tile, *[[[0] * W] * H] * (self.C - len(tile))]
        x = [
            [
                [planes[c][min(y, H - 1)][min(i, W - 1)] - (128, 0, 0)[c] for c in range(self.C)]
                for i in range(-(-W // unit) * unit)
            ]
            for y in range(-(-H // unit) * unit)
        ]
        for _ in range(self.scales):
            x = gather(x)
        e = [self.blocks("encode.0", self.stream("enter", x, size=3))]
        for g in range(1, len(self.grids)):
            e.append(self.blocks(f"encode.{g}", self.stream(f"down.{g}", gather(e[-1]))))
        h, shares = self.start(sizes), []
        edges, normal, precision = (self.tensors[name] for name in ("edges", "normal", "precision"))
        size = 1 << self.config["bits"]
        for (g, k, n), z in zip(groups, latents, strict=True):
            seen = self.hidden(f"posterior.{g}.{k}", zipped(lambda a, b: a + b, h, e[g]), self.config["width"])
            ends = [-2047] * n + [0] * n, [2047] * n + [95] * n
            q = [v for row in self.layer(f"out.posterior.{g}.{k}", seen, *ends) for v in row]
            highs, lows = [], []
            for i, symbol in enumerate(z):
                m, r = q[i // n][i % n], q[i // n][n + i % n]

                def share(v: int, m: int = m, r: int = r) -> int:
                    if v in (0, size):
                        return v and 1 << 24
                    t = clip(((edges[v - 1] - 256 * m) * precision[r] >> 14) + (1 << 19), 0, (1 << 20) - 1)
                    i, f = t >> 10, t % 1024
                    P = normal[i] + ((normal[i + 1] - normal[i]) * f >> 10)
                    return v + (((1 << 24) - size) * P >> 24)

                high, low = split(share, self.side)
                a, b = divmod(symbol, self.side)
                highs.append((high(a), high(a + 1) - high(a)))
                lows.append((low(a, b), low(a, b + 1) - low(a, b)))
            shares += highs + lows
            h = self.down(h, g, k, n, z)
        return shares

    def pixels(self, stack: Stack, h: Grid, channels: int, H: int, W: int) -> list[Any]:
        image: Grid = []
        phases = ((0, 0), (1, 1), (0, 1), (1, 0))
        relative, C, hidden = self.config["relative"], self.C, self.config["hidden"]
        for s in range(self.scales):
            if s:
                middle = (2 * self.reach + 1) ** 2 // 2 * C
                seen = [
                    [
                        [clip(4 * (v - relative * cell[middle + i % C]), -1023, 1023) for i, v in enumerate(cell)]
                        for cell in row
                    ]
                    for row in self.window(image)
                ]
                h = self.add(
                    spread(self.stream(f"fine.{s}", h, 4 * self.config["width"])), self.stream(f"see.{s}", seen)
                )
                h = self.blocks(f"fine.{s}", h)
            known = [image] if s else []
            high, wide = len(h), len(h[0])
            for p in range(len(known), 4):
                A: Grid = [[[0] * C for _ in range(wide)] for _ in range(high)]
                linear, inputs = A, h
                if p:
                    around = {
                        1: ((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)),
                        2: ((0, 0, 0), (0, 0, 1), (1, 0, 0), (1, -1, 0)),
                        3: ((0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 0, -1)),
                    }[p]
                    for y in range(high):
                        for x in range(wide):
                            cells = [
                                known[i][clip(y + dy, 0, high - 1)][clip(x + dx, 0, wide - 1)] for i, dy, dx in around
                            ]
                            A[y][x] = [relative * sum(cell[c] for cell in cells) for c in range(C)]
                    joined = known[0]
                    for plane in known[1:]:
                        joined = zipped(lambda a, b: a + b, joined, plane)
                    D = zipped(
                        lambda a, b: [clip(4 * v - b[i % C], -1023, 1023) for i, v in enumerate(a)],
                        self.window(joined),
                        A,
                    )
                    linear = self.layer(f"linear.{s}.{p}", D, [-65536] * C, [65535] * C)
                    inputs = zipped(lambda a, b: a + b, h, D)
                b = self.hidden(f"phase.{s}.{p}", inputs, hidden)
                for i in range(self.config["depth"]):
                    b = self.hidden(f"phase.{s}.{p}.{i}", b, hidden)
                plane = [[[] for _ in range(wide)] for _ in range(high)]
                E: Grid = [[[] for _ in range(wide)] for _ in range(high)]
                dy, dx = phases[p]
                cell = 1 << (self.scales - s)
                rows, columns = len(range(dy * cell // 2, H, cell)), len(range(dx * cell // 2, W, cell))
                for c in range(C):
                    clipped = [[[clip(v, -1023, 1023) for v in e] for e in row] for row in E]
                    a = self.hidden(f"head.{s}.{p}.{c}", zipped(lambda u, v: u + v, b, clipped), hidden)
                    K = self.K
                    ends = (
                        [-4095] * K + [-32768] * K + [0] * K,
                        [4095] * K + [32767] * K + [160] * K,
                    )
                    o = self.layer(f"out.{s}.{p}.{c}", zipped(lambda u, v: u + v, a, clipped), *ends)
                    x = (
                        [[A[y][i][c] // 4 for i in range(wide)] for y in range(high)]
                        if c < channels
                        else [[0] * wide] * high
                    )
                    if c < channels and rows and columns:
                        places = [(y, i) for y in range(rows) for i in range(columns)]
                        values = self.mixtures(stack, c, [(o[y][i], A[y][i][c], linear[y][i][c]) for y, i in places])
                        got = dict(zip(places, values, strict=True))
                        x = [[got[min(y, rows - 1), min(i, columns - 1)] for i in range(wide)] for y in range(high)]
                    for y in range(high):
                        for i in range(wide):
                            plane[y][i].append(x[y][i])
                            E[y][i].append(4 * x[y][i] - A[y][i][c])
                known.append(plane)
            joined = known[0]
            for i in (2, 3, 1):
                joined = zipped(lambda a, b: a + b, joined, known[i])
            image = spread(joined)
        return [[[image[y][x][c] + (128, 0, 0)[c] for x in range(W)] for y in range(H)] for c in range(channels)]

    def mixtures(self, stack: Stack, c: int, parts: list[tuple[list[int], int, int]]) -> list[int]:
        """The values less 128 or 0: all high symbols, then all low ones."""
        size, origin = ((256, 0), (512, -256), (512, -256))[c]
        sigmoid, exponential, inverse = (self.tensors[name] for name in ("sigmoid", "exponential", "inverse"))
        K, shares = self.K, []
        for o, A, linear in parts:
            share = [exponential[min(max(o[:K]) - v, 383)] for v in o[:K]]
            weight = [(v << 16) // sum(share) for v in share]
            weight[0] += (1 << 16) - sum(weight)
            mean = [16 * A + o[K + j] + linear + 64 * (128, 0, 0)[c] for j in range(K)]
            scale = [inverse[v] for v in o[2 * K :]]

            def below(v: int, weight: Any = weight, mean: Any = mean, scale: Any = scale) -> int:
                if v in (0, size):
                    return v and 1 << 24
                M = 0
                for w, m, d in zip(weight, mean, scale, strict=True):
                    t = clip((64 * (v + origin) - 32 - m) * d + (1 << 24), 0, (1 << 25) - 1)
                    i, f = t >> 14, t % (1 << 14)
                    M += w * (sigmoid[i] + ((sigmoid[i + 1] - sigmoid[i]) * f >> 14))
                return v + (((1 << 24) - size) * M >> 38)

            shares.append(split(below, 16))
        highs = [stack.pop(high, size // 16) for high, _ in shares]
        lows = [stack.pop(lambda b, h=h, low=low: low(h, b), 16) for h, (_, low) in zip(highs, shares, strict=True)]
        return [16 * h + b + origin - (128, 0, 0)[c] for h, b in zip(highs, lows, strict=True)]


def zipped(function: Callable[[list[int], list[int]], list[int]], a: Grid, b: Grid) -> Grid:
    return [[function(u, v) for u, v in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]


def gather(a: Grid) -> Grid:
    return [
        [a[y][x] + a[y][x + 1] + a[y + 1][x] + a[y + 1][x + 1] for x in range(0, len(a[0]), 2)]
        for y in range(0, len(a), 2)
    ]


def spread(a: Grid) -> Grid:
    n = len(a[0][0]) // 4
    return [
        [a[y // 2][x // 2][n * (2 * (y % 2) + x % 2) :][:n] for x in range(2 * len(a[0]))] for y in range(2 * len(a))
    ]
