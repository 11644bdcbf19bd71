"""Makes golden files of JPEG files that are kept: `python tests/golden/make_kept.py NAME...`. See README.md."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from keep import Made, main
from PIL import Image

import lgcodec

SIZE = (61, 45)


def jpeg(mode: str = "RGB", size: tuple[int, int] = SIZE, **options: Any) -> bytes:
    """A smooth picture with some noise, saved by Pillow."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    waves = np.stack([128 + 90 * np.sin(x / 9 + y / 31), 3 * y % 256, 255 - 2 * x, 40 + x], axis=2)
    noisy = np.clip(waves + np.random.Generator(np.random.PCG64(12)).normal(0, 5, waves.shape), 0, 255).astype(np.uint8)
    image = Image.fromarray(noisy[..., :3]).convert(mode)
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 85, **options})
    return file.getvalue()


def kept(data: bytes) -> Made:
    return {"lgc": lgcodec.compress(data, threads=1), "jpg": data}


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
            "kept-as-it-is": lambda: kept(jpeg()[:1000]),
        }
    )
