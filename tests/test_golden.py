"""Files of every version decode for ever, on every machine. tests/golden/README.md says how they are kept."""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strategies import each_machine

from lgcodec import Codec, colour, container, inspect, plain, readers, sets
from lgcodec.container import Header
from lgcodec.fields import Reader
from lgcodec.image import MODES
from lgcodec.models import registry, weights
from lgcodec.models.families.masked import network as masked
from lgcodec.models.interface import OWN

GOLDEN = Path(__file__).parent / "golden"
MODELLED = [path for path in sorted(GOLDEN.glob("*.lgc")) if not path.stem.startswith("plain-")]
PLAIN = sorted(GOLDEN.glob("plain-*.lgc"))
SETS = sorted(GOLDEN.glob("*.lgcs"))
CODEC = Codec(threads=1)


@pytest.fixture
def on(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All models run on one machine, and those of golden weights are found."""
    monkeypatch.setattr(registry, "load", functools.partial(registry.load, machine=machine))
    monkeypatch.setenv("LGCODEC_WEIGHTS", str(GOLDEN))


def check(path: Path) -> None:
    """A file's picture is the one beside it, with all that belongs to it."""
    again = CODEC.decode(path)
    if again.file is not None:
        assert again.file == path.with_suffix(".jpg").read_bytes()
    elif path.with_suffix(".png").exists():
        wanted = readers.read(path.with_suffix(".png"))
        assert (again.mode, again.depth, again.chunks) == (wanted.mode, wanted.depth, wanted.chunks)
        same(again.array(), wanted.array())
    else:
        assert (again.depth, again.chunks) == (again.mode.depths[-1], ())
        same(again.array(), np.load(path.with_suffix(".npy")))


def same(got: Any, wanted: Any) -> None:
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    assert np.array_equal(got, wanted)


@pytest.mark.usefixtures("on")
@each_machine
@pytest.mark.parametrize("path", MODELLED, ids=lambda path: path.stem)
def test_golden_files_decode_for_ever(path: Path, machine: str) -> None:
    check(path)


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.stem)
def test_plain_golden_files_decode_for_ever(path: Path) -> None:
    check(path)


@pytest.mark.usefixtures("on")
@each_machine
@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_golden_sets_decode_for_ever(path: Path, machine: str) -> None:
    pictures = CODEC.decode_set(path)
    with np.load(path.with_suffix(".npz")) as wanted:
        assert list(pictures) == wanted.files
        for name, picture in pictures.items():
            same(picture.array(), wanted[name])


def headers() -> dict[str, Header]:
    """Of all files, those in sets by the set's name as well."""
    parts = {path.stem: path.read_bytes() for path in [*MODELLED, *PLAIN]}
    for path in SETS:
        parts |= {f"{path.stem}/{name}": bytes(part) for name, part in sets.read(path.read_bytes()).items()}
    return {name: container.read_header(data) for name, data in parts.items()}


def is_parted(path: Path) -> bool:
    """Whether the rest of a kept file, if it is a rest, is two streams."""
    file = container.read(path.read_bytes())
    kept = file.header.content
    if not isinstance(kept, container.KeptReference) or kept.model is None:
        return False
    reader = Reader(memoryview(file.rest(kept)), 0)
    if reader.varint():  # files within
        return False
    reader.varint()
    return reader.byte() & 8 > 0


def test_golden_files_cover_the_format() -> None:
    """Every model that ships, method, mode, transform and feature has a file."""
    found = headers()
    models = {header.model.wire_id for header in found.values() if header.model is not None}
    assert models == {OWN, *(record.wire_id for record in registry.RECORDS)}
    tiled = {name: header for name, header in found.items() if isinstance(header.content, container.Tiles)}
    methods = {entry.method for header in tiled.values() for entry in header.content.index}
    assert methods == {plain.MODEL, *plain.METHODS}
    assert {header.mode.wire_id for header in found.values()} == set(MODES)
    assert {header.content.transform for header in tiled.values()} == set(colour.NAMES)
    assert {header.depth for header in found.values()} >= {1, 4, 8, 16}
    by_model = [header for header in found.values() if header.model is not None]
    assert {header.mode.pillow for header in by_model} == {"1", "L", "LA", "P", "RGB", "RGBA"}
    assert any(header.base_size for header in found.values())
    others = [header.content for name, header in found.items() if name not in tiled]
    assert {part.model is None for part in others if isinstance(part, container.KeptReference)} == {True, False}
    assert {part.data[0] for part in others if isinstance(part, container.OriginReference)} == {0, 1, 2, 3}
    chunks = [header.chunks for header in found.values() if header.chunks.stored]
    assert {(of.stored < of.size, of.has_preset) for of in chunks} >= {(True, False), (True, True)}
    assert {is_parted(path) for path in MODELLED if path.name.startswith("kept-")} == {True, False}
    sizes = [(x1 - x0, y1 - y0) for header in tiled.values() if header.model for _, (x0, y0, x1, y1) in header.boxes()]
    assert any(width == 1 < height for width, height in sizes)
    assert any(height == 1 < width for width, height in sizes)
    chained = [header.content.chain for name, header in tiled.items() if name.startswith("set-") and header.is_chained]
    assert [chain.length > 0 for chain in chained] == [True, False, False]
    assert any(header.is_chained for name, header in found.items() if "/" not in name)


