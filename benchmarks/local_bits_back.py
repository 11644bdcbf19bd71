"""Local bits-back for the flow of digits: what `models/families/continuous/` gave up by preserving volume, measured.

Usage: python benchmarks/local_bits_back.py mnist.npz --out local.safetensors [--minutes 10] [--variational 1]

Trains on `train` of the .npz file, as `lgcodec train continuous` does, prints the held-out rates, then
codes `test` as a chain, decodes it, compares, and prints what it took. Nothing here ships: see codec/DECISIONS.md.

References: Ho et al. 2019 (Compression with flows via local bits-back coding, section 3.4.2: a coupling's noise is
independent, as its Jacobian given the other half is diagonal), and those of `continuous.py`, whose networks, prior and
dequantisation it shares.

A coupling scales by s and shifts half of the channels, as a network of the other half says. It need not preserve
volume, and on a grid of integers it is no bijection: a step of y meets no whole step of z, or several. So z is *drawn*,
near what the coupling makes of y, and y is coded, near what the inverse makes of z:

    pop z ~ normal(s y + t, (s NOISE)**2)    push y ~ normal((z - t) / s, NOISE**2)    push z ~ next coupling or prior

The two normal distributions differ by the scale alone, so what is left of them is -log s, the coupling's part of the
likelihood. All are integers: of m = 2**16 s, of centres in 1/256 of a step, of the table of the normal distribution.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import click
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lgcodec.coding import chain
from lgcodec.models import registry
from lgcodec.models.entropy.cells import Posterior
from lgcodec.models.errors import ModelError
from lgcodec.models.families.continuous import floats as continuous_floats
from lgcodec.models.families.continuous import model as continuous_model
from lgcodec.models.families.continuous import network as continuous
from lgcodec.models.families.continuous import training as continuous_training
from lgcodec.models.families.continuous.network import HALF, SCALE_BITS, Int, Tile
from lgcodec.models.families.continuous.program import Likelihood, Loop, Networks, Program, Tiles, changed
from lgcodec.models.interface import ImageModel
from lgcodec.models.machines.choose import Machine, choose
from lgcodec.models.weights import Weights

NOISE = 2  # standard deviation of y given z, in steps
CENTRE_BITS = 8
Z_SIDE, Y_SIDE = 9, 19  # z is one of 9 * 9 values, y of 19 * 19: enough for a scale of 1/4


@dataclass(frozen=True)
class Config(continuous.Config):
    """As the continuous family's."""

    bits: int = 10
    scales: ClassVar[int] = HALF


