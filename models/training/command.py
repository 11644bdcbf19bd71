"""`lgcodec train`: one command for each family."""

from __future__ import annotations

import importlib

import click


class Families(click.Group):
    """`ar`, and the `command` of each other family's module, which is imported when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*super().list_commands(context), "continuous", "flow", "vae", "vqvae"]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in self.commands or name not in self.list_commands(context):
            return super().get_command(context, name)
        command: click.Command = importlib.import_module(f"lgcodec.models.families.{name}.training").command
        return command


@click.group(cls=Families)
def main() -> None:
    """Train a model family on your own images."""
