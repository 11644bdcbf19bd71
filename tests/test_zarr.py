"""zarr's and numcodecs' codecs, on real stores and in fresh processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from strategies import FakeModel, Layers, texture

import lgcodec
from lgcodec.container import File
from lgcodec.plan import without_model

try:
    import numcodecs
    import zarr
    from zarr.storage import LocalStore, MemoryStore

    from lgcodec.numcodecs import Lgcodec
    from lgcodec.zarr import LgcodecCodec
except ImportError as missing:
    pytest.skip(f"the place is an extra: {missing}", allow_module_level=True)

SHAPES: tuple[tuple[str, tuple[int, ...], tuple[int, ...], str | None], ...] = (
    ("uint8", (20, 30), (20, 30), None),
    ("uint8", (20, 30), (8, 16), None),
    ("uint16", (20, 30), (11, 30), None),
    ("uint8", (20, 30, 3), (16, 16, 3), "last"),
    ("uint8", (3, 20, 30), (3, 16, 16), "first"),
    ("uint16", (3, 20, 30), (3, 20, 30), "first"),
    ("uint16", (20, 30, 3), (20, 16, 3), "last"),
    ("uint8", (6, 20, 30), (3, 20, 30), "first"),
    ("uint8", (7, 20, 30), (7, 20, 30), "first"),
    ("uint8", (5, 20, 30), (2, 20, 16), None),
    ("uint16", (5, 20, 30), (1, 20, 30), None),
    ("uint8", (2, 3, 20, 30), (2, 2, 20, 30), None),
    ("uint8", (4, 20, 30, 4), (2, 20, 30, 4), "last"),
)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    """The one model that is found by every name, and in every file."""
    model = FakeModel()
    monkeypatch.setattr("lgcodec.options.Options.load", lambda options: model)
    monkeypatch.setattr("lgcodec.options.Options.find", lambda options, reference: model)
    return model


def pixels(dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    smooth = sum(np.meshgrid(*(np.arange(side) for side in shape), indexing="ij"))
    return (smooth * (900 if dtype == "uint16" else 4)).astype(dtype)


class Counting(MemoryStore):
    """A store that adds up the bytes that are read."""

    read = 0

    async def get(self, *arguments: Any, **options: Any) -> Any:
        found = await super().get(*arguments, **options)
        self.read += 0 if found is None else len(found)
        return found


@pytest.mark.parametrize(("dtype", "shape", "chunks", "channels"), SHAPES)
def test_arrays_come_back_whole_and_in_part(
    model: FakeModel, dtype: str, shape: tuple[int, ...], chunks: tuple[int, ...], channels: str | None
) -> None:
    array = pixels(dtype, shape)
    codec = LgcodecCodec(channels=channels, tile=(8, 8))
    stored = zarr.create_array(
        MemoryStore(), shape=shape, chunks=chunks, dtype=dtype, serializer=codec, compressors=None, fill_value=7
    )
    stored[...] = array
    assert np.array_equal(stored[...], array)
    random = np.random.default_rng(0)
    for _ in range(12):
        low = [int(random.integers(0, side)) for side in shape]
        part = tuple(slice(a, int(random.integers(a + 1, side + 1))) for a, side in zip(low, shape, strict=True))
        assert np.array_equal(stored[part], array[part])
    assert np.array_equal(stored[tuple(low)], array[tuple(low)])
    every = (..., slice(3, None, 5)) if channels != "last" else (..., slice(3, None, 5), slice(None))
    assert np.array_equal(stored[every], array[every])
    rows = [1, 2, 1] if shape[0] > 2 else [0, 1]
    assert np.array_equal(stored.oindex[rows], array[rows])
    points = tuple(random.integers(0, side, 9) for side in shape)
    assert np.array_equal(stored.vindex[points], array[points])


def test_chunks_that_were_never_written_are_filled(model: FakeModel) -> None:
    stored = zarr.create_array(
        MemoryStore(), shape=(9, 9), chunks=(4, 4), dtype="uint8", serializer=LgcodecCodec(), compressors=None,
        fill_value=7,
    )  # fmt: skip
    stored[0:2, 0:3] = 1
    assert stored[1, 2] == 1
    assert (stored[2:, 2:] == 7).all()


def test_sharded_arrays_come_back(model: FakeModel) -> None:
    array = pixels("uint8", (32, 64))
    stored = zarr.create_array(
        MemoryStore(), shape=(32, 64), chunks=(16, 32), shards=(32, 64), dtype="uint8", serializer=LgcodecCodec(),
        compressors=None,
    )  # fmt: skip
    stored[...] = array
    assert np.array_equal(stored[5:9, 30:40], array[5:9, 30:40])


@pytest.mark.usefixtures("model_alone")
def test_a_region_reads_and_decodes_the_tiles_under_it(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []

    class Counted(Layers):
        def decode(self, shapes: Any, words: Any, bases: Any) -> list[NDArray[np.int16]]:
            decoded.extend(shapes)
            return super().decode(shapes, words, bases)

    model = FakeModel(coding=Counted())
    monkeypatch.setattr("lgcodec.options.Options.load", lambda options: model)
    monkeypatch.setattr("lgcodec.options.Options.find", lambda options, reference: model)
    monkeypatch.setattr("lgcodec.encode.check", lambda *arguments: iter(()))  # saves the test's time
    array = np.random.default_rng(0).integers(0, 255, (4096, 4096), np.uint8)
    store = Counting()
    stored = zarr.create_array(
        store, shape=array.shape, chunks=array.shape, dtype="uint8",
        serializer=LgcodecCodec(tile=(256, 256), effort=1), compressors=None,
    )  # fmt: skip
    stored[...] = array
    (chunk,) = [value for key, value in store._store_dict.items() if "c/" in key]
    for (y, x), tiles in {(512, 1024): 1, (600, 1100): 4, (512, 1100): 2}.items():
        decoded.clear()
        store.read = 0
        assert np.array_equal(stored[y : y + 256, x : x + 256], array[y : y + 256, x : x + 256])
        assert decoded == [(1, 256, 256)] * tiles
        assert store.read < 10_000 + tiles * len(chunk) / 256


def test_chunks_are_tiles_whatever_they_were_rendered_from(
    model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lgcodec.encode.may_be_smaller", lambda picture, size, is_part=False: False)  # as a large one
    array = (np.random.default_rng(0).integers(0, 50, (64, 64)) * (255 / 50)).astype(np.uint8)  # a stretched histogram
    assert lgcodec.inspect(lgcodec.compress(array, effort=1)).origin is not None
    assert lgcodec.inspect(Lgcodec(effort=1).encode(array)).origin is None


def test_a_slice_of_a_stack_decodes_one_image(model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.stack([np.roll(texture(32, 40), i) for i in range(6)])
    stored = zarr.create_array(
        MemoryStore(), shape=array.shape, chunks=array.shape, dtype="uint8", serializer=LgcodecCodec(effort=1),
        compressors=None,
    )  # fmt: skip
    stored[...] = array
    streams: list[int] = []
    stream = File.stream
    monkeypatch.setattr(File, "stream", lambda file, place: streams.append(place) or stream(file, place))
    assert np.array_equal(stored[3], array[3])
    assert streams == [0]


FRESH = """
import sys, numpy as np, zarr
assert "lgcodec" not in sys.modules, "only zarr was imported"
stored = zarr.open_array(sys.argv[1])
count = [0]
part = stored[100:356, 700:956]
from lgcodec import plain
decode = plain.decode
def counting(*arguments):
    count[0] += 1
    return decode(*arguments)
