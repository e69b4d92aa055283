"""The learning rate over the epochs: torch's own schedule, and a linear warm-up before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    ReduceLROnPlateau,
    StepLR,
)

from flowerbench import errors
from flowerbench.errors import UsageError
from flowerbench.open_groups import ScheduleOptions, parted

# Those that multiply the rate they find, as a warm-up does.
_WARMED_UP = (StepLR, MultiStepLR, ConstantLR, ExponentialLR, CosineAnnealingLR, ReduceLROnPlateau)


@dataclass(frozen=True)
class Schedule:
    """torch's schedule, and the warm-up whose factor comes on top of it while it lasts."""

    main: LRScheduler | ReduceLROnPlateau
    warmup: LRScheduler | None = None

    def step(self, val_loss: float) -> None:
        """Go on to the next epoch's rate, after an epoch with this validation loss."""
        if isinstance(self.main, ReduceLROnPlateau):
            self.main.step(val_loss)
        else:
            self.main.step()
        if self.warmup is not None:
            self.warmup.step()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        state: dict[str, Any] = self.main.state_dict()
        return state if self.warmup is None else {"main": state, "warmup": self.warmup.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Be as it was when the state was kept."""
        if self.warmup is None:
            self.main.load_state_dict(dict(state))
        else:
            self.main.load_state_dict(dict(state["main"]))
            self.warmup.load_state_dict(dict(state["warmup"]))


def build(cfg: DictConfig, optimizer: torch.optim.Optimizer) -> Schedule:
    """The schedule that `cfg` describes. Raises UsageError for a misfit."""
    ours, arguments = parted("schedule", cfg)
    chosen = ScheduleOptions(**ours)
    given: dict[str, Any] = {}
    if arguments["_target_"].endswith(".OneCycleLR") and arguments.get("max_lr") is None:
        given["max_lr"] = [group["lr"] for group in optimizer.param_groups]  # each part's own is its highest
    make = errors.blamed_on("schedule", instantiate, arguments, _partial_=True)
    main = errors.blamed_on("schedule", make, optimizer, **given)
    if not chosen.warmup_epochs:
        return Schedule(main)
    if not isinstance(main, _WARMED_UP):
        raise UsageError(f"schedule.warmup_epochs is not for {type(main).__name__}, which sets its rates outright")
    start = 1 / (chosen.warmup_epochs + 1)
    return Schedule(main, LinearLR(optimizer, start_factor=start, total_iters=chosen.warmup_epochs))
