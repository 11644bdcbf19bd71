"""Compiles the native libraries into this folder: python -m lgcodec.models.machines.native.build [SET ..].

Imports nothing of the package, so that an installer can run it, and what only compiling needs when it compiles. It
makes a library for each instruction set, and one that tells which of them a processor has, with $CC, cc, gcc, clang or,
where a system has none, the wheel `ziglang`.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).parent
SUFFIX = ".dll" if sys.platform == "win32" else ".so"
_AVX2 = "-mavx2 -mfma -mbmi -mbmi2 -mlzcnt -mpopcnt"
_AVX512 = f"{_AVX2} -mavx512f -mavx512bw -mavx512dq -mavx512vl"
# By name, from the narrowest on: the order that processor.c counts in.
X86 = {
    "sse4.2": "-msse4.2 -mpopcnt",
    "avx2": _AVX2,
    "avx512": _AVX512,
    "avx512vnni": f"{_AVX512} -mavx512vnni",
}
_MACHINE = platform.machine().lower()
SETS = X86 if _MACHINE in ("x86_64", "amd64") else {"neon": ""} if _MACHINE in ("aarch64", "arm64") else {}
# Integers wrap; doubles are rounded after each operation, whatever the set; sqrt is an instruction.
FLAGS = "-std=c11 -O3 -shared -fvisibility=hidden -ffp-contract=off -fwrapv -fno-math-errno -Wall -Wextra -Wno-psabi"


def sources() -> list[Path]:
    return sorted(path for path in FOLDER.glob("*.c") if path.stem != "processor")


def digest() -> str:
    """Of all that is compiled; the libraries carry it, so that they are known to be of these sources."""
    import hashlib

    parts = [path.read_bytes() for path in sorted(FOLDER.glob("*.[ch]"))]
    return hashlib.sha256(b"".join([FLAGS.encode(), *parts])).hexdigest()[:16]


def path_of(name: str, folder: Path = FOLDER) -> Path:
    """The library of an instruction set, or of the "processor"."""
    return folder / f"lgcodec_{name}{SUFFIX}"


def compiler() -> list[str] | None:
    """The command of a C compiler, None where there is none, or nothing to compile for this processor."""
    import shlex
    import shutil

    if not SETS:
        return None
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    return [sys.executable, "-m", "ziglang", "cc"] if find_spec("ziglang") else None


def compile_all(command: Sequence[str], folder: Path = FOLDER, flags: str = "", only: Sequence[str] = ()) -> None:
    """Compiles the libraries, or only those of some sets, into `folder`; flags: beside FLAGS, instead of
    those that leave out what debuggers read. Raises subprocess.CalledProcessError.
    """
    import subprocess

    position = [] if sys.platform == "win32" else ["-fPIC"]
    common = [*command, *FLAGS.split(), *(flags or "-g0 -Wl,-s").split(), *position]
    jobs = [("processor", "", [FOLDER / "processor.c"])]
    jobs += [(name, own, sources()) for name, own in SETS.items() if name in (only or SETS)]
    for name, own, files in jobs:
        # under a name of its own, so that a library which is in use or half written is never seen
        made = folder / f"{path_of(name).stem}.{os.getpid()}"
        stamp = f'-DLGCODEC_SOURCES="{digest()}"'
        subprocess.run([*common, *own.split(), stamp, "-o", made, *files, "-lm"], check=True)  # noqa: S603
        made.replace(path_of(name, folder))


def main() -> int:
    command = compiler()
    if command is None:
        sys.stderr.write("lgcodec: no C compiler found, so models run on numpy, far slower\n")
        return 1
    compile_all(command, only=sys.argv[1:])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
