"""`lgcodec train`: one command for each family, which is imported when it is asked for."""

from __future__ import annotations

from importlib.util import find_spec

import click

from lgcodec.models.errors import ModelError
from lgcodec.models.families import FAMILIES, part
from lgcodec.models.optional import needs


class Families(click.Group):
    """The `command` of each family's training module."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(FAMILIES)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in FAMILIES:
            return None
        try:
            with needs("torch", "training"):
                command: click.Command = part(name, "training").command
        except ModelError as e:
            raise click.ClickException(str(e)) from e
        return command


@click.group(cls=Families, invoke_without_command=True)
@click.pass_context
def train(context: click.Context) -> None:
    """Train a model family on your own images.

    torchrun --nproc-per-node N -m lgcodec -- train .. takes a process for each of N devices, with batches of its own.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
    elif find_spec("torch") is not None:
        from lgcodec.models.training.processes import joined

        context.with_resource(joined())
