"""Images that a JPEG shows: its coefficients are found, coded, and shown again."""

from __future__ import annotations

import functools
import io
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import lgcodec
from lgcodec import container, origins
from lgcodec.errors import FormatError, LgcodecError
from lgcodec.jpeg import baseline, idct
from lgcodec.jpeg import file as jpeg
from lgcodec.origins import coefficients, lattice, recovery, search
from lgcodec.origins.conversions import CONVERSIONS
from lgcodec.origins.origin import Inverted
from lgcodec.readers import read

needs_native = pytest.mark.skipif(not search.native.is_available(), reason="searches run in the native library alone")
Samples = NDArray[np.uint8]


def scene(size: tuple[int, int] = (136, 104), light: float = 120, seed: int = 0) -> Image.Image:
    """Waves, edges and noise in colour; light: the mean, far from 128 where areas are to be saturated."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: size[1], : size[0]]
    planes = []
    for a, b, c in random.uniform(-3, 3, (3, 3)):
        wave = light + 60 * np.sin(a * x / 17 + b * y / 13 + c) + 30 * np.sign(np.sin(b * x / 37 - a * y / 29))
        planes.append(wave + random.normal(0, 4, wave.shape))
    return Image.fromarray(np.clip(np.stack(planes, 2), 0, 255).astype(np.uint8))


def decoded(image: Image.Image, **options: Any) -> tuple[bytes, Samples]:
    """A JPEG file, and what it shows."""
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue(), np.asarray(Image.open(io.BytesIO(file.getvalue())))


def turned(samples: Samples, turn: int) -> Samples:
    """One of eight ways; odd ones exchange rows and columns."""
    samples = samples.swapaxes(0, 1) if turn & 1 else samples
    samples = samples[::-1] if turn & 2 else samples
    return np.ascontiguousarray(samples[:, ::-1] if turn & 4 else samples)


def found(samples: Samples) -> Inverted:
    origin = origins.invert(read(np.ascontiguousarray(samples)))[0]
    assert isinstance(origin.origin, coefficients.Coefficients)
    return origin


def compared(samples: Samples) -> tuple[bytes, bytes]:
    """The file by coefficients, which comes back, and the one without them."""
    samples = np.ascontiguousarray(samples)
    small = lgcodec.compress(samples)
    assert np.array_equal(lgcodec.decompress(small), samples)
    with mock.patch.object(recovery, "invert", return_value=[]):
        return small, lgcodec.compress(samples)


@needs_native
@pytest.mark.parametrize(("quality", "subsampling"), [(60, 2), (85, 1), (94, 0)])
def test_decoded_jpegs_are_coded_as_these(quality: int, subsampling: int) -> None:
    data, samples = decoded(scene(), quality=quality, subsampling=subsampling)
    small, planes = compared(samples)
    info = lgcodec.inspect(small)
    assert info.origin == f"JPEG {('4:4:4', '4:2:2', '4:2:0')[subsampling]} coefficients"
    assert len(small) < 0.7 * len(planes)
    assert len(small) < 1.05 * len(data)


@functools.cache
def without_coefficients(samples: bytes, shape: tuple[int, ...]) -> int:
    with mock.patch.object(recovery, "invert", return_value=[]):
        return len(lgcodec.compress(np.frombuffer(samples, np.uint8).reshape(shape), model="fast"))


@needs_native
@pytest.mark.parametrize(("quality", "subsampling", "share"), [(97, 2, 0.85), (98, 0, 0.75), (98, 1, 0.82)])
def test_steps_of_1_are_searched_for(quality: int, subsampling: int, share: float) -> None:
    """The best qualities: noise of rounding is half such a step in one of twelve coefficients. Black is among them."""
    image = scene((264, 200), light=128)
    image.paste((0, 0, 0), (40, 40, 64, 64))
    _, samples = decoded(image, quality=quality, subsampling=subsampling)
    small, planes = compared(samples)
    assert "coefficients" in str(lgcodec.inspect(small).origin)
    assert len(small) < share * len(planes)


@needs_native
@pytest.mark.parametrize("turn", range(8))
@pytest.mark.parametrize(("mode", "subsampling"), [("RGB", 2), ("RGB", 1), ("L", 0)])
def test_turned_and_mirrored_ones_are_coded_as_these(mode: str, subsampling: int, turn: int) -> None:
    data, whole = decoded(scene((139, 101)).convert(mode), quality=80, subsampling=subsampling)
    samples = turned(whole, turn)
    small = lgcodec.compress(samples, model="fast")
    assert np.array_equal(lgcodec.decompress(small), samples)
    assert str(lgcodec.inspect(small).origin).endswith(" coefficients, turned" if turn & 1 else " coefficients")
    assert len(small) < min(0.7 * without_coefficients(whole.tobytes(), whole.shape), 1.05 * len(data))


@needs_native
def test_the_jpeg_of_a_turned_picture_is_that_of_the_picture() -> None:
    _, samples = decoded(scene(), quality=80, subsampling=1)
    assert found(turned(samples, 1)).parts == found(samples).parts


@needs_native
@pytest.mark.parametrize(("mode", "top", "left"), [("RGB", 3, 5), ("RGB", 8, 16), ("L", 8, 16)])
def test_jpegs_saved_once_more_are_nearly_the_first(mode: str, top: int, left: int) -> None:
    """No block comes back, but most samples do: corrections are pictures, of which regions are read as of others."""
    _, first = decoded(scene((264, 200)).convert(mode), quality=70)
    _, samples = decoded(Image.fromarray(np.ascontiguousarray(first[top:, left:])), quality=100)
    small, planes = compared(samples)
    origin = container.read(small, max_pixels=samples.size).header.content
    assert isinstance(origin, container.OriginReference)
    shown = origins.read(origin.data, mode, samples.shape[1], samples.shape[0])
    assert isinstance(shown, coefficients.Coefficients)
    assert shown.is_noisy
    assert len(small) < 0.9 * len(planes)
    assert np.array_equal(lgcodec.decompress(small, region=(11, 21, 90, 77)), samples[21:77, 11:90])
    if top % 8 == 0:
        assert np.abs(lgcodec.preview(small).astype(int) - np.asarray(Image.fromarray(samples).reduce(8))).mean() < 3


@needs_native
def test_chroma_of_full_size_is_tried_where_much_is_an_exception() -> None:
    """Smooth chroma may seem to be enlarged."""
    _, samples = decoded(scene(), quality=85, subsampling=0)
    enlarged = next(of for of in CONVERSIONS[0].enlargements if (of.rows.by, of.columns.by) == (1, 2))
    with mock.patch.object(search, "_enlargement_of", return_value=(enlarged, 0, 0)):
        names = [one.origin.name for one in origins.invert(read(samples))]
    assert names[0] == "JPEG 4:4:4 coefficients"
    assert {"JPEG 4:2:2", "JPEG 4:4:4"} <= set(names)


@needs_native
@pytest.mark.parametrize(("corner", "subsampling"), [((8, 16), 0), ((3, 5), 1), ((1, 14), 2)])
def test_crops_are_found(corner: tuple[int, int], subsampling: int) -> None:
    _, samples = decoded(scene((160, 128)), quality=80, subsampling=subsampling)
    y, x = corner
    small, planes = compared(samples[y : y + 101, x : x + 127])
    assert "coefficients" in str(lgcodec.inspect(small).origin)
    assert len(small) < 0.85 * len(planes)


@needs_native
def test_saturated_areas_come_back() -> None:
    _, samples = decoded(scene(light=70), quality=85, subsampling=2)
    assert ((samples == 0) | (samples == 255)).any(2).mean() > 0.1
    small, planes = compared(samples)
    assert "coefficients" in str(lgcodec.inspect(small).origin)
    assert len(small) < len(planes)


@needs_native
def test_tables_of_other_encoders_are_found() -> None:
    """No libjpeg quality has these steps; most high frequencies are 0 everywhere, and say nothing of theirs."""
    tables = [[6 + 5 * k % 11 for k in range(64)], [9 + 3 * k % 10 for k in range(64)]]
    data, samples = decoded(scene((296, 200)), qtables=tables, subsampling=2)
    small, _ = compared(samples)
    assert lgcodec.inspect(small).origin == "JPEG 4:2:0 coefficients"
    assert len(small) < 1.05 * len(data)


@needs_native
def test_large_white_areas_are_no_exceptions() -> None:
    """A coloured edge goes over into white, where no colour is known for as far as chroma goes on."""
    y, x = np.mgrid[:256, :320]
    light = 255.0 - 2 * np.clip(90 - x, 0, None)
    samples = np.stack([light + 40, light, light - np.clip(90 - x, 0, None) + 12 * np.sin(y / 9) * (x < 90)], 2)
    _, samples = decoded(Image.fromarray(np.clip(samples, 0, 255).astype(np.uint8)), quality=90, subsampling=2)
    planes = origins.rendered.invert(read(samples))
    assert planes[0].origin.name == "JPEG 4:2:0"
    assert planes[0].count < samples.size // 3 // 50


@needs_native
def test_an_edited_region_is_kept() -> None:
    _, samples = decoded(scene(), quality=85)
    edited = samples.copy()
    edited[40:56, 48:80] = np.random.default_rng(0).integers(0, 256, (16, 32, 3))
    small, planes = compared(edited)
    assert "coefficients" in str(lgcodec.inspect(small).origin)
    assert len(small) < len(planes)


@needs_native
def test_alpha_comes_back_beside_colours() -> None:
    _, samples = decoded(scene(), quality=85)
    alpha = np.full((*samples.shape[:2], 1), 255, np.uint8)
    alpha[:20] = 9
    small, _ = compared(np.concatenate([samples, alpha], 2))
    assert "coefficients" in str(lgcodec.inspect(small).origin)


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_is_found(mode: str) -> None:
    data, samples = decoded(scene().convert("L"), quality=80)
    if mode == "LA":
        samples = np.stack([samples, np.full_like(samples, 255)], 2)
    small, planes = compared(samples)
    assert lgcodec.inspect(small).origin == "JPEG grey coefficients"
    assert len(small) < min(0.7 * len(planes), 1.05 * len(data))


@needs_native
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_grey_among_colours_is_found(mode: str) -> None:
    """What `convert` or a reader of colours makes of a grey JPEG."""
    data, samples = decoded(scene().convert("L"), quality=80)
    small, planes = compared(np.asarray(Image.fromarray(samples).convert(mode)))
    assert lgcodec.inspect(small).origin == "JPEG 4:2:0 coefficients"
    assert len(small) < min(0.7 * len(planes), 1.1 * len(data))


@needs_native
def test_the_coefficients_are_those_of_the_jpeg() -> None:
    data, samples = decoded(scene((256, 192)), quality=75, subsampling=0)
    origin = found(samples)
    assert isinstance(origin.parts[0], bytes)
    again = jpeg.parse(origin.parts[0]).planes
    for wanted, plane in zip(jpeg.parse(data).planes, again, strict=True):
        assert np.array_equal(wanted.steps, plane.steps)
        assert (wanted.coefficients == plane.coefficients).all(2).mean() > 0.95


@needs_native
def test_luma_alone_is_coded_as_coefficients() -> None:
    """Chroma that was enlarged in a way of its own has no coefficients."""
    _, y = decoded(scene().convert("L"), quality=80)
    v, u = np.mgrid[:104, :136]
    c1, c2 = (np.rint(128 + 20 * np.sin(u / a + v / b)).astype(np.uint8) for a, b in ((9, 7), (5, 11)))
    samples = CONVERSIONS[0].make().convert(y, c1, c2)
    small, planes = compared(samples)
    info = lgcodec.inspect(small)
    assert info.origin == "JPEG 4:4:4 luma coefficients"
    assert len(small) < len(planes)
    assert np.array_equal(lgcodec.decompress(small, region=(5, 9, 77, 30)), samples[9:30, 5:77])


@needs_native
def test_dark_pictures_are_looked_at() -> None:
    """Plain methods are worth trying on these, too."""
    _, samples = decoded(scene().point(lambda v: 8 + v // 8), quality=85, subsampling=2)
    small, planes = compared(samples)
    assert "coefficients" in str(lgcodec.inspect(small).origin)
    assert len(small) < len(planes)


@needs_native
@pytest.mark.parametrize("turn", [0, 3])
def test_regions_come_from_the_coefficients(turn: int) -> None:
    _, samples = decoded(scene(), quality=85, subsampling=2)
    samples = turned(samples[3:, 5:], turn)
    data = lgcodec.compress(samples)
    assert "coefficients" in str(lgcodec.inspect(data).origin)
    height, width, _ = samples.shape
    for x0, y0, x1, y1 in ((0, 0, 9, 9), (31, 17, 32, 18), (60, 50, width, height)):
        assert np.array_equal(lgcodec.decompress(data, region=(x0, y0, x1, y1)), samples[y0:y1, x0:x1])


@pytest.mark.parametrize("change", ["none", "resized", "turned", "brighter"])
def test_what_no_jpeg_shows_has_no_grid(change: str) -> None:
    image = scene((272, 208)).convert("L")
    shown = Image.fromarray(decoded(image, quality=70)[1])
    image = {
        "none": image,
        "resized": shown.resize((200, 160), Image.Resampling.BICUBIC),
        "turned": shown.rotate(7, Image.Resampling.BICUBIC),
        "brighter": shown.point(lambda v: v * 1.2),
    }[change]
    plane = np.ascontiguousarray(np.asarray(image))
    assert lattice.grid_of([(plane, np.ones(plane.shape, bool))]) is None


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("corner", [(0, 0), (5, 2)])
def test_steps_and_grid_are_found(quality: int, corner: tuple[int, int]) -> None:
    data, samples = decoded(scene((272, 208)).convert("L"), quality=quality)
    plane = np.ascontiguousarray(samples[corner[0] :, corner[1] :])
    grid = lattice.grid_of([(plane, np.ones(plane.shape, bool))])
    assert grid is not None
    assert (grid.top, grid.left, grid.kind) == (*corner, idct.ACCURATE)
    assert np.array_equal(grid.steps, jpeg.parse(data).planes[0].steps)
    fitted = lattice.fit(grid, plane, plane, plane)
    assert lattice.inside(grid, fitted.plane, plane, plane).mean() > 0.9


def test_a_block_among_flat_ones_is_fitted() -> None:
    """Where no other block shows what to expect of it but its mean."""
    plane = np.full((16, 16), 100, np.uint8)
    middle = plane.copy()
    middle[8:, 8:] = 140
    fitted = lattice.fit(lattice.Grid(0, 0, np.full(64, 10), idct.ACCURATE), plane, middle - 4, middle + 4)
    assert (np.abs(fitted.plane.astype(int) - middle) <= 4).all()


def test_the_accurate_transform_is_libjpegs() -> None:
    for quality in (5, 50, 90, 100):
        data, samples = decoded(scene(light=150, seed=quality).convert("L"), quality=quality)
        plane = jpeg.parse(data).planes[0]
        assert np.array_equal(idct.plane(plane.coefficients, plane.steps, idct.ACCURATE)[:104, :136], samples)


@given(st.integers(0, 1 << 32), st.sampled_from([1, 40, 1023, 32767]), st.sampled_from([1, 99, 65535]))
def test_transforms_are_as_the_format_says(seed: int, most: int, step: int) -> None:
    random = np.random.default_rng(seed)
    block = random.integers(-most, most + 1, 64).astype(np.int16)
    steps = random.integers(1, step + 1, 64).astype(np.uint16)
    values = [max(-32767, min(32767, int(c) * int(q))) for c, q in zip(block, steps, strict=True)]
    m = idct.matrix().tolist()
    down = [[sum(m[y][v] * values[8 * v + u] for v in range(8)) + 1024 >> 11 for u in range(8)] for y in range(8)]
    accurate = [(sum(m[x][u] * down[y][u] for u in range(8)) + 131072 >> 18) + 128 for y in range(8) for x in range(8)]
    other = np.array(values).reshape(8, 8).T.tolist()  # as of a JPEG of rows for columns
    down = [[sum(m[y][v] * other[v][u] for v in range(8)) + 1024 >> 11 for u in range(8)] for y in range(8)]
    across = [(sum(m[y][u] * down[x][u] for u in range(8)) + 131072 >> 18) + 128 for y in range(8) for x in range(8)]
    b = np.rint(idct.basis() * 2**24).astype(np.int64).tolist()
    real = [(sum(b[k][s] * values[k] for k in range(64)) + (1 << 23) >> 24) + 128 for s in range(64)]
    for kind, wanted in ((idct.ACCURATE, accurate), (idct.REAL, real), (idct.TURNED, across)):
        assert idct.samples(block[None], steps, kind)[0].tolist() == [max(0, min(255, s)) for s in wanted]


@pytest.mark.parametrize("shapes", [[(3, 4, 1, 1)], [(4, 6, 2, 2), (2, 3, 1, 1), (2, 3, 1, 1)]])
def test_baseline_files_hold_the_coefficients(shapes: list[tuple[int, int, int, int]]) -> None:
    random = np.random.default_rng(0)
    planes = [
        jpeg.Plane(
            h, v, random.integers(1, 256, 64).astype(np.uint16), random.integers(-9, 9, (r, c, 64)).astype(np.int16)
        )
        for r, c, h, v in shapes
    ]
    height, width = 8 * shapes[0][0] - 3, 8 * shapes[0][1]
    data = baseline.write(width, height, planes)
    parsed = jpeg.parse(data)
    assert (parsed.width, parsed.height) == (width, height)
    for wanted, plane in zip(planes, parsed.planes, strict=True):
        assert np.array_equal(wanted.coefficients, plane.coefficients)
        assert np.array_equal(wanted.steps, plane.steps)
    assert Image.open(io.BytesIO(data)).size == (width, height)


@pytest.fixture(scope="module")
def grey() -> bytes:
    _, samples = decoded(scene((72, 56)).convert("L"), quality=80)
    edited = samples.copy()
    edited[9, 9] ^= 1  # so that there are corrections
    return lgcodec.compress(edited)


def sealed(file: container.File, origin: bytes, parts: list[bytes]) -> bytes:
    header = file.header
    return container.write_origin(
        mode=header.mode,
        depth=header.depth,
        size=(header.width, header.height),
        digest=header.digest,
        chunks=(),
        origin=origin,
        exceptions=file.exceptions(header.content),
        parts=parts,
    )


@given(st.data())
def test_no_parameters_are_more_than_refused(grey: bytes, draw: st.DataObject) -> None:
    file = container.read(grey)
    assert isinstance(file.header.content, container.OriginReference)
    assert file.header.content.data[0] == coefficients.KIND
    changed = bytearray(file.header.content.data)
    changed[draw.draw(st.integers(0, len(changed) - 1))] = draw.draw(st.integers(0, 255))
    try:
        lgcodec.decompress(sealed(file, bytes(changed), [bytes(part) for part in file.pieces[1:]]))
    except LgcodecError:
        return
    assert bytes(changed) == file.header.content.data


def test_hostile_parts_are_refused(grey: bytes) -> None:
    file = container.read(grey)
    assert isinstance(file.header.content, container.OriginReference)
    origin, part = file.header.content.data, bytes(file.pieces[1])
    image = np.zeros((56, 72), np.uint8)
    colours, _ = decoded(scene((72, 56)), quality=80)
    small, _ = decoded(scene((64, 56)).convert("L"), quality=80)
    for wrong, words in (
        (lgcodec.compress(image), "kept"),
        (lgcodec.compress(colours), "part"),
        (lgcodec.compress(small), "part"),
    ):
        with pytest.raises(FormatError, match=words):
            lgcodec.decompress(sealed(file, origin, [wrong]))
    with pytest.raises(FormatError, match="parts"):
        lgcodec.decompress(sealed(file, origin, [part, part]))
    with pytest.raises(FormatError, match="a part is not an image of mode L, 56 x 72 pixels"):
        lgcodec.decompress(sealed(file, bytes([2, idct.TURNED]) + origin[2:], [part]))
    with pytest.raises(FormatError, match="0 to 2"):
        lgcodec.decompress(sealed(file, b"\2\3" + origin[2:], [part]))
    with pytest.raises(FormatError, match="parts"):  # pictures of corrections that are missing, or are of another size
        lgcodec.decompress(sealed(file, b"\2\4\1\0\0\0\0", [part]))
    with pytest.raises(FormatError, match="a part is not an image of mode L, 72 x 56 pixels"):
        lgcodec.decompress(sealed(file, b"\2\4\1\0\0\0\0", [part, lgcodec.compress(image[:, :-1])]))
    with pytest.raises(FormatError, match="0 to 0"):  # and a list beside them
        lgcodec.decompress(sealed(file, b"\2\4\1\0\0\1\1\0", [part, lgcodec.compress(image)]))
    with pytest.raises(FormatError):
        lgcodec.decompress(
            sealed(file, b"\2\0\1" + b"\xff\xff\x03" * 2 + origin[5:], [part])
        )  # a JPEG of 65535 and more
    with pytest.raises(FormatError):
        lgcodec.decompress(sealed(file, b"\2\0\1\0\0\1\1\xff", [part]))  # corrections that are none


def test_every_damage_is_refused(grey: bytes) -> None:
    wanted = lgcodec.decompress(grey)
    for place in range(0, len(grey), 41):
        changed = bytearray(grey)
        changed[place] ^= 1 << place % 8
        with pytest.raises(LgcodecError):
            assert not np.array_equal(lgcodec.decompress(bytes(changed)), wanted)


def test_a_kept_file_is_no_part_of_other_origins() -> None:
    plane = np.repeat(np.arange(0, 240, 4, dtype=np.uint8)[None], 50, 0)
    data = lgcodec.compress(plane)
    file = container.read(data)
    header = file.header
    kept, _ = decoded(Image.fromarray(plane), quality=80)
    levels = b"\1\0\x3c\0" + b"\4" * 59
    made = container.write_origin(
        mode=header.mode, depth=8, size=(header.width, header.height), digest=header.digest, chunks=(), origin=levels,
        exceptions=b"", parts=[lgcodec.compress(kept)],
    )  # fmt: skip
    with pytest.raises(FormatError, match="kept"):
        lgcodec.decompress(made)
