"""docs/export.md as a user follows it: every command and every piece of code in it, one after the other."""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from flowerbench import export, predict, trained
from tests.conftest import finish_together, start_train

pytestmark = [pytest.mark.long, pytest.mark.skipif(os.name == "nt", reason="process groups of POSIX")]

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
PIECES = re.findall(r"```(bash|python)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for kind, text in PIECES if kind == "bash" for line in text.splitlines()]
WITH_ONNX, WITH_SAFETENSORS, ASK = (text for kind, text in PIECES if kind == "python")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, photo_folder: Path) -> Path:
    """A working folder with a run that was tracked, its model logged, and one more photo."""
    folder = tmp_path_factory.mktemp("serving")
    small = ["model=mobilenet_v2", "model.weights=null", "model.kwargs.width_mult=0.25", "image_size=32", "epochs=2"]
    data = ["data=folder", f"data.root={photo_folder}", "tracking.uri=sqlite:///mlflow.db", "tracking.log_model=true"]
    finish_together([start_train(folder, *data, *small, "batch_size=8", "hydra.run.dir=multirun/mine")])
    shutil.copy(next(photo_folder.rglob("*.png")), folder / "tulip.jpg")
    return folder


def run(home: Path, *words: str) -> str:
    """What a command says; it must succeed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *words], cwd=home, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def models(home: Path) -> list[Any]:
    from flowerbench import mlflow_store

    client = mlflow_store.client(f"sqlite:///{home}/mlflow.db")
    (experiment,) = (found for found in client.search_experiments() if found.name == "flowerbench")
    return list(client.search_logged_models([experiment.experiment_id]))


@pytest.mark.timeout(600)
def test_the_page(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(home)
    (logged,) = models(home)  # at the end of the run
    (run_id,) = {json.loads((home / "multirun" / "mine" / "mlflow.json").read_text())["run_id"]}
    assert (logged.source_run_id, logged.status, logged.name) == (run_id, "READY", "model")
    assert logged.params["model.name"] == "mobilenet_v2"
    assert {metric.key for metric in logged.metrics} >= {"best/val_accuracy", "best/epoch"}

    said = {}
    for command in COMMANDS:
        words = shlex.split(command)
        if words[:3] == ["python", "-m", "flowerbench.export"]:
            export.main(words[3:])
            said[words[5]] = capsys.readouterr().out
    assert said.keys() == {"onnx", "torchscript", "safetensors", "mlflow"}
    assert "models:/flowers/1: registered\n" in said["mlflow"]
    assert [found.model_id for found in models(home)] == [logged.model_id], "the same weights are logged once"
    assert f"models:/{logged.model_id}: logged with run {run_id}" in said["mlflow"]

    predict.main(["multirun/mine", "tulip.jpg", "--format", "jsonl", "--top", "9"])
    expected = json.loads(capsys.readouterr().out)
    found, share = run(home, "-c", WITH_ONNX).split()
    assert found == expected["prediction"]
    assert float(share) == pytest.approx(expected["probability"], abs=1e-5)
    # Also where torchvision's own import fails, as it may on machines for tests.
    run(home, "-c", WITH_SAFETENSORS.replace("import torchvision", "from flowerbench._torchvision import torchvision"))

    (serve,) = (shlex.split(command) for command in COMMANDS if command.startswith("mlflow models serve"))
    assert shlex.join(serve) in said["mlflow"]
    answer_as_predict_does(home, serve, expected)

    best = (home / "multirun" / "mine" / "best.pt").read_bytes()
    shutil.rmtree(home / "multirun")  # as on another machine
    assert (trained.find(run_id, f"sqlite:///{home}/mlflow.db") / "best.pt").read_bytes() == best


def answer_as_predict_does(home: Path, serve: list[str], expected: dict[str, Any]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # The package that is installed cannot be used: the model carries its own.
    elsewhere = home / "elsewhere"
    (elsewhere / "flowerbench").mkdir(parents=True)
    (elsewhere / "flowerbench" / "__init__.py").write_text("raise ImportError('not the one of the model')")
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{home}/mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment = os.environ | store | {"PYTHONPATH": str(elsewhere)}
    with (home / "serve.log").open("wb") as log:
        command = [sys.executable, "-m", *serve[:-1], port]
        # MLflow starts its server by the names of programs.
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        server = subprocess.Popen(
            command, cwd=elsewhere, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 300  # a busy machine is no reason to fail
        while not is_up(port):
            assert server.poll() is None, (home / "serve.log").read_text()
            assert time.monotonic() < deadline, (home / "serve.log").read_text()
            time.sleep(0.3)
        printed = run(home, "-c", ASK.replace(":5001/", f":{port}/"))
        answer = ast.literal_eval(printed)
        assert answer["prediction"] == expected["prediction"]
        shares = {f"p({told['class']})": told["probability"] for told in expected["top"]}
        assert {key: answer[key] for key in answer if key != "prediction"} == pytest.approx(shares, abs=1e-6)

        photo = base64.b64encode((home / "tulip.jpg").read_bytes()).decode()
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(port, photo, base64.b64encode(b"no photo").decode())
        assert refused.value.code == 400
        told = json.loads(refused.value.read())["message"]
        assert told == "image 2 of 2 cannot be read: its bytes are no image"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def ask(port: str, *photos: str) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps({"dataframe_records": [{"image": photo} for photo in photos]}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def is_up(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
