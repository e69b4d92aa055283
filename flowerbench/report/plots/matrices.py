"""Tables of shaded cells: accuracies over two settings, and which class is taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from flowerbench.report.plots import style

if TYPE_CHECKING:
    import pandas as pd

# Darker all the way, so that it reads in grey; from a light blue on, so that the lowest accuracy is no blank.
_SHARES = colormaps["Blues"]
_ACCURACIES = LinearSegmentedColormap.from_list("accuracies", _SHARES(np.linspace(0.12, 1, 256)))
# Inches on the right of the cells: with a bar of colours, and without.
_BAR, _MARGIN = 1.0, 0.2


def heat_map(values: pd.DataFrame, rows: str, columns: str) -> Figure:
    """Accuracies (shares; NaN is none) over two settings, called `rows` and `columns`, whose values index the frame.

    Shaded over the range of the data, but over one percent at least, with the numbers in percent where the cells have
    room for them, else with a bar of colours.
    """
    percents = 100 * style.finite(values)
    known = percents[np.isfinite(percents)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 100.0)
    # Where all lie within a percent, a tenth of one says too little.
    digits = 1 if high - low >= 1 else 2
    texts = [["\N{EN DASH}" if np.isnan(number) else f"{number:.{digits}f}" for number in line] for line in percents]
    names, heads = ([style.plain(name, 30) for name in index] for index in (values.index, values.columns))
    room = style.WIDTH - style.widest([*names, rows], style.SMALL) - _BAR - 0.2
    width, height = min(max(0.8, style.widest(heads, style.SMALL) + 0.2), room / len(heads)), min(0.36, 14 / len(names))
    points = _fitting(texts, width, height)
    if not points:
        height = max(height, 1.6 / len(names))
    figure, axes = _new_table(names, heads, (width, height), _MARGIN if points else _BAR, style.plain(rows, 30))
    axes.set_xlabel(style.plain(columns, 60))
    image = axes.imshow(percents, _ACCURACIES, aspect="auto", interpolation="none")
    spare = max(0.0, 1 - (high - low)) / 2
    image.set_clim(low - spare, high + spare)
    if points:
        _write(axes, image, texts, points)
        _add_title(axes, "accuracy (%)")
    else:
        _add_bar(figure, axes, image, "accuracy (%)")
    return figure


def confusion_matrix(predictions: pd.DataFrame) -> Figure:
    """How many photos of each class (rows) were given which class (columns), shaded by the share of the row.

    `predictions` has one row per photo, and one at least, with the class names `label` and `prediction`. The shade
    grows with the root of the share, so that rare mistakes are seen. The figure grows with the number of classes;
    where a cell is too small for its count, the shade alone speaks. No number is none.
    """
    classes = np.unique(predictions[["label", "prediction"]].to_numpy().astype(str))
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    rows = np.searchsorted(classes, predictions["label"].astype(str).to_numpy())
    columns = np.searchsorted(classes, predictions["prediction"].astype(str).to_numpy())
    np.add.at(counts, (rows, columns), 1)
    photos = counts.sum(axis=1)

    heads = [style.plain(name, 24) for name in classes]
    names = [f"{name} ({n})" for name, n in zip(heads, photos, strict=True)]
    cell = min(max(0.7, 1.8 / len(classes)), max(9 / len(classes), 12 / 102))
    figure, axes = _new_table(names, heads, (cell, cell), _BAR, "true class (photos)")
    axes.set_xlabel("predicted class")
    shares = 100 * counts / np.maximum(photos, 1)[:, None]
    image = axes.imshow(shares, _SHARES, PowerNorm(0.5, 0, 100), interpolation="none")
    texts = [[str(count) if count else "" for count in line] for line in counts]
    if points := _fitting(texts, cell, cell):
        _write(axes, image, texts, points)
    _add_bar(figure, axes, image, "share of the true class (%)")
    right, total = int(np.trace(counts)), len(predictions)
    _add_title(axes, f"{right} of {total} photos right ({style.percent(right / total)})")
    return figure


def _new_table(
    names: Sequence[str], heads: Sequence[str], cell: tuple[float, float], right: float, corner: str
) -> tuple[Figure, Axes]:
    """A figure with room for cells of this width and height and a margin on the right, all in inches.

    There is a row for each name, under the `corner` that says what they are, and a column for each head.
    """
    width, height = cell
    size = min(style.SMALL, 72 * 0.8 * height), min(style.SMALL, 72 * 0.8 * width)
    is_upright = style.widest(heads, size[1]) + 0.08 > width
    left = max(style.widest(names, size[0]), style.widest([corner], style.SMALL)) + 0.2
    below = (style.widest(heads, size[1]) if is_upright else 0.12) + 0.45
    figure = style.new_figure(below + height * len(names) + 0.6, left + width * len(heads) + right)
    axes = style.add_axes(figure, left, right, below, 0.6)
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    axes.set_yticks(range(len(names)), names, fontsize=size[0])
    axes.set_xticks(range(len(heads)), heads, fontsize=size[1])
    if is_upright:
        for label in axes.get_xticklabels():
            label.set(rotation=90, rotation_mode="anchor", ha="right", va="center")
    style.note(axes, corner, (0, 1), (-3.5, 5), "axes fraction", ha="right", color=style.GREY)
    return figure, axes


def _add_title(axes: Axes, text: str) -> None:
    style.note(axes, text, (0, 1), (0, 20), "axes fraction", fontsize=style.TEXT)


def _fitting(texts: Sequence[Sequence[str]], width: float, height: float) -> float:
    """The size of type, in points, in which all texts fit into cells of so many inches; 0 if nobody could read it."""
    longest = max((text for line in texts for text in line), key=len)
    # In type of one point; as if of two digits at least, for one alone would fill a cell.
    points = min(style.TEXT, 0.85 * 72 * width / max(1.2, style.text_size(longest, 1)[0]), 0.6 * 72 * height)
    return points if points >= style.SMALLEST else 0.0


def _write(axes: Axes, image: AxesImage, texts: Sequence[Sequence[str]], points: float) -> None:
    """Write the texts into their cells, and set these apart."""
    shades = image.to_rgba(np.ma.asarray(image.get_array()))
    for (row, column), light in np.ndenumerate(shades[..., :3] @ (0.299, 0.587, 0.114)):
        color = style.GREY if shades[row, column, 3] == 0 else "white" if light < 0.5 else style.INK
        if text := texts[row][column]:
            axes.text(column, row, text, ha="center", va="center", fontsize=points, color=color)
    axes.hlines(np.arange(1, len(texts)) - 0.5, -0.5, len(texts[0]) - 0.5, color="white", linewidth=1)
    axes.vlines(np.arange(1, len(texts[0])) - 0.5, -0.5, len(texts) - 0.5, color="white", linewidth=1)


def _add_bar(figure: Figure, axes: Axes, image: AxesImage, label: str) -> None:
    """A bar of colours beside the cells."""
    width, height = figure.get_size_inches()
    room = axes.get_position()
    length = min(room.height, 3 / height)
    bar = figure.add_axes((room.x1 + 0.15 / width, room.y1 - length, 0.15 / width, length))
    figure.colorbar(image, cax=bar)
    bar.set_ylabel(label, fontsize=style.SMALL, color=style.INK)
    bar.tick_params(labelsize=style.SMALL, color=style.GREY, labelcolor=style.INK)
    bar.spines["outline"].set_visible(False)
