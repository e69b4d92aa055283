"""Figures rendered, for that is where matplotlib raises, and read back."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

# Names that a formula, a wrong escape or a missing glyph would trip over.
ODD_NAMES = ("a$b$", r"\frac_x^{2}", "ümlaut 花", "n" * 90, "bell\x07", "<b>&amp;")


@contextmanager
def _without_glyph_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def render(figure: Figure) -> Image.Image:
    """The figure as a PNG of 100 dots per inch."""
    png = io.BytesIO()
    with _without_glyph_warnings():
        figure.savefig(png)
    return Image.open(png)


def written(axes: Axes) -> list[str]:
    """What is written on axes, but for their labels."""
    return [text.get_text() for text in axes.texts if text.get_text()]


def boxes(figure: Figure) -> dict[str, Bbox]:
    """Where each note of the first axes stands, in pixels, without the line that may lead to it."""
    canvas = FigureCanvasAgg(figure)
    with _without_glyph_warnings():
        canvas.draw()
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    return {text.get_text(): Text.get_window_extent(text, canvas.get_renderer()) for text in texts}


def table(accuracies: list[float], **columns: object) -> pd.DataFrame:
    """Settings called A, B, … with these accuracies, intervals of four percent, and whatever else is given."""
    frame = pd.DataFrame({"accuracy": accuracies}, index=[chr(65 + i) for i in range(len(accuracies))])
    best = frame["accuracy"].rank(ascending=False, method="first") == 1
    defaults = {
        "low": frame["accuracy"] - 0.02,
        "high": frame["accuracy"] + 0.02,
        "n": 1,
        "last": frame["accuracy"] - 0.01,
        "test": float("nan"),
        "is_best": best,
        "is_level": False,
        "status": "FINISHED",
        "seconds": 60.0,
    }
    return frame.assign(**defaults).assign(**columns)
