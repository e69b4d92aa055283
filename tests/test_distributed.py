"""One run in two processes of a real torchrun: the same command, the same numbers, one record."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch

from flowerbench import distributed, errors, torchrun
from flowerbench.data import augment
from tests.conftest import write_photos

pytestmark = pytest.mark.skipif(os.name == "nt", reason="torchrun and signals of POSIX")

# No batch norm, no dropout: only the order of sums may differ from one process. Of the 27 training photos a last batch
# of 13 would be a single one, and is left out; one of 4 has 3, one of 5 has 2.
PLAIN = [
    *("model.name=squeezenet1_1", "model.weights=null", "+model.kwargs.dropout=0.0", "image_size=32"),
    *("optim.lr=0.0005", "epochs=4", "tracking=none", "data.workers=0", "cache.dir=cache"),
]
# Batch norm, and quick.
TINY = ["model=tiny", "image_size=32", "batch_size=8", "epochs=2", "tracking=none", "data.workers=0", "cache.dir=cache"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> str:
    return f"data.root={write_photos(tmp_path_factory.mktemp('few'), {'ash': 13, 'beech': 12, 'cedar': 9})}"


@contextmanager
def started(cwd: Path, *arguments: str, processes: int = 2, **more: str) -> Iterator[subprocess.Popen[str]]:
    """A training command under torchrun, on its way; at the end nothing of it is left."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    process = subprocess.Popen(
        [*start, "-m", "flowerbench.train", "data=folder", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])} | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            for member in psutil.Process(process.pid).children(recursive=True):
                member.kill()
            process.kill()
            process.wait()


