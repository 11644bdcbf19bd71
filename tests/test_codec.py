"""The public API, with a model of the tests' own."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from strategies import FakeLatent, FakeLayered, FakeModel, arrays, texture

import lgcodec
from lgcodec import Codec, colour, container, errors
from lgcodec.errors import FormatError, InputError, IntegrityError, LgcodecError, LimitError
from lgcodec.models.interface import ExplicitCoding, Stream

SMALL_TILES = Codec(FakeModel(), tile=(8, 8))


def test_public_names_are_those_of_the_package() -> None:
    """All that raises, and what `inspect` gives, can be named without knowing a module."""
    assert all(getattr(lgcodec, name) is not None for name in lgcodec.__all__)
    raised = {
        name
        for name, what in vars(errors).items()
        if isinstance(what, type) and issubclass(what, (LgcodecError, Warning))
    }
    assert raised == set(errors.__all__) <= set(lgcodec.__all__) <= set(dir(lgcodec))
    assert lgcodec.errors is errors
    assert issubclass(lgcodec.FormatError, lgcodec.LgcodecError)
    assert isinstance(lgcodec.inspect(SMALL_TILES.compress(texture(5, 6))), lgcodec.Info)
    with pytest.raises(AttributeError, match="nothing"):
        _ = lgcodec.nothing  # type: ignore[attr-defined]


@settings(deadline=None)
@given(arrays())
def test_array_comes_back(array: NDArray[Any]) -> None:
    again = SMALL_TILES.decompress(SMALL_TILES.compress(array))
    assert again.dtype == array.dtype
    assert again.shape == array.shape
    assert np.array_equal(again, array)


@settings(deadline=None, max_examples=30)
@given(arrays(), st.data())
def test_region_is_cut_from_the_whole(array: NDArray[Any], data: st.DataObject) -> None:
    height, width = array.shape[:2]
    x0, y0 = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    x1, y1 = data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    part = SMALL_TILES.decompress(SMALL_TILES.compress(array), region=(x0, y0, x1, y1))
    assert np.array_equal(part, array[y0:y1, x0:x1])


def test_region_decodes_no_other_tiles(codec: Codec, model: FakeModel) -> None:
    data = codec.compress(texture(40, 40, 3))
    model.calls.clear()
    codec.decompress(data, region=(9, 9, 15, 15))
    assert sum(model.calls) == 1


@pytest.mark.parametrize("region", [(0, 0, 0, 1), (-1, 0, 1, 1), (0, 0, 5, 1), (2, 0, 1, 1)])
def test_region_outside_the_image(codec: Codec, region: tuple[int, int, int, int]) -> None:
    with pytest.raises(InputError, match="region"):
        codec.decompress(codec.compress(texture(4, 4)), region=region)


@pytest.mark.parametrize("effort", [1, 3, 7, 9])
def test_efforts(model: FakeModel, effort: int) -> None:
    image = texture(32, 32, 3, shift=1)
    codec = Codec(model, effort=effort)
    data = codec.compress(image)
    assert lgcodec.inspect(data).adaptation_bytes == (1 if effort >= 7 else 0)
    assert np.array_equal(codec.decompress(data), image)
    assert lgcodec.inspect(codec.compress(texture(32, 32, 3))).adaptation_bytes == 0  # where it would not pay


def test_info_adds_up(codec: Codec) -> None:
    image = texture(20, 16, 4)
    data = codec.compress(image)
    info = lgcodec.inspect(data)
    assert (info.width, info.height, info.mode, info.channels, info.depth) == (16, 20, "RGBA", 4, 8)
    assert info.file_bytes == len(data) == info.header_bytes + info.chunk_bytes + info.model_bytes + info.plain_bytes
    assert info.methods == {"model": 6, "solid": 1}
    assert info.tiles == 7
    assert info.tile_sizes == ((8, 8), (16, 20))
    assert info.model_id == 250
    assert info.model_digest == FakeModel().digest[:16].hex()
    assert info.ideal_bits <= 8 * info.model_bytes <= info.ideal_bits + 6 * 64
    assert info.bpsp == 8 * len(data) / image.size


def test_small_images_are_small(codec: Codec) -> None:
    assert len(codec.compress(np.zeros((1, 1, 3), np.uint8))) == 40
    assert len(codec.compress(np.zeros((1, 1), np.uint8))) == 38
    assert len(Codec(FakeModel()).compress(np.zeros((300, 300, 4), np.uint8))) < 60


@pytest.mark.parametrize("tail", [(), (3,), (4,)])
def test_noise_grows_by_no_more_than_a_header(codec: Codec, tail: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, *tail)).astype(np.uint8)
    assert len(Codec(codec.model).compress(image)) < image.size + 60


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_drawings_are_no_larger_than_webp(codec: Codec, mode: str) -> None:
    random = np.random.default_rng(1)
    image = Image.fromarray(np.kron(random.integers(0, 5, (12, 12)), np.ones((8, 8))).astype(np.uint8))
    image.putpalette(random.integers(0, 256, 15).astype(np.uint8).tobytes())
    image = image.convert(mode)
    webp = io.BytesIO()
    image.save(webp, "WEBP", lossless=True, exact=True, quality=100, method=6)
    assert len(codec.compress(image)) < len(webp.getvalue()) + 60


def test_grey_in_three_channels_is_coded_once(codec: Codec) -> None:
    grey = texture(32, 32)
    data = codec.compress(np.repeat(grey[..., None], 3, axis=2))
    assert len(data) == len(codec.compress(grey))
    assert lgcodec.inspect(data).transform == "grey"


@pytest.mark.usefixtures("model_alone")
def test_palette_of_greys_goes_through_the_model() -> None:
    image = Image.fromarray(255 - texture(128, 256))
    image.putpalette(bytes(np.repeat(np.arange(255, -1, -1), 3).astype(np.uint8)))
    codec = Codec(FakeModel())
    data = codec.compress(image)
    info = lgcodec.inspect(data)
    assert (info.mode, info.transform, info.methods) == ("P", "grey", {"model": 1})
    result = codec.decode(data).image()
    assert result.mode == "P"
    assert result.tobytes() == image.tobytes()
    assert result.convert("RGB").tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize("verify", [True, False])
def test_batches_give_the_same_bytes_and_pixels(verify: bool) -> None:
    model = FakeModel(batch=5)
    codec = Codec(model, verify=verify, tile=(8, 8))
    images = [texture(24, 16, 3), texture(32, 8), texture(24, 16, 3), np.zeros((3, 3), bool), texture(16, 16, 4)]
    files = codec.compress_batch(iter(images))
    assert files == [codec.compress(image) for image in images]
    model.calls.clear()
    for image, again in zip(images, codec.decompress_batch(files), strict=True):
        assert np.array_equal(image, again)
    assert max(model.calls) > 4  # tiles of several images in one call
    assert codec.compress_batch([]) == codec.decompress_batch([]) == []


def test_verification_finds_a_model_that_does_not_return_the_pixels() -> None:
    class Wrong:
        def encode(self, tiles: Any, adaptation: bytes) -> list[Stream]:
            return [Stream(np.array([1], np.uint32), 32.0) for _ in tiles]

        def decode(self, shapes: Any, words: Any, adaptation: bytes) -> list[NDArray[np.int16]]:
            return [np.zeros(shape, np.int16) for shape in shapes]

    explicit = FakeModel().coding
    assert isinstance(explicit, ExplicitCoding)
    model = FakeModel(coding=ExplicitCoding(explicit.program, cast(Any, Wrong())))
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    with pytest.raises(IntegrityError, match="would not come back"):
        Codec(model).compress(image)
    data = Codec(model, verify=False).compress(image)
    with pytest.raises(IntegrityError, match="another digest"):
        Codec(model).decompress(data)


def test_progress_ends_at_all_pixels(codec: Codec) -> None:
    seen: list[tuple[int, int]] = []
    data = codec.compress(texture(40, 30, 4), progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (1200, 1200)
    seen.clear()
    codec.decompress(data, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (1200, 1200)


def test_threads_and_pickles(codec: Codec) -> None:
    images = [texture(9 + i, 12, 3) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        files = list(pool.map(codec.compress, images))
        again = list(pool.map(pickle.loads(pickle.dumps(codec)).decompress, files))
    assert all(map(np.array_equal, images, again))


def test_limits(codec: Codec) -> None:
    image = texture(10, 10)
    with pytest.raises(LimitError, match="limit of 99"):
        replace(codec, max_pixels=99).compress(image)
    with pytest.raises(LimitError, match="limit of 99"):
        replace(codec, max_pixels=99).decompress(codec.compress(image))


@pytest.mark.parametrize("options", [{"effort": 0}, {"effort": 10}, {"tile": (0, 8)}, {"tile": (4096, 4096)}])
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Codec(FakeModel(), **options)


def test_open_and_save(tmp_path: Path, model: FakeModel) -> None:
    image = Image.fromarray(texture(12, 9, 3))
    path = tmp_path / "image.lgc"
    size = lgcodec.save(path, image, model=model)
    assert path.stat().st_size == size
    assert lgcodec.open(path, model=model).tobytes() == image.tobytes()
    with path.open("rb") as file:
        assert lgcodec.open(file, model=model).tobytes() == image.tobytes()
    buffer = io.BytesIO()
    lgcodec.save(buffer, image, model=model)
    assert buffer.getvalue() == path.read_bytes()
    assert lgcodec.inspect(path) == lgcodec.inspect(buffer.getvalue())
    lgcodec.verify(path, model=model)
    assert [p.name for p in tmp_path.iterdir()] == ["image.lgc"]


def test_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "image.lgc"
    path.write_bytes(b"old")
    with pytest.raises(InputError):
        lgcodec.save(path, Image.new("CMYK", (2, 2)))
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["image.lgc"]


def test_files_are_inputs_too(tmp_path: Path, codec: Codec) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(texture(7, 7, 3)).save(path)
    data = codec.compress(path)
    assert data == codec.compress(path.read_bytes()) == codec.compress(io.BytesIO(path.read_bytes()))
    assert np.array_equal(codec.decompress(data), texture(7, 7, 3))


def test_plain_files_need_neither_models_nor_their_packages() -> None:
    code = """if True:
        import sys
        sys.modules["torch"] = None
        import numpy, lgcodec
        image = numpy.zeros((50, 50), bool)
        data = lgcodec.compress(image)
        assert lgcodec.inspect(data).methods == {"solid": 1}
        assert (lgcodec.decompress(data) == image).all()
        loaded = {m for m in sys.modules if m.startswith("lgcodec.models.")}
        light = ("interface", "errors", "optional", "parallel", "ycocg")
        assert loaded <= {f"lgcodec.models.{m}" for m in light}, loaded
    """
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


LAYERED = Codec(FakeLayered(), tile=(12, 8))


@settings(deadline=None, max_examples=30)
@given(arrays())
def test_arrays_come_back_from_streams_with_bases(array: NDArray[Any]) -> None:
    assert np.array_equal(LAYERED.decompress(LAYERED.compress(array)), array)


def noisy(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Wide shading and a little grain, which no plain method codes in two bytes a sample."""
    y, x = np.indices((height, width))
    shade = 128 + 60 * np.sin(x / 9 + y / 13)[..., None] + np.random.default_rng(0).normal(0, 4, (height, width, 1))
    return np.broadcast_to(shade, (height, width, channels)).round().astype(np.uint8)


