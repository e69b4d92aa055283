"""Who is in training and who in validation: a pure function of a seed and the photos' contents."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from flowerbench.config import Data
from flowerbench.data.sources import Photos
from flowerbench.errors import UsageError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Indices into the photos, ascending; every photo is in exactly one part."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    fingerprint: str


def split(photos: Photos, cfg: Data) -> Split:
    """Train and validation: the folders' own parts where there are `train/` and `val/`, else drawn.

    Photos are ranked by the hash of (`data.split_seed`, contents), so the order of files and the machine do not
    matter and byte-identical photos stay together. The first int((1 - val_fraction) n) are for training, of all
    photos or (`data.stratify`) of each class. Raises UsageError when a part would be empty.
    """
    if any(photos.parts):
        log.info("train/ and val/ are taken as they are: data.val_fraction, stratify and split_seed have no effect")
        in_train = {index for index, part in enumerate(photos.parts) if part == "train"}
    else:
        in_train = _draw(photos, cfg)
    train = tuple(index for index in range(len(photos)) if index in in_train)
    val = tuple(index for index in range(len(photos)) if index not in in_train)
    if not train or not val:
        raise UsageError(
            f"{len(photos)} photos leave {len(train)} for training and {len(val)} for validation: "
            "both need one at least (data.val_fraction, or the folders train/ and val/; identical photos stay together)"
        )
    trained = {photos.labels[index] for index in train}
    for label, name in enumerate(photos.classes):
        if label not in trained:
            log.warning("No photo of %s is in training: the model cannot learn it", name)
    return Split(train, val, _fingerprint(photos, val))


def _draw(photos: Photos, cfg: Data) -> set[int]:
    identical: dict[str, list[int]] = defaultdict(list)
    for index, digest in enumerate(photos.digests):
        identical[digest].append(index)
    strata: dict[int, list[tuple[str, list[int]]]] = defaultdict(list)
    for digest, indices in identical.items():
        rank = hashlib.sha256(f"{cfg.split_seed}:{digest}".encode()).hexdigest()
        # Photos of one content under two classes count where the first of them does.
        strata[photos.labels[indices[0]] if cfg.stratify else 0].append((rank, indices))
    train: set[int] = set()
    for groups in strata.values():
        train |= _first(cfg.val_fraction, [indices for _, indices in sorted(groups)])
    return train


def _first(val_fraction: float, groups: Sequence[Sequence[int]]) -> set[int]:
    total = sum(len(group) for group in groups)
    # The small term undoes binary rounding: (1 - 0.9) * 10 is 0.9999999999999998.
    wanted = int((1 - val_fraction) * total + 1e-9)
    taken: set[int] = set()
    for group in groups:
        if len(taken) + len(group) <= wanted:
            taken.update(group)
    return taken


def _fingerprint(photos: Photos, val: Sequence[int]) -> str:
    rows = "\n".join(f"{photos.classes[photos.labels[i]]}\t{photos.digests[i]}\t{photos.paths[i]}" for i in val)
    return hashlib.sha256(f"{photos.fingerprint}\n{rows}".encode()).hexdigest()[:16]
