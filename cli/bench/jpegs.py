"""JPEG files, kept byte for byte: how much is saved and how fast, beside JPEG XL's way to keep them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import lgcodec
from lgcodec.cli import files
from lgcodec.errors import IntegrityError

OURS = "lgcodec"
Code = Callable[[bytes, int], bytes]  # bytes and threads to bytes


@dataclass(frozen=True)
class FileRow:
    """One JPEG file under one codec. before, after: bytes. Seconds on one thread, and on all that were given (None
    where these were one). ideal_bits: of the model's tables, for ours. is_modelled: whether it came apart.
    """

    file: str
    codec: str
    before: int
    after: int
    encode_seconds: float
    decode_seconds: float
    threads_encode_seconds: float | None = None
    threads_decode_seconds: float | None = None
    ideal_bits: int | None = None
    is_modelled: bool = True


def found(folder: Path) -> list[Path]:
    """The JPEG files below a folder, by name."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in files.JPEG and path.is_file())


def measure(
    folder: Path, device: str, threads: int, with_peer: bool, tell: Callable[[FileRow], None]
) -> list[FileRow]:
    """Rows of all JPEG files that lgcodec reads. Raises IntegrityError where one does not come back."""
    codecs = dict(_codecs(device, with_peer))
    rows: list[FileRow] = []
    for path in found(folder):
        data, name = path.read_bytes(), str(path.relative_to(folder))
        try:
            rows += [_row(name, codec, data, ways, threads) for codec, ways in codecs.items()]
        except lgcodec.InputError:  # no image: nobody's
            continue
        for row in rows[-len(codecs) :]:
            tell(row)
    return rows


def _codecs(device: str, with_peer: bool) -> Iterator[tuple[str, tuple[Code, Code]]]:
    if with_peer:
        import imagecodecs as ic

        yield (
            "jxl",
            (
                lambda data, threads: bytes(ic.jpegxl_encode_jpeg(data, numthreads=threads)),
                lambda data, threads: bytes(ic.jpegxl_decode_jpeg(data, numthreads=threads)),
            ),
        )
    codec = lgcodec.Codec(device=device, verify=False, max_pixels=1 << 40)
    yield (
        OURS,
        (
            lambda data, threads: replace(codec, threads=threads).compress(data),
            lambda data, threads: replace(codec, threads=threads).restore(data),
        ),
    )


def _row(file: str, name: str, data: bytes, codec: tuple[Code, Code], threads: int) -> FileRow:
    try:
        packed, alone = _timed(file, name, data, codec, 1)
    except RuntimeError:
        if name == OURS:
            raise
        # a peer that does not take the file keeps it as it is
        return FileRow(file, name, len(data), len(data), 0, 0, is_modelled=False)
    together = _timed(file, name, data, codec, threads)[1] if threads > 1 else None
    info = lgcodec.inspect(packed) if name == OURS else None
    ideal = None if info is None else info.ideal_bits
    modelled = info is None or info.model_id is not None
    encode, decode = (None, None) if together is None else together
    return FileRow(file, name, len(data), len(packed), *alone, encode, decode, ideal, modelled)


def _timed(
    file: str, name: str, data: bytes, codec: tuple[Code, Code], threads: int
) -> tuple[bytes, tuple[float, float]]:
    """The packed file, and the seconds both ways."""
    encode, decode = codec
    start = time.perf_counter()
    packed = encode(data, threads)
    middle = time.perf_counter()
    if decode(packed, threads) != data:
        raise IntegrityError(f"{name} did not return the bytes of {file}")
    return packed, (middle - start, time.perf_counter() - middle)


def describe(row: FileRow) -> str:
    return f"{row.file} {row.codec}: {row.before:,} -> {row.after:,} bytes ({row.after / row.before:.1%})"


def table(rows: Sequence[FileRow]) -> str:
    """A line per codec: what is saved in total and of the median file, and MB of JPEG a second."""
    heads = ["JPEG files", "files", "as they are", "saved", "median", "encode", "decode", "encode -T", "decode -T", ""]
    lines = [heads]
    for name in dict.fromkeys(row.codec for row in rows):
        ours = [row for row in rows if row.codec == name]
        before = sum(row.before for row in ours)
        saved = sorted(1 - row.after / row.before for row in ours)
        speeds = [
            _speed(ours, field)
            for field in ("encode_seconds", "decode_seconds", "threads_encode_seconds", "threads_decode_seconds")
        ]
        kept = sum(not row.is_modelled for row in ours)
        total, median = 1 - sum(row.after for row in ours) / before, saved[len(saved) // 2]
        lines.append([name, str(len(ours)), str(kept), f"{total:.1%}", f"{median:.1%}", *speeds, "MB/s"])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.rjust, line, widths)).rstrip() for line in lines)


def _speed(rows: Sequence[FileRow], field: str) -> str:
    known = [(row.before, getattr(row, field)) for row in rows if getattr(row, field)]
    return f"{sum(size for size, _ in known) / 1e6 / sum(time for _, time in known):.2f}" if known else "-"
