"""How makers of golden files write them: once. See README.md.

A maker is a script with a table of cases, `main({name: make})`, and is run with the names of those that are to be made.
`make` gives the bytes of each file of a case by suffix.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from lgcodec.image import Picture

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # makers share what tests draw from

Made = Mapping[str, bytes]


def kept(data: bytes, content: NDArray[Any] | Picture | Mapping[str, NDArray[Any]]) -> Made:
    """The files of a case. data: the compressed file; content: an array, a picture, or, of a set, arrays by name."""
    file = io.BytesIO()
    if isinstance(content, Picture):
        content.write_png(file)
        return {"lgc": data, "png": file.getvalue()}
    if isinstance(content, np.ndarray):
        np.save(file, content)
        return {"lgc": data, "npy": file.getvalue()}
    np.savez_compressed(file, **content)
    return {"lgcs": data, "npz": file.getvalue()}


def keep(name: str, files: Made) -> None:
    """Writes NAME.SUFFIX for each suffix.

    Raises FileExistsError where there is any file of this name, before anything is written.
    """
    if existing := sorted(HERE.glob(f"{name}.*")):
        raise FileExistsError(f"{existing[0]} exists: golden files stay as they are, a new one needs a new name")
    for suffix, data in files.items():
        with (HERE / f"{name}.{suffix}").open("xb") as file:
            file.write(data)


@contextmanager
def model_alone() -> Iterator[None]:
    """Within, no plain method is worth trying."""
    with (
        mock.patch("lgcodec.plain.is_promising", return_value=False),
        mock.patch("lgcodec.plain.encode", return_value=(1, bytes(1 << 20))),
    ):
        yield


def main(cases: Mapping[str, Callable[[], Made]]) -> None:
    """Makes the cases whose names are on the command line."""
    names = sys.argv[1:]
    if not names or set(names) - set(cases):
        lacking = [name for name in cases if not list(HERE.glob(f"{name}.*"))]
        raise SystemExit(f"expected names of cases; without files are: {', '.join(lacking) or 'none'}")
    for name in names:
        files = cases[name]()
        keep(name, files)
        print(name, *(f"{suffix}: {len(data)} bytes" for suffix, data in files.items()))  # noqa: T201
