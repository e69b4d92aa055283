"""Figures are read back from what they drew, and rendered, for that is where matplotlib raises."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from flowerbench.report import plots


def size(figure: Figure) -> tuple[int, int]:
    png = io.BytesIO()
    figure.savefig(png)
    return Image.open(png).size


def history(val_accuracy: list[float]) -> pd.DataFrame:
    n = len(val_accuracy)
    steps = {"epoch": range(1, n + 1), "lr": [0.1 ** (1 + i // 2) for i in range(n)]}
    losses = {"train_loss": np.linspace(1, 0.5, n), "val_loss": np.linspace(1, 0.6, n)}
    return pd.DataFrame(
        {**steps, **losses, "train_accuracy": val_accuracy, "val_accuracy": val_accuracy, "seconds": 1.0}
    )


def answers(n: int, photos: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(random.integers(0, n, (photos, 2)), columns=["label", "prediction"]).map("class {:03}".format)


def test_curves_mark_the_first_of_equally_good_epochs():
    figure = plots.curves(history([0.4, 0.7, 0.6, 0.7]))
    assert size(figure) == (900, 500)
    _, accuracy, lr = figure.axes
    assert accuracy.get_title() == "best val accuracy 0.7000 in epoch 2"
    assert lr.get_yscale() == "log"
    star = accuracy.get_lines()[-1]
    assert [*star.get_xdata(), *star.get_ydata()] == [2, 0.7]


def test_curves_of_one_epoch():
    figure = plots.curves(history([0.4]))
    assert size(figure) == (900, 500)
    assert "epoch 1" in figure.axes[1].get_title()


def test_curves_of_a_learning_rate_of_zero():
    epochs = history([0.4, 0.5]).assign(lr=[0.1, 0.0])
    assert size(plots.curves(epochs)) == (900, 500)


def test_confusion_matrix_counts_rows_of_true_classes():
    rows = [("daisy", "daisy")] * 3 + [("daisy", "rose")] + [("tulip", "rose")] * 2
    axes = plots.confusion_matrix(pd.DataFrame(rows, columns=["label", "prediction"])).axes[0]
    written = {text.get_position()[::-1]: text.get_text() for text in axes.texts}
    assert written == {(0, 0): "3", (0, 1): "1", (2, 1): "2"}
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25, 0], [0, 0, 0], [0, 1, 0]]
    assert axes.get_title() == "3 of 6 photos correct (0.5000)"


@pytest.mark.parametrize(("classes", "has_counts"), [(1, True), (5, True), (20, True), (102, False)])
def test_confusion_matrix_writes_counts_where_they_fit(classes: int, has_counts: bool):
    figure = plots.confusion_matrix(answers(classes, 600))
    assert max(size(figure)) < 1600
    assert bool(figure.axes[0].texts) == has_counts


def test_class_names_stand_as_they_are():
    named = pd.DataFrame({"label": ["a$b$", "\\frac_x"], "prediction": ["a$b$", "n" * 90]})
    figure = plots.confusion_matrix(named)
    size(figure)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][1] == r"a\$b\$"
