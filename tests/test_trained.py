"""A run found by what a user calls it, and loaded as validation used it."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from flowerbench import checkpoint, mlflow_store, model, provenance, trained
from flowerbench.config import Data, Model
from flowerbench.data import sources, split
from flowerbench.data.batches import Batches
from flowerbench.errors import UsageError
from tests.report.helpers import config, steps, write_plan, write_run


def sweep_of(folder: Path, *correct: int, **summary: Any) -> Path:
    for number, right in enumerate(correct):
        write_run(folder / f"seed-{number}", config(), steps([right]), **summary)
    return write_plan(folder, ["seed"], [[f"seed={number}"] for number in range(len(correct))])


def test_a_run_is_found_by_its_folder(trained_run: Path):
    assert trained.find(str(trained_run)) == trained_run


def test_a_sweep_is_its_best_finished_run_and_the_first_of_equals(tmp_path: Path):
    sweep = sweep_of(tmp_path / "sweep", 500, 510, 510)
    write_run(sweep / "failed", config(), steps([560]), status="FAILED")
    assert trained.find(str(sweep)) == sweep / "seed-1"


def test_a_sweep_has_no_best_where_nothing_can_be_compared(tmp_path: Path):
    write_run(sweep_of(tmp_path / "sweep", 500) / "other", config(), steps([510]), protocol="augmented")
    with pytest.raises(UsageError, match="different photos or by different protocols"):
        trained.find(str(tmp_path / "sweep"))
    sweep_of(tmp_path / "running", 500, status="RUNNING")
    with pytest.raises(UsageError, match=r"no run of the sweep .* has finished"):
        trained.find(str(tmp_path / "running"))


def test_what_is_no_run_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "best.pt").touch()
    for run, message in (
        ("empty", "empty is no run and no sweep"),
        ("best.pt", "best.pt is a file: name the run's folder"),
        ("gone", "gone is no folder, and there is no MLflow store at sqlite:///mlflow.db"),
    ):
        with pytest.raises(UsageError, match=re.escape(message)):
            trained.find(run)
    assert not (tmp_path / "mlflow.db").exists()


def test_a_folder_without_a_usable_checkpoint_is_said_in_one_line(tmp_path: Path, trained_run: Path):
    with pytest.raises(UsageError, match="is no run folder"):
        trained.load(tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps({"status": "RUNNING"}))
    with pytest.raises(UsageError, match=r"has no best\.pt \(its status is RUNNING\)"):
        trained.load(tmp_path)
    (tmp_path / "best.pt").write_bytes((trained_run / "best.pt").read_bytes()[:1000])
    with pytest.raises(UsageError, match="is broken"):
        trained.load(tmp_path)
    torch.save({"model": {}}, tmp_path / "best.pt")
    with pytest.raises(UsageError, match=r"cannot be used .*another version"):
        trained.load(tmp_path)


def test_a_loaded_run_gives_the_probabilities_of_its_validation(trained_run: Path, photo_folder: Path):
    run = trained.load(trained_run, "cpu")
    assert run.classes == ("ash", "beech", "cedar")
    assert not run.network.training
    with (trained_run / "val_predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    photos = [run.square(sources.images.read_rgb(photo_folder / row["photo"])) for row in rows]
    expected = [[float(row[f"p({name})"]) for name in run.classes] for row in rows]
    found = run.probabilities(run.normalised(photos))
    assert found.numpy() == pytest.approx(np.array(expected), abs=1e-6)
    assert np.ptp(expected, axis=0).min() > 0.01, "photos are told apart"


def test_photos_are_prepared_as_for_clean_validation_to_the_bit(trained_run: Path, compose_config: Callable[..., Any]):
    run = trained.load(trained_run, "cpu")
    cfg = compose_config("data=folder", f"data.root={run.config['data.root']}", "data.loader=stream", "data.workers=0")
    photos = sources.load(cfg.data)
    parts = split.split(photos, cfg.data)
    made = Batches(photos, cfg.data, image_size=32, batch_size=8, eval_batch_size=16, seed=0)
    images = torch.cat([images for images, _ in made.val(1, parts.val)])
    found = run.normalised([run.square(photos.read(index)) for index in parts.val])
    assert torch.equal(found, images)


def test_the_groups_of_a_flat_config_are_typed(trained_run: Path):
    run = trained.load(trained_run, "cpu")
    data = trained.group(run.config, "data", Data)
    assert (data.val_fraction, data.synthetic, list(data.augmentation.scale)) == (0.2, None, [0.08, 1.0])


@pytest.mark.long
def test_a_model_that_began_with_weights_scales_its_input_as_then(tmp_path: Path, trained_run: Path):
    """Googlenet and Inception transform their input when they are built with weights, and here they are not."""
    state = checkpoint.load(trained_run / "best.pt")
    for weights in (None, "imagenet"):
        network = model.build(Model("googlenet", None, {}), 3, 32)
        state["config"] |= {"model.name": "googlenet", "model.weights": weights}
        torch.save(state | {"model": network.state_dict()}, tmp_path / "best.pt")
        assert trained.load(tmp_path, "cpu").network.transform_input == (weights is not None)


@pytest.mark.long
def test_a_run_is_found_by_what_mlflow_calls_it(
    flowerbench: Callable[..., Any],
    tmp_path: Path,
    photo_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    quick = ["data=folder", f"data.root={photo_folder}", "model=tiny", "image_size=32", "batch_size=8", "epochs=1"]
    uri = f"sqlite:///{tmp_path.as_posix()}/mlflow.db"
    command = ["--multirun", *quick, "seed=1,2", f"tracking.uri={uri}", "hydra.sweep.dir=here/mine"]
    done = flowerbench("train", *command)
    assert done.returncode == 0, done.stderr
    home = tmp_path / "here" / "mine"
    run_id = json.loads((home / "seed-2" / "mlflow.json").read_text())["run_id"]
    monkeypatch.chdir(tmp_path)
    for name in (run_id, "seed=2", "seed-2"):
        assert trained.find(name, uri) == home / "seed-2"
    assert trained.find("mine", uri) in (home / "seed-1", home / "seed-2"), "the sweep's best"

    with pytest.raises(UsageError, match="no run in MLflow"):
        trained.find("seed=3", uri)
    (tmp_path / "outputs").mkdir()
    home.rename(tmp_path / "outputs" / "mine")
    assert trained.find(run_id, uri).resolve() == tmp_path / "outputs" / "mine" / "seed-2", "moved"
    (tmp_path / "outputs").rename(tmp_path / "away")
    with pytest.raises(UsageError, match=r"seed-2 is not on this machine, and MLflow has no best\.pt"):
        trained.find(run_id, uri)
    mlflow_store.client(uri).log_artifact(run_id, str(tmp_path / "away" / "mine" / "seed-2" / "best.pt"))
    fetched = trained.find("seed=2", uri)
    assert (fetched / "best.pt").read_bytes() == (tmp_path / "away" / "mine" / "seed-2" / "best.pt").read_bytes()
    assert provenance.kept_params(trained.load(fetched, "cpu").config)["seed"] == 2
    shutil.rmtree(fetched)
