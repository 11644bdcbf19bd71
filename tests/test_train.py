"""Training, a few seconds of it: the command learns, exports weights that code, and resumes where it stopped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import lgcodec
from lgcodec import colour
from lgcodec.coding import coder
from lgcodec.models import registry, zoo
from lgcodec.models.entropy.program import ideal_bits
from lgcodec.models.families.causal import episodes, online
from lgcodec.models.families.causal import floats as causal_training
from lgcodec.models.families.causal import network as causal
from lgcodec.models.families.causal.model import coding_of
from lgcodec.models.families.causal.on_native import NativeCausal
from lgcodec.models.families.causal.training import UNLABELLED, Crops, evaluate
from lgcodec.models.machines.choose import choose
from lgcodec.models.machines.native import library
from lgcodec.models.training import run as training_run
from lgcodec.models.training.command import train as main
from lgcodec.models.training.images import augment, converted, find, half, process, read_images, single
from lgcodec.models.training.losses import bits_per_dim
from lgcodec.models.training.pool import FIRST, Pool, ahead

torch = pytest.importorskip("torch", reason="the torch extra is not installed")
if not library.available():
    pytest.skip("no native library: there was no C compiler", allow_module_level=True)


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def picture(seed: int, side: int = 40) -> NDArray[np.uint8]:
    """Soft shading with grain, uint8 [side, side, 3]."""
    random = np.random.default_rng(seed)
    y, x = np.indices((side, side)) / side
    light = 120 + 60 * np.sin(3 * x + 5 * y + seed) + 30 * np.cos(9 * x * y)
    rgb = light[..., None] + 20 * random.random(3) + random.normal(0, 2, (side, side, 3))
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for part, count in (("train", 3), ("held-out", 1)):
        (folder / part / "inner").mkdir(parents=True)
        for i in range(count):
            Image.fromarray(picture(i)).save(folder / part / "inner" / f"{i}.png")
    return folder


SIZES = {"width": 16, "depth": 1, "hidden": 8, "components": 2, "rows": 1, "left": 2}


def run(data: Path, out: Path, steps: int, *more: str) -> Result:
    options = {"--data": data / "train", "--held-out": data / "held-out", "--out": out}
    options |= {"--minutes": 0, "--steps": steps, "--device": "cpu", "--threads": 1}
    options |= {"--batch": 4, "--crop": 16, "--learning": 0}
    options |= {f"--{name}": size for name, size in SIZES.items()}
    arguments = [str(word) for pair in options.items() for word in pair]
    return CliRunner().invoke(main, ["causal", *arguments, *more], catch_exceptions=False)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The weights of a short run, and what it printed."""
    out = tmp_path_factory.mktemp("out") / "mine.safetensors"
    result = run(data, out, 100)
    assert result.exit_code == 0, result.output
    return out, result.output


def test_a_run_says_how_often_each_pixel_was_seen(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "SAY_STEPS", 2)
    result = run(data, tmp_path / "mine.safetensors", 10)
    step, times = re.findall(r"step +([0-9]+)  train .* each pixel seen ([0-9.]+) times", result.output)[-1]
    assert float(times) == pytest.approx(int(step) * 4 * 16**2 / (3 * 40**2), abs=0.01)


@pytest.mark.parametrize("family", ["causal", "continuous", "flow", "masked", "vae", "vqvae"])
def test_every_family_has_a_command(family: str) -> None:
    result = CliRunner().invoke(main, [family, "--help"])
    assert result.exit_code == 0
    assert "--out " in result.output
    assert family in CliRunner().invoke(main, ["--help"]).output


def test_the_systems_of_the_masked_family_are_listed() -> None:
    said = CliRunner().invoke(main, ["masked", "--help"]).output.split()
    assert {f"{name}," for name in zoo.names()[:-1]} <= {*said}


