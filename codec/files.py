"""Where bytes come from and go to."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import IO, Any, Union

from lgcodec.models.optional import needs

Data = Union[bytes, bytearray, memoryview, str, "os.PathLike[str]", IO[bytes]]  # a file's bytes, path or file object


def is_url(path: object) -> bool:
    """Whether a path is for fsspec: a string such as "s3://bucket/x.lgc"."""
    return isinstance(path, str) and "://" in path


def opened(path: str | os.PathLike[str], mode: str = "rb") -> Any:
    """A file, to be used with `with`: of this machine, or, for a URL, of wherever fsspec finds it.

    Raises OSError, and ModelError for a URL where fsspec is not installed.
    """
    if not is_url(path):
        return Path(path).open(mode)
    with needs("url", f"{path}"):
        import fsspec
    return fsspec.open(path, mode)


def bytes_of(data: Data) -> bytes | bytearray | memoryview:
    """The bytes of `data`. Raises OSError for a path that cannot be read."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return data
    if isinstance(data, (str, os.PathLike)):
        with opened(data) as file:
            found: bytes = file.read()
        return found
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
