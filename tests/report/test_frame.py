"""Reading runs: what is known of each, and that none is lost or counted twice."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from flowerbench.errors import UsageError
from flowerbench.identity import flat
from flowerbench.report import frame, keys
from flowerbench.report.record import FACTS
from tests.report.helpers import HEADER, config, half_failed_sweep, paper_sweep, steps, write_plan, write_run


def test_columns_are_config_keys_then_facts(tmp_path: Path):
    runs = frame.load(write_run(tmp_path / "run", config(), steps([90, 92]), total=100)).runs
    assert list(runs.columns) == ["batch_size", "epochs", "seed", "optim.lr", *FACTS]
    run = runs.iloc[0]
    assert (run["batch_size"], run["optim.lr"], run["status"]) == (16, 0.01, "FINISHED")
    assert (run["best_epoch"], run["correct"], run["total"], run["epochs_done"]) == (2, 92, 100, 2)
    assert (run["best_accuracy"], run["last_accuracy"], run["seconds"]) == (0.92, 0.92, 81.25)
    assert run["folder"] == (tmp_path / "run").as_posix()


def test_epochs_are_as_precise_as_on_disk(tmp_path: Path):
    epochs = frame.load(write_run(tmp_path / "run", config(), [(1, 1e-3 / 7, 1 / 3, math.inf, 533)])).epochs
    assert list(epochs.columns) == ["run", *HEADER.split(",")]
    row = epochs.iloc[0]
    assert (row["epoch"], row["lr"], row["train_loss"]) == (1, 1e-3 / 7, 1 / 3)
    assert (row["val_loss"], row["val_accuracy"]) == (math.inf, 533 / 570)


def test_photos_of_training_and_test_are_counted_where_they_are_known(tmp_path: Path):
    write_run(tmp_path / "a", config(), steps([90]), train_total=400, test_correct=41, test_total=50)
    write_run(tmp_path / "b", config(), steps([90]))
    counts = frame.load(tmp_path).runs[["test_correct", "test_total", "train_total"]]
    assert counts.dtypes.astype(str).eq("Int64").all()
    assert counts.loc["a"].tolist() == [41, 50, 400]
    assert counts.loc["b"].isna().all()


def write_predictions(run: Path, *rows: tuple[str, str, str]) -> None:
    lines = [f"{photo},{label},{prediction},0.5,0.5" for photo, label, prediction in rows]
    (run / "val_predictions.csv").write_text("\n".join(["photo,label,prediction,p(1),p(None)", *lines]) + "\n")


def test_predictions_are_the_names_of_classes_whatever_these_are(tmp_path: Path):
    rows = [("1/1.jpg", "1", "None"), ("None/nan", "None", "01"), ("NA/2", "NA", "1.0")]
    write_predictions(write_run(tmp_path / "run", config(), steps([90])), *rows)
    predictions = frame.load(tmp_path).predictions("run")
    assert predictions is not None
    assert list(predictions.columns) == ["photo", "label", "prediction"]
    assert list(predictions.itertuples(index=False, name=None)) == rows


@pytest.mark.parametrize("content", [None, "", "photo,label\na,b\n", 'photo,label,prediction\na,"b,c\n', "\0\0"])
def test_there_are_no_predictions_where_none_can_be_read(
    tmp_path: Path, content: str | None, caplog: pytest.LogCaptureFixture
):
    run = write_run(tmp_path / "run", config(), steps([90]))
    if content is not None:
        (run / "val_predictions.csv").write_text(content)
    assert frame.load(tmp_path).predictions("run") is None
    assert ("val_predictions.csv cannot be read" in caplog.text) == (content is not None)


def test_a_missing_point_has_no_predictions(tmp_path: Path):
    runs = frame.load(write_plan(tmp_path, ["batch_size"], [["batch_size=16"]]))
    assert runs.predictions("batch_size-16") is None


def test_some_of_the_runs_keep_their_epochs_and_predictions(tmp_path: Path):
    for name in ("a", "b", "c"):
        write_predictions(write_run(tmp_path / name, config(), steps([90, 91])), ("x", name, name))
    runs = frame.load(tmp_path)
    for some in (runs.only(["a", "c"]), runs.only(runs.runs.index != "b")):
        assert list(some.runs.index) == ["a", "c"]
        assert list(some.epochs["run"]) == ["a", "a", "c", "c"]
        predictions = some.predictions("c")
        assert predictions is not None
        assert predictions["label"].tolist() == ["c"]


def test_points_come_in_the_order_of_the_plan(tmp_path: Path):
    assert list(frame.load(paper_sweep(tmp_path)).runs.index) == [
        "batch_size-32_epochs-25",
        "batch_size-16_epochs-20",
        "batch_size-16_epochs-25",
    ]


def test_what_a_run_did_before_it_was_killed_comes_from_its_history(tmp_path: Path):
    runs = frame.load(half_failed_sweep(tmp_path))
    run = runs.runs.loc["batch_size-16_epochs-8"]
    assert (run["status"], run["best_epoch"], run["correct"], run["epochs_done"]) == ("RUNNING", 2, 96, 3)
    assert list(runs.epochs[runs.epochs["run"] == run.name]["epoch"]) == [1, 2, 3]


@pytest.mark.parametrize("rest", ["3", "3,0.01,0.5", "3,0.01,0.3,0.5,0.2,0.9,", "3,0.01,0.3,0.5,0.2,0.9,1e-", "\0\0\0"])
def test_a_line_cut_short_is_left_out(tmp_path: Path, rest: str):
    folder = write_run(tmp_path / "run", config(), steps([90, 92]), total=100)
    with (folder / "history.csv").open("a") as file:
        file.write(rest)
    assert list(frame.load(folder).epochs["epoch"]) == [1, 2]


@pytest.mark.parametrize("status", ["RUNNING", "FAILED", "KILLED"])
def test_a_run_without_an_epoch_has_no_accuracy(tmp_path: Path, status: str):
    folder = write_run(tmp_path / "run", config(), status=status, protocol=None, split=None, val_total=None)
    runs = frame.load(folder)
    assert runs.epochs.empty
    assert runs.runs["best_accuracy"].isna().all()
    assert list(runs.runs["epochs_done"]) == [0]


def test_a_missing_point_has_the_keys_of_its_overrides(tmp_path: Path):
    runs = frame.load(half_failed_sweep(tmp_path)).runs
    missing = runs.loc["batch_size-32_epochs-8"]
    assert (missing["status"], missing["batch_size"], missing["epochs"]) == ("MISSING", 32, 8)
    assert keys.is_unset(missing["optim.lr"])
    assert missing["settings"] == "batch_size=32, epochs=8"


def test_a_point_that_ended_before_its_summary_is_missing(tmp_path: Path):
    write_run(tmp_path / "batch_size-16", config())
    (tmp_path / "batch_size-16" / "summary.json").unlink()
    write_plan(tmp_path, ["batch_size"], [["batch_size=16"]])
    runs = frame.load(tmp_path).runs
    assert list(runs["status"]) == ["MISSING"]
    assert runs.iloc[0]["optim.lr"] == 0.01


def test_overrides_are_read_as_hydra_does(tmp_path: Path):
    point = ["batch_size=16", "optim=adamw", "~schedule", "+data.name='a b'", "model.weights=null", "optim.lr=1e-4"]
    runs = frame.load(write_plan(tmp_path, ["optim.lr", "optim"], [point])).runs
    assert list(runs["data.name"]) == ["a b"]
    assert list(runs["model.weights"]) == [None]
    assert list(runs["settings"]) == ["batch_size=16, optim.lr=0.0001, optim=adamw"]


def test_a_lost_history_is_told(tmp_path: Path):
    run = write_run(tmp_path / "a", config(), steps([90, 95]))
    (run / "history.csv").unlink()
    assert frame.load(tmp_path).runs.iloc[0]["reason"] == "its history.csv is missing or broken"


def test_interpolations_are_resolved_where_they_can_be(tmp_path: Path):
    told = config(epochs=9, schedule={"T_max": "${epochs}"})
    assert frame.load(write_run(tmp_path / "a", told)).runs.iloc[0]["schedule.T_max"] == 9
    told["data"] = {"root": "${oc.env:FLOWERBENCH_NO_SUCH_VARIABLE}", "url": "${.root}", "name": "${${choice}.name}"}
    told |= {"choice": "model", "model": {"name": "tiny", "kwargs": {"a": ["${seed}", 1], "b": "${optim}", "c": {}}}}
    run = frame.load(write_run(tmp_path / "b", told)).runs.iloc[0]
    assert (run["epochs"], run["schedule.T_max"], run["data.name"]) == (9, 9, "tiny")
    assert (run["data.root"], run["data.url"]) == ("${oc.env:FLOWERBENCH_NO_SUCH_VARIABLE}", "${.root}")
    assert run["model.kwargs.a"] == [0, 1]
    assert run["model.kwargs.b.lr"] == 0.01
    assert run["model.kwargs.c"] == {}


@pytest.mark.parametrize("overrides", [[], ["experiment=paper"], ["experiment=quickstart", "schedule=cosine"]])
def test_a_config_is_read_as_omegaconf_does(
    tmp_path: Path, compose_config: Callable[..., DictConfig], overrides: list[str]
):
    run = write_run(tmp_path / "run", {}, steps([90]))
    OmegaConf.save(compose_config(*overrides), run / ".hydra" / "config.yaml")
    read = frame.load(run).runs.iloc[0].drop(list(FACTS)).to_dict()
    assert {k: (type(v), v) for k, v in read.items()} == {
        k: (type(v), v) for k, v in flat(compose_config(*overrides)).items()
    }


def test_numbers_are_read_as_on_the_command_line(tmp_path: Path):
    run = write_run(tmp_path / "run", {}, steps([90]))
    text = "optim: {lr: 1e-3, eps: 1.e-8, x: 1_000, on: 'on'}\ndata: {name: 2026-11-24, bytes: 0x10, root: ~}\n"
    (run / ".hydra" / "config.yaml").write_text(text)
    read = frame.load(run).runs.iloc[0].drop(list(FACTS)).tolist()
    assert read == [0.001, 1e-8, 1000, "on", "2026-11-24", 16, None]


def test_a_config_that_was_never_written_is_empty(tmp_path: Path):
    run = write_run(tmp_path / "run", config(), status="KILLED")
    (run / ".hydra" / "config.yaml").write_text("")
    assert frame.load(run).runs.iloc[0]["status"] == "KILLED"


@pytest.mark.parametrize("text", ["- a\n", "a: [1\n", "a: \0\n", "3"])
def test_a_config_that_cannot_be_read_is_named(tmp_path: Path, text: str):
    run = write_run(tmp_path / "run", config())
    (run / ".hydra" / "config.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"config\.yaml (cannot be read|is not what)") as told:
        frame.load(run)
    assert "\n" not in str(told.value)


def test_sources_are_joined_and_no_run_counts_twice(tmp_path: Path):
    one, two = half_failed_sweep(tmp_path / "one"), paper_sweep(tmp_path / "two")
    runs = frame.load(one, two, one / "batch_size-16_epochs-4", tmp_path)
    assert len(runs.runs) == 7
    assert runs.runs.index.is_unique
    assert len(frame.load(tmp_path).runs) == 7


def test_a_copy_of_a_run_that_mlflow_knows_counts_once(tmp_path: Path):
    first = write_run(tmp_path / "first", config(), steps([90]), mlflow_run_id="a" * 32)
    shutil.copytree(first, tmp_path / "second")
    assert len(frame.load(tmp_path).runs) == 1


def test_equal_names_are_told_apart(tmp_path: Path):
    for sweep in ("one", "two"):
        write_run(tmp_path / sweep / "batch_size-16", config(), steps([90]))
        write_plan(tmp_path / sweep, ["batch_size"], [["batch_size=16"]], name=sweep)
    runs = frame.load(tmp_path)
    assert list(runs.runs.index) == ["one/batch_size-16", "two/batch_size-16"]
    assert list(runs.epochs["run"]) == list(runs.runs.index)


def test_artifacts_of_mlflow_are_no_runs_of_their_own(tmp_path: Path):
    write_run(tmp_path / "outputs" / "run", config())
    write_run(tmp_path / "mlruns" / "flowers" / "run", config())
    assert list(frame.load(tmp_path).runs.index) == ["outputs/run"]


def test_jobs_are_in_the_order_of_their_numbers(tmp_path: Path):
    for number in (10, 9, 1):
        write_run(tmp_path / str(number), config(seed=number))
    assert list(frame.load(tmp_path).runs.index) == ["1", "9", "10"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    folder = write_run(tmp_path / "run", config())
    (folder / "summary.json").write_text("{")
    with pytest.raises(UsageError, match=r"summary\.json cannot be read"):
        frame.load(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [("best_val_correct", "x"), ("best_val_correct", 600), ("epochs_done", "many"), ("seconds", "fast"), ("split", 12)],
)
def test_a_summary_that_somebody_has_changed_is_one_line(tmp_path: Path, field: str, value: object):
    write_run(tmp_path / "run", config(), steps([90]), **{field: value})
    with pytest.raises(UsageError, match=rf"summary\.json has a strange {field}: restore it"):
        frame.load(tmp_path)
