"""`lgcodec manual`: the manual page, from the help texts, in troff with man's macros."""

from __future__ import annotations

from collections.abc import Iterator

import click

import lgcodec


@click.command()
def manual() -> int:
    """Print the manual page: lgcodec manual > lgcodec.1."""
    from lgcodec.cli.main import program

    click.echo(_page(program, "lgcodec", lgcodec.__version__), nl=False)
    return 0


def _page(program: click.Group, name: str, version: str) -> str:
    """The page of a program and all its commands."""
    context = click.Context(program, info_name=name)
    lines = [f'.TH {name.upper()} 1 "" "{name} {version}"', ".SH NAME"]
    lines.append(f"{name} \\- {_line(program.get_short_help_str(200))}")
    lines += [".SH SYNOPSIS", f".B {name}", "COMMAND [OPTIONS] ...", ".SH DESCRIPTION", *_paragraphs(program.help)]
    lines.append(".SH COMMANDS")
    for command in program.list_commands(context):
        found = program.get_command(context, command)
        if found is not None and not found.hidden:
            lines += _command(found, click.Context(found, info_name=command, parent=context))
    return "\n".join(lines) + "\n"


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f".SS {_line(f'{context.command_path} ' + ' '.join(command.collect_usage_pieces(context)))}"
    yield from _paragraphs(command.help)
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            yield from (".TP", f".B {_line(record[0])}", _line(record[1]))


def _paragraphs(text: str | None) -> Iterator[str]:
    for number, paragraph in enumerate((text or "").split("\n\n")):
        if number:
            yield ".PP"
        yield _line(paragraph)


def _line(text: str) -> str:
    """Text as one line that troff takes as it is."""
    escaped = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
