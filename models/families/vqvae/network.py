"""The VQ-VAE family: two levels of discrete codes with a learned prior, then the pixels given what the codes show.

References: van den Oord et al. 2017 (VQ-VAE), Razavi et al. 2019 (VQ-VAE-2: two levels), Gulrajani et al. 2017
(PixelVAE: the pixels given latents and their neighbours), Reed et al. 2017 (a prior in parallel groups).

    tile -> 8x8 patches -> blocks -> h [1/8] --------------------------+
                                     |                                 |
                                     +-> blocks -> nearest of `top`    +-> nearest of `bottom` [1/8]
                                          [1/16]       |                       |
                                                  blocks -> t [1/8] -+---------+-> blocks -> d [1/8]
                                                                                    |-> picture (the preview)
                                                                                    |-> features

The codes are the tile's base stream; picture and features are what the pixels' network, which is one of the causal
family, is told besides the pixels decoded before (`causal.Side`). All of it is integers: so encoders everywhere choose
the same codes, and decoders see the same picture.

A code map is coded in phases of a grid that is halved again and again: the codes of a phase are independent given
those of the phases before, of which they see the nearest. The top's first grid has a stride of 4, the bottom's one of
2, and the bottom sees t as well.

    A . . . A    A . . . A    A . C . A        A: given t alone
    . . . . .    . . . . .    . . . . .        B: and the four A around
    . . . . .    . . B . .    D . B . D        C: and the A beside it, the B above and below
    . . . . .    . . . . .    . . . . .        D: and all eight around
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from lgcodec.models.errors import ModelError
from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.causal.network import Shape, Side, Tile
from lgcodec.models.interface import TOTAL
from lgcodec.models.layers.convolution import Convolution, Convolutions
from lgcodec.models.layers.integer import EXACT, Layer
from lgcodec.models.layers.kinds import check_bounds
from lgcodec.models.weights import Weights

T = TypeVar("T")
Array = NDArray[np.float32]
Ends = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]
PATCH, STEP = 8, 16  # pixels a side of a bottom code, of a top code
SAMPLE_LIMIT = 255  # Y - 128, Co, Cg
VECTOR_LIMIT = 511  # codebook entries and what is compared with them
PICTURE_LOW, PICTURE_HIGH = (0, -2040, -2040), (2040, 2040, 2040)  # Q3
LOGIT_LIMIT = 4095  # in 1/32
MAX_TILE = 1 << 21  # pixels
BATCH = 64  # tiles whose pictures and features are held at a time, 10 MB each
MAX_CODES = MAX_TILE // STEP**2  # of the top level; thin tiles have more for their pixels
EXPONENTS = 384
CHUNK = 64  # rows of a table that are made at a time, in the cache
PAD = 2  # around a code map: the farthest that a phase looks
STRIDES = {"top": 4, "bottom": 2}  # of the first grid
DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
BESIDE = ((0, -1), (0, 1), (-1, 0), (1, 0))
# The phases B, C, D of a grid of stride s: the offset and where they look, in s / 2.
PHASES = (((1, 1), DIAGONAL), ((0, 1), BESIDE), ((1, 0), BESIDE + DIAGONAL))


@dataclass(frozen=True)
class Config:
    """Sizes. depth: of a codebook's vectors; top, bottom: their number; *_blocks: residual blocks; prior: hidden units
    of the prior; pixels: the causal network's sizes. Hidden activations are 0..limit in units of 2**-fraction.

    rows: the codes are those of bands of so many rows, each for itself (stacked small images); 0 for one band.
    tile: width and height of the largest tile that an encoder should make.
    """

    pixels: causal.Config
    rows: int = 0
    tile: tuple[int, int] = (1024, 256)
    width: int = 96
    depth: int = 32
    top: int = 512
    bottom: int = 512
    encode_blocks: int = 3
    top_blocks: int = 2
    decode_blocks: int = 4
    prior: int = 80
    fraction: int = 6
    limit: int = 1023

    def __post_init__(self) -> None:
        bounds = {
            "width": 512, "depth": 64, "top": 4096, "bottom": 4096, "encode_blocks": 16, "top_blocks": 16,
            "decode_blocks": 16, "prior": 512, "fraction": 12, "limit": 8191, "rows": 1 << 20,
        }  # fmt: skip
        least = {"width": 2, "top": 3, "bottom": 3, "rows": 0}
        check_bounds("vqvae", self, {name: (least.get(name, 1), high) for name, high in bounds.items()})
        if [type(side) for side in self.tile] != [int, int] or min(self.tile) < 1 or math.prod(self.tile) > MAX_TILE:
            raise ModelError(f"vqvae model: tile is {self.tile!r}, expected a width and a height")
        if self.pixels.side == 0 or self.pixels.classes:
            raise ModelError("vqvae model: its pixels see no features, or have classes")

    @classmethod
    def of(cls, config: dict[str, Any]) -> Config:
        """From a weights file's config. Raises ModelError."""
        if set(config) != {field.name for field in fields(cls)}:
            raise ModelError(f"vqvae model: config {config} is not one of this release")
        if not isinstance(config["tile"], list):
            raise ModelError(f"vqvae model: tile is {config['tile']!r}, expected a width and a height")
        return cls(**{**config, "pixels": causal.Config.of(config["pixels"]), "tile": tuple(config["tile"])})

    def written(self) -> dict[str, Any]:
        """As weights files have it, the inverse of `of`."""
        return {**asdict(self), "pixels": self.pixels.written(), "tile": list(self.tile)}

    def grid(self, height: int, width: int) -> tuple[int, int, int]:
        """Bands of a tile, and rows and columns of each one's top codes. Raises ModelError where these are too many."""
        rows = self.rows or height
        grid = -(-height // rows), -(-rows // STEP), -(-width // STEP)
        if math.prod(grid) > MAX_CODES:
            raise ModelError(f"vqvae model: a tile of {width} x {height} pixels has too many codes")
        return grid

    def convolutions(self) -> dict[str, tuple[int, Ends]]:
        """Each convolution's size, and its inputs' limits (of one position) and its outputs' lowest and highest."""
        W, D, L = self.width, self.depth, self.limit
        result: dict[str, tuple[int, Ends]] = {}

        def add(name: str, inputs: list[tuple[int, int]], low: Any, high: Any, size: int = 1) -> None:
            limits = np.tile(np.concatenate([np.full(n, limit) for n, limit in inputs]), size * size)
            low, high = np.broadcast_arrays(low, high)
            result[name] = (size, (limits.astype(np.int32), low.astype(np.int32), high.astype(np.int32)))

        def blocks(name: str, n: int) -> None:
            for i in range(n):
                add(f"{name}.{i}.wide", [(W, L)], *_ends(W // 2, 0, L), size=3)
                add(f"{name}.{i}.back", [(W // 2, L)], *_ends(W, -L, L))

        add("patch", [(3 * PATCH * PATCH, SAMPLE_LIMIT)], *_ends(W, 0, L))
        blocks("encode", self.encode_blocks)
        add("up", [(4 * W, L)], *_ends(W, 0, L))
        blocks("encode_top", self.top_blocks)
        add("z_top", [(W, L)], *_ends(D, -VECTOR_LIMIT, VECTOR_LIMIT))
        add("in_top", [(D, VECTOR_LIMIT)], *_ends(W, 0, L))
        blocks("decode_top", self.top_blocks)
        add("down", [(W, L)], *_ends(4 * W, 0, L))
        add("z_bottom", [(2 * W, L)], *_ends(D, -VECTOR_LIMIT, VECTOR_LIMIT))
        add("in_bottom", [(D, VECTOR_LIMIT), (W, L)], *_ends(W, 0, L))
        blocks("decode", self.decode_blocks)
        add("picture", [(W, L)], np.tile(PICTURE_LOW, PATCH * PATCH), np.tile(PICTURE_HIGH, PATCH * PATCH))
        add("features", [(W, L)], *_ends(self.pixels.side, 0, causal.COMPAND_LIMIT))
        for level, entries in (("top", self.top), ("bottom", self.bottom)):
            given = [(W, L)] if level == "bottom" else []
            if given:
                add(f"prior.{level}.0", given, *_ends(self.prior, 0, L))
            for i, (_, places) in enumerate(PHASES, 1):
                add(f"prior.{level}.{i}", [(D * len(places), VECTOR_LIMIT), *given], *_ends(self.prior, 0, L))
            add(f"prior.{level}.out", [(self.prior, L)], *_ends(entries, -LOGIT_LIMIT, LOGIT_LIMIT))
        return result


def _ends(n: int, low: int, high: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    return np.full(n, low, np.int32), np.full(n, high, np.int32)


class Codes(NamedTuple):
    """Of n bands. top: int64 [n, h, w], one for each 16 x 16 pixels; bottom: int64 [n, 2 h, 2 w]."""

    top: NDArray[np.int64]
    bottom: NDArray[np.int64]


def gather(a: NDArray[Any], n: int) -> NDArray[Any]:
    """Space to depth: [T, H, W, C] -> [T, H/n, W/n, n n C]."""
    T, H, W, C = a.shape
    return a.reshape(T, H // n, n, W // n, n, C).swapaxes(2, 3).reshape(T, H // n, W // n, n * n * C)


def spread(a: NDArray[Any], n: int) -> NDArray[Any]:
    """The inverse of `gather`."""
    T, H, W, C = a.shape
    return a.reshape(T, H, W, n, n, C // (n * n)).swapaxes(2, 3).reshape(T, H * n, W * n, C // (n * n))


class Network:
    """The integers of one model, checked, and the convolutions loaded on a machine."""

    def __init__(self, weights: Weights, run: Convolutions) -> None:
        """Raises ModelError where tensors are missing, misshapen or out of the exact range."""
        self.config = config = Config.of(weights.config)
        self.run, self.loaded = run, {}
        tensors = weights.tensors
        try:
            for name, (size, ends) in config.convolutions().items():
                weight, bias, shift = (tensors[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
                self.loaded[name] = run.load(Convolution(Layer(weight, bias, shift, *ends), size))
            self.vectors = {level: tensors[f"vectors.{level}"] for level in ("top", "bottom")}
            self.exponential = tensors["exponential"]
            start = "pixels."
            pixels = {name[len(start) :]: a for name, a in tensors.items() if name.startswith(start)}
        except KeyError as e:
            raise ModelError(f"vqvae model: tensor {e} is missing") from e
        for level, entries in (("top", config.top), ("bottom", config.bottom)):
            vectors = self.vectors[level]
            if vectors.dtype != np.int16 or vectors.shape != (entries, config.depth):
                raise ModelError("vqvae model: malformed codebook")
            if np.abs(vectors.astype(np.int64)).max() > VECTOR_LIMIT:
                raise ModelError("vqvae model: malformed codebook")
            self.loaded[f"nearest.{level}"] = run.load(Convolution(_nearest(vectors), 1))
        table = self.exponential
        if table.dtype != np.int32 or table.shape != (EXPONENTS,):
            raise ModelError("vqvae model: malformed table")
        if table.min() < 0 or not 0 < table[0] <= 1 << 16 or table.max() > table[0]:
            raise ModelError("vqvae model: malformed table")
        self.pixels = causal.Network.build(config.pixels, pixels)

    def _convolve(self, name: str, a: Any) -> Any:
        return self.run.convolve(self.loaded[name], a)

    def _blocks(self, name: str, n: int, h: Any) -> Any:
        for i in range(n):
            back = self._convolve(f"{name}.{i}.back", self._convolve(f"{name}.{i}.wide", h))
            h = (h + back).clip(0, self.config.limit)
        return h

    def _vectors(self, level: str, codes: NDArray[np.int64]) -> Any:
        return self.run.array(self.vectors[level][codes].astype(np.float32))

    def quantise(self, tile: Tile) -> Codes:
        """The codes of a tile [C, H, W], whose bands are filled up to whole codes by repeating the edge."""
        C, H, W = tile.shape
        config, rows = self.config, self.config.rows or H
        n, h, w = config.grid(H, W)
        planes = np.zeros((3, n * rows, W), np.float32)
        planes[:C] = np.pad(tile, ((0, 0), (0, n * rows - H), (0, 0)), "edge")
        planes[0] -= 128
        bands = planes.reshape(3, n, rows, W).transpose(1, 2, 3, 0)
        x = np.pad(bands, ((0, 0), (0, h * STEP - rows), (0, w * STEP - W), (0, 0)), "edge")
        patches = self.run.array(gather(x, PATCH))
        low = self._blocks("encode", config.encode_blocks, self._convolve("patch", patches))
        high = self._blocks("encode_top", config.top_blocks, self._convolve("up", gather(low, 2)))
        top = self._nearest("top", self._convolve("z_top", high))
        both = self.run.join([low, self.condition(top)])
        return Codes(top, self._nearest("bottom", self._convolve("z_bottom", both)))

    def _nearest(self, level: str, z: Any) -> NDArray[np.int64]:
        scores = self._convolve(f"nearest.{level}", z)
        return self.run.numpy(scores.argmax(-1)).astype(np.int64)  # the first of equals

    def condition(self, top: NDArray[np.int64]) -> Any:
        """top codes [n, h, w] -> t [n, 2 h, 2 w, width], what the bottom is told of them."""
        h = self._convolve("in_top", self._vectors("top", top))
        return spread(self._convolve("down", self._blocks("decode_top", self.config.top_blocks, h)), 2)

    def decode(self, codes: Codes) -> Any:
        """-> d [n, 2 h, 2 w, width], of which the picture and the features are made."""
        e = self._vectors("bottom", codes.bottom)
        h = self._convolve("in_bottom", self.run.join([e, self.condition(codes.top)]))
        return self._blocks("decode", self.config.decode_blocks, h)

    def side(self, codes: Codes, shape: Shape) -> Side:
        """What the codes of a tile [C, H, W] show."""
        C, H, W = shape
        d = self.decode(codes)
        picture, features = (
            self.run.numpy(self._convolve(part, d)).astype(np.int16) for part in ("picture", "features")
        )
        picture = self._band(spread(picture, PATCH), H, W)
        picture[..., C:] = 0
        return Side(picture, self._band(features.repeat(PATCH, axis=1).repeat(PATCH, axis=2), H, W))

    def _band(self, a: NDArray[np.int16], height: int, width: int) -> NDArray[np.int16]:
        """Bands [n, h, w, c] -> the tile [height, width, c] that they cover."""
        rows = self.config.rows or height
        return np.ascontiguousarray(a[:, :rows, :width]).reshape(-1, width, a.shape[-1])[:height]

    def cdf(self, level: str, phase: int, parts: list[Array], grid: tuple[int, int, int]) -> NDArray[np.uint32]:
        """The prior's tables of one phase, [n, entries + 1]. parts: what it sees, [*grid, ...] each; n: of grid."""
        h = self.run.zeros(*grid, self.config.prior)  # the top's first codes see nothing
        if parts:
            h = self._convolve(f"prior.{level}.{phase}", self.run.array(np.concatenate(parts, axis=-1)))
        logits = self.run.numpy(self._convolve(f"prior.{level}.out", h)).astype(np.int32)
        logits = logits.reshape(-1, logits.shape[-1])
        n, entries = logits.shape
        cdf = np.zeros((n, entries + 1), np.uint32)
        cdf[:, -1] = TOTAL
        for start in range(0, n, CHUNK):
            part = logits[start : start + CHUNK]
            behind = np.minimum(part.max(axis=1, keepdims=True) - part, EXPONENTS - 1)
            share = self.exponential[behind].cumsum(axis=1, dtype=np.int32)
            # Integers below 2**53 in float64, so the floor of the rounded quotient is that of the exact one.
            below = np.floor(share * float(TOTAL - entries) / share[:, -1:])
            cdf[start : start + CHUNK, 1:-1] = below[:, :-1] + np.arange(1, entries)
        return cdf


def _nearest(vectors: NDArray[np.int16]) -> Layer:
    """Scores z . e - |e|**2 / 2, whose largest (the first of equals) is the vector nearest to z."""
    entries, depth = vectors.shape
    square = (vectors.astype(np.int64) ** 2).sum(axis=1)
    low, high = _ends(entries, -EXACT, EXACT)
    limit = np.full(depth, VECTOR_LIMIT, np.int32)
    return Layer(vectors, -(square // 2).astype(np.int32), np.zeros(entries, np.int32), limit, low, high)


def phases(level: str) -> Iterator[tuple[int, int, int, int]]:
    """(index into PHASES plus one or 0, its reach, and its codes' first row and column; their stride is 2 reach)."""
    stride = STRIDES[level]
    yield 0, stride // 2, 0, 0
    while stride > 1:
        stride //= 2
        for i, ((y, x), _) in enumerate(PHASES, 1):
            yield i, stride, y * stride, x * stride
