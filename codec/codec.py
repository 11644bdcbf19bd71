"""The reusable compressor: images to bytes and back, by the pipelines of `encode` and `decode`."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lgcodec import colour, container, readers, sets
from lgcodec.boxes import Box, tile_boxes
from lgcodec.container import File, KeptReference, OriginReference
from lgcodec.decode import Rescued, check_region, decode, preview, rescue, rescue_chain
from lgcodec.encode import encode
from lgcodec.errors import InputError, IntegrityError, LgcodecError, MetadataWarning
from lgcodec.files import Data, bytes_of
from lgcodec.image import Picture, Samples, Source, array_of
from lgcodec.models.interface import LatentCoding
from lgcodec.options import Options
from lgcodec.plan import is_modelled, modelled
from lgcodec.work import Meter, Progress, Request, run, run_in_windows


class Codec(Options):
    """A reusable compressor. It is its options and nothing else."""

    def compress(self, image: Source | Picture, *, progress: Progress | None = None) -> bytes:
        """The compressed file of a Pillow image, an array, or an image file (path, bytes or file object).

        Arrays: bool or uint16 [H, W]; uint8 [H, W] or [H, W, 1 to 4]. progress: called with pixels done and in all.
        Raises InputError, LimitError, ModelError, or IntegrityError where `verify` finds that the pixels would not come
        back, and OSError for a path that cannot be opened.
        """
        return run([encode(self._read(image), self, progress)])[0]

    def compress_batch(self, images: Iterable[Source | Picture], *, chain: bool = False) -> list[bytes]:
        """As `compress` for each image; small images share the model's batches.

        chain: for latent models, whose first bits are then paid once. The files are one chain, which can only be
        decoded with all of them, in this order, and they are all in memory.
        """
        pictures = map(self._read, images)
        if chain:
            return run([encode(picture, self, None, chain=True) for picture in pictures], chain=True)
        return run_in_windows(pictures, lambda picture: picture.area, lambda picture: encode(picture, self, None))

    def decompress(self, data: Data, *, region: Box | None = None, progress: Progress | None = None) -> NDArray[Any]:
        """The pixels: bool, uint8 or uint16, of the shape that was compressed; indices for images of mode P.

        data: a file's bytes, its path, or a file object. region: (x0, y0, x1, y1), to decode no more than the tiles
        under it; the checksums of these are checked, but the digest of all pixels cannot be.
        Raises FormatError (damaged file), LimitError, ModelError, or InputError for a region outside the image.
        """
        file = self._parse(data)
        if region is not None:
            region = check_region(region, file)
        return array_of(run([decode(file, self, region, progress)])[0], file.header.mode)

    def decompress_batch(self, data: Iterable[Data], *, chain: bool = False) -> list[NDArray[Any]]:
        """As `decompress` for each file; small images share the model's batches. chain: as in `compress_batch`."""

        def pixels(file: File) -> Generator[Request, Any, NDArray[Any]]:
            return array_of((yield from decode(file, self, None, None)), file.header.mode)

        files = map(self._parse, data)
        if chain:
            return run([pixels(file) for file in files], chain=True)
        return run_in_windows(files, lambda file: file.header.width * file.header.height, pixels)

    def compress_set(self, images: Mapping[str, Source | Picture] | Iterable[tuple[str, Source | Picture]]) -> bytes:
        """One file of many images, by name or in pairs: those of a latent model as one chain. As `compress` for each.

        Raises InputError for names that are not relative paths.
        """
        names: list[str] = []

        def sources() -> Iterator[Source | Picture]:
            for name, image in images.items() if isinstance(images, Mapping) else images:
                names.append(name)
                yield image

        parts = self.compress_batch(sources(), chain=isinstance(self.load().coding, LatentCoding))
        return sets.write(dict(zip(names, parts, strict=True)))

    def restore(self, data: Data, *, progress: Progress | None = None) -> bytes:
        """The identical bytes of the image file that was compressed, where a file keeps one: JPEG.

        Raises InputError for files that keep pixels, and as `decompress`.
        """
        picture = self.decode(data, progress=progress)
        if picture.file is None:
            raise InputError("the file keeps pixels, not an image file (decompress gives them)")
        return picture.file

    def decode_set(self, data: Data) -> dict[str, Picture]:
        """The inverse of `compress_set`; raises, with its name, before anything is decoded where a file is damaged."""
        files = {name: self._whole(name, part) for name, part in sets.read(bytes_of(data)).items()}
        images = {name: file for name, file in files.items() if not isinstance(file.header.content, KeptReference)}
        samples = run([decode(file, self, None, None) for file in images.values()], chain=True)
        found = {name: _picture(file, part) for (name, file), part in zip(images.items(), samples, strict=True)}
        return {name: found[name] if name in found else self._kept(file) for name, file in files.items()}

    def decode(self, data: Data, *, progress: Progress | None = None) -> Picture:
        """As `decompress`, with all that belongs to the image: `Picture.image()` and `Picture.write_png(file)`."""
        file = self._parse(data)
        if isinstance(file.header.content, KeptReference):
            return self._kept(file, progress)
        return _picture(file, run([decode(file, self, None, progress)])[0])

    def rescue(self, data: Data) -> tuple[Picture, list[Box]]:
        """What is whole of a damaged file, whose header must be; and the tiles that are not, which are grey.

        Raises FormatError where nothing can be told apart (a JPEG file, an origin or a chain comes back as a whole or
        not at all), LimitError, ModelError.
        """
        (found,) = self._rescued([self._damaged(bytes_of(data))])
        if isinstance(found, LgcodecError):
            raise found
        return found

    def rescue_set(self, data: Data) -> dict[str, tuple[Picture, list[Box]] | LgcodecError]:
        """As `rescue` for each image of a set, by name: or why it is lost. Of a chain, those come back that are behind
        its damage, because it is decoded from its end.

        Raises FormatError where the set's header is damaged.
        """
        view = memoryview(bytes_of(data))
        files = {name: self._damaged(view[start:end]) for name, (start, end) in sets.read_index(view).items()}
        return dict(zip(files, self._rescued(list(files.values())), strict=True))

    def _damaged(self, data: bytes | memoryview) -> File | LgcodecError:
        """A file that may be damaged behind its header, or why that cannot be read."""
        try:
            return container.read(data, max_pixels=self.max_pixels, partial=True, rescue=True)
        except LgcodecError as error:
            return error

    def _rescued(self, files: Sequence[File | LgcodecError]) -> list[tuple[Picture, list[Box]] | LgcodecError]:
        chained = self._rescued_chain(files)

        def one(place: int, file: File | LgcodecError) -> tuple[Picture, list[Box]] | LgcodecError:
            if isinstance(file, LgcodecError):
                return file
            try:
                if isinstance(file.header.content, KeptReference):
                    return self._kept(file), []
                if isinstance(file.header.content, OriginReference):
                    return _picture(file, run([decode(file, self, None, None)])[0]), []
                found = chained[place] if place in chained else rescue(file, self)
            except LgcodecError as error:
                return error
            return found if isinstance(found, LgcodecError) else (_picture(file, found[0]), found[1])

        return [one(place, file) for place, file in enumerate(files)]

    def _rescued_chain(self, files: Sequence[File | LgcodecError]) -> dict[int, Rescued | LgcodecError]:
        """What comes back of those files that are in one chain, by place."""
        headers = [None if isinstance(file, LgcodecError) else file for file in files]
        chained = [place for place, file in enumerate(headers) if file is not None and file.header.is_chained]
        if not chained:
            return {}
        unread = [place for place, file in enumerate(headers) if file is None and place > chained[0]]
        reason: LgcodecError = IntegrityError("is lost: the chain that it is in is decoded from its end, and damaged")
        for places in (sorted(chained + unread), chained):  # those without a header may be in the chain or not
            try:
                found = rescue_chain([headers[place] for place in places], self)
            except LgcodecError as error:
                reason = error
                continue
            if any(part is not None for part in found):
                return {place: part or reason for place, part in zip(places, found, strict=True)}
        return dict.fromkeys(chained, reason)

    def preview(self, data: Data) -> NDArray[np.uint8]:
        """A picture from the bases alone: uint8 [H, W] or [H, W, 3], near the image. The file may end after its bases.

        Tiles that no model coded are grey. Of a JPEG file that is kept, a picture an eighth as wide and high: each
        block's mean; as small of an image that was rendered from a JPEG's coefficients, or from luma and chroma.
        Raises InputError for files without any of that, FormatError (damaged file), LimitError, ModelError.
        """
        return preview(container.read(bytes_of(data), max_pixels=self.max_pixels, partial=True), self)

    def score(self, image: Source | Picture, *, label: int | None = None) -> float:
        """Bits per dim of an image under the model: ideal bits, or the -ELBO of latent models. Low is expected.

        label: as if of this class, where the model knows classes. Raises as `compress`, and InputError for images of
        modes that the model does not code, and classes that it does not know.
        """
        from lgcodec.coding import likelihood

        picture = self._read(image)
        options = self.suited(picture)
        if not is_modelled(picture, options):
            mode = picture.mode.pillow
            raise InputError(f"models score images of 8 bits a sample, or of single bits: not of mode {mode}")
        model, bits = options.load(), 0.0
        plan, choice = modelled(picture, options), likelihood.choice_of(model, label)
        for component, size in zip(plan.components, plan.tiles, strict=True):
            for box in tile_boxes(picture.width, picture.height, *size):
                planes = colour.forward(component.take(picture.samples(box)), plan.transform)
                bits += likelihood.score(model, [planes], choice)[0] * planes.size
        return bits / (picture.area * picture.mode.subpixels)

    def sample(self, n: int, size: tuple[int, int], *, seed: int = 0, label: int | None = None) -> list[NDArray[Any]]:
        """n pictures that the model imagines, uint8 [H, W] or [H, W, 3], or bool: what random bits decode to.

        size: width and height; label: of this class. Raises InputError for models without a program to decode with, and
        for classes that the model does not know.
        """
        from lgcodec.coding import likelihood

        model = self.load()
        return likelihood.sample(model, (model.planes, size[1], size[0]), n, seed, likelihood.choice_of(model, label))

    def complete(
        self, image: Source | Picture, known: NDArray[np.bool_], n: int = 1, *, seed: int = 0, label: int | None = None
    ) -> list[NDArray[Any]]:
        """n pictures that have an image's pixels where `known`, bool [H, W], says so; the model imagines the others.

        Models without latents draw a pixel given those that come before it in their own order, so that what is known
        should come first. Raises InputError for models that cannot.
        """
        from lgcodec.coding import likelihood

        model, tile = self.load(), self._tile(image)
        if known.shape != tile.shape[1:]:
            raise InputError(f"known is {known.shape}, expected {tile.shape[1:]}")
        whole = np.broadcast_to(known, tile.shape).astype(np.int16)
        return likelihood.complete(model, tile, whole, n, seed, likelihood.choice_of(model, label))

    def between(self, first: Source | Picture, last: Source | Picture, n: int, *, seed: int = 0) -> list[NDArray[Any]]:
        """n pictures on the way from one image to another of its size, through the model's latents.

        Raises InputError for models that cannot.
        """
        from lgcodec.coding import likelihood

        a, b = self._tile(first), self._tile(last)
        if a.shape != b.shape:
            raise InputError("the two images have different sizes")
        return likelihood.between(self.load(), a, b, n, seed)

    def along(self, image: Source | Picture, latent: int, n: int, *, seed: int = 0) -> list[NDArray[Any]]:
        """n pictures at an image's latents, but for one, which goes from its lowest value to its highest.

        Raises InputError for models that have no latents, or not so many.
        """
        from lgcodec.coding import likelihood

        return likelihood.along(self.load(), self._tile(image), latent, n, seed)

    def _tile(self, image: Source | Picture) -> NDArray[np.int16]:
        """An image as one tile of the model, int16 [C, H, W]. Raises InputError."""
        picture = self._read(image)
        plan = modelled(picture, self) if is_modelled(picture, self) else None
        if plan is None or len(plan.components) != 1:
            raise InputError(f"the model codes no images of mode {picture.mode.pillow} as a whole")
        samples = picture.samples((0, 0, picture.width, picture.height))
        return colour.forward(plan.components[0].take(samples), plan.transform)

    def _read(self, image: Source | Picture) -> Picture:
        if isinstance(image, Picture):
            self.check_size(image)
            return image
        picture = readers.read(image, keep=not self.pixels)
        self.check_size(picture)
        if picture.lost:
            warnings.warn(f"not kept: {', '.join(picture.lost)}", MetadataWarning, stacklevel=3)
        return picture

    def _kept(self, file: File, progress: Progress | None = None) -> Picture:
        from lgcodec import kept

        meter = Meter(progress, file.header.width * file.header.height, 1)
        return readers.kept(kept.restore(file, self, meter))

    def _whole(self, name: str, data: Data) -> File:
        """A file of a set, all of whose checksums are right. Raises FormatError, LimitError."""
        try:
            file = self._parse(data)
            file.check()
        except LgcodecError as error:
            raise type(error)(f"{name}: {error}") from error
        return file

    def _parse(self, data: Data) -> File:
        return container.read(bytes_of(data), max_pixels=self.max_pixels)


def _picture(file: File, samples: Samples) -> Picture:
    header = file.header
    return Picture(header.mode, header.width, header.height, header.depth, file.chunks, samples)
