"""What a config is called: flat keys, a safe name, and the hash of what determines its numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

# How a run is carried out, which never changes its numbers.
NOT_SETTINGS = (
    "tracking",
    "data.loader",
    "data.cached_max_gb",
    "data.workers",
    "min_micro_batch",
    "reuse",
    "cache",
    "on_done",
    "on_error",
    "repeats",
    "points",
    "profile",
    "dry_run",
    "search",
)
# Nor does where it happens, nor what its facts say better (the contents of photos and weights, wherever they lie).
NOT_IDENTITY = (
    *NOT_SETTINGS,
    "device",
    "deterministic",
    "model.weights",
    "data.name",
    "data.root",
    "data.url",
    "data.sha256",
    "data.bytes",
    "data.paper_photos",
    "data.synthetic",
    "data.on_bad_image",
)

# When a run ends, and which of its epochs counts, changes no epoch.
_OF_THE_END = ("epochs", "patience", "best_by")


def safe_name(overrides: str) -> str:
    """A readable name, safe as a folder on every system: `batch_size=16,epochs=20` gives `batch_size-16_epochs-20`.

    Where characters had to go, a short hash of the original keeps different settings apart.
    """
    readable = overrides.replace("=", "-").replace(",", "_")
    safe = "".join(c for c in readable if c.isascii() and (c.isalnum() or c in "._-+")).strip(".")
    if safe == readable and len(safe) <= 100:
        return safe or "defaults"
    return f"{safe[:90]}_{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"


def flat(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """The config as one level of dotted keys, interpolations resolved: `{"batch_size": 16, "optim.lr": 0.001, …}`."""

    def walk(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in node.items():
            if isinstance(value, Mapping) and value:
                yield from walk(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    plain = OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig) else cfg
    return dict(walk(plain, ""))


def identity(cfg: DictConfig, facts: Mapping[str, str]) -> str:
    """The hash (16 hex digits) of all that determines a run's numbers.

    `facts` are what the config only points at: the fingerprints of photos and split, the hash of the weights.
    """
    return _hash({"config": _numbers(cfg, NOT_IDENTITY), "facts": dict(facts)})


def trajectory(cfg: DictConfig, facts: Mapping[str, Any]) -> str:
    """The hash (16 hex digits) of all that determines an epoch's numbers to the last bit, and so names its trajectory.

    Runs that differ in `epochs`, `patience` or `best_by` alone share one, unless another key looks at it, as
    `schedule.T_max: ${epochs}` does. To the `facts` of the identity come those of the computation: device, threads,
    versions, size of micro-batches.
    """
    numbers = {key: value for key, value in _numbers(cfg, NOT_IDENTITY).items() if key not in _OF_THE_END}
    return _hash({"config": numbers, "facts": dict(facts)})


def settings(cfg: DictConfig) -> str:
    """The hash (16 hex digits) of what was asked for, known before any photo is read: one command, one hash."""
    return _hash({"config": _numbers(cfg, NOT_SETTINGS)})


def command(cfg: DictConfig) -> str:
    """The hash (16 hex digits) of a multirun's command: so a search is known, whose points are not known before."""
    overrides = OmegaConf.to_container(cfg.hydra.overrides.task, resolve=False)
    kept = sorted(telling(cast(list[str], overrides), NOT_SETTINGS))
    return _hash({"sweeper": cfg.hydra.sweeper._target_, "overrides": kept})


def telling(overrides: Sequence[str], left_out: Collection[str]) -> list[str]:
    """The overrides that set another key than those left out."""
    return [o for o in overrides if not is_one_of(o.lstrip("+~").partition("=")[0], left_out)]


def _numbers(cfg: DictConfig, left_out: Collection[str]) -> dict[str, Any]:
    return {
        key: float(value) if isinstance(value, int) else value  # 1 and 1.0 are one learning rate
        for key, value in flat(cfg).items()
        if not is_one_of(key, left_out)
    }


def is_one_of(key: str, names: Collection[str]) -> bool:
    """Whether a dotted key is one of these, or within one of them."""
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
