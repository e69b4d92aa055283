"""Killed at any moment, a sweep goes on with the same command, and leaves the files that it would have left."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.conftest import finish_together, start_train, write_photos
from tests.test_reuse import assert_same, summary

pytestmark = [
    pytest.mark.long,
    pytest.mark.alone,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(os.name == "nt", reason="SIGKILL"),
]

KILLS, EPOCHS = 20, 300


def command(folder: Path) -> list[str]:
    small = ["data=folder", "data.root=photos", "model=tiny", "image_size=16", "data.workers=0", "cache.dir=cache"]
    write_photos(folder / "photos", {"ash": 20, "beech": 16})
    return ["--multirun", *small, "batch_size=16", f"epochs={EPOCHS},{EPOCHS + 50}", "optim.lr=0.01"]


def progress(folder: Path) -> int:
    files = folder.glob("multirun/*/*/*/history.csv")
    return sum(file.read_bytes().count(b"\n") for file in files)


def killed(folder: Path, arguments: list[str], moments: random.Random) -> bool:
    """Start the command and kill it at some moment; False when it came to its end before."""
    before = progress(folder)
    process = start_train(folder, *arguments)
    deadline = time.monotonic() + 120
    while progress(folder) == before and process.poll() is None:
        assert time.monotonic() < deadline, "it did not get going"
        time.sleep(0.01)
    time.sleep(moments.uniform(0, 0.8))
    if process.poll() is not None:
        process.communicate()
        return False
    # The child that trains has to notice by itself that nobody waits for it.
    process.kill()
    process.communicate(timeout=60)
    return True


def test_twenty_kills_change_nothing(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finish_together([start_train(whole, *command(whole))])
    arguments, moments = command(cut), random.Random(20)
    kills = 0
    while kills < KILLS:
        assert killed(cut, arguments, moments), f"it ended after {kills} kills: too few epochs"
        kills += 1
    finish_together([start_train(cut, *arguments)])
    (one,), (other,) = (list(folder.glob("multirun/*/*/sweep.json")) for folder in (whole, cut))
    for epochs in (EPOCHS, EPOCHS + 50):
        name = f"epochs-{epochs}"
        assert_same(one.parent / name, other.parent / name)
        assert summary(other.parent / name)["status"] == "FINISHED"

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{cut / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("flowerbench").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 3, "the sweep and its points, once each"
    for run in runs:
        if "mlflow.parentRunId" in run.data.tags:
            for metric in ("lr", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "seconds"):
                steps = [entry.step for entry in client.get_metric_history(run.info.run_id, metric)]
                assert sorted(steps) == list(range(1, int(run.data.params["epochs"]) + 1)), metric
