"""JPEGs that were saved twice: values lie near multiples of the step that they were quantised with before.

Where the earlier step is larger than the file's own, a smooth mixture pays for all the values between those multiples.
Here each cell of the earlier quantiser, the interval around a multiple, is drawn together to where it went: a logistic
around the multiple, as wide as the rounding of the picture's samples between the two made it, and a part that stays
where it was, for whatever was changed in between. So a mixture's mass moves by a map of the axis, and a value's share
is that between the images of its edges: `edges`. Of the cell around 0, most is left as it is, because the network
already knows from counts how many values are 0.

What was before is `found` by the encoder in the histograms of magnitudes, and told in SIZE bytes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy.mixture import MEAN_UNIT, SIGMOID_BITS, SIGMOID_RANGE, SIGMOID_STEPS, Tables
from lgcodec.models.families.coefficients.network import AC_SIZE, DC, SIZES, ZIGZAG
from lgcodec.models.interface import Coefficients, ComponentShape, IntArray

Int = NDArray[np.int64]
SPREADS = (4096, 2896, 2048, 1448, 1024, 724, 512, 362)  # 2**8 over the logistic's scale, of a dequantised value
STAYING = (1, 2, 4, 8)  # parts of 32 that are not moved
SIZE = 1 + 64  # bytes: which of SPREADS, and 8 times which of STAYING; the earlier steps in zigzag order, 0: none known

_LONGEST, _LONGEST_DC = 200, 1100  # magnitudes that are looked at
_SCALES = MEAN_UNIT * 2.0 ** np.arange(-3, 10)  # of the Laplacians that a smooth histogram is taken to be a sum of
_COARSE, _FINE = 3, 12  # rounds of expectation and maximisation
_BLOCKS = 1 << 16  # that are looked at, about
_MOST_OF = 0.998  # of what is not 0
_SURE, _PER_VALUE = 64, 0.3  # bits that an earlier step must save, in all and of each magnitude above 0


def is_sound(shape: ComponentShape) -> bool:
    """Whether what is said was before may have been: larger steps, or no known ones."""
    told = shape.earlier
    if not told:
        return True
    if len(told) != SIZE or told[0] >= len(SPREADS) * len(STAYING):
        return False
    return all(before == 0 or before > shape.steps[k] for k, before in zip(ZIGZAG, told[1:], strict=True))


def edges(shape: ComponentShape, tables: Tables) -> dict[int, NDArray[np.int32]]:
    """By frequency, where an earlier step is known: the images of the lower edges of its alphabet's values in 1/64 of
    a step, and of the end of the last one, int32 [values + 1].
    """
    if not shape.earlier:
        return {}
    spread, staying, result = shape.earlier[0] % 8, shape.earlier[0] // 8, {}
    for k, before in zip(ZIGZAG, shape.earlier[1:], strict=True):
        if before:
            size, origin = AC_SIZE if k else SIZES[DC]
            own = np.arange(origin, origin + size + 1) * MEAN_UNIT - MEAN_UNIT // 2
            result[k] = _moved(own, np.array(before), int(shape.steps[k]), spread, staying, tables).astype(np.int32)
    return result


def _moved(edge: Int, before: Int, step: int, spread: int, staying: int, tables: Tables) -> Int:
    """Edges in 1/64 of a step -> their images. before, step: of the earlier quantiser and of the file's."""
    at, cell = edge * step, MEAN_UNIT * before
    zero = (3 * MEAN_UNIT * step + cell) // 8
    whole = (np.abs(at) + cell // 2) // cell
    whole = np.where(np.abs(at) < zero, 0, np.maximum(whole, 1)) * np.where(at < 0, -1, 1)
    begin, end = whole * cell - cell // 2, whole * cell + cell // 2
    begin = np.where(whole == 0, -zero, np.where(whole == 1, zero, begin))
    end = np.where(whole == 0, zero, np.where(whole == -1, -zero, end))
    middle = SIGMOID_RANGE * SIGMOID_STEPS
    t = np.clip((((at - whole * cell) * SPREADS[spread]) >> 8) + middle, 0, 2 * middle)
    share: Int = tables.sigmoid[t].astype(np.int64)
    there = begin + ((end - begin) * share >> SIGMOID_BITS)
    result: Int = (there * (32 - STAYING[staying]) + at * STAYING[staying]) // (32 * step)
    return result


def found(values: Coefficients, steps: IntArray, tables: Tables) -> bytes:
    """What is told of a component's coefficients, int16 [R, C, 64]; no bytes where nothing was before."""
    before: dict[int, int] = {}
    gains = np.zeros((len(SPREADS), len(STAYING)))
    blocks = values.reshape(-1, 64)
    magnitudes = np.abs(blocks[:: -(-len(blocks) // _BLOCKS)]).T
    for k in (*range(1, 64), 0):
        # values of DC may be rough because pictures are: only steps as those of AC are believed
        most = 255 if k else min(255, 2 * min(before.values(), default=0))
        counts = np.bincount(magnitudes[k], minlength=2)
        counts = counts[1 : 1 + (_LONGEST if k else _LONGEST_DC)]
        counts = counts[: 1 + int(np.searchsorted(np.cumsum(counts), _MOST_OF * counts.sum()))]
        if _is_rough(counts):
            step, saved = _best(counts, int(steps[k]), most, tables)
            if saved.max() > max(_SURE, _PER_VALUE * counts.sum()):
                before[k] = step
                gains += saved
    if gains.max() < 8 * SIZE:
        return b""
    spread, staying = divmod(int(gains.argmax()), len(STAYING))
    return bytes([spread + 8 * staying, *(before.get(k, 0) for k in ZIGZAG)])


def _best(counts: Int, step: int, most: int, tables: Tables) -> tuple[int, NDArray[np.float64]]:
    """The likeliest earlier step, `most` at most, and the bits of magnitudes above 0 that it saves, [SPREADS, STAYING].
    """
    own = np.arange(1, len(counts) + 2) * MEAN_UNIT - MEAN_UNIT // 2
    tried = np.arange(step + 1, min(most + 1, 2 * step * len(counts)))
    if len(tried) == 0:
        return 0, np.zeros((len(SPREADS), len(STAYING)))
    costs = _cost(counts, _moved(own, tried[:, None], step, 3, 1, tables), _COARSE)
    best = int(tried[costs.argmin()])
    settings = [(i, j) for i in range(len(SPREADS)) for j in range(len(STAYING))]
    moved = np.stack([own, *(_moved(own, np.array(best), step, i, j, tables) for i, j in settings)])
    costs = _cost(counts, moved, _FINE)
    return best, (costs[0] - costs[1:]).reshape(len(SPREADS), len(STAYING))


def _is_rough(counts: Int) -> bool:
    """Whether larger magnitudes above 1 are more frequent than smaller ones, by more than chance.

    Of 1 some encoders have few, because they look for what costs little.
    """
    counts = counts[1:]
    more = np.diff(counts) - 3 * np.sqrt(counts[1:] + counts[:-1] + 1)
    return bool(np.maximum(more, 0).sum() > max(8, counts.sum() // 50))


def _cost(counts: Int, moved: Int, rounds: int) -> NDArray[np.float64]:
    """Bits of magnitudes above 0 under the likeliest sum of Laplacians, by edges [n, len(counts) + 1] -> [n]."""
    below = np.exp(-moved[:, None, :] / _SCALES[:, None])
    shares = (below[..., :-1] - below[..., 1:]) / np.maximum(below[..., :1] - below[..., -1:], 1e-300) + 1e-7
    weights = np.full(shares.shape[:2], 1 / len(_SCALES))
    for _ in range(rounds):
        total = np.einsum("ns,nsv->nv", weights, shares)
        weights *= np.einsum("nsv,nv->ns", shares, counts / total) / max(1, counts.sum())
    bits: NDArray[np.float64] = -(counts * np.log2(np.einsum("ns,nsv->nv", weights, shares))).sum(axis=1)
    return bits
