"""Each experiment: its kept sweep is what its file asks for, and the tables in the page are those of the sweep."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from flowerbench import identity, report
from flowerbench.report import frame

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
# What the page says of each: the command, and the settings and seeds that its sweep must hold.
KEPT = {
    "batch_by_epochs": 4 * 3,
    "schedules": 4 * 3,
    "validation_augmented": 2 * 3,
    "transfer_depth": 6 * 3,
    "scratch": 4 * 3,
    "precision": 2 * 3,
    "best": 2 * 5,
}
# An overlay of many keys is one setting.
GROUPED = {"best": ["experiment"]}
# Those of other photos, models and sizes.
DROPPED = ("model.", "data.root", "repeats", "tracking", "hydra.sweeper.n_trials")
TINY = [
    "data=folder",
    "data.root=photos",
    "model=tiny",
    "image_size=16",
    "epochs=1",
    "repeats=1",
    "tracking=none",
    "data.workers=0",
]


def kept(name: str) -> frame.Runs:
    return frame.load(ROOT / "multirun" / name)


@pytest.mark.parametrize("name", KEPT)
def test_the_table_is_that_of_the_kept_sweep(name):
    runs = kept(name)
    assert len(runs.runs) == KEPT[name]
    assert set(runs.runs["status"]) == {"FINISHED"}
    assert report.summary(runs, GROUPED.get(name)) in PAGE


@pytest.mark.parametrize("name", KEPT)
def test_the_kept_sweep_is_what_its_file_asks_for(name, compose_config):
    """Each run's overrides, composed today, give the config that it was trained with, but for keys added since."""
    for folder in (ROOT / "multirun" / name).iterdir():
        if folder.is_dir():
            overrides = yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
            was = identity.flat(OmegaConf.load(folder / ".hydra" / "config.yaml"))
            now = identity.flat(compose_config(*overrides))
            assert {key: now.get(key) for key in was if key != "repeats"} == {
                key: value for key, value in was.items() if key != "repeats"
            }


def test_the_best_recipe_is_the_best_trial_of_the_kept_search(compose_config):
    trials = kept("search").runs
    assert (len(trials), (trials["status"] == "PRUNED").sum()) == (14, 7)
    best = trials.loc[trials["best_accuracy"].idxmax()]
    asked = identity.flat(compose_config("experiment=best", "data/protocol=holdout"))
    assert asked["optim.lr"] == pytest.approx(best["optim.lr"], rel=0.01), "rounded"
    searched = yaml.safe_load((ROOT / "multirun" / "search" / "sweep.json").read_text(encoding="utf-8"))["varying"]
    keys = {"optim._target_", "schedule._target_", *searched} - {"optim", "schedule", "optim.lr"}
    assert len(keys) == 7
    assert {key: asked[key] for key in keys} == {key: best[key] for key in keys}


@pytest.mark.parametrize("name", [*KEPT, "search"])
def test_the_kept_sweep_holds_no_path_of_a_machine_and_no_model(name):
    for file in (ROOT / "multirun" / name).rglob("*"):
        assert file.suffix not in (".pt", ".ckpt", ".onnx"), file
        if file.is_file():
            assert not re.search(r"(?<![.\w])/(tmp|home|work|root|Users)/", file.read_text(encoding="utf-8")), file


@pytest.mark.parametrize("file", sorted((ROOT / "conf" / "experiment").glob("*.yaml")), ids=lambda file: file.stem)
def test_an_experiment_says_what_it_asks(file):
    first = file.read_text(encoding="utf-8").splitlines()[1]
    assert first.startswith("# ")
    if file.stem in KEPT and file.stem != "best":
        assert "?" in first
        assert f"--multirun experiment={file.stem}" in PAGE


def commands() -> list[str]:
    text = PAGE.replace("\\\n", " ")
    blocks = re.findall(r"<!-- run by tests/test_experiments.py -->\n```bash\n(.*?)```", text, re.DOTALL)
    return [" ".join(line.split()) for block in blocks for line in block.splitlines() if "flowerbench.train" in line]


def test_the_page_has_the_command_of_every_experiment():
    assert len(commands()) == len(KEPT) + 1, "and that of the search"


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "command", commands(), ids=lambda command: re.findall(r"(?:hydra.sweep.dir=multirun/)(\w+)", command)[0]
)
def test_its_command_runs(flowerbench, photo_folder, tmp_path, command):
    """On a few small photos, one epoch, one seed, and a tiny model: all points that the sweep has are trained."""
    (tmp_path / "photos").symlink_to(photo_folder)
    words = [word for word in shlex.split(command)[3:] if not word.lstrip("+").startswith(DROPPED)]
    name = next(word.rpartition("/")[2] for word in words if word.startswith("hydra.sweep.dir="))
    more = list(TINY)
    if name == "transfer_depth":
        more.append("model.freeze=null,1,backbone")
    if name in ("batch_by_epochs", "scratch"):
        more = [word for word in more if not word.startswith("epochs")] + ["epochs=1,2"]
    if name == "search":
        more.append("hydra.sweeper.n_trials=2")
    done = flowerbench("train", *words, *more)
    assert done.returncode == 0, done.stderr
    summary = yaml.safe_load((tmp_path / "multirun" / name / "sweep.json").read_text(encoding="utf-8"))
    assert summary
