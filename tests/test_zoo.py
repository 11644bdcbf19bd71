"""The lectures' systems, each by the same tests: they come back on every machine, and are distributions of pictures."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import reference_masked
import torch
from click.testing import CliRunner
from PIL import Image, ImageDraw, ImageFont

import lgcodec
from lgcodec import container
from lgcodec.coding import bits_back, explicit, likelihood
from lgcodec.models import registry, zoo
from lgcodec.models.errors import ModelError
from lgcodec.models.families.masked import training
from lgcodec.models.families.masked.floats import export, objectives
from lgcodec.models.families.masked.floats import graph as floats
from lgcodec.models.families.masked.flow import Flow
from lgcodec.models.families.masked.latent import Latents
from lgcodec.models.families.masked.network import Graph, Network
from lgcodec.models.families.masked.program import Program, Schedule
from lgcodec.models.interface import ImageModel
from lgcodec.models.machines.choose import choose
from lgcodec.models.machines.numpy.stack import Stack
from lgcodec.models.weights import Weights
from lgcodec.models.zoo import bits, vae
from lgcodec.models.zoo.build import Build, raster

SMALL = {"width": 8, "hidden": 20, "depth": 2, "mixed": 3, "latents": 5, "components": 16}


def graph(name: str, shape: tuple[int, int], number: int = 0, **sizes: int) -> Graph:
    return zoo.system(name).graph(number, shape, **small(zoo.system(name).graph, **sizes))


def small(make: Callable[..., object], **sizes: int) -> dict[str, int]:
    known = make.__code__.co_varnames[: make.__code__.co_argcount]
    return {key: n for key, n in {**SMALL, **sizes}.items() if key in known}


def net_of(g: Graph) -> floats.FloatGraph:
    torch.manual_seed(1)
    net = floats.FloatGraph(g, 1)
    for p in net.parameters():
        p.data += 0.1 * torch.randn_like(p)
    last = net.weights[str(len(g.nodes) + 2)]
    last.data *= (0.5 if g.levels == 2 else 0.2) / last.data.std()
    return net


def schedule(g: Graph, machine: str = "numpy") -> Schedule:
    return Schedule(Network.of(export.export(net_of(g), {})), choose(machine=machine).executor)


def pictures(g: Graph, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, g.levels, (1, height, width)).astype(np.int16)


@pytest.mark.parametrize("name", zoo.names())
def test_systems_come_back_with_the_same_words_everywhere(name: str) -> None:
    g = graph(name, (5, 4))
    tiles = [pictures(g, 13, 6), pictures(g, 13, 6)[:, ::-1].copy()]  # cut: 3 x 2 pictures, some of them in part
    shapes = [(1, 13, 6)] * 2
    programs = [Program(schedule(g, machine), shapes) for machine in ("numpy", "torch")]
    streams = [explicit.push_program(p, tiles) for p in programs]
    for a, b in zip(*streams, strict=True):
        assert np.array_equal(a.words, b.words)
        assert 32 * len(a.words) < a.ideal_bits + 64
    for p in programs:
        assert np.array_equal(explicit.pop_program(p, [s.words for s in streams[0]]), tiles)


@pytest.mark.parametrize("name", zoo.names())
def test_a_decoder_written_from_the_format_gets_the_same(name: str) -> None:
    g = graph(name, (4, 3), levels=16)
    weights = export.export(net_of(g), {})
    x = pictures(g, 5, 4)
    program = Program(Schedule(Network.of(weights), choose(machine="numpy").executor), [x.shape])
    stream = explicit.push_program(program, [x])[0]
    tensors = {key: a.tolist() for key, a in weights.tensors.items()}
    decoder = reference_masked.Decoder(weights.config, tensors)
    assert decoder.decode(stream.words.astype("<u4").tobytes(), 5, 4) == x[0].tolist()


def test_classes_are_an_adaptation(tmp_path: Path) -> None:
    """One byte, which the encoder finds, another program agrees on, and samples and scores can be asked for."""
    g = graph("by_class", (7, 7))
    weights, net = export.export(net_of(g), {}), net_of(g)
    weights.write(tmp_path / "own.safetensors")
    codec = lgcodec.Codec(registry.load(tmp_path / "own.safetensors", machine="numpy"), verify=False)
    model = codec.load()
    assert model.choices == [bytes([i]) for i in range(10)]
    pictures = codec.sample(40, (7, 7), label=3)
    assert not np.array_equal(pictures, codec.sample(40, (7, 7)))
    with mock.patch("lgcodec.coding.explicit.push_program", wraps=explicit.push_program) as calls:
        data = file_of(model, np.concatenate(pictures))
    assert calls.call_count == 12  # each choice, of all squares that it is tried on at once, and the file
    assert container.read(data).header.model.adaptation == b"\3"
    assert np.array_equal(codec.decompress(data), np.concatenate(pictures))
    few = pictures[:10]
    rates = {label: np.mean([codec.score(picture, label=label) for picture in few]) for label in (None, 2, 3)}
    assert rates[3] < min(rates[None], rates[2])
    x = torch.from_numpy(np.stack(few).reshape(10, -1).astype(np.int64))
    told = torch.eye(10)[[3] * 10]
    assert rates[3] == pytest.approx(floats.bits(g, net(x, given=told), x).mean().item(), rel=0.01)
    tile = pictures[0][None].astype(np.int16)
    stream = explicit.push_program(model.coding.program([(1, 7, 7)], b"\3"), [tile])[0]
    decoder = reference_masked.Decoder(weights.config, {key: a.tolist() for key, a in weights.tensors.items()})
    assert decoder.decode(stream.words.astype("<u4").tobytes(), 7, 7, b"\3") == tile[0].tolist()
    for bad in (b"\n", b"\0\0"):
        with pytest.raises(ModelError, match="classes"):
            model.coding.program([(1, 7, 7)], bad)
    for label in (-1, 10):
        with pytest.raises(lgcodec.errors.InputError, match="10 classes"):
            codec.score(pictures[0], label=label)


def difference(g: Graph, net: floats.FloatGraph) -> float:
    """How far the bits of samples are apart, as floats and as integers, on the average and as a share of all."""
    x = pictures(g, 20 * g.shape[0], g.shape[1])
    flat = torch.from_numpy(x.reshape(20, -1).astype(np.int64))
    as_floats = floats.bits(g, net(flat), flat).detach().numpy()
    run = Schedule(Network.of(export.export(net, {})), choose(machine="numpy").executor)
    as_integers = np.zeros_like(as_floats)
    steps = (at for t, at in sorted(run.samples.items()))
    for (distribution, true), at in zip(Program(run, [x.shape]).symbols([x]), steps, strict=True):
        shares = [24 - np.log2(part.frequency.reshape(20, -1)) for part in distribution.intervals(true)]
        as_integers[:, at] = sum(shares)
    return float(np.abs(as_floats - as_integers).mean() / as_floats.mean())


@pytest.mark.parametrize("name", zoo.names())
def test_integers_say_what_floats_say(name: str) -> None:
    g = graph(name, (6, 5))
    assert difference(g, net_of(g)) < 0.015


def file_of(model: ImageModel, image: np.ndarray) -> bytes:
    """A file of which no plain method has a part, whatever it takes."""
    plain = (1, bytes(1 << 20))
    promising = mock.patch("lgcodec.plain.is_promising", return_value=False)
    with promising, mock.patch("lgcodec.plain.encode", return_value=plain):
        return lgcodec.Codec(model, verify=False).compress(image)


def looking_ahead(g: Graph) -> Graph:
    """The graph with the pixel at the right in each window."""
    nodes = [
        replace(n, offsets=(*n.offsets, (0, 1))) if n.kind in ("window", "table") and (0, 1) not in n.offsets else n
        for n in g.nodes
    ]
    return replace(g, nodes=tuple(nodes))


@pytest.mark.parametrize("name", [n for n in zoo.names() if any(0 in node.inputs for node in graph(n, (2, 2)).nodes)])
def test_what_looks_ahead_sees_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a graph says, its integers are causal, and floats agree by their masks; broken masks are caught."""
    g = looking_ahead(graph(name, (6, 5)))
    x = pictures(g, 12, 5)
    program = Program(schedule(g), [x.shape])
    assert np.array_equal(explicit.pop_program(program, [explicit.push_program(program, [x])[0].words])[0], x)
    net = net_of(g)
    assert difference(g, net) < 0.015
    monkeypatch.setattr(floats, "_allowed", lambda j, known, own: known <= own + 3)
    net.masks = floats.Masks(g, torch.device("cpu"))
    assert difference(g, net) > 0.03


