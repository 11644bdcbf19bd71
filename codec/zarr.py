"""zarr's array-to-bytes codec `lgcodec`: found by entry point, without an import. See docs/zarr-codec.md.

A region is read by the bytes of the tiles under it: the file's header, then their streams.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin
from zarr.abc.store import RangeByteRequest

from lgcodec import container, sets, stacks
from lgcodec.boxes import Box, area_of, intersection
from lgcodec.codec import Codec
from lgcodec.container import File, Tiles
from lgcodec.decode import decode
from lgcodec.errors import FormatError
from lgcodec.image import array_of
from lgcodec.options import EFFORT
from lgcodec.work import run

if TYPE_CHECKING:
    from zarr.abc.store import ByteGetter
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer

START = 1 << 12  # bytes that are read of a file before it is known how long its header is
Get = Callable[[int, int], Awaitable[bytes]]  # the bytes of a chunk from one place up to another
Range = tuple[int, int]


@dataclass(frozen=True)
class LgcodecCodec(ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin):
    """Chunks of images, see `stacks`. channels: None, "first" or "last". The others as of `lgcodec.Codec`."""

    is_fixed_size = False

    channels: str | None = None
    model: str = "default"
    effort: int = EFFORT
    tile: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.tile is not None:
            object.__setattr__(self, "tile", (self.tile[0], self.tile[1]))
        self._codec()  # raises for what cannot be

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LgcodecCodec:
        """Raises FormatError for a configuration that this release does not know."""
        configuration = data.get("configuration", {})
        unknown = configuration.keys() - {"channels", "model", "effort", "tile"}
        if unknown:
            raise FormatError(f"the codec lgcodec knows no configuration {', '.join(sorted(unknown))}")
        return cls(**configuration)

    def to_dict(self) -> dict[str, Any]:
        """The codec in an array's metadata: what differs from the defaults is written with the rest."""
        tile = None if self.tile is None else list(self.tile)
        configuration = {"channels": self.channels, "model": self.model, "effort": self.effort, "tile": tile}
        return {"name": "lgcodec", "configuration": {key: x for key, x in configuration.items() if x is not None}}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Raises InputError for arrays that are no images."""
        chunk = getattr(chunk_grid, "chunk_shape", shape)
        stacks.check(chunk, dtype.to_native_dtype(), self.channels)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Raises as zarr asks: it is not known beforehand."""
        raise TypeError("the size of a compressed chunk is not known beforehand")

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        data = await asyncio.to_thread(stacks.encode, chunk_array.as_numpy_array(), self.channels, self._codec())
        return chunk_spec.prototype.buffer.from_bytes(data)

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        whole = await asyncio.to_thread(self._whole, chunk_bytes.to_bytes(), chunk_spec)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(whole)

    async def _decode_partial_single(
        self, byte_getter: ByteGetter, selection: Any, chunk_spec: ArraySpec
    ) -> NDBuffer | None:
        spec, prototype = chunk_spec, chunk_spec.prototype
        ranges = self._ranges(selection, spec)
        if ranges is None or all(r == (0, side) for r, side in zip(ranges, spec.shape, strict=True)):
            found = await byte_getter.get(prototype=prototype)
            if found is None:
                return None
            part = (await asyncio.to_thread(self._whole, found.to_bytes(), spec))[selection]
            return prototype.nd_buffer.from_numpy_array(np.asarray(part))
        found = await byte_getter.get(prototype=prototype, byte_range=RangeByteRequest(0, START))
        if found is None:
            return None
        start = found.to_bytes()

        async def get(begin: int, end: int) -> bytes:
            if end <= len(start):
                return start[begin:end]
            answer = await byte_getter.get(prototype=prototype, byte_range=RangeByteRequest(begin, end))
            return b"" if answer is None else answer.to_bytes()

        part = await self._region(get, ranges, spec)
        moved = tuple(_moved(item, low) for item, (low, _) in zip(selection, ranges, strict=True))
        return prototype.nd_buffer.from_numpy_array(np.asarray(part[moved]))

    def _whole(self, data: bytes, spec: ArraySpec) -> NDArray[Any]:
        return _shaped(stacks.decode(data, self.channels, self._codec()), spec.shape, spec)

    def _ranges(self, selection: Any, spec: ArraySpec) -> list[Range] | None:
        """From where to where a selection reaches along each axis; None where all is to be decoded."""
        if not isinstance(selection, tuple) or len(selection) != len(spec.shape):
            return None
        ranges = [_reach(item, side) for item, side in zip(selection, spec.shape, strict=True)]
        if any(r is None for r in ranges):
            return None
        axis = {"first": -3, "last": -1}.get(self.channels or "")
        if axis is not None and stacks.is_joined(spec.shape[axis], spec.dtype.to_native_dtype().itemsize):
            ranges[axis] = 0, spec.shape[axis]
        return [r for r in ranges if r is not None]

    async def _region(self, get: Get, ranges: list[Range], spec: ArraySpec) -> NDArray[Any]:
        """The part of a chunk that the ranges along its axes cut out."""
        shape, sides, itemsize = spec.shape, list(ranges), spec.dtype.to_native_dtype().itemsize
        axis = {"first": len(shape) - 3, "last": len(shape) - 1}.get(self.channels or "", len(shape))
        count = shape[axis] if axis < len(shape) else 1
        suffixes = [""]
        if axis < len(shape):
            if not stacks.is_joined(count, itemsize):
                suffixes = [f"/{c}" for c in range(*ranges[axis])]
            del sides[axis]
        lead = [side for i, side in enumerate(shape) if i != axis][:-2]
        (y0, y1), (x0, x1) = sides[-2:]
        numbers = (np.ravel_multi_index(at, lead) if lead else 0 for at in itertools.product(*_each(sides[:-2])))
        names = [f"{number}{suffix}" for number in numbers for suffix in suffixes]
        total = math.prod(lead) * (1 if suffixes == [""] else count)
        spans = await _spans(get) if total > 1 else dict.fromkeys(names, (0, 0))
        if missing := [name for name in names if name not in spans]:
            raise FormatError(f"the chunk has no image {missing[0]}")
        files = await asyncio.gather(*(_file(get, spans[name][0], (x0, y0, x1, y1)) for name in names))
        height, width = [side for i, side in enumerate(shape) if i != axis][-2:]
        if any((file.header.width, file.header.height) != (width, height) for file in files):
            raise FormatError(f"a chunk with images of another size than {width} x {height}")
        parts = dict(zip(names, await asyncio.to_thread(self._decoded, files, (x0, y0, x1, y1)), strict=True))
        return _shaped(stacks.joined(parts, self.channels), tuple(high - low for low, high in ranges), spec)

    def _decoded(self, files: Sequence[File], region: Box) -> list[NDArray[Any]]:
        codec = self._codec()
        samples = run([decode(file, codec, region, None) for file in files])
        return [array_of(part, file.header.mode) for part, file in zip(samples, files, strict=True)]

    def _codec(self) -> Codec:
        return Codec(self.model, effort=self.effort, tile=self.tile)


