"""Accuracy against training time: the front, the names, and what is left out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from flowerbench.report import plots
from flowerbench.report.plots import cost
from tests.report.plots.helpers import ODD_NAMES, boxes, render, table, written


def filled(figure: Figure) -> list[list[float]]:
    """Time and accuracy of the dots on the front."""
    (line,) = [
        line for line in figure.axes[0].get_lines() if line.get_markerfacecolor() == line.get_color() == "#0072B2"
    ]
    return np.round(line.get_xydata(), 6).tolist()


def test_those_that_none_beats_are_filled_and_joined():
    # B is slower than A and worse; D as good as C in more time.
    figure = plots.accuracy_by_seconds(table([0.7, 0.6, 0.9, 0.9], seconds=[10, 20, 30, 40]))
    render(figure)
    (axes,) = figure.axes
    assert filled(figure) == [[10, 70], [30, 90]]
    steps = next(line for line in axes.get_lines() if line.get_drawstyle() == "steps-post")
    assert steps.get_xydata().tolist() == [[10, 70], [30, 90]]
    assert {"A", "B", "C", "D"} < set(written(axes))
    assert axes.get_xlabel() == "training time of a run (seconds)"
    assert axes.get_ylabel() == "validation accuracy (%), with 95 % intervals"


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=12))
def test_the_front_is_what_is_not_dominated(points: list[tuple[int, int]]):
    times, accuracies = np.array(points, dtype=float).T

    def beats(one: tuple[int, int], other: tuple[int, int]) -> bool:
        return one != other and one[0] <= other[0] and one[1] >= other[1]

    assert cost._front(times, accuracies).tolist() == [not any(beats(p, q) for p in points) for q in points]


def test_what_has_no_number_is_left_out_and_counted():
    frame = table([0.7, math.nan, 0.8, 0.6], seconds=[10, 20, math.nan, 0])
    figure = plots.accuracy_by_seconds(frame)
    render(figure)
    assert "A" in written(figure.axes[0])
    assert "left out: 3 without an accuracy or a time" in written(figure.axes[0])[-1]
    nothing = plots.accuracy_by_seconds(frame[1:2])
    render(nothing)
    assert len(nothing.axes[0].get_xticks()) == 0


def test_of_many_only_the_front_is_named():
    accuracies = [0.9 - 0.001 * i for i in range(60)]
    figure = plots.accuracy_by_seconds(table(accuracies, seconds=[100 - i for i in range(60)]).set_axis(range(60)))
    assert len(filled(figure)) == 60
    assert [text for text in written(figure.axes[0]) if text.isdigit()] == [
        str(round(59 - 59 * i / 11)) for i in range(12)
    ]
    figure = plots.accuracy_by_seconds(table(accuracies, seconds=[100 + i for i in range(60)]).set_axis(range(60)))
    assert [text for text in written(figure.axes[0]) if text.isdigit()] == ["0"]


@pytest.mark.parametrize(
    ("seconds", "unit", "scale"),
    [([100, 200], "seconds", "linear"), ([600, 1200], "minutes", "linear"), ([20_000, 500_000], "hours", "log")],
)
def test_units_and_scale_of_time(seconds: list[float], unit: str, scale: str):
    figure = plots.accuracy_by_seconds(table([0.7, 0.8], seconds=seconds))
    render(figure)
    assert figure.axes[0].get_xlabel() == f"training time of a run ({unit})"
    assert figure.axes[0].get_xscale() == scale


@pytest.mark.parametrize("seed", range(6))
def test_names_overlap_neither_each_other_nor_a_dot(seed: int):
    random = np.random.default_rng(seed)
    n = 12
    names = [f"batch_size={2**i}, optim.lr={10.0**-i:g}, model=resnet18" for i in range(n)]
    # Half of them in a crowd.
    seconds = np.concatenate([random.uniform(500, 520, n // 2), random.uniform(300, 900, n // 2)])
    frame = table((0.85 + random.normal(0, 0.01, n)).tolist(), seconds=seconds).set_axis(names)
    figure = plots.accuracy_by_seconds(frame)
    places = [box for text, box in boxes(figure).items() if text.startswith("batch")]
    assert len(places) == n
    assert not any(a.overlaps(b) for a, b in itertools.combinations(places, 2))
    dots = figure.axes[0].transData.transform(np.column_stack([frame["seconds"] / 60, 100 * frame["accuracy"]]))
    assert not any(box.contains(*dot) for box in places for dot in dots)
    assert all(box.x0 > 0 and box.x1 < figure.bbox.x1 for box in places)


def test_settings_that_are_all_the_same():
    figure = plots.accuracy_by_seconds(table([0.9] * 12))
    places = [box for text, box in boxes(figure).items() if len(text) == 1]
    assert len(filled(figure)) == len(places) == 12
    assert not any(a.overlaps(b) for a, b in itertools.combinations(places, 2))


def test_odd_names_without_intervals():
    accuracies = [0.5 + i / 20 for i in range(len(ODD_NAMES))]
    frame = table(accuracies, low=math.nan, high=math.nan).set_axis(list(ODD_NAMES))
    figure = plots.accuracy_by_seconds(frame)
    render(figure)
    assert figure.axes[0].get_ylabel() == "validation accuracy (%)"
    assert "a$b$" in plots.svg(figure)
