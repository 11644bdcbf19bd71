"""The codecs that `lgcodec bench` compares: models of lgcodec, and those of other libraries."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import lgcodec
from lgcodec.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[Any]  # uint8 or uint16, [H, W] or [H, W, 3]


ANY_SIDE = 1 << 31


class Contender(Protocol):
    """A codec to measure. is_parallel: whether it works on one image in several threads. bits: the most of a sample
    that it can hold, 8 or 16. side: the most pixels of a side.
    """

    @property
    def name(self) -> str: ...

    @property
    def library(self) -> str: ...

    @property
    def is_parallel(self) -> bool: ...

    @property
    def bits(self) -> int: ...

    @property
    def side(self) -> int: ...

    def encode(self, pixels: Pixels, threads: int) -> bytes: ...

    def decode(self, data: bytes, threads: int) -> Pixels: ...


@dataclass(frozen=True)
class External:
    """A codec of another library."""

    name: str
    library: str
    is_parallel: bool
    encode: Callable[[Pixels, int], bytes]
    decode: Callable[[bytes, int], Pixels]
    bits: int = 16
    side: int = ANY_SIDE


def _pillow(name: str, form: str, **options: Any) -> External:
    import numpy as np
    import PIL
    from PIL import Image

    def encode(pixels: Pixels, threads: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, form, **options)
        return file.getvalue()

    def decode(data: bytes, threads: int) -> Pixels:
        return np.asarray(Image.open(io.BytesIO(data)))

    return External(name, f"pillow {PIL.__version__}", False, encode, decode, bits=8)


def _png(name: str) -> External:
    """By Pillow, which cuts colour of 16 bits: those images by imagecodecs."""
    shallow = _pillow(name, "PNG", optimize=True, compress_level=9)

    def encode(pixels: Pixels, threads: int) -> bytes:
        if pixels.itemsize == 1:
            return shallow.encode(pixels, threads)
        return bytes(_imagecodecs("png of 16 bits a sample").png_encode(pixels, 9))

    def decode(data: bytes, threads: int) -> Pixels:
        deep = data[24] == 16  # the header's bit depth
        return _imagecodecs("png of 16 bits a sample").png_decode(data) if deep else shallow.decode(data, threads)

    return replace(shallow, encode=encode, decode=decode, bits=16)


def _imagecodecs(what: str) -> Any:
    try:
        import imagecodecs
    except ImportError as error:
        raise InputError(f"{what} needs the package imagecodecs (pip install 'lgcodec[bench]')") from error
    return imagecodecs


def _jpeg2000(name: str) -> External:
    import imagecodecs as ic

    def encode(pixels: Pixels, threads: int) -> bytes:
        return bytes(ic.jpeg2k_encode(pixels, level=0, reversible=True, numthreads=threads))

    def decode(data: bytes, threads: int) -> Pixels:
        return ic.jpeg2k_decode(data, numthreads=threads)

    return External(name, ic.jpeg2k_version(), True, encode, decode)


def _jpegxl(name: str, effort: int) -> External:
    import imagecodecs as ic

    def encode(pixels: Pixels, threads: int) -> bytes:
        return bytes(ic.jpegxl_encode(pixels, lossless=True, effort=effort, numthreads=threads))

    def decode(data: bytes, threads: int) -> Pixels:
        return ic.jpegxl_decode(data, numthreads=threads)

    return External(name, ic.jpegxl_version(), True, encode, decode)


EXTERNALS: Mapping[str, Callable[[], External]] = {
    "png": lambda: _png("png"),
    "webp": lambda: replace(_pillow("webp", "WEBP", lossless=True, method=6), side=16383),
    "jpeg2000": lambda: _jpeg2000("jpeg2000"),
    "jxl-e3": lambda: _jpegxl("jxl-e3", 3),
    "jxl-e7": lambda: _jpegxl("jxl-e7", 7),
    "jxl-e9": lambda: _jpegxl("jxl-e9", 9),
}


def external(name: str) -> External:
    """The codec called `name`. Raises InputError where there is none or its library is not installed."""
    if name not in EXTERNALS:
        raise InputError(f"no codec {name!r} to compare with (there are: {', '.join(EXTERNALS)})")
    try:
        return EXTERNALS[name]()
    except ImportError as error:
        raise InputError(f"{name} needs the package {error.name} (pip install 'lgcodec[bench]')") from error


class Learned:
    """A model of ours at one effort. Its files are not verified while encoding, because `measure` decodes them."""

    library = f"lgcodec {lgcodec.__version__}"
    is_parallel = True
    bits = 16
    side = ANY_SIDE

    def __init__(self, model: str, effort: int, device: str, origin: str = "auto") -> None:
        self.name = f"lgcodec-{Path(model).stem}-e{effort}"
        self.model = model
        self._codec = lgcodec.Codec(model=model, effort=effort, device=device, verify=False, origin=origin)

    def encode(self, pixels: Pixels, threads: int) -> bytes:
        return replace(self._codec, threads=threads).compress(pixels)

    def decode(self, data: bytes, threads: int) -> Pixels:
        return replace(self._codec, threads=threads).decompress(data)

    def preview(self, data: bytes, threads: int) -> Pixels:
        return replace(self._codec, threads=threads).preview(data)

    def card(self) -> Mapping[str, Any]:
        """What the model's record says about it; nothing for weights that do not ship."""
        from lgcodec.models import registry

        return next((record.card for record in registry.RECORDS if record.name == self.model), {})


def contenders(
    codecs: Sequence[str],
    models: Sequence[str],
    efforts: Sequence[int],
    device: str,
    origin: str = "auto",
) -> list[Contender]:
    """The codecs to compare with and each model at each effort. Raises InputError for a name that nothing has.

    models: names or weights files, with @EFFORT where a model has an effort of its own. origin: as in `Codec`.
    """
    ours = []
    for word in models:
        model, at, own = word.rpartition("@")
        known = (int(own),) if at and own in tuple("123456789") else efforts
        ours += [Learned(model if known is not efforts else word, effort, device, origin) for effort in known]
    return [*(external(name) for name in codecs), *ours]
