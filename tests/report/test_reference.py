"""Published numbers beside ours, where they may stand there."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from flowerbench.errors import UsageError
from flowerbench.report import reference


def test_the_papers_tables():
    paper = reference.load("paper")
    told = [(32, 25, "0.9316 (531/570)"), (16, 20, "0.9350 (533/570)"), (16, 25, "0.9351 (533/570)"), (8, 25, None)]
    for batch_size, epochs, shown in told:
        assert paper.accuracy({"batch_size": batch_size, "epochs": epochs, "optim.lr": 0.1}) == shown
    at = paper.accuracies_of_epochs({"batch_size": 16, "epochs": 25})
    assert at == {1: "0.8333", 8: "0.9140", 16: "0.9246", 23: "0.9351", 25: "0.9263"}
    assert paper.accuracies_of_epochs({"batch_size": 16, "epochs": 20}) == {}


def test_what_differs_is_said():
    paper = reference.load("paper")
    same = pd.DataFrame(
        [{"data.validation": "augmented", "model.name": "resnet18", "image_size": 224, "optim.lr": 1e-3}]
    )
    assert paper.remarks(same) == [f"Paper: {paper.source}."]
    other = pd.concat([same, same.assign(image_size=160)])
    assert paper.remarks(other) == [
        f"Paper: {paper.source}. It is of other settings than these runs: image_size=224; here 224 and 160."
    ]
    clean = same.assign(**{"data.validation": "clean"})
    assert not paper.is_comparable(clean)
    assert paper.remarks(clean) == [
        "Paper: not shown, for it validates on augmented photos, and these runs on clean ones."
    ]


def test_a_run_says_itself_how_it_was_validated():
    paper = reference.load("paper")
    assert not paper.is_comparable(pd.DataFrame([{"batch_size": 16, "protocol": "clean"}]))
    assert paper.is_comparable(pd.DataFrame([{"batch_size": 16, "protocol": "augmented"}]))


def test_a_reference_of_ones_own(tmp_path: Path):
    file = tmp_path / "ours.yaml"
    file.write_text("title: Ours\nsettings:\n  - {optim.lr: 0.1, accuracy: 0.5}\n")
    ours = reference.load(str(file))
    assert ours.accuracy({"optim.lr": 0.1}) == "0.5000"
    assert ours.accuracy({"batch_size": 16}) is None
    assert ours.is_comparable(pd.DataFrame([{"data.validation": "clean"}]))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("- 1", "must be a mapping"),
        ("title: A\nsettings: [{batch_size: 16}]", "each of its settings must have an accuracy"),
        ("title: A\nepochs: [{batch_size: 16, rows: [{epoch: 1}]}]", "each row of its epochs"),
        ("title: [", "cannot be read"),
        ("title: 5", "must be a mapping with title"),
        ("title: A\nsettings: [1, 2]", "names keys of the config"),
        ("title: A\nsettings: [{accuracy: 0.5}]", "names keys of the config"),
        ("title: A\nsettings: [{epochs: 4, accuracy: 93.5}]", "a share such as 0.93"),
        ("title: A\nepochs: [{epochs: 4, rows: null}]", "each row of its epochs"),
        ("title: A\nepochs: [{epochs: 4, rows: [{epoch: x, accuracy: 0.5}]}]", "each row of its epochs"),
        ("title: A\nconfig: [1]", "config must be a mapping"),
    ],
)
def test_what_is_no_reference_is_refused(tmp_path: Path, content: str, words: str):
    (tmp_path / "bad.yaml").write_text(content)
    with pytest.raises(UsageError, match=words):
        reference.load(str(tmp_path / "bad.yaml"))


@pytest.mark.parametrize("name", ["papper", "nowhere.yaml"])
def test_a_reference_that_is_not_there_is_named(name: str):
    with pytest.raises(UsageError, match=r"is neither one of ours \(paper\) nor a \.yaml file"):
        reference.load(name)
