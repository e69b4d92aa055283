"""Sweeps, through the real command."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import time
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


def stopped_in(point: str, cwd: Path, *arguments: str) -> tuple[str, str]:
    """Start a sweep, end it by SIGTERM when the point has a few epochs, and give what it printed."""
    if os.name == "nt":
        pytest.skip("signals of POSIX")
    process = start_train(cwd, *arguments)
    try:
        deadline = time.monotonic() + 90
        while not (found := list(cwd.glob(f"multirun/*/*/{point}/history.csv"))) or (
            len(found[0].read_text().splitlines()) < 4
        ):
            assert time.monotonic() < deadline, "it did not get going"
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143, errors
    return output, errors


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
    report = sweep / "report"
    assert str((report / "report.html").relative_to(tmp_path)) in done.stdout
    assert "| Epoch" in (report / "report.md").read_text(encoding="utf-8")
    assert {"report.html", "report.tex", "report.json", "settings.csv", "figures"} <= {f.name for f in report.iterdir()}

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("flowerbench")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    assert {run.data.tags["flowerbench.name"] for run in children} == set(names)
    assert "batch_size=8, epochs=1" in {run.info.run_name for run in children}
    assert len({run.data.tags["mlflow.runColor"] for run in children}) == 4
    place = f"/#/experiments/{experiment.experiment_id}/runs/{parents[0].info.run_id}"
    assert f"mlflow ui, then http://127.0.0.1:5000{place}?workflowType=machine_learning\n" in done.stdout
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert "Best Accuracy Rate" in parents[0].data.tags["mlflow.note.content"]
    longest = next(run for run in children if run.data.params["epochs"] == "2")
    history = client.get_metric_history(longest.info.run_id, "val/accuracy")
    assert [metric.step for metric in history] == [1, 2]
    assert {"lr", "train/loss", "train/accuracy", "val/loss", "best/val_accuracy"} <= longest.data.metrics.keys()


@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=processes"]], ids=["Hydra's own", "processes"])
@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="a fork server")
def test_what_drives_a_sweep_does_without_torch(flowerbench, tmp_path, small, launcher):
    """It lives as long as the sweep, beside the processes that train: torch would take 200 MB of each."""
    # Python imports this whenever it starts, so every process of the sweep notes whether it loads torch.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n"
        "            with open(os.environ['NOTES'], 'a') as notes:\n"
        "                print('a fork server' if 'forkserver' in sys.orig_argv[-1] else sys.orig_argv, file=notes)\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    notes = tmp_path / "notes"
    done = flowerbench(
        *("train", "--multirun", *small, "epochs=1", "tracking=none", "seed=0,1", *launcher),
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])]),
        NOTES=str(notes),
    )
    assert done.returncode == 0, done.stderr
    assert set(notes.read_text().splitlines()) == {"a fork server"}


def test_a_point_that_fails_does_not_stop_the_others_and_stays_visible(flowerbench, tmp_path, small):
    done = flowerbench("train", "--multirun", *small, "epochs=1", "optim.lr=1e30,0.01", "tracking=none")
    assert done.returncode == 1
    assert "the validation loss became" in done.stderr or "the training loss became" in done.stderr
    assert "Traceback" not in done.stderr
    sweep = only_sweep(tmp_path)
    assert status(sweep / "optim.lr-1e+30") == "FAILED"
    assert status(sweep / "optim.lr-0.01") == "FINISHED"
    assert "FAILED: epoch 1: the" in done.stdout
    assert "FAILED" in (sweep / "report" / "report.md").read_text(encoding="utf-8")
    assert "loss became" in (sweep / "optim.lr-1e+30" / "train.log").read_text(encoding="utf-8")


@pytest.mark.long
def test_a_sweep_stopped_by_a_signal_still_sums_up(tmp_path, small):
    output, errors = stopped_in("epochs-5000", tmp_path, "--multirun", *small, "epochs=1,5000")
    assert status(only_sweep(tmp_path) / "epochs-1") == "FINISHED"
    assert status(only_sweep(tmp_path) / "epochs-5000") == "KILLED"
    assert "KILLED" in output
    assert "Traceback" not in errors

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("flowerbench").experiment_id])
    ended = {run.info.run_name: run.info.status for run in runs}
    parent = only_sweep(tmp_path).relative_to(tmp_path / "multirun").as_posix()
    assert ended == {f"epochs ({parent})": "KILLED", "epochs=1": "FINISHED", "epochs=5000": "KILLED"}


def test_names_of_points_are_safe_and_hold_what_varies_alone(flowerbench, tmp_path, small):
    sweep = ["data.augmentation.scale=[0.5,1.0],[0.9,1.0]", "seed=3", "+optim.foreach=true"]
    done = flowerbench("train", "--multirun", *small, "epochs=1", *sweep, "tracking=none")
    assert done.returncode == 0, done.stderr
    names = [run.parent.name for run in only_sweep(tmp_path).glob("*/summary.json")]
    assert len(names) == 2
    assert all(re.fullmatch(r"data\.augmentation\.scale-[\d._]+_[0-9a-f]{8}", name) for name in names)


@pytest.mark.long
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


@pytest.mark.long
def test_a_sweep_that_its_store_refused_may_have_its_folder_again(flowerbench, tmp_path, small):
    command = ["--multirun", *small, "epochs=1", "seed=0,1", "hydra.sweep.dir=multirun/mine"]
    refused = flowerbench("train", *command, "tracking.uri=store")
    assert refused.returncode == 2
    assert "tracking.uri=store cannot be used" in refused.stderr
    assert flowerbench("train", *command, "tracking=none").returncode == 0


@pytest.mark.long
def test_two_runs_on_a_brand_new_store_both_succeed(tmp_path, small):
    finish_together([start_train(tmp_path, *small, "epochs=1") for _ in range(2)])

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("flowerbench").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    for run in runs:
        artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
        assert {"config.yaml", "history.csv", "val_predictions.csv", "curves.png", "confusion_matrix.png"} <= artifacts


@pytest.mark.long
def test_the_same_command_finishes_what_was_stopped_and_nothing_else(flowerbench, tmp_path, small):
    command = ["--multirun", *small, "epochs=2,120", "cache.dir=cache"]
    output, _ = stopped_in("epochs-120", tmp_path, *command)
    sweep = only_sweep(tmp_path)
    assert (status(sweep / "epochs-2"), status(sweep / "epochs-120")) == ("FINISHED", "KILLED")
    assert "2 points: 1 done, 1 stopped" in output
    finished = {path: path.stat().st_mtime_ns for path in (sweep / "epochs-2").glob("[!.]*")}
    before = (sweep / "epochs-120" / "history.csv").read_text().splitlines()

    done = flowerbench("train", *command)
    assert done.returncode == 0, done.stderr
    assert only_sweep(tmp_path) == sweep
    assert "1 of 2 points are done" in done.stderr
    assert "2 points: 2 done (1 of them before)" in done.stdout
    after = (sweep / "epochs-120" / "history.csv").read_text().splitlines()
    assert after[: len(before)] == before, "with the seconds of each epoch, so none was trained again"
    assert len(after) == 121
    assert {path: path.stat().st_mtime_ns for path in (sweep / "epochs-2").glob("[!.]*")} == finished

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("flowerbench").experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    (long,) = (run for run in runs if run.data.params.get("epochs") == "120")
    steps = [entry.step for entry in client.get_metric_history(long.info.run_id, "val/accuracy")]
    assert sorted(steps) == list(range(1, 121))
    # The stop may fall between the cache's and the folder's copy of an epoch, which is then taken from the cache.
    assert long.data.tags["flowerbench.epochs_reused"] in ("2", "3")
    assert long.data.tags["flowerbench.reused_from"] == long.data.tags["flowerbench.trajectory"]


BAD_POINTS = """
import os
import flowerbench.data.split as s
whole = s.split
def split(photos, cfg):
    if cfg.split_seed == 1:
        os.kill(os.getpid(), 9)
    return 1 / 0 if cfg.split_seed == 2 else whole(photos, cfg)
