"""The program: its commands by name, each imported when it is asked for, and how it starts and ends."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

import lgcodec
from lgcodec.cli import commands, report

# Tiles are what runs in parallel here. Threads inside numpy's small products only wait for each other (twice as slow).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
SIGNALLED = 128  # the exit code, and which signal ended the work
GARBAGE = 300_000  # objects between two collections; imports make many, and none of them is garbage

# What a command is called, and its file in commands/, which has it under the file's name.
COMMANDS = {
    name: name
    for name in (
        "bench", "completion", "compress", "decompress", "inspect", "manual", "models", "preview", "sample", "score",
        "train", "verify", "view",
    )
} | {"info": "inspect"}  # fmt: skip


class Program(click.Group):
    """A group of COMMANDS whose errors are one line, and whose exit code is what the command returns: 0 or 1."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        name = COMMANDS[name]
        command: click.Command = getattr(import_module(f"{commands.__name__}.{name}"), name)
        return command

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            hint = f" (see {context.command_path} --help)" if context else ""
            if isinstance(error, click.NoSuchOption) and any(map(_is_file, args or sys.argv[1:])):
                hint = " (files whose names begin with - go behind --)"
            report.complain(error.format_message() + hint)
            code = 1
        except click.Abort:
            code = SIGNALLED + (report.stopped_by or signal.SIGINT)
        except report.EXPECTED as error:
            report.complain(error)
            code = 1
        sys.exit(code if isinstance(code, int) else 0)  # of commands that return nothing


def _is_file(argument: str) -> bool:
    """Whether it looks like an option and is a file."""
    return argument.startswith("-") and os.path.lexists(argument)


@click.group(cls=Program, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(lgcodec.__version__, prog_name="lgcodec", message="%(prog)s %(version)s")
@click.pass_context
def program(context: click.Context) -> None:
    """Lossless image compression with learned likelihoods.

    `-` is stdin or stdout. Nothing is overwritten without -f, and inputs stay as they are.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> None:
    """The console script. It starts and ends faster than interpreters do."""
    report.open_streams()
    gc.set_threshold(GARBAGE)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # nohup, or a script's background
            signal.signal(number, report.interrupt)
    sys.unraisablehook = report.dropped
    try:
        program(prog_name="lgcodec")
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, AttributeError):  # a pipe that was closed, or a stream that never was
                stream.flush()
        os._exit(end.code)  # nothing is left to do but to free memory piece by piece
