"""The two figures of a run: how it learned, and what it confuses; drawn without pyplot's global state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_TRAIN, _VAL = "tab:blue", "tab:orange"
# From this many epochs on, markers would hide the lines.
_MANY_EPOCHS = 40
# The smallest type that can be read in a PNG of 100 dots per inch.
_SMALLEST_POINTS = 6.0


def curves(history: pd.DataFrame) -> Figure:
    """Loss, accuracy and learning rate against the epoch, with the best epoch marked: 900 by 500 pixels.

    `history` is a history.csv with one row at least; the best epoch is the first with the highest validation
    accuracy.
    """
    figure = Figure(figsize=(9, 5), dpi=100, layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(4, 1))
    loss, accuracy = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    lr = figure.add_subplot(grid[1, :])
    epochs = history["epoch"].to_numpy()
    marker = "o" if len(history) < _MANY_EPOCHS else ""
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        axes.plot(epochs, history[f"train_{name}"], color=_TRAIN, marker=marker, markersize=3, label="train")
        axes.plot(epochs, history[f"val_{name}"], color=_VAL, marker=marker, markersize=3, label="val")
        axes.set_ylabel(name)
        axes.legend(frameon=False)
    rates = history["lr"].to_numpy()
    lr.plot(epochs, rates, color="0.2", drawstyle="steps-mid", marker=marker, markersize=2)
    lr.set_ylabel("lr")
    if 0 < 5 * rates.min() < rates.max():
        lr.set_yscale("log")
    for axes in (loss, accuracy, lr):
        axes.set_xlabel("epoch")
        axes.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(color="0.92")
        axes.set_axisbelow(True)
    best = int(history["val_accuracy"].to_numpy().argmax())
    epoch, height = int(epochs[best]), float(history["val_accuracy"].iloc[best])
    for axes in (loss, accuracy, lr):
        axes.axvline(epoch, color="0.45", linestyle=":", linewidth=1, zorder=1)
    accuracy.plot([epoch], [height], "*", color=_VAL, markersize=12, markeredgecolor="black")
    accuracy.set_title(f"best val accuracy {height:.4f} in epoch {epoch}", fontsize=10)
    return figure


def confusion_matrix(predictions: pd.DataFrame) -> Figure:
    """How many photos of each class (rows) were given which class (columns), coloured by share of the row.

    `predictions` has one row per photo with the class names `label` and `prediction`. The figure grows with
    the number of classes; where a cell is too small for its count, colour alone speaks. No number is none.
    """
    classes = np.unique(predictions[["label", "prediction"]].to_numpy().astype(str))
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    rows = np.searchsorted(classes, predictions["label"].astype(str).to_numpy())
    columns = np.searchsorted(classes, predictions["prediction"].astype(str).to_numpy())
    np.add.at(counts, (rows, columns), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    side = min(max(0.55 * len(classes), 3.5), 12.0)
    figure = Figure(figsize=(side + 2.5, side + 1.5), dpi=100, layout="compressed")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class")
    cell = 72 * side / len(classes)
    names = [_plain(name) for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=min(9.0, 0.8 * cell))
    axes.set_yticks(range(len(names)), names, fontsize=min(9.0, 0.8 * cell))
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    correct, total = int(np.trace(counts)), len(predictions)
    axes.set_title(f"{correct} of {total} photos correct ({correct / total:.4f})", fontsize=10)
    _write_counts(axes, counts, shares, cell)
    return figure


def _write_counts(axes: Axes, counts: NDArray[Any], shares: NDArray[Any], cell: float) -> None:
    """Write each count but 0 into its cell, `cell` points wide, if the widest of them can be read there."""
    # A digit is about 0.6 of the size of its type wide; counted as two, one fits a cell in height, too.
    points = min(10.0, 0.8 * cell / (0.6 * max(2, len(str(counts.max())))))
    if points < _SMALLEST_POINTS:
        return
    for row, column in np.argwhere(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=points, color=colour)


def _plain(name: str) -> str:
    """A class name as it stands: `$` would begin a formula, and a long name leave no room for the matrix."""
    short = name if len(name) <= 24 else f"{name[:23]}…"
    return short.replace("$", r"\$")
