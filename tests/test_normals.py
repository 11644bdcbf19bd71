"""Normal distributions over cells, and mixtures of them: latents, and grey pixels; as integers and as floats."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch
from test_zoo import changed, descend, graph, latents_of, net_of

from lgcodec.coding import likelihood as likelihood_of
from lgcodec.models import zoo
from lgcodec.models.entropy.cells import Cells, Normals, Posterior
from lgcodec.models.entropy.mixture import Tables
from lgcodec.models.errors import ModelError
from lgcodec.models.families.masked import model, training
from lgcodec.models.families.masked.floats import export, normals, objectives
from lgcodec.models.families.masked.latent import Latents
from lgcodec.models.families.masked.network import ONE
from lgcodec.models.interface import Distribution
from lgcodec.models.machines.choose import choose
from lgcodec.models.machines.numpy.stack import Stack
from lgcodec.models.weights import Weights
from lgcodec.models.zoo.build import GIVEN, SAMPLES, Build

CELLS = Cells.even(256, ONE)


def shares(distribution: Distribution, n: int) -> np.ndarray:
    """Of all pixels, [256, n], as parts of 1; pairs of symbols, high and low, multiplied."""
    rows = [distribution.intervals(np.full(n, v)) for v in range(256)]
    return np.array([np.prod([part.frequency / 2**24 for part in row], axis=0) for row in rows])


def test_a_pixel_has_the_normal_distribution_around_it() -> None:
    """Black and white have all that is beyond, and none has nothing."""
    means, ratios = np.array([0, 50, -1023, 1023, -127]), np.array([16, 40, 0, 0, 95])
    found = shares(Posterior(CELLS, means, ratios, np.array([5])), 5)
    assert found.sum(axis=0) == pytest.approx(np.ones(5), abs=1e-6)
    for j, (mean, ratio) in enumerate(zip(means, ratios, strict=True)):
        of = NormalDist(127.5 + mean, 256 * math.exp(-ratio / 16))  # in levels
        below = np.array([0, *(of.cdf(v + 0.5) for v in range(255)), 1])
        assert found[:, j] == pytest.approx(np.diff(below), abs=2e-5)
    assert found[0, 2] > 0.99
    assert found[255, 3] > 0.99
    assert found.min() > 0
    assert CELLS.values[[0, 255]].tolist() == [-ONE, ONE]


@pytest.mark.parametrize("components", [1, 3])
def test_integers_and_floats_of_a_mixture_agree(components: int) -> None:
    rng, n, K = np.random.default_rng(1), 40, components
    logit, mean, ratio = (rng.integers(-a, b, (c, n)) for a, b, c in ((64, 64, K - 1), (300, 300, K), (0, 60, K)))
    weight = Tables.make().weights(np.concatenate([np.zeros((1, n), np.int64), logit]))
    mixed = Normals(CELLS, mean, ratio, np.array([n]), weight)
    found = shares(mixed, n)
    out = torch.from_numpy(np.concatenate([logit / 32, mean / 256, ratio / 16]).T)
    x = torch.arange(256)[:, None].expand(256, n)
    as_floats = np.exp(-normals.Normals(out).pixel_nats(x, 256).numpy())
    assert found == pytest.approx(as_floats, rel=0.02, abs=1e-5)
    assert np.array_equal(mixed.part(np.s_[3:7]).cumulative(x[:, 3:7].numpy()), mixed.cumulative(x.numpy())[:, 3:7])
    if K == 1:
        assert np.array_equal(found, shares(Posterior(CELLS, mean[0], ratio[0], np.array([n])), n))


def test_gradients_of_pixels_far_out() -> None:
    """They bring the normal nearer, however far it is."""
    out = torch.tensor([[m, r] for m in (-4.0, -0.5, 0.0, 4.0) for r in (0.0, 5.9)]).repeat(256, 1, 1).requires_grad_()
    x = torch.arange(256)[:, None].expand(256, 8)
    nats = normals.Normals(out).pixel_nats(x, 256, least=0.0)
    (gradient,) = torch.autograd.grad(nats.sum(), out)
    assert nats.isfinite().all()
    assert gradient.isfinite().all()
    assert (gradient[1:255, :2, 0] < 0).all()
    assert (gradient[1:255, 6:, 0] > 0).all()


def test_gradients_through_draws() -> None:
    """Of one normal those of mean + noise / precision; of a mixture those of what is expected."""
    out = torch.tensor([[0.5, 1.0]], dtype=torch.float64).repeat(100, 1).requires_grad_()
    z = normals.Normals(out).draw()
    (gradient,) = torch.autograd.grad(z.sum(), out)
    assert gradient.numpy() == pytest.approx(np.stack([np.ones(100), 0.5 - z.detach().numpy()], axis=1), abs=1e-4)
    one = torch.tensor([0.5, -1.0, 0.7, 1.0, 0.3], dtype=torch.float64, requires_grad=True)

    def expected(out: torch.Tensor) -> torch.Tensor:
        q = normals.Normals(out)
        return (q.log_weight.exp() * (q.mean**2 + torch.exp(-2 * q.ratio))).sum()

    torch.manual_seed(0)
    value = (normals.Normals(one.expand(100_000, 5)).draw() ** 2).mean()
    assert value.item() == pytest.approx(expected(one).item(), rel=0.02)
    found, wanted = (torch.autograd.grad(a, one)[0].numpy() for a in (value, expected(one)))
    assert found == pytest.approx(wanted, rel=0.05, abs=0.02)


def test_latents_by_degrees() -> None:
    """A posterior's second latent follows from the draw of its first one, and what is trained is what a file takes."""
    pixels, order = np.zeros(9, np.int32), np.arange(2, dtype=np.int32)
    posterior, likelihood = Build((1, 2), order, 9), Build((3, 3), pixels, 2)
    posterior.add("dense", [GIVEN, SAMPLES], 5)
    likelihood.add("dense", [GIVEN], 1)
    net = objectives.Latents(None, posterior.normal(12, 2), likelihood.bits())
    torch.manual_seed(1)
    for p in net.parameters():
        p.data += 0.3 * torch.randn_like(p)
    x = np.random.default_rng(1).integers(0, 2, (3000, 9))
    with torch.inference_mode():
        z, q = net.draw(torch.from_numpy(x[:1]), 6)
        assert z.shape == (6, 2)
        assert [len(q.mean[:, i].unique(dim=0)) for i in (0, 1)] == [1, 6]
        elbo = net.bound(torch.from_numpy(x)).mean().item() / math.log(2)
    run = Latents(export.export_latents(net, {}), choose(machine="numpy").executor)
    tile = x.reshape(1, -1, 3).astype(np.int16)
    bits = likelihood_of.code_length(run.latent([tile.shape]), [tile], Stack(likelihood_of.noise(20000, 0))) / len(x)
    assert bits == pytest.approx(elbo, rel=0.02)


