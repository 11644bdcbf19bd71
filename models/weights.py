"""Weights files: safetensors, read with nothing but numpy, and identified by a digest of the integers in them.

    u64 LE length || JSON header of that length || tensor bytes      (https://github.com/huggingface/safetensors)

`__metadata__` holds strings: "family", "config" (JSON) and "card" (JSON: what the model is and what it reaches). The
digest is SHA-256 over family, config and every tensor, not over the card.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.errors import ModelError

_TYPES = {"I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "U8": "|u1"}
_NAMES = {np.dtype(code): name for name, code in _TYPES.items()}
_LIMIT = 64 << 20  # bytes; no model of this project comes near


@dataclass(frozen=True)
class Weights:
    """family, config: what to build; tensors: the integers; card: facts about the model, for people."""

    family: str
    config: dict[str, Any]
    tensors: dict[str, NDArray[Any]]
    card: dict[str, Any]

    def digest(self) -> bytes:
        """32 bytes that name the integers which decide bits."""
        sha = hashlib.sha256(json.dumps([self.family, self.config], sort_keys=True).encode())
        for name, tensor in sorted(self.tensors.items()):
            sha.update(json.dumps([name, _NAMES[tensor.dtype], tensor.shape]).encode())
            sha.update(np.ascontiguousarray(tensor).tobytes())
        return sha.digest()

    def write(self, path: Path) -> None:
        """Writes atomically."""
        import tempfile

        header: dict[str, Any] = {
            "__metadata__": {
                "family": self.family,
                "config": json.dumps(self.config, sort_keys=True),
                "card": json.dumps(self.card, sort_keys=True),
            }
        }
        at = 0
        for name, tensor in sorted(self.tensors.items()):
            header[name] = {
                "dtype": _NAMES[tensor.dtype],
                "shape": list(tensor.shape),
                "data_offsets": [at, at + tensor.nbytes],
            }
            at += tensor.nbytes
        text = json.dumps(header, sort_keys=True).encode()
        text += b" " * (-len(text) % 8)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for _, tensor in sorted(self.tensors.items()):
                file.write(np.ascontiguousarray(tensor).tobytes())
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)


def read(data: bytes, name: str) -> Weights:
    """Raises ModelError, naming the file, where `data` is not a weights file of this project."""
    try:
        if not 8 < len(data) <= _LIMIT:
            raise ValueError("not of a plausible size")
        length = int.from_bytes(data[:8], "little")
        if length > len(data) - 8:
            raise ValueError("header longer than the file")
        text = data[8 : 8 + length]
        if min(text, default=0) < 32:  # other white space than was written would pass unseen
            raise ValueError("control characters in the header")
        header = json.loads(text)
        meta = header.pop("__metadata__")
        body = memoryview(data)[8 + length :]
        tensors = {}
        for key, entry in header.items():
            (low, high), shape = entry["data_offsets"], entry["shape"]
            dtype = np.dtype(_TYPES[entry["dtype"]])
            if not all(type(n) is int for n in (low, high, *shape)):  # text times a number would be a longer text
                raise ValueError(f"tensor {key} has a size that is no integer")
            if not 0 <= low <= high <= len(body) or high - low != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"tensor {key} out of bounds")
            tensors[key] = np.frombuffer(body[low:high], dtype).reshape(shape)
        family, config, card = meta["family"], json.loads(meta["config"]), json.loads(meta["card"])
        if not (isinstance(family, str) and isinstance(config, dict) and isinstance(card, dict)):
            raise ValueError("metadata of the wrong kind")
        return Weights(family, config, tensors, card)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as e:
        expected = "expected safetensors with family and config"
        raise ModelError(f"{name}: not a weights file of lgcodec ({expected}): {e}") from e
