"""Whether a model is as often right as it is sure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from flowerbench.report import stats
from flowerbench.report.plots import style

if TYPE_CHECKING:
    import pandas as pd

# Inches: of the square that compares confidence with accuracy, and of the bars below it.
_SIDE, _BARS, _GAP = 4.0, 0.9, 0.2


def reliability(bins: pd.DataFrame) -> Figure:
    """Accuracy against confidence (DeGroot and Fienberg 1983), with Wilson's 95 % intervals, above the photos' number.

    Each row of `bins` holds `photos` whose confidence lies between `low` and `high`: their mean `confidence`, and how
    many of them are `correct`. An empty bin is a gap.
    """
    left, right, bottom, top = 0.8, 0.35, 0.5, 0.3
    height = bottom + _BARS + _GAP + _SIDE + top
    figure = style.new_figure(height, left + _SIDE + right)
    square = style.add_axes(figure, left, right, bottom + _BARS + _GAP, top)
    bars = style.add_axes(figure, left, right, bottom, top + _SIDE + _GAP)

    used = bins[bins["photos"] > 0]
    counts = list(zip(used["correct"].astype(int), used["photos"].astype(int), strict=True))
    low, high = 100 * np.array([stats.wilson(correct, photos) for correct, photos in counts]).reshape(-1, 2).T
    confidence = 100 * style.finite(used["confidence"])
    accuracy = 100 * np.array([correct / photos for correct, photos in counts])
    square.plot([0, 100], [0, 100], color=style.GREY, linewidth=1, linestyle=(0, (4, 3)))
    square.vlines(confidence, low, high, color=style.BLUE, linewidth=1.4)
    square.plot(confidence, accuracy, "o", color=style.BLUE, markersize=6)
    style.note(square, "not as sure as right", (0, 1), (6, -6), "axes fraction", va="top", color=style.GREY)
    style.note(square, "too sure", (1, 0), (-6, 6), "axes fraction", ha="right", color=style.GREY)
    square.set_ylabel("right answers (%)")
    square.set_ylim(-2, 102)

    bars.bar(100 * bins["low"], bins["photos"], 100 * (bins["high"] - bins["low"]), align="edge", color=style.BLUE)
    bars.set_ylabel("photos")
    bars.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    bars.set_xlabel("confidence: the probability of the likeliest class (%)")
    for axes in (square, bars):
        axes.set_xlim(-2, 102)
    square.tick_params(labelbottom=False)
    square.set_aspect("equal")
    return figure
