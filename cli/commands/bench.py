"""`lgcodec bench`: rate and speed beside other codecs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lgcodec.cli import files, report
from lgcodec.cli.options import MACHINE, ORIGIN
from lgcodec.errors import InputError

if TYPE_CHECKING:
    from lgcodec.cli.bench import jpegs
    from lgcodec.cli.bench import measure as benchmark


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--codecs", default="png,webp,jpeg2000,jxl-e3,jxl-e7,jxl-e9", show_default=True, help="To compare with.")
@click.option(
    "--models",
    default="default",
    show_default=True,
    help="Names or weights files, with commas; NAME@EFFORT for another effort.",
)
@click.option("--effort", "efforts", type=click.IntRange(1, 9), multiple=True, default=(3,), show_default=True)
@ORIGIN
@MACHINE
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write everything here.")
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False, path_type=Path), help="Write a row per image here.")
@click.option("--html", "html_file", type=click.Path(dir_okay=False, path_type=Path), help="Write a page to look at.")
@click.option("--plot", "plot_file", type=click.Path(dir_okay=False, path_type=Path), help="Draw rate against speed.")
@click.option("-q", "--quiet", is_flag=True, help="Only the table.")
def bench(
    folder: Path,
    codecs: str,
    models: str,
    efforts: tuple[int, ...],
    origin: str,
    threads: int,
    device: str,
    json_file: Path | None,
    csv_file: Path | None,
    html_file: Path | None,
    plot_file: Path | None,
    quiet: bool,
) -> int:
    """Measure rate and speed on a folder of images, side by side with other codecs; of JPEG files, as files.

    Grey and RGB images of 8 bits a sample, and of 16 beside those codecs that hold them. Every result is decoded and
    compared. Speeds are on one thread and, for all codecs alike, on the threads of -T.
    """
    from lgcodec.cli.bench import jpegs, plot
    from lgcodec.cli.bench import measure as benchmark
    from lgcodec.cli.bench.contenders import contenders
    from lgcodec.cli.bench.tables import describe, table, title, write_csv, write_json

    def tell(row: benchmark.Row | jpegs.FileRow) -> None:
        if not quiet:
            click.echo(jpegs.describe(row) if isinstance(row, jpegs.FileRow) else describe(row), err=True)

    for out in (json_file, csv_file, html_file, plot_file):
        if out is not None and not out.parent.is_dir():
            raise InputError(f"there is no folder {files.shown(out.parent)} for {files.shown(out)}")
        if out is not None:
            files.refuse_locked(out)
    chosen = contenders(_listed(codecs), _listed(models), efforts, device, origin)
    unread: list[str] = []

    def complain(error: Exception, name: str) -> None:
        unread.append(name)
        report.complain(error, name)

    results = benchmark.run(folder, chosen, threads or None, device, tell, complain)
    peer = any(name.startswith("jxl") for name in _listed(codecs))
    results.files.extend(jpegs.measure(folder, device, results.environment.threads, peer, tell))
    if not results.rows and not results.files:
        raise InputError(f"no grey or RGB image that can be read in {files.shown(folder)}")
    if results.rows:
        click.echo(table(results.summaries))
    if results.files:
        click.echo(jpegs.table(results.files))
    if json_file is not None:
        write_json(json_file, results)
    if csv_file is not None:
        write_csv(csv_file, results)
    if not results.rows and (html_file or plot_file):
        raise InputError(f"--html and --plot show rates of pixels: there are only JPEG files in {files.shown(folder)}")
    if html_file is not None:
        from lgcodec.cli.bench.page import write_html

        write_html(html_file, results, folder, title(folder.resolve().name, results))
    if plot_file is not None:
        plot.draw(plot_file, benchmark.by_bits(results.summaries)[0], title(folder.resolve().name, results))
    return int(bool(unread))


def _listed(names: str) -> list[str]:
    return [name for name in names.split(",") if name]
