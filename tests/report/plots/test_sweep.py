"""The settings as rows of dots: their order, their group, and what they say where there is no number."""

from __future__ import annotations

import math

import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from flowerbench.report import plots
from tests.report.plots.helpers import ODD_NAMES, boxes, render, table, written

LEVEL = "cannot be\ntold from\nthe best"


def rows(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def marks(axes: Axes, marker: str, size: float) -> list[float]:
    found = [line for line in axes.get_lines() if line.get_marker() == marker and line.get_markersize() == size]
    return [round(x, 6) for line in found for x in line.get_xdata()]


def test_rows_are_sorted_and_show_interval_best_and_last_epoch():
    figure = plots.settings(table([0.8, 0.9, 0.85]))
    render(figure)
    (axes,) = figure.axes
    assert rows(axes) == ["B", "C", "A"]
    assert marks(axes, "o", 7) == [90, 85, 80]
    assert marks(axes, "o", 4.5) == [89, 84, 79]
    intervals = [c for c in axes.collections if isinstance(c, LineCollection) and c.get_linewidth()[0] == 1.8]
    assert [[x for x, _ in line] for line in intervals[0].get_segments()] == [[88, 92], [83, 87], [78, 82]]
    assert axes.get_xlabel() == "validation accuracy (%), with 95 % intervals"
    star = next(line for line in axes.get_lines() if line.get_marker() == "*")
    assert [*star.get_xdata(), *star.get_ydata()] == [90, 0]
    assert "90.0 %  best" in written(axes)


def test_those_that_cannot_be_told_from_the_best_are_one_group():
    # D is level for its wide interval, though C, which is not, has the higher accuracy.
    figure = plots.settings(table([0.9, 0.89, 0.86, 0.85], is_level=[False, True, False, True]))
    render(figure)
    (axes,) = figure.axes
    assert rows(axes) == ["A", "B", "D", "C"]
    (shade,) = axes.patches
    assert (shade.get_y(), shade.get_height()) == (-0.5, 3)
    assert LEVEL in written(axes)


def test_the_best_alone_is_no_group():
    figure = plots.settings(table([0.9, 0.8], is_level=[True, False]))
    (axes,) = figure.axes
    assert len(axes.patches) == 0
    assert LEVEL not in written(axes)


def test_rows_without_an_accuracy_come_last_and_say_why():
    nothing = {name: [math.nan, 0.5, math.nan] for name in ("low", "high", "last", "test")}
    figure = plots.settings(
        table([math.nan, 0.8, math.nan], status=["FAILED: out\nof memory", "FINISHED", "MISSING"], **nothing)
    )
    render(figure)
    (axes,) = figure.axes
    assert rows(axes) == ["B", "A", "C"]
    assert {"FAILED: out of memory", "MISSING", "80.0 %  best"} <= set(written(axes))


def test_nothing_has_an_accuracy():
    nothing = dict.fromkeys(["low", "high", "last", "is_best"], math.nan) | {"is_best": False}
    figure = plots.settings(table([math.nan] * 2, status="FAILED: " + "why " * 50, **nothing))
    render(figure)
    (axes,) = figure.axes
    assert len(axes.get_xticks()) == 0
    assert all(text.startswith("FAILED") and text.endswith("…") and len(text) <= 70 for text in written(axes))


def test_no_settings():
    render(plots.settings(table([0.5])[:0]))


@pytest.mark.parametrize("n", [40, 41, 200])
def test_beyond_forty_the_best_are_drawn_and_the_others_counted(n: int):
    accuracies = [0.5 + i / 1000 for i in range(n)]
    figure = plots.settings(table(accuracies, is_level=[i >= 50 for i in range(n)]).set_axis(range(n)))
    (axes,) = figure.axes
    assert rows(axes) == [str(n - 1 - i) for i in range(40)]
    assert (f"the best 40 of {n} settings: {n - 40} are left out" in axes.get_xlabel()) == (n > 40)
    # The group is not drawn beyond the rows.
    assert all(patch.get_y() + patch.get_height() <= 39.5 for patch in axes.patches)


def test_the_runs_behind_a_number_are_said_once_or_for_each_row():
    (axes,) = plots.settings(table([0.9, 0.8], n=3)).axes
    assert axes.get_xlabel() == "validation accuracy (%), mean of 3 runs, with 95 % intervals"
    (axes,) = plots.settings(table([0.9, 0.8, math.nan], n=[3, 2, math.nan], low=math.nan, high=math.nan)).axes
    assert axes.get_xlabel() == "validation accuracy (%), mean of n runs"
    assert written(axes)[-2:] == ["90.0 %  n=3  best", "80.0 %  n=2"]


def test_test_photos_are_marked_where_there_are_any():
    (axes,) = plots.settings(table([0.9, 0.8], test=[math.nan, 0.7])).axes
    assert marks(axes, "^", 6)[1] == 70
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["best epoch", "last epoch", "test photos"]
    (axes,) = plots.settings(table([0.9, 0.8])).axes
    assert marks(axes, "^", 6) == []


def test_marks_are_named_at_the_first_row_or_in_a_legend_where_names_would_overlap():
    figure = plots.settings(table([0.9, 0.8], last=[0.7, 0.7]))
    places = boxes(figure)
    assert not places["best epoch"].overlaps(places["last epoch"])
    assert figure.axes[0].get_legend() is None
    (axes,) = plots.settings(table([0.9, 0.5], last=[0.899, 0.5])).axes
    assert "best epoch" not in written(axes)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["best epoch", "last epoch"]


def test_long_and_odd_names_fit_into_the_figure():
    long = (
        "optim._target_=torch.optim.AdamW, data.augmentation.policy=random_resized_crop, model.kwargs.width_mult=0.35"
    )
    names = [*ODD_NAMES, f"{long}, seed=1", f"{long}, seed=2"]
    figure = plots.settings(table([0.5 + i / 100 for i in range(len(names))], is_level=True).set_axis(names))
    render(figure)
    (axes,) = figure.axes
    assert rows(axes)[0].endswith("seed=2")
    assert rows(axes)[1].endswith("seed=1")
    assert all(label.get_window_extent().x0 > 0 for label in axes.get_yticklabels())
    assert boxes(figure)[LEVEL].x1 < figure.bbox.x1
