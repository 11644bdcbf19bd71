"""A file to an image: the tiles that are wanted, by the methods that the index names, to where they belong."""

from __future__ import annotations

import operator
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec import colour, container, origins, plain, readers
from lgcodec.boxes import Box, area_of, intersection
from lgcodec.colour import Component
from lgcodec.container import ChainReference, File, KeptReference, ModelReference, OriginReference, digest_of
from lgcodec.errors import FormatError, InputError, IntegrityError
from lgcodec.image import Samples
from lgcodec.models.interface import ImageModel, Shape, Tile
from lgcodec.models.parallel import each
from lgcodec.options import Options
from lgcodec.origins import exceptions
from lgcodec.origins.origin import Given
from lgcodec.work import Coded, Decode, DecodeChain, Meter, Progress, Request, batches, words_of

Give = Callable[[Component, Box, Samples], None]  # takes the samples of a component's tile


@dataclass(frozen=True)
class Job:
    """One stream to decode, and where its samples go. is_first: of the component that the adaptation is for."""

    place: int
    component: Component
    is_first: bool
    box: Box

    @property
    def tile_shape(self) -> tuple[int, int, int]:
        """H, W, C."""
        x0, y0, x1, y1 = self.box
        return y1 - y0, x1 - x0, self.component.planes

    @property
    def planes_shape(self) -> Shape:
        height, width, planes = self.tile_shape
        return planes, height, width

    def work(self, channels: int) -> float:
        return area_of(self.box) * self.component.share(channels)


def rescue(file: File, options: Options) -> tuple[Samples, list[Box]]:
    """The samples of all tiles that are whole, uint8 [H, W, channels], and the boxes of those that are not, in grey.

    Raises FormatError for a chain, which is decoded all or not at all, and where tiles pass for whole that are not.
    """
    header = file.header
    if isinstance(header.content, KeptReference):
        raise FormatError("of a JPEG file that is kept as such all comes back or nothing")
    tiles, parts = header.tiles(), file.components()
    if tiles.chain is not None:
        raise FormatError("the tiles of a chain cannot be told apart: where one is damaged, all are")
    grey = 128 if header.depth >= 8 and not header.mode.has_palette else 0
    samples = np.full((header.height, header.width, header.mode.channels), grey, np.uint8)
    model = options.find(tiles.model) if tiles.model is not None else None
    damaged = []
    for place, (component, box) in enumerate(header.boxes()):
        job = Job(place, parts[component], component == 0, box)
        try:
            part = _tile(file, model, job)
        except FormatError:
            damaged.append(box)
            continue
        x0, y0, x1, y1 = box
        samples[y0:y1, x0:x1, job.component.first : job.component.stop] = part
    if not damaged and digest_of([samples]) != header.digest:
        raise IntegrityError("the decoded pixels have another digest than the file says: it is damaged")
    return samples, list(dict.fromkeys(damaged))


def _tile(file: File, model: ImageModel | None, job: Job) -> Samples:
    """The samples of one tile. Raises FormatError where it is damaged."""
    tiles = file.header.tiles()
    method, stream = tiles.index[job.place].method, file.stream(job.place)
    if method != plain.MODEL:
        return job.component.give(plain.decode(method, stream, job.tile_shape))
    if model is None or tiles.model is None:
        raise FormatError("a model's stream without a model")
    adaptation = tiles.model.adaptation if job.is_first else b""
    item = Coded(job.planes_shape, stream, file.base(job.place))
    (planes,) = Decode(model, adaptation, [item]).answer([item])
    return job.component.give(colour.inverse(planes, tiles.transform))


