"""JPEG files as coefficients and the rest: they come back byte for byte, natively and plainly, or are refused."""

from __future__ import annotations

import io
import itertools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lgcodec.errors import FormatError, LimitError
from lgcodec.jpeg import file, huffman, markers, scans
from lgcodec.jpeg.dictionary import AC_LUMA, DC_LUMA, LUMA, dictionary, steps
from lgcodec.jpeg.errors import JpegError
from lgcodec.jpeg.file import parse, shape_of, write
from lgcodec.jpeg.rest import Rest, closed, opened, pack
from lgcodec.jpeg.scans import Blocks, Facts
from lgcodec.models.machines.native import jpeg as native

needs_native = pytest.mark.skipif(not native.is_available(), reason="the native library is not compiled")


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Without the native library."""
    with monkeypatch.context() as patch:
        patch.setattr(native, "is_available", lambda: False)
        yield patch


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    random = np.random.default_rng(seed)
    channels = len(mode)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / random.uniform(1, 9) + y / random.uniform(1, 9)) * 60 for _ in range(channels)]
    samples = np.stack(waves, -1) + random.normal(128, random.uniform(0, 40), (height, width, channels))
    samples[:, : width // 3] = 200  # flat: runs of blocks that end
    clipped = np.clip(samples, 0, 255).astype(np.uint8)
    return Image.fromarray(clipped[..., 0] if mode == "L" else clipped, mode)


def jpeg(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def coefficients(of: file.Jpeg) -> list[Blocks]:
    return [plane.coefficients for plane in of.planes]


def same(a: file.Jpeg, b: file.Jpeg) -> bool:
    return a.rest == b.rest and all(map(np.array_equal, coefficients(a), coefficients(b)))


KINDS = ({}, {"optimize": True}, {"progressive": True})
RESTARTS = ({}, {"restart_marker_blocks": 3}, {"restart_marker_rows": 1})


@needs_native
@pytest.mark.parametrize("kind", KINDS, ids=["plain", "optimized", "progressive"])
@pytest.mark.parametrize("restarts", RESTARTS, ids=["whole", "blocks", "rows"])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_files_of_pillow_come_back(
    kind: dict[str, object], restarts: dict[str, object], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(len(mode))
    for sampling, quality in zip(("4:4:4", "4:2:2", "4:2:0", "4:1:1"), (1, 60, 92, 100), strict=True):
        width, height = map(int, random.integers(1, 41, 2))
        image = picture(width, height, mode, quality)
        data = jpeg(image, quality=quality, **({} if mode == "L" else {"subsampling": sampling}), **kind, **restarts)
        found = parse(data)
        assert (found.width, found.height) == image.size
        assert write(found.rest, coefficients(found)) == data
        with monkeypatch.context() as patch:
            patch.setattr(native, "is_available", lambda: False)
            assert same(parse(data), found)


@needs_native
def test_every_size_comes_back() -> None:
    for width, height in itertools.chain(((1, h) for h in range(1, 41)), ((w, 40 - w // 2) for w in range(1, 41))):
        data = jpeg(picture(width, height), quality=width * 2, progressive=width % 2 == 0)
        assert len(parse(data).rest) < 60


@pytest.mark.parametrize("quality", range(1, 101))
def test_what_libjpeg_writes_costs_no_bytes(quality: int) -> None:
    image = picture(16, 16)
    assert len(parse(jpeg(image, quality=quality)).rest) <= 30
    assert len(parse(jpeg(image, quality=quality, optimize=True)).rest) <= 30
    assert len(parse(jpeg(image, quality=quality, progressive=True)).rest) <= 40


def test_planes_are_in_natural_order() -> None:
    x = np.tile(np.arange(8), (8, 1))
    wave = np.round(128 + 100 * np.cos((2 * x + 1) * 3 * np.pi / 16)).astype(np.uint8)  # frequency 3 across
    (plane,) = parse(jpeg(Image.fromarray(wave), quality=90)).planes
    assert np.abs(plane.coefficients[0, 0].astype(int) * plane.steps).argmax() == 3
    assert plane.steps.dtype == np.uint16
    assert tuple(plane.steps[list(scans.ZIGZAG)]) == tuple(steps(90, LUMA))


def test_shapes_are_known_before_coefficients() -> None:
    found = parse(jpeg(picture(33, 17), subsampling="4:2:0"))
    shape = shape_of(found.rest)
    assert (shape.width, shape.height) == (33, 17)
    assert [(of.horizontal, of.vertical, of.rows, of.columns) for of in shape.planes] == [
        (2, 2, 4, 6), (1, 1, 2, 3), (1, 1, 2, 3)]  # fmt: skip
    assert [tuple(of.steps) for of in shape.planes] == [tuple(plane.steps) for plane in found.planes]


# Files that no library at hand writes, made from coefficients: frame, then scans with optimal tables.


def segment(kind: int, content: bytes) -> bytes:
    return bytes([0xFF, kind]) + (len(content) + 2).to_bytes(2, "big") + content


def frame(width: int, height: int, factors: Sequence[tuple[int, int]], progressive: bool) -> bytes:
    components = b"".join(bytes([i + 1, h << 4 | v, 0]) for i, (h, v) in enumerate(factors))
    size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    tables = segment(0xDB, b"\0" + steps(80, LUMA))
    content = b"\x08" + size + bytes([len(factors)]) + components
    return b"\xff\xd8" + tables + segment(0xC2 if progressive else 0xC0, content)


def scan(
    planes: Sequence[int], first: int = 0, last: int = 63, high: int = 0, low: int = 0, interval: int = 0
) -> bytes:
    """With optimal tables before it, one for all of its components."""
    tables = [0x80] * (first == 0 and not high) + [0x90] * (last > 0)
    define = b"".join(bytes([0xFF, 0xC4, 1, key]) for key in tables)
    parts = b"".join(bytes([plane + 1, 0]) for plane in planes)
    return segment(0xDD, interval.to_bytes(2, "big")) + define + segment(
        0xDA, bytes([len(planes)]) + parts + bytes([first, last, high << 4 | low]))  # fmt: skip


def blocks(random: np.random.Generator, shape: tuple[int, int], density: float, largest: int = 2047) -> Blocks:
    """Coefficients that are rarely large, in few blocks or many."""
    values = np.round(random.laplace(0, random.uniform(0.3, 20), (*shape, 64)))
    values *= random.random((*shape, 64)) < density
    values *= random.random((*shape, 1)) < random.uniform(0.1, 1)
    return np.clip(values, -largest, largest).astype(np.int16)


def check(skeleton: bytes, planes: Sequence[Blocks], facts: Sequence[Facts] = ()) -> bytes:
    """A file of these, which comes back, natively and plainly."""
    count = skeleton.count(b"\xff\xda")
    rest = pack(skeleton, facts or [Facts(b"\x7f")] * count)
    data = write(rest, planes)
    found = parse(data)
    assert all(map(np.array_equal, coefficients(found), planes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "is_available", lambda: False)
        assert write(rest, planes) == data
        assert same(parse(data), found)
    return data


FACTORS = ([(1, 1)], [(2, 2)], [(1, 1)] * 3, [(2, 1), (1, 1)], [(2, 2), (1, 1), (1, 1)], [(4, 1), (1, 1), (1, 1)],
           [(1, 2), (2, 1)], [(3, 1), (2, 1)], [(2, 2), (1, 1), (1, 1), (2, 2)])  # fmt: skip


@needs_native
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(FACTORS), st.booleans(), st.integers(0, 5))
def test_sequential_files_come_back(seed: int, factors: list[tuple[int, int]], together: bool, interval: int) -> None:
    random = np.random.default_rng(seed)
    width, height = map(int, random.integers(1, 60, 2))
    skeleton = frame(width, height, factors, False)
    everything = range(len(factors))
    for group in [everything] if together else [[plane] for plane in everything]:
        skeleton += scan(group, interval=interval)
    shapes = shape_of(pack(skeleton, [Facts()])).planes
    planes = [blocks(random, (of.rows, of.columns), random.uniform(0, 1)) for of in shapes]
    check(skeleton + b"\xff\xd9", planes)


@needs_native
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(FACTORS), st.integers(0, 5))
def test_progressive_files_come_back(seed: int, factors: list[tuple[int, int]], interval: int) -> None:
    random = np.random.default_rng(seed)
    width, height = map(int, random.integers(1, 60, 2))
    skeleton = frame(width, height, factors, True)
    top = int(random.integers(0, 4))
    script = [(list(range(len(factors))), 0, 0, 0, top)]
    script += [(list(range(len(factors))), 0, 0, low + 1, low) for low in range(top - 1, -1, -1)]
    for plane in range(len(factors)):
        middle = int(random.integers(1, 64))
        for first, last in ((1, middle), (middle + 1, 63)):
            if first <= last:
                script.append(([plane], first, last, 0, top))
                script += [([plane], first, last, low + 1, low) for low in range(top - 1, -1, -1)]
    for group, *band in script:
        skeleton += scan(group, *band, interval=interval)
    shapes = shape_of(pack(skeleton, [Facts()])).planes
    planes = [blocks(random, (of.rows, of.columns), random.uniform(0, 1)) for of in shapes]
    down, across = (max(factor) for factor in list(zip(*factors, strict=True))[::-1])
    for plane, of in zip(planes, shapes, strict=True) if len(factors) > 1 else ():  # what fills up MCUs has no AC
        plane[-(-height * of.vertical // (8 * down)) :, :, 1:] = 0
        plane[:, -(-width * of.horizontal // (8 * across)) :, 1:] = 0
    check(skeleton + b"\xff\xd9", planes)


@needs_native
def test_long_runs_come_back() -> None:
    """Of more than 32767 blocks."""
    skeleton = frame(8 * 260, 8 * 130, [(1, 1)], True)
    skeleton += scan([0], 0, 0) + scan([0], 1, 63) + b"\xff\xd9"
    plane = np.zeros((130, 260, 64), np.int16)
    plane[128, 0, 5] = 1
    rest = pack(skeleton, [])
    data = write(rest, [plane])
    assert parse(data).rest == rest
    header = [piece for piece in _pieces(data) if isinstance(piece, markers.Header)][1]
    assert header.text + scans.write(header.coded(), [plane], Facts(), 1) in data


SMALL = frame(64, 48, [(1, 1)], True) + scan([0], 0, 0) + scan([0], 1, 63, 0, 1) + scan([0], 1, 63, 1, 0) + b"\xff\xd9"


def small(density: float = 0.1) -> Blocks:
    return blocks(np.random.default_rng(3), (6, 8), density)


@needs_native
def test_runs_that_end_early_come_back() -> None:
    plane = np.zeros((6, 8, 64), np.int16)
    plane[5, 7, 20] = 9
    breaks = np.array([3, 4, 20], np.int64)
    facts = [Facts(b"\x7f"), Facts(b"\x7f", breaks), Facts(b"\x7f", breaks[:1])]
    data = check(SMALL, [plane], facts)
    assert len(data) > len(check(SMALL, [plane]))
    found = Rest(parse(data).rest).facts()
    assert [own.breaks.tolist() for own in found] == [[], [3, 4, 20], [3]]


@needs_native
def test_runs_that_end_late_come_back() -> None:
    """A writer that holds more corrections than libjpeg does, as some do."""
    plane = np.full((6, 8, 64), 2, np.int16)
    canonical = check(SMALL, [plane])
    breaks = np.array([15], np.int64)  # where libjpeg has 945 of them
    data = check(SMALL, [plane], [Facts(b"\x7f"), Facts(b"\x7f"), Facts(b"\x7f", breaks)])
    assert data != canonical
    assert Rest(parse(data).rest).facts()[2].breaks.tolist() == [15]


@needs_native
def test_zeros_that_say_nothing_come_back() -> None:
    plane = np.zeros((6, 8, 64), np.int16)
    plane[0, 0, 1], plane[2, 2, 8] = 1, 2
    zeros = np.array([[0, 3], [18, 1], [19, 2]], np.int64)
    facts = [Facts(b"\x7f"), Facts(b"\x7f", zeros=zeros), Facts(b"\x7f", zeros=zeros[1:])]
    data = check(SMALL, [plane], facts)
    assert [own.zeros.tolist() for own in Rest(parse(data).rest).facts()] == [[], zeros.tolist(), zeros[1:].tolist()]
    sequential = frame(64, 48, [(1, 1)], False) + scan([0]) + b"\xff\xd9"
    data = check(sequential, [plane], [Facts(b"\x7f", zeros=zeros)])
    assert [own.zeros.tolist() for own in Rest(parse(data).rest).facts()] == [zeros.tolist()]


@needs_native
@pytest.mark.parametrize("bit", [0, 1])
def test_padding_comes_back(bit: int) -> None:
    skeleton = frame(64, 48, [(1, 1)], False) + scan([0], interval=5) + b"\xff\xd9"
    data = check(skeleton, [small()], [Facts(bytes([2 | bit]))])
    assert Rest(parse(data).rest).pad == bit


@needs_native
def test_mixed_padding_comes_back() -> None:
    skeleton = frame(64, 48, [(1, 1)], False) + scan([0], interval=5) + b"\xff\xd9"
    data = check(skeleton, [small()])
    header = next(piece for piece in _pieces(data) if isinstance(piece, markers.Header))
    start = data.index(header.text) + len(header.text)
    _, facts, _ = scans.read(header.coded(), data, start, [np.zeros((6, 8, 64), np.int16)])
    widths = [pad.bit_length() - 1 for pad in facts.pads]
    pads = bytes(1 << n | (i % 3) & ((1 << n) - 1) for i, n in enumerate(widths))
    changed = check(skeleton, [small()], [Facts(pads)])
    assert Rest(parse(changed).rest).pad is None
    assert Rest(parse(changed).rest).facts()[0].pads == pads


def _pieces(data: bytes) -> list[markers.Piece]:
    reader, planes = markers.Markers(data, False), []
    header, at = reader.next(2)
    planes = [np.zeros((*reader.frame.padded(of), 64), np.int16) for of in reader.frame.components]
    while header is not None:
        header, at = reader.next(scans.read(header.coded(), data, at, planes)[0])
    return reader.pieces


@needs_native
def test_tables_that_change_between_scans_come_back() -> None:
    """A table of another scan's statistics is kept as it is."""
    skeleton = frame(40, 40, [(1, 1)] * 2, False) + scan([0])
    skeleton += segment(0xDA, bytes([1, 2, 0, 0, 63, 0])) + b"\xff\xd9"
    plane = small()[:5, :5].copy()
    check(skeleton, [plane, plane])


