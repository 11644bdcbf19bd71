"""The same words on other processors: the compiled program for a plain x86-64, without AVX or fused multiply-add."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lgcodec.coding import coder
from lgcodec.models import registry

pytest.importorskip("numba", reason="numba is not installed")
CODE = """
import sys
import numpy as np
from lgcodec.models import registry
folder, tile = sys.argv[1], np.load(f"{sys.argv[1]}/tile.npy")
for name in sys.argv[2:]:
    stream, = registry.load(name, machine="numba", threads=1).coding.fast.encode([tile], b"")
    np.save(f"{folder}/{name}.npy", stream.words)
"""
MODELS = ("default", "best")  # one program: the second learns


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names an x86-64 processor")
@pytest.mark.parametrize(("processor", "features"), [("generic", ""), ("haswell", "+avx2,+fma")])
def test_another_instruction_set_gives_the_same_words(processor: str, features: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    tile = np.cumsum(rng.integers(-9, 10, (3, 20, 31)), axis=2).clip(-255, 255).astype(np.int16)
    tile[0] = tile[0].clip(0, 255)
    np.save(tmp_path / "tile.npy", tile)
    environment = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", CODE, str(tmp_path), *MODELS], check=True, env=os.environ | environment)
    for name in MODELS:
        (stream,) = coder.encode(registry.load(name, machine="numpy"), [tile])
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), stream.words)
