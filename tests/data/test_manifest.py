from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowerbench.data import manifest

SHARED = Path(__file__).resolve().parents[3] / "shared"
COUNTS = {"daisy": 588, "dandelion": 556, "rose": 583, "sunflower": 536, "tulip": 585}


@pytest.fixture(scope="module")
def sums() -> dict[str, list[str]]:
    """The sums of a right copy of the photos."""
    return {name: list(counter.elements()) for name, counter in manifest.paper_flowers().items()}


def test_the_papers_photos_are_counted(sums):
    assert {name: len(rows) for name, rows in sums.items()} == COUNTS
    assert all(len(digest) == 64 for rows in sums.values() for digest in rows)


def test_the_identical_photos_are_known(sums):
    assert len(set(sums["rose"]) & set(sums["tulip"])) == 3
    twice = {name: [d for d, n in Counter(rows).items() if n > 1] for name, rows in sums.items()}
    assert {name: len(digests) for name, digests in twice.items()} == dict.fromkeys(COUNTS, 0) | {"sunflower": 1}


def test_a_right_copy_has_no_differences(sums):
    assert manifest.differences(sums) == []
    assert manifest.differences({name: rows[::-1] for name, rows in reversed(sums.items())}) == []


@settings(deadline=None, max_examples=30)
@given(missing=st.integers(0, 556), strange=st.integers(0, 5))
def test_what_is_missing_and_what_is_strange_is_counted(sums, missing, strange):
    found = sums | {"dandelion": sums["dandelion"][missing:] + [f"{n:064x}" for n in range(strange)]}
    photos = "photo" if missing == 1 else "photos"
    told = [f"{missing} {photos} missing"] * (missing > 0) + [f"{strange} not in the set"] * (strange > 0)
    assert manifest.differences(found) == ([f"dandelion: {', '.join(told)}"] if told else [])


def test_one_of_two_identical_photos_is_missed(sums):
    assert manifest.differences(sums | {"sunflower": sorted(set(sums["sunflower"]))}) == ["sunflower: 1 photo missing"]


def test_a_photo_in_the_wrong_class_is_missed_in_one_and_strange_in_the_other(sums):
    moved = next(digest for digest in sums["rose"] if digest not in sums["daisy"])
    found = sums | {"rose": [d for d in sums["rose"] if d != moved], "daisy": [*sums["daisy"], moved]}
    assert manifest.differences(found) == ["daisy: 1 not in the set", "rose: 1 photo missing"]


def test_other_classes_are_told(sums):
    found = {name: rows for name, rows in sums.items() if name != "tulip"} | {"tulips": sums["tulip"]}
    assert manifest.differences(found) == ["tulip: 585 photos missing", "tulips: 585 not in the set"]


def test_what_is_written_is_read_again(tmp_path, monkeypatch):
    first, second = (hashlib.sha256(text).hexdigest() for text in (b"1", b"2"))
    (tmp_path / "sums").write_text(
        f"{second}  flowers/rose/a b.jpg\n{first}  flowers/ash/1.jpg\n{second}  flowers/rose/2.jpg\n"
    )
    manifest.write(tmp_path / "sums", tmp_path / "flowers.npz")
    monkeypatch.setattr(manifest, "FILE", tmp_path / "flowers.npz")
    assert manifest.paper_flowers() == {"ash": {first: 1}, "rose": {second: 2}}


@pytest.fixture(scope="module")
def real() -> Path:
    if not (SHARED / "data" / "flowers").is_dir():
        pytest.skip("the paper's photos are not here (../shared/data/flowers)")
    return SHARED / "data"


def test_the_committed_file_can_be_made_again(real, tmp_path):
    manifest.write(real / "flowers.sha256", tmp_path / "flowers.npz")
    assert (tmp_path / "flowers.npz").read_bytes() == manifest.FILE.read_bytes()


def test_the_real_photos_are_the_papers(real):
    found: dict[str, list[str]] = {}
    for photo in (real / "flowers").glob("*/*"):
        found.setdefault(photo.parent.name, []).append(hashlib.sha256(photo.read_bytes()).hexdigest())
    assert manifest.differences(found) == []
