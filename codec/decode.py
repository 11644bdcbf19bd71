"""A file to an image: the tiles that are wanted, by the methods that the index names, to where they belong."""

from __future__ import annotations

import operator
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec import colour, container, origins, plain, readers
from lgcodec.boxes import Box, area_of, intersection
from lgcodec.colour import Component
from lgcodec.container import ChainReference, File, Header, KeptReference, ModelReference, OriginReference, digest_of
from lgcodec.errors import FormatError, InputError, IntegrityError
from lgcodec.image import Samples
from lgcodec.models.interface import ImageModel, Shape, Tile
from lgcodec.models.parallel import each
from lgcodec.options import Options
from lgcodec.origins import exceptions
from lgcodec.origins.origin import Given, Origin
from lgcodec.work import Coded, Decode, DecodeChain, Meter, Progress, Request, batches, run, words_of

Give = Callable[[Component, Box, Samples], None]  # takes the samples of a component's tile
AT_ONCE = 1 << 25  # pixels of tiles by plain methods that are coded side by side, or as many as one has
Rescued = tuple[Samples, list[Box]]  # uint8 [H, W, channels], and the boxes of tiles that are damaged, which are grey


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


def rescue(file: File, options: Options, popped: Sequence[Tile] = ()) -> Rescued:
    """What is whole of a file of tiles. popped: those of its tiles that a chain holds.

    Raises IntegrityError where nothing is, or where tiles pass for whole that are not.
    """
    header = file.header
    tiles, parts = header.tiles(), file.components()
    chained = iter(popped)
    grey = 128 if header.depth >= 8 and not header.mode.has_palette else 0
    samples = np.full((header.height, header.width, header.mode.channels), grey, np.uint8)
    model = options.find(tiles.model) if tiles.model is not None else None
    damaged: list[Box] = []
    for place, (component, box) in enumerate(header.boxes()):
        job = Job(place, parts[component], component == 0, box)
        try:
            part = _tile(file, model, job, chained)
        except FormatError:
            damaged.append(box)
            continue
        x0, y0, x1, y1 = box
        samples[y0:y1, x0:x1, job.component.first : job.component.stop] = part
    if len(damaged) == len(tiles.index):
        raise IntegrityError("all of its tiles are damaged")
    if not damaged and digest_of([samples]) != header.digest:
        raise IntegrityError("the decoded pixels have another digest than the file says: it is damaged")
    return samples, list(dict.fromkeys(damaged))


def _tile(file: File, model: ImageModel | None, job: Job, chained: Iterator[Tile]) -> Samples:
    """The samples of one tile. Raises FormatError where it is damaged."""
    tiles = file.header.tiles()
    method = tiles.index[job.place].method
    if method != plain.MODEL:
        return job.component.give(plain.decode(method, file.stream(job.place), job.tile_shape))
    if model is None or tiles.model is None:
        raise FormatError("a model's stream without a model")
    if tiles.chain is not None:
        return job.component.give(colour.inverse(next(chained), tiles.transform))
    adaptation = tiles.model.adaptation if job.is_first else b""
    item = Coded(job.planes_shape, file.stream(job.place), file.base(job.place))
    (planes,) = Decode(model, adaptation, [item]).answer([item])
    return job.component.give(colour.inverse(planes, tiles.transform))


