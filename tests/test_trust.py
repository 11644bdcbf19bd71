"""What anybody may rely on: nothing grows, more effort is not worse, damage stays where it is, any caller is served."""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import image_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from strategies import FakeModel, arrays, texture

import lgcodec
from lgcodec import Codec, container, encode, plain
from lgcodec.boxes import squares
from lgcodec.errors import FormatError, InputError, LgcodecError, MetadataWarning
from lgcodec.plan import may_be_smaller
from lgcodec.readers import read

SLACK = 64


FUNCTIONS = (lgcodec.decompress, lgcodec.open, lgcodec.inspect, lgcodec.verify, lgcodec.preview)


def least(image: Image.Image) -> int:
    """The bytes of the smaller of optimised PNG and lossless WebP, and of a palette, which WebP does not keep."""
    sizes = []
    shown = image
    if image.mode in ("1", "P", "LA"):
        shown = image.convert("RGBA" if image.has_transparency_data else "RGB")
    for picture, form, options in (
        (image, "PNG", {"optimize": True}),
        (shown, "WEBP", {"lossless": True, "exact": True, "method": 6}),
    ):
        if form == "WEBP" and picture.mode == "I;16":
            continue
        file = io.BytesIO()
        picture.save(file, form, **options)
        kept = len(image.getpalette() or ()) if form == "WEBP" else 0
        sizes.append(len(file.getvalue()) + kept)
    return min(sizes)


# -- nothing grows ----------------------------------------------------------------------------------------------------


@given(arrays())
@settings(max_examples=60, deadline=None)
def test_no_array_takes_more_than_png_or_webp(array: NDArray[Any]) -> None:
    picture = read(array)
    if picture.mode.deep:
        assert len(Codec(FakeModel(), verify=False).compress(array)) <= array.nbytes + SLACK
        return
    assert len(Codec(FakeModel(), verify=False).compress(array)) <= least(picture.image()) + SLACK


def screenshot(mode: str) -> Image.Image:
    """Windows, text and icons; of RGBA, colours under full transparency."""
    random = np.random.default_rng(3)
    canvas = np.full((240, 320, 4), (238, 238, 240, 255), np.uint8)
    glyphs = random.integers(0, 2, (40, 9, 6)).astype(bool)
    for _ in range(12):
        y, x, h, w = random.integers(0, 200), random.integers(0, 260), random.integers(9, 90), random.integers(9, 90)
        canvas[y : y + h, x : x + w] = (*random.integers(0, 256, 3), random.choice([0, 128, 255]))
    for line in range(0, 220, 14):
        for column in range(10, 300, 8):
            part = canvas[line : line + 9, column : column + 6]
            part[glyphs[random.integers(0, 40)]] = (30, 30, 40, 255)
    image = Image.fromarray(canvas)
    if mode == "P":
        return image.convert("RGB").quantize(60)
    return image.convert(mode)


def saturated() -> Image.Image:
    """A micrograph: smooth noise, its bright parts all white."""
    random = np.random.default_rng(4)
    light = random.normal(0, 1, (16, 16)).repeat(16, 0).repeat(16, 1) * 90 + random.normal(0, 6, (256, 256)) + 150
    return Image.fromarray(np.clip(light, 0, 255).astype(np.uint8))


def few_colours() -> Image.Image:
    """Noise of 40 colours far apart: deflate sees nothing in it, a palette does."""
    random = np.random.default_rng(5)
    return Image.fromarray(random.integers(0, 256, (40, 3)).astype(np.uint8)[random.integers(0, 40, (300, 300))])


PICTURES = {
    **{mode: screenshot(mode) for mode in ("RGBA", "RGB", "P", "L", "LA", "1")},
    "saturated": saturated(),
    "few colours": few_colours(),
    "deep": Image.fromarray(np.asarray(saturated()).astype(np.uint16) << 4),
}


@pytest.mark.parametrize("name", PICTURES)
def test_no_kind_of_image_takes_more_than_png_or_webp(name: str) -> None:
    image = PICTURES[name]
    codec = Codec(FakeModel(), verify=False, effort=2)
    size = len(codec.compress(image))
    assert size <= least(image) + SLACK


