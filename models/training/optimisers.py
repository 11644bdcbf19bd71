"""What every family trains with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

Optimisers = list[tuple[torch.optim.Optimizer, float]]  # each with its peak learning rate


def optimisers(model: nn.Module, is_other: Callable[[str], bool], muon: float = 0.02, adam: float = 3e-3) -> Optimisers:
    """Muon (Jordan et al. 2024) for the hidden matrices, AdamW for the rest.

    is_other: whether a matrix of this name is not hidden, as inputs, outputs and linear paths are not. muon, adam: peak
    learning rates.
    """
    hidden: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (hidden if parameter.ndim == 2 and not is_other(name) else rest).append(parameter)
    return [
        (torch.optim.Muon(hidden, lr=muon, weight_decay=0.01, momentum=0.95), muon),
        (torch.optim.AdamW(rest, lr=adam, betas=(0.9, 0.98), weight_decay=1e-4), adam),
    ]
