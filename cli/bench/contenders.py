"""The codecs that `lgcodec bench` compares: models of lgcodec, and those of other libraries."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import lgcodec
from lgcodec.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]  # [H, W] or [H, W, 3]


class Contender(Protocol):
    """A codec to measure."""

    @property
    def name(self) -> str: ...

    @property
    def library(self) -> str: ...

    def encode(self, pixels: Pixels) -> bytes: ...

    def decode(self, data: bytes) -> Pixels: ...


@dataclass(frozen=True)
class External:
    """A codec of another library."""

    name: str
    library: str
    encode: Callable[[Pixels], bytes]
    decode: Callable[[bytes], Pixels]


def _pillow(name: str, form: str, **options: Any) -> External:
    import numpy as np
    import PIL
    from PIL import Image

    def encode(pixels: Pixels) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, form, **options)
        return file.getvalue()

    return External(name, f"pillow {PIL.__version__}", encode, lambda data: np.asarray(Image.open(io.BytesIO(data))))


def _jpeg2000(name: str) -> External:
    import imagecodecs as ic

    def encode(pixels: Pixels) -> bytes:
        return bytes(ic.jpeg2k_encode(pixels, level=0, reversible=True, numthreads=1))

    return External(name, ic.jpeg2k_version(), encode, lambda data: ic.jpeg2k_decode(data, numthreads=1))


def _jpegxl(name: str, effort: int) -> External:
    import imagecodecs as ic

    def encode(pixels: Pixels) -> bytes:
        return bytes(ic.jpegxl_encode(pixels, lossless=True, effort=effort, numthreads=1))

    return External(name, ic.jpegxl_version(), encode, lambda data: ic.jpegxl_decode(data, numthreads=1))


EXTERNALS: Mapping[str, Callable[[], External]] = {
    "png": lambda: _pillow("png", "PNG", optimize=True, compress_level=9),
    "webp": lambda: _pillow("webp", "WEBP", lossless=True, method=6),
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

    def __init__(self, model: str, effort: int, threads: int | None, device: str) -> None:
        self.name = f"lgcodec-{Path(model).stem}-e{effort}"
        self.model = model
        self._codec = lgcodec.Codec(model=model, effort=effort, threads=threads, device=device, verify=False)

    def encode(self, pixels: Pixels) -> bytes:
        return self._codec.compress(pixels)

    def decode(self, data: bytes) -> Pixels:
        return self._codec.decompress(data)

    def preview(self, data: bytes) -> Pixels:
        return self._codec.preview(data)

    def card(self) -> Mapping[str, Any]:
        """What the model's record says about it; nothing for weights that do not ship."""
        from lgcodec.models import registry

        return next((record.card for record in registry.RECORDS if record.name == self.model), {})


def contenders(
    codecs: Sequence[str], models: Sequence[str], efforts: Sequence[int], threads: int | None, device: str
) -> list[Contender]:
    """The codecs to compare with and each model at each effort. Raises InputError for a name that nothing has.

    models: names or weights files, with @EFFORT where a model has an effort of its own.
    """
    ours = []
    for word in models:
        model, at, own = word.rpartition("@")
        known = (int(own),) if at and own in tuple("123456789") else efforts
        ours += [Learned(model if known is not efforts else word, effort, threads, device) for effort in known]
    return [*(external(name) for name in codecs), *ours]
