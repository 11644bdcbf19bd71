"""Results as one page of HTML: tables, rate against speed, and each image; nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from lgcodec.cli.bench.measure import Results, Row, Summary, by_bits
from lgcodec.cli.bench.tables import columns

SIDE = 96  # pixels of the longer side of an image's preview
WIDTH, HEIGHT, MARGIN = 520, 300, 46  # of a chart

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1e293b; --faint: #64748b; --line: #e2e8f0; --ours: #c2410c }
@media (prefers-color-scheme: dark) {
  :root { --ground: #0f172a; --ink: #e2e8f0; --faint: #94a3b8; --line: #334155; --ours: #fb923c }
}
body { margin: 0 auto; max-width: 75rem; padding: 1rem; background: var(--ground); color: var(--ink);
  font: 16px/1.45 system-ui, sans-serif }
h1 { font-size: 1.4rem; overflow-wrap: anywhere }
h2 { font-size: 1.1rem }
p { color: var(--faint) }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th:first-child, td:first-child, td.name, th.name { text-align: left }
td.name { max-width: 18rem; overflow: hidden; text-overflow: ellipsis }
th button { all: unset; cursor: pointer; font-weight: 600 }
th button:focus-visible { outline: 2px solid var(--ours) }
th[aria-sort=ascending] button::after { content: " \\2191" }
th[aria-sort=descending] button::after { content: " \\2193" }
tr.ours td:first-child, td.best { color: var(--ours); font-weight: 600 }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: var(--ink) }
svg line { stroke: var(--line) }
svg circle { fill: var(--faint) }
svg .ours { fill: var(--ours) }
img { display: block; max-height: 4rem; max-width: 6rem; image-rendering: auto }
"""

