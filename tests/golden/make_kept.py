"""Makes golden files of JPEG files that are kept, and of pixels that are coded as the JPEG they were:
`python tests/golden/make_kept.py NAME...`. See README.md.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from keep import Made, main
from keep import kept as both
from numpy.typing import NDArray
from PIL import Image

import lgcodec
from lgcodec.jpeg import file, idct

SIZE = (61, 45)


def jpeg(mode: str = "RGB", size: tuple[int, int] = SIZE, **options: Any) -> bytes:
    """A smooth picture with some noise, saved by Pillow."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    waves = np.stack([128 + 90 * np.sin(x / 9 + y / 31), 3 * y % 256, 255 - 2 * x, 40 + x], axis=2)
    noisy = np.clip(waves + np.random.Generator(np.random.PCG64(12)).normal(0, 5, waves.shape), 0, 255).astype(np.uint8)
    image = Image.fromarray(noisy[..., :3]).convert(mode)
    out = io.BytesIO()
    image.save(out, "JPEG", **{"quality": 85, **options})
    return out.getvalue()


def kept(data: bytes) -> Made:
    return {"lgc": lgcodec.compress(data, threads=1), "jpg": data}


def described(data: bytes) -> bytes:
    """A JPEG file with metadata as programs write it."""
    xmp = (
        b'http://ns.adobe.com/xap/1.0/\0<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="tests"/>'
        b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )
    return data[:20] + b"\xff\xe1" + (2 + len(xmp)).to_bytes(2, "big") + xmp + data[20:]


def shown(data: bytes, left: int = 0, top: int = 0) -> Made:
    """The pixels of a JPEG file, from a place on, which are coded as its coefficients."""
    return coded(np.asarray(Image.open(io.BytesIO(data)))[top:, left:])


def turned(data: bytes, left: int, top: int) -> Made:
    """As `shown`, turned to the left."""
    return coded(np.ascontiguousarray(np.rot90(np.asarray(Image.open(io.BytesIO(data)))[top:, left:])))


def again(data: bytes, left: int, top: int) -> bytes:
    """What a JPEG file shows, from a place on, saved once more with steps of 1: nearly the first one's coefficients."""
    out = io.BytesIO()
    shows = np.asarray(Image.open(io.BytesIO(data)))[top:, left:]
    Image.fromarray(np.ascontiguousarray(shows)).save(out, "JPEG", quality=100, subsampling=2)
    return out.getvalue()


def by_floats(data: bytes) -> Made:
    """The same of a grey file, by the other inverse transform."""
    (plane,) = file.parse(data).planes
    return coded(idct.plane(plane.coefficients, plane.steps, idct.REAL))


def coded(pixels: NDArray[np.uint8]) -> Made:
    packed = lgcodec.compress(pixels, threads=1)
    if "coefficients" not in str(lgcodec.inspect(packed).origin):
        raise ValueError("this is not coded as coefficients")
    return both(packed, pixels)


def twice() -> bytes:
    """A JPEG file of what a JPEG file showed."""
    out = io.BytesIO()
    Image.open(io.BytesIO(jpeg(size=(296, 200), quality=65))).save(out, "JPEG", quality=96, subsampling=0)
    return out.getvalue()


THUMBNAIL = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + jpeg(size=(32, 24))

if __name__ == "__main__":
    main(
        {
            "kept-baseline": lambda: kept(jpeg()),
            "kept-progressive": lambda: kept(jpeg(progressive=True, subsampling=1)),
            "kept-444": lambda: kept(jpeg(subsampling=0, optimize=True, restart_marker_rows=2)),
            "kept-grey": lambda: kept(jpeg("L", quality=95)),
            "kept-cmyk": lambda: kept(jpeg("CMYK")),
            "kept-inner": lambda: kept(jpeg(exif=THUMBNAIL, comment=b"and again" + THUMBNAIL[20:])),
            "origin-coefficients": lambda: shown(jpeg(size=(136, 104))),
            "origin-coefficients-444": lambda: shown(jpeg(size=(104, 96), subsampling=0, quality=75), 3, 5),
            "origin-coefficients-grey": lambda: shown(jpeg("L", size=(120, 96), quality=80), 5, 2),
            "origin-coefficients-real": lambda: by_floats(jpeg("L", size=(120, 96), quality=80)),
            "origin-coefficients-turned": lambda: turned(jpeg(size=(104, 96), subsampling=1, quality=80), 3, 5),
            "origin-coefficients-noisy": lambda: shown(again(jpeg(size=(136, 104), quality=60), 3, 5)),
            "kept-twice": lambda: kept(twice()),
            "kept-dc-first": lambda: kept(jpeg(size=(75, 50), subsampling=2)),
            "origin-coefficients-dc-first": lambda: shown(jpeg(size=(120, 112), quality=80), 2, 3),
            "kept-described": lambda: kept(described(jpeg())),
            "kept-as-it-is": lambda: kept(jpeg()[:1000]),
        }
    )