@pytest.fixture
def trained(tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a training command under torchrun to its end."""

    def run(*arguments: str, processes: int = 2, **more: str) -> subprocess.CompletedProcess[str]:
        with started(tmp_path, *arguments, processes=processes, **more) as process:
            out, err = process.communicate(timeout=200)
        return subprocess.CompletedProcess([], process.returncode, out, err)

    return run


def summary(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))


def ours(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What we told the user of a mistake or a failure, as against torchrun."""
    return [line for line in done.stderr.splitlines() if line.startswith("flowerbench: ")]


def history(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "history.csv").drop(columns="seconds")


def differences(one: Path, other: Path) -> dict[str, float]:
    """How far two runs are apart: in each kind of number the largest difference, as a share of the largest number."""
    states = [torch.load(run / "last.pt", weights_only=True)["model"] for run in (one, other)]
    assert states[0].keys() == states[1].keys(), "a checkpoint is one of a plain model"
    compared = {
        "weights": [np.concatenate([w.double().numpy().ravel() for w in state.values()]) for state in states],
        "probabilities": [
            pd.read_csv(run / "val_predictions.csv").filter(like="p(").to_numpy() for run in (one, other)
        ],
        **{name: [history(run)[name].to_numpy() for run in (one, other)] for name in history(one)},
    }
    return {name: float(np.max(np.abs(a - b)) / np.max(np.abs(a))) for name, (a, b) in compared.items()}


def test_the_numbers_are_those_of_one_process(flowerbench, trained, tmp_path, photos):
    command = [photos, *PLAIN, "batch_size=5"]
    alone = flowerbench("train", "data=folder", *command, "hydra.run.dir=alone")
    assert alone.returncode == 0, alone.stderr
    shared = trained(*command, "hydra.run.dir=shared")
    assert shared.returncode == 0, shared.stderr
    one, other = tmp_path / "alone", tmp_path / "shared"
    found = differences(one, other)
    print(found)
    assert all(difference < 1e-5 for difference in found.values()), found
    for key in ("identity", "settings", "best_epoch", "best_val_correct"):
        assert summary(one)[key] == summary(other)[key]
    assert summary(one)["trajectory"] != summary(other)["trajectory"], "the last bits may differ"
    assert "2 processes" in summary(other)["computed_on"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("batch_size", "processes"),
    [
        pytest.param(5, 2, id="parts of two sizes"),
        pytest.param(13, 2, id="one photo left out"),
        pytest.param(4, 4, id="a last batch of fewer photos than processes"),
        pytest.param(2, 2, id="a photo each"),
        pytest.param(64, 3, id="one batch"),
    ],
)
def test_in_double_precision_they_are_the_same_but_for_rounding(
    flowerbench, trained, tmp_path, photos, batch_size, processes
):
    """Where rounding is that small, nothing else can hide behind it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import flowerbench.model as m, flowerbench.data.batches as b\n"
        "build, images = m.build, b.Batches._images\n"
        "m.build = lambda *args: build(*args).double()\n"
        "b.Batches._images = lambda self, *args: images(self, *args).double()\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(tmp_path)])
    command = [photos, *PLAIN, f"batch_size={batch_size}"]
    alone = flowerbench("train", "data=folder", *command, "hydra.run.dir=alone", PYTHONPATH=path)
    assert alone.returncode == 0, alone.stderr
    shared = trained(*command, "hydra.run.dir=shared", processes=processes, PYTHONPATH=path)
    assert shared.returncode == 0, shared.stderr
    found = differences(tmp_path / "alone", tmp_path / "shared")
    print(batch_size, processes, found)
    assert history(tmp_path / "alone").train_loss.nunique() == 4, "the model does learn"
    assert found.pop("val_loss") < 1e-5, "which is taken in single precision"
    assert all(difference < 1e-12 for difference in found.values()), found


@pytest.mark.long
def test_one_record_whatever_the_processes(trained, tmp_path, photos):
    first = trained(photos, *TINY, "tracking=mlflow", "data.workers=1")
    assert first.returncode == 0, first.stderr
    (run,) = [path.parent for path in tmp_path.glob("outputs/**/summary.json")]
    assert len([path for path in tmp_path.glob("outputs/*/*") if path.is_dir()]) == 1
    assert len(list((tmp_path / "cache").glob("*/about.json"))) == 1
    assert len(re.findall(r"^epoch \d/2 ", first.stderr, re.MULTILINE)) == 2, "one process speaks"
    assert len(re.findall(r"epoch \d/2 ", (run / "train.log").read_text(encoding="utf-8"))) == 2
    assert len(re.findall("^Batch norm: on the CPU each of the 2 processes", first.stderr, re.MULTILINE)) == 1
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert len(client.search_runs([client.get_experiment_by_name("flowerbench").experiment_id])) == 1

    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file() and path.suffix != ".log"}
    again = trained(photos, *TINY, "tracking=mlflow", "data.workers=1")
    assert again.returncode == 0, again.stderr
    assert len(re.findall("^Done already, best validation accuracy", again.stderr, re.MULTILINE)) == 1
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.long
def test_the_epochs_of_another_run_are_taken_by_all(trained, tmp_path, photos):
    done = trained(photos, *PLAIN, "batch_size=5", "hydra.run.dir=whole", "reuse=off")
    assert done.returncode == 0, done.stderr
    for name, epochs in (("short", 2), ("long", 4)):
        done = trained(photos, *PLAIN, "batch_size=5", f"hydra.run.dir={name}", f"epochs={epochs}")
        assert done.returncode == 0, done.stderr
    assert summary(tmp_path / "long")["epochs_reused"] == 2
    assert history(tmp_path / "long").equals(history(tmp_path / "whole")), "to the last bit"
    states = [torch.load(tmp_path / name / "last.pt", weights_only=True)["model"] for name in ("whole", "long")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def wait_for_epochs(run: Path, count: int) -> None:
    deadline = time.monotonic() + 100
    file = run / "history.csv"
    while not file.exists() or len(file.read_text(encoding="utf-8").splitlines()) <= count:
        assert time.monotonic() < deadline, "it did not get going"
        time.sleep(0.05)


def ranks(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of the run, the main one first."""
    return sorted(psutil.Process(process.pid).children(), key=lambda child: int(child.environ()["RANK"]))


@pytest.mark.long
@pytest.mark.parametrize("whom", ["torchrun", "main", "follower"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_in_the_middle_it_goes_on_to_the_same_numbers(trained, tmp_path, photos, whom, number):
    command = [photos, *TINY, "epochs=40", "data.workers=1", "hydra.run.dir=cut", "reuse=off"]
    with started(tmp_path, *command) as process:
        wait_for_epochs(tmp_path / "cut", 3)
        main, follower = ranks(process)
        (process if whom == "torchrun" else main if whom == "main" else follower).send_signal(number)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode != 0
    assert summary(tmp_path / "cut")["status"] == "KILLED", stderr
    assert 3 <= summary(tmp_path / "cut")["epochs_done"] < 40
    assert stderr.count("flowerbench: ") == stderr.count("flowerbench: stopped") == 1, stderr
    assert not main.is_running()
    assert not follower.is_running()
    again = trained(*command)
    assert again.returncode == 0, again.stderr
    assert summary(tmp_path / "cut")["epochs_resumed"] >= 3
    whole = trained(*command, "hydra.run.dir=whole")
    assert whole.returncode == 0, whole.stderr
    assert history(tmp_path / "cut").equals(history(tmp_path / "whole")), "to the last bit, batch norm and all"


@pytest.mark.long
@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_that_is_killed_ends_all_and_loses_no_epoch(trained, tmp_path, photos, lost):
    command = [photos, *TINY, "epochs=40", "data.workers=1", "hydra.run.dir=cut", "reuse=off"]
    with started(tmp_path, *command) as process:
        wait_for_epochs(tmp_path / "cut", 3)
        both = ranks(process)
        both[lost].kill()
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert not any(one.is_running() for one in both)
    again = trained(*command)
    assert again.returncode == 0, again.stderr
    assert summary(tmp_path / "cut")["epochs_resumed"] >= 3


@pytest.mark.long
def test_a_failure_is_told_once_and_recorded(trained, tmp_path, photos):
    done = trained(photos, *TINY, "optim.lr=1e30", "hydra.run.dir=run")
    assert done.returncode != 0
    (told,) = ours(done)
    assert re.search(r"epoch \d: the \w+ loss became (nan|inf)", told)
    assert "flowerbench/train.py" not in done.stderr, "no traceback of ours"
    assert summary(tmp_path / "run")["status"] == "FAILED"
    assert "loss became" in summary(tmp_path / "run")["reason"]
    assert "loss became" in (tmp_path / "run" / "train.log").read_text(encoding="utf-8")


@pytest.mark.long
@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        ("flowerbench.errors.RunError('a bad photo')", "a bad photo"),
        ("torch.OutOfMemoryError('CUDA out of memory')", "the device's memory is too small for the part"),
        ("ValueError('a bug')", "a bug"),
        ("RuntimeError('a bug of torch')", "a bug of torch"),
    ],
)
@pytest.mark.parametrize("where", [0, 1])
def test_what_goes_wrong_in_one_process_is_the_reason_in_the_record(trained, tmp_path, photos, raised, reason, where):
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        f"if os.environ.get('RANK') == '{where}':\n"
        "    import torch, flowerbench.errors, flowerbench.data.batches as b\n"
        "    val = b.Batches.val\n"
        "    def failing(self, epoch, indices):\n"
        f"        if epoch == 2: raise {raised}\n"
        "        return val(self, epoch, indices)\n"
        "    b.Batches.val = failing\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(tmp_path)])
    done = trained(photos, *TINY, "hydra.run.dir=run", "data.workers=1", PYTHONPATH=path)
    assert done.returncode != 0
    assert summary(tmp_path / "run")["status"] == "FAILED", done.stderr
    assert reason in summary(tmp_path / "run")["reason"]
    assert len(ours(done)) == 1, done.stderr
    assert summary(tmp_path / "run")["epochs_done"] == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["batch_size=1"], "batch_size=1 is less than a photo for each of 2 processes"),
        (["optim.accumulate=2"], "optim.accumulate is for one process, not for 2"),
        pytest.param(["device=cuda:0"], "device=cuda:0 is one device, for 2 processes", marks=pytest.mark.long),
        pytest.param(["epochs=x"], "epochs=x is not allowed", marks=pytest.mark.long),
        pytest.param(["optim.sped=3"], "optim.sped is not a key of the config", marks=pytest.mark.long),
        pytest.param(["seed=1,2", "--multirun"], "torchrun shares out one run", marks=pytest.mark.long),
    ],
)
def test_a_mistake_is_one_line(trained, tmp_path, photos, arguments, message):
    done = trained(photos, *TINY, *arguments)
    assert done.returncode != 0
    (told,) = ours(done)
    assert message in told
    assert "exitcode  : 2" in done.stderr, "torchrun tells it, and ends with 1 itself"
    assert not list(tmp_path.iterdir()), "nothing is written"


