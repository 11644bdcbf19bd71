"""Weights files: what is written comes back, the digest names the integers alone, and bad bytes are refused by name."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lgcodec.models import weights
from lgcodec.models.errors import ModelError
from lgcodec.models.weights import Weights

DTYPES = ("int8", "int16", "int32", "int64", "uint8")
SAMPLE = Weights(
    family="causal",
    config={"width": 3, "depth": 1},
    tensors={
        "a.weight": np.arange(-3, 3, dtype=np.int16).reshape(2, 3),
        "a.bias": np.array([7, -70000], np.int32),
        "table": np.array([[[1]], [[255]]], np.uint8),
    },
    card={"data": "none", "rate": 2.75},
)
texts = st.text(max_size=8)
values = st.one_of(st.integers(-99, 99), texts, st.floats(allow_nan=False), st.none())
facts = st.dictionaries(texts, values, max_size=3)


@st.composite
def tensors(draw: st.DrawFn) -> np.ndarray:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    info = np.iinfo(draw(st.sampled_from(DTYPES)))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    array = random.integers(info.min, info.max, shape, dtype=info.dtype, endpoint=True)
    return np.asarray(array, order=draw(st.sampled_from("CF")))


contents = st.builds(
    Weights,
    family=texts,
    config=facts,
    tensors=st.dictionaries(texts.filter(lambda name: name != "__metadata__"), tensors(), max_size=4),
    card=facts,
)


def check_same(one: Weights, other: Weights) -> None:
    assert (one.family, one.config, one.card) == (other.family, other.config, other.card)
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        assert tensor.dtype == other.tensors[name].dtype
        assert np.array_equal(tensor, other.tensors[name])
    assert one.digest() == other.digest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@settings(deadline=None, max_examples=50)
@given(content=contents)
def test_what_is_written_is_read(folder: Path, content: Weights) -> None:
    path = folder / "any.safetensors"
    content.write(path)
    check_same(content, weights.read(path.read_bytes(), "any"))


def test_a_file_appears_whole_readable_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"old")
    SAMPLE.write(path)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    check_same(SAMPLE, weights.read(path.read_bytes(), "w"))


def test_exact_bytes() -> None:
    """The layout is safetensors': a length, a JSON header of that length, then the tensors by name."""
    data = written(SAMPLE)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert header["a.bias"] == {"dtype": "I32", "shape": [2], "data_offsets": [0, 8]}
    assert header["a.weight"] == {"dtype": "I16", "shape": [2, 3], "data_offsets": [8, 20]}
    assert header["table"] == {"dtype": "U8", "shape": [2, 1, 1], "data_offsets": [20, 22]}
    assert all(isinstance(value, str) for value in header["__metadata__"].values())
    assert data[8 + length :].hex() == "0700000090eefefffdfffeffffff00000100020001ff"


def written(content: Weights) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        content.write(Path(folder) / "w")
        return (Path(folder) / "w").read_bytes()


@settings(deadline=None)
@given(content=contents, data=st.data())
def test_digest_names_every_integer(content: Weights, data: st.DataObject) -> None:
    digest = content.digest()
    assert len(digest) == 32
    assert replace(content, card={"another": "card"}).digest() == digest
    reordered = dict(reversed(content.tensors.items()))
    assert replace(content, tensors=reordered).digest() == digest
    assert replace(content, family=content.family + "x").digest() != digest
    assert replace(content, config={**content.config, "more": 1}).digest() != digest
    filled = {name: tensor for name, tensor in content.tensors.items() if tensor.size}
    if not filled:
        return
    name = data.draw(st.sampled_from(sorted(filled)))
    changed = filled[name].copy()
    changed.flat[data.draw(st.integers(0, changed.size - 1))] ^= 1 << data.draw(st.integers(0, 6))
    assert replace(content, tensors={**content.tensors, name: changed}).digest() != digest
    assert replace(content, tensors={**content.tensors, name: filled[name][None]}).digest() != digest
    dropped = {key: tensor for key, tensor in content.tensors.items() if key != name}
    assert replace(content, tensors=dropped).digest() != digest
    renamed = {**dropped, name + "'": filled[name]}
    assert replace(content, tensors=renamed).digest() != digest


def refused(data: bytes) -> None:
    with pytest.raises(ModelError, match=r"mine\.bin: not a weights file") as caught:
        weights.read(data, "mine.bin")
    assert "\n" not in str(caught.value)


def test_every_truncation_is_refused() -> None:
    data = written(SAMPLE)
    for length in range(len(data)):
        refused(data[:length])


META = {"family": "causal", "config": "{}", "card": "{}"}
ENTRY = {"dtype": "I16", "shape": [2], "data_offsets": [0, 4]}


