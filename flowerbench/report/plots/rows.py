"""Rows of dots, one per name, from the top: their layout, and what the marks are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from flowerbench.report.plots import style
from flowerbench.report.plots.style import Floats

# Inches above the axes for what the marks are, and below for the numbers and their name.
_ABOVE, _BELOW = 0.45, 0.55


def new_rows(names: Iterable[object], right: float, below: str, chars: int = 54) -> tuple[Figure, Axes]:
    """A figure whose axes have a row for each name, at 0, 1, … from the top, and `right` inches beside them.

    Long names are broken into lines of `chars` characters, three at most. `below` is what the numbers are.
    """
    labels = [style.wrapped(name, chars) for name in names]
    lines = max((label.count("\n") + 1 for label in labels), default=1)
    height = max(len(labels), 1) * (0.13 * lines + 0.12)
    bottom = _BELOW + 0.17 * below.count("\n")
    figure = style.new_figure(height + _ABOVE + bottom)
    axes = style.add_axes(figure, style.widest(labels, style.SMALL) + 0.25, right, bottom, _ABOVE)
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), labels, fontsize=style.SMALL)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    # A hair through each row leads from the name to its dots.
    axes.hlines(
        range(len(labels)), 0, 1, transform=axes.get_yaxis_transform(), color=style.RULE, linewidth=0.6, zorder=0.5
    )
    axes.set_xlabel(below)
    return figure, axes


def name_marks(axes: Axes, marks: Mapping[str, tuple[Line2D, float]]) -> None:
    """Write above the first row what its marks are, each at its place; in a legend, where they would overlap.

    A mark is its artist and where it lies in the first row, NaN if it is not there. Limits must not change afterwards.
    """
    axes.get_xlim()  # matplotlib puts limits off until they are asked for
    places = np.array([place for _, place in marks.values()])
    if np.isfinite(places).all() and _are_apart(axes, list(marks), places):
        for name, (mark, place) in marks.items():
            style.note(axes, name, (place, -0.5), (0, 4), ha="center", color=mark.get_color())
        return
    axes.legend(
        [mark for mark, _ in marks.values()], list(marks), loc="lower left", bbox_to_anchor=(0, 1), ncols=len(marks),
        frameon=False, fontsize=style.SMALL, labelcolor=style.INK, borderaxespad=0.2, handletextpad=0.3,
        columnspacing=1.5,
    )  # fmt: skip


def _are_apart(axes: Axes, names: Sequence[str], places: Floats) -> bool:
    order = np.argsort(places)
    centers = axes.transData.transform([(places[i], 0) for i in order])[:, 0] * 72 / style.DPI
    halves = np.array([style.text_size(names[i], style.SMALL)[0] / 2 for i in order])
    return bool((np.diff(centers) > halves[:-1] + halves[1:] + style.TEXT).all())
