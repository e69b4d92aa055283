"""Around a multirun: check every point first, tell the runs that they belong together, sum up at the end."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from flowerbench import atomic, checks, errors, points
from flowerbench.identity import safe_name


@dataclass(frozen=True)
class Run:
    """Where a run is recorded, what it is called, and the sweep that it belongs to, if any."""

    folder: Path
    name: str
    sweep: str | None = None
    sweep_folder: Path | None = None

    @property
    def tags(self) -> dict[str, str]:
        """What MLflow is to find the run by, however early it may fail."""
        return {"flowerbench.name": self.name} | ({"flowerbench.sweep": self.sweep} if self.sweep else {})


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
        return Run(folder, safe_name(",".join(points.as_written(hydra.overrides.task))))
    record = Path(hydra.runtime.cwd, hydra.sweep.dir, "sweep.json")
    plan = Plan(**json.loads(record.read_text(encoding="utf-8")))
    return Run(folder, folder.name, plan.name, record.parent)


def leave(exit_code: int, error: Exception) -> NoReturn:
    """End a run whose error has been told: a single one ends the command, a point of a sweep lets the others go on."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        raise errors.Told(exit_code) from error
    sys.exit(exit_code)


# The sweep that this process drives: Hydra tells the callback of its start, but of its end only when no point failed.
_driven: list[tuple[Path, Plan, DictConfig]] = []


class Sweep(Callback):
    """Hydra's callback: `conf/config.yaml` names it."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check a single run, and give it a folder of its own, also when two start within a second."""
        with _nothing_goes_on_after_an_error():
            checks.check(points.without_hydra(config))
            points.claim_folder(config, "run")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check every point; only then make the sweep's folder, its record and its MLflow run."""
        with _nothing_goes_on_after_an_error():
            varying, planned = points.plan(config)
            folder = points.claim_folder(config, "sweep")
            home = Path("multirun").absolute()
            place = folder.absolute()
            name = place.relative_to(home).as_posix() if place.is_relative_to(home) else folder.name
            plan = Plan(name, None, varying, planned)
            try:
                # Of two sweeps that were given one folder at the same moment, one makes this file.
                (folder / "sweep.json").touch(exist_ok=False)
            except FileExistsError:
                raise errors.UsageError(f"hydra.sweep.dir={folder} was just taken by another sweep") from None
            _write(plan, folder)
            from flowerbench import tracking

            try:
                plan = replace(plan, mlflow_run_id=tracking.start_sweep(config.tracking, folder, name, len(planned)))
            except BaseException:
                (folder / "sweep.json").unlink()  # the corrected command may want the same folder
                raise
            _write(plan, folder)
            _driven.append((folder, plan, config))


def _write(plan: Plan, folder: Path) -> None:
    atomic.write_text(folder / "sweep.json", json.dumps(asdict(plan), indent=2, ensure_ascii=False) + "\n")


@contextmanager
def _nothing_goes_on_after_an_error() -> Iterator[None]:
    """Hydra makes a warning of a callback's Exception and goes on, but an exit it lets pass."""
    try:
        with errors.leave_politely():
            yield
    except OSError as error:
        print(f"flowerbench: cannot write {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(errors.USAGE)
    except Exception:
        traceback.print_exc()
        sys.exit(errors.FAILED)


@contextmanager
def summed_up() -> Iterator[None]:
    """Whatever ends a sweep, print its tables and write its full report, as far as it came."""
    try:
        yield
    except BaseException as error:
        for folder, plan, config in _driven:
            _sum_up(folder, plan, config, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    for folder, plan, config in _driven:
        _sum_up(folder, plan, config, "FINISHED")


def _sum_up(folder: Path, plan: Plan, config: DictConfig, status: str) -> None:
    from flowerbench import report, tracking
    from flowerbench.mlflow_store import without_password
    from flowerbench.report import frame

    note, full = "", folder / "report.md"
    try:
        runs = frame.load(folder)
        note = report.summary(runs)
        atomic.write_text(full, report.markdown(runs))
    except OSError as error:
        print(f"flowerbench: cannot write {full}: {error.strerror}", file=sys.stderr)
    finally:
        tracking.finish_sweep(config.tracking, folder, note, status)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    uri = without_password(config.tracking.uri) if config.tracking.uri else "none"
    look = "   (look at it with: mlflow ui)" if uri == "sqlite:///mlflow.db" else ""
    print(f"\n{note}\n\nMLflow store: {uri}{look}\nRun folders:  {folder}\nFull report:  {full}")
