"""ANS on a GPU: one lane a stream, and the mixtures' tables (Triton; the words of `stack.Stack`).

The tables of a step are made by all threads at once, `mixture.Mixture.high_table` and `low_table` number for number.
What is then left to a lane is serial, but short: compare a row of 16 or 32 entries with the quantile, and move the
state. So a lane pops a symbol without a search or a division. An encoder pushes what `share` picked from the same
tables.

Checked against the CPU machines under Triton's interpreter (TRITON_INTERPRET=1), where tensors live on the CPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from lgcodec.models.entropy import mixture
from lgcodec.models.errors import ModelError
from lgcodec.models.interface import PRECISION

Words = NDArray[np.uint32]
T = TypeVar("T")
# Fused multiply-adds or not, sums of integers are exact; Triton 3.9 warns where nothing says which.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
_TOTAL = tl.constexpr(1 << PRECISION)
_FRACTION_BITS = tl.constexpr(mixture.FRACTION_BITS)
_FRACTION_MASK = tl.constexpr((1 << mixture.FRACTION_BITS) - 1)
_MIDDLE = tl.constexpr(mixture.SIGMOID_RANGE << (6 + mixture.INVERSE_BITS))
_MASS_BITS = tl.constexpr(mixture.WEIGHT_BITS + mixture.SIGMOID_BITS)
_WORD = tl.constexpr(1 << 32)
LOW_SYMBOLS = mixture.LOW_SYMBOLS
_ROWS = 16  # rows of tables that a program makes
_BLOCK = 128  # symbols whose shares a program looks up
_PINNED = 1 << 20  # bytes from which on a copy that the device reads by itself pays


@triton.jit
def _refill(state, left, words):
    """One word more where the state is below 2**32 and there are any. left: how many there are."""
    need = (state < _WORD) & (left > 0)
    left -= need.to(tl.int32)
    word = tl.load(words + left, mask=need, other=0).to(tl.uint32, bitcast=True).to(tl.uint64)
    return tl.where(need, (state << 32) | word, state), left


@triton.jit
def pop_one(state, left, words, start, frequency):
    """The stack without the symbol that its state is at."""
    quantile = state & (_TOTAL - 1)
    state = (state >> 24) * frequency.to(tl.uint64) + quantile - start.to(tl.uint64)
    return _refill(state, left, words)


@triton.jit
def push_one(state, left, words, start, frequency):
    f = frequency.to(tl.uint64)
    spill = (state >> 40) >= f
    tl.store(words + left, state.to(tl.uint32).to(tl.int32, bitcast=True), mask=spill)
    state = tl.where(spill, state >> 32, state)
    quotient = state // f
    return (quotient << 24) + (state - quotient * f) + start.to(tl.uint64), left + spill.to(tl.int32)


@triton.jit(do_not_specialize=["capacity"])
def _open(states, lefts, words, capacity):
    lane = tl.program_id(0)
    words += lane.to(tl.int64) * capacity
    state, left = tl.zeros((), tl.uint64), tl.load(lefts + lane)
    state, left = _refill(state, left, words)
    state, left = _refill(state, left, words)
    tl.store(states + lane, state.to(tl.int64, bitcast=True))
    tl.store(lefts + lane, left)


@triton.jit(do_not_specialize=["capacity"])
def _pop(states, lefts, words, capacity, table, symbols, rows, A: tl.constexpr):
    """Pops a symbol for each of a lane's rows of table, int32 [lanes rows, A], the starts of A shares."""
    lane, n = tl.program_id(0).to(tl.int64), tl.load(rows)
    words += lane * capacity
    state = tl.load(states + lane).to(tl.uint64, bitcast=True)
    left = tl.load(lefts + lane)
    entry = tl.arange(0, A)
    table += lane * n * A
    starts = tl.load(table + entry, mask=entry < tl.minimum(n, 1) * A, other=0)
    for j in range(n):
        table += A
        # Does not wait for the state: a row is on its way while the one before is compared.
        following = tl.load(table + entry, mask=entry < tl.minimum(n - 1 - j, 1) * A, other=0)
        quantile = (state & (_TOTAL - 1)).to(tl.int32)
        below = starts <= quantile
        start = tl.max(tl.where(below, starts, 0), 0)
        end = tl.min(tl.where(below, _TOTAL, starts), 0)
        state, left = pop_one(state, left, words, start, end - start)
        tl.store(symbols + lane * n + j, tl.sum(below.to(tl.int32), 0) - 1)
        starts = following
    tl.store(states + lane, state.to(tl.int64, bitcast=True))
    tl.store(lefts + lane, left)


@triton.jit(do_not_specialize=["capacity", "count"])
def _push(states, lefts, words, capacity, starts, frequencies, count):
    """Pushes a lane's `count` symbols, the last one first. starts, frequencies: int32 [lanes, count]."""
    lane = tl.program_id(0).to(tl.int64)
    words += lane * capacity
    state = tl.load(states + lane).to(tl.uint64, bitcast=True)
    left = tl.load(lefts + lane)
    at = lane * count + count - 1
    start, frequency = tl.load(starts + at, mask=count > 0, other=0), tl.load(frequencies + at, mask=count > 0, other=1)
    for i in range(count):
        more = i + 1 < count
        next_start = tl.load(starts + at - i - 1, mask=more, other=0)
        next_frequency = tl.load(frequencies + at - i - 1, mask=more, other=1)
        state, left = push_one(state, left, words, start, frequency)
        start, frequency = next_start, next_frequency
    tl.store(states + lane, state.to(tl.int64, bitcast=True))
    tl.store(lefts + lane, left)


