"""The families of models, a folder each. A new family is a folder here and its name in FAMILIES.

A family reads in one order: `network` (config, integers), `program` (what is coded, in numpy), `on_*` (fast machines),
`floats`, `training`, `model`. Others ask for these modules by name:

    model      load(weights, machine) -> interface.ImageModel
    on_X       load(network, machine) -> interface.TileCoder, for machines whose `tiles` is X; where there is one
    floats     what adaptation and training know of the network in floats
    training   command, the click command of `lgcodec train`
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lgcodec.models.machines.choose import Machine

FAMILIES = ("causal", "coefficients", "continuous", "flow", "masked", "vae", "vqvae")


def part(family: str, name: str) -> Any:
    """A family's module."""
    return importlib.import_module(f"{__name__}.{family}.{name}")


def tile_coder(family: str, network: Any, machine: Machine) -> Any:
    """What codes whole tiles (interface.TileCoder, or BandCoder) of a family's network on a machine, None where nothing
    does.
    """
    if machine.tiles is None or find_spec(f"{__name__}.{family}.on_{machine.tiles}") is None:
        return None
    return part(family, f"on_{machine.tiles}").load(network, machine)
