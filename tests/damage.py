"""Damaged files of every family, mode and method: the right pixels or a named error, in bounded memory and time.

`python tests/damage.py --count 1000000` is for the night; tests run 2,000. A failure prints the seed that repeats it.
Half of the files are damaged as disks and transfers do it (bytes flipped, cut, spliced); the other half as an attacker
does it, under new checksums, so that what is behind them is reached.
"""

from __future__ import annotations

import os
import random
import struct
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np

from lgcodec import Codec, container, plain, sets
from lgcodec.errors import LgcodecError
from lgcodec.image import MODES, Picture

GOLDEN = Path(__file__).parent / "golden"
MAX_PIXELS = 1 << 18
SECONDS = 5.0  # of processor time for any of these files, and
SECONDS_PER_PIXEL = 1e-4
MEMORY = 48 << 20  # bytes that any decoder may take, beside twice what the header promised


@dataclass(frozen=True)
class Original:
    name: str
    data: bytes
    codec: Codec
    pixels: bytes


def originals() -> list[Original]:
    """The golden files, and a file of each mode by each plain method."""
    os.environ["LGCODEC_WEIGHTS"] = str(GOLDEN)  # some files need weights that do not ship
    found, codec = [], Codec(threads=1, max_pixels=MAX_PIXELS)
    for path in sorted(GOLDEN.glob("*.lgc")):
        data = path.read_bytes()
        found.append(Original(path.name, data, codec, samples(codec, data)))
    values = np.random.default_rng(0)
    for mode in MODES.values():
        for wire_id, method in plain.METHODS.items():
            tile = np.repeat(values.integers(0, 2, (9, 11, mode.channels)), 2, axis=1).astype(np.uint8)
            tile = np.zeros_like(tile) if method.name == "solid" else tile
            code = method.encode(tile, 1)
            if code is not None:
                data = plain_file(Picture(mode, 22, 9, mode.depths[-1], chunks_of(mode.pillow), tile), wire_id, code)
                found.append(Original(f"{mode.pillow} {method.name}", data, codec, samples(codec, data)))
    return found


def samples(codec: Codec, data: bytes) -> bytes:
    """All samples of a file, or the JPEG file that it keeps: what its digest is of. An attacker may well say that the
    samples are another mode's.
    """
    picture = codec.decode(data)
    if picture.file is not None:
        return picture.file
    return picture.samples((0, 0, picture.width, picture.height)).tobytes()


def chunks_of(mode: str) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"PLTE", bytes(range(96))), (b"tEXt", b"a\0b")) if mode == "P" else ()


def plain_file(picture: Picture, wire_id: int, code: bytes) -> bytes:
    import hashlib

    pixels = picture.samples((0, 0, picture.width, picture.height))
    return container.write(
        mode=picture.mode,
        depth=picture.depth,
        size=(picture.width, picture.height),
        transform=0,
        digest=hashlib.sha256(np.ascontiguousarray(pixels)).digest()[: container.DIGEST_SIZE],
        chunks=picture.chunks,
        model=None,
        tiles=[(picture.width, picture.height)],
        streams=[(wire_id, code)],
    )