def test_two_layers_of_latents() -> None:
    """Of DLGM, z1 is linear in its own noise, given the upper layer's, and pixels follow from z1 alone."""
    g = latents_of("dlgm", (5, 4)).likelihood
    z = torch.zeros(3, 10)
    z[1, :5] = 1.0  # the upper layer's
    z[2, 5:] = 1.0
    with torch.inference_mode():
        nodes = g._nodes(torch.zeros(3, 20, dtype=torch.int64), g.masks, 2 * z)
    upper, lower, net, z1 = (nodes[i][:, 0] for i in (4, 5, 6, 7))
    for of_row, changed_by in ((upper, 1), (lower, 2), (net, 1)):
        others = 3 - changed_by
        assert not torch.allclose(of_row[changed_by], of_row[0], atol=1e-3)
        assert torch.allclose(of_row[others], of_row[0], atol=1e-3)
    assert not torch.equal(z1[1], z1[0])
    assert not torch.equal(z1[2], z1[0])
    assert [node.inputs for node in g.graph.nodes[-2:]] == [(7,), (8,)]


def test_graphs_that_say_nothing_of_pixels_are_refused() -> None:
    machine = choose(machine="numpy")
    good = export.export_latents(latents_of("vae_gaussian", (5, 4)), {})
    Latents(good, machine.executor)
    latent = Weights("masked", good.config["posterior"], {
        name.removeprefix("posterior."): a for name, a in good.tensors.items() if name.startswith("posterior.")
    }, {})  # fmt: skip
    model.load(export.export(net_of(graph("vae_gaussian", (5, 4))), {}), machine)
    shift = {**good.config["likelihood"], "head": "shift"}
    nodes = [*shift["nodes"][:-1], {**shift["nodes"][-1], "channels": 1}]
    smaller = {name: a[: len(a) // 2] for name, a in good.tensors.items() if name.startswith("likelihood.4.")}
    with pytest.raises(ModelError, match="pixels"):
        model.load(latent, machine)
    with pytest.raises(ModelError, match="fit"):
        Latents(changed(good, {"likelihood": {**shift, "nodes": nodes}}, **smaller), machine.executor)
    broken = good.tensors["likelihood.table.edges"]
    for tables in (
        {"likelihood.table.edges": broken[::-1]},
        {"likelihood.table.edges": broken[:-1]},
        {"likelihood.table.edges": broken * 100},
        {"likelihood.table.normal": good.tensors["likelihood.table.normal"] * 2},
        {"likelihood.table.precision": -good.tensors["likelihood.table.precision"]},
    ):
        with pytest.raises(ModelError, match="tables"):
            Latents(changed(good, None, **tables), machine.executor)
    with pytest.raises(ModelError):
        Latents(changed(good, {"likelihood": {**good.config["likelihood"], "components": 2}}), machine.executor)


def test_clusters_of_grey_pictures_are_found() -> None:
    """Each kind of picture is one component's, and a net tells which, so that a file takes little more than -log p."""
    rng = np.random.default_rng(3)
    kinds = rng.integers(0, 256, (8, 20))
    x = torch.from_numpy(np.clip(kinds[np.arange(320) % 8] + rng.normal(0, 9, (320, 20)), 0, 255).round().astype(int))
    system = zoo.system("mixture_gaussian")
    small = replace(system, posterior=lambda shape: system.posterior(shape, 30, 16))
    net, _ = training.build(small, system.graph(0, (5, 4), 16), 0)
    torch.manual_seed(1)
    descend(net, x)
    with torch.inference_mode():
        nats = net.nats_of_each(x)
        found = nats.argmin(1).numpy()
        bound, exact = (net.bound(x, n).mean().item() for n in (1, 2))
    assert all(len(set(found[kind::8]) & set(found) - set(np.delete(found, np.s_[kind::8]))) for kind in range(8))
    assert exact < 0.9 * 20 * math.log(256)
    assert exact <= bound < 1.02 * exact
