"""Around a multirun: check every point first, tell the runs that they belong together, sum up at the end."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from flowerbench import atomic, checks, errors
from flowerbench.errors import UsageError
from flowerbench.identity import safe_name


@dataclass(frozen=True)
class Run:
    """Where a run is recorded, what it is called, and the sweep and MLflow run that it belongs to, if any."""

    folder: Path
    name: str
    sweep: str | None = None
    parent: str | None = None


@dataclass(frozen=True)
class Plan:
    """What sweep.json holds: the sweep's name, its run in MLflow, the keys that vary and every point."""

    name: str
    mlflow_run_id: str | None
    varying: list[str]
    points: list[dict[str, Any]]


def this_run() -> Run:
    """The run that Hydra has started: its folder, and its sweep where it is a point of one."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    if hydra.mode != RunMode.MULTIRUN:
        return Run(folder, safe_name(",".join(_as_written(hydra.overrides.task))))
    record = Path(hydra.sweep.dir) / "sweep.json"
    plan = Plan(**json.loads(record.read_text(encoding="utf-8")))
    return Run(folder, folder.name, plan.name, plan.mlflow_run_id)


def leave(exit_code: int, error: Exception) -> NoReturn:
    """End a run whose error has been told: a single one ends the command, a point of a sweep lets the others go on."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        raise errors.Told(exit_code) from error
    sys.exit(exit_code)


# The sweep that this process drives: Hydra tells the callback of its start, but of its end only when no point failed.
_driven: list[tuple[Path, Plan, DictConfig]] = []


class Sweep(Callback):
    """Hydra's callback: `conf/config.yaml` names it."""

    # Hydra turns an Exception of a callback into a warning and goes on; an exit it lets pass.

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check a single run, and give it a folder of its own, also when two start within a second."""
        with errors.leave_politely():
            checks.check(_without_hydra(config))
            _claim_folder(config, "run")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check every point; only then make the sweep's folder, its record and its MLflow run."""
        with errors.leave_politely():
            varying, points = _points(config)
            folder = _claim_folder(config, "sweep")
            home = Path("multirun").absolute()
            name = folder.relative_to(home).as_posix() if folder.is_relative_to(home) else folder.name
            from flowerbench import tracking

            plan = Plan(name, tracking.start_sweep(config.tracking, name, len(points)), varying, points)
            atomic.write_text(folder / "sweep.json", json.dumps(asdict(plan), indent=2, ensure_ascii=False) + "\n")
            _driven.append((folder, plan, config))


def _points(config: DictConfig) -> tuple[list[str], list[dict[str, Any]]]:
    """The keys that vary and the points of a grid, each composed and checked; only Hydra's own sweeper has a grid."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    loader = GlobalHydra.instance().config_loader()
    swept = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(
        [*swept, *_as_written(config.hydra.overrides.task)]
    )
    varying = [override.key_or_group for override in parsed if override.is_sweep_override()]
    constant = [override.key_or_group for override in parsed if not override.is_sweep_override()]
    # Folders are named after what varies.
    config.hydra.overrides.hydra.append(f"hydra.job.config.override_dirname.exclude_keys={_listed(constant)}")
    if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        return varying, []
    points = []
    for number, overrides in enumerate(BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]):
        point = loader.load_sweep_config(config, overrides)
        checks.check(_without_hydra(point))
        with read_write(point), open_dict(point):
            point.hydra.job.num = number  # a folder that the user names may hold it
        points.append({"folder": str(point.hydra.sweep.subdir), "overrides": list(overrides)})
    twice = [str(name) for name, count in Counter(point["folder"] for point in points).items() if count > 1]
    if twice:
        raise UsageError(f"the sweep names a point more than once: {', '.join(twice)}")
    return varying, points


def _as_written(overrides: Any) -> list[str]:
    """Overrides as on the command line; to read them from the list would resolve the interpolations in them."""
    return cast(list[str], OmegaConf.to_container(overrides, resolve=False))


def _without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def _listed(keys: list[str]) -> str:
    return "[" + ",".join(f"'{key}'" for key in keys) + "]"


def _claim_folder(config: DictConfig, mode: str) -> Path:
    """Make hydra.run.dir or hydra.sweep.dir; where another process was first, number it, unless the user named it."""
    key = f"hydra.{mode}.dir"
    named_by_user = any(override.startswith(f"{key}=") for override in _as_written(config.hydra.overrides.hydra))
    wanted = Path(OmegaConf.select(config, key)).absolute()
    for record in ("sweep.json", "history.csv"):
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
    config.hydra.overrides.hydra.append(f"{key}='{folder}'")
    return folder


@contextmanager
def summed_up() -> Iterator[None]:
    """Whatever ends a sweep, print its tables and write its full report, as far as it came."""
    try:
        yield
    finally:
        for folder, plan, config in _driven:
            _sum_up(folder, plan, config)


def _sum_up(folder: Path, plan: Plan, config: DictConfig) -> None:
    from flowerbench import report, tracking
    from flowerbench.report import frame

    runs = frame.load(folder)
    summary = report.summary(runs)
    atomic.write_text(folder / "report.md", report.markdown(runs))
    ended_well = all(status == "FINISHED" for status in runs.runs["status"])
    tracking.finish_sweep(config.tracking, plan.mlflow_run_id, summary, "FINISHED" if ended_well else "FAILED")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    print(f"\n{summary}\n")
    print(
        f"MLflow store: {config.tracking.uri or 'none'}"
        + ("   (look at it with: mlflow ui)" if config.tracking.uri else "")
    )
    here = Path.cwd()
    shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
    print(f"Run folders:  {shown}")
    print(f"Full report:  {shown / 'report.md'}")