def file(header: Any, body: bytes = bytes(4)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(**changes: Any) -> bytes:
    return file({"__metadata__": META, "t": {**ENTRY, **changes}})


def meta(**changes: Any) -> bytes:
    return file({"__metadata__": {**META, **changes}, "t": ENTRY})


HOSTILE = {
    "empty": b"",
    "length alone": bytes(8),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(99),
    "absurd length": (2**64 - 1).to_bytes(8, "little") + b"{}",
    "length one beyond": (3).to_bytes(8, "little") + b"{}",
    "not JSON": file(b"{'a': 1}"),
    "not UTF-8": file(b'{"\xff": 1}'),
    "empty header": file(b""),
    "list": file([]),
    "number": file(3),
    "null": file(None),
    "string": file("__metadata__"),
    "no metadata": file({"t": ENTRY}),
    "metadata is a number": file({"__metadata__": 3}),
    "metadata is a list": file({"__metadata__": []}),
    "metadata is null": file({"__metadata__": None}),
    "no family": file({"__metadata__": {"config": "{}", "card": "{}"}}),
    "family is a number": meta(family=3),
    "family is a list": meta(family=[]),
    "config is not JSON": meta(config="{"),
    "config is a list": meta(config="[]"),
    "config is an object": meta(config={}),
    "card is a list": meta(card="[]"),
    "nested too deep": file(b"[" * 200_000),
    "nested too deep in config": meta(config="[" * 200_000),
    "entry is a number": file({"__metadata__": META, "t": 3}),
    "entry is a list": file({"__metadata__": META, "t": []}),
    "float dtype": entry(dtype="F32", shape=[1]),
    "unknown dtype": entry(dtype="I12"),
    "dtype is a list": entry(dtype=[]),
    "dtype is null": entry(dtype=None),
    "offsets beyond": entry(data_offsets=[2, 6]),
    "offsets backwards": entry(data_offsets=[4, 0]),
    "offsets negative": entry(data_offsets=[-4, 0]),
    "offsets far": entry(data_offsets=[2**70, 2**70 + 4]),
    "offsets not integers": entry(data_offsets=[0.0, 4.0]),
    "offsets NaN": entry(data_offsets=[float("nan"), 4]),
    "offsets text": entry(data_offsets="04"),
    "one offset": entry(data_offsets=[4]),
    "three offsets": entry(data_offsets=[0, 2, 4]),
    "shape too large": entry(shape=[3]),
    "shape too small": entry(shape=[1]),
    "shape negative": entry(shape=[-1, -2]),
    "shape overflows": entry(shape=[2**32, 2**32]),
    "shape huge but empty": entry(shape=[2**70, 0], data_offsets=[0, 0]),
    "shape not integers": entry(shape=[2.0]),
    "shape is a number": entry(shape=2),
    "shape multiplies text": entry(shape=["a", 2**40]),
    "shape multiplies a list": entry(shape=[[0], 2**40]),
    "shape is true": entry(shape=[True, 2]),
    "shape is text": entry(shape="2", data_offsets=[0, 4]),
    "shape of too many axes": entry(shape=[1] * 100 + [2]),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused(data: bytes) -> None:
    refused(data)


def test_the_hostile_files_are_wrong_in_one_thing_only() -> None:
    assert weights.read(entry(), "fine").tensors["t"].tolist() == [0, 0]
    assert weights.read(meta(), "fine").family == "causal"


@settings(deadline=None)
@given(st.binary(max_size=60), st.booleans())
@example(b"{}", True)
def test_any_bytes_are_refused(data: bytes, framed: bool) -> None:
    refused(file(data) if framed else data)


known = st.sampled_from(["I8", "U8", "{}"])
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 2**66), st.floats(), texts, known),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


@settings(deadline=None, max_examples=200)
@given(json_values, st.sampled_from([*ENTRY, *META, "t", "__metadata__"]))
def test_any_json_in_any_place_is_refused_or_read(value: Any, place: str) -> None:
    header: dict[str, Any] = {"__metadata__": dict(META), "t": dict(ENTRY)}
    target = header if place in header else header["t"] if place in ENTRY else header["__metadata__"]
    target[place] = value
    try:
        content = weights.read(file(header), "mine.bin")
    except ModelError:
        return
    assert isinstance(content.family, str)
    assert isinstance(content.config, dict)
    assert isinstance(content.card, dict)
    assert len(content.digest()) == 32


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_flipped_byte_is_refused_or_changes_the_digest_or_the_card(data: st.DataObject) -> None:
    whole = bytearray(written(SAMPLE))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        content = weights.read(bytes(whole), "mine.bin")
    except ModelError:
        return
    assert content.digest() != SAMPLE.digest() or content.card != SAMPLE.card or bytes(whole) == written(content)
