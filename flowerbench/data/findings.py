"""What is wrong with a folder of photos, and what is worth a look."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flowerbench.data import near
from flowerbench.data.looks import Look, Looked
from flowerbench.data.sources import Photos

# Of 255: channels no farther apart are those of a grey photo, whatever its file says.
_GREY = 8
# Of 255: pixels no farther from their mean colour than the noise of a camera or of compression.
_UNIFORM = 8
# Modified z-scores beyond this are outliers (Iglewicz and Hoaglin 1993).
_OUTLYING = 3.5

Group = Sequence[int]


@dataclass(frozen=True)
class Finding:
    """Photos, by their indices and in groups, that have something in common; `details` adds to a photo what it is.

    Where it `is_wrong`, a model learns or is judged wrongly by them; else somebody should look.
    """

    title: str
    meaning: str
    groups: Sequence[Group]
    is_wrong: bool = False
    details: Mapping[int, str] = field(default_factory=dict)


def found(photos: Photos, looks: Sequence[Looked], max_distance: int) -> list[Finding]:
    """All that was found, what is wrong first; photos look the same within `max_distance` bits of `near`'s hashes."""
    seen = {index: look for index, look in enumerate(looks) if isinstance(look, Look)}
    listed = [*_unreadable(looks), *_repeated(photos, seen, max_distance), *_unusual(seen)]
    return sorted((finding for finding in listed if finding.groups), key=lambda finding: not finding.is_wrong)


def _unreadable(looks: Sequence[Looked]) -> Iterator[Finding]:
    reasons = {index: look for index, look in enumerate(looks) if isinstance(look, str)}
    yield Finding(
        "Unreadable files",
        "Training stops at them, or leaves them out with `data.on_bad_image=skip`. Mend or remove them.",
        [[index] for index in reasons],
        is_wrong=True,
        details=reasons,
    )


def _repeated(photos: Photos, seen: Mapping[int, Look], max_distance: int) -> Iterator[Finding]:
    by_contents: dict[str, list[int]] = defaultdict(list)
    for index in seen:
        by_contents[photos.digests[index]].append(index)
    identical = [group for group in by_contents.values() if len(group) > 1]
    indices = np.array(list(seen), dtype=np.int64)
    hashes = np.array([look.hash for look in seen.values()], dtype=np.uint64).reshape(len(seen), -1)
    alike = [indices[group].tolist() for group in near.joined(hashes, max_distance)]
    alike = [group for group in alike if len({photos.digests[index] for index in group}) > 1]

    def differ(group: Group, of: Sequence[object]) -> bool:
        return len({of[index] for index in group}) > 1

    yield Finding(
        "Identical photos under two classes",
        "One of the classes is wrong: a model cannot learn both. Remove the photo where it does not belong.",
        [group for group in identical if differ(group, photos.labels)],
        is_wrong=True,
    )
    yield Finding(
        "Identical photos in two parts",
        "A model is judged on photos that it was trained on, so its accuracy comes out too high. "
        "Leave each photo in one part.",
        [group for group in identical if differ(group, photos.parts)],
        is_wrong=True,
    )
    yield Finding(
        "Nearly identical photos in two parts",
        "A model is judged on what it was trained on: the same photo, saved anew or retouched, or its like. "
        "Leave all of them in one part.",
        [group for group in alike if differ(group, photos.parts)],
        is_wrong=True,
    )
    yield Finding(
        "Identical photos",
        "They count twice. Where flowerbench draws the split, it keeps them in one part.",
        [group for group in identical if not differ(group, photos.labels) and not differ(group, photos.parts)],
    )
    yield Finding(
        "Nearly identical photos",
        f"Their perceptual hashes differ in {max_distance} of {near.BITS} bits or fewer, or a chain of such pairs "
        "joins them. In two parts of a split they would make a model look better than it is.",
        [group for group in alike if not differ(group, photos.parts)],
    )


def _unusual(seen: Mapping[int, Look]) -> Iterator[Finding]:
    yield _few(
        "Grey photos",
        "A model that goes by colours sees less in them than in the others.",
        {index: "" for index, look in seen.items() if look.colour <= _GREY},
        len(seen),
    )
    yield _few(
        "Almost uniform photos",
        "Hardly anything can be seen: an empty or a broken picture, perhaps.",
        {index: f"contrast {look.contrast:.1f}" for index, look in seen.items() if look.contrast <= _UNIFORM},
        len(seen),
    )
    areas = np.array([np.log2(look.width * look.height) for look in seen.values()])
    yield _farthest(
        "Unusual sizes",
        "Far smaller or larger than the others: a thumbnail or an icon among photos, perhaps.",
        np.abs(z_scores(areas)),
        seen,
    )
    shapes = np.array([abs(np.log2(look.width / look.height)) for look in seen.values()])
    yield _farthest(
        "Unusual shapes",
        "Far longer or taller than the others: the square that a model sees shows a part of them only.",
        z_scores(shapes),  # a square is never unusual
        seen,
    )


def _few(title: str, meaning: str, details: Mapping[int, str], total: int) -> Finding:
    """Nothing where most are so: then it is the way of these data."""
    groups = [[index] for index in details] if 2 * len(details) < total else []
    return Finding(title, meaning, groups, details=details)


def _farthest(title: str, meaning: str, scores: NDArray[np.float64], seen: Mapping[int, Look]) -> Finding:
    """Those whose score says that they are outliers, the farthest first."""
    score_of = {index: score for index, score in zip(seen, scores.tolist(), strict=True) if score > _OUTLYING}
    ranked = sorted(score_of, key=lambda index: -score_of[index])
    return Finding(
        title, meaning, [[index] for index in ranked], details={index: size(seen[index]) for index in ranked}
    )


def size(look: Look) -> str:
    """Width and height in pixels."""
    return f"{look.width} \N{MULTIPLICATION SIGN} {look.height}"


def z_scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each value is from the median, in standard deviations as the bulk of the values gives them.

    Iglewicz and Hoaglin (1993): by the median of the deviations, which outliers do not move; by their mean where more
    than half of the values are equal.
    """
    if not len(values):
        return values
    away = values - np.median(values)
    spread = 1.4826 * np.median(np.abs(away)) or 1.2533 * np.mean(np.abs(away))
    return np.zeros_like(away) if spread == 0 else away / spread
