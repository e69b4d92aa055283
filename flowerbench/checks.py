"""Refuse a config that cannot be meant, before anything is loaded."""

from __future__ import annotations

import importlib.util
import inspect
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from omegaconf import DictConfig, OmegaConf

from flowerbench import isolation, open_groups
from flowerbench.config import Allowed, Config
from flowerbench.errors import RunError, UsageError
from flowerbench.identity import flat


def check(cfg: DictConfig) -> None:
    """Refuse a config with an unknown key, a value out of range, or what torch does not know.

    Types were checked by OmegaConf when the config was composed.
    Raises UsageError naming each such key, its value and what is allowed, in one line.
    """
    check_values(cfg)
    if problems := list(_misfits(cfg)):
        raise UsageError("; ".join(problems))


def check_values(cfg: DictConfig) -> None:
    """All of `check` that needs no torch."""
    problems = [*_unknown_and_out_of_range(cfg, Config, ""), *_open_problems(cfg)]
    if problems := problems or list(_contradictions(cfg)):
        raise UsageError("; ".join(problems))


def check_misfits(configs: Sequence[DictConfig]) -> None:
    """The rest of `check`, of several configs, without torch in this process, which would keep its 200 MB.

    Raises UsageError for the first that does not fit, and RunError when the process that looks is lost.
    """
    if "torch" in sys.modules:
        found = first_misfits(configs)
    else:
        outcome = isolation.call(first_misfits, configs)
        if not isinstance(outcome.value, str):
            how = f"was killed by {outcome.killed_by}" if outcome.killed_by else f"ended with {outcome.exit_code}"
            raise RunError(f"the points cannot be checked: the process that does so {how}")
        found = outcome.value
    if found:
        raise UsageError(found)


def first_misfits(configs: Sequence[DictConfig]) -> str:
    """What does not fit in the first of the configs of which that is so."""
    return next(filter(None, ("; ".join(_misfits(cfg)) for cfg in configs)), "")


def _unknown_and_out_of_range(cfg: DictConfig, schema: type, prefix: str) -> Iterator[str]:
    types = get_type_hints(schema)
    ranges = {f.name: f.metadata.get("allowed") for f in fields(schema)}
    for key in map(str, cfg):
        name = f"{prefix}{key}"
        if key not in types:
            yield f"{name} is not a key of the config (known here: {', '.join(sorted(types))})"
        elif OmegaConf.is_missing(cfg, key):
            yield f"{name} has no value: give {name}=…"
        elif (value := cfg[key]) is not None:
            nested, allowed = _dataclass_in(types[key]), ranges[key]
            if nested:
                yield from _unknown_and_out_of_range(value, nested, f"{name}.")
            elif allowed and not allowed.test(value):
                yield f"{name}={value} is not allowed: {allowed.words}"


def _open_problems(cfg: DictConfig) -> Iterator[str]:
    for group in ("optim", "schedule"):
        if not isinstance(cfg.get(group), DictConfig) or not cfg[group].get("_target_"):
            yield f"{group}._target_ has no value: name a class, such as one of torch.optim"
            continue
        for key, value in flat(cfg[group]).items():
            name = f"{group}.{key}"
            allowed = open_groups.RANGES.get(name)
            if allowed and not allowed.test(value):
                yield f"{name}={value} is not allowed: {allowed.words}"
            elif any(isinstance(v, float) and not math.isfinite(v) for v in _as_list(value)):
                yield f"{name}={value} is not allowed: finite numbers only"


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _contradictions(cfg: DictConfig) -> Iterator[str]:
    if cfg.data.validation == "augmented" and cfg.data.augmentation is None:
        yield "data.validation=augmented is not allowed with data.augmentation=null: there is nothing to augment with"
    data = cfg.data
    if data.val_fraction + data.test_fraction >= 1:
        yield f"data.val_fraction={data.val_fraction} and test_fraction={data.test_fraction} leave nothing to train on"
    if data.folds is not None and data.test_fraction > 0:
        yield f"data.folds={data.folds} is not allowed with data.test_fraction: use data/protocol=kfold or =holdout"
    if data.folds is None and data.fold is not None:
        yield f"data.fold={data.fold} needs data.folds: use data/protocol=kfold"
    if data.folds is not None and data.fold is None:
        yield f"data.folds={data.folds} is {data.folds} runs: add --multirun (of a grid), or name one with data.fold=0"
    if data.folds is not None and data.fold is not None and data.fold >= data.folds:
        yield f"data.fold={data.fold} is not allowed: a whole number from 0 to {data.folds - 1}, below data.folds"
    if cfg.schedule._target_.endswith(".OneCycleLR") and cfg.schedule.get("warmup_epochs"):
        yield "schedule.warmup_epochs is not for OneCycleLR, which has its own: use schedule.pct_start"
    weights = cfg.model.weights
    if weights not in (None, "imagenet") and not Path(weights).expanduser().is_file():
        yield f"model.weights={weights} is not a file: name a state dict, imagenet or null"
    if cfg.tracking.system_metrics and importlib.util.find_spec("psutil") is None:
        yield "tracking.system_metrics=true needs psutil: in the checkout, pip install '.[system]'"


def _misfits(cfg: DictConfig) -> Iterator[str]:
    """What only torch can tell: whether it has such a model, and whether that and its classes take such arguments."""
    from hydra.utils import get_class

    from flowerbench import model

    if misfit := model.misfit(cfg.model, cfg.image_size):
        yield misfit
    for group in ("optim", "schedule"):
        target = cfg[group]._target_
        try:
            taken = inspect.signature(get_class(target)).parameters
        except Exception as error:
            yield f"{group}._target_={target} is no class that can be imported: {' '.join(str(error).split())}"
            continue
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
            continue
        for key in cfg[group]:
            if not str(key).startswith("_") and key not in taken and key not in open_groups.OURS[group]:
                yield f"{group}.{key} is no argument of {target}: it takes {', '.join(list(taken)[1:])}"


def allowed_words(key: str) -> str | None:
    """What `key` (dotted) may be, in words; None where only its type is known."""
    allowed = {**dict(_leaves(Config, "")), **open_groups.RANGES}
    found = allowed.get(key)
    return found.words if found else None


def known_keys() -> list[str]:
    """All dotted keys that the schema names."""
    return sorted({name for name, _ in _leaves(Config, "")} | open_groups.RANGES.keys())


def _leaves(schema: type, prefix: str) -> Iterator[tuple[str, Allowed | None]]:
    types = get_type_hints(schema)
    for entry in fields(schema):
        nested = _dataclass_in(types[entry.name])
        if nested:
            yield from _leaves(nested, f"{prefix}{entry.name}.")
        else:
            yield f"{prefix}{entry.name}", entry.metadata["allowed"]


def _dataclass_in(hint: Any) -> type | None:
    """The dataclass that a type hint is, or admits beside None."""
    return next((t for t in (hint, *get_args(hint)) if isinstance(t, type) and is_dataclass(t)), None)