FLOWS = [name for name in zoo.names() if zoo.system(name).flow]


@pytest.mark.parametrize("name", zoo.names())
def test_all_tiny_pictures_share_the_whole_line(name: str) -> None:
    """The shares of all pictures sum to 2**24 for each symbol, exactly: no bit is lost, and none is there twice."""
    of_two = dict.fromkeys(
        ("pixelcnnpp", "pixelcnnpp_scales", "flowpp", "sigmoid", "vae_gaussian", "mixture_gaussian", *FLOWS), (2, 1)
    )
    shape = {**of_two, "pixelcnn_grey": (2, 2)}.get(name, (3, 3))
    g = graph(name, shape, levels=3)
    every = np.array(list(product(range(g.levels), repeat=math.prod(shape))))
    tile = every.reshape(1, -1, shape[1]).astype(np.int16)
    shares, symbols = [1] * len(every), 0
    for distribution, true in Program(schedule(g), [tile.shape]).symbols([tile]):
        for part in distribution.intervals(true):
            frequency = part.frequency.reshape(len(every), -1)
            symbols += frequency.shape[1]
            shares = [a * math.prod(map(int, row)) for a, row in zip(shares, frequency, strict=True)]
    assert sum(shares) == 1 << 24 * symbols


def test_the_blind_spot_and_its_cure() -> None:
    """What changes the middle pixel's probability, when one pixel is changed."""

    def field(name: str, **sizes: int) -> np.ndarray:
        g = graph(name, (9, 9), width=8, **sizes)
        x = np.zeros((82, 81), np.int64)
        x[np.arange(81), np.arange(81)] = 1
        out = net_of(g)(torch.from_numpy(x))[:, 4 * 9 + 4].detach().numpy()
        return (out[:81] != out[81]).any(axis=1).reshape(9, 9)

    past = np.arange(81).reshape(9, 9) < 40
    plain, gated = field("pixelcnn", depth=4), field("gated", depth=4)
    assert (gated == past).all()
    assert not (plain & ~past).any()
    assert not plain[3, 8]  # too far to the right of what is above: the windows that lead there hide it
    assert plain[:4, :5].all()


