"""How a run learned: loss and accuracy by epoch, with the steps of the learning rate and the best epoch."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import blended_transform_factory

from flowerbench.report.plots import style
from flowerbench.report.plots.style import Floats

if TYPE_CHECKING:
    import pandas as pd

# With more changes than this, the learning rate is a curve of its own.
_MOST_STEPS = 6
# From this many epochs on, markers would hide the lines.
_MANY_EPOCHS = 40
# Inches: the width of the axes of loss, and of those of accuracy.
_SIDE = 3.05
_PARTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("train", "training", {"color": style.BLUE, "linestyle": (0, (4, 1.5)), "marker": "s", "linewidth": 1.4}),
    ("val", "validation", {"color": style.VERMILION, "linestyle": "-", "marker": "o", "linewidth": 1.6}),
)


def curves(history: pd.DataFrame) -> Figure:
    """Loss and accuracy against the epoch, training against validation, and the best epoch with its accuracy.

    `history` has the columns of history.csv and one row at least. A learning rate that changes six times at most is
    written where it changes, any other has axes of its own. The best epoch is the first with the highest validation
    accuracy. What is not finite is a gap, and counted.
    """
    epochs, rates = history["epoch"].to_numpy(dtype=float), style.finite(history["lr"])
    steps = [i for i in range(1, len(rates)) if not np.array_equal(rates[i], rates[i - 1], equal_nan=True)]
    has_rate_axes = len(steps) > _MOST_STEPS
    starts = [] if has_rate_axes else [epochs[i] - 0.5 for i in (0, *steps)]
    names = [] if has_rate_axes else [f"{'' if i else 'lr '}{_rate(rates[i])}" for i in (0, *steps)]
    end = epochs.max() + 0.5
    is_narrow = bool(names) and _is_narrow(names, [*starts, end])
    below, above = 1.4 * has_rate_axes, 0.8 if is_narrow else 0.5
    figure = style.new_figure(3.45 + below + above)
    loss = style.add_axes(figure, 0.8, style.WIDTH - 0.8 - _SIDE, 0.55 + below, above)
    accuracy = style.add_axes(figure, style.WIDTH - 0.9 - _SIDE, 0.9, 0.55 + below, above)
    _draw(loss, history, "loss", 1)
    _draw(accuracy, history, "accuracy", 100)
    shown = [loss, accuracy]
    if has_rate_axes:
        shown.append(style.add_axes(figure, 0.8, 0.9, 0.5, 2.9 + above + 0.65))
        _draw_rates(shown[-1], epochs, rates)
    for axes in shown:
        axes.set_xlabel("epoch")
        axes.set_xlim(epochs.min() - 0.5, end)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    for axes in (loss, accuracy):
        _name_lines(axes)
        _mark_steps(axes, starts, names, is_narrow)
    _mark_best(shown, epochs, style.finite(history["val_accuracy"]), 72 * above - 14)
    return figure


def _draw(axes: Axes, history: pd.DataFrame, name: str, unit: float) -> None:
    marks = {"markersize": 3.5} if len(history) < _MANY_EPOCHS else {"marker": ""}
    values = [unit * style.finite(history[f"{part}_{name}"]) for part, _, _ in _PARTS]
    for line, (_, label, look) in zip(values, _PARTS, strict=True):
        axes.plot(history["epoch"], line, label=label, **(look | marks))
    axes.set_ylabel(f"{name} (%)" if unit == 100 else name)
    axes.margins(y=0.08)
    # The factor of very large losses would stand where the rates do.
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.yaxis.get_offset_text().set(x=-0.02, ha="right", size=style.SMALL)
    gaps = np.isnan(values)
    if gaps.all():
        axes.yaxis.set_major_locator(NullLocator())
    if gaps.any():
        note = f"not finite in {gaps.any(axis=0).sum()} of {len(history)} epochs"
        axes.text(0.02, 0.02, note, transform=axes.transAxes, fontsize=style.SMALL, color=style.GREY)


def _name_lines(axes: Axes) -> None:
    """Write beside the last value of each line what it is; two that end close together are moved apart."""
    named = []
    for line in axes.get_lines():
        values = np.asarray(line.get_ydata(), dtype=float)
        known = values[np.isfinite(values)]
        if len(known):
            named.append((axes.transData.transform((0, known[-1]))[1], line))
    named.sort(key=lambda pair: pair[0])
    heights = [height for height, _ in named]
    if len(heights) == 2:
        missing = max(0.0, 1.3 * style.SMALL / 72 * style.DPI - (heights[1] - heights[0]))
        heights = [heights[0] - missing / 2, heights[1] + missing / 2]
    for height, (_, line) in zip(heights, named, strict=True):
        y = axes.transAxes.inverted().transform((0, height))[1]
        style.note(axes, str(line.get_label()), (1, y), (3, 0), "axes fraction", va="center", color=line.get_color())


def _is_narrow(names: list[str], edges: list[float]) -> bool:
    """Whether names do not fit between the edges, one more than they are, that go across the axes."""
    per_epoch = 72 * _SIDE / (edges[-1] - edges[0])
    return any(
        style.text_size(name, style.SMALL)[0] + 4 > (right - left) * per_epoch
        for name, (left, right) in zip(names, pairwise(edges), strict=True)
    )


def _mark_steps(axes: Axes, starts: list[float], names: list[str], is_narrow: bool) -> None:
    """Thin lines where the learning rate changes, and above the axes each rate: aslant where it is narrow."""
    above = blended_transform_factory(axes.transData, axes.transAxes)
    for start, name in zip(starts, names, strict=True):
        look = {"rotation": 50, "rotation_mode": "anchor"} if is_narrow else {}
        style.note(axes, name, (start, 1), (5 if is_narrow else 2, 3), above, color=style.GREY, **look)
    for start in starts[1:]:
        axes.axvline(start, color="#a8a8a8", linewidth=0.8)


def _rate(rate: float) -> str:
    return f"{rate:.6g}".replace("e-0", "e-")


def _draw_rates(axes: Axes, epochs: Floats, rates: Floats) -> None:
    axes.plot(epochs, rates, color=style.INK, drawstyle="steps-mid", linewidth=1.2)
    axes.set_ylabel("learning rate")
    known = rates[np.isfinite(rates)]
    if 0 < 5 * known.min() < known.max():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=4))
        axes.minorticks_off()
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: _rate(rate)))


def _mark_best(shown: list[Axes], epochs: Floats, accuracies: Floats, height: float) -> None:
    """A star at the best epoch, a line through all axes, and words at a height of so many points above them."""
    if np.isnan(accuracies).all():
        return
    best = int(np.nanargmax(accuracies))
    for axes in shown:
        axes.axvline(epochs[best], color=style.GREY, linestyle=":", linewidth=1, zorder=1)
    accuracy = shown[1]
    style.star(accuracy, epochs[best], 100 * accuracies[best])
    text = f"\N{BLACK STAR} best validation accuracy: {style.percent(accuracies[best])} in epoch {epochs[best]:.0f}"
    style.note(accuracy, text, (0, 1), (0, height), "axes fraction", fontsize=style.TEXT)
