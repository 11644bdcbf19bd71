"""The gallery: what it serves, to whom, and what becomes of damaged files and hostile names."""

from __future__ import annotations

import contextlib
import http.client
import io
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lgcodec
from lgcodec.cli import gallery as view
from lgcodec.readers import read

HOSTILE = "<img src=x onerror=document.title='hacked'>.lgc"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PIXELS = np.tile(np.arange(60, dtype=np.uint8)[:, None, None], (1, 90, 3))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image with a hostile name, one in a folder, a set of two, a damaged file and a damaged set."""
    data = lgcodec.compress(PIXELS, effort=1)
    (tmp_path / HOSTILE).write_bytes(data)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.lgc").write_bytes(lgcodec.compress(PIXELS[..., 0].astype(np.uint16) * 257))
    (tmp_path / "two.lgcs").write_bytes(lgcodec.Codec().compress_set({"x.png": PIXELS, "y.png": PIXELS}))
    (tmp_path / "broken.lgc").write_bytes(data[:-1])
    (tmp_path / "broken.lgcs").write_bytes(b"\x89LGS")
    (tmp_path / "other.txt").write_text("not ours")
    (tmp_path / "folder.lgc").mkdir()
    return tmp_path


@pytest.fixture
def address(folder: Path) -> Iterator[tuple[str, int]]:
    gallery = view.Gallery("a <b>folder</b>", list(view.items(folder)), lgcodec.Codec(threads=1))
    with view.server(gallery, 0) as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield str(served.server_address[0]), int(served.server_address[1])
        served.shutdown()
        thread.join()


def get(address: tuple[str, int], path: str, host: str | None = None) -> tuple[http.client.HTTPResponse, bytes]:
    with contextlib.closing(http.client.HTTPConnection(*address, timeout=60)) as connection:
        connection.request("GET", path, headers={"Host": host or f"localhost:{address[1]}", "Connection": "close"})
        answer = connection.getresponse()
        return answer, answer.read()


def test_all_images_are_listed_by_name_and_names_are_escaped(address: tuple[str, int]) -> None:
    answer, page = get(address, "/")
    text = page.decode()
    assert answer.status == 200
    assert re.findall(r"<span>(.*?)</span></a>", text) == [
        "&lt;img src=x onerror=document.title=&#x27;hacked&#x27;&gt;.lgc", "broken.lgc", "in/b.lgc",
        "two.lgcs/x.png", "two.lgcs/y.png",
    ]  # fmt: skip
    assert "<script" not in text
    assert not re.search(r"https?://|@import|url\(", text)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_pictures_are_those_of_the_files(address: tuple[str, int]) -> None:
    for place in (0, 3):
        answer, data = get(address, f"/picture/{place}")
        assert answer.headers["Content-Type"] == "image/png"
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), PIXELS)
        assert Image.open(io.BytesIO(get(address, f"/small/{place}")[1])).size == (90, 60)
    assert Image.open(io.BytesIO(get(address, "/bits/0")[1])).format == "PNG"
    assert get(address, "/picture/2")[0].status == 200
    page = get(address, "/item/0")[1].decode()
    assert "90x60" in page
    assert "/bits/0" in page


def test_where_the_bits_of_an_origin_went(tmp_path: Path) -> None:
    y, x = np.mgrid[:64, :96]
    noise = np.random.default_rng(1).normal(0, 40, (64, 96))
    data = lgcodec.compress((2048 + 800 * np.sin(x / 19) + 640 * np.cos(y / 13) + noise).astype(np.uint16), effort=1)
    assert lgcodec.inspect(data).origin
    (tmp_path / "deep.lgc").write_bytes(data)
    gallery = view.Gallery("x", list(view.items(tmp_path)), lgcodec.Codec())
    assert "/bits/0" in gallery.item(0)
    assert Image.open(io.BytesIO(gallery.bits(0))).format == "PNG"


def test_samples_of_16_bits_are_shown_as_eight() -> None:
    for shape in ((4, 5), (4, 5, 2), (4, 5, 3), (4, 5, 4)):
        array = np.linspace(0, 4095, int(np.prod(shape))).reshape(shape).astype(np.uint16)
        shown = np.asarray(view._shown(read(array)))
        assert shown.shape == shape
        assert (shown.min(), shown.max()) == (0, 255)


def test_what_is_damaged_is_said(address: tuple[str, int]) -> None:
    for path in ("/item/1", "/small/1", "/picture/1", "/bits/1"):
        answer, page = get(address, path)
        if path != "/bits/1":  # of which the header is enough
            assert (answer.status, b"broken.lgc" in page) == (422, True)


@pytest.mark.parametrize("path", ["/item/5", "/item/-1", "/item/x", "/etc/passwd", "/item/0/../1", "/small/%30"])
def test_there_are_no_other_pages(address: tuple[str, int], path: str) -> None:
    assert get(address, path)[0].status == 404


def test_other_sites_are_refused(address: tuple[str, int]) -> None:
    assert get(address, "/", "evil.example:80")[0].status == 403
    assert get(address, "/", f"127.0.0.1:{address[1]}")[0].status == 200


def test_the_command_prints_its_address(folder: Path) -> None:
    command = [sys.executable, "-m", "lgcodec", "view", str(folder), "-q"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\n", process.stdout.readline())
        assert found is not None
        assert get(("127.0.0.1", int(found[1])), "/")[0].status == 200
        process.terminate()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_shows_it(address: tuple[str, int], tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
        "--window-size=800,600", "--virtual-time-budget=5000", f"--screenshot={shot}", f"http://127.0.0.1:{address[1]}/",
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert shot.is_file(), run.stderr
    assert "CONSOLE" not in "".join(line for line in run.stderr.splitlines() if "422" not in line)
    assert len(np.unique(np.asarray(Image.open(shot).convert("L")))) > 20
