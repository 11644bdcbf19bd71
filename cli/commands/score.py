"""`lgcodec score`: how unexpected images are."""

from __future__ import annotations

import click

from lgcodec.cli import files, report
from lgcodec.cli.convert import each, walk_of
from lgcodec.cli.files import Source
from lgcodec.cli.options import CLASS, MACHINE, MODEL, codec_of


@click.command()
@click.argument("inputs", metavar="FILE...", nargs=-1, required=True)
@MACHINE
@MODEL
@click.option("-r", "--recursive", is_flag=True, help="Walk folders.")
@click.option("--json", "as_json", is_flag=True, help="As a JSON object of rates by name.")
@CLASS
@click.option("--against", metavar="CODEC", help="Less what another codec takes, as bench knows them: png, webp ..")
@click.option("--others", metavar="PATH", multiple=True, help="Images of another kind: do scores tell them apart?")
def score(
    inputs: tuple[str, ...], model: str, device: str, threads: int, recursive: bool, as_json: bool, label: int | None,
    against: str | None, others: tuple[str, ...],
) -> int:  # fmt: skip
    """Say how unexpected images are to a model: bits per dim, of what it would code them with.

    --against takes the image's own complexity away, so that plain images are not expected because they are plain.
    """
    import json

    import numpy as np

    from lgcodec import readers
    from lgcodec.cli.bench import contenders
    from lgcodec.image import array_of

    codec, rates = codec_of(model, device, threads, quiet=False), dict[str, float]()
    other = None if against is None else contenders.external(against)

    def work(source: Source) -> None:
        with source.opened() as file:
            picture = readers.read(file)
        rate = codec.score(picture, label=label)
        if other is not None:
            samples = np.ascontiguousarray(picture.samples((0, 0, picture.width, picture.height)))
            pixels = array_of(samples, picture.mode)
            rate -= 8 * len(other.encode(pixels, 1)) / pixels.size
        rates[source.name] = rate
        if not as_json:
            less = "" if other is None else f", less what {other.name} takes"
            click.echo(f"{source.name}: {rate:.4f} bits/dim{less}")

    walk = walk_of(inputs, recursive, files.IMAGES)
    code = each(walk.sources(), work) or int(walk.failed)
    known = list(rates.values())
    if others:
        walk = walk_of(others, True, files.IMAGES)
        code = each(walk.sources(), work) or int(walk.failed) or code
    unknown = list(rates.values())[len(known) :]
    if as_json:
        click.echo(json.dumps(rates, indent=2))
    elif known and unknown:
        area = report.auroc(known, unknown)
        click.echo(f"AUROC {area:.4f}: {len(known)} images against {len(unknown)} others")
    return code
