"""Integer layers on torch: CPU or CUDA, the same code. An extra (`pip install lgcodec[torch]`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lgcodec.models.layers.integer import Layer, check_exact, check_single


class TorchExecutor:
    """Raises ExactnessError where the device rounds (TF32 is turned off for the products here)."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self.name = f"torch ({device})"
        if self.device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = False
        check_exact(self)

    def load(self, layer: Layer) -> tuple[torch.Tensor, ...]:
        check_single(layer)
        scale = np.exp2(-layer.shift.astype(np.float32))
        parts = (layer.weight.T, layer.bias, scale, layer.low, layer.high)
        return tuple(torch.from_numpy(np.ascontiguousarray(p, np.float32)).to(self.device) for p in parts)

    def array(self, a: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(a)).to(self.device)

    def zeros(self, *shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.float32, device=self.device)

    def numpy(self, a: torch.Tensor) -> NDArray[np.float32]:
        result: NDArray[np.float32] = a.cpu().numpy()
        return result

    def join(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat(list(parts), dim=-1)

    @torch.inference_mode()
    def apply(self, layer: Any, a: torch.Tensor) -> torch.Tensor:
        weight, bias, scale, low, high = layer
        return torch.clamp(torch.floor(torch.addmm(bias, a, weight) * scale), low, high)
