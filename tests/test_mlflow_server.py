"""A real MLflow server that is killed in the middle of a real sweep, and brought back."""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import start_train

pytestmark = [
    pytest.mark.long,
    pytest.mark.alone,
    pytest.mark.skipif(os.name == "nt", reason="process groups of POSIX"),
]

NAMES = ["seed-0", "seed-1", "seed-2"]
EPOCHS = 12
METRICS = {
    "lr": "lr",
    "train/loss": "train_loss",
    "train/accuracy": "train_accuracy",
    "val/loss": "val_loss",
    "val/accuracy": "val_accuracy",
    "seconds": "seconds",
}


class Server:
    """`mlflow server` with a database in a folder; it may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        store = ["--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        store += ["--artifacts-destination", str(self.folder / "artifacts")]
        listen = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *store, *listen],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        wait_for(self._is_up, 150)

    def _is_up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "server.log").read_text()
        return answers(self.uri)

    def kill(self) -> None:
        """Kill its processes, which are a group of their own."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def answers(address: str) -> bool:
    """Whether MLflow is there."""
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait_for(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server")
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def sweep(tmp_path: Path, server: Server, photo_folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Three points, with an optimiser that stands still in epoch 8 of the second until the file `go` is there."""
    (tmp_path / "optim").mkdir()
    (tmp_path / "optim" / "slow.yaml").write_text("_target_: slow.SGD\nlr: 0.01\n")
    (tmp_path / "slow.py").write_text(
        "import time\n"
        "from pathlib import Path\n"
        "import torch\n"
        "class SGD(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n"
        "        time.sleep(0.02)\n"
        "        while len(list(Path('mine/seed-1').glob('history.csv'))) and not Path('go').exists() and (\n"
        "            len(Path('mine/seed-1/history.csv').read_text().splitlines()) > 7\n"
        "        ):\n"
        "            time.sleep(0.05)\n"
        "        return super().step(closure)\n"
    )
    arguments = ["data=folder", f"data.root={photo_folder}", "model=tiny", "image_size=16", "data.workers=0"]
    arguments += ["optim=slow", f"epochs={EPOCHS}", "seed=0,1,2", "batch_size=8"]
    arguments += [f"tracking.uri={server.uri}", "hydra.sweep.dir=mine", "device=cpu"]
    process = start_train(tmp_path, "--multirun", "--config-dir", ".", *arguments)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def epochs(run: Path) -> int:
    file = run / "history.csv"
    return max(0, len(file.read_text().splitlines()) - 1) if file.is_file() else 0


def check(server: Server, sweep: Path) -> None:
    """All is in MLflow that is in the run folders, once."""
    from mlflow import MlflowClient

    client = MlflowClient(server.uri)
    found = client.search_runs([client.get_experiment_by_name("flowerbench").experiment_id])
    runs = {run.data.tags.get("flowerbench.name", run.info.run_name): run for run in found}
    parent = runs.pop("seed (mine)")
    assert sorted(runs) == NAMES
    assert {run.info.status for run in found} == {"FINISHED"}
    assert "Best Accuracy Rate" in parent.data.tags["mlflow.note.content"]
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {"report"}
    assert "mlflow.parentRunId" not in parent.data.tags
    for name in NAMES:
        run = runs[name]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        with (sweep / name / "history.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == EPOCHS
        for metric, field in METRICS.items():
            sent = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, metric)]
            assert sent == [(int(row["epoch"]), pytest.approx(float(row[field]))) for row in rows]
        assert run.data.metrics["val_total"] == 11
        assert run.data.params["seed"] == name[-1]
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert {"history.csv", "summary.json", "config.yaml", "curves.png", "confusion_matrix.png"} <= files


def test_a_server_that_comes_back_during_the_sweep_has_everything_at_its_end(
    tmp_path: Path, server: Server, sweep: subprocess.Popen[str]
):
    wait_for(lambda: sweep.poll() is not None or epochs(tmp_path / "mine/seed-1") >= 3, 120)
    server.kill()
    wait_for(lambda: epochs(tmp_path / "mine/seed-1") == 7, 60)  # training goes on without it
    server.start()
    (tmp_path / "go").touch()
    _, said = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, said
    assert said.count("going on, the run folder has everything") == 1, said
    assert said.count("is back, and has everything") == 1, said
    check(server, tmp_path / "mine")


def test_a_server_that_stays_away_gets_everything_from_the_command(
    tmp_path: Path, server: Server, sweep: subprocess.Popen[str], flowerbench: Any
):
    wait_for(lambda: sweep.poll() is not None or epochs(tmp_path / "mine/seed-1") >= 3, 120)
    server.kill()
    (tmp_path / "go").touch()
    _, said = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, said
    assert "python -m flowerbench.sync mine" in said
    away = flowerbench("sync", "mine")
    assert away.returncode == 1
    assert "0 runs brought up to date, 3 not" in away.stdout
    server.start()
    back = flowerbench("sync", "mine")
    assert back.returncode == 0, back.stdout + back.stderr
    assert "3 runs brought up to date, 0 not" in back.stdout
    check(server, tmp_path / "mine")
    assert "0 runs brought" in flowerbench("sync", "mine").stdout
