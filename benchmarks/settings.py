"""What is measured, and of what size: the paper's run and sweep, or small ones of the same shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Settings:
    """The settings of a measurement. Those with `rate_` are of the section that measures photos per second alone.

    `rate_steps` are the training steps of an epoch there, None for 24 on a CPU and as many as there are on a GPU.
    Of the photos in `data` so many are used as `photos` says, None for all; without `data` as many as `drawn` says are
    drawn. `short_epochs` are those of the sections that repeat whole runs. bf16 is a side where the device has it,
    unless `with_bf16` says no. `workers` are the plain script's, None for one per core; `ours` are further settings of
    our command.
    """

    data: Path | None = None
    weights: Path | None = None
    model: str = "mobilenet_v2"
    model_args: tuple[tuple[str, Any], ...] = (("width_mult", 0.35),)
    image_size: int = 64
    batch_sizes: tuple[int, ...] = (16, 32)
    epochs: tuple[int, ...] = (20, 25)
    validation: str = "augmented"
    device: str = "auto"
    workers: int | None = None
    ours: tuple[str, ...] = ()
    repeats: int = 3
    short_epochs: int = 8
    with_bf16: bool = True
    rate_model: str = "resnet18"
    rate_image_size: int = 224
    rate_steps: int | None = None
    rate_epochs: int = 2
    photos: int | None = None
    drawn: int = 2848
    drawn_size: int = 160
    matmul_seconds: float = 3.0


# Under two minutes for all but overhead and accuracy: enough to see that it works, too short for numbers to rely on.
QUICK: dict[str, Any] = {
    "photos": 120,
    "drawn": 120,
    "drawn_size": 96,
    "epochs": (1, 2),
    "repeats": 1,
    "short_epochs": 1,
    "with_bf16": False,
    "rate_image_size": 64,
    "rate_steps": 4,
    "rate_epochs": 1,
    "matmul_seconds": 0.5,
}
