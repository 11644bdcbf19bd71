"""Training in several processes, one for each device: `torchrun --nproc-per-node 2 -m lgcodec -- train causal ..`.

Every process has batches of its own, and all take the same steps: from the first one's state, with the mean of all
gradients, by the first one's clock. So weights are the same everywhere, and the first process alone writes and speaks.
Without torchrun there is one process, and nothing here does anything.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

T = TypeVar("T")
PATIENCE = timedelta(hours=1)  # for the first process, which exports and rates while the others wait
APART = 1_000_003  # between the processes' seeds


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Within, this process is one of those that torchrun started, if it did. All but the first are silent."""
    if not (distributed.is_available() and distributed.is_torchelastic_launched()):
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # "cuda" is this one from here on
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    try:
        with contextlib.ExitStack() as silence:
            if not is_first():
                silence.enter_context(contextlib.redirect_stdout(silence.enter_context(open(os.devnull, "w"))))
            yield
        distributed.barrier()  # gloo aborts a process now and then whose peer is gone before it has ended its group
    finally:
        distributed.destroy_process_group()


def count() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def number() -> int:
    """Of this process, from 0."""
    return distributed.get_rank() if count() > 1 else 0


def is_first() -> bool:
    return number() == 0


def own(seed: int) -> int:
    """A seed for this process alone; the first one's is the one given."""
    return seed + APART * number()


def shared(make: Callable[[], T]) -> T:
    """What the first process makes, in all of them."""
    made: list[Any] = [make() if is_first() else None]
    if count() > 1:
        distributed.broadcast_object_list(made)
    result: T = made[0]
    return result


def average(model: nn.Module) -> None:
    """Replaces gradients, and buffers of floats, by their means over all processes. No gradient counts as 0."""
    if count() == 1:
        return
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learned:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    _average(parameter.grad for parameter in learned)
    _average(buffer for buffer in model.buffers() if buffer.is_floating_point())


def _average(tensors: Iterable[Tensor | None]) -> None:
    """In one message, whatever their number: networks are small here."""
    parts = [tensor for tensor in tensors if tensor is not None]
    if not parts:
        return
    flat = torch.cat([part.flatten() for part in parts]).float()
    distributed.all_reduce(flat)
    means = (flat / count()).split([part.numel() for part in parts])
    for part, mean in zip(parts, means, strict=True):
        part.copy_(mean.view_as(part))
