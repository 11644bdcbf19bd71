"""Makes golden files of what is around the pixels: alpha, palettes, depths, PNG chunks, and sets of images.

`python tests/golden/make_pictures.py NAME...`. See README.md.
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext

import numpy as np
from keep import Made, kept, main, model_alone
from make_families import digits, picture
from numpy.typing import NDArray

from lgcodec import Codec
from lgcodec.image import MODES, Chunk, Picture

CODEC = Codec("fast", tile=(24, 40))
GAMMA = (b"gAMA", struct.pack(">I", 45455))
CHUNKS: tuple[Chunk, ...] = (
    GAMMA,
    (b"iCCP", b"none\0\0" + zlib.compress(bytes(range(128)))),
    (b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
    (b"IDAT", b""),
    (b"tEXt", b"Title\0rings"),
    (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"),
    (b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
    (b"tIME", struct.pack(">H5B", 2000, 1, 2, 3, 4, 5)),
    (b"prVt", b"of a program that we do not know"),
)
DESCRIPTION: tuple[Chunk, ...] = (
    (b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
    (b"tEXt", b"Software\0Adobe ImageReady"),
    (
        b"iTXt",
        b'XML:com.adobe.xmp\0\0\0\0\0<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?> '
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"> <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"> '
        b"</rdf:RDF> </x:xmpmeta>",
    ),
)
STREAMS: tuple[Chunk, ...] = (  # stored, as any deflate does it
    (b"iCCP", b"ICC profile\0\0" + zlib.compress(b"acspAPPLXYZ none" * 20, 0)),
    (b"zTXt", b"Comment\0\0" + zlib.compress(b"Created with GIMP " * 9, 0)),
    (b"iTXt", b"Title\0\1\0en\0Titel\0" + zlib.compress(b"rings " * 30, 0)),
)


def alpha(height: int, width: int) -> NDArray[np.uint8]:
    """Soft with grain: uint8 [height, width, 1]."""
    y, x = np.indices((height, width))
    return ((y * 31 + x * 17) % 3 + x * y // 20 + 60).astype(np.uint8)[..., None]


def of_samples(mode: int, depth: int, chunks: tuple[Chunk, ...], samples: NDArray[np.uint8]) -> Made:
    """A file whose every tile is the model's, where it codes this mode."""
    height, width, _ = samples.shape
    whole = Picture(MODES[mode], width, height, depth, chunks, samples)
    with model_alone() if whole.mode.levels == 256 else nullcontext():
        return kept(CODEC.compress(whole), whole)


def palette(colours: NDArray[np.integer]) -> tuple[Chunk, ...]:
    """A palette in which neighbours are far apart, and the transparency of its first entries."""
    mixed = np.random.default_rng(3).permutation(colours.astype(np.uint8))
    return GAMMA, (b"PLTE", mixed.tobytes()), (b"tRNS", bytes([0, 128, 255]))


def of_palette(chunks: tuple[Chunk, ...], image: NDArray[np.uint8]) -> Made:
    """The nearest colours to an image [H, W, 3]."""
    colours = np.frombuffer(chunks[1][1], np.uint8).reshape(-1, 3).astype(int)
    far = ((image[:, :, None].astype(int) - colours) ** 2).sum(axis=3)
    return of_samples(3, 8, chunks, far.argmin(axis=2).astype(np.uint8)[..., None])


def of_set(codec: Codec, images: Mapping[str, NDArray[np.uint8]]) -> Made:
    with model_alone():
        return kept(codec.compress_set(images), images)


GREYS = np.repeat(np.arange(200)[:, None], 3, axis=1)
CUBE = np.indices((6, 6, 6)).reshape(3, -1).T * 40
TILES = {"first.png": digits(2, 3), "more/second.png": digits(1, 2)[:, ::-1], "third": digits(3, 1)}
CASES: dict[str, Callable[[], Made]] = {
    "picture-alpha": lambda: of_samples(5, 8, (), np.concatenate([picture(30, 34), alpha(30, 34)], axis=2)),
    "picture-grey-alpha": lambda: of_samples(2, 8, (), np.concatenate([picture(31, 33)[..., :1], alpha(31, 33)], 2)),
    "picture-grey-as-colour": lambda: of_samples(4, 8, (), picture(30, 32)[..., :1].repeat(3, axis=2)),
    "picture-palette": lambda: of_palette(palette(CUBE), picture(32, 30)),
    "picture-grey-palette": lambda: of_palette(palette(GREYS), picture(32, 30)[..., :1].repeat(3, axis=2)),
    "picture-palette-of-16": lambda: of_samples(3, 4, palette(GREYS[::13]), picture(20, 30)[..., :1] // 13),
    "picture-4-bits": lambda: of_samples(1, 4, CHUNKS[2:3], picture(20, 30)[..., :1] % 16 * 17),
    "picture-16-bits": lambda: of_samples(6, 16, (GAMMA, (b"tRNS", b"\x01\x02")), picture(20, 30)[..., :2]),
    "picture-deep-grey-alpha": lambda: of_samples(8, 16, (), picture(20, 30).repeat(2, axis=2)[..., :4]),
    "picture-deep": lambda: of_samples(9, 16, (GAMMA,), picture(20, 30).repeat(2, axis=2)),
    "picture-deep-alpha": lambda: of_samples(10, 16, (), picture(20, 30).repeat(3, axis=2)[..., :8]),
    "picture-chunks": lambda: of_samples(4, 8, CHUNKS, picture(30, 34)),
    "picture-described": lambda: of_samples(4, 8, DESCRIPTION, picture(30, 34)),
    "picture-opened": lambda: of_samples(4, 8, STREAMS, picture(30, 34)),
    "set-explicit": functools.partial(of_set, CODEC, {"a.png": picture(30, 34), "b/a.png": picture(24, 31)}),
    "set-chain": functools.partial(of_set, Codec("vae-mnist"), TILES),
}

if __name__ == "__main__":
    main(CASES)
