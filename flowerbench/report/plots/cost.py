"""What accuracy costs: settings by their training time, and those that no other beats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from flowerbench.report.plots import style
from flowerbench.report.plots.labels import place
from flowerbench.report.plots.style import Floats

if TYPE_CHECKING:
    import pandas as pd

# With more settings, only those on the front are named.
_MOST_NAMES = 12
# Slowest over fastest, from which on times are compared by their ratio.
_WIDE = 20


def accuracy_by_seconds(table: pd.DataFrame) -> Figure:
    """Accuracy against training time, a point per setting with its 95 % interval, and the Pareto front.

    `table` is that of `settings`, with `seconds`, a setting's training time, the mean of its runs. On the front are
    those that no other beats in one without being worse in the other; of more than 12 settings only they are named,
    and of a longer front 12. What has no accuracy or no time is left out.
    """
    rows = table[np.isfinite(style.finite(table["accuracy"])) & (style.finite(table["seconds"]) > 0)]
    rows = rows.sort_values(["seconds", "accuracy"], kind="stable")
    accuracy, low, high = (100 * style.finite(rows[name]) for name in ("accuracy", "low", "high"))
    unit, length = _unit(style.finite(rows["seconds"]))
    times = style.finite(rows["seconds"]) / length
    front, is_best = _front(times, accuracy), rows["is_best"].to_numpy(dtype=bool)
    named = np.flatnonzero(front) if len(rows) > _MOST_NAMES else np.arange(len(rows))
    if len(named) > _MOST_NAMES:
        named = named[np.linspace(0, len(named) - 1, _MOST_NAMES).round().astype(int)]

    figure = style.new_figure(4.8)
    axes = style.add_axes(figure, 0.75, 0.3, 0.6, 0.35)
    axes.grid(visible=False, axis="x")
    axes.vlines(times, low, high, color=style.BLUE, linewidth=1.2, alpha=0.5 if len(rows) <= _MOST_NAMES else 0.25)
    axes.plot(times[front], accuracy[front], color=style.GREY, linewidth=0.9, drawstyle="steps-post")
    axes.plot(times[~front], accuracy[~front], "o", color=style.BLUE, markersize=6, markerfacecolor="white", zorder=4)
    axes.plot(times[front], accuracy[front], "o", color=style.BLUE, markersize=6.5, zorder=4)
    style.star(axes, times[is_best], accuracy[is_best])
    axes.margins(x=0.08, y=0.08)
    axes.set_ylabel(f"validation accuracy (%){', with 95 % intervals' if np.isfinite(low).any() else ''}")
    axes.set_xlabel(f"training time of a run ({unit})")
    _scale(axes, times)

    dots, *ends = (np.column_stack([times, y]) for y in (accuracy, low, high))
    taken = _taken(axes, dots, dots[front], *(end[named] for end in ends))
    place(axes, dots[named], [style.wrapped(name, 34) for name in rows.index[named]], taken)
    notes = ["star: the best"] if is_best.any() else []
    notes += [] if front.all() else ["filled: no other setting is as accurate in less time"]
    if left_out := len(table) - len(rows):
        notes.append(f"left out: {left_out} without an accuracy or a time")
    style.note(axes, "; ".join(notes), (0, 1), (0, 6), "axes fraction", color=style.GREY)
    return figure


def _unit(seconds: Floats) -> tuple[str, int]:
    """The unit of time that suits the middle of these, and its length in seconds."""
    middle = np.median(seconds) if len(seconds) else 0
    return ("hours", 3600) if middle > 3 * 3600 else ("minutes", 60) if middle > 5 * 60 else ("seconds", 1)


def _front(times: Floats, accuracy: Floats) -> NDArray[np.bool_]:
    """Which are beaten by none: by one as fast and more accurate, or faster and as accurate."""
    as_good = (times[:, None] <= times) & (accuracy[:, None] >= accuracy)
    better = (times[:, None] < times) | (accuracy[:, None] > accuracy)
    return np.array(~(as_good & better).any(axis=0))


def _scale(axes: Axes, times: Floats) -> None:
    if not len(times):
        axes.xaxis.set_major_locator(NullLocator())
        axes.yaxis.set_major_locator(NullLocator())
    elif times.max() > _WIDE * times.min():
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda time, _: f"{time:g}"))
        axes.minorticks_off()
    axes.autoscale_view()


def _taken(axes: Axes, dots: Floats, front: Floats, low: Floats, high: Floats) -> Floats:
    """What no label should cover, as boxes in pixels: dots, the steps of the front, and intervals, by their ends."""
    # A step goes right to the time of the next, then up to its accuracy.
    corners = np.column_stack([front[1:, 0], front[:-1, 1]])
    starts = np.vstack([dots, front[:-1], corners, low])
    ends = np.vstack([dots, corners, front[1:], high])
    margin = np.where(np.arange(len(starts)) < len(dots), 7, 2)[:, None]
    boxes = np.hstack([axes.transData.transform(starts) - margin, axes.transData.transform(ends) + margin])
    return np.array(boxes[np.isfinite(boxes).all(axis=1)])