LATENT = [name for name in zoo.names() if zoo.system(name).posterior]


def latents_of(name: str, shape: tuple[int, int]) -> objectives.Latents:
    system = zoo.system(name)
    prior, posterior = system.prior and system.prior(**small(system.prior)), system.posterior
    model, _ = training.build(replace(system, posterior=lambda shape: posterior(shape, **small(posterior)),
                              prior=prior and (lambda: prior)), graph(name, shape), 0)  # fmt: skip
    torch.manual_seed(1)
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)
    if model.prior is not None:  # no draw so far from the prior's that a table's least share is what it takes
        list(model.prior.weights.values())[-1].data *= 0.3
    return model


def made(name: str, shape: tuple[int, int]) -> floats.FloatGraph | objectives.Flow | objectives.Latents:
    if name in FLOWS:
        return flow_of(name, shape)
    return latents_of(name, shape) if name in LATENT else net_of(graph(name, shape))


@pytest.mark.parametrize("name", LATENT)
def test_latents_come_back_and_give_back_what_they_took(name: str) -> None:
    weights, words = export.export_latents(latents_of(name, (5, 4)), {}), list[np.ndarray]()
    levels = graph(name, (5, 4)).levels
    tiles = [
        a.astype(np.int16) for a in np.random.default_rng(2).integers(0, levels, (3, 1, 7, 6))
    ]  # cut, some in part
    start = likelihood.noise(100, 0)
    for machine in ("numpy", "torch"):
        program = Latents(weights, choose(machine=machine).executor).latent([(1, 7, 6)] * 3)
        stack = Stack(start)
        bits_back.push(stack, program, tiles)
        words.append(stack.words())
        assert np.array_equal(bits_back.pop(stack, program), tiles)
        assert np.array_equal(stack.words(), start)
    assert np.array_equal(*words)
    tensors = {key: a.tolist() for key, a in weights.tensors.items()}
    again, left = reference_masked.pop_link(weights.config, tensors, words[0].tolist(), 3, 7, 6)
    assert np.array_equal(again, [tile[0] for tile in tiles])
    assert left == start.tolist()


def flow_of(name: str, shape: tuple[int, int]) -> objectives.Flow:
    steps = zoo.system(name).flow
    model = objectives.Flow(steps(shape, **small(steps)), graph(name, shape), 1)
    torch.manual_seed(1)
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return model


