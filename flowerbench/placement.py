"""Where and in which precision a model computes."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from flowerbench import distributed
from flowerbench.config import Data
from flowerbench.errors import UsageError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Placement:
    """Where and in which precision a model computes."""

    device: torch.device
    precision: str
    mean: Tensor
    std: Tensor

    def inputs(self, images: Tensor) -> Tensor:
        """uint8 images (n, 3, h, w) as the normalised floats that the model expects, on the device."""
        floats = images.to(self.device, non_blocking=True).to(torch.float32).div_(255)
        return floats.sub_(self.mean).div_(self.std).contiguous(memory_format=torch.channels_last)

    def autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def pick_device(name: str, deterministic: bool = False) -> torch.device:
    """The device that `name` means: auto is CUDA, else MPS, else the CPU. Raises UsageError when it is not there.

    Where several processes share a run, a GPU of this one's own. With `deterministic` torch is told to use algorithms
    that repeat to the bit, wherever it has such.
    """
    name = distributed.device_name(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0]
        raise UsageError(f"device={name} cannot be used here ({reason}): use device=auto or device=cpu") from error
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    if device.type != "cpu":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
    return device


def place(model: nn.Module, device: torch.device, precision: str, data: Data) -> Placement:
    """Move the model to the device, in channels-last layout, which convolutions on CPU and CUDA prefer."""
    if note := distributed.share_batch_norm(model, device):
        log.info(note)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean, std = (torch.tensor(list(values), device=device).view(1, 3, 1, 1) for values in (data.mean, data.std))
    return Placement(device, precision, mean, std)
