"""Runs as they lie on disk: sweep folders, run folders, and points that were planned but left nothing."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from types import UnionType
from typing import Any

import yaml

from flowerbench import predictions, protocols
from flowerbench.errors import UsageError, one_line
from flowerbench.history import Row, read_history
from flowerbench.identity import flat
from flowerbench.report.record import Record, outcome, read_predictions

# MLflow's artifacts hold copies of a run's files.
_NOT_RUNS = ("mlruns", "mlartifacts")


def newest() -> Path:
    """The newest sweep under `multirun`, else the newest run under `outputs`; raises UsageError where neither is."""
    for home, names in (("multirun", ("sweep.json", "multirun.yaml")), ("outputs", ("summary.json", ".hydra"))):
        for name in names:
            found = [(path.stat().st_mtime, path.as_posix(), path.parent) for path in Path(home).rglob(name)]
            if found:
                return max(found)[-1]
    raise UsageError(
        "no sweep under multirun and no run under outputs: run `python -m flowerbench.train` first "
        "(a sweep with --multirun), or name a SOURCE"
    )


def read(source: Path) -> list[Record]:
    """Every run in the folder `source`, at any depth: the points of each sweep as planned, then the others."""
    plans, run_folders = _look_through(source)
    for home, plan in plans.items():
        if not all(
            isinstance(point, dict) and {"folder", "overrides"} <= set(point) for point in plan.get("points", ())
        ):
            raise UsageError(
                f"{home / 'sweep.json'} names a point without folder or overrides: restore it, or remove it"
            )
    planned = {
        home / point["folder"]: (home, point) for home, plan in plans.items() for point in plan.get("points", ())
    }
    folders = dict.fromkeys([*planned, *run_folders])
    records = []
    for folder in folders:
        home, point = planned.get(folder, (_home(folder, source, plans), None))
        plan = plans.get(home, {})
        records.append(_record(folder, home, plan, point["overrides"] if point else []))
    return records


def _home(folder: Path, source: Path, plans: Mapping[Path, Any]) -> Path:
    """The folder that a run is named within: its sweep's, else the source; two levels up for the source itself."""
    if folder == source:
        return folder.absolute().parent.parent
    return next((parent for parent in folder.parents if parent in plans), source)


def _look_through(source: Path) -> tuple[dict[Path, dict[str, Any]], list[Path]]:
    """The plans of all sweeps within `source` by their folders, and all run folders."""
    plans, found = [], []
    for root, folders, files in os.walk(source):
        if "sweep.json" in files:
            plans.append(Path(root))
        if ".hydra" in folders or {"history.csv", "summary.json"} & set(files):
            found.append(Path(root))
            folders.clear()
        folders[:] = [name for name in folders if name not in _NOT_RUNS and not name.startswith(".")]
    in_order = sorted(plans, key=_natural)
    return {home: _json(home / "sweep.json") for home in in_order}, sorted(found, key=_natural)


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """Order as people do: job 10 comes after job 9."""
    parts = re.split(r"(\d+)", path.as_posix())
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def _record(folder: Path, home: Path, plan: Mapping[str, Any], overrides: Sequence[str]) -> Record:
    summary_file, mlflow_file = folder / "summary.json", folder / "mlflow.json"
    summary = _checked(_json(summary_file), summary_file) if summary_file.is_file() else {}
    # Where MLflow was away at first, the summary does not know of its run.
    in_mlflow = _json(mlflow_file) if mlflow_file.is_file() else {}
    history = read_history(folder / "history.csv")
    status = summary.get("status") or "MISSING"
    assigned = dict(filter(None, map(_assigned, overrides)))
    # A config group that the sweep varied is no key of the config, but what its points are known by.
    groups = {key: assigned[key] for key in plan.get("varying", ()) if key in assigned}
    config = groups | (_config(folder) or assigned)
    facts = outcome(status, summary, history) | {
        "reason": summary.get("reason") or _what_is_missing(summary, history),
        # A run that failed early had no time to note it.
        "protocol": summary.get("protocol") or protocols.named(config),
        "split": summary.get("split"),
        "seconds": summary.get("seconds"),
        "started": summary.get("started"),
        "folder": folder.as_posix(),
    }
    inside = folder.absolute()
    return Record(
        key=in_mlflow.get("run_id") or summary.get("mlflow_run_id") or str(folder.resolve()),
        name=inside.relative_to(home.absolute()).as_posix(),
        sweep=plan.get("name") or summary.get("sweep"),
        config=config,
        facts=facts,
        history=history,
        varying=tuple(plan.get("varying", ())),
        predictions=partial(read_predictions, folder / predictions.VAL),
        test_predictions=partial(read_predictions, folder / predictions.TEST),
    )