@pytest.mark.parametrize("name", FLOWS)
def test_flows_are_bijections_that_come_back_everywhere(name: str) -> None:
    weights = export.export_flow(flow_of(name, (5, 4)), {})
    tiles = [pictures(graph(name, (5, 4)), 13, 6), np.zeros((1, 13, 6), np.int16)]  # cut, some in part
    flows = [Flow(weights, choose(machine=machine).executor) for machine in ("numpy", "torch")]
    programs = [flow.program([(1, 13, 6)] * 2) for flow in flows]
    streams = [explicit.push_program(p, tiles) for p in programs]
    for a, b in zip(*streams, strict=True):
        assert np.array_equal(a.words, b.words)
    assert np.array_equal(explicit.pop_program(programs[0], [s.words for s in streams[1]]), tiles)
    x = programs[0].blocks.arrange(tiles)
    assert not np.array_equal(flows[0].forward(x), x)
    tensors = {key: a.tolist() for key, a in weights.tensors.items()}
    stream = streams[0][0].words.astype("<u4").tobytes()
    assert reference_masked.decode_flow(weights.config, tensors, stream, 13, 6) == tiles[0][0].tolist()
    every = np.array(list(product((0, 7, 255), repeat=4)))  # a flow's shape in small: no two become one
    small = Flow(export.export_flow(flow_of(name, (2, 2)), {}), choose(machine="numpy").executor)
    assert len(np.unique(small.forward(every), axis=0)) == len(every)
    assert np.array_equal(small.inverse(small.forward(every)), every)


@pytest.mark.parametrize("name", FLOWS)
def test_flows_in_integers_say_what_floats_say(name: str) -> None:
    model = flow_of(name, (6, 4))
    x = np.random.default_rng(2).integers(0, 256, (20, 24))
    tile = x.reshape(1, -1, 4).astype(np.int16)
    flow = Flow(export.export_flow(model, {}), choose(machine="numpy").executor)
    with torch.inference_mode():
        as_floats = model(torch.from_numpy(x)).mean().item()
    as_integers = explicit.push_program(flow.program([tile.shape]), [tile])[0].ideal_bits / x.size
    assert as_integers == pytest.approx(as_floats, rel=0.015)


def test_flows_that_do_not_fit_are_refused() -> None:
    good = export.export_flow(flow_of("nice", (4, 4)), {})
    steps, prior = good.config["flow"], good.config["prior"]
    for config in (
        {"flow": {}, "prior": prior},
        {"flow": [None], "prior": prior},
        {"flow": steps, "prior": steps[0]},
        {"flow": [{**steps[0], "shape": [2, 8]}], "prior": prior},
        {"flow": [{**steps[0], "levels": 128}], "prior": prior},
        {"flow": [prior], "prior": prior},
        {"flow": steps, "prior": prior, "more": 1},
        {"flow": steps},
    ):
        with pytest.raises(ModelError):
            Flow(Weights("masked", config, good.tensors, {}), choose(machine="numpy").executor)


@pytest.mark.parametrize("name", LATENT)
def test_net_bits_are_the_bound(name: str) -> None:
    model = latents_of(name, (5, 4))
    x = np.random.default_rng(2).integers(0, model.likelihood.graph.levels, (1600, 20))
    with torch.inference_mode():
        elbo, tight = (model.bound(torch.from_numpy(x), n).mean().item() / np.log(2) for n in (1, 20))
    run = Latents(export.export_latents(model, {}), choose(machine="numpy").executor)
    tile = x.reshape(1, -1, 4).astype(np.int16)
    net = likelihood.code_length(run.latent([tile.shape]), [tile], Stack(likelihood.noise(20000, 0))) / len(x)
    assert net == pytest.approx(elbo, rel=0.02)
    assert tight < elbo or name == "mixture"  # the more samples, the tighter; a mixture's is exact
    least, most = training.information(model, x.reshape(-1, 5, 4).astype(np.uint8))
    assert most > 0
    with torch.inference_mode():
        spent, rest = model.terms(torch.from_numpy(x))
    assert (spent.sum(1) + rest).mean().item() / np.log(2) == pytest.approx(elbo, rel=0.05)
    for p in model.posterior.parameters():
        p.data *= 0
    assert least is None or abs(training.information(model, x.reshape(-1, 5, 4).astype(np.uint8))[0]) < 1e-4


def gradients(model: objectives.Latents, bound: Callable[[], torch.Tensor]) -> tuple[list[float], torch.Tensor]:
    """Of 20 draws: the bounds, and the gradients of all parameters, the posterior's first, [20, parameters]."""
    torch.manual_seed(1)
    parameters, values, rows = [*model.posterior.parameters(), *model.likelihood.parameters()], [], []
    for _ in range(20):
        loss = bound().mean()
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]).double())
        values.append(loss.item())
    return values, torch.stack(rows)


