"""What MLflow has in the end, of runs that it missed a part of."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from flowerbench import mlflow_store, sync, tracking
from flowerbench.config import Tracking
from flowerbench.errors import Pruned, UsageError
from flowerbench.outbox import Outbox
from tests.test_tracking import artifacts, epoch, fetched, history


class Line:
    """What is between flowerbench and MLflow."""

    def __init__(self) -> None:
        self.is_cut = False
        self.loses_answers = False
        self.delay = 0.0
        self.calls: list[str] = []
        self._client = mlflow_store.client

    def client(self, uri: str) -> Any:
        if self.is_cut:
            raise ConnectionError("cut")
        line, target = self, self._client(uri)

        class Client:
            def __getattr__(self, name: str) -> Any:
                def call(*args: Any, **kwargs: Any) -> Any:
                    time.sleep(line.delay)
                    if line.is_cut:
                        raise ConnectionError("cut")
                    line.calls.append(name)
                    answer = getattr(target, name)(*args, **kwargs)
                    if line.loses_answers and name != "get_experiment_by_name" and name != "search_runs":
                        raise ConnectionError("the answer was lost")
                    return answer

                return call

        return Client()


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    line = Line()
    monkeypatch.setattr(mlflow_store, "client", line.client)
    return line


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Made once: its migrations may take all the time that an epoch has for sending."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store').as_posix()}/mlflow.db"
    mlflow_store.create_store(uri, "first")
    return uri


@pytest.fixture
def store(database: str, request: pytest.FixtureRequest) -> Tracking:
    """An experiment for each test."""
    return Tracking(uri=database, experiment=request.node.name)


def runs(store: Tracking) -> list[Any]:
    client = mlflow_store.client(str(store.uri))
    experiment = client.get_experiment_by_name(store.experiment)
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


def steps(store: Tracking, run_id: str | None) -> list[int]:
    return [step for step, _ in history(store, run_id, "train/loss")]


def train(store: Tracking, folder: Path, *epochs: int, params: Any = None, error: BaseException | None = None) -> Any:
    """A run of these epochs, which then ends, or raises the error."""
    try:
        with tracking.run(store, params=params or {"a": 1}, name="x", folder=folder) as tracker:
            for number in epochs:
                tracker.log(epoch(number))
            if error:
                raise error
            tracker.finish(epoch(max(epochs)), max(epochs), val_total=10)
    except BaseException as raised:
        if raised is not error:
            raise
    return tracker


def test_a_folder_entered_again_goes_on_with_its_run(store: Tracking, tmp_path: Path):
    failed = train(store, tmp_path, 1, 2, error=ValueError("no memory"))
    before = fetched(store, failed.run_id)
    assert (before.info.status, before.data.tags["flowerbench.status_reason"]) == ("FAILED", "no memory")
    with tracking.run(store, params={"a": "another device"}, name="x", folder=tmp_path) as tracker:
        during = fetched(store, tracker.run_id)
        assert during.info.status == "RUNNING"
        assert "flowerbench.status_reason" not in during.data.tags
        for number in (1, 2, 3):
            tracker.log(epoch(number))
        tracker.data("flowers", "5" * 64, {"daisy": 8}, {"daisy": 10})
        tracker.finish(epoch(3), 3, val_total=10)
    assert tracker.run_id == failed.run_id
    [run] = runs(store)
    assert run.info.status == "FINISHED"
    assert run.info.end_time > before.info.end_time
    assert steps(store, tracker.run_id) == [1, 2, 3]
    assert run.data.params == {"a": "1"}


def test_what_a_finished_run_says_again_is_there_once(store: Tracking, tmp_path: Path):
    for _ in range(3):
        tracker = train(store, tmp_path, 1, 2)
    assert [run.info.status for run in runs(store)] == ["FINISHED"]
    assert steps(store, tracker.run_id) == [1, 2]
    assert history(store, tracker.run_id, "best/val_correct") == [(0, 2.0)]


def test_a_run_that_never_reached_the_store_arrives_with_the_next(
    store: Tracking, tmp_path: Path, line: Line, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "flowerbench")
    line.is_cut = True
    before = time.time() * 1000
    with tracking.run(store, params={"a": 1}, name="x", folder=tmp_path, tags={"t": "u"}) as tracker:
        for number in (1, 2, 3):
            time.sleep(0.02)
            tracker.log(epoch(number))
            assert tracker.run_id is None
        time.sleep(0.02)
        started = time.time() * 1000
        line.is_cut = False
        tracker.log(epoch(4))
        assert steps(store, tracker.run_id) == [1, 2, 3, 4]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "has everything" in caplog.records[1].getMessage()
    run = fetched(store, tracker.run_id)
    assert before <= run.info.start_time < started
    assert (run.data.params, run.data.tags["t"]) == ({"a": "1"}, "u")
    times = [
        metric.timestamp for metric in mlflow_store.client(store.uri).get_metric_history(tracker.run_id, "train/loss")
    ]
    assert times == sorted(set(times)), "each epoch has the time at which it ended"
    assert times[2] < started


def test_a_run_whose_first_answer_was_lost_is_not_made_twice(store: Tracking, tmp_path: Path, line: Line):
    line.loses_answers = True
    with tracking.run(store, params={"a": 1}, name="x", folder=tmp_path) as tracker:
        tracker.log(epoch(1))
        assert tracker.run_id is None or len(runs(store)) == 1
        line.loses_answers = False
        tracker.log(epoch(2))
    [run] = runs(store)
    assert (run.info.run_id, run.info.status) == (tracker.run_id, "FINISHED")
    assert steps(store, tracker.run_id) == [1, 2]


@pytest.mark.parametrize("call", range(1, 12))
def test_an_answer_lost_at_any_call_leaves_nothing_twice(store: Tracking, tmp_path: Path, line: Line, call: int):
    """The process that missed it is gone; the next one goes on from the journal."""
    with pytest.MonkeyPatch.context() as patch:
        count = iter(range(1, 1000))

        def client(uri: str) -> Any:
            made = line.client(uri)

            class Client:
                def __getattr__(self, name: str) -> Any:
                    def answered(*args: Any, **kwargs: Any) -> Any:
                        answer = getattr(made, name)(*args, **kwargs)
                        if next(count) == call:
                            line.is_cut = True
                            raise ConnectionError("lost")
                        return answer

                    return answered

            return Client()

        patch.setattr(mlflow_store, "client", client)
        train(store, tmp_path, 1, 2, error=KeyboardInterrupt())
    line.is_cut = False
    tracker = train(store, tmp_path, 1, 2, 3)
    [run] = runs(store)
    assert (run.info.status, run.info.run_id) == ("FINISHED", tracker.run_id)
    assert steps(store, tracker.run_id) == [1, 2, 3]


def test_whoever_gets_through_first_makes_the_run_of_the_sweep(store: Tracking, tmp_path: Path, line: Line):
    line.is_cut = True
    assert tracking.start_sweep(store, tmp_path, "s", points=2) is None
    with tracking.run(store, params={}, name="a", folder=tmp_path / "a", sweep=tmp_path) as first:
        line.is_cut = False
        first.log(epoch(1))
    with tracking.run(store, params={}, name="b", folder=tmp_path / "b", sweep=tmp_path):
        pass
    tracking.finish_sweep(store, tmp_path, "note", "FINISHED")
    found = {run.info.run_name: run for run in runs(store)}
    assert set(found) == {"a", "b", "s"}
    assert found["s"].data.tags["mlflow.note.content"].startswith("note [Curves")
    for name in ("a", "b"):
        assert found[name].data.tags["mlflow.parentRunId"] == found["s"].info.run_id
    assert {run.info.status for run in found.values()} == {"FINISHED"}


def test_a_sweep_started_again_is_one_run(store: Tracking, tmp_path: Path):
    first = tracking.start_sweep(store, tmp_path, "s", points=2)
    assert tracking.start_sweep(store, tmp_path, "s", points=2) == first
    tracking.finish_sweep(store, tmp_path, "half", "KILLED")
    assert tracking.start_sweep(store, tmp_path, "s", points=2) == first
    assert fetched(store, first).info.status == "RUNNING"
    tracking.finish_sweep(store, tmp_path, "whole", "FINISHED")
    [run] = runs(store)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.note.content"].startswith("whole [Curves")


def test_the_end_of_a_sweep_brings_what_its_runs_could_not(store: Tracking, tmp_path: Path, line: Line):
    tracking.start_sweep(store, tmp_path, "s", points=2)
    line.is_cut = True
    train(store, tmp_path / "a", 1, 2)
    train(store, tmp_path / "b", 1, error=ValueError("x"))
    line.is_cut = False
    tracking.finish_sweep(store, tmp_path, "", "FAILED")
    assert sorted(run.info.status for run in runs(store)) == ["FAILED", "FAILED", "FINISHED"]


def test_a_report_that_mlflow_missed_comes_with_the_next_delivery(store: Tracking, tmp_path: Path, line: Line):
    parent = tracking.start_sweep(store, tmp_path, "s", points=0)
    line.is_cut = True
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").write_text("<p>")
    assert tracking.finish_sweep(store, tmp_path, "note", "FINISHED") is None
    line.is_cut = False
    assert artifacts(store, parent) == set()
    assert [found.trouble for found in sync.deliver_below(tmp_path, [])] == [None]
    assert artifacts(store, parent) == {"report"}
    assert fetched(store, parent).data.tags["mlflow.note.content"].startswith("note [Curves")


def test_a_sweep_that_could_not_be_told_says_what_to_do(
    store: Tracking, tmp_path: Path, line: Line, caplog: pytest.LogCaptureFixture
):
    line.is_cut = True
    tracking.start_sweep(store, tmp_path, "s", points=1)
    train(store, tmp_path / "a", 1)
    caplog.clear()
    tracking.finish_sweep(store, tmp_path, "", "FINISHED")
    [record] = caplog.records
    assert "2 runs of this sweep" in record.getMessage()
    assert f"python -m flowerbench.sync {tmp_path}" in record.getMessage()


def test_a_run_that_starts_over_leaves_the_old_one_as_replaced(store: Tracking, tmp_path: Path, line: Line):
    old = train(store, tmp_path, 1, 2, error=KeyboardInterrupt()).run_id
    line.is_cut = True
    with tracking.run(store, params={"a": 2}, name="x", folder=tmp_path) as tracker:
        tracker.start_over()
        assert tracker.run_id is None
        tracker.log(epoch(1, train_loss=7.0))
        line.is_cut = False
        tracker.log(epoch(2))
    left, new = fetched(store, old), fetched(store, tracker.run_id)
    assert (left.info.status, left.data.tags["flowerbench.replaced"]) == ("KILLED", "true")
    assert steps(store, old) == [1, 2]
    assert tracker.run_id != old
    assert (new.info.status, new.info.run_name, new.data.params) == ("FINISHED", "x", {"a": "2"})
    assert history(store, tracker.run_id, "train/loss") == [(1, 7.0), (2, 0.5)]
    assert len(runs(store)) == 2


def test_a_first_run_has_nothing_to_start_over_from(store: Tracking, tmp_path: Path):
    with tracking.run(store, params={}, name="x", folder=tmp_path) as tracker:
        tracker.start_over()
    assert len(runs(store)) == 1


def test_another_store_or_experiment_gets_a_run_of_its_own(store: Tracking, tmp_path: Path):
    old = train(store, tmp_path, 1, 2).run_id
    other = Tracking(uri=store.uri, experiment=f"{store.experiment} b")
    new = train(other, tmp_path, 1, 2, 3).run_id
    assert old != new
    assert (steps(store, old), steps(other, new)) == ([1, 2], [1, 2, 3])


@pytest.mark.parametrize("how", ["deleted", "purged"])
def test_a_run_that_was_taken_out_of_the_store_is_there_again_as_a_whole(store: Tracking, tmp_path: Path, how: str):
    old = train(store, tmp_path, 1, 2, error=KeyboardInterrupt()).run_id
    client = mlflow_store.client(str(store.uri))
    client.delete_run(old)
    if how == "purged":
        client._tracking_client.store._hard_delete_run(old)
    new = train(store, tmp_path, 1, 2, 3).run_id
    [run] = runs(store)
    assert (run.info.run_id, run.info.status, run.data.params) == (new, "FINISHED", {"a": "1"})
    assert steps(store, new) == [1, 2, 3]


def test_a_pruned_run_is_killed_and_says_why(store: Tracking, tmp_path: Path):
    tracker = train(store, tmp_path, 1, error=Pruned("no better than the median"))
    run = fetched(store, tracker.run_id)
    assert run.info.status == "KILLED"
    assert run.data.tags["flowerbench.status_reason"] == "no better than the median"
    assert artifacts(store, tracker.run_id) == set()


def test_a_folder_of_another_process_is_refused(store: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracking, "_PATIENCE", 0.1)
    with (
        tracking.run(store, params={}, name="x", folder=tmp_path) as tracker,
        pytest.raises(UsageError, match="in use"),
        tracking.run(store, params={}, name="x", folder=tmp_path),
    ):
        pass
    assert len(runs(store)) == 1
    assert tracker.run_id


def test_a_run_is_over_whatever_becomes_of_its_files(store: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from mlflow import MlflowClient

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError("no room for files")

    (tmp_path / "history.csv").write_text("epoch,lr\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", refuse)
        first = train(store, tmp_path, 1)
        assert fetched(store, first.run_id).info.status == "FINISHED"
        assert [said["do"] for said in Outbox(tmp_path).waiting] == ["files"]
        # They do not hold up a run that goes on.
        train(store, tmp_path, 1, 2)
        assert steps(store, first.run_id) == [1, 2]
    train(store, tmp_path, 1, 2)
    assert artifacts(store, first.run_id) == {"history.csv"}


def test_a_figure_that_cannot_be_drawn_does_not_hold_up_the_files(store: Tracking, tmp_path: Path):
    (tmp_path / "history.csv").write_text("no,history\n1,2\n")
    tracker = train(store, tmp_path, 1)
    assert artifacts(store, tracker.run_id) == {"history.csv"}
    assert not Outbox(tmp_path).waiting


def test_much_that_waits_does_not_block_an_epoch(
    store: Tracking, tmp_path: Path, line: Line, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("flowerbench.tracker._SECONDS", 0.3)
    line.is_cut = True
    with tracking.run(store, params={}, name="x", folder=tmp_path) as tracker:
        for number in range(1, 31):
            tracker.log(epoch(number))
        line.is_cut, line.delay = False, 0.3
        started = time.monotonic()
        tracker.log(epoch(31))  # on a busy machine this one may do no more than make the run
        tracker.log(epoch(32))
        assert time.monotonic() - started < 5, "all of them would take nine seconds"
        assert 0 < len(Outbox(tmp_path).waiting) < 32
        line.delay = 0
    assert steps(store, tracker.run_id) == list(range(1, 33))


def test_writers_to_a_local_database_take_turns(store: Tracking, tmp_path: Path):
    """SQLite has no queue: who comes at the wrong moment too often is refused in the end."""
    with tracking.run(store, params={}, name="x", folder=tmp_path) as tracker:
        other = threading.Thread(target=tracker.log, args=(epoch(1),))
        with mlflow_store.turn(str(store.uri)):
            other.start()
            other.join(0.5)
            assert other.is_alive()
            assert steps(store, tracker.run_id) == []
        other.join(20)
        assert steps(store, tracker.run_id) == [1]


def test_a_journal_holds_no_password(tmp_path: Path):
    uri = "http://me:secret@127.0.0.1:9/store"
    train(Tracking(uri=uri, experiment="x"), tmp_path, 1, params={"tracking.uri": uri})
    text = "".join(file.read_text() for file in tmp_path.glob("mlflow*"))
    assert "***@127.0.0.1" in text
    assert "secret" not in text


@pytest.mark.long
@pytest.mark.alone
def test_eight_writers_on_a_brand_new_file_lose_nothing(tmp_path: Path, line: Line, capsys: pytest.CaptureFixture[str]):
    """Each has a temporary folder of its own, as on other machines; the run of their sweep is made by one of them."""
    store = Tracking(uri=f"sqlite:///{tmp_path.as_posix()}/new/mlflow.db", experiment="flowers")
    line.is_cut = True
    assert tracking.start_sweep(store, tmp_path / "sweep", "s", points=8) is None
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from flowerbench import mlflow_store, tracking\n"
        "from flowerbench.config import Tracking\n"
        "mlflow_store.load_mlflow()\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "folder, slowest = Path(sys.argv[2]), 0\n"
        "with tracking.run(Tracking(sys.argv[1], 'flowers'), params={'a': 1}, name=folder.name, folder=folder,\n"
        "                  sweep=folder.parent) as tracker:\n"
        "    for n in range(1, 26):\n"
        "        e = dict(epoch=n, lr=0.1, train_loss=1 / n, train_accuracy=n / 50, val_loss=1.0)\n"
        "        e |= dict(val_accuracy=n / 100, seconds=1.5)\n"
        "        began = time.perf_counter(); tracker.log(e)\n"
        "        slowest = max(slowest, time.perf_counter() - began)\n"
        "    tracker.finish(e, n, val_total=100)\n"
        "print(slowest)\n"
    )
    processes = []
    for number in range(8):
        (tmp_path / f"tmp{number}").mkdir()
        environment = os.environ | {"TMPDIR": str(tmp_path / f"tmp{number}"), "PYTHONPATH": os.pathsep.join(sys.path)}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", code, str(store.uri), str(tmp_path / "sweep" / f"w{number}")],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=200) for process in processes]
    seconds = time.monotonic() - began
    slowest = max(float(output) for output, _ in said)
    with capsys.disabled():
        print(f"\n8 writers, 25 epochs each, on a brand-new file: {seconds:.1f} s, slowest epoch {slowest:.2f} s")
    assert [process.returncode for process in processes] == [0] * 8
    assert "database is locked" not in "".join(errors for _, errors in said)
    line.is_cut = False
    tracking.finish_sweep(store, tmp_path / "sweep", "", "FINISHED")
    found = {run.info.run_name: run for run in runs(store)}
    assert set(found) == {"s", *(f"w{number}" for number in range(8))}
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    metrics = 0
    for name, run in found.items():
        if name == "s":
            continue
        assert run.data.tags["mlflow.parentRunId"] == found["s"].info.run_id
        for metric in ("lr", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "seconds"):
            values = history(store, run.info.run_id, metric)
            assert [step for step, _ in values] == list(range(1, 26))
            metrics += len(values)
    assert metrics == 1200


def test_a_journal_is_json_a_line(store: Tracking, tmp_path: Path):
    """What other programs may rely on."""
    train(store, tmp_path, 1)
    lines = [json.loads(line) for line in (tmp_path / "mlflow.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["do"] for line in lines] == ["start", "params", "epoch", "best", "note", "end", "files"]
    assert json.loads((tmp_path / "mlflow.json").read_text())["acknowledged"] == len(lines)