@given(
    arrays((("uint8", ()), ("uint8", (3,)), ("uint8", (4,)), ("bool", ()), ("uint16", (3,)))),
    st.lists(st.integers(1, 9), min_size=2, max_size=4, unique=True),
)
@settings(max_examples=25, deadline=None)
def test_more_effort_is_never_larger(array: NDArray[Any], efforts: list[int]) -> None:
    model = FakeModel(choices=(b"\1", b"\2"))
    sizes = [len(Codec(model, effort=effort, verify=False).compress(array)) for effort in sorted(efforts)]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_more_effort_is_never_larger_where_models_fit(shift: int) -> None:
    image = texture(40, 70, 3, shift)
    sizes = [len(Codec(FakeModel(), effort=effort, verify=False).compress(image)) for effort in range(1, 10)]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("quality", [(1, 0, 2), (2, 1, 0), (0, 1, 2)])
def test_a_fit_that_does_worse_is_not_sent(quality: tuple[int, ...]) -> None:
    """Whatever efforts 7, 8 and 9 fit, and however large the image: here 0.3 megapixels."""

    def adapt(tiles: Any, effort: int, choice: bytes = b"") -> bytes:
        return bytes([quality[effort - 7]])

    image = texture(264, 1000, shift=1)
    codecs = [Codec(FakeModel(adapt=adapt), effort=effort, verify=False) for effort in range(6, 10)]
    sizes = [len(codec.compress(image)) for codec in codecs]
    assert sizes == sorted(sizes, reverse=True)


