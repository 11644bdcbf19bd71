"""Training: counting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from lgcodec.models.families.histogram.network import ORIGIN, SIZE
from lgcodec.models.interface import TOTAL
from lgcodec.models.training.images import planes
from lgcodec.models.training.options import training_options
from lgcodec.models.weights import Weights


@click.command("histogram")
@training_options
def command(folders: tuple[Path, ...], out: Path, **options: Any) -> None:
    """How often each value is seen."""
    counts = np.full((2, SIZE), 0.01)
    for path in (path for folder in folders for path in sorted(folder.iterdir())):
        with Image.open(path) as image:
            luma, *chroma = planes(np.asarray(image.convert("RGB")))
        for row, values in zip(counts, (luma, np.array(chroma)), strict=True):
            row += np.bincount(values.ravel() - ORIGIN, minlength=SIZE)
    frequency = 1 + np.floor(counts / counts.sum(axis=1, keepdims=True) * (TOTAL - SIZE)).astype(np.int32)
    frequency[np.arange(2), frequency.argmax(axis=1)] += TOTAL - frequency.sum(axis=1)
    weights = Weights("histogram", {}, {"frequency": frequency}, {"data": [str(folder) for folder in folders]})
    weights.write(out)
    out.with_suffix(".json").write_text(json.dumps({**weights.card, "digest": weights.digest().hex()}))
    click.echo(f"{out}: {weights.digest().hex()}")
