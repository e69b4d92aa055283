"""One folder of photos for both sides: `train/` and `val/`, split as flowerbench splits, as links to the files."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir

from benchmarks.settings import Settings
from flowerbench import config
from flowerbench.data import sources, split
from flowerbench.points import quoted


@dataclass(frozen=True)
class Split:
    """Photos, and which of them are for training and for validation."""

    photos: sources.Photos
    train: tuple[int, ...]
    val: tuple[int, ...]


def load(settings: Settings) -> Split:
    """The photos that the settings ask for, flowers that the program draws where they name none; raises UsageError."""
    if settings.data:
        overrides = ["data=folder", f"data.root={quoted(str(settings.data))}"]
    else:
        size = [f"data.synthetic.count={settings.drawn}", f"data.synthetic.size={settings.drawn_size}"]
        overrides = ["data=synthetic", *size]
    config.register()
    with initialize_config_dir(str(config.folder()), version_base="1.3"):
        data = compose("config", [*overrides, "data/protocol=paper", "data.on_bad_image=skip"]).data
    photos = sources.load(data)
    parts = split.split(photos, data)
    wanted = settings.photos or len(photos)
    kept = set(spread(range(len(photos)), wanted))
    return Split(photos, *(tuple(index for index in part if index in kept) for part in (parts.train, parts.val)))


def lay_out(given: Split, folder: Path, train: int | None = None, val: int | None = None) -> Path:
    """Link the photos into `folder`, all of a part or so many, of all classes alike; returns the folder."""
    for part, indices in (("train", spread(given.train, train)), ("val", spread(given.val, val))):
        for name in given.photos.classes:
            (folder / part / name).mkdir(parents=True)
        for index in indices:
            photo = given.photos.root / given.photos.paths[index]
            class_name = given.photos.classes[given.photos.labels[index]]
            _link(photo.resolve(), folder / part / class_name / f"{index:06}{photo.suffix.lower()}")
    return folder


def spread(indices: Sequence[int], count: int | None) -> list[int]:
    """So many of the indices, evenly spread; all of them when there are no more."""
    taken = min(count or len(indices), len(indices))
    return [indices[place * len(indices) // taken] for place in range(taken)]


def _link(photo: Path, place: Path) -> None:
    try:
        place.symlink_to(photo)
    except OSError:  # Windows asks for a privilege
        shutil.copyfile(photo, place)
