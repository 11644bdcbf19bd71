"""What metadata says again and again: makes the preset dictionary that codec/metadata.dictionary is, and measures one.

Usage: python benchmarks/metadata_dictionary.py FOLDER [--out metadata.dictionary] [--held-out 3]

Each folder in FOLDER is one source, such as a repository, of JPEG and PNG files. Only what LEAST sources have in common
is taken, the most frequent last, where deflate reaches it most cheaply; nobody's names or places. With --held-out N
every Nth source is left out, and bytes of its metadata are printed without and with the dictionary.
"""

from __future__ import annotations

import heapq
import struct
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from lgcodec.deflate import deflate
from lgcodec.fields import varint
from lgcodec.metadata import PNG_SIGNATURE

SIZE = 32506  # as far as deflate looks back
LEAST = 3  # sources that have what is taken
LONG = 8  # bytes of the strings that are counted
PIECE, SHORTEST, MOST = 192, 12, 30000  # bytes of pieces that compete, of the shortest one, and of a segment
EACH = 12  # segments of a kind, of each source
Segment = tuple[str, str, bytes]  # kind, source, and the bytes as a file of ours has them before they are packed


def of_jpeg(data: bytes) -> Iterator[tuple[str, bytes]]:
    """APPn and COM segments before the first scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] not in (0xD9, 0xDA):
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if 0xE0 <= data[at + 1] <= 0xEF or data[at + 1] == 0xFE:
            yield f"{data[at + 1]:02x} {data[at + 4 : at + 8]!r}", data[at:end]
        at = end


def of_png(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Ancillary chunks, type || length || data."""
    at = len(PNG_SIGNATURE)
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind[0] & 32:
            yield kind.decode("latin-1"), kind + varint(size) + data[at + 8 : at + 8 + size]
        at += 12 + size


def segments(folder: Path) -> Iterator[Segment]:
    seen: Counter[tuple[str, str]] = Counter()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        source, data = path.relative_to(folder).parts[0], path.read_bytes()
        found = of_png(data) if data.startswith(PNG_SIGNATURE) else of_jpeg(data) if data[:2] == b"\xff\xd8" else ()
        for kind, segment in found:
            seen[kind, source] += 1
            if seen[kind, source] <= EACH:
                yield kind, source, segment[:MOST]


def strings(segment: bytes) -> list[bytes]:
    return [segment[i : i + LONG] for i in range(len(segment) - LONG + 1)]


def build(given: Sequence[Segment]) -> bytes:
    """The dictionary: greedily the piece whose strings most sources have for its length, and that are not in yet."""
    sources = defaultdict(set)
    for _, source, segment in given:
        for string in strings(segment):
            sources[string].add(source)
    common = {string: len(those) for string, those in sources.items() if len(those) >= LEAST}
    inside: set[bytes] = set()

    def worth(piece: bytes) -> float:
        return sum(common[s] - 1.5 for s in set(strings(piece)) if s not in inside) / (len(piece) + 6)

    heap = [(-worth(piece), piece) for piece in set(_pieces(given, common))]
    heapq.heapify(heap)
    taken, total = list[bytes](), 0
    while heap and total < SIZE:
        _, piece = heapq.heappop(heap)
        now = -worth(piece)
        if heap and now > heap[0][0] + 1e-9:
            if now < 0:
                heapq.heappush(heap, (now, piece))
            continue
        new = [i for i, string in enumerate(strings(piece)) if string not in inside]
        if new:
            piece = piece[max(0, new[0] - 3) : new[-1] + LONG + 3]
            inside.update(strings(piece))
            taken.append(piece)
            total += len(piece)
    return b"".join(reversed(taken))[-SIZE:]


def _pieces(given: Sequence[Segment], common: dict[bytes, int]) -> Iterator[bytes]:
    """Runs of common strings, long ones cut."""
    for _, _, segment in given:
        known = [string in common for string in strings(segment)]
        start = 0
        while start < len(known):
            end = start
            while end < len(known) and known[end]:
                end += 1
            run = segment[start : end + LONG - 1]
            if end - start > SHORTEST - LONG:
                yield from (run[max(0, at - LONG) : at + PIECE + LONG] for at in range(0, len(run), PIECE))
            start = end + 1


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=Path("metadata.dictionary"), show_default=True)
@click.option("--held-out", type=int, default=0, help="Every so manieth source is only measured.")
def main(folder: Path, out: Path, held_out: int) -> None:
    given = list(segments(folder))
    apart = {source for source in {s for _, s, _ in given} if held_out and zlib.crc32(source.encode()) % held_out == 0}
    known = build([segment for segment in given if segment[1] not in apart])
    out.write_bytes(known)
    sizes: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for kind, source, segment in given:
        if source in apart:
            for place, size in enumerate((1, len(deflate(segment)), len(deflate(segment, known)))):
                sizes[kind][place] += size
    for kind, (count, without, with_it) in sorted(sizes.items()):
        click.echo(f"{kind:20} {count:5} segments  {without:9,} -> {with_it:9,} bytes")


if __name__ == "__main__":
    main()