def test_heads_of_golden_files() -> None:
    """Files by own weights of the masked family are of bits, and of cells: of latents, and of pixels."""
    named = {header.model.digest for header in headers().values() if header.model is not None}
    own = [weights.read(path.read_bytes(), path.stem) for path in GOLDEN.glob("*.safetensors")]
    graphs = [w.config for w in own if w.digest()[:16] in named and w.family == "masked"]
    kinds = {(name, part["head"]) for g in graphs for name, part in ({"": g} if "head" in g else g).items()}
    assert kinds >= {("", "bernoulli"), ("prior", "normal"), ("posterior", "normal"), ("likelihood", "normal")}


def test_adaptations_of_golden_files_cover_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deltas of both families that have them, learning or not; each kind of class; and rows that are halved."""
    monkeypatch.setenv("LGCODEC_WEIGHTS", str(GOLDEN))
    kinds, halved = set(), False
    for header in headers().values():
        if header.model is None or not header.model.adaptation:
            continue
        model = registry.load(registry.find(header.model.wire_id, header.model.digest), machine="numpy")
        if isinstance(header.content, container.KeptReference):  # what its side information is says `kept`
            continue
        network, side = model.network, header.model.adaptation
        adapted = network.adapted(side)
        known = side[0] if getattr(network.config, "classes", 0) else None
        kinds.add((type(network).__module__.split(".")[-2], getattr(network.config, "learning", 0) > 0, known))
        if known is None and hasattr(network, "layers") and isinstance(network.layers, dict):
            halved |= any((layer.shift > adapted.layers[name].shift).any() for name, layer in network.layers.items())
    assert kinds >= {("causal", False, known) for known in (None, 1, 2, 255)} | {("causal", True, None)}
    assert ("flow", False, None) in kinds
    assert halved, "no adaptation leaves the exact range"


def test_graphs_of_golden_files_cover_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes of every kind."""
    monkeypatch.setenv("LGCODEC_WEIGHTS", str(GOLDEN))
    models = {(of.wire_id, of.digest) for header in headers().values() if (of := header.model) is not None}
    networks = [registry.load(registry.find(*model), machine="numpy").network for model in models]
    graphs = [network.graph for network in networks if isinstance(network, masked.Network)]
    assert {node.kind for graph in graphs for node in graph.nodes} == set(masked.KINDS)


def test_golden_files_are_of_models() -> None:
    """All tiles are the model's, but of modes that no model codes."""
    own = [path for path in MODELLED if not path.stem.startswith(("origin-", "kept-as"))]  # files of planes, of bytes
    others = [path.stem for path in own if set(inspect(path).methods) != {"model"}]
    assert set(others) == {f"picture-{name}" for name in ("16-bits", "deep", "deep-alpha", "deep-grey-alpha")}


def test_makers_touch_nothing_that_exists() -> None:
    place = importlib.util.spec_from_file_location("keep", GOLDEN / "keep.py")
    assert place is not None
    assert place.loader is not None
    keep, path = importlib.util.module_from_spec(place), list(sys.path)
    place.loader.exec_module(keep)
    sys.path[:] = path
    before = {path: path.read_bytes() for path in GOLDEN.iterdir() if path.is_file()}
    for name in ("family-vae", "tiny", "set-chain", "README"):
        with pytest.raises(FileExistsError, match="golden files stay as they are"):
            keep.keep(name, {"lgc": b"", "npy": b"", "new": b""})
    assert {path: path.read_bytes() for path in GOLDEN.iterdir() if path.is_file()} == before
