"""An image to a file: plan -> choose the colours' order and the class -> adapt -> code -> write -> check.

Only what asks a model for work is a generator (`work`); a reader follows one image from `encode` down and back once.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lgcodec import boxes, colour, container, decode, origins, plain
from lgcodec.boxes import Box, tile_boxes
from lgcodec.colour import Component
from lgcodec.container import ChainReference, ModelReference, OriginReference, digest_of
from lgcodec.errors import IntegrityError
from lgcodec.image import BY_PILLOW, Picture, Samples
from lgcodec.models.interface import ImageModel, LatentCoding, Stream, Tile
from lgcodec.models.parallel import each
from lgcodec.options import Options, is_tile
from lgcodec.origins.origin import Inverted
from lgcodec.plan import Plan, may_be_smaller, modelled, plans, webp_size, without_model
from lgcodec.work import Encode, EncodeChain, Meter, Progress, Request, batches, bytes_of_words

if TYPE_CHECKING:
    from lgcodec.coding.chain import Chain

_ADAPT_AREA = 1 << 23  # pixels that a model is shown to adapt to
_ADAPT_EFFORT = 7
_SURE = 9  # the effort that tries plain methods on photographs as well, which hardly ever gains
_ANY = 1 << 62  # pixels
_CLEAR = 0.7  # of what squares of the image promise: learning makes the rest of it smaller than they are
_SQUARES, _SIDE = 4, 64  # what of an image the orders of its channels, and its classes, are tried on
# Pixels of an image that is looked at before a model codes all of it, how many squares of it, bits that say nothing.
_LARGE, _MORE_SQUARES, _SLACK = 1 << 18, 16, 512
_ANYWAY = 1 << 16  # pixels that context mixing, which is slow where little repeats, gets without a look at squares
_NEARLY, _SOME = 1.1, 0.01  # of a model's bits for squares: what contexts take of all of them, what they save of some
_NO_PIXELS = np.zeros((0, 0, 3), np.uint8)
_CHAINED = Stream(np.zeros(0, np.uint32), 0.0)  # stands for a tile whose bits are in a chain

Code = tuple[int, bytes]  # a method's wire id and its bytes


@dataclass
class Body:
    """What coding gives, in the index's order. bases: by the place of their stream. chained: tiles for the chain."""

    streams: list[Code] = field(default_factory=list)
    bases: dict[int, bytes] = field(default_factory=dict)
    chained: list[Tile] = field(default_factory=list)
    ideal_bits: float = 0.0


def encode(
    picture: Picture, options: Options, progress: Progress | None, *, chain: bool = False, is_part: bool = False
) -> Generator[Request, Any, bytes]:
    """The smallest file of those that the plans worth trying make, and the one by the image's origin, if it has one.

    More effort tries all that less does, so that it is never larger: what is left untried does not depend on effort.
    chain: the tiles of a latent model go into a chain that other images share. is_part: of an image with an origin.
    """
    if picture.file is not None:
        from lgcodec import kept  # most files need neither parsers of JPEG nor what they stand on

        return kept.encode(picture, options, Meter(progress, picture.area, 1 + options.verify))
    options = options.suited(picture)
    tried = plans(picture, options)
    latent = tried[-1].uses_model and isinstance(options.load().coding, LatentCoding)
    if latent and chain and len(tried) > 1:  # what is in a common chain cannot be left out again
        tried = [likely(picture, options)]
    loses = len(tried) > 1 and tried[-1].uses_model and not (yield from _is_graphic(picture, options))
    if loses:
        tried = tried[-1:]
    meter = Meter(progress, picture.area, len(tried) + options.verify)
    digest, quick = digest_of(picture.strips()), replace(options, effort=1)
    files: list[bytes] = []
    photographic = _is_photographic(picture, tried)
    wanted = options.origin != "none" and not chain and not latent
    if wanted and (photographic or (tried[-1].uses_model and origins.is_likely(picture))):
        size = _ANY
        for found in origins.invert(picture):
            if files and (yield from _is_clear(_pictures(found), size, options)):
                break
            files.append((yield from encode_origin(picture, found, digest, quick)))
            size = min(size, len(files[-1]))
            if _gains_by_effort(files[-1], options):
                files.append((yield from encode_origin(picture, found, digest, options)))
        if files and photographic and (yield from _is_clear([picture], size, options)):
            tried = []
    unfitted = min(map(len, files), default=0)
    for plan in tried:
        if files and plan.uses_model and (yield from _needs_no_model(picture, plan, min(map(len, files)), options)):
            continue
        made = yield from encode_plan(picture, plan, digest, options, meter)
        unfitted, files = len(made[0]), files + made
    is_open = not chain and all(plan.uses_model for plan in tried)
    if is_open and (options.effort == _SURE or may_be_smaller(picture, unfitted, is_part=is_part)):
        is_graphic = not loses and (yield from _is_graphic(picture, options))
        if is_graphic or webp_size(picture) < unfitted:
            files += yield from encode_plan(picture, without_model(picture), digest, quick, meter)
    best = min(files, key=len)
    if options.verify:
        yield from check(picture, best, options, meter)
    return best