@pytest.mark.usefixtures("model_alone")
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_preview_needs_the_bases_alone(channels: int) -> None:
    image = noisy(29, 40, channels)
    image[..., :1] += np.arange(40, dtype=np.uint8)[:, None]  # colour
    data = LAYERED.compress(image)
    info = lgcodec.inspect(data)
    end = info.preview_bytes
    base = end - info.header_bytes - info.chunk_bytes
    assert 0 < base < info.model_bytes
    shown = image[..., 0] if channels == 1 else image[..., :3]
    for cut in (data, data[:end], data[: end + 5]):
        picture = LAYERED.preview(cut)
        assert picture.shape == shown.shape
        assert np.abs(picture.astype(int) - shown).mean() < 12
    assert np.array_equal(LAYERED.decompress(data), image)
    with pytest.raises(FormatError):
        LAYERED.preview(data[: end - base + 3])
    for place in range(end - base, end, 7):
        damaged = bytearray(data)
        damaged[place] ^= 1
        with pytest.raises(IntegrityError, match="base of stream"):
            LAYERED.decompress(damaged)


def test_a_file_without_bases_has_no_preview() -> None:
    origin = (Path(__file__).parent / "golden" / "origin-levels-grey.lgc").read_bytes()
    for data, reason in (
        (SMALL_TILES.compress(texture(20, 20)), "its model makes none"),
        (LAYERED.compress(np.zeros((4, 4), np.uint8)), "plain methods take less"),
        (origin, "neither luma and chroma nor a JPEG"),
    ):
        with pytest.raises(InputError, match=f"no preview: .*{reason}"):
            LAYERED.preview(data)