@pytest.mark.long
def test_a_plan_is_shown_once(trained, tmp_path, photos):
    done = trained(photos, *TINY, "dry_run=true")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("1 points, 2 epochs asked for, 2 to train.") == 1
    assert not list(tmp_path.iterdir())


@pytest.fixture
def second_of_three(monkeypatch):
    for name, value in (("TORCHELASTIC_RUN_ID", "none"), ("WORLD_SIZE", "3"), ("RANK", "1"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)


def test_each_process_takes_its_part(second_of_three):
    assert list(distributed.own(range(8))) == [1, 4, 7]
    assert list(distributed.own([0])) == []
    assert torchrun.is_follower()
    assert distributed.device_name("cuda") == "cuda:1"
    assert distributed.device_name("cpu") == "cpu"


def test_variables_of_others_are_no_torchrun(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "1")
    assert torchrun.processes() == 1
    assert distributed.own([1, 2, 3]) == [1, 2, 3]


def test_a_gpu_of_its_own(second_of_three, compose_config):
    distributed.check(compose_config("device=cuda"))
    with pytest.raises(errors.UsageError, match="one device, for 3 processes"):
        distributed.check(compose_config("device=mps"))


def test_dropout_is_a_function_of_seed_epoch_and_process():
    seeds = {augment.model_seed(seed, epoch, rank) for seed in (0, 1) for epoch in (1, 2) for rank in (0, 1, 2)}
    assert len(seeds) == 12
    assert augment.model_seed(0, 1, 2) == augment.model_seed(0, 1, 2)
    assert augment.model_seed(3, 4, 0) == augment.model_seed(3, 4), "the first process draws as one alone does"