def encode_origin(picture: Picture, found: Inverted, digest: bytes, options: Options) -> Generator[Request, Any, bytes]:
    """The file of an image by what it was rendered from: its parts are files, each of its own size, tiles and model."""
    plainly = replace(options, verify=False, origin="none")
    quick, parts = replace(plainly, effort=1), []
    for part, what in zip(_pictures(found), found.origin.parts(), strict=True):
        if what.is_bits:
            plan, own = without_model(part), digest_of(part.strips())
            parts += yield from encode_plan(part, plan, own, quick, Meter(None, part.area, 1))
        else:
            parts.append((yield from encode(part, plainly, None, is_part=True)))
    return container.write_origin(
        mode=picture.mode,
        depth=picture.depth,
        size=(picture.width, picture.height),
        digest=digest,
        chunks=picture.chunks,
        origin=found.origin.write(),
        exceptions=found.exceptions,
        parts=parts,
    )


def _pictures(found: Inverted) -> list[Picture]:
    """An origin's parts; a JPEG comes without pixels."""
    parts = []
    for part, what in zip(found.parts, found.origin.parts(), strict=True):
        samples, file = (_NO_PIXELS, part) if isinstance(part, bytes) else (part, None)
        parts.append(Picture(BY_PILLOW[what.mode], what.width, what.height, 8, (), samples, (), file))
    return parts


def _gains_by_effort(data: bytes, options: Options) -> bool:
    """Whether the file of an origin, made with effort 1, may be smaller: models are fitted, or plain methods chosen."""
    parts = (container.read_header(part, max_pixels=_ANY) for part in container.read(data, max_pixels=_ANY).pieces[1:])
    return options.effort >= _ADAPT_EFFORT or (options.effort > 1 and any(part.model is None for part in parts))


def _is_photographic(picture: Picture, tried: list[Plan]) -> bool:
    """Whether a model is the only plan, or none is possible: other images are coded well as they are."""
    return len(tried) == 1 and (tried[0].uses_model or picture.mode.levels != 256)


def _is_clear(pictures: Sequence[Picture], size: int, options: Options) -> Generator[Request, Any, bool]:
    """Whether `size` bytes are so many fewer than a model takes for these pictures that this need not be tried."""
    bits = 0.0
    for picture in pictures:
        plan = plans(picture, options)[-1]
        if not plan.uses_model:
            continue  # as if it took nothing
        tiles = _squares(picture, plan)
        planes = [colour.forward(tile, plan.transform) for tile in tiles]
        streams = yield Encode(options.load(), b"", planes)
        area = sum(tile[..., 0].size for tile in tiles)
        bits += sum(stream.ideal_bits for stream in streams) / area * picture.area
    return 8 * size < _CLEAR * bits


def _is_graphic(picture: Picture, options: Options) -> Generator[Request, Any, bool]:
    """Whether context mixing may be shorter than the model, by squares of an image. Of small images, and with the most
    effort, that is found out by coding them.
    """
    if picture.mode.levels != 256 or picture.palette() is not None:
        return True
    plan, model = modelled(picture, options), options.load()
    is_latent, is_small = isinstance(model.coding, LatentCoding), not _is_worth_a_look(picture.area, options)
    if len(plan.components) > 1 or is_latent or is_small:
        return True
    places = _some_squares(picture.width, picture.height)
    squares = [plan.components[0].take(picture.samples(box)) for box in places]
    return bool((yield from _contexts_win([squares], plan, model))[0])