def test_a_run_exports_weights_that_code(trained: tuple[Path, str], data: Path) -> None:
    out, _ = trained
    tile = colour.forward(picture(0), colour.STANDARD)
    streams = []
    for machine in ("numpy", "native"):
        model = registry.load(out, machine=machine)
        assert model.wire_id == registry.OWN
        (stream,) = coder.encode(model, [tile])
        assert np.array_equal(coder.decode(model, [tile.shape], [stream.words])[0], tile)
        streams.append(stream.words.tolist())
    assert streams[0] == streams[1]


def test_a_run_learns_and_says_its_rates(trained: tuple[Path, str], data: Path) -> None:
    """The rates printed are those of the file, and below an untrained network's."""
    out, output = trained
    held_out = np.asarray(Image.open(next((data / "held-out").rglob("*.png"))))
    tile = colour.forward(held_out, colour.STANDARD)
    (stream,) = coder.encode(registry.load(out, machine="native"), [tile])
    integers = stream.ideal_bits / tile.size
    said = re.findall(r"held out ([0-9.]+) bits/dim as floats, ([0-9.]+) as integers", output)
    assert float(said[-1][1]) == pytest.approx(integers, abs=1e-4)
    assert float(said[-1][0]) == pytest.approx(integers, rel=0.005)
    torch.manual_seed(0)
    untrained = causal_training.Causal(causal.Config(**SIZES))
    before = evaluate(untrained, [causal_training.Features(tile)], torch.device("cpu"))
    assert integers < before


def test_a_larger_network_starts_from_a_smaller_one(trained: tuple[Path, str], data: Path, tmp_path: Path) -> None:
    small = json.loads(trained[0].with_suffix(".json").read_text())
    more = ("--start", str(trained[0]), "--context", "4", "--width", "20", "--rate", "0.1")
    result = run(data, tmp_path / "larger.safetensors", 10, *more)
    assert result.exit_code == 0, result.output
    card = json.loads((tmp_path / "larger.json").read_text())
    assert card["started_from"] == small["digest"]
    assert card["architecture"]["context"] == 4
    assert card["float_bpd"] < small["float_bpd"] * 1.02
    assert run(data, tmp_path / "other.safetensors", 10, "--start", "nothing").exit_code == 1