def test_gradients_of_weighted_draws() -> None:
    """Those of the tight bound, on average, with less noise in the posterior's once it is near the true one."""
    model, rng = latents_of("iwae", (5, 4)), np.random.default_rng(2)
    pictures = torch.from_numpy(rng.integers(0, 2, (4, 20)))
    x, n = pictures[:1].repeat(300, 1), sum(p.numel() for p in model.posterior.parameters())
    values, plain = gradients(model, lambda: model.bound(x, model.samples))
    same, weighted = gradients(model, lambda: model.weighted(x))
    assert values == pytest.approx(same, rel=1e-6)
    np.testing.assert_allclose(plain[:, n:], weighted[:, n:], rtol=1e-3, atol=1e-7)
    assert (plain - weighted)[:, :n].mean(0).norm() < 0.15 * plain[:, :n].mean(0).norm()
    descend(model, pictures)
    _, plain = gradients(model, lambda: model.bound(x, model.samples))
    _, weighted = gradients(model, lambda: model.weighted(x))
    assert weighted[:, :n].var(0).sum() < 0.5 * plain[:, :n].var(0).sum()


@pytest.mark.parametrize("name", ["gated", "order_agnostic", "vae", "mixture"])
def test_pictures_are_completed(name: str, tmp_path: Path) -> None:
    """What is known stays, and the rest follows from it."""
    training.exported(made(name, (6, 5)), {}).write(tmp_path / "own.safetensors")
    codec = lgcodec.Codec(registry.load(tmp_path / "own.safetensors", machine="numpy"))
    images = np.random.default_rng(3).random((2, 6, 5)) < 0.5
    known = np.arange(30).reshape(6, 5) < 17
    found = [np.stack(codec.complete(image, known, 40, seed=1)) for image in images]
    for image, pictures in zip(images, found, strict=True):
        assert (pictures[:, known] == image[known]).all()
        assert len(np.unique(pictures.reshape(40, -1), axis=0)) > 1
    assert not np.array_equal(found[0][:, ~known], found[1][:, ~known])
    with pytest.raises(lgcodec.errors.InputError, match="known"):
        codec.complete(images[0], known[1:])


def descend(model: objectives.Latents, x: torch.Tensor) -> None:
    """A short training: 150 steps, each of all pictures."""
    descent = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(150):
        descent.zero_grad()
        model.loss(x).backward()
        descent.step()


def test_options_of_the_objective() -> None:
    """What latents cost decides how much they say."""
    rng, spent = np.random.default_rng(2), {}
    kinds = rng.integers(0, 2, (4, 20))[rng.integers(4, size=100)]  # four pictures, with a little noise
    x = torch.from_numpy(kinds ^ (rng.random(kinds.shape) < 0.05))
    torch.manual_seed(1)
    for option in ({}, {"beta": 8.0}, {"free_bits": 2.0}, {"rate": 12.0}):
        system = replace(zoo.system("vae"), objective=option, posterior=lambda shape: vae.posterior(shape, 20, 5))
        model, _ = training.build(system, graph("vae", (5, 4)), 0)
        descend(model, x)
        with torch.inference_mode():
            spent[next(iter(option), "")] = model.terms(x)[0].sum(1).mean().item()
            if not option:
                proposed = model.bound(x, 3).mean().item()
                for p in model.posterior.parameters():
                    p.data *= 0  # the prior: naive Monte Carlo, which seldom hits
                assert model.bound(x, 3).mean().item() > proposed + 1
    assert spent["beta"] < spent[""] < spent["free_bits"]
    assert spent["rate"] == pytest.approx(12, abs=2)


def test_a_recognition_net_learns_asleep() -> None:
    graphs = {"posterior": lambda shape: bits.posterior(shape, 20, 3), "prior": lambda: bits.prior(3)}
    model, _ = training.build(replace(zoo.system("wake_sleep"), **graphs), bits.graph(0, (4, 4), 20, 3), 0)
    model.likelihood.weights["4"].data *= 50  # what latents do is seen
    descent = torch.optim.Adam(model.posterior.parameters(), 1e-2)
    torch.manual_seed(1)
    began = model.dreamed(500).mean().item()
    for _ in range(150):
        descent.zero_grad()
        model.loss(torch.zeros(50, 16, dtype=torch.int64)).backward()
        descent.step()
    assert model.dreamed(500).mean().item() < 0.7 * began