def _is_worth_a_look(area: int, options: Options) -> bool:
    return area >= _ANYWAY and options.effort < _SURE


def _some_squares(width: int, height: int) -> list[boxes.Box]:
    """A sixteenth of the pixels, or a few."""
    count = width * height // (16 * _SIDE**2)
    return boxes.squares(width, height, _SIDE, min(max(count, _SQUARES), _MORE_SQUARES))


def _contexts_win(tiles: Sequence[list[Samples]], plan: Plan, model: ImageModel) -> Generator[Request, Any, list[bool]]:
    """Whether context mixing may take less than the model of each tile, by its squares: little more of all of them,
    since it goes on learning, or clearly less of some, as of a window beside a photograph.
    """
    planes = [colour.forward(square, plan.transform) for squares in tiles for square in squares]
    streams = iter((yield Encode(model, b"", planes)))
    wins = []
    for squares in tiles:
        bits = [model.patience * next(streams).ideal_bits for _ in squares]
        codes = [plain.METHODS[plain.CONTEXTS].encode(square, plain.HASTE) for square in squares]
        sizes = [0 if code is None else 8 * len(code) for code in codes]
        gained = sum(max(0, one - other) for one, other in zip(bits, sizes, strict=True))
        wins.append(sum(sizes) < _NEARLY * sum(bits) or gained > _SOME * sum(bits))
    return wins


def _needs_no_model(picture: Picture, plan: Plan, size: int, options: Options) -> Generator[Request, Any, bool]:
    """Whether a model would take far more than `size` bytes for a large image, and of no square much less than plain
    methods do. Of small ones, and with the most effort, that is found out by coding them.
    """
    latent = isinstance(options.load().coding, LatentCoding)
    if picture.area < _LARGE or options.effort == _SURE or latent:
        return False
    places = boxes.squares(picture.width, picture.height, _SIDE, _MORE_SQUARES)
    tiles = [plan.components[0].take(picture.samples(box)) for box in places]
    streams = yield Encode(options.load(), b"", [colour.forward(tile, plan.transform) for tile in tiles])
    bits = [stream.ideal_bits for stream in streams]
    if 8 * size > _CLEAR * sum(bits) / sum(map(boxes.area_of, places)) * picture.area:
        return False
    alone = each(options.workers(), lambda tile: 8 * len(plain.encode(tile, plain.HASTE)[1]), tiles)
    return all(model > _CLEAR * other - _SLACK for model, other in zip(bits, alone, strict=True))


def encode_plan(
    picture: Picture, plan: Plan, digest: bytes, options: Options, meter: Meter
) -> Generator[Request, Any, list[bytes]]:
    """The files that one plan makes, under each side information, at first under the least. digest: of the samples."""
    if not plan.uses_model:
        return [(yield from encode_side(picture, plan, None, b"", digest, options, meter))]
    model = options.load()
    plan, choice = yield from choose(picture, plan, model, options)
    sides = [choice]
    for effort in range(_ADAPT_EFFORT, options.effort + 1):
        sides.append(adapt(picture, plan, model, replace(options, effort=effort), choice))
    files = []
    for side in dict.fromkeys(sides):
        files.append((yield from encode_side(picture, plan, model, side, digest, options, meter)))
    return files