def test_a_run_of_episodes(trained: tuple[Path, str], data: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    more = ("--start", str(trained[0]), "--learning", "12", "--episodes", "--rate", "0.1")
    result = run(data, out, 20, *more)
    assert result.exit_code == 0, result.output
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["training_steps"] > 0
    before = json.loads(trained[0].with_suffix(".json").read_text())["integer_bpd"]
    assert card["learned_bpd"] < 1.01 * before  # a few steps may gain nothing, but do no harm
    assert run(data, out, 10, "--episodes").exit_code == 2  # of what does not learn


def test_folders_are_classes(trained: tuple[Path, str], data: Path, tmp_path: Path) -> None:
    """From a network without classes on; the rate printed is each image's with its best class, or none."""
    out, more = tmp_path / "classed.safetensors", ("--start", str(trained[0]), "--classes")
    result = run(data, out, 30, *more, "--data", str(data / "held-out"))
    assert result.exit_code == 0, result.output
    model: Any = registry.load(out, machine="native")
    tables = model.network.classes
    assert {len(table) for table in tables.values()} == {2}
    assert all(table.any() for name, table in tables.items() if name != "first"), "nothing was learned"
    (path,) = (data / "held-out").rglob("*.png")
    tile = colour.forward(np.asarray(Image.open(path)), colour.STANDARD)
    rates = [coder.encode(model, [tile], side)[0].ideal_bits / tile.size for side in (b"", *model.choices)]
    said = re.findall(r"held out ([0-9.]+) bits/dim as floats, ([0-9.]+) as integers", result.output)
    assert float(said[-1][1]) == pytest.approx(min(rates), abs=1e-4)
    assert float(said[-1][0]) == pytest.approx(min(rates), rel=0.005)
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["classes"] == ["train", "held-out"]
    assert card["architecture"]["classes"] == 2
    image = np.asarray(Image.open(path))
    file = lgcodec.compress(image, model=out)
    assert np.array_equal(lgcodec.decompress(file, model=out), image)
    assert run(data, tmp_path / "one.safetensors", 10, "--classes").exit_code == 2


def test_weights_that_learn_are_rated_with_and_without(trained: tuple[Path, str], data: Path, tmp_path: Path) -> None:
    """Started from a network that does not learn, and the start of one that does and one that does not."""
    out = tmp_path / "learning.safetensors"
    result = run(data, out, 20, "--start", str(trained[0]), "--learning", "12", "--rest", "0")
    assert result.exit_code == 0, result.output
    card, model = json.loads(out.with_suffix(".json").read_text()), registry.load(out, machine="native")
    network: causal.Network = model.network  # type: ignore[attr-defined]
    (path,) = (data / "held-out").rglob("*.png")
    tile = colour.forward(np.asarray(Image.open(path)), colour.STANDARD)
    (stream,) = coder.encode(model, [tile])
    (still,) = NativeCausal(network.without_learning(), 1).encode([tile], b"")
    assert card["architecture"]["learning"] == 12
    assert card["learned_bpd"] == pytest.approx(stream.ideal_bits / tile.size, abs=1e-4)
    assert card["integer_bpd"] == pytest.approx(still.ideal_bits / tile.size, abs=1e-4)
    assert card["learned_bpd"] != card["integer_bpd"]
    assert f"{card['learned_bpd']:.4f} bits/dim with learning while decoding" in result.output
    third = tmp_path / "third.safetensors"
    result = run(data, third, 0, "--start", str(out), "--learning", "12", "--grid")
    assert result.exit_code == 0, result.output
    begun = json.loads(third.with_suffix(".json").read_text())
    assert begun["architecture"]["rest"] == 2
    assert begun["training_steps"] == 0
    assert begun["integer_bpd"] == card["integer_bpd"]  # what the grid adds is nothing yet
    assert begun["learned_bpd"] != card["learned_bpd"]
    assert len(begun["earlier_minutes"]) == 2
    for name, learning in (("learner", "10"), ("still", "0")):
        other = tmp_path / f"{name}.safetensors"
        result = run(data, other, 10, "--start", str(out), "--learning", learning, "--rate", "0.1")
        assert result.exit_code == 0, result.output
        begun = json.loads(other.with_suffix(".json").read_text())
        assert begun["started_from"] == card["digest"]
        assert ("learned_bpd" in begun) == (name == "learner")
        assert begun["integer_bpd"] < card["integer_bpd"] * 1.02


def test_crops_come_with_the_class_of_their_image_or_none(tmp_path: Path) -> None:
    for folder, light in (("bright", 200), ("dark", 40)):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((24, 24, 3), light, np.uint8)).save(tmp_path / folder / "a.png")
    found = find([tmp_path / "bright", tmp_path / "dark"], 8)
    crops = Crops(found, np.random.default_rng(0), 16, 8, classes=True)
    labels = []
    for batch, _ in zip(crops, range(20), strict=False):
        labels.append(batch[6].numpy())
        light = batch[0][:, 0].float().mean(dim=(1, 2)).numpy()
        assert ((labels[-1] == -1) | ((light < 120) == (labels[-1] == 1))).all()
    share = np.mean(np.concatenate(labels) == -1)
    assert abs(share - UNLABELLED) < 0.1


