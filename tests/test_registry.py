"""The registry: models by name, by path and by digest, and an error that says what is needed where there is none."""

from __future__ import annotations

import threading
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from strategies import band_for

import lgcodec
from lgcodec import Codec
from lgcodec.coding import coder
from lgcodec.models import registry, weights
from lgcodec.models.errors import ModelError
from lgcodec.models.interface import CoefficientCoding
from lgcodec.models.registry import OWN, RECORDS
from lgcodec.models.weights import Weights

each = pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
TILE = (np.arange(3 * 6 * 7) % 100).reshape(3, 6, 7).astype(np.int16)


def shipped(record: registry.Record = RECORDS[0]) -> bytes:
    return (files("lgcodec.models") / "weights" / record.weights).read_bytes()


def altered(by: int) -> Weights:
    """The default model with one bias moved: other weights, which nothing ships."""
    content = weights.read(shipped(), "shipped")
    bias = content.tensors["out.0.bias"].copy()
    bias[0] += by
    return replace(content, tensors={**content.tensors, "out.0.bias": bias})


def test_ids_digests_and_names_are_unique() -> None:
    for facts in ("name", "wire_id", "digest", "weights"):
        values = [getattr(record, facts) for record in RECORDS]
        assert len(set(values)) == len(values), facts
    assert all(0 < record.wire_id < OWN for record in RECORDS)
    assert all(len(bytes.fromhex(record.digest)) == 32 for record in RECORDS)


@each
def test_records_tell_the_truth(record: registry.Record) -> None:
    content = weights.read(shipped(record), record.name)
    assert content.family == record.family
    assert content.digest().hex() == record.digest
    assert isinstance(record.card, dict)
    assert record.card.get("digest", record.digest) == record.digest


def test_an_installation_that_lacks_weights_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "FOLDER", tmp_path)
    with pytest.raises(ModelError, match=r"default\.safetensors: cannot be read"):
        registry.read("default")
    altered(1).write(tmp_path / "default.safetensors")
    with pytest.raises(ModelError, match="the installed weights are damaged"):
        registry.read("default")


def photograph(side: int, planes: int) -> NDArray[np.uint8]:
    """Soft shading with grain, uint8 [side, side] or [side, side, 3]."""
    y, x = np.indices((side, side)) / side
    light = 120 + 60 * np.sin(3 * x + 5 * y)[..., None] + np.random.default_rng(0).normal(0, 3, (side, side, planes))
    return np.rint(light).astype(np.uint8).squeeze()


@pytest.mark.usefixtures("model_alone")
@each
def test_shipped_models_load(record: registry.Record) -> None:
    model = registry.load(record.name, machine="numpy")
    assert (model.name, model.wire_id, model.digest.hex()) == (record.name, record.wire_id, record.digest)
    assert registry.load(record.name, machine="numpy") is model
    if isinstance(model.coding, CoefficientCoding):
        shapes, band = band_for()
        stream = coder.encode_band(model, shapes, band)
        assert stream is not None
        assert all(map(np.array_equal, coder.decode_band(model, shapes, stream.words), band))
        return
    codec, image = Codec(model, tile=(28, 28), verify=False), photograph(56, model.planes)
    image = image > 127 if model.levels == 2 else image
    data = codec.compress(image)
    assert lgcodec.inspect(data).methods == {"model": 4}
    assert np.array_equal(codec.decompress(data), image)


def test_threads_share_what_is_loaded() -> None:
    models: list[Any] = []
    workers = [
        threading.Thread(target=lambda: models.append(registry.load("default", machine="numpy", threads=3)))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(models) == 4
    assert len({id(model) for model in models}) == 1


@each
@pytest.mark.parametrize("length", [16, 32])
def test_a_digest_finds_its_model(record: registry.Record, length: int) -> None:
    assert registry.find(record.wire_id, bytes.fromhex(record.digest)[:length]) == record.name


def test_an_unknown_digest_is_named() -> None:
    digest = bytes(range(16))
    with pytest.raises(ModelError, match=f"needs default with digest {digest.hex()}"):
        registry.find(RECORDS[0].wire_id, digest)
    with pytest.raises(ModelError, match=digest.hex()):
        registry.find(OWN, digest)


def test_a_known_digest_under_another_wire_id_is_not_found() -> None:
    with pytest.raises(ModelError, match=RECORDS[0].digest):
        registry.find(OWN - 1, bytes.fromhex(RECORDS[0].digest))


def test_own_weights_load_by_path_and_are_found_again(tmp_path: Path) -> None:
    content, path = altered(1), tmp_path / "mine.safetensors"
    content.write(path)
    with pytest.raises(ModelError, match="--model"):
        registry.find(OWN, content.digest()[:16])
    model = registry.load(path, machine="numpy")
    assert (model.wire_id, model.digest) == (OWN, content.digest())
    assert registry.load(str(path), machine="numpy") is model
    assert registry.find(OWN, content.digest()[:16]) == str(path)
    (stream,) = coder.encode(model, [TILE])
    assert np.array_equal(coder.decode(model, [TILE.shape], [stream.words])[0], TILE)


def test_own_weights_are_found_in_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, empty = altered(2), tmp_path / "empty"
    empty.mkdir()
    content.write(tmp_path / "mine.safetensors")
    altered(3).write(tmp_path / "another.safetensors")
    monkeypatch.setenv("LGCODEC_WEIGHTS", f"{empty}:{tmp_path}:{tmp_path / 'missing'}:")
    assert registry.find(OWN, content.digest()[:16]) == str(tmp_path / "mine.safetensors")
    with pytest.raises(ModelError, match="needs weights that do not ship"):
        registry.find(OWN, bytes(16))


def test_one_damaged_file_in_a_folder_does_not_hide_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = altered(4)
    (tmp_path / "a-download-cut-short.safetensors").write_bytes(shipped()[:1000])
    content.write(tmp_path / "mine.safetensors")
    monkeypatch.setenv("LGCODEC_WEIGHTS", str(tmp_path))
    assert registry.find(OWN, content.digest()[:16]) == str(tmp_path / "mine.safetensors")


def test_damaged_shipped_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights").mkdir()
    target = tmp_path / "weights" / RECORDS[0].weights
    data = bytearray(shipped())
    data[-1] ^= 1
    target.write_bytes(data)
    monkeypatch.setattr(registry, "_loaded", {})  # what was loaded is not read again
    monkeypatch.setattr(registry, "FOLDER", tmp_path / "weights")
    with pytest.raises(ModelError, match="damaged"):
        registry.load("default", machine="numpy")
    target.write_bytes(data[:5000])
    with pytest.raises(ModelError, match="not a weights file"):
        registry.load("default", machine="numpy")


@pytest.mark.parametrize("name", ["nothing", "", "/nowhere/at/all", "default.safetensors"])
def test_unknown_models_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match="expected one of default"):
        registry.load(name)


