"""lgcodec: lossless image compression with learned likelihoods.

    data = lgcodec.compress(image)          # a Pillow image or a uint8 array [H, W], [H, W, 3] ...
    pixels = lgcodec.decompress(data)       # the identical array

The public names below load on first use, so that `import lgcodec` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lgcodec.codec import Codec as Codec
    from lgcodec.codec import compress as compress
    from lgcodec.codec import decompress as decompress
    from lgcodec.codec import inspect as inspect
    from lgcodec.codec import open as open
    from lgcodec.codec import preview as preview
    from lgcodec.codec import save as save
    from lgcodec.codec import score as score
    from lgcodec.codec import verify as verify

__version__ = "0.1.0"
__all__ = ["Codec", "compress", "decompress", "inspect", "open", "preview", "save", "score", "verify"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from importlib import import_module

        return getattr(import_module("lgcodec.codec"), name)
    raise AttributeError(f"module 'lgcodec' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
