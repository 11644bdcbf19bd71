"""Image files that are kept byte for byte: JPEGs, by a model of their coefficients where that is possible.

    file -> coefficients and the rest (`jpeg.file`) -> bands of whole rows -> a stream each -> container

A file that does not come apart, or would not come back, is stored as it is.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lgcodec import container
from lgcodec.boxes import Box
from lgcodec.coding import coder
from lgcodec.container import File, KeptReference, ModelReference
from lgcodec.deflate import deflate, inflate
from lgcodec.errors import FormatError, InputError, IntegrityError
from lgcodec.fields import Reader, varint
from lgcodec.image import BY_PILLOW, NOTHING, Picture, Samples
from lgcodec.jpeg import file as jpeg
from lgcodec.jpeg.errors import JpegError
from lgcodec.jpeg.pixels import Pixels
from lgcodec.jpeg.rest import closed, opened
from lgcodec.models.interface import Coefficients, ComponentShape, ImageModel, Stream
from lgcodec.models.parallel import each
from lgcodec.options import Options
from lgcodec.work import Meter, bytes_of_words, words_of

_MOST_INNER, _LONGEST_INNER = 8, 1 << 22  # JPEG files within a JPEG file, bytes of each
_SOI, _EOI, _ENDS = rb"\xff\xd8\xff", rb"\xff\xd9", 4  # how such a file begins and ends; how many ends are tried
_MARGIN = 32  # rows of pixels beside those that are shown which their chroma may be enlarged from
_DC_FIRST = 128  # in the first byte of side information
BAND_BLOCKS = 1 << 15  # of the finest component, about: so that bands are coded side by side


def encode(picture: Picture, options: Options, meter: Meter, *, nests: bool = True) -> bytes:
    """The file that keeps `picture.file`. nests: JPEG files within it are looked for.

    Raises IntegrityError where `verify` finds that it would not come back.
    """
    data = picture.file or b""
    write = functools.partial(
        container.write_kept, mode=picture.mode, size=(picture.width, picture.height), digest=_digest(data),
        length=len(data),
    )  # fmt: skip
    best = write(rest=min(data, deflate(data), key=len), model=None, bands=())
    try:
        parsed = jpeg.parse(data, check=False)
    except JpegError:
        return best
    model = options.of_coefficients()
    shape = jpeg.shape_of(parsed.rest)
    values = [plane.coefficients for plane in parsed.planes]
    coding = coder.coefficients(model)
    earlier = [coding.earlier(value, of.steps) for value, of in zip(values, shape.planes, strict=True)]
    nothing = [b"" for _ in values]
    rest = _nested(parsed.rest, options, picture.area) if nests else _without(opened(parsed.rest), [], {})
    quiet = Meter(None, picture.area, 1)
    for known, shown in ((earlier, meter), (nothing, quiet)) if any(earlier) else ((nothing, meter),):
        coded = _by_bands(model, shape, values, known, options, shown)
        if coded is not None:
            best = min(best, write(rest=rest, model=coded[0], bands=coded[1]), key=len)
    if options.verify and restore(container.read(best, max_pixels=picture.area), options, meter) != data:
        raise IntegrityError("the file would not come back: please report this")
    return best


def components(data: bytes) -> tuple[list[ComponentShape], list[Coefficients]]:
    """What a model of coefficients learns from: a JPEG file's components, without energy. Raises JpegError."""
    planes = jpeg.parse(data, check=False).planes
    shapes = [
        ComponentShape(
            len(plane.coefficients), plane.coefficients.shape[1], plane.vertical, plane.horizontal,
            plane.steps.astype(np.int64), np.zeros(0, np.int64),
        )
        for plane in planes
    ]  # fmt: skip
    return shapes, [plane.coefficients for plane in planes]