def test_folders_and_other_files_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model"):
        registry.load(tmp_path)
    other = tmp_path / "image.png"
    other.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    with pytest.raises(ModelError, match=r"image\.png: not a weights file"):
        registry.load(other)


def test_cuda_where_there_is_none_is_refused() -> None:
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is here")
    with pytest.raises(ModelError, match="finds no CUDA device"):
        registry.load("default", device="cuda")


@pytest.mark.gpu
def test_cuda_loads() -> None:
    torch = pytest.importorskip("torch", reason="the torch extra is not installed")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    model = registry.load("default", device="cuda")
    (stream,) = coder.encode(model, [TILE])
    assert stream.words.tolist() == coder.encode(registry.load("default"), [TILE])[0].words.tolist()


def test_unknown_families_are_refused(tmp_path: Path) -> None:
    replace(altered(5), family="oracle").write(tmp_path / "w")
    with pytest.raises(ModelError, match="unknown model family 'oracle'"):
        registry.load(tmp_path / "w", machine="numpy")


def change(**tensors: Any) -> Any:
    return lambda content: replace(content, tensors={**content.tensors, **tensors})


def config(**changes: Any) -> Any:
    return lambda content: replace(content, config={**content.config, **changes})


def like(name: str, value: int) -> Any:
    """The tensor `name` filled with `value`."""
    return lambda content: change(**{name: np.full_like(content.tensors[name], value)})(content)


def reshape(name: str, *shape: int) -> Any:
    return lambda content: change(**{name: content.tensors[name].reshape(shape)})(content)


UNUSABLE = {
    "no tensors": lambda content: replace(content, tensors={}),
    "no config": lambda content: replace(content, config={"width": 1}),
    "unknown config": config(colour=1),
    "zero width": config(width=0),
    "huge width": config(width=2**40),
    "text width": config(width="128"),
    "float width": config(width=128.0),
    "null depth": config(depth=None),
    "list depth": config(depth=[]),
    "true depth": config(depth=True),
    "one layer more": config(depth=4),
    "weights beyond the exact range": like("first.weight", 32767),
    "bias beyond the exact range": like("linear.bias", 1 << 24),
    "bias whose magnitude overflows": like("out.0.bias", -(1 << 31)),
    "shift negative": like("first.shift", -1),
    "shift too far": like("first.shift", 24),
    "weight of one axis": reshape("out.0.weight", -1),
    "weight turned": lambda content: change(**{"out.0.weight": content.tensors["out.0.weight"].T})(content),
    "bias of two axes": reshape("out.0.bias", -1, 1),
    "scalar bias": change(**{"out.0.bias": np.array(3, np.int32)}),
    "weights whose bound overflows int64": lambda content: change(
        **{"out.0.weight": np.full(content.tensors["out.0.weight"].shape, 1 << 62, np.int64)}
    )(content),
    "bias whose bound overflows int64": change(**{"out.0.bias": np.full(10, -(1 << 63), np.int64)}),
    "weights of int64": lambda content: change(**{"out.0.weight": content.tensors["out.0.weight"].astype(np.int64)})(
        content
    ),
    "scalar table": change(sigmoid=np.array(3, np.int32)),
    "short table": change(fine=np.zeros(9, np.int32)),
    "empty table": change(exponential=np.zeros(0, np.int32)),
    "table of two axes": reshape("sigmoid", -1, 1),
    "compand table of two axes": reshape("fine", -1, 1),
    "compand table too high": like("coarse", 512),
    "compand table negative": like("coarse", -512),
    "sigmoid falls": lambda content: change(sigmoid=content.tensors["sigmoid"][::-1])(content),
    "sigmoid too high": like("sigmoid", (1 << 22) + 1),
    "exponential zero": like("exponential", 0),
    "exponential negative": like("exponential", -1),
    "inverse negative": like("inverse", -1),
    "inverse of int64": change(inverse=np.full(161, 1 << 62, np.int64)),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("spoil", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_weights_that_cannot_be_coded_with_are_refused(spoil: Any, tmp_path: Path) -> None:
    """A weights file is input: whatever is in it, the error is ours, and no table is ever invalid."""
    spoil(weights.read(shipped(), "shipped")).write(tmp_path / "w")
    with pytest.raises(ModelError):
        registry.load(tmp_path / "w", machine="numpy")
