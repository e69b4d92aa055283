from __future__ import annotations

import json
import logging
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowerbench import mlflow_store, sync, tracking
from flowerbench.config import Tracking
from flowerbench.errors import RunError, UsageError

PREDICTIONS = "photo,label,prediction,p(daisy),p(rose)\na.jpg,daisy,rose,0.4,0.6\nb.jpg,rose,rose,0.1,0.9\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    """A store in a file, made once: its migrations take seconds."""
    folder = tmp_path_factory.mktemp("store")
    return Tracking(uri=f"sqlite:///{folder.as_posix()}/mlflow.db", experiment="flowers")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder as a finished run leaves it."""
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("epochs: 3\nschedule:\n  T_max: ${epochs}\n")
    header = "epoch,lr,train_loss,train_accuracy,val_loss,val_accuracy,seconds\n"
    (tmp_path / "history.csv").write_text(header + "1,0.1,1.0,0.5,1.0,0.5,2.0\n2,0.1,0.9,0.6,0.9,0.6,2.0\n")
    (tmp_path / "summary.json").write_text(json.dumps({"status": "FINISHED"}))
    (tmp_path / "val_predictions.csv").write_text(PREDICTIONS)
    return tmp_path


def epoch(number: int, **changes: float) -> dict[str, float]:
    numbers = {"epoch": number, "lr": 0.1, "train_loss": 1 / number, "train_accuracy": 0.5, "val_loss": 1.0}
    return numbers | {"val_accuracy": 0.1 * number, "seconds": 2.5} | changes


def fetched(store: Tracking, run_id: str | None) -> Any:
    return mlflow_store.client(store.uri).get_run(run_id)


def history(store: Tracking, run_id: str | None, name: str) -> list[tuple[int, float]]:
    found = mlflow_store.client(store.uri).get_metric_history(run_id, name)
    return [(metric.step, metric.value) for metric in found]


def artifacts(store: Tracking, run_id: str | None) -> set[str]:
    return {file.path for file in mlflow_store.client(store.uri).list_artifacts(run_id)}


