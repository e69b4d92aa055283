"""The test photos, by the command itself: seen once, after the last epoch; the result is there whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.conftest import write_photos

QUICK = ["model=tiny", "image_size=32", "batch_size=8", "epochs=3", "optim.lr=0.05", "data.workers=0"]


@pytest.fixture
def holdout(photo_folder):
    return [*QUICK, "data=folder", f"data.root={photo_folder}", "data/protocol=holdout", "hydra.run.dir=run"]


def summary(run: Path) -> dict:
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))


def result(run: Path) -> dict:
    return {key: value for key, value in summary(run).items() if key.startswith("test_")}


def right(run: Path, part: str) -> tuple[int, int]:
    answers = pd.read_csv(run / f"{part}_predictions.csv")
    return int((answers.label == answers.prediction).sum()), len(answers)


# Ends the process hard the first time that something is called after the last epoch.
KILLED = """
import os, pathlib
from flowerbench.{module} import {owner}
before = {owner}.{name}
def once(*args, **more):
    if not ({when}) or pathlib.Path("killed").exists():
        return before(*args, **more)
    pathlib.Path("killed").touch()
    os._exit(9)
{owner}.{name} = once
"""
MOMENTS = {
    "before the test": ("tracker", "Tracker", "finish", "True"),
    "before it is written": ("store", "RunFolder", "tested", "True"),
    "between predictions and summary": ("store", "RunFolder", "know", "'test_correct' in more"),
    "before MLflow is told": ("tracker", "Tracker", "test", "True"),
}


@pytest.mark.long
def test_the_best_epoch_is_judged_on_the_test_photos_and_everybody_is_told(flowerbench, tmp_path, holdout):
    done = flowerbench("train", *holdout)
    assert done.returncode == 0, done.stderr
    assert "30 train, 11 validation, 9 test (holdout)" in done.stderr
    run = tmp_path / "run"
    ended = summary(run)
    assert (ended["protocol"], ended["train_total"], ended["val_total"], ended["test_total"]) == ("holdout", 30, 11, 9)
    assert right(run, "test") == (ended["test_correct"], 9)
    assert right(run, "val") == (ended["best_val_correct"], 11)
    assert ended["test_accuracy"] == ended["test_correct"] / 9
    assert f"test accuracy {ended['test_accuracy']:.4f} ({ended['test_correct']} of 9 photos)" in done.stderr
    photos = [set(pd.read_csv(run / f"{part}_predictions.csv").photo) for part in ("val", "test")]
    assert not photos[0] & photos[1]

    # The model of the best epoch, by a way of its own.
    from flowerbench.data import sources, split
    from flowerbench.data.batches import Batches
    from flowerbench.model import build

    cfg, best = _config(run), torch.load(run / "best.pt", weights_only=True)
    assert best["epoch"] == ended["best_epoch"]
    loaded = sources.load(cfg.data)
    network = build(cfg.model, 3, 32)
    network.load_state_dict(best["model"])
    network.eval()
    parts = split.split(loaded, cfg.data)
    assert set(parts.test).isdisjoint({*parts.train, *parts.val})
    batches = Batches(loaded, cfg.data, image_size=32, batch_size=8, eval_batch_size=16, seed=0)
    with torch.no_grad():
        (images, labels), *_ = batches.val(1, parts.test)
        logits = network(images)
    assert ended["test_correct"] == int((logits.argmax(1) == labels).sum())
    assert ended["test_loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), rel=1e-5)

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (logged,) = client.search_runs([client.get_experiment_by_name("flowerbench").experiment_id])
    told = {key.removeprefix("test/"): value for key, value in logged.data.metrics.items() if key.startswith("test/")}
    assert told == {key.removeprefix("test_"): value for key, value in result(run).items()}
    assert "test_predictions.csv" in {file.path for file in client.list_artifacts(logged.info.run_id)}
    assert f"On the test photos it has {ended['test_accuracy']:.4f}" in logged.data.tags["mlflow.note.content"]
    datasets = {given.dataset.name for given in logged.inputs.dataset_inputs}
    assert datasets == {"folder/train", "folder/val", "folder/test"}


def _config(run: Path):
    from omegaconf import OmegaConf

    return OmegaConf.load(run / ".hydra" / "config.yaml")


@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="a hard end of POSIX")
def test_killed_after_the_last_epoch_it_goes_on_to_the_same_result(flowerbench, tmp_path, holdout):
    whole = tmp_path / "run"
    command = ["train", *holdout, "tracking=none", "reuse=off"]
    assert flowerbench(*command).returncode == 0
    for moment in MOMENTS:
        (tmp_path / moment).mkdir()
        check_killed(flowerbench, tmp_path / moment, command, whole, *MOMENTS[moment])


def check_killed(flowerbench, folder, command, whole, module, owner, name, when):
    run = folder / "run"
    (folder / "sitecustomize.py").write_text(KILLED.format(module=module, owner=owner, name=name, when=when))
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(folder)])
    assert flowerbench(*command, cwd=folder, PYTHONPATH=path).returncode == 9
    assert (folder / "killed").exists()
    assert (summary(run)["status"], summary(run)["epochs_done"]) == ("RUNNING", 3)
    assert result(run) == (result(whole) if name == "test" else {}), "whole, or not at all"
    assert flowerbench(*command, cwd=folder, PYTHONPATH=path).returncode == 0
    assert (summary(run)["status"], summary(run)["epochs_resumed"]) == ("FINISHED", 3)
    assert result(run) == result(whole) != {}
    for file in ("test_predictions.csv", "val_predictions.csv"):
        assert (run / file).read_bytes() == (whole / file).read_bytes()


@pytest.mark.long
def test_a_longer_run_takes_the_epochs_and_has_a_test_of_its_own(flowerbench, tmp_path, holdout):
    once = [*holdout, "tracking=none", "cache.dir=cache"]
    assert flowerbench("train", *once).returncode == 0
    assert flowerbench("train", *once, "epochs=5", "hydra.run.dir=longer").returncode == 0
    assert flowerbench("train", *once, "epochs=5", "hydra.run.dir=anew", "reuse=off").returncode == 0
    longer, anew = tmp_path / "longer", tmp_path / "anew"
    assert (summary(longer)["epochs_reused"], summary(anew)["epochs_reused"]) == (3, 0)
    assert result(longer) == result(anew) != {}
    assert (longer / "test_predictions.csv").read_bytes() == (anew / "test_predictions.csv").read_bytes()


@pytest.mark.long
def test_a_folder_of_its_own_test_photos_is_the_test(flowerbench, tmp_path):
    for part, count in (("train", 12), ("val", 5), ("test", 4)):
        write_photos(tmp_path / "photos" / part, {"ash": count, "beech": count}, seed=count)
    command = ["train", *QUICK, "data=folder", "data.root=photos", "tracking=none"]
    done = flowerbench(*command, "data/protocol=holdout", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    told = pd.read_csv(tmp_path / "run" / "test_predictions.csv")
    assert {photo.split("/")[0] for photo in told.photo} == {"test"}
    assert (len(told), summary(tmp_path / "run")["val_total"]) == (8, 10)
    assert flowerbench(*command, "hydra.run.dir=clean").returncode == 0
    assert result(tmp_path / "clean") == {}, "left alone by other protocols"
    shutil.rmtree(tmp_path / "photos" / "test")
    refused = flowerbench(*command, "data/protocol=holdout", "hydra.run.dir=none")
    assert (refused.returncode, "but no test/" in refused.stderr) == (2, True)


@pytest.mark.long
def test_a_search_does_not_see_the_test_photos(flowerbench, tmp_path, holdout):
    pytest.importorskip("optuna")
    swept = [word for word in holdout if not word.startswith("hydra.run")]
    found = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "optim.lr=interval(0.01,0.1)", "tracking=none"]
    done = flowerbench("train", "--multirun", *swept, *found, "hydra.sweep.dir=search")
    assert done.returncode == 0, done.stderr
    runs = [file.parent for file in (tmp_path / "search").glob("*/summary.json")]
    assert len(runs) == 2
    assert all(summary(run)["status"] == "FINISHED" and not result(run) for run in runs)
    assert not list((tmp_path / "search").rglob("test_predictions.csv"))


@pytest.mark.long
def test_a_cross_validation_is_one_row(flowerbench, tmp_path, photo_folder):
    command = ["train", "--multirun", *QUICK, "data=folder", f"data.root={photo_folder}", "data/protocol=kfold"]
    done = flowerbench(*command, "epochs=1", "data.folds=3", "tracking=none", "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    runs = sorted((tmp_path / "sweep").glob("data.fold-*"))
    assert [run.name for run in runs] == ["data.fold-0", "data.fold-1", "data.fold-2"]
    photos = [photo for run in runs for photo in pd.read_csv(run / "val_predictions.csv").photo]
    assert (len(photos), len(set(photos))) == (50, 50), "each is validated in exactly one fold"
    assert {summary(run)["protocol"] for run in runs} == {"3-fold"}
    accuracies = pd.Series([summary(run)["best_val_accuracy"] for run in runs])
    (row,) = [line for line in done.stdout.splitlines() if "(n=3)" in line]
    assert f"{accuracies.mean():.4f} ± {accuracies.std():.4f} (n=3)" in row
