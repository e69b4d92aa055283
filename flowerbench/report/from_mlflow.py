"""Runs as MLflow has them: an experiment's, a sweep's, or a single one."""

from __future__ import annotations

import ast
import functools
import logging
import math
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowerbench import predictions, protocols
from flowerbench.errors import UsageError
from flowerbench.history import Row
from flowerbench.report import metric_histories
from flowerbench.report.record import Record, outcome, read_predictions

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

# Runs that a server sends in a second or two, so that also a busy one answers in time.
_PAGE = 250


def default_uri() -> str:
    """The store that training logs to unless told otherwise."""
    return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


def is_there(uri: str) -> bool:
    """False for a local database without a file, which MLflow would create."""
    return not uri.startswith("sqlite") or Path(uri.partition(":///")[2].partition("?")[0]).is_file()


def read(source: str, uri: str) -> list[Record]:
    """The runs that `source` names in the store: an experiment by name or id, a run by id, a sweep by name or run id.

    Empty where the store knows no such thing; raises UsageError where it cannot be read.
    """
    from flowerbench import mlflow_store

    # MLflow would ask a server for anything with a scheme, and take the rest for a folder.
    if "://" not in uri and not uri.startswith("sqlite"):
        raise UsageError(
            f"--tracking-uri {uri} is no store: name one such as sqlite:///mlflow.db or a server's address"
        )
    try:
        with _patience():
            client = mlflow_store.client(uri)
            runs = _find(client, source)
            _warn_of_missing_points(runs)
            own = [run for run in runs if not _is_sweep(run)]
            histories = metric_histories.read(client, own)
            varied = {run.info.run_id: run.data.tags.get("flowerbench.varying", "") for run in runs if _is_sweep(run)}
            return [_record(run, histories[run.info.run_id], uri, varied) for run in own]
    except Exception as error:
        where, why = mlflow_store.without_password(uri), mlflow_store.reason(error)
        raise UsageError(f"MLflow at {where} cannot be read ({why}): check --tracking-uri") from error


@contextmanager
def _patience() -> Iterator[None]:
    """Training must not wait long for a server; a report may, for a busy one, unless the user has set how long."""
    from flowerbench.mlflow_store import SETTINGS

    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    before = os.environ.setdefault(name, SETTINGS[name])
    os.environ[name] = "30" if before == SETTINGS[name] else before
    try:
        yield
    finally:
        os.environ[name] = before


def _find(client: MlflowClient, source: str) -> list[Run]:
    from mlflow.exceptions import MlflowException

    def search(experiments: list[str], filter_string: str) -> list[Run]:
        order = ["attributes.start_time ASC"]
        found = _all_pages(client.search_runs, experiments, filter_string=filter_string, order_by=order)
        return [run for run in found if "flowerbench.replaced" not in run.data.tags]

    experiment = client.get_experiment_by_name(source)
    if experiment is None and source.isdigit():
        try:
            experiment = client.get_experiment(source)
        except MlflowException:
            log.debug("no experiment has the id %s", source)
    if experiment is not None:
        return search([experiment.experiment_id], "")
    if re.fullmatch(r"[0-9a-f]{32}", source):
        try:
            run = client.get_run(source)
        except MlflowException:
            return []
        children = f"tags.mlflow.parentRunId = '{source}'"
        return [run, *search([run.info.experiment_id], children)] if _is_sweep(run) else [run]
    if '"' in source:
        return []
    everywhere = [experiment.experiment_id for experiment in _all_pages(client.search_experiments)]
    return search(everywhere, f'tags.`flowerbench.sweep` = "{source}"')


def _all_pages(search: Callable[..., Any], *args: Any, **kwargs: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(*args, max_results=_PAGE, page_token=token, **kwargs)
        yield from page
        token = page.token
        if not token:
            return


def _is_sweep(run: Run) -> bool:
    return bool(run.data.tags.get("flowerbench.kind") == "sweep")


def _warn_of_missing_points(runs: list[Run]) -> None:
    """MLflow knows how many points a sweep had, but not what those were that never began."""
    children = Counter(run.data.tags.get("mlflow.parentRunId") for run in runs)
    for run in filter(_is_sweep, runs):
        points, begun = int(run.data.tags.get("flowerbench.points", 0)), children[run.info.run_id]
        if begun < points:
            name = run.data.tags.get("flowerbench.sweep")
            log.warning("flowerbench: MLflow has %s of the %s points of sweep %s", begun, points, name)


def _record(run: Run, history: list[Row], uri: str, varied: Mapping[str, str]) -> Record:
    """A run as a report sees it; `varied` has the keys that sweeps vary, by the ids of their runs."""
    info, tags, metrics = run.info, run.data.tags, run.data.metrics
    config = {key: _value(text) for key, text in run.data.params.items()}
    summary = {
        "best_epoch": _whole(metrics.get("best/epoch")),
        "best_val_accuracy": metrics.get("best/val_accuracy"),
        "best_val_correct": _whole(metrics.get("best/val_correct")),
        "val_total": _whole(metrics.get("val_total")),
        "test_correct": _whole(metrics.get("test/correct")),
        "test_total": _whole(metrics.get("test/total")),
        "train_total": _whole(tags.get("flowerbench.train_total")),
    }
    facts = outcome(info.status, summary, history) | {
        "reason": tags.get("flowerbench.status_reason"),
        "protocol": tags.get("flowerbench.protocol") or protocols.named(config),
        "split": tags.get("flowerbench.split"),
        "seconds": (info.end_time - info.start_time) / 1000 if info.end_time else None,
        "started": datetime.fromtimestamp(info.start_time / 1000, UTC).isoformat(timespec="seconds"),
        "folder": f"runs:/{info.run_id}",
    }
    name = tags.get("flowerbench.name") or info.run_name or info.run_id
    return Record(
        key=info.run_id,
        name=name,
        sweep=tags.get("flowerbench.sweep"),
        config=config,
        facts=facts,
        history=history,
        varying=tuple(filter(None, varied.get(tags.get("mlflow.parentRunId", ""), "").split(","))),
        predictions=functools.partial(_predictions, f"{info.artifact_uri}/{predictions.VAL}", uri),
        test_predictions=functools.partial(_predictions, f"{info.artifact_uri}/{predictions.TEST}", uri),
    )


def _predictions(file: str, uri: str) -> pd.DataFrame | None:
    """Those in a file among the run's artifacts: a local one as it lies there, else a copy for the while."""
    from mlflow.artifacts import download_artifacts
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    if is_local_uri(file, is_tracking_or_registry_uri=False):
        return read_predictions(Path(local_file_uri_to_path(file)))
    with tempfile.TemporaryDirectory() as folder:
        try:
            copy = download_artifacts(artifact_uri=file, dst_path=folder, tracking_uri=uri)
        except Exception as error:
            # Each kind of store says in its own way that it has no such file.
            log.debug("no %s: %s", file, error)
            return None
        return read_predictions(Path(copy))


def _whole(number: float | str | None) -> int | None:
    return int(float(number)) if number is not None and math.isfinite(float(number)) else None


@functools.lru_cache(10_000)
def _value(text: str) -> Any:
    """A parameter as it was before MLflow made text of it."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
