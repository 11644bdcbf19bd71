"""The native library under the address and undefined behaviour sanitizers: its tests, then a fuzzer.

    python tests/sanitize_native.py [--seconds 60]      # a minute in CI, more at night

The package is copied, compiled there with sanitizers for one instruction set, and given what hostile files could hold:
mutated streams, side information, weights and JPEG files. Each must give an image or one of our errors, and no report.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
FLAGS = "-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined"
MODELS = ("default", "best", "fast", "flow", "flow-cifar", "vqvae")
JPEGS = tuple(
    {"subsampling": sampling, **kind, **restarts}
    for sampling in (0, 2)
    for kind in ({}, {"optimize": True}, {"progressive": True})
    for restarts in ({}, {"restart_marker_blocks": 2})
)
SHAPES = ((3, 9, 14), (3, 1, 6), (3, 17, 3), (1, 8, 8))


def fuzz(seconds: float) -> None:
    from lgcodec.coding import coder
    from lgcodec.errors import FormatError, ModelError
    from lgcodec.models import registry

    random, end, tried, decoded = np.random.default_rng(time.time_ns()), time.monotonic() + seconds, 0, 0
    files = {name: (ROOT / "models" / "weights" / f"{name}.safetensors").read_bytes() for name in MODELS}
    models = {name: registry.load(name, machine="native", threads=1) for name in MODELS}
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:
            name, shape = MODELS[random.integers(len(MODELS))], SHAPES[random.integers(len(SHAPES))]
            model, tried = models[name], tried + 1
            try:
                if tried % 8 == 0:
                    data = bytearray(files[name])
                    for at in random.integers(0, len(data), random.integers(1, 200)):
                        data[at] = random.integers(256)
                    (Path(folder) / "a.safetensors").write_bytes(data)
                    model = registry.load(Path(folder) / "a.safetensors", machine="native", threads=1)
                tile = np.clip(random.normal(90, 60, shape), 0, 255).astype(np.int16)
                tile[1:] -= 90
                (stream,) = coder.encode(model, [tile])
                words, base = stream.words.copy(), stream.base
                cut = random.integers(0, len(words) + 1) if random.random() < 0.3 else len(words)
                words = words[:cut]
                for at in random.integers(0, max(len(words), 1), random.integers(0, 4) if len(words) else 0):
                    words[at] ^= np.uint32(1 << random.integers(32))
                side = random.bytes(random.integers(0, 60)) if random.random() < 0.2 else b""
                coder.decode(model, [shape], [words], side, bases=[base])
                decoded += 1
            except (FormatError, ModelError):
                continue
    print(f"{tried} files, {decoded} of them decoded")  # noqa: T201
    if tried == 0 or decoded == 0:
        raise SystemExit("the fuzzer decoded nothing")


def fuzz_jpegs(seconds: float) -> None:
    """JPEG files, and rests with coefficients, a few bytes of which are changed, cut or moved."""
    from lgcodec.errors import FormatError
    from lgcodec.jpeg import file

    random, end, tried, taken = np.random.default_rng(time.time_ns()), time.monotonic() + seconds, 0, [0, 0]
    files = []
    for options in JPEGS:
        samples = random.normal(100, 30, (*random.integers(1, 40, 2), 3)).clip(0, 255).astype(np.uint8)
        out = io.BytesIO()
        Image.fromarray(samples).save(out, "JPEG", quality=int(random.integers(1, 101)), **options)
        files.append((out.getvalue(), file.parse(out.getvalue())))
    while time.monotonic() < end:
        whole, found = files[random.integers(len(files))]
        which, tried = int(random.integers(2)), tried + 1
        data = bytearray((whole, found.rest)[which])
        for at in random.integers(0, len(data), random.integers(1, 5)):
            data[at] = random.integers(256) if random.random() < 0.5 else data[at] ^ 1 << random.integers(8)
        if random.random() < 0.2:
            a, b = sorted(random.integers(0, len(data) + 1, 2).tolist())
            data[a:b] = data[b : b + int(random.integers(50))]
        try:
            if which == 0:
                found = file.parse(bytes(data), check=False)
                data = bytearray(found.rest)
            planes = [plane.coefficients.copy() for plane in found.planes]
            for plane in planes[: random.integers(4)]:
                plane.flat[random.integers(plane.size)] = random.integers(-32768, 32768)
            file.write(bytes(data), planes, limit=1 << 24)
            taken[which] += 1
        except FormatError:
            continue
    print(f"{tried} JPEG files and rests, {taken} of them taken")  # noqa: T201
    if not all(taken):
        raise SystemExit("the fuzzer had no JPEG file that is one")


def fuzz_coefficients(seconds: float) -> None:
    """Bands of JPEG files whose streams are changed or cut, and whose shapes are other ones."""
    from dataclasses import replace

    from test_coefficients import KINDS, LAYOUTS, NETWORKS, draw, network_of

    from lgcodec.errors import ModelError
    from lgcodec.models.families.coefficients.on_native import NativeCoefficients

    random, end, tried, decoded = np.random.default_rng(time.time_ns()), time.monotonic() + seconds, 0, 0
    coders = [NativeCoefficients(network_of(*sizes)) for sizes in NETWORKS.values()]
    while time.monotonic() < end:
        coder, layout = coders[random.integers(len(coders))], list(LAYOUTS.values())[random.integers(len(LAYOUTS))]
        shapes, band = draw(KINDS[random.integers(len(KINDS))], layout, int(random.integers(1 << 32)))
        words, tried = coder.encode(shapes, band).words, tried + 1
        if random.random() < 0.3:
            words = words[: random.integers(0, len(words) + 1)]
        for at in random.integers(0, max(len(words), 1), random.integers(0, 3) if len(words) else 0):
            words[at] ^= np.uint32(1 << random.integers(32))
        if random.random() < 0.3:
            name = ("rows", "columns", "vertical", "horizontal")[random.integers(4)]
            shapes[0] = replace(shapes[0], **{name: int(random.integers(-1, 9))})
        try:
            coder.decode(shapes, words)
            decoded += 1
        except ModelError:
            continue
    print(f"{tried} bands, {decoded} of them decoded")  # noqa: T201
    if decoded == 0:
        raise SystemExit("the fuzzer decoded no band")


def fuzz_contexts(seconds: float) -> None:
    """Any bytes as the code of a tile by contexts, and the code of a tile, changed or not."""
    from lgcodec import contexts
    from lgcodec.models.machines.native import contexts as native

    random, end, tried, same = np.random.default_rng(time.time_ns()), time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        shape, tried = (*random.integers(1, 30, 2).tolist(), int(random.integers(1, 5))), tried + 1
        tile = (random.integers(0, random.integers(1, 9), shape) * 28).astype(np.uint8)
        kind = int(random.integers(contexts.PRIMED, contexts.SURE + 1))
        how = {"is_sure": kind == contexts.SURE}
        code = native.encode(contexts.given(kind), tile, int(random.integers(1, 2 * tile.size)), **how)
        data = bytearray(random.bytes(random.integers(0, 200)) if code is None else code)
        for at in random.integers(0, max(len(data), 1), random.integers(0, 3) if data else 0):
            data[at] = random.integers(256)
        shown, size = native.decode(contexts.given(kind), bytes(data), shape, **how)
        same += size == len(data) and np.array_equal(shown, tile)
    print(f"{tried} codes by contexts, {same} of them unchanged")  # noqa: T201
    if not same:
        raise SystemExit("the fuzzer had no code by contexts that is one")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--here", action="store_true", help="fuzz the library that is installed, without sanitizers")
    arguments = parser.parse_args()
    if arguments.here:
        fuzz(arguments.seconds)
        fuzz_jpegs(arguments.seconds)
        fuzz_coefficients(arguments.seconds)
        fuzz_contexts(arguments.seconds / 4)
        return
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "lgcodec"
        ignored = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(ROOT / "codec", package, ignore=ignored)
        for name in ("models", "cli"):
            shutil.copytree(ROOT / name, package / name, ignore=ignored)
        sys.path.insert(0, folder)
        from lgcodec.models.machines.native import build

        command = build.compiler() or ["cc"]
        build.compile_all(command, package / "models/machines/native", FLAGS, only=("avx2", "neon"))
        runtime = subprocess.run([*command, "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
        environment = os.environ | {
            "PYTHONPATH": folder,
            "LD_PRELOAD": runtime.stdout.strip(),
            "ASAN_OPTIONS": "detect_leaks=0",  # Python's own
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }
        tests = [str(path) for path in sorted((ROOT / "tests").glob("test_native*.py"))]
        tests += [str(ROOT / "tests" / name) for name in ("test_jpeg.py", "test_coefficients.py", "test_contexts.py")]
        fuzzers = [__file__, "--here", "--seconds", str(arguments.seconds)]
        for job in (["-m", "pytest", "-q", "-n", "2", *tests], fuzzers):
            subprocess.run([sys.executable, *job], check=True, env=environment, cwd=ROOT)


if __name__ == "__main__":
    main()
