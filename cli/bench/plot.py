"""Rate against speed, drawn with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lgcodec.errors import InputError

if TYPE_CHECKING:
    from lgcodec.cli.bench.measure import Summary

OURS, THEIRS = "#c2410c", "#475569"
LEFT = {"xytext": (-8, 0), "ha": "right", "va": "center"}
ABOVE = {"xytext": (0, 7), "ha": "center", "va": "bottom"}
BELOW = {"xytext": (0, -7), "ha": "center", "va": "top"}
Point = tuple[float, float]  # megapixels per second, bpsp


def draw(file: Path, summaries: Sequence[Summary], title: str) -> None:
    """Writes a chart with two panels, encoding and decoding: bpsp down, megapixels per second across (log scale)."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("a plot needs the package matplotlib (pip install 'lgcodec[bench]')") from error
    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    encoding = [(s.threads_encode_mps or s.encode_mps, s.bpsp) for s in summaries]
    decoding = [(s.threads_decode_mps or s.decode_mps, s.bpsp) for s in summaries]
    _panel(left, "Encoding", summaries, encoding)
    _panel(right, "Decoding", summaries, decoding)
    speeds = [speed for speed, _ in encoding + decoding]
    left.set_xlim(10 ** math.floor(math.log10(min(speeds) / 1.5)), 10 ** math.ceil(math.log10(max(speeds) * 1.5)))
    left.set_ylabel("bits per sub-pixel (lower is smaller)")
    figure.suptitle(title, fontsize=11)
    figure.savefig(file, dpi=130)


def _panel(axes: Any, title: str, summaries: Sequence[Summary], points: Sequence[Point]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.margins(y=0.12)
    axes.set_title(title)
    axes.set_xlabel("megapixels per second (higher is faster)")
    axes.grid(visible=True, which="major", alpha=0.3)
    for summary, point in zip(summaries, points, strict=True):
        ours = summary.codec.startswith("lgcodec")
        colour = OURS if ours else THEIRS
        axes.plot(*point, "D" if ours else "o", color=colour, markersize=7)
        place = LEFT if ours else BELOW if _is_crowded(point, points) else ABOVE
        axes.annotate(summary.codec, point, textcoords="offset points", fontsize=9, color=colour, **place)


def _is_crowded(point: Point, points: Sequence[Point]) -> bool:
    """Whether another point stands where this one's label would, just above it."""
    height = max(rate for _, rate in points) - min(rate for _, rate in points)
    return any(
        other != point and abs(math.log(other[0] / point[0])) < math.log(2) and 0 <= other[1] - point[1] < height / 10
        for other in points
    )
