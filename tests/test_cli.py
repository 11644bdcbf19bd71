"""The command line: names, outputs, errors and exit codes, mostly in this process, the rest as a user's shell runs it.

Most images here have 16 bits, because those need no model and so take no time.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray
from PIL import Image
from strategies import Cli

import lgcodec
from lgcodec.cli import files, report
from lgcodec.models.families import FAMILIES

PROGRAM = [sys.executable, "-c", "from lgcodec.cli.main import main; main()"]


def pixels(seed: int = 0, height: int = 9, width: int = 13) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, 1 << 16, (height, width), dtype=np.uint16)


def photo(height: int = 40, width: int = 50) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).normal(0, 3, (height, width, 3))
    smooth = np.stack([x + y, 2 * x, 255 - x - y], axis=2)
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """img.png, in the folder that `cli` runs in."""
    path = tmp_path / "img.png"
    Image.fromarray(pixels()).save(path)
    return path


def shell(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def array(path: Path) -> NDArray[np.uint16]:
    with Image.open(path) as image:
        return np.asarray(image)


def failed(result: Result, *words: str) -> bool:
    """Whether the command ended with code 1 and one line of error that has all the words."""
    lines = result.stderr.splitlines()
    return (
        result.exit_code == 1
        and len(lines) == 1
        and lines[0].startswith("lgcodec: ")
        and all(w in lines[0] for w in words)
    )


def test_compress_and_decompress_beside_the_input(cli: Cli, image: Path) -> None:
    before = image.read_bytes()
    assert cli("compress", "img.png").exit_code == 0
    assert image.read_bytes() == before
    image.unlink()
    assert cli("decompress", "img.lgc").exit_code == 0
    np.testing.assert_array_equal(array(image), pixels())


def test_a_photograph_through_the_default_model(cli: Cli, tmp_path: Path) -> None:
    Image.fromarray(photo()).save("photo.png")
    assert cli("compress", "photo.png", "-v").exit_code == 0
    assert "id" in cli("info", "photo.lgc").output
    assert cli("verify", "photo.lgc", "-v").exit_code == 0
    assert cli("decompress", "photo.lgc", "-o", "back.webp").exit_code == 0
    np.testing.assert_array_equal(array(tmp_path / "back.webp"), photo())


def test_commands_end_without_taking_python_apart() -> None:
    """Which takes time, and where torch trained in several processes ended one in fourteen of them by a signal."""
    code = """
        import atexit, sys
        from lgcodec.cli.main import main

        atexit.register(print, "apart")
        sys.argv = ["lgcodec", "models"]
        main()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=True, text=True)
    assert "default" in done.stdout
    assert "apart" not in done.stdout


def test_the_line_about_a_file(cli: Cli, image: Path) -> None:
    result = cli("compress", "img.png")
    raw, packed = image.stat().st_size, image.with_suffix(".lgc").stat().st_size
    assert result.stdout == ""
    for part in ("img.png -> img.lgc", "13x9", "117 pixels", f"{raw:,} -> {packed:,} bytes", f"{packed / raw:.1%}"):
        assert part in result.stderr
    assert f"{8 * packed / 117:.3f} bpsp" in result.stderr
    assert "MP/s" in result.stderr


def test_quiet_says_nothing_and_verbose_says_more(cli: Cli, image: Path) -> None:
    assert cli("compress", "-q", "img.png").stderr == ""
    assert "transform" in cli("compress", "-f", "-v", "img.png").stderr


def test_output_to_a_named_file(cli: Cli, image: Path, tmp_path: Path) -> None:
    assert cli("compress", "img.png", "-o", "other.bin").exit_code == 0
    assert cli("decompress", "other.bin", "-o", "back.png").exit_code == 0
    np.testing.assert_array_equal(array(tmp_path / "back.png"), pixels())


@pytest.mark.parametrize("suffix", ["webp", "tiff", "bmp", "ppm", "tga"])
def test_output_in_other_formats(cli: Cli, tmp_path: Path, suffix: str) -> None:
    flat = Image.fromarray(photo()).quantize(2).convert("P")
    flat.save("img.png")
    assert cli("compress", "img.png").exit_code == 0
    assert cli("decompress", "img.lgc", "-o", f"back.{suffix}").exit_code == 0
    back = Image.open(tmp_path / f"back.{suffix}")
    assert back.convert("RGB").tobytes() == flat.convert("RGB").tobytes()