@needs_native
def test_what_is_around_the_segments_comes_back() -> None:
    data = jpeg(picture(20, 20), optimize=True)
    at = data.index(b"\xff\xdb")
    odd = data[:at] + b"\xff\xff\xff" + data[at:-2] + b"\xff\xff\xff\xd0\xff\xd9" + data + b"\0\xff\xc0 more"
    assert parse(odd).rest
    thumbnail = data[:2] + segment(0xE1, b"Exif\0\0" + data) + data[2:]
    assert parse(thumbnail).rest
    assert parse(data[:-2]).rest  # no end
    bare = jpeg(picture(20, 20)).replace(b"\xff\xc4", b"\xff\xed")
    assert parse(bare).rest  # motion JPEG: the standard's tables, not in the file


def changed(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


def test_what_is_not_supported_is_refused() -> None:
    data = jpeg(picture(20, 20))
    sof, sos = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    cases = {
        "lossless": changed(data, sof + 1, 0xC3),
        "hierarchical": changed(data, sof + 1, 0xC5),
        "arithmetic": changed(data, sof + 1, 0xC9),
        "bits a sample": changed(data, sof + 4, 12),
        "no size": changed(changed(data, sof + 5, 0), sof + 6, 0),
        "sampling": changed(data, sof + 11, 0x52),
        "second frame": data[:sos] + data[sof : sof + 19] + data[sos:],
        "height after": data[:-2] + b"\xff\xdc\0\4\0\x10\xff\xd9",
        "begins again": data[:-2] + data,
        "not a JPEG": b"\xff\xd7" + data[2:],
        "not a JPEG file": b"",
        "within a segment": data[: sos + 5],
        "no frame": data[:sof],
        "too early": data[:-12],
        "components": changed(data, sos + 5, 9),
        "too short": changed(changed(data, sof + 5, 0xFF), sof + 7, 0xFF),
        "quantisation table": data.replace(b"\xff\xdb\0\x43\0", b"\xff\xdb\0\x43\3"),
        "without its Huffman table": changed(data, sos + 6, 0x22),
    }
    for words, case in cases.items():
        with pytest.raises(JpegError, match=words):
            parse(case)


def test_large_pictures_are_refused_before_they_take_memory() -> None:
    data = jpeg(picture(20, 20))
    assert parse(data, max_pixels=400).width == 20
    with pytest.raises(LimitError, match="400 pixels"):
        parse(data, max_pixels=399)


def test_what_would_not_come_back_is_refused() -> None:
    """Two codes of one symbol."""
    table = bytes([0, 2, *bytes(14), 0, 0])
    skeleton = frame(8, 8, [(1, 1)], False) + b"\xff\xc4\2\0" + table + b"\x10" + AC_LUMA
    skeleton += segment(0xDA, bytes([1, 1, 0, 0, 63, 0])) + b"\xff\xd9"
    data = write(pack(skeleton, [Facts(b"\x7f")]), [np.zeros((1, 1, 64), np.int16)])
    other = data[:-3] + bytes([data[-3] ^ 0x40]) + data[-2:]
    assert parse(data) is not None or parse(other) is not None
    refused = 0
    for case in (data, other):
        try:
            parse(case)
        except JpegError:
            refused += 1
    assert refused == 1


def test_rests_that_fit_nothing_are_refused() -> None:
    found = parse(jpeg(picture(20, 20), optimize=True))
    planes = coefficients(found)
    with pytest.raises(FormatError):
        write(found.rest, planes[:2])
    with pytest.raises(FormatError):
        write(found.rest, [plane.astype(np.int32) for plane in planes])
    with pytest.raises(FormatError):
        write(found.rest, [planes[0][1:], *planes[1:]])
    with pytest.raises(FormatError):
        write(found.rest, planes, limit=10)
    for rest in (b"", b"\0", b"\3" + found.rest[1:], found.rest + b"\0", found.rest[:-1]):
        with pytest.raises(FormatError):
            shape_of(rest)
    with pytest.raises(FormatError):
        write(found.rest, [np.full_like(plane, -32768) for plane in planes])


@pytest.mark.parametrize("facts", [Facts(breaks=np.array([500])), Facts(breaks=np.array([3])),
                                   Facts(zeros=np.array([[500, 1]])), Facts(zeros=np.array([[3, 3]])),
                                   Facts(b"\xfe"), Facts(b"\xff\x80")])  # fmt: skip
@pytest.mark.parametrize("natively", [False, pytest.param(True, marks=needs_native)])
def test_facts_that_do_not_fit_are_refused(facts: Facts, natively: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not natively:
        monkeypatch.setattr(native, "is_available", lambda: False)
    facts = replace(facts, pads=facts.pads or b"\x7f\x40")
    with pytest.raises(FormatError):
        write(pack(SMALL, [facts] * 3), [np.full((6, 8, 64), 5, np.int16)])


def test_a_bomb_is_refused() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=dictionary())
    with pytest.raises(JpegError):
        shape_of(b"\1" + packer.compress(bytes(1 << 27)) + packer.flush())
    for content in (b"\xff\xd8" + b"\xff\xd0" * 10000, SMALL[:-2] + scan([0], 1, 63) * 300):
        with pytest.raises(JpegError, match="too many"):
            shape_of(pack(content, []))


def test_optimal_tables_are_those_of_libjpeg() -> None:
    """As they are in a file that it optimised, by the symbols that are in the file."""
    data = jpeg(picture(60, 60, "L"), optimize=True)
    reader = markers.Markers(data, False)
    header, at = reader.next(2)
    assert header is not None
    _, _, counts = scans.read(header.coded(), data, at, [np.zeros((8, 8, 64), np.int16)])
    for i in (0, 4):
        table = header.tables[i]
        assert table is not None
        assert huffman.optimal(counts[i].tolist()) == table.code
    assert huffman.optimal([0] * 7 + [5] + [0] * 248)[:17] == bytes([1, *bytes(15), 7])
    fibonacci = [1, 1]
    while len(fibonacci) < 30:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    lengths = huffman.optimal(fibonacci + [0] * 226)[:16]
    assert sum(lengths) == 30
    assert sum(n << (16 - length) for length, n in enumerate(lengths, 1)) < 1 << 16


def test_codes_follow_their_lengths() -> None:
    assert huffman.codes(DC_LUMA)[:3] == [(0, 2, 0b00), (1, 3, 0b010), (2, 3, 0b011)]
    with pytest.raises(JpegError):
        huffman.codes(bytes([3, *bytes(15), 1, 2, 3]))


def test_orders_and_tables_are_those_of_the_standard() -> None:
    assert sorted(scans.ZIGZAG) == list(range(64))
    assert scans.ZIGZAG[:10] == (0, 1, 8, 16, 9, 2, 3, 10, 17, 24)
    assert zlib.crc32(dictionary()) == CRC_OF_DICTIONARY


CRC_OF_DICTIONARY = 2680081527


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_and_rests_are_refused_or_come_back(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    whole = jpeg(picture(24, 17), restart_marker_blocks=2, **kind)
    found = parse(whole)
    damaged = bytearray(whole if data.draw(st.booleans()) else found.rest)
    is_file = len(damaged) == len(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        if is_file:
            parse(bytes(damaged))
        else:
            write(bytes(damaged), coefficients(found))
    except FormatError:
        pass


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_rests_are_packed_in_one_part_or_two(before: bytes, behind: bytes) -> None:
    """Metadata before the tables has a dictionary of its own; nothing may follow, or end early."""
    xmp = b'\xff\xe1http://ns.adobe.com/xap/1.0/\0<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    for content in (b"\0" + before + behind, b"\1" + before + xmp + b"\xff\xdb\0" + behind):
        packed = closed(content)
        assert opened(packed) == content
        with pytest.raises(JpegError, match="damaged"):
            opened(packed + b"\0")
        with pytest.raises(JpegError, match="damaged"):
            opened(packed[:-1])
    assert closed(b"\1" + xmp + b"\xff\xdb\0")[0] == 9
    with pytest.raises(JpegError, match="none"):
        opened(b"")
