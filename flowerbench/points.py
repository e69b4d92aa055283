"""The points of a multirun, each composed and checked before any runs: a grid, a list from a file, repeats, folds."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from flowerbench import checks, identity
from flowerbench.errors import UsageError

# Keys that make points, and say nothing about one of them.
_FOLD = "data.fold"
_OF_THE_SWEEP = ("points", "repeats", "dry_run", "search")


@dataclass(frozen=True)
class Point:
    """One point of a sweep: its folder in the sweep's, its overrides, and its config without Hydra's part."""

    folder: str
    overrides: list[str]
    config: DictConfig

    @cached_property
    def settings(self) -> str:
        """What it is recognised by, before any photo is read."""
        return identity.settings(self.config)

    @property
    def record(self) -> dict[str, Any]:
        """What sweep.json says of it."""
        return {"folder": self.folder, "overrides": self.overrides, "settings": self.settings}


def plan(config: DictConfig) -> tuple[list[str], list[Point]]:
    """The keys that vary, and the points; only a grid has points to know before.

    Raises UsageError, or what Hydra raises, for the first point that cannot be meant.
    """
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    loader = GlobalHydra.instance().config_loader()
    swept = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(
        [*swept, *as_written(config.hydra.overrides.task)]
    )
    if not config.hydra.sweeper._target_.endswith(".GridSweeper") and (config.points or config.repeats > 1):
        raise UsageError("points and repeats are for hydra/sweeper=grid, the default")
    listed = _listed(config)
    varying = list(dict.fromkeys(o.key_or_group for o in parsed if o.is_sweep_override()))
    for key in dict.fromkeys(key for row in listed for key in row):
        if key in varying:
            raise UsageError(f"{key} is swept on the command line and in points={config.points}: leave one out")
        varying.append(key)
    if config.repeats > 1:
        if "seed" in varying:
            raise UsageError("repeats counts seeds up, and seed is swept as well: leave one out")
        varying.append("seed")
    constant = [o.key_or_group for o in parsed if o.key_or_group not in varying]
    _name_folders_after_all_but(constant, config)
    if config.hydra.sweeper._target_.endswith(".OptunaSweeper"):
        from flowerbench import search_space

        ends = search_space.check(config, parsed).ends()
        _check([without_hydra(loader.load_sweep_config(config, overrides)) for overrides in ends])
    if not is_grid(config):
        return varying, []
    made = {*_OF_THE_SWEEP, *(key for row in listed for key in row), *(["seed"] if config.repeats > 1 else [])}
    grid = [override for override in parsed if override.key_or_group not in made]
    composed = _composed(config, _all(config, grid, listed), loader)
    points = [_point(overrides, each, number) for number, (overrides, each) in enumerate(composed)]
    _check([point.config for point in points])
    if _FOLD not in varying and any(override.startswith(f"{_FOLD}=") for p in points for override in p.overrides[-1:]):
        varying.append(_FOLD)
    # Some systems take A and a for the same folder.
    twice = [name for name, count in Counter(point.folder.casefold() for point in points).items() if count > 1]
    if twice:
        raise UsageError(f"the sweep names a point more than once: {', '.join(twice)}")
    return varying, points


def is_grid(config: DictConfig) -> bool:
    """Whether all points are known before the first runs; other sweepers think of them as they go."""
    return bool(config.hydra.sweeper._target_.endswith((".GridSweeper", ".BasicSweeper")))


def _all(config: DictConfig, grid: Sequence[Any], listed: Sequence[dict[str, str]]) -> list[list[str]]:
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    seeds = [[f"seed={config.seed + number}"] for number in range(config.repeats)] if config.repeats > 1 else [[]]
    rows = [[f"{key}={value}" for key, value in row.items()] for row in listed] or [[]]
    return [
        [*overrides, *row, *seed]
        for overrides in BasicSweeper.split_arguments(list(grid), max_batch_size=None)[0]
        for row in rows
        for seed in seeds
    ]


def _composed(
    config: DictConfig, all_overrides: Sequence[list[str]], loader: Any
) -> Iterator[tuple[list[str], DictConfig]]:
    """The config of each point; one that is to be cross-validated is a point for every fold."""
    for overrides in all_overrides:
        composed = loader.load_sweep_config(config, overrides)
        if composed.data.folds is None or composed.data.fold is not None:
            yield overrides, composed
            continue
        for fold in range(composed.data.folds):
            of_fold = [*overrides, f"{_FOLD}={fold}"]
            yield of_fold, loader.load_sweep_config(config, of_fold)


def _check(configs: Sequence[DictConfig]) -> None:
    for config in configs:
        checks.check_values(config)
    checks.check_misfits(configs)


def _point(overrides: list[str], composed: DictConfig, number: int) -> Point:
    without = without_hydra(composed)
    with read_write(composed), open_dict(composed):
        composed.hydra.job.num = number  # a folder that the user names may hold it
    return Point(str(composed.hydra.sweep.subdir), list(overrides), without)


def _listed(config: DictConfig) -> list[dict[str, str]]:
    """The rows of the file that `points` names, values as one writes them on the command line."""
    if config.points is None:
        return []
    file = Path(config.points).expanduser()
    where = f"points={config.points}"
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{where} cannot be read ({error}): name a .csv or .yaml file") from None
    if file.suffix == ".csv":
        read = list(csv.DictReader(text.splitlines()))
        if any(None in row for row in read):
            raise UsageError(f"{where} has a row with more cells than there are keys in its first line")
        rows = [{key.strip(): (value or "").strip() for key, value in row.items()} for row in read]
        found = [{key: value for key, value in row.items() if value} for row in rows]  # an empty cell sets nothing
    elif file.suffix in (".yaml", ".yml"):
        try:
            loaded = OmegaConf.to_container(OmegaConf.create(text))
        except (YAMLError, OmegaConfBaseException) as error:
            raise UsageError(f"{where} cannot be read ({' '.join(str(error).split())})") from None
        if not isinstance(loaded, list) or not all(isinstance(row, dict) for row in loaded):
            raise UsageError(f"{where} must be a list of points, each a mapping such as {{batch_size: 16, epochs: 20}}")
        found = [{str(key): _spelled(value) for key, value in cast(dict[Any, Any], row).items()} for row in loaded]
    else:
        raise UsageError(f"{where} is neither .csv nor .yaml")
    if not found or not any(found):
        raise UsageError(f"{where} names no point")
    for number, row in enumerate(found, start=1):
        for key, value in row.items():
            _check_cell(f"{where}, point {number}: {key}={value}", key, value)
    return found


def _check_cell(where: str, key: str, value: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(f"{key}={value}")
    except HydraException:
        raise UsageError(f"{where} is not a key and its value (cells are separated by commas)") from None
    if override.is_sweep_override():
        raise UsageError(f"{where} is several values: a point has one for each key")


def _spelled(value: Any) -> str:
    """A value of YAML as Hydra's grammar of overrides has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(_spelled, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_spelled(inner)}' for key, inner in value.items())}}}"
    text = str(value)
    return text if not isinstance(value, str) or re.fullmatch(r"[\w./+-]+", text) else quoted(text)


def _name_folders_after_all_but(keys: Sequence[str], config: DictConfig) -> None:
    listed = ",".join(map(quoted, [*keys, *_OF_THE_SWEEP]))
    config.hydra.overrides.hydra.append(f"hydra.job.config.override_dirname.exclude_keys=[{listed}]")


def as_written(overrides: Any) -> list[str]:
    """Overrides as on the command line; to read them from the list would resolve the interpolations in them."""
    return cast(list[str], OmegaConf.to_container(overrides, resolve=False))


def without_hydra(config: DictConfig) -> DictConfig:
    """The config as a run gets it."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def quoted(text: str) -> str:
    """A value that Hydra's grammar of overrides reads as it stands."""
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"
