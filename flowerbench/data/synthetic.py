"""Drawn photos for trying things without a download: the folder of JPEG files, made once and kept."""

from __future__ import annotations

import shutil
from pathlib import Path

from filelock import FileLock

from flowerbench import cache
from flowerbench.data.drawing import SPECIES, draw
from flowerbench.errors import UsageError

__all__ = ["DRAWING_VERSION", "SPECIES", "draw", "root"]

# Raise it with every change of a pixel: photos already in someone's cache must not pass for the new ones.
DRAWING_VERSION = 1

SMALLEST_SIZE = 16


def root(count: int, size: int, seed: int) -> Path:
    """The folder of `count` photos in class folders, longer side `size` pixels; drawn when not there yet.

    Photo k of a species does not depend on `count`. Raises UsageError for numbers that make no data set and
    for a cache folder that cannot be written.
    """
    if count < len(SPECIES) or size < SMALLEST_SIZE or seed < 0:
        raise UsageError(
            f"synthetic photos: count={count}, size={size}, seed={seed}: "
            f"take at least {len(SPECIES)} photos of {SMALLEST_SIZE} pixels and a seed from 0 up"
        )
    folder = place(count, size, seed)
    if folder.is_dir():
        return folder
    part = folder.with_name(f"{folder.name}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if folder.is_dir():
                return folder
            # Whoever holds the lock is alone here: a part that exists was left by a process that was killed.
            shutil.rmtree(part, ignore_errors=True)
            try:
                _write(part, count, size, seed)
                part.replace(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise UsageError(
            f"synthetic photos: cannot write {folder}: {error.strerror or error}; "
            "set FLOWERBENCH_CACHE to a folder with room that you may write to"
        ) from error
    return folder


def place(count: int, size: int, seed: int) -> Path:
    """Where that folder is, or would be."""
    return cache.folder() / "synthetic" / f"flowers-{count}_size-{size}_seed-{seed}_drawing-{DRAWING_VERSION}"


def _write(folder: Path, count: int, size: int, seed: int) -> None:
    for index, species in enumerate(SPECIES):
        (folder / species).mkdir(parents=True)
        for number in range(1, count // len(SPECIES) + (index < count % len(SPECIES)) + 1):
            draw(species, seed, number, size).save(folder / species / f"{species}_{number:05d}.jpg", quality=90)