def test_deep_samples_go_to_tiff_and_back(cli: Cli, tmp_path: Path) -> None:
    deep = np.stack([pixels(), pixels(1)], axis=2)
    Path("img.lgc").write_bytes(lgcodec.compress(deep))
    assert cli("decompress", "img.lgc", "-o", "back.tif", "-q").exit_code == 0
    assert cli("compress", "back.tif", "-q").exit_code == 0
    assert np.array_equal(lgcodec.decompress(Path("back.lgc").read_bytes()), deep)
    assert failed(cli("decompress", "img.lgc", "-o", "back.webp"), "img.lgc", "only PNG, TIFF")


def test_formats_that_would_change_pixels_are_refused(cli: Cli, image: Path, tmp_path: Path) -> None:
    cli("compress", "img.png")
    assert failed(cli("decompress", "img.lgc", "-o", "img.jpg"), "img.lgc", ".jpg")
    assert failed(cli("decompress", "img.lgc", "-o", "img.webp"), "img.lgc", ".webp", "I;16")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["img.lgc", "img.png"]


def test_stdin_and_stdout(cli: Cli, image: Path) -> None:
    packed = cli("compress", "-", stdin=image.read_bytes())
    assert packed.exit_code == 0
    assert packed.stdout_bytes == cli("compress", "-c", "img.png").stdout_bytes
    back = cli("decompress", "-", "-o", "-", stdin=packed.stdout_bytes)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(back.stdout_bytes))), pixels())
    assert cli("compress", "-", "-o", "img.lgc", stdin=image.read_bytes()).exit_code == 0
    assert image.with_suffix(".lgc").read_bytes() == packed.stdout_bytes


def test_several_inputs_into_a_folder(cli: Cli, image: Path, tmp_path: Path) -> None:
    Image.fromarray(pixels(1)).save("two.png")
    assert cli("compress", "img.png", "two.png", "-o", "packed").exit_code == 0
    assert cli("decompress", "packed/img.lgc", "packed/two.lgc", "-o", "back/").exit_code == 0
    np.testing.assert_array_equal(array(tmp_path / "back" / "two.png"), pixels(1))


def test_recursion_keeps_the_folders(cli: Cli, image: Path, tmp_path: Path) -> None:
    inner = tmp_path / "tree" / "inner"
    inner.mkdir(parents=True)
    image.rename(inner / "img.png")
    (inner / "notes.txt").write_text("not an image")
    assert failed(cli("compress", "tree"), "tree", "-r")
    assert cli("compress", "-r", "tree", "-o", "packed").exit_code == 0
    assert cli("decompress", "-r", "packed").exit_code == 0
    np.testing.assert_array_equal(array(tmp_path / "packed" / "inner" / "img.png"), pixels())


def test_nothing_is_overwritten_without_force(cli: Cli, image: Path) -> None:
    packed = image.with_suffix(".lgc")
    packed.write_text("mine")
    assert failed(cli("compress", "img.png"), "img.lgc exists", "-f")
    assert packed.read_text() == "mine"
    assert cli("compress", "-f", "img.png").exit_code == 0
    assert failed(cli("decompress", "img.lgc"), "img.png exists", "-f")


def test_two_inputs_never_share_an_output(cli: Cli, image: Path) -> None:
    Image.fromarray(pixels(1)).save("img.tif")
    assert cli("compress", "-q", "img.png", "img.tif").exit_code == 0  # what differs in the suffix alone keeps it
    assert sorted(path.name for path in Path().glob("*.lgc")) == ["img.png.lgc", "img.tif.lgc"]
    result = cli("compress", "-f", "-q", "--rm", "img.png", "./img.png", "-o", "out.lgcs")
    assert "two inputs are called img.png" in result.stderr


def test_the_input_is_not_the_output(cli: Cli, image: Path) -> None:
    before = image.read_bytes()
    assert failed(cli("compress", "-f", "img.png", "-o", "./img.png"), "replace the input")
    assert image.read_bytes() == before


def test_rm_removes_the_input_once_the_output_is_there(cli: Cli, image: Path) -> None:
    packed = image.with_suffix(".lgc")
    assert cli("compress", "--rm", "img.png").exit_code == 0
    assert packed.exists()
    assert not image.exists()
    assert cli("decompress", "--rm", "img.lgc").exit_code == 0
    assert image.exists()
    assert not packed.exists()


