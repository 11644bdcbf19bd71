"""Colour transforms and components are bijections on what images give, and errors on what they do not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import arrays

from lgcodec import colour
from lgcodec.colour import GREY, PERMUTATIONS, PLAIN, STANDARD
from lgcodec.errors import FormatError, IntegrityError
from lgcodec.image import MODES, Mode

BITS, L, P, RGB, RGBA, WIDE = (MODES[wire_id] for wire_id in (0, 1, 3, 4, 5, 6))
CUBE = np.array(list(itertools.product([0, 1, 2, 127, 128, 254, 255], repeat=3)), np.uint8)[None]  # [1, n, 3]


@pytest.mark.parametrize("transform", PERMUTATIONS)
def test_transform_is_reversible_and_in_range(transform: int) -> None:
    planes = colour.forward(CUBE, transform)
    assert planes.dtype == np.int16
    assert planes[0].min() >= 0
    assert planes[0].max() <= 255
    assert np.abs(planes[1:]).max() <= 255
    assert np.array_equal(colour.inverse(planes, transform), CUBE)


def test_standard_transform_is_ycocg_r() -> None:
    red, green, blue = 200, 100, 51
    co = red - blue
    middle = blue + co // 2
    cg = green - middle
    planes = colour.forward(np.array([[[red, green, blue]]], np.uint8), STANDARD)
    assert planes.ravel().tolist() == [middle + (cg >> 1), co, cg]


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(-255, 255), st.integers(-255, 255)), min_size=1, max_size=9))
def test_planes_outside_the_gamut_are_refused(values: list[tuple[int, int, int]]) -> None:
    planes = np.array(values, np.int16).T[:, None]
    try:
        pixels = colour.inverse(planes, STANDARD)
    except IntegrityError:
        return
    assert np.array_equal(colour.forward(pixels, STANDARD), planes)


@given(arrays((("uint8", (3,)), ("uint8", (4,)))))
def test_components_cover_every_channel(samples: np.ndarray) -> None:
    mode = {3: RGB, 4: RGBA}[samples.shape[2]]
    for transform in (PLAIN, STANDARD, *([GREY] if colour.is_grey(samples) else [])):
        parts = [part.give(part.take(samples)) for part in colour.components(mode, transform)]
        assert np.array_equal(np.concatenate(parts, axis=2), samples)


def test_palette_expands_and_returns() -> None:
    palette = np.array([[9, 9, 9], [1, 2, 3], [9, 9, 9], [255, 0, 0]], np.uint8)
    assert colour.is_reversible(np.array([0, 1, 3]), palette)
    assert not colour.is_reversible(np.array([2]), palette)  # the colour of index 0
    assert not colour.is_reversible(np.array([4]), palette)  # beyond the palette
    (part,) = colour.components(P, STANDARD, palette)
    indices = np.array([[[0], [1], [3]]], np.uint8)
    assert np.array_equal(part.give(part.take(indices)), indices)
    with pytest.raises(IntegrityError, match="not in the palette"):
        part.give(np.array([[[7, 7, 7]]], np.uint8))


@pytest.mark.parametrize(("mode", "transform"), [(L, STANDARD), (BITS, GREY), (WIDE, GREY), (RGB, 99)])
def test_transform_that_a_mode_does_not_have(mode: Mode, transform: int) -> None:
    with pytest.raises(FormatError, match="has no transform"):
        colour.components(mode, transform)
