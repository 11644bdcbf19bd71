"""Image files that are kept byte for byte: JPEGs, by a model of their coefficients where that is possible.

    file -> coefficients and the rest (`jpeg.file`) -> bands of whole rows -> a stream each -> container

A file that does not come apart, or would not come back, is stored as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lgcodec import container, plain
from lgcodec.coding import coder
from lgcodec.container import File, ModelReference
from lgcodec.errors import FormatError, IntegrityError
from lgcodec.image import Picture
from lgcodec.jpeg import file as jpeg
from lgcodec.jpeg.errors import JpegError
from lgcodec.models.interface import Coefficients, ComponentShape, ImageModel, Stream
from lgcodec.models.parallel import each
from lgcodec.options import Options
from lgcodec.work import Meter, bytes_of_words, words_of

BAND_BLOCKS = 1 << 15  # of the finest component, about: so that bands are coded side by side


def encode(picture: Picture, options: Options, meter: Meter) -> bytes:
    """The file that keeps `picture.file`. Raises IntegrityError where `verify` finds that it would not come back."""
    data = picture.file or b""
    stored = min(data, plain.deflate(data), key=len)
    best = _written(picture, stored, None, ())
    try:
        parsed = jpeg.parse(data, check=False)
    except JpegError:
        return best
    model = options.of_coefficients()
    shape = jpeg.shape_of(parsed.rest)
    values = [plane.coefficients for plane in parsed.planes]
    energies = [coder.coefficients(model).energy(value) for value in values]
    bands = _bands(shape, energies)
    items = [(shapes, [v[a:b] for v, (a, b) in zip(values, rows, strict=True)]) for shapes, rows in bands]
    streams = each(options.workers(), lambda item: _coded(model, item, meter, len(items)), items)
    if None not in streams:
        known = [stream for stream in streams if stream is not None]
        side = b"".join(energy.tobytes() for energy in energies)
        bits = round(sum(stream.ideal_bits for stream in known))
        reference = ModelReference(model.wire_id, model.digest[: container.MODEL_DIGEST_SIZE], side, bits)
        words = [bytes_of_words(stream.words) for stream in known]
        best = min(best, _written(picture, parsed.rest, reference, words), key=len)
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


def restore(file: File, options: Options, meter: Meter) -> bytes:
    """The kept file. Raises FormatError where it is damaged."""
    header, kept = file.header, file.header.kept
    if kept is None:
        raise FormatError("the file keeps an image, not an image file")
    data = file.kept_rest()
    if header.model is not None:
        _, planes = _by_model(file, data, header.model, options, meter)
        data = jpeg.write(data, planes, limit=kept.size)
    elif len(data) < kept.size:
        data = plain.inflate(data, kept.size)
    if len(data) != kept.size or _digest(data) != header.digest:
        raise IntegrityError("what was restored has another digest than the file says: it is damaged")
    return data


def planes(file: File, options: Options, meter: Meter) -> tuple[jpeg.Plane, ...]:
    """The coefficients of the kept file, which is not written. Raises FormatError where it is damaged."""
    if file.header.model is None:
        return jpeg.parse(restore(file, options, meter), check=False).planes
    shape, values = _by_model(file, file.kept_rest(), file.header.model, options, meter)
    return tuple(
        jpeg.Plane(of.horizontal, of.vertical, of.steps, blocks)
        for of, blocks in zip(shape.planes, values, strict=True)
    )


def _by_model(
    file: File, rest: bytes, reference: ModelReference, options: Options, meter: Meter
) -> tuple[jpeg.Shape, list[Coefficients]]:
    header = file.header
    shape = jpeg.shape_of(rest)
    if (shape.width, shape.height) != (header.width, header.height):
        raise FormatError("a kept JPEG is of another size than the header says")
    side = np.frombuffer(reference.adaptation, np.uint8)
    count = len(header.kept.bands) if header.kept is not None else 0
    model = options.find(reference)
    if len(side) != coder.coefficients(model).energies * len(shape.planes) or side.max(initial=0) > 127:
        raise FormatError("the side information of a kept JPEG is not well-formed")
    bands = _bands(shape, list(side.reshape(len(shape.planes), -1)))
    if count != len(bands):
        raise FormatError(f"a kept JPEG of {len(bands)} bands has {count} streams")

    def decode(place: int) -> list[Coefficients]:
        values = coder.decode_band(model, bands[place][0], words_of(file.band(place)))
        meter.add(header.width * header.height / count)
        return values

    parts = each(options.workers(), decode, range(count))
    return shape, [np.concatenate(values) for values in zip(*parts, strict=True)]


def _coded(
    model: ImageModel, item: tuple[list[ComponentShape], list[Coefficients]], meter: Meter, count: int
) -> Stream | None:
    """None where the model does not code such values."""
    stream = coder.encode_band(model, *item)
    meter.add(meter.pixels / count)
    return stream


def _bands(
    shape: jpeg.Shape, energies: Sequence[NDArray[np.uint8]], most_bands: int = 1 << 20
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
        for plane, energy in zip(shape.planes, energies, strict=True):
            first, last = (min(plane.rows, end * plane.vertical) for end in ends)
            last = plane.rows if i == count - 1 else last
            rows.append((first, last))
            steps = plane.steps.astype(np.int64)
            shapes.append(ComponentShape(last - first, plane.columns, plane.vertical, plane.horizontal, steps, energy))
        bands.append((shapes, rows))
    return bands if all(last > first for _, rows in bands for first, last in rows) else _bands(shape, energies, 1)


def _written(picture: Picture, rest: bytes, model: ModelReference | None, bands: Sequence[bytes]) -> bytes:
    data = picture.file or b""
    return container.write_kept(
        mode=picture.mode, size=(picture.width, picture.height), digest=_digest(data), length=len(data),
        rest=rest, model=model, bands=bands,
    )  # fmt: skip


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[: container.DIGEST_SIZE]
