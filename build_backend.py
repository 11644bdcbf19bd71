"""How lgcodec is built (PEP 517): setuptools, after the native library is compiled into the tree.

A wheel holds libraries, not Python extensions: one for a platform serves all versions of Python (py3-none-PLATFORM).
Where no compiler is found, the build asks for one from PyPI (`ziglang`); where that fails too, lgcodec is built without
the libraries, for any platform (py3-none-any). LGCODEC_NATIVE=0 leaves them out on purpose.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403
from setuptools.command.bdist_wheel import bdist_wheel

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


def _clear() -> None:
    for old in (*build.FOLDER.glob("lgcodec_*"), *Path("build").glob("lib*/**/lgcodec_*")):
        old.unlink()


def _compile() -> None:
    """Compiles the libraries into the tree, all or none. Says so in one line where there are none."""
    _clear()  # a library that cannot be made again is none of these sources
    command = build.compiler() if _IS_WANTED else None
    try:
        if command is not None:
            return build.compile_all(command)
        reason = "no C compiler found" if _IS_WANTED else "LGCODEC_NATIVE=0"
    except OSError as e:
        reason = str(e)
    except subprocess.CalledProcessError as e:
        reason = f"{shlex.join(command or [])} failed (exit code {e.returncode})"
    _clear()
    print(  # noqa: T201
        f"lgcodec: built without its native library, so models run on numpy, far slower: {reason}", file=sys.stderr
    )


class Wheel(bdist_wheel):
    """A wheel of libraries, if there are any: it is unpacked where a platform's files go, and needs no Python ABI."""

    def finalize_options(self) -> None:
        self.distribution.has_ext_modules = lambda: any(build.FOLDER.glob("lgcodec_*"))
        super().finalize_options()

    def get_tag(self) -> tuple[str, str, str]:
        own = "any" if self.root_is_pure else sysconfig.get_platform().replace("-", "_").replace(".", "_")
        return "py3", "none", own


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_compiler()]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    return [*build_meta.get_requires_for_build_editable(config_settings), *_compiler()]


def build_wheel(directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    _compile()
    return build_meta.build_wheel(directory, config_settings, metadata_directory)


def build_editable(directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    _compile()
    return build_meta.build_editable(directory, config_settings, metadata_directory)