s.split = split
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.long
def test_what_kills_a_point_is_told_and_stops_no_other(flowerbench, tmp_path, small):
    (tmp_path / "sitecustomize.py").write_text(BAD_POINTS)
    bad = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), str(tmp_path)])}
    command = ["--multirun", *small, "epochs=1", "data.split_seed=1,2,3", "cache.dir=cache"]
    done = flowerbench("train", *command, **bad)
    assert done.returncode == 1, done.stderr
    sweep = only_sweep(tmp_path)
    killed, raised, fine = (sweep / f"data.split_seed-{seed}" for seed in (1, 2, 3))
    assert [status(run) for run in (killed, raised, fine)] == ["FAILED", "FAILED", "FINISHED"]
    assert "killed by SIGKILL" in done.stderr
    assert "ZeroDivisionError" in (raised / "train.log").read_text(encoding="utf-8")
    assert "FAILED: its process was killed by SIGKILL" in done.stdout
    assert "FAILED: division by zero" in done.stdout
    assert "3 points: 2 failed, 1 done" in done.stdout

    from mlflow import MlflowClient

    def ended() -> dict[str, str]:
        client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
        runs = client.search_runs([client.get_experiment_by_name("flowerbench").experiment_id])
        return {run.data.tags.get("flowerbench.name", "sweep"): run.info.status for run in runs}

    assert ended() == {"sweep": "FAILED", killed.name: "FAILED", raised.name: "FAILED", fine.name: "FINISHED"}

    stopped = flowerbench("train", *command, "on_error=stop", **bad)
    assert stopped.returncode == 1
    assert "data.split_seed-2 is not begun: another point failed" in stopped.stderr
    assert "ZeroDivisionError" not in stopped.stderr

    again = flowerbench("train", *command)
    assert again.returncode == 0, again.stderr
    assert "3 points: 3 done (1 of them before)" in again.stdout
    assert set(ended().values()) == {"FINISHED"}
    assert len(ended()) == 4


