"""The photos that a model is judged on: those that its training kept apart, or another folder's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowerbench import summaries
from flowerbench.config import Data
from flowerbench.data import sources, split
from flowerbench.data.sources import Photos
from flowerbench.errors import UsageError
from flowerbench.trained import Trained, group

VALIDATION, TEST, OTHER = "validation", "test", "other"


@dataclass(frozen=True)
class Judged:
    """Photos of one kind, VALIDATION, TEST or OTHER, below `root`; `labels` are indices of the model's classes.

    `expected` is what the run's summary says of its best epoch on them, where it does.
    """

    kind: str
    root: Path
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    expected: float | None = None


def choose(trained: Trained, overrides: Sequence[str]) -> list[Judged]:
    """The run's own validation photos, and its test photos if it has such; all of another folder's, if that is named.

    `overrides` are keys of the group `data`, as for training. The run's own photos are known by their contents,
    wherever they lie. Raises UsageError for photos that have changed, or are not of the model's classes.
    """
    given = dict(map(_assigned, overrides))
    if unknown := next((key for key in given if key not in trained.config or not key.startswith("data.")), None):
        raise UsageError(f"{unknown} is no key of the data that the run was trained on: data.root=FOLDER is one")
    config = {**trained.config, **given}
    if "data.root" in given:
        config |= {"data.url": None, "data.paper_photos": False}
    cfg = group(config, "data", Data)
    photos = sources.load(cfg)
    known = summaries.read(trained.folder)
    if photos.fingerprint == known.get("photos"):
        return _own(trained, photos, split.split(photos, cfg), known)
    if "data.root" not in given:
        raise UsageError(
            f"{photos.root} does not hold the photos that the run was trained on (or its summary.json is missing): "
            "with data.root=FOLDER all photos of a folder are judged"
        )
    return [_other(trained, photos)]


def _assigned(override: str) -> tuple[str, Any]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_override(override)
    if parsed.is_delete() or parsed.is_add() or parsed.is_sweep_override():
        raise UsageError(f"{override} is not possible: set a key of the data, as data.root=FOLDER does")
    return parsed.key_or_group, parsed.value()


def _own(trained: Trained, photos: Photos, parts: split.Split, known: Mapping[str, Any]) -> list[Judged]:
    if parts.fingerprint != known.get("split"):
        raise UsageError(
            "these photos would be split otherwise than in training, and the model be judged on photos that it has "
            "learned: leave out what changes the split, such as data.val_fraction; where nothing does, another version "
            "of flowerbench has split them, and the run has to be trained again"
        )
    found = [_judged(VALIDATION, photos, parts.val, known.get("best_val_accuracy"))]
    if test := getattr(parts, "test", ()):
        found.append(_judged(TEST, photos, test))
    return found


def _judged(kind: str, photos: Photos, indices: Sequence[int], expected: float | None = None) -> Judged:
    paths = tuple(photos.paths[index] for index in indices)
    return Judged(kind, photos.root, paths, tuple(photos.labels[index] for index in indices), expected)


def _other(trained: Trained, photos: Photos) -> Judged:
    for found, names in (
        ("lacks photos of", set(trained.classes) - set(photos.classes)),
        ("holds classes that the model does not know:", set(photos.classes) - set(trained.classes)),
    ):
        if names:
            raise UsageError(f"data.root={photos.root} {found} {', '.join(sorted(names))}")
    place = [trained.classes.index(name) for name in photos.classes]
    return Judged(OTHER, photos.root, photos.paths, tuple(place[label] for label in photos.labels))
