"""How lgcodec is built (PEP 517): setuptools, after the native library is compiled into the tree.

A wheel holds libraries, not Python extensions: one for a platform serves all versions of Python. Where no compiler is
found, the build asks for one from PyPI (`ziglang`); where that fails too, lgcodec is built without the libraries.
LGCODEC_NATIVE=0 leaves them out on purpose.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403

_PATH = Path(__file__).parent / "models/machines/native/build.py"
_spec = importlib.util.spec_from_file_location("native_build", _PATH)
build: Any = importlib.util.module_from_spec(_spec)  # type: ignore[arg-type]
_spec.loader.exec_module(build)  # type: ignore[union-attr]

_ZIG = ("x86_64", "amd64", "aarch64", "arm64")  # processors that wheels of ziglang are made for
_IS_WANTED = os.environ.get("LGCODEC_NATIVE") != "0"
Settings = dict[str, Any] | None


def _compiler() -> list[str]:
    needs_one = _IS_WANTED and build.compiler() is None and platform.machine().lower() in _ZIG
    return ["ziglang"] if needs_one else []


def _compile() -> bool:
    """Whether the libraries are in the tree now. Says so in one line where they are not."""
    for old in (*build.FOLDER.glob("lgcodec_*"), *Path("build").glob("lib*/**/lgcodec_*")):
        old.unlink()  # a library that cannot be made again is none of these sources
    command = build.compiler() if _IS_WANTED else None
    try:
        if command is not None:
            build.compile_all(command)
            return True
        reason = "no C compiler found" if _IS_WANTED else "LGCODEC_NATIVE=0"
    except (OSError, subprocess.CalledProcessError) as e:
        reason = str(e)
    print(  # noqa: T201
        f"lgcodec: built without its native library, so models run on numpy, far slower: {reason}", file=sys.stderr
    )
    return False


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_compiler()]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    return [*build_meta.get_requires_for_build_editable(config_settings), *_compiler()]


def build_wheel(directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    settings = dict(config_settings or {})
    if _compile():
        options = settings.get("--build-option", [])
        tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        settings["--build-option"] = [*([options] if isinstance(options, str) else options), "--plat-name", tag]
    return build_meta.build_wheel(directory, settings, metadata_directory)


def build_editable(directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    _compile()
    return build_meta.build_editable(directory, config_settings, metadata_directory)
