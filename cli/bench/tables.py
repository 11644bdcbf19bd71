"""Results as tables: on a terminal, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from lgcodec.cli.bench.measure import Preview, Results, Row, Summary, by_bits
from lgcodec.errors import InputError


def describe(row: Row) -> str:
    """One line about a row."""
    times = (row.threads_encode_seconds or row.encode_seconds, row.threads_decode_seconds or row.decode_seconds)
    encode, decode = (row.pixels / 1e6 / seconds for seconds in times)
    line = f"{row.image}  {row.codec}  {row.bpsp:.3f} bpsp  encode {encode:.2f} MP/s  decode {decode:.2f} MP/s"
    return line if row.preview is None else f"{line}  preview {describe_preview(row.preview, row.pixels)}"


def describe_preview(preview: Preview, pixels: float) -> str:
    """What a preview of an image of so many pixels is worth."""
    speed = pixels / 1e6 / preview.seconds
    return f"{preview.psnr:.1f} dB from {preview.share:.2%} of the file at {speed:.1f} MP/s"


def title(name: str, results: Results) -> str:
    """A heading for a chart of these results."""
    where = results.environment
    return f"{name}: {results.summaries[0].images} images, {where.cpu}, {count_of(where.threads)}"


def count_of(threads: int) -> str:
    """How many threads, in words."""
    return "1 thread" if threads == 1 else f"{threads} threads"


ANCHOR = "jxl-e7"  # whose speed the others' are multiples of
SPEEDS = {  # on one thread, and on all
    "encode MP/s": "encode_mps",
    "decode MP/s": "decode_mps",
    "encode MP/s, all threads": "threads_encode_mps",
    "decode MP/s, all threads": "threads_decode_mps",
}


def columns(summaries: Sequence[Summary]) -> list[tuple[str, ...]]:
    """The columns of a table of the summaries, heads first; what is not known is empty, and so no column at all.

    Each speed stands beside how many times the anchor's on as many threads it is, where that was measured.
    """
    anchor = next((summary for summary in summaries if summary.codec == ANCHOR), None)

    def speed(summary: Summary, name: str) -> str:
        mps = getattr(summary, name)
        if mps is None or anchor is None:
            return _optional(mps, ".2f")
        return f"{mps:.2f} ({mps / getattr(anchor, name):.2f} x)"

    heads: dict[str, Callable[[Summary], str]] = {
        "codec": lambda s: s.codec,
        "bpsp": lambda s: f"{s.bpsp:.3f}",
        **{
            f"{head} (x {ANCHOR})" if anchor else head: functools.partial(speed, name=name)
            for head, name in SPEEDS.items()
        },
        "ideal bpsp": lambda s: _optional(s.ideal_bpsp, ".3f"),
        "file over ideal": lambda s: _optional(s.gap_percent, "+.3f", " %"),
        "float NLL, held out": lambda s: _optional(s.float_bpd, ".3f", " bpd"),
        "integer over float": lambda s: _optional(s.quantisation_percent, "+.2f", " %"),
        "with origin": lambda s: _optional(s.origins or None, ".1%"),
    }
    found = [(head, *map(cell, summaries)) for head, cell in heads.items()]
    return [column for column in found if any(column[1:])]


def _optional(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{form}}{unit}"


def table(summaries: Sequence[Summary]) -> str:
    """The summaries as text, one codec a line: a table for each number of bits a sample, headed where it is not 8."""
    tables = []
    for part in by_bits(summaries):
        padded = [_padded(column, left=i == 0) for i, column in enumerate(columns(part))]
        head = [] if part[0].bits == 8 else [f"{part[0].bits} bits a sample, {part[0].images} images:"]
        tables.append("\n".join([*head, *("  ".join(line).rstrip() for line in zip(*padded, strict=True))]))
    return "\n\n".join(tables)


def _padded(column: Sequence[str], *, left: bool) -> list[str]:
    width = max(map(len, column))
    return [cell.ljust(width) if left else cell.rjust(width) for cell in column]


def write_csv(file: Path, results: Results) -> None:
    """One line per image and codec, each with the whole environment, so that lines of several runs may be joined."""
    names = [field.name for field in dataclasses.fields(Row) if field.name != "preview"]
    derived = ["bpsp", "ideal_bpsp"]
    previews = [field.name for field in dataclasses.fields(Preview)]
    context = dataclasses.asdict(results.environment)
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow([*names, *derived, *(f"preview_{name}" for name in previews), *context])
        for row in results.rows:
            own = [_plain(getattr(row, name)) for name in names + derived]
            shown = [_plain(getattr(row.preview, name, None)) for name in previews]
            writer.writerow([*own, *shown, *context.values()])


def _plain(value: object) -> object:
    return round(value, 6) if isinstance(value, float) else value


def write_json(file: Path, results: Results) -> None:
    file.write_text(json.dumps(dataclasses.asdict(results), indent=1) + "\n")


def replaced(text: str, mark: str, block: str) -> str:
    """`text` with what stands between the marks of this name replaced by `block`."""
    first, last = (f"<!-- {mark}:{end} -->" for end in ("start", "end"))
    before, start, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not (start and end):
        raise InputError(f"the README has no {first} ... {last}")
    return f"{before}{first}\n{block}\n{last}{after}"