def decode(
    file: File, options: Options, region: Box | None, progress: Progress | None
) -> Generator[Request, Any, Samples]:
    """The samples of the region, None for all, uint8 [H, W, channels].

    Raises IntegrityError where the digest of all pixels is another than the file says.
    """
    header = file.header
    x0, y0, x1, y1 = region or (0, 0, header.width, header.height)
    if isinstance(header.content, KeptReference):
        from lgcodec import kept

        meter = Meter(progress, header.width * header.height, 1)
        part = None if region is None else kept.region(file, options, region, meter)
        if part is None:
            part = readers.kept(kept.restore(file, options, meter)).samples((x0, y0, x1, y1))
        return np.ascontiguousarray(part)
    if isinstance(header.content, OriginReference):
        samples = yield from render(file, options, (x0, y0, x1, y1), Meter(progress, header.width * header.height, 1))
        return _checked(samples, file, region)
    samples = np.zeros((y1 - y0, x1 - x0, header.mode.channels), np.uint8)

    def place(component: Component, box: Box, part: Samples) -> None:
        left, top, right, bottom = intersection(box, (x0, y0, x1, y1))
        cut = part[top - box[1] : bottom - box[1], left - box[0] : right - box[0]]
        samples[top - y0 : bottom - y0, left - x0 : right - x0, component.first : component.stop] = cut

    yield from decode_tiles(file, options, region, place, Meter(progress, header.width * header.height, 1))
    return _checked(samples, file, region)


def _checked(samples: Samples, file: File, region: Box | None) -> Samples:
    if region is None and digest_of([samples]) != file.header.digest:
        raise IntegrityError("the decoded pixels have another digest than the file says: it is damaged")
    return samples


def render(file: File, options: Options, box: Box, meter: Meter) -> Generator[Request, Any, Samples]:
    """The samples of a box of an image that has an origin: from those of its parts, which are files, and exceptions."""
    header, reference = file.header, origin_of(file)
    origin = origins.read(reference.data, header.mode.pillow, header.width, header.height)
    wanted = origin.parts()
    if len(wanted) != len(reference.parts):
        raise FormatError(f"an origin of {len(wanted)} parts in a file that has {len(reference.parts)}")
    parts: list[Given] = []
    for what, needed, data in zip(wanted, origin.needs(box), file.pieces[1:], strict=True):
        if needed is None:
            parts.append(None)
            continue
        part = container.read(data, max_pixels=what.width * what.height)
        at = part.header
        is_origin, is_kept = (isinstance(at.content, kind) for kind in (OriginReference, KeptReference))
        if (at.mode.pillow, at.width, at.height) != (what.mode, what.width, what.height) or is_origin:
            raise FormatError(f"a part is not an image of mode {what.mode}, {what.width} x {what.height} pixels")
        if is_kept != what.is_jpeg:
            raise FormatError("a part is a kept file where it should be an image, or the other way round")
        if what.is_jpeg:
            parts.append(_coefficients(part, options))
            meter.add(area_of(box) / len(wanted))
            continue
        whole = needed == (0, 0, what.width, what.height)
        parts.append((yield from decode(part, options, None if whole else needed, None)))
        meter.add(area_of(box) / len(wanted))
    samples = origin.render(parts, box)
    stored, area = file.exceptions(reference), header.width * header.height
    places, residuals = exceptions.unpack(stored, area, header.mode.channels)
    exceptions.apply(samples, places, residuals, header.width, box[0], box[1])
    return samples


def _coefficients(part: File, options: Options) -> Given:
    from lgcodec import kept

    return kept.planes(part, options, Meter(None, 1, 1))


def origin_of(file: File) -> OriginReference:
    """What the file's image is rendered from. Raises FormatError where it has no origin."""
    if not isinstance(file.header.content, OriginReference):
        raise FormatError("the file has no origin")
    return file.header.content


