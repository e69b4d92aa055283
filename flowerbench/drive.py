"""Drive a sweep: hand its unfinished points to Hydra's launcher, whatever that loses, and sum up whatever ends it."""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import BaseFileLock, Timeout
from omegaconf import DictConfig

from flowerbench import atomic, claim, errors, identity, isolation, summaries
from flowerbench.points import Point, quoted

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher

log = logging.getLogger(__name__)

# How often a point is begun whose process was lost together with its launcher's.
_TRIES = 3
OVER = ("FINISHED", "PRUNED")


@dataclass(frozen=True)
class Drive:
    """The sweep that this process drives, and how far it was when this process began."""

    folder: Path
    planned: list[Point]
    config: DictConfig
    lock: BaseFileLock
    pid: int = field(default_factory=os.getpid)
    began: float = field(default_factory=time.monotonic)
    before: dict[str, dict[str, Any]] = field(default_factory=dict)


# Hydra tells a callback of a sweep's start, but of its end only when no point failed.
driven: list[Drive] = []


def is_driver() -> bool:
    """Whether this process drives the sweep, as against one that a launcher started."""
    return bool(driven) and driven[-1].pid == os.getpid()


def warm_up(cfg: DictConfig) -> None:
    """Begin with the imports that every point's process needs, once for all of them."""
    needed = [f"flowerbench.{name}" for name in ("train", "assembly", "progress", "resume", "tracking")]
    isolation.prepare(*needed, *(["flowerbench._mlflow"] if cfg.tracking.uri else []))


def begin(config: DictConfig, folder: Path, varying: list[str], planned: list[Point]) -> None:
    """Make the sweep's folder this process's, write its record and start its run in MLflow, or go on with both."""
    from flowerbench import tracking

    home, place = Path("multirun").absolute(), folder.absolute()
    name = place.relative_to(home).as_posix() if place.is_relative_to(home) else folder.name
    lock = claim.lock(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise errors.UsageError(f"hydra.sweep.dir={folder} was just taken by another sweep") from None
    record = {"name": name, "varying": varying, "points": [point.record for point in planned]}
    record["command"] = identity.command(config)
    is_new = not (folder / "sweep.json").exists()
    atomic.write_text(folder / "sweep.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    try:
        tracking.start_sweep(config.tracking, folder, name, len(planned), varying)
    except BaseException:
        if is_new:
            (folder / "sweep.json").unlink()  # the corrected command may want the same folder
        lock.release()
        raise
    before = {point.folder: summaries.read(folder / point.folder) for point in planned}
    driven.append(Drive(folder, planned, config, lock, before=before))
    if any(before.values()):
        done = sum(found.get("status") in OVER for found in before.values())
        log.info("Going on with the sweep in %s: %d of %d points are done", folder, done, len(planned))


def launch(launcher: Launcher, batch_size: int | None = None) -> list[Any]:
    """Launch the points that are not done, at most `batch_size` at once; what the launcher returned for each.

    A point's own failure never reaches the launcher. Where the launcher itself fails, because it lost a process,
    what is unfinished is launched again, but no point more than three times.
    """
    drive, returned = driven[-1], list[Any]()
    ordered = in_order(drive.planned)
    tries: Counter[str] = Counter()
    while waiting := [p for p in ordered if _is_to_run(drive, p, tries[p.folder])]:
        batch = waiting[: batch_size or len(waiting)]
        begun = {point.folder: _last_write(drive.folder / point.folder) for point in batch}
        tries.update(point.folder for point in batch)
        overrides = [[*point.overrides, f"hydra.sweep.subdir={quoted(point.folder)}"] for point in batch]
        try:
            returned += launcher.launch(overrides, initial_job_idx=0)
        except Exception as error:
            lost = [p for p in batch if _last_write(drive.folder / p.folder) != begun[p.folder]]
            if not lost:
                raise errors.RunError(f"the launcher cannot start a point: {errors.one_line(error)}") from error
            log.error("flowerbench: the launcher lost a process (%s)", errors.one_line(error))
            # A try counts for what may have been the cause, not for what was waiting in line.
            tries.subtract(point.folder for point in batch if point not in lost)
        else:
            tries.update({point.folder: _TRIES for point in batch})
    for point in drive.planned:
        folder = drive.folder / point.folder
        if summaries.read(folder).get("status") == "RUNNING" and not claim.is_at_work(folder):
            end_what_died(folder, "FAILED", "its process was lost")
    return returned


def in_order(planned: Sequence[Point]) -> list[Point]:
    """The order to run points in: first one of each trajectory, the shortest; a longer one then goes on from it.

    So points that are run at the same time seldom wait for the same epochs.
    """
    groups: dict[str, list[Point]] = {}
    for point in planned:
        groups.setdefault(identity.trajectory(point.config, {}), []).append(point)
    rank = {
        point.folder: place
        for group in groups.values()
        for place, point in enumerate(sorted(group, key=lambda point: int(point.config.epochs)))
    }
    return sorted(planned, key=lambda point: rank[point.folder])


def _is_to_run(drive: Drive, point: Point, tries: int) -> bool:
    if tries >= _TRIES:
        return False
    status = summaries.read(drive.folder / point.folder).get("status")
    # Within one command a point that failed or was stopped had its turn.
    return status not in (OVER if tries == 0 else (*OVER, "FAILED", "KILLED"))


def _last_write(folder: Path) -> float:
    file = folder / "summary.json"
    return file.stat().st_mtime if file.exists() else 0.0


def end_what_died(folder: Path, status: str, reason: str) -> None:
    """Note the end of a run whose process could not do so itself."""
    from flowerbench import sync

    with claim.alone_in(folder, waits=True):
        before = summaries.read(folder)
        if before.get("status", "RUNNING") == "RUNNING":
            summaries.write(folder, before | {"status": status, "reason": reason})
            sync.end(folder, status, reason)
