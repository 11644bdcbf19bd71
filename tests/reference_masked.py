"""A decoder of the masked family in plain Python integers, written from FORMAT.md alone; slow."""

from __future__ import annotations

from typing import Any

from reference import TOTAL, Stack, clip, product


class Decoder:
    """config, tensors: of a weights file, tensors as nested lists."""

    def __init__(self, config: dict[str, Any], tensors: dict[str, Any]) -> None:
        self.config, self.tensors = config, tensors
        self.nodes: list[dict[str, Any]] = config["nodes"]
        self.rows, self.columns = config["shape"]
        self.order = tensors[f"degrees.{config['order']}"]
        self.E = tensors["table.exponential"]

    def decode(self, stream: bytes, H: int, W: int) -> list[list[int]]:
        """-> the tile's samples [H][W]."""
        stack, levels = Stack(stream), self.config["levels"]
        corners = [(y, x) for y in range(0, H, self.rows) for x in range(0, W, self.columns)]
        pictures = [self.begin() for _ in corners]
        tile = [W * [0] for _ in range(H)]
        for t in sorted({t for name, degree in self.tensors.items() if name.startswith("degrees.") for t in degree}):
            for values in pictures:
                for number in range(3, len(self.nodes) + 3):
                    self.compute(values, number, t)
            coded = []
            for values, (top, left) in zip(pictures, corners, strict=True):
                for u, degree in enumerate(self.order):
                    y, x = top + u // self.columns, left + u % self.columns
                    if degree == t and y < H and x < W:
                        coded.append((values, u, y, x))
            firsts = [stack.pop(self.starts(values[-1][u])) for values, u, _, _ in coded]
            for (values, u, y, x), first in zip(coded, firsts, strict=True):
                if self.config["head"] == "mixture":
                    F = [self.share_below(values[-1][u], 16 * first + b) for b in range(17)]
                    low = stack.pop([b + (F[b] - F[0]) * (TOTAL - 16) // (F[16] - F[0]) for b in range(17)])
                    first = 16 * first + low
                tile[y][x] = first
                values[0][u] = [128 * (2 * first - (levels - 1)) // (levels - 1)]
        assert stack.state == 0
        assert not stack.words
        return tile

    def begin(self) -> list[list[list[int]]]:
        """Values [node][unit][channel] of a picture that nothing is known of."""
        h, w = self.rows, self.columns
        places = [
            [128 * (2 * y - (h - 1)) // max(h - 1, 1), 128 * (2 * x - (w - 1)) // max(w - 1, 1)]
            for y in range(h)
            for x in range(w)
        ]
        given = [[[0] for _ in self.order], places, []]
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

    def around(self, a: list[list[int]], node: dict[str, Any], u: int) -> list[list[int]]:
        rows, columns = node["grid"]
        result = []
        for dy, dx in node["offsets"]:
            y, x = u // columns + dy, u % columns + dx
            result.append(a[y * columns + x] if 0 <= y < rows and 0 <= x < columns else len(a[0]) * [0])
        return result

    def ends(self, number: int, node: dict[str, Any]) -> list[tuple[int, int]]:
        K, n = self.config["components"], node["channels"]
        if number < len(self.nodes) + 2:
            return n * [(node["low"], node["high"])]
        heads = {
            "bernoulli": [(-1023, 1023)],
            "categorical": n * [(-4095, 4095)],
            "mixture": K * [(-4095, 4095)] + K * [(-32767, 32767)] + K * [(0, 160)],
        }
        return heads[self.config["head"]]

    def unit(self, values: list[list[list[int]]], number: int, node: dict[str, Any], u: int) -> list[int]:
        """What unit u of a node is now."""
        inputs, n = [values[i] for i in node["inputs"]], node["channels"]
        T, s = self.tensors["table.gate.tanh"], self.tensors["table.gate.sigmoid"]
        ends = self.ends(number, node)
        if node["kind"] == "window":
            y = self.layer(number, [v for a in inputs for near in self.around(a, node, u) for v in near])
            return [clip(v, *end) for v, end in zip(y, ends, strict=True)]
        if node["kind"] == "dense":
            y = self.layer(number, [v for a in inputs for unit in a for v in unit], slice(u * n, u * n + n))
            return [clip(v, *end) for v, end in zip(y, ends, strict=True)]
        if node["kind"] == "table":
            index = sum((near[0] > 0) << k for k, near in enumerate(self.around(inputs[0], node, u)))
            entry: list[int] = self.tensors[f"{number}.table"][index]
            return entry
        if node["kind"] == "gate":
            a = inputs[0][u]
            return [(T[a[c] + 1023] * s[a[n + c] + 1023] + 64) >> 7 for c in range(n)]
        if node["kind"] == "add":
            return [clip(sum(a[u][c] for a in inputs), *ends[0]) for c in range(n)]
        if node["kind"] == "attend":
            return self.attend(node, inputs, u)
        C, p, before = n // 2, len(node["offsets"]), self.around(values[number], node, u)
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
        if self.config["head"] == "mixture":
            return [self.share_below(o, v) for v in range(0, self.config["levels"] + 1, 16)]
        A, share = len(o), [self.E[min(max(o) - a, 383)] for a in o]
        return [*(v + (TOTAL - A) * sum(share[:v]) // sum(share) for v in range(A)), TOTAL]

    def share_below(self, o: list[int], v: int) -> int:
        K, A = self.config["components"], self.config["levels"]
        if v in (0, A):
            return TOTAL if v else 0
        share = [self.E[min(max(o[:K]) - a, 383)] for a in o[:K]]
        weight = [(a << 16) // sum(share) for a in share]
        weight[0] += (1 << 16) - sum(weight)
        M, table = 0, self.tensors["table.sigmoid"]
        for j in range(K):
            mean, scale = 64 * (A // 2) + o[K + j], self.tensors["table.inverse"][o[2 * K + j]]
            i, f = divmod(clip((64 * v - 32 - mean) * scale + (1 << 24), 0, (1 << 25) - 1), 1 << 14)
            M += weight[j] * (table[i] + ((table[i + 1] - table[i]) * f >> 14))
        return v + ((TOTAL - A) * M >> 38)