def _shaped(array: NDArray[Any], shape: tuple[int, ...], spec: ArraySpec) -> NDArray[Any]:
    if array.size != math.prod(shape):
        raise FormatError(f"a chunk of {array.size} samples where the array has {math.prod(shape)}")
    return array.reshape(shape).astype(spec.dtype.to_native_dtype(), copy=False)


async def _spans(get: Get) -> dict[str, Range]:
    """Where a set has its files."""
    start = await get(0, START)
    size = sets.index_size(start)
    return sets.read_index(start if size <= len(start) else await get(0, size))


async def _file(get: Get, place: int, region: Box) -> File:
    """The file at a place of a chunk, with the streams that a region needs; the others are empty."""
    start = await get(place, place + START)
    size = container.header_size(start)
    if size > len(start):
        start += await get(place + len(start), place + size)
    header = container.read_header(start, max_pixels=1 << 62)
    end = header.size + header.chunks.stored
    if end > len(start):
        start += await get(place + len(start), place + end)
    tiles, spans = header.content, list(header.spans())
    if not isinstance(tiles, Tiles) or tiles.chain is not None:
        return container.read(await get(place, place + header.file_size), max_pixels=1 << 62)
    count = len(tiles.index)
    under = [i for i, (_, box) in enumerate(header.boxes()) if area_of(intersection(box, region)) > 0]
    wanted = sorted([i for i in under if tiles.index[i].base] + [count + i for i in under])
    pieces: list[bytes | memoryview] = [b""] * len(spans)
    runs = list(_runs([(i, spans[i]) for i in wanted]))
    found = await asyncio.gather(*(get(place + r[0][1][0], place + r[-1][1][1]) for r in runs))
    for run_of, data in zip(runs, found, strict=True):
        first = run_of[0][1][0]
        for i, (begin, stop) in run_of:
            pieces[i] = memoryview(data)[begin - first : stop - first]
    return File(header, container.read_chunks(header, start), pieces)


def _runs(spans: Iterable[tuple[int, Range]]) -> Iterable[list[tuple[int, Range]]]:
    """Spans that follow each other without a hole, together."""
    together: list[tuple[int, Range]] = []
    for item in spans:
        if together and together[-1][1][1] != item[1][0]:
            yield together
            together = []
        together.append(item)
    if together:
        yield together


def _reach(item: Any, side: int) -> Range | None:
    """From where to where an index along one axis reaches; None where that is not easy to say."""
    if isinstance(item, slice):
        chosen = range(side)[item]
        return (chosen[0], chosen[-1] + 1) if len(chosen) and chosen.step > 0 else None
    index = np.asarray(item)
    if index.dtype.kind not in "iu" or index.size == 0 or int(index.min()) < 0:
        return None
    return int(index.min()), int(index.max()) + 1


def _moved(item: Any, low: int) -> Any:
    """An index along one axis, into what begins at `low`."""
    if isinstance(item, slice):
        return slice((item.start or 0) - low, None if item.stop is None else item.stop - low, item.step)
    return item - low


def _each(ranges: Sequence[Range]) -> list[range]:
    return [range(low, high) for low, high in ranges]
