"""Completion in a shell, and the manual page."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lgcodec.cli.main import COMMANDS, program


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_commands_and_options(tmp_path: Path, installed: dict[str, str]) -> None:
    script = tmp_path / "lgcodec"
    script.write_text(f"#!{sys.executable}\nfrom lgcodec.cli.main import main\nmain()\n")
    script.chmod(0o755)
    environment = {**installed, "PATH": f"{tmp_path}:{installed['PATH']}"}

    def complete(*words: str) -> list[str]:
        line = 'eval "$(lgcodec completion bash)"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
        command = ["bash", "-c", f'{line} _lgcodec_completion lgcodec; echo "${{COMPREPLY[@]}}"', "_", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()

    assert complete("lgcodec", "compr") == ["compress"]
    assert complete("lgcodec", "compress", "--skip") == ["--skip-existing"]


def test_the_manual_has_every_command() -> None:
    context = click.Context(program)
    text = CliRunner().invoke(program, ["manual"]).output
    assert text.startswith('.TH LGCODEC 1 "" "lgcodec ')
    for name in COMMANDS:
        command = program.get_command(context, name)
        assert f".SS lgcodec {name}".replace("-", "\\-") in text
        for parameter in command.params:
            for option in parameter.opts:
                assert option.startswith("-") is False or option.replace("-", "\\-") in text
    groff = shutil.which("groff")
    if groff is not None:
        run = subprocess.run([groff, "-man", "-ww", "-z"], input=text, capture_output=True, text=True, check=True)
        assert run.stderr == ""
