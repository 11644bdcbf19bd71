"""2,000 damaged files of every family, mode and method; tests/damage.py does as many as there is time for."""

from __future__ import annotations

from collections import Counter

import damage
import pytest


@pytest.mark.parametrize("part", range(4))
def test_damaged_files_give_the_right_pixels_or_a_named_error(part: int) -> None:
    counts = Counter(damage.outcomes(1000 * part, 500))
    assert counts["right pixels"] > 0
    assert counts.total() == 500
    assert len(counts) >= 5  # errors of several kinds: the damage reaches beyond the first checksum
