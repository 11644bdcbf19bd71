"""All kernels, compiled for a GPU that is not there."""

from __future__ import annotations

import contextlib
from typing import Any
from unittest import mock

import click
import numpy as np
import torch

from lgcodec.errors import ModelError
from lgcodec.models import registry
from lgcodec.models.families.causal import network as causal


@click.command("compile")
@click.option("--capability", default=90, show_default=True)
def compile_kernels(capability: int) -> None:
    """Compiles every kernel that the causal and the flow family launch, for a GPU that need not be there."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.runtime.jit import JITFunction

    class Absent:
        """A driver that compiles and launches nothing."""

        def get_current_target(self) -> Any:
            return GPUTarget("cuda", capability, 32)

        def get_current_device(self) -> int:
            return 0

        def get_current_stream(self, device: int = 0) -> int:
            return 0

    triton.runtime.driver.set_active(Absent())
    launch, seen = JITFunction.run, set()

    def build(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        kernel = launch(self, *arguments, grid=grid, warmup=True, **options)
        if kernel.hash not in seen:
            seen.add(kernel.hash)
            ptx = kernel.asm["ptx"]
            units = "tensor cores" if "mma" in ptx else "tf32" if "tf32" in ptx else ""
            click.echo(f"{self.__name__:14} {kernel.metadata.shared:6} bytes shared  {units}")
        return kernel

    from lgcodec.models.families.causal.on_triton import GpuCausal
    from lgcodec.models.families.flow import network as flow
    from lgcodec.models.families.flow.on_triton import GpuFlow
    from lgcodec.models.machines.triton import layers as gpu_layers
    from lgcodec.models.machines.triton import learning as gpu_learning

    # Nothing runs, so nothing is exact.
    checks = [mock.patch.object(module, "check_exact") for module in (gpu_layers, gpu_learning)]
    with mock.patch.object(JITFunction, "run", build), checks[0], checks[1]:
        for name in registry.NAMES:
            model: Any = registry.load(name, machine="numpy")
            network = getattr(model.network, "pixels", model.network)
            side = getattr(getattr(network, "config", None), "side", 0)
            sides = [causal.Side(*(np.zeros((2, 2, n), np.int16) for n in (3, side)))] if side else []
            for halves in (False, True):
                products = gpu_layers.Products(torch.device("cpu"), halves=halves)
                core: Any = None
                if isinstance(network, causal.Network):
                    core = GpuCausal(network, "cpu", products)
                elif isinstance(network, flow.Network):
                    core = GpuFlow(network, "cpu", products)
                for channels in (1, 3) if core else ():
                    more = (sides,) if sides else ()
                    core.encode([np.zeros((channels, 2, 2), np.int16)], b"", *more)
                    with contextlib.suppress(ModelError):  # of course
                        core.decode([(channels, 2, 2)], [np.array([1], np.uint32)], b"", *more)
    click.echo(f"{len(seen)} kernels for sm_{capability}")
