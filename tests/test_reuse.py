"""Epochs that were trained before are as good as trained afresh: the same files, to the byte."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from flowerbench import engine, guard, identity, summaries, sweep
from flowerbench.train import train

FILES = ("best.pt", "last.pt", "val_predictions.csv")
PLATEAU = "schedule={_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, patience: 0, threshold: 0.5}"
CASES = {
    "batch norm, sgd, step": ["optim.lr=0.05", "schedule.step_size=2"],
    "batch norm and dropout, adamw, constant": [
        *("model=mobilenet_v2", "model.weights=null", "model.kwargs.width_mult=0.1", "optim=adamw"),
        *("schedule=constant", "image_size=32"),
    ],
    "dropout, rmsprop, plateau": [
        *("model.name=squeezenet1_1", "image_size=32", "~optim", "~schedule", f"+{PLATEAU}"),
        "+optim={_target_: torch.optim.RMSprop, lr: 0.001, momentum: 0.5}",
    ],
    "groups and shuffles, adam, exponential": [
        *("model.name=shufflenet_v2_x0_5", "image_size=32", "~optim", "~schedule"),
        "+optim={_target_: torch.optim.Adam, lr: 0.003, amsgrad: true}",
        "+schedule={_target_: torch.optim.lr_scheduler.ExponentialLR, gamma: 0.8}",
    ],
}


@pytest.fixture
def run(compose_config, photo_folder, tmp_path) -> Callable[..., Path]:
    """Train in a folder of that name, as the command does but in this process; returns the folder."""

    def trained(name: str, *overrides: str) -> Path:
        base = ["data=folder", f"data.root={photo_folder}", "model=tiny", "image_size=16", "batch_size=8"]
        more = ["tracking=none", "data.workers=0", f"cache.dir={tmp_path / 'cache'}", "epochs=4"]
        cfg = compose_config(*base, *more, *overrides)
        _, code = guard.guarded(train, cfg, sweep.Run(tmp_path / name, name))
        assert code == 0
        return tmp_path / name

    return trained


@pytest.fixture
def trained_epochs(monkeypatch) -> list[int]:
    """The numbers of the epochs that are really trained."""
    seen: list[int] = []
    fit = engine.fit

    def counting(*args, **kwargs):
        for epoch in fit(*args, **kwargs):
            seen.append(epoch.epoch)
            yield epoch

    monkeypatch.setattr(engine, "fit", counting)
    return seen


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def assert_same(one: Path, other: Path) -> None:
    histories = [pd.read_csv(folder / "history.csv", dtype=str).drop(columns="seconds") for folder in (one, other)]
    assert histories[0].equals(histories[1])
    for name in FILES:
        if name.endswith(".pt"):
            assert_same_state(*(torch.load(folder / name, weights_only=True) for folder in (one, other)))
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    known = [summary(folder) for folder in (one, other)]
    for key in ("status", "best_epoch", "best_val_accuracy", "best_val_correct", "epochs_done", "identity"):
        assert known[0][key] == known[1][key]


def assert_same_state(one: object, other: object) -> None:
    """The same tensors to the bit; says which is not, where bytes of a file do not."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same_state(one[key], other[key])
    else:
        assert one == other


def test_a_checkpoint_is_the_same_however_the_run_is_carried_out(run, tmp_path):
    one = run("one", "reuse=off", "on_error=stop")
    assert_same(one, run("other", "min_micro_batch=2", f"cache.dir={tmp_path / 'elsewhere'}"))


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.long] * (number > 1)) for number, case in enumerate(CASES)]
)
def test_a_run_cut_at_any_epoch_is_the_same_as_one_in_one_go(run, trained_epochs, case):
    whole = run("whole", *CASES[case], "reuse=off")
    assert trained_epochs == [1, 2, 3, 4]
    for cut in (1, 2, 3):
        cache = f"cache.dir=cut{cut}"
        trained_epochs.clear()
        run(f"short{cut}", *CASES[case], f"epochs={cut}", cache_dir(whole, cut))
        long = run(f"long{cut}", *CASES[case], cache_dir(whole, cut))
        assert trained_epochs == [1, 2, 3, 4], cache
        assert_same_but_for_config(whole, long)
        assert (summary(long)["epochs_reused"], summary(long)["reused_from"]) == (cut, summary(long)["trajectory"])


def cache_dir(folder: Path, name: object) -> str:
    return f"cache.dir={folder.parent / f'cache{name}'}"


def assert_same_but_for_config(one: Path, other: Path) -> None:
    """As `assert_same`; where the commands differ, the config in the checkpoints may."""
    assert (one / "val_predictions.csv").read_bytes() == (other / "val_predictions.csv").read_bytes()
    histories = [pd.read_csv(folder / "history.csv", dtype=str).drop(columns="seconds") for folder in (one, other)]
    assert histories[0].equals(histories[1])
    for name in ("best.pt", "last.pt"):
        states = [torch.load(folder / name, weights_only=True) for folder in (one, other)]
        for state in states:
            del state["config"]
        assert_same_state(*states)


def test_files_are_the_same_to_the_byte(run, trained_epochs, tmp_path):
    whole = run("whole")
    (tmp_path / "cache").rename(tmp_path / "aside")
    run("longer", "epochs=6")
    trained_epochs.clear()
    reused = run("reused")
    assert trained_epochs == [], "a shorter run reads from a longer one"
    assert_same(whole, reused)
    assert summary(reused)["epochs_reused"] == 4
    (tmp_path / "cache").rename(tmp_path / "aside2")
    run("shorter", "epochs=2")
    assert_same(whole, run("continued"))