def test_crops_of_planes_are_what_the_program_sees() -> None:
    """The loss of a tile of one channel, which a batch has after those of three, is the rate of its integers."""
    torch.manual_seed(1)
    model = causal_training.Causal(causal.Config(**SIZES))
    network = causal.Network.of(causal_training.export(model, {}))
    rgb = picture(3, 48)
    luma, blue, red = converted(rgb, 2)
    whole = causal_training.Features(colour.forward(rgb, colour.STANDARD))
    plane = causal_training.Features.of_plane(luma)
    both = [torch.from_numpy(np.stack(p)) for p in zip(*(f.crop(0, 0, 48, 48) for f in (whole, plane)), strict=True)]
    alone = [part[:1] for part in both]
    with torch.inference_mode():
        nats = model(*both, coloured=1)
        three = model(*alone)
        (grey, *others) = (model(*(part[1:] for part in both), coloured=0)).tolist()
    assert others == [0, 0]
    assert nats[1:].tolist() == pytest.approx(three[1:].tolist(), rel=1e-5)
    assert nats[0].item() == pytest.approx(three[0].item() + grey, rel=1e-5)
    ideal = ideal_bits(coding_of(network, choose(machine="numpy")), [luma[None].astype(np.int16)], b"")
    assert grey / np.log(2) == pytest.approx(ideal, rel=0.005)
    assert {blue.shape, red.shape} == {(24, 24)}


