"""torch's data sets, webdataset, imageio, fsspec's URLs and napari's manifest."""

from __future__ import annotations

import importlib
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from strategies import FakeLatent, FakeModel, texture

import lgcodec.napari
import lgcodec.torch
from lgcodec import Codec, InputError
from lgcodec.cli.main import program
from lgcodec.torch import ImageFolder

CODEC = Codec(effort=1, threads=1)
ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four solid pictures: one alone, one in a folder, two in a set."""
    (tmp_path / "cats").mkdir()
    lgcodec.save(tmp_path / "cats" / "a.lgc", np.full((6, 8, 3), 1, np.uint8), effort=1)
    lgcodec.save(tmp_path / "z.lgc", np.full((6, 8), 2, np.uint16), effort=1)
    images = {f"dogs/{i}.png": np.full((6, 8, 3), 10 + i, np.uint8) for i in range(2)}
    (tmp_path / "more.lgcs").write_bytes(CODEC.compress_set(images))
    return tmp_path


def test_a_data_set_reads_files_and_sets_by_number(folder: Path) -> None:
    found = ImageFolder(folder)
    assert (len(found), found.classes, found.targets) == (4, ["", "cats", "dogs"], [1, 2, 2, 0])
    pairs = [found[number] for number in range(4)]
    values = [(tuple(picture.shape), int(picture.int().max()), label) for picture, label in pairs]
    assert values == [((3, 6, 8), 1, 1), ((3, 6, 8), 10, 2), ((3, 6, 8), 11, 2), ((1, 6, 8), 2, 0)]
    assert ImageFolder(folder / "more.lgcs", transform=lambda picture: picture.float().mean().item())[1] == (11.0, 0)
    assert len(ImageFolder(folder / "z.lgc")) == 1
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="holds no"):
        ImageFolder(folder / "empty")


def test_of_a_set_one_picture_is_read_alone(folder: Path) -> None:
    data = bytearray((folder / "more.lgcs").read_bytes())
    found = ImageFolder(folder / "more.lgcs")
    first = found.items[0]
    data[first.start : first.end] = bytes(len(data[first.start : first.end]))
    (folder / "more.lgcs").write_bytes(data)
    assert int(found[1][0].max()) == 11
    with pytest.raises(lgcodec.FormatError):
        found[0]


def test_chains_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = {252: FakeLatent(), 250: FakeModel()}
    monkeypatch.setattr("lgcodec.options.Options.find", lambda options, reference: models[reference.wire_id])
    monkeypatch.setattr("lgcodec.options.Options.seed", lambda options: models[250])
    images = {f"{i}.png": texture(24, 20 + i) for i in range(3)}
    (tmp_path / "set.lgcs").write_bytes(Codec(models[252]).compress_set(images))
    found = ImageFolder(tmp_path / "set.lgcs")
    calls: list[Any] = []
    decode = Codec.decode_set
    monkeypatch.setattr(Codec, "decode_set", lambda codec, data: calls.append(data) or decode(codec, data))
    for i, image in enumerate(images.values()):
        assert np.array_equal(found[i][0][0], image)
    assert len(calls) == 1


def test_worker_processes_load_it(folder: Path) -> None:
    torch = pytest.importorskip("torch", reason="the place needs torch")
    found = ImageFolder(folder / "more.lgcs")
    loader = torch.utils.data.DataLoader(found, batch_size=1, num_workers=2, multiprocessing_context="spawn")
    assert [int(pictures.max()) for pictures, _ in loader] == [10, 11]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves its files to the collector
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_webdataset_decodes(folder: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="the place needs webdataset")
    with tarfile.open(folder / "shard.tar", "w") as tar:
        for i in range(2):
            data = CODEC.compress(np.full((6, 8, 3), 30 + i, np.uint8))
            for suffix, content in (("lgc", data), ("cls", str(i).encode())):
                entry = tarfile.TarInfo(f"{i}.{suffix}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    shard = webdataset.WebDataset(str(folder / "shard.tar"), shardshuffle=False).decode(lgcodec.torch.decode)
    assert [(int(sample["lgc"].max()), sample["cls"]) for sample in shard] == [(30, 0), (31, 1)]


def test_imageio_reads_and_writes(tmp_path: Path) -> None:
    iio = pytest.importorskip("imageio.v3", reason="the place needs imageio")
    importlib.import_module("lgcodec.pillow")
    pixels = np.full((6, 8, 3), 5, np.uint8)
    iio.imwrite(tmp_path / "x.lgc", pixels, effort=1)
    assert np.array_equal(iio.imread(tmp_path / "x.lgc"), pixels)
    assert iio.improps(tmp_path / "x.lgc").shape == (6, 8, 3)


def test_urls_are_fsspecs() -> None:
    fsspec = pytest.importorskip("fsspec", reason="the place needs fsspec")
    pixels = np.full((6, 8, 3), 5, np.uint8)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    fsspec.filesystem("memory").pipe("/x/in.png", png.getvalue())
    assert (
        lgcodec.save("memory://x/out.lgc", "memory://x/in.png", effort=1)
        == lgcodec.inspect("memory://x/out.lgc").file_bytes
    )
    assert np.array_equal(lgcodec.decompress("memory://x/out.lgc"), pixels)
    assert np.array_equal(np.asarray(lgcodec.open("memory://x/out.lgc")), pixels)
    lgcodec.verify("memory://x/out.lgc")
    with pytest.raises(FileNotFoundError):
        lgcodec.decompress("memory://x/none.lgc")


def test_commands_read_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec", reason="the place needs it")
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (20, 10), (90, 120, 30)).save("in.png")
    with fsspec.open("memory://album/a.png", "wb") as file:
        file.write(Path("in.png").read_bytes())

    def run(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(program, words)
        assert result.exit_code == code, result.output
        return result.output

    run("compress", "-q", "memory://album/a.png")  # beside nothing: into this folder
    with fsspec.open("memory://album/b.lgc", "wb") as file:
        file.write(Path("a.lgc").read_bytes())
    assert "memory://album/b.lgc" in run("info", "memory://album/b.lgc")
    run("verify", "-q", "memory://album/b.lgc")
    run("decompress", "-q", "memory://album/b.lgc", "-o", "out.png")
    assert Image.open("out.png").tobytes() == Image.open("in.png").tobytes()
    run("compress", "-q", "memory://album/a.png", "in.png", "-o", "both.lgcs")
    with fsspec.open("memory://album/both.lgcs", "wb") as file:
        file.write(Path("both.lgcs").read_bytes())
    assert "2 images" in run("verify", "memory://album/both.lgcs")
    run("decompress", "-q", "memory://album/both.lgcs")
    assert sorted(path.name for path in Path("both").iterdir()) == ["a.png", "in.png"]
    assert "--rm removes files of this machine alone" in run("compress", "--rm", "memory://album/a.png", code=1)
    assert "outputs are files of this machine" in run("compress", "in.png", "-o", "memory://album/c.lgc", code=1)
    assert "Protocol not known" in run("info", "nowhere://album/none.lgc", code=1)


def test_napari_finds_a_reader(folder: Path) -> None:
    manifest = (ROOT / "codec" / "napari.yaml").read_text()
    module, name = manifest.split("python_name: ")[1].split()[0].split(":")
    get_reader = getattr(importlib.import_module(module), name)
    assert get_reader("x.png") is None
    ((pixels, about, kind),) = get_reader(str(folder / "z.lgc"))(str(folder / "z.lgc"))
    assert (pixels.shape, pixels.dtype, about, kind) == ((6, 8), np.uint16, {"name": "z", "rgb": False}, "image")
    assert len(get_reader(str(folder / "more.lgcs"))([str(folder / "more.lgcs"), str(folder / "z.lgc")])) == 3
