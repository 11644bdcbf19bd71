"""How an image's samples become the planes that are coded: components, and a reversible colour transform.

    samples  uint8 [H, W, channels]   --Component.take-->   tile uint8 [H, W, planes]   (what plain methods code)
                                                            tile --forward-->  int16 [planes, H, W]  (what models code)

A transform's wire id says both: which components there are, and in which order R, G, B enter YCoCg-R.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lgcodec.errors import FormatError, IntegrityError
from lgcodec.image import Mode
from lgcodec.models.ycocg import rgb_of, ycocg

Samples = NDArray[np.uint8]
Plane = NDArray[np.int16]
PLAIN = 0  # one component, all channels, plain methods only
GREY = 1  # R = G = B, or one channel: coded once
PERMUTATIONS = {2: (0, 1, 2), 3: (1, 0, 2), 4: (0, 2, 1), 5: (2, 1, 0), 6: (2, 0, 1), 7: (1, 2, 0)}
BITS = 8  # one component of 0 and 1
STANDARD = 2
MIDDLES = (2, 3, 4)  # one for each channel in green's place; to exchange the other two changes little
NAMES = {PLAIN: "plain", GREY: "grey", BITS: "bits"} | {
    wire_id: "YCoCg-R of " + "".join("RGB"[c] for c in order) for wire_id, order in PERMUTATIONS.items()
}


@dataclass(frozen=True)
class Component:
    """Consecutive channels of the samples, coded together.

    first, stop: the channels. planes: C of its tiles. palette: uint8 [n, 3], where indices are coded as their colours.
    """

    first: int
    stop: int
    planes: int
    palette: Samples | None = None

    def share(self, channels: int) -> float:
        """How much of a pixel of `channels` bytes this is."""
        return (self.stop - self.first) / channels

    def take(self, samples: Samples) -> Samples:
        """The tile uint8 [H, W, planes] of samples uint8 [H, W, channels]; palette indices must be below n."""
        part = samples[..., self.first : self.stop]
        if self.palette is not None:
            part = self.palette[part[..., 0]]
        return part[..., : self.planes]

    def give(self, tile: Samples) -> Samples:
        """The inverse: uint8 [H, W, stop - first]. Raises IntegrityError for a colour outside the palette."""
        if self.palette is not None:
            return _index(np.broadcast_to(tile, (*tile.shape[:2], 3)), self.palette)
        return np.broadcast_to(tile, (*tile.shape[:2], self.stop - self.first))


def components(mode: Mode, transform: int, palette: Samples | None = None) -> tuple[Component, ...]:
    """The components of an image of a mode.

    palette: uint8 [n, 3], where the mode has one. Raises FormatError where mode and transform do not go together.
    """
    if transform == PLAIN:
        return (Component(0, mode.channels, mode.channels),)
    if transform == BITS and mode.has_bits:
        return (Component(0, 1, 1),)
    colours, of_bytes = mode.channels - mode.has_alpha, mode.levels == 256
    alpha = (Component(colours, mode.channels, 1),) if mode.has_alpha else ()
    if of_bytes and transform == GREY:
        return (Component(0, colours, 1, palette), *alpha)
    if of_bytes and transform in PERMUTATIONS and not mode.is_grey:
        return (Component(0, colours, 3, palette), *alpha)
    raise FormatError(f"mode {mode.pillow} has no transform {transform}")


def is_reversible(indices: NDArray[np.intp], palette: Samples) -> bool:
    """Whether each of these used indices [n] is the first one of its colour in the palette uint8 [m, 3]."""
    if len(indices) and int(indices.max()) >= len(palette):
        return False
    colours = palette[indices][None]
    return bool((_index(colours, palette)[0, :, 0] == indices).all())


def forward(tile: Samples, transform: int) -> Plane:
    """uint8 [H, W, 3] -> int16 [3, H, W]: Y 0..255, Co and Cg -255..255. uint8 [H, W, 1] -> int16 [1, H, W]."""
    planes = np.ascontiguousarray(tile.transpose(2, 0, 1)).astype(np.int16)  # [C, H, W]
    if len(planes) == 1:
        return planes
    return ycocg(planes[list(PERMUTATIONS[transform])])


def inverse(planes: Plane, transform: int, *, clip: bool = False) -> Samples:
    """The inverse of `forward`. Raises IntegrityError for planes that no image gives, unless they are to be clipped."""
    if len(planes) == 3:
        planes = rgb_of(planes)[list(np.argsort(PERMUTATIONS[transform]))]
    if clip:
        planes = np.clip(planes, 0, 255)
    if planes.min() < 0 or planes.max() > 255:
        raise IntegrityError("a tile decodes to colours outside 0..255")
    return planes.astype(np.uint8).transpose(1, 2, 0)


def is_grey(samples: Samples) -> bool:
    """Whether R = G = B throughout uint8 [H, W, 3 or more]."""
    return bool((samples[..., :1] == samples[..., 1:3]).all())


def _index(colours: Samples, palette: Samples) -> Samples:
    """The first index in palette [n, 3] of each colour [H, W, 3], as uint8 [H, W, 1]."""
    if len(palette) == 0:
        raise FormatError("an image of mode P needs a palette")
    known, first = np.unique(_key(palette), return_index=True)
    keys = _key(colours)
    place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    if bool((known[place] != keys).any()):
        raise IntegrityError("a tile decodes to a colour that is not in the palette")
    return first[place].astype(np.uint8)[..., None]


def _key(colours: Samples) -> NDArray[np.uint32]:
    wide = colours.astype(np.uint32)
    return wide @ np.array([1 << 16, 1 << 8, 1], np.uint32)