def test_four_cheap_squares_of_a_large_photograph_are_no_reason_to_try_all_of_it() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (640, 1024, 3), np.uint8)
    assert not may_be_smaller(read(noise), noise.size // 3)
    for x0, y0, x1, y1 in squares(1024, 640, 64, 4):
        noise[y0:y1, x0:x1] = 70
    assert not may_be_smaller(read(noise), noise.size // 3)
    noise[:, 700:] = 70
    assert may_be_smaller(read(noise), noise.size * 9 // 10)


@pytest.mark.parametrize("size", [(300, 300), (128, 1200), (1200, 128), (80, 900)], ids=str)
def test_contexts_get_all_of_an_image_whose_squares_they_code_well(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take seconds where little repeats, which nothing but coding a part tells of smooth photographs."""
    tried: list[tuple[int, ...]] = []
    contexts = plain.METHODS[plain.CONTEXTS]

    class Watched:
        name, is_final, is_hasty = contexts.name, contexts.is_final, contexts.is_hasty

        def encode(self, tile: Any, effort: int) -> bytes | None:
            tried.append(tile.shape[:2])
            return contexts.encode(tile, effort)

        def decode(self, data: bytes, shape: Any) -> Any:
            return contexts.decode(data, shape)

    monkeypatch.setitem(plain.METHODS, plain.CONTEXTS, Watched())
    monkeypatch.setattr(plain, "is_promising", lambda tile: True)
    y, x = np.indices(size)
    grain = np.random.default_rng(0).normal(0, 3, (*size, 3))
    smooth = (128 + 60 * np.sin(x / 40 + y / 50)[..., None] + grain).clip(0, 255).astype(np.uint8)
    drawing = np.where((x // 9 + y // 7)[..., None] % 3 == 0, np.uint8([200, 30, 90]), np.uint8([20, 60, 140]))
    for image, whole in ((smooth, False), (drawing, True)):
        tried.clear()
        data = Codec(origin="none", threads=1, verify=False).compress(image)
        assert np.array_equal(lgcodec.decompress(data), image)
        assert (size in tried) == whole
        assert whole or any(shape[1] == 64 for shape in tried)


def test_what_is_tried_does_not_depend_on_effort(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that fitting made smaller may not keep a plain method from being tried that is smaller still."""
    from lgcodec import encode

    asked: list[int] = []

    def may_be_smaller(picture: Any, size: int, *, is_part: bool) -> bool:
        asked.append(size)
        return False

    monkeypatch.setattr(encode, "may_be_smaller", may_be_smaller)
    monkeypatch.setattr(plain, "is_promising", lambda tile: False)
    for effort in (3, 9):
        Codec(FakeModel(), effort=effort, verify=False).compress(texture(40, 70, 3, 1))
    assert asked[0] == asked[1]


def test_the_most_effort_leaves_nothing_to_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even of photographs, whose plain methods are else tried where squares of them promise something."""
    from lgcodec import encode

    monkeypatch.setattr(encode, "may_be_smaller", lambda picture, size, is_part: False)
    monkeypatch.setattr(plain, "is_promising", lambda tile: False)
    image = Image.fromarray(np.tile(texture(24, 24)[..., None], (8, 8, 3)))
    sizes = [len(Codec(FakeModel(), effort=effort, verify=False).compress(image)) for effort in (6, 9)]
    assert sizes[0] > least(image) + SLACK >= sizes[1]


def test_an_origin_is_weighed_alike_at_every_effort(monkeypatch: pytest.MonkeyPatch) -> None:
    from lgcodec import encode

    asked: list[int] = []

    def is_clear(pictures: Any, size: int, options: Any) -> Any:
        asked.append(size)
        return True
        yield

    monkeypatch.setattr(encode, "_is_clear", is_clear)
    monkeypatch.setattr(plain, "is_promising", lambda tile: False)
    image = texture(48, 72, shift=1).astype(np.uint16) * 257  # 16 bits, 8 of content
    sizes = [len(Codec(FakeModel(), effort=effort, verify=False).compress(image)) for effort in (1, 3, 7)]
    assert asked == [sizes[0]] * 3
    assert sizes == sorted(sizes, reverse=True)


# -- damage stays where it is -----------------------------------------------------------------------------------------


def test_what_is_whole_of_a_damaged_file_comes_back(codec: Codec, model_alone: None) -> None:
    image = texture(24, 40, 3)
    data = bytearray(codec.compress(image))
    header = container.read_header(data)
    lengths = [entry.length for entry in header.content.index]
    start = header.size + sum(lengths[:7])
    data[start] ^= 1
    with pytest.raises(FormatError):
        codec.decompress(data)
    picture, damaged = codec.rescue(data)
    (box,) = damaged
    assert box == [box for _, box in header.boxes()][7]
    expected = image.copy()
    expected[box[1] : box[3], box[0] : box[2]] = 128
    assert np.array_equal(picture.array(), expected)
    cut = bytes(data[: header.size + sum(lengths[:11])])
    picture, damaged = codec.rescue(cut)
    assert damaged == [box for place, (_, box) in enumerate(header.boxes()) if place == 7 or place >= 11]
    assert codec.rescue(codec.compress(image))[1] == []
    data[20] ^= 1
    with pytest.raises(FormatError):  # without its header nothing can be told
        codec.rescue(data)


# -- any caller -------------------------------------------------------------------------------------------------------

IMAGE = np.zeros((4, 4), np.uint8)


@pytest.mark.parametrize("source", [None, [[1, 2]], 5, object(), "no such file"])
def test_what_is_no_image_is_an_input_error(source: Any) -> None:
    with pytest.raises((InputError, FileNotFoundError)):
        lgcodec.compress(source)


def test_masks_are_not_dropped() -> None:
    array = np.arange(20, dtype=np.uint8).reshape(4, 5)
    with pytest.raises(InputError, match="mask"):
        lgcodec.compress(np.ma.masked_array(array, mask=array > 7))  # type: ignore[no-untyped-call]
    whole = np.ma.masked_array(array)  # type: ignore[no-untyped-call]
    assert np.array_equal(lgcodec.decompress(lgcodec.compress(whole)), array)


def test_text_files_are_refused_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    with (tmp_path / "a.png").open(encoding="utf-8") as file, pytest.raises(InputError, match="binary mode"):
        lgcodec.compress(file)  # type: ignore[arg-type]


@pytest.mark.parametrize("data", [None, [1, 2], 5, object(), np.zeros(4, np.uint16)])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_is_no_data_is_an_input_error(function: Any, data: Any) -> None:
    with pytest.raises(InputError):
        function(data)


@pytest.mark.parametrize(
    "options",
    [
        {"threads": -1},
        {"threads": 0},
        {"threads": "2"},
        {"threads": 1.5},
        {"effort": None},
        {"effort": "3"},
        {"effort": 10},
        {"max_pixels": -1},
        {"model": None},
        {"model": 3},
        {"tile": 5},
        {"tile": (1, "2")},
        {"tile": (0, 5)},
    ],
)
def test_options_that_are_none(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Codec(**options)


@pytest.mark.parametrize("region", [(0, 0, 1), 5, "abcd", (0, 0, 1.5, 2), (0, 0, 9, 9), (2, 2, 1, 1), np.zeros((2, 2))])
def test_regions_that_are_none(region: Any) -> None:
    with pytest.raises(InputError):
        lgcodec.decompress(lgcodec.compress(IMAGE), region=region)


def test_regions_and_data_of_other_types() -> None:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    data = lgcodec.compress(image)
    for same in (bytearray(data), memoryview(data), np.frombuffer(data, np.uint8), io.BytesIO(data)):
        assert np.array_equal(lgcodec.decompress(same), image)
    assert lgcodec.inspect(np.frombuffer(data, np.uint8)).width == 8
    assert np.array_equal(lgcodec.decompress(data, region=np.array([1, 2, 3, 5])), image[2:5, 1:3])  # type: ignore[arg-type]


def test_what_is_not_kept_is_a_warning() -> None:
    file = io.BytesIO()
    Image.fromarray(IMAGE).save(file, "PNG")
    with pytest.warns(MetadataWarning, match="bytes after"):
        lgcodec.compress(file.getvalue() + b"more")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lgcodec.compress(file.getvalue())


def test_memory_and_time_are_announced() -> None:
    from lgcodec.cli import report

    small, large = (lgcodec.inspect(lgcodec.compress(np.zeros((side, side), np.uint8))) for side in (8, 2000))
    assert large.memory - small.memory >= 2000 * 2000
    assert "MB" in report.needs(large)
    mixed = lgcodec.inspect(lgcodec.compress(screenshot("RGB"), model=FakeModel()))
    plainly = replace(mixed, methods={"png": 1})
    assert (mixed.is_mixed, plainly.is_mixed) == (True, False)
    assert 0 < mixed.memory - plainly.memory <= 400 * mixed.pixels


# -- load -------------------------------------------------------------------------------------------------------------


def jobs() -> list[NDArray[np.uint8]]:
    return [texture(12 + i % 3, 20, 3, i % 2) for i in range(16)]


def test_threads_share_one_codec(codec: Codec) -> None:
    expected = [codec.compress(image) for image in jobs()]
    start = threading.Barrier(8)

    def work(i: int) -> bool:
        if i < 8:
            start.wait()
        data = codec.compress(jobs()[i])
        return data == expected[i] and np.array_equal(codec.decompress(data), jobs()[i])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


def test_asyncio_serves_a_codec(codec: Codec) -> None:
    async def work() -> list[bytes]:
        return await asyncio.gather(*(asyncio.to_thread(codec.compress, image) for image in jobs()))

    assert asyncio.run(work()) == [codec.compress(image) for image in jobs()]


@pytest.mark.parametrize("method", sorted(set(multiprocessing.get_all_start_methods())))
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_of_any_kind(method: str) -> None:
    images = [np.random.default_rng(i).integers(0, 65536, (9, 11)).astype(np.uint16) for i in range(4)]
    expected = [lgcodec.compress(image) for image in images]  # used here before it is used there
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(lgcodec.compress, images) == expected


def test_a_fork_after_use_of_a_model() -> None:
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system does not fork")
    y, x = np.mgrid[:40, :40]
    photo = np.clip(np.random.default_rng(0).normal(0, 3, (40, 40)) + x + y, 0, 255).astype(np.uint8)
    data = lgcodec.compress(photo, threads=2)
    assert lgcodec.inspect(data).model_bytes > 0
    context = multiprocessing.get_context("fork")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        process = context.Process(target=lgcodec.verify, args=(data,))
        process.start()
    process.join(120)
    assert process.exitcode == 0


def test_errors_are_one_tree() -> None:
    assert issubclass(InputError, LgcodecError)


def test_large_graphics_are_not_coded_by_a_model_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """But an image that is a photograph in part is."""
    tried: list[bool] = []
    usual = encode.encode_plan

    def counted(picture: Any, plan: Any, *others: Any) -> Any:
        tried.append(plan.uses_model)
        return usual(picture, plan, *others)

    monkeypatch.setattr(encode, "encode_plan", counted)
    random = np.random.default_rng(4)
    letters = random.integers(0, 2, (26, 12, 8)).astype(np.uint8)
    text = letters[random.integers(0, 26, (46, 70))].swapaxes(1, 2).reshape(552, 560)
    drawing = np.stack([240 - 200 * text, 240 - 190 * text, 250 - 180 * text], axis=2).astype(np.uint8)
    soft = np.cumsum(np.cumsum(random.normal(0, 1, (552, 280, 1)), axis=0), axis=1)
    photograph = (soft * 60 / soft.std() + 128 + random.normal(0, 3, (552, 280, 3))).clip(0, 255).astype(np.uint8)
    codec = Codec("fast", verify=False)
    for image, is_mixed in ((drawing, False), (np.concatenate([drawing[:, :280], photograph], axis=1), True)):
        tried.clear()
        data = codec.compress(image)
        assert any(tried) is is_mixed
        np.testing.assert_array_equal(codec.decompress(data), image)


def test_an_origin_is_held_against_plain_methods_too() -> None:
    """Few colours, most of whose levels occur: the levels are an origin, context mixing of the pixels is shorter."""
    image = image_of(33343)
    auto, none = (Codec("fast", threads=1, origin=origin).compress(image) for origin in ("auto", "none"))
    assert len(auto) <= len(none)
