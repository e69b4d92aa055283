"""Who is in training, validation and test: a pure function of a seed and the photos' contents."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flowerbench.config import Data
from flowerbench.data.sources import Photos
from flowerbench.errors import UsageError

log = logging.getLogger(__name__)

# Photos that stay together, by their indices.
Group = list[int]


@dataclass(frozen=True)
class Split:
    """Indices into the photos, ascending; every photo is in exactly one part.

    `fingerprint` is a hash of it. Of folds its first half is that of all of them, so that their runs are known to
    belong together.
    """

    train: tuple[int, ...]
    val: tuple[int, ...]
    fingerprint: str
    test: tuple[int, ...] = ()


def split(photos: Photos, cfg: Data) -> Split:
    """The parts: the folders' own where there are `train/` and `val/`, else drawn, as `data/protocol` says.

    Photos that stay together are ranked by the hash of (`data.split_seed`, contents), so the order of files and the
    machine do not matter. Of all photos, or (`data.stratify`) of each class, the first int(test_fraction n) are for
    the test, those after them up to int((1 - val_fraction) n) for training and the rest for validation; or else they
    are dealt out to `data.folds`. Raises UsageError when a part would be empty.
    """
    part_of: Sequence[str | None]
    if any(photos.parts):
        _refuse_what_folders_cannot(photos, cfg)
        part_of = photos.parts
    elif cfg.folds is not None:
        folds = _folds(_strata(photos, cfg), cfg.folds, len(photos))
        part_of = ["val" if fold == cfg.fold else "train" for fold in folds]
    else:
        part_of = _drawn(_strata(photos, cfg), cfg, len(photos))
    train, val, test = (
        tuple(index for index, its_part in enumerate(part_of) if its_part == part) for part in ("train", "val", "test")
    )
    _refuse_empty(photos, cfg, train, val, test)
    fingerprint = _fingerprint(photos, *((val, test) if test else (val,)))
    if cfg.folds is not None:
        whole = [[index for index, its_fold in enumerate(folds) if its_fold == fold] for fold in range(cfg.folds)]
        fingerprint = _fingerprint(photos, *whole)[:8] + fingerprint[:8]
    return Split(train, val, fingerprint, test)


def _refuse_what_folders_cannot(photos: Photos, cfg: Data) -> None:
    if cfg.folds is not None:
        raise UsageError(f"data.folds={cfg.folds}: data.root={photos.root} holds train/ and val/, which are one split")
    if cfg.test_fraction and "test" not in photos.parts:
        raise UsageError(
            f"data.test_fraction={cfg.test_fraction}: data.root={photos.root} holds train/ and val/ but no test/: "
            "add one, or leave the test out with data/protocol=clean"
        )
    log.info("train/ and val/ are taken as they are: data.val_fraction, stratify and split_seed have no effect")


def _refuse_empty(photos: Photos, cfg: Data, train: Sequence[int], val: Sequence[int], test: Sequence[int]) -> None:
    lacks_test = cfg.test_fraction > 0 and not test
    if not train or not val or lacks_test:
        tested = f", {len(test)} for the test" if cfg.test_fraction else ""
        key = "data.folds" if cfg.folds else "data.val_fraction"
        raise UsageError(
            f"{len(photos)} photos leave {len(train)} for training and {len(val)} for validation{tested}: "
            f"each needs one at least ({key}, or the folders train/ and val/; identical photos stay together)"
        )
    trained = {photos.labels[index] for index in train}
    for label, name in enumerate(photos.classes):
        if label not in trained:
            log.warning("No photo of %s is in training: the model cannot learn it", name)


def _strata(photos: Photos, cfg: Data) -> list[list[Group]]:
    """The groups in the order of their ranks: of each class, or of all photos in one list."""
    strata: dict[int, list[tuple[str, Group]]] = defaultdict(list)
    for group in _kept_together(photos, cfg.near_distance):
        ranks = (hashlib.sha256(f"{cfg.split_seed}:{photos.digests[i]}".encode()).hexdigest() for i in group)
        # Photos that stay together but are of two classes count where the first of them does.
        strata[min(photos.labels[i] for i in group) if cfg.stratify else 0].append((min(ranks), group))
    return [[group for _, group in sorted(strata[label])] for label in sorted(strata)]


def _kept_together(photos: Photos, near_distance: int | None) -> list[Group]:
    """The photos in groups: identical ones together, and near-identical ones where there is a `near_distance`."""
    by_contents: dict[str, Group] = defaultdict(list)
    for index, digest in enumerate(photos.digests):
        by_contents[digest].append(index)
    together: Iterable[Group] = by_contents.values()
    if near_distance is not None:
        from flowerbench.data import near

        found = near.groups(photos.root, photos.paths, photos.fingerprint, near_distance)
        together = [*together, *map(list, found)]
    group_of: dict[int, Group] = {}
    for group in together:
        known = {id(group_of[i]): group_of[i] for i in group if i in group_of}
        joined = sorted({*group, *(i for other in known.values() for i in other)})
        group_of |= dict.fromkeys(joined, joined)
    return list({id(group): group for group in group_of.values()}.values())


def _drawn(strata: Sequence[Sequence[Group]], cfg: Data, total: int) -> list[str]:
    """The part of every photo.

    The test is taken from what would train without one: photos that runs without a test validate on, and settings may
    have been chosen by, never are in it.
    """
    part_of = ["val"] * total
    for groups in strata:
        count = sum(map(len, groups))
        kept = _first((1 - cfg.val_fraction) * count, groups)
        test = _first(cfg.test_fraction * count, [group for group in groups if kept.issuperset(group)])
        for part, members in (("train", kept - test), ("test", test)):
            for index in members:
                part_of[index] = part
    return part_of


def _first(share: float, groups: Sequence[Group]) -> set[int]:
    """The first groups that fit into so many photos."""
    # The small term undoes binary rounding: (1 - 0.9) * 10 is 0.9999999999999998.
    wanted = int(share + 1e-9)
    taken: set[int] = set()
    for group in groups:
        if len(taken) + len(group) <= wanted:
            taken.update(group)
    return taken


def _folds(strata: Sequence[Sequence[Group]], folds: int, total: int) -> list[int]:
    """The fold of every photo: each group goes to the fold that has the fewest of its class, then of all."""
    fold_of, sizes = [0] * total, [0] * folds
    for groups in strata:
        own = [0] * folds
        for group in groups:
            fold = min(range(folds), key=lambda number: (own[number], sizes[number], number))
            own[fold] += len(group)
            sizes[fold] += len(group)
            for index in group:
                fold_of[index] = fold
    return fold_of


def _fingerprint(photos: Photos, *parts: Sequence[int]) -> str:
    told = [
        "\n".join(f"{photos.classes[photos.labels[i]]}\t{photos.digests[i]}\t{photos.paths[i]}" for i in part)
        for part in parts
    ]
    return hashlib.sha256("\n".join([photos.fingerprint, "\n\n".join(told)]).encode()).hexdigest()[:16]
