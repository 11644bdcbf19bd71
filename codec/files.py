"""Where bytes come from and go to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any, Union

from lgcodec.errors import InputError
from lgcodec.models.optional import needs

Data = Union[bytes, bytearray, memoryview, str, "os.PathLike[str]", IO[bytes]]  # a file's bytes, path or file object


def is_url(path: object) -> bool:
    """Whether a path is for fsspec: a string such as "s3://bucket/x.lgc"."""
    return isinstance(path, str) and "://" in path


def opened(path: str | os.PathLike[str], mode: str = "rb") -> Any:
    """A file, to be used with `with`: of this machine, or, for a URL, of wherever fsspec finds it.

    Raises OSError, InputError for a URL of no known kind, and ModelError where fsspec, or what it needs for this kind,
    is not installed.
    """
    if not is_url(path):
        return Path(path).open(mode)
    with needs("url", f"{path}"):
        import fsspec

        try:
            return fsspec.open(path, mode)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error


def bytes_of(data: Any) -> bytes | memoryview:
    """The bytes of a path, a file object, or an object that is a buffer of bytes, such as an array.

    Raises InputError for others, OSError for a path that cannot be read.
    """
    if isinstance(data, bytes):
        return data
    if isinstance(data, (str, os.PathLike)):
        with opened(data) as file:
            found: bytes = file.read()
        return found
    if hasattr(data, "read"):
        try:
            content = data.read()
        except UnicodeDecodeError:
            content = ""
        if isinstance(content, bytes):
            return content
        raise InputError(f"expected a file opened in binary mode, not one that gives {type(content).__name__}")
    try:
        view = memoryview(data)
    except TypeError as error:
        raise InputError(f"{type(data).__name__} is neither a path, nor bytes, nor a file, nor an image") from error
    if view.itemsize != 1 or not view.c_contiguous:
        raise InputError(f"expected a buffer of bytes, not one of {view.format}, {view.ndim}-dimensional")
    return view.cast("B") if view.nbytes else b""


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name beside `path`, and then gives it that name."""
    temporary = path.with_name(f".{os.urandom(8).hex()}.part")  # whose name is never too long
    try:
        with temporary.open("xb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