def test_rm_keeps_the_input_of_what_failed(cli: Cli, image: Path) -> None:
    data = lgcodec.compress(image)
    damaged = image.with_suffix(".lgc")
    damaged.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    image.unlink()
    assert failed(cli("decompress", "--rm", "img.lgc"), "img.lgc", "checksum")
    assert damaged.exists()
    assert not image.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_no_half_file_stays(cli: Cli, image: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def full(*_: object) -> int:
        raise error

    monkeypatch.setattr(files, "size_of", full)  # the last thing that decompress does before the file appears
    packed = lgcodec.compress(image)
    image.rename(image.with_name("in.png"))
    image.with_suffix(".lgc").write_bytes(packed)
    assert cli("decompress", "img.lgc").exit_code in (1, 130)
    assert sorted(p.name for p in image.parent.iterdir()) == ["img.lgc", "in.png"]


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with files.appearing(pipe, force=False) as file:
        file.write(b"data")
    assert os.read(reader, 10) == b"data"
    os.close(reader)
    assert pipe.is_fifo()


def test_errors_are_one_line_and_the_other_files_are_done(cli: Cli, image: Path) -> None:
    Path("bad.png").write_bytes(b"not an image\n")
    assert failed(cli("compress", "-q", "missing.png", "img.png"), "missing.png", "No such file")
    assert image.with_suffix(".lgc").exists()
    assert failed(cli("compress", "-q", "bad.png"), "bad.png")
    assert failed(cli("decompress", "-q", "img.png", "-o", "x.png"), "img.png", "not an lgcodec file")


@pytest.mark.parametrize(
    "arguments",
    [
        ["compress"],
        ["unknown"],
        ["compress", "img.png", "--effort", "10"],
        ["compress", "-c", "-o", "x.lgc", "img.png"],
        ["compress", "-c", "img.png", "img.png"],
        ["compress", "--rm", "-"],
        ["compress", "--rm", "-c", "img.png"],
        ["compress", "--rm", "--no-verify", "img.png"],
        ["compress", "-", "-", "-o", "out"],
        ["bench", "nowhere"],
    ],
    ids=" ".join,
)
def test_usage_errors_are_one_line_too(cli: Cli, image: Path, arguments: list[str]) -> None:
    assert failed(cli(*arguments))
    assert [p.name for p in image.parent.iterdir()] == ["img.png"]


def test_a_name_that_looks_like_an_option(cli: Cli, image: Path) -> None:
    image.rename("-img.png")
    assert failed(cli("compress", "-img.png"), "go behind --")
    assert cli("compress", "-q", "--", "-img.png").exit_code == 0
    assert failed(cli("compress", "-nothing.png"), "--help")


def test_an_image_beyond_the_limit_says_which_option_raises_it(
    cli: Cli, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # so that it is what it was afterwards
    Path("img.pgm").write_bytes(b"P5 13 9 255 " + bytes(117))
    assert cli("compress", "img.png", "-q").exit_code == 0
    for command in ("compress img.png", "compress img.pgm", "decompress img.lgc"):
        result = cli(*command.split(), "-o", "x.png", "--max-pixels", "9")
        assert failed(result, " pixels, more than the limit of", "--max-pixels")


def test_an_unknown_model_is_named(cli: Cli, tmp_path: Path) -> None:
    Image.fromarray(photo()).save("img.png")
    assert failed(cli("compress", "img.png", "--model", "nonesuch"), "nonesuch")


def test_help_version_and_no_command(cli: Cli) -> None:
    assert cli("--version").output == f"lgcodec {lgcodec.__version__}\n"
    for arguments in ([], ["--help"], ["-h"], ["compress", "--help"], ["bench", "--help"]):
        result = cli(*arguments)
        assert result.exit_code == 0
        assert result.output.startswith("Usage: ")


def test_info(cli: Cli, image: Path) -> None:
    cli("compress", "img.png")
    text = cli("info", "img.lgc")
    assert text.exit_code == 0
    assert "13x9 I;16" in text.stdout
    found = json.loads(cli("info", "--json", "img.lgc").stdout)
    assert (found["width"], found["height"], found["mode"]) == (13, 9, "I;16")
    assert found["file_bytes"] == image.with_suffix(".lgc").stat().st_size
    assert failed(cli("info", "img.png"), "img.png", "not an lgcodec file")


def test_verify(cli: Cli, image: Path) -> None:
    cli("compress", "img.png")
    good = image.with_suffix(".lgc")
    assert "img.lgc: OK" in cli("verify", "img.lgc").stdout
    good.write_bytes(good.read_bytes()[:-3])
    result = cli("verify", "img.lgc", "missing.lgc")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 2


def test_models(cli: Cli) -> None:
    assert "default" in cli("models").stdout
    listed = json.loads(cli("models", "--json").stdout)
    assert "default" in {record["name"] for record in listed}


def test_a_package_is_a_command(cli: Cli) -> None:
    """`python -m lgcodec` is `lgcodec`, and `lgcodec train` has a command for each family."""
    asked = subprocess.run([sys.executable, "-m", "lgcodec", "--version"], capture_output=True, check=True, text=True)
    assert lgcodec.__version__ in asked.stdout
    wrong = subprocess.run([sys.executable, "-m", "lgcodec", "info", "missing.lgc"], capture_output=True, check=False)
    assert (wrong.returncode, wrong.stderr) == (1, b"lgcodec: missing.lgc: No such file or directory\n")
    listed = cli("train", "--help").stdout
    assert all(family in listed for family in FAMILIES)


def test_every_family_trains_by_a_command(cli: Cli) -> None:
    pytest.importorskip("torch", reason="the torch extra is not installed")
    for family in FAMILIES:
        text = cli("train", family, "--help").stdout
        assert all(option in text for option in ("--data", "--out", "--minutes", "--resume")), family
    assert "oracle" in cli("train", "oracle", "--help").stderr


def test_a_process_reads_stdin_and_writes_stdout(image: Path) -> None:
    packed = shell("compress", "-q", "-", input=image.read_bytes())
    assert (packed.returncode, packed.stderr) == (0, b"")
    back = shell("decompress", "-q", "-", input=packed.stdout)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(back.stdout))), pixels())