def test_loaders_and_worker_counts_share_a_trajectory(run, trained_epochs):
    run("one", "epochs=2", "data.loader=stream", "data.workers=2")
    run("other", "data.loader=cached", "data.workers=0")
    assert trained_epochs == [1, 2, 3, 4]


@pytest.mark.parametrize("key", ["seed=1", "batch_size=9", "optim.lr=0.3", "precision=bf16", "data.split_seed=1"])
def test_what_changes_the_numbers_is_another_trajectory(run, trained_epochs, key):
    run("one", "epochs=1")
    run("other", "epochs=1", key)
    assert trained_epochs == [1, 1]


def test_a_schedule_with_a_horizon_shares_nothing_between_lengths(run, trained_epochs):
    run("one", "schedule=cosine", "epochs=2")
    run("other", "schedule=cosine", "epochs=3")
    assert trained_epochs == [1, 2, 1, 2, 3]
    trained_epochs.clear()
    run("fixed", "schedule=cosine", "schedule.T_max=3", "epochs=2")
    assert trained_epochs == [], "the horizon counts, not the number of epochs"


def test_the_trajectory_knows_versions_threads_and_engine(run, trained_epochs, monkeypatch):
    run("one", "epochs=1")
    monkeypatch.setattr(engine, "VERSION", engine.VERSION + 1)
    run("other engine", "epochs=1")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        run("other threads", "epochs=1")
    finally:
        torch.set_num_threads(threads)
    assert trained_epochs == [1, 1, 1]


@pytest.mark.parametrize(("mode", "taken", "left"), [("off", [1, 2, 3, 4], 2), ("read", [3, 4], 2), ("on", [3, 4], 4)])
def test_reuse_off_read_and_on(run, trained_epochs, tmp_path, mode, taken, left):
    run("first", "epochs=2")
    trained_epochs.clear()
    run("second", f"reuse={mode}")
    assert trained_epochs == taken
    assert len(list((tmp_path / "cache").glob("*/[0-9]*.npz"))) == left


def interrupted(run, monkeypatch, name: str, after: int, *overrides: str) -> None:
    """A run that a signal ends when so many epochs are trained."""
    fit = engine.fit

    def stopping(*args, **kwargs):
        for epoch in fit(*args, **kwargs):
            yield epoch
            if epoch.epoch == after:
                raise KeyboardInterrupt(15)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "fit", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(name, *overrides)


@pytest.mark.parametrize("reuse", ["on", "off"])
def test_an_interrupted_run_goes_on_in_its_folder(run, trained_epochs, monkeypatch, reuse):
    whole = run("whole", "reuse=off")
    for cut in (1, 2, 3):
        trained_epochs.clear()
        interrupted(run, monkeypatch, f"cut{cut}", cut, f"reuse={reuse}", cache_dir(whole, f"cut{cut}"))
        assert summary(whole.parent / f"cut{cut}")["status"] == "KILLED"
        cut_run = run(f"cut{cut}", f"reuse={reuse}", cache_dir(whole, f"cut{cut}"))
        assert trained_epochs == [1, 2, 3, 4]
        assert_same_but_for_config(whole, cut_run)
        assert (summary(cut_run)["epochs_resumed"], summary(cut_run)["epochs_reused"]) == (cut, 0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: (run / "history.csv").write_text((run / "history.csv").read_text().rsplit("\n", 2)[0] + "\n"),
        lambda run: (run / "history.csv").open("a").write("3,0.05,1.2"),
        lambda run: summaries.write(run, summary(run) | {"status": "RUNNING", "epochs_done": 1, "best_epoch": 1}),
        lambda run: (run / "last.pt").unlink(),
        lambda run: (run / "last.pt").write_bytes(b"half"),
        lambda run: (run / "history.csv").unlink(),
        lambda run: (run / "best.pt").write_bytes(b"half"),
        lambda run: (run / "summary.json").write_text(""),
    ],
    ids=[
        *("line not written", "line cut", "summary behind", "no last.pt", "last.pt broken", "no history"),
        *("best.pt broken", "summary empty"),
    ],
)
def test_whatever_a_crash_left_the_result_is_the_same(run, monkeypatch, damage):
    whole = run("whole", "reuse=off")
    interrupted(run, monkeypatch, "cut", 2, "reuse=off")
    damage(whole.parent / "cut")
    assert_same_but_for_config(whole, run("cut", "reuse=off"))


def test_a_finished_run_is_not_trained_again_and_not_touched(run, trained_epochs, tmp_path):
    done = run("one")
    before = {path: path.read_bytes() for path in done.iterdir()}
    trained_epochs.clear()
    run("one")
    assert trained_epochs == []
    assert {path: path.read_bytes() for path in done.iterdir()} == before


def test_a_folder_of_other_settings_is_refused(run, compose_config, tmp_path):
    run("one")
    with pytest.raises(AssertionError):
        run("one", "seed=1")
    assert summary(tmp_path / "one")["status"] == "FINISHED"


def test_a_disk_that_is_full_ends_the_keeping_and_not_the_run(run, tmp_path, monkeypatch, caplog):
    from flowerbench import trajectory

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trajectory.Trajectory, "_write_epoch", full)
    folder = run("one")
    assert summary(folder)["status"] == "FINISHED"
    assert sum("No space left" in record.getMessage() for record in caplog.records) == 1


def test_identity_and_trajectory_differ_in_epochs_alone(compose_config):
    short, long = compose_config("epochs=20"), compose_config("epochs=25")
    assert identity.identity(short, {}) != identity.identity(long, {})
    assert identity.trajectory(short, {}) == identity.trajectory(long, {})
    pairs = itertools.combinations(["schedule=cosine", "schedule=step", "schedule=constant"], 2)
    assert all(
        identity.trajectory(compose_config(a), {}) != identity.trajectory(compose_config(b), {}) for a, b in pairs
    )
