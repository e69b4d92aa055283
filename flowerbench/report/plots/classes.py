"""How well each class is told, with the intervals that its number of photos allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from flowerbench.report import stats
from flowerbench.report.plots import style
from flowerbench.report.plots.rows import name_marks, new_rows
from flowerbench.report.plots.style import Floats

if TYPE_CHECKING:
    import pandas as pd

# With more rows a figure is no longer taken in at a glance.
_MOST = 30
# The column of what a rate is a share of, how it is drawn, and where within a row.
_RATES: dict[str, tuple[str, dict[str, Any], float]] = {
    "recall (of the photos of a class)": ("photos", {"marker": "o", "color": style.BLUE, "markersize": 6.5}, -0.17),
    "precision (of the photos given its name)": (
        "named",
        {"marker": "D", "color": style.VERMILION, "markersize": 5, "markerfacecolor": "white", "markeredgewidth": 1.3},
        0.17,
    ),
}


def per_class(predictions: pd.DataFrame) -> Figure:
    """Recall and precision of each class with Wilson's 95 % intervals (Wilson 1927), the worst recall first.

    `predictions` has one row per photo with the class names `label` and `prediction`. Of more than 30 classes the
    worst 30 are drawn. A class without photos has no recall, one that was never predicted no precision.
    """
    counts = _count(predictions)
    rows = counts.head(_MOST)
    names = [
        f"{name} (n={photos}{'' if named else ', never predicted'})"
        for name, photos, named in zip(rows.index, rows["photos"], rows["named"], strict=True)
    ]
    below = "right answers (%), with 95 % intervals; n is the number of photos of a class"
    if len(counts) > len(rows):
        below += f"\nthe {len(rows)} classes of the worst recall, of {len(counts)}"
    figure, axes = new_rows(names, 0.3, below, chars=40)
    marks: dict[str, tuple[Line2D, float]] = {}
    for name, (column, look, offset) in _RATES.items():
        shares, low, high = _wilson(rows["right"], rows[column])
        y = np.arange(len(rows)) + offset
        axes.hlines(y, low, high, color=look["color"], linewidth=1.4)
        (mark,) = axes.plot(shares, y, linestyle="", **look)
        marks[name] = mark, float(shares[0]) if len(rows) else np.nan
    left, right = axes.get_xlim()
    axes.set_xlim(left, min(right, 101))
    name_marks(axes, marks)
    return figure


def _count(predictions: pd.DataFrame) -> pd.DataFrame:
    """For each class its `photos`, how many were given its name, `named`, and `right`; the worst recall first."""
    import pandas as pd

    labels, given = predictions["label"].astype(str), predictions["prediction"].astype(str)
    found = {"photos": labels, "named": given, "right": labels[labels == given]}
    counts = pd.DataFrame({name: classes.value_counts() for name, classes in found.items()}).fillna(0).astype(int)
    recall = counts["right"] / counts["photos"]
    return counts.iloc[np.lexsort((counts.index.to_numpy(dtype=str), recall.fillna(0), recall.isna()))]


def _wilson(right: pd.Series[int], total: pd.Series[int]) -> Floats:
    """The shares in percent and both ends of their 95 % intervals, in three rows; NaN where the total is 0."""
    rows = [
        (k / n, *stats.wilson(k, n)) if n else (np.nan, np.nan, np.nan)
        for k, n in zip(right.tolist(), total.tolist(), strict=True)
    ]
    return 100 * np.array(rows, dtype=np.float64).reshape(-1, 3).T
