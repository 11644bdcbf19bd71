"""The command line's manners: what it leaves on the disk, says and removes, whatever comes in.

Images here have 16 bits, because those need no model and so take no time.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import kill
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from strategies import Cli

import lgcodec
from lgcodec import readers
from lgcodec.cli import files, formats, report
from lgcodec.codec import Codec
from lgcodec.image import Picture

PROGRAM = [sys.executable, "-c", "from lgcodec.cli.main import main; main()"]


def pixels(seed: int = 0, height: int = 20, width: int = 30) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, 1 << 16, (height, width), dtype=np.uint16)


def save(path: str | Path, seed: int = 0, **options: object) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed)).save(path, **options)  # type: ignore[arg-type]
    return Path(path)


def array(path: str | Path) -> NDArray[np.uint16]:
    return readers.read(path).array()


def names(folder: str | Path = ".") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


# -- permissions, times, removal --------------------------------------------------------------------------------------


def test_permissions_and_times_go_over(cli: Cli) -> None:
    path = save("private.png")
    path.chmod(0o600)
    os.utime(path, ns=(10**18, 10**18 + 5000))
    assert cli("compress", "-q", "private.png").exit_code == 0
    assert cli("decompress", "-q", "private.lgc", "-o", "back.png").exit_code == 0
    assert cli("compress", "-q", "private.png", "-o", "set.lgcs").exit_code == 0
    for made in ("private.lgc", "back.png"):
        assert Path(made).stat().st_mode & 0o777 == 0o600
        assert Path(made).stat().st_mtime_ns == 10**18 + 5000
    assert Path("set.lgcs").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_rm_needs_a_file_on_the_disk(cli: Cli, command: str) -> None:
    path = save("a.png")
    source = str(path) if command == "compress" else "a.lgc"
    if command == "decompress":
        cli("compress", "-q", "a.png")
    for output in ("/dev/null", "/dev/stdout"):
        result = cli(command, "-q", "--rm", source, "-o", output)
        assert result.exit_code == 1
        assert "--rm needs" in result.stderr
        assert Path(source).exists()


def test_what_changes_meanwhile_is_not_removed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    save("a.png")
    true = Codec.compress

    def slow(self: Codec, picture: Picture, **options: object) -> bytes:
        save("a.png", seed=1)
        os.utime("a.png", ns=(1, 1))
        return true(self, picture, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Codec, "compress", slow)
    result = cli("compress", "-q", "--rm", "a.png")
    assert result.exit_code == 1
    assert "changed meanwhile" in result.stderr
    assert Path("a.png").exists()


def test_outputs_are_on_the_disk_before_inputs_vanish(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    save("a.png")
    steps: list[str] = []
    monkeypatch.setattr(files, "synced", lambda path: steps.append(path.name))
    unlink = Path.unlink

    def recorded(path: Path, missing_ok: bool = False) -> None:
        if path.name == "a.png":
            steps.append("removed")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", recorded)
    assert cli("compress", "-q", "--rm", "a.png").exit_code == 0
    assert len(steps) == 3  # the file, its folder, and only then
    assert steps[-1] == "removed"


def test_rm_keeps_what_has_more_than_its_image(cli: Cli) -> None:
    path = save("a.png")
    path.write_bytes(path.read_bytes() + b"more")
    result = cli("compress", "-q", "--rm", "a.png")
    assert result.exit_code == 1
    assert "4 bytes after the PNG's end" in result.stderr
    assert path.exists()
    assert cli("compress", "-q", "-f", "a.png").exit_code == 0
    result = cli("decompress", "-q", "--rm", "-f", "a.lgc", "-o", "a.png")
    assert result.exit_code == 0
    cli("compress", "-q", "-f", "--strip", "--rm", "a.png")
    assert not path.exists()


ORPHAN = """
import os, sys
from lgcodec.cli.batch import Processes

if __name__ == "__main__":
    pool = Processes(2)
    sys.stdout.write(f"{pool._pool.submit(os.getpid).result()}\\n")
    sys.stdout.flush()
    os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_workers_end_with_the_process_that_they_work_for(tmp_path: Path) -> None:
    (tmp_path / "orphan.py").write_text(ORPHAN)
    run = subprocess.run([sys.executable, "orphan.py"], cwd=tmp_path, capture_output=True, check=False)
    worker = int(run.stdout)
    assert gone(worker), "it waits for ever"


