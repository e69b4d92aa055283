"""Where a run or a sweep goes: to an earlier one of the same command, to be finished, or to a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from flowerbench import claim, config, identity, summaries
from flowerbench.errors import UsageError
from flowerbench.points import Point, as_written, quoted

# What a folder holds that has results in it.
_RECORDS = ("sweep.json", "history.csv", "summary.json")


def of_run(cfg: DictConfig, point: Point) -> None:
    """Set hydra.run.dir: a folder under `outputs` that has begun these very settings, or the one that it names.

    Raises UsageError where the user named a folder with other results in it.
    """
    wanted = Path(OmegaConf.select(cfg, "hydra.run.dir"))
    if _is_named_by_user(cfg, "run"):
        if claim.is_at_work(wanted):
            raise UsageError(f"hydra.run.dir={wanted} is in use by another run: name another folder")
        if _has_results(wanted) and not _may_go_on(point, wanted):
            raise UsageError(f"hydra.run.dir={wanted} holds results already: name another folder, or remove it")
        _set(cfg, "run", _made(wanted, "run"))
        return
    _set(cfg, "run", earlier_run(cfg, point) or _numbered(wanted, "run"))


def of_follower(cfg: DictConfig) -> None:
    """Let Hydra make no folder, and no log, for a process that only computes."""
    with read_write(cfg), open_dict(cfg):
        cfg.hydra.run.dir = "."
        cfg.hydra.output_subdir = None
        cfg.hydra.job_logging = {"version": 1, "root": None}


def earlier_run(cfg: DictConfig, point: Point) -> Path | None:
    """The newest run of these settings beside the one that is to be made, unless a process is at work on it."""
    wanted = Path(OmegaConf.select(cfg, "hydra.run.dir"))
    candidates = [wanted, *([] if _is_named_by_user(cfg, "run") else _newest_first(wanted, "summary.json"))]
    return next((folder for folder in candidates if _may_go_on(point, folder)), None)


def of_sweep(cfg: DictConfig, planned: Sequence[Point]) -> Path:
    """Set hydra.sweep.dir likewise, to a sweep of these very points under `multirun`; the folder."""
    wanted = Path(OmegaConf.select(cfg, "hydra.sweep.dir"))
    if _is_named_by_user(cfg, "sweep"):
        if claim.is_at_work(wanted):
            raise UsageError(f"hydra.sweep.dir={wanted} is in use by another sweep: name another folder")
        if _has_results(wanted) and not _is_same_sweep(cfg, wanted, planned):
            raise UsageError(
                f"hydra.sweep.dir={wanted} holds results already, of other points or other photos: "
                "name another folder, or remove it"
            )
        return _set(cfg, "sweep", _made(wanted, "sweep"))
    earlier = earlier_sweep(cfg, planned)
    return _set(cfg, "sweep", earlier or _numbered(wanted, "sweep"))


def earlier_sweep(cfg: DictConfig, planned: Sequence[Point]) -> Path | None:
    """The newest sweep of these points beside the one that is to be made, unless a process is at work on it."""
    wanted = Path(OmegaConf.select(cfg, "hydra.sweep.dir"))
    for folder in [wanted, *([] if _is_named_by_user(cfg, "sweep") else _newest_first(wanted, "sweep.json"))]:
        if _is_same_sweep(cfg, folder, planned) and not claim.is_at_work(folder):
            return folder
    return None


def _may_go_on(point: Point, folder: Path) -> bool:
    """Whether the run in `folder` is one of these settings, and of these photos, and left alone by other processes."""
    before = summaries.read(folder)
    return (
        before.get("settings") == point.settings
        and before.get("sweep") is None
        and point.config.on_done == "skip"
        and (before.get("status") != "FINISHED" or is_finished(point.config, folder))
        and not claim.is_at_work(folder)
    )


def is_finished(settings: DictConfig, folder: Path) -> bool:
    """Whether `folder` holds the finished run of these settings on the photos and the weights as they are now."""
    before = summaries.read(folder)
    return before.get("status") == "FINISHED" and before.get("identity") == identity_of(settings)


def identity_of(settings: DictConfig) -> str:
    """The identity that a run of these settings would have; reads the photos."""
    from flowerbench import provenance
    from flowerbench.data import sources, split

    cfg = cast(config.Config, settings)
    photos = sources.load(cfg.data)
    return identity.identity(settings, provenance.fingerprints(cfg, photos, split.split(photos, cfg.data)))


def _is_same_sweep(cfg: DictConfig, folder: Path, planned: Sequence[Point]) -> bool:
    try:
        plan = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
        points = sorted((str(point["folder"]), str(point.get("settings"))) for point in plan["points"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if cfg.on_done != "skip" or points != sorted((point.folder, point.settings) for point in planned):
        return False
    if not planned and plan.get("command") != identity.command(cfg):
        return False
    # The photos may be others by now; what has finished can tell, one point for each set of them.
    finished = [p for p in planned if summaries.read(folder / p.folder).get("status") == "FINISHED"]
    telling = {str((p.config.data, p.config.model)): p for p in finished}
    return all(is_finished(point.config, folder / point.folder) for point in telling.values())


def _newest_first(wanted: Path, record: str) -> Iterator[Path]:
    """Folders with such a record beside the wanted one: in `outputs` for `outputs/2026-11-24/02-10-11`."""
    home = wanted.parent if wanted.is_absolute() or ".." in wanted.parts else Path(*wanted.parts[:1])
    if home.absolute() in (Path.home(), Path.cwd(), *Path.cwd().parents):
        return iter(())  # it would look through more than results
    found = [(path.stat().st_mtime, path.parent) for path in home.rglob(record)]
    return (folder for _, folder in sorted(found, reverse=True))


def _is_named_by_user(cfg: DictConfig, mode: str) -> bool:
    overrides = as_written(cfg.hydra.overrides.hydra)
    return any(override.lstrip("+").startswith(f"hydra.{mode}.dir=") for override in overrides)


def _has_results(folder: Path) -> bool:
    return any((folder / record).exists() for record in _RECORDS)


def _made(folder: Path, mode: str) -> Path:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"hydra.{mode}.dir={folder} is a file: name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _numbered(wanted: Path, mode: str) -> Path:
    """The folder, made; where another process was first, with a number."""
    folder, number = wanted, 1
    while True:
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"hydra.{mode}.dir={folder} is a file: name a folder")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
            folder = wanted.with_name(f"{wanted.name}-{number}")


def _set(cfg: DictConfig, mode: str, folder: Path) -> Path:
    # Left relative where it is: the working folder may have a name that Hydra would take for an interpolation.
    with read_write(cfg), open_dict(cfg):
        cfg.hydra[mode].dir = str(folder)
    cfg.hydra.overrides.hydra.append(f"hydra.{mode}.dir={quoted(str(folder))}")
    return folder
