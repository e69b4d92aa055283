"""The command itself, in a process of its own, as a user runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.conftest import finish_together, start_train

QUICK = ["model=tiny", "image_size=32", "batch_size=8", "epochs=2", "tracking=none", "data.workers=0"]


@pytest.fixture
def folder_data(photo_folder):
    return ["data=folder", f"data.root={photo_folder}", *QUICK]


def only_run(cwd: Path) -> Path:
    runs = [path.parent for path in cwd.glob("outputs/*/*/summary.json")]
    assert len(runs) == 1
    return runs[0]


def summary(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"]])
def test_help_and_the_config_come_at_once_without_torch_or_mlflow(tmp_path, arguments):
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['train', *{arguments!r}]\n"
        "try: runpy.run_module('flowerbench.train', run_name='__main__')\n"
        "finally: sys.stderr.write(repr({'torch', 'mlflow', 'pandas', 'torchvision'} & set(sys.modules)))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    seconds = []
    for _ in range(4):  # the quickest counts: other work on the machine may slow down any
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        seconds.append(time.perf_counter() - started)
        assert done.stderr == "set()"
        assert "batch_size: 16" in done.stdout
    assert min(seconds) < 1.5
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_a_run_leaves_its_folder(flowerbench, tmp_path, folder_data):
    done = flowerbench("train", *folder_data)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    assert {"history.csv", "summary.json", "best.pt", "last.pt", "val_predictions.csv", ".hydra", "train.log"} <= {
        path.name for path in run.iterdir()
    }
    assert (run / "history.csv").read_text().splitlines()[0] == (
        "epoch,lr,train_loss,train_accuracy,val_loss,val_accuracy,seconds"
    )
    ended = summary(run)
    assert ended["status"] == "FINISHED"
    assert ended["epochs_done"] == 2
    assert ended["classes"] == {"ash": 20, "beech": 16, "cedar": 14}
    assert (ended["train_total"], ended["val_total"], ended["protocol"]) == (39, 11, "clean")
    opening = (
        r"^cpu fp32 \| 50 photos \(ash 20, beech 16, cedar 14\) \| 39 train, 11 validation \(clean\) \| "
        r"tiny: [\d,]+ parameters train$"
    )
    assert re.search(opening, done.stderr, re.MULTILINE)
    assert len(re.findall(r"^epoch [12]/2  lr 0\.001 .* s", done.stderr, re.MULTILINE)) == 2, "a plain line per epoch"
    predictions = pd.read_csv(run / "val_predictions.csv")
    assert (predictions.label == predictions.prediction).sum() == ended["best_val_correct"]
    best = torch.load(run / "best.pt", weights_only=True)
    assert best["classes"] == ["ash", "beech", "cedar"]


def test_the_same_command_gives_the_same_bits_whatever_the_loader_and_its_workers(flowerbench, tmp_path, folder_data):
    loaders = {"once": "cached", "anew": "stream", "by-two": "stream"}
    for name, loader in loaders.items():
        (tmp_path / name).mkdir()
        how = [f"data.loader={loader}", f"data.workers={2 if name == 'by-two' else 0}", "reuse=off"]
        done = flowerbench("train", *folder_data, *how, cwd=tmp_path / name)
        assert done.returncode == 0, done.stderr
    one, *others = (only_run(tmp_path / name) for name in loaders)
    for other in others:
        assert (one / "val_predictions.csv").read_bytes() == (other / "val_predictions.csv").read_bytes()
        histories = [pd.read_csv(run / "history.csv").drop(columns="seconds") for run in (one, other)]
        assert histories[0].equals(histories[1])
        weights = [torch.load(run / "last.pt", weights_only=True)["model"] for run in (one, other)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
        assert summary(one)["identity"] == summary(other)["identity"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["batch_size=0"], "flowerbench: batch_size=0 is not allowed: a whole number, 1 or more"),
        (["epochs=-1"], "flowerbench: epochs=-1 is not allowed: a whole number, 1 or more"),
        (["data.val_fraction=1.5"], "flowerbench: data.val_fraction=1.5 is not allowed: a number between 0 and 1"),
        (["optim.lr=nan"], "flowerbench: optim.lr=nan is not allowed: a number above 0"),
        (["epochs=abc"], "flowerbench: epochs=abc is not allowed: a whole number, 1 or more"),
        (["optim.lrr=1"], "flowerbench: optim.lrr is not a key of the config: did you mean optim.lr?"),
        (["+foo=1"], "flowerbench: foo is not a key of the config"),
        (["optim=none"], "flowerbench: Could not find 'optim/none' Available options in 'optim': adamw base sgd"),
        (["batch_size=16,32"], "flowerbench: Ambiguous value for argument 'batch_size=16,32': to sweep"),
        (["--multirun", "batch_size=16,0"], "flowerbench: batch_size=0 is not allowed: a whole number, 1 or more"),
        (["--multirun", "epochs=1,x"], "flowerbench: epochs=x is not allowed: a whole number, 1 or more"),
        (["--multirun", "batch_size=16,16"], "flowerbench: the sweep names a point more than once: batch_size-16"),
        (["data=folder", "data.root=nowhere"], "flowerbench: data.root="),
        (["data=synthetic", "model.name=resnet0"], "flowerbench: model.name=resnet0 is no classifier of torchvision"),
        (
            ["data=synthetic", "model=tiny", "+optim.sped=3"],
            "flowerbench: optim.sped is no argument of torch.optim.SGD",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(flowerbench, tmp_path, arguments, message):
    small = ["data.synthetic.count=20"] if "data=synthetic" in arguments else []
    done = flowerbench("train", *arguments, *small, "tracking=none")
    lines = [line for line in done.stderr.splitlines() if line and not line.startswith("Reading ")]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(message)
    assert not list(tmp_path.glob("multirun/*/*/*/summary.json")), "no point was started"


def test_a_loss_that_is_not_finite_fails_the_run(flowerbench, tmp_path, folder_data):
    done = flowerbench("train", *folder_data, "optim.lr=1e30")
    assert done.returncode == 1
    assert re.search(r"flowerbench: epoch \d: the \w+ loss became (nan|inf).*try a smaller optim\.lr", done.stderr)
    assert "Traceback" not in done.stderr
    ended = summary(only_run(tmp_path))
    assert ended["status"] == "FAILED"
    assert "loss became" in ended["reason"]
    assert "loss became" in (only_run(tmp_path) / "train.log").read_text(encoding="utf-8")


def test_a_bug_keeps_its_traceback_in_the_log(flowerbench, tmp_path, folder_data):
    (tmp_path / "sitecustomize.py").write_text("import flowerbench.data.split as s\ns.split = lambda *a: 1 / 0\n")
    done = flowerbench(
        "train", *folder_data, PYTHONPATH=os.pathsep.join([str(Path(__file__).parents[1]), str(tmp_path)])
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in (only_run(tmp_path) / "train.log").read_text(encoding="utf-8")
    assert summary(only_run(tmp_path))["reason"] == "division by zero"


FULL = """
import flowerbench.checkpoint as checkpoint
save, taken = checkpoint.save, []
def until_full(path, snapshot):
    if path.name == "last.pt" and len(taken) == 2:
        raise OSError(28, "No space left on device")
    taken.extend(["one"] if path.name == "last.pt" else [])
    save(path, snapshot)
