"""What the lectures do with likelihoods: features, classes that are not known, traversals, 1-D flows."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from test_zoo import descend, graph, made, net_of, schedule

import lgcodec
from lgcodec.models import registry, zoo
from lgcodec.models.families.masked import features, training
from lgcodec.models.families.masked.floats import graph as floats
from lgcodec.models.families.masked.floats import objectives
from lgcodec.models.families.masked.program import Program
from lgcodec.models.zoo import vae, vlae


def every(g: floats.Graph) -> torch.Tensor:
    return torch.from_numpy(np.array(list(product(range(g.levels), repeat=math.prod(g.shape)))))


@pytest.mark.parametrize("name", ["made", "nade"])
def test_fisher_scores_of_all_pictures_are_zero_on_the_average(name: str) -> None:
    """E of the gradient of log p(x) is 0 under p itself, and each score says how p changes."""
    g = graph(name, (2, 3))
    net, x = net_of(g), every(g)

    def shares() -> torch.Tensor:
        with torch.no_grad():  # no rounding
            return torch.exp2(-floats.bits(g, net(x), x).sum(1))

    share = shares()
    scores = features.fisher_scores(net, x)
    assert share.sum() == pytest.approx(1, abs=1e-5)
    assert scores.shape == (64, sum(p.numel() for p in net.parameters()))
    assert (share @ scores).abs().max() < 0.05 * scores.abs().max()
    assert scores.abs().max() > 0.1
    moment = share @ scores**2
    kernel = features.by_moment(scores, moment)
    assert torch.allclose(kernel.norm(dim=1), kernel.new_ones(64))
    step = 1e-2 / scores[5].norm() * scores[5] / scores[5].norm()
    for p, part in zip(net.parameters(), step.split([p.numel() for p in net.parameters()]), strict=True):
        p.data += part.view_as(p)
    change = shares()[5].log() - share[5].log()
    assert change == pytest.approx(float(scores[5] @ step), rel=0.1)


def test_nearest_and_latents() -> None:
    rng = np.random.default_rng(0)
    known = rng.random((300, 12))
    at, distance = features.nearest(known[[7, 200]] + 0.01, known)
    assert at.tolist() == [7, 200]
    assert distance == pytest.approx([0.01 * math.sqrt(12)] * 2)
    model = made("vae", (5, 4))
    x = torch.from_numpy(rng.integers(0, 2, (3, 20)))
    found = features.latents(model, x)
    assert found.shape == (3, 5)
    assert len(found.unique(dim=0)) == 3


def test_pictures_without_a_class_are_those_of_any() -> None:
    g = graph("semi", (2, 2))
    system = replace(zoo.system("semi"), graph=lambda *a, **b: g)
    model, masks = training.build(system, g, 0)
    model.load_state_dict(net_of(g).state_dict())
    x = every(g)
    given = torch.from_numpy(training.one_hot(np.array([3, -1] * 8), 16, 10))
    assert given.sum(1).tolist() == [1, 0] * 8
    nats = features.by_classes(model, x).detach().numpy()
    assert np.exp(-nats).sum(axis=0) == pytest.approx(np.ones(10), rel=1e-4)
    of_three = floats.bits(g, model(x, given=torch.eye(10)[[3] * 16]), x).sum(1).detach().numpy()
    assert nats[:, 3] == pytest.approx(of_three * math.log(2), rel=1e-4)
    for i, expected in ((0, nats[0, 3]), (1, -np.log(np.exp(-nats[1]).mean()))):
        got = training.cost(model, [x[i : i + 1], torch.tensor(0), given[i : i + 1]], masks)
        assert 4 * math.log(2) * got.item() == pytest.approx(expected, rel=1e-4)


def test_what_is_along_a_latent(tmp_path: Path) -> None:
    training.exported(made("vae", (6, 5)), {}).write(tmp_path / "own.safetensors")
    codec = lgcodec.Codec(registry.load(tmp_path / "own.safetensors", machine="numpy"))
    picture = np.random.default_rng(3).random((6, 5)) < 0.5
    assert [p.shape for p in codec.along(picture, 4, 7)] == [(6, 5)] * 7
    program = codec.load().coding.program([(1, 6, 5)] * 4)
    posterior = mock.patch.object(type(program), "posterior", return_value=None)
    with posterior, mock.patch.object(type(program), "likelihood", side_effect=lambda z: z):
        z = program.along(lambda p: np.arange(20).reshape(4, 5) if p is None else p, None, 2)
    assert z[:, 2].tolist() == [512, 1536, 2560, 3584]
    assert (z[:, [0, 1, 3, 4]] == [0, 1, 3, 4]).all()
    with pytest.raises(lgcodec.errors.ModelError, match="latent 5"):
        codec.along(picture, 5, 3)
    with pytest.raises(lgcodec.errors.InputError):
        lgcodec.Codec().along(np.zeros((8, 8), np.uint8), 0, 3)


def test_a_likelihood_that_sees_less_leaves_more_to_latents() -> None:
    kinds = np.random.default_rng(2).integers(0, 2, (4, 20))
    x, spent = torch.from_numpy(kinds[np.arange(80) % 4]), []
    for dropout in (0.0, 1.0):
        g = graph("vlae", (5, 4))
        prior, posterior = vlae.prior(5, 20), vae.posterior((5, 4), 20, 5)
        torch.manual_seed(1)
        model = objectives.Latents(prior, posterior, g, dropout=dropout)
        descend(model, x)
        with torch.inference_mode():
            spent.append(model.terms(x)[0].sum(1).mean().item())
    assert spent[1] > spent[0] + 0.5


def test_latents_as_vague_as_the_prior_can_come_back() -> None:
    """What the posterior says beyond its ends is clipped, but its gradient is not."""
    model = made("vae", (5, 4))
    bias = model.posterior.biases["5"]
    bias.data.view(-1, 2)[:, 1] = -3.0  # log precisions
    model.loss(torch.from_numpy(np.random.default_rng(0).integers(0, 2, (50, 20)))).backward()
    assert (bias.grad.view(-1, 2)[:, 1] != 0).all()


def test_the_flow_of_sigmoids_is_what_is_coded() -> None:
    """Coding x under the density F' is coding it under F(x + 1/2) - F(x - 1/2), in floats and in integers."""
    g = graph("sigmoid", (2, 2))
    net = net_of(g)
    logit, mean, log_scale = net(torch.zeros(1, 4, dtype=torch.int64))[0, 1].detach().double().chunk(3)
    mean, scale = (mean + 1) * 128, log_scale.clamp(-4, 6).exp()

    def u(x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid((x[:, None] - mean) / scale) @ torch.softmax(logit, 0)

    x = torch.arange(1, 255)
    inner = x.double().requires_grad_()
    (density,) = torch.autograd.grad(u(inner).sum(), inner)
    fine = (torch.arange(1000).double() + 0.5) / 1000 - 0.5
    (of_line,) = torch.autograd.grad(u(line := (x[100] + fine).requires_grad_()).sum(), line)
    share = u(x + 0.5) - u(x - 0.5)
    assert of_line.mean() == pytest.approx(float(share[100]), rel=1e-4)
    assert (density - share).abs().max() < 0.01 * share.max()
    samples = x[:, None].expand(-1, 4)
    nats = floats.bits(g, net(samples), samples)[:, 1].detach().double() * math.log(2)
    assert torch.allclose((-nats).exp(), share, rtol=1e-3, atol=1e-6)
    tile = samples.reshape(1, -1, 2).numpy().astype(np.int16)
    bits = np.zeros(len(x))
    for distribution, true in Program(schedule(g), [tile.shape]).symbols([tile]):
        bits += sum(24 - np.log2(p.frequency.reshape(len(x), -1)[:, 1]) for p in distribution.intervals(true))
    kept = share.numpy() > 1e-4
    assert kept.sum() > 50
    assert bits[kept] == pytest.approx(-np.log2(share.numpy()[kept]), abs=0.15)
