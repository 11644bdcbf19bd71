"""What is raised for JPEG files that are not taken apart, and for rests that are none."""

from __future__ import annotations

from lgcodec.errors import FormatError


class JpegError(FormatError):
    """A JPEG file that is damaged, or of a kind that is not taken apart; or a rest that no JPEG file has."""