SORT = """
for (const table of document.querySelectorAll("table"))
  table.tHead.addEventListener("click", event => {
    const head = event.target.closest("th");
    if (!head || !event.target.closest("button")) return;
    const up = head.getAttribute("aria-sort") !== "ascending", at = head.cellIndex;
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = row => { const text = row.cells[at].dataset.value ?? row.cells[at].textContent;
      return text === "" ? Infinity : Number.isNaN(+text) ? text : +text; };
    const rows = [...table.tBodies[0].rows].map(row => [key(row), row]);
    const order = (a, b) => typeof a === typeof b ? (a > b) - (a < b) : typeof a === "string" ? 1 : -1;
    rows.sort(([a], [b]) => order(a, b) * (up ? 1 : -1));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  });
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def write_html(file: Path, results: Results, folder: Path, title: str) -> None:
    """Writes the page. folder: where the images are. Raises OSError."""
    file.write_text(page(results, folder, title), encoding="utf-8")


def page(results: Results, folder: Path, title: str) -> str:
    """The page as text."""
    where = results.environment
    about = f"lgcodec {where.lgcodec}, Python {where.python}, numpy {where.numpy}; {where.date}. Every file was decoded"
    parts = [part for summaries in by_bits(results.summaries) for part in _of_bits(summaries)]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
            f"<h1>{escape(title)}</h1>",
            f"<p>{escape(about)} and compared.</p>",
            *parts,
            "<h2>Images</h2>\n<p>Bits per sub-pixel, the smallest file of each image in colour.</p>",
            _images(results, folder),
            f"<script>{SORT}</script>\n</body>\n</html>\n",
        ]
    )


def _of_bits(summaries: Sequence[Summary]) -> list[str]:
    """The table and the charts of images of as many bits a sample."""
    bits = summaries[0].bits
    return [
        *([] if bits == 8 else [f"<h2>{bits} bits a sample</h2>\n<p>{summaries[0].images} images.</p>"]),
        _summaries(summaries),
        '<h2>Rate against speed</h2>\n<div class="charts">',
        _chart("Encoding", [(s.codec, s.threads_encode_mps or s.encode_mps, s.bpsp) for s in summaries]),
        _chart("Decoding", [(s.codec, s.threads_decode_mps or s.decode_mps, s.bpsp) for s in summaries]),
        "</div>",
    ]


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    names = "".join(f'<th scope="col"><button>{escape(name)}</button></th>' for name in head)
    body = "\n".join(rows)
    return f'<div class="wide"><table>\n<thead><tr>{names}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def _summaries(summaries: Sequence[Summary]) -> str:
    rows = []
    head, *lines = zip(*columns(summaries), strict=True)
    for codec, *texts in lines:
        shown = [_cell(text, text.split()[0].rstrip("%") if text else "") for text in texts]
        ours = ' class="ours"' if codec.startswith("lgcodec") else ""
        rows.append(f"<tr{ours}>{_cell(codec)}{''.join(shown)}</tr>")
    return _table(head, rows)


def _cell(text: str, value: str | None = None, kind: str = "") -> str:
    data = "" if value is None else f' data-value="{escape(value)}"'
    named = f' class="{kind}"' if kind else ""
    return f"<td{named}{data}>{escape(text)}</td>"


def _images(results: Results, folder: Path) -> str:
    codecs = list(dict.fromkeys(summary.codec for summary in results.summaries))
    by_image: dict[str, dict[str, Row]] = {}
    for row in results.rows:
        by_image.setdefault(row.image, {})[row.codec] = row
    lines = []
    for name, rows in by_image.items():
        first, least = next(iter(rows.values())), min(row.size for row in rows.values())
        shown = [_cell(name, kind="name"), _cell(f"{first.width} x {first.height}", str(first.pixels))]
        for codec in codecs:
            if codec in rows:
                rate, size = rows[codec].bpsp, rows[codec].size
                shown.append(_cell(f"{rate:.3f}", f"{rate}", "best" if size == least else ""))
            else:
                shown.append(_cell(""))
        lines.append(f"<tr><td>{_preview(folder / name)}</td>{''.join(shown)}</tr>")
    return _table(("", "image", "size", *codecs), lines)


def _preview(path: Path) -> str:
    """A small picture of an image, in the page itself; nothing where it cannot be read."""
    try:
        with Image.open(path) as opened:
            image: Image.Image = opened
            if image.mode.startswith("I;16"):  # which Pillow would cut off at 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image.thumbnail((SIDE, SIDE))
            file = io.BytesIO()
            image.convert("RGB").save(file, "JPEG", quality=80)
    except OSError:
        return ""
    source = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
    return f'<img alt="" loading="lazy" width="{image.width}" height="{image.height}" src="{source}">'


def _chart(title: str, points: Sequence[tuple[str, float, float]]) -> str:
    """Megapixels a second across, on a logarithmic scale, and bits per sub-pixel up. points: name, speed, rate."""
    speeds, rates = [math.log10(max(speed, 1e-6)) for _, speed, _ in points], [rate for _, _, rate in points]
    low, high = math.floor(min(speeds)), math.ceil(max(speeds) + 1e-9)
    bottom, top = min(rates), max(rates)
    span = (top - bottom) or 1.0
    lines = []
    for power in range(low, high + 1):
        x = MARGIN + (WIDTH - 2 * MARGIN) * (power - low) / max(1, high - low)
        lines.append(f'<line x1="{x:.1f}" y1="{MARGIN / 2}" x2="{x:.1f}" y2="{HEIGHT - MARGIN}"/>')
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{10.0**power:g} MP/s</text>')
    for rate in (bottom, (bottom + top) / 2, top):
        y = _height(rate, bottom, span)
        lines.append(f'<line x1="{MARGIN}" y1="{y:.1f}" x2="{WIDTH - MARGIN / 2}" y2="{y:.1f}"/>')
        lines.append(f'<text x="{MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{rate:.2f}</text>')
    for (name, _, rate), speed in zip(points, speeds, strict=True):
        x = MARGIN + (WIDTH - 2 * MARGIN) * (speed - low) / max(1, high - low)
        y = _height(rate, bottom, span)
        ours = ' class="ours"' if name.startswith("lgcodec") else ""
        side = f'text-anchor="end" x="{x - 8:.1f}"' if x > WIDTH / 2 else f'x="{x + 8:.1f}"'
        lines.append(f'<circle{ours} cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>')
        lines.append(f'<text{ours} {side} y="{y + 4:.1f}">{escape(name)}</text>')
    heading = f'<text x="{MARGIN}" y="14">{escape(title)}: bits per sub-pixel</text>'
    return f'<svg role="img" viewBox="0 0 {WIDTH} {HEIGHT}">{heading}{"".join(lines)}</svg>'


def _height(rate: float, bottom: float, span: float) -> float:
    """Where a rate is in a chart: low rates, the good ones, below."""
    return HEIGHT - MARGIN - 12 - (HEIGHT - 2.2 * MARGIN) * (rate - bottom) / span
