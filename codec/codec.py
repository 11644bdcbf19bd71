"""Images to bytes and back: the public API, and the plan by which an image becomes streams.

Compressing and decompressing are generators that yield `Request`s for model work and are sent its results, so that one
loop (`_run`) serves a single image, tile batch by tile batch, and many small images whose tiles share the batches.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import secrets
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lgcodec import colour, container, plain, sets
from lgcodec.boxes import Box, tile_boxes
from lgcodec.colour import Component
from lgcodec.container import ChainReference, File, ModelReference
from lgcodec.errors import FormatError, InputError, IntegrityError, LimitError
from lgcodec.image import Picture, Samples, Source, array_of, read
from lgcodec.models.interface import ImageModel, Stream
from lgcodec.models.parallel import each

if TYPE_CHECKING:
    from lgcodec.coding.chain import Chain

EFFORT = 3
_PLAIN_AREA = 1 << 23  # pixels of a tile where nothing needs a model
_ADAPT_AREA = 1 << 23  # pixels that a model is shown to adapt to
_ADAPT_EFFORT = 7
_CHOICE_EFFORT = 3
_SQUARES, _SIDE = 4, 64  # what of an image the orders of its channels, and its classes, are tried on
_WINDOW_AREA = 1 << 24  # pixels of a batch of images that are in work together
_WINDOW_IMAGES = 1024
S = TypeVar("S")
T = TypeVar("T")
Progress = Callable[[int, int], None]
Model = Union[str, "os.PathLike[str]", ImageModel]
Data = Union[bytes, bytearray, memoryview, str, "os.PathLike[str]", IO[bytes]]


@dataclass(frozen=True)
class Info:
    """What a file's header says. Sizes in bytes, `ideal_bits` and bpsp in bits.

    channels: samples a pixel. tile_sizes: (width, height) for each component. methods: how many streams use each.
    model_id, model_digest (the first 16 bytes, hexadecimal): None where no stream needs a model.
    ideal_bits: the exact code length of the model's streams; overhead of these is 8 * model_bytes - ideal_bits.
    base_bytes: how many of the model_bytes a preview takes.
    """

    width: int
    height: int
    mode: str
    channels: int
    depth: int
    transform: str
    tile_sizes: tuple[tuple[int, int], ...]
    methods: dict[str, int]
    model_id: int | None
    model_digest: str | None
    adaptation_bytes: int
    ideal_bits: int
    file_bytes: int
    header_bytes: int
    chunk_bytes: int
    model_bytes: int
    base_bytes: int
    plain_bytes: int
    chunks: tuple[str, ...]

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def tiles(self) -> int:
        return sum(self.methods.values())

    @property
    def bpsp(self) -> float:
        """Bits per sub-pixel of the whole file."""
        return 8 * self.file_bytes / (self.pixels * self.channels)


@dataclass(frozen=True)
class Codec:
    """A reusable compressor: settings only, so it may be shared by threads and sent to worker processes.

    model: a name that `lgcodec models` lists, a weights file's path, or an ImageModel. Decoding takes the model that a
    file names, wherever it is found, and this one only if it is that one.
    device: "auto", "cpu" or "cuda". threads: of the model; None for all cores.
    effort: 1 to 9, encoding time for size; from 7 on the model is adapted to each image.
    verify: decode what was compressed and compare, before returning it.
    tile: (width, height) of the tiles that the model codes, None for the default.
    max_pixels: the largest image accepted, None for twice PIL.Image.MAX_IMAGE_PIXELS.
    """

    model: Model = "default"
    device: str = "auto"
    threads: int | None = None
    effort: int = EFFORT
    verify: bool = True
    tile: tuple[int, int] | None = None
    max_pixels: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.effort not in range(1, 10):
            raise InputError(f"effort is a whole number from 1 to 9, not {self.effort!r}")
        if self.tile is not None and not _is_tile(self.tile):
            limit = container.MODEL_TILE_AREA
            raise InputError(f"tile is (width, height), both at least 1, together at most {limit}, not {self.tile!r}")

    def compress(self, image: Source | Picture, *, progress: Progress | None = None) -> bytes:
        """The compressed file of a Pillow image, an array, or an image file (path, bytes or file object).

        Arrays: bool or uint16 [H, W]; uint8 [H, W] or [H, W, 1 to 4]. progress: called with pixels done and in all.
        Raises InputError, LimitError, ModelError, or IntegrityError where `verify` finds that the pixels would not come
        back, and OSError for a path that cannot be opened.
        """
        return _run([self._compress(self._read(image), progress)])[0]

    def compress_batch(self, images: Iterable[Source | Picture], *, chain: bool = False) -> list[bytes]:
        """As `compress` for each image; small images share the model's batches.

        chain: for latent models, whose first bits are then paid once. The files are one chain, which can only be
        decoded with all of them, in this order, and they are all in memory.
        """
        pictures = map(self._read, images)
        if chain:
            return _run([self._compress(picture, None, chain=True) for picture in pictures], chain=True)
        return _in_windows(pictures, _area, lambda picture: self._compress(picture, None))

    def decompress(self, data: Data, *, region: Box | None = None, progress: Progress | None = None) -> NDArray[Any]:
        """The pixels: bool, uint8 or uint16, of the shape that was compressed; indices for images of mode P.

        data: a file's bytes, its path, or a file object. region: (x0, y0, x1, y1), to decode no more than the tiles
        under it; the checksums of these are checked, but the digest of all pixels cannot be.
        Raises FormatError (damaged file), LimitError, ModelError, or InputError for a region outside the image.
        """
        file = self._parse(data)
        if region is not None:
            _check_region(region, file)
        return array_of(_run([self._decompress(file, region, progress)])[0], file.header.mode)

    def decompress_batch(self, data: Iterable[Data], *, chain: bool = False) -> list[NDArray[Any]]:
        """As `decompress` for each file; small images share the model's batches. chain: as in `compress_batch`."""

        def decode(file: File) -> Generator[Request, Any, NDArray[Any]]:
            return array_of((yield from self._decompress(file, None, None)), file.header.mode)

        files = map(self._parse, data)
        if chain:
            return _run([decode(file) for file in files], chain=True)
        return _in_windows(files, lambda file: file.header.width * file.header.height, decode)

    def compress_set(self, images: Mapping[str, Source | Picture]) -> bytes:
        """One file of many images, by name: those of a latent model as one chain. As `compress` for each.

        Raises InputError for names that are not relative paths.
        """
        chain = self._load().latent is not None
        return sets.write(dict(zip(images, self.compress_batch(images.values(), chain=chain), strict=True)))

    def decode_set(self, data: Data) -> dict[str, Picture]:
        """The inverse of `compress_set`; raises before anything is returned where any image is damaged."""
        files = {name: self._parse(part) for name, part in sets.read(_bytes_of(data)).items()}
        samples = _run([self._decompress(file, None, None) for file in files.values()], chain=True)
        return {name: _picture(file, part) for (name, file), part in zip(files.items(), samples, strict=True)}

    def decode(self, data: Data, *, progress: Progress | None = None) -> Picture:
        """As `decompress`, with all that belongs to the image: `Picture.image()` and `Picture.write_png(file)`."""
        file = self._parse(data)
        return _picture(file, _run([self._decompress(file, None, progress)])[0])

    def _read(self, image: Source | Picture) -> Picture:
        picture = image if isinstance(image, Picture) else read(image)
        limit = container.default_max_pixels() if self.max_pixels is None else self.max_pixels
        if limit is not None and _area(picture) > limit:
            raise LimitError(f"the image has {picture.width} x {picture.height} pixels, more than the limit of {limit}")
        return picture

    def _parse(self, data: Data) -> File:
        return container.read(_bytes_of(data), max_pixels=self.max_pixels)

    def _compress(
        self, picture: Picture, progress: Progress | None, *, chain: bool = False
    ) -> Generator[Request, Any, bytes]:
        plans = _plans(picture, lambda: self._tile(picture))
        latent = plans[-1].transform != colour.PLAIN and self._load().latent is not None
        if latent and chain and len(plans) > 1:  # what is in a common chain cannot be left out again
            plans = [self._likely(picture, plans)]
        meter = _Meter(progress, _area(picture), len(plans) + self.verify)
        digest = _digest(picture.strips())
        candidates = []
        for plan in plans:
            candidates.append((yield from self._encode(picture, plan, digest, meter)))
        if latent and not chain and len(candidates[0]) > _area(picture) * picture.mode.channels:
            plan = _plan(picture, colour.PLAIN, None, _plain_tile(picture))
            candidates.append((yield from self._encode(picture, plan, digest, meter)))
        best = min(candidates, key=len)
        if self.verify:
            yield from self._compare(picture, best, meter)
        return best

    def _encode(self, picture: Picture, plan: _Plan, digest: bytes, meter: _Meter) -> Generator[Request, Any, bytes]:
        """The file that one plan makes."""
        own = self._load() if plan.transform != colour.PLAIN else None
        adaptation = b""
        if own is not None:
            transform, adaptation = yield from self._choose(own, picture, plan)
            plan = replace(plan, transform=transform)
            if self.effort >= _ADAPT_EFFORT:
                adaptation = self._adapt(own, picture, plan, adaptation)
        streams: list[tuple[int, bytes]] = []
        bases: dict[int, bytes] = {}
        chained: list[NDArray[np.int16]] = []
        ideal = 0.0
        for place, component in enumerate(plan.components):
            boxes = list(tile_boxes(picture.width, picture.height, *plan.tiles[place]))
            model = own if _is_tile(plan.tiles[place]) else None
            for batch in _batches(boxes, model.batch if model is not None else 1):
                tiles = [component.take(picture.samples(box)) for box in batch]
                chains = model is not None and model.latent is not None
                cheap: list[tuple[int, bytes] | None] = [None] * len(tiles)
                if not chains:
                    cheap = each(self._threads, lambda tile, alone=model is None: self._cheap(tile, alone), tiles)
                wanted = [i for i, code in enumerate(cheap) if code is None or code[0] != _SOLID]
                coded: dict[int, Stream] = {}
                if model is not None and wanted:
                    turned = [tiles[i] for i in wanted]
                    planes = each(self._threads, lambda tile: colour.forward(tile, plan.transform), turned)
                    if chains:
                        chained += planes
                        answer = [_CHAINED] * len(planes)
                    else:
                        answer = yield _Encode(model, b"" if place else adaptation, planes)
                    coded = dict(zip(wanted, answer, strict=True))
                for i, tile in enumerate(tiles):
                    method, data, bits = _shortest(tile, cheap[i], coded.get(i))
                    base = coded[i].base if method == plain.MODEL else None
                    if base is not None:
                        bases[len(streams)] = _bytes(base)
                    streams.append((method, data))
                    ideal += bits
                meter.add(sum(map(_box_area, batch)) * component.share(picture.mode.channels))
        chain = None
        if chained and own is not None:
            seed = self._seed(own)
            links: Chain = yield _EncodeChain(own, seed, chained)
            ideal = links.seed_bits + links.net_bits
            data = _bytes(links.words)
            digest_of_seed = seed.digest[: container.MODEL_DIGEST_SIZE]
            chain = (ChainReference(seed.wire_id, digest_of_seed, links.seeds, len(data), zlib.crc32(data)), data)
        reference = None
        if own is not None and any(method == plain.MODEL for method, _ in streams):
            short = own.digest[: container.MODEL_DIGEST_SIZE]
            reference = ModelReference(own.wire_id, short, adaptation, round(ideal))
        return container.write(
            mode=picture.mode,
            depth=picture.depth,
            size=(picture.width, picture.height),
            transform=plan.transform,
            digest=digest,
            chunks=picture.chunks,
            model=reference,
            tiles=plan.tiles,
            streams=streams,
            bases=bases,
            chain=chain,
        )

    def _cheap(self, tile: Samples, always: bool) -> tuple[int, bytes] | None:
        if always:
            return plain.encode(tile, self.effort)
        return plain.encode(tile, plain.HASTE) if plain.is_promising(tile) else None

    def _adapt(self, model: ImageModel, picture: Picture, plan: _Plan, choice: bytes) -> bytes:
        boxes = list(tile_boxes(picture.width, picture.height, *plan.tiles[0]))
        shown = max(1, _ADAPT_AREA // (plan.tiles[0][0] * plan.tiles[0][1]))
        places = np.unique(np.linspace(0, len(boxes) - 1, min(shown, len(boxes))).round().astype(int))
        tiles = [plan.components[0].take(picture.samples(boxes[i])) for i in places]
        return model.adapt([colour.forward(tile, plan.transform) for tile in tiles], self.effort, choice)

    def _compare(self, picture: Picture, data: bytes, meter: _Meter) -> Generator[Request, Any, None]:
        file = container.read(data, max_pixels=_area(picture))

        def check(component: Component, box: Box, part: Samples) -> None:
            if not np.array_equal(part, picture.samples(box)[..., component.first : component.stop]):
                raise IntegrityError(f"the pixels at {box[:2]} would not come back: please report this")

        if file.chunks != tuple(picture.chunks):
            raise IntegrityError("the metadata would not come back: please report this")
        yield from self._decode_tiles(file, None, check, meter)

    def _decompress(
        self, file: File, region: Box | None, progress: Progress | None
    ) -> Generator[Request, Any, Samples]:
        header = file.header
        x0, y0, x1, y1 = region or (0, 0, header.width, header.height)
        samples = np.zeros((y1 - y0, x1 - x0, header.mode.channels), np.uint8)

        def place(component: Component, box: Box, part: Samples) -> None:
            left, top, right, bottom = _intersection(box, (x0, y0, x1, y1))
            cut = part[top - box[1] : bottom - box[1], left - box[0] : right - box[0]]
            samples[top - y0 : bottom - y0, left - x0 : right - x0, component.first : component.stop] = cut

        yield from self._decode_tiles(file, region, place, _Meter(progress, header.width * header.height, 1))
        if region is None and _digest([samples]) != header.digest:
            raise IntegrityError("the decoded pixels have another digest than the file says: it is damaged")
        return samples

    def _decode_tiles(
        self, file: File, region: Box | None, give: Callable[[Component, Box, Samples], None], meter: _Meter
    ) -> Generator[Request, Any, None]:
        """Decodes the tiles under the region (None for all) and passes their samples to `give`."""
        header = file.header
        parts = file.components()
        model = self._find(header.model) if header.model is not None else None
        jobs = [
            _Job(place, parts[component], component == 0, box)
            for place, (component, box) in enumerate(header.boxes())
            if region is None or _box_area(_intersection(box, region)) > 0
        ]
        modelled = [job for job in jobs if header.index[job.place].method == plain.MODEL]

        def finish(job: _Job, planes: NDArray[np.int16]) -> None:
            give(job.component, job.box, job.component.give(colour.inverse(planes, header.transform)))

        for job in jobs:
            entry = header.index[job.place]
            if entry.method != plain.MODEL:
                tile = plain.decode(entry.method, file.stream(job.place), job.tile_shape)
                give(job.component, job.box, job.component.give(tile))
                meter.add(job.work(header.mode.channels))
        if model is None or header.model is None:
            return
        if header.chain is not None:
            yield from self._decode_chain(file, model, header.chain, region, give, meter)
            return
        for first in (True, False):
            adaptation = header.model.adaptation if first else b""
            for batch in _batches([job for job in modelled if job.is_first == first], model.batch):
                items = [_Coded(job.planes_shape, file.stream(job.place), file.base(job.place)) for job in batch]
                each(self._threads, finish, batch, (yield _Decode(model, adaptation, items)))
                for job in batch:
                    meter.add(job.work(header.mode.channels))

    def _decode_chain(
        self,
        file: File,
        model: ImageModel,
        chain: ChainReference,
        region: Box | None,
        give: Callable[[Component, Box, Samples], None],
        meter: _Meter,
    ) -> Generator[Request, Any, None]:
        """As `_decode_tiles` for the tiles of a chain, which are decoded all or not at all."""
        header, parts = file.header, file.components()
        boxes = [(place, box) for entry, (place, box) in zip(header.index, header.boxes(), strict=True)
                 if entry.method == plain.MODEL]  # fmt: skip
        jobs = [_Job(0, parts[place], place == 0, box) for place, box in boxes]
        seed = self._find(ModelReference(chain.seed_id, chain.seed_digest, b"", 0))
        shapes = [job.planes_shape for job in jobs]
        tiles = yield _DecodeChain(model, seed, shapes, chain.seeds, _words(file.chain()))
        for job, planes in zip(jobs, tiles, strict=True):
            if region is None or _box_area(_intersection(job.box, region)) > 0:
                give(job.component, job.box, job.component.give(colour.inverse(planes, header.transform)))
            meter.add(job.work(header.mode.channels))

    def score(self, image: Source | Picture) -> float:
        """Bits per dim of an image under the model: ideal bits, or the -ELBO of latent models. Low is expected.

        Raises as `compress`, and InputError for images of modes that no model codes.
        """
        from lgcodec.coding import likelihood

        picture = self._read(image)
        palette = picture.palette()
        if picture.mode.pillow in ("1", "I;16"):
            raise InputError(f"no model codes images of mode {picture.mode.pillow}")
        model, bits = self._load(), 0.0
        plan = _plan(picture, _transform(picture, palette), palette, self._tile(picture))
        for component, size in zip(plan.components, plan.tiles, strict=True):
            for box in tile_boxes(picture.width, picture.height, *size):
                planes = colour.forward(component.take(picture.samples(box)), plan.transform)
                bits += likelihood.score(model, [planes])[0] * planes.size
        return bits / (_area(picture) * picture.mode.subpixels)

    def sample(self, n: int, size: tuple[int, int], *, seed: int = 0) -> list[NDArray[np.uint8]]:
        """n pictures that the model imagines, uint8 [H, W] or [H, W, 3]: what random bits decode to.

        size: width and height. Raises InputError for models without a program to decode with.
        """
        from lgcodec.coding import likelihood

        model = self._load()
        return likelihood.sample(model, (model.planes, size[1], size[0]), n, seed)

    def preview(self, data: Data) -> NDArray[np.uint8]:
        """A picture from the bases alone: uint8 [H, W] or [H, W, 3], near the image. The file may end after its bases.

        Tiles that no model coded are grey. Raises InputError for files without bases, FormatError (damaged file),
        LimitError, ModelError.
        """
        file = container.read(_bytes_of(data), max_pixels=self.max_pixels, partial=True)
        header = file.header
        if header.model is None or header.base_size == 0:
            raise InputError("the file has no preview: only models with a base make one (--model vqvae)")
        model, component = self._find(header.model), file.components()[0]
        picture = np.full((header.height, header.width, component.planes), 128, np.uint8)
        jobs = [(i, box) for i, (place, box) in enumerate(header.boxes()) if place == 0 and header.index[i].base]
        from lgcodec.coding import coder

        for batch in _batches(jobs, model.batch):
            shapes = [(component.planes, y1 - y0, x1 - x0) for _, (x0, y0, x1, y1) in batch]
            bases = [_words(file.base(i) or b"") for i, _ in batch]
            for (_, (x0, y0, x1, y1)), planes in zip(batch, coder.preview(model, shapes, bases), strict=True):
                picture[y0:y1, x0:x1] = colour.inverse(planes, header.transform, clip=True)
        return picture[..., 0] if component.planes == 1 else picture

    def _likely(self, picture: Picture, plans: list[_Plan]) -> _Plan:
        """The plan without a model or the one with it, by what squares of the image take."""
        from lgcodec.coding import likelihood

        without, with_model = plans
        tiles = [with_model.components[0].take(picture.samples(box)) for box in _squares(picture, _SIDE, _SQUARES)]
        rates = likelihood.score(self._load(), [colour.forward(tile, with_model.transform) for tile in tiles])
        bits = sum(rate * tile.size for rate, tile in zip(rates, tiles, strict=True))
        return with_model if bits < 8 * sum(len(plain.encode(tile, plain.HASTE)[1]) for tile in tiles) else without

    def _choose(self, model: ImageModel, picture: Picture, plan: _Plan) -> Generator[Request, Any, tuple[int, bytes]]:
        """The transform under which squares of the image take the fewest bits, and then which of the model's choices,
        or none.
        """
        orders = colour.MIDDLES if plan.transform == colour.STANDARD else (plan.transform,)
        best = plan.transform, b""
        if self.effort < _CHOICE_EFFORT or model.latent is not None or len(orders) + len(model.choices) == 1:
            return best
        tiles = [plan.components[0].take(picture.samples(box)) for box in _squares(picture, _SIDE, _SQUARES)]
        fewest = math.inf
        for choice in (b"", *model.choices):
            streams = yield _Encode(model, choice, [colour.forward(tile, order) for order in orders for tile in tiles])
            bits = np.reshape([stream.ideal_bits for stream in streams], (len(orders), -1)).sum(axis=1)
            if bits.min() < fewest:
                best, fewest = (orders[int(bits.argmin())], choice), bits.min()
            orders = best[:1]
        return best

    @property
    def _threads(self) -> int:
        return self.threads or os.cpu_count() or 1

    def _tile(self, picture: Picture) -> tuple[int, int]:
        """Width and height of the tiles that the model gets."""
        if self.tile is not None:
            return self.tile
        model = self._load()
        sides = zip((picture.width, picture.height), model.tile, strict=True)
        width, height = (_even(side, most, model.unit) for side, most in sides)
        return width, height

    def _seed(self, model: ImageModel) -> ImageModel:
        """The explicit model that codes the first tiles of a latent model's chain."""
        from lgcodec.models import registry

        return registry.load("default", device=self.device, threads=self.threads)

    def _load(self) -> ImageModel:
        if not isinstance(self.model, (str, os.PathLike)):
            return self.model
        from lgcodec.models import registry

        return registry.load(self.model, device=self.device, threads=self.threads)

    def _find(self, reference: ModelReference) -> ImageModel:
        """The model that a file names: this codec's own if it is that one, or the registry's."""
        if self.model != "default" and _is_same(own := self._load(), reference):
            return own
        from lgcodec.models import registry

        name = registry.find(reference.wire_id, reference.digest)
        return registry.load(name, device=self.device, threads=self.threads)


def score(
    image: Source,
    *,
    model: Model = "default",
    device: str = "auto",
    threads: int | None = None,
    max_pixels: int | None = None,
) -> float:
    """Bits per dim of an image under a model. As `Codec.score`."""
    return Codec(model, device, threads, max_pixels=max_pixels).score(image)


def preview(
    data: Data,
    *,
    model: Model = "default",
    device: str = "auto",
    threads: int | None = None,
    max_pixels: int | None = None,
) -> NDArray[np.uint8]:
    """A picture near the image, from the first few bytes of its file. As `Codec.preview`."""
    return Codec(model, device, threads, max_pixels=max_pixels).preview(data)


def compress(
    image: Source,
    *,
    model: Model = "default",
    effort: int = EFFORT,
    device: str = "auto",
    threads: int | None = None,
    verify: bool = True,
    tile: tuple[int, int] | None = None,
    max_pixels: int | None = None,
    progress: Progress | None = None,
) -> bytes:
    """The compressed file of an image. Options as in `Codec`, arguments and errors as in `Codec.compress`."""
    codec = Codec(model, device, threads, effort, verify, tile, max_pixels=max_pixels)
    return codec.compress(image, progress=progress)


def decompress(
    data: Data,
    *,
    region: Box | None = None,
    model: Model = "default",
    device: str = "auto",
    threads: int | None = None,
    max_pixels: int | None = None,
    progress: Progress | None = None,
) -> NDArray[Any]:
    """The identical pixels. Arguments, result and errors as in `Codec.decompress`."""
    codec = Codec(model, device, threads, max_pixels=max_pixels)
    return codec.decompress(data, region=region, progress=progress)


def open(
    file: Data,
    *,
    model: Model = "default",
    device: str = "auto",
    threads: int | None = None,
    max_pixels: int | None = None,
    progress: Progress | None = None,
) -> Image.Image:
    """The Pillow image in an lgcodec file (path, file object or bytes), with its mode, palette and `info`.

    Raises OSError where the file cannot be read, and as `Codec.decompress` does.
    """
    return Codec(model, device, threads, max_pixels=max_pixels).decode(file, progress=progress).image()


def save(
    file: str | os.PathLike[str] | IO[bytes],
    image: Source,
    *,
    model: Model = "default",
    effort: int = EFFORT,
    device: str = "auto",
    threads: int | None = None,
    verify: bool = True,
    tile: tuple[int, int] | None = None,
    max_pixels: int | None = None,
    progress: Progress | None = None,
) -> int:
    """Compresses an image into a file, which appears whole or not at all; returns its bytes' number.

    file: a path, which is replaced if it exists, or a writable file object.
    Raises OSError, and as `Codec.compress` does.
    """
    codec = Codec(model, device, threads, effort, verify, tile, max_pixels=max_pixels)
    data = codec.compress(image, progress=progress)
    if isinstance(file, (str, os.PathLike)):
        write_atomically(Path(file), data)
    else:
        file.write(data)
    return len(data)


def verify(
    data: Data,
    *,
    model: Model = "default",
    device: str = "auto",
    threads: int | None = None,
    max_pixels: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Decodes a file and checks every checksum and the pixels' digest. Raises as `Codec.decompress` does."""
    Codec(model, device, threads, max_pixels=max_pixels).decode(data, progress=progress)


def inspect(data: Data) -> Info:
    """What a file's header says: no pixel is decoded, no model loaded, and of a file no more is read than its header.

    Raises FormatError; of the streams only the lengths are checked.
    """
    if isinstance(data, (str, os.PathLike)):
        with Path(data).open("rb") as file:
            return _inspect(file)
    return _inspect(io.BytesIO(data) if isinstance(data, (bytes, bytearray, memoryview)) else data)


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


@dataclass(frozen=True)
class _Plan:
    """One way to code an image: its transform, components, and the size of their tiles."""

    transform: int
    components: tuple[Component, ...]
    tiles: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Job:
    """One stream to decode, and where its samples go. is_first: of the component that the adaptation is for."""

    place: int
    component: Component
    is_first: bool
    box: Box

    @property
    def tile_shape(self) -> tuple[int, int, int]:
        x0, y0, x1, y1 = self.box
        return y1 - y0, x1 - x0, self.component.planes

    @property
    def planes_shape(self) -> tuple[int, int, int]:
        height, width, planes = self.tile_shape
        return planes, height, width

    def work(self, channels: int) -> float:
        return _box_area(self.box) * self.component.share(channels)


@dataclass(frozen=True)
class _Coded:
    """A model stream. shape: C, H, W of its tile."""

    shape: tuple[int, int, int]
    data: bytes
    base: bytes | None


@dataclass(frozen=True)
class _Encode:
    """A request: int16 tiles [C, H, W] of one C; answered by a Stream for each."""

    model: ImageModel
    adaptation: bytes
    items: list[NDArray[np.int16]]

    def planes(self) -> int:
        return int(self.items[0].shape[0])

    def answer(self, items: Sequence[NDArray[np.int16]]) -> list[Any]:
        from lgcodec.coding import coder

        return coder.encode(self.model, items, self.adaptation)


@dataclass(frozen=True)
class _Decode:
    """A request: streams of one C; answered by int16 [C, H, W] for each."""

    model: ImageModel
    adaptation: bytes
    items: list[_Coded]

    def planes(self) -> int:
        return self.items[0].shape[0]

    def answer(self, items: Sequence[_Coded]) -> list[Any]:
        from lgcodec.coding import coder

        words = [_words(item.data) for item in items]
        bases = [None if item.base is None else _words(item.base) for item in items]
        return coder.decode(self.model, [item.shape for item in items], words, self.adaptation, bases)


@dataclass(frozen=True)
class _EncodeChain:
    """A request: all int16 tiles [C, H, W] that a latent model codes of an image; answered by their Chain."""

    model: ImageModel
    seed: ImageModel
    tiles: list[NDArray[np.int16]]

    @staticmethod
    def answer(requests: Sequence[_EncodeChain]) -> list[Any]:
        """One chain of all tiles, which the first one gets."""
        from lgcodec.coding import chain

        first, tiles = requests[0], [tile for request in requests for tile in request.tiles]
        rest = chain.Chain(np.zeros(0, np.uint32), (), 0.0, 0.0, 0.0)
        return [chain.encode(first.model, first.seed, tiles)] + [rest] * (len(requests) - 1)


@dataclass(frozen=True)
class _DecodeChain:
    """A request: (C, H, W) of the tiles that a latent model codes of an image, and their chain; answered by these."""

    model: ImageModel
    seed: ImageModel
    shapes: list[tuple[int, int, int]]
    seeds: tuple[int, ...]
    words: NDArray[np.uint32]

    @staticmethod
    def answer(requests: Sequence[_DecodeChain]) -> list[Any]:
        """The tiles of all, from the chain of the first one."""
        from lgcodec.coding import chain

        first, *others = requests
        if not first.seeds or any(request.seeds for request in others):
            raise FormatError("the file goes on in the chain of another file, which comes before it in their set")
        shapes = [shape for request in requests for shape in request.shapes]
        tiles = iter(chain.decode(first.model, first.seed, shapes, first.seeds, first.words))
        return [[next(tiles) for _ in request.shapes] for request in requests]


Request = _Encode | _Decode | _EncodeChain | _DecodeChain


class _Meter:
    """Turns work done in several passes over an image into its pixels, for a progress callback."""

    def __init__(self, progress: Progress | None, pixels: int, passes: int) -> None:
        self.progress = progress
        self.pixels = pixels
        self.passes = passes
        self.done = 0.0

    def add(self, pixels: float) -> None:
        self.done += pixels
        if self.progress is not None:
            self.progress(min(self.pixels, round(self.done / self.passes)), self.pixels)


_CHAINED = Stream(np.zeros(0, np.uint32), 0.0)  # stands for a tile whose bits are in a chain
_SOLID = next(wire_id for wire_id, method in plain.METHODS.items() if method.name == "solid")


def _run(work: Sequence[Generator[Request, Any, T]], *, chain: bool = False) -> list[T]:
    """Runs generators side by side; requests that one model call can answer share its batches.

    chain: the chains of all are one, which begins in the first work that has one.
    """
    results: dict[int, T] = {}
    answers: dict[int, Any] = dict.fromkeys(range(len(work)))
    waiting: dict[int, Request] = {}  # for a chain, until all others wait as well or are done
    while answers or waiting:
        requests: dict[int, Request] = {}
        for place, answer in answers.items():
            try:
                request = next(work[place]) if answer is None else work[place].send(answer)
            except StopIteration as stop:
                results[place] = stop.value
                continue
            is_chain = isinstance(request, (_EncodeChain, _DecodeChain))
            (waiting if chain and is_chain else requests)[place] = request
        if not requests:
            requests, waiting = dict(sorted(waiting.items())), {}
        answers = dict(_answers(requests, chain))
    return [results[place] for place in range(len(work))]


def _answers(requests: dict[int, Request], chain: bool) -> Iterator[tuple[int, Any]]:
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, request in requests.items():
        key: tuple[object, ...] = (type(request), id(request.model))
        if isinstance(request, (_Encode, _Decode)):
            key += (request.adaptation, request.planes())
        elif not chain:
            key += (place,)
        groups.setdefault(key, []).append(place)
    for places in groups.values():
        first: Any = requests[places[0]]
        same: list[Any] = [requests[place] for place in places]
        if isinstance(first, (_EncodeChain, _DecodeChain)):
            yield from zip(places, first.answer(same), strict=True)
            continue
        items = [item for request in same for item in request.items]
        results = iter([result for batch in _batches(items, first.model.batch) for result in first.answer(batch)])
        for place, request in zip(places, same, strict=True):
            yield place, [next(results) for _ in request.items]


def _in_windows(
    inputs: Iterable[S], area: Callable[[S], int], work: Callable[[S], Generator[Request, Any, T]]
) -> list[T]:
    """Runs `work` over all inputs, so many at a time that their pixels stay within a bound."""
    results: list[T] = []
    window: list[S] = []
    pixels = 0
    for item in inputs:
        window.append(item)
        pixels += area(item)
        if pixels >= _WINDOW_AREA or len(window) >= _WINDOW_IMAGES:
            results += _run([work(x) for x in window])
            window, pixels = [], 0
    return results + _run([work(x) for x in window])


def _plans(picture: Picture, tile: Callable[[], tuple[int, int]]) -> list[_Plan]:
    """The ways worth trying: without any model, with one, or both where neither is sure to win.

    tile: tells the size of the model's tiles; asked only where it is used.
    """
    without = _plan(picture, colour.PLAIN, None, _plain_tile(picture))
    if picture.mode.pillow in ("1", "I;16") or _is_solid(picture):
        return [without]
    palette = picture.palette()
    if palette is not None and not colour.is_reversible(_used(picture), palette):
        return [without]
    promising = plain.is_promising(_sample(picture))
    if palette is not None and promising:
        return [without]
    with_model = _plan(picture, _transform(picture, palette), palette, tile())
    return [without, with_model] if promising or palette is not None else [with_model]


def _plan(picture: Picture, transform: int, palette: Samples | None, tile: tuple[int, int]) -> _Plan:
    parts = colour.components(picture.mode.pillow, picture.mode.channels, transform, palette)
    size = (min(tile[0], picture.width), min(tile[1], picture.height))
    sizes = [size] * len(parts)
    if len(parts) > 1 and plain.is_promising(parts[-1].take(_sample(picture, alpha=True))):
        sizes[-1] = _plain_tile(picture)  # a flat alpha plane is cheapest in one piece
    return _Plan(transform, parts, tuple(sizes))


def _even(side: int, most: int, unit: int) -> int:
    """The side of the tiles when `side` is cut into as few as possible, all about as long, none over `most`.

    unit: what it is a multiple of where there are several; `most` is one.
    """
    count = -(-side // most)
    return side if count == 1 else -(-side // (count * unit)) * unit


def _squares(picture: Picture, side: int, count: int) -> list[Box]:
    """About `count` boxes of at most side x side pixels, evenly spread over the image."""
    width, height = min(side, picture.width), min(side, picture.height)
    columns = max(1, round((count * picture.width / picture.height) ** 0.5))
    rows = max(1, round(count / columns))
    xs = {(picture.width - width) * (2 * i + 1) // (2 * columns) for i in range(columns)}
    ys = {(picture.height - height) * (2 * i + 1) // (2 * rows) for i in range(rows)}
    return [(x, y, x + width, y + height) for y in sorted(ys) for x in sorted(xs)]


def _plain_tile(picture: Picture) -> tuple[int, int]:
    width = min(picture.width, 1 << 13)
    return width, min(picture.height, max(1, _PLAIN_AREA // width))


def _transform(picture: Picture, palette: Samples | None) -> int:
    if palette is not None:
        shown = palette[_used(picture)][None]
        return colour.GREY if colour.is_grey(shown) else colour.STANDARD
    if picture.mode.pillow in ("L", "LA") or all(map(colour.is_grey, picture.strips())):
        return colour.GREY
    return colour.STANDARD


def _sample(picture: Picture, alpha: bool = False) -> Samples:
    """Six bands of up to 16 rows, spread over the image, [h, W, channels]; alpha only if asked for."""
    rows, starts = 16, range(0, picture.height - 15, max(16, (picture.height - 16) // 5))
    if picture.height <= 96:
        rows, starts = picture.height, range(1)
    sample = np.concatenate([picture.samples((0, y, picture.width, y + rows)) for y in starts])
    return sample[..., :-1] if picture.mode.pillow in ("LA", "RGBA") and not alpha else sample


def _is_solid(picture: Picture) -> bool:
    corner = picture.samples((0, 0, 1, 1))
    return all(bool((strip == corner).all()) for strip in picture.strips())


def _used(picture: Picture) -> NDArray[np.intp]:
    """The values that occur in a one-channel image, in order."""
    counts = np.zeros(256, np.int64)
    for strip in picture.strips():
        counts += np.bincount(strip.ravel(), minlength=256)
    return np.flatnonzero(counts)


def _shortest(tile: Samples, cheap: tuple[int, bytes] | None, coded: Stream | None) -> tuple[int, bytes, float]:
    """Method, bytes, and ideal bits if the method is the model, of whichever code is shortest."""
    if coded is None:
        return *(cheap or plain.encode(tile, plain.HASTE)), 0.0
    data = _bytes(coded.words)
    size = len(data) + (0 if coded.base is None else 4 * len(coded.base))
    if cheap is None and size > tile.size:
        cheap = plain.encode(tile, plain.HASTE)  # noise, or something else that no model expects
    if cheap is not None and len(cheap[1]) <= size:
        return *cheap, 0.0
    return plain.MODEL, data, coded.ideal_bits


def _picture(file: File, samples: Samples) -> Picture:
    header = file.header
    return Picture(header.mode, header.width, header.height, header.depth, file.chunks, samples)


def _digest(strips: Iterable[Samples]) -> bytes:
    sha = hashlib.sha256()
    for strip in strips:
        sha.update(np.ascontiguousarray(strip).data)
    return sha.digest()[: container.DIGEST_SIZE]


def _bytes(words: NDArray[np.uint32]) -> bytes:
    return words.astype("<u4").tobytes()


def _words(data: bytes) -> NDArray[np.uint32]:
    return np.frombuffer(data, "<u4").astype(np.uint32)


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), max(1, size)))


def _area(picture: Picture) -> int:
    return picture.width * picture.height


def _is_tile(size: tuple[int, int]) -> bool:
    return len(size) == 2 and min(size) >= 1 and size[0] * size[1] <= container.MODEL_TILE_AREA


def _box_area(box: Box) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def _intersection(a: Box, b: Box) -> Box:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _check_region(region: Box, file: File) -> None:
    x0, y0, x1, y1 = region
    width, height = file.header.width, file.header.height
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise InputError(f"region {region} is not x0 < x1 <= {width}, y0 < y1 <= {height}, from 0 on")


def _is_same(model: ImageModel, reference: ModelReference) -> bool:
    return model.wire_id == reference.wire_id and model.digest[: len(reference.digest)] == reference.digest


def _bytes_of(data: Data) -> bytes | bytearray | memoryview:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return data
    if isinstance(data, (str, os.PathLike)):
        return Path(data).read_bytes()
    content: bytes = data.read()
    return content


def _inspect(file: IO[bytes]) -> Info:
    start = file.read(20)
    need = container.header_size(start)
    start += file.read(need - len(start)) if need > len(start) else b""
    header = container.read_header(start, max_pixels=1 << 62)
    end = header.size + header.chunks[0]
    start += file.read(end - len(start)) if end > len(start) else b""
    chunks = container.read_chunks(header, start)
    size = file.seek(0, os.SEEK_END) if file.seekable() else len(start) + len(file.read())
    container.check_size(header, size)
    model = header.model
    lengths = Counter[bool]()
    for entry in header.index:
        lengths[entry.method == plain.MODEL] += entry.length
    return Info(
        width=header.width,
        height=header.height,
        mode=header.mode.pillow,
        channels=header.mode.subpixels,
        depth=header.depth,
        transform=colour.NAMES[header.transform],
        tile_sizes=header.tiles,
        methods=dict(Counter(plain.NAMES[entry.method] for entry in header.index)),
        model_id=None if model is None else model.wire_id,
        model_digest=None if model is None else model.digest.hex(),
        adaptation_bytes=0 if model is None else len(model.adaptation),
        ideal_bits=0 if model is None else model.ideal_bits,
        file_bytes=size,
        header_bytes=header.size,
        chunk_bytes=header.chunks[0],
        model_bytes=lengths[True] + header.base_size + (0 if header.chain is None else header.chain.length),
        base_bytes=header.base_size,
        plain_bytes=lengths[False],
        chunks=tuple(kind.decode() for kind, _ in chunks if kind != b"IDAT"),
    )
