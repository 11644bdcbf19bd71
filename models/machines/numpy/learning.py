"""Layers that learn while they decode, on numpy: the meaning of `layers.learning`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.entropy.mixture import FINE_BITS, SIGMOID_BITS, SIGMOID_RANGE, Mixture
from lgcodec.models.layers.integer import LearningLayer
from lgcodec.models.layers.learning import (
    COLUMN,
    ERROR,
    FACTOR,
    FADING,
    FIRST_MOMENT,
    FLOOR,
    FRACTION,
    LESS,
    MASTER,
    MOST,
    ROW,
    SMALL,
    STEP,
    limited,
    wrap,
)
from lgcodec.models.machines.numpy.executor import NumpyExecutor

Int = NDArray[np.int64]


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
