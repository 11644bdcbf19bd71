"""A decoder of the masked family in plain Python integers, written from FORMAT.md alone; slow."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Any

from reference import TOTAL, Stack, clip, product
from reference_vae import Stack as VaeStack

Steps = Generator[tuple[list[list[int]], list[int]], list[int], Any]  # yields starts and true symbols, is sent symbols


def follow(steps: Steps, choose: Callable[[list[list[int]], list[int]], list[int]]) -> Any:
    """Runs to the end; what it returns."""
    try:
        tables, true = next(steps)
        while True:
            tables, true = steps.send(choose(tables, true))
    except StopIteration as stop:
        return stop.value


def pop_link(config: dict[str, Any], tensors: dict[str, Any], words: list[int], n: int, H: int, W: int) -> Any:
    """n tiles of one link of a chain [n][H][W], and the words that are left."""

    def part(name: str) -> Decoder:
        own = {key[len(name) + 1 :]: a for key, a in tensors.items() if key.startswith(f"{name}.")}
        return Decoder(config[name], own)

    stack, pushed = VaeStack(words), list[tuple[int, int]]()

    def pop(tables: list[list[int]], _: list[int]) -> list[int]:
        return [stack.pop(table.__getitem__, len(table) - 1) for table in tables]

    def push(tables: list[list[int]], true: list[int]) -> list[int]:
        pushed.extend((table[v], table[v + 1] - table[v]) for table, v in zip(tables, true, strict=True))
        return true

    posterior, likelihood = part("posterior"), part("likelihood")
    corners = likelihood.corners(H, W)
    inside = [likelihood.inside(H - y, W - x) for y, x in corners] * n
    all_of = [len(posterior.order) * [True]] * len(inside)
    if config["prior"]:
        z = follow(part("prior").run(all_of, [[] for _ in inside], None), pop)
    else:
        side, latents = math.isqrt(posterior.config["levels"]), len(posterior.order)
        row = [TOTAL // side * a for a in range(side + 1)]
        high, low = (pop([row] * (latents * len(inside)), []) for _ in range(2))
        flat = [side * a + b for a, b in zip(high, low, strict=True)]
        z = [flat[i : i + latents] for i in range(0, len(flat), latents)]
    if config["posterior"]["head"] == "normal":
        said = [[posterior.seen(v) for v in a] for a in z]
    else:
        said = [[128 * (v == i) for v in a for i in range(posterior.config["levels"])] for a in z]
    x = follow(likelihood.run(inside, said, None), pop)
    known = [zip(*pair, strict=True) for pair in zip(x, inside, strict=True)]
    seen = [[likelihood.seen(v) if ok else 0 for v, ok in pair] for pair in known]
    follow(posterior.run(all_of, seen, z), push)
    for start, frequency in reversed(pushed):
        stack.push(start, frequency)
    size = len(corners)
    return [likelihood.tile(x[i * size : i * size + size], H, W) for i in range(n)], stack.content()


def decode_flow(config: dict[str, Any], tensors: dict[str, Any], stream: bytes, H: int, W: int) -> list[list[int]]:
    """-> the tile's samples [H][W]."""

    def part(name: str, own: dict[str, Any]) -> Decoder:
        return Decoder(own, {key[len(name) + 1 :]: a for key, a in tensors.items() if key.startswith(f"{name}.")})

    stack, prior = Stack(stream), part("prior", config["prior"])
    corners = prior.corners(H, W)
    steps = prior.run([len(prior.order) * [True] for _ in corners], [[] for _ in corners], None)
    values = follow(steps, lambda tables, _: [stack.pop(table) for table in tables])
    assert stack.state == 0
    for i, own in reversed(list(enumerate(config["flow"]))):
        values = [part(f"flow.{i}", own).shifted(z) for z in values]
    return prior.tile(values, H, W)


