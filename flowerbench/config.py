"""The typed schema behind `conf/`, and what each value may be.

The YAML files hold every value and its meaning; the dataclasses hold its type and, in `allowed`, its range.
Nothing here imports torch or MLflow, so that `--help` and `--cfg job` answer at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from flowerbench import launchers
from flowerbench.identity import safe_name


@dataclass(frozen=True)
class Allowed:
    """What a value may be: the words for the user and the test that decides."""

    words: str
    test: Callable[[Any], bool]


def number(words: str, test: Callable[[float], bool]) -> Allowed:
    def is_allowed(value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and math.isfinite(value) and test(value)

    return Allowed(words, is_allowed)


def one_of(*names: str) -> Allowed:
    return Allowed("one of " + ", ".join(names), lambda value: value in names)


def _pair(words: str, test: Callable[[float, float], bool]) -> Allowed:
    def is_allowed(value: Any) -> bool:
        return len(value) == 2 and all(math.isfinite(v) for v in value) and test(value[0], value[1])

    return Allowed(words, is_allowed)


COUNT = number("a whole number, 1 or more", lambda v: isinstance(v, int) and v >= 1)
NATURAL = number("a whole number, 0 or more", lambda v: isinstance(v, int) and v >= 0)
_SEED = number("a whole number from 0 to 4294967295", lambda v: 0 <= v < 2**32)
_SHARE = number("a number from 0 to 1", lambda v: 0 <= v <= 1)
POSITIVE = number("a number above 0", lambda v: v > 0)
NOT_NEGATIVE = number("a number, 0 or more", lambda v: v >= 0)
_THREE = Allowed("three numbers", lambda v: len(v) == 3 and all(math.isfinite(x) for x in v))
_STD = Allowed("three numbers above 0", lambda v: len(v) == 3 and all(0 < x < math.inf for x in v))
_NAME = Allowed("a name", lambda value: bool(value))


def _key(allowed: Allowed | None = None, default: Any = MISSING) -> Any:
    """A field whose value comes from the YAML; null passes where the type admits it.

    A default is for options that people made before the key was there.
    """
    return field(default=default, metadata={"allowed": allowed})


@dataclass
class Augmentation:
    rotation: float = _key(number("degrees from 0 to 180", lambda v: 0 <= v <= 180))
    scale: list[float] = _key(
        _pair("two shares of the area, 0 < smallest <= largest <= 1", lambda a, b: 0 < a <= b <= 1)
    )
    ratio: list[float] = _key(_pair("two ratios, 0 < smallest <= largest", lambda a, b: 0 < a <= b))
    horizontal_flip: float = _key(_SHARE)
    vertical_flip: float = _key(_SHARE)
    brightness: float = _key(_SHARE)
    contrast: float = _key(_SHARE)
    saturation: float = _key(_SHARE)
    trivial_augment: bool = _key(default=False)
    random_erasing: float = _key(_SHARE, default=0.0)


@dataclass
class Synthetic:
    count: int = _key(number("a whole number, 10 or more", lambda v: v >= 10))
    size: int = _key(number("pixels, 16 to 2048", lambda v: 16 <= v <= 2048))
    seed: int = _key(_SEED)


@dataclass
class Data:
    name: str = _key(_NAME)
    root: str | None = _key()
    url: str | None = _key()
    sha256: str | None = _key()
    bytes: int | None = _key(COUNT)
    paper_photos: bool = _key()
    synthetic: Synthetic | None = _key()
    val_fraction: float = _key(number("a number between 0 and 1, both excluded", lambda v: 0 < v < 1))
    stratify: bool = _key()
    split_seed: int = _key(_SEED)
    test_fraction: float = _key(number("a number from 0, below 1", lambda v: 0 <= v < 1), default=0.0)
    folds: int | None = _key(number("a whole number, 2 or more", lambda v: v >= 2), default=None)
    fold: int | None = _key(NATURAL, default=None)
    near_distance: int | None = _key(number("bits, 0 to 64", lambda v: 0 <= v <= 64), default=None)
    validation: str = _key(one_of("clean", "augmented"))
    center_crop: float = _key(number("a number above 0, at most 1", lambda v: 0 < v <= 1))
    augmentation: Augmentation | None = _key()
    mean: list[float] = _key(_THREE)
    std: list[float] = _key(_STD)
    on_bad_image: str = _key(one_of("error", "skip"))
    decoded_scale: float = _key(number("a number, 1 or more", lambda v: v >= 1))
    loader: str = _key(one_of("auto", "cached", "stream"))
    cached_max_gb: float = _key(number("gigabytes, 0 or more", lambda v: v >= 0))
    workers: int | None = _key(NATURAL)


@dataclass
class Model:
    name: str = _key(_NAME)
    weights: str | None = _key()
    kwargs: dict[str, Any] = _key()
    freeze: str | None = _key(
        Allowed(
            "backbone, or how many stages, 1 or more", lambda v: v == "backbone" or (v.isdecimal() and int(v) >= 1)
        ),
        default=None,
    )
    dropout: float | None = _key(number("a number from 0, below 1", lambda v: 0 <= v < 1), default=None)
    ema: float | None = _key(number("a number between 0 and 1, both excluded", lambda v: 0 < v < 1), default=None)


@dataclass
class Regularization:
    label_smoothing: float = _key(number("a number from 0, below 1", lambda v: 0 <= v < 1))
    mixup: float = _key(NOT_NEGATIVE)
    cutmix: float = _key(NOT_NEGATIVE)


@dataclass
class Tracking:
    uri: str | None = _key()
    experiment: str = _key(_NAME)
    system_metrics: bool = _key(default=False)
    log_model: bool = _key(default=False)


@dataclass
class Cache:
    dir: str | None = _key()
    max_gb: float = _key(number("gigabytes, 0 or more", lambda v: v >= 0))


@dataclass
class Search:
    storage: str | None = _key(_NAME)
    study: str | None = _key(_NAME)
    trial: int | None = _key(NATURAL)


@dataclass
class Config:
    batch_size: int = _key(COUNT)
    epochs: int = _key(COUNT)
    seed: int = _key(_SEED)
    eval_batch_size: int | None = _key(COUNT)
    image_size: int = _key(number("pixels, 8 to 4096", lambda v: 8 <= v <= 4096))
    device: str = _key(
        Allowed("auto, cpu, mps, cuda or cuda:N", lambda v: bool(re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", v)))
    )
    precision: str = _key(one_of("fp32", "bf16"))
    eval_flips: bool = _key()
    compile: bool | str = _key(Allowed("true, false or auto", lambda v: v in (True, False, "auto")))
    deterministic: bool = _key()
    min_micro_batch: int = _key(COUNT)
    reuse: str = _key(one_of("off", "read", "on"))
    cache: Cache = _key()
    best_by: str = _key(one_of("accuracy", "loss"))
    patience: int | None = _key(COUNT)
    on_done: str = _key(one_of("skip", "rerun"))
    on_error: str = _key(one_of("continue", "stop"))
    repeats: int = _key(COUNT)
    points: str | None = _key()
    profile: bool = _key()
    dry_run: bool = _key()
    data: Data = _key()
    model: Model = _key()
    # Arguments of torch's own classes, any of them: torch knows their names, so these two stay open.
    optim: dict[str, Any] = _key()
    schedule: dict[str, Any] = _key()
    regularization: Regularization = _key()
    tracking: Tracking = _key()
    search: Search = _key()


def register() -> None:
    """Make the schema known to Hydra as `schema`, the first entry of `conf/config.yaml`, and our resolvers."""
    ConfigStore.instance().store(name="schema", node=Config)
    OmegaConf.register_new_resolver("flowerbench_name", safe_name, replace=True)
    OmegaConf.register_new_resolver("flowerbench_environment", launchers.environment, replace=True)


def folder() -> Path:
    """The folder of YAML files: inside the package in a wheel, beside it in a checkout."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "conf"