def test_what_is_between_two_pictures(tmp_path: Path) -> None:
    training.exported(made("vae", (6, 5)), {}).write(tmp_path / "own.safetensors")
    codec = lgcodec.Codec(registry.load(tmp_path / "own.safetensors", machine="numpy"))
    first, last = np.random.default_rng(3).random((2, 6, 5)) < 0.5
    pictures = codec.between(first, last, 7)
    assert [p.shape for p in pictures] == [(6, 5)] * 7
    program, ends = codec.load().coding.program([(1, 6, 5)] * 3), iter([0, 4095])
    posterior = mock.patch.object(type(program), "posterior", return_value=None)
    with posterior, mock.patch.object(type(program), "likelihood", side_effect=lambda z: z):
        z = program.between(lambda p: np.full((3, 5), next(ends)) if p is None else p, None, None)
    assert np.array_equal(z[[0, 2]], [[0] * 5, [4095] * 5])
    assert (abs(z[1] - 2047.5) < 8).all()
    with pytest.raises(lgcodec.errors.InputError):
        lgcodec.Codec().between(np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8), 3)


def test_latents_that_do_not_fit_are_refused() -> None:
    good = export.export_latents(latents_of("vae", (5, 4)), {})
    other = export.export_latents(latents_of("vae", (5, 5)), {})
    mixed = {**good.tensors, **{name: a for name, a in other.tensors.items() if name.startswith("posterior")}}
    for config, tensors in (
        ({**good.config, "posterior": None}, good.tensors),
        ({**good.config, "more": 1}, good.tensors),
        ({**good.config, "posterior": other.config["posterior"]}, mixed),
        ({**good.config, "prior": good.config["posterior"]}, good.tensors),
        ({"likelihood": good.config["likelihood"]}, good.tensors),
    ):
        with pytest.raises(ModelError):
            Latents(Weights("masked", config, tensors, {}), choose(machine="numpy").executor)


def test_examples_of_the_lectures_run(capsys: pytest.CaptureFixture[str]) -> None:
    """And print what the page shows."""
    text = (Path(__file__).parents[1] / "docs" / "lectures.md").read_text("utf-8")
    for example in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(example, {})
    shown = [row for line in text.splitlines() if (row := line.split()) and set(row[0]) <= set("#.")]
    left, right = ([row[side] for row in shown if len(row[0]) == 11] for side in (0, 1))
    assert "\n".join([*left, "", *right]) in capsys.readouterr().out


@pytest.mark.parametrize("name", ["context", "nice", "vae", "vae_gaussian", "pixelcnn_grey"])
def test_files_of_own_weights(name: str, tmp_path: Path) -> None:
    """Images of bits go through models of bits, and grey ones through the others; `default` codes no bits."""
    g, weights = graph(name, (7, 7)), training.exported(made(name, (7, 7)), {})
    weights.write(tmp_path / "own.safetensors")
    codec = lgcodec.Codec(registry.load(tmp_path / "own.safetensors", machine="numpy"), effort=1)
    noise = np.random.default_rng(3).integers(0, g.levels, (40, 17)).astype(np.uint8)
    image = noise.astype(bool) if g.levels == 2 else noise
    model = codec.load()
    assert model.levels == g.levels
    data = file_of(model, image)
    assert lgcodec.inspect(data).transform == ("bits" if g.levels == 2 else "grey")
    assert lgcodec.inspect(data).model_id == 255
    assert np.array_equal(codec.decompress(data), image)
    assert np.array_equal(codec.decompress(codec.compress(image)), image)
    assert codec.score(image) > 0
    assert codec.sample(2, (17, 7))[0].dtype == image.dtype
    if g.levels == 2:
        assert lgcodec.inspect(lgcodec.Codec(verify=False, effort=1).compress(image)).model_id is None
        with pytest.raises(lgcodec.errors.ModelError, match="bits"):
            codec.compress(noise * 255)


def page_of_text() -> np.ndarray:
    """Large letters, slanted, with rough edges: bool [300, 400]."""
    sheet = Image.new("L", (400, 300), 255)
    for y in range(10, 280, 44):
        words = "".join(chr(97 + (y * i * i + 7 * i) % 26) if i % 6 else " " for i in range(1, 40))
        ImageDraw.Draw(sheet).text((12, y), words, fill=0, font=ImageFont.load_default(32))
    noise = np.random.default_rng(0).normal(128, 25, (300, 400))
    turned: np.ndarray = np.asarray(sheet.rotate(0.7, Image.Resampling.BICUBIC, fillcolor=255))
    return turned > noise


def test_pages_of_text_go_by_their_own_model() -> None:
    """Without being asked to, in fewer bytes than CCITT G4 and PNG; parts of them come back, too."""
    page = page_of_text()
    g4, png = io.BytesIO(), io.BytesIO()
    Image.fromarray(page).save(g4, "TIFF", compression="group4")
    Image.fromarray(page).save(png, "PNG", optimize=True)
    data = lgcodec.compress(page)
    assert lgcodec.inspect(data).model_id == registry.RECORDS[13].wire_id == 14
    assert len(data) < 0.75 * min(g4.tell(), png.tell())
    assert np.array_equal(lgcodec.decompress(data), page)
    assert np.array_equal(lgcodec.decompress(data, region=(250, 20, 300, 90)), page[20:90, 250:300])
    icon = np.indices((16, 16)).sum(axis=0) % 2 == 0
    assert lgcodec.inspect(lgcodec.compress(icon)).model_id is None


