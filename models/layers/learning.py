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
