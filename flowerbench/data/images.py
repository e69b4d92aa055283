"""Read any image file as RGB, and find the files that cannot be read."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL
from PIL import Image, ImageOps

from flowerbench import cache

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


def read_rgb(path: Path | BinaryIO) -> Image.Image:
    """The photo upright (EXIF orientation applied) and in RGB; what is transparent becomes white.

    Raises OSError, SyntaxError or ValueError as Pillow does when the file cannot be read.
    """
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):
            # Pillow clips 16-bit greys to 8 bits instead of scaling them.
            scaled = (np.asarray(upright, dtype=np.float64) / 257).clip(0, 255).round()
            upright = Image.fromarray(scaled.astype(np.uint8))
        if upright.mode == "F":
            # Floats are shades from 0 to 1, or else from 0 to 255; Pillow knows the second only.
            shades = np.asarray(upright)
            upright = Image.fromarray((shades * (255 if shades.max() <= 1 else 1)).clip(0, 255).astype(np.uint8))
        if upright.has_transparency_data:
            layered = upright.convert("RGBA")
            white = Image.new("RGBA", layered.size, "white")
            return Image.alpha_composite(white, layered).convert("RGB")
        return upright.convert("RGB")


def unreadable(root: Path, paths: Sequence[str], fingerprint: str) -> list[str]:
    """Those of `paths` (relative to `root`) that cannot be read, found by reading every one.

    That all of them can is noted in the cache folder under `fingerprint` (of the files' contents), so that only the
    first run on the same photos reads them all. A failure is not: a share of the network may have been away.
    """
    all_readable = cache.folder() / "readable" / f"{fingerprint}_pillow-{PIL.__version__}"
    if all_readable.is_file():
        return []

    def is_bad(path: str) -> bool:
        try:
            read_rgb(root / path)
        except Exception:  # Pillow's plugins raise anything on a broken file
            return True
        return False

    log.info("Reading %d photos once, to find those that cannot be read", len(paths))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bad = [path for path, failed in zip(paths, pool.map(is_bad, paths), strict=True) if failed]
    if not bad:
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, no more
            all_readable.parent.mkdir(parents=True, exist_ok=True)
            all_readable.touch()
    return bad
