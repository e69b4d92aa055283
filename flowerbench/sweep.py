"""Hydra's callback: check every point first, choose the folders, tell the runs of a sweep that they belong together."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from flowerbench import (
    checks,
    distributed,
    drive,
    errors,
    identity,
    launchers,
    mlflow_pages,
    place,
    points,
    summaries,
    torchrun,
)
from flowerbench.identity import safe_name


@dataclass(frozen=True)
class Run:
    """Where a run is recorded, what it is called, and the sweep that it belongs to, if any: its name and folder.

    `settings` are those that set it apart, as on the command line, and `number` its place in the sweep's plan.
    `is_alone` is false where other runs may write to the same terminal.
    """

    folder: Path
    name: str
    sweep: str | None = None
    sweep_folder: Path | None = None
    settings: str | None = None
    number: int | None = None
    is_alone: bool = True

    @property
    def tags(self) -> dict[str, str]:
        """What MLflow is to find the run by, however early it may fail, and its colour among those of the sweep."""
        tags = {"flowerbench.name": self.name, "flowerbench.folder": self.folder.as_posix()}
        tags |= {"flowerbench.sweep": self.sweep} if self.sweep else {}
        return tags | ({} if self.number is None else {"mlflow.runColor": mlflow_pages.color(self.number)})


def this_run() -> Run:
    """The run that Hydra has started: its folder, and its sweep where it is a point of one."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    written = points.as_written(hydra.overrides.task)
    if not is_point():
        settings = _shown(identity.telling(written, identity.NOT_SETTINGS))
        return Run(folder, safe_name(",".join(written)), settings=settings)
    home = Path(hydra.runtime.cwd, hydra.sweep.dir)
    plan = json.loads((home / "sweep.json").read_text(encoding="utf-8"))
    constant = identity.telling(written, plan["varying"])
    planned = [Path(home, point["folder"]) for point in plan["points"]]
    return Run(
        folder,
        folder.name,
        plan["name"],
        home,
        settings=_shown([override for override in written if override not in constant]),
        number=planned.index(folder) if folder in planned else None,
        is_alone=launchers.is_serial(hydra.launcher),
    )


def _shown(overrides: Sequence[str]) -> str:
    text = ", ".join(overrides) or "defaults"
    return text if len(text) <= 100 else f"{text[:99]}…"


def is_point() -> bool:
    """Whether the run that Hydra has started is a point of a sweep."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def was_stopped(run: Run) -> bool:
    """Whether a point of this sweep failed since it was begun or begun again, which is for `on_error=stop`."""
    if run.sweep_folder is None:
        return False
    written = summaries.written_since_begun(run.sweep_folder)
    return any(summary.get("status") == "FAILED" for summary in written.values())


class Sweep(Callback):
    """Hydra's callback: `conf/config.yaml` names it."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check a single run, and give it the folder that it has begun in, or one of its own."""
        with _nothing_goes_on_after_an_error():
            if torchrun.is_follower():
                place.of_follower(config)
                return
            settings = points.without_hydra(config)
            _stay_here(config)
            checks.check(settings)
            distributed.check(settings)
            for key, value in (("points", settings.points), ("repeats", settings.repeats > 1)):
                if value:
                    raise errors.UsageError(f"{key}={settings[key]} makes several runs: add --multirun")
            point = points.Point("", points.as_written(config.hydra.overrides.task), settings)
            if settings.dry_run:
                _show_plan([point], place.earlier_run(config, point), None)
            place.of_run(config, point)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check every point; only then choose the sweep's folder and begin, or go on."""
        with _nothing_goes_on_after_an_error():
            if torchrun.processes() > 1:
                raise errors.UsageError("torchrun shares out one run: leave out --multirun, or torchrun")
            if config.dry_run:
                importlib.import_module("flowerbench.dry_run")  # with torch, which the check of the points then has
            elif launchers.is_serial(config.hydra.launcher):
                drive.warm_up(config)  # while this process is at the plan
            _stay_here(config)
            varying, planned = points.plan(config)
            folder = None if config.dry_run else place.of_sweep(config, planned)
            if folder is None:
                _show_plan(planned, place.earlier_sweep(config, planned), launchers.threads(config.hydra.launcher))
            else:
                drive.begin(config, folder, varying, planned)


def _stay_here(config: DictConfig) -> None:
    if config.hydra.job.chdir:
        raise errors.UsageError("hydra.job.chdir=true is not possible: paths are relative to where the command is run")


def _show_plan(planned: list[points.Point], earlier: Path | None, threads: int | None) -> None:
    from flowerbench import dry_run

    print(dry_run.text(planned, earlier, threads))
    sys.stdout.flush()
    sys.exit(0)


@contextmanager
def _nothing_goes_on_after_an_error() -> Iterator[None]:
    """Hydra makes a warning of a callback's Exception and goes on, but an exit it lets pass."""
    try:
        with errors.leave_politely():
            yield
    except OSError as error:
        where = f" {os.fspath(error.filename)}" if error.filename else ""
        print(f"flowerbench: cannot write{where}: {error.strerror}", file=sys.stderr)
        sys.exit(errors.USAGE)
    except Exception:
        traceback.print_exc()
        sys.exit(errors.FAILED)
