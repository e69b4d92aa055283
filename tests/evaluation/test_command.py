"""`python -m flowerbench.evaluate` as a user runs it."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

from flowerbench import checkpoint, evaluate, summaries, trained
from flowerbench.evaluation.photos import choose
from tests.conftest import write_photos
from tests.report.helpers import cells


def evaluated(capsys: pytest.CaptureFixture[str], run: Path, *arguments: str) -> tuple[str, str, int]:
    """What was printed, what was said on stderr, and the exit code."""
    code = 0
    try:
        evaluate.main([str(run), *arguments, "--device", "cpu"])
    except SystemExit as end:
        code = int(end.code or 0)
    told = capsys.readouterr()
    return told.out, told.err, code


def part(folder: Path, kind: str = "validation") -> dict:
    content = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert list(content["parts"]) == [kind]
    return content["parts"][kind]


def copy_of(run: Path, folder: Path, **config: object) -> Path:
    """A copy of the run whose checkpoint holds these values for keys of the config."""
    shutil.copytree(run, folder)
    state = checkpoint.load(run / "best.pt")
    state["config"] |= {key.replace("__", "."): value for key, value in config.items()}
    torch.save(state, folder / "best.pt")
    return folder


def test_the_accuracy_on_its_own_validation_photos_is_that_of_training(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    printed, told, code = evaluated(capsys, trained_run, "--out", str(tmp_path))
    assert (code, told) == (0, "")
    best, found = summaries.read(trained_run), part(tmp_path)
    assert found["accuracy"] == best["best_val_accuracy"]
    assert (found["correct"], found["total"]) == (best["best_val_correct"], best["val_total"])
    assert f"{best['best_val_correct']} of {best['val_total']} photos" in printed
    with (trained_run / "val_predictions.csv").open(newline="") as file:
        kept = [(row["photo"], row["label"], row["prediction"]) for row in csv.DictReader(file)]
    with (tmp_path / "predictions.csv").open(newline="") as file:
        assert [(row["photo"], row["label"], row["prediction"]) for row in csv.DictReader(file)] == kept
    assert "augmented" not in printed


def test_all_of_it_is_in_the_folder(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = copy_of(trained_run, tmp_path / "run")
    printed, _, _ = evaluated(capsys, run)
    out = run / "evaluation"
    names = {f"validation-{name}" for name in ("classes", "confusion", "reliability", "worst")}
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == {
        *("evaluation.md", "evaluation.html", "evaluation.json", "predictions.csv"),
        *(f"figures/{name}.{suffix}" for name in names for suffix in ("svg", "png")),
    }
    assert all(Image.open(file).width > 300 for file in out.glob("figures/*.png"))
    assert all(ElementTree.parse(file) for file in out.glob("figures/*.svg"))
    page, text = (out / "evaluation.html").read_text(), (out / "evaluation.md").read_text()
    assert page.count("<figure>") == text.count("](figures/") == len(names)
    assert not re.search(r'(src|href)="(?!#|data:)', page), "the page needs nothing else"
    table = cells(printed[printed.index("### Classes") :].partition("### Confusion")[0])
    assert [row[0] for row in table] == ["Class", "ash", "beech", "cedar"]
    assert printed.rstrip().endswith(f"With figures: {out / 'evaluation.html'}")


def test_its_own_photos_are_known_wherever_they_lie(
    trained_run: Path, photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    moved = shutil.copytree(photo_folder, tmp_path / "moved")
    run = copy_of(trained_run, tmp_path / "run", data__root=str(tmp_path / "gone"))
    _, told, code = evaluated(capsys, run)
    assert (code, told.count("\n")) == (2, 1)
    _, _, code = evaluated(capsys, run, f"data.root={moved}")
    assert code == 0
    assert part(run / "evaluation")["accuracy"] == summaries.read(run)["best_val_accuracy"]

    (moved / "ash" / "000.png").unlink()
    run = copy_of(trained_run, tmp_path / "changed", data__root=str(moved))
    _, told, code = evaluated(capsys, run)
    assert (code, told.count("\n")) == (2, 1)
    assert "does not hold the photos that the run was trained on" in told


def test_another_folder_is_judged_whole_and_classes_go_by_their_names(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    other = write_photos(tmp_path / "other", {"ash": 5, "beech": 4, "cedar": 3}, seed=9)
    printed, told, code = evaluated(capsys, trained_run, f"data.root={other}", "--out", str(tmp_path / "out"))
    assert (code, told) == (0, "")
    found = part(tmp_path / "out", "other")
    assert {name: row["photos"] for name, row in found["per_class"].items()} == {"ash": 5, "beech": 4, "cedar": 3}
    assert "whether some of them are also in training is not known" in printed
    # The colours of the classes are what the model has learned.
    swapped = tmp_path / "swapped"
    for name, given in (("ash", "cedar"), ("cedar", "ash"), ("beech", "beech")):
        shutil.copytree(other / name, swapped / given)
    run = trained.load(trained_run, "cpu")
    (judged,) = choose(run, [f"data.root={swapped}"])
    again = evaluate.judge(run, judged).measures.confusion.tolist()
    assert again[0] == found["confusion"][2]
    assert again[2] == found["confusion"][0]


def test_other_classes_are_named(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for classes, message in (
        ({"ash": 2, "beech": 2}, "lacks photos of cedar"),
        ({"ash": 2, "beech": 2, "cedar": 2, "elm": 2}, "holds classes that the model does not know: elm"),
    ):
        folder = write_photos(tmp_path / str(len(classes)), classes)
        printed, told, code = evaluated(capsys, trained_run, f"data.root={folder}")
        assert (code, printed, told) == (2, "", f"flowerbench: data.root={folder} {message}\n")


def test_a_split_that_would_judge_what_was_learned_is_refused(trained_run: Path, capsys: pytest.CaptureFixture[str]):
    for override, message in (
        ("data.split_seed=7", "these photos would be split otherwise than in training"),
        ("optim.lr=1", "optim.lr is no key of the data"),
        ("data.rot=x", "data.rot is no key of the data"),
        ("data.root=a,b", "data.root=a,b is not possible"),
    ):
        printed, told, code = evaluated(capsys, trained_run, override)
        assert (code, printed, told.count("\n")) == (2, "", 1)
        assert message in told


def test_augmented_validation_is_said_to_be_another_protocol(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = copy_of(trained_run, tmp_path / "run", data__validation="augmented")
    printed, _, code = evaluated(capsys, run, "--flips")
    assert code == 0
    best = summaries.read(run)["best_val_accuracy"]
    assert f"Training validated on augmented photos, where its best accuracy was {best:.4f}" in printed
    assert "another protocol" in printed
    assert "the mean over each photo and its mirror image" in printed