def restore(file: File, options: Options, meter: Meter, *, nests: bool = True) -> bytes:
    """The kept file. nests: it may hold others. Raises FormatError where it is damaged."""
    header, kept = file.header, _kept_by(file)
    data = file.rest(kept)
    if kept.model is not None:
        rest = _whole(data, options, header.width * header.height, _MOST_INNER if nests else 0)
        _, planes = _by_model(file, rest, kept.model, options, meter)
        data = jpeg.write(rest, planes, limit=kept.size)
    elif len(data) < kept.size:
        data = inflate(data, kept.size)
    if len(data) != kept.size or _digest(data) != header.digest:
        raise IntegrityError("what was restored has another digest than the file says: it is damaged")
    return data


def planes(file: File, options: Options, meter: Meter, *, is_preview: bool = False) -> tuple[jpeg.Plane, ...]:
    """The coefficients of the kept file, which is not written; those of previews need no others than DC to be right.

    Raises FormatError where it is damaged.
    """
    kept = _kept_by(file)
    if kept.model is None:
        return jpeg.parse(restore(file, options, meter), check=False).planes
    rest = _whole(file.rest(kept), options, file.header.width * file.header.height, 0)
    shape, values = _by_model(file, rest, kept.model, options, meter, is_preview=is_preview)
    return tuple(
        jpeg.Plane(of.horizontal, of.vertical, of.steps, blocks)
        for of, blocks in zip(shape.planes, values, strict=True)
    )


def region(file: File, options: Options, box: Box, meter: Meter) -> Samples | None:
    """The pixels of a box, of which no more bands are decoded than it needs; None where only the whole file tells them.

    Raises FormatError where what is needed is damaged.
    """
    header, kept = file.header, _kept_by(file)
    if kept.model is None:
        return None
    rest = _whole(file.rest(kept), options, header.width * header.height, _MOST_INNER)
    rows = (box[1] - _MARGIN, box[3] + _MARGIN)
    try:
        _, values = _by_model(file, rest, kept.model, options, meter, rows)
        shown = Pixels(rest, values)
    except JpegError:
        return None
    return shown.box(box) if shown.channels == header.mode.channels else None


def preview(file: File, options: Options) -> Samples:
    """The picture an eighth as wide and high, uint8 [ceil(H / 8), ceil(W / 8), channels], of DC coefficients alone.

    Raises InputError where no model codes these, or pixels are not made of them.
    """
    kept, area = _kept_by(file), file.header.width * file.header.height
    if kept.model is None:
        raise InputError("the file has no preview: its JPEG is kept as it is")
    rest = _whole(file.rest(kept), options, area, _MOST_INNER)
    _, values = _by_model(file, rest, kept.model, options, Meter(None, area, 1), is_preview=True)
    try:
        return Pixels(rest, values).small()
    except JpegError as error:
        raise InputError(f"the file has no preview: {error}") from error


def _by_model(
    file: File,
    rest: bytes,
    reference: ModelReference,
    options: Options,
    meter: Meter,
    wanted: tuple[int, int] | None = None,
    is_preview: bool = False,
) -> tuple[jpeg.Shape, list[Coefficients]]:
    """The shape and its coefficients; of bands that have none of the `wanted` rows of pixels, zeros; of previews, DC's.
    """
    header, kept = file.header, _kept_by(file)
    shape = jpeg.shape_of(rest)
    if (shape.width, shape.height) != (header.width, header.height):
        raise FormatError("a kept JPEG is of another size than the header says")
    side = np.frombuffer(reference.adaptation, np.uint8).copy()
    is_dc_first = bool((side[:1] & _DC_FIRST).any())
    side[:1] &= _DC_FIRST - 1
    count = len(kept.bands)
    model = options.find(reference)
    coding, n = coder.coefficients(model), len(shape.planes)
    energies, rest_of_side = side[: coding.energies * n], side[coding.energies * n :].tobytes()
    if len(energies) != coding.energies * n or energies.max(initial=0) > 127:
        raise FormatError("the side information of a kept JPEG is not well-formed")
    bands = _bands(shape, list(energies.reshape(n, -1)), _unpacked(rest_of_side, coding.earliers, n), is_dc_first)
    if count != len(bands):
        raise FormatError(f"a kept JPEG of {len(bands)} bands has {count} streams")
    decode = coder.preview_band if is_preview and is_dc_first else coder.decode_band
    tallest = max(range(len(shape.planes)), key=lambda i: shape.planes[i].vertical)  # whose rows are those of the image

    def decoded(place: int) -> list[Coefficients]:
        shapes, rows = bands[place]
        first, last = (8 * row for row in rows[tallest])
        if wanted is not None and (last <= wanted[0] or first >= wanted[1]):
            values = [np.zeros((of.rows, of.columns, 64), np.int16) for of in shapes]
        else:
            values = decode(model, shapes, words_of(file.band(kept, place)))
        meter.add(header.width * header.height / count)
        return values

    parts = each(options.workers(), decoded, range(count))
    return shape, [np.concatenate(values) for values in zip(*parts, strict=True)]


