"""The benchmark: the plain script trains, both sides are watched alike, and numbers are what they are said to be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from benchmarks import machine, photos, processes, run
from benchmarks.measures import Row, Section
from benchmarks.photos import spread
from benchmarks.processes import Usage
from benchmarks.settings import Settings
from benchmarks.sides import Run, Sides, Task, one_after_another
from flowerbench._torchvision import torchvision
from flowerbench.history import read_history

ROOT = Path(__file__).parents[1]
SMALL = {"model": "mobilenet_v2", "model_args": (("width_mult", 0.35),), "image_size": 32, "batch_size": 8}


@pytest.fixture(scope="module")
def both_parts(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 50 small photos as both sides get them: 40 for training, 10 for validation."""
    return photos.lay_out(photos.load(Settings(data=photo_folder)), tmp_path_factory.mktemp("split") / "photos")


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    return Sides(tmp_path, "cpu", "augmented", workers=1, ours=["data.workers=1"])


def test_the_plain_script_trains_and_tells_of_every_epoch(both_parts: Path, sides: Sides) -> None:
    done = sides.plain(Task(both_parts, weights=None, epochs=2, **SMALL))
    assert [epoch["epoch"] for epoch in done.epochs] == [1, 2]
    assert done.usage.peak_bytes is None, "nobody looked"
    assert [epoch["train_photos"] for epoch in done.epochs] == [40, 40]
    assert [epoch["val_photos"] for epoch in done.epochs] == [10, 10]
    assert done.usage.began < done.imported < done.first_step < done.usage.began + done.usage.seconds
    assert 0 < done.besides < done.usage.seconds
    (best,) = sides.scratch.glob("*/best.pt")
    assert torch.load(best, weights_only=True)["classifier.1.weight"].shape == (3, 1280)


def test_the_plain_script_begins_from_weights_with_a_head_of_its_own(
    both_parts: Path, sides: Sides, tmp_path: Path
) -> None:
    given = torchvision.models.mobilenet_v2(width_mult=0.35, num_classes=1000).state_dict()
    torch.save(given, tmp_path / "weights.pth")
    command = ["benchmarks.plain", str(both_parts), "--model", "mobilenet_v2", "--model-args", "width_mult=0.35"]
    command += ["--weights", str(tmp_path / "weights.pth"), "--image-size", "32", "--epochs", "1", "--lr", "0"]
    processes.run([*command, "--validation", "clean", "--workers", "0"], tmp_path / "run", {})
    kept = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    assert torch.equal(kept["features.0.0.weight"], given["features.0.0.weight"])
    assert kept["classifier.1.weight"].shape == (3, 1280)


def test_our_command_is_watched_and_not_changed(both_parts: Path, sides: Sides) -> None:
    done = sides.train(Task(both_parts, weights=None, epochs=2, **SMALL), watch=0.1)
    (run_folder,) = sides.scratch.glob("*/run")
    history = read_history(run_folder / "history.csv")
    assert [epoch["val_accuracy"] for epoch in done.epochs] == [row["val_accuracy"] for row in history]
    for seconds, row in zip(done.seconds(done.epochs), history, strict=True):
        assert seconds == pytest.approx(row["seconds"], abs=0.1)
    assert [epoch["train_photos"] for epoch in done.epochs] == [40, 40]
    assert done.usage.peak_bytes > 50e6
    assert not list(sides.scratch.glob("*_cache")), "an empty cache folder is removed again"


def test_both_sides_end_after_a_first_step(both_parts: Path, sides: Sides) -> None:
    task = Task(both_parts, weights=None, epochs=9, **SMALL)
    for done in (sides.plain(task, steps=1), sides.train(task, steps=1)):
        assert list(done.epochs) == []
        assert 0 < done.after_imports < done.until_first_step < done.usage.seconds


def test_both_sides_get_the_split_of_flowerbench(photo_folder: Path, tmp_path: Path) -> None:
    given = photos.load(Settings(data=photo_folder))
    folder = photos.lay_out(given, tmp_path / "few", train=10, val=5)
    for part, indices, count in (("train", given.train, 10), ("val", given.val, 5)):
        links = list((folder / part).glob("*/*.png"))
        known = {(given.photos.root / given.photos.paths[index]).read_bytes() for index in indices}
        assert len(links) == count
        assert {link.read_bytes() for link in links} <= known
        assert all(link.resolve().parent.name == link.parent.name for link in links if link.is_symlink())


def test_some_photos_are_taken_evenly() -> None:
    assert spread(range(10), 5) == [0, 2, 4, 6, 8]
    assert spread([3, 4], 5) == [3, 4]
    assert spread(range(3), None) == [0, 1, 2]


def test_a_row_has_medians_spread_and_ratio() -> None:
    row = Row("photos/s", {"plain": [10.0, 12.0, 11.0], "ours": [44.0, 20.0, 33.0]}, "more")
    assert row.cell("plain") == "11.0 (10.0 to 12.0)"
    assert row.ratio("ours", "plain") == 3
    assert Row("s", {"plain": [30.0], "ours": [10.0]}, "less").ratio("ours", "plain") == 3
    assert Row("accuracy", {"plain": [0.5], "ours": [0.75]}, digits=4).ratio("ours", "plain") is None
    assert Row("s", {"plain": [1234.5], "ours": []}, "less").cell("ours") == "–"
    assert Row("s", {"plain": [1234.5]}).cell("plain") == "1,234"


