"""What numba alone needs: the same words on other processors, and machine code that is never older than its source."""

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

pytest.importorskip("numba", reason="the fast extra (numba) is not installed")

from lgcodec.models.machines.numba import stack
from lgcodec.models.machines.numba.jit import _SOURCES, _stamp

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


def test_cached_machine_code_goes_stale_with_any_module(tmp_path: Path) -> None:
    (tmp_path / "called.py").write_text("a = 1")
    before = _stamp(tmp_path)
    assert _stamp(tmp_path) == before
    (tmp_path / "called.py").write_text("a = 12")
    assert _stamp(tmp_path) != before
    caches = [f._cache for f in (stack._push, stack._open)]
    assert all(cache._cache_file._source_stamp == _SOURCES for cache in caches)
