"""The benchmark: what it compares, what it computes, and what it writes."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

import lgcodec
from lgcodec.cli.bench import measure as bench
from lgcodec.cli.bench.contenders import EXTERNALS, contenders, external
from lgcodec.cli.bench.tables import columns, replaced, table
from lgcodec.cli.main import program
from lgcodec.errors import InputError, IntegrityError
from lgcodec.image import of_array

SCRIPTS = Path(__file__).parents[1] / "benchmarks"


def script(name: str) -> ModuleType:
    """A script of benchmarks/, which is not installed."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def photo(height: int = 30, width: int = 41) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    return np.stack([x + y, 2 * x, 255 - x - y], axis=2).astype(np.uint8)


def deep() -> NDArray[np.uint16]:
    noise = np.random.default_rng(0).integers(0, 200, (30, 41, 3))
    return (photo().astype(np.uint16) << 7) + noise.astype(np.uint16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two images to measure, and one that is left out because not every codec takes its mode."""
    (tmp_path / "inner").mkdir()
    Image.fromarray(photo()).save(tmp_path / "a.png")
    Image.fromarray(photo()[..., 0]).save(tmp_path / "inner" / "b.png")
    Image.fromarray(photo()).convert("RGBA").save(tmp_path / "c.png")
    return tmp_path


def row(codec: str = "png", size: int = 300, **changes: Any) -> bench.Row:
    line = bench.Row("a.png", codec, "lib 1", 10, 20, 3, size, encode_seconds=0.1, decode_seconds=0.01)
    return dataclasses.replace(line, **changes)


@pytest.mark.parametrize("name", EXTERNALS)
@pytest.mark.parametrize(
    "pixels",
    [photo(), photo()[..., 0].copy(), photo(1, 1), deep(), deep()[..., 0].copy()],
    ids=["rgb", "grey", "one pixel", "rgb of 16 bits", "grey of 16 bits"],
)
def test_other_codecs_return_the_pixels(name: str, pixels: NDArray[np.uint8]) -> None:
    if not name.startswith(("png", "webp")):
        pytest.importorskip("imagecodecs")
    contender = external(name)
    if 8 * pixels.itemsize > contender.bits:
        assert name == "webp"
        return
    measured = bench.measure("a.png", pixels, contender, 2)
    assert measured.size == len(contender.encode(pixels, 1))
    assert any(character.isdigit() for character in contender.library)


def test_what_does_not_come_back_is_not_reported() -> None:
    broken = dataclasses.replace(external("png"), decode=lambda data, threads: np.zeros((30, 41, 3), np.uint8))
    with pytest.raises(IntegrityError, match=r"png did not return the pixels of a\.png"):
        bench.measure("a.png", photo(), broken, 1)


def test_an_unknown_codec_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"'gif'.*jxl-e9"):
        external("gif")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(InputError, match=r"jxl-e7 needs.*lgcodec\[bench\]"):
        external("jxl-e7")


def test_images_are_the_grey_and_rgb_ones(folder: Path) -> None:
    assert [(name, pixels.shape) for name, pixels in bench.images(folder)] == [
        ("a.png", (30, 41, 3)),
        ("inner/b.png", (30, 41)),
    ]


def test_rates_are_means_over_images_and_totals() -> None:
    rows = [row(size=300), row(size=900, width=30), row("other")]
    first, second = bench.summarise(rows, {})
    assert (first.codec, first.images, second.codec, second.images) == ("png", 2, "other", 1)
    assert first.bpsp == pytest.approx((8 * 300 / 600 + 8 * 900 / 1800) / 2)
    assert first.total_bpsp == pytest.approx(8 * 1200 / 2400)
    assert first.encode_mps == pytest.approx(800 / 1e6 / 0.2)
    assert first.gap_percent is None


def test_gaps_between_network_tables_and_file() -> None:
    card = {"float_bpd": 2.0, "integer_bpd": 2.01}
    (summary,) = bench.summarise([row(ideal_bits=2000), row(ideal_bits=2800)], {"png": card})
    assert summary.ideal_bpsp == pytest.approx(4.0)
    assert summary.gap_percent == pytest.approx(0.0)
    assert summary.quantisation_percent == pytest.approx(0.5)


def test_the_table_leaves_out_what_nothing_fills() -> None:
    lines = table(bench.summarise([row()], {})).splitlines()
    assert lines[0].split("  ")[0].strip() == "codec"
    assert "ideal" not in lines[0]
    assert "ideal" in table(bench.summarise([row(ideal_bits=2000)], {}))


def test_speeds_stand_beside_those_of_jpeg_xl_on_as_many_threads() -> None:
    fast, slow = row("jxl-e7"), row("lgcodec-x-e3", encode_seconds=0.2)
    on_two = {"threads_encode_seconds": 0.05, "threads_decode_seconds": 0.01}
    summaries = bench.summarise([dataclasses.replace(fast, **on_two), dataclasses.replace(slow, **on_two)], {})
    by_head = {column[0]: column[1:] for column in columns(summaries)}
    assert by_head["encode MP/s (x jxl-e7)"] == ("0.00 (1.00 x)", "0.00 (0.50 x)")
    assert by_head["encode MP/s, all threads (x jxl-e7)"] == ("0.00 (1.00 x)", "0.00 (1.00 x)")
    assert [column[0] for column in columns(bench.summarise([row()], {}))] == [
        *["codec", "bpsp", "encode MP/s", "decode MP/s"]
    ]


def test_every_codec_is_measured_on_one_thread_and_on_all() -> None:
    seen = []

    def encode(pixels: NDArray[np.uint8], threads: int) -> bytes:
        seen.append(threads)
        return external("png").encode(pixels, threads)

    parallel = dataclasses.replace(external("png"), encode=encode, is_parallel=True)
    measured = bench.measure("a.png", photo(), parallel, 3)
    assert seen == [1, 3]
    assert measured.threads_encode_seconds != measured.encode_seconds
    alone = bench.measure("a.png", photo(), dataclasses.replace(parallel, is_parallel=False), 3)
    assert seen == [1, 3, 1]
    assert alone.threads_encode_seconds == alone.encode_seconds
    assert bench.measure("a.png", photo(), parallel, 1).threads_encode_seconds is None


def test_the_command_writes_csv_json_and_a_plot(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = {kind: tmp_path / f"out.{kind}" for kind in ("csv", "json", "png")}
    arguments = ["bench", str(folder), "--codecs", "png,webp", "--models", "", "--csv", str(out["csv"])]
    result = CliRunner().invoke(program, [*arguments, "--json", str(out["json"]), "--plot", str(out["png"])])
    assert result.exit_code == 0, result.output
    with out["csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["image"], r["codec"]) for r in rows] == [
        *[("a.png", "png"), ("a.png", "webp")],
        *[("inner/b.png", "png"), ("inner/b.png", "webp")],
    ]
    for name in ("library", "bpsp", "lgcodec", "commit", "cpu", "cores", "threads", "date"):
        assert name in rows[0]
    assert rows[0]["lgcodec"] == lgcodec.__version__
    found = json.loads(out["json"].read_text())
    assert [s["codec"] for s in found["summaries"]] == ["png", "webp"]
    with Image.open(out["png"]) as chart:
        assert chart.width > 800


def test_the_default_model_beside_png(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    result = CliRunner().invoke(program, ["bench", str(folder), "--codecs", "png", "--json", str(out), "-q"])
    assert result.exit_code == 0, result.output
    ours = json.loads(out.read_text())["summaries"][1]
    assert ours["codec"] == "lgcodec-default-e3"
    assert ours["ideal_bpsp"] > 0


def test_images_of_16_bits_have_a_table_of_their_own(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs", reason="the bench extra is not installed")
    Image.fromarray(deep()[..., 0]).save(folder / "d.png")
    with (folder / "e.png").open("wb") as file:
        of_array(deep()).write_png(file)
    assert [pixels.dtype.itemsize for _, pixels in bench.images(folder, modes=bench.DEEP)] == [1, 2, 2, 1]
    out, page = tmp_path / "out.json", tmp_path / "out.html"
    arguments = ["bench", str(folder), "--codecs", "png,webp,jxl-e3", "-q", "--json", str(out), "--html", str(page)]
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 0, result.output
    assert "\n16 bits a sample, 2 images:\n" in result.stdout
    found = [(s["bits"], s["codec"], s["images"]) for s in json.loads(out.read_text())["summaries"]]
    ours = "lgcodec-default-e3"
    assert found[:4] == [(8, "png", 2), (8, "webp", 2), (8, "jxl-e3", 2), (8, ours, 2)]
    assert found[4:] == [(16, "png", 2), (16, "jxl-e3", 2), (16, ours, 2)]
    assert "<h2>16 bits a sample</h2>" in page.read_text()


def test_an_image_that_a_codec_does_not_take_is_left_out(tmp_path: Path) -> None:
    Image.fromarray(photo()).save(tmp_path / "a.png")
    Image.new("RGB", (16384, 1)).save(tmp_path / "long.png")
    (tmp_path / "huge.pgm").write_bytes(b"P5 99999 99999 255 ")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
    arguments = ["bench", str(tmp_path), "--codecs", "png,webp", "--models", "", "--json", str(tmp_path / "out.json")]
    result = CliRunner().invoke(program, [*arguments, "-q"])
    assert result.exit_code == 1
    assert "lgcodec: long.png: is too large for webp, and left out" in result.stderr
    assert "huge.pgm: an image of 9999800001 pixels, more than the limit" in result.stderr
    assert [s["images"] for s in json.loads((tmp_path / "out.json").read_text())["summaries"]] == [1, 1]


def test_charts_of_jpeg_files_alone_are_refused(tmp_path: Path) -> None:
    Image.fromarray(photo(64, 80)).save(tmp_path / "a.jpg", quality=90)
    arguments = ["bench", str(tmp_path), "--codecs", "png", "-q", "--html", str(tmp_path / "x.html")]
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 1
    assert "there are only JPEG files" in result.stderr


def test_a_damaged_image_is_named(folder: Path) -> None:
    data = (folder / "a.png").read_bytes()
    (folder / "b.png").write_bytes(data[: len(data) // 2])
    result = CliRunner().invoke(program, ["bench", str(folder), "--codecs", "png", "--models", "", "-q"])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"lgcodec: {folder / 'b.png'}: ")


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(program, ["bench", str(tmp_path), "--codecs", "png", "--models", ""])
    assert result.exit_code == 1
    assert result.stderr.startswith("lgcodec: no grey or RGB image")


def test_the_readme_table_is_replaced_between_its_markers() -> None:
    run = script("run")
    start, end = "<!-- results:start -->", "<!-- results:end -->"
    text = f"before\n{start}\nold\n{end}\nafter\n"
    results = bench.Results(bench.environment(2, "cpu"), [row()], bench.summarise([row()], {}))
    new = replaced(text, "results", run.markdown(results, "kodak"))
    assert new.startswith(f"before\n{start}\n| codec | bpsp |")
    assert new.endswith(f"\n{end}\nafter\n")
    assert "old" not in new
    assert replaced(new, "results", "x") == f"before\n{start}\nx\n{end}\nafter\n"


def test_what_grows_is_found(folder: Path, tmp_path: Path) -> None:
    graphics = script("graphics")
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).quantize(8).save(folder / "d.png")
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)).save(folder / "e.png")
    out, page = tmp_path / "graphics.csv", tmp_path / "page.md"
    page.write_text("<!-- graphics:start -->\n<!-- graphics:end -->\n")
    result = CliRunner().invoke(graphics.main, [str(folder), "--effort", "1", "--csv", str(out), "--page", str(page)])
    assert result.exit_code == 0, result.output
    assert "| all 5 |" in page.read_text()
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["mode"] for row in rows] == ["RGB", "RGBA", "P", "I;16", "L"]
    assert "5 images" in result.output
    assert graphics.has_grown(graphics.Row("a.png", "L", 9, 100, 200, 165))
    assert not graphics.has_grown(graphics.Row("a.png", "L", 9, 100, 200, 164))


def test_a_mosaic_has_the_size_asked_for_and_real_pixels() -> None:
    large = script("large")
    parts = [photo(), photo(50, 20)]
    mosaic = large.mosaic(parts, 200, 100)
    assert mosaic.shape == (100, 200, 3)
    np.testing.assert_array_equal(mosaic[:30, :41], parts[0])
    np.testing.assert_array_equal(mosaic[:30, 41:61], parts[1][:30])
    np.testing.assert_array_equal(mosaic[:30, 61:102], parts[0][:, ::-1])


def test_a_grey_picture_in_colour_has_a_preview_worth_measuring(tmp_path: Path) -> None:
    """Its preview is grey."""
    noise = np.random.default_rng(0).integers(0, 9, (64, 80, 1))
    Image.fromarray((photo(64, 80)[..., :1] + noise).astype(np.uint8).repeat(3, axis=2)).save(tmp_path / "grey.png")
    (contender,) = contenders([], ["vqvae"], (1,), "cpu")
    (measured,) = bench.run(tmp_path, [contender], 1, "cpu", lambda row: None).rows
    assert measured.preview is not None
    assert measured.preview.psnr > 15


def test_jpeg_files_are_measured_as_files(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs", reason="the bench extra is not installed")
    from lgcodec.cli.bench import jpegs

    image = Image.fromarray(photo(64, 80))
    image.save(tmp_path / "a.jpg", quality=90)
    image.save(tmp_path / "b.png")  # measured as pixels, elsewhere
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-99])
    (tmp_path / "none.jpg").write_bytes(b"\xff\xd8\xff of nothing")
    told: list[jpegs.FileRow] = []
    rows = jpegs.measure(tmp_path, "cpu", 2, True, told.append)
    assert rows == told
    assert [(row.file, row.codec) for row in rows] == [
        (name, codec) for name in ("a.jpg", "cut.jpg", "none.jpg") for codec in ("jxl", "lgcodec")
    ]
    whole, ours, peer, kept = rows[0], rows[1], rows[2], rows[3]
    assert 0 < ours.after < ours.before == whole.before == (tmp_path / "a.jpg").stat().st_size
    assert ours.ideal_bits is not None
    assert None not in (ours.threads_encode_seconds, ours.threads_decode_seconds)
    assert (peer.is_modelled, peer.after) == (False, peer.before)
    assert not kept.is_modelled
    lines = jpegs.table(rows).splitlines()[1:]
    assert [line.split()[:3] for line in lines] == [["jxl", "3", "2"], ["lgcodec", "3", "2"]]


def test_a_jpeg_that_does_not_come_back_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lgcodec.cli.bench import jpegs

    Image.fromarray(photo(16, 16)).save(tmp_path / "a.jpg")
    monkeypatch.setattr(lgcodec.Codec, "restore", lambda self, data: b"another")
    with pytest.raises(IntegrityError, match="did not return the bytes of a"):
        jpegs.measure(tmp_path, "cpu", 1, False, lambda row: None)
