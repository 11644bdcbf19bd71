"""Makes origin-*.lgc and .npy: `python tests/golden/make_origins.py`, once for each version of the format.

Never run by tests; refuses to replace a file. Parts are coded by plain methods, so that no model decides these bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lgcodec import container
from lgcodec.codec import Codec
from lgcodec.encode import encode_plan
from lgcodec.image import BY_PILLOW, Picture
from lgcodec.origins import depth, exceptions
from lgcodec.origins.conversions import CONVERSIONS, FOUR_FOUR_FOUR
from lgcodec.origins.form import Rendering, size_of
from lgcodec.origins.levels import Levels
from lgcodec.origins.origin import Origin
from lgcodec.origins.rendered import Rendered
from lgcodec.plan import without_model
from lgcodec.readers import read
from lgcodec.work import Meter, run

HEIGHT, WIDTH = 21, 26


def origins() -> Iterator[tuple[str, Origin]]:
    """A name and an origin, for each row of the tables of FORMAT.md."""
    triangle, copies = CONVERSIONS[0].enlargements[0], CONVERSIONS[0].enlargements[2]
    wide, beside = CONVERSIONS[0].enlargements[1], CONVERSIONS[1].enlargements[0]
    for name, conversion, of, top, left, edges in (
        ("jpeg-420", 0, triangle, 0, 0, (True, True)),
        ("jpeg-420-cut", 0, triangle, 2, 1, (False, False)),
        ("jpeg-420-turned", 0, triangle.mirrored().turned(), 1, 2, (True, False)),
        ("jpeg-422", 0, wide, 0, 1, (True, True)),
        ("jpeg-440", 0, wide.turned(), 1, 0, (True, True)),
        ("jpeg-444", 0, FOUR_FOUR_FOUR, 0, 0, (True, True)),
        ("jpeg-copies", 0, copies, 1, 0, (True, True)),
        ("photo-cd", 1, beside, 0, 0, (True, True)),
        ("photo-cd-turned", 1, beside.mirrored().turned(), 0, 1, (True, True)),
        ("webp", 2, CONVERSIONS[2].enlargements[0], 0, 0, (True, True)),
        ("bt601", 3, CONVERSIONS[3].enlargements[0], 0, 0, (True, True)),
        ("bt709", 4, CONVERSIONS[4].enlargements[0], 0, 0, (True, True)),
    ):
        sizes = size_of(of.rows, top, HEIGHT, edges[0]), size_of(of.columns, left, WIDTH, edges[1])
        rendering = Rendering(conversion, of, top, left, HEIGHT, WIDTH, *sizes)
        patches = ((3, 4, 12, 9), (10, 8, 26, 21)) if name == "jpeg-420-cut" else ()
        yield name, Rendered(rendering, name == "jpeg-422", patches)
    yield "levels-grey", Levels("L", WIDTH, HEIGHT, ((0, 3, 9, 200),), False)
    yield "levels-colour", Levels("RGB", WIDTH, HEIGHT, ((5,), (1, 2, 255), (0, 7, 8, 9)), False)
    yield "levels-tinted", Levels("RGBA", WIDTH, HEIGHT, ((0, 9, 20), (1, 10, 30), (2, 3, 4), (0, 255)), True)
    yield "levels-16", Levels("I;16", WIDTH, HEIGHT, ((257, 300, 65535),), False)


def make(name: str, origin: Origin, random: np.random.Generator) -> tuple[bytes, NDArray[np.generic]]:
    tables = getattr(origin, "tables", ())
    parts, files, codec = [], [], Codec(verify=False)
    for what in origin.parts():
        mode = BY_PILLOW[what.mode]
        shape = (what.height, what.width, mode.channels)
        walk = 128 + np.cumsum(random.integers(-9, 10, shape), 1) + random.integers(-60, 61, (1, 1, mode.channels))
        samples = np.clip(walk, 0, 255).astype(np.uint8)
        if tables:
            counts = [len(t) for t in tables]
            limits = [counts[0], *counts[3:]] if getattr(origin, "one", False) else counts
            samples = (samples % np.array(limits)).astype(np.uint8)
        picture = Picture(mode, what.width, what.height, 8, (), samples)
        digest = container.digest_of(picture.strips())
        meter = Meter(None, picture.area, 1)
        files.append(run([encode_plan(picture, without_model(picture), digest, codec, meter)])[0][0])
        parts.append(samples)
    rendered = origin.render(parts, (0, 0, WIDTH, HEIGHT))
    wanted = rendered.copy()
    if name in ("jpeg-420", "jpeg-422", "photo-cd"):
        wanted[random.integers(0, HEIGHT, 9), random.integers(0, WIDTH, 9)] += np.uint8(3)
    picture = _picture(origin, wanted)
    data = container.write_origin(
        mode=picture.mode,
        depth=picture.depth,
        size=(WIDTH, HEIGHT),
        digest=container.digest_of([wanted]),
        chunks=(),
        origin=origin.write(),
        exceptions=exceptions.pack(wanted, rendered)[0],
        parts=files,
    )
    return data, picture.array()


def deep() -> Iterator[tuple[str, NDArray[np.uint16]]]:
    """A name and an image of 16 bits a sample for each kind of table: steps or none, with alpha, and without bits."""
    random = np.random.Generator(np.random.PCG64(3))
    for name, channels, step in (("grey", (), 1), ("listed", (3,), 7), ("alpha", (4,), 1), ("few", (), 300),
                                 ("runs", (), 16)):  # fmt: skip
        walk = 40 * np.cumsum(random.integers(-9, 10, (HEIGHT, WIDTH, *channels)), 1) + 30000
        yield f"deep-{name}", (step * ((walk + random.integers(0, 40, walk.shape)) // step)).astype(np.uint16)


def make_deep(array: NDArray[np.uint16]) -> bytes:
    picture, codec = read(array), Codec(verify=False)
    found = depth.invert(picture)
    assert found is not None
    parts = []
    for what, samples in zip(found.origin.parts(), found.parts, strict=True):
        assert not isinstance(samples, bytes)
        part = Picture(BY_PILLOW[what.mode], what.width, what.height, 8, (), samples)
        digest, meter = container.digest_of(part.strips()), Meter(None, part.area, 1)
        parts += run([encode_plan(part, without_model(part), digest, codec, meter)])[0]
    return container.write_origin(
        mode=picture.mode,
        depth=picture.depth,
        size=(WIDTH, HEIGHT),
        digest=container.digest_of(picture.strips()),
        chunks=(),
        origin=found.origin.write(),
        exceptions=b"",
        parts=parts,
    )


def _picture(origin: Origin, samples: NDArray[np.uint8]) -> Picture:
    if getattr(origin, "mode", "") == "I;16":
        return read(samples.view("<u2")[..., 0].astype(np.uint16))
    return read(samples[..., 0] if samples.shape[2] == 1 else samples)


def main() -> None:
    random = np.random.Generator(np.random.PCG64(16))
    folder = Path(__file__).parent
    made = [(name, *make(name, origin, random)) for name, origin in origins()]
    made += [(name, make_deep(array), array) for name, array in deep()]
    for name, data, array in made:
        with (folder / f"origin-{name}.lgc").open("xb") as file:
            file.write(data)
        with (folder / f"origin-{name}.npy").open("xb") as file:
            np.save(file, array)


if __name__ == "__main__":
    main()
