"""Predictors that learn while they decode: local least squares, solved in integers along the wavefront.

For each channel a pixel is predicted as a weighted sum of its neighbours, with weights that minimise the squared error
over the pixels decoded before it, nearer ones counting more (Li & Orchard 2001, "Edge-directed prediction for lossless
compression"; Wu et al. 2000). Instead of a fresh window per pixel, the normal equations G w = g travel with the
front: a pixel inherits the average of its left and its upper right neighbour's, so that one addition per coefficient
gives a window that fades with distance. One Gauss-Seidel sweep per pixel, started from the inherited weights, follows
the solution.

    row y-1   . . . . . U            state(y, x) = decay * (state(y, x-1) + state(y-1, x+1)) + what x itself teaches
    row y     . . . L x              all of it decoded when the front (slope 2: t = x + 2 y) reaches x

Every number is an integer in a float64 that stays below 2**53, so that any order of operations, machine and executor
gives the same one; `floor(a / b)` of such integers is exact because |a| < 2**53 (IEEE 754 division is correctly
rounded).

Number formats: neighbours v and values x are integers in pixel units; G, g in 1/16 of squared pixels; weights w in
2**-14; predictions and errors in eighths of a pixel (Q3).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
# The causal neighbourhood that any part of the model may look at: rows above, columns left and right.
UP, LEFT, RIGHT = 3, 4, 4
START = (128, 0, 0)  # what stands above and left of a tile's first pixel: Y, Co, Cg
LOW = (0, -255, -255)
HIGH = (255, 255, 255)
G_SCALE = 16.0  # 1/16 of a squared pixel
W_SCALE = 16384.0  # 2**14
W_LIMIT = 4 * W_SCALE
RIDGE = 128.0  # pulls the weights towards W + N - NW, in units of G
PULL = (0.75, 0.75, -0.5)  # weights of W, N, NW that every solver starts from, around the local mean
TAPS = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-2, 1), (-2, -1), (-1, -2), (-2, 2), (0, -3), (-3, 0))


class Window(NamedTuple):
    """One solver: how many of TAPS it weighs and how fast it forgets (numerator over 512, applied to both parents)."""

    taps: int
    decay: int


WINDOWS = (Window(6, 230), Window(12, 251))  # a quick small one and a slow large one; their mean is the anchor
COUPLING_DECAY = 246 / 512


class Solver:
    """Least squares for n independent rows at a time; states [coefficient, ..., row].

    shape: leading axes (channels, tiles); rows: H. Row index 0 is the constant state above and left of the tile.
    """

    def __init__(self, window: Window, shape: tuple[int, ...], rows: int) -> None:
        self.taps = window.taps
        self.decay = window.decay / 512
        size = (*shape, rows + 1)
        self.gram = np.zeros((self.taps, self.taps, *size))
        self.moment = np.zeros((self.taps, *size))
        self.weights = np.zeros((self.taps, *size))
        self.pull = np.zeros(self.taps)
        self.pull[:3] = np.multiply(PULL, W_SCALE)
        self.weights[:] = self.pull.reshape(-1, *[1] * len(size))

    def predict(self, v: Float, reference: Float, low: int, high: int) -> Float:
        """v: [taps, ..., rows], neighbours less `reference` [..., rows]; low, high: the front's rows. -> Q3 [...,
        rows].
        """
        here, above = np.s_[..., low + 1 : high + 1], np.s_[..., low:high]
        for state in (self.gram, self.moment):
            state[here] = np.floor((state[here] + state[above]) * self.decay)
        w = np.floor((self.weights[here] + self.weights[above]) * 0.5)
        g = self.gram[here]
        for i in range(self.taps):
            r = self.moment[here][i] * W_SCALE + RIDGE * (self.pull[i] - w[i]) - (g[i] * w).sum(0)
            w[i] = np.clip(w[i] + np.floor(r / (g[i, i] + RIDGE)), -W_LIMIT, W_LIMIT)
        self.weights[here] = w
        prediction: Float = np.floor((reference * W_SCALE + (w * v).sum(0)) * (8 / W_SCALE))
        return prediction

    def learn(self, v: Float, error: Float, low: int, high: int) -> None:
        """error: [..., rows], the true values less `reference`."""
        here = np.s_[..., low + 1 : high + 1]
        scaled = v * G_SCALE
        self.moment[here] += scaled * error
        self.gram[here] += scaled[:, None] * v[None]


class Coupling:
    """Regression of one channel's error on those of the channels decoded before it at the same pixel.

    Errors are Q3 integers; the regression is of Co on Y, then of Cg on Y and on what Y leaves of Co.
    """

    def __init__(self, tiles: int, rows: int) -> None:
        self.state = np.zeros((5, tiles, rows + 1))  # YY, Y.Co, Co'Co', Y.Cg, Co'.Cg' with ' = less its regression on Y

    def merge(self, low: int, high: int) -> None:
        here, above = np.s_[..., low + 1 : high + 1], np.s_[..., low:high]
        self.state[here] = np.floor((self.state[here] + self.state[above]) * COUPLING_DECAY)
        self.now = self.state[here]

    @staticmethod
    def _slope(product: Float, square: Float) -> Float:
        return np.clip(np.floor(product * 4096.0 / (square + 256.0)), -16384.0, 16384.0)

    def chroma_orange(self, y: Float) -> Float:
        """y: error of Y [tiles, rows] -> expected error of Co, Q3."""
        self.y = y
        self.co_part = np.floor(self._slope(self.now[1], self.now[0]) * y / 4096.0)
        return self.co_part

    def chroma_green(self, co: Float) -> Float:
        """co: error of Co -> expected error of Cg, Q3."""
        self.co_rest = co - self.co_part
        self.cg_part = np.floor(self._slope(self.now[3], self.now[0]) * self.y / 4096.0)
        rest = np.floor(self._slope(self.now[4], self.now[2]) * self.co_rest / 4096.0)
        self.co = co
        return self.cg_part + rest

    def learn(self, cg: Float) -> None:
        now, y, rest = self.now, self.y, self.co_rest
        now[0] += y * y
        now[1] += y * self.co
        now[2] += rest * rest
        now[3] += y * cg
        now[4] += rest * (cg - self.cg_part)


def pad(x: NDArray[np.int16]) -> NDArray[np.int16]:
    """x: [C, H, W] -> [C, UP + H, LEFT + W + RIGHT] with what a decoder puts around a tile.

    Left of row y stands the first pixel of row y - 1, right of it its own last pixel; row -r above the tile continues
    row 0, shifted right by 2 r so that it is decoded in time; START stands where nothing is decoded yet.
    """
    C, H, W = x.shape
    start = np.array(START[:C], x.dtype)[:, None]
    padded = np.empty((C, UP + H, LEFT + W + RIGHT), x.dtype)
    padded[:, UP:, LEFT : LEFT + W] = x
    padded[:, UP:, LEFT + W :] = x[:, :, -1:]
    padded[:, UP + 1 :, :LEFT] = x[:, :-1, :1]
    padded[:, UP, :LEFT] = start
    for r in range(1, UP + 1):
        row = np.concatenate([np.repeat(start, LEFT + 2 * r, 1), x[:, 0], np.repeat(x[:, 0, -1:], RIGHT, 1)], axis=1)
        padded[:, UP - r] = row[:, : LEFT + W + RIGHT]
    return padded
