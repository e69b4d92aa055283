"""Labels beside points, where they cover neither each other nor what is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from flowerbench.report.plots import style
from flowerbench.report.plots.style import Floats

# Where a label may stand: in these directions from its point, at these distances in pixels.
_ANGLES = np.arange(16) * np.pi / 8
_DISTANCES = np.repeat([11.0, 16, 26, 40, 58, 80, 106, 136, 170, 210, 260], len(_ANGLES))
_WAYS = np.tile(np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)]).round(6), (len(_DISTANCES) // len(_ANGLES), 1))
# Which corner or side of a label looks at its point: -1 is left or below, 0 the middle.
_SIDES = np.clip(1.5 * _WAYS, -1, 1)
# From this distance on, a line leads from the point to its label.
_LED = 26
# What weighs as much as a pixel of distance: square pixels covered, and square pixels outside of the axes.
_COVERED, _OUTSIDE, _WORSE = 3.0, 0.1, 20.0
# The second time, a label makes way for those placed after it.
_ROUNDS = 2
# Half a dot, in pixels.
_DOT = 7


def place(axes: Axes, points: Floats, texts: Sequence[str], taken: Floats) -> None:
    """Write each text near its point, apart from the others and from what is `taken`.

    `points` are n by 2, in data; `taken`, m by 4, are boxes in pixels (left, bottom, right, top). The same input gives
    the same places. The limits of the axes must not change afterwards.
    """
    frame = np.array([axes.get_window_extent().extents])
    dots = axes.transData.transform(points)
    sizes = [np.array(style.text_size(text, style.SMALL)) * style.DPI / 72 + 3 for text in texts]
    middles = [_DISTANCES[:, None] * _WAYS + _SIDES * size / 2 for size in sizes]
    boxes = [
        np.hstack([dot + middle - size / 2, dot + middle + size / 2])
        for dot, middle, size in zip(dots, middles, sizes, strict=True)
    ]
    lines = [_lines(dot) for dot in dots]
    chosen: dict[int, int] = {}
    for i in [*range(len(texts))] * _ROUNDS:
        others = [(boxes[k][j], lines[k][j]) for k, j in chosen.items() if k != i]
        covered = _shared(boxes[i], np.vstack([taken, *(line for _, line in others)]))
        # A label on another or on its dot, or a line through these, is worse than its few pixels.
        lone = np.vstack([np.hstack([dots - _DOT, dots + _DOT]), *(box for box, _ in others)])
        covered += _WORSE * _shared(boxes[i], lone)
        covered += _WORSE * _shared(lines[i].reshape(-1, 4), lone).reshape(len(_WAYS), -1).sum(axis=1)
        outside = sizes[i].prod() - _shared(boxes[i], frame)
        chosen[i] = int(np.argmin(_DISTANCES + covered / _COVERED + outside / _OUTSIDE))
    for i, j in chosen.items():
        line = {"arrowstyle": "-", "color": style.GREY, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 4}
        axes.annotate(
            texts[i], points[i], middles[i][j] * 72 / style.DPI, textcoords="offset points", ha="center", va="center",
            multialignment="left", fontsize=style.SMALL, color=style.INK, annotation_clip=False,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
            arrowprops=line | {"relpos": 0.5 - _SIDES[j] / 2} if _DISTANCES[j] >= _LED else None,
        )  # fmt: skip


def _lines(dot: Floats) -> Floats:
    """The line to the label in each of the places, as boxes along it; boxes of no size where it needs none."""
    steps = np.linspace(_DOT + 2, np.maximum(_DISTANCES, _DOT + 2), 10, axis=1)
    middles = dot + steps[:, :, None] * _WAYS[:, None]
    half = np.where(_DISTANCES >= _LED, 2.0, 0.0)[:, None, None]
    return np.concatenate([middles - half, middles + half], axis=2)


def _shared(boxes: Floats, others: Floats) -> Floats:
    """The area that each of the boxes shares with the others."""
    sides = np.minimum(boxes[:, None, 2:], others[:, 2:]) - np.maximum(boxes[:, None, :2], others[:, :2])
    shared: Floats = np.maximum(sides, 0).prod(axis=2).sum(axis=1)
    return shared