def damaged(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """`data` as a disk, a transfer or an attacker leaves it."""
    kind = chance.randrange(8)
    if kind == 0:
        return data[: chance.randrange(len(data))]
    if kind == 1:
        return flipped(data, chance, 0, len(data))
    if kind == 2:
        return spliced(data, others, chance)
    if kind == 3:
        return sealed(flipped(data, chance, 8, container.header_size(data[:20])))
    if kind == 4:
        return sealed(spliced(data, others, chance))
    return rebuilt(data, chance)


def flipped(data: bytes, chance: random.Random, start: int, stop: int) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(start, max(start + 1, min(stop, len(data))))
        changed[place] = chance.choice((changed[place] ^ 1 << chance.randrange(8), 0, 255, chance.randrange(256)))
    return bytes(changed)


def spliced(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    other = chance.choice(others)
    a, b = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    c, d = sorted(chance.randrange(len(other) + 1) for _ in range(2))
    return data[:a] + other[c : min(d, c + 64)] + data[b:]


def sealed(data: bytes) -> bytes:
    """`data` with the checksum that its header should have."""
    try:
        size = container.header_size(data[:20])
    except LgcodecError:
        return data
    if not 4 < size <= len(data):
        return data
    return data[: size - 4] + struct.pack("<I", zlib.crc32(data[: size - 4])) + data[size:]


def rebuilt(data: bytes, chance: random.Random) -> bytes:
    """A well-formed file of changed contents."""
    file = container.read(data)
    header = file.header
    if isinstance(header.content, container.OriginReference):
        return rebuilt_origin(file, chance)
    if isinstance(header.content, container.KeptReference):
        return rebuilt_kept(file, chance)
    index, pieces = header.content.index, [bytes(piece) for piece in file.pieces]
    streams = [(entry.method, piece) for entry, piece in zip(index, pieces[len(index) : -1], strict=True)]
    bases = {i: pieces[i] for i, entry in enumerate(index) if entry.base is not None}
    chunks, model, chain = file.chunks, header.model, None
    if header.content.chain is not None:
        chain = (header.content.chain, pieces[-1])
    size, transform, mode = (header.width, header.height), header.content.transform, header.mode
    place = chance.randrange(len(streams))
    what = chance.randrange(8)
    if what == 0 and streams[place][1]:
        streams[place] = (streams[place][0], flipped(streams[place][1], chance, 0, len(streams[place][1])))
    elif what == 1:
        streams[place] = (streams[place][0], bytes(chance.randrange(256) for _ in range(4 * chance.randrange(40))))
    elif what == 2 and chain is None:
        streams[place] = (chance.choice(list(plain.NAMES)), streams[place][1])
    elif what == 3 and model is not None:
        adaptation = flipped(model.adaptation, chance, 0, len(model.adaptation)) if model.adaptation else b"\1"
        model = replace(model, adaptation=adaptation)
    elif what == 4 and bases:
        key = chance.choice(list(bases))
        bases[key] = flipped(bases[key] or bytes(4), chance, 0, len(bases[key]))
    elif what == 5 and chain is not None:
        words = flipped(chain[1], chance, 0, len(chain[1]))
        words = words[: len(words) // 8 * 4] if chance.random() < 0.3 else words
        chain = (replace(chain[0], length=len(words), crc=zlib.crc32(words)), words)
    elif what == 6:
        size = (max(1, size[0] + chance.randint(-3, 3)), max(1, size[1] + chance.randint(-3, 3)))
    else:
        mode, transform = chance.choice(list(MODES.values())), chance.choice((transform, chance.randrange(9)))
    tiles = [(min(w, size[0]), min(h, size[1])) for w, h in header.content.sizes]
    return container.write(
        mode=mode,
        depth=mode.depths[-1],
        size=size,
        transform=transform,
        digest=header.digest,
        chunks=chunks,
        model=model,
        tiles=tiles,
        streams=streams,
        bases=bases,
        chain=chain,
    )


def rebuilt_kept(file: container.File, chance: random.Random) -> bytes:
    """The same of a file that keeps a JPEG: its side information, its own part, a band, its size or mode are others."""
    header, (rest, *bands) = file.header, [bytes(piece) for piece in file.pieces]
    model, size, mode, length = header.model, (header.width, header.height), header.mode, header.content.size
    what = chance.randrange(6)
    if what == 0:
        rest = flipped(rest, chance, 0, len(rest))
    elif what == 1 and bands:
        place = chance.randrange(len(bands))
        bands[place] = flipped(bands[place] or bytes(4), chance, 0, len(bands[place]))
    elif what == 2 and model is not None:
        model = replace(model, adaptation=flipped(model.adaptation, chance, 0, len(model.adaptation)))
    elif what == 3:
        size = (max(1, size[0] + chance.randint(-9, 9)), max(1, size[1] + chance.randint(-9, 9)))
    elif what == 4:
        length = max(1, length + chance.randint(-5, 5))
    else:
        mode, bands = chance.choice(list(MODES.values())), bands * chance.randint(1, 2)
    return container.write_kept(
        mode=mode, size=size, digest=header.digest, length=length, rest=rest, model=model, bands=bands
    )


def rebuilt_origin(file: container.File, chance: random.Random) -> bytes:
    """The same of a file that holds planes: what they are rendered by, the exceptions or a plane are other ones."""
    header = file.header
    what, exceptions = bytearray(header.content.data), file.exceptions(header.content)
    parts = [bytes(part) for part in file.pieces[1:]]
    kind = chance.randrange(4)
    if kind == 0 and what:
        what = bytearray(flipped(bytes(what), chance, 0, len(what)))
    elif kind == 1:
        exceptions = flipped(exceptions, chance, 0, len(exceptions)) if exceptions else bytes(chance.randrange(40))
    elif kind == 2:
        chance.shuffle(parts)
    else:
        place = chance.randrange(len(parts))
        parts[place] = rebuilt(parts[place], chance)
    return container.write_origin(
        mode=header.mode,
        depth=header.depth,
        size=(header.width, header.height),
        digest=header.digest,
        chunks=file.chunks,
        origin=bytes(what),
        exceptions=exceptions,
        parts=parts,
    )


def outcomes(seed: int, count: int, *, memory: bool = True) -> Iterator[str]:
    """What became of each of `count` damaged files; raises AssertionError, with the seed, where it is wrong."""
    files = originals()
    everything = [file.data for file in files] + [sets.write({"a": files[0].data, "b/c": files[1].data})]
    if memory:
        tracemalloc.start()
    try:
        for number in range(seed, seed + count):
            chance = random.Random(number)
            file = files[number % len(files)]
            data = damaged(file.data, everything, chance)
            # a splice may be another whole file, which nothing is wrong with
            file = next((other for other in files if other.data == data), file)
            yield outcome(file, data, number, memory=memory)
    finally:
        tracemalloc.stop()


def outcome(file: Original, data: bytes, seed: int, *, memory: bool) -> str:
    promised = 0
    try:
        header = container.read_header(data, max_pixels=MAX_PIXELS)
        promised = header.width * header.height * (header.mode.channels + 3 * 2)
    except LgcodecError:
        pass
    if memory:
        tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0] if memory else 0
    start = time.process_time()
    try:
        result = samples(file.codec, data)
    except LgcodecError as error:
        said = type(error).__name__
    except Exception as error:
        raise AssertionError(f"{file.name}, seed {seed}: {type(error).__name__}: {error}") from error
    else:
        said = "right pixels"
        if result != file.pixels:
            raise AssertionError(f"{file.name}, seed {seed}: other pixels, and no error")
    seconds = time.process_time() - start
    if seconds > SECONDS + SECONDS_PER_PIXEL * promised:
        raise AssertionError(f"{file.name}, seed {seed}: {seconds:.1f} s")
    if memory and (peak := tracemalloc.get_traced_memory()[1] - before) > 2 * promised + MEMORY:
        raise AssertionError(f"{file.name}, seed {seed}: {peak:,} bytes where the header promised {promised:,}")
    return said


@click.command()
@click.option("--count", default=1_000_000, show_default=True, help="How many damaged files.")
@click.option("--seed", default=0, show_default=True, help="Of the first one; the others follow.")
def main(count: int, seed: int) -> None:
    """Decode damaged files; ends at the first that does not give the right pixels or a named error."""
    start, counts = time.perf_counter(), Counter[str]()
    for number, said in enumerate(outcomes(seed, count, memory=False), 1):
        counts[said] += 1
        if number % 10_000 == 0 or number == count:
            shown = ", ".join(f"{n} {name}" for name, n in counts.most_common())
            click.echo(f"seeds {seed} to {seed + number - 1}: {shown}; {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
