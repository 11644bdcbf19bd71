"""`lgcodec train`: a command for each family, which lives with the models; what they cannot know of the codec."""

from __future__ import annotations

from typing import Any

from lgcodec.models.training.command import train


def _read_jpeg(data: bytes) -> Any:
    from lgcodec import kept

    return kept.components(data)


train.context_settings["obj"] = _read_jpeg  # what families of JPEG files learn from
