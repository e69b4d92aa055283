"""What photos are like, in a few numbers each; every file is read once, on all cores."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import track

from flowerbench import launchers
from flowerbench.data import images, near
from flowerbench.data.sources import Photos
from flowerbench.errors import one_line

# Enough pixels to tell colours and contrast by.
_SMALL = (64, 64)
# Photos handed to the cores at a time: few enough to end soon when the command is stopped.
_AHEAD = 256


@dataclass(frozen=True)
class Look:
    """A photo's size upright, its file's format, and what it looks like.

    `colour` is how far its channels are apart, and `contrast` how far its pixels are from their mean colour, both from
    0 to 255; `hash` is that of `near`.
    """

    width: int
    height: int
    format: str
    colour: float
    contrast: float
    hash: NDArray[np.uint64] = field(repr=False)


# Or why its file cannot be read.
Looked = Look | str


def of(photos: Photos) -> list[Looked]:
    """What each photo looks like, or why it cannot be read; with a bar on a terminal."""

    def look(path: str) -> Looked:
        try:
            return _look(photos.root / path)
        except Exception as error:  # Pillow's plugins raise anything on a broken file
            return one_line(error).replace(f"{photos.root}/", "")

    total = len(photos)
    with ThreadPoolExecutor(launchers.cores()) as pool:
        starts = range(0, total, _AHEAD)
        done = (one for start in starts for one in pool.map(look, photos.paths[start : start + _AHEAD]))
        shown, is_silent = Console(stderr=True), not sys.stderr.isatty()
        return list(track(done, "Looking at photos", total, console=shown, transient=True, disable=is_silent))


def _look(file: Path) -> Look:
    with Image.open(file) as opened:
        its_format = opened.format or file.suffix
    image = images.read_rgb(file)
    small = image.resize(_SMALL, Image.Resampling.BOX)
    pixels = np.asarray(small, dtype=np.int16)
    return Look(
        width=image.width,
        height=image.height,
        format=its_format,
        # Not the mean, by which a small flower on grey would be grey; not the largest, which is a single pixel's.
        colour=float(np.percentile(np.ptp(pixels, axis=2), 99)),
        contrast=float(np.sqrt(pixels.var(axis=(0, 1)).mean())),
        hash=near.look(image),
    )
