"""What a codec is set to: one frozen dataclass, and the models that it means."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from lgcodec import container
from lgcodec.errors import InputError, too_large
from lgcodec.models.interface import CoefficientCoding, ImageModel
from lgcodec.models.parallel import cores

if TYPE_CHECKING:
    from lgcodec.container import ModelReference
    from lgcodec.image import Picture

EFFORT = 3
ORIGINS = ("auto", "none")
Model = Union[str, "os.PathLike[str]", ImageModel]


@dataclass(frozen=True)
class Options:
    """Settings only, so they may be shared by threads and sent to worker processes.

    model: a name that `lgcodec models` lists, a weights file's path, or an ImageModel; "default" stands for `scan`
    where images are of single bits. Decoding takes the model that a file names, wherever it is found, and this one only
    if it is that one.
    device: "auto", "cpu" or "cuda". threads: of the model; None for all cores.
    effort: 1 to 9, encoding time for size; from 7 on the model is adapted to each image.
    verify: decode what was compressed and compare, before returning it.
    tile: (width, height) of the tiles that the model codes, None for the default.
    origin: "auto" looks for what the image was rendered from, and codes that where it is smaller; "none" does not.
    pixels: of JPEG files, keep the pixels alone; otherwise the file comes back, byte for byte.
    max_pixels: the largest image accepted, None for twice PIL.Image.MAX_IMAGE_PIXELS.
    """

    model: Model = "default"
    device: str = "auto"
    threads: int | None = None
    effort: int = EFFORT
    verify: bool = True
    tile: tuple[int, int] | None = None
    max_pixels: int | None = field(default=None, kw_only=True)
    origin: str = field(default="auto", kw_only=True)
    pixels: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.model, (str, os.PathLike)) and not hasattr(self.model, "coding"):
            raise InputError(f"model is a name, a weights file or a model, not {self.model!r}")
        if self.threads is not None and not _is_whole(self.threads, 1):
            raise InputError(f"threads is a whole number from 1 on, or None for all cores, not {self.threads!r}")
        if self.max_pixels is not None and not _is_whole(self.max_pixels, 1):
            raise InputError(f"max_pixels is a whole number from 1 on, or None, not {self.max_pixels!r}")
        if not _is_whole(self.effort, 1) or self.effort > 9:
            raise InputError(f"effort is a whole number from 1 to 9, not {self.effort!r}")
        if self.origin not in ORIGINS:
            raise InputError(f"origin is one of {', '.join(ORIGINS)}, not {self.origin!r}")
        if self.tile is not None and not is_tile(self.tile):
            limit = container.MODEL_TILE_AREA
            raise InputError(f"tile is (width, height), both at least 1, together at most {limit}, not {self.tile!r}")

    def workers(self) -> int:
        """How many threads work on tiles."""
        return self.threads or cores()

    def suited(self, picture: Picture) -> Options:
        """These, with the model of single bits for images of them, where no model was chosen."""
        return replace(self, model="scan") if picture.mode.levels == 2 and self.model == "default" else self

    def load(self) -> ImageModel:
        """The model that encodes. Raises ModelError."""
        if not isinstance(self.model, (str, os.PathLike)):
            return self.model
        return self._named(self.model)

    def seed(self) -> ImageModel:
        """The explicit model that codes the first tiles of a latent model's chain."""
        return self._named("default")

    def of_coefficients(self) -> ImageModel:
        """The model that codes JPEG files: the one that ships, unless this codec's own is such a one."""
        if self.model != "default":
            own = self.load()
            if isinstance(own.coding, CoefficientCoding):
                return own
        return self._named("jpeg")

    def find(self, reference: ModelReference) -> ImageModel:
        """The model that a file names: this codec's own if it is that one, or the registry's. Raises ModelError."""
        if self.model != "default":
            own = self.load()
            if own.wire_id == reference.wire_id and own.digest[: len(reference.digest)] == reference.digest:
                return own
        from lgcodec.models import registry

        return self._named(registry.find(reference.wire_id, reference.digest))

    def check_size(self, picture: Picture) -> None:
        """Raises LimitError for an image of more pixels than `max_pixels`."""
        limit = container.default_max_pixels() if self.max_pixels is None else self.max_pixels
        if limit is not None and picture.area > limit:
            raise too_large(f"the image has {picture.width} x {picture.height}", limit)

    def _named(self, name: str | os.PathLike[str]) -> ImageModel:
        from lgcodec.models import registry

        return registry.load(name, device=self.device, threads=self.threads)


def is_tile(size: tuple[int, int]) -> bool:
    """Whether a model may code tiles of this width and height."""
    if not isinstance(size, (tuple, list)) or len(size) != 2 or not all(_is_whole(side, 1) for side in size):
        return False
    return size[0] * size[1] <= container.MODEL_TILE_AREA


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= least