def test_episodes_train_the_start_of_what_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no step is taken their gradient is that of the strips as they are; with steps, one image in strips costs
    less from strip to strip than without.
    """
    torch.manual_seed(0)
    model = causal_training.Causal(causal.Config(**SIZES, learning=12))
    both = [causal_training.Features(colour.forward(picture(i, 64), colour.STANDARD)) for i in (1, 2)]
    both.append(causal_training.Features.of_plane(picture(3, 64)[..., 0]))
    parts = [torch.from_numpy(np.stack(p)) for p in zip(*(episodes.strips(f, 0, 0, 64) for f in both), strict=True)]

    def gradients(loss: torch.Tensor) -> list[torch.Tensor]:
        model.zero_grad()
        loss.backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    with monkeypatch.context() as still:
        still.setattr(episodes, "STEP", 0.0)
        loss = episodes.learned_bits(model, parts, 2)
        kinds = [(i, j, 3 if i < 2 else 1) for i in range(3) for j in range(4)]  # square, strip, channels
        bits = [
            3 * bits_per_dim(model(*(p[i, j][None] for p in parts), coloured=n // 3), 64 * 16 * n) for i, j, n in kinds
        ]
        plain = torch.stack(bits).mean()
        assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
        for a, b in zip(gradients(loss), gradients(plain), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)
    monkeypatch.setattr(episodes, "STEP", 20.0)
    assert episodes.learned_bits(model, parts, 2).item() < loss.item()


def test_a_share_of_the_regions_is_planes(data: Path) -> None:
    found = find([data / "train"], 16)
    for share, expected in ((0.0, 16), (0.5, 8), (1.0, 0)):
        crops = Crops(found, np.random.default_rng(0), 16, 16, single=share)
        batches = [batch for batch, _ in zip(crops, range(40), strict=False)]
        counts = [int(batch[5]) for batch in batches]
        assert np.mean(counts) == pytest.approx(expected, abs=2)
        for batch, count in zip(batches, counts, strict=True):
            assert not batch[0][count:, 1:].any(), "chroma of a plane"


def test_planes_are_conversions_of_their_photographs() -> None:
    rgb = picture(1, 40)
    luma, blue, red = converted(rgb, 0)
    pillow = np.asarray(Image.fromarray(rgb).convert("YCbCr"), int)
    assert np.abs(luma - pillow[..., 0]).max() <= 1
    halved = pillow.reshape(20, 2, 20, 2, 3).mean(axis=(1, 3))
    assert np.abs(blue - halved[..., 1]).max() < 2  # Pillow rounds chroma down
    assert np.abs(red - halved[..., 2]).max() < 2
    ramp = np.add.outer(np.arange(12), 2 * np.arange(10)).astype(np.float32)
    np.testing.assert_allclose(half(ramp, triangle=True)[1:, 1:], ramp[2::2, 2::2])  # around even places
    kinds = {single(rgb, np.random.default_rng(seed), 16, 0.5).shape for seed in range(20)}
    assert kinds == {(40, 40), (20, 20)}
    assert single(rgb, np.random.default_rng(0), 30).shape == (40, 40)


def test_a_run_leaves_a_model_card(trained: tuple[Path, str]) -> None:
    out, _ = trained
    card = json.loads(out.with_suffix(".json").read_text("utf-8"))
    model = registry.load(out, machine="numpy")
    assert card["digest"] == model.digest.hex()
    assert card["integer_bpd"] == pytest.approx(card["float_bpd"], rel=0.005)
    assert {name: card["architecture"][name] for name in SIZES} == SIZES
    assert card["images"] == 3
    assert card["training_steps"] > 0
    left = {path.name for path in out.parent.iterdir()}
    assert left == {"mine.safetensors", "mine.json", "mine.checkpoint.pt"}


def test_resume_continues(trained: tuple[Path, str], data: Path) -> None:
    out, _ = trained
    before = registry.load(out, machine="numpy").digest
    steps = torch.load(out.with_suffix(".checkpoint.pt"), weights_only=True)["step"]
    assert steps > 0
    result = run(data, out, 140, "--resume")
    assert result.exit_code == 0, result.output
    assert f"resumed at step {steps}" in result.output
    assert torch.load(out.with_suffix(".checkpoint.pt"), weights_only=True)["step"] > steps
    assert registry.load(out, machine="numpy").digest != before


def test_options_that_no_model_has_are_refused(data: Path, tmp_path: Path) -> None:
    missing = run(data / "nowhere", tmp_path / "w.safetensors", 10)
    assert missing.exit_code == 2
    assert "does not exist" in missing.output


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9))
def test_augmented_images_are_images(seed: int, height: int, width: int) -> None:
    random = np.random.default_rng(seed)
    rgb = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
    before = rgb.copy()
    got = augment(rgb, random, processed=0.5)
    assert np.array_equal(rgb, before)
    assert got.dtype == np.uint8
    assert got.shape in {(height, width, 3), (width, height, 3)}
    assert got.flags.c_contiguous


class Kind(np.random.Generator):
    """A generator that picks one kind of processing."""

    def __init__(self, kind: int) -> None:
        super().__init__(np.random.PCG64(1))
        self.kind: int | None = kind

    def integers(self, *ends: int) -> int:  # type: ignore[override]
        kind, self.kind = self.kind, None
        return int(super().integers(*ends)) if kind is None else kind


@pytest.mark.parametrize("kind", range(3))
def test_processed_images_are_like_their_originals(kind: int) -> None:
    y, x = np.indices((40, 61)) / 61
    rgb = (np.stack([40 + 90 * x, 200 - 80 * y, 90 + 50 * np.cos(9 * x)], axis=2)).astype(np.uint8)
    got = process(rgb, Kind(kind))
    assert got.shape == rgb.shape
    assert got.dtype == np.uint8
    assert 0 < np.abs(got.astype(int) - rgb).mean() < 3


def test_a_color_filter_array_is_interpolated() -> None:
    """One sample in four is red or blue, one in two green; these stay, and the others are means of their neighbours."""
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    kept = (process(rgb, Kind(0)) == rgb)[1:-1, 1:-1].reshape(9, 2, 14, 2, 3).all(axis=(0, 2))
    assert kept.sum(axis=(0, 1)).tolist() == [1, 2, 1]
    flat = np.full((20, 30, 3), (10, 200, 77), np.uint8)
    np.testing.assert_array_equal(process(flat, Kind(0)), flat)


@settings(deadline=None, max_examples=20)
@given(st.data())
def test_crops_have_the_context_of_the_whole(data: st.DataObject) -> None:
    """The loss of an image is the sum of the losses of its crops: no crop sees an edge that is not there."""
    H, W = 12, 14
    features = causal_training.Features(colour.forward(picture(1, 20)[:H, :W], colour.STANDARD))
    torch.manual_seed(data.draw(st.integers(0, 9)))
    model = causal_training.Causal(causal.Config(**{**SIZES, "rows": online.UP, "left": online.LEFT}))
    y, x = data.draw(st.integers(1, H - 1)), data.draw(st.integers(1, W - 1))

    def nats(top: int, left: int, height: int, width: int) -> float:
        with torch.inference_mode():
            batch = [torch.from_numpy(part.copy())[None] for part in features.crop(top, left, height, width)]
            return float(model(*batch).sum())

    parts = nats(0, 0, y, W) + nats(y, 0, H - y, x) + nats(y, x, H - y, W - x)
    assert parts == pytest.approx(nats(0, 0, H, W), rel=1e-4)


def test_a_pool_holds_the_last_regions_in_the_order_of_its_seed(data: Path) -> None:
    found = find([data / "train"], 16)

    def made(size: int) -> list[list[int]]:
        random = np.random.default_rng(5)
        kept: Pool[int] = Pool(found, random, lambda _, rng: int(rng.integers(1 << 30)), size)
        seen = []
        for step in range(12):
            kept.step(step)
            seen.append([region for region, _ in kept.regions])
        return seen

    steps = made(4)
    assert steps == made(4)
    assert {len(regions) for regions in steps} == {4}
    order = steps[0] + [new for old, now in pairwise(steps) for new in now if new not in old]
    assert len(order) == 4 + 6, "a new region in every other step"
    assert sorted(steps[-1]) == sorted(order[-4:])
    large = made(FIRST + 3)
    assert [len(regions) - FIRST for regions in large[:5]] == [1, 2, 3, 3, 3], "until it is full, each step adds"


def test_photographs_are_read_when_they_are_wanted(tmp_path: Path) -> None:
    """A folder is known by its headers; a file that cannot be read ends the run with its name."""
    good, bad = tmp_path / "good.png", tmp_path / "later.png"
    Image.fromarray(picture(0, 20)).save(good)
    bad.write_bytes(good.read_bytes()[:200])
    found = find([tmp_path], 16)
    assert [p.path.name for p in found] == ["good.png", "later.png"]
    with pytest.raises(click.ClickException, match=r"later\.png"):
        Crops(found, np.random.default_rng(0), 2, 16)
    bad.write_bytes(b"no header")
    with pytest.raises(click.ClickException, match=r"later\.png"):
        find([tmp_path], 16)
    bad.unlink()
    Image.fromarray(picture(0, 41)).save(tmp_path / "halved.jpg")
    halved = find([tmp_path], 21)
    assert [(p.height, p.width) for p in halved] == [(21, 21)]
    assert halved[0].read().shape == (21, 21, 3)


def test_what_is_made_ahead_comes_in_order_and_its_errors_too() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise ValueError("the sixth")

    got: list[int] = []
    with pytest.raises(ValueError, match="the sixth"):
        got.extend(ahead(items(), 2))
    assert list(ahead(range(5), 2)) == [0, 1, 2, 3, 4]
    assert list(ahead([], 2)) == []


@pytest.mark.parametrize("suffix", [".png", ".webp", ".ppm"])
def test_images_are_found_in_folders_and_small_ones_left_out(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    Image.fromarray(picture(0, 20)).save(tmp_path / "a" / "b" / f"large{suffix}")
    Image.fromarray(picture(0, 20)[:, :9]).save(tmp_path / "a" / f"narrow{suffix}")
    (tmp_path / "notes.txt").write_text("no image")
    images = read_images([tmp_path], 16)
    assert [image.shape for image in images] == [(20, 20, 3)]
    assert images[0].dtype == np.uint8


def test_pixels_of_codes_start_from_the_default_network_without_its_grid() -> None:
    from lgcodec.models.families.vqvae import network as vqvae
    from lgcodec.models.families.vqvae.floats import Pixels

    network = causal.Network.of(registry.read("default"))
    assert network.config.grid
    pixels = Pixels(vqvae.Config(pixels=causal.Config(depth=1, side=16)))
    pixels.start(network)
    known = len(network.config.layers()["first"][0]) - causal.GRID
    first = causal_training.float_layers(network)["first"][0]
    assert torch.equal(pixels.first.weight[:, :known], first[:, :known].float())
    assert pixels.first.weight[:, known:].abs().min() > 0