def encode_side(
    picture: Picture,
    plan: Plan,
    model: ImageModel | None,
    adaptation: bytes,
    digest: bytes,
    options: Options,
    meter: Meter,
) -> Generator[Request, Any, bytes]:
    """The file of one plan, model and side information."""
    body = Body()
    for place in range(len(plan.components)):
        yield from code(picture, plan, place, model, b"" if place else adaptation, body, options, meter)
    chain = None
    if body.chained and model is not None:
        chain = yield from code_chain(model, body, options)
    reference = None
    if model is not None and any(method == plain.MODEL for method, _ in body.streams):
        short = model.digest[: container.MODEL_DIGEST_SIZE]
        reference = ModelReference(model.wire_id, short, adaptation, round(body.ideal_bits))
    return container.write(
        mode=picture.mode,
        depth=picture.depth,
        size=(picture.width, picture.height),
        transform=plan.transform,
        digest=digest,
        chunks=picture.chunks,
        model=reference,
        tiles=plan.tiles,
        streams=body.streams,
        bases=body.bases,
        chain=chain,
    )


def likely(picture: Picture, options: Options) -> Plan:
    """The plan without a model or the one with it, by what squares of the image take."""
    from lgcodec.coding import likelihood

    with_model = modelled(picture, options)
    tiles = _squares(picture, with_model)
    rates = likelihood.score(options.load(), [colour.forward(tile, with_model.transform) for tile in tiles])
    bits = sum(rate * tile.size for rate, tile in zip(rates, tiles, strict=True))
    cheap = 8 * sum(len(plain.encode(tile, plain.HASTE)[1]) for tile in tiles)
    return with_model if bits < cheap else without_model(picture)


def choose(
    picture: Picture, plan: Plan, model: ImageModel, options: Options
) -> Generator[Request, Any, tuple[Plan, bytes]]:
    """The plan with the order of channels under which squares of the image take the fewest bits, and then which of the
    model's choices does, or none.
    """
    orders = colour.MIDDLES if plan.transform == colour.STANDARD else (plan.transform,)
    latent = isinstance(model.coding, LatentCoding)
    best, fewest = (plan.transform, b""), math.inf
    if latent or len(orders) + len(model.choices) == 1:
        return plan, b""
    tiles = _squares(picture, plan, model.unit if model.choices else 1)
    for choice in (b"", *model.choices):
        streams = yield Encode(model, choice, [colour.forward(tile, order) for order in orders for tile in tiles])
        bits = np.reshape([stream.ideal_bits for stream in streams], (len(orders), -1)).sum(axis=1)
        if bits.min() < fewest:
            best, fewest = (orders[int(bits.argmin())], choice), bits.min()
        orders = best[:1]
    transform, choice = best
    return replace(plan, transform=transform), choice


