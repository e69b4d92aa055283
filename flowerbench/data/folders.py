"""The layout of a data set on the disk: one folder for each class, image files in it."""

from __future__ import annotations

import os
from pathlib import Path

from flowerbench.data import images


def below_single(root: Path) -> Path:
    """The folder that holds more than one other folder: an archive often wraps its class folders in one more."""
    entries = [entry for entry in root.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
    folders = [entry for entry in entries if entry.is_dir()]
    if len(folders) == 1 and not _image_files(folders[0], deep=False):
        return below_single(folders[0])
    return root


def of_classes(root: Path) -> dict[str, list[Path]]:
    """The image files in and below each folder that has any, by the folder's name."""
    folders = [entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return {folder.name: files for folder in folders if (files := _image_files(folder))}


def _image_files(folder: Path, *, deep: bool = True) -> list[Path]:
    found = []
    for path, subfolders, names in os.walk(folder, followlinks=True):
        here = Path(path).resolve()
        # A link to a folder that this one lies in would go round for ever.
        subfolders[:] = [
            name
            for name in subfolders
            if deep and not name.startswith(".") and not here.is_relative_to(Path(path, name).resolve())
        ]
        files = (Path(path, name) for name in names if not name.startswith("."))
        found += [file for file in files if file.suffix.lower() in images.SUFFIXES]
    return found
