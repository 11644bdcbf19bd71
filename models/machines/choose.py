"""The one place that chooses what models run on."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from lgcodec.models import interface
from lgcodec.models.errors import ModelError
from lgcodec.models.layers.convolution import ExecutorMachine, Machine
from lgcodec.models.layers.integer import Executor
from lgcodec.models.machines.numpy.executor import NumpyExecutor
from lgcodec.models.machines.numpy.stack import Stack


def machine(name: str) -> Machine:
    """name: "numpy", "numba", "torch" or "cuda". Raises ModelError, ExactnessError where the device is not exact."""
    if name == "numba":
        from lgcodec.models.machines.numba.convolution import CompiledMachine

        return CompiledMachine()
    return ExecutorMachine(executor(name))


def executor(machine: str) -> Executor:
    """The executor of a machine; of "numba", whose programs are compiled whole, numpy's. Raises ModelError, and
    ExactnessError where the device rounds.
    """
    if machine in ("numpy", "numba"):
        return NumpyExecutor()
    if machine in ("torch", "cuda"):
        from lgcodec.models.machines.torch.executor import TorchExecutor

        return TorchExecutor("cpu" if machine == "torch" else "cuda")
    raise ModelError(f"no machine {machine!r}: expected numpy, numba, torch or cuda")


def suited(machine: str) -> Callable[..., interface.Stack]:
    """Makes the stacks of a machine: compiled by numba where that is there and not left out on purpose."""
    if machine in ("numpy", "torch") or find_spec("numba") is None:
        return Stack
    from lgcodec.models.machines.numba.stack import CompiledStack

    return CompiledStack