def test_a_process_ends_with_code_1_and_no_traceback(tmp_path: Path) -> None:
    result = shell("compress", "missing.png", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr == b"lgcodec: missing.png: No such file or directory\n"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")
def test_a_terminal_is_never_written_to(image: Path) -> None:
    ours, theirs = os.openpty()
    run = subprocess.run([*PROGRAM, "compress", "-c", str(image)], stdout=theirs, stderr=subprocess.PIPE, check=False)
    os.close(theirs)
    os.close(ours)
    assert run.returncode == 1
    assert b"terminal" in run.stderr


def test_a_reader_that_leaves_is_no_error_message(image: Path) -> None:
    run = subprocess.Popen(
        [*PROGRAM, "compress", "-q", "-c", str(image)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert run.stdout is not None
    run.stdout.close()
    assert run.stderr is not None
    assert run.stderr.read() == b""
    run.stderr.close()
    assert run.wait() != 0


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_is_noticed_where_a_library_drops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "interrupted", threading.Event())
    with report.Progress("img.png", enabled=False) as progress:
        progress(1, 2)
        with pytest.raises(KeyboardInterrupt):
            report.interrupt(signal.SIGINT, None)
        with pytest.raises(KeyboardInterrupt):
            progress(2, 2)


AT_WORK = """
import signal, sys, time

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have told us to ignore it
from lgcodec.cli import main, report

def stay(self, done, of):
    sys.stdout.write("at work\\n")
    sys.stdout.flush()
    time.sleep(600)

report.Progress.__call__ = stay
sys.argv = ["lgcodec", "compress", "img.png"]
main.main()
"""


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_leaves_no_half_file(tmp_path: Path) -> None:
    """However long it takes to get to work."""
    Image.fromarray(photo()).save(tmp_path / "img.png")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", AT_WORK], cwd=tmp_path, **pipes) as run:  # type: ignore[call-overload]
        assert run.stdout.readline() == b"at work\n"
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate()
    assert run.returncode in (1, 130)
    assert b"Traceback" not in errors
    assert [p.name for p in tmp_path.iterdir()] == ["img.png"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, delay: float, *, enabled: bool = True) -> str:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(report, "DELAY", delay)
    with report.Progress("img.png", enabled=enabled) as progress:
        for done in range(0, 101, 10):
            progress(done, 100)
    return click.unstyle(terminal.getvalue())


def test_a_bar_appears_when_the_work_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "100%" in drawn(monkeypatch, 0.0)


def test_no_bar_for_quick_or_quiet_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, 60.0) == ""
    assert drawn(monkeypatch, 0.0, enabled=False) == ""
