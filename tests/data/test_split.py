from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flowerbench.data.sources import Photos
from flowerbench.data.split import Split, split
from flowerbench.errors import UsageError

# Contents of photos of two classes; equal contents are identical photos.
contents = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 60)), min_size=10, max_size=80)


@dataclass
class Settings:
    """The keys of the data group that the split reads."""

    val_fraction: float = 0.2
    stratify: bool = False
    split_seed: int = 0
    test_fraction: float = 0.0
    folds: int | None = None
    fold: int | None = None
    near_distance: int | None = None


settings = st.builds(
    Settings,
    val_fraction=st.floats(0.1, 0.5),
    stratify=st.booleans(),
    split_seed=st.integers(0, 5),
    test_fraction=st.sampled_from([0.0, 0.1, 0.2, 0.4]),
)


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


def shuffled(photos: Photos, order: list[int]) -> Photos:
    """The same contents under other names of the same classes: what another order of files comes to."""
    places = sorted(range(len(photos)), key=lambda place: (photos.labels[place], order[place]))
    return replace(photos, digests=tuple(photos.digests[place] for place in places))


def contents_of(photos: Photos, part: tuple[int, ...]) -> list[tuple[int, str]]:
    return sorted((photos.labels[i], photos.digests[i]) for i in part)


def parts_or_none(photos: Photos, cfg: Settings) -> Split | None:
    try:
        return split(photos, cfg)
    except UsageError:
        return None


@given(contents, settings)
def test_every_photo_is_in_exactly_one_part_and_identical_ones_together(rows, cfg):
    photos = photos_of(rows)
    parts = parts_or_none(photos, cfg)
    assume(parts is not None)
    assert sorted(parts.train + parts.val + parts.test) == list(range(len(photos)))
    seen = [{photos.digests[i] for i in part} for part in (parts.train, parts.val, parts.test)]
    assert sum(map(len, seen)) == len(set.union(*seen))


@given(contents, settings)
def test_each_part_has_its_share_within_one_group_of_photos(rows, cfg):
    photos = photos_of([(label, content + 100 * label) for label, content in rows])
    parts = parts_or_none(photos, cfg)
    assume(parts is not None)
    largest = max(Counter(photos.digests).values())
    for stratum in set(photos.labels) if cfg.stratify else [None]:
        total, train, test = (
            sum(stratum in (None, photos.labels[i]) for i in part)
            for part in (range(len(photos)), parts.train, parts.test)
        )
        for count, share in ((train + test, 1 - cfg.val_fraction), (test, cfg.test_fraction)):
            assert share * total - largest < count <= share * total + 1e-6


@given(contents, settings, st.randoms(use_true_random=False))
def test_the_order_of_files_does_not_matter(rows, cfg, random):
    photos = photos_of(rows)
    other = shuffled(photos, random.sample(range(len(photos)), len(photos)))
    parts, again = parts_or_none(photos, cfg), parts_or_none(other, cfg)
    assert (parts is None) == (again is None)
    assume(parts is not None)
    for one, two in zip((parts.train, parts.val, parts.test), (again.train, again.val, again.test), strict=True):
        assert contents_of(photos, one) == contents_of(other, two)


@given(contents, settings)
def test_a_test_is_of_what_trains_without_one_and_leaves_validation_as_it_is(rows, cfg):
    """Else settings that were chosen by validation photos, without a test, would have seen the test."""
    photos = photos_of(rows)
    parts, without = (parts_or_none(photos, each) for each in (cfg, replace(cfg, test_fraction=0.0)))
    assume(parts is not None and without is not None)
    assert parts.val == without.val
    assert sorted(parts.train + parts.test) == list(without.train)