checkpoint.save = until_full
"""


def test_a_disk_that_is_full_fails_the_run_and_the_same_command_goes_on(flowerbench, tmp_path, folder_data):
    (tmp_path / "sitecustomize.py").write_text(FULL)
    command = ["train", *folder_data, "epochs=5", "reuse=off", "hydra.run.dir=run"]
    full = os.pathsep.join([str(Path(__file__).parents[1]), str(tmp_path)])
    done = flowerbench(*command, PYTHONPATH=full)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "flowerbench: [Errno 28] No space left on device"
    assert "Traceback" not in done.stderr
    run = tmp_path / "run"
    assert (summary(run)["status"], summary(run)["epochs_done"]) == ("FAILED", 2)
    assert len(pd.read_csv(run / "history.csv")) == 2
    assert flowerbench(*command).returncode == 0
    assert (summary(run)["status"], summary(run)["epochs_done"], summary(run)["epochs_resumed"]) == ("FINISHED", 5, 2)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_keeps_its_epochs_and_says_killed(tmp_path, folder_data, number, code):
    process = start_train(tmp_path, *folder_data, "epochs=100000", "data.workers=1")
    try:
        deadline = time.monotonic() + 60
        while (
            not (found := list(tmp_path.glob("outputs/*/*/history.csv"))) or len(found[0].read_text().splitlines()) < 3
        ):
            assert time.monotonic() < deadline, "it did not get going"
            time.sleep(0.2)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == code
    assert "flowerbench: stopped" in errors
    assert "Traceback" not in errors
    ended = summary(only_run(tmp_path))
    assert ended["status"] == "KILLED"
    history = pd.read_csv(only_run(tmp_path) / "history.csv")
    assert len(history) == ended["epochs_done"] >= 2


@pytest.mark.long
def test_two_runs_that_start_together_get_folders_of_their_own(tmp_path, folder_data):
    finish_together([start_train(tmp_path, *folder_data, "epochs=1", f"seed={seed}") for seed in range(3)])
    assert len(list(tmp_path.glob("outputs/*/*/summary.json"))) == 3


def test_options_of_your_own(flowerbench, tmp_path, folder_data):
    (tmp_path / "mine" / "optim").mkdir(parents=True)
    (tmp_path / "mine" / "optim" / "rmsprop.yaml").write_text("_target_: torch.optim.RMSprop\nlr: 0.002\n")
    done = flowerbench("train", "--config-dir", "mine", *folder_data, "optim=rmsprop", "epochs=1")
    assert done.returncode == 0, done.stderr
    assert "lr 0.002" in done.stderr


@pytest.mark.long
def test_results_are_never_overwritten(flowerbench, tmp_path, folder_data):
    for arguments in ([], ["--multirun", "seed=1,2"]):
        key = "hydra.sweep.dir" if arguments else "hydra.run.dir"
        command = [*arguments, *folder_data, "epochs=1", f"{key}=mine{len(arguments)}"]
        done = flowerbench("train", *command)
        assert done.returncode == 0, done.stderr
        before = {path: path.read_bytes() for path in tmp_path.glob("mine*/**/*") if path.is_file()}
        other = flowerbench("train", *[word.replace("seed=1,2", "seed=1,3") for word in command], "optim.lr=0.5")
        assert other.returncode == 2
        assert "holds results already" in other.stderr
        assert {path: path.read_bytes() for path in tmp_path.glob("mine*/**/*") if path.is_file()} == before
        again = flowerbench("train", *command)
        assert again.returncode == 0, "the same command finds that it is done"
        results = [path for path in before if path.suffix in (".pt", ".csv") or path.name == "summary.json"]
        assert all(path.read_bytes() == before[path] for path in results)