def decode_tiles(
    file: File, options: Options, region: Box | None, give: Give, meter: Meter
) -> Generator[Request, Any, None]:
    """Decodes the tiles under the region (None for all) and passes their samples to `give`."""
    header, tiles, parts = file.header, file.header.tiles(), file.components()
    model = options.find(tiles.model) if tiles.model is not None else None
    jobs = [
        Job(place, parts[component], component == 0, box)
        for place, (component, box) in enumerate(header.boxes())
        if region is None or area_of(intersection(box, region)) > 0
    ]

    def finish(job: Job, planes: Tile) -> None:
        give(job.component, job.box, job.component.give(colour.inverse(planes, tiles.transform)))

    for job in jobs:
        method = tiles.index[job.place].method
        if method != plain.MODEL:
            tile = plain.decode(method, file.stream(job.place), job.tile_shape)
            give(job.component, job.box, job.component.give(tile))
            meter.add(job.work(header.mode.channels))
    if model is None or tiles.model is None:
        return
    if tiles.chain is not None:
        yield from decode_chain(file, options, model, tiles.chain, region, give, meter)
        return
    modelled = [job for job in jobs if tiles.index[job.place].method == plain.MODEL]
    for first in (True, False):
        adaptation = tiles.model.adaptation if first else b""
        for batch in batches([job for job in modelled if job.is_first == first], model.batch):
            items = [Coded(job.planes_shape, file.stream(job.place), file.base(job.place)) for job in batch]
            each(options.workers(), finish, batch, (yield Decode(model, adaptation, items)))
            for job in batch:
                meter.add(job.work(header.mode.channels))


def decode_chain(
    file: File,
    options: Options,
    model: ImageModel,
    chain: ChainReference,
    region: Box | None,
    give: Give,
    meter: Meter,
) -> Generator[Request, Any, None]:
    """As `decode_tiles` for the tiles of a chain, which are decoded all or not at all."""
    header, parts = file.header, file.components()
    jobs = [
        Job(0, parts[place], place == 0, box)
        for entry, (place, box) in zip(header.tiles().index, header.boxes(), strict=True)
        if entry.method == plain.MODEL
    ]
    seed = options.find(ModelReference(chain.seed_id, chain.seed_digest, b"", 0))
    shapes = [job.planes_shape for job in jobs]
    tiles = yield DecodeChain(model, seed, shapes, chain.seeds, words_of(file.chain(chain)))
    for job, planes in zip(jobs, tiles, strict=True):
        if region is None or area_of(intersection(job.box, region)) > 0:
            give(job.component, job.box, job.component.give(colour.inverse(planes, header.tiles().transform)))
        meter.add(job.work(header.mode.channels))


def preview(file: File, options: Options) -> NDArray[np.uint8]:
    """A picture from the bases alone, uint8 [H, W] or [H, W, 3]; tiles that no model coded are grey.

    Of a JPEG file that is kept, an eighth as wide and high, from the DC coefficients.

    Raises InputError for a file without either.
    """
    from lgcodec.coding import coder

    header = file.header
    if isinstance(header.content, KeptReference):
        from lgcodec import kept

        small = kept.preview(file, options)
        return small[..., 0] if small.shape[2] == 1 else small
    if header.model is None or header.base_size == 0:
        raise InputError("the file has no preview: only models with a base make one (--model vqvae)")
    model, component = options.find(header.model), file.components()[0]
    picture = np.full((header.height, header.width, component.planes), 128, np.uint8)
    tiles = header.tiles()
    jobs = [(i, box) for i, (place, box) in enumerate(header.boxes()) if place == 0 and tiles.index[i].base]
    for batch in batches(jobs, model.batch):
        shapes = [(component.planes, y1 - y0, x1 - x0) for _, (x0, y0, x1, y1) in batch]
        bases = [words_of(file.base(i) or b"") for i, _ in batch]
        for (_, (x0, y0, x1, y1)), planes in zip(batch, coder.preview(model, shapes, bases), strict=True):
            picture[y0:y1, x0:x1] = colour.inverse(planes, tiles.transform, clip=True)
    return picture[..., 0] if component.planes == 1 else picture


def check_region(region: Any, file: File) -> Box:
    """The region in plain integers. Raises InputError for one that is empty or reaches beyond the image."""
    width, height = file.header.width, file.header.height
    try:
        x0, y0, x1, y1 = (operator.index(side) for side in region)
    except (TypeError, ValueError) as error:
        raise InputError(f"region is four whole numbers, x0, y0, x1, y1, not {region!r}") from error
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise InputError(f"region {(x0, y0, x1, y1)} is not x0 < x1 <= {width}, y0 < y1 <= {height}, from 0 on")
    return x0, y0, x1, y1