def text(store: Tracking, run_id: str | None, name: str, to: Path) -> str:
    path = mlflow_store.client(store.uri).download_artifacts(run_id, name, str(to))
    return Path(path).read_text(encoding="utf-8")


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def silent_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server that takes connections and never answers."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def test_a_finished_run_is_there_as_a_whole(store: Tracking, folder: Path):
    params = {f"key.{n}": n for n in range(130)} | {"optim.betas": [0.9, 0.99], "long": "x" * 9000}
    before = time.time() * 1000
    with tracking.run(store, params=params, name="lr-0.1", folder=folder, tags={"a": "b"}) as tracker:
        tracker.tag({"flowerbench.identity": "f00d"})
        tracker.data("flowers", "5" * 64, {"daisy": 20, "rose": 20}, {"daisy": 4, "rose": 6})
        for number in (1, 2, 3):
            tracker.log(epoch(number))
        tracker.finish(epoch(3), 3, val_total=10)
    run = fetched(store, tracker.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "lr-0.1")
    assert before <= run.info.start_time <= run.info.end_time <= time.time() * 1000
    assert history(store, tracker.run_id, "train/loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    expected = {"lr", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "seconds"}
    expected |= {"best/val_accuracy", "best/epoch", "best/val_correct", "val_total"}
    assert set(run.data.metrics) == expected
    assert history(store, tracker.run_id, "best/val_correct") == [(0, 3.0)]
    assert len(run.data.params) == 132
    assert run.data.params["optim.betas"] == "[0.9, 0.99]"
    assert run.data.params["long"] == "x" * 6000
    assert {"a": "b", "flowerbench.identity": "f00d"}.items() <= run.data.tags.items()
    inputs = {found.dataset.name: found for found in run.inputs.dataset_inputs}
    assert {name: found.tags[0].value for name, found in inputs.items()} == {
        "flowers/train": "training",
        "flowers/val": "validation",
    }
    assert {found.dataset.digest for found in inputs.values()} == {"5" * 36}
    profile = json.loads(inputs["flowers/val"].dataset.profile)
    assert profile == {"num_rows": 10, "photos_per_class": {"daisy": 4, "rose": 6}}
    said = run.data.tags["mlflow.note.content"]
    assert said.startswith("Best accuracy 0.3000 (3/10) in epoch 3.\n")
    assert f"`{folder.as_posix()}`" in said
    figures = {"curves.png", "confusion_matrix.png"}
    files = {"config.yaml", "history.csv", "summary.json", "val_predictions.csv"}
    assert artifacts(store, tracker.run_id) == files | figures
    assert "T_max: 3" in text(store, tracker.run_id, "config.yaml", folder)
    beside = Path(str(store.uri).removeprefix("sqlite:///")).parent / "mlruns"
    assert run.info.artifact_uri.startswith(beside.as_uri())


def test_the_runs_of_a_sweep_are_children_of_its_run(store: Tracking, tmp_path: Path):
    parent = tracking.start_sweep(store, tmp_path, "2026-11-24/02-10-11", 2, varying=["batch_size", "epochs"])
    for name in ("a", "b"):
        with tracking.run(store, params={}, name=name, folder=tmp_path / name, sweep=tmp_path):
            pass
    page = tracking.finish_sweep(store, tmp_path, "2 points: 2 done.\n\n| run | accuracy |\n", "FINISHED")
    sweep = fetched(store, parent)
    assert (sweep.info.status, sweep.info.run_name) == ("FINISHED", "batch_size, epochs (2026-11-24/02-10-11)")
    assert page is not None
    assert page.endswith(f"#/experiments/{sweep.info.experiment_id}/runs/{parent}?workflowType=machine_learning")
    first, table = sweep.data.tags["mlflow.note.content"].split("\n\n")[:2]
    assert first.startswith("2 points: 2 done. [Curves of these runs](#/")
    assert table == "| run | accuracy |"
    expected = {"flowerbench.kind": "sweep", "flowerbench.sweep": "2026-11-24/02-10-11"}
    assert expected.items() <= sweep.data.tags.items()
    found = mlflow_store.client(store.uri).search_runs(
        [sweep.info.experiment_id], f"tags.mlflow.parentRunId = '{parent}'"
    )
    assert {run.info.run_name for run in found} == {"a", "b"}


def broken_off_by(error: BaseException, store: Tracking, folder: Path, *epochs: Any) -> tuple[Any, Any]:
    """A run that logs the epochs and then raises the error; gives its tracker, and what came out of it."""
    try:
        with tracking.run(store, params={}, name="x", folder=folder) as tracker:
            for done in epochs:
                tracker.log(done)
            raise error
    except BaseException as raised:
        return tracker, raised


def test_a_failed_run_says_why(store: Tracking, folder: Path):
    error = ValueError("the loss is\nnot finite")
    tracker, raised = broken_off_by(error, store, folder, epoch(1, train_loss=math.nan, val_loss=math.inf))
    assert raised is error
    run = fetched(store, tracker.run_id)
    assert run.info.status == "FAILED"
    assert run.data.tags["flowerbench.status_reason"] == "the loss is not finite"
    said = run.data.tags["mlflow.note.content"]
    assert said.startswith("Failed: the loss is not finite.\n")
    assert "raise error\nValueError: the loss is\nnot finite" in said
    assert "raise error" in text(store, tracker.run_id, "traceback.txt", folder)
    assert {"history.csv", "curves.png"} <= artifacts(store, tracker.run_id)
    assert math.isnan(run.data.metrics["train/loss"])


def test_what_a_user_can_mend_has_no_traceback_in_its_note(store: Tracking, folder: Path):
    tracker, _ = broken_off_by(RunError("no room on the disk"), store, folder, epoch(1))
    said = fetched(store, tracker.run_id).data.tags["mlflow.note.content"]
    assert said.startswith("Failed: no room on the disk.\n\nBefore that: Best accuracy 0.1000 in epoch 1.\n")
    assert "raise error" not in said
    assert "raise error" in text(store, tracker.run_id, "traceback.txt", folder)


@pytest.mark.parametrize("stop", [KeyboardInterrupt(15), SystemExit(3)])
def test_a_stopped_run_is_killed(store: Tracking, tmp_path: Path, stop: BaseException):
    (tmp_path / "history.csv").write_text("epoch,lr,val_accuracy\n")
    tracker, raised = broken_off_by(stop, store, tmp_path)
    assert raised is stop
    assert fetched(store, tracker.run_id).info.status == "KILLED"
    assert artifacts(store, tracker.run_id) == {"history.csv"}


def test_what_people_write_into_a_note_stays(store: Tracking, folder: Path):
    client = mlflow_store.client(str(store.uri))
    failed, _ = broken_off_by(ValueError("no memory"), store, folder, epoch(1))
    with tracking.run(store, params={}, name="x", folder=folder) as tracker:
        assert tracker.run_id == failed.run_id
        assert "mlflow.note.content" not in fetched(store, tracker.run_id).data.tags, "it does not fail any more"
        client.set_tag(tracker.run_id, "mlflow.note.content", "my words")
    assert fetched(store, tracker.run_id).data.tags["mlflow.note.content"] == "my words"
    with tracking.run(store, params={}, name="x", folder=folder):
        pass
    assert fetched(store, tracker.run_id).data.tags["mlflow.note.content"] == "my words"


def test_the_report_of_a_sweep_is_among_its_artifacts_as_it_was_at_its_last_end(store: Tracking, tmp_path: Path):
    parent = tracking.start_sweep(store, tmp_path, "s", points=1)
    (tmp_path / "report" / "figures").mkdir(parents=True)
    for number, name in enumerate(("report.md", "figures/settings.svg"), start=1):
        (tmp_path / "report" / name).write_text(f"first {number}")
    tracking.finish_sweep(store, tmp_path, "", "KILLED")
    assert artifacts(store, parent) == {"report"}
    assert text(store, parent, "report/figures/settings.svg", tmp_path) == "first 2"
    tracking.start_sweep(store, tmp_path, "s", points=1)
    (tmp_path / "report" / "report.md").write_text("second")
    tracking.finish_sweep(store, tmp_path, "", "FINISHED")
    assert text(store, parent, "report/report.md", tmp_path / "report") == "second"


def test_a_long_note_of_a_sweep_is_cut_between_two_rows(store: Tracking, tmp_path: Path):
    parent = tracking.start_sweep(store, tmp_path, "s", points=1)
    table = "\n".join(f"| seed={number} | 0.5000 | FINISHED |" for number in range(500))
    tracking.finish_sweep(store, tmp_path, f"500 points.\n\n{table}", "FINISHED")
    said = fetched(store, parent).data.tags["mlflow.note.content"]
    assert len(said) < 8000
    *_, rows, rest, _ = said.split("\n\n")
    assert "the rest is in the report" in rest
    assert table.startswith(f"{rows}\n")


def test_epochs_that_the_store_missed_are_sent_again(
    store: Tracking, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    from mlflow import MlflowClient

    answer, away = MlflowClient.log_batch, False

    def log_batch(*args: Any, **kwargs: Any) -> Any:
        if away:
            # As when only the answer was lost: the store has it, and is sent it again.
            answer(*args, **kwargs)
            raise ConnectionError("no answer")
        return answer(*args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    with tracking.run(store, params={"a": 1}, name="x", folder=folder) as tracker:
        for number in range(1, 6):
            away = number in (2, 3)
            tracker.log(epoch(number))
    assert [step for step, _ in history(store, tracker.run_id, "val/loss")] == [1, 2, 3, 4, 5]
    times = [
        metric.timestamp for metric in mlflow_store.client(store.uri).get_metric_history(tracker.run_id, "seconds")
    ]
    assert len(set(times)) > 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no answer" in caplog.text


def test_a_run_ends_as_it_should_when_the_store_stays_away(
    store: Tracking, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    from mlflow import MlflowClient

    def away(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no answer")

    with tracking.run(store, params={}, name="x", folder=folder) as tracker:
        for method in ("log_batch", "log_artifact", "log_text", "log_figure", "set_terminated"):
            monkeypatch.setattr(MlflowClient, method, away)
        tracker.log(epoch(1))
        tracker.finish(epoch(1), 1, val_total=10)
    assert len(caplog.records) == 1


def test_the_result_on_the_test_photos_arrives_though_the_store_was_away(
    store: Tracking, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    from mlflow import MlflowClient

    def away(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no answer")

    (folder / "test_predictions.csv").write_text(PREDICTIONS)
    with monkeypatch.context() as patch:
        for method in ("log_batch", "log_artifact", "log_text", "log_figure", "set_terminated"):
            patch.setattr(MlflowClient, method, away)
        with tracking.run(store, params={}, name="x", folder=folder) as tracker:
            tracker.log(epoch(1))
            tracker.finish(epoch(1), 1, val_total=10)
            tracker.test(9, 12, 0.5)
            tracker.test(9, 12, 0.5)  # as a run says again that goes on
    for _ in sync.deliver_below(folder, [str(store.uri)]):
        pass
    found = {name: history(store, tracker.run_id, f"test/{name}") for name in ("accuracy", "loss", "correct", "total")}
    assert found == {"accuracy": [(0, 0.75)], "loss": [(0, 0.5)], "correct": [(0, 9.0)], "total": [(0, 12.0)]}
    assert "test_predictions.csv" in artifacts(store, tracker.run_id)
    assert "On the test photos it has 0.7500 (9/12)." in fetched(store, tracker.run_id).data.tags["mlflow.note.content"]


def test_what_the_store_refuses_does_not_hold_up_the_rest(store: Tracking, tmp_path: Path):
    with tracking.run(store, params={"not!a?name": 1}, name="x", folder=tmp_path) as tracker:
        tracker.log(epoch(1))
    assert history(store, tracker.run_id, "lr") == [(1, 0.1)]


def test_a_server_that_is_down_costs_a_warning(closed_port: int, folder: Path, caplog: pytest.LogCaptureFixture):
    away = Tracking(uri=f"http://user:secret@127.0.0.1:{closed_port}", experiment="flowers")
    started = time.monotonic()
    with tracking.run(away, params={"a": 1}, name="x", folder=folder) as tracker:
        tracker.log(epoch(1))
        tracker.finish(epoch(1), 1, val_total=10)
    assert tracker.run_id is None
    assert time.monotonic() - started < 5
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "refused" in record.getMessage()
    assert "secret" not in record.getMessage()


def test_a_server_that_never_answers_does_not_block(silent_port: int, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    started = time.monotonic()
    away = Tracking(uri=f"http://127.0.0.1:{silent_port}", experiment="flowers")
    assert tracking.start_sweep(away, tmp_path, "x", points=1) is None
    assert time.monotonic() - started < 5
    assert len(caplog.records) == 1


def test_a_server_that_never_answers_holds_up_no_epoch_of_a_sweeps_run(silent_port: int, tmp_path: Path):
    away = Tracking(uri=f"http://127.0.0.1:{silent_port}", experiment="flowers")
    tracking.start_sweep(away, tmp_path, "x", points=1)
    with tracking.run(away, params={"a": 1}, name="a", folder=tmp_path / "a", sweep=tmp_path) as tracker:
        for number in (1, 2):
            started = time.monotonic()
            tracker.log(epoch(number))
            assert time.monotonic() - started < 2, "one timeout, here of a second, whatever waits"


@pytest.mark.parametrize("uri", ["mlruns", "somewhere://else", "sqlite://", "", "mysql+nodriver://x/y"])
def test_a_store_that_cannot_be_is_refused_in_one_line(uri: str, tmp_path: Path):
    with pytest.raises(UsageError, match=r"tracking\.uri") as refused:
        tracking.start_sweep(Tracking(uri=uri, experiment="flowers"), tmp_path, "x", points=1)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.glob("mlflow*")), "the corrected command may want the same folder"


@pytest.mark.parametrize("made", [Path.mkdir, lambda path: path.write_text("no database" * 100)])
def test_a_file_that_is_no_database_is_refused_at_once(tmp_path: Path, made: Any):
    made(tmp_path / "x.db")
    started = time.monotonic()
    with pytest.raises(UsageError, match=r"x\.db"):
        mlflow_store.create_store(f"sqlite:///{tmp_path.as_posix()}/x.db", "flowers")
    assert time.monotonic() - started < 5


def test_a_deleted_experiment_is_named(store: Tracking, tmp_path: Path):
    deleted = mlflow_store.create_store(str(store.uri), "old")
    mlflow_store.client(str(store.uri)).delete_experiment(deleted)
    with pytest.raises(UsageError, match=f"old was deleted.*restore --experiment-id {deleted}"):
        tracking.start_sweep(Tracking(uri=store.uri, experiment="old"), tmp_path, "x", points=1)


def test_passwords_are_not_logged(store: Tracking, tmp_path: Path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("uri: postgresql://me:secret@host/db\n")
    params = {"tracking.uri": "postgresql://me:secret@host/db"}
    with tracking.run(store, params=params, name="x", folder=tmp_path) as tracker:
        pass
    assert fetched(store, tracker.run_id).data.params == {"tracking.uri": "postgresql://***@host/db"}
    assert "secret" not in text(store, tracker.run_id, "config.yaml", tmp_path)


def test_a_new_store_is_made_once_however_many_start(tmp_path: Path):
    """Each process has a temporary folder of its own, as on other machines: MLflow's lock does not help."""
    code = (
        "import sys\n"
        "from flowerbench import mlflow_store\n"
        "mlflow_store.load_mlflow()\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(mlflow_store.create_store(sys.argv[1], 'new'))\n"
    )
    processes = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        process = subprocess.Popen(
            [sys.executable, "-c", code, f"sqlite:///{tmp_path.as_posix()}/sub/mlflow.db"],
            env={**os.environ, "TMPDIR": str(tmp_path / name), "PYTHONPATH": os.pathsep.join(sys.path)},
            cwd=tmp_path / name,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
    assert all(process.stdout.readline() == "ready\n" for process in processes if process.stdout)
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60) for process in processes]
    assert [error for _, error in said] == ["", "", ""]
    assert {experiment for experiment, _ in said} == {"1\n"}


def test_without_a_uri_nothing_happens_and_nothing_is_imported(tmp_path: Path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from flowerbench import tracking\n"
        "from flowerbench.config import Tracking\n"
        "off = Tracking(uri=None, experiment='x')\n"
        "assert tracking.start_sweep(off, Path(), 'x', 1) is None\n"
        "tracking.finish_sweep(off, Path(), '', 'FINISHED')\n"
        "with tracking.run(off, params={'a': 1}, name='x', folder=Path(), sweep=Path()) as tracker:\n"
        "    names = 'epoch lr train_loss train_accuracy val_loss val_accuracy seconds'\n"
        "    best = dict.fromkeys(names.split(), 1)\n"
        "    tracker.start_over(); tracker.go_on([best])\n"
        "    tracker.tag({'a': 1}); tracker.data('x', 'y', {}, {}); tracker.log(best); tracker.finish(best, 1, 1)\n"
        "assert tracker.run_id is None\n"
        "assert not {'mlflow', 'pandas', 'matplotlib', 'torch'} & set(sys.modules)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not any(tmp_path.iterdir())


def test_the_commit_is_tagged_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "mlflow.source.git.commit" not in mlflow_store.source_tags()
    subprocess.run(["git", "init", "-q"], check=True)
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    assert len(mlflow_store.source_tags()["mlflow.source.git.commit"]) == 40
