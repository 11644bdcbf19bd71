"""Every Python example of the documentation runs: those of a page in order, in a folder with a small photo.png."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
SECTION = re.compile(r"^## (.+?)$(.*?)(?=^## |\Z)", re.M | re.S)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


def sections() -> list[tuple[str, str]]:
    """The name of each section with examples, and these."""
    found = []
    for page in sorted((ROOT / "docs").glob("*.md")):
        for title, text in SECTION.findall(page.read_text()):
            if code := "\n".join(BLOCK.findall(text)):
                found.append((f"{page.name}: {title}", code))
    return found


@pytest.mark.parametrize(("name", "code"), sections(), ids=[name for name, _ in sections()])
def test_examples_run(tmp_path: Path, installed: dict[str, str], name: str, code: str) -> None:
    for module in re.findall(r"^(?:import|from) (\w+)", code, re.M):
        if module not in ("lgcodec", "PIL"):
            pytest.importorskip(module, reason="the place needs it")
    Image.new("RGB", (64, 48), (90, 120, 30)).save(tmp_path / "photo.png")  # solid: no model is needed
    script = tmp_path / "example.py"
    script.write_text(f'if __name__ == "__main__":\n{indented(code)}')
    run = subprocess.run([sys.executable, script], cwd=tmp_path, env=installed, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def indented(code: str) -> str:
    return "".join(f"    {line}" if line.strip() else line for line in code.splitlines(keepends=True))


@pytest.mark.skipif(shutil.which("mkdocs", path=str(Path(sys.executable).parent)) is None, reason="no mkdocs here")
def test_the_site_builds(tmp_path: Path) -> None:
    mkdocs = Path(sys.executable).parent / "mkdocs"
    command = [mkdocs, "build", "--strict", "--config-file", ROOT / "mkdocs.yml", "--site-dir", tmp_path / "site"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for page in ("index.html", "places/index.html", "format/index.html", "zarr-codec/index.html"):
        assert (tmp_path / "site" / page).is_file()
    python = (tmp_path / "site" / "python" / "index.html").read_text()
    assert "The compressed file of a Pillow image, an array" in python
    assert ":::" not in python