def _nested(rest: bytes, options: Options, area: int) -> bytes:
    """A rest in whose metadata JPEG files, such as thumbnails, are kept as files of ours. area: pixels of the image.

    n(varint) || (gap(varint) || back(varint) || [ length(varint) ]) for each || length(varint) || rest without || files
    """
    content = opened(rest)
    found = [inner for inner in _inner(content) if inner[2].width * inner[2].height <= area]
    spans = [(a, b) for a, b, _ in found]
    shapes = {content[a:b]: shape for a, b, shape in found}
    files = {inner: _inner_file(inner, shape, options) for inner, shape in shapes.items()}
    best = _without(content, [], files)
    for left_out in (None, *files):  # where metadata repeat, a copy may be cheaper than a file
        tried = _without(content, [(a, b) for a, b in spans if content[a:b] != left_out], files)
        best = min(best, tried, key=len)
    return best


def _inner(content: bytes) -> Iterator[tuple[int, int, jpeg.Shape]]:
    """The JPEG files within a rest, none of them in another one: first byte, one past the last, shape."""
    last, found = 0, 0
    for start in (match.start() for match in re.finditer(_SOI, content)):
        if start <= last or found == _MOST_INNER:  # the first of all is the file's own
            continue
        for match in itertools.islice(re.finditer(_EOI, content[start : start + _LONGEST_INNER]), _ENDS):
            end = start + match.end()
            try:
                shape = jpeg.shape_of(jpeg.parse(content[start:end], check=False).rest)
            except JpegError:
                continue
            yield start, end, shape
            last, found = end, found + 1
            break


def _inner_file(data: bytes, shape: jpeg.Shape, options: Options) -> bytes:
    picture = Picture(BY_PILLOW["RGB"], shape.width, shape.height, 8, (), NOTHING, (), data)
    return encode(picture, replace(options, verify=False), Meter(None, picture.area, 1), nests=False)


def _without(content: bytes, spans: Sequence[tuple[int, int]], files: Mapping[bytes, bytes]) -> bytes:
    """The rest with these pieces cut out, and their files behind it."""
    table, left, kept, seen, place = [varint(len(spans))], [], [], list[bytes](), 0
    for start, end in spans:
        inner = content[start:end]
        back = seen[::-1].index(inner) + 1 if inner in seen else 0
        table += [varint(start - place), varint(back)]
        if not back:
            kept.append(files[inner])
            table.append(varint(len(kept[-1])))
        seen.append(inner)
        left.append(content[place:start])
        place = end
    packed = closed(b"".join([*left, content[place:]]))
    return b"".join([*table, varint(len(packed)), packed, *kept])


def _whole(data: bytes, options: Options, area: int, most: int) -> bytes:
    """The inverse of `_nested`. area: pixels that no inner file may exceed; most: how many. Raises FormatError."""
    reader = Reader(memoryview(data), 0)
    entries = []
    for i in range(reader.varint(0, most)):
        gap, back = reader.varint(), reader.varint(0, i)
        entries.append((gap, back, 0 if back else reader.varint()))
    content = opened(reader.take(reader.varint()))
    parts, inner, place = list[bytes](), list[bytes](), 0
    for gap, back, length in entries:
        if gap > len(content) - place:
            raise FormatError("a JPEG file within a JPEG file has no place there")
        inner.append(inner[-back] if back else _inner_back(reader.take(length), options, area))
        parts += [content[place : place + gap], inner[-1]]
        place += gap
    if reader.left():
        raise FormatError("a kept JPEG's own part goes on after its end")
    return closed(b"".join([*parts, content[place:]]))


