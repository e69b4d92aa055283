"""The command as a user types it, and runs that only MLflow has."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flowerbench import mlflow_store, provenance
from flowerbench.errors import UsageError
from flowerbench.report import __main__ as command
from flowerbench.report import frame, from_mlflow
from tests.report.helpers import cells, config, half_failed_sweep, paper_sweep, steps, write_plan, write_run

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_gives_its_report(flowerbench: Command, tmp_path: Path):
    half_failed_sweep(tmp_path / "sweep")
    done = flowerbench("report", "sweep", PYTHONIOENCODING="ascii")
    golden = Path(__file__).parent / "golden" / "half_failed.md"
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == golden.read_text(encoding="utf-8")


def test_help_needs_no_heavy_library():
    code = (
        "import sys, flowerbench.report.__main__ as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'pandas', 'mlflow', 'torch', 'hydra'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert "--tracking-uri" in done.stdout


def test_the_newest_sweep_is_the_default(here: Path, capsys: pytest.CaptureFixture[str]):
    for age, name in enumerate(("new", "old")):
        write_run(here / "multirun" / name / "batch_size-16", config(), steps([90]))
        plan = write_plan(here / "multirun" / name, ["batch_size"], [["batch_size=16"]], name=name) / "sweep.json"
        os.utime(plan, (1e9 - age, 1e9 - age))
    write_run(here / "outputs" / "day" / "time", config(), steps([91]))
    command.main([])
    assert "| multirun/new/batch_size-16 " in capsys.readouterr().out


def test_without_a_sweep_the_newest_run_is_the_default(here: Path, capsys: pytest.CaptureFixture[str]):
    for age, name in enumerate(("new", "old")):
        folder = write_run(here / "outputs" / "day" / name, config(), steps([90]))
        os.utime(folder / "summary.json", (1e9 - age, 1e9 - age))
    command.main([])
    assert capsys.readouterr().out.startswith("# Run day/new\n")


def test_the_report_can_be_written_to_a_file(here: Path, capsys: pytest.CaptureFixture[str]):
    paper_sweep(here / "paper")
    command.main(["paper", "--out", "report.md"])
    assert capsys.readouterr().out == ""
    golden = Path(__file__).parent / "golden" / "paper.md"
    assert (here / "report.md").read_text(encoding="utf-8") == golden.read_text(encoding="utf-8")
    assert sorted(path.name for path in here.iterdir()) == ["paper", "report.md"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no sweep under multirun and no run under outputs: run `python -m flowerbench.train`"),
        (["nowhere"], "nowhere is no folder here, and there is no store sqlite:///mlflow.db"),
        (["empty"], "empty holds no run, and there is no store"),
        (["x", "--tracking-uri", "sqlite:///a/b.db"], "there is no store sqlite:///a/b.db"),
        (["x", "--tracking-uri", "nonsense"], "--tracking-uri nonsense is no store"),
        (["sweep", "--rows", "optim.lrr"], "no run has the key optim.lrr: the keys are batch_size, epochs"),
        (["sweep", "--out", "no/such/folder.md"], "cannot be written: No such file or directory"),
        (["sweep", "--outt", "x"], "unrecognized arguments: --outt"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
):
    (here / "empty").mkdir()
    half_failed_sweep(here / "sweep")
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    shown = capsys.readouterr()
    assert (end.value.code, shown.out, shown.err.count("\n")) == (2, "", 1)
    assert words in shown.err
    assert sorted(path.name for path in here.iterdir()) == ["empty", "sweep"]


def test_a_mistake_ends_the_command_with_code_2(flowerbench: Command):
    done = flowerbench("report")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """A store with a sweep of three points, of which two began: its address, and the ids of what it holds."""
    from mlflow.entities import Metric, Param

    uri = f"sqlite:///{(tmp_path_factory.mktemp('store') / 'mlflow.db').as_posix()}"
    client = mlflow_store.client(uri)
    artifacts = tmp_path_factory.mktemp("artifacts and a space").as_uri()
    ids = {"experiment": client.create_experiment("flowers", artifact_location=artifacts)}
    about = {"flowerbench.sweep": "today", "flowerbench.protocol": "clean", "flowerbench.split": "39ae2c04"}
    parent = {"flowerbench.kind": "sweep", "flowerbench.sweep": "today", "flowerbench.points": "3"}
    ids["sweep"] = client.create_run(ids["experiment"], tags=parent, run_name="today").info.run_id
    for batch, correct in ((16, (90, 92)), (32, (91,))):
        name = f"batch_size-{batch}"
        tags = about | {"mlflow.parentRunId": ids["sweep"], "flowerbench.name": name}
        run = client.create_run(ids["experiment"], tags=tags, start_time=batch).info.run_id
        ids[name] = run
        told = {"batch_size": batch, "epochs": 2, "optim.lr": 1e-05, "model.weights": None, "data.mean": [0.5, 0.5]}
        metrics = []
        for epoch, right in enumerate(correct, 1):
            numbers = {"lr": 1e-5, "train/loss": 1 / epoch, "train/accuracy": 0.5, "val/loss": 0.25, "seconds": 2.0}
            numbers["val/accuracy"] = right / 100
            metrics += [Metric(key, value, 0, epoch) for key, value in numbers.items()]
        client.log_batch(run, metrics, [Param(key, str(value)) for key, value in told.items()])
    best = {"best/val_accuracy": 0.92, "best/epoch": 2, "best/val_correct": 92, "val_total": 100}
    best |= {"test/correct": 40, "test/total": 50}
    client.log_batch(ids["batch_size-16"], [Metric(key, value, 0, 2) for key, value in best.items()])
    for tag in provenance.tags({"train_total": 400, "versions": {}}).items():
        client.set_tag(ids["batch_size-16"], *tag)
    client.log_text(ids["batch_size-16"], "photo,label,prediction,p(a)\n1.jpg,a,None,0.5\n", "val_predictions.csv")
    client.set_terminated(ids["batch_size-16"])
    client.set_tag(ids["batch_size-32"], "flowerbench.status_reason", "no memory")
    client.set_terminated(ids["batch_size-32"], "FAILED")
    return uri, ids


def test_a_sweep_comes_back_from_mlflow(
    store: tuple[str, dict[str, str]], here: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    uri, _ = store
    command.main(["flowers", "--tracking-uri", uri])
    text = capsys.readouterr().out
    assert text.startswith("# Sweep today\n\n2 runs: 1 FINISHED, 1 FAILED.\n")
    shown = cells(text.split("## Settings")[1].split("##")[0])[1:]
    assert [[row[0], row[1], row[3], row[4], row[-1]] for row in shown] == [
        ["batch_size=16, epochs=2", "0.9200", "2", "92/100", "FINISHED"],
        ["batch_size=32, epochs=2", "–", "–", "–", "FAILED: no memory (1 of 2 epochs)"],
    ]
    assert cells(text.split("### batch_size=16, epochs=2")[1].split("##")[0])[1:] == [
        ["1", "0.000010", "1.0000", "0.2500", "0.9000"],
        ["2", "0.000010", "0.5000", "0.2500", "**0.9200**"],
    ]
    assert "MLflow has 2 of the 3 points of sweep today" in caplog.text
    assert list(here.iterdir()) == []


def test_mlflow_knows_a_source_by_several_names(store: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch):
    uri, ids = store
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    both = ["batch_size-16", "batch_size-32"]
    for source in ("flowers", ids["experiment"], ids["sweep"], "today"):
        assert sorted(frame.load(source).runs.index) == both
    runs = frame.load(ids["batch_size-16"], ids["batch_size-32"], "today").runs
    assert sorted(runs.index) == both
    run = runs.loc["batch_size-16"]
    assert (run["optim.lr"], run["model.weights"], run["data.mean"]) == (1e-5, None, [0.5, 0.5])
    assert run[["train_total", "test_correct", "test_total"]].tolist() == [400, 40, 50]
    assert runs.loc["batch_size-32", ["train_total", "test_correct", "test_total"]].isna().all()
    for source in ("roses", "7", "f" * 32, 'a"b'):
        with pytest.raises(UsageError, match="has no run under this name"):
            frame.load(source)


def test_predictions_come_from_the_artifacts(store: tuple[str, dict[str, str]]):
    runs = frame.load("today", tracking_uri=store[0])
    predictions = runs.predictions("batch_size-16")
    assert predictions is not None
    assert predictions.to_dict("list") == {"photo": ["1.jpg"], "label": ["a"], "prediction": ["None"]}
    assert runs.predictions("batch_size-32") is None


@pytest.mark.parametrize(("given", "meant", "left"), [(None, "30", "5"), ("5", "30", "5"), ("2", "2", "2")])
def test_a_report_waits_longer_for_a_server_than_training_does(
    monkeypatch: pytest.MonkeyPatch, given: str | None, meant: str, left: str
):
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    monkeypatch.setenv(name, given or "")
    if given is None:
        monkeypatch.delenv(name)
    seen = []

    def client(uri: str) -> None:
        seen.append(os.environ[name])
        raise OSError("away")

    monkeypatch.setattr(mlflow_store, "client", client)
    with pytest.raises(UsageError, match="away"):
        frame.load("flowers", tracking_uri="http://127.0.0.1:9")
    assert (seen, os.environ[name]) == ([meant], left)


def test_more_runs_than_a_page_holds():
    class Page(list[int]):
        token = ""

    def search(*, max_results: int, page_token: str | None) -> Page:
        first = int(page_token or 0)
        page = Page(range(first, min(first + max_results, 2500)))
        page.token = str(first + max_results) if first + max_results < 2500 else ""
        return page

    assert list(from_mlflow._all_pages(search)) == list(range(2500))


def test_a_run_in_a_folder_and_in_mlflow_counts_once(store: tuple[str, dict[str, str]], tmp_path: Path):
    uri, ids = store
    name = "batch_size-16"
    write_run(tmp_path / name, config(16, 2), steps([90, 92]), total=100, mlflow_run_id=ids[name])
    runs = frame.load(tmp_path, "today", tracking_uri=uri).runs
    assert sorted(runs.index) == ["batch_size-16", "batch_size-32"]
    assert runs.loc[name, "folder"] == (tmp_path / name).as_posix()


def test_a_server_that_is_away_is_told_in_one_line():
    with pytest.raises(UsageError, match=r"MLflow at http://127\.0\.0\.1:9 cannot be read") as told:
        frame.load("flowers", tracking_uri="http://127.0.0.1:9")
    assert "\n" not in str(told.value)
