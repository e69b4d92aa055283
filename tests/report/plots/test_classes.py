"""Recall and precision of each class, with Wilson's intervals."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from matplotlib.axes import Axes

from flowerbench.report import plots
from tests.report.plots.helpers import ODD_NAMES, render


def answers(*counts: tuple[str, str, int]) -> pd.DataFrame:
    """So many photos of each label and prediction."""
    rows = [(label, prediction) for label, prediction, n in counts for _ in range(n)]
    return pd.DataFrame(rows, columns=["label", "prediction"])


def rows(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def dots(axes: Axes) -> tuple[list[float], list[float]]:
    """Recall and precision of each row, in percent."""
    recall, precision = (line.get_xdata().tolist() for line in axes.get_lines())
    return recall, precision


def wilson(right: int, total: int) -> tuple[float, float]:
    """Both ends of the interval in percent, by Wilson's formula."""
    z, p = 1.959964, right / total
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    return 100 * (middle - half), 100 * (middle + half)


def test_the_worst_recall_comes_first_with_its_number_of_photos():
    figure = plots.per_class(answers(("daisy", "daisy", 8), ("daisy", "rose", 2), ("rose", "rose", 10)))
    render(figure)
    (axes,) = figure.axes
    assert rows(axes) == ["daisy (n=10)", "rose (n=10)"]
    recall, precision = dots(axes)
    assert recall == pytest.approx([80, 100])
    assert precision == pytest.approx([100, 100 * 10 / 12])


def test_intervals_are_wilsons():
    (axes,) = plots.per_class(answers(("a", "a", 7), ("a", "b", 3), ("b", "b", 20))).axes
    found = [[x for x, _ in line] for lines in axes.collections[-2:] for line in lines.get_segments()]
    expected = [wilson(7, 10), wilson(20, 20), wilson(7, 7), wilson(20, 23)]
    assert found == [pytest.approx(ends, abs=1e-4) for ends in expected]


def test_what_has_no_photos_has_no_recall_and_what_was_never_predicted_no_precision():
    figure = plots.per_class(answers(("a", "a", 1), ("b", "c", 2)))
    render(figure)
    (axes,) = figure.axes
    assert rows(axes) == ["b (n=2, never predicted)", "a (n=1)", "c (n=0)"]
    recall, precision = dots(axes)
    assert recall == pytest.approx([0, 100, math.nan], nan_ok=True)
    assert precision == pytest.approx([math.nan, 100, 0], nan_ok=True)


def test_of_many_classes_the_worst_are_shown():
    counts = [(f"c{i:03}", f"c{i:03}", i) for i in range(1, 103)] + [(f"c{i:03}", "c102", 100) for i in range(1, 102)]
    figure = plots.per_class(answers(*counts))
    render(figure)
    (axes,) = figure.axes
    assert len(rows(axes)) == 30
    assert rows(axes)[0] == "c001 (n=101)"
    assert rows(axes)[-1] == "c030 (n=130)"
    assert "the 30 classes of the worst recall, of 102" in axes.get_xlabel()


def test_classes_that_are_equally_good_stand_in_order_of_their_names():
    (axes,) = plots.per_class(answers(("b", "b", 1), ("a", "a", 3), ("c", "c", 2))).axes
    assert rows(axes) == ["a (n=3)", "b (n=1)", "c (n=2)"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_of_classes(name: str):
    figure = plots.per_class(answers((name, name, 3), ("other", name, 1)))
    render(figure)
    assert all(label.get_window_extent().x0 > 0 for label in figure.axes[0].get_yticklabels())
