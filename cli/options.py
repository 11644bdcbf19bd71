"""The options that commands share, and the codec that they ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

import lgcodec
from lgcodec.cli import report
from lgcodec.models.machines.choose import DEVICES

if TYPE_CHECKING:
    from lgcodec import Codec

F = TypeVar("F", bound=Callable[..., Any])


def _all(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


INPUTS = click.argument("inputs", metavar="IN...", nargs=-1, required=True)
TARGET = _all(
    click.option("-o", "--output", metavar="OUT", help="Output file, or folder for several inputs; - is stdout."),
    click.option("-c", "--stdout", is_flag=True, help="Write to stdout."),
    click.option("-f", "--force", is_flag=True, help="Replace existing outputs."),
)
OUTPUT = _all(
    TARGET,
    click.option("--rm", "remove", is_flag=True, help="Remove each input once its output is verified and in place."),
    click.option("-r", "--recursive", is_flag=True, help="Walk folders."),
    click.option("--skip-existing", "skip", is_flag=True, help="Pass over inputs whose outputs exist."),
)
MACHINE = _all(
    click.option(
        "-T", "--threads", type=click.IntRange(0), default=0, metavar="N", help="0, the default, is all cores."
    ),
    click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True),
)
LIMIT = click.option(
    "--max-pixels", type=click.IntRange(1), metavar="N", help="Refuse images of more pixels; 178,956,970 otherwise."
)
MODEL = click.option(
    "--model", default="default", show_default=True, metavar="NAME", help="A model's name, or a weights file."
)
CLASS = click.option("--class", "label", type=click.IntRange(0), metavar="N", help="Of models that know classes.")
ORIGIN = click.option(
    "--origin",
    type=click.Choice(["auto", "none"]),
    default="auto",
    show_default=True,
    help="Whether to look for what an image was rendered from, and to code that.",
)
LOUDNESS = _all(
    click.option("-q", "--quiet", is_flag=True, help="Only errors."),
    click.option("-v", "--verbose", is_flag=True, help="More about each file."),
)


def codec_of(
    model: str, device: str, threads: int, quiet: bool, max_pixels: int | None = None, **options: Any
) -> Codec:
    """The codec that does the work. Loads numpy and Pillow; a model only when it is used."""
    import logging
    import warnings

    from PIL import Image

    logging.getLogger("lgcodec").setLevel(logging.ERROR if quiet else logging.WARNING)
    warnings.simplefilter("default")
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit itself stands, as an error
    warnings.showwarning = report.warned
    if max_pixels is not None:
        Image.MAX_IMAGE_PIXELS = -(-max_pixels // 2)  # Pillow raises at twice this
    return lgcodec.Codec(model=model, device=device, threads=threads or None, max_pixels=max_pixels, **options)
