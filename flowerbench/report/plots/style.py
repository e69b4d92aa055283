"""What all figures share: dark ink on white, colours for any eye, text as it stands, and the way to SVG."""

from __future__ import annotations

import base64
import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from numpy.typing import ArrayLike, NDArray
from PIL import Image

# Okabe and Ito 2008, "Color Universal Design": told apart by colour-blind eyes. Shapes differ as well, for grey print.
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
INK, GREY, RULE, SHADE = "#222222", "#6e6e6e", "#e2e2e2", "#f0f0f0"
# Points: of text, and of the smallest that can be read in a PNG of 100 dots per inch.
TEXT, SMALL, SMALLEST = 9.0, 8.0, 6.0
DPI = 100
# Inches: fits a page of A4 as well as the card of a web page.
WIDTH = 9.0

Floats = NDArray[np.float64]


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty white figure, in inches."""
    return Figure(figsize=(width, height), dpi=DPI, facecolor="white")


def add_axes(figure: Figure, left: float, right: float, bottom: float, top: float) -> Axes:
    """Axes that leave these margins, in inches, with faint rules and no box around them."""
    width, height = figure.get_size_inches()
    room = (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    axes = figure.add_axes(room, facecolor="none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(colors=GREY, labelcolor=INK, labelsize=SMALL)
    axes.xaxis.label.set(color=INK, size=TEXT)
    axes.yaxis.label.set(color=INK, size=TEXT)
    axes.grid(color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def note(
    axes: Axes, text: str, at: tuple[float, float], shift: tuple[float, float], coords: Any = "data", **look: Any
) -> None:
    """Write a small text, `shift` points from a place that may lie outside of the axes."""
    look.setdefault("fontsize", SMALL)
    look.setdefault("color", INK)
    axes.annotate(text, at, shift, coords, "offset points", annotation_clip=False, **look)


def star(axes: Axes, x: ArrayLike, y: ArrayLike) -> None:
    """Mark the best."""
    axes.plot(x, y, "*", color=VERMILION, markersize=13, markeredgecolor=INK, zorder=4)


def plain(name: object, most: int = 10**6) -> str:
    """A name as it stands, its middle left out where it has more than `most` characters: names differ at their ends.

    `$` would begin a formula, and what cannot be printed, such as half of a broken file name, no SVG may hold.
    """
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(name))
    if len(text) > most:
        text = f"{text[: most // 2]}…{text[len(text) - (most - 1) // 2 :]}"
    return text.replace("$", r"\$")


def wrapped(name: object, width: int, lines: int = 3) -> str:
    """A name in lines of about `width` characters, broken at spaces; where it has too many, the middle is left out."""
    words = " ".join(plain(word, width) for word in str(name).split())
    parts = textwrap.wrap(words, width, break_long_words=False, break_on_hyphens=False) or [""]
    if len(parts) > lines:
        parts = [*parts[: lines - 1], f"… {parts[-1]}"]
    return "\n".join(parts)


def percent(share: float, decimals: int = 1) -> str:
    """0.8772 as `87.7 %`."""
    return f"{100 * share:.{decimals}f} %"


def finite(values: ArrayLike) -> Floats:
    """As floats, with NaN for all that is not finite: matplotlib leaves a gap there."""
    floats = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(floats), floats, np.nan)


def text_size(text: str, points: float) -> tuple[float, float]:
    """The width of the longest line and the height of all lines, in points."""
    lines = text.split("\n")
    font = FontProperties(size=points)
    with _without_glyph_warnings():
        width = max(text_to_path.get_text_width_height_descent(line or " ", font, False)[0] for line in lines)
    return width, 1.2 * points * len(lines)


def widest(texts: Sequence[str], points: float) -> float:
    """The width of the widest text, in inches."""
    return max((text_size(text, points)[0] for text in texts), default=0.0) / 72


@contextmanager
def _without_glyph_warnings() -> Iterator[None]:
    # What matplotlib's own font lacks, a browser finds in another.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def svg(figure: Figure) -> str:
    """The figure as an `<svg>` element, to stand in a page or a file: text as text, the same bytes every time."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "flowerbench"}), _without_glyph_warnings():
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    return re.sub(r"<image .*?/>", _compact, text[text.index("<svg") :], flags=re.DOTALL)


def _compact(image: re.Match[str]) -> str:
    """The image as JPEG where that is much smaller, as it is of photos, but not of the few pixels of a heat map."""
    found = re.search(r"data:image/png;base64,([^\"]+)", image[0])
    assert found is not None
    png, jpeg = base64.b64decode(found[1]), io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(jpeg, "JPEG", quality=85, optimize=True)
    if len(jpeg.getvalue()) > len(png) / 3:
        return image[0]
    # Where a browser enlarges photos, it may smooth them.
    smooth = re.sub(r'style="image-rendering[^"]*"', "", image[0])
    return smooth.replace(found[0], f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}")