@dataclass(frozen=True)
class Near(Posterior):
    """n integers near their centres, an interface.Distribution of v = value - floor(centre) + edge**2 // 2, coded as a
    high and a low half. mean: int64 [n], the centre's fraction in 1/256; ratio: int64 [n], the width in 2**-16 NOISE.
    """

    edge: int

    @property
    def side(self) -> int:
        return self.edge

    def part(self, rows: slice) -> Near:
        mean, ratio = self.mean[rows], self.ratio[rows]
        return Near(self.cells, mean, ratio, np.array([len(mean)]), self.edge)

    def cumulative(self, v: Int) -> Int:
        size = self.edge**2
        distance = ((v - size // 2) << CENTRE_BITS) - (1 << CENTRE_BITS - 1) - self.mean
        # in 2**-16 standard deviations
        return self.cells.cumulative(v, size, (distance << SCALE_BITS + 16 - CENTRE_BITS) // (NOISE * self.ratio))


@dataclass(frozen=True)
class Coupling:
    """bits_back.Latent of y [N, h, w, 16], whose latent is z of the same shape, that which coupling i makes of it."""

    tiles: LatentTiles
    i: int

    def prior(self) -> Coupling | Program[Int]:
        return self.tiles.before(self.i + 1)

    def posterior(self, value: Int) -> Program[Int]:
        m, shift = self.tiles.networks.coupling(self.i, value)
        centre = (value[..., changed(self.i)] * m >> SCALE_BITS - CENTRE_BITS) + (shift << CENTRE_BITS)
        return self._near(value, centre, m, Z_SIDE)

    def likelihood(self, latent: Int) -> Program[Int]:
        m, shift = self.tiles.networks.coupling(self.i, latent)
        centre = (latent[..., changed(self.i)] - shift << SCALE_BITS + CENTRE_BITS) // m
        return self._near(latent, centre, np.full_like(m, 1 << SCALE_BITS), Y_SIDE)

    def _near(self, other: Int, centre: Int, width: Int, side: int) -> Program[Int]:
        """Of `other` with its changed channels near `centre`, int64 [N, h, w, 8] in 1/256."""
        half, cells = changed(self.i), self.tiles.networks.network.cells
        first = (centre >> CENTRE_BITS) - side**2 // 2
        fraction, counts = centre & ((1 << CENTRE_BITS) - 1), np.array([centre.size])

        def run(true: Int | None) -> Loop[Int]:
            known = continuous.UNKNOWN if true is None else (true[..., half] - first).ravel()
            if len(known) and (known.min() < 0 or known.max() >= side**2):
                raise ModelError("a stream holds a latent far from where its coupling puts it")
            v = yield Near(cells, fraction.ravel(), width.ravel(), counts, side), known
            result = other.copy()
            result[..., half] = first + np.reshape(v, first.shape)
            return result

        return Program(run)


class LatentTiles(Tiles):
    """bits_back.Latent of a batch of n tiles of one shape [1, H, W], whose latent y has the first coupling's as its."""

    def posterior(self, value: list[Tile]) -> Program[Int]:
        return Program(lambda y: self.dequantise(value, y))

    def likelihood(self, latent: Int) -> Likelihood:
        return self.quantise(latent)

    def prior(self) -> Coupling | Program[Int]:
        return self.before(0)

    def before(self, i: int) -> Coupling | Program[Int]:
        """Of what coupling i changes, or of z."""
        return Coupling(self, i) if i < self.networks.network.config.couplings else Program(self.groups)


def load(weights: Weights, machine: Machine) -> ImageModel:
    """As the continuous family's."""
    return continuous_model.load(weights, machine, Config, Networks, LatentTiles)


class Floats(continuous_floats.Floats):
    """The affine flow of local bits-back, in floats."""

    name = "local"
    config_type = Config
    load = staticmethod(load)

    def flow(self, y: Tensor) -> tuple[Tensor, Tensor]:
        expansion = y.new_zeros(len(y))
        coarse, fine = y[..., :HALF], y[..., HALF:]
        for i in range(self.config.couplings):
            known, other = (fine, coarse) if i % 2 else (coarse, fine)
            said = self.ask(f"coupling.{i}", known)
            power = functional.hardtanh(said[..., :HALF])
            other = other * torch.exp(power) + said[..., HALF:]
            expansion = expansion + power.flatten(1).sum(1)
            coarse, fine = (other, fine) if i % 2 else (coarse, other)
        return torch.cat([coarse, fine], -1), expansion


@click.command()
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where the weights go.")
@click.option("--minutes", default=10.0, show_default=True)
@click.option("--variational", default=1, show_default=True, help="0: uniform dequantisation.")
@click.option("--images", default=10000, show_default=True, help="Of the test images, at most.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint beside --out.")
def main(data: Path, out: Path, minutes: float, variational: int, images: int, resume: bool) -> None:
    options = ["--data", str(data), "--held-out", str(data), "--out", str(out), "--threads", "1"]
    options += ["--minutes", str(minutes), "--variational", str(variational), *(["--resume"] if resume else [])]
    continuous_training.family_command("local", Floats).main(options, standalone_mode=False)
    model = load(registry.read(out), choose("cpu", threads=1))
    measure(model, list(np.load(data)["test"][:images, None].astype(np.int16)))


def measure(model: ImageModel, tiles: list[Tile]) -> None:
    seed = registry.load("default")
    chain.encode(model, seed, tiles[:4])  # loads and compiles
    start = time.perf_counter()
    coded = chain.encode(model, seed, tiles)
    middle = time.perf_counter()
    again = chain.decode(model, seed, [(1, *tile.shape[1:]) for tile in tiles], coded.seeds, coded.words)
    end = time.perf_counter()
    if not all(np.array_equal(a, b) for a, b in zip(again, tiles, strict=True)):
        raise click.ClickException("the images did not come back")
    size, seeds = sum(tile.size for tile in tiles), len(coded.seeds)
    click.echo(
        f"{len(tiles)} images, {seeds} of them seeds: {32 * len(coded.words) / size:.4f} bits per sample in all, "
        f"{coded.net_bits / (size * (1 - seeds / len(tiles))):.4f} net, {coded.initial_bits:.0f} initial bits, "
        f"{middle - start:.1f} s and {end - middle:.1f} s"
    )


if __name__ == "__main__":
    main()