def test_a_section_is_written_as_a_table_and_as_json() -> None:
    row = Row("photos/s", {"plain": [10.0, 12.0], "ours": [33.0]}, "more")
    section = Section("rate", "Rate", "A note.", ("plain", "ours"), [row])
    table = section.blocks()[-1]
    assert table.header == ["", "plain", "ours", "times better"]
    assert table.rows == [["photos/s", "11.0 (10.0 to 12.0)", "33.0", "3.00"]]
    sides = json.loads(json.dumps(section.content()))["rows"][0]["sides"]
    assert sides["plain"] == {"median": 11, "min": 10, "max": 12, "values": [10, 12], "times_better": None}
    assert sides["ours"]["times_better"] == 3


def test_a_run_tells_rates_of_the_epochs_that_are_meant() -> None:
    epochs = [
        {"train_photos": 100, "train_seconds": 10.0, "val_photos": 20, "val_seconds": 1.0, "val_accuracy": 0.5},
        {"train_photos": 100, "train_seconds": 4.0, "val_photos": 20, "val_seconds": 1.0, "val_accuracy": 0.75},
        {"train_photos": 100, "train_seconds": 6.0, "val_photos": 20, "val_seconds": 1.0, "val_accuracy": 0.25},
    ]
    done = Run(Usage(1000.0, 30.0, 5), 1002.0, 1003.0, epochs)
    assert done.rate("train", done.later) == 20
    assert done.rate("train", done.epochs[:1]) == 10
    assert (done.besides, done.accuracy, done.until_first_step, done.after_imports) == (7, 0.75, 3, 1)
    sweep = one_after_another({(16, 3): done, (32, 3): done})
    assert (sweep.seconds, sweep.peak_bytes, sweep.trained) == (60, 5, 6)


def test_resnet18_takes_the_operations_that_are_known_of_it() -> None:
    assert machine.flop_per_photo("resnet18", 224) == pytest.approx(10.9e9, rel=0.01)


def test_the_machine_is_described() -> None:
    facts = machine.facts(torch.device("cpu"))
    assert facts["cores"] >= 1
    assert facts["versions"]["torch"] == torch.__version__
    assert machine.matmul_rate(torch.device("cpu"), seconds=0) > 1e8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "nowhere"], "is no folder"),
        (["--weights", "nothing.pth"], "is no file"),
        (["--model", "resnet19"], "did you mean"),
        (["--epochs", "20,none"], "is not a whole number"),
        (["--only", "everything"], "invalid choice"),
        (["--model-args", "width"], "is not NAME=VALUE"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run.main(arguments)
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert words in told
    assert told.count("\n") == 1


def test_a_failed_command_is_named_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"benchmarks.plain failed with exit code 2: .* holds no folder train/"):
        processes.run(["benchmarks.plain", str(tmp_path)], tmp_path / "run", {})


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a signal at a time of its own")
def test_what_was_started_ends_when_the_benchmark_is_stopped(tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    waiting = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 2)
        with pytest.raises(KeyboardInterrupt):
            processes.run(["timeit", "-n1", "-r1", waiting], tmp_path, {})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not [child for child in psutil.Process().children(recursive=True) if "sleep(600)" in str(child.cmdline())]


def quick(folder: Path, *options: str) -> tuple[str, dict[str, Any]]:
    """What the quick form prints, and what it writes to all.json."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "--quick", *options, "--json", "all.json"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "all.json").read_text(encoding="utf-8"))


@pytest.mark.long
@pytest.mark.alone
def test_the_quick_form_takes_less_than_two_minutes(tmp_path: Path) -> None:
    before = os.times()
    printed, record = quick(tmp_path)
    # On a machine that is busy with other work, how long it takes says nothing.
    after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system < 120
    assert "The quick form" in printed
    for measure in ("training, % of the matmul rate", "until the first step", "the whole run, s", "the whole sweep, s"):
        assert f"| {measure}" in printed
    assert record["command"] == "python -m benchmarks.run --quick --json all.json"
    assert [section["name"] for section in record["sections"]] == ["rate", "memory", "startup", "run", "sweep"]
    assert record["machine"]["matmul"] > 0
    rows = {row["measure"]: row["sides"] for section in record["sections"] for row in section["rows"]}
    assert rows["epochs trained"]["plain script"]["values"] == [6]
    assert rows["epochs trained"]["flowerbench"]["values"] == [4]
    assert all(side["median"] >= 0 for sides in rows.values() for side in sides.values())
    assert [path.name for path in tmp_path.iterdir()] == ["all.json"]


@pytest.mark.long
@pytest.mark.alone
def test_what_a_run_takes_besides_and_what_it_comes_to(tmp_path: Path) -> None:
    overhead, accuracy = quick(tmp_path, "--only", "overhead", "accuracy")[1]["sections"]
    assert (overhead["name"], accuracy["name"]) == ("overhead", "accuracy")
    besides, whole, epoch = (row["sides"] for row in overhead["rows"])
    assert set(besides) == {"plain script", "flowerbench", "flowerbench, tracking=mlflow"}
    for side in besides:
        assert 0 < besides[side]["median"] < whole[side]["median"]
        assert epoch[side]["median"] > 0
    best, last, loss = (row["sides"] for row in accuracy["rows"])
    for side in ("plain script", "flowerbench"):
        assert 0 <= best[side]["median"] == last[side]["median"] <= 1, "of one epoch"
        assert loss[side]["median"] > 0
