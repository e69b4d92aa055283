"""Curves: the best epoch, the steps of the learning rate, and what is not finite."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from flowerbench.report import plots
from tests.report.plots.helpers import boxes, render, written


def history(val_accuracy: list[float], lr: list[float] | None = None) -> pd.DataFrame:
    n = len(val_accuracy)
    return pd.DataFrame(
        {
            "epoch": range(1, n + 1),
            "lr": lr or [0.1] * n,
            "train_loss": np.linspace(1, 0.5, n),
            "train_accuracy": np.linspace(0.3, 0.6, n),
            "val_loss": np.linspace(1, 0.6, n),
            "val_accuracy": val_accuracy,
            "seconds": 1.0,
        }
    )


def test_the_first_of_equally_good_epochs_is_starred_and_written():
    figure = plots.curves(history([0.4, 0.7, 0.6, 0.7]))
    assert render(figure).width == 900
    loss, accuracy = figure.axes
    star = accuracy.get_lines()[-1]
    assert (star.get_marker(), *star.get_xdata(), *star.get_ydata()) == ("*", 2, 70)
    assert "★ best validation accuracy: 70.0 % in epoch 2" in written(accuracy)
    assert [line.get_xdata()[0] for line in loss.get_lines() if line.get_linestyle() == ":"] == [2]


def test_training_and_validation_share_axes_and_are_named_at_their_ends():
    figure = plots.curves(history([0.4, 0.5, 0.6]))
    loss, accuracy = figure.axes
    train, val = loss.get_lines()[:2]
    assert train.get_ydata().tolist() == [1, 0.75, 0.5]
    assert val.get_ydata().tolist() == [1, 0.8, 0.6]
    assert train.get_linestyle() != val.get_linestyle()
    assert train.get_marker() != val.get_marker()
    # Both end at 60 %: their names must not overlap all the same.
    names = boxes(plots.curves(history([0.4, 0.5, 0.6])))
    assert not names["training"].overlaps(names["validation"])
    assert {"training", "validation"} < set(written(accuracy))


def test_each_learning_rate_is_written_where_it_begins():
    figure = plots.curves(history([0.5] * 24, [0.001] * 7 + [0.0001] * 7 + [0.00001] * 10))
    for axes in figure.axes:
        assert {"lr 0.001", "0.0001", "1e-5"} < set(written(axes))
        steps = [line.get_xdata()[0] for line in axes.get_lines() if line.get_linestyle() == "-"][2:]
        assert {7.5, 14.5} <= {line.get_xdata()[0] for line in axes.get_lines()}, steps
    assert all(text.get_rotation() == 0 for text in figure.axes[0].texts)


def test_rates_that_change_too_fast_to_stand_side_by_side_are_written_aslant():
    rates = [0.1, 0.05, 0.01, 0.005] + [0.0001] * 36
    figure = plots.curves(history([0.5] * 40, rates))
    render(figure)
    assert [text.get_rotation() for text in figure.axes[0].texts if text.get_text() == "0.005"] == [50]
    places = boxes(figure)
    assert places["0.0001"].y1 <= figure.bbox.height


@pytest.mark.parametrize(("changes", "axes"), [(6, 2), (7, 3)])
def test_a_rate_that_changes_often_has_axes_of_its_own(changes: int, axes: int):
    rates = [0.1 / (1 + i) for i in range(changes + 1)]
    figure = plots.curves(history([0.5] * len(rates), rates))
    render(figure)
    assert len(figure.axes) == axes
    assert any(text.startswith("lr") for text in written(figure.axes[0])) == (axes == 2)


def test_rates_of_many_sizes_are_drawn_to_a_logarithmic_scale():
    figure = plots.curves(history([0.5] * 9, [10.0**-i for i in range(9)]))
    render(figure)
    assert figure.axes[2].get_yscale() == "log"
    figure = plots.curves(history([0.5] * 9, [0.1 - 0.0125 * i for i in range(9)]))
    render(figure)
    assert figure.axes[2].get_yscale() == "linear"


def test_one_epoch():
    figure = plots.curves(history([0.4]))
    render(figure)
    assert "★ best validation accuracy: 40.0 % in epoch 1" in written(figure.axes[1])


def test_what_is_not_finite_is_a_gap_and_counted():
    epochs = history([0.4, math.inf, 0.6, 0.5]).assign(
        val_loss=[1, math.nan, -math.inf, 1], train_loss=[1, 1, 1, math.nan]
    )
    figure = plots.curves(epochs)
    render(figure)
    loss, accuracy = figure.axes
    assert "not finite in 3 of 4 epochs" in written(loss)
    assert "not finite in 1 of 4 epochs" in written(accuracy)
    assert "★ best validation accuracy: 60.0 % in epoch 3" in written(accuracy)
    assert np.isnan(accuracy.get_lines()[1].get_ydata()).tolist() == [False, True, False, False]


def test_a_run_without_any_finite_number():
    epochs = history([math.nan] * 3)
    epochs[["lr", "train_loss", "train_accuracy", "val_loss"]] = math.nan
    figure = plots.curves(epochs)
    render(figure)
    assert "not finite in 3 of 3 epochs" in written(figure.axes[0])
    assert not any("best" in text for text in written(figure.axes[1]))


def test_a_learning_rate_of_zero():
    figure = plots.curves(history([0.4, 0.5], [0.1, 0.0]))
    render(figure)
    assert "0" in written(figure.axes[0])
