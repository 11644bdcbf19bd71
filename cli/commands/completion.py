"""`lgcodec completion`: what completes commands in a shell."""

from __future__ import annotations

import click

from lgcodec.errors import InputError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """Print what completes our commands in a shell: eval "$(lgcodec completion bash)"."""
    from click.shell_completion import get_completion_class

    from lgcodec.cli.main import program

    kind = get_completion_class(shell)
    if kind is None:
        raise InputError(f"{shell} is no shell that click completes in")
    click.echo(kind(program, {}, "lgcodec", "_LGCODEC_COMPLETE").source())
    return 0
