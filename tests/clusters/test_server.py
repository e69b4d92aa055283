"""A sweep of many workers that logs to an `mlflow server` on PostgreSQL."""

from __future__ import annotations

import pytest

from tests.clusters.conftest import is_whole

pytestmark = [pytest.mark.long, pytest.mark.alone, pytest.mark.timeout(600)]

EPOCHS = 5
# As in history.csv, between the epoch and the seconds.
METRICS = ("lr", "train/loss", "train/accuracy", "val/loss", "val/accuracy")


def test_every_metric_of_every_epoch_arrives_once(mlflow_on_postgresql, sweep, photos, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_on_postgresql)
    workers = ["hydra/launcher=processes", "hydra.launcher.n_jobs=8"]
    running = sweep(*workers, *photos, f"epochs={EPOCHS}", "seed=range(8)")
    code, output, errors = running.finish(within=400)
    assert code == 0, output + errors

    from mlflow import MlflowClient

    client = MlflowClient(mlflow_on_postgresql)
    runs = client.search_runs([client.get_experiment_by_name("flowerbench").experiment_id])
    points = {run.data.tags["flowerbench.name"]: run for run in runs if "mlflow.parentRunId" in run.data.tags}
    assert len(runs) == 9
    assert set(points) == {f"seed-{seed}" for seed in range(8)}
    assert {run.info.status for run in runs} == {"FINISHED"}
    for name, run in points.items():
        assert is_whole(running, name, EPOCHS)
        logged = {}
        for metric in METRICS:
            history = sorted(client.get_metric_history(run.info.run_id, metric), key=lambda entry: entry.step)
            assert [entry.step for entry in history] == list(range(1, EPOCHS + 1)), (name, metric)
            logged[metric] = [entry.value for entry in history]
        on_disk = [[float(value) for value in row[1:6]] for row in running.epochs(name)]
        assert [list(row) for row in zip(*logged.values(), strict=True)] == on_disk
