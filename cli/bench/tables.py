"""Results as tables: on a terminal, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from lgcodec.cli.bench.measure import Preview, Results, Row, Summary
from lgcodec.errors import InputError


def describe(row: Row) -> str:
    """One line about a row."""
    encode, decode = (row.pixels / 1e6 / seconds for seconds in (row.encode_seconds, row.decode_seconds))
    line = f"{row.image}  {row.codec}  {row.bpsp:.3f} bpsp  encode {encode:.2f} MP/s  decode {decode:.2f} MP/s"
    return line if row.preview is None else f"{line}  preview {describe_preview(row.preview, row.pixels)}"


def describe_preview(preview: Preview, pixels: float) -> str:
    """What a preview of an image of so many pixels is worth."""
    speed = pixels / 1e6 / preview.seconds
    return f"{preview.psnr:.1f} dB from {preview.share:.2%} of the file at {speed:.1f} MP/s"


def title(name: str, results: Results) -> str:
    """A heading for a chart of these results."""
    where = results.environment
    return (
        f"{name}: {results.summaries[0].images} images, {where.cpu}, {where.threads} threads for lgcodec, 1 for others"
    )


HEAD = (
    "codec",
    "bpsp",
    "encode MP/s",
    "decode MP/s",
    "ideal bpsp",
    "file over ideal",
    "float NLL, held out",
    "integer over float",
    "with origin",
)


def cells(summary: Summary) -> tuple[str, ...]:
    """A summary's figures under HEAD; those that are not known are empty."""
    return (
        summary.codec,
        f"{summary.bpsp:.3f}",
        f"{summary.encode_mps:.2f}",
        f"{summary.decode_mps:.2f}",
        _optional(summary.ideal_bpsp, ".3f"),
        _optional(summary.gap_percent, "+.3f", " %"),
        _optional(summary.float_bpd, ".3f", " bpd"),
        _optional(summary.quantisation_percent, "+.2f", " %"),
        _optional(summary.origins or None, ".1%"),
    )


def _optional(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{form}}{unit}"


def table(summaries: Sequence[Summary]) -> str:
    """The summaries as text, one codec a line; columns that nothing fills are left out."""
    columns = [column for column in zip(HEAD, *map(cells, summaries), strict=True) if any(column[1:])]
    padded = [_padded(column, left=i == 0) for i, column in enumerate(columns)]
    return "\n".join("  ".join(line).rstrip() for line in zip(*padded, strict=True))


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
