"""napari's reader of .lgc files and sets, which `napari.yaml` names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lgcodec.codec import Codec
from lgcodec.image import Picture

SUFFIX, SET = ".lgc", ".lgcs"
Layer = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[Layer]] | None:
    """The function that reads `path`, None for what is not ours."""
    names = path if isinstance(path, list) else [path]
    return read if all(Path(name).suffix in (SUFFIX, SET) for name in names) else None


def read(path: str | list[str]) -> list[Layer]:
    """An image layer for each picture. Raises as `Codec.decompress`."""
    layers = []
    for name in path if isinstance(path, list) else [path]:
        file = Path(name)
        pictures = Codec().decode_set(file) if file.suffix == SET else {file.stem: Codec().decode(file)}
        layers += [_layer(title, picture) for title, picture in pictures.items()]
    return layers


def _layer(name: str, picture: Picture) -> Layer:
    array, palette = picture.array(), picture.palette()
    if palette is not None:
        array = palette[array]
    if array.ndim == 3 and array.shape[2] <= 2:  # napari knows colour with and without alpha, and grey alone
        array = array[..., 0] if array.shape[2] == 1 else array[..., [0, 0, 0, 1]]
    return array, {"name": name, "rgb": array.ndim == 3}, "image"
