"""The models that ship, by name and wire id, and the one way to load them or your own.

A new model is its weights and card in `weights/` and a record here. Wire ids are append-only and never reused.
"""

from __future__ import annotations

import contextlib
import copyreg
import json
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lgcodec.models.errors import ModelError
from lgcodec.models.families import FAMILIES, part
from lgcodec.models.interface import OWN, ImageModel

if TYPE_CHECKING:
    from lgcodec.models.machines.choose import Machine
    from lgcodec.models.weights import Weights

FOLDER = Path(__file__).with_name("weights")


@dataclass(frozen=True)
class Record:
    """A shipped model. wire_id: the byte in a file's header; digest: 32 bytes, hexadecimal; card: facts for people."""

    name: str
    wire_id: int
    family: str
    digest: str

    @property
    def weights(self) -> str:
        """The file in models/weights."""
        return f"{self.name}.safetensors"

    @property
    def card(self) -> dict[str, Any]:
        """Architecture, data, training time, float and integer rates (models/weights/*.json)."""
        card: dict[str, Any] = json.loads((FOLDER / f"{self.name}.json").read_text("utf-8"))
        return card


RECORDS = (
    Record("default", 1, "causal", "51de5b141a2be9afc106312b350f6265e60d4f78215c644c36df366ea472ee0d"),
    Record("vqvae", 2, "vqvae", "c20f5edc98e0a687deeb2814530babfab5a7537c37d86e8e245899eaeab88fe0"),
    Record("vqvae-mnist", 3, "vqvae", "ae1855b466926b7f0a4d6d918819973da3920c9f21c30dc46ec8fe7b0592c2d1"),
    Record("flow", 4, "flow", "776e081723da5b27cf0a4fee98490392990a2fda487bb1651e2524c14387f852"),
    Record("flow-mnist", 5, "flow", "d731be583561512d9c9f1c0715a3ab7c53eb96c56af644f3a13085103b53a874"),
    Record("vae", 6, "vae", "23c8155e9f6bcb9c92bae8ad57f77bcec6d3eaf3f3d789a81ecfa38eb7e2918e"),
    Record("vae-mnist", 7, "vae", "b0990bb1064579b3350e0cb9a79a1d494cc4706e25fef9ef080141518caff901"),
    Record("continuous-mnist", 8, "continuous", "dcad754cbf7b6ba07cd2553329e7c8fdbd2ea896aa1fba12f16bc628d25318a6"),
    Record("best", 9, "causal", "bd9e4ea56fe29a4d7890d32caa0a8fd844d222cabff172f167b39b27554343f1"),
    Record("fast", 10, "flow", "90ffdbd7dbfd0b2cd8bd43ae16c47b8f77dfe54560db0d9649de070716c6a9f3"),
    Record("flow-cifar", 11, "flow", "456ffedba2ddc98cfc772bcc570bcbf95887e02581d166629424a611d1535527"),
    Record("masked-mnist", 12, "masked", "15f02214b96c6a5834c7b7b5c10aefcb55d72dcdee1fa9340191db75db3f7e7c"),
    Record("jpeg", 13, "coefficients", "7942e531fcac98ad1151be2006da72e944609df77669fc7520119d2e5cb120e1"),
    Record("scan", 14, "masked", "b1f98509134684af3d2ec9756bed1c0ae65b4454b8ba716668c88a0d93a86984"),
    Record("masked-mnist-grey", 15, "masked", "c5d59fcd4499d372607233889dce6aa3716b9059017bb3ed607c8162e2763b92"),
)
NAMES = tuple(record.name for record in RECORDS)
_loaded: dict[tuple[bytes, str, int], ImageModel] = {}
_paths: dict[bytes, str] = {}
_lock = threading.Lock()