def _what_is_missing(summary: Mapping[str, Any], history: Sequence[Row]) -> str | None:
    if history and not summary:
        return "it has no summary.json"
    if summary.get("epochs_done") and not history:
        return "its history.csv is missing or broken"
    return None


def _config(folder: Path) -> dict[str, Any]:
    """The flat config of a run folder; empty where Hydra has left none."""
    file = folder / ".hydra" / "config.yaml"
    if not file.is_file():
        return {}
    # A run that was killed in its first moment left an empty one.
    config = _content(file, lambda text: yaml.load(text, Loader=_yaml_loader()) or {})
    return _resolved(config) if "${" in str(config) else flat(config)


@cache
def _yaml_loader() -> Any:
    """OmegaConf's, whose `1e-3` is a number, on top of the parser in C where there is one: eight times as fast."""
    from omegaconf._utils import get_yaml_loader

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        yaml_implicit_resolvers = get_yaml_loader().yaml_implicit_resolvers
        yaml_constructors = get_yaml_loader().yaml_constructors

    return Loader


def _resolved(config: Mapping[str, Any]) -> dict[str, Any]:
    """The flat config, its interpolations resolved where what they refer to is on this machine."""
    from omegaconf import Container, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    # To make a config of all of it, not just of what they stand in and name, would take most of the time of a report.
    asking = str({key: value for key, value in config.items() if "${" in str(value)})
    names_are_known = re.search(r"\$\{[^}]*\$\{", asking) is None
    known = OmegaConf.create({k: value for k, value in config.items() if not names_are_known or str(k) in asking})
    found: dict[str, Any] = {}
    for key, value in flat(config).items():
        if "${" in str(value):
            with suppress(OmegaConfBaseException):
                value = OmegaConf.select(known, key, default=value)
                if isinstance(value, Container):
                    value = OmegaConf.to_container(value, resolve=True)
        found |= flat({key: value})
    return found


@cache
def _assigned(override: str) -> tuple[str, Any] | None:
    """Key and value of an override; None where it takes a key away."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_override(override)
    return None if parsed.is_delete() else (parsed.key_or_group, parsed.value())


def _checked(summary: dict[str, Any], file: Path) -> dict[str, Any]:
    """The summary, whose fields are of their kinds. Raises UsageError for one that somebody has changed."""
    kinds: dict[type | UnionType, tuple[str, ...]] = {
        int: (
            "best_epoch",
            "best_val_correct",
            "val_total",
            "epochs_done",
            "test_correct",
            "test_total",
            "train_total",
        ),
        int | float: ("best_val_accuracy", "seconds"),
        str: ("status", "reason", "protocol", "split", "sweep", "started"),
    }
    for kind, fields in kinds.items():
        for field in fields:
            if summary.get(field) is not None and not isinstance(summary[field], kind):
                raise UsageError(f"{file} has a strange {field}: restore it, or remove it to report without it")
    for right, total in (("best_val_correct", "val_total"), ("test_correct", "test_total")):
        if not 0 <= (summary.get(right) or 0) <= (summary.get(total) or math.inf):
            raise UsageError(f"{file} has a strange {right}: restore it, or remove it to report without it")
    return summary


def _json(file: Path) -> dict[str, Any]:
    return _content(file, json.loads)


def _content(file: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    try:
        content = parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        told = f"{file} cannot be read ({one_line(error)})"
        raise UsageError(f"{told}: restore it, or remove it to report without it") from None
    if not isinstance(content, dict):
        raise UsageError(f"{file} is not what flowerbench writes: restore it, or remove it to report without it")
    return content