@given(st.integers(40, 200), settings, st.floats(0.1, 0.5))
def test_the_test_photos_do_not_depend_on_how_the_others_are_shared_out(total, cfg, val_fraction):
    identical = [(i % 2, 1000 + i // 3) for i in range(total // 10)]
    photos = photos_of([*identical, *((i % 2, i) for i in range(total))])
    cfg = replace(cfg, test_fraction=min(cfg.test_fraction, 0.2))
    parts, other = (parts_or_none(photos, each) for each in (cfg, replace(cfg, val_fraction=val_fraction)))
    assume(parts is not None and other is not None)
    assert parts.test == other.test


@given(contents, st.integers(2, 5), st.booleans(), st.integers(0, 5))
def test_folds_share_out_all_photos_evenly_and_identical_ones_together(rows, folds, stratify, seed):
    photos = photos_of(rows)
    cfg = Settings(stratify=stratify, split_seed=seed, folds=folds)
    made = [parts_or_none(photos, replace(cfg, fold=fold)) for fold in range(folds)]
    assume(None not in made)
    assert sorted(i for parts in made for i in parts.val) == list(range(len(photos))), "each in one fold"
    assert all(sorted(parts.train + parts.val) == list(range(len(photos))) for parts in made)
    contents = [{photos.digests[i] for i in parts.val} for parts in made]
    assert sum(map(len, contents)) == len(set.union(*contents))
    largest = max(Counter(photos.digests).values())
    sizes = [len(parts.val) for parts in made]
    assert max(sizes) - min(sizes) <= (2 if stratify else 1) * largest
    assert len({parts.fingerprint[:8] for parts in made}) == 1, "reports know by it that they belong together"
    assert len({parts.fingerprint for parts in made}) == folds


@given(st.integers(20, 60), st.integers(20, 60), st.integers(2, 5))
def test_stratified_folds_have_each_class_evenly(first, second, folds):
    photos = photos_of([(i >= first, i) for i in range(first + second)])
    for label in (0, 1):
        counts = [
            sum(photos.labels[i] == label for i in split(photos, Settings(stratify=True, folds=folds, fold=k)).val)
            for k in range(folds)
        ]
        assert max(counts) - min(counts) <= 1


def test_folds_do_not_depend_on_the_order_of_files():
    photos = photos_of([(i % 2, i // 3) for i in range(60)])
    other = shuffled(photos, [(i * 7) % 60 for i in range(60)])
    for fold in range(3):
        cfg = Settings(stratify=True, folds=3, fold=fold)
        one, two = split(photos, cfg), split(other, cfg)
        assert contents_of(photos, one.val) == contents_of(other, two.val)


@pytest.mark.parametrize("cfg", [Settings(near_distance=8), Settings(near_distance=8, folds=3, fold=1)])
def test_photos_that_look_the_same_stay_together_and_with_those_that_are_identical_to_them(monkeypatch, cfg):
    asked: list[tuple[list[str], str, int]] = []

    def groups(root, paths, fingerprint, max_distance):
        asked.append((list(paths), fingerprint, max_distance))
        return [[0, 10], [20, 21]]

    monkeypatch.setattr("flowerbench.data.near.groups", groups)
    photos = photos_of([(i // 20, 10 if i == 30 else i) for i in range(40)])
    linked = {0, photos.digests.index(f"{10:064x}"), 20, 21}
    assert photos.digests[10] == photos.digests[20], "the one of the second class is its first"
    for seed in range(8):
        val = set(split(photos, replace(cfg, split_seed=seed)).val)
        assert len(linked & val) in (0, len(linked))
    assert asked[0] == (list(photos.paths), photos.fingerprint, 8)


def test_a_part_of_test_photos_belongs_to_the_fingerprint():
    photos = photos_of([(0, i) for i in range(20)], [*["train"] * 10, *["val"] * 6, *["test"] * 4])
    parts = split(photos, Settings(test_fraction=0.2))
    assert (len(parts.train), len(parts.val), parts.test) == (10, 6, (16, 17, 18, 19))
    moved = replace(photos, parts=(*photos.parts[:-1], "train"))
    assert split(moved, Settings(test_fraction=0.2)).fingerprint != parts.fingerprint


def test_folders_of_their_own_are_no_folds_and_need_a_test_for_a_test():
    photos = photos_of([(0, i) for i in range(6)], ["train", "train", "val", "train", "val", "val"])
    with pytest.raises(UsageError, match=r"data.folds=3: .* holds train/ and val/, which are one split"):
        split(photos, Settings(folds=3, fold=0))
    with pytest.raises(UsageError, match=r"holds train/ and val/ but no test/"):
        split(photos, Settings(test_fraction=0.2))


def test_the_split_of_before_is_still_the_same():
    """Kept sweeps are known by it: unstratified and without a test part it is what it was, to the digit."""
    parts = split(photos_of([(i % 2, i // 2 * 2 if i < 6 else i) for i in range(30)]), Settings())
    assert (parts.val, parts.fingerprint) == ((7, 8, 9, 19, 21, 25), "f15d9731c9ed111e")


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
