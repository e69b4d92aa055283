"""Tables of cells: what stands in them, over which range they are shaded, and how they grow."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from flowerbench.report import plots
from tests.report.plots.helpers import ODD_NAMES, render


def cells(figure: Figure) -> dict[tuple[int, int], str]:
    """What is written in each row and column."""
    texts = [text for text in figure.axes[0].texts if not hasattr(text, "xyann")]
    return {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in texts}


def notes(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts if hasattr(text, "xyann")]


def answers(n: int, photos: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(random.integers(0, n, (photos, 2)), columns=["label", "prediction"]).map("class {:03}".format)


def test_confusion_matrix_counts_rows_of_true_classes():
    rows = [("daisy", "daisy")] * 3 + [("daisy", "rose")] + [("tulip", "rose")] * 2
    figure = plots.confusion_matrix(pd.DataFrame(rows, columns=["label", "prediction"]))
    render(figure)
    assert cells(figure) == {(0, 0): "3", (0, 1): "1", (2, 1): "2"}
    axes = figure.axes[0]
    assert axes.images[0].get_array().tolist() == [[75, 25, 0], [0, 0, 0], [0, 100, 0]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["daisy (4)", "rose (0)", "tulip (2)"]
    assert "3 of 6 photos right (50.0 %)" in notes(figure)


@pytest.mark.parametrize(("classes", "has_counts"), [(1, True), (5, True), (20, True), (102, False)])
def test_confusion_matrix_writes_counts_where_they_fit(classes: int, has_counts: bool):
    figure = plots.confusion_matrix(answers(classes, 600))
    assert max(render(figure).size) < 1600
    assert bool(cells(figure)) == has_counts


def test_rare_mistakes_can_be_seen():
    """One mistake in a hundred is drawn further from white than on a scale of shares."""
    rows = [("a", "a")] * 99 + [("a", "b")]
    image = plots.confusion_matrix(pd.DataFrame(rows, columns=["label", "prediction"])).axes[0].images[0]
    assert image.norm(1) == pytest.approx(0.1)


def test_class_names_stand_as_they_are():
    named = pd.DataFrame({"label": ODD_NAMES, "prediction": ODD_NAMES})
    figure = plots.confusion_matrix(named)
    render(figure)
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert r"a\$b\$" in names
    assert max(map(len, names)) == 24
    assert all(label.get_window_extent().y0 > 0 for label in figure.axes[0].get_xticklabels())


def test_heat_map_writes_percent_and_shades_the_range_of_the_data():
    values = pd.DataFrame([[0.9316, math.nan], [0.8, 0.85]], index=[16, 32], columns=[20, 25])
    figure = plots.heat_map(values, "batch_size", "epochs")
    render(figure)
    (axes,) = figure.axes
    assert cells(figure) == {(0, 0): "93.2", (0, 1): "–", (1, 0): "80.0", (1, 1): "85.0"}
    assert axes.images[0].get_clim() == pytest.approx((80, 93.16))
    assert set(notes(figure)) == {"batch_size", "accuracy (%)"}
    assert axes.get_xlabel() == "epochs"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["16", "32"]


def test_heat_map_shows_two_decimals_and_little_contrast_where_all_lie_within_a_percent():
    figure = plots.heat_map(pd.DataFrame([[0.9316, 0.9350], [0.9351, 0.9351]]), "batch_size", "epochs")
    assert set(cells(figure).values()) == {"93.16", "93.50", "93.51"}
    low, high = figure.axes[0].images[0].get_clim()
    assert high - low == pytest.approx(1)
    assert low < 93.16 < 93.51 < high


@pytest.mark.parametrize("value", [0.5, 0.0, 1.0, math.nan, math.inf])
def test_heat_map_of_one_value(value: float):
    figure = plots.heat_map(pd.DataFrame([[value]], index=["a$b$"], columns=["x" * 99]), "k$", "c" * 99)
    render(figure)
    assert cells(figure) == {(0, 0): f"{100 * value:.2f}" if math.isfinite(value) else "–"}


def test_numbers_in_dark_cells_are_light():
    figure = plots.heat_map(pd.DataFrame([[0.1, 0.9, math.nan]]), "a", "b")
    colors = {text.get_text(): text.get_color() for text in figure.axes[0].texts}
    assert (colors["90.0"], colors["10.0"] == colors["90.0"]) == ("white", False)
    assert colors["–"] != "white"


@pytest.mark.parametrize("shape", [(2, 60), (60, 2), (60, 60)])
def test_heat_map_of_many_values(shape: tuple[int, int]):
    values = (
        pd.DataFrame(np.random.default_rng(0).random(shape)).rename("rate {}".format).rename("size {}".format, axis=1)
    )
    figure = plots.heat_map(values, "optim.lr", "batch_size")
    assert max(render(figure).size) < 1700
    has_bar = len(figure.axes) == 2
    assert has_bar == (not cells(figure)) == (shape[1] == 60)
    if has_bar:
        assert figure.axes[1].get_ylabel() == "accuracy (%)"
