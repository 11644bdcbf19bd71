"""Pictures for training: a data set over .lgc files and sets of them, and a decoder for webdataset.

Nothing here needs torch until a picture is decoded, so that data sets are cheap to send to worker processes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from lgcodec import container, sets
from lgcodec.codec import Codec
from lgcodec.errors import InputError
from lgcodec.image import Picture
from lgcodec.models.optional import needs

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX, SET = ".lgc", ".lgcs"
START = 1 << 16  # bytes of a set that hold most indices
ONE_THREAD = Codec(threads=1)  # worker processes are what runs side by side


@dataclass(frozen=True)
class Item:
    """Where a picture is: some bytes of a file. name: below the folder, or in the set."""

    path: Path
    start: int
    end: int | None
    name: str


class ImageFolder:
    """A data set, for torch.utils.data.DataLoader: `(picture, label)` by number.

    source: a folder, with .lgc files and sets anywhere below it; an .lgc file; or a set. Of sets a picture is read and
    decoded alone, but for those that are one chain: these are decoded whole and kept until another set is asked for.
    transform: what is done to each picture, a uint8 tensor [C, H, W] (uint16 for 16-bit grey). classes: the names of
    the first folders below the source, "" for pictures in none; a label is a number in it.
    Raises InputError where there is no picture, FormatError for a damaged set.
    """

    def __init__(
        self, source: str | Path, transform: Callable[[Tensor], Any] | None = None, codec: Codec = ONE_THREAD
    ) -> None:
        self.transform = transform
        self.codec = codec
        self.items = _items(Path(source))
        if not self.items:
            raise InputError(f"{source} holds no {SUFFIX} or {SET} files")
        labels = [name.parts[0] if len(name.parts) > 1 else "" for name in (PurePosixPath(i.name) for i in self.items)]
        self.classes = sorted(set(labels))
        self.targets = [self.classes.index(label) for label in labels]
        self._chained: tuple[Path, dict[str, Picture]] | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> tuple[Any, int]:
        """The picture and its label. Raises as `Codec.decompress`."""
        picture = tensor_of(self._picture(self.items[number]))
        return picture if self.transform is None else self.transform(picture), self.targets[number]

    def _picture(self, item: Item) -> Picture:
        if self._chained is not None and self._chained[0] == item.path:
            return self._chained[1][item.name]
        with item.path.open("rb") as file:
            file.seek(item.start)
            data = file.read() if item.end is None else file.read(item.end - item.start)
        if item.end is not None and container.read_header(data, max_pixels=1 << 62).is_chained:
            self._chained = item.path, self.codec.decode_set(item.path)
            return self._chained[1][item.name]
        return self.codec.decode(data)


def decode(key: str, data: bytes) -> Tensor | None:
    """A decoder for webdataset: `WebDataset(url).decode(lgcodec.torch.decode)`. None for what is not .lgc."""
    return tensor_of(ONE_THREAD.decode(data)) if key.endswith(SUFFIX) else None


def tensor_of(picture: Picture) -> Tensor:
    """The pixels as a tensor [C, H, W]: uint8, uint16 or bool; a palette's colours, not its indices."""
    with needs("torch", "lgcodec.torch"):
        import torch
    array, palette = picture.array(), picture.palette()
    if palette is not None:
        array = palette[array]
    array = array[..., None] if array.ndim == 2 else array
    return torch.from_numpy(np.array(np.moveaxis(array, -1, 0), order="C"))


def _items(source: Path) -> list[Item]:
    """The pictures below a folder, of a file, or of a set."""
    if not source.is_dir():
        return _of_set(source) if source.suffix == SET else [Item(source, 0, None, source.name)]
    found: list[Item] = []
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.suffix == SUFFIX and path.is_file():
            found.append(Item(path, 0, None, name.as_posix()))
        elif path.suffix == SET and path.is_file():
            found += _of_set(path)
    return found


def _of_set(path: Path) -> list[Item]:
    with path.open("rb") as file:
        start = file.read(START)
        size = sets.index_size(start)
        start += file.read(size - len(start)) if size > len(start) else b""
    return [Item(path, first, end, name) for name, (first, end) in sets.read_index(start).items()]
