"""Origins: what images were rendered from, and the way back."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import reference_origins
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import lgcodec
from lgcodec import container, origins
from lgcodec.cli.main import program
from lgcodec.errors import FormatError, InputError, LgcodecError
from lgcodec.jpeg import file as jpeg
from lgcodec.origins import coefficients, depth, exceptions, levels, rendered, search
from lgcodec.origins.conversions import CONVERSIONS, FOUR_FOUR_FOUR
from lgcodec.origins.form import AXES, Enlargement, Rendering, size_of
from lgcodec.origins.origin import Inverted
from lgcodec.readers import read

GOLDEN = sorted((Path(__file__).parent / "golden").glob("origin-*.lgc"))
native = search.native
needs_native = pytest.mark.skipif(not native.is_available(), reason="searches run in the native library alone")
Samples = NDArray[np.uint8]


def smooth(random: np.random.Generator, height: int, width: int, step: float, low: int, high: int) -> Samples:
    """A plane with waves and some noise."""
    y, x = np.mgrid[:height, :width]
    waves = sum(np.sin(a * x / 29 + b * y / 23 + c) for a, b, c in random.uniform(-3, 3, (5, 3)))
    plane = (low + high) / 2 + (high - low) / 6 * waves + random.normal(0, step, (height, width))
    return np.clip(plane.round(), 0, 255).astype(np.uint8)


def scene(random: np.random.Generator, conversion: int, of: Enlargement, size: tuple[int, int], wild: int) -> Samples:
    """An image rendered from random planes; wild: how far chroma goes, so that much or nothing is clipped."""
    height, width = size
    y = smooth(random, height, width, 6, 50, 140 if conversion == 1 else 200)  # Photo CD goes beyond white
    sizes = size_of(of.rows, 0, height, True), size_of(of.columns, 0, width, True)
    grey = (156, 137) if conversion == 1 else (128, 128)
    c1, c2 = (smooth(random, *sizes, 2, zero - wild, zero + wild) for zero in grey)
    rendering = Rendering(conversion, of, 0, 0, height, width, *sizes)
    box = (0, 0, width, height)
    return CONVERSIONS[conversion].make().convert(y, rendering.enlarge(c1, box), rendering.enlarge(c2, box))


def restored(found: Inverted, width: int, height: int, channels: int) -> Samples:
    out = found.origin.render(found.parts, (0, 0, width, height))
    places, residuals = exceptions.unpack(found.exceptions, width * height, channels)
    exceptions.apply(out, places, residuals, width, 0, 0)
    return out


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_files_decode_for_ever(path: Path) -> None:
    """Made once by tests/golden/make_origins.py; a change of the format gets new files beside these."""
    wanted = np.load(path.with_suffix(".npy"))
    assert np.array_equal(lgcodec.decompress(path), wanted)
    height, width = wanted.shape[:2]
    for box in ((0, 0, width, 1), (5, 3, 14, 12), (width - 1, 0, width, height), (1, height - 3, 8, height)):
        x0, y0, x1, y1 = box
        assert np.array_equal(lgcodec.decompress(path, region=box), wanted[y0:y1, x0:x1])


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_files_decode_by_the_text_alone(path: Path) -> None:
    def part(data: bytes) -> Any:
        if isinstance(container.read(data).header.content, container.KeptReference):
            of = jpeg.parse(lgcodec.restore(data))
            return of.width, of.height, [(plane.steps.tolist(), plane.coefficients.tolist()) for plane in of.planes]
        array = lgcodec.decompress(data)
        return array.reshape(*array.shape[:2], -1).tolist()

    wanted = read(np.load(path.with_suffix(".npy")))
    samples = reference_origins.decode(path.read_bytes(), part)
    assert np.array_equal(samples, wanted.samples((0, 0, wanted.width, wanted.height)))


def test_golden_files_cover_conversions_and_axes() -> None:
    seen = [container.read(path.read_bytes()).header.content.data for path in GOLDEN]  # type: ignore[union-attr]
    renderings = [data for data in seen if data[0] == rendered.KIND]
    assert {data[1] for data in renderings} == set(range(len(CONVERSIONS)))
    assert {axis for data in renderings for axis in data[2:4]} == set(range(len(AXES)))
    assert {data[1] for data in seen if data[0] == levels.KIND} == {0, 1}
    assert {data[1] for data in seen if data[0] == coefficients.KIND} == {0, 1, 2, 4}  # 4: pictures of corrections


@pytest.mark.parametrize("path", GOLDEN[::3], ids=lambda path: path.stem)
def test_damaged_files_are_refused(path: Path) -> None:
    data, wanted = path.read_bytes(), np.load(path.with_suffix(".npy"))
    for end in range(0, len(data), 7):
        with pytest.raises(FormatError):
            lgcodec.decompress(data[:end])
    for place in range(0, len(data), 3):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        with pytest.raises(LgcodecError):
            assert not np.array_equal(lgcodec.decompress(bytes(changed)), wanted)


@given(st.sampled_from(GOLDEN), st.data())
def test_no_parameters_are_more_than_refused(path: Path, draw: st.DataObject) -> None:
    """An origin of other bytes is refused or renders something: nothing but our errors."""
    file = container.read(path.read_bytes())
    header = file.header
    assert isinstance(header.content, container.OriginReference)
    changed = bytearray(header.content.data)
    changed[draw.draw(st.integers(0, len(changed) - 1))] = draw.draw(st.integers(0, 255))
    data = container.write_origin(
        mode=header.mode,
        depth=header.depth,
        size=(header.width, header.height),
        digest=header.digest,
        chunks=(),
        origin=bytes(changed),
        exceptions=file.exceptions(header.content),
        parts=[bytes(part) for part in file.pieces[1:]],
    )
    try:
        lgcodec.decompress(data)
    except LgcodecError:
        return
    # of a rendering without chroma, and of bins that no sample is in, some parameters mean nothing
    assert bytes(changed) == header.content.data or header.content.data[0] in (rendered.KIND, depth.KIND)


def test_an_origin_within_an_origin_is_refused() -> None:
    path = next(path for path in GOLDEN if path.stem == "origin-jpeg-444")
    file = container.read(path.read_bytes())
    grey = next(path for path in GOLDEN if path.stem == "origin-levels-grey").read_bytes()
    header = file.header
    assert isinstance(header.content, container.OriginReference)
    data = container.write_origin(
        mode=header.mode,
        depth=8,
        size=(header.width, header.height),
        digest=header.digest,
        chunks=(),
        origin=header.content.data,
        exceptions=b"",
        parts=[grey, *(bytes(part) for part in file.pieces[2:])],
    )
    with pytest.raises(FormatError, match="part"):
        lgcodec.decompress(data)


@needs_native
@given(st.integers(0, 1 << 32), st.sampled_from([of for known in CONVERSIONS for of in known.enlargements]))
def test_native_loops_are_those_of_the_form(seed: int, of: Enlargement) -> None:
    random = np.random.Generator(np.random.PCG64(seed))
    height, width = (int(n) for n in random.integers(1, 20, 2))
    x = random.integers(0, 256, (height, width)).astype(np.uint8)
    planes = [random.integers(0, 256, (5, 7)).astype(np.uint8) for _ in range(3)]
    for turned in search._turns(of):
        by_rows, by_columns = turned.rows.by, turned.columns.by
        top, left = (int(random.integers(by)) for by in (by_rows, by_columns))
        shown = Rendering(0, turned, top, left, by_rows * height - top, by_columns * width - left, height, width)
        box = (0, 0, shown.width, shown.height)
        full, part = turned.enlarge(x), shown.enlarge(x, box)
        with mock.patch.object(native, "is_available", return_value=False):
            assert np.array_equal(full, turned.enlarge(x))
            assert np.array_equal(part, shown.enlarge(x, box))
    for known in CONVERSIONS:
        made = known.make().convert(*planes)
        with mock.patch.object(native, "is_available", return_value=False):
            assert np.array_equal(made, known.make().convert(*planes))


@needs_native
@given(
    st.integers(0, 1 << 32),
    st.integers(0, len(CONVERSIONS) - 1),
    st.integers(10, 90),
    st.integers(0, 7),
    st.booleans(),
)
@settings(deadline=None, max_examples=6)
def test_what_is_inverted_renders_again(seed: int, conversion: int, wild: int, turn: int, paste: bool) -> None:
    random = np.random.Generator(np.random.PCG64(seed))
    known = CONVERSIONS[conversion].enlargements
    of = (*known, FOUR_FOUR_FOUR)[int(random.integers(len(known) + 1))]
    size = (int(random.integers(50, 90)), int(random.integers(50, 90)))
    image = scene(random, conversion, of, size, wild)
    y, x, bottom, right = (int(n) for n in random.integers(0, 6, 4))
    image = image[y : size[0] - bottom, x : size[1] - right]
    image = np.rot90(image[:, ::-1] if turn > 3 else image, turn % 4).copy()
    if paste:
        image[20:40, 10:40] = random.integers(0, 256, (20, 30, 3))
    found = origins.invert(read(image))[-1]
    if found is not None:
        assert np.array_equal(restored(found, image.shape[1], image.shape[0], 3), image)


@needs_native
@pytest.mark.parametrize(
    ("conversion", "place", "name"),
    [
        (0, 0, "JPEG 4:2:0"),
        (0, 1, "JPEG 4:2:2"),
        (1, 0, "Photo CD 4:2:0"),
        (2, 0, "WebP 4:2:0"),
        (3, 0, "BT.601 video 4:2:0"),
        (4, 0, "BT.709 video 4:2:0"),
    ],
)
def test_crops_without_clipping_have_next_to_no_exceptions(conversion: int, place: int, name: str) -> None:
    random = np.random.Generator(np.random.PCG64(7))
    of = CONVERSIONS[conversion].enlargements[place]
    image = scene(random, conversion, of, (160, 200), 25)
    for cut in (image, image[3:-4, 5:-2], image[2:-3, 4:-5].transpose(1, 0, 2)):
        found = origins.invert(read(np.ascontiguousarray(cut)))[-1]
        assert found is not None
        assert found.origin.name.replace("4:4:0", "4:2:2") == name
        assert found.count <= cut.size // 3 // 250


@needs_native
def test_most_clipped_pixels_are_no_exceptions() -> None:
    """A quarter of the pixels is clipped, so that samples, which are pixels here, are told by those around alone."""
    random, of = np.random.Generator(np.random.PCG64(1)), CONVERSIONS[1].enlargements[0]
    y = smooth(random, 160, 200, 6, 70, 210)
    c1, c2 = smooth(random, 80, 100, 2, 126, 186), smooth(random, 80, 100, 2, 107, 167)
    rendering, box = Rendering(1, of, 0, 0, 160, 200, 80, 100), (0, 0, 200, 160)
    image = CONVERSIONS[1].make().convert(y, rendering.enlarge(c1, box), rendering.enlarge(c2, box))
    found = origins.invert(read(image))[-1]
    clipped = int(((image == 0) | (image == 255)).any(2).sum())
    assert clipped > 8000
    assert found.count < clipped // 30
    assert np.array_equal(restored(found, 200, 160, 3), image)


@needs_native
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_decoded_jpegs_with_a_logo(subsampling: int) -> None:
    """What Pillow decodes, clipped here and there, with something pasted in."""
    random = np.random.Generator(np.random.PCG64(3))
    image = scene(random, 0, FOUR_FOUR_FOUR, (200, 240), 70)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=90, subsampling=subsampling)
    with Image.open(file) as decoded:
        image = np.array(decoded)
    assert ((image == 0) | (image == 255)).any()
    image[64:96, 80:160] = random.integers(0, 256, (32, 80, 3))
    found = origins.invert(read(image))[-1]
    assert found is not None
    assert isinstance(found.origin, rendered.Rendered)
    assert found.origin.name == f"JPEG {('4:4:4', '4:2:2', '4:2:0')[subsampling]}"
    assert found.origin.patches
    assert found.count < image.size // 3 // 50  # a tenth of the pixels is clipped
    assert np.array_equal(restored(found, 240, 200, 3), image)


@needs_native
def test_other_images_have_no_origin() -> None:
    random = np.random.Generator(np.random.PCG64(5))
    shape = (90, 110)
    image = np.stack([smooth(random, *shape, 4, 40, 220) for _ in range(3)], -1)
    assert origins.invert(read(image)) == []
    assert origins.invert(read(random.integers(0, 256, (64, 64, 3)).astype(np.uint8))) == []


@given(st.integers(0, 1 << 32), st.sampled_from(["L", "LA", "RGB", "RGBA", "I;16"]), st.integers(1, 256))
def test_levels_render_again(seed: int, mode: str, n: int) -> None:
    random = np.random.Generator(np.random.PCG64(seed))
    shape: tuple[int, ...] = (24, 31)
    if mode == "I;16":
        used = random.choice(1 << 16, n, replace=False)
        image = used[random.integers(0, n, shape)].astype(np.uint16)
    else:
        channels = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,)}[mode]
        used = random.choice(256, n, replace=False)
        image = used[random.integers(0, n, (*shape, *channels))].astype(np.uint8)
    picture = read(image)
    found = levels.invert(picture)
    if found is None:
        assert mode != "I;16"
        return
    origin = origins.read(found.origin.write(), picture.mode.pillow, picture.width, picture.height)
    assert origin == found.origin
    box = (0, 0, picture.width, picture.height)
    assert np.array_equal(origin.render(found.parts, box), picture.samples(box))


@given(st.integers(0, 1 << 32), st.sampled_from(["I;16", "LA;16", "RGB;16", "RGBA;16"]), st.integers(1, 40), st.data())
def test_deep_samples_render_again(seed: int, mode: str, height: int, draw: st.DataObject) -> None:
    """Whole and in part, whatever their noise, range, and gaps; parameters come back."""
    random = np.random.Generator(np.random.PCG64(seed))
    channels = {"I;16": (), "LA;16": (2,), "RGB;16": (3,), "RGBA;16": (4,)}[mode]
    step, scale = draw.draw(st.sampled_from([1, 1, 3, 257])), 10.0 ** draw.draw(st.integers(0, 5))
    wave = random.normal(random.integers(0, 1 << 16), scale, (height, 23, *channels)).clip(0, 65535)
    picture = read((wave.astype(np.uint16) // step * step).astype(np.uint16))
    found = depth.invert(picture)
    assert found is not None
    origin = origins.read(found.origin.write(), picture.mode.pillow, picture.width, picture.height)
    assert origin == found.origin
    x = sorted(draw.draw(st.lists(st.integers(0, 23), min_size=2, max_size=2, unique=True)))
    y = sorted(draw.draw(st.lists(st.integers(0, height), min_size=2, max_size=2, unique=True)))
    for box in ((0, 0, 23, height), (x[0], y[0], x[1], y[1])):
        needed = [
            part[b[1] : b[3], b[0] : b[2]] if b and not isinstance(part, bytes) else None
            for part, b in zip(found.parts, origin.needs(box), strict=True)
        ]
        assert np.array_equal(origin.render(needed, box), picture.samples(box))


def test_noise_of_deep_samples_costs_its_bits() -> None:
    """Twelve bits whose lowest four are noise: no more than these, and what the upper eight take."""
    random = np.random.Generator(np.random.PCG64(1))
    upper = smooth(random, 64, 96, 4, 20, 235)
    image = (upper.astype(np.uint16) << 4) + random.integers(0, 16, upper.shape, np.uint16)
    deep, high = (len(lgcodec.compress(a, effort=1)) for a in (image, upper))
    assert deep < 1.1 * (high + image.size / 2)
    assert deep < 0.95 * len(lgcodec.compress(image, origin="none"))


def test_places_beyond_tables_are_refused() -> None:
    one, box = depth.Table(65000, (), ((256, 2),)), (0, 0, 1, 1)
    bins, bits = np.full((1, 1, 1), 200, np.uint8), np.zeros((1, 1, 1), np.uint8)
    with pytest.raises(FormatError, match="place"):
        depth.Depth("I;16", 1, 1, (one,), 1).render([bins, bits], box)
    with pytest.raises(FormatError, match="bin"):
        depth.Depth("I;16", 1, 1, (replace(one, runs=((9, 2),)),), 1).render([bins, bits], box)
    with pytest.raises(FormatError, match="bits"):
        depth.Depth("I;16", 1, 1, (one,), 1).render([bins % 2, bits + 1], box)


def test_tinted_greys_are_one_plane() -> None:
    random = np.random.Generator(np.random.PCG64(2))
    grey = smooth(random, 40, 50, 3, 30, 220)
    tint = np.stack([np.minimum(2 * np.arange(256), 255), np.arange(256), np.arange(256) // 2 + 7], -1).astype(np.uint8)
    tint[:, 0] = np.arange(256)
    tint[:, 2] = 255 - np.arange(256)[::-1]
    image = tint[grey]
    image[..., 1] = (image[..., 1] // 2) * 2
    image[..., 0], image[..., 2] = image[..., 1] + 1, image[..., 1]
    found = levels.invert(read(image))
    assert found is not None
    assert found.parts[0].shape == (40, 50, 1)
    assert np.array_equal(restored(found, 50, 40, 3), image)


def test_the_option_is_checked() -> None:
    with pytest.raises(InputError, match="origin"):
        lgcodec.Codec(origin="jpeg")


@needs_native
def test_files_are_smaller_and_say_why(tmp_path: Path) -> None:
    random = np.random.Generator(np.random.PCG64(11))
    image = scene(random, 0, CONVERSIONS[0].enlargements[0], (120, 140), 20)
    Image.fromarray(image).save(tmp_path / "a.png")
    sizes = {}
    for origin in ("auto", "none"):
        data = lgcodec.compress(tmp_path / "a.png", model="fast", origin=origin)
        assert np.array_equal(lgcodec.decompress(data), image)
        info = lgcodec.inspect(data)
        assert info.origin == (None if origin == "none" else "JPEG 4:2:0")
        assert info.file_bytes == len(data)
        assert info.header_bytes + info.chunk_bytes + info.model_bytes + info.plain_bytes == len(data)
        sizes[origin] = len(data)
    assert sizes["auto"] < 0.9 * sizes["none"]
    result = CliRunner().invoke(program, ["compress", "--model", "fast", "-q", str(tmp_path / "a.png")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "a.lgc").stat().st_size == sizes["auto"]
    shown = CliRunner().invoke(program, ["info", str(tmp_path / "a.lgc")])
    assert "JPEG 4:2:0" in shown.output