@triton.jit(do_not_specialize=["stride", "part", "lanes"])
def _share(
    table, symbols, rows, coded, part, starts, frequencies, stride, lanes, A: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """The shares of a lane's symbols, to starts and frequencies, int32 [lanes, stride], from `coded` + part rows on."""
    n = tl.load(rows)
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    if tl.program_id(0) * BLOCK >= lanes * n:
        return
    valid = row < lanes * n
    symbol = tl.load(symbols + row, mask=valid, other=0)
    at = row.to(tl.int64) * A + symbol
    start = tl.load(table + at, mask=valid, other=0)
    end = tl.load(table + at + 1, mask=valid & (symbol + 1 < A), other=_TOTAL)
    to = (row // n).to(tl.int64) * stride + tl.load(coded) + part * n + row % n
    tl.store(starts + to, start, mask=valid)
    tl.store(frequencies + to, end - start, mask=valid)


class Lanes:
    """The stacks of some streams, side by side on a device.

    words: uint32 [m] of each stream, as `stack.Stack.words()` returned it; or how many streams, all empty. room: how
    many symbols will be pushed to each, or popped at most. Raises ModelError where words cannot be the content of such
    stacks.
    """

    def __init__(self, device: torch.device, words: Sequence[Words] | int, room: int) -> None:
        known = [] if isinstance(words, int) else [np.asarray(w, np.uint32) for w in words]
        if any(len(w) and w[-1] == 0 for w in known):
            raise ModelError("a stream ends in a zero word, which no encoder writes")
        self.count = words if isinstance(words, int) else len(known)
        most = room * PRECISION // 32 + 3  # a symbol has at most 24 bits, and a state holds 64
        self.capacity = max([1, *map(len, known)]) if known else most
        if self.capacity > most:
            raise ModelError("a stream does not hold exactly its tile")
        self.states = torch.zeros(self.count, dtype=torch.int64, device=device)
        self.lefts = torch.tensor([len(w) for w in known] or [0] * self.count, dtype=torch.int32, device=device)
        if known:
            padded = np.zeros((self.count, self.capacity), np.int32)
            for row, w in zip(padded, known, strict=True):
                row[: len(w)] = w.view(np.int32)
            self._words = to_device(padded, device)
            _open[(self.count,)](self.states, self.lefts, self._words, self.capacity, num_warps=1)
        else:
            self._words = torch.empty((self.count, self.capacity), dtype=torch.int32, device=device)

    @property
    def place(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
        """What kernels take: states int64 [count], lefts int32 [count], words int32 [count, capacity], capacity."""
        return self.states, self.lefts, self._words, self.capacity

    def pop(self, table: torch.Tensor, rows: torch.Tensor, symbols: torch.Tensor, alphabet: int) -> None:
        """A symbol for each row. table: int32 [count n or more, alphabet], the starts of shares, lane by lane; rows:
        int32 [1], n; symbols: int32 [count n or more].
        """
        _pop[(self.count,)](*self.place, table, symbols, rows, A=alphabet, num_warps=1)

    def push(self, starts: torch.Tensor, frequencies: torch.Tensor) -> None:
        """Pushes so that they pop in the order given. int32 [count, n], contiguous."""
        _push[(self.count,)](*self.place, starts, frequencies, starts.shape[1], num_warps=1)

    def words(self) -> list[Words]:
        """The content of each, uint32 [m], last pushed last."""
        states, lefts = self.states.cpu().numpy().view(np.uint64), self.lefts.cpu().numpy()
        words = self._words[:, : int(lefts.max())].cpu().numpy().view(np.uint32)
        ends = [[int(s) & 0xFFFFFFFF, int(s) >> 32][: (int(s).bit_length() + 31) // 32] for s in states]
        return [np.append(w[:n], np.array(e, np.uint32)) for w, n, e in zip(words, lefts, ends, strict=True)]

    def are_empty(self) -> bool:
        return not bool((self.states.any() | self.lefts.any()).item())


def share(
    table: torch.Tensor, rows: torch.Tensor, symbols: torch.Tensor, alphabet: int, lanes: int, coded: torch.Tensor,
    part: int, starts: torch.Tensor, frequencies: torch.Tensor,
) -> None:  # fmt: skip
    """What `Lanes.pop` would find for known symbols: their shares, to starts and frequencies, int32 [lanes, ..], from
    column `coded` (int32 [1]) and `part` times `rows` on.
    """
    grid = (triton.cdiv(len(symbols), _BLOCK),)
    _share[grid](
        table, symbols, rows, coded, part, starts, frequencies, starts.shape[1], lanes, A=alphabet, BLOCK=_BLOCK,
    )  # fmt: skip


def to_device(a: NDArray[np.generic], device: torch.device) -> torch.Tensor:
    tensor = torch.from_numpy(np.require(a, requirements=["C", "W"]))
    if device.type == "cuda" and a.nbytes > _PINNED:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def in_batches(
    shapes: Sequence[tuple[int, ...]],
    device: torch.device,
    size: Callable[..., int],
    run: Callable[[list[int]], list[T]],
) -> list[T]:
    """What `run` gives for each of these tiles; it is given places of tiles of one shape, as many as half of the free
    memory holds. size: bytes that a tile takes.
    """
    results: dict[int, T] = {}
    for shape in dict.fromkeys(shapes):
        places = [i for i, other in enumerate(shapes) if other == shape]
        most = len(places)
        if device.type == "cuda":
            most = max(1, torch.cuda.mem_get_info(device)[0] // 2 // size(*shape))
        for start in range(0, len(places), most):
            part = places[start : start + most]
            results.update(zip(part, run(part), strict=True))
    return [results[i] for i in range(len(shapes))]
