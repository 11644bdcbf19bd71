"""Rate against speed, drawn with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lgcodec.errors import InputError

if TYPE_CHECKING:
    from lgcodec.cli.bench.measure import Summary

PREFIX = "lgcodec-"
OURS, THEIRS = "#c2410c", "#475569"
# Where a label may stand beside its point, in points: its middle's way from it, in label widths and in points.
LEFT, RIGHT, ABOVE, BELOW = (-0.5, -8, 0), (0.5, 8, 0), (0, 0, 11), (0, 0, -11)
HEIGHT, LETTER = 9, 5.5  # of a label and of one of its letters, points
Point = tuple[float, float]  # megapixels per second, bpsp
Box = tuple[float, float, float, float]


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
    figure.draw_without_rendering()  # so that points have places, which labels go by
    _label(left, summaries, encoding)
    _label(right, summaries, decoding)
    figure.savefig(file, dpi=130)


def _panel(axes: Any, title: str, summaries: Sequence[Summary], points: Sequence[Point]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_title(title)
    axes.set_xlabel("megapixels per second (higher is faster)")
    axes.grid(visible=True, which="major", alpha=0.3)
    for label, colour, marker in (("lgcodec", OURS, "D"), ("others", THEIRS, "o")):
        some = [p for s, p in zip(summaries, points, strict=True) if s.codec.startswith(PREFIX) == (colour == OURS)]
        if some:
            axes.plot(*zip(*some, strict=True), marker, color=colour, markersize=7, label=label)
    axes.legend(loc="upper left", frameon=False)


def _label(axes: Any, summaries: Sequence[Summary], points: Sequence[Point]) -> None:
    """Names the points, ours on the left and others on the right, or where nothing else stands in the way."""
    scale = 72 / axes.figure.dpi
    places = [tuple(scale * v for v in axes.transData.transform(point)) for point in points]
    taken = [(x, y, 8.0, 8.0) for x, y in places]  # middle, width and height
    for summary, point, (x, y) in zip(summaries, points, places, strict=True):
        ours, name = summary.codec.startswith(PREFIX), summary.codec.removeprefix(PREFIX)
        width = LETTER * len(name)
        tries = [(x + width * w + dx, y + dy, width, HEIGHT) for w, dx, dy in (
            (LEFT, ABOVE, BELOW, RIGHT) if ours else (RIGHT, ABOVE, BELOW, LEFT)
        )]  # fmt: skip
        box = min(tries, key=lambda box: sum(_overlap(box, other) for other in taken))
        taken.append(box)
        way = (box[0] - x, box[1] - y)
        colour = OURS if ours else THEIRS
        axes.annotate(name, point, way, textcoords="offset points", ha="center", va="center", color=colour, fontsize=9)


def _overlap(a: Box, b: Box) -> bool:
    return all(2 * abs(a[i] - b[i]) < a[i + 2] + b[i + 2] for i in range(2))
