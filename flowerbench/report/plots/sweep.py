"""The settings of a sweep as rows of dots, with the intervals that say what a difference is worth."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from flowerbench.report.plots import style
from flowerbench.report.plots.rows import name_marks, new_rows

if TYPE_CHECKING:
    import pandas as pd

# With more rows a figure is no longer taken in at a glance.
_MOST = 40
_LEVEL = "cannot be\ntold from\nthe best"


def settings(table: pd.DataFrame) -> Figure:
    """The accuracy of each setting with its 95 % interval, best first; those that may be as good as it are shaded.

    `table` has one row per setting, named by the index. `accuracy`, `low` and `high` (the interval) are shares of
    the validation photos in the best epoch, means over `n` runs, `last` is that of the last epoch and `test` that of
    the test photos; NaN is none. `is_best` and `is_level` are True for the best and for those that cannot be told
    from it. A row without an accuracy shows its `status` instead. Of more than 40 the best 40 are drawn.
    """
    accuracy = style.finite(table["accuracy"])
    shaded = table["is_level"].to_numpy(dtype=bool) | table["is_best"].to_numpy(dtype=bool)
    order = np.lexsort((-np.nan_to_num(accuracy), ~shaded, np.isnan(accuracy)))
    rows = table.iloc[order[:_MOST]]
    numbers = _numbers(rows)
    has_level = bool((rows["is_level"].astype(bool) & ~rows["is_best"].astype(bool)).any())
    right = style.widest(numbers, style.SMALL) + 0.25
    figure, axes = new_rows(rows.index, right + 0.8 * has_level, _what(rows, len(table)))
    if has_level:
        _shade(axes, min(int(shaded.sum()), len(rows)), right)
    _draw(axes, rows)
    for row, number in enumerate(numbers):
        style.note(axes, number, (1, row), (6, 0), axes.get_yaxis_transform(), va="center")
    return figure


def _counts(rows: pd.DataFrame) -> list[int]:
    """The different numbers of finished runs behind the accuracies."""
    return sorted(set(rows["n"][np.isfinite(style.finite(rows["accuracy"]))].astype(int)) - {0})


def _numbers(rows: pd.DataFrame) -> list[str]:
    """The accuracy of each row, with the number of runs behind it where that is not the same for all."""
    has_counts = len(_counts(rows)) > 1
    behind = ["  unfinished" if n == 0 else f"  n={n}" if has_counts else "" for n in rows["n"].fillna(0).astype(int)]
    return [
        style.percent(share) + told + ("  best" if is_best else "") if np.isfinite(share) else ""
        for share, told, is_best in zip(rows["accuracy"], behind, rows["is_best"], strict=True)
    ]


def _what(rows: pd.DataFrame, total: int) -> str:
    """What the numbers are, what stands behind them, and how many rows are left out."""
    text, counts = "validation accuracy (%)", _counts(rows)
    if counts not in ([], [1]):
        text += f", mean of {counts[0] if len(counts) == 1 else 'n'} runs"
    if np.isfinite(style.finite(rows["low"])).any():
        text += ", with 95 % intervals"
    if len(rows) < total:
        text += f"\nthe best {len(rows)} of {total} settings: {total - len(rows)} are left out"
    return text


def _draw(axes: Axes, rows: pd.DataFrame) -> None:
    accuracy, low, high, last, test = (
        100 * style.finite(rows[name]) for name in ("accuracy", "low", "high", "last", "test")
    )
    y = np.arange(len(rows))
    axes.hlines(y, low, high, color=style.BLUE, linewidth=1.8)
    marks = {"best epoch": _dots(axes, accuracy, "o", style.BLUE, 7)}
    marks["last epoch"] = _dots(axes, last, "o", style.GREY, 4.5, hollow=True)
    marks["last epoch"].set_zorder(5)  # it would be lost behind a dot at the same place
    if np.isfinite(test).any():
        marks["test photos"] = _dots(axes, test, "^", style.GREEN, 6)
    is_best = rows["is_best"].to_numpy(dtype=bool)
    style.star(axes, accuracy[is_best], y[is_best])
    axes.margins(x=0.04)
    axes.autoscale(axis="x")
    axes.xaxis.set_major_locator(
        MaxNLocator(8, steps=[1, 2, 2.5, 5, 10]) if np.isfinite(accuracy).any() else NullLocator()
    )
    for row in np.flatnonzero(np.isnan(accuracy)).tolist():
        status = textwrap.shorten(str(rows["status"].iloc[row]), 70, placeholder=" …") if "status" in rows else ""
        # On white, lest the hair of the row strikes it through.
        look = {"va": "center", "color": style.GREY, "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1}}
        style.note(axes, style.plain(status), (0, row), (4, 0), axes.get_yaxis_transform(), **look)
    if np.isfinite(accuracy).any():
        name_marks(axes, {name: (mark, float(np.asarray(mark.get_xdata())[0])) for name, mark in marks.items()})


def _dots(axes: Axes, x: np.ndarray, marker: str, color: str, size: float, hollow: bool = False) -> Line2D:
    face = "white" if hollow else color
    (line,) = axes.plot(x, np.arange(len(x)), marker, color=color, markersize=size, markerfacecolor=face)
    return line


def _shade(axes: Axes, rows: int, right: float) -> None:
    """Shade the first rows as one group to the edge of the figure, and name it, `right` inches beside the axes."""
    room = axes.get_position()
    axes.axhspan(
        -0.5, rows - 0.5, xmax=(1 - room.x0) / room.width, color=style.SHADE, zorder=0, linewidth=0, clip_on=False
    )
    style.note(axes, _LEVEL, (1, (rows - 1) / 2), (72 * right, 0), axes.get_yaxis_transform(), va="center")
