"""The command that delivers what MLflow missed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowerbench import mlflow_store, sync, tracking
from flowerbench.config import Tracking
from flowerbench.outbox import Outbox
from tests.test_delivery import Line, line, runs, steps, train  # noqa: F401
from tests.test_tracking import closed_port, epoch, fetched, silent_port  # noqa: F401


@pytest.fixture
def store(tmp_path: Path) -> Tracking:
    return Tracking(uri=f"sqlite:///{tmp_path.as_posix()}/mlflow.db", experiment="flowers")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the command is given."""
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


def synced(*arguments: str) -> int:
    """Run the command; its exit code."""
    try:
        sync.main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_what_is_left_arrives_and_then_nothing_is(store: Tracking, home: Path, line: Line, capsys: Any):  # noqa: F811
    line.is_cut = True
    tracking.start_sweep(store, home / "multirun/s", "s", points=2)
    for name, numbers in (("a", (1, 2)), ("b", (1, 2, 3))):
        with tracking.run(
            store, params={}, name=name, folder=home / "multirun/s" / name, sweep=home / "multirun/s"
        ) as t:
            for number in numbers:
                t.log(epoch(number))
    train(store, home / "outputs/c", 1)
    tracking.finish_sweep(store, home / "multirun/s", "note", "FINISHED")
    line.is_cut = False
    capsys.readouterr()
    assert synced() == 0
    said = capsys.readouterr().out.splitlines()
    assert [Path(text.partition(":")[0]).name for text in said[:-1]] == ["s", "a", "b", "c"]
    assert said[-1] == "4 runs brought up to date, 0 not, 0 still running"
    found = {run.info.run_name: run for run in runs(store)}
    assert {name: run.info.status for name, run in found.items()} == dict.fromkeys(["s", "a", "b", "x"], "FINISHED")
    assert steps(store, found["b"].info.run_id) == [1, 2, 3]
    assert found["b"].data.tags["mlflow.parentRunId"] == found["s"].info.run_id
    assert synced() == 0
    assert capsys.readouterr().out == "0 runs brought up to date, 0 not, 0 still running\n"


RUNNING = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from flowerbench import tracking\n"
    "from flowerbench.config import Tracking\n"
    "folder = Path(sys.argv[2])\n"
    "with tracking.run(Tracking(sys.argv[1], 'flowers'), params={'a': 1}, name='x', folder=folder) as tracker:\n"
    "    for n in (1, 2):\n"
    "        e = dict(epoch=n, lr=0.1, train_loss=1 / n, train_accuracy=n / 50, val_loss=1.0)\n"
    "        e |= dict(val_accuracy=n / 100, seconds=1.5)\n"
    "        tracker.log(e)\n"
    "    (folder / 'history.csv').write_text('epoch,lr,train_loss,train_accuracy,val_loss,val_accuracy,seconds\\n'\n"
    "        '1,0.1,1.0,0.02,1.0,0.01,1.5\\n2,0.1,0.5,0.04,1.0,0.02,1.5\\n3,0.1,0.25,0.06,1.0,0.03,1.5\\n')\n"
    "    print('ready', flush=True)\n"
    "    time.sleep(100)\n"
)


@pytest.fixture
def running(store: Tracking, home: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that has sent two epochs, and written a third to its history alone."""
    command = [sys.executable, "-c", RUNNING, str(store.uri), str(home / "outputs/x")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_run_that_was_killed_is_ended_and_one_that_runs_is_left(
    store: Tracking, home: Path, running: subprocess.Popen[str], capsys: Any
):
    assert synced() == 0
    assert "still running" in capsys.readouterr().out
    [run] = runs(store)
    assert run.info.status == "RUNNING"
    last = Outbox(home / "outputs/x").messages[-1]["time"]
    running.kill()
    running.wait()
    time.sleep(0.05)
    assert synced() == 0
    [run] = runs(store)
    assert (run.info.status, run.info.end_time) == ("KILLED", last)
    assert run.data.tags["flowerbench.status_reason"] == "its process was killed"
    said = "Stopped: its process was killed.\n\nBefore that: Best accuracy 0.0300 in epoch 3.\n"
    assert run.data.tags["mlflow.note.content"].startswith(said)
    assert steps(store, run.info.run_id) == [1, 2, 3], "the run folder is the truth"


@pytest.mark.long
@pytest.mark.alone
def test_a_server_that_stays_away_is_asked_once(home: Path, silent_port: int, capsys: Any):  # noqa: F811
    away = Tracking(uri=f"http://127.0.0.1:{silent_port}", experiment="flowers")
    for name in ("a", "b", "c", "d"):
        train(away, home / "outputs" / name, 1)
    capsys.readouterr()
    started = time.monotonic()
    assert synced("outputs") == 1
    assert time.monotonic() - started < 3.5
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 5
    assert all("0 messages sent, the rest is kept (MLflow at http://127.0.0.1" in text for text in said[:-1])
    assert said[-1] == "0 runs brought up to date, 4 not, 0 still running"


def test_a_password_comes_from_the_environment_or_the_config(
    home: Path,
    closed_port: int,  # noqa: F811
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
):
    uri, asked = f"http://me:secret@127.0.0.1:{closed_port}", []
    train(Tracking(uri=uri, experiment="flowers"), home / "outputs/x", 1)
    monkeypatch.setattr(mlflow_store, "create_store", lambda uri, experiment: asked.append(uri) or 1 / 0)
    assert synced() == 1
    assert "MLFLOW_TRACKING_URI" in capsys.readouterr().out
    assert not asked
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert synced() == 1
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (home / "outputs/x/.hydra").mkdir()
    (home / "outputs/x/.hydra/config.yaml").write_text(f"tracking:\n  uri: {uri}\nother: ${{oc.env:NOT_SET}}\n")
    assert synced() == 1
    assert asked == [uri, uri]
    assert "secret" not in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["nowhere"], ["--what"]])
def test_a_mistake_is_one_line(home: Path, capsys: Any, arguments: list[str]):
    assert synced(*arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_help_comes_without_mlflow(tmp_path: Path):
    code = (
        "import sys, runpy\n"
        "sys.argv = ['sync', '--help']\n"
        "try: runpy.run_module('flowerbench.sync', run_name='__main__')\n"
        "finally: sys.stderr.write(repr({'torch', 'mlflow', 'pandas'} & set(sys.modules)))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "set()")
    assert "FOLDER" in done.stdout
