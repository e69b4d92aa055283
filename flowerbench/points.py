"""The points of a multirun, each composed and checked before any runs, and the folders that they go to."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from flowerbench import checks
from flowerbench.errors import UsageError

# What a folder holds that has results in it.
_RECORDS = ("sweep.json", "history.csv")


def plan(config: DictConfig) -> tuple[list[str], list[dict[str, Any]]]:
    """The keys that vary, and each point's folder and overrides; only Hydra's own sweeper has a grid to know before.

    Raises UsageError, or what Hydra raises, for the first point that cannot be meant.
    """
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    loader = GlobalHydra.instance().config_loader()
    swept = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(
        [*swept, *as_written(config.hydra.overrides.task)]
    )
    varying = [override.key_or_group for override in parsed if override.is_sweep_override()]
    constant = [override.key_or_group for override in parsed if override.key_or_group not in varying]
    constant.append("search")  # what a sweeper tells the trials of a search
    # Folders are named after what varies.
    listed = ",".join(map(quoted, constant))
    config.hydra.overrides.hydra.append(f"hydra.job.config.override_dirname.exclude_keys=[{listed}]")
    if config.hydra.sweeper._target_.endswith(".OptunaSweeper"):
        from flowerbench import search_space

        for overrides in search_space.check(config, parsed).ends():
            checks.check(without_hydra(loader.load_sweep_config(config, overrides)))
    if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        return varying, []
    points = []
    for number, overrides in enumerate(BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]):
        point = loader.load_sweep_config(config, overrides)
        checks.check(without_hydra(point))
        with read_write(point), open_dict(point):
            point.hydra.job.num = number  # a folder that the user names may hold it
        points.append({"folder": str(point.hydra.sweep.subdir), "overrides": list(overrides)})
    twice = [str(name) for name, count in Counter(point["folder"] for point in points).items() if count > 1]
    if twice:
        raise UsageError(f"the sweep names a point more than once: {', '.join(twice)}")
    return varying, points


def claim_folder(config: DictConfig, mode: str) -> Path:
    """Make hydra.run.dir or hydra.sweep.dir; where another process was first, number it, unless the user named it.

    Raises UsageError where the folder that the user named has results in it.
    """
    key = f"hydra.{mode}.dir"
    named_by_user = any(override.startswith(f"{key}=") for override in as_written(config.hydra.overrides.hydra))
    # Left relative where it is: the working folder may have a name that Hydra would take for an interpolation.
    wanted = Path(OmegaConf.select(config, key))
    if wanted.exists() and not wanted.is_dir():
        raise UsageError(f"{key}={wanted} is a file: name a folder")
    for record in _RECORDS:
        if (wanted / record).exists() and named_by_user:
            raise UsageError(f"{key}={wanted} holds results already ({record}): name another folder, or remove it")
    folder, number = wanted, 1
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=named_by_user)
            break
        except FileExistsError:
            number += 1
            folder = wanted.with_name(f"{wanted.name}-{number}")
    with read_write(config), open_dict(config):
        config.hydra[mode].dir = str(folder)
    config.hydra.overrides.hydra.append(f"{key}={quoted(str(folder))}")
    return folder


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
