"""Every exception lgcodec raises on purpose. All derive from LgcodecError."""

from __future__ import annotations

from lgcodec.models.errors import ExactnessError, LgcodecError, ModelError

__all__ = [
    "ExactnessError",
    "FormatError",
    "InputError",
    "IntegrityError",
    "LgcodecError",
    "LimitError",
    "MetadataWarning",
    "ModelError",
    "TruncatedError",
    "VersionError",
]


class InputError(LgcodecError):
    """An image, path or option that cannot be used: unreadable, or of a mode that lgcodec does not keep."""


class FormatError(LgcodecError):
    """Bytes that are not a well-formed lgcodec file."""


class TruncatedError(FormatError):
    """The file ends before its contents do."""


class VersionError(FormatError):
    """A format version, model or feature that this release does not know."""


class IntegrityError(FormatError):
    """A checksum or the digest of the decoded pixels disagrees: the file is damaged."""


class LimitError(LgcodecError):
    """The image is larger than the limit in force."""


class MetadataWarning(UserWarning):
    """Something that an image file holds beside its pixels is not kept."""


def too_large(image: str, limit: int) -> LimitError:
    """For an image of so many pixels, in words, where no more than `limit` are accepted."""
    return LimitError(
        f"{image} pixels, more than the limit of {limit} (--max-pixels, or PIL.Image.MAX_IMAGE_PIXELS, raises it)"
    )
