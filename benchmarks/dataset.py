"""Images a second of a data set under two workers, .lgc files against PNG: FOLDER of photographs [--count 48]."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import lgcodec
from lgcodec.torch import ImageFolder

SIDE, WORKERS = 256, 2


class Pngs:
    """The PNG files of a folder, as tensors."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.png"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> tuple[Any, int]:
        with Image.open(self.files[number]) as image:
            return torch.from_numpy(np.moveaxis(np.array(image), -1, 0).copy()), 0


def speed(data: Any) -> float:
    """Images a second, once the workers have begun."""
    loader = torch.utils.data.DataLoader(data, batch_size=4, num_workers=WORKERS, persistent_workers=True)
    rates = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in loader:
            pass
        rates.append(len(data) / (time.perf_counter() - start))
    return max(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--models", default="fast,default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        crops: list[Path] = []
        for path in sorted(p for p in options.folder.iterdir() if p.suffix in (".png", ".webp")):
            with Image.open(path) as image:
                for x in range(0, image.width - SIDE + 1, SIDE):
                    if len(crops) < options.count:
                        crops.append(Path(name) / f"{len(crops):04}.png")
                        image.convert("RGB").crop((x, 0, x + SIDE, SIDE)).save(crops[-1])
        rows = [("PNG", sum(path.stat().st_size for path in crops), speed(Pngs(Path(name))))]
        for model in options.models.split(","):
            folder = Path(name) / model
            folder.mkdir()
            codec = lgcodec.Codec(model, verify=False)
            files = codec.compress_batch(crops)
            for path, data in zip(crops, files, strict=True):
                (folder / path.with_suffix(".lgc").name).write_bytes(data)
            rows.append((f"lgcodec, {model}", sum(map(len, files)), speed(ImageFolder(folder))))
    print("| files | bytes | images/s |\n| --- | --- | --- |")
    for label, size, rate in rows:
        print(f"| {label} | {size:,} | {rate:.1f} |")
    print(f"\n{len(crops)} crops of {SIDE} x {SIDE} RGB, {WORKERS} workers, one thread each, best of three epochs.")


if __name__ == "__main__":
    main()
