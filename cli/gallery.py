"""A gallery of .lgc and .lgcs files in the browser, served to this machine alone.

    /            all files, in small; those with a preview are shown by it, others are decoded when they come into view
    /item/N      one of them: its picture, what its header says, where its bits went
    /small/N  /picture/N  /bits/N     the pictures themselves

Pages hold no scripts and load nothing from elsewhere.
"""

from __future__ import annotations

import functools
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import lgcodec
from lgcodec import sets
from lgcodec.cli import files, heatmap, report
from lgcodec.errors import LgcodecError
from lgcodec.image import Picture

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")  # of a Host header: another one is another site's page that asks us
SIDE = 224  # pixels of the longer side of what is shown in small
KEPT = 512  # small pictures that are remembered
POLICY = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1e293b; --faint: #64748b; --line: #e2e8f0; --box: #f1f5f9 }
@media (prefers-color-scheme: dark) {
  :root { --ground: #0f172a; --ink: #e2e8f0; --faint: #94a3b8; --line: #334155; --box: #1e293b }
}
body { margin: 0 auto; max-width: 80rem; padding: 1rem; background: var(--ground); color: var(--ink);
  font: 16px/1.45 system-ui, sans-serif }
h1 { font-size: 1.4rem; overflow-wrap: anywhere }
a { color: inherit }
.all { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .8rem; padding: 0;
  list-style: none }
.all a { display: block; text-decoration: none }
.all .box { display: grid; place-items: center; aspect-ratio: 1; background: var(--box); border-radius: .4rem;
  overflow: hidden }
.all img { max-width: 100%; max-height: 100%; object-fit: contain }
.all span { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; font-size: .85rem }
.all .faint, p, figcaption { color: var(--faint) }
figure { margin: 1rem 0 }
figure img { max-width: 100%; height: auto }
pre { overflow-x: auto; padding: .8rem; background: var(--box); border-radius: .4rem }
"""


@dataclass(frozen=True)
class Item:
    """A file, or one within a set."""

    name: str
    path: Path
    member: str | None = None

    def data(self) -> bytes:
        data = self.path.read_bytes()
        return data if self.member is None else bytes(sets.read(data)[self.member])


def items(folder: Path) -> Iterator[Item]:
    """All files and members of sets below a folder, by name; damaged sets give none."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_file():
            continue
        if path.suffix == files.PACKED:
            yield Item(name, path)
        elif path.suffix == files.SET:
            try:
                yield from (Item(f"{name}/{member}", path, member) for member in sets.read(path.read_bytes()))
            except LgcodecError:
                continue


@dataclass
class Gallery:
    """What is shown. Pictures are decoded one at a time, and small ones remembered."""

    title: str
    items: Sequence[Item]
    codec: lgcodec.Codec
    _one: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.small = functools.lru_cache(KEPT)(self._small)

    def page(self) -> str:
        shown = "\n".join(map(self._box, range(len(self.items))))
        count = f"{len(self.items)} image{'s' if len(self.items) != 1 else ''}"
        return _page(self.title, f"<p>{count}</p>\n<ul class=all>\n{shown}\n</ul>")

    def _box(self, place: int) -> str:
        name = escape(self.items[place].name)
        picture = f'<span class=box><img loading=lazy alt="not shown" src="/small/{place}"></span>'
        return f'<li><a href="/item/{place}" title="{name}">{picture}<span>{name}</span></a></li>'

    def item(self, place: int) -> str:
        """The page of one image. Raises as what reads it does."""
        item = self.items[place]
        around = [(place - 1, "previous"), (place + 1, "next")]
        links = [f'<a href="/item/{at}">{word}</a>' for at, word in around if 0 <= at < len(self.items)]
        parts = [f"<p>{' · '.join(['<a href=/>all</a>', *links])}</p>"]
        parts.append(f'<figure><img alt="not shown" src="/picture/{place}"></figure>')
        data = item.data()
        parts.append(f"<pre>{escape(report.details(lgcodec.inspect(data)))}</pre>")
        try:
            heatmap.rates_of(data)
        except LgcodecError as error:
            parts.append(f"<p>{escape(str(error))}</p>")
        else:
            parts.append(f'<figure><img alt="" src="/bits/{place}"><figcaption>bits a pixel</figcaption></figure>')
        return _page(item.name, "\n".join(parts))

    def picture(self, place: int) -> bytes:
        """A PNG file of all pixels."""
        with self._one:
            image = _shown(self.codec.decode(self.items[place].data()))
        return _saved(image, "PNG")

    def _small(self, place: int) -> bytes:
        """A small JPEG file, of the preview where there is one."""
        data = self.items[place].data()
        with self._one:
            if lgcodec.inspect(data).preview_bytes:
                image = Image.fromarray(self.codec.preview(data))
            else:
                image = _shown(self.codec.decode(data))
        image.thumbnail((SIDE, SIDE))
        return _saved(image.convert("RGB"), "JPEG")

    def bits(self, place: int) -> bytes:
        """A PNG file of where the bits went."""
        return heatmap.draw(self.items[place].data())


def _shown(picture: Picture) -> Image.Image:
    """A Pillow image of 8 bits a sample; of 16 bits, as light as the largest value allows."""
    if picture.mode.levels == 1 << 16:
        values = picture.array().astype(np.uint32)
        return Image.fromarray((255 * values // max(1, int(values.max()))).astype(np.uint8))
    image = picture.image()
    return image if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA") else image.convert("L")


def _page(title: str, body: str) -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n{body}\n"
        "</body>\n</html>\n"
    )


def _saved(image: Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Answers GET alone."""

    gallery: Gallery
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in NAMES:
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", b"for this machine alone")
            return
        kind, _, place = self.path.strip("/").partition("/")
        known: dict[str, tuple[str, Callable[[int], Any]]] = {
            "item": ("text/html; charset=utf-8", self.gallery.item),
            "small": ("image/jpeg", self.gallery.small),
            "picture": ("image/png", self.gallery.picture),
            "bits": ("image/png", self.gallery.bits),
        }
        if self.path == "/":
            self._answer(HTTPStatus.OK, "text/html; charset=utf-8", self.gallery.page().encode())
            return
        if kind not in known or not place.isdecimal() or int(place) >= len(self.gallery.items):
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"no such page")
            return
        form, make = known[kind]
        try:
            made = make(int(place))
        except report.EXPECTED as error:
            text = _page(self.gallery.items[int(place)].name, f"<p><a href=/>all</a></p><p>{escape(str(error))}</p>")
            self._answer(HTTPStatus.UNPROCESSABLE_ENTITY, "text/html; charset=utf-8", text.encode())
            return
        self._answer(HTTPStatus.OK, form, made.encode() if isinstance(made, str) else made)

    def _answer(self, status: HTTPStatus, form: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", form)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, form: str, *values: object) -> None:
        """Nothing: what a browser asks for is no news."""


def server(gallery: Gallery, port: int) -> ThreadingHTTPServer:
    """A server of the gallery; port 0 is any that is free. Raises OSError where the port is taken."""
    handler = type("GalleryHandler", (Handler,), {"gallery": gallery})
    made = ThreadingHTTPServer((HOST, port), handler)
    made.daemon_threads = True
    return made
