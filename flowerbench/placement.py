"""Where and in which precision a model computes."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import shutil
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn

from flowerbench import distributed
from flowerbench.errors import UsageError

log = logging.getLogger(__name__)

# The numbers of these settings in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_COMPILERS = (os.environ.get("CXX", "g++"), "clang++", "cl")


@dataclass(frozen=True)
class Placement:
    """Where and in which precision a model computes."""

    device: torch.device
    precision: str

    @property
    def is_waited_for(self) -> bool:
        """Whether reading a number costs nothing: what is asked of a GPU is computed while Python goes on."""
        return self.device.type == "cpu"

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
    if device.type == "cpu":
        _keep_freed_memory()
    else:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
    return device


def _keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next one, instead of handing it back to be zeroed page by page.

    By default it does so with every tensor above 32 MB, and ResNet-18 makes many of those in each step.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library than GNU's, which has no such call
            tune = ctypes.CDLL(None).mallopt
            tune(_M_MMAP_MAX, 0)
            tune(_M_TRIM_THRESHOLD, 2**31 - 1)


def place(model: nn.Module, device: torch.device, precision: str, is_compiled: bool = False) -> Placement:
    """Move the model to the device, in channels-last layout, which convolutions on CPU and CUDA prefer.

    With `is_compiled` torch.compile makes kernels for it at its first steps; on CUDA as graphs, for small batches
    wait for Python more than for the GPU. Raises UsageError where there is no compiler.
    """
    if is_compiled and device.type == "cpu" and not any(map(shutil.which, _COMPILERS)):
        raise UsageError(f"compile=true needs a C++ compiler on the CPU ({', '.join(_COMPILERS)}): use compile=false")
    if note := distributed.share_batch_norm(model, device):
        log.info(note)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if is_compiled:
        # Not model.compile(), which silently does nothing where the model is a class of torch's own.
        model.forward = torch.compile(model.forward, mode="reduce-overhead" if device.type == "cuda" else "default")
    return Placement(device, precision)
