"""`lgcodec models`: what is installed."""

from __future__ import annotations

import click

from lgcodec.cli import report


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As a JSON array.")
def models(as_json: bool) -> int:
    """List the models in this installation."""
    from lgcodec.models import registry

    click.echo(report.models_json(registry.RECORDS) if as_json else report.models(registry.RECORDS))
    return 0