HOSTILE = [
    {"shape": [5]},
    {"shape": [5, 0]},
    {"shape": [1 << 20, 1 << 20]},
    {"shape": [5, 4.0]},
    {"levels": 3},
    {"given": -1},
    {"head": "mixture"},
    {"head": ["bernoulli"]},
    {"components": 0},
    {"order": "raster"},
    {"nodes": []},
    {"nodes": {}},
    {"nodes": [1]},
    {"more": 1},
]
BAD_NODES = [
    {"kind": "loop"},
    {"kind": ["window"]},
    {"inputs": [4]},
    {"inputs": [2]},
    {"inputs": [3]},
    {"inputs": [-1]},
    {"inputs": []},
    {"inputs": ["0"]},
    {"degrees": "none"},
    {"channels": 0},
    {"channels": 1 << 20},
    {"channels": True},
    {"low": -40000},
    {"low": 5, "high": 4},
    {"offsets": []},
    {"offsets": [[0, 1 << 40]]},
    {"offsets": [[0]]},
    {"offsets": [[0, 0], [0, 0]]},
    {"offsets": [[0, i] for i in range(1000)]},
    {"grid": [5, 5]},
    {"grid": [-5, -4]},
    {"heads": 0.5},
    {"extra": 1},
]


def changed(weights: Weights, config: dict[str, object] | None = None, **tensors: np.ndarray) -> Weights:
    return Weights(weights.family, {**weights.config, **(config or {})}, {**weights.tensors, **tensors}, {})


def test_hostile_graphs_are_refused() -> None:
    good = export.export(net_of(graph("pixelcnn", (5, 4))), {})
    Network.of(good)
    for change in HOSTILE:
        with pytest.raises(ModelError):
            Network.of(changed(good, change))
    for change in BAD_NODES:
        with pytest.raises(ModelError):
            Network.of(changed(good, {"nodes": [{**good.config["nodes"][0], **change}, *good.config["nodes"][1:]]}))
    degrees = good.tensors["degrees.order"]
    for bad in (degrees[:-1], degrees - 1, degrees.astype(np.int16), degrees + (1 << 25), degrees.reshape(5, 4)):
        with pytest.raises(ModelError):
            Network.of(changed(good, **{"degrees.order": bad}))
    weight = good.tensors["3.weight"]
    for bad in (weight[:-1], weight.astype(np.int32), weight * 0 + 32767):
        with pytest.raises(ModelError):
            Network.of(changed(good, **{"3.weight": bad}))
    with pytest.raises(ModelError):
        Network.of(changed(good, **{"table.bernoulli": good.tensors["table.bernoulli"] * 0}))
    with pytest.raises(ModelError):
        Network.of(Weights(good.family, good.config, {k: a for k, a in good.tensors.items() if k != "4.bias"}, {}))


def test_hostile_layers_of_all_units_and_of_each_are_refused() -> None:
    good = export.export(net_of(graph("nade", (5, 4))), {})
    tied, local = good.config["nodes"]
    for nodes in (
        [{**tied, "kind": "dense"}, local],
        [{**tied, "kind": "window"}, local],
        [{**tied, "inputs": [0, 0]}, local],
        [{**tied, "inputs": [3]}, local],
        [{**tied, "channels": 1 << 13}, local],
        [{**tied, "channels": 21}, local],
        [tied, {**local, "kind": "window"}],
        [tied, {**local, "kind": "dense"}],
        [tied, {**local, "kind": "tied"}],
        [tied, {**local, "channels": 2}],
        [tied, {**local, "grid": [5, 5]}],
        [tied, {**local, "offsets": []}],
        [tied, {**local, "offsets": [[0, 0], [0, -1]]}],
        [tied, {**local, "inputs": [2]}],
        [tied],
    ):
        with pytest.raises(ModelError):
            Network.of(changed(good, {"nodes": nodes}))
    for name in ("3.weight", "4.weight"):
        weight = good.tensors[name]
        for bad in (weight[:-1], weight[:, :-1], weight.astype(np.int32), weight * 0 + 32767):
            with pytest.raises(ModelError):
                Network.of(changed(good, **{name: bad}))