@pytest.mark.long
def test_the_plan_says_what_is_left_to_train(flowerbench, tmp_path, small):
    command = ["--multirun", *small, "batch_size=8,16", "epochs=2,3", "tracking=none", "cache.dir=cache"]
    planned = flowerbench("train", *command, "dry_run=true")
    assert planned.returncode == 0, planned.stderr
    assert "4 points, 10 epochs asked for, 6 to train." in planned.stdout
    assert not (tmp_path / "multirun").exists(), "nothing was begun"
    done = flowerbench("train", *command)
    assert "10 epochs asked for, 6 trained, 4 reused" in done.stdout
    planned = flowerbench("train", *command, "dry_run=true")
    assert "10 epochs asked for, 0 to train" in planned.stdout
    assert "It goes on with multirun" in planned.stdout
    longer = flowerbench("train", *command[:-4], "batch_size=8", "epochs=3,7", *command[-2:], "dry_run=true")
    assert re.search(r"\| epochs-7 \| 7 +\| 4 +\| 3 epochs reused \| \d+ s +\|", longer.stdout), longer.stdout
    assert re.search(r"2 points, 10 epochs asked for, 4 to train, about \d+ s one after another", longer.stdout)


@pytest.mark.long
def test_a_list_of_points_with_repeats(flowerbench, tmp_path, small):
    (tmp_path / "points.csv").write_text("batch_size,optim.lr\n8,0.01\n16,0.02\n")
    done = flowerbench("train", "--multirun", *small, "points=points.csv", "repeats=2", "epochs=1", "tracking=none")
    assert done.returncode == 0, done.stderr
    names = {run.parent.name for run in only_sweep(tmp_path).glob("*/summary.json")}
    points = ("batch_size-8_optim.lr-0.01", "batch_size-16_optim.lr-0.02")
    assert names == {f"{point}_seed-{seed}" for point in points for seed in (0, 1)}
    alone = flowerbench("train", *small, "repeats=2")
    assert alone.returncode == 2
    assert alone.stderr == "flowerbench: repeats=2 makes several runs: add --multirun\n"
