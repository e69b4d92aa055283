"""Epochs out of MLflow, many runs at a time: the same as asked for one by one, from a database and from a server."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from flowerbench import mlflow_store
from flowerbench.history import HISTORY
from flowerbench.report import frame, metric_histories
from flowerbench.report.metric_histories import _Bulk
from tests.test_mlflow_server import Server

NAMES = {"lr": "lr", "train/loss": "train_loss", "val/accuracy": "val_accuracy"}


def log_runs(client: MlflowClient) -> tuple[str, dict[str, list[dict[str, float | None]]]]:
    """Five runs of unequal length in a new experiment, and their rows as `read` gives them."""
    experiment = client.create_experiment("flowers")
    expected = {}
    for length in range(5):
        run = client.create_run(experiment, run_name=f"run-{length}").info.run_id
        rows = [dict.fromkeys(HISTORY, math.nan) | {"epoch": epoch} for epoch in range(1, length + 1)]
        metrics = []
        for row in rows:
            for name, column in NAMES.items():
                row[column] = math.nan if (name, row["epoch"]) == ("train/loss", 2) else length + row["epoch"] / 7
                metrics.append(Metric(name, row[column], 1000 + int(row["epoch"]), int(row["epoch"])))
        if length == 3:
            # Logged again later; a run of another program may have logged one metric less often.
            metrics += [Metric("lr", 0.5, 2000, 2), Metric("lr", 0.25, 3000, 2), Metric("val/accuracy", 0.125, 4000, 9)]
            rows[1]["lr"] = 0.25
            rows.append(dict.fromkeys(HISTORY, math.nan) | {"epoch": 9, "val_accuracy": 0.125})
        client.log_batch(run, metrics)
        expected[run] = [without_nan(row) for row in rows]
    return experiment, expected


def read(client: Any, runs: list[Any]) -> dict[str, list[dict[str, float | None]]]:
    """The rows, with None for what is no number, which is not equal to itself."""
    found = metric_histories.read(client, runs)
    return {run: [without_nan(row) for row in rows] for run, rows in found.items()}


def without_nan(row: dict[str, float]) -> dict[str, float | None]:
    return {column: None if math.isnan(value) else value for column, value in row.items()}


Logged = tuple[MlflowClient, str, dict[str, list[dict[str, float | None]]]]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    client = mlflow_store.client(f"sqlite:///{tmp_path_factory.mktemp('store').as_posix()}/mlflow.db")
    return client, *log_runs(client)


@pytest.mark.parametrize(("runs", "values"), [(1000, 100_000), (2, 100_000), (2, 3), (1000, 1), (3, 5)])
def test_runs_have_their_epochs_whatever_the_limits(
    logged: Logged, monkeypatch: pytest.MonkeyPatch, runs: int, values: int
):
    monkeypatch.setattr(metric_histories, "_DATABASE", _Bulk(runs, values, metric_histories._of_database))
    client, experiment, expected = logged
    assert read(client, client.search_runs([experiment])) == expected


def test_a_store_without_such_a_call_is_asked_for_one_run_at_a_time(logged: Logged):
    client, experiment, expected = logged
    other = SimpleNamespace(
        _tracking_client=SimpleNamespace(store=object()), get_metric_history=client.get_metric_history
    )
    assert read(other, client.search_runs([experiment])) == expected


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path)
    started.start()
    yield started
    started.kill()


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="process groups of POSIX")
def test_a_server_answers_as_a_database_does(server: Server, monkeypatch: pytest.MonkeyPatch):
    client = mlflow_store.client(server.uri)
    experiment, expected = log_runs(client)
    runs = client.search_runs([experiment])
    with monkeypatch.context() as patch:
        patch.setattr(client, "get_metric_history", None)  # not needed
        assert read(client, runs) == expected
    monkeypatch.setattr(metric_histories, "_SERVER", _Bulk(2, 3, metric_histories._of_server))
    assert read(client, runs) == expected
    client.log_text(runs[0].info.run_id, "photo,label,prediction,p(a)\n1.jpg,a,None,0.5\n", "val_predictions.csv")
    loaded = frame.load("flowers", tracking_uri=server.uri)
    predictions = loaded.predictions(runs[0].info.run_name)
    assert predictions is not None
    assert predictions.to_dict("list") == {"photo": ["1.jpg"], "label": ["a"], "prediction": ["None"]}
    assert loaded.predictions(runs[1].info.run_name) is None
