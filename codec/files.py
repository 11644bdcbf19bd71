"""Where bytes come from and go to."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import IO, Union

Data = Union[bytes, bytearray, memoryview, str, "os.PathLike[str]", IO[bytes]]  # a file's bytes, path or file object


def bytes_of(data: Data) -> bytes | bytearray | memoryview:
    """The bytes of `data`. Raises OSError for a path that cannot be read."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return data
    if isinstance(data, (str, os.PathLike)):
        return Path(data).read_bytes()
    content: bytes = data.read()
    return content


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name beside `path`, and then gives it that name."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
