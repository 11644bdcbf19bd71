"""numcodecs' codec `lgcodec`, for zarr's format 2 and others: found by entry point, without an import."""

from __future__ import annotations

from typing import Any

import numpy as np
from numcodecs.abc import Codec as Numcodec
from numcodecs.compat import ensure_contiguous_ndarray, ndarray_copy

from lgcodec import stacks
from lgcodec.codec import Codec
from lgcodec.errors import InputError
from lgcodec.options import EFFORT


class Lgcodec(Numcodec):  # type: ignore[misc]  # numcodecs has no types
    """Chunks of images, see `stacks`. channels: None, "first" or "last". The others as of `lgcodec.Codec`."""

    codec_id = "lgcodec"

    def __init__(
        self, channels: str | None = None, model: str = "default", effort: int = EFFORT, tile: Any = None
    ) -> None:
        self.channels = channels
        self.model = model
        self.effort = effort
        self.tile = None if tile is None else list(tile)
        self._codec()  # raises for what cannot be

    def encode(self, buf: Any) -> bytes:
        """Raises InputError for what is no array of images in C order."""
        array = np.asarray(buf)
        if array.ndim > 1 and not array.flags.c_contiguous and array.flags.f_contiguous:
            raise InputError("arrays in Fortran order would come back transposed: write them with order='C'")
        return stacks.encode(array, self.channels, self._codec())

    def decode(self, buf: Any, out: Any = None) -> Any:
        array = stacks.decode(memoryview(ensure_contiguous_ndarray(buf)), self.channels, self._codec())
        return array if out is None else ndarray_copy(array, out)

    def _codec(self) -> Codec:
        return Codec(self.model, effort=self.effort, tile=None if self.tile is None else (self.tile[0], self.tile[1]))