class Decoder:
    """config, tensors: of a graph in a weights file, tensors as nested lists."""

    def __init__(self, config: dict[str, Any], tensors: dict[str, Any]) -> None:
        self.config, self.tensors = config, tensors
        self.nodes: list[dict[str, Any]] = config["nodes"]
        self.rows, self.columns = config["shape"]
        self.order = tensors[f"degrees.{config['order']}"]
        self.E = tensors["table.exponential"]
        self.side = {"mixture": 16, "normal": math.isqrt(config["levels"])}.get(config["head"], 1)  # low symbols

    def decode(self, stream: bytes, H: int, W: int, adaptation: bytes = b"") -> list[list[int]]:
        """-> the tile's samples [H][W]."""
        stack = Stack(stream)
        corners = self.corners(H, W)
        told = [128 * (adaptation == bytes([i])) for i in range(self.config["given"])]
        steps = self.run([self.inside(H - y, W - x) for y, x in corners], [told for _ in corners], None)
        values = follow(steps, lambda tables, _: [stack.pop(table) for table in tables])
        assert stack.state == 0
        assert not stack.words
        return self.tile(values, H, W)

    def corners(self, H: int, W: int) -> list[tuple[int, int]]:
        return [(y, x) for y in range(0, H, self.rows) for x in range(0, W, self.columns)]

    def inside(self, height: int, width: int) -> list[bool]:
        return [u // self.columns < height and u % self.columns < width for u in range(len(self.order))]

    def tile(self, values: list[list[int]], H: int, W: int) -> list[list[int]]:
        tile = [W * [0] for _ in range(H)]
        for picture, (top, left) in zip(values, self.corners(H, W), strict=True):
            for u, coded in enumerate(self.inside(H - top, W - left)):
                if coded:
                    tile[top + u // self.columns][left + u % self.columns] = picture[u]
        return tile

    def seen(self, v: int) -> int:
        if self.config["head"] == "normal":
            return clip(self.tensors["table.values"][v], -1023, 1023)
        top: int = self.config["levels"] - 1
        return 128 * (2 * v - top) // top

    def run(self, inside: list[list[bool]], given: list[list[int]], truth: list[list[int]] | None) -> Steps:
        """Returns the samples of each picture."""
        memory = [self.begin(numbers) for numbers in given]
        result = [len(self.order) * [0] for _ in given]
        for t in sorted({t for name, degree in self.tensors.items() if name.startswith("degrees.") for t in degree}):
            for nodes in memory:
                for number in range(3, len(self.nodes) + 3):
                    self.compute(nodes, number, t)
            coded = [(n, u) for n in range(len(given)) for u, d in enumerate(self.order) if d == t and inside[n][u]]
            true = [truth[n][u] if truth else 0 for n, u in coded]
            outputs = [memory[n][-1][u] for n, u in coded]
            found = yield [self.starts(o) for o in outputs], [v // self.side for v in true]
            if self.side > 1:
                tables = [self.low_starts(o, high) for o, high in zip(outputs, found, strict=True)]
                low = yield tables, [v % self.side for v in true]
                found = [self.side * a + b for a, b in zip(found, low, strict=True)]
            for (n, u), v in zip(coded, found, strict=True):
                result[n][u] = v
                memory[n][0][u] = [self.seen(v)]
        return result

    def shifted(self, z: list[int]) -> list[int]:
        """The inverse of a flow's step, of one picture."""
        memory, x = self.begin([]), len(self.order) * [0]
        for t in sorted({t for name, degree in self.tensors.items() if name.startswith("degrees.") for t in degree}):
            for number in range(3, len(self.nodes) + 3):
                self.compute(memory, number, t)
            for u in (u for u, d in enumerate(self.order) if d == t):
                x[u] = (z[u] + memory[-1][u][0]) % self.config["levels"]
                memory[0][u] = [self.seen(x[u])]
        return x

    def begin(self, numbers: list[int]) -> list[list[list[int]]]:
        """Values [node][unit][channel] of a picture of which these numbers alone are known."""
        h, w = self.rows, self.columns
        places = [
            [128 * (2 * y - (h - 1)) // max(h - 1, 1), 128 * (2 * x - (w - 1)) // max(w - 1, 1)]
            for y in range(h)
            for x in range(w)
        ]
        given = [[[0] for _ in self.order], places, [[a] for a in numbers]]
        return given + [[n["channels"] * [0] for _ in self.degrees(n)] for n in self.nodes]

    def degrees(self, node: dict[str, Any]) -> list[int]:
        degrees: list[int] = self.tensors[f"degrees.{node['degrees']}"]
        return degrees

    def compute(self, values: list[list[list[int]]], number: int, t: int) -> None:
        node = self.nodes[number - 3]
        new = {u: self.unit(values, number, node, u) for u, d in enumerate(self.degrees(node)) if d == t}
        for u, value in new.items():
            values[number][u] = value

    def layer(self, number: int, a: list[int], rows: slice = slice(None)) -> list[int]:
        parts = [self.tensors[f"{number}.{part}"][rows] for part in ("weight", "bias", "shift")]
        return [(bias + product(weight, a)) >> shift for weight, bias, shift in zip(*parts, strict=True)]

    def around(self, a: list[list[int]], node: dict[str, Any], u: int, i: int) -> list[list[int]]:
        """a: the values of input i."""
        (rows, columns), result = node["grid"], []
        R, C = (rows, columns) if len(a) == rows * columns else self.grid(i)
        for dy, dx in node["offsets"]:
            y, x = u // columns * R // rows + dy, u % columns * C // columns + dx
            result.append(a[y * C + x] if 0 <= y < R and 0 <= x < C else len(a[0]) * [0])
        return result

    def grid(self, i: int) -> tuple[int, int]:
        if i < 3:
            return self.rows, self.columns
        node = self.nodes[i - 3]
        return self.grid(node["inputs"][0]) if node["kind"] in ("gate", "add", "attend") else node["grid"]

    def ends(self, number: int, node: dict[str, Any]) -> list[tuple[int, int]]:
        K, n = self.config["components"], node["channels"]
        if number < len(self.nodes) + 2:
            return n * [(node["low"], node["high"])]
        heads = {
            "bernoulli": [(-1023, 1023)],
            "categorical": n * [(-4095, 4095)],
            "normal": (K - 1) * [(-4095, 4095)] + K * [(-1023, 1023)] + K * [(0, 95)],
            "shift": [(-(self.config["levels"] // 2), self.config["levels"] // 2)],
            "mixture": K * [(-4095, 4095)] + K * [(-32767, 32767)] + K * [(0, 160)],
        }
        return heads[self.config["head"]]

    def unit(self, values: list[list[list[int]]], number: int, node: dict[str, Any], u: int) -> list[int]:
        """What unit u of a node is now."""
        inputs, n = [values[i] for i in node["inputs"]], node["channels"]
        T, s = self.tensors["table.gate.tanh"], self.tensors["table.gate.sigmoid"]
        ends = self.ends(number, node)
        own = slice(u * n, u * n + n) if node["kind"] in ("local", "dense") else slice(None)
        if node["kind"] in ("window", "local"):
            near = [self.around(a, node, u, i) for a, i in zip(inputs, node["inputs"], strict=True)]
            y = self.layer(number, [v for units in near for unit in units for v in unit], own)
            return [clip(v, *end) for v, end in zip(y, ends, strict=True)]
        if node["kind"] in ("dense", "tied"):
            y = self.layer(number, [v for a in inputs for unit in a for v in unit], own)
            return [clip(v, *end) for v, end in zip(y, ends, strict=True)]
        if node["kind"] == "table":
            index = sum((near[0] > 0) << k for k, near in enumerate(self.around(inputs[0], node, u, 0)))
            entry: list[int] = self.tensors[f"{number}.table"][index]
            return entry
        if node["kind"] == "gate":
            a = inputs[0][u]
            return [(T[a[c] + 1023] * s[a[n + c] + 1023] + 64) >> 7 for c in range(n)]
        if node["kind"] == "add":
            return [clip(sum(a[u][c] for a in inputs), *ends[0]) for c in range(n)]
        if node["kind"] == "attend":
            return self.attend(node, inputs, u)
        C, p, before = n // 2, len(node["offsets"]), self.around(values[number], node, u, number)
        z = self.layer(number, inputs[0][u] + [v for state in before for v in state[:C]])
        g, o, i, *f = ([clip(v, -1023, 1023) + 1023 for v in z[k * C : k * C + C]] for k in range(3 + p))
        c = [p * T[g[k]] * s[i[k]] + sum(s[f[q][k]] * before[q][C + k] for q in range(p)) for k in range(C)]
        c = [clip((v + 64 * p) // (128 * p), -1023, 1023) for v in c]
        return [(T[v + 1023] * s[o[k]] + 64) >> 7 for k, v in enumerate(c)] + c

    def attend(self, node: dict[str, Any], inputs: list[list[list[int]]], u: int) -> list[int]:
        q, k, v = inputs
        own, size = self.degrees(node)[u], node["channels"] // node["heads"]
        keys = self.degrees(self.nodes[node["inputs"][1] - 3])
        known, result = [j for j, degree in enumerate(keys) if degree <= own], []
        for start in range(0, node["channels"], size):
            head = slice(start, start + size)
            S = [product(q[u][head], k[j][head]) >> 10 for j in known]
            P = [self.E[min(max(S) - a, 383)] for a in S]
            for c in range(start, start + size):
                result.append(sum(a * v[j][c] for a, j in zip(P, known, strict=True)) // sum(P) if known else 0)
        return result

    def starts(self, o: list[int]) -> list[int]:
        """Of a sample's symbols, or its high ones."""
        if self.config["head"] == "bernoulli":
            return [0, TOTAL - self.tensors["table.bernoulli"][o[0] + 1023], TOTAL]
        if self.side > 1:
            return [self.share_below(o, v) for v in range(0, self.config["levels"] + 1, self.side)]
        A, share = len(o), [self.E[min(max(o) - a, 383)] for a in o]
        return [*(v + (TOTAL - A) * sum(share[:v]) // sum(share) for v in range(A)), TOTAL]

    def low_starts(self, o: list[int], high: int) -> list[int]:
        F = [self.share_below(o, self.side * high + b) for b in range(self.side + 1)]
        return [b + (F[b] - F[0]) * (TOTAL - self.side) // (F[-1] - F[0]) for b in range(self.side + 1)]

    def share_below(self, o: list[int], v: int) -> int:
        K, A = self.config["components"], self.config["levels"]
        if v in (0, A):
            return TOTAL if v else 0
        M, logits = 0, [0, *o[: K - 1]] if self.config["head"] == "normal" else o[:K]
        share = [self.E[min(max(logits) - a, 383)] for a in logits]
        weight = [(a << 16) // sum(share) for a in share]
        weight[0] += (1 << 16) - sum(weight)
        if self.config["head"] == "normal":
            edges, normal, precision = (self.tensors[f"table.{name}"] for name in ("edges", "normal", "precision"))
            for j in range(K):
                t = ((edges[v - 1] - 256 * o[K - 1 + j]) * precision[o[2 * K - 1 + j]] >> 14) + (1 << 19)
                i, f = divmod(clip(t, 0, (1 << 20) - 1), 1 << 10)
                M += weight[j] * (normal[i] + ((normal[i + 1] - normal[i]) * f >> 10))
            return v + ((TOTAL - A) * (M >> 16) >> 24)
        table = self.tensors["table.sigmoid"]
        for j in range(K):
            mean, scale = 64 * (A // 2) + o[K + j], self.tensors["table.inverse"][o[2 * K + j]]
            i, f = divmod(clip((64 * v - 32 - mean) * scale + (1 << 24), 0, (1 << 25) - 1), 1 << 14)
            M += weight[j] * (table[i] + ((table[i + 1] - table[i]) * f >> 14))
        return v + ((TOTAL - A) * M >> 38)
