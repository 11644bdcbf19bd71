"""Pixels of JPEG files are those that Pillow's libjpeg-turbo gives, wholly and in boxes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, features

from lgcodec.jpeg.dictionary import LUMA, steps
from lgcodec.jpeg.errors import JpegError
from lgcodec.jpeg.file import parse, shape_of, write
from lgcodec.jpeg.pixels import Pixels
from lgcodec.jpeg.rest import pack

pytestmark = pytest.mark.skipif(not features.check_feature("libjpeg_turbo"), reason="Pillow has another libjpeg")


def noise(width: int, height: int, channels: int, seed: int = 0) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    values = np.clip(random.normal(128, 70, (height, width, channels)), 0, 255).astype(np.uint8)
    return values[..., 0] if channels == 1 else values


def check(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        wanted = np.asarray(image).reshape(image.height, image.width, -1)
    found = parse(data)
    pixels = Pixels(found.rest, [plane.coefficients for plane in found.planes])
    assert np.array_equal(pixels.all(), wanted)
    random = np.random.default_rng(len(data))
    for _ in range(4):
        x0, y0 = int(random.integers(found.width)), int(random.integers(found.height))
        x1, y1 = int(random.integers(x0, found.width)) + 1, int(random.integers(y0, found.height)) + 1
        assert np.array_equal(pixels.box((x0, y0, x1, y1)), wanted[y0:y1, x0:x1])


SIZES = [(1, 1), (2, 3), (3, 2), (5, 5), (16, 16), (17, 31), (33, 40), (4, 9), (1, 33), (6, 1)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sampling", ["grey", "4:4:4", "4:2:2", "4:2:0", "4:1:1"])
def test_pixels_are_those_of_pillow(size: tuple[int, int], sampling: str) -> None:
    for quality in (1, 20, 50, 75, 92, 100):
        out = io.BytesIO()
        image = Image.fromarray(noise(*size, 1 if sampling == "grey" else 3, quality))
        options = {} if sampling == "grey" else {"subsampling": sampling}
        image.save(out, "JPEG", quality=quality, progressive=quality % 2 == 0, **options)
        check(out.getvalue())


def test_bands_meet() -> None:
    out = io.BytesIO()
    Image.fromarray(noise(20000, 100, 3)).save(out, "JPEG")
    check(out.getvalue())


def made(factors: list[tuple[int, int]], names: bytes = b"\1\2\3", before: bytes = b"", scans: str = "003f00") -> bytes:
    """A file of some coefficients, 37 x 29 pixels, one scan for each component."""

    def segment(kind: int, content: bytes) -> bytes:
        return bytes([0xFF, kind]) + (len(content) + 2).to_bytes(2, "big") + content

    components = b"".join(bytes([name, h << 4 | v, 0]) for name, (h, v) in zip(names, factors, strict=True))
    kind = 0xC0 if scans == "003f00" else 0xC2
    skeleton = b"\xff\xd8" + before + segment(0xDB, b"\0" + steps(70, LUMA))
    skeleton += segment(kind, b"\x08\0\x1d\0\x25" + bytes([len(factors)]) + components)
    for name in names:
        skeleton += b"\xff\xc4\1\x80" + (b"\xff\xc4\1\x90" if kind == 0xC0 else b"")
        skeleton += segment(0xDA, bytes([1, name, 0]) + bytes.fromhex(scans))
    rest = pack(skeleton + b"\xff\xd9", [])
    random = np.random.default_rng(len(factors))
    planes = [random.normal(0, 3, (of.rows, of.columns, 64)).astype(np.int16) for of in shape_of(rest).planes]
    return write(rest, planes)


@pytest.mark.parametrize(
    "factors",
    [
        [(1, 2), (1, 1), (1, 1)],
        [(4, 2), (1, 1), (2, 1)],
        [(2, 4), (1, 1), (1, 2)],
        [(1, 1), (2, 2), (1, 2)],
        [(3, 3), (1, 1), (1, 3)],
    ],
)
def test_samplings_that_pillow_does_not_write(factors: list[tuple[int, int]]) -> None:
    check(made(factors))


APP0 = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
APP14 = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"


@pytest.mark.parametrize("names", [b"\1\2\3", b"RGB", b"\0\1\2"])
@pytest.mark.parametrize("before", [b"", APP0, APP14 + b"\0", APP14 + b"\1", APP0 + APP14 + b"\0"])
def test_colours_are_guessed_as_libjpeg_does(names: bytes, before: bytes) -> None:
    check(made([(1, 1)] * 3, names, before))


def test_what_has_no_pixels_is_refused() -> None:
    for data, words in (
        (made([(1, 1)] * 4, b"CMYK"), "4 components"),
        (made([(3, 1), (2, 1), (1, 1)]), "divide"),
        (made([(1, 1)], b"\1", scans="000001"), "not tell all"),
    ):
        found = parse(data)
        with pytest.raises(JpegError, match=words):
            Pixels(found.rest, [plane.coefficients for plane in found.planes])
    found = parse(made([(1, 1)] * 3))
    with pytest.raises(JpegError, match="coefficients"):
        Pixels(found.rest, [plane.coefficients[1:] for plane in found.planes])