def find(wire_id: int, digest: bytes) -> str:
    """The name or path of the weights whose digest begins with `digest` (16 bytes or more).

    Own weights are found once they were loaded in this process, or in the folders of LGCODEC_WEIGHTS.
    Raises ModelError that says which weights are needed.
    """
    for record in RECORDS:
        if record.wire_id == wire_id and bytes.fromhex(record.digest).startswith(digest):
            return record.name
    for known, path in _paths.items():
        if known.startswith(digest):
            return path
    for folder in filter(None, os.environ.get("LGCODEC_WEIGHTS", "").split(os.pathsep)):
        for candidate in sorted(Path(folder).glob("*.safetensors")):
            with contextlib.suppress(ModelError):  # not ours, or damaged: another may fit
                if _read(candidate).digest().startswith(digest):
                    return str(candidate)
    name = next((r.name for r in RECORDS if r.wire_id == wire_id), "weights that do not ship with lgcodec")
    raise ModelError(
        f"this file needs {name} with digest {digest.hex()}, which this release does not have; "
        "give them with --model PATH or in a folder named by LGCODEC_WEIGHTS"
    )


def load(
    name_or_path: str | os.PathLike[str],
    *,
    device: str = "auto",
    threads: int | None = None,
    machine: str | None = None,
) -> ImageModel:
    """A model ready to code. device: "auto", "cpu" or "cuda"; threads: for work on the CPU, None for all cores.

    machine: a name of `choose.MACHINES` instead of the one that suits the device; all give the same bytes.
    Loaded models are kept and shared between threads. Raises ModelError.
    """
    from lgcodec.models.machines.choose import choose

    chosen = choose(device, machine, threads)
    name, record = os.fspath(name_or_path), _record(name_or_path)
    content = None
    if record is not None:  # what ships is the same at the next call
        digest = bytes.fromhex(record.digest)
    else:
        content = read(name_or_path)
        digest = content.digest()
    key = (digest, chosen.name, chosen.threads)
    with _lock:
        if key not in _loaded:
            wire_id = OWN if record is None else record.wire_id
            _loaded[key] = build(content or read(name_or_path), chosen, name=name, wire_id=wire_id)
        if record is None:
            _paths[digest] = name
        return _loaded[key]


def _reduced(model: ImageModel) -> tuple[Any, ...]:
    """How a model that `load` gave is pickled: by what it was loaded from. Raises ModelError for others."""
    for (_, machine, threads), known in _loaded.items():
        if known is model:
            return _load_again, (model.name, machine, threads)
    raise ModelError(f"model {model.name} was not loaded by name or path, so another process cannot load it")


def _load_again(name_or_path: str, machine: str, threads: int) -> ImageModel:
    return load(name_or_path, machine=machine, threads=threads)


copyreg.pickle(ImageModel, _reduced)


def _record(name_or_path: str | os.PathLike[str]) -> Record | None:
    return next((r for r in RECORDS if r.name == os.fspath(name_or_path)), None)


def read(name_or_path: str | os.PathLike[str]) -> Weights:
    """The integers of a shipped model or a weights file, checked. Raises ModelError."""
    record = _record(name_or_path)
    if record is None and not Path(name_or_path).is_file():
        raise ModelError(f"no model {os.fspath(name_or_path)!r}: expected one of {', '.join(NAMES)} or a weights file")
    if record is None:
        return _read(Path(name_or_path))
    content = _read(FOLDER / record.weights)
    if content.digest().hex() != record.digest:
        raise ModelError(f"{record.weights}: the installed weights are damaged (digest differs from the registry's)")
    return content


def _read(path: Path) -> Weights:
    from lgcodec.models import weights

    try:
        return weights.read(path.read_bytes(), str(path))
    except OSError as e:
        raise ModelError(f"{path}: cannot be read: {e.strerror}") from e


def build(weights: Weights, machine: Machine, *, name: str = "own weights", wire_id: int = OWN) -> ImageModel:
    """The model that these weights are, on a machine. Raises ModelError for a family or config that is none."""
    if weights.family not in FAMILIES:
        raise ModelError(f"{name}: unknown model family {weights.family!r}, expected one of {', '.join(FAMILIES)}")
    model: ImageModel = part(weights.family, "model").load(weights, machine)
    return replace(model, name=name, wire_id=wire_id)