def rescue_chain(files: Sequence[File | None], options: Options) -> list[Rescued | None]:
    """As `rescue` for the images of one chain, None for those that are lost: it is popped from its end on, and gives
    just anything once it comes to where it is damaged.

    files: None for one without its header, which is taken to be like the one before it. Raises FormatError for the
    first of them, and ModelError.
    """
    from lgcodec.coding import chain as coding

    shown: list[File] = []
    for file in files:
        if file is None and not shown:
            raise FormatError("the file in which the chain begins is damaged")
        shown.append(file or shown[-1])
    tiles = shown[0].header.tiles()
    chain, model = tiles.chain, options.find(tiles.model) if tiles.model is not None else None
    if chain is None or model is None or not chain.seeds:
        raise FormatError("the file in which the chain begins is missing or damaged")
    stored = bytes(shown[0].pieces[-1])
    jobs = [_chained(file) for file in shown]
    popped = coding.popped(
        model, _seed(options, chain), [job.planes_shape for part in jobs for job in part], chain.seeds,
        words_of(stored[: len(stored) // 4 * 4]),
    )  # fmt: skip
    found: list[Rescued | None] = []
    whole = 0  # of those found: an image that its digest finds right says that the chain is right up to it
    with suppress(FormatError):
        for file, part in zip(reversed(files), reversed(jobs), strict=True):
            last_first = [next(popped) for _ in part]
            found.append(None if file is None else rescue(file, options, last_first[::-1]))
            if found[-1] is not None and not found[-1][1]:
                whole = len(found)
    if len(stored) == chain.length and zlib.crc32(stored) == chain.crc:
        whole = len(found)
    return [None] * (len(files) - whole) + found[:whole][::-1]


def _chained(file: File) -> list[Job]:
    """The jobs whose tiles are in a chain."""
    parts = file.components()
    return [
        Job(0, parts[place], place == 0, box)
        for entry, (place, box) in zip(file.header.tiles().index, file.header.boxes(), strict=True)
        if entry.method == plain.MODEL
    ]


def _seed(options: Options, chain: ChainReference) -> ImageModel:
    """The model of a chain's first tiles."""
    return options.find(ModelReference(chain.seed_id, chain.seed_digest, b"", 0))


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
    samples = origin.render((yield from _parts(file, options, origin, box, meter)), box)
    stored, area = file.exceptions(reference), header.width * header.height
    places, residuals = exceptions.unpack(stored, area, header.mode.channels)
    exceptions.apply(samples, places, residuals, header.width, box[0], box[1])
    return samples


def _parts(
    file: File, options: Options, origin: Origin, box: Box, meter: Meter, *, is_preview: bool = False
) -> Generator[Request, Any, list[Given]]:
    """What the pixels of a box need of an origin's parts. is_preview: of a JPEG the DC coefficients will do."""
    reference, wanted = origin_of(file), origin.parts()
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
            parts.append(_coefficients(part, options, is_preview=is_preview))
            meter.add(area_of(box) / len(wanted))
            continue
        whole = needed == (0, 0, what.width, what.height)
        parts.append((yield from decode(part, options, None if whole else needed, None)))
        meter.add(area_of(box) / len(wanted))
    return parts


def _coefficients(part: File, options: Options, *, is_preview: bool) -> Given:
    from lgcodec import kept

    return kept.planes(part, options, Meter(None, 1, 1), is_preview=is_preview)


def _small(file: File, options: Options) -> Generator[Request, Any, Samples]:
    """A picture near an image that has an origin, an eighth as wide and high: of small luma and chroma.

    Raises InputError where it has none.
    """
    from lgcodec.origins.coefficients import Coefficients
    from lgcodec.origins.rendered import Rendered

    header = file.header
    origin = origins.read(origin_of(file).data, header.mode.pillow, header.width, header.height)
    if not isinstance(origin, Coefficients | Rendered):
        raise InputError("the file has no preview: its origin is neither luma and chroma nor a JPEG")
    box = (0, 0, header.width, header.height)
    meter = Meter(None, area_of(box), 1)
    return origin.small((yield from _parts(file, options, origin, box, meter, is_preview=True)))


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

    def finish_plain(job: Job) -> None:
        tile = plain.decode(tiles.index[job.place].method, file.stream(job.place), job.tile_shape)
        give(job.component, job.box, job.component.give(tile))

    others = [job for job in jobs if tiles.index[job.place].method != plain.MODEL]
    for batch in batches(others, AT_ONCE // max((area_of(job.box) for job in others), default=1)):
        each(options.workers(), finish_plain, batch)
        for job in batch:
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
    header, jobs = file.header, _chained(file)
    shapes = [job.planes_shape for job in jobs]
    tiles = yield DecodeChain(model, _seed(options, chain), shapes, chain.seeds, words_of(file.chain(chain)))
    for job, planes in zip(jobs, tiles, strict=True):
        if region is None or area_of(intersection(job.box, region)) > 0:
            give(job.component, job.box, job.component.give(colour.inverse(planes, header.tiles().transform)))
        meter.add(job.work(header.mode.channels))


def preview(file: File, options: Options) -> NDArray[np.uint8]:
    """A picture from the bases alone, uint8 [H, W] or [H, W, 3]; tiles that no model coded are grey.

    Of a JPEG file that is kept, and of an image that was rendered from luma and chroma, an eighth as wide and high:
    from the DC coefficients, or from these planes. Raises InputError for files without any of that.
    """
    from lgcodec.coding import coder

    header = file.header
    if isinstance(header.content, KeptReference):
        from lgcodec import kept

        small = kept.preview(file, options)
        return small[..., 0] if small.shape[2] == 1 else small
    if isinstance(header.content, OriginReference):
        small = run([_small(file, options)])[0]
        return small[..., 0] if small.shape[2] == 1 else small
    if header.model is None or header.base_size == 0:
        raise InputError(f"the file has no preview: {_unseen(header)}")
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


def _unseen(header: Header) -> str:
    """Why a file has no preview, and what makes one."""
    if header.model is None:
        return "no model codes it, because plain methods take less"
    return "its model makes none (compress with --model vqvae does)"


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