def test_layers_of_all_units_and_of_each_in_any_graph() -> None:
    """Several units of one degree, inputs of several kinds, places around a unit: as the format's decoder has them."""
    shape = (4, 3)
    g = Build(shape, raster(shape) // 2, 1, {"late": raster(shape)[::-1].copy(), "few": np.array([0, 3, 3], np.int32)})
    seen = g.window([0, 1], 3, ((0, -1), (-1, 0)))
    late = g.add("tied", [0, seen, 2], 4, "late")
    few = g.add("tied", [seen, 0, 1], 2, "few", low=0)
    near = g.add("local", [seen, late, 0], 2, offsets=((0, 0), (0, -1), (1, 1)), grid=shape)
    last = g.add("dense", [near, few], 2)
    g.add("local", [last, late], 1, offsets=((0, 0),), grid=shape)
    g = g.bits()
    assert difference(g, net_of(g)) < 0.015
    weights, x = export.export(net_of(g), {}), pictures(g, 5, 4)
    for machine in ("numpy", "torch"):
        program = Program(Schedule(Network.of(weights), choose(machine=machine).executor), [x.shape], b"\0")
        words = explicit.push_program(program, [x])[0].words
        assert np.array_equal(explicit.pop_program(program, [words])[0], x)
        decoder = reference_masked.Decoder(weights.config, {key: a.tolist() for key, a in weights.tensors.items()})
        assert decoder.decode(words.astype("<u4").tobytes(), 5, 4, b"\0") == x[0].tolist()


def test_gradients_of_running_sums() -> None:
    torch.manual_seed(1)
    x, w, bias = (torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((3, 6), (6, 4), (4,)))
    assert torch.autograd.gradcheck(lambda *a: floats._Sums.apply(*a, [2, 0, 3, 1], -200, 150, False), (x, w, bias))


def test_inputs_of_other_units_lie_on_a_grid() -> None:
    g = graph("pixelcnnpp_scales", (6, 6))
    coarse = next(i for i, node in enumerate(g.nodes) if node.grid == (3, 3))
    for change in ({"grid": (3, 4)}, {"kind": "dense", "grid": (0, 0), "offsets": ()}):
        nodes = (*g.nodes[:coarse], replace(g.nodes[coarse], **change), *g.nodes[coarse + 1 :])
        with pytest.raises(ModelError, match="grid"):
            replace(g, nodes=nodes)


def test_graphs_that_need_too_much_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="too much"):
        graph("pixelcnn", (128, 128), width=1024)
    with pytest.raises(ModelError, match="pairs"):
        graph("transformer", (60, 60))
    g = graph("pixelcnn", (2, 2))
    monkeypatch.setattr("lgcodec.models.families.masked.program.MAX_STACK", 10_000)
    with pytest.raises(ModelError, match="too many pictures"):
        next(iter(Program(schedule(g), [(1, 1000, 2)]).steps()))


@pytest.mark.parametrize("name", ["order_agnostic", "nade"])
def test_an_order_is_data(name: str) -> None:
    """The same weights in another order: the net was told that what it does not know is zero."""
    a, b = (graph(name, (5, 4), number) for number in (0, 1))
    net = net_of(a)
    x = pictures(a, 5, 4)
    bits = []
    for g in (a, b):
        program = Program(Schedule(Network.of(export.export(net, {}, g)), choose(machine="numpy").executor), [x.shape])
        streams = explicit.push_program(program, [x])
        assert np.array_equal(explicit.pop_program(program, [streams[0].words])[0], x)
        bits.append(streams[0].ideal_bits)
    assert bits[0] != bits[1]


def test_samples_beyond_the_levels_are_refused() -> None:
    g = graph("pixelcnn", (5, 4))
    program = Program(schedule(g), [(1, 5, 4)])
    with pytest.raises(ModelError, match="levels"):
        list(program.symbols([np.full((1, 5, 4), 2, np.int16)]))
    with pytest.raises(ModelError, match="grey"):
        Program(schedule(g), [(3, 5, 4)])


@pytest.mark.parametrize("name", ["made", "affine"])
def test_few_pictures_train_a_system(name: str, tmp_path: Path) -> None:
    """Fewer than rates are shown of."""
    data, out = tmp_path / "few.npz", tmp_path / "few.safetensors"
    few = np.random.default_rng(1).integers(0, 256, (9, 4, 5), np.uint8)
    np.savez(data, train=few, test=few[:3])
    words = [name, "--data", str(data), "--out", str(out), "--steps", "2", "--batch", "4"]
    result = CliRunner().invoke(training.command, words)
    assert result.exit_code == 0, result.output
    assert "as integers" in result.output
    assert out.is_file()
