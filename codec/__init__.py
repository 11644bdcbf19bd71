"""lgcodec: lossless image compression with learned likelihoods.

    data = lgcodec.compress(image)          # a Pillow image or a uint8 array [H, W], [H, W, 3] ...
    pixels = lgcodec.decompress(data)       # the identical array

The public names below load on first use, so that `import lgcodec` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lgcodec import errors as errors
from lgcodec.errors import ExactnessError as ExactnessError
from lgcodec.errors import FormatError as FormatError
from lgcodec.errors import InputError as InputError
from lgcodec.errors import IntegrityError as IntegrityError
from lgcodec.errors import LgcodecError as LgcodecError
from lgcodec.errors import LimitError as LimitError
from lgcodec.errors import MetadataWarning as MetadataWarning
from lgcodec.errors import ModelError as ModelError
from lgcodec.errors import TruncatedError as TruncatedError
from lgcodec.errors import VersionError as VersionError

if TYPE_CHECKING:
    from lgcodec.api import compress as compress
    from lgcodec.api import decompress as decompress
    from lgcodec.api import open as open
    from lgcodec.api import preview as preview
    from lgcodec.api import restore as restore
    from lgcodec.api import save as save
    from lgcodec.api import score as score
    from lgcodec.api import verify as verify
    from lgcodec.codec import Codec as Codec
    from lgcodec.info import Info as Info
    from lgcodec.info import inspect as inspect
    from lgcodec.info import inspect_set as inspect_set

__version__ = "0.1.0"
_PLACES = {
    "lgcodec.api": ("compress", "decompress", "open", "preview", "restore", "save", "score", "verify"),
    "lgcodec.codec": ("Codec",),
    "lgcodec.info": ("Info", "inspect", "inspect_set"),
}
_LAZY = {name: module for module, names in _PLACES.items() for name in names}
__all__ = sorted([*_LAZY, *errors.__all__])


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'lgcodec' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
