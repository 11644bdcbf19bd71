"""Training of the coefficients family."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import torch

from lgcodec.models.families.coefficients.floats import Heads, Rows
from lgcodec.models.families.coefficients.network import FEATURE_UNIT, HEADS, KINDS, LINEAR, LOOKS
from lgcodec.models.families.coefficients.program import Program, Seen
from lgcodec.models.interface import Coefficients, ComponentShape, IntArray


class Recorder(Program):
    """Walks through known coefficients as the program does, and keeps what each head would have seen."""

    def __init__(self, shapes: Sequence[ComponentShape]) -> None:
        self.network, self.shapes = None, shapes
        self.seen: list[tuple[str, Seen, IntArray]] = []

    def _code(self, kind: str, seen: Seen, truth: IntArray) -> Generator[Any, Any, Any]:
        self.seen.append((kind, seen, truth))
        return truth
        yield

    def record(self, value: Sequence[Coefficients]) -> list[tuple[str, Seen, IntArray]]:
        for _ in self._run(value):
            raise RuntimeError("a recorder codes nothing")
        return self.seen


class Reservoir:
    """The newest samples of each head of one kind, `size` of them."""

    def __init__(self, kind: str, size: int) -> None:
        looks = LOOKS[kind]
        self.size, self.count = size, np.zeros(HEADS, np.int64)
        inputs, features = max(l.linear_inputs() for l in looks), max(l.features() for l in looks) - 2 * LINEAR
        self.linear = np.zeros((HEADS, size, inputs), np.int16)
        self.features = np.zeros((HEADS, size, features), np.int16)
        self.row, self.x = np.zeros((HEADS, size), np.int8), np.zeros((HEADS, size), np.int16)
        self.predictions, self.step = np.zeros((HEADS, size, 2), np.int32), np.ones((HEADS, size), np.int32)

    def add(self, seen: Seen, x: IntArray, rng: np.random.Generator, share: float = 1.0) -> None:
        h, n = seen.head, len(x)
        kept = np.flatnonzero(rng.random(n) < share) if share < 1 else np.arange(n)
        kept = kept[: self.size]
        n = len(kept)
        if self.count[h] < self.size:
            at = (self.count[h] + np.arange(n)) % self.size
        else:
            at = rng.permutation(self.size)[:n]
        self.count[h] += n
        self.linear[h, at, : len(seen.linear)] = seen.linear.T[kept]
        f = np.stack(seen.features, axis=1)[kept]
        self.features[h, at, : f.shape[1]] = f
        self.row[h, at] = seen.phase
        self.x[h, at], self.step[h, at] = x[kept], seen.step
        self.predictions[h, at] = np.clip(seen.predictions.T[kept], -(1 << 30), 1 << 30)

    def draw(self, n: int, rng: np.random.Generator) -> Rows:
        at = (rng.random((HEADS, n)) * np.minimum(np.maximum(self.count, 1), self.size)[:, None]).astype(np.int64)
        return self.rows(np.arange(HEADS)[:, None], at)

    def rows(self, h: Any, at: Any) -> Rows:
        def floats(a: Any, unit: float = 1.0) -> torch.Tensor:
            return torch.from_numpy(a.astype(np.float32)) / unit

        return Rows(
            floats(self.linear[h, at]), floats(self.features[h, at], FEATURE_UNIT), torch.from_numpy(self.row[h, at].astype(np.int64)),
            floats(self.predictions[h, at], 64), floats(self.step[h, at]), floats(self.x[h, at]),
        )