@pytest.mark.usefixtures("model_alone")
def test_the_model_chooses_the_order_of_the_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that takes fewest bits in another order than R, G, B gets it, and is smaller."""
    luma = texture(64, 64).astype(np.int16)
    image = colour.inverse(np.stack([luma, np.full_like(luma, 60), np.full_like(luma, -30)]), 3)
    chosen = Codec(FakeModel()).compress(image)
    monkeypatch.setattr(colour, "MIDDLES", (colour.STANDARD,))
    usual = Codec(FakeModel()).compress(image)
    assert lgcodec.inspect(usual).transform == "YCoCg-R of RGB"
    assert lgcodec.inspect(chosen).transform == "YCoCg-R of GRB"
    assert len(chosen) < len(usual) / 2
    assert np.array_equal(Codec(FakeModel()).decompress(chosen), image)


@pytest.mark.usefixtures("model_alone")
@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_the_model_chooses_the_class(kind: int, channels: int | None) -> None:
    """At most by a byte: the one, or none, that takes the fewest bits."""
    model = FakeModel(choices=(b"\1", b"\2"))
    image = texture(64, 64, channels, shift=kind)
    files = [Codec(FakeModel()).compress(image), Codec(model).compress(image)]
    headers = [container.read_header(data) for data in files]
    assert [header.model and header.model.adaptation for header in headers] == [b"", bytes([kind] * (kind > 0))]
    assert len(files[1]) < len(files[0]) / 2 if kind else files[0] == files[1]
    assert np.array_equal(Codec(model).decompress(files[1]), image)


def test_a_model_without_choices_is_not_asked() -> None:
    counts = []
    for choices in ((), (b"\1",)):
        model = FakeModel(choices=choices)
        Codec(model, verify=False).compress(texture(64, 64))
        counts.append(sum(model.calls))
    assert counts[0] == 1
    assert counts[1] > 1


def test_tiles_are_even_and_of_the_models_unit() -> None:
    model = FakeModel(tile=(28, 84), unit=28)
    info = lgcodec.inspect(Codec(model).compress(texture(280, 28)))
    assert info.tile_sizes == ((28, 84),)
    assert lgcodec.inspect(Codec(model).compress(texture(112, 28))).tile_sizes == ((28, 56),)
    assert lgcodec.inspect(Codec(model).compress(texture(30, 9))).tile_sizes == ((9, 30),)


@pytest.mark.usefixtures("model_alone")
def test_tiles_grow_where_many_are_left() -> None:
    model = FakeModel(tile=(28, 28), larger=((56, 56), (56, 28)), unit=28)
    for shape, tile in (((140, 84), (28, 28)), ((168, 112), (56, 28)), ((168, 224), (56, 56))):
        assert lgcodec.inspect(Codec(model).compress(texture(*shape))).tile_sizes == (tile,)


CHAINED = Codec(FakeLatent(), tile=(8, 8))


@settings(deadline=None, max_examples=20)
@given(arrays())
def test_arrays_come_back_from_chains(array: NDArray[Any]) -> None:
    assert np.array_equal(CHAINED.decompress(CHAINED.compress(array)), array)


@settings(deadline=None, max_examples=10)
@given(st.lists(arrays(), max_size=4))
def test_sets_come_back_from_one_chain(images: list[NDArray[Any]]) -> None:
    files = CHAINED.compress_batch(images, chain=True)
    for image, again in zip(images, CHAINED.decompress_batch(files, chain=True), strict=True):
        assert np.array_equal(image, again)


@pytest.mark.usefixtures("model_alone")
def test_a_chain_pays_its_first_bits_once() -> None:
    """The first file has the chain, the others go on in it; each on its own begins another."""
    images = [texture(24, 24, 3), texture(24, 24), texture(20, 24, 4), texture(24, 20, 3)]
    alone, chained = CHAINED.compress_batch(images), CHAINED.compress_batch(images, chain=True)
    assert sum(map(len, chained)) < sum(map(len, alone))
    assert [len(file) > 200 for file in chained] == [True, False, False, False]
    for image, file in zip(images, alone, strict=True):
        assert np.array_equal(CHAINED.decompress(file), image)
    assert np.array_equal(CHAINED.decompress_batch(alone)[2], images[2])
    with pytest.raises(FormatError, match="chain of another file"):
        CHAINED.decompress(chained[1])
    with pytest.raises(FormatError):
        CHAINED.decompress_batch(chained[::-1], chain=True)
    with pytest.raises(FormatError):
        CHAINED.decompress(chained[0])


@pytest.mark.usefixtures("model_alone")
def test_a_region_of_a_chain() -> None:
    image = texture(30, 40, 3)
    data = CHAINED.compress(image)
    assert container.read(data).header.content.chain is not None
    assert np.array_equal(CHAINED.decompress(data, region=(9, 3, 31, 20)), image[3:20, 9:31])


@pytest.mark.usefixtures("model_alone")
def test_damaged_chains_are_refused() -> None:
    image = texture(20, 20, 3)
    data = CHAINED.compress(image)
    assert container.read(data).header.content.chain is not None
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(LgcodecError):
            CHAINED.decompress(damaged)
    for cut in range(len(data)):
        with pytest.raises(LgcodecError):
            CHAINED.decompress(data[:cut])
