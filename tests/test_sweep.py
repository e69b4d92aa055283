"""Sweeps, through the real command."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.conftest import finish_together, start_train


@pytest.fixture
def small(photo_folder):
    return ["data=folder", f"data.root={photo_folder}", "model=tiny", "image_size=16", "data.workers=0"]


def only_sweep(cwd: Path) -> Path:
    records = list(cwd.glob("multirun/**/sweep.json"))
    assert len(records) == 1
    return records[0].parent


def status(run: Path) -> str:
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))["status"]


def test_a_sweep_ends_with_its_table_and_says_where_everything_is(flowerbench, tmp_path, small):
    done = flowerbench("train", "--multirun", *small, "batch_size=8,16", "epochs=1,2")
    assert done.returncode == 0, done.stderr
    sweep = only_sweep(tmp_path)
    plan = json.loads((sweep / "sweep.json").read_text(encoding="utf-8"))
    names = [f"batch_size-{batch_size}_epochs-{epochs}" for batch_size in (8, 16) for epochs in (1, 2)]
    assert [point["folder"] for point in plan["points"]] == names
    assert plan["varying"] == ["batch_size", "epochs"]
    assert sorted(run.parent.name for run in sweep.glob("*/summary.json")) == sorted(names)
    assert {status(sweep / name) for name in names} == {"FINISHED"}
    for batch_size in (8, 16):
        for epochs in (1, 2):
            assert f"batch_size={batch_size}, epochs={epochs}" in done.stdout
    assert "| Settings" in done.stdout
    assert "Best Accuracy Rate" in done.stdout
    assert "sqlite:///mlflow.db" in done.stdout
    assert str(sweep.relative_to(tmp_path)) in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    report = sweep / "report.md"
    assert str(report.relative_to(tmp_path)) in done.stdout
    assert "| Epoch" in report.read_text(encoding="utf-8")

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("flowerbench")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    assert {run.info.run_name for run in children} == set(names)
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert "Best Accuracy Rate" in parents[0].data.tags["mlflow.note.content"]
    longest = next(run for run in children if run.data.params["epochs"] == "2")
    history = client.get_metric_history(longest.info.run_id, "val/accuracy")
    assert [metric.step for metric in history] == [1, 2]
    assert {"lr", "train/loss", "train/accuracy", "val/loss", "best/val_accuracy"} <= longest.data.metrics.keys()


def test_a_point_that_fails_does_not_stop_the_others_and_stays_visible(flowerbench, tmp_path, small):
    done = flowerbench("train", "--multirun", *small, "epochs=1", "optim.lr=1e30,0.01", "tracking=none")
    assert done.returncode == 1
    assert "the validation loss became" in done.stderr or "the training loss became" in done.stderr
    assert "Traceback" not in done.stderr
    sweep = only_sweep(tmp_path)
    assert status(sweep / "optim.lr-1e+30") == "FAILED"
    assert status(sweep / "optim.lr-0.01") == "FINISHED"
    assert "FAILED: epoch 1: the" in done.stdout
    assert "FAILED" in (sweep / "report.md").read_text(encoding="utf-8")
    assert "loss became" in (sweep / "optim.lr-1e+30" / "train.log").read_text(encoding="utf-8")


def test_a_sweep_stopped_by_a_signal_still_sums_up(tmp_path, small):
    import signal
    import time

    if os.name == "nt":
        pytest.skip("signals of POSIX")
    process = start_train(tmp_path, "--multirun", *small, "epochs=1,5000")
    try:
        deadline = time.monotonic() + 60
        while not (found := list(tmp_path.glob("multirun/*/*/epochs-5000/history.csv"))) or (
            len(found[0].read_text().splitlines()) < 3
        ):
            assert time.monotonic() < deadline, "it did not get going"
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143, errors
    assert status(only_sweep(tmp_path) / "epochs-1") == "FINISHED"
    assert status(only_sweep(tmp_path) / "epochs-5000") == "KILLED"
    assert "KILLED" in output
    assert "Traceback" not in errors

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("flowerbench").experiment_id])
    ended = {run.info.run_name: run.info.status for run in runs}
    parent = only_sweep(tmp_path).relative_to(tmp_path / "multirun").as_posix()
    assert ended == {parent: "KILLED", "epochs-1": "FINISHED", "epochs-5000": "KILLED"}


def test_names_of_points_are_safe_and_hold_what_varies_alone(flowerbench, tmp_path, small):
    sweep = ["data.augmentation.scale=[0.5,1.0],[0.9,1.0]", "seed=3", "+optim.nesterov=true"]
    done = flowerbench("train", "--multirun", *small, "epochs=1", *sweep, "tracking=none")
    assert done.returncode == 0, done.stderr
    names = [run.parent.name for run in only_sweep(tmp_path).glob("*/summary.json")]
    assert len(names) == 2
    assert all(re.fullmatch(r"data\.augmentation\.scale-[\d._]+_[0-9a-f]{8}", name) for name in names)


def test_it_works_in_a_folder_of_an_odd_name(flowerbench, tmp_path, small):
    odd = tmp_path / "it's an odd=name, indeed"
    odd.mkdir()
    arguments = ["epochs=1", "seed=0,1", "tracking=none", "hydra.sweep.subdir=point-${hydra.job.num}"]
    done = flowerbench("train", "--multirun", *small, *arguments, cwd=odd)
    assert done.returncode == 0, done.stderr
    assert len(list(odd.glob("multirun/*/*/point-*/best.pt"))) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_folder_that_cannot_be_made_is_one_line(flowerbench, small):
    for arguments in (["hydra.run.dir=/dev/full/x"], ["--multirun", "seed=0,1", "hydra.sweep.dir=/dev/full/x"]):
        done = flowerbench("train", *arguments, *small, "tracking=none")
        assert done.returncode == 2
        assert done.stderr.startswith("flowerbench: ")
        assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_sweep_folder_may_be_named(flowerbench, tmp_path, small):
    done = flowerbench(
        "train", "--multirun", *small, "epochs=1", "seed=0,1", "tracking=none", "hydra.sweep.dir=multirun/mine"
    )
    assert done.returncode == 0, done.stderr
    plan = json.loads((tmp_path / "multirun" / "mine" / "sweep.json").read_text(encoding="utf-8"))
    assert plan["name"] == "mine"
    assert (tmp_path / "multirun" / "mine" / "seed-1" / "history.csv").is_file()


def test_a_sweep_that_its_store_refused_may_have_its_folder_again(flowerbench, tmp_path, small):
    command = ["--multirun", *small, "epochs=1", "seed=0,1", "hydra.sweep.dir=multirun/mine"]
    refused = flowerbench("train", *command, "tracking.uri=store")
    assert refused.returncode == 2
    assert "tracking.uri=store cannot be used" in refused.stderr
    assert flowerbench("train", *command, "tracking=none").returncode == 0


def test_two_runs_on_a_brand_new_store_both_succeed(tmp_path, small):
    finish_together([start_train(tmp_path, *small, "epochs=1") for _ in range(2)])

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("flowerbench").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    for run in runs:
        artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
        assert {"config.yaml", "history.csv", "val_predictions.csv", "curves.png", "confusion_matrix.png"} <= artifacts