def adapt(picture: Picture, plan: Plan, model: ImageModel, options: Options, choice: bytes) -> bytes:
    """Side information that fits the model to the image, from a choice on."""
    width, height = plan.tiles[0]
    places = list(tile_boxes(picture.width, picture.height, width, height))
    shown = max(1, _ADAPT_AREA // (width * height))
    spread = np.unique(np.linspace(0, len(places) - 1, min(shown, len(places))).round().astype(int))
    tiles = [plan.components[0].take(picture.samples(places[i])) for i in spread]
    return model.adapt([colour.forward(tile, plan.transform) for tile in tiles], options.effort, choice)


def code(
    picture: Picture,
    plan: Plan,
    place: int,
    model: ImageModel | None,
    adaptation: bytes,
    body: Body,
    options: Options,
    meter: Meter,
) -> Generator[Request, Any, None]:
    """Codes the tiles of the component at `place` into the body, each by whichever method is shortest."""
    component, size = plan.components[place], plan.tiles[place]
    if not is_tile(size):
        model = None
    chains = model is not None and isinstance(model.coding, LatentCoding)
    count = model.batch if model else decode.AT_ONCE // (size[0] * size[1])
    for batch in batches(list(tile_boxes(picture.width, picture.height, *size)), count):
        tiles = [component.take(picture.samples(box)) for box in batch]
        cheap: list[Code | None] = [None] * len(tiles)
        if model is None:
            cheap = list(each(options.workers(), lambda tile: plain.encode(tile, options.effort), tiles))
        elif not chains:
            tried = yield from _promising(tiles, plan, model, options)
            some = each(options.workers(), lambda tile: plain.encode(tile, plain.HASTE), [tiles[i] for i in tried])
            for i, code in zip(tried, some, strict=True):
                cheap[i] = code
        wanted = [i for i, code in enumerate(cheap) if code is None or not plain.is_final(code[0])]
        coded: dict[int, Stream] = {}
        if model is not None and wanted:
            turned = [tiles[i] for i in wanted]
            planes = each(options.workers(), lambda tile: colour.forward(tile, plan.transform), turned)
            if chains:
                body.chained += planes
                answer = [_CHAINED] * len(planes)
            else:
                answer = yield Encode(model, adaptation, planes)
            coded = dict(zip(wanted, answer, strict=True))
        for i, tile in enumerate(tiles):
            _add_shortest(body, tile, cheap[i], coded.get(i))
        meter.add(sum(map(boxes.area_of, batch)) * component.share(picture.mode.channels))


def code_chain(
    model: ImageModel, body: Body, options: Options
) -> Generator[Request, Any, tuple[ChainReference, bytes]]:
    """Codes the body's tiles for the chain."""
    seed = options.seed()
    links: Chain = yield EncodeChain(model, seed, body.chained)
    body.ideal_bits = links.seed_bits + links.net_bits
    data = bytes_of_words(links.words)
    short = seed.digest[: container.MODEL_DIGEST_SIZE]
    return ChainReference(seed.wire_id, short, links.seeds, len(data), zlib.crc32(data)), data


def check(picture: Picture, data: bytes, options: Options, meter: Meter) -> Generator[Request, Any, None]:
    """Decodes a file and compares. Raises IntegrityError where anything would not come back."""
    file = container.read(data, max_pixels=picture.area)
    if file.chunks != tuple(picture.chunks):
        raise IntegrityError("the metadata would not come back: please report this")

    def compare(component: Component, box: Box, part: Samples) -> None:
        if not np.array_equal(part, picture.samples(box)[..., component.first : component.stop]):
            raise IntegrityError(f"the pixels at {box[:2]} would not come back: please report this")

    if isinstance(file.header.content, OriginReference):
        box = (0, 0, picture.width, picture.height)
        if not np.array_equal((yield from decode.render(file, options, box, meter)), picture.samples(box)):
            raise IntegrityError("the pixels would not come back: please report this")
        return
    yield from decode.decode_tiles(file, options, None, compare, meter)


def _squares(picture: Picture, plan: Plan, unit: int = 1) -> list[Samples]:
    """Tiles of the first component, spread over the image, at multiples of `unit`."""
    places = boxes.squares(picture.width, picture.height, _SIDE, _SQUARES, unit)
    return [plan.components[0].take(picture.samples(box)) for box in places]


def _promising(
    tiles: Sequence[Samples], plan: Plan, model: ImageModel, options: Options
) -> Generator[Request, Any, list[int]]:
    """Which tiles are worth a plain code where there is a model as well."""
    tried = [i for i, tile in enumerate(tiles) if plain.is_promising(tile)]
    large = [i for i in tried if _is_worth_a_look(tiles[i][..., 0].size, options) and plan.transform != colour.BITS]
    if large:
        places = [_some_squares(tiles[i].shape[1], tiles[i].shape[0]) for i in large]
        squares = [[tiles[i][y0:y1, x0:x1] for x0, y0, x1, y1 in some] for i, some in zip(large, places, strict=True)]
        wins = yield from _contexts_win(squares, plan, model)
        lost = {i for i, win in zip(large, wins, strict=True) if not win}
        tried = [i for i in tried if i not in lost]
    return tried


def _add_shortest(body: Body, tile: Samples, cheap: Code | None, coded: Stream | None) -> None:
    """Puts whichever code of the tile is shortest into the body."""
    if coded is None:
        body.streams.append(cheap or plain.encode(tile, plain.HASTE))
        return
    data = bytes_of_words(coded.words)
    base = None if coded.base is None else bytes_of_words(coded.base)
    size = len(data) + len(base or b"")
    if cheap is None and size > tile.size:
        cheap = plain.encode(tile, plain.HASTE)  # noise, or something else that no model expects
    if cheap is not None and len(cheap[1]) <= size:
        body.streams.append(cheap)
        return
    if base is not None:
        body.bases[len(body.streams)] = base
    body.streams.append((plain.MODEL, data))
    body.ideal_bits += coded.ideal_bits
