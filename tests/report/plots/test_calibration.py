"""Reliability diagrams."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from flowerbench.report import plots, stats
from tests.report.plots.helpers import render


def test_points_lie_where_the_bins_are_and_empty_bins_are_gaps():
    bins = pd.DataFrame({
        "low": [0.0, 0.25, 0.5, 0.75], "high": [0.25, 0.5, 0.75, 1.0], "photos": [0, 4, 10, 100],
        "correct": [0, 1, 6, 97], "confidence": [np.nan, 0.4, 0.6, 0.95],
    })  # fmt: skip
    figure = plots.reliability(bins)
    render(figure)
    square, bars = figure.axes
    points = square.lines[1]
    assert points.get_xdata().tolist() == pytest.approx([40, 60, 95])
    assert points.get_ydata().tolist() == pytest.approx([25, 60, 97])
    low, high = square.collections[0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx([100 * bound for bound in stats.wilson(1, 4)])
    assert [bar.get_height() for bar in bars.patches] == [0, 4, 10, 100]
    assert square.get_xlim() == bars.get_xlim()