def gone(process: int) -> bool:
    """Whether a process ends within a minute."""
    for _ in range(600):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{process}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":  # dead, but nobody asked
            return True
        time.sleep(0.1)
    return False


STAY = """
import os, sys, time
from lgcodec.cli import formats, main

def stay(*arguments, **options):
    sys.stdout.write("at work\\n")
    sys.stdout.flush()
    time.sleep(600)

formats.write = stay
sys.argv = ["lgcodec", "decompress", "a.lgc"]
main.main()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_leave_no_half_file(tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    (tmp_path / "a.lgc").write_bytes(lgcodec.compress(pixels()))
    with started(STAY, tmp_path, signal.SIG_DFL) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"at work\n"
        assert [part.endswith(".part") for part in names(tmp_path)] == [True, False]
        run.send_signal(number)
        _, errors = run.communicate()
    assert run.returncode == 128 + number
    assert b"Traceback" not in errors
    assert names(tmp_path) == ["a.lgc"]


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_what_runs_in_the_background_of_a_script_ignores_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "a.lgc").write_bytes(lgcodec.compress(pixels()))
    with started(STAY, tmp_path, signal.SIG_IGN) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"at work\n"
        run.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            run.wait(1)
        run.kill()


def started(script: str, folder: Path, ctrl_c: signal.Handlers) -> subprocess.Popen[bytes]:
    """A process that begins with this handler of Ctrl-C and the usual one of SIGHUP, whatever those here are."""

    def begin() -> None:
        signal.signal(signal.SIGINT, ctrl_c)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", script], cwd=folder, preexec_fn=begin, **pipes)


# -- streams and names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_streams_may_be_closed(tmp_path: Path, closed: str) -> None:
    save(tmp_path / "a.png")
    words = " ".join(f"'{word}'" for word in [*PROGRAM, "compress", "a.png", "-o", "a.lgc"])
    run = subprocess.run(["bash", "-c", f"{words} {closed}"], cwd=tmp_path, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    assert np.array_equal(lgcodec.decompress(tmp_path / "a.lgc"), pixels())
    assert names(tmp_path) == ["a.lgc", "a.png"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_under_a_stream_is_told(tmp_path: Path) -> None:
    """Of stdout it is an error; a log on stderr that cannot be written keeps no file from being done."""
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    (tmp_path / "c.lgc").write_bytes(lgcodec.compress(pixels()))
    words = " ".join(f"'{word}'" for word in PROGRAM)
    for command in ("compress -q -c a.png", "info c.lgc", "models", "--help"):
        run = subprocess.run(["bash", "-c", f"{words} {command} >/dev/full"], cwd=tmp_path, capture_output=True)
        assert run.returncode == 1, command
        assert run.stderr.endswith(b"No space left on device\n"), command
    run = subprocess.run(["bash", "-c", f"{words} compress none.png a.png b.png 2>/dev/full"], cwd=tmp_path)
    assert run.returncode == 1
    assert names(tmp_path) == ["a.lgc", "a.png", "b.lgc", "b.png", "c.lgc"]


@pytest.mark.skipif(os.name != "posix", reason="needs a shell's limits")
def test_what_cannot_be_written_is_named_as_asked_for(tmp_path: Path) -> None:
    """Not as the hidden file that it would have been; and nothing is left of it."""
    (tmp_path / "c.lgc").write_bytes(lgcodec.compress(pixels()))
    words = " ".join(f"'{word}'" for word in PROGRAM)
    script = f"ulimit -f 1; {words} decompress c.lgc -o back.bmp"
    run = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert run.stderr == "lgcodec: c.lgc: back.bmp: File too large\n"
    assert run.returncode == 1
    assert names(tmp_path) == ["c.lgc"]


def test_names_that_are_as_long_as_they_may_be(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250 + ".lgc")
    lgcodec.save(path, pixels())
    assert np.array_equal(lgcodec.decompress(path), pixels())
    assert names(tmp_path) == [path.name]


def test_dev_stdout_and_process_substitution(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    words = " ".join(f"'{word}'" for word in PROGRAM)
    script = f"{words} compress -q a.png -o /dev/stdout | cat > b.lgc; {words} compress -q a.png -o >(cat > c.lgc)"
    subprocess.run(["bash", "-c", f"{script}; wait; sleep 0.5"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "b.lgc").read_bytes() == (tmp_path / "c.lgc").read_bytes() == lgcodec.compress(pixels())


def test_names_may_be_long_and_strange(tmp_path: Path) -> None:
    long = "x" * 250 + ".png"
    for name in (long, "日本.png", "a\x1b[31mb.png"):
        save(tmp_path / "in.png").rename(tmp_path / name)
        run = subprocess.run(
            [*PROGRAM, "compress", name],
            cwd=tmp_path,
            env=os.environ | {"PYTHONIOENCODING": "cp1252"},
            capture_output=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert b"\x1b" not in run.stderr
        assert (tmp_path / name).with_suffix(".lgc").exists()


def test_names_that_no_set_takes_are_named_and_the_rest_is_done(cli: Cli) -> None:
    save("in/good.png")
    for name in ("bad\udcff.png", "co:lon.png"):
        save("in/one.png", 1).rename(Path("in") / name)
    result = cli("compress", "in", "-o", "in.lgcs")
    assert result.exit_code == 1
    assert result.stderr.count("cannot be a name in a set") == 2
    assert cli("decompress", "-q", "in.lgcs", "-o", "back").exit_code == 0
    assert names("back") == ["good.png"]


def test_several_inputs_do_not_become_one_file(cli: Cli) -> None:
    save("a.png")
    save("b.png", 1)
    result = cli("compress", "a.png", "b.png", "-o", "out.lgc")
    assert result.exit_code == 2 or result.exit_code == 1
    assert "one file" in result.stderr
    assert names() == ["a.png", "b.png"]


@pytest.mark.parametrize("command", ["compress -r --rm", "decompress -r --rm", "verify -r", "inspect", "preview"])
def test_an_empty_name_is_not_the_folder_that_one_is_in(cli: Cli, command: str) -> None:
    save("a.png")
    cli("compress", "-q", "a.png", "-o", "b.lgc")
    result = cli(*command.split(), "")
    assert result.exit_code == 1
    assert "'': No such file or directory" in result.stderr
    assert names() == ["a.png", "b.lgc"]
    assert "names no file" in cli("compress", "a.png", "-o", "").stderr


def test_the_wrong_direction_is_said(cli: Cli) -> None:
    save("a.png")
    cli("compress", "-q", "a.png")
    assert "lgcodec file already" in cli("compress", "-f", "a.lgc").stderr
    assert "lgcodec file already" in cli("compress", "a.lgc", "-o", "b.lgc").stderr
    assert "compress makes" in cli("decompress", "a.png").stderr


# -- before the work --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["no/such/x.lgc", "no/such/x.lgcs"])
def test_a_missing_folder_is_found_before_the_work(cli: Cli, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    save("a.png")
    monkeypatch.setattr(Codec, "compress", lambda *_, **__: pytest.fail("too late"))
    monkeypatch.setattr(Codec, "compress_set", lambda *_, **__: pytest.fail("too late"))
    result = cli("compress", "a.png", "-o", output)
    assert result.exit_code == 1
    assert "no folder no/such" in result.stderr
    assert "part" not in result.stderr


def test_an_existing_set_is_found_before_the_work(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    save("a.png")
    Path("a.lgcs").write_bytes(b"mine")
    monkeypatch.setattr(Codec, "compress_set", lambda *_, **__: pytest.fail("too late"))
    result = cli("compress", "a.png", "-o", "a.lgcs")
    assert result.exit_code == 1
    assert "exists" in result.stderr


@pytest.mark.parametrize("words", ["compress a.png", "compress a.png -o a.lgcs", "bench . --csv x.csv"])
def test_a_locked_folder_is_found_before_the_work(cli: Cli, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    save("a.png")
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    monkeypatch.setattr(Codec, "compress", lambda *_, **__: pytest.fail("too late"))
    monkeypatch.setattr(Codec, "compress_set", lambda *_, **__: pytest.fail("too late"))
    result = cli(*words.split())
    assert result.exit_code == 1
    assert "Permission denied" in result.stderr


def test_outputs_of_bench_are_checked_before_the_work(cli: Cli) -> None:
    save("a.png")
    result = cli("bench", ".", "--codecs", "png", "--models", "", "--csv", "no/such/x.csv")
    assert result.exit_code == 1
    assert "no folder no/such" in result.stderr
    assert not result.stdout


# -- batches ----------------------------------------------------------------------------------------------------------


def test_a_folder_with_bad_files_is_done_but_for_these(cli: Cli) -> None:
    for i in range(12):
        save(f"in/{i:02}.png", i)
    for i in (3, 7):
        Path(f"in/{i:02}.png").write_bytes(Path(f"in/{i:02}.png").read_bytes()[:80])
    Path("in/bad.tif").write_bytes(b"II*\0" + bytes(30))
    result = cli("compress", "-q", "-r", "in", "-o", "out")
    assert result.exit_code == 1
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == ["in/03.png", "in/07.png", "in/bad.tif"]
    assert len(names("out")) == 10
    made = {path: path.stat().st_mtime_ns for path in Path("out").iterdir()}
    for path in ("in/03.png", "in/07.png", "in/bad.tif"):
        Path(path).unlink()
    result = cli("compress", "-q", "-r", "in", "-o", "out", "--skip-existing")
    assert result.exit_code == 0
    assert "10 of 10 skipped" in result.stderr
    assert made == {path: path.stat().st_mtime_ns for path in Path("out").iterdir()}


def test_a_fault_of_ours_ends_no_batch(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    save("a.png")
    save("b.png", 1)
    true = Codec.compress

    def faulty(self: Codec, picture: Picture, **options: object) -> bytes:
        if np.array_equal(picture.array(), pixels()):
            raise ZeroDivisionError("by zero")
        return true(self, picture, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Codec, "compress", faulty)
    result = cli("compress", "-q", "a.png", "b.png")
    assert result.exit_code == 1
    assert "a.png: ZeroDivisionError: by zero" in result.stderr
    assert Path("b.lgc").exists()


def test_what_is_passed_over_is_said(cli: Cli) -> None:
    Path("jpegs").mkdir()
    Image.new("P", (4, 4)).save("jpegs/a.gif")
    result = cli("compress", "-r", "jpegs")
    assert result.exit_code == 1
    assert "nothing to do" in result.stderr
    assert "1 .gif" in result.stderr
    Path("empty").mkdir()
    assert cli("compress", "-r", "empty").exit_code == 1
    save("jpegs/b.png")
    result = cli("compress", "-q", "-r", "jpegs")
    assert result.exit_code == 0
    assert "passed over 1 files" in result.stderr


def test_a_folder_that_cannot_be_read_is_said(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(_: Path, onerror: Callable[[OSError], None]) -> list[object]:
        onerror(PermissionError(13, "Permission denied", "in"))
        return []

    Path("in").mkdir()
    monkeypatch.setattr(os, "walk", walk)
    result = cli("compress", "-r", "in")
    assert result.exit_code == 1
    assert "Permission denied" in result.stderr


def test_warnings_of_libraries_are_one_line(cli: Cli) -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(
        file, "JPEG", quality=100, subsampling=0, exif=b"Exif\0\0II*\0\x08\0\0\0\x0f\0"
    )
    Path("a.jpg").write_bytes(file.getvalue())
    options = ["--strip", "--pixels", "--allow-larger", "-q"]
    run = subprocess.run([*PROGRAM, "compress", *options, "a.jpg"], capture_output=True)
    assert run.returncode == 0
    assert all(line.startswith(b"lgcodec: a.jpg: note: ") for line in run.stderr.splitlines())


# -- what grows -------------------------------------------------------------------------------------------------------


def lossy(path: str) -> Path:
    y, x = np.mgrid[:64, :64]
    photo = np.stack([x * 2 + y, y * 3, 255 - x], axis=2) + np.random.default_rng(0).normal(0, 9, (64, 64, 3))
    Image.fromarray(np.clip(photo, 0, 255).astype(np.uint8)).save(path, quality=40)
    return Path(path)


def test_pixels_of_a_jpeg_that_would_grow_are_refused_by_default(cli: Cli) -> None:
    path, pixels = lossy("a.jpg"), ("--pixels", "--origin", "none")
    result = cli("compress", *pixels, "--rm", "a.jpg")
    assert result.exit_code == 1
    assert f"{path.stat().st_size:,} to " in result.stderr
    assert "--allow-larger" in result.stderr
    assert names() == ["a.jpg"]
    assert cli("compress", "-q", *pixels, "--allow-larger", "a.jpg").exit_code == 0
    save("in/b.png")
    path.rename("in/a.jpg")
    result = cli("compress", "-q", *pixels, "in/a.jpg", "in/b.png", "-o", "s.lgcs", "--rm")
    assert result.exit_code == 1
    assert "in/a.jpg: would grow" in result.stderr
    assert names("in") == ["a.jpg"]
    cli("decompress", "-q", "s.lgcs", "-o", "back")
    assert names("back") == ["b.png"]


# -- sets -------------------------------------------------------------------------------------------------------------


def test_what_a_set_packs_it_restores(cli: Cli) -> None:
    random = np.random.default_rng(1)
    image = Image.fromarray(random.integers(0, 255, (8, 9, 4)).astype(np.uint8))
    Path("in").mkdir()
    save("in/a.jpg.png")
    lossy("in/a.jpg")
    image.convert("RGB").save("in/plain.bmp")
    header = b"BM" + (122 + 8 * 9 * 4).to_bytes(4, "little") + bytes(4) + (122).to_bytes(4, "little")
    fields = [108, 9, 8, 1 | 32 << 16, 3, 0, 2835, 2835, 0, 0, 0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000]
    head = b"".join((value & 0xFFFFFFFF).to_bytes(4, "little") for value in fields)
    body = np.asarray(image)[::-1, :, [2, 1, 0, 3]].tobytes()
    Path("in/alpha.bmp").write_bytes(header + head.ljust(108, b"\0") + body)
    image.save("in/meta.webp", lossless=True, exact=True, icc_profile=b"profile" * 9)
    before = {path.name: readers.read(path).image() for path in Path("in").iterdir() if path.name != "a.jpg.png"}
    assert cli("compress", "-q", "--allow-larger", "--rm", "in", "-o", "s.lgcs").exit_code == 0
    assert names("in") == []
    assert cli("decompress", "-q", "--rm", "s.lgcs", "-o", "back").exit_code == 0
    assert not Path("s.lgcs").exists()
    assert names("back") == ["a.jpg", "a.jpg.png", "alpha.bmp.png", "meta.webp", "plain.bmp"]
    assert np.array_equal(array("back/a.jpg.png"), pixels())
    for name, now in (("a.jpg", "a.jpg"), ("alpha.bmp", "alpha.bmp.png"), ("meta.webp", "meta.webp")):
        assert readers.read(f"back/{now}").image().tobytes() == before[name].tobytes()
    assert readers.read("back/meta.webp").image().info["icc_profile"] == b"profile" * 9


def test_a_set_is_restored_whole_or_not_at_all(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        save(f"in/{name}.png")
    cli("compress", "-q", "in", "-o", "s.lgcs")
    true, calls = formats.write, []

    def full(*arguments: object, **options: object) -> tuple[str, ...]:
        calls.append(1)
        if len(calls) > 2:
            raise OSError(28, "No space left on device")
        return true(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(formats, "write", full)
    assert cli("decompress", "-q", "--rm", "s.lgcs", "-o", "back").exit_code == 1
    assert names("back") == []
    assert Path("s.lgcs").exists()


# -- metadata out -----------------------------------------------------------------------------------------------------


def described(path: str) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "what it shows"
    image = Image.fromarray(np.arange(3 * 8 * 9).reshape(8, 9, 3).astype(np.uint8))
    image.save(path, exif=exif, icc_profile=b"profile" * 9, dpi=(300, 300))
    return Path(path)


@pytest.mark.parametrize("suffix", ["webp", "tif", "bmp", "ppm", "tga", "png"])
def test_metadata_are_written_or_named(cli: Cli, suffix: str) -> None:
    described("a.png")
    cli("compress", "-q", "a.png")
    result = cli("decompress", "-q", "a.lgc", "-o", f"b.{suffix}")
    assert result.exit_code == 0
    with Image.open(f"b.{suffix}") as image:
        kept = {"icc": "icc_profile" in image.info, "orientation": image.getexif().get(0x0112) == 6}
    if suffix in ("webp", "tif", "png"):
        assert kept == {"icc": True, "orientation": True}
    else:
        assert kept == {"icc": False, "orientation": False}
        for word in ("iCCP", "eXIf", "orientation"):
            assert word in result.stderr
        result = cli("decompress", "-q", "--rm", "-f", "a.lgc", "-o", f"b.{suffix}")
        assert result.exit_code == 1
        assert Path("a.lgc").exists()
    if suffix == "png":
        assert result.stderr == ""
    assert cli("decompress", "-q", "--strip", "-f", "a.lgc", "-o", f"b.{suffix}").stderr == ""


def test_anymaps_are_read_as_they_are_written(cli: Cli) -> None:
    save("a.png")
    cli("compress", "-q", "a.png")
    cli("decompress", "-q", "a.lgc", "-o", "b.pgm")
    assert cli("compress", "-q", "b.pgm").exit_code == 0
    assert np.array_equal(lgcodec.decompress("b.lgc"), pixels())
    values = pixels() % 4096
    Path("c.pgm").write_bytes(b"P5\n30 20\n4095\n" + values.astype(">u2").tobytes())
    cli("compress", "-q", "c.pgm")
    cli("decompress", "-q", "c.lgc", "-o", "d.pgm")
    assert Path("c.pgm").read_bytes() == Path("d.pgm").read_bytes()


@pytest.mark.parametrize("suffix", ["png", "tif", "ppm"])
def test_sixteen_bit_colour_comes_back(cli: Cli, suffix: str) -> None:
    values = np.random.default_rng(0).integers(0, 1 << 16, (8, 9, 3)).astype(np.uint16)
    Path("a.ppm").write_bytes(b"P6 9 8 65535\n" + values.astype(">u2").tobytes())
    assert cli("compress", "-q", "--rm", "a.ppm").exit_code == 0
    assert "RGB;16" in cli("info", "a.lgc").output
    assert cli("decompress", "-q", "--rm", "a.lgc", "-o", f"b.{suffix}").exit_code == 0
    assert np.array_equal(array(f"b.{suffix}"), values)


# -- what was missing -------------------------------------------------------------------------------------------------


def test_max_pixels(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # put back afterwards
    save("a.png")
    for command in (["compress", "a.png"], ["verify", "b.lgc"], ["decompress", "b.lgc", "-o", "c.png"]):
        Path("b.lgc").write_bytes(lgcodec.compress(pixels()))
        result = cli(*command, "--max-pixels", "599")
        assert result.exit_code == 1
        assert "limit" in result.stderr
    assert cli("compress", "-q", "a.png", "--max-pixels", "600").exit_code == 0


def test_verify_walks_folders_and_info_takes_several(cli: Cli) -> None:
    save("in/a.png")
    save("in/b.png", 1)
    cli("compress", "-q", "-r", "in")
    cli("compress", "-q", "in/a.png", "-o", "in/s.lgcs")
    assert cli("verify", "-r", "in").output.count("OK") == 3
    assert cli("info", "in/a.lgc", "in/b.lgc").output.count("transform") == 2
    assert cli("info", "--json", "in/a.lgc", "in/b.lgc").output.count('"width"') == 2


# -- killed -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX's")
def test_killed_at_any_moment_nothing_is_lost(tmp_path: Path) -> None:
    """tests/kill.py does this 200 times."""
    for i, moment in enumerate(np.random.default_rng(5).uniform(0, 0.15, 6)):
        kill.kill_once(tmp_path / str(i), float(moment), ("compress", "decompress")[i % 2])


def test_messages_move_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    report.complain("a\x1b]0;title\x07b\nc", "n\x1bame")
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\x07" not in said
    assert len(said.splitlines()) == 1
