"""Searches with Optuna, through the real command; the space they go through."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser

from flowerbench.config import Search
from flowerbench.errors import Pruned, UsageError
from flowerbench.search import reporter
from flowerbench.search_space import space
from tests.conftest import finish_together, start_train

optuna = pytest.importorskip("optuna")

LR = "optim.lr=tag(log,interval(0.001,0.1))"


@pytest.fixture
def command(photo_folder):
    small = ["data=folder", f"data.root={photo_folder}", "model=tiny", "image_size=16", "data.workers=0"]
    return ["--multirun", "hydra/sweeper=optuna", *small, "tracking=none"]


def study(folder: Path, name: str | None = None) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder / 'optuna.db'}")


def run_of(folder: Path, trial: optuna.trial.FrozenTrial) -> Path:
    (found,) = folder.glob(f"multirun/*/*/{trial.number:03}_*")
    return found


def summary(run: Path) -> dict[str, object]:
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))


def states(folder: Path) -> Counter[str]:
    return Counter(trial.state.name for trial in study(folder).trials)


def parameters(folder: Path) -> list[dict[str, object]]:
    return [trial.params for trial in study(folder).trials]


@pytest.mark.long
def test_a_search_finds_the_best_of_its_trials_and_goes_on_where_it_stood(flowerbench, tmp_path, command):
    search = [*command, "epochs=2", LR, "batch_size=8,16"]
    done = flowerbench("train", *search, "hydra.sweeper.n_trials=4")
    assert done.returncode == 0, done.stderr
    assert states(tmp_path) == {"COMPLETE": 4}
    # The same command with more trials goes on, and draws no point again that it had drawn.
    done = flowerbench("train", *search, "hydra.sweeper.n_trials=6")
    assert done.returncode == 0, done.stderr
    assert states(tmp_path) == {"COMPLETE": 6}
    found = study(tmp_path)
    assert len({trial.params["optim.lr"] for trial in found.trials}) == 6
    for trial in found.trials:
        run = run_of(tmp_path, trial)
        assert trial.value == summary(run)["best_val_accuracy"]
        accuracies = [float(line.split(",")[5]) for line in (run / "history.csv").read_text().splitlines()[1:]]
        assert trial.intermediate_values == dict(enumerate(accuracies, start=1))
        assert 0.001 <= trial.params["optim.lr"] <= 0.1
        assert type(trial.params["batch_size"]) is int
        # The folder's name says what varies, and only that.
        assert run.name == f"{trial.number:03}_" + re.sub(
            "[=]", "-", "_".join(f"{key}={value}" for key, value in sorted(trial.params.items()))
        )
        # The address of a storage may hold a password.
        kept = torch.load(run / "last.pt")["config"]
        assert not [key for key in kept if key.startswith("search.")]
    best = found.best_trial
    assert f"best accuracy {best.value:.4f}, of trial {best.number}: " in done.stderr
    # The command that it names trains the best trial again.
    again = shlex.split(done.stderr.partition("train it again: python -m flowerbench.train ")[2].splitlines()[0])
    assert flowerbench("train", *again, "hydra.run.dir=again").returncode == 0
    again, first = (
        [line.rpartition(",")[0] for line in (run / "history.csv").read_text().splitlines()]
        for run in (tmp_path / "again", run_of(tmp_path, best))
    )
    assert again == first
    assert "| Settings" in done.stdout


@pytest.mark.long
def test_a_seed_suggests_the_same_again_and_another_does_not(tmp_path, command):
    folders = [tmp_path / name for name in ("first", "same", "other")]
    for folder in folders:
        folder.mkdir()
    search = [*command, "epochs=1", LR, "batch_size=range(4,12,4)", "hydra.sweeper.n_trials=2"]
    # Two at a time: this machine may be small.
    finish_together([start_train(folder, *search) for folder in folders[:2]])
    finish_together([start_train(folders[2], *search, "hydra.sweeper.sampler.seed=1")])
    first, same, other = map(parameters, folders)
    assert first == same
    assert first != other


@pytest.mark.long
def test_a_trial_that_is_pruned_or_fails_does_not_stop_the_search(flowerbench, tmp_path, command):
    # The first learning rate diverges, and of the others each is pruned after its first epoch.
    pruner = ["hydra.sweeper.pruner._target_=optuna.pruners.ThresholdPruner", "+hydra.sweeper.pruner.lower=1.1"]
    pruner.append("hydra.sweeper.pruner.n_warmup_steps=1")
    sampler = ["hydra.sweeper.sampler._target_=optuna.samplers.BruteForceSampler"]
    search = [*command, "epochs=3", "optim.lr=1e30,0.01,0.02", *pruner, *sampler]
    done = flowerbench("train", *search)
    assert done.returncode == 1, done.stderr
    assert states(tmp_path) == {"PRUNED": 2, "FAIL": 1}
    for trial in study(tmp_path).trials:
        run = summary(run_of(tmp_path, trial))
        if trial.state.name == "FAIL":
            assert run["status"] == "FAILED"
            assert trial.params["optim.lr"] == 1e30
        else:
            assert (run["status"], run["reason"]) == ("PRUNED", "pruned after epoch 1 of 3")
            assert run["epochs_done"] == 1
            assert trial.value == trial.intermediate_values[1] == run["best_val_accuracy"]
    assert "PRUNED (1 of 3 epochs)" in done.stdout
    assert "no trial of the search came to its end" in done.stderr


@pytest.mark.long
def test_mistakes_are_one_line_and_leave_no_folder(flowerbench, tmp_path, command):
    for mistake, told in (
        (["batch_size=8"], "nothing to search over: give a key several values"),
        (["batch_size=interval(0,4)"], "batch_size=0 is not allowed"),
        (["batch_size=8,16", "hydra.sweeper.storage=postgresql+psycopg2://me:secret@127.0.0.1:1/x"], "cannot be used"),
        (["batch_size=8,16", "hydra.sweeper.pruner._target_=optuna.pruners.Foo"], "hydra.sweeper.pruner cannot be"),
    ):
        done = flowerbench("train", *command, *mistake)
        assert done.returncode == 2
        assert done.stderr.startswith("flowerbench: ")
        assert len(done.stderr.splitlines()) == 1
        assert told in done.stderr
        assert "secret" not in done.stderr
    assert not (tmp_path / "multirun").exists()


@pytest.mark.long
def test_a_study_is_of_one_search(flowerbench, tmp_path, command):
    other = optuna.create_study(study_name="mine", storage=f"sqlite:///{tmp_path / 'optuna.db'}", direction="maximize")
    other.set_user_attr("flowerbench.settings", {"space": {}, "constant": ["epochs=2"]})
    refused = flowerbench("train", *command, "hydra.sweeper.study_name=mine", "batch_size=8,16", "epochs=1")
    assert refused.returncode == 2
    assert "hydra.sweeper.study_name=mine is a search over other settings: name another" in refused.stderr


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_search_that_was_stopped_goes_on_with_the_same_command(tmp_path, command, number):
    search = [*command, "epochs=60", LR, "hydra.sweeper.n_trials=4"]
    driver = start_train(tmp_path, *search)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("multirun/*/*/001_*/history.csv")):
            assert time.monotonic() < deadline, "it did not get going"
            time.sleep(0.05)
        driver.send_signal(number)
        driver.communicate(timeout=60)
    finally:
        driver.kill()
    stopped = study(tmp_path).trials[1]
    assert stopped.state.name == ("RUNNING" if number == signal.SIGKILL else "FAIL")
    finish_together([start_train(tmp_path, *search)])
    assert states(tmp_path) == {"COMPLETE": 4, "FAIL": 1}
    # What was cut short was run again.
    assert stopped.params in [trial.params for trial in study(tmp_path).trials if trial.state.name == "COMPLETE"]


@pytest.mark.long
def test_two_commands_search_together(tmp_path, command):
    search = [*command, "epochs=30", LR, "batch_size=8,16", "hydra.sweeper.n_trials=7"]
    finish_together([start_train(tmp_path, *search) for _ in range(2)])
    found = [trial for trial in study(tmp_path).trials if trial.state.name == "COMPLETE"]
    assert len(found) == 7
    assert len({json.dumps(trial.params) for trial in found}) == 7
    assert len({trial.user_attrs["flowerbench.command"] for trial in found}) == 2
    assert len({run_of(tmp_path, trial).parent for trial in found}) == 2


@pytest.mark.long
def test_trials_are_run_at_once_by_a_launcher(flowerbench, tmp_path, command):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    search = [*command, "epochs=2", "optim=sgd,adamw", LR, "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2"]
    done = flowerbench("train", *search, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert done.returncode == 0, done.stderr
    assert states(tmp_path) == {"COMPLETE": 4}


def epoch(number: int, accuracy: float) -> dict[str, float]:
    return {"epoch": number, "val_accuracy": accuracy}


@pytest.fixture
def trial(tmp_path):
    """A trial in a study whose pruner lets nothing pass, as a run is told of it."""
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    made = optuna.create_study(study_name="mine", storage=url)
    made.set_user_attr("flowerbench.pruner", {"_target_": "optuna.pruners.ThresholdPruner", "lower": 1.1})
    made.ask()
    return Search(storage=url, study="mine", trial=0)


def test_the_last_epoch_is_never_pruned(trial, tmp_path):
    report = reporter(trial, epochs=2)
    report(epoch(2, 0.5))
    with pytest.raises(Pruned, match="pruned after epoch 1 of 2"):
        report(epoch(1, 0.25))
    assert study(tmp_path).trials[0].intermediate_values == {1: 0.25, 2: 0.5}


def test_a_run_goes_on_when_the_search_takes_no_reports(trial, tmp_path, caplog):
    report = reporter(trial, epochs=2)
    study(tmp_path).tell(0, state=optuna.trial.TrialState.FAIL)
    report(epoch(1, 0.25))
    assert "the search does not hear of epoch 1" in caplog.text


def test_a_run_that_cannot_see_its_study_says_so(trial, tmp_path):
    with pytest.raises(UsageError, match="machines that search together need one storage"):
        reporter(Search(storage=f"sqlite:///{tmp_path / 'other.db'}", study="mine", trial=0), epochs=2)


def test_a_run_without_a_search_reports_nowhere(compose_config):
    reporter(compose_config().search, epochs=2)(epoch(1, 0.25))


def space_of(compose_config, *overrides: str):
    return space(OverridesParser.create().parse_overrides(list(overrides)), compose_config())


def test_the_space_is_written_in_hydras_sweep_syntax(compose_config):
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found = space_of(
        compose_config,
        "batch_size=interval(4,64)",
        "epochs=range(5,26,5)",
        "image_size=tag(log,range(16,65))",
        "optim.lr=tag(log,interval(0.001,1))",
        "optim.momentum=interval(0,1)",
        "optim.weight_decay=range(0,0.5,0.1)",
        "+optim.foo=int(interval(1,3))",
        "optim=sgd,adamw",
        "model.weights=null,'a b'",
        "data.augmentation.scale=[0.5,1.0],[0.9,1.0]",
        "seed=3",
    )
    assert found.distributions == {
        "batch_size": IntDistribution(4, 64),
        "epochs": IntDistribution(5, 25, step=5),
        "image_size": IntDistribution(16, 64, log=True),
        "optim.lr": FloatDistribution(0.001, 1, log=True),
        "optim.momentum": FloatDistribution(0, 1),
        "optim.weight_decay": FloatDistribution(0, 0.4, step=0.1),
        "optim.foo": IntDistribution(1, 3),
        "optim": CategoricalDistribution(["sgd", "adamw"]),
        "model.weights": CategoricalDistribution([None, "'a b'"]),
        "data.augmentation.scale": CategoricalDistribution(["[0.5,1.0]", "[0.9,1.0]"]),
    }
    assert found.constant == ["seed=3"]
    written = ["+optim.foo=2", "model.weights=null", "model.weights='a b'", "data.augmentation.scale=[0.9,1.0]"]
    params = [{"optim.foo": 2}, {"model.weights": None}, {"model.weights": "'a b'"}]
    params.append({"data.augmentation.scale": "[0.9,1.0]"})
    assert [found.overrides(one)[0] for one in params] == written


def test_of_two_overrides_the_later_counts_and_every_end_is_tried(compose_config):
    found = space_of(compose_config, "batch_size=1,2", "seed=1", "batch_size=8,16,32", "optim.lr=interval(0.1,0.2)")
    assert sorted(found.ends()) == [
        ["seed=1", "batch_size=16", "optim.lr=0.1"],
        ["seed=1", "batch_size=32", "optim.lr=0.1"],
        ["seed=1", "batch_size=8", "optim.lr=0.1"],
        ["seed=1", "batch_size=8", "optim.lr=0.2"],
    ]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("optim.lr=shuffle(0.1,0.2)", "leave shuffle out"),
        ("optim.lr=tag(fast,interval(0.1,1))", "the only tag is log"),
        ("batch_size=tag(log,choice(8,16))", "the only tag is log"),
        ("optim.lr=tag(log,interval(0,1))", "log=True"),
        ("optim.lr=interval(1,0.1)", "low <= high"),
        ("batch_size=range(1,1)", "the range is empty"),
    ],
)
def test_what_cannot_be_searched_is_refused(compose_config, override, told):
    with pytest.raises(UsageError, match=told) as error:
        space_of(compose_config, override)
    assert override in str(error.value)
    assert "\n" not in str(error.value)


def test_hydra_starts_without_optuna():
    command = (
        "import sys, hydra_plugins.flowerbench.optuna_sweeper as s; assert not {'optuna', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", command], check=True, cwd=Path(__file__).parents[1])
