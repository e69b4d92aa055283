"""`profile=true`, by the command itself."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pandas as pd
import pytest

SMALL = ["data=folder", "model=tiny", "image_size=32", "batch_size=4", "epochs=2", "tracking=none", "data.workers=0"]
PHASES = ("waiting for photos", "forward", "backward", "optimiser step", "evaluation", "copying the state", "the rest")


@pytest.fixture
def train(flowerbench, photo_folder):
    def run(*arguments: str) -> str:
        done = flowerbench("train", f"data.root={photo_folder}", *SMALL, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stderr

    return run


def cells(table: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line]
    return {row[0]: row[1:] for row in rows}


def without_seconds(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "history.csv", dtype=str).drop(columns="seconds")


@pytest.mark.parametrize(
    "more",
    [
        [],
        pytest.param(["data.workers=1", "min_micro_batch=2"], marks=pytest.mark.long),
        pytest.param(["batch_size=39", "data.stratify=false"], marks=pytest.mark.long),
    ],
)
def test_it_tells_where_the_time_goes_and_changes_no_number(train, tmp_path, more):
    told = train("profile=true", "hydra.run.dir=watched", "reuse=off", *more)
    train("hydra.run.dir=plain", "reuse=off", *more)
    plain, watched = tmp_path / "plain", tmp_path / "watched"
    assert not (plain / "profile").exists()
    assert without_seconds(plain).equals(without_seconds(watched))
    for name in ("best.pt", "last.pt", "val_predictions.csv"):
        assert (plain / name).read_bytes() == (watched / name).read_bytes(), name

    table = (watched / "profile" / "table.md").read_text(encoding="utf-8")
    phases, operators = (cells(part) for part in table.split("The operators"))
    shares = [float(phases[name][1].removesuffix(" %")) for name in (*PHASES, "the profiler itself")]
    assert 99 <= sum(shares) <= 101
    seconds = float(phases["all"][0]) - float(phases["the profiler itself"][0]) - float(phases["copying the state"][0])
    assert seconds <= float(pd.read_csv(watched / "history.csv").seconds[0]) + 0.05
    assert min(float(phases[name][0]) for name in ("forward", "backward")) > 0
    assert "aten::mkldnn_convolution" in operators
    assert re.search(r"beside the training of the next epoch: writing \d+\.\d\d s \(\d+\.\d %\), MLflow 0\.00 s", table)
    assert "| backward " in told, "it is shown as well"

    with gzip.open(watched / "profile" / "trace.json.gz", "rt", encoding="utf-8") as file:
        events = [event for event in json.load(file)["traceEvents"] if event.get("cat") == "user_annotation"]
    count = {name: sum(event["name"] == name for event in events) for name in PHASES}
    if "batch_size=39" in more:  # one step and a photo left over: too few to leave any out
        assert count["evaluation"]
    else:
        assert count["forward"] == count["backward"] == count["optimiser step"] == 8, "ten batches but for two"
        assert count["evaluation"]
    assert (watched / "profile" / "trace.json.gz").stat().st_size < 2_000_000


def test_epochs_that_are_there_leave_nothing_to_profile(train, tmp_path):
    train("hydra.run.dir=one", "cache.dir=cache", "epochs=1")
    told = train("hydra.run.dir=two", "cache.dir=cache", "epochs=1", "profile=true", "on_done=rerun")
    assert "No epoch is left to train, so none is profiled" in told
    assert not (tmp_path / "two" / "profile" / "table.md").exists()
    told = train("hydra.run.dir=three", "cache.dir=cache", "profile=true")
    assert "Where the time of epoch 2 went" in told, "of the first that is trained"
