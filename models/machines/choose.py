"""The one place that chooses what models run on. A new machine is a folder beside this file and a row of MACHINES.

All machines give the same bytes. A machine that is asked for by name and cannot serve raises; the automatic choice
takes the next one, and says so once. The command line's --device, README's table and the tests read MACHINES, so this
module loads no machine before it is chosen.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lgcodec.models.errors import ModelError
from lgcodec.models.parallel import cores

if TYPE_CHECKING:
    from lgcodec.models.interface import NewStack
    from lgcodec.models.layers.convolution import Convolutions
    from lgcodec.models.layers.integer import Executor


@dataclass(frozen=True)
class Machine:
    """What models run on.

    name: its row in MACHINES. executor: products of integer layers. convolutions: these over windows. stack: makes ANS
    stacks. tiles: `families/X/on_{tiles}.py`, where there is one, codes whole tiles; None where there is none for any
    family. threads: how many tiles run side by side on the processor.
    """

    name: str
    executor: Executor
    convolutions: Convolutions
    stack: NewStack
    tiles: str | None
    threads: int


@dataclass(frozen=True)
class Row:
    """How a machine is made. title: what it is. build: of so many threads. lacks: why it cannot serve here, or None."""

    device: str
    title: str
    build: Callable[[int], Machine]
    lacks: Callable[[], str | None]


def _native(threads: int) -> Machine:
    from lgcodec.models.machines.native.convolution import NativeConvolutions, NativeExecutor
    from lgcodec.models.machines.native.stack import NativeStack

    return Machine("native", NativeExecutor(), NativeConvolutions(), NativeStack, "native", threads)


def _numpy(threads: int) -> Machine:
    from lgcodec.models.layers.convolution import ExecutorConvolutions
    from lgcodec.models.machines.numpy.executor import NumpyExecutor
    from lgcodec.models.machines.numpy.stack import Stack

    executor = NumpyExecutor()
    return Machine("numpy", executor, ExecutorConvolutions(executor), Stack, None, threads)


def _torch(threads: int) -> Machine:
    from lgcodec.models.layers.convolution import ExecutorConvolutions
    from lgcodec.models.machines.numpy.stack import Stack
    from lgcodec.models.machines.torch.executor import TorchExecutor

    executor = TorchExecutor("cpu")
    return Machine("torch", executor, ExecutorConvolutions(executor), Stack, None, threads)


def _cuda(threads: int) -> Machine:
    from lgcodec.models.layers.convolution import ExecutorConvolutions
    from lgcodec.models.machines.torch.executor import TorchExecutor

    executor = TorchExecutor("cuda")
    # Bits-back has one stack for all tiles: it stays on the processor, beside the device's networks.
    stack = choose("cpu", threads=threads).stack
    tiles = None if find_spec("triton") is None else "triton"
    return Machine("cuda", executor, ExecutorConvolutions(executor), stack, tiles, threads)


def _lacks_library() -> str | None:
    from lgcodec.models.machines.native import library

    return None if library.available() else library.ABSENT


def _lacks_torch() -> str | None:
    return "needs torch: pip install 'lgcodec[torch]'" if find_spec("torch") is None else None


def _lacks_device() -> str | None:
    if (reason := _lacks_torch()) is not None:
        return reason
    import torch

    return None if torch.cuda.is_available() else "torch finds no CUDA device here"


MACHINES: Mapping[str, Row] = {  # of one device, the first that is there is chosen
    "native": Row("cpu", "C, compiled for the instructions of this processor", _native, _lacks_library),
    "numpy": Row("cpu", "what every operation means; for where nothing was compiled", _numpy, lambda: None),
    "torch": Row("cpu", "layers by torch, on the processor; asked for by name alone", _torch, _lacks_torch),
    "cuda": Row("cuda", "layers by torch, whole tiles by Triton where it is installed", _cuda, _lacks_device),
}
DEVICES = ("auto", *dict.fromkeys(row.device for row in MACHINES.values()))


def choose(device: str = "auto", machine: str | None = None, threads: int | None = None) -> Machine:
    """The machine for a device: "auto", "cpu" or "cuda"; or the one of this name. threads: None for all cores.

    Raises ModelError where what is asked for is unknown or not there, ExactnessError where its arithmetic rounds.
    """
    if device not in DEVICES:
        raise ModelError(f"no device {device!r}: expected {', '.join(DEVICES[:-1])} or {DEVICES[-1]}")
    if machine is None:
        machine = _first("cpu" if device == "auto" else device)
    elif machine not in MACHINES:
        *others, last = MACHINES
        raise ModelError(f"no machine {machine!r}: expected {', '.join(others)} or {last}")
    elif reason := missing(machine):
        raise ModelError(f"machine {machine}: {reason}")
    # Before torch may be loaded: its threads otherwise spin while they wait, ten times slower beside other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    return _built(machine, threads or cores())


def missing(machine: str) -> str | None:
    """Why a machine of MACHINES cannot serve here, or None."""
    return MACHINES[machine].lacks()


def _first(device: str) -> str:
    rows = [name for name, row in MACHINES.items() if row.device == device]
    for name in rows:
        reason = missing(name)
        if reason is None:
            return name
        if name == rows[-1]:
            raise ModelError(f"device {device}: {reason}")
        say_once(f"machine {name} {reason}; without it models are many times slower")
    raise ModelError(f"device {device}: no machine serves it")


@functools.cache
def say_once(message: str) -> None:
    """Logs what makes this slow, the first time."""
    import logging

    logging.getLogger(__name__).warning(message)


@functools.cache
def _built(machine: str, threads: int) -> Machine:
    return MACHINES[machine].build(threads)
