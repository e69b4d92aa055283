"""`optim` and `schedule`, which take any argument of torch's classes: the keys in them that are ours, and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from flowerbench.config import COUNT, NATURAL, NOT_NEGATIVE, POSITIVE, Allowed, number, one_of


def _or_null(allowed: Allowed) -> Allowed:
    return Allowed(f"{allowed.words}, or null", lambda value: value is None or allowed.test(value))


_FLAG = Allowed("true or false", lambda value: isinstance(value, bool))


@dataclass(frozen=True)
class OptimOptions:
    """Our keys in `optim`; conf/optim/base.yaml says what they mean, and these are the values where a file has none."""

    head_lr_multiplier: float = 1.0
    decay_norms_and_biases: bool = True
    clip_norm: float | None = None
    accumulate: int = 1
    lr_per: int | None = None
    lr_scaling: str = "linear"


@dataclass(frozen=True)
class ScheduleOptions:
    """Our key in `schedule`; see conf/schedule/base.yaml."""

    warmup_epochs: int = 0


OURS: Mapping[str, frozenset[str]] = {
    "optim": frozenset(field.name for field in fields(OptimOptions)),
    "schedule": frozenset(field.name for field in fields(ScheduleOptions)),
}

# Ranges of these, and of the arguments that torch's optimisers and schedules have in common.
RANGES: Mapping[str, Allowed] = {
    "optim.lr": POSITIVE,
    "optim.momentum": number("a number from 0, below 1", lambda v: 0 <= v < 1),
    "optim.weight_decay": NOT_NEGATIVE,
    "optim.head_lr_multiplier": POSITIVE,
    "optim.decay_norms_and_biases": _FLAG,
    "optim.clip_norm": _or_null(POSITIVE),
    "optim.accumulate": COUNT,
    "optim.lr_per": _or_null(COUNT),
    "optim.lr_scaling": one_of("linear", "sqrt"),
    "schedule.step_size": COUNT,
    "schedule.gamma": POSITIVE,
    "schedule.T_max": COUNT,
    "schedule.eta_min": NOT_NEGATIVE,
    "schedule.warmup_epochs": NATURAL,
}


def parted(group: str, cfg: DictConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys of `optim` or `schedule`, interpolations resolved: those that are ours, and those for torch's class."""
    given = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    ours = {key: value for key, value in given.items() if key in OURS[group]}
    return ours, {key: value for key, value in given.items() if key not in ours}


def optim_options(cfg: DictConfig) -> OptimOptions:
    """Our keys of `optim`."""
    return OptimOptions(**parted("optim", cfg)[0])
