"""The machine: what it is, how fast it multiplies matrices, and what a model asks of it. Run in a process of its own.

`python -m benchmarks.machine DEVICE SECONDS` prints one line of JSON.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import flowerbench
from flowerbench import launchers
from flowerbench._torchvision import torchvision
from flowerbench.errors import UsageError

_PACKAGES = ("torch", "torchvision", "numpy", "pillow")
# Rows and columns: large enough for the full rate, small enough to repeat within a second.
_SIZES = {"cpu": 2048, "cuda": 8192}


def device(name: str) -> torch.device:
    """The device that `name` means; auto is CUDA where there is one. Raises UsageError when it is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("torch finds no GPU here: use --device cpu")
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def facts(on: torch.device) -> dict[str, Any]:
    """What the machine is, in words and numbers, and the versions that matter."""
    gpu = {"gpu": torch.cuda.get_device_name(on)} if on.type == "cuda" else {}
    return {
        "device": on.type,
        "cpu": _cpu(),
        "cores": launchers.machine_cores(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "has_bf16": _has_bf16(on),
        "memory_bytes": psutil.virtual_memory().total,
        **gpu,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "flowerbench": " ".join([flowerbench.__version__, *_commit()]),
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _PACKAGES},
        },
    }


def _has_bf16(on: torch.device) -> bool:
    """Whether the device has instructions for products of bf16, which other devices only imitate."""
    if on.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # of torch 2.12
    return bool(known.get("amx_bf16") or known.get("avx512_bf16"))


def matmul_rate(on: torch.device, seconds: float) -> float:
    """Floating-point operations per second of a product of two fp32 matrices: the median over `seconds`."""
    size = _SIZES[on.type]
    a, b = (torch.rand(size, size, device=on) for _ in range(2))
    times: list[float] = []
    _product(a, b)  # the first one sets the library up
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or not times:
        began = time.perf_counter()
        _product(a, b)
        times.append(time.perf_counter() - began)
    return float(2 * size**3 / statistics.median(times))


def _product(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.mm(a, b)
    if a.is_cuda:
        torch.cuda.synchronize()


def flop_per_photo(model: str, image_size: int) -> float:
    """Floating-point operations of one training photo: forward, and twice as many backward."""
    network: nn.Module = torchvision.models.get_model(model, weights=None, num_classes=5)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, 3, image_size, image_size))
    return float(3 * counter.get_total_flops())


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _commit() -> list[str]:
    """The commit that is measured, where git knows it, with a + where files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=9"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return []


def main() -> None:
    """The command `python -m benchmarks.machine`."""
    on = device(sys.argv[1])
    print(json.dumps(facts(on) | {"matmul": matmul_rate(on, float(sys.argv[2]))}))


if __name__ == "__main__":
    main()
