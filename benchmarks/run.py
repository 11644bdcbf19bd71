"""Rates and speeds of lgcodec and other codecs over a folder of images, into results/ and the README's table.

Usage: python benchmarks/run.py FOLDER [--name kodak] [--codecs png,webp,...] [--models default,default@9,...]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from lgcodec.cli.bench import contenders as bench_contenders
from lgcodec.cli.bench import measure as bench
from lgcodec.cli.bench import plot
from lgcodec.cli.bench.contenders import EXTERNALS
from lgcodec.cli.bench.measure import Results
from lgcodec.cli.bench.tables import columns, count_of, describe, describe_preview, replaced, table, title, write_csv

HERE = Path(__file__).parent


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", default="kodak", show_default=True, help="What the results are called.")
@click.option("--codecs", default=",".join(EXTERNALS), show_default=True)
@click.option("--models", default="default", show_default=True)
@click.option("--effort", "efforts", type=int, multiple=True, default=(3,), show_default=True)
@click.option("-T", "--threads", type=int)
@click.option("--device", default="auto", show_default=True)
@click.option(
    "--origin", type=click.Choice(["auto", "none"]), default="none", show_default=True,
    help="auto: also by what images were rendered from. Kodak's are Photo CD pictures, which few others are.",
)  # fmt: skip
@click.option("--mark", default="results", show_default=True, help="Between which marks of the README the table goes.")
@click.option("--readme", type=click.Path(path_type=Path), default=HERE.parent / "README.md")
def main(
    folder: Path,
    name: str,
    codecs: str,
    models: str,
    efforts: tuple[int, ...],
    threads: int | None,
    device: str,
    origin: str,
    mark: str,
    readme: Path,
) -> None:
    replaced(readme.read_text(), mark, "")  # raises now, rather than after minutes, where the marks are missing
    contenders = bench_contenders.contenders(_listed(codecs), _listed(models), efforts, device, origin)
    results = bench.run(folder, contenders, threads, device, lambda row: click.echo(describe(row), err=True))
    out = HERE / "results"
    out.mkdir(exist_ok=True)
    write_csv(out / f"{name}.csv", results)
    plot.draw(out / f"{name}.png", results.summaries, title(name, results))
    click.echo(table(results.summaries))
    text = replaced(readme.read_text(), mark, markdown(results, name))
    readme.write_text(text)


def markdown(results: Results, name: str) -> str:
    """The summaries as a Markdown table, best rate first, and what they were measured on."""
    where = results.environment
    head, *lines = zip(*columns(sorted(results.summaries, key=lambda s: s.bpsp)), strict=True)
    rows = "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *map(_marked, lines)))
    libraries = ", ".join(dict.fromkeys(s.library for s in results.summaries))
    all_of_them = f" and on {count_of(where.threads)}" if where.threads > 1 else ""
    context = (
        f"{name}, {results.summaries[0].images} images, every file decoded and compared. bpsp is the mean over images; "
        f"{where.cpu}, {where.cores} cores, on one thread{all_of_them}, warm process; "
        f"{libraries}; {where.date[:10]}."
    )
    pixels = sum(row.pixels for row in results.rows) / len(results.rows)
    previews = [f"Previews of {s.codec}: {describe_preview(s.preview, pixels)}, means over images."
                for s in results.summaries if s.preview is not None]  # fmt: skip
    return "\n\n".join([rows, context, *previews])


def _marked(cells: Sequence[str]) -> Sequence[str]:
    """Ours in bold."""
    return [f"**{cell}**" if cell else "" for cell in cells] if cells[0].startswith("lgcodec") else cells


def _listed(names: str) -> list[str]:
    return [name for name in names.split(",") if name]


if __name__ == "__main__":
    main()
