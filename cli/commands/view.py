"""`lgcodec view`: a gallery in the browser."""

from __future__ import annotations

from pathlib import Path

import click

from lgcodec.cli import files
from lgcodec.cli.options import LIMIT, MACHINE, MODEL, codec_of
from lgcodec.errors import InputError


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of this machine; 0 is any that is free.")
@MACHINE
@MODEL
@LIMIT
@click.option("-q", "--quiet", is_flag=True, help="Only the address.")
def view(folder: Path, port: int, model: str, device: str, threads: int, max_pixels: int | None, quiet: bool) -> int:
    """Look at a folder's .lgc and .lgcs files in the browser: a gallery that this machine alone is served."""
    from lgcodec.cli import gallery

    codec = codec_of(model, device, threads, quiet, max_pixels)
    found = list(gallery.items(folder))
    if not found:
        raise InputError(f"{files.shown(folder)}: no .lgc or .lgcs files in this folder")
    shown = gallery.Gallery(files.shown(folder.resolve().name), found, codec)
    with gallery.server(shown, port) as served:
        note = "" if quiet else f"  ({len(found)} images; Ctrl-C ends it)"
        click.echo(f"http://{gallery.HOST}:{served.server_address[1]}/{note}")
        served.serve_forever()
    return 0
