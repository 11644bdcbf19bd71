"""Many files at once, by real processes and a real cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from lgcodec import Codec, decompress
from lgcodec.cli import batch, files
from lgcodec.cli.files import Outputs, Walk
from lgcodec.cli.main import program

CODEC = Codec(effort=1, threads=1)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Two hundred solid pictures, which need no model, in two folders, and two that are none."""
    for i in range(200):
        path = tmp_path / "album" / ("sub" if i % 2 else "") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9 + i % 5, 7), (i, 255 - i, 3)).save(path)
    return tmp_path / "album"


def compressed(album: Path, out: Path, pool: Any) -> int:
    """Compresses an album by a pool."""
    given = {"stdout": False, "force": False, "remove": False, "recursive": True}
    outputs = Outputs(inputs=(str(album),), output=f"{out}/", **given)
    sources = list(Walk(outputs.inputs, True, files.IMAGES, lambda error, name: None).sources())

    def settle(result: batch.Result) -> None:
        with outputs.writing(result.target, result.state) as file:
            file.write(result.data)

    targets = dict(outputs.targets(sources, lambda _: files.PACKED))
    return batch.compress(batch.Work(CODEC, False), targets, outputs, pool, settle, quiet=True, verbose=False)


def check(album: Path, out: Path) -> None:
    """Every picture is there, byte for byte as one process writes it."""
    pictures = sorted(album.rglob("*.png"))
    assert len(pictures) == len(list(out.rglob("*"))) - len([p for p in out.rglob("*") if p.is_dir()])
    for path in pictures:
        assert (out / path.relative_to(album).with_suffix(".lgc")).read_bytes() == CODEC.compress(path)


def call(*arguments: Any, text: str | None = None) -> tuple[int, str]:
    run = CliRunner().invoke(program, ["compress", "--effort", "1", *map(str, arguments)], input=text)
    return int(run.exit_code or run.return_value or 0) if hasattr(run, "return_value") else run.exit_code, run.output


def test_processes_share_a_folder_and_go_on_where_they_were(album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (album / "broken.png").write_bytes(b"\x89PNG nothing")
    code, said = call("-r", album, "-o", out, "-j", 2)
    assert code == 1
    assert "broken.png: not an image file" in said
    assert said.splitlines()[-1].startswith("200 images, ")
    assert said.endswith(" MP/s, 1 failed\n")
    (album / "broken.png").unlink()
    check(album, out)
    (out / "4.lgc").unlink()
    code, said = call("-r", album, "-o", out, "-j", 2, "--skip-existing")
    assert (code, said.split(",")[0], said.strip().split(", ")[-1]) == (0, "1 images", "199 skipped")
    code, said = call("-r", album, "-o", out, "-j", 2)
    assert code == 1
    assert "exists (use -f to replace it)" in said
    check(album, out)


def test_one_process_passes_over_what_exists(album: Path, tmp_path: Path) -> None:
    one, two = album / "0.png", album / "2.png"
    CODEC.compress(one)
    (album / "0.lgc").write_bytes(b"kept")
    code, _ = call(one, two, "--skip-existing")
    assert code == 0
    assert (album / "0.lgc").read_bytes() == b"kept"
    assert np.array_equal(decompress(album / "2.lgc"), np.asarray(Image.open(two)))


def test_names_come_from_a_list(album: Path, tmp_path: Path) -> None:
    names = f"{album / '0.png'}\n{album / '2.png'}\n"
    assert call("--files-from", "-", "-o", tmp_path / "a", text=names)[0] == 0
    (tmp_path / "list").write_text(names)
    assert call("--files-from", tmp_path / "list", "-o", tmp_path / "b", album / "4.png")[0] == 0
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"0.lgc", "2.lgc"}
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"0.lgc", "2.lgc", "4.lgc"}
    assert call()[0] != 0


def test_two_inputs_never_share_an_output(album: Path, tmp_path: Path) -> None:
    (album / "sub" / "0.png").write_bytes((album / "2.png").read_bytes())
    code, said = call(album / "0.png", album / "sub" / "0.png", "-o", tmp_path / "out/", "-j", 2)
    assert code == 1
    assert "already holds the result of another input" in said
    assert decompress(tmp_path / "out" / "0.png.lgc")[0, 0].tolist() == [0, 255, 3]


class Killing:
    """A pool that kills one of its workers after so many results."""

    def __init__(self, pool: Any, after: int, kill: Any) -> None:
        self.size, self.dead, self.submit = pool.size, pool.dead, pool.submit
        self._pool, self._left, self._kill = pool, after, kill

    def first(self, futures: Iterable[Any]) -> Iterable[Any]:
        done = list(self._pool.first(futures))
        self._left -= len(done)
        if self._left <= 0 and self._kill is not None:
            self._kill()
            self._kill = None
        return done


def test_a_process_that_is_killed_loses_no_file(album: Path, tmp_path: Path) -> None:
    with batch.pool_of(2, None) as pool:
        assert isinstance(pool, batch.Processes)

        def kill() -> None:
            os.kill(next(iter(pool._pool._processes)), signal.SIGKILL)

        out = tmp_path / "out"
        assert compressed(album, out, Killing(pool, 50, kill)) == 0
    check(album, out)


def read_until(log: Path, words: str) -> str:
    """The line of a process's log that has these words."""
    for _ in range(600):
        for line in log.read_text().splitlines():
            if words in line:
                return line
        time.sleep(0.1)
    raise AssertionError(f"no line with {words!r}: {log.read_text()}")


@pytest.fixture
def cluster(installed: dict[str, str], tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The address of a scheduler, and its two workers, each a process."""
    pytest.importorskip("distributed", reason="the place needs dask.distributed")
    running: list[subprocess.Popen[bytes]] = []
    logs = [tmp_path / f"log{i}" for i in range(3)]

    def start(kind: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments, "--no-dashboard"]
        with logs[len(running)].open("wb") as log:
            running.append(subprocess.Popen(command, stdout=log, stderr=log, env=installed, cwd=tmp_path))

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", "0")
        address = "tcp://" + read_until(logs[0], "Scheduler at").split("tcp://")[1].strip()
        for _ in range(2):
            start("worker", address, "--nthreads", "1", "--no-nanny")
        for log in logs[1:]:
            read_until(log, "Registered to")
        yield address, running[1:]
    finally:
        for process in reversed(running):
            process.kill()
            process.wait()


def test_a_worker_of_a_cluster_that_is_killed_loses_no_file(
    album: Path, tmp_path: Path, cluster: tuple[str, list[subprocess.Popen[bytes]]]
) -> None:
    address, workers = cluster
    out = tmp_path / "out"
    with batch.pool_of(1, address) as pool:
        assert pool.size == 2
        killing = Killing(pool, 60, workers[0].kill)
        assert compressed(album, out, killing) == 0
    assert workers[0].poll() is not None
    check(album, out)
    (out / "4.lgc").unlink()
    code, said = call("-r", album, "-o", out, "--skip-existing", "--scheduler", address)
    assert (code, said.split(",")[0]) == (0, "1 images")


def test_no_scheduler_is_a_clear_error(album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lgcodec.cli.batch.PATIENCE", 1)
    pytest.importorskip("distributed", reason="the place needs dask.distributed")
    start = time.perf_counter()
    code, said = call("-r", album, "-o", tmp_path / "out", "--scheduler", "tcp://127.0.0.1:9")
    assert code == 1
    assert "127.0.0.1:9" in said
    assert time.perf_counter() - start < 30