def _inner_back(data: bytes, options: Options, area: int) -> bytes:
    file = container.read(data, max_pixels=area)
    if not isinstance(file.header.content, KeptReference) or file.header.content.size > _LONGEST_INNER:
        raise FormatError("a JPEG file within a JPEG file is none that is kept")
    return restore(file, options, Meter(None, area, 1), nests=False)


def _by_bands(
    model: ImageModel,
    shape: jpeg.Shape,
    values: Sequence[Coefficients],
    earlier: Sequence[bytes],
    options: Options,
    meter: Meter,
) -> tuple[ModelReference, list[bytes]] | None:
    """What says how the coefficients are coded, and their bands; None where the model does not code such values."""
    coding = coder.coefficients(model)
    energies = [coding.energy(value) for value in values]
    bands = _bands(shape, energies, earlier, is_dc_first=True)

    def code(place: int) -> Stream | None:
        shapes, rows = bands[place]
        stream = coder.encode_band(model, shapes, [v[a:b] for v, (a, b) in zip(values, rows, strict=True)])
        meter.add(meter.pixels / len(bands))
        return stream

    streams = each(options.workers(), code, range(len(bands)))
    known = [stream for stream in streams if stream is not None]
    if len(known) < len(streams):
        return None
    side = b"".join(energy.tobytes() for energy in energies) + _packed(earlier, coding.earliers)
    side = bytes([side[0] | _DC_FIRST]) + side[1:]
    bits = round(sum(stream.ideal_bits for stream in known))
    reference = ModelReference(model.wire_id, model.digest[: container.MODEL_DIGEST_SIZE], side, bits)
    return reference, [bytes_of_words(stream.words) for stream in known]


def _packed(earlier: Sequence[bytes], size: int) -> bytes:
    """What is told of components' earlier quantisation; nothing where there was none."""
    return deflate(b"".join(part or bytes(size) for part in earlier)) if any(earlier) else b""


def _unpacked(data: bytes, size: int, count: int) -> list[bytes]:
    content = inflate(data, size * count) if data else b""
    parts = [content[size * i : size * (i + 1)] for i in range(count)]
    return [part if any(part) else b"" for part in parts]


def _bands(
    shape: jpeg.Shape,
    energies: Sequence[NDArray[np.uint8]],
    earlier: Sequence[bytes],
    is_dc_first: bool,
    most_bands: int = 1 << 20,
) -> list[tuple[list[ComponentShape], list[tuple[int, int]]]]:
    """Each band's components, and which of their rows of blocks these are.

    Rows of MCUs, as T.81 has them, in parts of like height.
    """
    tallest = max(plane.vertical for plane in shape.planes)
    most = max(-(-plane.rows * tallest // plane.vertical) for plane in shape.planes)
    units = -(-most // tallest)  # rows of MCUs
    blocks = max(plane.rows * plane.columns for plane in shape.planes)
    count = max(1, min(units, most_bands, round(blocks / BAND_BLOCKS)))
    bands = []
    for i in range(count):
        ends = [units * (i + j) // count for j in (0, 1)]
        shapes, rows = [], []
        for plane, energy, before in zip(shape.planes, energies, earlier, strict=True):
            first, last = (min(plane.rows, end * plane.vertical) for end in ends)
            last = plane.rows if i == count - 1 else last
            rows.append((first, last))
            steps = plane.steps.astype(np.int64)
            sizes = (last - first, plane.columns, plane.vertical, plane.horizontal)
            shapes.append(ComponentShape(*sizes, steps, energy, before, is_dc_first))
        bands.append((shapes, rows))
    if all(last > first for _, rows in bands for first, last in rows):
        return bands
    return _bands(shape, energies, earlier, is_dc_first, 1)


def _kept_by(file: File) -> KeptReference:
    if not isinstance(file.header.content, KeptReference):
        raise FormatError("the file keeps an image, not an image file")
    return file.header.content


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[: container.DIGEST_SIZE]
