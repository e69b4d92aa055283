"""The photos that models got wrong: which they are, and a sheet of them to look at."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from flowerbench.data.images import read_rgb
from flowerbench.report.plots import style

if TYPE_CHECKING:
    import pandas as pd

_MOST, _COLUMNS = 24, 6
# Pixels of the figure: of a thumbnail, between two of them, and of a line of text.
_SIDE, _GAP, _LINE = 136, 12, 14


def mistakes(predictions: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The photos that any of the runs got wrong, those first that most got wrong; of equals, classes take turns.

    Each frame has the columns `photo`, `label` and `prediction` of one run. The result adds to each photo and its
    label the most frequent wrong `prediction`, and how many got it `wrong` of how many `runs`.
    """
    import pandas as pd

    columns = ["photo", "label", "prediction"]
    answers = pd.concat([pd.DataFrame(columns=columns), *(run[columns] for run in predictions)]).astype(str)
    wrong = answers[answers["label"] != answers["prediction"]]
    ways = wrong.value_counts().rename("times").reset_index()
    ways = ways.sort_values(["times", *columns], ascending=[False, True, True, True])
    found = ways.drop_duplicates("photo")
    found = found.assign(
        wrong=found["photo"].map(ways.groupby("photo")["times"].sum()),
        runs=found["photo"].map(answers["photo"].value_counts()),
    ).sort_values("photo")
    found["turn"] = found.groupby(["wrong", "label"]).cumcount()
    found = found.sort_values(["wrong", "turn", "label"], ascending=[False, True, True], ignore_index=True)
    return found[[*columns, "wrong", "runs"]]


def wrong_photos(mistakes: pd.DataFrame, root: Path) -> Figure | None:
    """A sheet of the first 24 photos of `mistakes`, below the folder `root`, with what they are and were taken for.

    A photo that cannot be read is left out. None if none can: they are elsewhere.
    """
    rows = mistakes.head(_MOST)
    rows = rows.assign(
        remark=[f"wrong in {wrong} of {runs}" for wrong, runs in zip(rows["wrong"], rows["runs"], strict=True)]
    )

    def note(shown: int) -> str:
        return f"{shown} of {len(mistakes)} photos that a run got wrong" if shown < len(mistakes) else ""

    return _sheet(rows, root, note)


def worst_photos(worst: pd.DataFrame, root: Path) -> Figure | None:
    """A sheet of the first 24 photos of `worst`, below the folder `root`: what they are and were taken for.

    Its rows are photos with the class names `label` and `prediction`, and the model's probabilities of these two,
    `p_label` and `p_prediction`. A photo that cannot be read is left out. None if none can: they are elsewhere.
    """
    rows = worst.head(_MOST)
    shares = zip(rows["p_label"], rows["p_prediction"], strict=True)
    remarks = [" → ".join(style.percent(share) for share in pair) for pair in shares]
    return _sheet(rows.assign(remark=remarks), root, lambda shown: "")


def _sheet(rows: pd.DataFrame, root: Path, note: Callable[[int], str]) -> Figure | None:
    """The photos that can be read, each above its label, its prediction and a `remark`, and a note on their number."""
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda photo: _thumbnail(root / photo), rows["photo"]))
    rows = rows[[image is not None for image in found]]
    thumbnails = [image for image in found if image is not None]
    if not thumbnails:
        return None
    captions = [
        _caption(label, prediction) for label, prediction in zip(rows["label"], rows["prediction"], strict=True)
    ]
    lines = 1 + max(caption.count("\n") + 1 for caption in captions)
    pitch, drop = _SIDE + _GAP, _SIDE + lines * _LINE + _GAP
    across, down = min(len(thumbnails), _COLUMNS), math.ceil(len(thumbnails) / _COLUMNS)
    places = [(_GAP + i % _COLUMNS * pitch, _GAP + i // _COLUMNS * drop) for i in range(len(thumbnails))]

    below_all = note(len(rows))
    width, height = _GAP + across * pitch, _GAP + down * drop + bool(below_all) * _LINE
    figure = style.new_figure(height / style.DPI, width / style.DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    # One image for all: an axes or an image for each takes long to draw.
    sheet = Image.new("RGB", (width, height), "white")
    for image, place in zip(thumbnails, places, strict=True):
        sheet.paste(image, place)
    axes.imshow(np.asarray(sheet), extent=(0, width, height, 0), aspect="auto", interpolation="none")
    for caption, remark, (x, y) in zip(captions, rows["remark"], places, strict=True):
        below = y + _SIDE + 3
        axes.text(x, below, caption, va="top", fontsize=style.SMALL, color=style.INK)
        below += _LINE * (caption.count("\n") + 1)
        axes.text(x, below, remark, va="top", fontsize=style.SMALL, color=style.GREY)
    axes.text(_GAP, height - 8, below_all, fontsize=style.SMALL, color=style.GREY)
    return figure


def _caption(label: str, prediction: str) -> str:
    """What the photo is and was taken for, in two lines where one is too short."""
    caption = f"{style.plain(label, 19)} → {style.plain(prediction, 19)}"
    return caption if style.widest([caption], style.SMALL) * style.DPI <= _SIDE else caption.replace(" → ", "\n→ ")


def _thumbnail(photo: Path) -> Image.Image | None:
    """The photo upright in a grey square; None if it cannot be read."""
    try:
        with Image.open(photo) as image:
            if image.format == "JPEG":
                # Decoded at a fraction of its size, which takes a fraction of the time.
                image.draft("RGB", (_SIDE, _SIDE))
                upright = ImageOps.exif_transpose(image).convert("RGB")
            else:
                upright = read_rgb(photo)
        return ImageOps.pad(upright, (_SIDE, _SIDE), color="#e8e8e8")
    except Exception:  # Pillow's plugins raise anything on a broken file
        return None
