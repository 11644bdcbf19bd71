"""The models that ship, by name and wire id, and the one way to load them or your own.

A new family adds its file to this folder and a record here. Wire ids are append-only and never reused. Loading
chooses the machine: numba for tiles on the CPU where it is installed, else numpy; torch where a CUDA device is asked
for or found.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import threading
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lgcodec.models.errors import ModelError
from lgcodec.models.interface import ImageModel

if TYPE_CHECKING:
    from lgcodec.models.weights import Weights


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
        card: dict[str, Any] = json.loads(
            (files("lgcodec.models") / "weights" / f"{self.name}.json").read_text("utf-8")
        )
        return card


FAMILIES = ("causal", "continuous", "flow", "vae", "vqvae")  # each a module here with a class Model
OWN = 255  # wire id of weights that do not ship: the digest alone names them
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
)
_loaded: dict[tuple[bytes, str, int | None], ImageModel] = {}
_paths: dict[bytes, str] = {}
_lock = threading.Lock()


def names() -> list[str]:
    return [record.name for record in RECORDS]


def records() -> tuple[Record, ...]:
    return RECORDS


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

    machine: "numpy", "numba", "torch" or "cuda" instead of the one that suits the device; all give the same bytes.
    Loaded models are kept and shared between threads. Raises ModelError.
    """
    machine = machine or _machine(device)
    content, record = read(name_or_path), _record(name_or_path)
    digest = content.digest()
    key = (digest, machine, threads)
    with _lock:
        if key not in _loaded:
            wire_id = OWN if record is None else record.wire_id
            _loaded[key] = _build(content, os.fspath(name_or_path), wire_id, machine, threads)
        if record is None:
            _paths[digest] = os.fspath(name_or_path)
        return _loaded[key]


def _record(name_or_path: str | os.PathLike[str]) -> Record | None:
    return next((r for r in RECORDS if r.name == os.fspath(name_or_path)), None)


def read(name_or_path: str | os.PathLike[str]) -> Weights:
    """The integers of a shipped model or a weights file, checked. Raises ModelError."""
    from lgcodec.models import weights

    record = _record(name_or_path)
    if record is None and not Path(name_or_path).is_file():
        raise ModelError(
            f"no model {os.fspath(name_or_path)!r}: expected one of {', '.join(names())} or a weights file"
        )
    if record is None:
        return _read(Path(name_or_path))
    data = (files("lgcodec.models") / "weights" / record.weights).read_bytes()
    content = weights.read(data, record.weights)
    if content.digest().hex() != record.digest:
        raise ModelError(f"{record.weights}: the installed weights are damaged (digest differs from the registry's)")
    return content


def _read(path: Path) -> Weights:
    from lgcodec.models import weights

    try:
        return weights.read(path.read_bytes(), str(path))
    except OSError as e:
        raise ModelError(f"{path}: cannot be read: {e.strerror}") from e


def _machine(device: str) -> str:
    """Which executor serves a device: "numba", "numpy" or "cuda"."""
    if device not in ("auto", "cpu", "cuda"):
        raise ModelError(f"no device {device!r}: expected auto, cpu or cuda")
    if device == "cuda":
        if importlib.util.find_spec("torch") is None:
            raise ModelError("device cuda needs torch: pip install 'lgcodec[torch]'")
        import torch

        if not torch.cuda.is_available():
            raise ModelError("device cuda: torch finds no CUDA device here")
        return "cuda"
    return "numpy" if importlib.util.find_spec("numba") is None else "numba"


def _build(content: Any, name: str, wire_id: int, machine: str, threads: int | None) -> ImageModel:
    if content.family not in FAMILIES:
        raise ModelError(f"{name}: unknown model family {content.family!r}, expected one of {', '.join(FAMILIES)}")
    family = importlib.import_module(f"lgcodec.models.families.{content.family}.model")
    model: ImageModel = family.Model(content, name, wire_id, machine, threads)
    return model
