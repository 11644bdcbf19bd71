"""The page of benchmark results, as text and in a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from strategies import texture

from lgcodec.cli.bench.measure import Environment, Results, Row, summarise
from lgcodec.cli.bench.page import page, write_html

HOSTILE = "<img src=x onerror=document.title='hacked'>.png"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Five hundred images under two codecs; one has a hostile name, and only some are there to be shown."""
    names = [HOSTILE, *(f"{i:03}.png" for i in range(499))]
    for name in names[:20]:
        Image.fromarray(texture(60, 90, 3)).save(tmp_path / name)
    rows = [
        Row(name, codec, "library", 90, 60, 3, size + 7 * i % 1000, 0.1, 0.01, 8 * size if ours else None)
        for i, name in enumerate(names)
        for codec, size, ours in (("lgcodec-default-e3", 3000, True), ("<b>jxl</b>", 3500, False))
    ]
    where = Environment("0.1.0", "", "3.11", "2.4", "a <cpu>", 2, 2, "cpu", "2026-01-01T00:00Z")
    return Results(where, rows, summarise(rows, {}))


class Elements(HTMLParser):
    """Collects a page's elements. Attributes as a dict for each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_names_are_escaped_and_nothing_is_loaded_from_elsewhere(results: Results, tmp_path: Path) -> None:
    text = page(results, tmp_path, f"results of {HOSTILE}")
    elements = Elements(text).found
    pictures = [attributes for tag, attributes in elements if tag == "img"]
    assert len(pictures) == 20
    assert all(str(attributes["src"]).startswith("data:image/jpeg;base64,") for attributes in pictures)
    assert not any(name.startswith("on") for _, attributes in elements for name in attributes)
    assert not any(tag in ("link", "iframe", "b", "object") for tag, _ in elements)
    assert not re.search(r"https?://|@import|url\(", text)
    assert sum(tag == "tr" for tag, _ in elements) == 1 + 2 + 1 + 500
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_it_works_in_a_browser(results: Results, tmp_path: Path) -> None:
    write_html(tmp_path / "report.html", results, tmp_path, f"results of {HOSTILE}")
    click = "document.querySelectorAll('table')[1].tHead.rows[0].cells[3].querySelector('button').click();"
    probe = (
        f"{click}{click}const rows = [...document.querySelectorAll('table')[1].tBodies[0].rows];"
        "const rates = rows.map(row => +row.cells[3].dataset.value);"
        "document.title = [rows.length, rates.every((r, i) => !i || rates[i - 1] >= r),"
        "document.documentElement.scrollWidth <= innerWidth, document.images[0].naturalWidth > 0].join();"
    )
    page_text = (tmp_path / "report.html").read_text()
    probed = page_text.replace("</body>", f"<script>addEventListener('load', () => {{{probe}}})</script></body>")
    (tmp_path / "probed.html").write_text(probed)

    def browse(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--window-size=500,900",
                   "--virtual-time-budget=3000", *arguments]  # fmt: skip
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)

    run = browse("--dump-dom", f"file://{tmp_path}/probed.html")
    assert "<title>500,true,true,true</title>" in run.stdout
    assert "CONSOLE" not in run.stderr
    run = browse(f"--screenshot={tmp_path / 'report.png'}", f"file://{tmp_path}/report.html")
    assert "CONSOLE" not in run.stderr
    with Image.open(tmp_path / "report.png") as shot:
        assert len(shot.convert("RGB").getcolors(1 << 24) or ()) > 50
