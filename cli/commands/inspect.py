"""`lgcodec inspect`, or `info`: what files say of themselves."""

from __future__ import annotations

from pathlib import Path

import click

import lgcodec
from lgcodec.cli import files, report
from lgcodec.cli.convert import each, walk_of
from lgcodec.cli.files import Source


@click.command()
@click.argument("inputs", metavar="FILE...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="As a JSON object, or an array of several.")
@click.option("--heatmap", metavar="OUT.png", help="Draw where the bits of a file went: bits a pixel of each tile.")
@click.option("-f", "--force", is_flag=True, help="Replace an existing heatmap.")
def inspect(inputs: tuple[str, ...], as_json: bool, heatmap: str | None, force: bool) -> int:
    """Show what files hold, from their headers: nothing is decoded. Of a set, a line an image. `info` is the same."""
    if heatmap is not None and len(inputs) > 1:
        raise click.UsageError("--heatmap takes one file")
    shown: list[str] = []

    def work(source: Source) -> None:
        with source.opened() as opened:
            if heatmap is None and files.is_set(opened):
                images, size = lgcodec.inspect_set(opened), files.size_of(opened)
                if as_json:
                    shown.append(report.set_as_json(images, size))
                else:
                    click.echo(f"{source.name}\n{report.details_of_set(images, size)}")
                return
            found = lgcodec.inspect(opened)
            if heatmap is not None:
                from lgcodec.cli.heatmap import draw

                opened.seek(0)
                picture = draw(opened.read())
                with files.appearing(Path(heatmap), force=force) as out:
                    out.write(picture)
        if as_json:
            shown.append(report.as_json(found))
        else:
            click.echo(f"{source.name}\n{report.details(found)}")

    walk = walk_of(inputs, False, ())
    code = each(walk.sources(), work) or int(walk.failed)
    if shown:
        click.echo(shown[0] if len(inputs) == 1 else "[" + ", ".join(shown) + "]")
    return code