plain.decode = counting
assert np.array_equal(part, stored[100:356, 700:956])
np.save(sys.argv[2], part)
sys.stdout.write(str(count[0]))
"""


@pytest.mark.parametrize("version", [2, 3])
def test_a_fresh_process_reads_by_entry_point(
    tmp_path: Path, installed: dict[str, str], monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    monkeypatch.setattr("lgcodec.encode.plans", lambda picture, options: [without_model(picture)])
    monkeypatch.setattr("lgcodec.origins.invert", lambda picture: None)
    array = (np.add.outer(np.arange(4096), np.arange(4096)) // 512 % 2 * 200).astype(np.uint8)
    how: dict[str, Any] = {"serializer": LgcodecCodec(effort=1), "compressors": None}
    if version == 2:
        how = {"zarr_format": 2, "compressors": Lgcodec(effort=1)}
    store = LocalStore(tmp_path / "x.zarr")
    stored = zarr.create_array(store, shape=array.shape, chunks=array.shape, dtype="uint8", **how)
    stored[...] = array
    command = [sys.executable, "-c", FRESH, tmp_path / "x.zarr", tmp_path / "part.npy"]
    run = subprocess.run(command, env=installed, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert np.array_equal(np.load(tmp_path / "part.npy"), array[100:356, 700:956])
    assert int(run.stdout) == (1 if version == 3 else 2)  # of two tiles


def test_metadata_names_the_codec(model: FakeModel, tmp_path: Path) -> None:
    codec = LgcodecCodec(channels="last", model="fast", effort=5, tile=(64, 32))
    assert LgcodecCodec.from_dict(codec.to_dict()) == codec
    assert codec.to_dict() == {
        "name": "lgcodec",
        "configuration": {"channels": "last", "model": "fast", "effort": 5, "tile": [64, 32]},
    }
    with pytest.raises(lgcodec.FormatError, match="speed"):
        LgcodecCodec.from_dict({"name": "lgcodec", "configuration": {"speed": 1}})
    for dtype, chunks, channels in (("float32", (4, 4), None), ("uint8", (4,), None), ("uint8", (4, 4), "first")):
        with pytest.raises(lgcodec.InputError):
            zarr.create_array(
                MemoryStore(), shape=chunks, chunks=chunks, dtype=dtype, serializer=LgcodecCodec(channels=channels)
            )


def test_damaged_chunks_are_refused(model: FakeModel) -> None:
    store = MemoryStore()
    array = texture(40, 40)
    stored = zarr.create_array(
        store, shape=(40, 40), chunks=(40, 40), dtype="uint8", serializer=LgcodecCodec(tile=(8, 8)), compressors=None
    )
    stored[...] = array
    (key,) = [key for key in store._store_dict if "c/" in key]
    whole = store._store_dict[key]
    kind = type(whole)
    for damaged in (whole.to_bytes()[:-1] + b"\1", whole.to_bytes()[:-9], whole.to_bytes()[:60]):
        store._store_dict[key] = kind.from_bytes(damaged)
        with pytest.raises(lgcodec.FormatError):
            stored[...]
        with pytest.raises(lgcodec.FormatError):
            stored[33:, 33:]
    other = lgcodec.Codec(model).compress(texture(16, 16))
    store._store_dict[key] = kind.from_bytes(other)
    for part in (slice(None), slice(2, 4)):
        with pytest.raises(lgcodec.FormatError):
            stored[part, part]


@pytest.mark.parametrize(("dtype", "shape", "chunks", "channels"), SHAPES)
def test_numcodecs_round_trip(
    model: FakeModel, dtype: str, shape: tuple[int, ...], chunks: tuple[int, ...], channels: str | None
) -> None:
    codec = Lgcodec(channels=channels, effort=1)
    array = pixels(dtype, shape)
    assert np.array_equal(codec.decode(codec.encode(array)).reshape(shape), array)
    out = np.empty_like(array)
    codec.decode(codec.encode(array), out)
    assert np.array_equal(out, array)
    assert numcodecs.get_codec({**codec.get_config()}) == codec


def test_numcodecs_refuses_what_would_be_transposed() -> None:
    with pytest.raises(lgcodec.InputError, match="Fortran"):
        Lgcodec().encode(np.asfortranarray(pixels("uint8", (4, 6))))
    with pytest.raises(lgcodec.InputError, match="sides"):
        Lgcodec().encode(np.zeros(10, np.uint8))


@pytest.fixture(autouse=True)
def registered() -> None:
    """As the entry points do, which an environment without this package's metadata does not have."""
    numcodecs.register_codec(Lgcodec)
    zarr.registry.register_codec("lgcodec", LgcodecCodec)


def test_many_threads_of_dask_read_and_write(model: FakeModel, tmp_path: Path) -> None:
    da = pytest.importorskip("dask.array", reason="dask is not here")
    array = np.tile(texture(64, 64), (4, 4))
    stored = zarr.create_array(
        LocalStore(tmp_path / "x.zarr"), shape=array.shape, chunks=(32, 32), dtype="uint8",
        serializer=LgcodecCodec(effort=1), compressors=None,
    )  # fmt: skip
    da.from_array(array, chunks=(32, 32)).store(stored, scheduler="threads", num_workers=4, lock=False)
    back = da.from_zarr(tmp_path / "x.zarr")
    assert np.array_equal(back.rechunk((48, 80)).compute(scheduler="threads", num_workers=4), array)
