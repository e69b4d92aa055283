from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowerbench.data.sources import Photos
from flowerbench.data.split import split
from flowerbench.errors import UsageError

# Contents of photos of two classes; equal contents are identical photos.
contents = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 60)), min_size=10, max_size=80)


class Settings:
    """The keys of the data group that the split reads."""

    def __init__(self, val_fraction: float = 0.2, stratify: bool = False, split_seed: int = 0) -> None:
        self.val_fraction, self.stratify, self.split_seed = val_fraction, stratify, split_seed


def photos_of(rows: list[tuple[int, int]], parts: list[str | None] | None = None) -> Photos:
    rows = sorted(rows)
    return Photos(
        root=Path(),
        classes=("a", "b"),
        paths=tuple(f"{'ab'[label]}/{number:04}.jpg" for number, (label, _) in enumerate(rows)),
        labels=tuple(label for label, _ in rows),
        digests=tuple(f"{content:064x}" for _, content in rows),
        parts=tuple(parts or [None] * len(rows)),
    )


@given(contents, st.floats(0.1, 0.9), st.booleans(), st.integers(0, 5))
def test_every_photo_is_in_exactly_one_part_and_identical_ones_together(rows, fraction, stratify, seed):
    photos = photos_of(rows)
    try:
        parts = split(photos, Settings(fraction, stratify, seed))
    except UsageError:
        return
    assert sorted(parts.train + parts.val) == list(range(len(photos)))
    assert not {photos.digests[i] for i in parts.train} & {photos.digests[i] for i in parts.val}


@given(st.integers(2, 400), st.integers(1, 99), st.integers(0, 9))
def test_training_gets_the_whole_part_of_its_share(total, percent, seed):
    expected = total * (100 - percent) // 100
    photos = photos_of([(i % 2, i) for i in range(total)])
    if 0 < expected < total:
        assert len(split(photos, Settings(percent / 100, split_seed=seed)).train) == expected


def test_the_papers_2848_photos_give_2278_and_570():
    photos = photos_of([(i % 2, i) for i in range(2848)])
    parts = split(photos, Settings(0.2))
    assert (len(parts.train), len(parts.val)) == (2278, 570)


def test_stratified_gives_each_class_its_share():
    photos = photos_of([(0, i) for i in range(100)] + [(1, 100 + i) for i in range(50)])
    parts = split(photos, Settings(0.2, stratify=True))
    assert sum(photos.labels[i] == 0 for i in parts.train) == 80
    assert sum(photos.labels[i] == 1 for i in parts.train) == 40


@given(contents, st.integers(0, 100))
def test_same_seed_same_split_and_another_seed_another(rows, seed):
    photos = photos_of([*rows, *((0, 1000 + i) for i in range(60))])
    again, other = split(photos, Settings(split_seed=seed)), split(photos, Settings(split_seed=seed + 1))
    assert split(photos, Settings(split_seed=seed)) == again
    assert other.val != again.val
    assert other.fingerprint != again.fingerprint


def test_file_names_do_not_matter():
    photos = photos_of([(0, i) for i in range(40)])
    order = sorted(range(40), key=lambda i: (i * 7) % 40)
    renamed = Photos(
        photos.root,
        photos.classes,
        photos.paths,
        photos.labels,
        tuple(photos.digests[i] for i in order),
        photos.parts,
    )
    first, second = split(photos, Settings()), split(renamed, Settings())
    assert {photos.digests[i] for i in first.val} == {renamed.digests[i] for i in second.val}


def test_given_parts_are_taken_as_they_are():
    photos = photos_of([(0, i) for i in range(6)], ["train", "train", "val", "train", "val", "val"])
    parts = split(photos, Settings())
    assert parts.train == (0, 1, 3)
    assert parts.val == (2, 4, 5)


def test_a_class_without_a_training_photo_is_told(caplog):
    split(photos_of([(0, i) for i in range(9)] + [(1, 9)], ["train"] * 8 + ["val"] * 2), Settings())
    assert "No photo of b is in training" in caplog.text


def test_an_empty_part_is_refused():
    with pytest.raises(UsageError, match=r"0 for training and 2 for validation.*data\.val_fraction"):
        split(photos_of([(0, 1), (1, 2)]), Settings(0.9))
    with pytest.raises(UsageError, match="0 for training"):
        split(photos_of([(0, 1), (0, 1), (1, 1)]), Settings(0.2))
