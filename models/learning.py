"""Layers that learn while they decode: each front's errors move the weights before the next one, in exact integers.

Dynamic evaluation (Mikolov et al. 2010; Krause et al. 2018, "Dynamic evaluation of neural sequence models"): encoder
and decoder both take a gradient step on what both have just seen, so the network fits the image at no cost in bits. A
step is normalised by factored second moments (Shazeer & Stern 2018, "Adafactor", section 4), which cost a number per
row and column:

    gradient G = sum over the front's pixels of input x error of the output          [inputs, outputs]
    rows r, columns c: fading sums of G**2 over the outputs and over the inputs
    step = 2**-rate G / sqrt(r c / sum(r))

Errors go back through the weights as they were trained, not as they are by now: the difference is small, and nothing
has to be laid out anew. Biases do not learn. Every tile starts from the trained weights.

Number formats: activations in 1/128; weights int16 in 1/1024, of all rows alike, whatever the outputs' units; errors of
outputs int16 in nats 2**-12; sums of int32 modulo 2**32, which any order of additions and any machine gives (they do
not wrap in practice); everything after the sums below 2**53.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.integer import LearningLayer, NumpyExecutor
from lgcodec.models.mixture import FINE_BITS, SIGMOID_BITS, SIGMOID_RANGE, Mixture

Int = NDArray[np.int64]

ACTIVATION, FRACTION = 7, 10  # bits below 1 of activations and of weights
MASTER = 12  # bits that a weight has below its int16 while it learns
ERROR = 12  # bits of an error
ERROR_LIMIT = 32767
FADING = 6  # moments forget 2**-FADING of themselves a front
LESS, MOST = 8, 1 << 16  # bits that gradients lose before they are squared; their limit then
SMALL = 64  # added to roots of moments
FACTOR = 1 << 16  # the largest factor of a row or a column
ROW, COLUMN = 8, 24  # bits of these factors
FIRST_MOMENT = 1 << 12  # a gradient's square, before there was any
STEP = 1 << 12  # the largest step, in units of the masters
FLOOR = 1 << 14  # of a value's probability, in 2**-38


def wrap(a: NDArray[Any]) -> Int:
    """Integers modulo 2**32, as int32 sees them."""
    return np.asarray(a).astype(np.int64).astype(np.int32).astype(np.int64)


def back(sums: Int) -> Int:
    """Errors of inputs from the products of outputs' errors and weights, rounded."""
    return wrap(sums + (1 << (FRACTION - 1))) >> FRACTION


def limited(errors: Int) -> Int:
    return np.clip(errors, -ERROR_LIMIT, ERROR_LIMIT)


class Learner:
    """One layer of a batch of tiles, each with weights of its own. own: how many inputs' weights learn, the first
    ones.
    """

    def __init__(self, layer: LearningLayer, tiles: int, own: int, rate: int) -> None:
        O = len(layer.weight)
        self.layer, self.own, self.rate = layer, own, rate
        self.base = layer.weight[:, :own].astype(np.float64)
        self.weight = np.repeat(layer.weight.T[None].astype(np.float64), tiles, axis=0)  # [T, I, O]
        self.master = self.weight[:, :own].astype(np.int64) << MASTER
        self.rows = np.full((tiles, O), own * FIRST_MOMENT)
        self.columns = np.full((tiles, own), O * FIRST_MOMENT)

    def apply(self, a: NDArray[np.float32]) -> NDArray[np.float32]:
        """[T n, I] -> [T n, O], as any executor's, and keeps both."""
        layer = self.layer
        self.inputs = a.reshape(len(self.weight), -1, a.shape[1]).astype(np.float64)
        total = wrap(wrap(self.inputs @ self.weight) + layer.bias) >> layer.shift
        self.outputs: Int = np.clip(total, layer.low, layer.high)
        result: NDArray[np.float32] = self.outputs.reshape(len(a), -1).astype(np.float32)
        return result

    def backward(self, errors: Int) -> Int:
        """Of the outputs [T, n, O] -> what `back` makes errors of the inputs from [T, n, own]. Moves the weights."""
        g = errors.astype(np.float64)
        self._step(wrap(self.inputs[..., : self.own].swapaxes(1, 2) @ g))
        return wrap(g @ self.base)

    def _step(self, gradient: Int) -> None:
        """gradient: [T, own, O]."""
        small = np.clip(gradient >> LESS, -MOST, MOST)
        square = small * small
        self.rows += (square.sum(axis=1) - self.rows) >> FADING
        self.columns += (square.sum(axis=2) - self.columns) >> FADING
        whole = _root(self.rows.sum(axis=1))[:, None]
        row = np.minimum((whole << ROW) // (_root(self.rows) + SMALL), FACTOR)
        column = np.minimum((1 << COLUMN) // (_root(self.columns) + SMALL), FACTOR)
        shift = ROW + COLUMN - FRACTION - MASTER + self.rate
        step = np.clip((small * row[:, None] * column[..., None]) >> shift, -STEP, STEP)
        ends = 32767 << MASTER
        self.master = np.clip(self.master - step, -ends, ends)
        self.weight[:, : self.own] = (self.master + (1 << (MASTER - 1))) >> MASTER


def _root(a: Int) -> Int:
    """The integer square root, of what is below 2**53: IEEE 754 rounds roots correctly."""
    return np.floor(np.sqrt(a.astype(np.float64))).astype(np.int64)


class LearningExecutor(NumpyExecutor):
    """numpy's executor for networks of which some layers learn."""

    name = "numpy, learning"

    def load(self, layer: Any) -> Any:
        return layer if isinstance(layer, Learner) else super().load(layer)

    def apply(self, layer: Any, a: NDArray[np.float32]) -> NDArray[np.float32]:
        return layer.apply(a) if isinstance(layer, Learner) else super().apply(layer, a)


def mixture_errors(mixed: Mixture, values: Int, log_scale: Int, highest: int, spread: Int) -> Int:
    """The gradient of -log P(values [n]) by the outputs of a head, int16 range [n, 3 K + 1], in 2**-ERROR nats.

    log_scale: what the head said, [K, n], 0..highest; spread: what its gate is multiplied with, Q3 [n]. Units of
    outputs: logits and log scales 1, means 8 pixels, the gate 1.
    """
    v = values - mixed.origin
    whole = 1 << SIGMOID_BITS
    t, s, slope = (np.empty((2, *mixed.mean.shape), np.int64) for _ in range(3))
    for side in range(2):  # lower and upper edge
        t[side], s[side] = mixed.sigmoids(mixed.edge(v + side))
        slope[side] = (s[side] * (whole - s[side])) >> SIGMOID_BITS
    outside = np.stack([v == 0, v == mixed.size - 1])[:, None] & np.ones_like(s, bool)
    s, slope = np.where(outside, np.array([0, whole])[:, None, None], s), np.where(outside, 0, slope)
    w = mixed.weight
    share = w * (s[1] - s[0])
    total = share.sum(axis=0) + FLOOR
    logit = (w >> (16 - ERROR)) - (share << ERROR) // total
    mean = (((w * (slope[1] - slope[0])) << 14) // total * mixed.inverse) >> 13
    turn = ((t - (SIGMOID_RANGE << FINE_BITS)) * slope) >> FINE_BITS
    scale = ((w * (turn[1] - turn[0])) << ERROR) // total
    scale = np.where((log_scale == 0) & (scale > 0) | (log_scale == highest) & (scale < 0), 0, scale)
    mean = limited(mean)
    gate = (mean.sum(axis=0) * spread) >> 6
    return limited(np.concatenate([logit, mean, scale, gate[None]])).T
