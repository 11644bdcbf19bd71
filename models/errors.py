"""The root of lgcodec's exceptions, and those of the models.

`lgcodec.errors` (folder `codec/`) adds the rest of the tree and re-exports these, so users import from one place.
"""

from __future__ import annotations


class LgcodecError(Exception):
    """Whatever lgcodec refuses or finds wrong. The message is one line and says what was expected."""


class ModelError(LgcodecError):
    """A model that cannot be used: unknown name, unreadable weights, or another digest than a file asks for."""


class ExactnessError(ModelError):
    """This machine's arithmetic failed the executor's self-check, so decoded pixels could not be trusted."""
